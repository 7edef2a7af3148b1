"""Mend a route where the proof finds too few photographs, and join routes into one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.additions import Pattern
from flightplan.motion import Motion, path_seconds
from flightplan.pricing import entry, leave
from flightplan.proof import Coverage
from flightplan.repair import repair
from flightplan.routes import Line, Route
from flightplan.setting import Setting
from flightplan.transits import Airspace
from tmp.errors import InputError

if TYPE_CHECKING:
    from flightplan.laidout import LaidOut

Float = NDArray[np.float64]

FAR_M = 1000.0
"""Farther than this beyond the known ground no photograph is tried anyway."""


def mend(laid: LaidOut, views: int, coverage: Coverage) -> tuple[Route, tuple[str, ...]]:
    """Add photographs to a route where a proof finds fewer than `views`.

    Returns
    -------
    route : Route
        The same if nothing is missing, or nothing helps.
    words : tuple of str
        What was added, where and why; empty if nothing was.

    Notes
    -----
    New photographs are tried as low as the height band allows; the final way lies somewhere in it,
    so the caller proves the route again.
    """
    route, setting, spacing = laid.route, laid.setting, laid.spacing
    if coverage.share_below(views) == 0:
        return route, ()

    def height_at(places: Float) -> Float:
        return np.asarray(setting.terrain.at(places) + spacing.lowest_m)

    pattern = Pattern(
        photo_spacing_m=spacing.photo_m,
        line_spacing_m=spacing.line_m,
        reach_m=max(math.hypot(*one.footprint_m) for one in spacing.cameras) / 2,
        height_at=height_at,
        forbidden=_forbidden(setting, laid.run_in_m),
    )
    camera = laid.camera.camera()
    mended = repair(route.lines, coverage, laid.sheet, camera, photographs=views, pattern=pattern)
    if not mended.added:
        return route, ()
    count = len(route.lines)
    new = [
        replace(line, run_in_m=laid.run_in_m, run_out_m=laid.run_in_m, extra=True)
        for line in mended.lines[count:]
    ]
    # Prolonged lines come back without their runs.
    old = [
        replace(line, run_in_m=before.run_in_m, run_out_m=before.run_out_m)
        for before, line in zip(route.lines, mended.lines[:count], strict=True)
    ]
    ordered = _inserted(old, new)
    return route_over(ordered, setting.airspace, laid.motion), mended.words


def _forbidden(setting: Setting, run_in_m: float) -> BaseGeometry:
    """Return where no photograph may be added: in obstacles, and where the ground is not known."""
    known = shapely.box(*setting.terrain.bounds).buffer(-run_in_m, join_style="mitre")
    beyond = shapely.box(*setting.terrain.bounds).buffer(FAR_M).difference(known)
    return setting.airspace.solid.union(beyond)


def _inserted(lines: list[Line], new: Sequence[Line]) -> list[Line]:
    """Return lines with new ones put where they cost the shortest detour."""
    ordered = list(lines)
    for line in new:
        best = math.inf, 0, line
        for place in range(len(ordered) + 1):
            for turned in (line, line.reversed()):
                before = ordered[place - 1] if place else None
                after = ordered[place] if place < len(ordered) else None
                detour = _gap(before, turned) + _gap(turned, after) - _gap(before, after)
                if detour < best[0]:
                    best = detour, place, turned
        ordered.insert(best[1], best[2])
    return ordered


def _gap(before: Line | None, after: Line | None) -> float:
    if before is None or after is None:
        return 0.0
    return float(math.dist(leave(before), entry(after)))


def route_over(lines: Sequence[Line], airspace: Airspace, motion: Motion) -> Route:
    """Return the route that flies lines in the order given."""
    transits = []
    for before, after in pairwise(lines):
        way = airspace.way(leave(before), entry(after), motion)
        if way is None:
            raise InputError("part of the area cannot be reached; exclusions wall it in")
        whole = np.concatenate([[before.end], way, [after.start]])
        moving = np.hypot(*np.diff(whole, axis=0).T) > 0
        transits.append(whole[np.concatenate([[True], moving])])
    seconds = sum(path_seconds(line.flown, motion) for line in lines)
    seconds += sum(path_seconds(way, motion) for way in transits)
    return Route(lines=tuple(lines), transits=tuple(transits), time_s=seconds)


def join_routes(first: Route, second: Route, airspace: Airspace, motion: Motion) -> Route:
    """Return two routes flown one after the other, the second the way round that is nearer."""
    turned = tuple(line.reversed() for line in reversed(second.lines))
    nearer = min(
        (second.lines, turned), key=lambda lines: math.dist(leave(first.lines[-1]), entry(lines[0]))
    )
    return route_over([*first.lines, *nearer], airspace, motion)
