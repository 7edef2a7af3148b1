"""Flight lines over a field, in the order flown: what path planning makes, in plan metres.

Plan coordinates are x east, y north in metres in the plan's own transverse Mercator (see
`flightplan.planframe`); times follow `flightplan.motion`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One straight flight line, in its direction of flight."""

    start: tuple[float, float]
    """Where the first photograph is taken, plan metres."""
    end: tuple[float, float]
    """Where the last photograph is taken at the latest, plan metres."""
    photos: int
    """Number of photographs, evenly spaced from start to end; at least 1."""
    run_in_m: float = 0.0
    """Way flown straight before the first photograph."""
    run_out_m: float = 0.0
    """Way flown straight after the last photograph."""
    pitch_deg: float = -90.0
    """Of the gimbal, which looks ahead along the line where this is above -90."""
    extra: bool = False
    """Whether it was added to a regular pattern, where that sees too little."""

    @property
    def length_m(self) -> float:
        """Distance from the first to the last photograph."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    @property
    def heading_deg(self) -> float:
        """Course from start to end, clockwise from north; 0 for a line of no length."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        return float(np.degrees(np.arctan2(dx, dy)) % 360.0)

    @property
    def stations(self) -> Float:
        """Where the photographs are taken, (photos, 2)."""
        return np.linspace(self.start, self.end, self.photos)

    @property
    def spacing_m(self) -> float:
        """Distance from one photograph to the next; 0 for a single one."""
        return self.length_m / (self.photos - 1) if self.photos > 1 else 0.0

    @property
    def flown(self) -> Float:
        """Start of the run-in, first and last photograph, end of the run-out, (4, 2).

        A line of one photograph is taken without run-in and run-out: it has no direction.
        """
        start, end = np.array(self.start), np.array(self.end)
        course = (end - start) / self.length_m if self.length_m > 0 else np.zeros(2)
        return np.array([start - self.run_in_m * course, start, end, end + self.run_out_m * course])

    def reversed(self) -> Line:
        """Return the line flown the other way."""
        return Line(
            start=self.end,
            end=self.start,
            photos=self.photos,
            run_in_m=self.run_out_m,
            run_out_m=self.run_in_m,
            pitch_deg=self.pitch_deg,
            extra=self.extra,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Lines in the order flown, and the ways between them."""

    lines: tuple[Line, ...]
    transits: tuple[Float, ...]
    """Way from the end of each line to the start of the next, (N, 2) with both ends; one fewer
    than lines.  Straight ways have two points; those round an obstacle have more."""
    time_s: float
    """From the first line's start to the last line's end, run-ins and turns included."""

    @property
    def photos(self) -> int:
        """Number of photographs."""
        return sum(line.photos for line in self.lines)

    @property
    def length_m(self) -> float:
        """Whole way flown, from the first line's start to the last one's end."""
        ways = sum(float(np.hypot(*np.diff(way, axis=0).T).sum()) for way in self.transits)
        return sum(line.length_m for line in self.lines) + ways
