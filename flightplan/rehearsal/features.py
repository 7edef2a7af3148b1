"""What stands on the rehearsal's ground: walls, houses, trees, a stream, read from a file.

The file gives metres from the terrain's south-west corner, x east and y north.  A survey larger
than the terrain is laid over mirrored copies of it, so that ground and features go on without a
step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray

from tmp.errors import InputError

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFeature:
    """A turf wall, a stream or a path along a line."""

    line: Float
    """Vertices, (N, 2)."""
    width_m: float
    height_m: float = 0.0
    """Height of a wall, depth of a stream bed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFeature:
    """A mound or a patch of bare ground."""

    centre: Float
    radius_m: float
    height_m: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Boulder:
    """Half an ellipsoid of stone."""

    centre: Float
    diameter_m: float
    height_m: float
    elongation: float
    heading_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trench:
    """A rectangular excavation."""

    centre: Float
    length_m: float
    width_m: float
    depth_m: float
    heading_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A house with vertical walls and a gabled roof; its ridge runs along the heading."""

    centre: Float
    length_m: float
    width_m: float
    eaves_m: float
    """Height of the roof over the long walls, above the lowest ground at the house."""
    ridge_m: float
    heading_deg: float
    overhang_m: float = 0.0
    """How far the roof stands out over all four walls; its eaves are lower by as much of its fall.

    A roof that stands out is a slab; one that does not closes the house.
    """
    walls: str = "boards"
    """What the walls are of, see `flightplan.rehearsal.solids.bodies.MATERIALS`."""
    roof: str = "iron"

    @property
    def outline(self) -> Float:
        """Corners of the footprint, (4, 2), in the frame of `centre`."""
        return _rectangle(self.centre, self.length_m, self.width_m, self.heading_deg)

    @property
    def roof_outline(self) -> Float:
        """Corners of the house as seen from above, (4, 2), in the frame of `centre`."""
        more = 2 * self.overhang_m
        return _rectangle(self.centre, self.length_m + more, self.width_m + more, self.heading_deg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A box, or one that narrows upwards: a wall, a slab that stands out of it, part of a car."""

    centre: Float
    length_m: float
    """At its bottom, along the heading."""
    width_m: float
    heading_deg: float
    bottom_m: float
    """Height above the ground at `foot`; of things that stand on the ground below 0."""
    top_m: float
    foot: Float
    """The place on whose ground it stands, with others."""
    kind: str
    """``wall``, ``overhang`` or ``car``."""
    material: str
    taper_m: float = 0.0
    """How far each side leans in from bottom to top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A crown, which is an ellipsoid, on a round trunk."""

    centre: Float
    trunk_m: float
    """Diameter of the trunk."""
    crown_m: tuple[float, float]
    """Diameter of the crown along the heading and across it."""
    bottom_m: float
    """Height of the crown's lowest point above the ground at `centre`."""
    top_m: float
    heading_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pole:
    """An upright round pole."""

    centre: Float
    diameter_m: float
    height_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bush:
    """The upper half of an ellipsoid on the ground."""

    centre: Float
    length_m: float
    width_m: float
    height_m: float
    heading_deg: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grass:
    """A round patch of tall grass above the ground, in tufts."""

    centre: Float
    radius_m: float
    height_m: float
    """Of the highest tufts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A square matt plate that lies level and reflects all bands alike: a target."""

    centre: Float
    side_m: float
    reflectance: float
    heading_deg: float = 0.0

    @property
    def outline(self) -> Float:
        """Corners, (4, 2), in the frame of `centre`."""
        return _rectangle(self.centre, self.side_m, self.side_m, self.heading_deg)


def _rectangle(centre: Float, length_m: float, width_m: float, heading_deg: float) -> Float:
    heading = math.radians(heading_deg)
    along = np.array([math.sin(heading), math.cos(heading)])
    across = np.array([along[1], -along[0]])
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
    return np.asarray(centre + signs[:, :1] * along * length_m + signs[:, 1:] * across * width_m)


T = TypeVar(
    "T",
    LineFeature,
    RoundFeature,
    Boulder,
    Trench,
    House,
    Plate,
    Block,
    Tree,
    Pole,
    Bush,
    Grass,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FarmFeatures:
    """Everything that is put on the bare terrain; coordinates x east, y north, in metres."""

    walls: tuple[LineFeature, ...] = ()
    streams: tuple[LineFeature, ...] = ()
    paths: tuple[LineFeature, ...] = ()
    mounds: tuple[RoundFeature, ...] = ()
    bare: tuple[RoundFeature, ...] = ()
    boulders: tuple[Boulder, ...] = ()
    trenches: tuple[Trench, ...] = ()
    houses: tuple[House, ...] = ()
    plates: tuple[Plate, ...] = ()
    blocks: tuple[Block, ...] = ()
    trees: tuple[Tree, ...] = ()
    poles: tuple[Pole, ...] = ()
    bushes: tuple[Bush, ...] = ()
    grass: tuple[Grass, ...] = ()
    homefields: tuple[Float, ...] = ()
    """Outlines of the manured, greener land, each (N, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """The piece of country that a rehearsal flies over."""

    crs: str
    corner: tuple[float, float]
    """Easting and northing of the terrain's south-west corner."""
    cell_m: float
    terrain: NDArray[np.float32]
    """Bare terrain at cell centres, height above the ellipsoid, north row first."""
    features: FarmFeatures
    """In metres from `corner`."""
    captured: datetime
    sun_azimuth_deg: float
    sun_elevation_deg: float

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the terrain."""
        rows, cols = self.terrain.shape
        return cols * self.cell_m, rows * self.cell_m

    def features_over(self, bounds: tuple[float, float, float, float]) -> FarmFeatures:
        """Return the features about ``(x_min, y_min, x_max, y_max)``, in map coordinates.

        Beyond the terrain the features of its mirror images are given.
        """
        copies = [
            _mirrored(self.features, self, i, j)
            for i in _tiles(bounds[0], bounds[2], self.corner[0], self.size_m[0])
            for j in _tiles(bounds[1], bounds[3], self.corner[1], self.size_m[1])
        ]
        names = FarmFeatures.__dataclass_fields__
        return FarmFeatures(
            **{name: tuple(f for copy in copies for f in getattr(copy, name)) for name in names}
        )


def _tiles(low: float, high: float, corner: float, size: float) -> Iterator[int]:
    yield from range(math.floor((low - corner) / size), math.floor((high - corner) / size) + 1)


def _mirrored(features: FarmFeatures, farm: Farm, i: int, j: int) -> FarmFeatures:
    """Return the features of the tile i to the east and j to the north, odd ones mirrored."""
    size = np.array(farm.size_m)
    index, odd = np.array([i, j]), np.array([i % 2, j % 2])

    def place(points: Float) -> Float:
        moved = np.asarray(farm.corner) + index * size + np.where(odd, size - points, points)
        return np.asarray(moved, float)

    turn = -1.0 if (i + j) % 2 else 1.0
    return _mapped(features, place, turn)


def _mapped(features: FarmFeatures, place: Callable[[Float], Float], turn: float) -> FarmFeatures:
    def turned(item: T) -> T:
        changes: dict[str, Any] = {}
        for name in item.__dataclass_fields__:
            if name in ("centre", "line", "foot"):
                changes[name] = place(getattr(item, name))
            elif name == "heading_deg":
                changes[name] = turn * getattr(item, name)
        return replace(item, **changes)

    mapped = {
        name: tuple(map(turned, getattr(features, name)))
        for name in FarmFeatures.__dataclass_fields__
        if name != "homefields"
    }
    return FarmFeatures(**mapped, homefields=tuple(map(place, features.homefields)))


def read_farm(name: str = "farm") -> Farm:
    """Read a piece of country in `sample_data`: ``farm`` or ``hamlet``.

    Raises
    ------
    InputError
        If there is none of that name, or its description lacks an entry or has one of the wrong
        kind.
    """
    sample = files("sample_data")
    description = sample.joinpath(f"{name}.json")
    if not description.is_file():
        raise InputError(f"{description}: is not there; give 'farm' or 'hamlet'")
    given: dict[str, Any] = json.loads(description.read_text(encoding="utf-8"))
    with rasterio.open(str(sample.joinpath(f"{name}_terrain.tif"))) as raster:
        heights, bounds = raster.read(1), raster.bounds
        crs, cell_m = raster.crs.to_string(), raster.res[0]
    try:
        return Farm(
            crs=crs,
            corner=(bounds.left, bounds.bottom),
            cell_m=cell_m,
            terrain=heights,
            features=_features(given),
            captured=datetime.fromisoformat(given["captured"]),
            sun_azimuth_deg=float(given["sun"]["azimuth_deg"]),
            sun_elevation_deg=float(given["sun"]["elevation_deg"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{description}: {error} is missing or of the wrong kind; "
            "compare with sample_data/farm.json"
        ) from error


PLACES = ("centre", "foot")
"""Entries that are places."""


def _features(given: dict[str, Any]) -> FarmFeatures:
    def strip(entry: dict[str, Any]) -> LineFeature:
        return LineFeature(
            line=np.array(entry["line"], float),
            width_m=entry["width_m"],
            height_m=entry.get("height_m", entry.get("depth_m", 0.0)),
        )

    kinds: dict[str, Any] = {
        "mounds": RoundFeature,
        "bare": RoundFeature,
        "boulders": Boulder,
        "trenches": Trench,
        "houses": House,
        "blocks": Block,
        "trees": Tree,
        "poles": Pole,
        "bushes": Bush,
        "grass": Grass,
    }
    always = ("mounds", "bare", "boulders", "trenches", "houses")
    placed: dict[str, Any] = {
        name: tuple(
            kind(**one | {place: np.array(one[place], float) for place in PLACES if place in one})
            for one in (given[name] if name in always else given.get(name, ()))
        )
        for name, kind in kinds.items()
    }
    placed |= {name: tuple(map(strip, given[name])) for name in ("walls", "streams", "paths")}
    return FarmFeatures(**placed, homefields=(np.array(given["homefield"], float),))
