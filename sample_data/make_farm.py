"""Make the ruined farm that rehearsals fly over: its features, terrain and survey area.

Everything is invented.  The place is real (Þjórsárdalur, Iceland) so that geodesy is exercised;
no farm like this one stands there.  Run ``python sample_data/make_farm.py`` to write
``farm.json``, ``farm_terrain.tif``, ``farm_dem.tif`` and ``farm_area.geojson`` again; the seed
keeps them the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine
from scipy.ndimage import distance_transform_edt, gaussian_filter

HERE = Path(__file__).parent
SEED = 874  # the year the settlement of Iceland is said to begin
CRS = "EPSG:32627"
CENTRE_LON_LAT = (-19.7600, 64.1430)
SIZE_M = (160.0, 140.0)
CELL_M = 0.5
DEM_CELL_M, DEM_BEYOND_M = 4.0, 240.0
"""Cell of the elevation model, and how far it goes on beyond the terrain."""
GROUND_ELLIPSOID_M = 248.0
AREA_M = (52.0, 45.0, 108.0, 95.0)
"""West, south, east and north of the survey area, metres from the terrain's south-west corner."""

FIELD = [[20.0, 66.0], [44.0, 63.5], [57.0, 58.0], [74.0, 55.5], [90.0, 58.0], [104.0, 65.5]]
FIELD += [[113.0, 80.0], [116.0, 100.0], [108.0, 122.0], [60.0, 126.0], [22.0, 112.0]]
"""Outline of the homefield; a wall runs along its first nine corners."""
STREAM = [[-5.0, 30.0], [22.0, 38.0], [48.0, 43.0], [64.0, 50.0], [79.0, 49.0], [93.0, 46.5]]
STREAM += [[108.0, 52.5], [126.0, 49.0], [145.0, 38.0], [165.0, 36.0]]


def make_terrain(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return ellipsoidal heights of a gentle slope towards a stream, north row first."""
    cols, rows = (round(size / CELL_M) for size in SIZE_M)
    x, y = np.meshgrid((np.arange(cols) + 0.5) * CELL_M, (rows - 0.5 - np.arange(rows)) * CELL_M)
    height = valley(x, y)
    for wavelength_m, amplitude_m in ((45.0, 0.60), (16.0, 0.14), (6.0, 0.045)):
        noise = gaussian_filter(rng.standard_normal((rows, cols)), wavelength_m / CELL_M / 5)
        height += amplitude_m * noise / noise.std()
    return np.round(height, 3).astype(np.float32)


def valley(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smooth shape of the ground, metres from the terrain's south-west corner."""
    height = GROUND_ELLIPSOID_M + 0.045 * (y - SIZE_M[1] / 2) - 0.012 * (x - SIZE_M[0] / 2)
    # South of the stream the ground rises again.
    return np.asarray(height + 0.09 * np.clip(45.0 - y, 0.0, None))


def make_surroundings(terrain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the terrain and the valley about it in coarse cells, as a country's survey has it."""
    each, beyond = round(DEM_CELL_M / CELL_M), round(DEM_BEYOND_M / DEM_CELL_M)
    rows, cols = terrain.shape[0] // each, terrain.shape[1] // each
    known = terrain.reshape(rows, each, cols, each).mean(axis=(1, 3))
    x = (np.arange(-beyond, cols + beyond) + 0.5) * DEM_CELL_M
    y = SIZE_M[1] - (np.arange(-beyond, rows + beyond) + 0.5) * DEM_CELL_M
    smooth = valley(*np.meshgrid(x, y))
    inner = (slice(beyond, beyond + rows), slice(beyond, beyond + cols))
    rest = np.pad(known - smooth[inner], beyond, mode="edge")
    hills = gaussian_filter(np.random.default_rng(SEED).standard_normal(smooth.shape), 6.0)
    inside = np.zeros(smooth.shape, bool)
    inside[inner] = True
    near = np.exp(-((distance_transform_edt(~inside) * DEM_CELL_M / 30.0) ** 2) / 2)
    height = smooth + near * rest + (1 - near) * 2.5 * hills / hills.std()
    return np.round(height, 2).astype(np.float32)


def rectangle(
    centre: tuple[float, float], size: tuple[float, float], heading_deg: float
) -> list[list[float]]:
    """Return the closed outline of a rectangle whose length runs along the heading."""
    along = np.array([np.sin(np.radians(heading_deg)), np.cos(np.radians(heading_deg))])
    across = np.array([along[1], -along[0]])
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1))
    return [
        np.round(np.array(centre) + i * along * size[0] / 2 + j * across * size[1] / 2, 3).tolist()
        for i, j in signs
    ]


def smoothed(line: list[list[float]], rounds: int = 3) -> list[list[float]]:
    """Return a line with its corners cut (Chaikin 1974); the ends stay."""
    points = np.array(line, float)
    for _ in range(rounds):
        near, far = points[:-1], points[1:]
        cut = np.stack([0.75 * near + 0.25 * far, 0.25 * near + 0.75 * far], axis=1)
        points = np.vstack([points[:1], cut.reshape(-1, 2)[1:-1], points[-1:]])
    return np.round(points, 2).tolist()


def make_walls() -> list[dict[str, Any]]:
    """Return the turf walls: a longhouse with a byre and an annexe, a fold, the homefield wall."""
    house = np.array(rectangle((73.0, 80.0), (16.0, 6.2), 68.0))
    gap = house[0] + 0.42 * (house[1] - house[0]), house[0] + 0.62 * (house[1] - house[0])
    third = house[0] + 0.36 * (house[3] - house[0]), house[1] + 0.36 * (house[2] - house[1])
    side = house[2] - house[1]
    side /= np.hypot(*side)
    out = np.array([side[1], -side[0]])
    start = house[2] - 5.5 * side
    annexe = [start, start + 4.2 * out, house[2] + 4.2 * out, house[2]]
    fold = [
        [95.5 + 4.4 * np.cos(a), 86.0 + 4.0 * np.sin(a)] for a in np.linspace(0.5, 2 * np.pi, 28)
    ]
    lines = [
        ([gap[0], house[0], house[3], house[2], house[1], gap[1]], 1.5, 0.95),
        (list(third), 1.2, 0.65),
        (annexe, 1.3, 0.75),
        (fold, 1.1, 0.6),
        (smoothed(FIELD[:9]), 1.4, 0.38),
    ]
    return [
        {"line": np.round(line, 3).tolist(), "width_m": width, "height_m": height}
        for line, width, height in lines
    ]


def make_boulders(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return boulders from 0.3 to 1.5 m across, over the whole tile and denser by the stream."""
    boulders: list[dict[str, Any]] = []
    clear = [(73, 80, 11), (64, 64, 8), (88.5, 71.5, 6), (95.5, 86, 6), (59.5, 89, 4)]
    while len(boulders) < 70:
        x, y = rng.uniform(4, SIZE_M[0] - 4), rng.uniform(4, SIZE_M[1] - 4)
        if rng.random() < 0.35:
            x, y = rng.uniform(50, 110), rng.uniform(44, 56)
        if any(np.hypot(x - cx, y - cy) < reach for cx, cy, reach in clear):
            continue
        diameter = 0.3 + 1.2 * rng.random() ** 2
        boulders.append(
            {
                "centre": [round(x, 2), round(y, 2)],
                "diameter_m": round(diameter, 2),
                "height_m": round(diameter * rng.uniform(0.35, 0.6), 2),
                "elongation": round(rng.uniform(1.0, 1.6), 2),
                "heading_deg": round(rng.uniform(0, 180), 0),
            }
        )
    return boulders


def make_farm() -> dict[str, Any]:
    """Return the features in metres from the terrain's south-west corner."""
    rng = np.random.default_rng(SEED)
    return {
        "name": "A farm that never was, Þjórsárdalur",
        "licence": "CC0-1.0",
        "captured": "2026-07-18T14:20:00+00:00",
        "sun": {"azimuth_deg": 208.0, "elevation_deg": 41.0},
        "walls": make_walls(),
        "mounds": [
            {"centre": [88.5, 71.5], "radius_m": 4.6, "height_m": 1.3},
            {"centre": [126.0, 96.0], "radius_m": 6.0, "height_m": 0.9},
        ],
        "houses": [
            {
                "centre": [64.0, 64.5],
                "length_m": 9.4,
                "width_m": 6.2,
                "eaves_m": 2.6,
                "ridge_m": 4.1,
                "heading_deg": 74.0,
            }
        ],
        "boulders": make_boulders(rng),
        "streams": [
            {
                "line": smoothed(STREAM),
                "width_m": 2.8,
                "depth_m": 0.55,
            }
        ],
        "paths": [
            {"line": smoothed([[66, 60], [72, 63], [77, 68], [76, 74]]), "width_m": 0.8},
            {
                "line": smoothed([[68, 61.5], [84, 63.5], [100, 71], [118, 73], [165, 70]]),
                "width_m": 0.9,
            },
        ],
        "trenches": [
            {
                "centre": [59.5, 89.0],
                "length_m": 4.0,
                "width_m": 2.0,
                "depth_m": 0.45,
                "heading_deg": 20.0,
            }
        ],
        "bare": [
            {"centre": [101.0, 60.5], "radius_m": 3.2},
            {"centre": [81.0, 90.5], "radius_m": 2.4},
            {"centre": [40.0, 80.0], "radius_m": 5.0},
            {"centre": [125.0, 60.0], "radius_m": 6.0},
        ],
        "homefield": smoothed([*FIELD, FIELD[0]]),
    }


def corner_m() -> tuple[float, float]:
    """Return easting and northing of the south-west corner, on whole metres."""
    to_map = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    easting, northing = to_map.transform(*CENTRE_LON_LAT)
    return round(easting - SIZE_M[0] / 2), round(northing - SIZE_M[1] / 2)


def write_area(path: Path) -> None:
    """Write the survey area as GeoJSON (WGS 84)."""
    to_geographic = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    west, south = corner_m()
    x0, y0, x1, y1 = AREA_M
    ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    lon_lat = [
        [round(value, 8) for value in to_geographic.transform(west + x, south + y)] for x, y in ring
    ]
    feature = {
        "type": "Feature",
        "properties": {"name": "Ruined farm", "licence": "CC0-1.0"},
        "geometry": {"type": "Polygon", "coordinates": [lon_lat]},
    }
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]}, indent=1), encoding="utf-8"
    )


def write_terrain(path: Path, dem_path: Path) -> None:
    """Write the terrain and the elevation model as GeoTIFF, heights above the ellipsoid."""
    terrain = make_terrain(np.random.default_rng(SEED))
    west, south = corner_m()
    north = south + SIZE_M[1]
    write_heights(path, terrain, Affine(CELL_M, 0, west, 0, -CELL_M, north))
    west, north = west - DEM_BEYOND_M, north + DEM_BEYOND_M
    affine = Affine(DEM_CELL_M, 0, west, 0, -DEM_CELL_M, north)
    write_heights(dem_path, make_surroundings(terrain), affine, VERTICAL_DATUM="WGS 84 ellipsoid")


def write_heights(path: Path, heights: NDArray[np.float32], affine: Affine, **tags: str) -> None:
    """Write heights above the ellipsoid as GeoTIFF."""
    rows, cols = heights.shape
    options = {"driver": "GTiff", "count": 1, "dtype": "float32", "compress": "deflate"}
    with rasterio.open(
        path, "w", height=rows, width=cols, crs=CRS, transform=affine, predictor=3, **options
    ) as raster:
        raster.write(heights, 1)
        raster.set_band_description(1, "height above the WGS 84 ellipsoid, m")
        raster.update_tags(**tags)


if __name__ == "__main__":
    (HERE / "farm.json").write_text(json.dumps(make_farm(), indent=1, ensure_ascii=False) + "\n")
    write_terrain(HERE / "farm_terrain.tif", HERE / "farm_dem.tif")
    write_area(HERE / "farm_area.geojson")
    for written in sorted(HERE.glob("farm*.*")):
        print(f"{written.name}: {written.stat().st_size / 1024:.0f} KB")
