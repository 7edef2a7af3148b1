"""Photographs of a plan, the ground that each of them shows, and how far neighbours overlap.

A proof looks at cells over the area, with height and slope: the ground as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import Line
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame
from tmp.geo.grids import Grid

Float = NDArray[np.float64]

FLATTEST_DEG = 10.0
"""Elevation of the flattest ray that counts as a view of the ground: beyond it a pixel is drawn
out to more than five times its width."""
DEPTHS = 48
"""Steps in which a ray is followed to the ground."""

Float32 = NDArray[np.float32]
CELLS_PER_SPACING = 10.0
"""Cells of the proof between two neighbouring photographs."""
LEAST_CELLS_ACROSS = 8
"""Cells across the narrower side of the smallest area."""
MOST_CELLS = 8_000_000
BLOCK = 16
"""Cells on a side of the blocks whose lowest and highest ground bound a footprint."""
PARALLEL_DEG = 5.0
"""Lines whose courses differ by less, or by as much less than half a turn, are neighbours."""
HAIR_M = 1e-3
"""Lines that end at the same place are abreast there, whatever arithmetic says."""
NEARER = 0.9
"""Share of the distance from the middle between two photographs at which a third one is between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """Photographs in plan coordinates, in the order taken."""

    position: Float
    """Projection centres (N, 3): plan x and y, and the height in the terrain's datum."""
    heading_deg: Float
    """Of the picture's top, clockwise from the plan's north (N,)."""
    pitch_deg: Float
    """Gimbal pitch (N,); -90 looks straight down."""
    line: NDArray[np.int_]
    """Number of the flight line each belongs to (N,)."""

    def __post_init__(self) -> None:
        number = len(self.position)
        shapes = self.heading_deg.shape, self.pitch_deg.shape, self.line.shape
        if self.position.shape != (number, 3) or set(shapes) != {(number,)}:
            raise InputError(
                f"photographs need (N, 3) positions and as many headings, pitches and lines, "
                f"not {self.position.shape} and {shapes}"
            )
        if not np.isfinite(self.position).all():
            place = int(np.flatnonzero(~np.isfinite(self.position).all(axis=1))[0])
            raise InputError(f"photograph {place} has no finite position; check the height data")

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def on_lines(cls, lines: Sequence[Line], height_at: Callable[[Float], Float]) -> Photos:
        """Return the photographs of flight lines, numbered from 0, looking as the lines say.

        `height_at` gives for plan points (N, 2) the flying height (N,) in the terrain's datum.
        """
        places = np.vstack([np.empty((0, 2)), *(line.stations for line in lines)])
        each = np.array([line.photos for line in lines], int)
        return cls(
            position=np.column_stack([places, height_at(places)]),
            heading_deg=np.repeat(np.array([line.heading_deg for line in lines]), each),
            pitch_deg=np.repeat(np.array([line.pitch_deg for line in lines]), each),
            line=np.repeat(np.arange(len(lines)), each),
        )

    @classmethod
    def joined(cls, *parts: Photos) -> Photos:
        """Return several lists of photographs as one."""
        return cls(
            position=np.concatenate([part.position for part in parts]),
            heading_deg=np.concatenate([part.heading_deg for part in parts]),
            pitch_deg=np.concatenate([part.pitch_deg for part in parts]),
            line=np.concatenate([part.line for part in parts]),
        )

    @classmethod
    def read(cls, path: Path, frame: PlanFrame) -> Photos:
        """Read what `write` wrote; raises `InputError` if it is damaged."""
        try:
            rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).reshape(-1, 6)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); plan again") from error
        lon, lat, height, heading, pitch, line = rows.T
        places = frame.plan_from_geodetic(np.column_stack([lon, lat]))
        return cls(
            position=np.column_stack([places, height]),
            heading_deg=heading,
            pitch_deg=pitch,
            line=line.astype(int),
        )

    def write(self, path: Path, frame: PlanFrame) -> None:
        """Write one photograph a row: place on WGS 84, height in the terrain's datum, angles."""
        lon_lat = frame.geodetic_from_plan(self.position[:, :2])
        angles = self.position[:, 2], self.heading_deg, self.pitch_deg, self.line
        np.savetxt(
            path,
            np.column_stack([lon_lat, *angles]),
            fmt=["%.9f", "%.9f", "%.3f", "%.3f", "%.3f", "%d"],
            delimiter=",",
            header="lon_deg,lat_deg,height_m,heading_deg,pitch_deg,line",
            comments="",
        )

    def some(self, which: NDArray[np.bool_]) -> Photos:
        """Return those photographs for which `which` (N,) is true."""
        return Photos(
            position=self.position[which],
            heading_deg=self.heading_deg[which],
            pitch_deg=self.pitch_deg[which],
            line=self.line[which],
        )

    @property
    def cam_from_plan(self) -> Float:
        """Rotations (N, 3, 3) as `tmp.cameras.Pose.from_gimbal` has them, without roll."""
        yaw, pitch = np.radians(self.heading_deg), np.radians(self.pitch_deg)
        # Exactly level at -90, so that on level ground the GSD is height over focal length.
        flat = np.where(self.pitch_deg == -90.0, 0.0, np.cos(pitch))
        forward = np.stack([np.sin(yaw) * flat, np.cos(yaw) * flat, np.sin(pitch)], axis=-1)
        right = np.stack([np.cos(yaw), -np.sin(yaw), np.zeros_like(yaw)], axis=-1)
        return np.stack([right, np.cross(forward, right), forward], axis=-2)


def border_rays(camera: Camera, points_per_side: int = 2) -> Float:
    """Return rays (M, 3) with z = 1 through a picture's border, clockwise from its top left.

    Each side gives its first corner and evenly spaced points towards the next.
    """
    along = np.arange(points_per_side) / points_per_side
    start = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    border = start[:, None] + along[:, None] * (np.roll(start, -1, axis=0) - start)[:, None]
    size = np.array([camera.width_px, camera.height_px])
    return camera.ray_from_pixel(border.reshape(-1, 2) * size)


def sideways(rays: Float) -> Float:
    """Return the metres sideways (..., 2) that rays (..., 3) go for each metre down.

    Rays flatter than `FLATTEST_DEG` are bent down to that elevation.
    """
    level = np.hypot(rays[..., 0], rays[..., 1])
    drop = np.maximum(-rays[..., 2], level * np.tan(np.radians(FLATTEST_DEG)))
    return np.asarray(rays[..., :2] / drop[..., None])


def cast(photos: Photos, camera_rays: ArrayLike, terrain: Terrain) -> Float:
    """Return where rays (M, 3) of each of N photographs first meet the ground, (N, M, 3).

    The terrain is taken to go on level beyond its edges.  A ray, bent as `sideways` has it, is
    looked at in `DEPTHS` steps between the terrain's highest and lowest place, so it can pass
    through a spike that is thinner than a step.  `flightplan.proof.prove` has no such limit.
    """
    across = sideways(np.asarray(camera_rays, float) @ photos.cam_from_plan)
    shape = across.shape[:-1]
    start = photos.position[:, None, :]
    low, high = float(terrain.heights.min()), float(terrain.heights.max())
    # A hair below the ground, so that the last step is in it for certain.
    last = np.maximum(start[..., 2] - low, 0.0) + 0.01
    first = np.clip(start[..., 2] - high, 0.0, last)

    def above(depth: Float) -> Float:
        places = start[..., :2] + across * depth[..., None]
        return np.asarray(start[..., 2] - depth - height_below(terrain, places))

    upper, lower = np.broadcast_to(first, shape), np.broadcast_to(last, shape)
    inside, over = upper, above(upper)
    outside, under = lower, above(lower)
    found = np.zeros(shape, bool)
    for share in np.linspace(0, 1, DEPTHS + 1)[1:] if high > low else ():
        depth = upper + share * (lower - upper)
        gap = above(depth)
        meets, passes = ~found & (gap <= 0), ~found & (gap > 0)
        outside, under = np.where(meets, depth, outside), np.where(meets, gap, under)
        inside, over = np.where(passes, depth, inside), np.where(passes, gap, over)
        found |= meets
    depth = inside + (outside - inside) * np.clip(over / np.maximum(over - under, 1e-9), 0, 1)
    return np.concatenate(
        [start[..., :2] + across * depth[..., None], (start[..., 2] - depth)[..., None]], axis=-1
    )


def height_below(terrain: Terrain, places: Float) -> Float:
    """Return the ground's height at plan points (..., 2), those off the grid moved to its edge."""
    x_min, y_min, x_max, y_max = terrain.bounds
    inside = np.clip(places, (x_min, y_min), (x_max, y_max))
    return terrain.at(inside.reshape(-1, 2)).reshape(places.shape[:-1])


@dataclass(frozen=True, kw_only=True)
class GroundCells:
    """The ground to be seen: cells over the area, with height and slope."""

    grid: Grid
    inside: NDArray[np.bool_]
    """Which cells have their centre in the area, (rows, cols)."""
    ground_m: Float32
    """Height of the terrain at cell centres, (rows, cols)."""
    terrain: Terrain

    @classmethod
    def over(
        cls, area: BaseGeometry, terrain: Terrain, cell_m: float, *, crs: str | None = None
    ) -> GroundCells:
        """Cover an area, in plan metres, with cells in the plan's CRS.

        Raises
        ------
        InputError
            If the terrain does not cover the area, or no cell lies in the area.
        """
        if not terrain.covers(shapely.get_coordinates(area)).all():
            raise InputError(
                "the terrain does not cover the area; give an elevation model that reaches "
                "beyond it on all sides"
            )
        grid = Grid.from_bounds(area.bounds, cell_m, crs)
        if grid.rows < 2 or grid.cols < 2:
            raise InputError(f"cells of {cell_m:g} m are too coarse for this area; choose smaller")
        x, y = np.meshgrid(*grid.cell_centres())
        shapely.prepare(area)
        inside = np.asarray(shapely.contains_xy(area, x, y))
        if not inside.any():
            raise InputError(f"no cell of {cell_m:g} m lies in the area; choose smaller cells")
        ground = height_below(terrain, np.stack([x, y], axis=-1))
        return cls(grid=grid, inside=inside, ground_m=ground.astype(np.float32), terrain=terrain)

    @cached_property
    def normals(self) -> Float32:
        """Unit vectors (3, rows, cols) that stand on the ground."""
        south, east = np.gradient(self.ground_m.astype(np.float64), self.grid.cell_m)
        length = np.sqrt(1 + east**2 + south**2)
        return np.stack([-east / length, south / length, 1 / length]).astype(np.float32)

    @cached_property
    def slope(self) -> Float32:
        """Steepest rise over run of the bilinear ground between four nodes of the terrain."""
        heights = self.terrain.heights
        if min(heights.shape) < 2:
            return np.zeros((1, 1), np.float32)
        east = np.abs(np.diff(heights, axis=1))
        south = np.abs(np.diff(heights, axis=0))
        rise = np.hypot(np.maximum(east[1:], east[:-1]), np.maximum(south[:, 1:], south[:, :-1]))
        return np.asarray(rise / np.float32(self.terrain.cell_m), np.float32)

    @cached_property
    def extremes(self) -> tuple[Float32, Float32]:
        """Lowest and highest ground in blocks of `BLOCK` cells."""
        rows, cols = self.grid.shape
        padding = ((0, -rows % BLOCK), (0, -cols % BLOCK))
        padded = np.pad(self.ground_m, padding, mode="edge")
        blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK)
        return blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))


def choose_cell(photo_spacing_m: float, area: BaseGeometry) -> float:
    """Return the side of the proof's cells: a tenth of the way between photographs.

    Narrow areas get smaller cells, and areas that would need more than `MOST_CELLS` larger ones.
    """
    x_min, y_min, x_max, y_max = area.bounds
    narrow_m = min(math.sqrt(area.area), x_max - x_min, y_max - y_min)
    wanted_m = min(photo_spacing_m / CELLS_PER_SPACING, narrow_m / LEAST_CELLS_ACROSS)
    return float(max(wanted_m, math.sqrt((x_max - x_min) * (y_max - y_min) / MOST_CELLS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Laps:
    """Overlaps as fractions of a footprint, each with the place where it was found."""

    front: Float
    """Of each photograph with the next on its line, (N,); negative where there is a gap."""
    front_at: Float
    """Half way between the two, plan metres (N, 2)."""
    side: Float
    """Of each photograph with the nearest one on the next line, (M,)."""
    side_at: Float
    """(M, 2)."""
    side_lines: NDArray[np.int_]
    """Numbers of the lines of both, (M, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strip:
    """The photographs of one line, measured along and across a common course."""

    number: int
    """Of the line."""
    along: Float
    across: Float
    edges: Float
    """Back, front, left, right edge of each footprint along and across the course, (N, 4)."""
    places: Float


def measure_laps(
    photos: Photos,
    camera: Camera,
    terrain: Terrain,
    *,
    regular: NDArray[np.bool_] | None = None,
) -> Laps:
    """Measure frontlap and sidelap between footprints cast on the terrain.

    Of photographs that are not `regular` (N,), added to a pattern, no overlap is measured; by
    default all are.

    Notes
    -----
    Footprints are measured through their middle: from the middle of the far edge to that of the
    near one, and from left to right.  What relief does to their corners shows in the number of
    photographs, which `flightplan.proof.prove` counts everywhere.  The length that an overlap is a
    fraction of is that of the shorter of both footprints.  A photograph's neighbour stands on the
    next parallel line abreast of it; where a third one stands nearer to the middle between them
    than they do, as between the arms of a U that lines of another course join, they are none.
    """
    standing = photos.position[:, :2]
    photos = photos if regular is None else photos.some(regular)
    hits = cast(photos, border_rays(camera, 2), terrain)[..., :2]
    front, front_at, side, side_at, side_lines = [], [], [], [], []
    for numbers in _families(photos):
        strips = _strips(photos, hits, numbers)
        for strip in strips:
            if len(strip.along) > 1:
                front.append(_overlap(strip.edges[:-1, :2], strip.edges[1:, :2]))
                front_at.append((strip.places[:-1] + strip.places[1:]) / 2)
        for number, strip in enumerate(strips):
            for here, beside, there in _neighbours(strip, strips[number + 1 :]):
                side.append(_overlap(strip.edges[here, 2:], beside.edges[there, 2:]))
                side_at.append(np.stack([strip.places[here], beside.places[there]]))
                side_lines.append(np.tile([strip.number, beside.number], (len(here), 1)))
    pairs = np.concatenate([*side_at, np.empty((2, 0, 2))], axis=1)
    middle, half_m = pairs.mean(axis=0), np.hypot(*(pairs[1] - pairs[0]).T) / 2
    others_m = cKDTree(standing).query(middle)[0]
    between = others_m < NEARER * half_m
    return Laps(
        front=np.concatenate([*front, np.empty(0)]),
        front_at=np.vstack([*front_at, np.empty((0, 2))]),
        side=np.concatenate([*side, np.empty(0)])[~between],
        side_at=middle[~between],
        side_lines=np.concatenate([*side_lines, np.empty((0, 2), int)])[~between],
    )


def _families(photos: Photos) -> list[NDArray[np.int_]]:
    """Return the numbers of the lines that run along one another, to or fro."""
    numbers, first = np.unique(photos.line, return_index=True)
    courses = photos.heading_deg[first] % 180.0
    families: list[NDArray[np.int_]] = []
    left = np.ones(len(numbers), bool)
    while left.any():
        course = courses[np.argmax(left)]
        turned = np.abs((courses - course + 90.0) % 180.0 - 90.0)
        family = left & (turned < PARALLEL_DEG)
        families.append(numbers[family])
        left &= ~family
    return families


def _strips(photos: Photos, hits: Float, numbers: NDArray[np.int_]) -> list[_Strip]:
    """Return the lines of one family from left to right, each in its direction of the family."""
    first = int(np.flatnonzero(photos.line == numbers[0])[0])
    course = np.radians(photos.heading_deg[first])
    ahead = np.array([np.sin(course), np.cos(course)])
    right = np.array([ahead[1], -ahead[0]])
    strips = []
    for number in numbers:
        members = np.flatnonzero(photos.line == number)
        turned = np.cos(np.radians(photos.heading_deg[members[0]]) - course) < 0
        places = photos.position[members, :2]
        u, v = hits[members] @ ahead, hits[members] @ right
        # Border points run clockwise from the top left corner: middles of sides at 1, 3, 5, 7.
        front, right_edge, back, left_edge = u[:, 1], v[:, 3], u[:, 5], v[:, 7]
        if turned:
            front, back, left_edge, right_edge = back, front, right_edge, left_edge
        edges = np.column_stack([back, front, left_edge, right_edge])
        order = np.argsort(places @ ahead, kind="stable")
        strips.append(
            _Strip(
                number=int(number),
                along=(places @ ahead)[order],
                across=(places @ right)[order],
                edges=edges[order],
                places=places[order],
            )
        )
    return sorted(strips, key=lambda strip: float(strip.across.mean()))


def _neighbours(
    strip: _Strip, others: list[_Strip]
) -> Iterator[tuple[NDArray[np.intp], _Strip, NDArray[np.intp]]]:
    """Yield the lines to the right that have neighbours of a line's photographs, and which.

    Numbers of photographs of this line, the other line, and numbers of its photographs.
    """
    alone = np.ones(len(strip.along), bool)
    for other in others:
        if abs(other.across.mean() - strip.across.mean()) < 0.01 * np.ptp(strip.edges[0, 2:]):
            continue
        abreast = alone & (strip.along >= other.along.min() - HAIR_M)
        abreast &= strip.along <= other.along.max() + HAIR_M
        here = np.flatnonzero(abreast)
        if here.size:
            yield here, other, np.abs(strip.along[here, None] - other.along).argmin(axis=1)
            alone &= ~abreast
        if not alone.any():
            return


def _overlap(one: Float, other: Float) -> Float:
    """Return the overlap of intervals (N, 2), as a fraction of the shorter one."""
    shorter = np.minimum(one[:, 1] - one[:, 0], other[:, 1] - other[:, 0])
    shared = np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0])
    return np.asarray(shared / np.maximum(shorter, 1e-6))
