"""Pictures cast on the ground: which cells a photograph shows, and how sharply.

The cells within a picture are found by projecting them with the camera model; where the terrain is
steep enough to hide ground, a line of sight is followed over it.

Numba kernels that release the interpreter lock do this.  In the one that follows a line of sight
coordinates are nodes of the terrain's grid: column to the east and row to the south, with the
centre of the first cell at (0, 0); heights are metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

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
from tmp.cameras import Camera

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Triple = tuple[float, float, float]
Window = tuple[int, int, int, int]
"""Rectangle of cells: first row, row after the last, and the same of columns."""

HAIR_M = 0.01
"""Height by which the ground must rise above a ray to hide what lies behind."""


def sights(
    photos: Photos, camera: Camera, ground: GroundCells
) -> Callable[[int], tuple[tuple[slice, slice], NDArray[np.bool_]] | None]:
    """Return a function that tells which cells a photograph, by number, sees.

    As a rectangle of them, and which of it; None where it can see none.
    """
    views = Views.of(photos, camera, ground)

    def see(number: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]] | None:
        top, bottom, left, right = views.windows[number].tolist()
        if top >= bottom or left >= right:
            return None
        seen = views.cast(np.array([number]), (top, bottom, left, right)).count > 0
        return (slice(top, bottom), slice(left, right)), seen

    return see


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCells:
    """What some photographs see of a rectangle of cells, see `flightplan.proof.prove.Coverage`."""

    count: NDArray[np.uint16]
    oblique: NDArray[np.uint16]
    gsd_m: Float32
    height_agl_m: Float32

    @classmethod
    def none(cls, rows: int, cols: int) -> SeenCells:
        """Return cells that no photograph sees."""
        return cls(
            count=np.zeros((rows, cols), np.uint16),
            oblique=np.zeros((rows, cols), np.uint16),
            gsd_m=np.full((rows, cols), np.inf, np.float32),
            height_agl_m=np.full((rows, cols), np.nan, np.float32),
        )

    def part(self, window: Window) -> SeenCells:
        """Return a rectangle of it, in the same memory."""
        at = slice(*window[:2]), slice(*window[2:])
        return SeenCells(
            count=self.count[at],
            oblique=self.oblique[at],
            gsd_m=self.gsd_m[at],
            height_agl_m=self.height_agl_m[at],
        )

    def add(self, other: SeenCells) -> None:
        """Count what other photographs see of the same cells as well."""
        self.count[...] += other.count
        self.oblique[...] += other.oblique
        better = other.gsd_m < self.gsd_m
        np.copyto(self.gsd_m, other.gsd_m, where=better)
        np.copyto(self.height_agl_m, other.height_agl_m, where=better)

    def least(self, other: SeenCells) -> SeenCells:
        """Return what is sure to be seen where either these or other photographs are taken."""
        coarser = other.gsd_m > self.gsd_m
        return SeenCells(
            count=np.minimum(self.count, other.count),
            oblique=np.minimum(self.oblique, other.oblique),
            gsd_m=np.where(coarser, other.gsd_m, self.gsd_m),
            height_agl_m=np.where(coarser, other.height_agl_m, self.height_agl_m),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Photographs as the kernels take them."""

    ground: _Ground
    lens: Float
    """Focal lengths, principal point, size in px, k1 k2 p1 p2 k3; then the least and the most of x
    and y that a ray with z = 1 has in the picture, (15,)."""
    position: Float
    rotation: Float
    """cam_from_plan, (N, 3, 3)."""
    tilted: NDArray[np.bool_]
    """Which do not look straight down, (N,)."""
    windows: NDArray[np.int64]
    """Rectangle of cells that holds all a photograph can see: first row, row after the last, and
    the same of columns, (N, 4); empty where it sees none."""

    @classmethod
    def of(cls, photos: Photos, camera: Camera, ground: GroundCells) -> Views:
        """Return photographs, and bound what each of them can see."""
        rotation, border = photos.cam_from_plan, border_rays(camera, 8)
        across = sideways(border @ rotation)
        reach = np.stack([across.min(axis=1), across.max(axis=1)], axis=1)
        sheet = _Ground.of(ground)
        rows, cols = ground.grid.shape
        windows = np.tile(np.array([0, rows, 0, cols]), (len(photos), 1))
        low, high = ground.extremes
        ends = float(low.min()), float(high.max())
        _bound(low, high, ends, sheet.corner, photos.position, reach, windows)
        size = camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, camera.width_px
        sides = *border[:, :2].min(axis=0), *border[:, :2].max(axis=0)
        return cls(
            ground=sheet,
            lens=np.array([*size, camera.height_px, *camera.distortion, *sides], float),
            position=np.ascontiguousarray(photos.position, float),
            rotation=np.ascontiguousarray(rotation),
            tilted=photos.pitch_deg != -90.0,
            windows=windows,
        )

    def cast(self, members: NDArray[np.intp], window: Window) -> SeenCells:
        """Return what some of the photographs, by number, see of a rectangle of cells."""
        top, bottom, left, right = window
        seen = SeenCells.none(bottom - top, right - left)
        _cast(
            self.ground,
            self.lens,
            self.position[members],
            self.rotation[members],
            self.windows[members],
            self.tilted[members],
            (top, left),
            (seen.count, seen.oblique, seen.gsd_m, seen.height_agl_m),
        )
        return seen


class _Ground(NamedTuple):
    """`GroundCells` as the kernels take them."""

    x: Float
    """Of the cells' centres, (cols,)."""
    y: Float
    height: Float32
    inside: NDArray[np.bool_]
    normals: Float32
    terrain: Float32
    """Heights of its nodes."""
    slope: Float32
    """Steepest between four nodes."""
    corner: tuple[float, float, float]
    """Edge of the cells in the west and in the north, and their side."""
    node: tuple[float, float, float]
    """First node of the terrain, x and y, and the distance between two."""

    @classmethod
    def of(cls, ground: GroundCells) -> _Ground:
        grid, terrain = ground.grid, ground.terrain
        half_m = terrain.cell_m / 2
        return cls(
            *grid.cell_centres(),
            ground.ground_m,
            ground.inside,
            ground.normals,
            terrain.heights,
            ground.slope,
            (grid.x_min, grid.y_max, grid.cell_m),
            (terrain.x_min + half_m, terrain.y_max - half_m, terrain.cell_m),
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _bound(
    lowest: Float32,
    highest: Float32,
    ends: tuple[float, float],
    corner: Triple,
    position: Float,
    reach: Float,
    windows: NDArray[np.int64],
) -> None:
    """Narrow in `windows` (N, 4) the rectangle of cells that holds all a photograph can see.

    `reach` (N, 2, 2) is how far a picture goes per metre of height, least and most x and y.  The
    lowest and highest ground of all, `ends`, give a smaller one, and what lies there one smaller
    yet.
    """
    x_min, y_max, cell = corner
    for n in range(windows.shape[0]):
        x, y, z = position[n, 0], position[n, 1], position[n, 2]
        low, high = ends
        for _ in range(3):
            near, far = max(z - high, 0.0), max(z - low, 0.0)
            x0 = x + min(near * reach[n, 0, 0], far * reach[n, 0, 0])
            y0 = y + min(near * reach[n, 0, 1], far * reach[n, 0, 1])
            x1 = x + max(near * reach[n, 1, 0], far * reach[n, 1, 0])
            y1 = y + max(near * reach[n, 1, 1], far * reach[n, 1, 1])
            top = max(int((y_max - y1) / cell), windows[n, 0])
            bottom = max(min(int((y_max - y0) / cell) + 1, windows[n, 1]), top)
            left = max(int((x0 - x_min) / cell), windows[n, 2])
            right = max(min(int((x1 - x_min) / cell) + 1, windows[n, 3]), left)
            windows[n, 0], windows[n, 1], windows[n, 2], windows[n, 3] = top, bottom, left, right
            if top == bottom or left == right:
                break
            low, high = math.inf, -math.inf
            for i in range(top // BLOCK, (bottom - 1) // BLOCK + 1):
                for j in range(left // BLOCK, (right - 1) // BLOCK + 1):
                    low, high = min(low, lowest[i, j]), max(high, highest[i, j])


@njit(cache=True, nogil=True, error_model="numpy")
def _cast(
    ground: _Ground,
    lens: Float,
    position: Float,
    rotation: Float,
    windows: NDArray[np.int64],
    tilted: NDArray[np.bool_],
    first: tuple[int, int],
    seen: tuple[NDArray[np.uint16], NDArray[np.uint16], Float32, Float32],
) -> None:
    """Count in a rectangle of cells what photographs see, and keep the best view's GSD and height.

    `first` is the row and column of its first cell.
    """
    count, oblique, gsd_m, height_agl_m = seen
    flattest = math.tan(math.radians(FLATTEST_DEG))
    for n in range(len(position)):
        top, bottom = max(windows[n, 0], first[0]), min(windows[n, 1], first[0] + count.shape[0])
        left, right = max(windows[n, 2], first[1]), min(windows[n, 3], first[1] + count.shape[1])
        centre, r = position[n], rotation[n]
        steepest, highest = _relief(ground, centre, top, bottom, left, right)
        for row in range(top, bottom):
            dy = ground.y[row] - centre[1]
            for col in range(left, right):
                if not ground.inside[row, col]:
                    continue
                dx, down = ground.x[col] - centre[0], centre[2] - ground.height[row, col]
                x = r[0, 0] * dx + r[0, 1] * dy - r[0, 2] * down
                y = r[1, 0] * dx + r[1, 1] * dy - r[1, 2] * down
                z = r[2, 0] * dx + r[2, 1] * dy - r[2, 2] * down
                if not _in_picture(lens, x, y, z):
                    continue
                level = math.sqrt(dx * dx + dy * dy)
                if down <= level * flattest:
                    continue
                # Ground can only hide ground where it is steeper than the ray; most photographs
                # of most terrain need no more than this comparison.
                if down < level * steepest and _behind(ground, centre, row, col, highest):
                    continue
                east, north, up = (
                    ground.normals[0, row, col],
                    ground.normals[1, row, col],
                    ground.normals[2, row, col],
                )
                a = r[0, 0] * east + r[0, 1] * north + r[0, 2] * up
                b = r[1, 0] * east + r[1, 1] * north + r[1, 2] * up
                c = r[2, 0] * east + r[2, 1] * north + r[2, 2] * up
                gsd = _gsd_m(lens, (x / z, y / z, z), (a, b, c))
                if gsd == math.inf:
                    continue
                i, j = row - first[0], col - first[1]
                count[i, j] += 1
                oblique[i, j] += tilted[n]
                if gsd < gsd_m[i, j]:
                    gsd_m[i, j], height_agl_m[i, j] = gsd, down


@njit(inline="always")
def _in_picture(lens: Float, x: float, y: float, z: float) -> bool:
    """Tell whether camera coordinates lie in the picture; `tmp.cameras.distort` has the lens."""
    if z <= 0:
        return False
    u, v = x / z, y / z
    # Far outside the picture, distortion can fold rays back into it.
    if u < lens[11] or v < lens[12] or u > lens[13] or v > lens[14]:
        return False
    k1, k2, p1, p2, k3 = lens[6], lens[7], lens[8], lens[9], lens[10]
    r2 = u * u + v * v
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    px = lens[0] * (u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)) + lens[2]
    py = lens[1] * (v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v) + lens[3]
    return bool(px >= 0 and px <= lens[4] and py >= 0 and py <= lens[5])


@njit(inline="always")
def _gsd_m(lens: Float, at: Triple, normal: Triple) -> float:
    """Return the longer side of a pixel on the ground; infinite where that faces away.

    `at` is the place, x / z, y / z, z, and `normal` stands on its ground, both as the camera has
    them.  The projection of the tangent plane at a cell has the Jacobian J (2 × 2), pixels per
    metre; the ground sampling distance is one over its smaller singular value.  With P (2 × 3) the
    Jacobian of the projection in space and n the normal, ``|J|² = |P|² - |P n|²``, and the
    determinant is ``fx fy (-n · p) / Z³`` for a place p at depth Z.  Lens distortion is left out.
    """
    u, v, z = at
    a, b, c = normal
    facing = -(a * u + b * v + c)
    if facing <= 0:
        return math.inf
    fx2, fy2 = lens[0] * lens[0], lens[1] * lens[1]
    total = fx2 * (1 + u * u - (a - u * c) ** 2) + fy2 * (1 + v * v - (b - v * c) ** 2)
    determinant = lens[0] * lens[1] * max(facing, 1e-9)
    # The larger singular value squared; the smaller is the determinant over it.
    root = math.sqrt(max(total * total - 4 * determinant * determinant, 0.0))
    return float(z * math.sqrt((total + root) / 2) / determinant)


@njit(inline="always")
def _relief(
    ground: _Ground, centre: Float, top: int, bottom: int, left: int, right: int
) -> tuple[float, float]:
    """Return the steepest slope and the highest ground below a photograph and what it sees."""
    x_min, y_max, cell = ground.corner
    x0, y0, step = ground.node
    west = min(x_min + left * cell, centre[0]) - x0
    east = max(x_min + right * cell, centre[0]) - x0
    north = y0 - max(y_max - top * cell, centre[1])
    south = y0 - min(y_max - bottom * cell, centre[1])
    slope, terrain = ground.slope, ground.terrain
    steepest, highest = 0.0, -math.inf
    for i in range(max(math.floor(north / step), 0), math.floor(south / step) + 2):
        for j in range(max(math.floor(west / step), 0), math.floor(east / step) + 2):
            if i < slope.shape[0] and j < slope.shape[1]:
                steepest = max(steepest, slope[i, j])
            if i < terrain.shape[0] and j < terrain.shape[1]:
                highest = max(highest, terrain[i, j])
    return steepest, highest


@njit(inline="always")
def _behind(ground: _Ground, centre: Float, row: int, col: int, highest: float) -> bool:
    """Tell whether the terrain stands between a camera and a cell."""
    x0, y0, step = ground.node
    place = (ground.x[col] - x0) / step, (y0 - ground.y[row]) / step, ground.height[row, col]
    camera = (centre[0] - x0) / step, (y0 - centre[1]) / step, centre[2]
    return hidden(ground.terrain, place, camera, highest)


@njit(cache=True, nogil=True, error_model="numpy")
def hidden(heights: Float32, place: Triple, camera: Triple, highest: float) -> bool:
    """Tell whether a camera cannot see a place because the ground is in the way.

    The place and the camera, which is higher, are column, row and height; above `highest` there is
    no ground.

    The ray is compared with the ground wherever it crosses a grid line of the axis along which
    it goes faster.  There bilinear ground is a straight line between two nodes, so the comparison
    is exact; only a ridge between two such crossings, lower than the relief of one cell, is missed.
    """
    rows, cols = heights.shape
    x, y, z = place
    dx, dy, dz = camera[0] - x, camera[1] - y, camera[2] - z
    length = max(abs(dx), abs(dy))
    if length < 1e-9:
        return False
    dx, dy, dz = dx / length, dy / length, dz / length
    by_column = abs(dx) >= abs(dy)
    fast, toward = (x, dx) if by_column else (y, dy)
    # To the first grid line ahead, then from line to line.
    t = math.floor(fast) + 1 - fast if toward > 0 else fast - math.ceil(fast) + 1
    while t < length:
        ray = z + t * dz
        if ray > highest:
            return False
        across = (y + t * dy) if by_column else (x + t * dx)
        line = round(fast + t * toward)
        lines, sides = (cols, rows) if by_column else (rows, cols)
        if line < 0 or line >= lines or across < -0.5 or across > sides - 0.5:
            return False
        side = min(max(math.floor(across), 0), sides - 2)
        share = min(max(across - side, 0.0), 1.0)
        if by_column:
            ground = heights[side, line] * (1 - share) + heights[side + 1, line] * share
        else:
            ground = heights[line, side] * (1 - share) + heights[line, side + 1] * share
        if ground > ray + HAIR_M:
            return True
        t += 1.0
    return False
