"""What a plan's photographs would see: every picture cast on the terrain, hills in its way too.

The area is covered with cells.  For each photograph the cells within its picture are found by
projecting them with the camera model; where the terrain is steep enough to hide ground, a line of
sight is followed over it.  What remains is counted, and the ground sampling distance of the best
view is kept.

In the Numba kernel that follows a line of sight coordinates are nodes of the terrain's grid:
column to the east and row to the south, with the centre of the first cell at (0, 0); heights are
metres.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.proof.footprints import (
    BLOCK,
    FLATTEST_DEG,
    GroundCells,
    Photos,
    border_rays,
    sideways,
)
from tmp.cameras import Camera, distort
from tmp.geo.grids import Grid
from tmp.progress import Track, silent
from tmp.threads import map_threads

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

BAND_CELLS = 256
"""Rows of cells that one thread works on at a time."""

HAIR_M = 0.01
"""Height by which the ground must rise above a ray to hide what lies behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the photographs see of each cell."""

    grid: Grid
    inside: NDArray[np.bool_]
    """Which cells belong to the area; elsewhere nothing is counted."""
    ground_m: Float32
    count: NDArray[np.uint16]
    """Photographs that see the cell."""
    oblique: NDArray[np.uint16]
    """Those of them that do not look straight down."""
    gsd_m: Float32
    """Ground sampling distance of the best view: the longer side of a pixel laid on the ground's
    slope; infinite where no photograph sees the cell."""
    height_agl_m: Float32
    """Height of the best view's camera above the cell; NaN where there is none."""

    def plus(self, other: Coverage) -> Coverage:
        """Return what these and other photographs see together, on the same cells."""
        better = other.gsd_m < self.gsd_m
        return replace(
            self,
            count=self.count + other.count,
            oblique=self.oblique + other.oblique,
            gsd_m=np.where(better, other.gsd_m, self.gsd_m),
            height_agl_m=np.where(better, other.height_agl_m, self.height_agl_m),
        )

    def least(self, other: Coverage) -> Coverage:
        """Return what is sure to be seen where either these or other photographs are taken."""
        coarser = other.gsd_m > self.gsd_m
        return replace(
            self,
            count=np.minimum(self.count, other.count),
            oblique=np.minimum(self.oblique, other.oblique),
            gsd_m=np.where(coarser, other.gsd_m, self.gsd_m),
            height_agl_m=np.where(coarser, other.height_agl_m, self.height_agl_m),
        )

    @property
    def area_m2(self) -> float:
        """Area of the cells inside."""
        return float(self.inside.sum()) * self.grid.cell_m**2

    def shares(self) -> list[tuple[str, float]]:
        """Return which share of the area is seen by how many photographs, in words."""
        counts = self.count[self.inside]
        found = []
        for least, most in pairwise((0, 1, 3, 5, 9, 15, 25, 10_000)):
            share = float(((counts >= least) & (counts < most)).mean())
            words = f"{least} or more" if most == 10_000 else f"{least} to {most - 1}"
            if share > 0:
                found.append(("none" if most == 1 else f"{words} photographs", share))
        return found

    def share_below(self, count: int) -> float:
        """Return the share of the area that fewer than `count` photographs see."""
        return float((self.count[self.inside] < count).mean())

    def over_area(self, at: Float) -> NDArray[np.bool_]:
        """Tell which plan points (N, 2) lie in the area, as (N,)."""
        grid = self.grid
        row = np.floor((grid.y_max - at[:, 1]) / grid.cell_m).astype(int)
        col = np.floor((at[:, 0] - grid.x_min) / grid.cell_m).astype(int)
        over = (row >= 0) & (row < grid.rows) & (col >= 0) & (col < grid.cols)
        over[over] = self.inside[row[over], col[over]]
        return over


def whereabouts(x: float, y: float, bounds: tuple[float, float, float, float]) -> str:
    """Return in which part of a rectangle a place lies.

    Examples
    --------
    >>> whereabouts(95, 90, (0, 0, 100, 100)), whereabouts(50, 5, (0, 0, 100, 100))
    ('north-east corner', 'south side')
    """
    x_min, y_min, x_max, y_max = bounds
    column = min(max(int(3 * (x - x_min) / max(x_max - x_min, 1e-9)), 0), 2)
    row = min(max(int(3 * (y - y_min) / max(y_max - y_min, 1e-9)), 0), 2)
    words = [word for word in (("south", "", "north")[row], ("west", "", "east")[column]) if word]
    return "-".join(words) + (" corner", " side", "")[2 - len(words)] if words else "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleCells:
    """The cells that one photograph sees, as indices into a rectangle of a `GroundCells`."""

    rows: slice
    cols: slice
    seen: NDArray[np.bool_]
    """Which cells of the rectangle."""
    gsd_m: Float
    """Of the cells seen, (N,)."""
    height_agl_m: Float
    """Of the camera above the cells seen, (N,)."""


def sights(
    photos: Photos, camera: Camera, ground: GroundCells
) -> Callable[[int, slice], VisibleCells | None]:
    """Return a function that tells what a photograph, by number, sees of a slice of rows."""
    rotations = photos.cam_from_plan
    reach = _reach(rotations, camera)
    x, y = ground.grid.cell_centres()
    steepest = float(ground.slope.max())

    def see(number: int, rows: slice) -> VisibleCells | None:
        centre = photos.position[number]
        window = _window(ground, centre, reach[number], rows)
        if window is None:
            return None
        within = ground.ground_m[window] - centre[2]
        offset = (x[window[1]] - centre[0], (y[window[0]] - centre[1])[:, None], within)
        r = rotations[number]
        cam = [r[i, 0] * offset[0] + r[i, 1] * offset[1] + r[i, 2] * offset[2] for i in range(3)]
        seen = _in_picture(camera, *cam) & ground.inside[window]
        if not seen.any():
            return None
        down = -within
        if photos.pitch_deg[number] != -90.0 or steepest > 0:
            level = np.hypot(offset[0], offset[1])
            seen &= down > level * math.tan(math.radians(FLATTEST_DEG))
            if steepest > 0:
                _hide(ground, centre, window, level, down, seen)
        where = np.flatnonzero(seen)
        gsd, faces = _gsd(camera, r, [c.ravel()[where] for c in cam], ground.normals, window, where)
        if not faces.all():
            seen.ravel()[where[~faces]] = False
            where, gsd = where[faces], gsd[faces]
        return VisibleCells(
            rows=window[0], cols=window[1], seen=seen, gsd_m=gsd, height_agl_m=down.ravel()[where]
        )

    return see


def prove(
    photos: Photos, camera: Camera, ground: GroundCells, *, workers: int = 1, track: Track = silent
) -> Coverage:
    """Cast every photograph on the terrain.

    The drone is taken to be where the plan says, level but for its gimbal.  The ground is that of
    the terrain model: trees and houses that it does not hold hide nothing.
    """
    rows, cols = ground.grid.shape
    count, oblique = np.zeros((rows, cols), np.uint16), np.zeros((rows, cols), np.uint16)
    gsd = np.full((rows, cols), np.inf, np.float32)
    height = np.full((rows, cols), np.nan, np.float32)
    see = sights(photos, camera, ground)

    def work(band: slice) -> None:
        for number in range(len(photos)):
            sight = see(number, band)
            if sight is None:
                continue
            window = sight.rows, sight.cols
            count[window] += sight.seen
            if photos.pitch_deg[number] != -90.0:
                oblique[window] += sight.seen
            best = gsd[window][sight.seen]
            better = sight.gsd_m < best
            gsd[window][sight.seen] = np.where(better, sight.gsd_m, best)
            height[window][sight.seen] = np.where(
                better, sight.height_agl_m, height[window][sight.seen]
            )

    bands = [slice(row, min(row + BAND_CELLS, rows)) for row in range(0, rows, BAND_CELLS)]
    done = map_threads(work, bands, workers=workers)
    for _ in track(done, "casting photographs", len(bands)):
        pass
    log.debug("%d photographs cast on %d cells of %.2f m", len(photos), rows * cols,
              ground.grid.cell_m)  # fmt: skip
    return Coverage(
        grid=ground.grid,
        inside=ground.inside,
        ground_m=ground.ground_m,
        count=count,
        oblique=oblique,
        gsd_m=gsd,
        height_agl_m=height,
    )


def prove_phases(
    phases: Sequence[Photos],
    camera: Camera,
    ground: GroundCells,
    *,
    workers: int = 1,
    track: Track = silent,
) -> Coverage:
    """Return what is sure to be seen where the photographs of each line come at one of some phases.

    A timer stands differently at the beginning of every line, so that each line counts with the
    phase by which a place is seen least.  Of one phase it is what `prove` returns.
    """
    if len(phases) == 1:
        return prove(phases[0], camera, ground, workers=workers, track=track)
    found: Coverage | None = None
    lines = np.unique(phases[0].line)
    for number in track(lines.tolist(), "casting photographs", len(lines)):
        ways = [
            prove(one.some(one.line == number), camera, ground, workers=workers) for one in phases
        ]
        least = reduce(Coverage.least, ways)
        found = least if found is None else found.plus(least)
    assert found is not None
    return found


def _reach(rotations: Float, camera: Camera) -> Float:
    """Return how far each picture reaches per metre of height: least and most x, y (N, 2, 2)."""
    across = sideways(border_rays(camera, 8) @ rotations)
    return np.stack([across.min(axis=1), across.max(axis=1)], axis=1)


def _window(
    ground: GroundCells, centre: Float, reach: Float, rows: slice
) -> tuple[slice, slice] | None:
    """Return the rectangle of cells, within some rows, that holds all a photograph can see.

    Starts from the lowest and highest ground; the rectangle that follows has a
    narrower range of heights, from which follows a smaller rectangle.
    """
    grid = ground.grid
    lowest, highest = ground.extremes
    blocks: tuple[slice, slice] = (slice(None), slice(None))
    window = None
    for _ in range(3):
        low, high = lowest[blocks].min(), highest[blocks].max()
        depths = max(centre[2] - high, 0.0), max(centre[2] - low, 0.0)
        ends = np.outer(depths, reach.ravel()).reshape(2, 2, 2)
        x0, y0 = centre[:2] + ends[:, 0].min(axis=0)
        x1, y1 = centre[:2] + ends[:, 1].max(axis=0)
        top = max(int((grid.y_max - y1) / grid.cell_m), rows.start)
        bottom = min(int((grid.y_max - y0) / grid.cell_m) + 1, rows.stop)
        left = max(int((x0 - grid.x_min) / grid.cell_m), 0)
        right = min(int((x1 - grid.x_min) / grid.cell_m) + 1, grid.cols)
        if top >= bottom or left >= right:
            return None
        narrower = slice(top, bottom), slice(left, right)
        if narrower == window:
            break
        window = narrower
        blocks = (
            slice(top // BLOCK, (bottom - 1) // BLOCK + 1),
            slice(left // BLOCK, (right - 1) // BLOCK + 1),
        )
    return window


def _in_picture(camera: Camera, x: Float, y: Float, z: Float) -> NDArray[np.bool_]:
    """Tell which camera coordinates lie in the picture."""
    if not camera.distortion.any():
        u, v = x * camera.fx_px + z * camera.cx_px, y * camera.fy_px + z * camera.cy_px
        wide, tall = z * float(camera.width_px), z * float(camera.height_px)
    else:
        border = border_rays(camera, 8)[:, :2]
        low, high = border.min(axis=0), border.max(axis=0)
        front = np.where(z > 0, z, np.nan)
        a, b = x / front, y / front
        # Far outside the picture, distortion can fold rays back into it.
        near = (a >= low[0]) & (a <= high[0]) & (b >= low[1]) & (b <= high[1])
        a, b = distort(a, b, camera.distortion)
        u = np.where(near, a * camera.fx_px + camera.cx_px, -1.0)
        v = b * camera.fy_px + camera.cy_px
        wide, tall = np.asarray(float(camera.width_px)), np.asarray(float(camera.height_px))
    return np.asarray((z > 0) & (u >= 0) & (u <= wide) & (v >= 0) & (v <= tall))


def _hide(
    ground: GroundCells,
    centre: Float,
    window: Any,
    level: Float,
    down: Float,
    seen: NDArray[np.bool_],
) -> None:
    """Clear `seen` where the terrain stands between the camera and the ground.

    Ground can only hide ground where it is steeper than the ray; most photographs of most
    terrain need no more than this comparison.
    """
    terrain, grid = ground.terrain, ground.grid
    x0, y1 = grid.x_min + window[1].start * grid.cell_m, grid.y_max - window[0].start * grid.cell_m
    x1, y0 = grid.x_min + window[1].stop * grid.cell_m, grid.y_max - window[0].stop * grid.cell_m
    left = _node(min(x0, centre[0]) - terrain.x_min, terrain.cell_m)
    right = _node(max(x1, centre[0]) - terrain.x_min, terrain.cell_m)
    top = _node(terrain.y_max - max(y1, centre[1]), terrain.cell_m)
    bottom = _node(terrain.y_max - min(y0, centre[1]), terrain.cell_m)
    about = (slice(top, bottom + 2), slice(left, right + 2))
    slopes = ground.slope[about]
    steepest = float(slopes.max()) if slopes.size else 0.0
    doubtful = seen & (down < level * steepest)
    if not doubtful.any():
        return
    row, col = np.nonzero(doubtful)
    x, y = grid.cell_centres()
    places = np.column_stack(
        [
            (x[window[1]][col] - terrain.x_min) / terrain.cell_m - 0.5,
            (terrain.y_max - y[window[0]][row]) / terrain.cell_m - 0.5,
            centre[2] - down[row, col],
        ]
    )
    camera = (
        (centre[0] - terrain.x_min) / terrain.cell_m - 0.5,
        (terrain.y_max - centre[1]) / terrain.cell_m - 0.5,
        float(centre[2]),
    )
    out = np.zeros(len(places), np.bool_)
    highest = float(terrain.heights[about].max()) if slopes.size else -np.inf
    hidden(terrain.heights, places, camera, highest, out)
    seen[row[out], col[out]] = False


def _node(distance_m: float, cell_m: float) -> int:
    """Return the terrain's node before a place."""
    return max(math.floor(distance_m / cell_m - 0.5), 0)


def _gsd(
    camera: Camera, rotation: Float, cam: list[Float], normals: Float32, window: Any, where: Any
) -> tuple[Float, NDArray[np.bool_]]:
    """Return the longer side of a pixel on the ground, and whether the ground faces the camera.

    The projection of the tangent plane at a cell has the Jacobian J (2 × 2), pixels per metre;
    the ground sampling distance is one over its smaller singular value.  With P (2 × 3) the
    Jacobian of the projection in space and n the normal, ``|J|² = |P|² - |P n|²``, and the
    determinant is ``fx fy (-n · p) / Z³`` for a place p at depth Z.  Lens distortion is left out.
    """
    u, v = cam[0] / cam[2], cam[1] / cam[2]
    n = [normal[window].ravel()[where] for normal in normals]
    a, b, c = (rotation[i, 0] * n[0] + rotation[i, 1] * n[1] + rotation[i, 2] * n[2]
               for i in range(3))  # fmt: skip
    fx2, fy2 = camera.fx_px**2, camera.fy_px**2
    facing = -(a * u + b * v + c)
    total = fx2 * (1 + u * u - (a - u * c) ** 2) + fy2 * (1 + v * v - (b - v * c) ** 2)
    determinant = camera.fx_px * camera.fy_px * np.maximum(facing, 1e-9)
    root = np.sqrt(np.maximum(total**2 - 4 * determinant**2, 0.0))
    # The larger singular value squared; the smaller is the determinant over it.
    larger = np.sqrt((total + root) / 2)
    return np.asarray(cam[2] * larger / determinant), np.asarray(facing > 0)


@njit(cache=True, nogil=True, error_model="numpy")
def hidden(
    heights: NDArray[np.float32],
    places: NDArray[np.float64],
    camera: tuple[float, float, float],
    highest: float,
    out: NDArray[np.bool_],
) -> None:
    """Tell in `out` (N,) which places a camera cannot see because the ground is in the way.

    Places (N, 3) and the camera, which is higher than each, are column, row and height; above
    `highest` there is no ground.

    The ray is compared with the ground wherever it crosses a grid line of the axis along which
    it goes faster.  There bilinear ground is a straight line between two nodes, so the comparison
    is exact; only a ridge between two such crossings, lower than the relief of one cell, is missed.
    """
    rows, cols = heights.shape
    for n in range(places.shape[0]):
        x, y, z = places[n, 0], places[n, 1], places[n, 2]
        dx, dy, dz = camera[0] - x, camera[1] - y, camera[2] - z
        length = max(abs(dx), abs(dy))
        out[n] = False
        if length < 1e-9:
            continue
        dx, dy, dz = dx / length, dy / length, dz / length
        by_column = abs(dx) >= abs(dy)
        fast, toward = (x, dx) if by_column else (y, dy)
        # To the first grid line ahead, then from line to line.
        t = math.floor(fast) + 1 - fast if toward > 0 else fast - math.ceil(fast) + 1
        while t < length:
            ray = z + t * dz
            if ray > highest:
                break
            across = (y + t * dy) if by_column else (x + t * dx)
            line = round(fast + t * toward)
            lines, sides = (cols, rows) if by_column else (rows, cols)
            if line < 0 or line >= lines or across < -0.5 or across > sides - 0.5:
                break
            side = min(max(math.floor(across), 0), sides - 2)
            share = min(max(across - side, 0.0), 1.0)
            if by_column:
                ground = heights[side, line] * (1 - share) + heights[side + 1, line] * share
            else:
                ground = heights[line, side] * (1 - share) + heights[line, side + 1] * share
            if ground > ray + HAIR_M:
                out[n] = True
                break
            t += 1.0
