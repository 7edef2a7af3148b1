"""Country that is hard to map: woods, water, crops, snow, cliffs and slopes, for rehearsals.

A `Country` is the farm of `sample_data` before light falls on it; each function here changes a
country, and `lit` turns it into the `flightplan.rehearsal.scene.Scene` that photographs are
rendered of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.features import Farm, House
from flightplan.rehearsal.ground import octaves, scattered, shape_ground, value_noise
from flightplan.rehearsal.lighting import (
    HEATH,
    LUSH,
    SOIL,
    STONE,
    paint_ground,
    sun_and_sky,
)
from flightplan.rehearsal.photographs import Station
from flightplan.rehearsal.ray_tracing import FULL_SCALE
from flightplan.rehearsal.scene import Scene
from tmp.cameras import Camera
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Bounds = tuple[float, float, float, float]

CROWN = np.array([0.060, 0.085, 0.030, 0.42, 0.45])
"""Reflectance of leaves in red, green, blue and near infrared, and contrast of their detail."""
STEEPEST = 0.2
"""Fall of a ray per metre below which it is not followed farther."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Country:
    """A piece of ground before light falls on it; rasters are (rows, cols), north row first."""

    grid: Grid
    height: F32
    """Above the ellipsoid, metres."""
    reflectance: NDArray[np.uint16]
    """Red, green, blue, near infrared, contrast of the detail; (rows, cols, 5)."""
    water: Mask
    houses: tuple[House, ...] = ()
    """In map coordinates."""

    @property
    def middle(self) -> tuple[float, float]:
        """Map coordinates of the middle."""
        x_min, y_min, x_max, y_max = self.grid.bounds
        return (x_min + x_max) / 2, (y_min + y_max) / 2

    def centres(self) -> tuple[F64, F64]:
        """Return easting (1, cols) and northing (rows, 1) of the cell centres."""
        x, y = self.grid.cell_centres()
        return x[None, :], y[:, None]


def bounds_seen(
    stations: Sequence[Station],
    camera: Camera,
    frame: LocalFrame,
    *,
    lowest_m: float = 9.0,
    rise_north: float = 0.0,
) -> Bounds:
    """Return map bounds of all the ground that photographs can see, with a margin.

    Parameters
    ----------
    lowest_m : float
        How far the ground lies below the plane at most.
    rise_north : float
        Slope of the plane through the world's origin that the ground follows.
    """
    width, height = camera.width_px, camera.height_px
    rays = camera.ray_from_pixel([[0, 0], [width, 0], [0, height], [width, height]])
    reached = []
    for station in stations:
        pose = station.pose
        world = rays @ pose.rotation
        above = pose.centre[2] - rise_north * pose.centre[1] + lowest_m
        fall = above / np.maximum(rise_north * world[:, 1] - world[:, 2], STEEPEST)
        reached.append(pose.centre + world * fall[:, None])
    ends = frame.map_from_world(np.concatenate(reached))[:, :2]
    low, high = ends.min(axis=0) - 3.0, ends.max(axis=0) + 3.0
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def farm_country(farm: Farm, bounds: Bounds, cell_m: float, *, workers: int = 1) -> Country:
    """Return the farm, mirrored beyond its edges, over map bounds."""
    grid = Grid.from_bounds(bounds, cell_m, farm.crs)
    features = farm.features_over(bounds)
    shape = shape_ground(farm, features, grid)
    return Country(
        grid=grid,
        height=shape.height,
        reflectance=paint_ground(shape, features, grid, workers=workers),
        water=np.zeros(grid.shape, bool),
        houses=features.houses,
    )


def lit(country: Country, farm: Farm, *, cloud: float = 0.0, workers: int = 1) -> Scene:
    """Return the scene of a country in the farm's light.

    Parameters
    ----------
    cloud : float
        Share of the sunlight that clouds take away; half of it comes back as skylight.
    """
    grid, light = country.grid, sun_and_sky(farm)
    sunlight = light[3:7] * light[2]
    light[7:11] += 0.5 * cloud * sunlight
    light[3:7] *= 1.0 - cloud
    scene = Scene.lit(
        grid,
        country.height,
        country.reflectance.copy(),
        light,
        houses=country.houses,
        workers=workers,
    )
    return replace(scene, water=country.water)


def noise(grid: Grid, wavelength_m: float, count: int, seed: int) -> F32:
    """Return octaves of noise over a grid, with a standard deviation near 0.4."""
    out = np.empty(grid.shape, np.float32)
    _fill_noise(out, grid.x_min % 10000.0, grid.y_max % 10000.0, grid.cell_m, wavelength_m,
                count, seed)  # fmt: skip
    return out


def with_wood(country: Country, *, seed: int = 5) -> Country:
    """Return a country whose western half is under trees of 8 to 15 m.

    Crowns 3 to 8 m across stand on a jittered lattice and close over about nine tenths of the
    ground; their surface is uneven by a quarter of a metre, their sides are dark.  They stand
    still: wind is not rehearsed.
    """
    east, _ = country.centres()
    border = country.middle[0] + 12.0 * noise(country.grid, 40.0, 3, seed)
    wood = east < border
    height, tone = country.height.copy(), np.zeros(country.grid.shape, np.float32)
    rng = np.random.default_rng(seed)
    _plant_trees(height, tone, country.height, wood, country.grid.cell_m, 3.7, rng)
    leaves = tone > 0
    bumps = noise(country.grid, 0.9, 4, seed + 1)
    height[leaves] += (0.35 * bumps)[leaves]
    reflectance = country.reflectance.copy()
    shade = np.clip(tone * (1.0 + 0.55 * noise(country.grid, 0.6, 4, seed + 2)), 0.2, 3.0)
    reflectance[leaves, :4] = FULL_SCALE * CROWN[:4] * shade[leaves, None]
    reflectance[leaves, 4] = FULL_SCALE * CROWN[4]
    clear = tuple(house for house in country.houses if house.centre[0] > country.middle[0] + 20)
    return replace(country, height=height, reflectance=reflectance, houses=clear)


def with_lake(country: Country, shore_y: float) -> Country:
    """Return a country with level water south of a northing, and a beach before it."""
    _, north = country.centres()
    away = north - shore_y + 8.0 * noise(country.grid, 30.0, 3, 31)
    level = np.float32(np.median(country.height) - 2.0)
    share = np.clip(away / 25.0, 0.0, 1.0)
    land = level + share * (country.height - level) + np.float32(0.05) * np.maximum(away, 0.0)
    water = away < 0
    height = np.where(water, level, land).astype(np.float32)
    clear = tuple(house for house in country.houses if house.centre[1] > shore_y + 25)
    return replace(country, height=height, water=water, houses=clear)


def with_rows(country: Country, *, spacing_m: float = 0.75, heading_deg: float = 84.0) -> Country:
    """Return gently rolling land under rows of a crop, with a weed every few square metres.

    Plants stand every 0.25 m along rows that all look alike; weeds and a faint unevenness of the
    soil are all that tells one row from the next.
    """
    smooth = cv2.GaussianBlur(country.height, (0, 0), 6.0 / country.grid.cell_m)
    height = np.asarray(smooth, np.float32)
    reflectance = np.empty_like(country.reflectance)
    heading = np.radians(heading_deg)
    place = np.array([country.grid.x_min % 10000.0, country.grid.y_max % 10000.0])
    _sow(
        height, reflectance, place, country.grid.cell_m, spacing_m,
        np.array([np.sin(heading), np.cos(heading)]),
    )  # fmt: skip
    return replace(country, height=height, reflectance=reflectance, houses=())


def with_snow(country: Country, farm: Farm, *, contrast: float = 0.05) -> Country:
    """Return a country under wind-blown snow, its radiance varying by so much.

    Parameters
    ----------
    contrast : float
        Standard deviation of the radiance over its mean, light and shade included.
    """
    smooth = cv2.GaussianBlur(country.height, (0, 0), 1.5 / country.grid.cell_m)
    drifts = noise(country.grid, 4.0, 5, 51)
    height = (smooth + np.float32(0.02) * drifts).astype(np.float32)
    tone = noise(country.grid, 2.5, 6, 52)
    white = replace(
        country,
        height=height,
        reflectance=_snow(country.grid, np.zeros_like(tone)),
        houses=(),
    )
    shaded = lit(white, farm).ground.layers[..., 1]
    from_light = float(shaded.std() / shaded.mean())
    from_snow = max(contrast**2 - from_light**2, (0.3 * contrast) ** 2) ** 0.5
    return replace(white, reflectance=_snow(country.grid, tone / tone.std() * from_snow))


def with_cliff(country: Country, *, drop_m: float = 40.0) -> Country:
    """Return a country whose eastern half lies lower, below a cliff of stone and ledges."""
    east, _ = country.centres()
    away = east - country.middle[0] + 10.0 * noise(country.grid, 45.0, 4, 61)
    away += 1.2 * noise(country.grid, 3.0, 4, 62)
    face_m = drop_m / 6.0
    share = np.clip(away / face_m, 0.0, 1.0)
    ledges = share + 0.08 * np.sin(share * 2 * np.pi * 5) * (share > 0) * (share < 1)
    height = (country.height - drop_m * np.clip(ledges, 0, 1)).astype(np.float32)
    face = (share > 0) & (share < 1)
    reflectance = country.reflectance.copy()
    tone = np.clip(1.0 + 0.8 * noise(country.grid, 0.8, 4, 63), 0.3, 2.0)
    reflectance[face, :4] = FULL_SCALE * STONE[:4] * tone[face, None]
    reflectance[face, 4] = FULL_SCALE * STONE[4]
    middle = country.middle[0]
    clear = tuple(house for house in country.houses if abs(house.centre[0] - middle) > 35)
    return replace(country, height=height, reflectance=reflectance, houses=clear)


def with_slope(country: Country, frame: LocalFrame, *, rise_north: float) -> Country:
    """Return a country on a hillside that rises to the north from the world's origin."""
    _, north = country.centres()
    origin = frame.map_from_world([[0.0, 0.0, 0.0]])[0, 1]
    height = (country.height + rise_north * (north - origin)).astype(np.float32)
    return replace(country, height=height, houses=())


def in_autumn(country: Country, *, seed: int = 90) -> Country:
    """Return a country in another season: withered, wet, grown over, strewn with new patches."""
    grid = country.grid
    paint = country.reflectance.astype(np.float32)
    patch = noise(grid, 3.0, 5, seed)[..., None]
    fine = noise(grid, 0.5, 4, seed + 1)[..., None]
    brown = np.array([0.20, 0.13, 0.06, 0.22, 0.4], np.float32) * np.float32(FULL_SCALE)
    weight = np.clip(0.75 + 0.5 * patch, 0.4, 1.0)
    paint[..., :4] = (1 - weight) * paint[..., :4] + weight * brown[:4] * (1.0 + 0.7 * fine)
    return replace(country, reflectance=np.clip(paint, 100, 60000).astype(np.uint16))


def water_surface(
    scene: Scene, frame: LocalFrame, camera: Camera, station: Station, rng: np.random.Generator
) -> tuple[F32, F32]:
    """Return the radiance (rows, cols, 3) of water as a photograph sees it, and where it does.

    Waves of 0.3 to 4 m run on by more than their length between two photographs, so each has
    waves of its own; they mirror the sky, and where they are steep enough the sun.

    Returns
    -------
    radiance : ndarray of shape (rows, cols, 3)
    share : ndarray of shape (rows, cols)
        1 where the photograph shows water.
    """
    level = float(np.median(scene.ground.height[scene.water]))
    rows, cols = np.mgrid[0 : camera.height_px : 2, 0 : camera.width_px : 2]
    pixels = np.column_stack([cols.ravel() + 1.0, rows.ravel() + 1.0])
    pose = station.pose
    rays = camera.ray_from_pixel(pixels) @ pose.rotation
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    around = frame.map_from_world(pose.centre[None])[0]
    reach = (around[2] - level) / np.maximum(-rays[:, 2], 0.05)
    places = frame.map_from_world(pose.centre + rays * reach[:, None])
    shape = rows.shape
    col = ((places[:, 0] - scene.grid.x_min) / scene.grid.cell_m - 0.5).reshape(shape)
    row = ((scene.grid.y_max - places[:, 1]) / scene.grid.cell_m - 0.5).reshape(shape)
    share = cv2.remap(
        scene.water.astype(np.float32), col.astype(np.float32), row.astype(np.float32),
        cv2.INTER_LINEAR,
    )  # fmt: skip
    slopes = np.empty((len(places), 2))
    _fill_waves(slopes, places % 10000.0, rng.uniform(0, 5000, 2), int(rng.integers(1, 10**6)))
    normal = np.column_stack([-slopes, np.ones(len(slopes))])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    mirrored = rays - 2 * (rays * normal).sum(axis=1, keepdims=True) * normal
    sun = scene.ground.light[:3] * np.array([1.0, -1.0, 1.0])
    incidence = -(rays * normal).sum(axis=1)
    fresnel = 0.02 + 0.98 * (1.0 - np.clip(incidence, 0, 1)) ** 5
    sky = 0.7 + 2.5 * (1.0 - np.clip(mirrored[:, 2], 0, 1))
    glint = 60.0 * np.exp(-(np.arccos(np.clip(mirrored @ sun, -1, 1)) ** 2) / (2 * 0.06**2))
    toward = 1.0 + 1.6 * (slopes @ (sun[:2] / np.linalg.norm(sun[:2])))
    body = np.array([0.018, 0.032, 0.034]) * np.clip(toward, 0.3, 3.0)[:, None]
    light = fresnel[:, None] * (sky[:, None] * np.array([0.75, 0.9, 1.1]) + glint[:, None]) + body
    full = (camera.width_px, camera.height_px)
    radiance = cv2.resize(
        np.minimum(light, 2.0).reshape(*shape, 3).astype(np.float32), full,
        interpolation=cv2.INTER_LINEAR,
    )  # fmt: skip
    return radiance, cv2.resize(share, full, interpolation=cv2.INTER_LINEAR)


def _snow(grid: Grid, tone: F32) -> NDArray[np.uint16]:
    white = np.empty((*grid.shape, 5), np.uint16)
    colour = np.array([0.84, 0.86, 0.90, 0.80])
    white[..., :4] = np.clip(FULL_SCALE * colour * (1.0 + tone)[..., None], 0, 60000)
    white[..., 4] = 0.03 * FULL_SCALE
    return white


@njit(cache=True, nogil=True)
def _fill_noise(
    out: F32, x_min: float, y_max: float, cell_m: float, wavelength_m: float, count: int, seed: int
) -> None:
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            x, y = x_min + (col + 0.5) * cell_m, y_max - (row + 0.5) * cell_m
            out[row, col] = octaves(x, y, wavelength_m, count, seed)


def _plant_trees(
    height: F32,
    tone: F32,
    ground: F32,
    wood: Mask,
    cell_m: float,
    spacing_m: float,
    rng: np.random.Generator,
) -> None:
    """Raise crowns: the upper part of an ellipsoid, above whatever stands lower."""
    rows, cols = height.shape
    step = spacing_m / cell_m
    for row in np.arange(0.5 * step, rows, step):
        for col in np.arange(0.5 * step, cols, step):
            r, c = (np.array([row, col]) + rng.normal(0, 0.28 * step, 2)).tolist()
            tall, radius = rng.uniform(8.0, 15.0), rng.uniform(1.6, 4.0)
            bright = float(rng.uniform(0.6, 1.5))
            i, j = int(r), int(c)
            if not (0 <= i < rows and 0 <= j < cols) or not wood[i, j] or rng.random() < 0.05:
                continue
            reach = int(radius / cell_m) + 1
            part = (
                slice(max(i - reach, 0), min(i + reach + 1, rows)),
                slice(max(j - reach, 0), min(j + reach + 1, cols)),
            )
            y, x = np.mgrid[part]
            away2 = ((x - c) ** 2 + (y - r) ** 2) * cell_m**2 / radius**2
            deep = min(0.7 * tall, 2.6 * radius)
            rise = np.sqrt(np.clip(1.0 - away2, 0, 1))
            crown = ground[i, j] + tall - deep * (1.0 - rise)
            higher = (away2 < 1.0) & (crown > height[part])
            height[part][higher] = crown[higher]
            tone[part][higher] = bright * (0.15 + 0.85 * rise[higher])


@njit(cache=True, nogil=True)
def _sow(
    height: F32,
    reflectance: NDArray[np.uint16],
    place: F64,
    cell_m: float,
    spacing_m: float,
    along: F64,
) -> None:
    for row in range(height.shape[0]):
        for col in range(height.shape[1]):
            x, y = place[0] + (col + 0.5) * cell_m, place[1] - (row + 0.5) * cell_m
            u = along[0] * x + along[1] * y
            v = along[1] * x - along[0] * y
            v += 0.03 * value_noise(u / 9.0, v / 60.0, 81)
            across = (v / spacing_m - np.floor(v / spacing_m) - 0.5) * spacing_m
            step = (u / 0.25 - np.floor(u / 0.25) - 0.5) * 0.25
            leaf = np.exp(-((across / 0.17) ** 2)) * (0.75 + 0.25 * np.cos(step * 25.13))
            distance, number = scattered(x, y, 1.3, 82)
            weed = 1.0 if number > 0.8 and distance < 0.08 + 0.10 * (number - 0.8) * 5 else 0.0
            plant = max(leaf, weed)
            soil = 1.0 + 0.04 * octaves(x, y, 6.0, 3, 83) + 0.03 * octaves(x, y, 0.4, 3, 84)
            height[row, col] += 0.35 * leaf + 0.25 * weed
            for band in range(5):
                bare, green = SOIL[band] * soil, LUSH[band]
                if weed > leaf:
                    green = HEATH[band] * 1.3
                value = bare + plant * (green - bare)
                reflectance[row, col, band] = int(value * FULL_SCALE)


@njit(cache=True, nogil=True)
def _fill_waves(slopes: F64, places: F64, shift: F64, seed: int) -> None:
    """Fill the slope of waves east and north at places (N, 3)."""
    for n in range(places.shape[0]):
        x, y = places[n, 0] + shift[0], places[n, 1] + shift[1]
        slopes[n, 0] = 0.16 * octaves(x, y, 2.4, 4, seed)
        slopes[n, 1] = 0.16 * octaves(x, y, 2.0, 4, seed + 40)
