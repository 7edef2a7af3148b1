"""The terrain profile: the ground along the way flown, the height band above it, the flight."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flightplan.outputs.drawing import Dots, Shape, Stroke, Text, rectangle, round_step
from flightplan.terrain.profiles import Profile

Float = NDArray[np.float64]

LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 30.0, 40.0
"""Margins round the axes."""
MOST_POINTS = 1200
GROUND, BAND, FLIGHT, TRANSIT, GRID = "#cdb79a", "#6ea8dc66", "#123f7a", "#5b666e", "#dfe3e6"


def draw_profile(
    profile: Profile,
    size: tuple[float, float],
    *,
    title: str,
    band_m: tuple[float, float] | None = None,
) -> tuple[Shape, ...]:
    """Draw a profile in the rectangle from (0, 0) to `size`.

    Parameters
    ----------
    profile : Profile
    size : tuple of 2 floats
    title : str
    band_m : tuple of 2 floats, optional
        Least and most height above the ground that is allowed on lines.

    Notes
    -----
    Where many samples fall on one place of the chart, the highest ground and the lowest flight
    among them are drawn.
    """
    thinner = _Thinned(profile)
    tops = [thinner.flight.max(), profile.flight_m.max()]
    if band_m is not None:
        tops.append(float((thinner.ground[thinner.lines] + band_m[1]).max(initial=-np.inf)))
    low, high = float(profile.ground_m.min()), float(max(tops))
    room = max(high - low, 10.0)
    axes = _Axes(size, (0.0, float(profile.distance_m[-1])), (low - 0.25 * room, high + 0.1 * room))
    shapes: list[Shape] = [*axes.grid()]
    if band_m is not None:
        for part in _runs(thinner.lines):
            lower = axes.place(thinner.at[part], thinner.ground[part] + band_m[0])
            upper = axes.place(thinner.at[part], thinner.ground[part] + band_m[1])
            shapes.append(Stroke(parts=(np.vstack([lower, upper[::-1]]),), fill=BAND, width=0))
    foot = axes.place(thinner.at[[-1, 0]], np.full(2, axes.height[0]))
    surface = axes.place(thinner.at, thinner.ground)
    shapes.append(
        Stroke(parts=(np.vstack([surface, foot]),), fill=GROUND, colour="#8a7350", width=1)
    )
    flown = axes.place(profile.distance_m, profile.flight_m)
    for part in _runs(~profile.surveying):
        shapes.append(Stroke(parts=(_thin(flown[part]),), colour=TRANSIT, width=1.2, dash=4))
    lines = tuple(_thin(flown[part]) for part in _runs(profile.surveying))
    shapes.append(Stroke(parts=lines, colour=FLIGHT, width=2))
    waypoints = np.interp(profile.waypoint_m, profile.distance_m, profile.flight_m)
    shapes.append(
        Dots(places=axes.place(profile.waypoint_m, waypoints), radius=2.2, colour=FLIGHT)
    )  # fmt: skip
    shapes += _lowest(profile, axes)
    shapes.append(Text(x=LEFT, y=18, text=title, bold=True, halo=False, size=14))
    return tuple(shapes)


class _Thinned:
    """A profile at no more than `MOST_POINTS` places."""

    def __init__(self, profile: Profile) -> None:
        each = max(1, math.ceil(profile.distance_m.size / MOST_POINTS))
        starts = np.arange(0, profile.distance_m.size, each)
        self.at = profile.distance_m[starts]
        self.at[-1] = profile.distance_m[-1]
        self.ground = np.maximum.reduceat(profile.ground_m, starts)
        self.flight = np.minimum.reduceat(profile.flight_m, starts)
        self.lines = np.logical_or.reduceat(profile.surveying, starts)


class _Axes:
    """Distance to the right, height upwards."""

    def __init__(
        self,
        size: tuple[float, float],
        distance: tuple[float, float],
        height: tuple[float, float],
    ) -> None:
        self.size, self.distance, self.height = size, distance, height
        self.wide = size[0] - LEFT - RIGHT
        self.tall = size[1] - TOP - BOTTOM

    def place(self, distance_m: Float, height_m: Float) -> Float:
        x = LEFT + (distance_m - self.distance[0]) / (self.distance[1] or 1.0) * self.wide
        share = (height_m - self.height[0]) / (self.height[1] - self.height[0])
        return np.column_stack([x, TOP + (1 - share) * self.tall])

    def grid(self) -> list[Shape]:
        shapes: list[Shape] = [
            Stroke(parts=(rectangle(LEFT, TOP, self.wide, self.tall),), fill="#f8fafb", width=0)
        ]
        step = round_step((self.height[1] - self.height[0]) / 3)
        for value in np.arange(math.ceil(self.height[0] / step), self.height[1] / step) * step:
            (start, end) = self.place(np.array(self.distance), np.full(2, value))
            shapes.append(Stroke(parts=(np.array([start, end]),), colour=GRID, width=1))
            shapes.append(
                Text(x=LEFT - 6, y=start[1] + 4, text=f"{value:g}", size=12, anchor="end",
                     halo=False)
            )  # fmt: skip
        step = round_step(max(self.distance[1], 1.0) / 6)
        for value in np.arange(0, self.distance[1] + 0.01 * step, step):
            (foot,) = self.place(np.array([value]), np.array([self.height[0]]))
            label = f"{value:g}" if step < 1000 else f"{value / 1000:g} km"
            shapes.append(
                Text(x=foot[0], y=foot[1] + 16, text=label, size=12, anchor="middle", halo=False)
            )
        unit = "metres flown" if step < 1000 else "flown"
        shapes.append(
            Text(x=LEFT + self.wide / 2, y=self.size[1] - 6, text=unit, size=12, anchor="middle",
                 halo=False, colour="#5b666e")
        )  # fmt: skip
        shapes.append(
            Text(x=LEFT - 6, y=TOP - 4, text="m", size=12, anchor="end", halo=False,
                 colour="#5b666e")
        )  # fmt: skip
        return shapes


def _lowest(profile: Profile, axes: _Axes) -> list[Shape]:
    """Mark where the drone is lowest above the ground while it takes photographs."""
    if not profile.surveying.any():
        return []
    height = np.where(profile.surveying, profile.height_agl_m, np.inf)
    number = int(height.argmin())
    ends = axes.place(
        profile.distance_m[[number, number]],
        np.array([profile.ground_m[number], profile.flight_m[number]]),
    )
    right = ends[0, 0] < axes.size[0] * 0.75
    return [
        Stroke(parts=(ends,), colour="#b3261e", width=1.6),
        Text(
            x=ends[0, 0] + (6 if right else -6),
            y=float(ends[0, 1]) + 15,
            text=f"lowest on lines {height[number]:.1f} m",
            anchor="start" if right else "end",
            colour="#8c1d18",
            bold=True,
        ),
    ]


def _runs(mask: NDArray[np.bool_]) -> list[slice]:
    """Return the stretches where a mask holds, each one sample longer where there is one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [slice(start, end + 1) for start, end in edges.reshape(-1, 2)]


def _thin(points: Float) -> Float:
    """Return a line without the points that lie on the straight between their neighbours."""
    apart = np.append(True, np.abs(np.diff(points, axis=0)).max(axis=1) > 0)
    points = points[apart]
    if len(points) < 3:
        return points
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-6
    return np.asarray(points[np.concatenate([[True], bends, [True]])])
