"""The ground a rehearsal flies over, and the exact truth about it.

The surface is the bilinear interpolation of a height raster together with gabled houses, or with
the bodies of `flightplan.rehearsal.solids` where there are things of other shapes.  Its radiance is
a raster in four bands with procedural detail below the raster's cell; bodies have textures.
Photographs and truth rasters ask the same functions, so the truth is that of the geometry rendered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.rehearsal.features import Farm, House, Plate
from flightplan.rehearsal.ground import BOULDER, shape_ground, turned
from flightplan.rehearsal.lighting import illuminate_ground, paint_ground, sun_and_sky, upper_bounds
from flightplan.rehearsal.ray_tracing import BLOCK, Ground, look_down
from flightplan.rehearsal.solids.bodies import SPHERE, Solids, needs_solids, stand
from flightplan.rehearsal.solids.pictures import look_down_solids
from flightplan.rehearsal.solids.tracing import cast_shadows
from tmp.errors import InputError
from tmp.geo.grids import Grid
from tmp.threads import map_threads

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

WALL_EDGE_M = 0.10
"""A turf wall is where it rises this much above the ground beside it."""
WATER_WITHIN = 0.6
"""Of the half width of a stream's bed."""
CLEAR_OF_WALLS_M = 0.5
CLEAR_OF_STONES_M = 0.5
CLEAR_OF_HOUSES_M = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A lit piece of ground with its truth."""

    grid: Grid
    """The lattice of the rasters below, in map coordinates."""
    ground: Ground
    """Height, radiance and houses, as the kernels take them."""
    houses: tuple[House, ...]
    """In map coordinates."""
    plates: tuple[Plate, ...] = ()
    """In map coordinates."""
    solids: Solids | None = None
    """All that stands on the ground, houses too, if it takes more than plain houses."""
    grass: F32 | None = None
    """How much of the ground's height is tall grass, (rows, cols); None where none grows."""
    wall: F32
    """Height of turf walls above the ground they stand on, (rows, cols)."""
    stone: NDArray[np.uint8]
    """1 on boulders, 2 in trenches, else 0."""
    water: Mask

    @classmethod
    def build(
        cls,
        farm: Farm,
        bounds: tuple[float, float, float, float],
        *,
        cell_m: float = 0.05,
        workers: int = 2,
    ) -> Scene:
        """Build the scene over ``(x_min, y_min, x_max, y_max)`` in map coordinates.

        Twenty bytes a cell stay in memory: 80 MB for a square of 100 m at 5 cm.
        """
        grid = Grid.from_bounds(bounds, cell_m, farm.crs)
        features = farm.features_over(bounds)
        shape, light = shape_ground(farm, features, grid), sun_and_sky(farm)
        solids = None
        if needs_solids(features):
            solids = stand(features, shape.height - shape.grass, grid, light)
        scene = cls.lit(
            grid,
            shape.height,
            paint_ground(shape, features, grid, workers=workers),
            light,
            houses=features.houses,
            solids=solids,
            workers=workers,
        )
        return replace(
            scene,
            grass=shape.grass if features.grass else None,
            plates=tuple(p for p in features.plates if _on(grid, p)),
            wall=shape.wall,
            stone=shape.stone,
            water=shape.stream < WATER_WITHIN,
        )

    @classmethod
    def lit(
        cls,
        grid: Grid,
        height: F32,
        reflectance: NDArray[np.uint16],
        light: F64,
        *,
        houses: tuple[House, ...] = (),
        solids: Solids | None = None,
        workers: int = 2,
    ) -> Scene:
        """Return bare ground of any shape and colour, with houses, in a given light.

        With `solids` the houses are among them.

        Heights (rows, cols) are above the ellipsoid, houses in map coordinates, those off the
        grid left out.  Reflectance (rows, cols, 5) is as
        `flightplan.rehearsal.lighting.paint_ground` returns it, and is turned into radiance in
        place; `light` (11,) is from `flightplan.rehearsal.lighting.sun_and_sky`.
        """
        standing = tuple(house for house in houses if _on(grid, house))
        table = _house_table(() if solids else standing, height, grid)
        top = _with_roofs(height, table, grid.cell_m)
        shaded = None
        if solids:
            shaded = np.zeros(grid.shape, np.uint8)
            cast_shadows(solids.table, solids.faces, height, light, grid.cell_m, shaded)
        illuminate_ground(reflectance, height, top, light, grid, shaded=shaded, workers=workers)
        return cls(
            grid=grid,
            ground=Ground(
                height=height,
                upper=upper_bounds(height),
                upper_far=upper_bounds(height, BLOCK * BLOCK),
                layers=reflectance,
                houses=table,
                light=light,
                cell_m=grid.cell_m,
            ),
            houses=standing,
            solids=solids,
            wall=np.zeros(grid.shape, np.float32),
            stone=np.zeros(grid.shape, np.uint8),
            water=np.zeros(grid.shape, bool),
        )

    @property
    def bare(self) -> F32:
        """Heights of the ground below tall grass, (rows, cols)."""
        return self.ground.height if self.grass is None else self.ground.height - self.grass

    def lattice_from_map(self, points: ArrayLike) -> F64:
        """Return lattice metres (x east, y south, z) of map coordinates (N, 3)."""
        x, y, z = np.atleast_2d(np.asarray(points, float)).T
        return np.column_stack([x - self.grid.x_min, self.grid.y_max - y, z])

    def seen_from_above(self, grid: Grid, *, samples: int = 2, workers: int = 2) -> tuple[F32, F32]:
        """Return height (rows, cols) and radiance (rows, cols, 4) of a grid's cells.

        Heights are those of the highest surface at the cell centres, NaN outside the scene;
        radiance (red, green, blue, near infrared) is the mean over each cell.

        Raises
        ------
        InputError
            If the grid has another CRS than the scene.
        """
        self._require_crs(grid)
        height = np.empty(grid.shape, np.float32)
        radiance = np.zeros((*grid.shape, 4), np.float32)
        x0, y0 = grid.x_min - self.grid.x_min, self.grid.y_max - grid.y_max

        def fill(row: int) -> None:
            part = slice(row, row + 128)
            y = y0 + row * grid.cell_m
            if self.solids:
                corner, out = (x0, y), (height[part], radiance[part])
                look_down_solids(self.ground, self.solids, corner, grid.cell_m, samples, *out)
            else:
                look_down(self.ground, x0, y, grid.cell_m, samples, height[part], radiance[part])

        for _ in map_threads(fill, range(0, grid.rows, 128), workers=workers):
            pass
        return height, radiance

    def ndvi(self, radiance: F32) -> F32:
        """Return the NDVI of radiance from above (rows, cols, 4): of reflectance, light removed."""
        light = self.ground.light
        # Sun and sky differ a little in colour; the sunlit ratio stands for both.
        red = radiance[..., 0] / (light[3] * light[2] + light[7])
        nir = radiance[..., 3] / (light[6] * light[2] + light[10])
        return np.asarray((nir - red) / np.maximum(nir + red, 1e-6), np.float32)

    def wall_height(self, grid: Grid) -> F32:
        """Return how far turf walls rise above the ground beside them, on a grid, in metres."""
        return self._resampled(self.wall, grid)

    def plate_height(self, plate: Plate) -> float:
        """Return the height of a plate above the ellipsoid."""
        col = int((plate.centre[0] - self.grid.x_min) / self.grid.cell_m)
        row = int((self.grid.y_max - plate.centre[1]) / self.grid.cell_m)
        return float(self.ground.height[row, col])

    def masks(self, grid: Grid) -> dict[str, Mask]:
        """Return ``open_ground``, ``turf_wall``, ``house`` and ``boulder`` on a grid.

        Open ground keeps clear of houses, boulders, trenches and water, of turf walls and tall
        grass by half a metre from where they have levelled out, and of the bounding spheres of
        all that stands.
        """
        wall = self._resampled(self.wall, grid)
        stone = self._resampled((self.stone > 0).astype(np.float32), grid) > 0.25
        boulder = self._resampled((self.stone == BOULDER).astype(np.float32), grid) > 0.25
        water = self._resampled(self.water.astype(np.float32), grid) > 0.25
        house = np.zeros(grid.shape, bool)
        for each in self.houses:
            house |= _covers(each, grid)
        grown = np.zeros(grid.shape, bool)
        if self.grass is not None:
            grown = self._resampled(self.grass, grid) > 0.01
        near = (
            _within(house, CLEAR_OF_HOUSES_M / grid.cell_m)
            | _within(stone, CLEAR_OF_STONES_M / grid.cell_m)
            | _within(wall > 0.01, CLEAR_OF_WALLS_M / grid.cell_m)
            | _within(grown, CLEAR_OF_WALLS_M / grid.cell_m)
            | self._about_solids(grid)
        )
        return {
            "open_ground": ~near & ~water,
            "turf_wall": (wall > WALL_EDGE_M) & ~house,
            "house": house,
            "boulder": boulder,
        }

    def _about_solids(self, grid: Grid) -> Mask:
        """Return the cells below the bounding spheres of bodies."""
        covered = np.zeros(grid.shape, bool)
        x, y = grid.cell_centres()
        for east, south, _, radius in (
            self.solids.table[:, SPHERE : SPHERE + 4] if self.solids else ()
        ):
            away_x, away_y = x - self.grid.x_min - east, self.grid.y_max - y - south
            covered |= away_x[None, :] ** 2 + away_y[:, None] ** 2 < radius**2
        return covered

    def _require_crs(self, grid: Grid) -> None:
        if grid.crs != self.grid.crs:
            raise InputError(
                f"truth asked in {grid.crs!r} of a scene in {self.grid.crs!r}; use the scene's CRS"
            )

    def _resampled(self, raster: F32, grid: Grid) -> F32:
        """Return a raster of the scene, bilinear, at another grid's cell centres; 0 outside."""
        self._require_crs(grid)
        x, y = grid.cell_centres()
        cols = ((x - self.grid.x_min) / self.grid.cell_m - 0.5).astype(np.float32)
        rows = ((self.grid.y_max - y) / self.grid.cell_m - 0.5).astype(np.float32)
        at_cols, at_rows = np.broadcast_arrays(cols[None, :], rows[:, None])
        return np.asarray(cv2.remap(raster, at_cols, at_rows, cv2.INTER_LINEAR), np.float32)


def _within(mask: Mask, cells: float) -> Mask:
    """Return the cells no farther than so many cells from the mask."""
    if not mask.any():
        return np.zeros_like(mask)
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(distance <= cells)


def _covers(house: House, grid: Grid) -> Mask:
    """Return the cells whose centre lies below a house's roof."""
    x, y = grid.cell_centres()
    east, north = x[None, :] - house.centre[0], y[:, None] - house.centre[1]
    along, across = turned(east, north, house.heading_deg)
    return np.asarray(
        (abs(along) <= house.length_m / 2 + house.overhang_m)
        & (abs(across) <= house.width_m / 2 + house.overhang_m)
    )


def _on(grid: Grid, thing: House | Plate) -> bool:
    x_min, y_min, x_max, y_max = grid.bounds
    return bool(x_min < thing.centre[0] < x_max and y_min < thing.centre[1] < y_max)


def _house_table(houses: tuple[House, ...], height: F32, grid: Grid) -> F64:
    """Return the houses as the kernels take them, (N, 9), standing on their lowest ground."""
    rows = []
    for house in houses:
        outline = np.vstack([house.outline, house.centre])
        cols = ((outline[:, 0] - grid.x_min) / grid.cell_m).astype(int).clip(0, grid.cols - 1)
        lines = ((grid.y_max - outline[:, 1]) / grid.cell_m).astype(int).clip(0, grid.rows - 1)
        base = float(height[lines, cols].min())
        heading = math.radians(house.heading_deg)
        rows.append(
            [
                house.centre[0] - grid.x_min,
                grid.y_max - house.centre[1],
                math.sin(heading),
                -math.cos(heading),
                house.length_m / 2,
                house.width_m / 2,
                base + house.eaves_m,
                base + house.ridge_m,
                base - 1.0,
            ]
        )
    return np.array(rows, float).reshape(-1, 9)


def _with_roofs(height: F32, houses: F64, cell_m: float) -> F32:
    """Return the highest surface at every node, roofs included."""
    top = height.copy()
    for x, y, cos, sin, half_length, half_width, eaves, ridge, _ in houses:
        reach = math.hypot(half_length, half_width)
        rows = slice(max(int((y - reach) / cell_m), 0), max(int((y + reach) / cell_m) + 1, 0))
        cols = slice(max(int((x - reach) / cell_m), 0), max(int((x + reach) / cell_m) + 1, 0))
        part = top[rows, cols]
        east = (np.arange(part.shape[1]) + cols.start + 0.5) * cell_m - x
        south = ((np.arange(part.shape[0]) + rows.start + 0.5) * cell_m - y)[:, None]
        along, across = cos * east + sin * south, cos * south - sin * east
        roof = ridge - (ridge - eaves) * abs(across) / half_width
        inside = (abs(along) <= half_length) & (abs(across) <= half_width)
        part[inside] = np.maximum(part, roof)[inside]
    return top
