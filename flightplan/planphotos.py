"""Render the photographs of a plan over the sample farm, with the truth beside them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flightplan.farm import Rehearsal, farm_frame, seen_bounds
from flightplan.features import Farm, read_farm
from flightplan.missions import Mission
from flightplan.planframe import PlanFrame
from flightplan.planrehearsal import FlownPlan
from flightplan.rehearsal import CONSUMER, Flight, Gnss, take_photographs
from flightplan.scene import Scene
from flightplan.stations import Station, flown
from flightplan.truth import write_truth
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.frames import LocalFrame
from tmp.grids import Grid
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

TRUTH_MARGIN_M = 6.0
STRAY_M, STRAY_DEG = 0.1, 0.1
"""How far a drone strays from its line, and a gimbal from its angles, on a calm day: the hovering
accuracy that makers give for RTK, and ten times the vibration that they give for gimbals."""
FARM_REACH_M = 1000.0
"""A plan farther than this from the farm is moved over it."""


def render_plan(
    plan: FlownPlan,
    folder: Path,
    *,
    gnss: Gnss = CONSUMER,
    seed: int = 1,
    workers: int = 2,
    track: Track = silent,
) -> Rehearsal:
    """Fly a plan over the sample farm: write ``photos/`` and ``truth/`` into a folder.

    A plan that lies elsewhere is moved: the middle of its area comes over the middle of the farm,
    and heights are kept above the ground at the take-off.  Pictures are free of distortion, as
    drones that correct them in the camera give them.

    Parameters
    ----------
    plan : FlownPlan
    folder : Path
    gnss : Gnss
        Errors of the recorded positions.
    seed : int
        Of wind, gimbal, positions and noise.
    workers : int
    track : Track

    Raises
    ------
    InputError
        If the folder already holds photographs.
    """
    photos = folder / "photos"
    if photos.is_dir() and any(photos.iterdir()):
        raise InputError(f"{photos}: already holds photographs; move or delete the folder first")
    farm = read_farm()
    frame = farm_frame(farm)
    camera = plan.camera.camera()
    stations = flown(
        _stations(plan, farm, frame),
        np.random.default_rng(seed),
        position_sigma_m=STRAY_M,
        angle_sigma_deg=STRAY_DEG,
    )
    scene = Scene.build(farm, seen_bounds(stations, [camera], frame), workers=workers)
    flight = Flight(camera=camera, gnss=gnss, start=farm.captured)
    shots = take_photographs(
        scene, frame, stations, flight, photos, seed=seed, workers=workers, track=track
    )
    grid = _truth_grid(stations, camera, frame)
    write_truth(folder / "truth", scene, frame, [camera], shots, grid, workers=workers)
    return Rehearsal(
        photos=photos, truth=folder / "truth", frame=frame, shots=tuple(shots), grid=grid
    )


def _stations(plan: FlownPlan, farm: Farm, frame: LocalFrame) -> list[Station]:
    """Return where the photographs are taken, in the farm's world."""
    there = _over_farm(plan.frame, frame)
    stations = []
    for mission, photos in zip(plan.missions, plan.photos, strict=True):
        home = _moved([_takeoff(mission)], plan.frame, there)
        home_m = float(_farm_ground(farm, frame, home)[0])
        places = _moved([(one.lon_deg, one.lat_deg) for one in photos], plan.frame, there)
        heights = np.array([home_m + one.height_m for one in photos])
        world = frame.world_from_geodetic(np.column_stack([places, heights]))
        stations += [
            Station(
                position=(float(x), float(y), float(z)),
                yaw_deg=one.heading_deg,
                pitch_deg=one.gimbal_pitch_deg,
            )
            for (x, y, z), one in zip(world, photos, strict=True)
        ]
    return stations


def _over_farm(plan: PlanFrame, frame: LocalFrame) -> PlanFrame:
    """Return the plan's frame, moved over the farm if it lies elsewhere."""
    assert frame.origin is not None  # the farm has a place on Earth
    farm = PlanFrame(lon_deg=frame.origin[0], lat_deg=frame.origin[1])
    ((x, y),) = farm.plan_from_geodetic([(plan.lon_deg, plan.lat_deg)])
    if math.hypot(x, y) <= FARM_REACH_M:
        return plan
    log.info(
        "the plan is flown over the sample farm, %.0f km from its place", math.hypot(x, y) / 1e3
    )
    return farm


def _takeoff(mission: Mission) -> tuple[float, float]:
    if mission.takeoff is None:
        raise InputError(f"{mission.name}: does not say where it takes off; plan again")
    return mission.takeoff.lon_deg, mission.takeoff.lat_deg


def _moved(places: Sequence[tuple[float, float]], here: PlanFrame, there: PlanFrame) -> Float:
    return there.geodetic_from_plan(here.plan_from_geodetic(places))


def _farm_ground(farm: Farm, frame: LocalFrame, places: Float) -> Float:
    """Return the bare ground's height (N,) at longitudes and latitudes; mirrored beyond."""
    assert frame.origin is not None
    level = np.column_stack([places, np.full(len(places), frame.origin[2])])
    x, y = frame.map_from_world(frame.world_from_geodetic(level))[:, :2].T
    wide, tall = farm.size_m
    # Beyond the terrain lie its mirror images.
    x, y = _folded(x - farm.corner[0], wide), _folded(y - farm.corner[1], tall)
    col, row = x / farm.cell_m - 0.5, (tall - y) / farm.cell_m - 0.5
    heights = ndimage.map_coordinates(farm.terrain, [row, col], order=1, mode="nearest")
    return np.asarray(heights, float)


def _folded(values: Float, size: float) -> Float:
    return size - np.abs(values % (2 * size) - size)


def _truth_grid(stations: Sequence[Station], camera: Camera, frame: LocalFrame) -> Grid:
    """Return the grid of the truth: the ground below the cameras, at the photographs' GSD."""
    world = np.array([station.position for station in stations])
    places = frame.map_from_world(world)[:, :2]
    low, high = places.min(axis=0) - TRUTH_MARGIN_M, places.max(axis=0) + TRUTH_MARGIN_M
    gsd_m = round(float(np.median(world[:, 2])) / camera.fx_px, 4)
    return Grid.from_bounds(
        (float(low[0]), float(low[1]), float(high[0]), float(high[1])), gsd_m, frame.crs
    )
