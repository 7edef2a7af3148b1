"""Bodies that stand on the rehearsal's ground, as the kernels take them, and where they stand.

A body is a convex polyhedron, an ellipsoid or an upright cylinder.  A house with eaves is three:
walls up to the roof, and a slab for each of its slopes.  Coordinates are lattice metres, as in
`flightplan.rehearsal.ray_tracing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flightplan.rehearsal.features import Block, Bush, FarmFeatures, House, Pole, Tree
from tmp.errors import InputError
from tmp.geo.grids import Grid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

CONVEX, ELLIPSOID, CYLINDER = 0, 1, 2
"""Shapes of bodies, column 0 of `Solids.table`."""
SPHERE, ORIGIN, TURN, SIZE, FIRST, END, MATERIAL, KIND, SEED = 1, 5, 8, 10, 13, 14, 15, 16, 17
"""First columns of what `Solids.table` says of a body."""
SLAB_M = 0.16
"""Thickness of a roof that stands out, across its slope."""
ROOT_M = 3.0
"""How far bodies reach into the ground, so that no floor is near the surface."""


class Kind(IntEnum):
    """What a surface is of."""

    HIDDEN = -1
    """Within another body: never seen."""
    GROUND = 0
    WALL = 1
    ROOF = 2
    EAVE_UNDERSIDE = 3
    OVERHANG = 4
    CROWN = 5
    TRUNK = 6
    POLE = 7
    BUSH = 8
    CAR = 9
    GRASS = 10


MATERIALS = {
    name: number
    for number, name in enumerate(
        ("boards", "stone", "plaster", "iron", "slate", "turf", "soffit", "concrete", "paint",
         "glass", "rubble", "leaves", "shrub", "bark", "metal", "rubber")
    )
}  # fmt: skip
"""Numbers of the materials that `flightplan.rehearsal.solids.textures` has textures for."""
BLOCK_KINDS = {"wall": Kind.WALL, "overhang": Kind.OVERHANG, "car": Kind.CAR}


class Solids(NamedTuple):
    """All bodies of a scene."""

    table: F64
    """Each: shape, bounding sphere (x, y, z, radius), origin (x, y, z), cos and sin of the
    heading, half axes or radius and height, first and last of its faces, material, kind and
    seed of its texture; (N, 18)."""
    faces: F64
    """Each: outward normal (x, y, z) and its product with the face's points, kind, material,
    first and last of its corners; (F, 8)."""
    corners: F64
    """Of the faces, in order around each, (C, 3)."""
    casters: NDArray[np.int64]
    """Of each body those that may keep the sun from it, then -1; (N, M)."""


Face = tuple[F64, Kind, int]
"""Corners (M, 3) along and across the heading and above the origin, kind, and material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    shape: int
    origin: F64
    """Lattice metres, (3,)."""
    heading_deg: float
    size: tuple[float, float, float] = (0.0, 0.0, 0.0)
    faces: tuple[Face, ...] = ()
    kind: Kind = Kind.HIDDEN
    material: int = 0

    def to_lattice(self, local: F64) -> F64:
        """Return lattice metres of points (M, 3) along, across and above the origin."""
        along, across, up = local.T
        cos, sin = _turn(self.heading_deg)
        turned = np.column_stack([cos * along - sin * across, sin * along + cos * across, up])
        return np.asarray(self.origin + turned)

    def sphere(self) -> tuple[F64, float]:
        """Return the centre and radius of a sphere about the body."""
        if self.shape == ELLIPSOID:
            return self.origin, max(self.size)
        if self.shape == CYLINDER:
            half = self.size[1] / 2
            return self.origin + np.array([0, 0, half]), math.hypot(half, self.size[0])
        corners = self.to_lattice(np.vstack([face[0] for face in self.faces]))
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        return middle, float(np.linalg.norm(corners - middle, axis=1).max())


def _turn(heading_deg: float) -> tuple[float, float]:
    """Return the direction of a heading in the lattice, whose y runs south."""
    heading = math.radians(heading_deg)
    return math.sin(heading), -math.cos(heading)


class Footing:
    """Where things stand: the bare ground on its lattice."""

    def __init__(self, height: F32, grid: Grid) -> None:
        self.height, self.grid = height, grid

    def on(self, place: F64) -> bool:
        """Tell whether a place (2,), map, is on the lattice."""
        x_min, y_min, x_max, y_max = self.grid.bounds
        return bool(x_min < place[0] < x_max and y_min < place[1] < y_max)

    def lowest_m(self, places: F64) -> float:
        """Return the height of the lowest ground at places (N, 2), map."""
        grid = self.grid
        cols = ((places[:, 0] - grid.x_min) / grid.cell_m).astype(int).clip(0, grid.cols - 1)
        rows = ((grid.y_max - places[:, 1]) / grid.cell_m).astype(int).clip(0, grid.rows - 1)
        return float(self.height[rows, cols].min())

    def base_m(self, house: House) -> float:
        """Return the height that a house's heights are above."""
        return self.lowest_m(np.vstack([house.outline, house.centre]))

    def at(self, place: F64, height_m: float) -> F64:
        """Return lattice metres (3,) of a place (2,), map, and a height."""
        return np.array([place[0] - self.grid.x_min, self.grid.y_max - place[1], height_m])


def needs_solids(features: FarmFeatures) -> bool:
    """Tell whether anything stands that a height raster and plain houses cannot show."""
    return bool(
        features.blocks
        or features.trees
        or features.poles
        or features.bushes
        or any(house.overhang_m > 0 for house in features.houses)
    )


def stand(features: FarmFeatures, height: F32, grid: Grid, light: F64) -> Solids:
    """Return the bodies of features in map coordinates, on bare ground (rows, cols).

    Those off the grid are left out.  `light` is from `flightplan.rehearsal.lighting.sun_and_sky`.

    Raises
    ------
    InputError
        If a material or a kind of block is unknown.
    """
    footing = Footing(height, grid)
    bodies = list(_bodies(features, footing))
    table: list[list[float]] = []
    faces: list[list[float]] = []
    corners: list[F64] = []
    for number, body in enumerate(bodies):
        first = len(faces)
        middle, radius = body.sphere()
        inside = middle
        if body.faces:
            inside = body.to_lattice(np.vstack([face[0] for face in body.faces])).mean(axis=0)
        for local, kind, material in body.faces:
            ring = body.to_lattice(local)
            normal = _outward(ring, inside)
            if normal @ np.cross(ring[1] - ring[0], ring[2] - ring[1]) < 0:
                ring = ring[::-1]
            start = sum(len(one) for one in corners)
            faces.append([*normal, normal @ ring[0], kind, material, start, start + len(ring)])
            corners.append(ring)
        table.append(
            [
                *(body.shape, *middle, radius, *body.origin, *_turn(body.heading_deg), *body.size),
                *(first, len(faces), body.material, body.kind, number + 1),
            ]
        )
    found = np.array(table, float).reshape(-1, 18)
    return Solids(
        table=found,
        faces=np.array(faces, float).reshape(-1, 8),
        corners=np.concatenate(corners or [np.empty((0, 3))]),
        casters=_casters(found[:, SPHERE : SPHERE + 4], light[:3]),
    )


def _outward(ring: F64, inside: F64) -> F64:
    """Return the unit normal of a flat ring (M, 3) that points away from a place."""
    normal = np.cross(ring - ring[0], np.roll(ring, -1, axis=0) - ring[0]).sum(axis=0)
    normal /= np.linalg.norm(normal)
    return np.asarray(normal if normal @ (ring[0] - inside) > 0 else -normal)


def _casters(spheres: F64, sun: F64) -> NDArray[np.int64]:
    """Return of each body those whose sphere lies between its own and the sun, (N, M)."""
    between = spheres[None, :, :3] - spheres[:, None, :3]
    toward = between @ sun
    aside = np.linalg.norm(between - toward[..., None] * sun, axis=2)
    reach = spheres[None, :, 3] + spheres[:, None, 3]
    may = (aside < reach) & (toward > -reach) & ~np.eye(len(spheres), dtype=bool)
    casters = np.full((len(spheres), int(may.sum(axis=1).max(initial=0)) + 1), -1, np.int64)
    for number, row in enumerate(may):
        casters[number, : row.sum()] = np.flatnonzero(row)
    return casters


def _bodies(features: FarmFeatures, footing: Footing) -> Iterator[_Body]:
    makers: list[tuple[Sequence[Any], Callable[[Any, Footing], Iterator[_Body]]]] = [
        (features.houses, _house),
        (features.blocks, _block),
        (features.trees, _tree),
        (features.poles, _pole),
        (features.bushes, _bush),
    ]
    for things, make in makers:
        for thing in things:
            if footing.on(thing.centre):
                yield from make(thing, footing)


def _material(name: str) -> int:
    if name not in MATERIALS:
        raise InputError(f"material {name!r} is unknown; choose one of {sorted(MATERIALS)}")
    return MATERIALS[name]


def _house(house: House, footing: Footing) -> Iterator[_Body]:
    """Yield the slabs of a roof that stands out, then the walls.

    The walls reach up through the slabs to the roof's outer planes.  Rays take the first of two
    faces in one plane, and the depth of a place below the roof is not cut short by the slab's
    underside; for the same reason each slab reaches through the other at the ridge.
    """
    half, out = house.width_m / 2, house.overhang_m
    pitch = (house.ridge_m - house.eaves_m) / half
    walls, roof = _material(house.walls), _material(house.roof)
    origin = footing.at(house.centre, footing.base_m(house))
    if out > 0:
        thick = SLAB_M * math.hypot(1.0, pitch)
        far, low = half + out, house.ridge_m - pitch * (half + out)
        section = [
            (0.0, house.ridge_m),
            (far, low),
            (far, low - thick),
            (-thick / (2 * pitch), house.ridge_m - thick / 2),
        ]
        sides = [
            (Kind.ROOF, roof),
            (Kind.ROOF, _material("soffit")),
            (Kind.EAVE_UNDERSIDE, _material("soffit")),
            (Kind.HIDDEN, roof),
        ]
        for side in (1.0, -1.0):
            yield _Body(
                shape=CONVEX,
                origin=origin,
                heading_deg=house.heading_deg,
                faces=_prism(
                    [(side * across, up) for across, up in section],
                    house.length_m / 2 + out,
                    sides,
                    (Kind.ROOF, _material("soffit")),
                ),
            )
    top = (Kind.HIDDEN if out > 0 else Kind.ROOF, roof)
    section = [
        (-half, -ROOT_M),
        (half, -ROOT_M),
        (half, house.eaves_m),
        (0.0, house.ridge_m),
        (-half, house.eaves_m),
    ]
    wall = (Kind.WALL, walls)
    yield _Body(
        shape=CONVEX,
        origin=origin,
        heading_deg=house.heading_deg,
        faces=_prism(
            section, house.length_m / 2, [(Kind.HIDDEN, walls), wall, top, top, wall], wall
        ),
    )


def _prism(
    section: Sequence[tuple[float, float]],
    half_m: float,
    sides: Sequence[tuple[Kind, int]],
    ends: tuple[Kind, int],
) -> tuple[Face, ...]:
    """Return the faces of a section (across, up) drawn out along the heading to both sides."""
    ring = np.array(section)
    near = np.column_stack([np.full(len(ring), -half_m), ring])
    far = near * [-1, 1, 1]
    faces: list[Face] = []
    for k, (kind, material) in enumerate(sides):
        after = (k + 1) % len(ring)
        faces.append((np.array([near[k], near[after], far[after], far[k]]), kind, material))
    return (*faces, (near, *ends), (far, *ends))


def _block(block: Block, footing: Footing) -> Iterator[_Body]:
    if block.kind not in BLOCK_KINDS:
        raise InputError(f"block of kind {block.kind!r}; choose one of {sorted(BLOCK_KINDS)}")
    kind, material = BLOCK_KINDS[block.kind], _material(block.material)
    rings = []
    for up, lean in ((block.bottom_m, 0.0), (block.top_m, block.taper_m)):
        along, across = block.length_m / 2 - lean, block.width_m / 2 - lean
        signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
        rings.append(np.column_stack([signs * [along, across], np.full(4, up)]))
    low, high = rings
    faces: list[Face] = [(low, kind, material), (high, kind, material)]
    for k in range(4):
        after = (k + 1) % 4
        faces.append((np.array([low[k], low[after], high[after], high[k]]), kind, material))
    yield _Body(
        shape=CONVEX,
        origin=footing.at(block.centre, footing.lowest_m(block.foot[None])),
        heading_deg=block.heading_deg,
        faces=tuple(faces),
    )


def _tree(tree: Tree, footing: Footing) -> Iterator[_Body]:
    foot = footing.lowest_m(tree.centre[None])
    middle = (tree.bottom_m + tree.top_m) / 2
    yield _Body(
        shape=ELLIPSOID,
        origin=footing.at(tree.centre, foot + middle),
        heading_deg=tree.heading_deg,
        size=(tree.crown_m[0] / 2, tree.crown_m[1] / 2, (tree.top_m - tree.bottom_m) / 2),
        kind=Kind.CROWN,
        material=MATERIALS["leaves"],
    )
    yield _Body(
        shape=CYLINDER,
        origin=footing.at(tree.centre, foot - ROOT_M),
        heading_deg=tree.heading_deg,
        size=(tree.trunk_m / 2, ROOT_M + middle, 0.0),
        kind=Kind.TRUNK,
        material=MATERIALS["bark"],
    )


def _pole(pole: Pole, footing: Footing) -> Iterator[_Body]:
    yield _Body(
        shape=CYLINDER,
        origin=footing.at(pole.centre, footing.lowest_m(pole.centre[None]) - ROOT_M),
        heading_deg=0.0,
        size=(pole.diameter_m / 2, ROOT_M + pole.height_m, 0.0),
        kind=Kind.POLE,
        material=MATERIALS["metal"],
    )


def _bush(bush: Bush, footing: Footing) -> Iterator[_Body]:
    yield _Body(
        shape=ELLIPSOID,
        origin=footing.at(bush.centre, footing.lowest_m(bush.centre[None])),
        heading_deg=bush.heading_deg,
        size=(bush.length_m / 2, bush.width_m / 2, bush.height_m),
        kind=Kind.BUSH,
        material=MATERIALS["shrub"],
    )
