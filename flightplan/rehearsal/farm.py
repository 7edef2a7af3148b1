"""The standard rehearsal: the ruined farm in `sample_data`, surveyed by lines or by a plan."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from scipy import ndimage

from flightplan.coverage.spacing import Overlap
from flightplan.formats.mission import Mission
from flightplan.rehearsal.camera import SensorModel
from flightplan.rehearsal.features import Farm, Plate, read_farm
from flightplan.rehearsal.photographs import (
    CONSUMER,
    Flight,
    Gnss,
    RenderedPhotograph,
    Station,
    flown,
    fly_lines,
    take_photographs,
    write_truth,
)
from flightplan.rehearsal.planned import FlownPlan
from flightplan.rehearsal.scene import Scene
from flightplan.terrain.terrain import bounds_about
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame, PlanFrame
from tmp.geo.grids import Grid
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

AREA_M = (56.0, 50.0)
"""East-west and north-south extent of the survey area at scale 1, about the terrain's middle."""
STANDARD_OVERLAP = Overlap()
TRUTH_MARGIN_M = 6.0
OBLIQUE_PITCH_DEG = -62.0
LOWEST_GROUND_M = 9.0
UPPER = 1.35
"""Second flying height as a multiple of the first."""

CAMERA = Camera(
    camera_id="tmp-rehearsal-1632x1224",
    width_px=1632,
    height_px=1224,
    fx_px=1099.0,
    fy_px=1099.0,
    cx_px=820.3,
    cy_px=608.9,
    k1=-0.021,
    k2=0.013,
    p1=0.0006,
    p2=-0.0004,
    k3=-0.004,
    distortion_known=True,
    source="rehearsal",
)
NIR_SENSOR = SensorModel(gain=1.1, vignetting=0.3, full_well=12000.0)
NIR_PIXELS_PER_MM = 1280 / 4.8
NIR_CAMERA = Camera(
    camera_id="tmp-rehearsal-nir-1280x960",
    width_px=1280,
    height_px=960,
    fx_px=905.0,
    fy_px=905.0,
    cx_px=636.2,
    cy_px=483.5,
    k1=-0.034,
    k2=0.018,
    p1=-0.0003,
    p2=0.0005,
    distortion_known=True,
    source="rehearsal",
)
PLATES = tuple(
    Plate(
        centre=np.array([east, 75.8]), side_m=1.2, reflectance=reflectance, heading_deg=heading_deg
    )
    for east, reflectance, heading_deg in (
        (81.6, 0.05, 8.0),
        (84.1, 0.18, -5.0),
        (86.6, 0.36, 15.0),
    )
)
"""Grey targets on the level ground amid the farm, in metres from the terrain's corner.

The brightest leaves the colour camera, exposed for grass, room below saturation.
"""

Float = NDArray[np.float64]
STRAY_M, STRAY_DEG = 0.1, 0.1
"""How far a drone strays from its line, and a gimbal from its angles, on a calm day: the hovering
accuracy that makers give for RTK, and ten times the vibration that they give for gimbals."""
FARM_REACH_M = 1000.0
"""A plan farther than this from the farm is moved over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmOptions:
    """What kind of survey of the farm to rehearse."""

    gnss: Gnss = CONSUMER
    gsd_m: float = 0.025
    overlap: Overlap = STANDARD_OVERLAP
    second_height: bool = False
    """Add cross lines at 1.35 times the height."""
    oblique: bool = False
    """Add lines that look 28° ahead of straight down."""
    nir: bool = False
    """Add a near infrared camera beside the first, and grey targets on the ground."""
    scale: int = 1
    """Area, as a multiple of the standard one; beyond the terrain lie its mirror images."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a rehearsal has written."""

    photos: Path
    """Folder of the photographs."""
    truth: Path
    """Folder of the truth."""
    frame: LocalFrame
    shots: tuple[RenderedPhotograph, ...]
    grid: Grid
    """Grid of the truth rasters."""


def farm_frame(farm: Farm) -> LocalFrame:
    """Return the frame whose origin lies on the ground in the middle of the terrain."""
    rows, cols = farm.terrain.shape
    to_geographic = Transformer.from_crs(farm.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_geographic.transform(
        farm.corner[0] + farm.size_m[0] / 2, farm.corner[1] + farm.size_m[1] / 2
    )
    height = float(farm.terrain[rows // 2, cols // 2])
    return LocalFrame(origin=(lon, lat, height), crs=farm.crs)


def plan_stations(options: FarmOptions) -> list[Station]:
    """Return the stations of the farm's survey, before wind and gimbal disturb them."""
    height, lap = options.gsd_m * CAMERA.fx_px, options.overlap
    size = AREA_M[0] * options.scale**0.5, AREA_M[1] * options.scale**0.5
    stations = fly_lines(size, CAMERA, height, heading_deg=90.0, overlap=lap)
    if options.second_height:
        less = Overlap(front=lap.front - 0.08, side=lap.side - 0.11)
        stations += fly_lines(size, CAMERA, UPPER * height, heading_deg=0.0, overlap=less)
    if options.oblique:
        less, pitch_deg = Overlap(front=lap.front - 0.1, side=lap.side - 0.16), OBLIQUE_PITCH_DEG
        stations += fly_lines(
            size, CAMERA, height, heading_deg=0.0, overlap=less, pitch_deg=pitch_deg
        )
    return stations


def farm_rehearsal(
    folder: Path, options: FarmOptions | None = None, *, workers: int = 2, track: Track = silent
) -> Rehearsal:
    """Rehearse a survey of the ruined farm: write ``photos/`` and ``truth/`` into a folder.

    The same options give the same files, whatever the number of workers.

    Raises
    ------
    InputError
        If an option is out of range, or the folder already holds photographs.
    """
    options = options or FarmOptions()
    refuse_photographs(folder)
    farm = read_farm()
    if options.nir:
        farm = replace(farm, features=replace(farm.features, plates=PLATES))
    stations = flown(plan_stations(options), np.random.default_rng(options.seed))
    flights = [Flight(camera=CAMERA, gnss=options.gnss, start=farm.captured)]
    if options.nir:
        nir = replace(flights[0], camera=NIR_CAMERA, sensor=NIR_SENSOR, band="nir")
        flights.append(replace(nir, pixels_per_mm=NIR_PIXELS_PER_MM))
    grid = _truth_grid(farm, options)
    return _render(
        farm, stations, flights, grid, folder, seed=options.seed, workers=workers, track=track
    )


def refuse_photographs(folder: Path) -> None:
    """Raise `InputError` where a rehearsal would be mixed with photographs that are there."""
    photos = folder / "photos"
    if photos.is_dir() and any(photos.iterdir()):
        raise InputError(f"{photos}: already holds files; move or delete the folder first")


def _render(
    farm: Farm,
    stations: list[Station],
    flights: Sequence[Flight],
    grid: Grid,
    folder: Path,
    *,
    seed: int,
    workers: int,
    track: Track,
) -> Rehearsal:
    """Write the photographs that each of some cameras takes, and the truth on a grid."""
    frame, cameras = farm_frame(farm), [flight.camera for flight in flights]
    photos, truth = folder / "photos", folder / "truth"
    scene = Scene.build(farm, seen_bounds(stations, cameras, frame), workers=workers)
    shots: list[RenderedPhotograph] = []
    for flight in flights:
        shots += take_photographs(
            scene, frame, stations, flight, photos, seed=seed, workers=workers, track=track
        )
    write_truth(truth, scene, frame, cameras, shots, grid, workers=workers)
    return Rehearsal(photos=photos, truth=truth, frame=frame, shots=tuple(shots), grid=grid)


def seen_bounds(
    stations: Sequence[Station],
    cameras: Sequence[Camera],
    frame: LocalFrame,
    lowest_m: float = LOWEST_GROUND_M,
) -> tuple[float, float, float, float]:
    """Return map bounds of all the ground that the photographs can see, with a margin.

    The ground is taken to lie no more than `lowest_m` below the world's origin.
    """
    reached = []
    for camera in cameras:
        width, height = camera.width_px, camera.height_px
        rays = camera.ray_from_pixel([[0, 0], [width, 0], [0, height], [width, height]])
        for station in stations:
            pose = station.pose
            world = rays @ pose.rotation
            fall = (pose.centre[2] + lowest_m) / np.maximum(-world[:, 2], 0.2)
            reached.append(pose.centre + world * fall[:, None])
    return bounds_about(frame.map_from_world(np.concatenate(reached))[:, :2], 2.0)


def _truth_grid(farm: Farm, options: FarmOptions) -> Grid:
    """Return the grid of the truth: the survey area and a margin, at the photographs' GSD."""
    middle = np.array(farm.corner) + np.array(farm.size_m) / 2
    half = np.array(AREA_M) * options.scale**0.5 / 2 + TRUTH_MARGIN_M
    low, high = middle - half, middle + half
    return Grid.from_bounds((low[0], low[1], high[0], high[1]), options.gsd_m, farm.crs)


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

    Raises
    ------
    InputError
        If the folder already holds photographs.
    """
    refuse_photographs(folder)
    farm = read_farm()
    frame, camera = farm_frame(farm), plan.camera.camera()
    stations = flown(
        _stations(plan, farm, frame),
        np.random.default_rng(seed),
        position_sigma_m=STRAY_M,
        angle_sigma_deg=STRAY_DEG,
    )
    flights = [Flight(camera=camera, gnss=gnss, start=farm.captured)]
    grid = _planned_truth_grid(stations, camera, frame)
    return _render(farm, stations, flights, grid, folder, seed=seed, workers=workers, track=track)


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


def _planned_truth_grid(stations: Sequence[Station], camera: Camera, frame: LocalFrame) -> Grid:
    """Return the grid of the truth: the ground below the cameras, at the photographs' GSD."""
    world = np.array([station.position for station in stations])
    places = frame.map_from_world(world)[:, :2]
    gsd_m = round(float(np.median(world[:, 2])) / camera.fx_px, 4)
    return Grid.from_bounds(bounds_about(places, TRUTH_MARGIN_M), gsd_m, frame.crs)
