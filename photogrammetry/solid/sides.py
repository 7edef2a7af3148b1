"""A site seen from its sides: the search for the ground, along directions that are not vertical.

To the search a side is a survey like any other: the photographs, turned until the direction from
which the site is seen is up.  So walls become slopes, and what overhangs casts a shadow as a roof
does from above; views, costs, judgement and standard deviations are those of the ground.

References
----------
Gallup, D., Frahm, J.-M., Mordohai, P., Yang, Q. & Pollefeys, M. (2007). Real-time plane-sweeping
    stereo with multiple sweeping directions. CVPR: surfaces are matched best along their normals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from photogrammetry.solid.sites import Site
from photogrammetry.surface.trend import Trend
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

TILT_DEG = 45.0
"""Angle off the vertical of the direction from which a side is seen."""
TURNS_DEG = {"n": 0.0, "e": 90.0, "s": 180.0, "w": 270.0}
"""Sides of a site, and their directions clockwise from its azimuth."""
TREND_CELLS = 8
"""Cells of the ground along one cell of what a side is expected to look like."""
STEPS_M = 0.25
"""Spacing of the points along a jump that stand for a wall."""
LEAST_REACH_M = 1.0
"""Distance before and behind what is expected that is searched in any case."""
MOST_REACH_M = 15.0
ABOVE_M = 3.0
"""Room above a site for what is too thin to be seen from above."""
SIDE_TILE = 256
"""Side in cells of the tiles that a side is measured in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFrame:
    """A site's ground, and where it lies."""

    site: Site
    grid: Grid
    """Its cells, those of the ground: the first is the site's first node."""
    centre: Float
    """Map coordinates of its middle, (3,); the origin of what is below."""
    matrix: Float
    """(3, 3), world from map about the centre."""
    offset: Float
    """World coordinates of the centre, (3,)."""
    floor_m: float
    """Map height of level 0 of its nodes."""
    levels: int
    """Levels of its nodes: from below all of it to above."""

    @classmethod
    def of(
        cls, site: Site, grid: Grid, heights_m: tuple[float, float, float], frame: LocalFrame
    ) -> SiteFrame:
        """Lay a frame about a site whose nodes have a grid, and such heights: see `heights_of`."""
        least_m, median_m, greatest_m = heights_m
        x, y = grid.cell_centres()
        centre = np.array([(x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2, median_m])
        matrix, offset = frame.world_from_map_affine(centre)
        cell_m = grid.cell_m
        lowest = int(np.floor((least_m - LEAST_REACH_M) / cell_m))
        highest = int(np.ceil((greatest_m + ABOVE_M) / cell_m))
        return cls(
            site=site,
            grid=grid,
            centre=centre,
            matrix=matrix,
            offset=offset,
            floor_m=lowest * cell_m,
            levels=highest - lowest + 1,
        )

    @property
    def relief_m(self) -> float:
        """Range of its heights."""
        return self.levels * self.grid.cell_m - LEAST_REACH_M - ABOVE_M

    @property
    def node_axes(self) -> Float:
        """Offsets from the centre (3,) in the map by column, row, level and 1: (3, 4)."""
        cell_m = self.grid.cell_m
        x, y = self.grid.cell_centres()
        axes = np.zeros((3, 4))
        axes[0, 0], axes[1, 1], axes[2, 2] = cell_m, -cell_m, cell_m
        axes[:, 3] = np.array([x[0], y[0], self.floor_m]) - self.centre
        return axes


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a site: the grid across the direction that it is seen from."""

    name: str
    rotation: Float
    """(3, 3), side from world: to the right, up the picture, and towards whoever looks."""
    grid: Grid
    """About the site's centre, cells of the ground's size."""
    trend: Trend
    """What the ground from above lets expect."""
    reach_m: tuple[float, float]
    """How far behind it and before it the surface is looked for."""
    wanted: NDArray[np.bool_]
    """Which of its tiles show any of the site, (tile rows, tile cols)."""

    def tiles(self) -> list[Tile]:
        """Return the tiles that show any of the site."""
        rows, cols = np.nonzero(self.wanted)
        return [self.grid.tile(int(i), int(j), SIDE_TILE) for i, j in zip(rows, cols, strict=True)]

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the side as arrays by name, its own name left out."""
        grid, trend = self.grid, self.trend
        return {
            "rotation": self.rotation,
            "corner": np.array([grid.x_min, grid.y_max, grid.cell_m]),
            "shape": np.array(grid.shape),
            "trend": trend.height,
            "reach": np.array(self.reach_m),
            "wanted": self.wanted,
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, NDArray[Any]]) -> Side:
        """Return the side of `as_arrays`."""
        x_min, y_max, cell_m = arrays["corner"].tolist()
        rows, cols = arrays["shape"].tolist()
        low_m, high_m = arrays["reach"].tolist()
        return cls(
            name=name,
            rotation=arrays["rotation"],
            grid=Grid(crs=None, x_min=x_min, y_max=y_max, cell_m=cell_m, rows=rows, cols=cols),
            trend=Trend(
                x_min=x_min, y_max=y_max, cell_m=TREND_CELLS * cell_m, height=arrays["trend"]
            ),
            reach_m=(low_m, high_m),
            wanted=arrays["wanted"],
        )


def heights_of(site: Site, height: Float32) -> tuple[float, float, float]:
    """Return least, median and greatest of a site's map heights, of its nodes (rows, cols)."""
    inside = height[site.nodes()]
    return float(inside.min()), float(np.median(inside)), float(inside.max())


def side_rotation(azimuth_deg: float, tilt_deg: float = TILT_DEG) -> Float:
    """Return side from world (3, 3) of a side seen from an azimuth, so far off the vertical.

    Examples
    --------
    >>> side_rotation(90.0, 45.0)[2].round(3).tolist()
    [0.707, 0.0, 0.707]
    """
    azimuth, tilt = np.radians([azimuth_deg, tilt_deg])
    towards = np.array(
        [np.sin(tilt) * np.sin(azimuth), np.sin(tilt) * np.cos(azimuth), np.cos(tilt)]
    )
    right = np.array([-np.cos(azimuth), np.sin(azimuth), 0.0])
    return np.vstack([right, np.cross(towards, right), towards])


def lay_sides(frame: SiteFrame, height: Float32) -> list[Side]:
    """Return the sides of a site; map heights are of its nodes (rows, cols)."""
    points = _surface_points(frame, height)
    relief_m = min(max(frame.relief_m, 0.0), MOST_REACH_M)
    reach_m = -(LEAST_REACH_M + relief_m), LEAST_REACH_M + relief_m / 2
    return [
        _lay_side(name, side_rotation(frame.site.azimuth_deg + turn_deg), points, frame, reach_m)
        for name, turn_deg in TURNS_DEG.items()
    ]


def _surface_points(frame: SiteFrame, height: Float32) -> Float:
    """Return points (N, 3) on a site's surface, walls included, about its centre (world)."""
    nodes = frame.site.nodes()
    x, y = frame.grid.cell_centres()
    row, col = np.nonzero(nodes)
    z = height[row, col].astype(float)
    parts = [np.column_stack([x[col], y[row], z])]
    for down, right in ((0, 1), (1, 0)):
        ahead = (row + down < nodes.shape[0]) & (col + right < nodes.shape[1])
        r, c, low = row[ahead], col[ahead], z[ahead]
        rise = height[r + down, c + right] - low
        steps = np.floor(np.abs(rise) / STEPS_M).astype(int)
        for step in range(1, int(steps.max(initial=0)) + 1):
            on = steps >= step
            share = step / (steps[on] + 1)
            parts.append(np.column_stack([x[c[on]], y[r[on]], low[on] + share * rise[on]]))
    return np.asarray((np.concatenate(parts) - frame.centre) @ frame.matrix.T)


def _lay_side(
    name: str,
    rotation: Float,
    points: Float,
    frame: SiteFrame,
    reach_m: tuple[float, float],
) -> Side:
    cell_m = frame.grid.cell_m
    seen = points @ rotation.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    grid = Grid.from_bounds(
        (low[0] - cell_m, low[1] - cell_m, high[0] + cell_m, high[1] + cell_m), cell_m, None
    )
    coarse = grid.coarser(TREND_CELLS)
    height = np.full(coarse.shape, -np.inf)
    col = ((seen[:, 0] - coarse.x_min) / coarse.cell_m).astype(int)
    row = ((coarse.y_max - seen[:, 1]) / coarse.cell_m).astype(int)
    np.maximum.at(height, (row, col), seen[:, 2])
    known = np.isfinite(height)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    height = cv2.GaussianBlur(height[tuple(nearest)], (0, 0), 1.0)
    tiles = -(-grid.rows // SIDE_TILE), -(-grid.cols // SIDE_TILE)
    wanted = np.zeros(tiles, np.bool_)
    wanted[row * TREND_CELLS // SIDE_TILE, col * TREND_CELLS // SIDE_TILE] = True
    return Side(
        name=name,
        rotation=rotation,
        grid=grid,
        trend=Trend(x_min=coarse.x_min, y_max=coarse.y_max, cell_m=coarse.cell_m, height=height),
        reach_m=reach_m,
        wanted=wanted,
    )
