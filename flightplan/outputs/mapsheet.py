"""The map of a plan: ground, area, what the photographs see of it, and the way flown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.outputs.drawing import Dots, Layer, Shape, Stroke, Text, round_step, text_width
from flightplan.proof.certificate import Asked, Certificate, Spot
from flightplan.proof.prove import Coverage
from flightplan.terrain.profiles import Profile
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

Float = NDArray[np.float64]

MAP_WIDTH, TALLEST = 1000.0, 900.0
"""Pixels of the map."""
MARGIN = 0.07
"""Ground shown beyond all that is drawn, as a fraction of its extent."""
SORTIE_COLOURS = ("#123f9a", "#b0123c", "#6a1b9a", "#8a4a00", "#1c1c1c", "#ad1f8c")
"""Dark, so that they read on pale ground in sunlight; taken in turn."""
ARROW_EVERY, SHORTEST_WITH_ARROW = 170.0, 26.0
"""Pixels between arrows on a line, and of the shortest line that has one."""
HATCH = 9.0
"""Pixels between the strokes of a hatched exclusion."""
RULED, OUTLINE, HIDDEN_DOTS = "#b3261e", "#000000", 400


@dataclass(frozen=True, kw_only=True)
class DrawnSortie:
    """One flight, as the map shows it."""

    name: str
    way: Float
    """Waypoints (N, 2), plan metres, from take-off to landing."""
    surveying: NDArray[np.bool_]
    """Whether photographs are taken from each waypoint to the next, (N - 1,)."""
    photos: Float
    """Where photographs are taken, (M, 2)."""
    profile: Profile
    takeoff: tuple[float, float] | None = None
    landing: tuple[float, float] | None = None
    """If not where it took off."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the table of sorties says: column to value."""


@dataclass(frozen=True, kw_only=True)
class PlanPicture:
    """Everything a person looks at before take-off."""

    title: str
    frame: PlanFrame
    area: BaseGeometry
    """Plan metres, like all that follows."""
    coverage: Coverage
    asked: Asked
    certificate: Certificate
    sorties: Sequence[DrawnSortie]
    terrain: Terrain
    exclusions: Sequence[BaseGeometry] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the head of the page says: name to value."""
    warnings: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.sorties:
            raise InputError(f"plan {self.title!r} has no sortie to draw")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """The rectangle of ground that the map shows."""

    west: float
    north: float
    """Plan metres of its upper left corner."""
    scale: float
    """Pixels per metre."""
    size: tuple[float, float]
    """Pixels."""

    @classmethod
    def around(cls, plan: PlanPicture) -> MapView:
        """Show the area, the ways flown and the exclusions near them, with a margin."""
        ways = [sortie.way for sortie in plan.sorties]
        places = np.vstack([shapely.get_coordinates(plan.area), *ways])
        low, high = places.min(axis=0), places.max(axis=0)
        margin = MARGIN * float((high - low).max()) + 5.0
        wide, tall = (high - low + 2 * margin).tolist()
        scale = min(MAP_WIDTH / wide, TALLEST / tall)
        return cls(
            west=float(low[0]) - margin,
            north=float(high[1]) + margin,
            scale=scale,
            size=(wide * scale, tall * scale),
        )

    def place(self, points: Float) -> Float:
        """Return sheet coordinates (N, 2) of plan points (N, 2)."""
        points = np.atleast_2d(np.asarray(points, float))
        return np.column_stack(
            [(points[:, 0] - self.west) * self.scale, (self.north - points[:, 1]) * self.scale]
        )

    @property
    def corners(self) -> Float:
        """Plan coordinates of the corners: north-west, north-east, south-east, south-west."""
        east = self.west + self.size[0] / self.scale
        south = self.north - self.size[1] / self.scale
        return np.array(
            [[self.west, self.north], [east, self.north], [east, south], [self.west, south]]
        )


def plan_layers(plan: PlanPicture, view: MapView) -> list[Layer]:
    """Return the drawn layers of a map, above its rasters."""
    crowded = sum(len(sortie.photos) for sortie in plan.sorties) > HIDDEN_DOTS
    lines: list[Shape] = []
    ways: list[Shape] = []
    dots: list[Shape] = []
    for number, sortie in enumerate(plan.sorties):
        colour = SORTIE_COLOURS[number % len(SORTIE_COLOURS)]
        way = view.place(sortie.way)
        flown, between = _parts(way, sortie.surveying)
        lines.append(Stroke(parts=flown, colour=colour, width=1.9, halo=0.9))
        lines.extend(_arrows(flown, colour))
        ways.append(Stroke(parts=between, colour=colour, width=1.1, dash=4, halo=0.5))
        dots.append(
            Dots(places=view.place(sortie.photos), radius=1.5, colour=colour, rim="#ffffff")
        )
    closed = [shape for zone in plan.exclusions for shape in _hatched(zone, view)]
    return [
        Layer(name="exclusions", label="Exclusions", shapes=tuple(closed)),
        Layer(name="area", label="Area", shapes=(_outline(plan.area, view),)),
        Layer(name="ways", label="Ways between lines", shapes=tuple(ways)),
        Layer(name="lines", label="Flight lines", shapes=tuple(lines)),
        Layer(name="photos", label="Photographs", shapes=tuple(dots), shown=not crowded),
        Layer(name="failing", label="Worst places", shapes=tuple(_failing(plan, view))),
        Layer(name="places", label="", shapes=tuple(_takeoffs(plan, view))),
        Layer(name="frame", label="", shapes=(*_scale_bar(view), *_corners(plan.frame, view))),
    ]


def _rings(area: BaseGeometry, view: MapView) -> tuple[Float, ...]:
    polygons = shapely.get_parts(area)
    rings = shapely.get_rings(polygons)
    return tuple(view.place(shapely.get_coordinates(ring)[:-1]) for ring in rings)


def _outline(area: BaseGeometry, view: MapView) -> Shape:
    rings = tuple(np.vstack([ring, ring[:1]]) for ring in _rings(area, view))
    return Stroke(parts=rings, colour=OUTLINE, width=2.4, halo=1.2)


def _hatched(zone: BaseGeometry, view: MapView) -> list[Shape]:
    """Fill a zone with slanting strokes."""
    rings = _rings(zone, view)
    flat = shapely.transform(zone, view.place)
    x0, y0, x1, y1 = flat.bounds
    starts = np.arange(x0 - (y1 - y0), x1, HATCH)
    slants = shapely.linestrings(
        np.stack(
            [
                np.column_stack([starts, np.full(starts.size, y1)]),
                np.column_stack([starts + (y1 - y0), np.full(starts.size, y0)]),
            ],
            axis=1,
        )
    )
    cut = shapely.get_parts(shapely.intersection(slants, shapely.make_valid(flat)))
    strokes = tuple(
        shapely.get_coordinates(part) for part in cut if shapely.get_num_coordinates(part) > 1
    )
    outline = tuple(np.vstack([ring, ring[:1]]) for ring in rings)
    return [
        Stroke(parts=rings, fill="#ffffff66", width=0),
        Stroke(parts=strokes, colour=RULED, width=1.1),
        Stroke(parts=outline, colour=RULED, width=1.8),
    ]


def _parts(way: Float, surveying: NDArray[np.bool_]) -> tuple[tuple[Float, ...], tuple[Float, ...]]:
    """Cut a way into the stretches on which photographs are taken and those between."""
    taking = np.asarray(surveying, bool)
    edges = np.flatnonzero(np.diff(taking)) + 1
    stretches = pairwise([0, *edges, taking.size])
    parts = [(bool(taking[start]), way[start : end + 1]) for start, end in stretches]
    return tuple(p for on, p in parts if on), tuple(p for on, p in parts if not on)


def _arrows(stretches: Sequence[Float], colour: str) -> list[Shape]:
    """Return arrow heads along flight lines, at least one each where there is room."""
    heads = []
    for line in stretches:
        at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        if at[-1] < SHORTEST_WITH_ARROW:
            continue
        number = max(1, round(float(at[-1]) / ARROW_EVERY))
        for where in at[-1] * (np.arange(number) + 0.5) / number:
            leg = min(int(np.searchsorted(at, where, side="right")), len(line) - 1)
            ahead = (line[leg] - line[leg - 1]) / (at[leg] - at[leg - 1])
            side = np.array([-ahead[1], ahead[0]])
            tip = line[leg - 1] + (where - at[leg - 1] + 5.5) * ahead
            back = tip - 11 * ahead
            heads.append(np.array([tip, back + 4.6 * side, tip - 8 * ahead, back - 4.6 * side]))
    return [Stroke(parts=(head,), fill=colour, colour="#ffffff", width=0.8) for head in heads]


def _takeoffs(plan: PlanPicture, view: MapView) -> list[Shape]:
    """Mark take-off places with an H, and landings elsewhere with an L."""
    marks: dict[tuple[float, float], str] = {}
    for sortie in plan.sorties:
        for place, letter in ((sortie.landing, "L"), (sortie.takeoff, "H")):
            if place is not None:
                marks[place] = letter
    shapes: list[Shape] = []
    for place, letter in marks.items():
        at = view.place(np.array(place))
        x, y = at[0].tolist()
        shapes.append(Dots(places=at, radius=11, colour="#000000", rim="#ffffff"))
        shapes.append(
            Text(x=x, y=y + 5.5, text=letter, size=15, bold=True, anchor="middle",
                 colour="#ffffff", halo=False)
        )  # fmt: skip
    return shapes


def worst_places(certificate: Certificate) -> list[Spot]:
    """Return the places that the map numbers, in the order of its numbers."""
    return [spot for check in certificate.checks for spot in check.places]


def _failing(plan: PlanPicture, view: MapView) -> list[Shape]:
    shapes: list[Shape] = []
    for number, spot in enumerate(worst_places(plan.certificate), start=1):
        at = view.place(np.array([spot.x_m, spot.y_m]))
        x, y = at[0].tolist()
        shapes.append(Dots(places=at, radius=8.5, colour=RULED, rim="#ffffff"))
        shapes.append(
            Text(x=x, y=y + 4.2, text=str(number), size=12, bold=True, anchor="middle",
                 colour="#ffffff", halo=False)
        )  # fmt: skip
    return shapes


def _scale_bar(view: MapView) -> list[Shape]:
    length_m = round_step(view.size[0] / view.scale / 4)
    label = f"{length_m:g} m" if length_m < 1000 else f"{length_m / 1000:g} km"
    length = length_m * view.scale
    x, y = 16.0, view.size[1] - 12
    bar = np.array([[x, y - 6], [x, y], [x + length, y], [x + length, y - 6]])
    tip = np.array([view.size[0] - 30, 56.0])
    north = tip + np.array([[0, -26], [9, 8], [0, 2], [-9, 8]])
    return [
        Stroke(parts=(bar,), colour="#000000", width=2.4, halo=2),
        Text(x=x + length / 2, y=y - 6, text=label, anchor="middle", bold=True),
        Stroke(parts=(north,), fill="#000000", colour="#ffffff", width=1.5),
        Text(x=float(tip[0]), y=float(tip[1]) + 24, text="N", anchor="middle", bold=True),
    ]


def _corners(frame: PlanFrame, view: MapView) -> list[Shape]:
    """Write longitude and latitude of the upper left and the lower right corner."""
    shapes: list[Shape] = []
    places = frame.geodetic_from_plan(view.corners)
    digits = max(3, math.ceil(math.log10(view.scale)) + 5)
    for (lon, lat), left, top in ((places[0], True, True), (places[2], False, False)):
        label = f"{_degrees(lat, 'NS', digits)}  {_degrees(lon, 'EW', digits)}"
        wide = text_width(label, 12)
        shapes.append(
            Text(
                x=8 if left else max(view.size[0] - 8, wide),
                y=18 if top else view.size[1] - 10,
                text=label,
                size=12,
                anchor="start" if left else "end",
            )
        )
    return shapes


def _degrees(value: float, letters: str, digits: int) -> str:
    value = (value + 180) % 360 - 180 if letters == "EW" else value
    return f"{abs(value):.{digits}f}° {letters[0] if value >= 0 else letters[1]}"
