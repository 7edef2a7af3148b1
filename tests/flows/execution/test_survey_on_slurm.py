"""The whole flow on a cluster makes what it makes here, from the same photographs."""

from __future__ import annotations

import hashlib
import runpy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from flightplan.rehearsal.farm import (
    CAMERA,
    NIR_CAMERA,
    NIR_PIXELS_PER_MM,
    NIR_SENSOR,
    FarmOptions,
    farm_frame,
    plan_stations,
    seen_bounds,
)
from flightplan.rehearsal.features import read_farm
from flightplan.rehearsal.photographs import CONSUMER, Flight, flown, take_photographs
from flightplan.rehearsal.scene import Scene
from flows.execution.cluster_profile import Profile
from flows.execution.slurm_commands import Commands
from flows.pipeline import run_survey
from flows.run.request import MapOptions, RunOptions, SurveyRequest, SurveyResult, Where
from tmp.cameras import Camera

CLUSTER = runpy.run_path(str(Path(__file__).with_name("slurm_cluster.py")))
PROFILE = Profile(poll_s=0.5, grace_s=5, unit_minutes=0.02, most_units=3, most_cpus=2)
GSD_M = 0.05
REDUCED = 0.75
"""Of the cameras' pixels: what still orients, and is soon rendered."""
pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Known:
    """A card of photographs, and what a run on this machine made of it."""

    card: Path
    products: dict[str, str]
    stages: list[str]


def reduced(camera: Camera) -> Camera:
    """Return a camera with fewer pixels and the same field of view."""
    width_px, height_px = round(camera.width_px * REDUCED), round(camera.height_px * REDUCED)
    return replace(
        camera,
        width_px=width_px,
        height_px=height_px,
        fx_px=camera.fx_px * REDUCED,
        fy_px=camera.fy_px * REDUCED,
        cx_px=camera.cx_px * REDUCED,
        cy_px=camera.cy_px * REDUCED,
    )


def photograph_farm(card: Path) -> None:
    """Render eight photographs in colour, and as many in near infrared."""
    farm, rng = read_farm(), np.random.default_rng(1)
    frame = farm_frame(farm)
    stations = flown(plan_stations(FarmOptions(gsd_m=GSD_M)), rng)
    colour = Flight(camera=reduced(CAMERA), gnss=CONSUMER, start=farm.captured)
    nir = Flight(
        camera=reduced(NIR_CAMERA),
        gnss=CONSUMER,
        start=farm.captured,
        sensor=NIR_SENSOR,
        band="nir",
        pixels_per_mm=NIR_PIXELS_PER_MM * REDUCED,
    )
    bounds = seen_bounds(stations, [colour.camera, nir.camera], frame)
    scene = Scene.build(farm, bounds, workers=2)
    for flight in (colour, nir):
        take_photographs(scene, frame, stations, flight, card, seed=1, workers=2)


def run_card(card: Path, survey: Path, run: RunOptions) -> SurveyResult:
    asked = MapOptions(ortho_gsd_m=0.04, workers=2)
    return run_survey(survey, SurveyRequest(cards=(card,), map=asked), run)


def products_of(result: SurveyResult) -> dict[str, str]:
    folder = result.survey.products_dir
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tif", ".laz")
    }


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    folder = tmp_path_factory.mktemp("farm")
    photograph_farm(folder / "card")
    made = run_card(folder / "card", folder / "here", RunOptions(on=Where.LOCAL))
    return Known(
        card=folder / "card",
        products=products_of(made),
        stages=[result.stage for result in made.results],
    )


def arrays(survey: Path) -> dict[str, int]:
    """Return the jobs of the largest array of each stage."""
    found: dict[str, int] = {}
    for path in survey.glob("work/units/*/*/batch-*/units.txt"):
        stage = path.parents[2].name
        found[stage] = max(found.get(stage, 0), len(path.read_text().splitlines()))
    return found


def holds_on_cluster(known: Known, survey: Path) -> None:
    on_slurm = RunOptions(on=Where.SLURM, profile=PROFILE)
    made = run_card(known.card, survey, on_slurm)
    assert products_of(made) == known.products
    assert {"orthomosaic.tif", "dsm.tif", "cloud.laz", "ndvi.tif"} <= set(known.products)
    jobs = arrays(survey)
    assert set(known.stages) <= set(jobs)
    assert jobs["features"] > 1  # shared by photographs
    assert jobs["reflectance"] > 1  # shared by tiles
    queue = Commands().queue()
    assert queue is not None
    assert not [job for job, (state, *_) in queue.items() if state in ("PENDING", "RUNNING")]

    again = run_card(known.card, survey, on_slurm)
    assert all(result.reused for result in again.results)
    assert arrays(survey) == jobs


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with CLUSTER["cluster"](tmp_path / "slurm") as running:
        monkeypatch.setenv("SLURM_CONF", str(running.conf))
        yield


@pytest.mark.slurm
@pytest.mark.skipif(bool(CLUSTER["why_not"]()), reason=CLUSTER["why_not"]())
@pytest.mark.usefixtures("cluster")
def test_survey_is_the_same_on_a_cluster_as_here(known: Known, tmp_path: Path) -> None:
    holds_on_cluster(known, tmp_path / "survey")


@pytest.mark.skipif(not CLUSTER["why_not"](), reason="a real cluster can be started")
@pytest.mark.usefixtures("slurm")
def test_survey_is_the_same_by_scripts_that_stand_for_slurm(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flows.execution.slurm_commands.COMMAND_S", 600.0
    )  # its sbatch does the work
    holds_on_cluster(known, tmp_path / "survey")
