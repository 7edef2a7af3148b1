"""A few lines across the others on which the camera looks ahead, aslant.

Photographs that all look straight down let focal length, lens distortion and heights trade places,
and a map domes.  A small share of photographs that look 20 to 35 degrees from the vertical ends
that; each overlaps with many of the others, so they need not cover the area more than once.

References
----------
James, M. R., & Robson, S. (2014). Mitigating systematic error in topographic models derived from
UAV and ground-based image networks. Earth Surface Processes and Landforms 39(10).
Nesbitt, P. R., & Hugenholtz, C. H. (2019). Enhancing UAV-SfM 3D model accuracy in high-relief
landscapes by incorporating oblique images. Remote Sensing 11(3).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.path import PathOptions, plan_path
from flightplan.coverage.routes import NADIR_DEG, Airspace, Axes, Line, Pattern, Route, route_over
from flightplan.coverage.spacing import Overlap
from flightplan.equipment.flight_model import Motion

Float = NDArray[np.float64]

OBLIQUE_VIEWS = 1
"""Oblique photographs that shall see every place."""
OBLIQUE_OVERLAP = Overlap(front=0.5, side=0.05)
"""Of each other."""
WHOLE = 1e-6
"""Part of a photograph's spacing by which room for it may fall short by rounding."""


def lay_oblique(
    area: MultiPolygon,
    pattern: Pattern,
    motion: Motion,
    airspace: Airspace,
    *,
    tilt_deg: float,
    height_m: float,
    exclusions: BaseGeometry | None = None,
    options: PathOptions,
) -> Route:
    """Return lines on the course that the options give, as few as let every place be seen.

    `pattern` is that of the camera tilted by `tilt_deg` from the vertical, at a height above the
    ground, as wide as the picture in its middle: farther on it is wider, and what the near part
    misses beside a line is seen there.  Lines begin and end beyond the area by as much as the
    camera looks ahead, where there is room, so that they may be flown either way; with
    ``keep_inside`` they do not.
    """
    across = plan_path(
        area,
        pattern,
        motion,
        exclusions=exclusions,
        options=replace(options, views=OBLIQUE_VIEWS, double_grid=False),
    )
    ahead_m = 0.0 if options.keep_inside else height_m * math.tan(math.radians(tilt_deg))
    # A line of one photograph has no course of its own.
    course = Axes(heading_deg=options.heading_deg or 0.0).along
    longer = [
        _prolonged(
            line,
            airspace,
            line.course if line.photos > 1 else course,
            ahead_m,
            line.spacing_m or pattern.photo_spacing_m,
        )
        for line in across.lines
    ]
    lines = [
        replace(airspace.with_runs(line, options.run_in_m), pitch_deg=NADIR_DEG + tilt_deg)
        for line in longer
    ]
    return route_over(lines, airspace, motion)


def _prolonged(
    line: Line, airspace: Airspace, course: Float, ahead_m: float, each_m: float
) -> Line:
    """Return a line with photographs added at both ends, over a length or up to an obstacle."""
    most = math.ceil(ahead_m / each_m)

    def room(place: tuple[float, float], sign: int) -> int:
        room_m = airspace.room_m(place, sign * course, most * each_m)
        return min(math.floor(room_m / each_m + WHOLE), most)

    before, after = room(line.start, -1), room(line.end, 1)
    dx, dy = (course * each_m).tolist()
    return replace(
        line,
        start=(line.start[0] - before * dx, line.start[1] - before * dy),
        end=(line.end[0] + after * dx, line.end[1] + after * dy),
        photos=line.photos + before + after,
    )
