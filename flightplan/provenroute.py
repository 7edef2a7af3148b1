"""Mend a route where the proof finds too few photographs, and join routes into one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.additions import Pattern
from flightplan.footprints import Photos
from flightplan.motion import Motion, path_seconds
from flightplan.pricing import entry, leave
from flightplan.proof import prove
from flightplan.repair import repair
from flightplan.routes import Line, Route
from flightplan.setting import Setting
from flightplan.sheet import Sheet
from flightplan.spacing import Spacing
from flightplan.transits import Airspace
from tmp.cameras import Camera
from tmp.errors import InputError

Float = NDArray[np.float64]

FAR_M = 1000.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a route is laid out."""

    spacing: Spacing
    motion: Motion
    views: int
    """Photographs that shall see every place."""
    run_in_m: float
    """Way flown straight before and after a line."""


def mend(
    route: Route, layout: Layout, setting: Setting, sheet: Sheet, camera: Camera, *, workers: int
) -> tuple[Route, tuple[str, ...]]:
    """Prove a route over the terrain, and add photographs where there are too few.

    Returns
    -------
    route : Route
        The same if nothing had to be added.
    words : tuple of str
        What was added, where and why.

    Notes
    -----
    Photographs are taken at the height aimed at above the ground below each; the final way lies
    within the height band about that, and is proved again by the caller.
    """

    def height_at(places: Float) -> Float:
        return np.asarray(setting.terrain.at(places) + layout.spacing.height_agl_m)

    coverage = prove(Photos.on_lines(route.lines, height_at), camera, sheet, workers=workers)
    if coverage.share_below(layout.views) == 0:
        return route, ()
    pattern = Pattern(
        photo_spacing_m=layout.spacing.photo_m,
        line_spacing_m=layout.spacing.line_m,
        reach_m=max(math.hypot(*one.footprint_m) for one in layout.spacing.cameras) / 2,
        height_at=height_at,
        forbidden=_forbidden(setting, layout.run_in_m),
    )
    mended = repair(route.lines, coverage, sheet, camera, photographs=layout.views, pattern=pattern)
    if not mended.added:
        return route, mended.words
    count = len(route.lines)
    new = [
        replace(line, run_in_m=layout.run_in_m, run_out_m=layout.run_in_m)
        for line in mended.lines[count:]
    ]
    ordered = _inserted(list(mended.lines[:count]), new)
    return route_over(ordered, setting.airspace, layout.motion), mended.words


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
