"""Orientation in stages: shared or whole, with caches deleted, with photographs bad and new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from flows.engine.cost import Quality
from flows.engine.stage import Portion, Recipe, execute
from flows.engine.store import Result
from flows.run.plan import plan_map
from flows.run.request import MapOptions
from flows.stages.inputs import FEATURE_SIZES
from flows.stages.orientation import FEATURES_FILE
from photogrammetry.orientation import features, matching
from tmp.captures import write_captures
from tmp.errors import OrientationError
from tmp.progress import Track
from tmp.survey import Survey, open_survey

STAGES = ("features", "matches", "orientation")
PHOTOGRAPHS = 8
"""Of the fixture `flight`."""


@dataclass
class Watched:
    """What was computed of late."""

    described: list[str]
    compared: list[str]


@pytest.fixture(scope="module", autouse=True)
def few_keypoints() -> Iterator[None]:
    """Look for no more keypoints than small photographs need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FEATURE_SIZES, "fast", (800, 900))
        yield


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    seen = Watched([], [])
    describe, compare = features.detect_photograph, matching.PairMatcher._compare

    def watch_describe(capture, *rest, **options):  # type: ignore[no-untyped-def]
        seen.described.append(capture.name)
        return describe(capture, *rest, **options)

    def watch_compare(self, pair):  # type: ignore[no-untyped-def]
        seen.compared.append(self._captures[pair.first].name)
        return compare(self, pair)

    monkeypatch.setattr(features, "detect_photograph", watch_describe)
    monkeypatch.setattr(matching.PairMatcher, "_compare", watch_compare)
    return seen


@pytest.fixture(scope="module")
def oriented(flight: Survey) -> dict[str, Result]:
    """The flight, oriented by whole stages."""
    return orient(flight)


@pytest.fixture
def again(oriented: dict[str, Result], flight: Survey, tmp_path: Path) -> Survey:
    """A copy of the oriented flight, with all its caches and results."""
    del oriented
    return open_survey(Path(shutil.copytree(flight.folder, tmp_path / "survey")))


def orient(survey: Survey, *, units: int = 1, lenient: bool = False) -> dict[str, Result]:
    """Run the three stages, the first two by parts if there are to be several units."""
    plan = plan_map(survey.folder, MapOptions(workers=2, quality=Quality.FAST))
    results: dict[str, Result] = {}

    def run(recipe: Recipe, track: Track) -> None:
        items = recipe.opened().items()
        for index in range(units if units > 1 else 0):
            mine = tuple(items[index * len(items) // units : (index + 1) * len(items) // units])
            portion = Portion(part=f"{index + 1}-of-{units}", items=mine, lenient=lenient)
            execute(recipe, track, portion)
        execute(recipe, track, Portion(lenient=lenient), workers=2)

    for stage in plan.stages:
        if stage.name in STAGES:
            results[stage.name] = plan.store.make(plan.recipe(stage, results), run=run)
    return results


def files(results: dict[str, Result]) -> list[dict[str, str]]:
    return [dict(results[name].files) for name in STAGES]


def caches(survey: Survey) -> Iterator[Path]:
    for folder in ("block", "pictures"):
        yield from (path for path in (survey.work_dir / folder).rglob("*") if path.is_file())


def test_three_units_make_the_same_files_and_the_same_reconstruction_as_one(
    again: Survey, oriented: dict[str, Result], watched: Watched
) -> None:
    before = {path: path.read_bytes() for path in caches(again)}
    shutil.rmtree(again.work_dir)
    again.work_dir.mkdir()
    shared = orient(again, units=3)
    assert files(shared) == files(oriented)
    assert {path: path.read_bytes() for path in caches(again)} == before
    assert len(watched.described) == len(set(watched.described)) == PHOTOGRAPHS
    assert len(watched.compared) == oriented["matches"].figures["pairs"]


def test_results_are_small_and_nothing_of_colmap_is_left(
    again: Survey, oriented: dict[str, Result]
) -> None:
    said = json.loads((oriented["features"].folder / FEATURES_FILE).read_text())
    assert len(said["digests"]) == PHOTOGRAPHS
    assert said["unreadable"] == {}
    for name in ("features", "matches"):
        size = sum(path.stat().st_size for path in oriented[name].folder.rglob("*"))
        assert size < 20_000
    assert not list(again.work_dir.rglob("*.db"))
    assert not list(again.work_dir.rglob("*colmap*"))


def test_nothing_is_computed_again_when_only_results_were_lost(
    again: Survey, oriented: dict[str, Result], watched: Watched
) -> None:
    shutil.rmtree(again.work_dir / "stages")
    assert files(orient(again)) == files(oriented)
    assert watched.described == watched.compared == []


def test_keypoints_deleted_after_their_stage_are_found_again(
    again: Survey, oriented: dict[str, Result], watched: Watched
) -> None:
    for name in ("matches", "orientation"):
        shutil.rmtree(again.work_dir / "stages" / name)
    (lost,) = again.work_dir.glob("block/keypoints-*/003.jpg.npz")
    lost.unlink()
    shutil.rmtree(next(again.work_dir.glob("block/matches-*")))
    assert files(orient(again)) == files(oriented)
    assert watched.described == ["003.jpg"]
    assert len(watched.compared) == oriented["matches"].figures["pairs"]


def test_matches_deleted_after_their_stage_are_made_again(
    again: Survey, oriented: dict[str, Result], watched: Watched
) -> None:
    shutil.rmtree(again.work_dir / "stages" / "orientation")
    (lost,) = again.work_dir.glob("block/matches-*/002.jpg.npz")
    lost.unlink()
    assert files(orient(again)) == files(oriented)
    assert watched.described == []
    assert set(watched.compared) == {"002.jpg"}


def test_keypoints_that_cannot_be_found_again_are_refused(again: Survey, watched: Watched) -> None:
    del watched
    shutil.rmtree(again.work_dir / "stages" / "orientation")
    shutil.rmtree(next(again.work_dir.glob("block/keypoints-*")))
    (again.photos_dir / "003.jpg").unlink()
    with pytest.raises(OrientationError, match=r"003\.jpg\.npz: keypoints unreadable"):
        orient(again)


def test_unreadable_photograph_is_left_out_by_name(again: Survey) -> None:
    shutil.rmtree(again.work_dir)
    again.work_dir.mkdir()
    (again.photos_dir / "007.jpg").write_bytes(b"torn")
    results = orient(again, units=3)
    said = json.loads((results["orientation"].folder / "reconstruction.json").read_text())
    assert list(said["left_out"]) == ["007.jpg"]
    assert "007.jpg: cannot be decoded" in said["left_out"]["007.jpg"]
    assert results["features"].figures == {"photographs": PHOTOGRAPHS - 1, "unreadable": 1}


def test_photograph_more_has_only_itself_described_and_only_its_pairs_compared(
    again: Survey, flown: ModuleType, watched: Watched
) -> None:
    poses = flown.stations()[: PHOTOGRAPHS + 1]
    flown.photograph_ground(again.photos_dir.with_name("more"), poses)
    name = f"{PHOTOGRAPHS:03d}.jpg"
    shutil.move(again.photos_dir.with_name("more") / name, again.photos_dir / name)
    write_captures(again.gpkg_path, flown.captures_of(poses))
    results = orient(again)
    assert results["features"].figures["photographs"] == PHOTOGRAPHS + 1
    assert watched.described == [name]
    assert 0 < len(watched.compared) < PHOTOGRAPHS + 1
