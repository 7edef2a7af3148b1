import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ingest.photographs import IngestResult, ingest_photographs
from tmp.captures import read_captures
from tmp.errors import InputError
from tmp.survey import Survey

HELD_UP = """
import sys
from ingest.photographs import ingest_photographs

def track(items, label, total):
    print("at work", flush=True)
    sys.stdin.readline()
    yield from items

print(len(ingest_photographs(sys.argv[1], sys.argv[2], track=track).added))
"""


@pytest.fixture
def cards(card) -> list[Path]:
    return [card("one/DCIM", count=6), card("two/DCIM", count=4, first_seed=50)]


def recorded(survey: Survey) -> int:
    """Return how many photographs a survey holds, by rows, digests and files alike."""
    rows = read_captures(survey.gpkg_path)
    sums = survey.manifest_path.read_text().splitlines()
    files = {f"photos/{p.relative_to(survey.photos_dir).as_posix()}" for p in photos(survey)}
    assert files == {f"photos/{c.name}" for c in rows} == {line[66:] for line in sums}
    return len(rows)


def photos(survey: Survey) -> list[Path]:
    return [path for path in survey.photos_dir.rglob("*") if path.is_file()]


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_first_ingests_the_second_process_is_refused_and_nothing_lost(
    cards, tmp_path, first
):
    survey = Survey(folder=tmp_path / "survey")
    with subprocess.Popen(
        [sys.executable, "-c", HELD_UP, cards[first], survey],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "at work\n"
        with pytest.raises(InputError, match=rf"'tmp ingest' is already .* \(process {one.pid}\)"):
            ingest_photographs(cards[1 - first], survey)
        said, _ = one.communicate("go on\n")
    assert one.returncode == 0
    assert recorded(survey) == int(said) == (6, 4)[first]
    assert len(ingest_photographs(cards[1 - first], survey).added) == (4, 6)[first]
    assert recorded(survey) == 10
    assert not (survey.work_dir / "lock").exists()


@pytest.mark.parametrize("again", range(3))
def test_first_ingests_that_start_together_lose_nothing(cards, tmp_path, again):
    survey = Survey(folder=tmp_path / f"survey{again}")
    together, ended = threading.Barrier(2), dict[Path, IngestResult | InputError]()

    def take(card: Path) -> None:
        together.wait()
        try:
            ended[card] = ingest_photographs(card, survey, workers=1)
        except InputError as error:
            ended[card] = error

    threads = [threading.Thread(target=take, args=(card,)) for card in cards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = sum(len(end.added) for end in ended.values() if isinstance(end, IngestResult))
    assert recorded(survey) == taken > 0
    for card, end in ended.items():
        if isinstance(end, InputError):
            assert "already at work" in str(end)
            ingest_photographs(card, survey)
    assert recorded(survey) == 10


def test_a_refused_first_ingest_leaves_no_folder(card, tmp_path):
    place = card(count=2)
    for bad in ({"crs": "EPSG:4326"}, {"crs": "EPSG:banana"}):
        with pytest.raises(InputError):
            ingest_photographs(place, tmp_path / "new/survey", **bad)
    assert [path.name for path in tmp_path.iterdir()] == ["card"]
