"""The order of work, with small stand-ins for the stages."""

import errno
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest
import shapely

from flows.engine.stage import Figures, Stage
from flows.pipeline import map_survey
from flows.products.ground import GROUND
from flows.products.table import CLOUD, DSM, EDITED, PUBLISHED
from flows.report.quality import MapRecord, assess_map
from flows.report.verdict import End
from flows.run.plan import survey_digest
from flows.run.publish import publish, recall_map
from flows.run.record import read_run
from flows.run.request import MapOptions
from ingest.card import digest
from tmp.captures import Capture, Flag, HeightUse, read_captures, write_captures
from tmp.errors import InputError, NotASurveyError, PhotographError, SpaceError
from tmp.reconstruction import Reconstruction, write_reconstruction
from tmp.survey import open_survey, read_settings, write_settings

T = TypeVar("T")


@dataclass
class Fakes:
    """Stand-ins for orientation and surface that count their runs."""

    reconstruction: Reconstruction
    products: Path
    ground: Path
    runs: list[str]
    stop_once: bool = False

    @property
    def stages(self) -> Sequence[type[Stage]]:
        fakes = self

        class Orientation(Stage):
            name = "orientation"
            version = "1"
            options = ("quality",)

            def finish(self) -> None:
                fakes.runs.append("orientation")
                write_reconstruction(fakes.reconstruction, self.space.out)

        class Surface(Stage):
            name = "surface"
            version = "1"
            after = ("orientation",)
            options = ("quality", "area_wkt", "fill")

            def finish(self) -> Figures:
                fakes.runs.append("surface")
                assert (self.space.inputs["orientation"] / "reconstruction.json").exists()
                if fakes.stop_once:
                    fakes.stop_once = False
                    raise KeyboardInterrupt
                shutil.copy(fakes.products / "dsm.tif", self.space.out)
                shutil.copytree(fakes.ground, self.space.out / GROUND)
                return {"tiles": 1}

        return (Orientation, Surface)


@pytest.fixture
def root(record: MapRecord) -> Path:
    write_captures(record.survey.gpkg_path, record.captures)
    return record.survey.folder


@pytest.fixture
def fakes(record: MapRecord, tmp_path: Path) -> Fakes:
    products = shutil.move(record.survey.products_dir, tmp_path / "made")
    return Fakes(
        reconstruction=record.reconstruction,
        products=Path(products),
        ground=record.results[-1].folder / GROUND,
        runs=[],
    )


def test_map_leaves_products_styles_catalogue_and_report(root: Path, fakes: Fakes) -> None:
    result = map_survey(root, MapOptions(), stages=fakes.stages)
    assert fakes.runs == ["orientation", "surface"]
    assert result.report_path == root / "report.html"
    for name in ("report.html", "catalog.json", "products/dsm.tif", "products/dsm.qml"):
        assert (root / name).exists(), name


def test_those_who_watch_are_told_the_time_left_of_the_whole(root: Path, fakes: Fakes) -> None:
    class Watching:
        def __init__(self) -> None:
            self.told: list[Callable[[], float]] = []

        def __call__(self, items: Iterable[T], label: str, total: int) -> Iterable[T]:
            del label, total
            return items

        def foresee(self, left_s: Callable[[], float]) -> None:
            assert left_s() > 0
            self.told.append(left_s)

    watching = Watching()
    map_survey(root, stages=fakes.stages, track=watching)
    (left_s,) = watching.told
    assert left_s() == 0.0


def test_second_map_does_nothing_again_and_leaves_the_report(root: Path, fakes: Fakes) -> None:
    first = map_survey(root, MapOptions(), stages=fakes.stages)
    report = root / "report.html"
    written_ns = report.stat().st_mtime_ns
    again = map_survey(root, MapOptions(), stages=fakes.stages)
    assert fakes.runs == ["orientation", "surface"]
    assert all(result.reused for result in again.results)
    assert again.verdict == first.verdict
    assert report.stat().st_mtime_ns == written_ns


def test_report_is_written_anew_when_what_it_says_has_changed(root: Path, fakes: Fakes) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    map_survey(root, MapOptions(workers=2), stages=fakes.stages)
    assert "reused: nothing has changed" in (root / "report.html").read_text()
    settings = read_settings(open_survey(root))
    write_settings(open_survey(root), replace(settings, name="Stöng"))
    map_survey(root, MapOptions(workers=2), stages=fakes.stages)
    assert "Stöng" in (root / "report.html").read_text()
    (root / "report.html").unlink()
    map_survey(root, MapOptions(workers=2), stages=fakes.stages)
    assert (root / "report.html").exists()
    assert fakes.runs == ["orientation", "surface"]


def test_changed_option_redoes_only_the_stages_it_touches(root: Path, fakes: Fakes) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    map_survey(root, MapOptions(fill=True), stages=fakes.stages)
    assert fakes.runs == ["orientation", "surface", "surface"]


def test_interrupted_map_goes_on_at_the_stage_it_was_in(root: Path, fakes: Fakes) -> None:
    fakes.stop_once = True
    with pytest.raises(KeyboardInterrupt):
        map_survey(root, MapOptions(), stages=fakes.stages)
    map_survey(root, MapOptions(), stages=fakes.stages)
    assert fakes.runs == ["orientation", "surface", "surface"]


def test_deleted_product_comes_back_without_work(root: Path, fakes: Fakes) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    (root / "products" / "dsm.tif").unlink()
    map_survey(root, MapOptions(), stages=fakes.stages)
    assert (root / "products" / "dsm.tif").exists()
    assert fakes.runs == ["orientation", "surface"]


def test_a_product_that_the_latest_map_has_not_does_not_pass_for_its_own(
    root: Path, fakes: Fakes
) -> None:
    result = map_survey(root, stages=fakes.stages)
    stale = result.survey.products_dir / CLOUD.file
    stale.write_bytes(b"points of an earlier map")
    map_survey(root, stages=fakes.stages)
    assert not stale.exists()
    assert (result.survey.products_dir / DSM.file).exists()


def test_one_photograph_is_refused(root: Path, record: MapRecord, fakes: Fakes) -> None:
    captures = [replace(capture, flags=(Flag.STRAGGLER,)) for capture in record.captures]
    captures[0] = replace(captures[0], flags=())
    write_captures(record.survey.gpkg_path, captures)
    with pytest.raises(InputError, match="one photograph to map, of 18 ingested"):
        map_survey(root, MapOptions(), stages=fakes.stages)


def test_folder_that_is_no_survey_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotASurveyError, match="is not a survey"):
        map_survey(tmp_path, MapOptions())


def test_senseless_options_are_refused() -> None:
    with pytest.raises(InputError, match="give metres between"):
        MapOptions(ortho_gsd_m=-1.0)
    with pytest.raises(InputError, match="at least 1"):
        MapOptions(workers=0)


def test_remarks_do_not_change_the_digest_and_positions_do(record: MapRecord) -> None:
    before = survey_digest(record.settings, record.captures)
    remarked = [replace(capture, reason="seen by a person") for capture in record.captures]
    moved: list[Capture] = [replace(record.captures[0], height_m=71.0), *record.captures[1:]]
    assert survey_digest(record.settings, remarked) == before
    assert survey_digest(record.settings, moved) != before


def made_and_shown(root: Path) -> tuple[Path, Path]:
    """Return the surface as the store has it, and as the products do."""
    (made,) = root.glob("work/stages/*/*/dsm.tif")
    return made, root / "products" / "dsm.tif"


def test_product_shares_nothing_with_the_store(root: Path, fakes: Fakes) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    made, shown = made_and_shown(root)
    assert not shown.samefile(made)
    assert shown.read_bytes() == made.read_bytes()
    assert shown.stat().st_mode & 0o200, "people may edit it"
    assert not made.stat().st_mode & 0o222


def test_product_that_an_earlier_version_linked_becomes_a_copy(root: Path, fakes: Fakes) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    made, shown = made_and_shown(root)
    shown.unlink()
    os.link(made, shown)
    map_survey(root, MapOptions(), stages=fakes.stages)
    assert not shown.samefile(made)
    assert shown.read_bytes() == made.read_bytes()
    assert not (root / "products" / EDITED).exists()


@pytest.mark.parametrize("without_work", [False, True])
def test_edited_product_is_kept_beside_and_the_true_one_comes_back(
    without_work: bool, root: Path, fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    made, shown = made_and_shown(root)
    true = made.read_bytes()
    with shown.open("r+b") as file:  # as gdal_edit does
        file.seek(200)
        file.write(b"edited")
    mine = shown.read_bytes()
    if without_work:
        shutil.rmtree(root / "work")
    for _ in range(2):
        map_survey(root, MapOptions(), stages=fakes.stages)
    assert shown.read_bytes() == true
    (kept,) = (root / "products" / EDITED).iterdir()
    assert kept.read_bytes() == mine
    assert kept.match("dsm-20*Z.tif")
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith(f"{shown}: is not as it was made; kept as products/edited/dsm-20")
    assert "dsm-20" not in (root / "products" / "item.json").read_text()


def test_product_of_another_map_is_replaced_without_a_word(
    root: Path, fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    result = map_survey(root, MapOptions(), stages=fakes.stages)
    _, shown = made_and_shown(root)
    other = replace(result.results[-1], folder=root / "other", files={"dsm.tif": "another digest"})
    other.folder.mkdir()
    (other.folder / "dsm.tif").write_bytes(b"another map")
    publish([other], root / "products")
    assert shown.read_bytes() == b"another map"
    assert not (root / "products" / EDITED).exists()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("edited", [False, True])
def test_product_that_nobody_remembers_is_kept_only_if_no_result_is_like_it(
    edited: bool, root: Path, fakes: Fakes
) -> None:
    """So an earlier version left them, and a command killed before it could remember."""
    result = map_survey(root, MapOptions(), stages=fakes.stages)
    made, shown = made_and_shown(root)
    (root / "products" / PUBLISHED).unlink()
    if edited:
        shown.write_bytes(b"mine")
    folder = made.parent.with_name("newer")
    folder.mkdir()
    (folder / "dsm.tif").write_bytes(b"a newer map")
    newer = replace(result.results[-1], folder=folder, files={"dsm.tif": "newer digest"})
    publish([newer], root / "products")
    assert shown.read_bytes() == b"a newer map"
    kept = [path.read_bytes() for path in (root / "products").glob(f"{EDITED}/dsm-*.tif")]
    assert kept == ([b"mine"] if edited else [])


@pytest.mark.parametrize("free_bytes", [10**6, 10**12])
def test_product_that_does_not_fit_is_said_and_the_old_one_stays(
    free_bytes: int, root: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = map_survey(root, MapOptions(), stages=fakes.stages)
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "dsm.tif").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("flows.stages.inputs.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr("flows.run.publish.shutil.copyfile", full)
    with pytest.raises(SpaceError, match=r"usb.* (needs 0\.2 GB|disk is full)"):
        publish(result.results, tmp_path / "usb")
    assert [path.name for path in (tmp_path / "usb").glob("*dsm*")] == ["dsm.tif"]
    assert (tmp_path / "usb" / "dsm.tif").read_bytes() == b"old"


@pytest.fixture
def photographs(root: Path, record: MapRecord) -> Path:
    """The folder of the survey's photographs, with files in it."""
    folder = record.survey.photos_dir
    folder.mkdir()
    captures = []
    for capture in record.captures:
        (folder / capture.name).write_text(f"picture {capture.name}")
        sha256 = digest(folder / capture.name)
        captures.append(replace(capture, sha256=sha256))
    write_captures(record.survey.gpkg_path, captures)
    return folder


def test_changed_photographs_are_refused_until_put_back_or_dropped(
    photographs: Path, root: Path, fakes: Fakes
) -> None:
    map_survey(root, MapOptions(), stages=fakes.stages)
    for i in range(5):
        (photographs / f"DJI_000{i}.JPG").write_text("another picture")
    with pytest.raises(
        PhotographError,
        match=r"photos: DJI_0000\.JPG, DJI_0001\.JPG, DJI_0002\.JPG and 2 more have changed since "
        r"they were taken in; 'tmp ingest CARD --to .*survey' puts back",
    ):
        map_survey(root, MapOptions(), stages=fakes.stages)
    for i in range(4):
        (photographs / f"DJI_000{i}.JPG").write_text(f"picture DJI_000{i}.JPG")
    with pytest.raises(PhotographError, match=r"photos: DJI_0004\.JPG has changed since it was"):
        map_survey(root, MapOptions(), stages=fakes.stages)
    settings = read_settings(open_survey(root))
    write_settings(open_survey(root), replace(settings, drop=("DJI_0004.JPG",)))
    map_survey(root, MapOptions(), stages=fakes.stages)


def test_result_made_while_a_photograph_changed_is_not_kept(
    photographs: Path, root: Path, fakes: Fakes
) -> None:
    orientation, surface = fakes.stages
    finish = surface.finish

    def meanwhile(stage: Stage) -> Figures | None:
        (photographs / "DJI_0000.JPG").write_text("another picture")
        return finish(stage)

    surface.finish = meanwhile  # type: ignore[method-assign]
    with pytest.raises(PhotographError, match=r"DJI_0000\.JPG has changed"):
        map_survey(root, MapOptions(), stages=(orientation, surface))
    assert not (root / "products").exists()
    (photographs / "DJI_0000.JPG").write_text("picture DJI_0000.JPG")
    map_survey(root, MapOptions(), stages=fakes.stages)
    assert fakes.runs == ["orientation", "surface", "surface"]


def test_map_of_few_photographs_is_partial_and_the_book_says_so(root: Path, fakes: Fakes) -> None:
    fakes.reconstruction = replace(fakes.reconstruction, photos=fakes.reconstruction.photos[:6])
    result = map_survey(root, MapOptions(), stages=fakes.stages)
    assert result.verdict is not None
    assert result.verdict.end is End.PARTIAL
    assert (root / "products" / "dsm.tif").exists()
    quality = json.loads((root / "products" / "quality.json").read_text())
    assert (quality["verdict"], quality["photographs_oriented"]) == ("partial", 6)
    run = read_run(result.survey)
    assert run.state == "partial"
    assert run.error == result.verdict.summary


def test_area_of_the_map_is_what_is_judged_and_is_remembered(root: Path, fakes: Fakes) -> None:
    square = [(0, 0, 0), (20, 0, 0), (20, 20, 0), (0, 20, 0), (0, 0, 0)]
    corners = fakes.reconstruction.frame.geodetic_from_world(square)[:, :2].tolist()
    area = root.parent / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    result = map_survey(root, MapOptions(area_file=area), stages=fakes.stages)
    assert result.verdict is not None
    assert result.verdict.covered.flown_ha == pytest.approx(0.04, rel=0.06)
    settings = read_settings(result.survey)
    again = recall_map(result.survey, settings, read_captures(result.survey.gpkg_path))
    assert again is not None
    assert assess_map(again).verdict.covered.flown_ha == result.verdict.covered.flown_ha


@pytest.mark.parametrize("lost", ["orientation", "surface", ""])
def test_a_map_is_recalled_with_all_its_results_and_not_at_all_without_one(
    root: Path, fakes: Fakes, lost: str
) -> None:
    survey = map_survey(root, stages=fakes.stages).survey
    if lost:
        shutil.rmtree(survey.work_dir / "stages" / lost)
    again = recall_map(survey, read_settings(survey), read_captures(survey.gpkg_path))
    stages = None if again is None else [result.stage for result in again.results]
    assert stages == (None if lost else ["orientation", "surface"])


def test_another_shore_makes_only_what_knows_of_water_again(root: Path, fakes: Fakes) -> None:
    class Elevation(Stage):
        name = "elevation"
        version = "1"
        after = ("surface",)
        options = ("water_wkt",)

        def finish(self) -> None:
            fakes.runs.append(f"{len(shapely.from_wkt(self.space.options['water_wkt']).geoms)}")

    def water(name: str, *easts_m: float) -> Path:
        rings = [[(e, 0, 0), (e + 20, 0, 0), (e + 20, 20, 0), (e, 0, 0)] for e in easts_m]
        world = fakes.reconstruction.frame.geodetic_from_world
        drawn = [[world(np.array(ring, float))[:, :2].tolist()] for ring in rings]
        path = root.parent / f"{name}.geojson"
        path.write_text(json.dumps({"type": "MultiPolygon", "coordinates": drawn}))
        return path

    stages = (*fakes.stages, Elevation)
    for file in (water("one", 0), water("same", 0, 5000), water("two", 0, 30)):
        map_survey(root, MapOptions(water_file=file), stages=stages)
    # A lake 5 km away is none of this survey's, and no reason to make anything again.
    assert fakes.runs == ["orientation", "surface", "1", "2"]
    assert MapOptions(water_file=water("one", 0)).in_words()["water"] == "one.geojson"
    with pytest.raises(InputError, match=r"far\.geojson: .* km from the nearest photograph"):
        map_survey(root, MapOptions(water_file=water("far", 5000)), stages=stages)
    flat = root.parent / "flat.wkt"
    flat.write_text("SRID=4326;POLYGON ((-21 64, -21.1 64, -21.2 64, -21 64))")
    with pytest.raises(InputError, match=r"flat\.wkt: the polygon has no area"):
        map_survey(root, MapOptions(water_file=flat), stages=stages)


def test_a_position_sigma_that_no_receiver_has_is_refused() -> None:
    with pytest.raises(InputError, match="position sigma of"):
        MapOptions(position_sigma_m=(3.0, 0.0))


def test_what_is_said_of_heights_and_positions_stands_among_the_options() -> None:
    words = MapOptions(heights=HeightUse.IGNORE, position_sigma_m=(3.0, 6.0)).in_words()
    assert words["recorded heights"] == "ignore"
    assert words["accuracy of positions"] == "3 m horizontally, 6 m vertically"
    assert MapOptions().in_words()["accuracy of positions"] == "as recorded"
