"""Height, lines and ground of a plan, laid out closely enough for the slopes there are.

Where the proof finds too few photographs photographs are added; routes are joined into one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.oblique import OBLIQUE_OVERLAP, OBLIQUE_VIEWS, lay_oblique
from flightplan.coverage.path import PathOptions, plan_path
from flightplan.coverage.routes import (
    NADIR_DEG,
    Airspace,
    Line,
    Pattern,
    Route,
    inserted,
    route_over,
    route_path,
)
from flightplan.coverage.spacing import Spacing, Wanted, choose_spacing, footprint
from flightplan.equipment.flight_model import Motion
from flightplan.plan.request import (
    CLEARANCE_M,
    CORRIDOR_M,
    MOST_BAND_M,
    TERRAIN_BAND,
    PlanRequest,
    Setting,
    set_plan,
    with_terrain,
)
from flightplan.proof.certificate import LAP_HAIR, Asked, certify
from flightplan.proof.footprints import GroundCells, Laps, Photos, choose_cell, measure_laps
from flightplan.proof.prove import Coverage, prove
from flightplan.proof.repair import AdditionPattern, repair
from flightplan.terrain.height_band import HeightBand
from tmp.errors import InputError

FAR_M = 1000.0
"""Farther than this beyond the known ground no photograph is tried anyway."""

Float = NDArray[np.float64]
RUN_M_S2 = 2.0
"""Speeding up and braking for which run-ins and run-outs have room."""
CORNER_S = 1.0
"""Time to turn on the spot at a waypoint."""
SETTLE_S = 1.0
"""Time of level flight before the first photograph of a line."""
MARGIN_M = 10.0
"""Ground known beyond the way, for gusts and GNSS errors; where photographs may be added, more is
read as far as the elevation model goes."""
APART = 3.0
"""Photographs in a row without a fault that part two faults of the same line."""
LAYOUTS = 3
"""Most times that lines are laid out, each time more closely."""
MOST_PHOTOGRAPHS, MOST_PLACES = 50_000, 16
"""More cannot be meant: a hundred batteries and more, and more than a day on foot."""
LEAST_TIGHTENING, LEAST_CLOSER = 0.85, 0.01
"""Bounds of how much more closely, as a factor of the GSD and as a fraction."""


def add_photographs(
    layout: Layout, views: int, coverage: Coverage
) -> tuple[Route, tuple[str, ...]]:
    """Add photographs to a route where a proof finds fewer than `views`.

    Returns the same route if nothing is missing, or nothing helps, and what was added, where and
    why, in words.  New photographs are tried as low as the height band allows; the final way lies
    somewhere in it, so the caller proves the route again.
    """
    route, setting, spacing = layout.route, layout.setting, layout.spacing
    if coverage.share_below(views) == 0:
        return route, ()
    pattern = AdditionPattern(
        photo_spacing_m=spacing.photo_m,
        line_spacing_m=spacing.line_m,
        reach_m=max(math.hypot(*one.footprint_m) for one in spacing.cameras) / 2,
        height_at=layout.lowest_at,
        forbidden=_forbidden(setting, layout.run_in_m),
    )
    camera = layout.request.proving_camera.camera()
    repaired = repair(
        route.lines, coverage, layout.ground, camera, photographs=views, pattern=pattern
    )
    if not repaired.added:
        return route, ()
    # Lines come back without their runs, for which an obstacle may leave less room.
    airspace = setting.airspace
    old = [
        replace(airspace.with_runs(line, layout.run_in_m), extra=before.extra)
        if line.photos > before.photos
        else before
        for before, line in zip(route.lines, repaired.lines, strict=False)
    ]
    new = [
        replace(airspace.with_runs(line, layout.run_in_m), extra=True)
        for line in repaired.lines[len(old) :]
    ]
    new = [line for line in new if airspace.reaches(old[0].entry, line, layout.motion)]
    return route_over(inserted(old, new), airspace, layout.motion), repaired.words


def close_gaps(
    layout: Layout, sidelap: float, laps: Laps, lines: Sequence[Line], coverage: Coverage
) -> tuple[Route, tuple[str, ...]]:
    """Add lines half way between neighbours that overlap less than `sidelap`.

    Returns the same route if none do over the area, or no line helps, and what was added in words.
    """
    route, airspace = layout.route, layout.setting.airspace
    over = coverage.over_area(laps.side_at)
    short = over & (laps.side < sidelap - LAP_HAIR)
    new = []
    for first, second in np.unique(laps.side_lines[short], axis=0):
        here = short & (laps.side_lines == (first, second)).all(axis=1)
        course = lines[first].course
        across = np.array([-course[1], course[0]])
        beside = float((laps.side_at[here] @ across).mean())
        along, each_m = np.sort(laps.side_at[here] @ course), layout.spacing.photo_m
        for run in np.split(along, np.flatnonzero(np.diff(along) > APART * each_m) + 1):
            line = _filling(
                airspace, beside * across, course, (run[0] - each_m, run[-1] + each_m), each_m
            )
            line = airspace.with_runs(line, layout.run_in_m)
            if airspace.reaches(route.lines[0].entry, line, layout.motion):
                new.append(line)
    if not new:
        return route, ()
    words = (
        f"{len(new)} {'line' if len(new) == 1 else 'lines'} of "
        f"{sum(line.photos for line in new)} photographs added between neighbours too far apart.",
    )
    return route_over(inserted(list(route.lines), new), airspace, layout.motion), words


def _filling(
    airspace: Airspace, foot: Float, course: Float, span_m: tuple[float, float], each_m: float
) -> Line:
    """Return a line along a course beside a foot, over so much of a span as obstacles leave."""
    middle_m, half_m = sum(span_m) / 2, (span_m[1] - span_m[0]) / 2
    middle = foot + middle_m * course
    before, after = (airspace.room_m(middle, way, half_m) for way in (-course, course))
    photos = max(math.floor((before + after) / each_m), 1) + 1
    length_m = (photos - 1) * each_m
    start = middle + ((after - before - length_m) / 2) * course
    (x0, y0), (x1, y1) = start.tolist(), (start + length_m * course).tolist()
    return Line(start=(x0, y0), end=(x1, y1), photos=photos)


def _forbidden(setting: Setting, run_in_m: float) -> BaseGeometry:
    """Return where no photograph may be added: in obstacles, and where the ground is not known."""
    known = shapely.box(*setting.terrain.bounds).buffer(-run_in_m, join_style="mitre")
    beyond = shapely.box(*setting.terrain.bounds).buffer(FAR_M).difference(known)
    return setting.airspace.solid.union(beyond)


def join_routes(first: Route, second: Route, airspace: Airspace, motion: Motion) -> Route:
    """Return two routes flown one after the other, the second the way round that is nearer."""
    turned = tuple(line.reversed() for line in reversed(second.lines))
    nearer = min(
        (second.lines, turned), key=lambda lines: math.dist(first.lines[-1].exit, lines[0].entry)
    )
    return route_over([*first.lines, *nearer], airspace, motion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Lines over the ground, before they are split into sorties."""

    request: PlanRequest
    """As laid out: perhaps for more overlap and detail than was asked."""
    spacing: Spacing
    motion: Motion
    band: HeightBand
    run_in_m: float
    """Way flown straight before and after a line."""
    setting: Setting
    ground: GroundCells
    route: Route
    oblique: Route | None = None

    def lowest_at(self, places: Float) -> Float:
        """Return the lowest height allowed (N,) over plan points (N, 2), in the terrain's datum."""
        return np.asarray(self.setting.terrain.at(places) + self.spacing.lowest_m)


def lay_out(request: PlanRequest, *, workers: int = 1) -> tuple[Layout, tuple[str, ...]]:
    """Lay out lines over an area and its ground.

    Returns what the slopes made necessary, too, in words: lines laid closer, photographs added.
    Over level ground what is asked is what is laid out.  Over relief the lines are looked at with
    every photograph at the edge of the height band where it is worst; the proof of the finished
    plan comes later.
    """
    _refuse_speed(request)
    layout, words = _lay(request), tuple[str, ...]()
    if request.dem is None:
        return layout, words
    coverage = _worst_coverage(layout, workers)
    for _ in range(LAYOUTS - 1):
        closer = _tightened(layout, request, coverage)
        if closer is None:
            break
        layout, words = _lay(closer[0]), closer[1]
        coverage = _worst_coverage(layout, workers)
    route, added = add_photographs(layout, request.asked_views, coverage)
    return replace(layout, route=route), words + added


def reaching(layout: Layout, way: Float) -> Layout:
    """Return the layout with the ground known below a way (N, 2) as well, read where it was not.

    Raises
    ------
    InputError
        If the elevation model does not reach so far.
    """
    setting = layout.setting
    low, high = np.reshape(setting.terrain.bounds, (2, 2))
    if (way >= low + CORRIDOR_M).all() and (way <= high - CORRIDOR_M).all():
        return layout
    known = np.array([low + MARGIN_M, high - MARGIN_M])
    setting = with_terrain(setting, layout.request, np.concatenate([way, known]), MARGIN_M)
    return replace(layout, setting=setting, ground=replace(layout.ground, terrain=setting.terrain))


def asked_of(request: PlanRequest, layout: Layout) -> Asked:
    """Return what a plan has to reach: what was asked, in the height band it is laid out for."""
    spacing = layout.spacing
    return Asked(
        photographs=request.asked_views,
        gsd_m=request.gsd_m or max(one.coarsest_gsd_m for one in spacing.cameras),
        frontlap=request.overlap.front,
        sidelap=request.overlap.side,
        least_height_agl_m=spacing.lowest_m,
        most_height_agl_m=spacing.highest_m,
        clearance_m=layout.band.height_m - layout.band.below_m,
        oblique=0 if request.oblique_deg is None else OBLIQUE_VIEWS,
    )


def lay_lines(request: PlanRequest, lines: Sequence[Line]) -> Layout:
    """Lay out lines that are known already, in the order given; those cut short get new runs."""
    return _lay(request, lines)


def _lay(request: PlanRequest, known: Sequence[Line] | None = None) -> Layout:
    band_m = _band_m(request)
    spacing = _spacing(request, band_m)
    motion = Motion(
        cruise_m_s=spacing.speed_m_s,
        acceleration_m_s2=request.drone.acceleration_m_s2,
        jerk_m_s3=request.drone.jerk_m_s3 if request.drone.jerk_m_s3 > 0 else math.inf,
        legs_alone=request.drone.legs_alone,
        corner_s=CORNER_S,
        wind=request.wind,
        max_airspeed_m_s=request.drone.top_speed_m_s,
    )
    run_in_m = spacing.speed_m_s**2 / (2 * RUN_M_S2) + SETTLE_S * spacing.speed_m_s
    setting = set_plan(request)
    if known is None:
        _refuse_out_of_reach(request, setting, spacing)
    options = PathOptions(
        views=request.asked_views,
        heading_deg=request.heading_deg,
        keep_inside=request.keep_inside,
        overfly_holes=request.overfly_holes,
        clearance_m=CLEARANCE_M,
        run_in_m=run_in_m,
        double_grid=request.double_grid,
        middle=setting.middle,
        home=setting.takeoffs[0] if setting.takeoffs else None,
    )
    oblique = None
    if known is None:
        route = plan_path(
            setting.area,
            _pattern(spacing, request),
            motion,
            exclusions=setting.forbidden,
            options=options,
        )
        oblique = _oblique(route, request, setting, motion, options, band_m)
    else:
        airspace = setting.airspace
        lines = [
            line if line.run_in_m and line.run_out_m else airspace.with_runs(line, run_in_m)
            for line in known
        ]
        down = [line for line in lines if line.pitch_deg == NADIR_DEG]
        ahead = [line for line in lines if line.pitch_deg != NADIR_DEG]
        route = route_over(down or ahead, airspace, motion)
        oblique = route_over(ahead, airspace, motion) if down and ahead else None
    way = np.concatenate([route_path(each) for each in (route, oblique) if each is not None])
    reach_m = max(math.hypot(*one.footprint_m) for one in spacing.cameras) / 2
    setting = with_terrain(setting, request, way, MARGIN_M, spare_m=reach_m + run_in_m)
    return Layout(
        request=request,
        spacing=spacing,
        motion=motion,
        band=HeightBand(
            height_m=spacing.height_agl_m,
            below_m=band_m,
            above_m=band_m,
            climb=request.drone.climb_m_s / spacing.speed_m_s,
            descent=request.drone.descent_m_s / spacing.speed_m_s,
        ),
        run_in_m=run_in_m,
        setting=setting,
        ground=GroundCells.over(
            setting.area,
            setting.terrain,
            choose_cell(spacing.photo_m, setting.area),
            crs=setting.frame.crs,
        ),
        route=route,
        oblique=oblique,
    )


def _refuse_speed(request: PlanRequest) -> None:
    """Raise `InputError` for a speed asked for that drone, shutter or blur forbid."""
    if request.speed_m_s is None:
        return
    free = _spacing(replace(request, speed_m_s=None), _band_m(request))
    if request.speed_m_s <= free.speed_m_s:
        return
    remedy = ""
    if free.speed_limit.startswith("blur"):
        shorter = request.speed_m_s / free.speed_m_s / request.exposure_s
        remedy = f", or expose shorter, --shutter 1/{math.ceil(shorter / 100) * 100}"
    elif free.speed_limit.endswith("photographs"):
        remedy = ", or ask for less frontlap or detail"
    raise InputError(
        f"--speed {request.speed_m_s:g}m/s is more than the {free.speed_m_s:.1f} m/s that "
        f"{free.speed_limit} leaves; ask for less, or leave it out{remedy}"
    )


def _refuse_out_of_reach(request: PlanRequest, setting: Setting, spacing: Spacing) -> None:
    """Raise `InputError` for what no lines could cover, before any are laid out."""
    west, south, east, north = setting.area.bounds
    size = (
        f"{request.area.source}: the area is {(east - west) / 1000:.1f} km by "
        f"{(north - south) / 1000:.1f} km"
    )
    number = setting.area.area / (spacing.line_m * spacing.photo_m)
    if number > MOST_PHOTOGRAPHS:
        roughly = float(f"{number:.1g}")
        raise InputError(
            f"{size}, which takes about {roughly:,.0f} photographs; plan it in parts, or check "
            "that the right polygon was given"
        )
    if "sight" in request.allowed:
        return
    # Nothing is photographed from farther away than the diagonal of a footprint.
    reach_m = request.bounds.sight_m + max(math.hypot(*one.footprint_m) for one in spacing.cameras)
    if not setting.takeoffs:
        # A circle of sight holds a square of twice its radius squared.
        places = setting.area.area / (2 * request.bounds.sight_m**2)
        if places > MOST_PLACES:
            raise InputError(
                f"{size}, which takes about {places:.0f} take-off places: a drone is flown up to "
                f"{request.bounds.sight_m:g} m from its pilot; plan it in parts, one for each day, "
                "or, where your rules allow it, say --sight METRES"
            )
        return
    near = shapely.union_all(shapely.points(setting.takeoffs)).buffer(reach_m)
    if not setting.area.difference(near).is_empty:
        raise InputError(
            f"{size}, and part of it lies too far from every take-off: a drone is "
            f"flown up to {request.bounds.sight_m:g} m from its pilot; plan it in parts, give "
            "take-offs nearer to all of it (--takeoff LON,LAT, several may do), or, where your "
            "rules allow it, say --sight METRES"
        )


def _photos(layout: Layout) -> Photos:
    """Return the photographs of the lines, each as low as the band allows, where it sees least."""
    return Photos.on_lines(layout.route.lines, layout.lowest_at)


def _worst_coverage(layout: Layout, workers: int) -> Coverage:
    """Return what the photographs see at the lowest, and how sharply at the highest."""
    seen = prove(
        _photos(layout), layout.request.proving_camera.camera(), layout.ground, workers=workers
    )
    higher = layout.spacing.highest_m / layout.spacing.lowest_m
    return replace(seen, gsd_m=seen.gsd_m * np.float32(higher))


def _tightened(
    layout: Layout, request: PlanRequest, coverage: Coverage
) -> tuple[PlanRequest, tuple[str, ...]] | None:
    """Return the request laid out more closely where slopes spoil overlap or detail, and say so.

    A footprint on a slope is shorter uphill, and a pixel longer.  None where the plan does what
    was asked, or closer lines would not help.
    """
    photos = _photos(layout)
    found = certify(
        asked_of(request, layout),
        coverage,
        laps=measure_laps(photos, layout.request.proving_camera.camera(), layout.setting.terrain),
        photographs=len(photos),
    )
    failing = {check.name: check for check in found.checks if not check.passed}
    overlap, gsd_m = layout.request.overlap, layout.request.gsd_m
    words = []
    for name, field in (("frontlap", "front"), ("sidelap", "side")):
        if name in failing:
            lap = getattr(overlap, field)
            short = max(failing[name].asked - failing[name].percentile_1, LEAST_CLOSER)
            closer = min(lap + short, (1 + lap) / 2)
            overlap = replace(overlap, **{field: closer})
            words.append(f"{name} laid out for {100 * closer:.1f} % because of the slopes.")
    if "GSD" in failing and gsd_m is not None:
        ratio = failing["GSD"].asked / failing["GSD"].percentile_1
        gsd_m *= min(max(ratio, LEAST_TIGHTENING), 1 - LEAST_CLOSER)
        words.append(f"Flown for {100 * gsd_m:.2f} cm because of the slopes.")
    if not words:
        return None
    return replace(layout.request, overlap=overlap, gsd_m=gsd_m), tuple(words)


def _band_m(request: PlanRequest) -> float:
    """Return how far the drone may leave its height over relief; level ground needs no room."""
    if request.dem is None:
        return 0.0
    height_m = request.height_agl_m or (request.gsd_m or 0.0) * min(
        camera.f_px for camera in request.cameras
    )
    return min(TERRAIN_BAND * height_m, MOST_BAND_M)


def _spacing(request: PlanRequest, band_m: float, pitch_deg: float = -90.0) -> Spacing:
    wanted = Wanted(
        overlap=request.overlap,
        gsd_m=request.gsd_m,
        height_agl_m=request.height_agl_m,
        below_m=band_m,
        above_m=band_m,
        pitch_deg=pitch_deg,
        exposure_s=request.exposure_s,
        speed_m_s=request.speed_m_s or math.inf,
    )
    return choose_spacing(request.cameras, wanted, max_speed_m_s=request.drone.mission_speed_m_s)


def _pattern(spacing: Spacing, request: PlanRequest) -> Pattern:
    """Return footprint and spacings at the lowest clearance, where overlap binds."""
    share = spacing.lowest_m / spacing.height_agl_m
    return Pattern(
        across_m=share * min(one.footprint_m[0] for one in spacing.cameras),
        along_m=share * min(one.footprint_m[1] for one in spacing.cameras),
        line_spacing_m=spacing.line_m,
        photo_spacing_m=spacing.photo_m,
        least_interval_s=max(camera.least_interval_s for camera in request.cameras),
    )


def _oblique(
    route: Route,
    request: PlanRequest,
    setting: Setting,
    motion: Motion,
    options: PathOptions,
    band_m: float,
) -> Route | None:
    """Return lines across a route's own on which the camera looks ahead; None if not asked for."""
    if request.oblique_deg is None:
        return None
    height_m = _spacing(request, band_m).height_agl_m
    level = replace(request, gsd_m=None, height_agl_m=height_m, overlap=OBLIQUE_OVERLAP)
    spacing = _spacing(level, band_m, NADIR_DEG + request.oblique_deg)
    longest = max(route.lines, key=lambda line: line.length_m)
    near = _pattern(spacing, request)
    seen = footprint(request.proving_camera, pitch_deg=NADIR_DEG + request.oblique_deg)
    wider = seen.distance / seen.near
    return lay_oblique(
        setting.area,
        replace(
            near,
            across_m=wider * near.across_m,
            line_spacing_m=wider * near.line_spacing_m,
        ),
        motion,
        setting.airspace,
        tilt_deg=request.oblique_deg,
        height_m=height_m,
        exclusions=setting.forbidden,
        options=replace(options, heading_deg=(longest.heading_deg + 90.0) % 180.0, middle=None),
    )
