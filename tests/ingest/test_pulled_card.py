"""What an ingest leaves behind when a card, the power or the process goes."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingest import card as cards
from ingest import photographs
from ingest.photographs import ingest_photographs
from tmp.captures import read_captures
from tmp.cli import main
from tmp.errors import PhotographError
from tmp.survey import Survey


@pytest.fixture
def survey(tmp_path) -> Survey:
    return Survey(folder=tmp_path / "survey")


def recorded(survey: Survey) -> set[str]:
    """Return the photographs of a survey, which rows, digests and files must agree on."""
    files = {
        path.relative_to(survey.photos_dir).as_posix()
        for path in survey.photos_dir.rglob("*")
        if path.is_file()
    }
    assert files == {capture.name for capture in read_captures(survey.gpkg_path)}
    sums = survey.manifest_path.read_text().splitlines()
    assert files == {line[66:].removeprefix("photos/") for line in sums}
    return files


def pull_when(monkeypatch, place: Path, moment: str, calls: int) -> None:
    """Have a card renamed away at a call of one of the steps of an ingest."""
    owner, name = {
        "sizes": (photographs, "check_space"),
        "reading": (photographs, "read_source"),
        "opening": (os, "fstat"),
        "flushing": (os, "fsync"),
        "comparing": (cards, "digest"),
    }[moment]
    step, left = getattr(owner, name), [calls]

    def pull(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            place.rename(place.with_name("pulled"))
        return step(*arguments)

    monkeypatch.setattr(owner, name, pull)


@pytest.mark.parametrize(
    ("moment", "calls"),
    [
        *[("sizes", 1), ("reading", 1), ("reading", 4), ("opening", 3)],
        *[("flushing", 1), ("flushing", 5), ("comparing", 1), ("comparing", 6)],
    ],
)
def test_a_card_pulled_at_any_moment_costs_nothing(card, survey, tmp_path, moment, calls):
    card(count=8)
    place = tmp_path / "card"
    with pytest.MonkeyPatch.context() as monkeypatch:
        pull_when(monkeypatch, place, moment, calls)
        result = ingest_photographs(place, survey, workers=2)
    assert len(result.added) + len(result.failed) == 8
    assert len(result.failed) > 0
    for path, reason in result.failed.items():
        assert path.startswith(str(place))
        assert f"{path}: cannot be read" in reason
    assert recorded(survey) == set(result.added)
    (tmp_path / "pulled").rename(place)
    again = ingest_photographs(place, survey)
    assert (again.already, len(again.added)) == (len(result.added), len(result.failed))
    assert len(recorded(survey)) == 8


def test_a_folder_that_the_card_does_not_list_is_named_and_the_rest_taken(
    card, survey, tmp_path, monkeypatch
):
    card("card/DCIM/100MEDIA", count=3)
    lost = card("card/DCIM/101MEDIA", count=3, first_seed=30)
    scandir = os.scandir

    def fail(path: Path) -> object:
        if Path(path) == lost:
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    result = ingest_photographs(tmp_path / "card", survey)
    assert len(recorded(survey)) == 3
    (reason,) = result.failed.values()
    assert reason.startswith(f"{lost}: cannot be read (Input/output error)")


def test_the_command_names_what_a_pulled_card_kept_and_ends_with_status_one(
    card, survey, tmp_path, monkeypatch
):
    card(count=5)
    pull_when(monkeypatch, tmp_path / "card", "comparing", 2)
    arguments = ["ingest", str(tmp_path / "card"), "--to", str(survey.folder), "--workers", "1"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert "2 photographs added" in done.output
    assert done.output.count("NOT TAKEN IN: ") == 3
    assert "Error: 3 files could not be taken in; run the same command again" in done.output


def test_a_stage_that_lists_a_card_being_pulled_does_not_stumble(card, survey, monkeypatch):
    from flows.stages import ingest as stage

    place, find = card(count=3), stage.find_photographs

    def pull(places: list[Path]) -> object:
        found = find(places)
        place.rename(place.with_name("pulled"))
        return found

    monkeypatch.setattr(stage, "find_photographs", pull)
    _, size = stage.ingest_recipe(survey, [place], link=False, crs=None)
    assert size.photographs == 3


def test_photographs_are_on_the_disk_before_they_have_a_name_and_a_row(card, survey, monkeypatch):
    """Else a loss of power leaves empty files under the names of photographs."""
    steps: list[str] = []
    on_disk: set[int] = set()
    fsync, replace = os.fsync, Path.replace

    def note_flush(opened: int) -> None:
        fsync(opened)
        about = os.fstat(opened)
        on_disk.add(about.st_ino)
        if stat.S_ISDIR(about.st_mode):
            photos = about.st_ino == survey.photos_dir.stat().st_ino
            steps.append("photos/ flushed" if photos else "survey/ flushed")

    def note_name(temporary: Path, target: Path) -> Path:
        whole = temporary.stat().st_ino in on_disk
        on_disk.discard(temporary.stat().st_ino)
        steps.append(f"{target.name}, {'flushed' if whole else 'not flushed'}, gets its name")
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_name)
    ingest_photographs(card(count=2), survey, workers=1)
    # What is below work/ can be made again.
    assert [step for step in steps if not step.startswith("photographs.json")] == [
        "survey.toml, flushed, gets its name",
        "DJI_0001.JPG, flushed, gets its name",
        "DJI_0002.JPG, flushed, gets its name",
        "photos/ flushed",
        "survey.toml, flushed, gets its name",
        "survey.gpkg, flushed, gets its name",
        "photos.sha256, flushed, gets its name",
        "survey/ flushed",
    ]


def test_what_killed_ingests_left_is_removed_and_all_else_stays(card, survey):
    place = card(count=2)
    ingest_photographs(place, survey)
    kept = [survey.photos_dir / ".note", survey.folder / ".quick_ndvi.host.7.part.png"]
    left = [
        survey.photos_dir / ".DJI_0003.host.example.org.4711.part.JPG",
        survey.photos_dir / "deep/.a b.host.12.part.tif",
        survey.folder / ".survey.host.4711.part.gpkg",
        survey.folder / ".survey.host.4711.part.gpkg-journal",
        survey.folder / ".photos.host.4711.part.sha256",
    ]
    for path in (*kept, *left):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    ingest_photographs(place, survey)
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)
    assert len(list(survey.photos_dir.glob("*.JPG"))) == 2


def test_odd_names_go_through_to_the_rows_the_digests_and_the_next_run(make_jpeg, survey, tmp_path):
    place = tmp_path / "card"
    place.mkdir()
    names = [b"latin\xe9.JPG", b"a" * 251 + b".JPG", b"IMG.jpg", b"img.JPG", b"two\nlines.jpg"]
    for seed, name in enumerate(names):
        (place / os.fsdecode(name)).write_bytes(make_jpeg(seed=seed))
    result = ingest_photographs(place, survey)
    assert len(result.added) == len(recorded(survey)) == 5
    assert not result.failed
    assert {"latin%E9.JPG", "IMG.jpg", "img-2.JPG", "two%0Alines.jpg"} < set(result.added)
    sources = {capture.name: capture.source for capture in read_captures(survey.gpkg_path)}
    assert sources["img-2.JPG"] == f"{place}/img.JPG"
    assert sources["latin%E9.JPG"] == f"{place}/latin%E9.JPG"
    assert ingest_photographs(place, survey).already == 5


def test_times_in_the_table_are_in_utc_and_say_so(card, survey):
    ingest_photographs(card(count=1), survey)
    with sqlite3.connect(survey.gpkg_path) as database:
        ((said,),) = database.execute("SELECT time_utc FROM photographs").fetchall()
    database.close()
    # GeoPackage 1.3, table 1: DATETIME is YYYY-MM-DDTHH:MM:SS.SSSZ.
    assert said == "2024-06-01T11:00:00.000Z"


def test_a_photograph_that_vanishes_before_it_is_read_is_named(tmp_path):
    with pytest.raises(PhotographError, match=r"gone\.jpg: cannot be read \(No such file"):
        cards.read_source(tmp_path / "gone.jpg")
