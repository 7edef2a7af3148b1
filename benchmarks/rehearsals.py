"""The photographs of the robustness suite: which ground is flown over how, rendered with truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from disturbances import QUALITY, SHOTS, Card, read_card, write_card
from numpy.typing import NDArray
from scenes import (
    Country,
    bounds_seen,
    farm_country,
    in_autumn,
    lit,
    water_surface,
    with_cliff,
    with_lake,
    with_rows,
    with_slope,
    with_snow,
    with_wood,
)

from flightplan.coverage.spacing import Overlap
from flightplan.proof.casting import hidden
from flightplan.rehearsal.camera import SensorModel, develop, expose, write_photograph
from flightplan.rehearsal.farm import CAMERA, farm_frame
from flightplan.rehearsal.features import Farm, read_farm
from flightplan.rehearsal.photographs import (
    CONSUMER,
    Flight,
    RenderedPhotograph,
    Station,
    flown,
    fly_lines,
    record,
    render,
)
from flightplan.rehearsal.scene import Scene
from tmp.files import replacing
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.progress import Track, silent
from tmp.threads import map_threads

TRUTH = "truth.npz"
SMALL = CAMERA.scaled(1142, 857)
SECOND = replace(
    SMALL, camera_id="second", fx_px=620.0, fy_px=620.0, cx_px=565.2, cy_px=431.9, k1=-0.03
)
"""Of another body, with a wider lens."""
PIXELS_PER_MM = 1142 / 13.2
GSD_M = 0.07
HEIGHT_M = GSD_M * SMALL.fx_px
SIZE_M = (120.0, 100.0)
OVERLAP = Overlap(front=0.75, side=0.65)
SLOPE = math.tan(math.radians(35.0))
MOST_SLANT = math.tan(math.radians(55.0))
"""Tangent of the angle off the vertical beyond which no photograph counts as seeing the ground."""
TRUTH_CELL_M = 2 * GSD_M
VIEW_STEP = 2
"""Cells of the truth from one place whose views are counted to the next."""
RENDER_CELL_M = 0.07

F32 = NDArray[np.float32]
Stations = list[Station]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a card of photographs comes about."""

    stations: Callable[[], Stations]
    country: Callable[[Country, Farm, LocalFrame], Country] = lambda country, farm, frame: country
    lowest_m: float = 9.0
    """How far below the take-off point there may be ground."""
    rise_north: float = 0.0
    """Slope that the stations follow."""
    flight: Callable[[Flight, int], Flight] = lambda flight, number: flight
    """The flight that takes the photograph of a number."""
    lights: int = 1
    """How many lights follow one another over the flight."""
    light: Callable[[Farm, int], tuple[Farm, float]] = lambda farm, number: (farm, 0.0)
    """The farm with its sun, and the share of sunlight that clouds take, of each light."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is true of the ground of a card."""

    grid: Grid
    height: F32
    """Of the highest surface at cell centres, (rows, cols); NaN outside the scene."""
    water: NDArray[np.bool_]
    names: tuple[str, ...]
    """Of the photographs."""
    seen: NDArray[np.uint8]
    """Which photographs see every `VIEW_STEP`-th cell, as bits; (bytes, rows, cols)."""

    def views(self, names: Sequence[str]) -> NDArray[np.int_]:
        """Return how many of some photographs see each place, (rows, cols)."""
        count = np.zeros(self.seen.shape[1:], int)
        for number, name in enumerate(self.names):
            if name in names:
                count += (self.seen[number // 8] >> (number % 8)) & 1
        return count


def lines(
    *,
    overlap: Overlap = OVERLAP,
    pitch_deg: float = -90.0,
    height: float = 1.0,
    heading_deg: float = 90.0,
    size_m: tuple[float, float] = SIZE_M,
    rise_north: float = 0.0,
) -> Callable[[], Stations]:
    """Return a maker of the stations of parallel lines, as wind and gimbal leave them."""

    def fly() -> Stations:
        planned = fly_lines(
            size_m,
            SMALL,
            height * HEIGHT_M,
            heading_deg=heading_deg,
            overlap=overlap,
            pitch_deg=pitch_deg,
        )
        raised = [
            replace(s, position=(*s.position[:2], s.position[2] + rise_north * s.position[1]))
            for s in planned
        ]
        return flown(raised, np.random.default_rng(7))

    return fly


def cross_lines() -> Stations:
    """Return the plain lines and two across them, a third higher."""
    across = lines(heading_deg=0.0, height=1.35, overlap=Overlap(front=0.68, side=0.4))()
    return lines()() + across


def _readout(flight: Flight, number: int) -> Flight:
    del number
    return replace(flight, speed_m_s=8.0, readout_s=0.030)


def _two_bodies(flight: Flight, number: int) -> Flight:
    if number < 16:
        return flight
    return replace(flight, camera=SECOND, model="Rehearsal W", prefix="WID")


def _on_snow(flight: Flight, number: int) -> Flight:
    del number
    return replace(flight, sensor=SensorModel(gain=0.62))


def _clouded(farm: Farm, number: int) -> tuple[Farm, float]:
    return farm, 0.95 * number


def _low_sun(farm: Farm, number: int) -> tuple[Farm, float]:
    """Turn a low sun by 15° an hour, over four hours."""
    azimuth_deg = farm.sun_azimuth_deg + 22.0 * number
    return replace(farm, sun_elevation_deg=14.0, sun_azimuth_deg=azimuth_deg), 0.0


def _few() -> Stations:
    return [replace(s, yaw_deg=s.yaw_deg + 25.0) for s in lines()()[5:29:6]]


def _lake(country: Country, farm: Farm, frame: LocalFrame) -> Country:
    del farm
    origin = frame.map_from_world([[0.0, 0.0, 0.0]])[0, 1]
    return with_lake(country, origin - SIZE_M[1] / 6 - 8.0)


PLANS = {
    "plain": Plan(stations=lines()),
    "readout": Plan(stations=lines(), flight=_readout),
    "tilt-15": Plan(stations=lines(pitch_deg=-75.0)),
    "tilt-30": Plan(stations=lines(pitch_deg=-60.0)),
    "tilt-45": Plan(stations=lines(pitch_deg=-45.0)),
    "cross": Plan(stations=cross_lines),
    "thin": Plan(
        stations=lines(
            overlap=Overlap(front=0.60, side=0.30), size_m=(SIZE_M[0] + 50, SIZE_M[1] + 70)
        )
    ),
    "cloud": Plan(stations=lines(), lights=2, light=_clouded),
    "shadow": Plan(stations=lines(), lights=4, light=_low_sun),
    "snow": Plan(
        stations=lines(),
        country=lambda country, farm, frame: with_snow(country, farm),
        flight=_on_snow,
    ),
    "wood": Plan(stations=lines(), country=lambda country, farm, frame: with_wood(country)),
    "lake": Plan(stations=lines(), country=_lake),
    "rows": Plan(stations=lines(), country=lambda country, farm, frame: with_rows(country)),
    "cliff": Plan(
        stations=lines(),
        country=lambda country, farm, frame: with_cliff(country),
        lowest_m=50.0,
    ),
    "bodies": Plan(stations=lines(), flight=_two_bodies),
    "slope": Plan(
        stations=lines(rise_north=SLOPE),
        country=lambda country, farm, frame: with_slope(country, frame, rise_north=SLOPE),
        rise_north=SLOPE,
    ),
    "autumn": Plan(
        stations=_few,
        country=lambda country, farm, frame: in_autumn(country),
        flight=lambda flight, number: replace(flight, prefix="OLD"),
        light=lambda farm, number: (
            replace(farm, sun_azimuth_deg=120.0, sun_elevation_deg=18.0),
            0.0,
        ),
        seed=2,
    ),
}


def rehearsed(folder: Path, name: str, *, workers: int = 1, track: Track = silent) -> Card:
    """Return the card of a plan, rendered unless it lies in its folder already."""
    home = folder / name
    if (home / SHOTS).is_file() and (home / TRUTH).is_file():
        return read_card(home)
    plan, farm = PLANS[name], read_farm()
    frame = farm_frame(farm)
    stations = plan.stations()
    flights = [plan.flight(_flight(farm), number) for number in range(len(stations))]
    cameras = {flight.camera.camera_id: flight.camera for flight in flights}
    widest = min(cameras.values(), key=lambda camera: camera.fx_px)
    bounds = bounds_seen(
        stations, widest, frame, lowest_m=plan.lowest_m, rise_north=plan.rise_north
    )
    large = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) > 80_000
    cell_m = 1.6 * RENDER_CELL_M if large else RENDER_CELL_M
    country = plan.country(farm_country(farm, bounds, cell_m, workers=workers), farm, frame)
    streams = np.random.SeedSequence(plan.seed).spawn(len(stations))
    shots: list[RenderedPhotograph] = []
    (home / "photos").mkdir(parents=True, exist_ok=True)
    for light in range(plan.lights):
        seen_farm, cloud = plan.light(farm, light)
        scene = lit(country, seen_farm, cloud=cloud, workers=workers)
        jobs = [
            (number, stations[number], flights[number], np.random.default_rng(streams[number]))
            for number in range(len(stations))
            if number * plan.lights // len(stations) == light
        ]

        def shoot(
            job: tuple[int, Station, Flight, np.random.Generator], scene: Scene = scene
        ) -> RenderedPhotograph:
            return _shoot(home / "photos", scene, frame, *job)

        done = map_threads(shoot, jobs, workers=workers)
        shots += [shot for _, shot in track(done, f"photographs of {name}", len(jobs))]
    shots.sort(key=lambda shot: shot.tags.time)
    card = Card(folder=home, frame=frame, cameras=cameras, shots=tuple(shots))
    write_truth(home / TRUTH, scene, card, workers=workers)
    return write_card(card)


def _flight(farm: Farm) -> Flight:
    return Flight(camera=SMALL, gnss=CONSUMER, start=farm.captured, pixels_per_mm=PIXELS_PER_MM)


def _shoot(
    folder: Path,
    scene: Scene,
    frame: LocalFrame,
    number: int,
    station: Station,
    flight: Flight,
    rng: np.random.Generator,
) -> RenderedPhotograph:
    """Render, expose and write one photograph."""
    shot = record(number, station, frame, flight, rng)
    radiance = render(
        scene, frame, flight.camera, station, sweep_m=flight.speed_m_s * flight.readout_s
    )
    if scene.water.any():
        water, share = water_surface(scene, frame, flight.camera, station, rng)
        radiance += share[..., None] * (water - radiance)
    pixels = develop(expose(radiance, flight.camera, flight.sensor, rng))
    write_photograph(folder / shot.name, pixels, shot.tags, quality=QUALITY)
    return shot


def write_truth(path: Path, scene: Scene, card: Card, *, workers: int) -> None:
    """Write heights, water and what each photograph sees of the ground."""
    grid = Grid.from_bounds(scene.grid.bounds, TRUTH_CELL_M, scene.grid.crs)
    height, _ = scene.seen_from_above(grid, samples=1, workers=workers)
    x, y = grid.cell_centres()
    cols = ((x - scene.grid.x_min) / scene.grid.cell_m).astype(int).clip(0, scene.grid.cols - 1)
    rows = ((scene.grid.y_max - y) / scene.grid.cell_m).astype(int).clip(0, scene.grid.rows - 1)
    coarse = height[::VIEW_STEP, ::VIEW_STEP]
    places = np.column_stack(
        [
            np.tile(x[::VIEW_STEP], coarse.shape[0]),
            np.repeat(y[::VIEW_STEP], coarse.shape[1]),
            coarse.ravel(),
        ]
    )
    world = card.frame.world_from_map(np.nan_to_num(places))
    seen = [_sees(card, shot, height, grid, places, world) for shot in card.shots]
    bits = np.packbits(np.stack(seen), axis=0, bitorder="little")
    with replacing(path) as beside, beside.open("wb") as out:
        np.savez_compressed(
            out,
            height=height,
            water=scene.water[np.ix_(rows, cols)],
            names=np.array([shot.name for shot in card.shots]),
            seen=bits.reshape(-1, *coarse.shape),
            grid=np.array([grid.x_min, grid.y_max, grid.cell_m]),
            crs=np.array(grid.crs),
        )


def _sees(
    card: Card,
    shot: RenderedPhotograph,
    height: F32,
    grid: Grid,
    places: NDArray[np.float64],
    world: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return which places (N,) a photograph sees, at no more than `MOST_SLANT`."""
    camera, pose = card.cameras[shot.camera_id], shot.station.pose
    away = pose.centre - world
    slant = np.hypot(away[:, 0], away[:, 1]) < MOST_SLANT * away[:, 2]
    inside = np.isfinite(places[:, 2]) & slant
    pixels = camera.pixel_from_cam(pose.cam_from_world(world[inside]))
    inside[inside] = (
        (pixels[:, 0] > 0)
        & (pixels[:, 0] < camera.width_px)
        & (pixels[:, 1] > 0)
        & (pixels[:, 1] < camera.height_px)
    )
    points = np.vstack([places[inside], card.frame.map_from_world(pose.centre[None])])
    nodes = np.column_stack(
        [
            (points[:, 0] - grid.x_min) / grid.cell_m - 0.5,
            (grid.y_max - points[:, 1]) / grid.cell_m - 0.5,
            points[:, 2] + 0.15,  # a place is no obstacle to itself
        ]
    )
    *seen, eye = map(tuple, nodes.tolist())
    highest = float(np.nanmax(height))
    inside[inside] = [not hidden(height, place, eye, highest) for place in seen]
    return inside


def read_truth(folder: Path) -> Truth:
    """Read what `write_truth` wrote into the folder of a card."""
    with np.load(folder / TRUTH) as stored:
        x_min, y_max, cell_m = stored["grid"].tolist()
        rows, cols = stored["height"].shape
        return Truth(
            grid=Grid(
                crs=str(stored["crs"]), x_min=x_min, y_max=y_max, cell_m=cell_m, rows=rows,
                cols=cols,
            ),
            height=stored["height"],
            water=stored["water"],
            names=tuple(stored["names"].tolist()),
            seen=stored["seen"],
        )  # fmt: skip
