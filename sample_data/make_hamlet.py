"""Make the hamlet that three-dimensional models are tried on: what stands in it, and its terrain.

Everything is invented.  Run ``python sample_data/make_hamlet.py`` to write ``hamlet.json`` and
``hamlet_terrain.tif`` again; the seed keeps them the same.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from make_farm import CRS, smoothed, write_heights
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).parent
SEED = 1104  # the year of the eruption that buried Þjórsárdalur
CENTRE_LON_LAT = (-20.1300, 63.9700)
SIZE_M = 260.0
CELL_M = 1.0
GROUND_ELLIPSOID_M = 121.0
MIDDLE_M = SIZE_M / 2

Entry = dict[str, Any]


def make_terrain(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return ellipsoidal heights of nearly level ground, north row first."""
    count = round(SIZE_M / CELL_M)
    x, y = np.meshgrid(np.arange(count) + 0.5, count - 0.5 - np.arange(count))
    height = GROUND_ELLIPSOID_M + 0.03 * (y - MIDDLE_M) + 0.015 * (x - MIDDLE_M)
    for wavelength_m, amplitude_m in ((50.0, 0.5), (18.0, 0.12)):
        noise = gaussian_filter(rng.standard_normal(x.shape), wavelength_m / CELL_M / 5)
        height += amplitude_m * noise / noise.std()
    return np.round(height, 3).astype(np.float32)


def at(east: float, north: float) -> list[float]:
    """Return a place so far from the hamlet's middle, in metres from the terrain's corner."""
    return [round(MIDDLE_M + east, 2), round(MIDDLE_M + north, 2)]


def beside(place: list[float], heading_deg: float, along: float, across: float) -> list[float]:
    """Return the place so far along a heading and to the right of it."""
    heading = math.radians(heading_deg)
    east = along * math.sin(heading) + across * math.cos(heading)
    north = along * math.cos(heading) - across * math.sin(heading)
    return [round(place[0] + east, 3), round(place[1] + north, 3)]


def house(
    place: list[float], size: tuple[float, float], heights: tuple[float, float], **rest: Any
) -> Entry:
    """Return a house; heights are those of the walls and of the ridge."""
    return {
        "centre": place,
        "length_m": size[0],
        "width_m": size[1],
        "eaves_m": heights[0],
        "ridge_m": heights[1],
        **rest,
    }


def block(
    foot: list[float],
    heading_deg: float,
    offset: tuple[float, float],
    size: tuple[float, float],
    heights: tuple[float, float],
    **rest: Any,
) -> Entry:
    """Return a block at an offset along and across a heading from the place it stands with."""
    return {
        "centre": beside(foot, heading_deg, *offset),
        "length_m": size[0],
        "width_m": size[1],
        "heading_deg": heading_deg,
        "bottom_m": heights[0],
        "top_m": heights[1],
        "foot": foot,
        **rest,
    }


def make_wall() -> list[Entry]:
    """Return a wall with a slab that stands out of it, and a gate with its lintel."""
    foot, heading_deg = at(-7.0, -12.5), 112.0
    stone = {"kind": "wall", "material": "rubble"}
    concrete = {"kind": "overhang", "material": "concrete"}
    gate, across = at(-21.0, -2.5), 38.0
    return [
        block(foot, heading_deg, (0, 0), (10.0, 0.5), (-2.0, 2.6), **stone),
        block(foot, heading_deg, (-1.2, 0.75), (4.6, 1.9), (1.85, 2.1), **concrete),
        block(gate, across, (-1.75, 0), (1.1, 0.8), (-2.0, 2.5), **stone),
        block(gate, across, (1.75, 0), (1.1, 0.8), (-2.0, 2.5), **stone),
        block(gate, across, (0, 0), (4.9, 0.7), (2.5, 2.95), **concrete),
    ]


def make_car() -> list[Entry]:
    """Return a car of three blocks."""
    foot, heading_deg = at(2.5, -3.0), 62.0
    rest = {"kind": "car"}
    return [
        block(foot, heading_deg, (0, 0), (3.5, 1.5), (-0.5, 0.35), material="rubber", **rest),
        block(
            foot, heading_deg, (0, 0), (4.3, 1.78), (0.28, 0.92), material="paint", taper_m=0.06,
            **rest,
        ),
        block(
            foot, heading_deg, (-0.25, 0), (2.6, 1.6), (0.9, 1.5), material="glass", taper_m=0.28,
            **rest,
        ),
    ]  # fmt: skip


def make_chimney(of: Entry) -> Entry:
    """Return a chimney beside the ridge of a house."""
    rest = {"kind": "wall", "material": "rubble"}
    top = of["ridge_m"] + 0.9
    return block(of["centre"], of["heading_deg"], (2.4, -0.7), (0.7, 0.6), (1.0, top), **rest)


def tree(
    place: list[float], crown: tuple[float, float], heights: tuple[float, float], **rest: Any
) -> Entry:
    """Return a tree; heights are those of the crown's lowest and highest point."""
    return {
        "centre": place,
        "trunk_m": 0.3,
        "crown_m": list(crown),
        "bottom_m": heights[0],
        "top_m": heights[1],
        **rest,
    }


def make_trees() -> list[Entry]:
    """Return six trees: two alone, two that touch at a point, two that grow into each other."""
    pair = at(0.0, 21.0)
    second = beside(pair, 70.0, 4.7, 0.0)  # half of 5.0 and of 4.4 along the heading
    third = at(22.0, -20.5)
    fourth = beside(third, 20.0, 4.1, 0.0)
    return [
        tree(at(-23.0, -19.0), (5.6, 5.0), (1.6, 7.0), heading_deg=30.0),
        tree(at(24.5, 23.0), (3.4, 3.4), (1.2, 4.8)),
        tree(pair, (5.0, 4.6), (1.5, 6.5), heading_deg=70.0),
        tree(second, (4.4, 5.0), (1.5, 6.5), heading_deg=70.0),
        tree(third, (5.2, 5.2), (1.8, 8.2)),
        tree(fourth, (4.6, 4.2), (1.4, 5.8), heading_deg=20.0),
    ]


def make_bushes(rng: np.random.Generator) -> list[Entry]:
    """Return a thicket of low bushes, and a hedge along a line."""
    bushes = []
    while len(bushes) < 16:
        east, north = rng.normal(0.0, 2.1, 2)
        size = rng.uniform(0.7, 1.8)
        bushes.append(
            {
                "centre": at(round(9.0 + east, 2), round(-16.5 + north, 2)),
                "length_m": round(size, 2),
                "width_m": round(size * rng.uniform(0.7, 1.0), 2),
                "height_m": round(rng.uniform(0.35, 0.9), 2),
                "heading_deg": round(rng.uniform(0, 180)),
            }
        )
    start = at(-26.0, 24.0)
    for number in range(9):
        bushes.append(
            {
                "centre": beside(start, 128.0, 0.8 * number, round(rng.normal(0, 0.06), 3)),
                "length_m": 1.3,
                "width_m": round(rng.uniform(0.8, 1.0), 2),
                "height_m": round(rng.uniform(1.0, 1.25), 2),
                "heading_deg": 128.0,
            }
        )
    return bushes


def make_hamlet() -> Entry:
    """Return the features in metres from the terrain's south-west corner."""
    rng = np.random.default_rng(SEED)
    large = house(
        at(-14.0, 13.5), (11.4, 7.2), (2.9, 5.3), heading_deg=20.0, overhang_m=0.4,
        walls="boards", roof="iron",
    )  # fmt: skip
    middle = house(
        at(14.0, 10.5), (7.6, 5.4), (2.5, 4.9), heading_deg=77.0, overhang_m=0.5,
        walls="stone", roof="slate",
    )  # fmt: skip
    small = house(
        at(19.5, -7.0), (5.0, 4.2), (2.2, 3.3), heading_deg=141.0, overhang_m=0.3,
        walls="plaster", roof="turf",
    )  # fmt: skip
    bank = smoothed([at(-95, -30), at(-40, -12), at(-14, -7), at(8, -8), at(30, -30), at(90, -60)])
    return {
        "name": "A hamlet that never was, Rangárvellir",
        "licence": "CC0-1.0",
        "captured": "2026-07-09T15:05:00+00:00",
        "sun": {"azimuth_deg": 219.0, "elevation_deg": 43.0},
        "walls": [{"line": bank, "width_m": 3.4, "height_m": 0.6}],
        "paths": [{"line": bank, "width_m": 1.2}],
        "streams": [],
        "mounds": [],
        "boulders": [
            {
                "centre": at(-3.5, 3.0),
                "diameter_m": 1.3,
                "height_m": 0.7,
                "elongation": 1.3,
                "heading_deg": 40.0,
            }
        ],
        "trenches": [],
        "bare": [{"centre": at(4.0, 4.5), "radius_m": 4.5}],
        "homefield": smoothed([at(-60, -50), at(60, -50), at(65, 55), at(-55, 60), at(-60, -50)]),
        "houses": [large, middle, small],
        "blocks": [*make_wall(), *make_car(), make_chimney(large)],
        "trees": make_trees(),
        "poles": [{"centre": at(5.5, -12.0), "diameter_m": 0.09, "height_m": 6.0}],
        "bushes": make_bushes(rng),
        "grass": [
            {"centre": at(-25.0, 6.0), "radius_m": 4.0, "height_m": 0.35},
            {"centre": at(25.5, 2.5), "radius_m": 3.5, "height_m": 0.45},
        ],
    }


def main() -> None:
    """Write the two files."""
    to_map = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    easting, northing = to_map.transform(*CENTRE_LON_LAT)
    west, north = round(easting - MIDDLE_M), round(northing + MIDDLE_M)
    terrain = make_terrain(np.random.default_rng(SEED))
    write_heights(HERE / "hamlet_terrain.tif", terrain, Affine(CELL_M, 0, west, 0, -CELL_M, north))
    text = json.dumps(make_hamlet(), indent=1, ensure_ascii=False)
    (HERE / "hamlet.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
