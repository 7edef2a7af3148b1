"""The truth about a scene in three dimensions: its surface, distances from it, who sees it.

Places come and go in map coordinates (easting, northing, height above the ellipsoid);
`tmp.geo.frames.LocalFrame.world_from_map` takes them to the world.  The surface is that which
photographs are rendered of: the ground with what grows on it, and the outside of all bodies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from flightplan.rehearsal.features import FarmFeatures
from flightplan.rehearsal.photographs import lattice_from_cam
from flightplan.rehearsal.ray_tracing import (
    Ground,
    Lens,
    Triple,
    bilinear,
    hit_ground,
    skip_ahead,
    undistorted,
)
from flightplan.rehearsal.scene import Scene
from flightplan.rehearsal.solids.bodies import (
    CONVEX,
    ELLIPSOID,
    FIRST,
    KIND,
    ORIGIN,
    SIZE,
    SPHERE,
    TURN,
    Footing,
    Kind,
    Solids,
    stand,
)
from flightplan.rehearsal.solids.distances import block_bounds, measure_distances
from flightplan.rehearsal.solids.tracing import hit_solid, hit_solids, meets_sphere
from tmp.cameras import Camera, Pose
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame
from tmp.threads import map_threads

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Bounds = tuple[float, float, float, float]

CHUNK, STRIP = 20_000, 32
"""Places, and rows of a picture, that a thread works on at a time."""
GROWN_M = 0.01
"""Grass this high above the ground is no longer counted as ground."""
OFF_M = 0.002
"""Places are moved off the surface by this before it is asked what hides them."""
STEEPEST_DEG = 75.0
"""A photograph that looks at a surface more aslant than this does not see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruePoints:
    """Places on the surface of a scene."""

    points: F64
    """Map coordinates, (N, 3)."""
    normals: F64
    """Outward unit normals in the map's axes, (N, 3)."""
    kind: NDArray[np.int8]
    """`flightplan.rehearsal.solids.bodies.Kind` of each, (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoofEdge:
    """An edge of a roof, on its outer plane."""

    house: int
    """Number of the house in `Scene.houses`."""
    name: str
    """``eave``, ``verge`` (over a gable) or ``ridge``."""
    ends: F64
    """Map coordinates, (2, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WallPlane:
    """A wall of a house, up to the outer plane of its roof."""

    house: int
    """Number of the house in `Scene.houses`."""
    corners: F64
    """Map coordinates, (4 or 5, 3), in order around it; the lowest at the lowest ground."""
    normal: F64
    """Outward unit normal in the map's axes, (3,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crown:
    """The crown of a tree: an ellipsoid with an upright axis."""

    centre: F64
    """Map coordinates, (3,)."""
    half_axes_m: tuple[float, float, float]
    """Along the heading, across it, and upright."""
    heading_deg: float

    @property
    def volume_m3(self) -> float:
        """Volume of the whole ellipsoid, whatever else grows into it."""
        a, b, c = self.half_axes_m
        return 4 / 3 * math.pi * a * b * c


def crowns(scene: Scene) -> list[Crown]:
    """Return the crowns of a scene's trees, in the order of `FarmFeatures.trees`."""
    if scene.solids is None:
        return []
    found = []
    for row in scene.solids.table[scene.solids.table[:, KIND] == Kind.CROWN]:
        x, y, z = row[ORIGIN : ORIGIN + 3].tolist()
        heading = math.degrees(math.atan2(row[TURN], -row[TURN + 1]))
        half = tuple(row[SIZE : SIZE + 3].tolist())
        centre = np.array([scene.grid.x_min + x, scene.grid.y_max - y, z])
        found.append(Crown(centre=centre, half_axes_m=half, heading_deg=heading % 360.0))
    return found


def roof_edges(scene: Scene) -> list[RoofEdge]:
    """Return the eaves, verges and ridges of a scene's houses."""
    found = []
    for number, house in enumerate(scene.houses):
        base = Footing(scene.bare, scene.grid).base_m(house)
        out, half = house.overhang_m, house.width_m / 2
        eave_m = house.eaves_m - (house.ridge_m - house.eaves_m) / half * out
        corners = np.column_stack([house.roof_outline, np.full(4, base + eave_m)])
        gables = [(corners[0] + corners[1]) / 2, (corners[2] + corners[3]) / 2]
        ridge = np.array([[*gable[:2], base + house.ridge_m] for gable in gables])
        # The outline goes round from ahead on the right: its first side lies across the heading.
        lines = [
            ("eave", corners[1], corners[2]),
            ("eave", corners[3], corners[0]),
            ("verge", corners[0], ridge[0]),
            ("verge", ridge[0], corners[1]),
            ("verge", corners[2], ridge[1]),
            ("verge", ridge[1], corners[3]),
            ("ridge", ridge[0], ridge[1]),
        ]
        found += [
            RoofEdge(house=number, name=name, ends=np.array([start, end]))
            for name, start, end in lines
        ]
    return found


def wall_planes(scene: Scene) -> list[WallPlane]:
    """Return the walls of a scene's houses."""
    found = []
    for number, house in enumerate(scene.houses):
        base = Footing(scene.bare, scene.grid).base_m(house)
        outline = house.outline
        for k in range(4):
            start, end = outline[k], outline[(k + 1) % 4]
            top = base + house.eaves_m
            ring = [[*start, base], [*end, base], [*end, top], [*start, top]]
            if k % 2 == 0:
                ring.insert(3, [*(start + end) / 2, base + house.ridge_m])
            away = (start + end) / 2 - house.centre
            found.append(
                WallPlane(
                    house=number,
                    corners=np.array(ring),
                    normal=np.array([*away / np.hypot(*away), 0.0]),
                )
            )
    return found


def sample_truth(scene: Scene, spacing_m: float, *, bounds: Bounds | None = None) -> TruePoints:
    """Return places all over the surface of a scene, about one to each square of `spacing_m`.

    What lies within another body or in the ground, by more than 2 mm, is left out; what no
    photograph sees, such as the underside of a low slab, is not.  `bounds` (x_min, y_min, x_max,
    y_max) are in map coordinates; without them all of the scene is sampled.

    Raises
    ------
    InputError
        If the spacing is not positive.
    """
    if spacing_m <= 0:
        raise InputError(f"spacing {spacing_m!r} m is not positive")
    grid, low_high = scene.grid, np.reshape(bounds or scene.grid.bounds, (2, 2))
    parts = [_on_ground(scene, spacing_m, low_high)]
    if scene.solids is not None:
        parts += _on_solids(scene.solids, spacing_m)
    points, normals, kind = (np.concatenate(each) for each in zip(*parts, strict=True))
    flip = np.array([1.0, -1.0, 1.0])
    there = points * flip + [grid.x_min, grid.y_max, 0.0]
    keep = ((there[:, :2] >= low_high[0]) & (there[:, :2] <= low_high[1])).all(axis=1)
    if scene.solids is not None:
        off = points[keep] + OFF_M * normals[keep]
        keep[keep] = _in_the_open(*scene.solids[:2], scene.ground.height, grid.cell_m, off)
    return TruePoints(points=there[keep], normals=normals[keep] * flip, kind=kind[keep])


def distance_to_truth(scene: Scene, points: ArrayLike, *, workers: int = 2) -> F64:
    """Return the distance (N,) of places (N, 3), map, from the surface of a scene, in metres.

    Notes
    -----
    Distances are exact (1e-6 m) in the open air.  Inside, they are the depth in that body, or
    below that ground, in which a place lies deepest: exact too unless the nearest surface of that
    one is hidden in another, when they are too small, by at most 30 % where two meet at a right
    angle.  Beyond the scene its edge counts as the nearest ground.
    """
    places = scene.lattice_from_map(points)
    if scene.solids is None and len(scene.ground.houses):
        raise InputError("this scene has plain houses; distances are known in scenes with solids")
    ground = scene.ground
    bounds = block_bounds(ground.height)
    solids = scene.solids or stand(FarmFeatures(), scene.ground.height, scene.grid, np.zeros(11))
    out = np.empty(len(places))

    def fill(start: int) -> None:
        part = slice(start, start + CHUNK)
        measure_distances(solids, ground.height, ground.cell_m, bounds, places[part], out[part])

    for _ in map_threads(fill, range(0, len(places), CHUNK), workers=workers):
        pass
    return out


def seen_by(
    scene: Scene,
    frame: LocalFrame,
    points: ArrayLike,
    normals: ArrayLike,
    views: Sequence[tuple[Camera, Pose]],
    *,
    enough: int = 255,
    workers: int = 2,
) -> NDArray[np.uint8]:
    """Return how many photographs see each of some places (N,), up to `enough`.

    A photograph sees a place, map (N, 3), with a normal (N, 3) if it lies in the frame, is looked
    at no more aslant than `STEEPEST_DEG`, and nothing stands between.  Poses are in the world of
    `frame`.
    """
    places, flip = scene.lattice_from_map(points), np.array([1.0, -1.0, 1.0])
    outward = np.atleast_2d(np.asarray(normals, float)) * flip
    lenses, poses = np.empty((len(views), 11)), np.empty((len(views), 4, 3))
    for number, (camera, pose) in enumerate(views):
        matrix, centre = lattice_from_cam(scene, frame, pose)
        poses[number, :3], poses[number, 3] = np.linalg.inv(matrix), centre
        brown = camera.k1, camera.k2, camera.p1, camera.p2, camera.k3
        lenses[number] = [
            *(camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, *brown),
            *(camera.width_px, camera.height_px),
        ]
    counts = np.zeros(len(places), np.uint8)
    solids = scene.solids or stand(FarmFeatures(), scene.ground.height, scene.grid, np.zeros(11))

    def fill(start: int) -> None:
        part = slice(start, start + CHUNK)
        seen = places[part], outward[part], counts[part]
        _count_views(scene.ground, solids, lenses, poses, enough, *seen)

    for _ in map_threads(fill, range(0, len(places), CHUNK), workers=workers):
        pass
    return counts


def true_depth(
    scene: Scene, frame: LocalFrame, camera: Camera, pose: Pose, *, workers: int = 2
) -> F32:
    """Return the depth (rows, cols) that a camera sees at its pixels' centres, in metres.

    It is counted along the optical axis, as z of the camera's coordinates; NaN where a ray ends
    nowhere.  The pose is in the world of `frame`.
    """
    matrix, centre = lattice_from_cam(scene, frame, pose)
    lens = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px)
    brown = (camera.k1, camera.k2, camera.p1, camera.p2, camera.k3)
    solids = scene.solids or stand(FarmFeatures(), scene.ground.height, scene.grid, np.zeros(11))
    out = np.empty((camera.height_px, camera.width_px), np.float32)

    def fill(row: int) -> None:
        part = out[row : row + STRIP]
        _measure_depth(scene.ground, solids, (*lens, *brown), matrix, centre, row, part)

    for _ in map_threads(fill, range(0, camera.height_px, STRIP), workers=workers):
        pass
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _measure_depth(
    ground: Ground,
    solids: Solids,
    lens: Lens,
    matrix: F64,
    centre: Triple,
    first_row: int,
    out: F32,
) -> None:
    """Fill the depth of some rows of a picture."""
    table, faces, scale = solids.table, solids.faces, 1.0 / ground.cell_m
    candidates = np.empty(table.shape[0], np.int64)
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            u, v = undistorted(lens, col + 0.5, first_row + row + 0.5)
            ray = (
                matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2],
                matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2],
                matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2],
            )
            count = 0
            for k in range(table.shape[0]):
                if meets_sphere(table, k, centre, ray):
                    candidates[count] = k
                    count += 1
            depth, _, _ = hit_solids(table, faces, candidates[:count], centre, ray)
            if ray[2] < 0:
                start = skip_ahead(ground, centre, ray)
                if start >= 0 and (depth < 0 or depth > start):
                    t = hit_ground(ground.height, scale, centre, ray, start)
                    depth = t if t >= 0 and (depth < 0 or t < depth) else depth
            out[row, col] = depth if depth >= 0 else np.nan


Samples = tuple[F64, F64, NDArray[np.int8]]


def _on_ground(scene: Scene, spacing_m: float, bounds: F64) -> Samples:
    """Return lattice places on the ground, their normals, and their kind."""
    grid, height = scene.grid, scene.ground.height
    low = np.maximum(bounds[0] - grid.bounds[:2], grid.cell_m)
    high = np.minimum(
        bounds[1] - grid.bounds[:2],
        [(grid.cols - 1) * grid.cell_m, (grid.rows - 1) * grid.cell_m],
    )
    x, y = (np.arange(low[k] + spacing_m / 2, high[k], spacing_m) for k in range(2))
    east, south = np.meshgrid(x, grid.rows * grid.cell_m - y)
    places = np.column_stack([east.ravel(), south.ravel(), np.zeros(east.size)])
    normals = np.empty_like(places)
    _lay_on_ground(height, grid.cell_m, places, normals)
    kind = np.full(len(places), Kind.GROUND, np.int8)
    if scene.grass is not None:
        cols, rows = (places[:, :2] / grid.cell_m).astype(int).T
        kind[scene.grass[rows, cols] > GROWN_M] = Kind.GRASS
    return places, normals, kind


@njit(cache=True, nogil=True, error_model="numpy")
def _lay_on_ground(height: F32, cell_m: float, places: F64, normals: F64) -> None:
    """Fill the heights of lattice places (N, 3) and the normals of the bilinear surface there."""
    for n in range(places.shape[0]):
        gx, gy = places[n, 0] / cell_m - 0.5, places[n, 1] / cell_m - 0.5
        i = min(max(int(gx), 0), height.shape[1] - 2)
        j = min(max(int(gy), 0), height.shape[0] - 2)
        u, v = gx - i, gy - j
        a, b = height[j, i], height[j, i + 1] - height[j, i]
        c, d = height[j + 1, i] - a, height[j + 1, i + 1] - height[j + 1, i] - b
        places[n, 2] = a + u * b + v * (c + u * d)
        nx, ny = -(b + v * d) / cell_m, -(c + u * d) / cell_m
        length = math.sqrt(nx * nx + ny * ny + 1.0)
        normals[n, 0], normals[n, 1], normals[n, 2] = nx / length, ny / length, 1.0 / length


def _on_solids(solids: Solids, spacing_m: float) -> Iterator[Samples]:
    """Yield lattice places on each surface of each body, hidden or not, normals and kind."""
    for row in solids.table:
        if row[0] == CONVEX:
            for face in solids.faces[int(row[FIRST]) : int(row[FIRST + 1])]:
                if face[4] != Kind.HIDDEN:
                    ring = solids.corners[int(face[6]) : int(face[7])]
                    places = _over_polygon(ring, face[:3], spacing_m)
                    normals = np.broadcast_to(face[:3], places.shape)
                    yield places, normals, np.full(len(places), face[4], np.int8)
            continue
        sample = _over_ellipsoid if row[0] == ELLIPSOID else _over_cylinder
        local, outward = sample(row[SIZE : SIZE + 3], spacing_m)
        cos, sin = row[TURN], row[TURN + 1]
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        places = row[ORIGIN : ORIGIN + 3] + local @ turn
        yield places, outward @ turn, np.full(len(places), row[KIND], np.int8)


def _over_polygon(ring: F64, normal: F64, spacing_m: float) -> F64:
    """Return places (N, 3) of a square grid over a flat convex polygon (M, 3)."""
    ahead = ring[1] - ring[0]
    ahead = ahead / np.linalg.norm(ahead)
    aside = np.cross(normal, ahead)
    flat = (ring - ring[0]) @ np.column_stack([ahead, aside])
    axes = []
    for low, high in zip(flat.min(axis=0), flat.max(axis=0), strict=True):
        count = max(round((high - low) / spacing_m), 1)
        axes.append(low + (np.arange(count) + 0.5) * (high - low) / count)
    u, v = (axis.ravel() for axis in np.meshgrid(*axes))
    inside = np.ones(len(u), bool)
    for start, end in zip(flat, np.roll(flat, -1, axis=0), strict=True):
        way = end - start
        inside &= way[0] * (v - start[1]) - way[1] * (u - start[0]) >= 0
    return np.asarray(ring[0] + u[inside, None] * ahead + v[inside, None] * aside)


def _over_ellipsoid(half: F64, spacing_m: float) -> tuple[F64, F64]:
    """Return places (N, 3) all over an ellipsoid about zero, and its normals there.

    References
    ----------
    Swinbank & Purser (2006), Fibonacci grids, for the sphere; places are then kept as often as
    the ellipsoid is larger there, by a sequence that fills the unit interval evenly.
    """
    stretch = half.prod() / half.min()
    count = max(int(4 * math.pi * stretch / spacing_m**2), 16)
    number = np.arange(count)
    up = 1 - 2 * (number + 0.5) / count
    turn = number * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - up**2)
    unit = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), up])
    outward = unit / half
    size = np.linalg.norm(outward, axis=1)
    keep = (number * 0.7548776662466927) % 1.0 < size * half.min()
    return (unit * half)[keep], (outward / size[:, None])[keep]


def _over_cylinder(size: F64, spacing_m: float) -> tuple[F64, F64]:
    """Return places (N, 3) on the side and top of a cylinder that stands on zero, and normals."""
    radius, height, _ = size
    around = max(round(2 * math.pi * radius / spacing_m), 6)
    levels = max(round(height / spacing_m), 1)
    angle = 2 * math.pi * np.arange(around) / around
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(around)])
    up = (np.arange(levels) + 0.5) * height / levels
    side = np.tile(ring * radius, (levels, 1)) + np.repeat(up, around)[:, None] * [0, 0, 1]
    inner = np.array([0, 0, height]) + np.vstack([np.zeros((1, 3)), ring * radius / 2])
    normals = np.vstack([np.tile(ring, (levels, 1)), np.tile([0.0, 0.0, 1.0], (len(inner), 1))])
    return np.vstack([side, inner]), normals


@njit(cache=True, nogil=True, error_model="numpy")
def _in_the_open(
    table: F64, faces: F64, height: F32, cell_m: float, places: F64
) -> NDArray[np.bool_]:
    """Tell which lattice places (N, 3) lie above the ground and in no body."""
    found = np.empty(places.shape[0], np.bool_)
    for n in range(places.shape[0]):
        x, y, z = places[n, 0], places[n, 1], places[n, 2]
        found[n] = z >= bilinear(height, x / cell_m - 0.5, y / cell_m - 0.5)
        for k in range(table.shape[0]):
            if not found[n]:
                break
            dx, dy = x - table[k, SPHERE], y - table[k, SPHERE + 1]
            dz, radius = z - table[k, SPHERE + 2], table[k, SPHERE + 3]
            if dx * dx + dy * dy + dz * dz < radius * radius:
                enter, leave, _ = hit_solid(table, faces, k, (x, y, z), (0.0, 0.0, -1.0))
                found[n] = not enter < 0.0 < leave
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _count_views(
    ground: Ground,
    solids: Solids,
    lenses: F64,
    poses: F64,
    enough: int,
    places: F64,
    outward: F64,
    counts: NDArray[np.uint8],
) -> None:
    """Count for lattice places (N, 3) the photographs that see them."""
    table, faces = solids.table, solids.faces
    least = math.cos(math.radians(STEEPEST_DEG))
    for n in range(places.shape[0]):
        x, y, z = places[n, 0], places[n, 1], places[n, 2]
        nx, ny, nz = outward[n, 0], outward[n, 1], outward[n, 2]
        for v in range(poses.shape[0]):
            if counts[n] >= enough:
                break
            cx, cy, cz = poses[v, 3, 0], poses[v, 3, 1], poses[v, 3, 2]
            dx, dy, dz = x - cx, y - cy, z - cz
            away = math.sqrt(dx * dx + dy * dy + dz * dz)
            if -(nx * dx + ny * dy + nz * dz) < least * away:
                continue
            if not _in_frame(lenses, poses, v, (dx, dy, dz)):
                continue
            to = (dx + OFF_M * nx, dy + OFF_M * ny, dz + OFF_M * nz)
            if not _hidden(ground, table, faces, (cx, cy, cz), to):
                counts[n] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _in_frame(lenses: F64, poses: F64, v: int, way: Triple) -> bool:
    """Tell whether photograph v shows what lies so far from its projection centre."""
    x = poses[v, 0, 0] * way[0] + poses[v, 0, 1] * way[1] + poses[v, 0, 2] * way[2]
    y = poses[v, 1, 0] * way[0] + poses[v, 1, 1] * way[1] + poses[v, 1, 2] * way[2]
    z = poses[v, 2, 0] * way[0] + poses[v, 2, 1] * way[1] + poses[v, 2, 2] * way[2]
    if z <= 0:
        return False
    u, w = x / z, y / z
    fx, fy, width, height = lenses[v, 0], lenses[v, 1], lenses[v, 9], lenses[v, 10]
    # Beyond the frame, the distortion of a lens may fold back into it.
    if abs(u) * fx > width or abs(w) * fy > height:
        return False
    r2 = u * u + w * w
    radial = 1 + r2 * (lenses[v, 4] + r2 * (lenses[v, 5] + r2 * lenses[v, 8]))
    p1, p2 = lenses[v, 6], lenses[v, 7]
    px = fx * (u * radial + 2 * p1 * u * w + p2 * (r2 + 2 * u * u)) + lenses[v, 2]
    py = fy * (w * radial + p1 * (r2 + 2 * w * w) + 2 * p2 * u * w) + lenses[v, 3]
    return bool(0 <= px < width and 0 <= py < height)


@njit(cache=True, nogil=True, error_model="numpy")
def _hidden(ground: Ground, table: F64, faces: F64, centre: Triple, way: Triple) -> bool:
    """Tell whether anything stands between a projection centre and a place so far from it."""
    for k in range(table.shape[0]):
        if meets_sphere(table, k, centre, way):
            enter, leave, _ = hit_solid(table, faces, k, centre, way)
            if leave > 0 and enter < leave and enter < 1.0:
                return True
    if way[2] >= 0:
        return False
    start = skip_ahead(ground, centre, way)
    if start < 0 or start >= 1.0:
        return False
    t = hit_ground(ground.height, 1.0 / ground.cell_m, centre, way, start)
    return 0 <= t < 1.0
