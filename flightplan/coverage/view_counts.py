"""How many photographs see each place of a field while its lines are still being moved about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import Line
from tmp.errors import InputError

Float = NDArray[np.float64]
Counts = NDArray[np.int32]

HAIR_M = 1e-6
"""A place on the rim of a footprint counts as seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What one photograph covers, and how far apart photographs and lines may be."""

    across_m: float
    """Width of the footprint, across the line."""
    along_m: float
    """Length of the footprint, along the line."""
    line_spacing_m: float
    """Greatest distance between neighbouring lines."""
    photo_spacing_m: float
    """Greatest distance between photographs of a line."""
    least_interval_s: float = 0.0
    """Shortest time from one photograph to the next; it slows lines whose photographs are close."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("line spacing", self.line_spacing_m, self.across_m),
            ("photo spacing", self.photo_spacing_m, self.along_m),
        ):
            if not 0 < value <= most:
                raise InputError(
                    f"{name} of {value!r} m with a footprint of {most!r} m; "
                    "ask for an overlap of 0 up to below 1"
                )

    def speed_cap_m_s(self, spacing_m: float) -> float:
        """Return the speed at which the camera keeps up with a spacing of photographs."""
        return spacing_m / self.least_interval_s if self.least_interval_s > 0 else np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A flight line in the making, in the frame of its sweep (see `Axes`)."""

    sweep: int
    """Number of the sweep it belongs to."""
    across_m: float
    start_m: float
    """Of the first photograph, along the sweep."""
    photos: int
    spacing_m: float

    @property
    def end_m(self) -> float:
        """Of the last photograph, along the sweep."""
        return self.start_m + (self.photos - 1) * self.spacing_m

    @property
    def length_m(self) -> float:
        """From the first to the last photograph."""
        return (self.photos - 1) * self.spacing_m

    def grown(self, before: int, after: int) -> Strip:
        """Return the strip with photographs added at its ends; negative numbers take away."""
        return replace(
            self,
            start_m=self.start_m - before * self.spacing_m,
            photos=self.photos + before + after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Directions along and across a sweep: unit vectors in plan coordinates."""

    heading_deg: float

    @property
    def along(self) -> Float:
        """Course of the lines (2,)."""
        heading = np.radians(self.heading_deg)
        return np.array([np.sin(heading), np.cos(heading)])

    @property
    def across(self) -> Float:
        """To the left of the course (2,)."""
        x, y = self.along
        return np.array([-y, x])

    def line(self, strip: Strip) -> Line:
        """Return a strip as a line in plan coordinates."""
        base = strip.across_m * self.across
        start, end = base + strip.start_m * self.along, base + strip.end_m * self.along
        return Line(
            start=(float(start[0]), float(start[1])),
            end=(float(end[0]), float(end[1])),
            photos=strip.photos,
        )


class Sightings:
    """Counts of the photographs that have each of many places in a window about their middle.

    The window is a rectangle aligned with the line: the footprint on level ground, or a part of it.
    """

    def __init__(
        self, places: Float, axes: Sequence[Axes], *, across_m: float, along_m: float
    ) -> None:
        self.count_of_places = len(places)
        self._half_across, self._half_along = across_m / 2, along_m / 2
        across = [places @ axis.across for axis in axes]
        self._order = [np.argsort(each, kind="stable") for each in across]
        self._across = [each[order] for each, order in zip(across, self._order, strict=True)]
        self._along = [
            (places @ axis.along)[order] for axis, order in zip(axes, self._order, strict=True)
        ]

    def reach(self, strip: Strip) -> tuple[int, int]:
        """Return between which numbers of its sweep's order the places beside a strip lie."""
        half = self._half_across + HAIR_M
        low, high = np.searchsorted(
            self._across[strip.sweep], [strip.across_m - half, strip.across_m + half]
        ).tolist()
        return low, high

    def in_order(self, sweep: int, low: int, high: int) -> NDArray[np.intp]:
        """Return the numbers of the places between two numbers of a sweep's order."""
        return self._order[sweep][low:high]

    def seen_by(self, strip: Strip, low: int, high: int) -> Counts:
        """Return how many of a strip's photographs have each place within its reach."""
        beyond = self._along[strip.sweep][low:high] - strip.start_m
        half, step = self._half_along + HAIR_M, strip.spacing_m
        last = np.minimum(np.floor((beyond + half) / step), strip.photos - 1)
        first = np.maximum(np.ceil((beyond - half) / step), 0)
        return np.asarray(np.maximum(last - first + 1, 0), np.int32)

    def count(self, strips: Iterable[Strip]) -> Counts:
        """Return how many photographs have each place in their window (N,)."""
        counts = np.zeros(self.count_of_places, np.int32)
        for strip in strips:
            low, high = self.reach(strip)
            counts[self.in_order(strip.sweep, low, high)] += self.seen_by(strip, low, high)
        return counts

    def changed(
        self, counts: Counts, gone: Sequence[Strip], come: Sequence[Strip]
    ) -> tuple[NDArray[np.intp], Counts]:
        """Return which places (K,) strips of one sweep that go and come touch, and their counts.

        `counts` (N,) stay as they are.
        """
        reaches = [self.reach(strip) for strip in (*gone, *come)]
        first, last = min(low for low, _ in reaches), max(high for _, high in reaches)
        places = self.in_order((*gone, *come)[0].sweep, first, last)
        after = counts[places]
        for index, strip in enumerate((*gone, *come)):
            low, high = reaches[index]
            part = after[low - first : high - first]
            seen = self.seen_by(strip, low, high)
            np.add(part, seen if index >= len(gone) else -seen, out=part)
        return places, after


def places_on_edge(area: BaseGeometry, step_m: float) -> Float:
    """Return places (N, 2) along the boundary of an area, corners included."""
    rings = shapely.segmentize(area.boundary, step_m)
    return np.asarray(shapely.get_coordinates(rings))


def places_inside(area: BaseGeometry, cell_m: float) -> Float:
    """Return the centres (N, 2) of the square cells whose centre lies in the area."""
    x_min, y_min, x_max, y_max = area.bounds
    x = np.arange(x_min + cell_m / 2, x_max, cell_m)
    y = np.arange(y_min + cell_m / 2, y_max, cell_m)
    grid = np.column_stack([axis.ravel() for axis in np.meshgrid(x, y)])
    shapely.prepare(area)
    return np.asarray(grid[shapely.contains_xy(area, grid[:, 0], grid[:, 1])])
