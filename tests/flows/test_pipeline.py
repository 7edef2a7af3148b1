"""One run from card to report, of parts that stand alone; stand-ins for the stages."""

import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier

import cv2
import numpy as np
import pytest

import tmp.survey
from flows.engine.result import read_json
from flows.engine.stage import Figures, Stage, Workspace
from flows.pipeline import SurveyRun, map_survey, run_survey
from flows.products.band_stack import wavelength_tags
from flows.products.ground import GROUND
from flows.report.quality import MapRecord
from flows.run import plan
from flows.run.record import RUN
from flows.run.request import (
    IndexOptions,
    MapOptions,
    Part,
    RunOptions,
    SurveyRequest,
    SurveyResult,
    Where,
)
from flows.run.status import describe_run_plan
from tmp.errors import InputError, NotASurveyError, StoppedError
from tmp.geo.rasters import create_tiled, finish_cog, read_grid
from tmp.radiometry import Band
from tmp.reconstruction import write_reconstruction
from tmp.survey import Survey

HERE = RunOptions(on=Where.THREADS)
BANDS = (
    Band(name="red", centre_nm=660.0, width_nm=40.0),
    Band(name="nir", centre_nm=790.0, width_nm=40.0),
)


@dataclass
class Stages:
    """Stand-ins that count their runs."""

    record: MapRecord
    products: Path
    runs: list[str] = field(default_factory=list)
    holes: bool = False

    def orient(self, space: Workspace) -> None:
        self.runs.append("orientation")
        write_reconstruction(self.record.reconstruction, space.out)

    def measure(self, space: Workspace) -> Figures:
        self.runs.append("surface")
        for name in ("dsm.tif", "orthomosaic.tif"):
            shutil.copy(self.products / name, space.out)
        shutil.copytree(
            self.record.results[-1].folder / GROUND, space.out / GROUND, dirs_exist_ok=True
        )
        return {"hole_reasons": {"r0c1": "out of memory"}} if self.holes else {}

    def reflect(self, space: Workspace) -> None:
        self.runs.append("reflectance")
        grid = read_grid(self.products / "dsm.tif")
        raster = create_tiled(space.scratch / "stack", grid, bands=2, nodata=-9999.0)
        for tile in raster.tiles():
            red, nir = (np.full((tile.rows, tile.cols), level) for level in (0.1, 0.3))
            raster.write(tile, np.stack([red, nir]))
        finish_cog(
            raster,
            space.out / "reflectance.tif",
            descriptions=[band.name for band in BANDS],
            tags=wavelength_tags(BANDS),
        )

    def stages(self, *, bands: bool) -> list[type[Stage]]:
        reflectance = stage_of("reflectance", self.reflect, "surface")
        return [
            stage_of("orientation", self.orient),
            stage_of("surface", self.measure, "orientation"),
            *([reflectance] if bands else []),
        ]


def stage_of(name: str, finish: Callable[[Workspace], Figures | None], *after: str) -> type[Stage]:
    """Return a stage that consists of its end."""
    body = {"name": name, "version": "1", "after": after}
    return type(name, (Stage,), {**body, "finish": lambda self: finish(self.space)})


@pytest.fixture
def stages(record: MapRecord, tmp_path: Path) -> Stages:
    made = shutil.move(record.survey.products_dir, tmp_path / "made")
    return Stages(record=record, products=Path(made))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    folder = tmp_path / "card" / "DCIM"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    for number in range(3):
        picture = rng.integers(0, 255, (60, 80, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"DJI_{number:04d}.JPG"), picture)
    return tmp_path / "card"


def go(
    stages: Stages, card: Path, *, bands: bool = False, run: RunOptions = HERE, **asked: object
) -> SurveyResult:
    request = SurveyRequest(map=MapOptions(), cards=(card,), **asked)  # type: ignore[arg-type]
    root = stages.record.survey.folder.parent / "new"
    return run_survey(root, request, run, stages=stages.stages(bands=bands))


def test_flow_goes_from_card_to_report(stages: Stages, card: Path) -> None:
    result = go(stages, card)
    assert stages.runs == ["orientation", "surface"]
    assert len(list(result.survey.photos_dir.glob("*.JPG"))) == 3
    assert (result.survey.products_dir / "orthomosaic.tif").exists()
    assert result.report_path is not None
    assert "<html" in result.report_path.read_text()
    assert result.indices is None  # colour alone: nothing is asked of it unless a person asks


@pytest.mark.parametrize(
    ("until", "runs"),
    [
        (Part.INGEST, []),
        (Part.ORIENT, ["orientation"]),
        (Part.PRODUCTS, ["orientation", "surface", "reflectance"]),
    ],
)
def test_parts_stand_alone(stages: Stages, card: Path, until: Part, runs: list[str]) -> None:
    result = go(stages, card, bands=True, until=until)
    assert stages.runs == runs
    assert (result.report_path is not None) == (until is Part.PRODUCTS)
    assert go(stages, card, bands=True).indices is not None
    assert stages.runs == ["orientation", "surface", "reflectance"]


def test_survey_with_bands_gets_its_ndvi_and_others_if_asked(stages: Stages, card: Path) -> None:
    result = go(stages, card, bands=True)
    assert (result.survey.products_dir / "ndvi.tif").exists()
    asked = go(stages, card, bands=True, indices=IndexOptions(indices=("NDVI", "SR")))
    assert (asked.survey.products_dir / "sr.tif").exists()
    assert len(stages.runs) == 3


def test_run_with_nothing_to_do_goes_no_way_and_reads_the_survey_once(
    stages: Stages, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(stages, card, bands=True)
    read: list[Path] = []
    digested: list[object] = []
    real_read, real_digest = tmp.survey.read_captures, plan.survey_digest

    def refuse(run: SurveyRun) -> SurveyResult:
        raise AssertionError(run)

    for reader in ("tmp.survey", "flows.run.plan"):
        monkeypatch.setattr(
            f"{reader}.read_captures", lambda path: read.append(path) or real_read(path)
        )
    monkeypatch.setattr(
        plan, "survey_digest", lambda *given: digested.append(given) or real_digest(*given)
    )
    request = SurveyRequest(map=MapOptions(), cards=(card,))
    root = stages.record.survey.folder.parent / "new"
    result = run_survey(root, request, HERE, go=refuse, stages=stages.stages(bands=True))
    assert len(read) == len(digested) == 1
    assert all(found.reused for found in result.results)
    said = read_json(result.survey.work_dir / RUN)
    assert said is not None
    assert said["state"] == "done"
    assert {entry["state"] for entry in said["stages"].values()} == {"nothing has changed"}
    assert len(stages.runs) == 3


def test_few_frames_lie_between_a_command_and_its_stage(stages: Stages, card: Path) -> None:
    frames: list[str] = []

    def orient(space: Workspace) -> None:
        stack = [frame.filename for frame in traceback.extract_stack()]
        frames.extend(name for name in stack if "/flows/" in name and "/tests/" not in name)
        write_reconstruction(stages.record.reconstruction, space.out)

    go(stages, card, until=Part.INGEST)
    root = stages.record.survey.folder.parent / "new"
    whole = [stage_of("orientation", orient), *stages.stages(bands=False)[1:]]
    map_survey(root, MapOptions(), stages=whole)
    command, stage = 1, 1
    assert command + len(frames) + stage <= 8, frames


def test_card_is_read_again_only_when_it_or_the_survey_has_changed(
    stages: Stages, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken() -> bool:
        return not go(stages, card, until=Part.INGEST).results[0].reused

    assert taken()
    assert not taken()
    shutil.copy(card / "DCIM" / "DJI_0001.JPG", card / "DCIM" / "DJI_0009.JPG")
    assert taken()
    assert not taken()
    (stages.record.survey.folder.parent / "new" / "survey.gpkg").unlink()
    assert taken()


def test_dry_run_of_a_card_tells_its_size_and_writes_nothing(card: Path, tmp_path: Path) -> None:
    survey = Survey(folder=tmp_path / "new")
    lines = describe_run_plan(survey, SurveyRequest(cards=(card,)), RunOptions())
    assert lines[0].startswith("3 photographs of 0.0 megapixels")
    assert lines[2].startswith("ingest")
    assert not survey.folder.exists()


def test_what_cannot_be_a_survey_or_a_card_is_refused_before_anything_is_written(
    stages: Stages, card: Path, tmp_path: Path
) -> None:
    request = SurveyRequest(cards=(tmp_path / "no card",))
    with pytest.raises(InputError, match="does not exist; is the card in"):
        run_survey(tmp_path / "new", request, HERE)
    assert not (tmp_path / "new").exists()
    request = SurveyRequest(cards=(card,), indices=IndexOptions(indices=("DVI",)))
    with pytest.raises(InputError, match="no index is called 'DVI'"):
        run_survey(tmp_path / "new", request, HERE)
    assert not (tmp_path / "new").exists()
    with pytest.raises(NotASurveyError):
        run_survey(tmp_path / "card", SurveyRequest(), HERE)


def test_holes_are_told_by_stage(stages: Stages, card: Path) -> None:
    stages.holes = True
    assert go(stages, card).holes == {"surface": {"r0c1": "out of memory"}}
    stages.holes = False
    assert go(stages, card).holes != {}
    assert stages.runs == ["orientation", "surface"]
    assert go(stages, card, run=replace(HERE, retry_holes=True)).holes == {}
    assert stages.runs == ["orientation", "surface", "surface"]


class Pair:
    """Two stages that build on the first alone; each waits until both are at work."""

    def __init__(self, stages: Stages, *, fails: bool) -> None:
        self.stages, self.fails = stages, fails
        self.run: SurveyRun | None = None
        self.stopped = False
        self.barrier = Barrier(2, timeout=30)

    def measure(self, space: Workspace) -> Figures:
        self.barrier.wait()
        return self.stages.measure(space)

    def other(self, space: Workspace) -> Figures:
        self.barrier.wait()
        if self.fails:
            assert self.run is not None
            self.stopped = self.run.stopping.wait(30)
            raise StoppedError("stopped with the run")
        return {}

    def fail(self, space: Workspace) -> Figures:
        self.barrier.wait()
        raise InputError("the card is empty")

    def go(self, card: Path) -> SurveyResult:
        def go(run: SurveyRun) -> SurveyResult:
            self.run = run
            return run.go()

        stages = [
            stage_of("orientation", self.stages.orient),
            stage_of("surface", self.fail if self.fails else self.measure, "orientation"),
            stage_of("other", self.other, "orientation"),
            stage_of("last", lambda space: {}, "surface", "other"),
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SurveyRun, "side_by_side", True)
            request = SurveyRequest(cards=(card,))
            root = self.stages.record.survey.folder.parent / "new"
            return run_survey(root, request, HERE, go=go, stages=stages)


def test_stages_that_do_not_need_each_other_are_made_side_by_side(
    stages: Stages, card: Path
) -> None:
    result = Pair(stages, fails=False).go(card)
    names = ["ingest", "orientation", "surface", "other", "last"]
    assert [r.stage for r in result.results] == names
    said = read_json(result.survey.work_dir / RUN)
    assert said is not None
    assert {entry["state"] for entry in said["stages"].values()} == {"done"}


def test_stage_that_fails_stops_the_one_beside_it(stages: Stages, card: Path) -> None:
    pair = Pair(stages, fails=True)
    with pytest.raises(InputError, match="the card is empty"):
        pair.go(card)
    assert pair.stopped
