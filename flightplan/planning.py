"""From a request to a plan that is proved: height, lines, repair, sorties, certificate."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.ops import nearest_points

from flightplan.bands import HeightBand
from flightplan.certificate import Asked
from flightplan.coverage_path import PathOptions, plan_path
from flightplan.findings import PlanFacts
from flightplan.flightways import FlightWay, lay_way
from flightplan.footprints import Photos
from flightplan.judging import certify
from flightplan.limits import check_plan, refuse
from flightplan.motion import Motion
from flightplan.overlaps import measure_laps
from flightplan.plan import FlightPlan, proving_camera
from flightplan.pricing import SortieRules, entry, leave
from flightplan.profile import Profile, follow
from flightplan.proof import prove
from flightplan.provenroute import Layout, join_routes, mend
from flightplan.request import MOST_BAND_M, TERRAIN_BAND, PlanRequest
from flightplan.routes import Line, Route
from flightplan.routetime import route_path
from flightplan.setting import CLEARANCE_M, Place, Setting, set_plan, with_terrain
from flightplan.sheet import Sheet, choose_cell
from flightplan.sorties import Sorties, split_route
from flightplan.spacing import KEEPS_UP, Spacing, Wanted, choose_spacing
from flightplan.trimming import Goal
from flightplan.views import Pattern
from tmp.errors import InputError
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

ACCELERATION_M_S2 = 2.0
CORNER_S = 1.0
"""Time to turn on the spot at a waypoint."""
SETTLE_S = 1.0
"""Time of level flight before the first photograph of a line."""
AROUND = 8
"""Places on the edge of the area tried as take-offs where one does not do."""
MARGIN_M = 10.0
"""Ground known beyond the way, for gusts, GNSS errors and photographs added."""
OBLIQUE_VIEWS = 3
"""Oblique photographs that shall see every place."""
TIGHTENINGS = 2
"""Most times that a plan is laid out again, more closely."""
LEAST_TIGHTENING = 0.85
LEVEL = "level ground, assumed"


def make_plan(request: PlanRequest, *, workers: int = 1, track: Track = silent) -> FlightPlan:
    """Plan a survey and prove it.

    Parameters
    ----------
    request : PlanRequest
    workers : int
        Threads for the proof.
    track : Track

    Raises
    ------
    InputError
        If the request cannot be met: see `flightplan.spacing`, `flightplan.setting`,
        `flightplan.sorties` and `flightplan.limits`.
    """
    laid = request
    words: tuple[str, ...] = ()
    for _ in range(TIGHTENINGS):
        plan = _plan(laid, request, words, workers=workers, track=track)
        closer = _tightened(laid, plan)
        if closer is None:
            return plan
        laid, words = closer
    return _plan(laid, request, words, workers=workers, track=track)


def _tightened(laid: PlanRequest, plan: FlightPlan) -> tuple[PlanRequest, tuple[str, ...]] | None:
    """Return the request laid out more closely where slopes spoil overlap or detail, and say so.

    A footprint on a slope is shorter uphill, and a pixel longer.  None where the plan does what
    was asked, or closer lines would not help.
    """
    failing = {check.name: check for check in plan.certificate.checks if not check.passed}
    overlap, gsd_m = laid.overlap, laid.gsd_m
    words = []
    for name, field in (("frontlap", "front"), ("sidelap", "side")):
        if name in failing:
            lap = getattr(overlap, field)
            closer = min(lap + failing[name].asked - failing[name].worst, (1 + lap) / 2)
            overlap = replace(overlap, **{field: closer})
            words.append(f"{name} laid out for {100 * closer:.1f} % because of the slopes.")
    if "GSD" in failing and gsd_m is not None:
        gsd_m *= max(failing["GSD"].asked / failing["GSD"].worst, LEAST_TIGHTENING)
        words.append(f"Flown for {100 * gsd_m:.2f} cm because of the slopes.")
    if not words:
        return None
    return replace(laid, overlap=overlap, gsd_m=gsd_m), tuple(words)


def _plan(
    laid: PlanRequest,
    request: PlanRequest,
    tightened: tuple[str, ...],
    *,
    workers: int,
    track: Track,
) -> FlightPlan:
    """Lay out one request and prove it against another, which asks for no more."""
    band_m = _band_m(laid)
    spacing = _spacing(laid, band_m)
    motion = Motion(
        cruise_m_s=spacing.speed_m_s,
        acceleration_m_s2=ACCELERATION_M_S2,
        corner_s=CORNER_S,
        wind=request.wind,
        max_airspeed_m_s=request.drone.top_speed_m_s,
    )
    run_in_m = motion.stopping_m() + SETTLE_S * spacing.speed_m_s
    setting = set_plan(laid)
    band = HeightBand(
        height_m=spacing.height_agl_m,
        below_m=band_m,
        above_m=band_m,
        climb=request.drone.climb_m_s / spacing.speed_m_s,
        descent=request.drone.descent_m_s / spacing.speed_m_s,
    )
    options = PathOptions(
        goal=Goal(views=request.asked_views),
        heading_deg=request.heading_deg,
        keep_inside=request.keep_inside,
        clearance_m=CLEARANCE_M,
        run_in_m=run_in_m,
        double_grid=request.double_grid,
        home=setting.takeoffs[0] if setting.takeoffs else None,
    )
    camera = proving_camera(request).camera()
    route = plan_path(
        setting.area,
        _pattern(spacing, laid),
        motion,
        exclusions=setting.forbidden,
        options=options,
    )
    oblique = _oblique(route, laid, setting, motion, options, band_m)
    way = np.concatenate([route_path(each) for each in (route, oblique) if each is not None])
    setting = with_terrain(setting, laid, way, MARGIN_M)
    sheet = Sheet.over(
        setting.area,
        setting.terrain,
        choose_cell(spacing.photo_m, setting.area),
        crs=setting.frame.crs,
    )
    layout = Layout(spacing=spacing, motion=motion, views=request.asked_views, run_in_m=run_in_m)
    route, words = mend(route, layout, setting, sheet, camera, workers=workers)
    if oblique is not None:
        route = join_routes(route, oblique, setting.airspace, motion)
    sorties, guessed = _sorties(route, laid, setting, spacing, motion)
    ways = tuple(lay_way(flight, setting.terrain, band) for flight in sorties.flights)
    photos = photos_of(sorties, ways)
    coverage = prove(photos, camera, sheet, workers=workers, track=track)
    profiles = tuple(
        follow(way.points, setting.terrain, surveying=[leg.line is not None for leg in way.legs])
        for way in ways
    )
    asked = _asked(request, spacing, band)
    certificate = certify(
        asked,
        coverage,
        laps=measure_laps(nadir(photos), camera, setting.terrain),
        profiles=profiles,
        photographs=len(photos),
        frame=setting.frame,
        terrain=setting.terrain.datum if request.dem else LEVEL,
        repairs=(*tightened, *words),
    )
    findings = check_plan(
        _facts(laid, setting, spacing, sorties, ways, profiles),
        request.bounds,
        allowed=request.allowed,
    )
    refuse(findings)
    return FlightPlan(
        request=request,
        setting=setting,
        spacing=spacing,
        motion=motion,
        band=band,
        sorties=sorties,
        ways=ways,
        coverage=coverage,
        asked=asked,
        certificate=certificate,
        profiles=profiles,
        findings=findings,
        warnings=_warnings(request, setting, sorties, ways, guessed),
    )


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
    pitch_deg = -90.0 + request.oblique_deg
    height_m = _spacing(request, band_m).height_agl_m
    level = replace(request, gsd_m=None, height_agl_m=height_m)
    spacing = _spacing(level, band_m, pitch_deg)
    longest = max(route.lines, key=lambda line: line.length_m)
    across = plan_path(
        setting.area,
        _pattern(spacing, request),
        motion,
        exclusions=setting.forbidden,
        options=replace(
            options,
            goal=Goal(views=OBLIQUE_VIEWS),
            heading_deg=(longest.heading_deg + 90.0) % 180.0,
            double_grid=False,
        ),
    )
    lines = tuple(replace(line, pitch_deg=pitch_deg) for line in across.lines)
    return replace(across, lines=lines)


def _sorties(
    route: Route, request: PlanRequest, setting: Setting, spacing: Spacing, motion: Motion
) -> tuple[Sorties, bool]:
    """Return the flights, and whether their take-off is the platform's choice."""

    def way(start: Place, end: Place) -> Float:
        found = setting.airspace.way(start, end, motion)
        if found is None:
            raise InputError("exclusions wall off part of the way; take off elsewhere")
        return found

    def rules(launches: tuple[Place, ...]) -> SortieRules:
        return SortieRules(
            drone=request.drone,
            motion=motion,
            line_speed=lambda line: line_speed(line, spacing, request),
            launches=launches,
            height_m=spacing.height_agl_m,
            battery=request.battery,
            sight_m=request.bounds.sight_m if "sight" not in request.allowed else math.inf,
            way=way,
            climb_m=lambda path: _climb_m(path, setting),
        )

    if setting.takeoffs:
        return split_route(route, rules(setting.takeoffs)), False
    edges = shapely.union_all([shapely.Polygon(part.exterior) for part in setting.area.geoms])
    edge = edges.boundary.difference(setting.airspace.solid)
    if edge.is_empty:
        raise InputError("no place on the edge of the area to take off from; give --takeoff")
    ends = shapely.MultiPoint([entry(route.lines[0]), leave(route.lines[-1])]).centroid
    near = nearest_points(edge, ends)[0]
    around = shapely.line_interpolate_point(
        max(shapely.get_parts(edge), key=lambda part: part.length),
        np.arange(AROUND) / AROUND,
        normalized=True,
    )
    launch = float(near.x), float(near.y)
    try:
        return split_route(route, rules((launch,))), True
    except InputError:
        places = (launch, *((float(point.x), float(point.y)) for point in around))
        return split_route(route, rules(places)), True


def line_speed(line: Line, spacing: Spacing, request: PlanRequest) -> float:
    """Return the ground speed in m/s at which drone and cameras keep up on a line."""
    slowest = max(camera.least_interval_s for camera in request.cameras)
    keeps_up = KEEPS_UP * line.spacing_m / slowest
    return min(spacing.speed_m_s, keeps_up if line.spacing_m else math.inf)


def _climb_m(path: Float, setting: Setting) -> float:
    """Return the metres climbed along a path that follows the ground."""
    heights = setting.terrain.at(path)
    return float(np.maximum(np.diff(heights), 0.0).sum())


def photos_of(sorties: Sorties, ways: Sequence[FlightWay]) -> Photos:
    """Return all photographs of a plan in the order taken."""
    position = np.concatenate([way.photos for way in ways])
    line = np.concatenate(
        [flight.first + way.photo_lines for flight, way in zip(sorties.flights, ways, strict=True)]
    )
    headings = np.array([each.heading_deg for each in sorties.lines])
    pitches = np.array([each.pitch_deg for each in sorties.lines])
    return Photos(position=position, heading_deg=headings[line], pitch_deg=pitches[line], line=line)


def nadir(photos: Photos) -> Photos:
    """Return the photographs that look straight down."""
    down = photos.pitch_deg == -90.0
    return Photos(
        position=photos.position[down],
        heading_deg=photos.heading_deg[down],
        pitch_deg=photos.pitch_deg[down],
        line=photos.line[down],
    )


def _asked(request: PlanRequest, spacing: Spacing, band: HeightBand) -> Asked:
    return Asked(
        photographs=request.asked_views,
        gsd_m=request.gsd_m or max(one.coarsest_gsd_m for one in spacing.cameras),
        frontlap=request.overlap.front,
        sidelap=request.overlap.side,
        least_height_agl_m=spacing.lowest_m,
        most_height_agl_m=spacing.highest_m,
        clearance_m=band.height_m - band.below_m,
    )


def _facts(
    request: PlanRequest,
    setting: Setting,
    spacing: Spacing,
    sorties: Sorties,
    ways: Sequence[FlightWay],
    profiles: Sequence[Profile],
) -> PlanFacts:
    above = np.concatenate([one.height_agl_m for one in profiles])
    paths = [way.points[:, :2] for way in ways]
    slowest = max(camera.least_interval_s for camera in request.cameras)
    return PlanFacts(
        drone=request.drone,
        height_agl_m=(float(above.min()), float(above.max())),
        farthest_m=max(flight.farthest_m for flight in sorties.flights),
        speed_m_s=spacing.speed_m_s,
        photo_m=spacing.photo_m,
        least_interval_s=slowest,
        rolling_px=spacing.speed_m_s
        * max(np.nan_to_num([one.rolling_px_per_m_s for one in spacing.cameras])),
        frontlap=request.overlap.front,
        sidelap=request.overlap.side,
        wind_m_s=request.wind.speed_m_s if request.wind else math.nan,
        pitch_deg=min(line.pitch_deg for line in sorties.lines),
        points=max(len(way.points) for way in ways),
        energy_share=max(flight.energy_share for flight in sorties.flights),
        usable_share=request.battery.usable,
        path=np.concatenate(paths),
        launches=tuple({flight.launch for flight in sorties.flights}),
        area=setting.area,
        exclusions=setting.exclusions,
    )


def _warnings(
    request: PlanRequest,
    setting: Setting,
    sorties: Sorties,
    ways: Sequence[FlightWay],
    guessed: bool,
) -> tuple[str, ...]:
    said = []
    if request.dem is None:
        said.append(
            "no elevation model: the ground is taken to be level with the take-off; on slopes "
            "overlap and clearance are not as proved. Give one with --dem"
        )
    if guessed:
        places = sorted({flight.launch for flight in sorties.flights})
        where = " and ".join(
            f"{lat:.6f}° N {lon:.6f}° E" for lon, lat in setting.frame.geodetic_from_plan(places)
        )
        said.append(f"take-off assumed at {where}; give yours with --takeoff LON,LAT")
    for number, way in enumerate(ways, start=1):
        for excess in way.profile.excesses:
            said.append(
                f"sortie {number}: the ground rises or falls faster than the drone can; from "
                f"{excess.start_m:.0f} to {excess.end_m:.0f} m along the way it flies up to "
                f"{excess.most_m:.1f} m above the band"
            )
    return tuple(said)
