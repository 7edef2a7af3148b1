"""The briefing's map: area, exclusions, flight lines and take-off places as SVG paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.formats.coordinates import near, polygons_of
from flightplan.formats.ways import photo_ways
from flightplan.missions import Mission
from flightplan.planframe import PlanFrame

Float = NDArray[np.float64]
_Drawn = Callable[[Float], Float]

WIDTH = 1000.0
"""Of the drawing, in its own units."""

_MARGIN = 0.06
_FOOT = 0.05
_TALLEST = 0.75
_FLATTEST = 0.42


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieDrawing:
    """One sortie on the map."""

    lines: str
    """SVG path of the ways with photographs."""
    ways: str
    """SVG path of all other ways, from the take-off on."""
    start: tuple[float, float]
    """Where the first line begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDrawing:
    """SVG paths of a survey, in units of a drawing `WIDTH` wide with y down."""

    height: float
    area: str
    exclusions: str
    sorties: tuple[SortieDrawing, ...]
    takeoffs: tuple[tuple[float, float], ...]
    """Each place once, in the order of the sorties."""
    takeoff_of: tuple[int, ...]
    """Which of `takeoffs` each sortie starts from; -1 for one that does not say."""
    bar: float
    """Length of the scale bar."""
    bar_m: int


def draw_map(missions: Sequence[Mission]) -> MapDrawing:
    """Return a map of all sorties, north up."""
    first = missions[0].waypoints[0]
    frame = PlanFrame(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
    paths = [
        frame.plan_from_geodetic([(w.lon_deg, w.lat_deg) for w in mission.waypoints])
        for mission in missions
    ]
    takeoffs, takeoff_of = _takeoffs(missions, frame)
    area = [frame.to_plan(p) for mission in missions[:1] for p in polygons_of(mission.area)]
    closed = {p.wkb: frame.to_plan(p) for mission in missions for p in mission.exclusions}
    exclusions = list(closed.values())
    everything = [*paths, *(np.array([place]) for place in takeoffs)]
    everything += [np.array(shape.exterior.coords)[:, :2] for shape in area]
    low, high = _bounds(np.vstack(everything))
    scale = WIDTH / (high[0] - low[0])

    def drawn(points: Float) -> Float:
        shifted = np.column_stack([points[:, 0] - low[0], high[1] - points[:, 1]])
        return np.asarray(shifted * scale)

    bar_m = _round_length((high[0] - low[0]) / 5)
    return MapDrawing(
        height=float((high[1] - low[1]) * scale),
        area="".join(_shape(shape, drawn) for shape in area),
        exclusions="".join(_shape(shape, drawn) for shape in exclusions),
        sorties=tuple(
            _sortie(mission, drawn(path), drawn(np.array([takeoffs[at]])) if at >= 0 else None)
            for mission, path, at in zip(missions, paths, takeoff_of, strict=True)
        ),
        takeoffs=tuple((float(x), float(y)) for x, y in drawn(np.array(takeoffs).reshape(-1, 2))),
        takeoff_of=takeoff_of,
        bar=bar_m * scale,
        bar_m=bar_m,
    )


def _takeoffs(
    missions: Sequence[Mission], frame: PlanFrame
) -> tuple[list[tuple[float, float]], tuple[int, ...]]:
    """Return the different take-off places in plan metres, and which each mission has."""
    places: dict[tuple[float, float], int] = {}
    for mission in missions:
        if mission.takeoff is not None:
            lon = near(mission.takeoff.lon_deg, frame.lon_deg)
            places.setdefault((lon, mission.takeoff.lat_deg), len(places))
    indexes = tuple(
        -1
        if mission.takeoff is None
        else places[(near(mission.takeoff.lon_deg, frame.lon_deg), mission.takeoff.lat_deg)]
        for mission in missions
    )
    if not places:
        return [], indexes
    points = frame.plan_from_geodetic(list(places))
    return [(float(x), float(y)) for x, y in points], indexes


def _bounds(points: Float) -> tuple[Float, Float]:
    """Return the corners of what is shown: all points, in a shape that suits the page."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, 20.0) * (1 + 2 * _MARGIN)
    size[0] = max(size[0], size[1] / _TALLEST)
    size[1] = max(size[1], size[0] * _FLATTEST)
    centre = (low + high) / 2
    # A strip at the foot is kept free for the scale bar.
    foot = np.array([0.0, _FOOT * size[0]])
    return centre - size / 2 - foot, centre + size / 2


def _round_length(length_m: float) -> int:
    """Return the largest 1, 2 or 5 times a power of ten up to a length, at least 1."""
    power = 10 ** int(np.floor(np.log10(max(length_m, 1.0))))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(length_m, 1.0)))


def _shape(shape: BaseGeometry, drawn: _Drawn) -> str:
    rings = [shape.exterior, *shape.interiors]
    return "".join(_line(drawn(np.array(ring.coords)[:, :2])) + "Z" for ring in rings)


def _line(points: Float) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _sortie(mission: Mission, points: Float, start: Float | None) -> SortieDrawing:
    spacings = photo_ways(mission.waypoints)
    lines = "".join(_line(points[i : i + 2]) for i, s in enumerate(spacings) if s > 0)
    ways = "".join(_line(points[i : i + 2]) for i, s in enumerate(spacings) if not s > 0)
    if start is not None:
        ways = _line(np.vstack([start, points[:1]])) + ways
    first = next((i for i, spacing in enumerate(spacings) if spacing > 0), 0)
    return SortieDrawing(
        lines=lines, ways=ways, start=(float(points[first][0]), float(points[first][1]))
    )
