"""The rehearsal for models in three dimensions: the hamlet in `sample_data`, from all sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.spacing import Overlap
from flightplan.rehearsal.farm import Rehearsal, farm_frame, refuse_photographs, seen_bounds
from flightplan.rehearsal.features import read_farm
from flightplan.rehearsal.photographs import (
    RTK,
    Flight,
    Gnss,
    Station,
    flown,
    fly_lines,
    take_photographs,
    write_truth,
)
from flightplan.rehearsal.scene import Scene
from tmp.cameras import Camera
from tmp.geo.grids import Grid
from tmp.progress import Track, silent

Float = NDArray[np.float64]

AREA_M = (60.0, 60.0)
"""East-west and north-south extent of the survey area, about the terrain's middle."""
TRUTH_MARGIN_M = 3.0
CELL_M = 0.06
"""Of the ground's rasters."""
LOWEST_M = 6.0
"""How far the ground that photographs see lies below the world's origin, at most."""
NADIR_OVERLAP = Overlap(front=0.75, side=0.65)
OBLIQUE_OVERLAP = Overlap(front=0.6, side=0.5)
"""In the middle of the pictures."""
INSET = 0.15
"""How far inside the area's edge the outermost axes meet the ground, of what a picture covers."""

CAMERA = Camera(
    camera_id="tmp-rehearsal-1632x1224-long",
    width_px=1632,
    height_px=1224,
    fx_px=1500.0,
    fy_px=1500.0,
    cx_px=811.4,
    cy_px=615.3,
    k1=-0.018,
    k2=0.021,
    p1=-0.0004,
    p2=0.0003,
    k3=-0.006,
    distortion_known=True,
    source="rehearsal",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HamletOptions:
    """What kind of survey of the hamlet to rehearse."""

    gnss: Gnss = RTK
    gsd_m: float = 0.022
    """Of the photographs that look straight down; all are taken at one height."""
    nadir: Overlap = NADIR_OVERLAP
    oblique: Overlap = OBLIQUE_OVERLAP
    tilts_deg: tuple[float, ...] = (45.0,)
    """Angles from the vertical of lines that look north, east, south and west; none for no such."""
    seed: int = 1


def plan_hamlet(options: HamletOptions) -> list[Station]:
    """Return the stations of the hamlet's survey, before wind and gimbal disturb them."""
    height_m = options.gsd_m * CAMERA.fx_px
    stations = fly_lines(AREA_M, CAMERA, height_m, heading_deg=90.0, overlap=options.nadir)
    for tilt_deg in options.tilts_deg:
        for heading_deg in (0.0, 90.0, 180.0, 270.0):
            stations += look_from_aside(
                AREA_M, CAMERA, height_m, tilt_deg, heading_deg, options.oblique
            )
    return stations


def look_from_aside(
    size_m: tuple[float, float],
    camera: Camera,
    height_m: float,
    tilt_deg: float,
    heading_deg: float,
    overlap: Overlap,
) -> list[Station]:
    """Return the stations of lines on which the camera looks ahead, all on one heading.

    The lines are longer than the area by as much as the camera looks ahead, as
    `flightplan.coverage.oblique.lay_oblique` has them, so that the optical axes meet the ground
    within the level rectangle of `size_m` about the world's origin.
    """
    tilt, heading = math.radians(tilt_deg), math.radians(heading_deg)
    along = np.array([math.sin(heading), math.cos(heading)])
    across = np.array([along[1], -along[0]])
    covered = height_m * np.array(
        [
            camera.height_px / camera.fy_px / math.cos(tilt) ** 2,
            camera.width_px / camera.fx_px / math.cos(tilt),
        ]
    )
    extent = np.maximum(np.abs([along, across]) @ np.array(size_m) - 2 * INSET * covered, 0.0)
    steps = (1 - np.array([overlap.front, overlap.side])) * covered
    photos, lines = (np.ceil(extent / steps - 1e-9).astype(int) + 1).tolist()
    behind_m = height_m * math.tan(tilt)
    stations = []
    for number, side in enumerate(np.linspace(-0.5, 0.5, lines) * extent[1]):
        ways = np.linspace(-0.5, 0.5, photos) * extent[0]
        for way in ways[::-1] if number % 2 else ways:
            east, north = ((way - behind_m) * along + side * across).tolist()
            stations.append(
                Station(
                    position=(east, north, height_m),
                    yaw_deg=heading_deg,
                    pitch_deg=tilt_deg - 90.0,
                )
            )
    return stations


def hamlet_stations(options: HamletOptions) -> list[Station]:
    """Return where the photographs of `hamlet_rehearsal` are truly taken from."""
    return flown(
        plan_hamlet(options),
        np.random.default_rng(options.seed),
        position_sigma_m=0.1,
        angle_sigma_deg=0.3,
    )


def hamlet_scene(stations: Sequence[Station], *, workers: int = 2) -> Scene:
    """Return the hamlet over all the ground that stations see."""
    farm = read_farm("hamlet")
    bounds = seen_bounds(stations, [CAMERA], farm_frame(farm), LOWEST_M)
    return Scene.build(farm, bounds, cell_m=CELL_M, workers=workers)


def hamlet_rehearsal(
    folder: Path, options: HamletOptions | None = None, *, workers: int = 2, track: Track = silent
) -> Rehearsal:
    """Rehearse a survey of the hamlet: write ``photos/`` and ``truth/`` into a folder.

    The same options give the same files, whatever the number of workers.  For truth in three
    dimensions build `hamlet_scene` of `hamlet_stations` and ask `flightplan.rehearsal.truth`.

    Raises
    ------
    InputError
        If an option is out of range, or the folder already holds photographs.
    """
    options = options or HamletOptions()
    refuse_photographs(folder)
    farm = read_farm("hamlet")
    frame, stations = farm_frame(farm), hamlet_stations(options)
    scene = hamlet_scene(stations, workers=workers)
    flight = Flight(camera=CAMERA, gnss=options.gnss, start=farm.captured)
    photos, truth = folder / "photos", folder / "truth"
    shots = take_photographs(
        scene, frame, stations, flight, photos, seed=options.seed, workers=workers, track=track
    )
    middle = np.array(farm.corner) + np.array(farm.size_m) / 2
    half = np.array(AREA_M) / 2 + TRUTH_MARGIN_M
    low, high = (middle - half).tolist(), (middle + half).tolist()
    grid = Grid.from_bounds((*low, *high), options.gsd_m, farm.crs)
    write_truth(truth, scene, frame, [CAMERA], shots, grid, workers=workers)
    return Rehearsal(photos=photos, truth=truth, frame=frame, shots=tuple(shots), grid=grid)
