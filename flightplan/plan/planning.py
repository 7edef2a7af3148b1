"""From a request to a plan that is proved: height, lines, repair, sorties, certificate."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.routes import NADIR_DEG, Line
from flightplan.coverage.sorties import SortieRules, Sorties, split_route
from flightplan.equipment.catalogue import App, read_catalogue, user_files
from flightplan.formats.geometry import MOST_CORNERS
from flightplan.plan.layout import (
    Layout,
    add_photographs,
    asked_of,
    close_gaps,
    join_routes,
    lay_lines,
    lay_out,
    reaching,
)
from flightplan.plan.request import Place, PlanOptions, PlanRequest, Setting
from flightplan.plan.rest import Before, MarkedFlown, left_of, read_former
from flightplan.plan.stands import LEVEL_ENOUGH, slopes_at, stands
from flightplan.plan.ways import (
    FlightWay,
    Release,
    Speeds,
    lay_way,
    points_of,
    released,
    way_of,
)
from flightplan.proof.certificate import Asked, Certificate, certify
from flightplan.proof.footprints import Photos, measure_laps
from flightplan.proof.prove import Coverage, prove_phases
from flightplan.proof.rules import Finding, PlanFacts, check_plan, refuse
from flightplan.terrain.height_band import Excess
from flightplan.terrain.profiles import Profile, profile_along
from tmp.errors import InputError
from tmp.geo.areas import SurveyArea, read_area
from tmp.geo.frames import RISEN_DEG, country_near, position_in_words, sun_position
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey

Float = NDArray[np.float64]

log = logging.getLogger(__name__)
DEFAULT_GSD_M = 0.025
MANY_PLACES = 6
"""Take-off places up to which a plan is an ordinary day's work."""
PROOFS = 4
"""Most times that a plan is proved with photographs added in between."""
SHORTENINGS = 3
"""Most times that sorties are cut shorter for the controller."""
LEAST_POINTS = 8
CLIMB_STEP_M = 20.0
"""Way between places whose heights tell the climb: shorter rises are flown through."""
LEVEL = "level ground, assumed"
LOW_SUN_DEG = 5.0
"""Elevation of the sun below which a day is too dark for a survey."""
DAYS_AHEAD = 366
"""How far ahead the next light day is looked for: anywhere on Earth there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightPlan:
    """Everything about a plan; files are written from it, see `flightplan.outputs.plan_folder`."""

    request: PlanRequest
    layout: Layout
    sorties: Sorties
    ways: tuple[FlightWay, ...]
    """One for each sortie."""
    release: Release
    coverage: Coverage
    asked: Asked
    certificate: Certificate
    before: Before
    """What was flown before, of a plan that is the rest of another."""
    profiles: tuple[Profile, ...]
    """The whole way of each sortie over the ground."""
    findings: tuple[Finding, ...]
    """Rules the plan breaks; none that refuses."""
    warnings: tuple[str, ...]

    @property
    def photos(self) -> int:
        """Number of photographs, as the drone's own files take them."""
        return sum(len(way.photos) for way in self.ways)


def plan_survey(
    area: StrPath | SurveyArea,
    *,
    drone: str,
    cameras: Sequence[str] = (),
    exclusions: Sequence[StrPath | SurveyArea] = (),
    equipment: Iterable[Path] | None = None,
    workers: int | None = None,
    track: Track = silent,
    **options: Unpack[PlanOptions],
) -> FlightPlan:
    """Plan a survey of an area and prove that it covers.

    Parameters
    ----------
    area : path, WKT or SurveyArea
        GeoJSON, KML, KMZ, GeoPackage, shapefile; see `tmp.geo.areas.read_area`.
    drone : str
        As ``tmp cameras`` lists them, in loose spelling.
    cameras : sequence of str
        Flown instead of the drone's own.
    exclusions : sequence of path, WKT or SurveyArea
        Not to be flown over.
    equipment : iterable of Path, optional
        Own cameras and drones; by default the ``equipment.toml`` of your configuration folder.
    workers : int, optional
        Threads for the proof; by default one per core.
    track : Track
    **options : PlanOptions
        Fields of `PlanRequest`; without a height or GSD, the GSD is 2.5 cm.

    Raises
    ------
    InputError
        As `make_plan` does, or if the area or an entry of the equipment is not to be had.

    Examples
    --------
    >>> plan = plan_survey("field.geojson", drone="mini 4 pro", height_agl_m=60.0)
    >>> f"{plan.coverage.area_m2 / 1e4:.2f} ha with {plan.certificate.photographs} photographs"
    '0.56 ha with 28 photographs'
    """
    catalogue = read_catalogue(user_files() if equipment is None else equipment)
    chosen = catalogue.drone(drone)
    own = tuple(catalogue.camera(name) for name in cameras)
    if options.get("gsd_m") is None and options.get("height_agl_m") is None:
        options["gsd_m"] = DEFAULT_GSD_M
    request = PlanRequest(
        area=_area(area),
        drone=chosen,
        cameras=own or catalogue.cameras_of(chosen),
        exclusions=tuple(map(_area, exclusions)),
        **options,
    )
    return make_plan(request, workers=workers or os.cpu_count() or 1, track=track)


def _area(given: StrPath | SurveyArea) -> SurveyArea:
    return given if isinstance(given, SurveyArea) else read_area(os.fspath(given))


def plan_rest(
    survey: StrPath,
    *,
    flown: Sequence[MarkedFlown] = (),
    equipment: Iterable[Path] | None = None,
    workers: int | None = None,
    track: Track = silent,
    **options: Unpack[PlanOptions],
) -> FlightPlan:
    """Plan the lines of a survey's plan that were not flown, and prove both parts together.

    Parameters
    ----------
    survey : path or Survey
        With a plan, and the photographs of its flights or what ``tmp fly`` recorded of them.
    flown : sequence of MarkedFlown
        What was flown though no photograph says so.
    equipment, workers, track
        As `plan_survey` takes them.
    **options : PlanOptions
        What is to be otherwise than in the former plan; detail and overlap are as they were.

    Raises
    ------
    InputError, VersionError
        As `make_plan` does, and if there is no plan, nothing of it was flown, or all was.
    """
    home = Survey(folder=Path(survey))
    files = user_files(home.folder) if equipment is None else equipment
    former = read_former(home, read_catalogue(files), **options)
    left, before = left_of(former, home, flown)
    layout = lay_lines(former.laid_out, left)
    return _proved(
        former.request, layout, before, workers=workers or os.cpu_count() or 1, track=track
    )


def make_plan(request: PlanRequest, *, workers: int = 1, track: Track = silent) -> FlightPlan:
    """Plan a survey and prove it.

    Raises
    ------
    InputError
        If the request cannot be met: see `flightplan.coverage.spacing`, `flightplan.plan.request`,
        `flightplan.coverage.sorties` and `flightplan.proof.rules`.
    """
    layout, words = _laid_out(request, workers)
    return _proved(request, layout, Before.nothing(), words, workers=workers, track=track)


def _laid_out(request: PlanRequest, workers: int) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout of a plan, with what the slopes made necessary.

    Where holes may be flown over, lines round them may still be quicker: a hole may be a hill that
    slows the drone down, or turns may be few.
    """
    layout, words = lay_out(request, workers=workers)
    holes = any(part.interiors for part in request.area.polygons.geoms)
    if not request.overfly_holes or not holes:
        return layout, words
    with suppress(InputError):
        kept, more = lay_out(replace(request, overfly_holes=False), workers=workers)
        lines = [*kept.route.lines, *(kept.oblique.lines if kept.oblique else ())]
        round_them = lay_lines(replace(kept.request, overfly_holes=True), lines)
        if _flights(round_them)[1].time_s < _flights(layout)[1].time_s:
            said = "Lines go round the holes, although they may be flown over: it is quicker so."
            return round_them, (*more, said)
    return layout, words


def _proved(
    request: PlanRequest,
    layout: Layout,
    before: Before,
    words: tuple[str, ...] = (),
    *,
    workers: int,
    track: Track,
) -> FlightPlan:
    """Return the plan over a layout, proved together with what was flown before."""
    setting, height_m = layout.setting, layout.spacing.height_agl_m
    camera = request.proving_camera.camera()
    for spare in range(PROOFS):
        layout, sorties, ways, release, guessed = _flights(layout)
        setting = layout.setting
        photos = photos_of(sorties, ways)
        lines, first = (*sorties.lines, *before.lines), len(sorties.lines)
        flown = before.taken(setting.terrain, height_m, first)
        others = ([released(way, other) for way in ways] for other in release.others())
        phases = [photos, *(photos_of(sorties, one) for one in others)]
        coverage = prove_phases(
            [Photos.joined(one, flown) for one in phases],
            camera,
            layout.ground,
            workers=workers,
            track=track,
        )
        pattern = Photos.joined(photos, before.planned(setting.terrain, height_m, first))
        on_line = np.concatenate([way.on_line for way in ways])
        taken = regular(pattern, lines)
        taken[: len(photos)] &= on_line
        laps = measure_laps(pattern, camera, setting.terrain, regular=taken)
        if spare == PROOFS - 1:
            break
        # What is added moves the rest a little; a photograph to spare keeps that from mattering.
        route, more = layout.route, tuple[str, ...]()
        if coverage.share_below(request.asked_views) > 0:
            route, more = add_photographs(layout, request.asked_views + min(spare, 1), coverage)
        if not more:
            sidelap = request.overlap.side
            route, more = close_gaps(layout, sidelap, laps, lines, coverage)
        if not more:
            break
        layout, words = replace(layout, route=route), words + more
    profiles = tuple(
        profile_along(
            way.points, setting.terrain, surveying=[leg.line is not None for leg in way.legs]
        )
        for way in ways
    )
    asked = asked_of(request, layout)
    certificate = certify(
        asked,
        coverage,
        laps=laps,
        profiles=profiles,
        photographs=len(photos),
        frame=setting.frame,
        terrain=setting.terrain.datum if request.dem else LEVEL,
        repairs=words,
    )
    certificate = replace(certificate, level_assumed=request.dem is None)
    findings = check_plan(
        _facts(layout, sorties, ways, profiles), request.bounds, allowed=request.allowed
    )
    refuse(findings)
    return FlightPlan(
        request=request,
        layout=layout,
        sorties=sorties,
        ways=ways,
        release=release,
        coverage=coverage,
        asked=asked,
        certificate=certificate,
        before=before,
        profiles=profiles,
        findings=findings,
        warnings=_warnings(layout, sorties, ways, profiles, guessed),
    )


def _flights(layout: Layout) -> tuple[Layout, Sorties, tuple[FlightWay, ...], Release, bool]:
    """Return sorties with their ways and photographs, and whether we chose the take-off.

    How many waypoints the terrain asks for is known when the ways are laid: if the controller does
    not take so many, the sorties are cut shorter.
    """
    drone = layout.request.drone
    most = drone.max_points
    for _ in range(SHORTENINGS):
        sorties, guessed = _sorties(layout, most)
        layout = reaching(layout, np.concatenate([way_of(one) for one in sorties.flights]))
        release = Release.of(sorties.lines, speeds_over(layout))
        ways = tuple(lay_way(flight, release) for flight in sorties.flights)
        points = max(points_of(way, drone) for way in ways)
        if points <= drone.max_points:
            break
        most = max(most * drone.max_points // points, LEAST_POINTS)
    return layout, sorties, ways, release, guessed


def _sorties(layout: Layout, most_points: int) -> tuple[Sorties, bool]:
    route, setting = layout.route, layout.setting
    if layout.oblique is not None:
        route = join_routes(route, layout.oblique, setting.airspace, layout.motion)
    launches = setting.takeoffs or stands(route, setting, layout.request.sight_m)
    rules = sortie_rules(layout, launches, most_points=most_points)
    return split_route(route, rules), not setting.takeoffs


def sortie_rules(
    layout: Layout, launches: tuple[Place, ...], *, most_points: int | None = None
) -> SortieRules:
    """Return what sorties over a layout may take, from where they may start."""
    request, setting, spacing = layout.request, layout.setting, layout.spacing
    speeds = speeds_over(layout)
    return SortieRules(
        drone=replace(request.drone, max_points=most_points or request.drone.max_points),
        motion=layout.motion,
        line_speed=speeds.on_line,
        way_speed=speeds.on_way,
        home_speed=speeds.on_way_home,
        launches=launches,
        height_m=spacing.height_agl_m,
        battery=request.battery,
        sight_m=request.sight_m,
        airspace=setting.airspace,
        climb_m=lambda path: _climb_m(path, setting),
    )


def speeds_over(layout: Layout) -> Speeds:
    """Return how fast a layout's lines and ways are flown."""
    return Speeds.of(layout.spacing, layout.request, layout.setting.terrain, layout.band)


def _climb_m(path: Float, setting: Setting) -> float:
    """Return the metres climbed along a path that follows the ground."""
    if float(np.hypot(*np.diff(path, axis=0).T).sum()) < CLIMB_STEP_M:
        return 0.0
    x0, y0, x1, y1 = setting.terrain.bounds
    # Beyond the ground known so far, see `reaching`, it is taken to go on level.
    points = np.column_stack([np.clip(path, (x0, y0), (x1, y1)), np.zeros(len(path))])
    ground = profile_along(points, setting.terrain, step_m=CLIMB_STEP_M).ground_m
    return float(np.maximum(np.diff(ground), 0.0).sum())


def photos_of(sorties: Sorties, ways: Sequence[FlightWay]) -> Photos:
    """Return all photographs of a plan in the order taken."""
    position = np.concatenate([way.photos for way in ways])
    line = np.concatenate(
        [flight.first + way.photo_lines for flight, way in zip(sorties.flights, ways, strict=True)]
    )
    headings = np.array([each.heading_deg for each in sorties.lines])
    pitches = np.array([each.pitch_deg for each in sorties.lines])
    return Photos(position=position, heading_deg=headings[line], pitch_deg=pitches[line], line=line)


def regular(photos: Photos, lines: Sequence[Line]) -> NDArray[np.bool_]:
    """Tell which photographs are of the pattern that looks straight down, none of those added."""
    kept = np.array([line.pitch_deg == NADIR_DEG and not line.extra for line in lines])
    return np.asarray(kept[photos.line])


def _facts(
    layout: Layout, sorties: Sorties, ways: Sequence[FlightWay], profiles: Sequence[Profile]
) -> PlanFacts:
    request, setting, spacing = layout.request, layout.setting, layout.spacing
    above = np.concatenate([one.height_agl_m for one in profiles])
    return PlanFacts(
        drone=request.drone,
        height_agl_m=(float(above.min()), float(above.max())),
        farthest_m=max(flight.farthest_m for flight in sorties.flights),
        speed_m_s=spacing.speed_m_s,
        photo_m=spacing.photo_m,
        least_interval_s=max(camera.least_interval_s for camera in request.cameras),
        blur_px=spacing.speed_m_s * max(one.blur_px_per_m_s for one in spacing.cameras),
        rolling_px=spacing.speed_m_s
        * max(np.nan_to_num([one.rolling_px_per_m_s for one in spacing.cameras])),
        frontlap=request.overlap.front,
        sidelap=request.overlap.side,
        wind_m_s=request.wind.speed_m_s if request.wind else math.nan,
        pitch_deg=min(line.pitch_deg for line in sorties.lines),
        points=max(points_of(way, request.drone) for way in ways),
        energy_share=max(flight.energy_share for flight in sorties.flights),
        usable_share=request.battery.usable,
        paths=[way.points[:, :2] for way in ways],
        launches=tuple({flight.launch for flight in sorties.flights}),
        area=setting.area,
        exclusions=setting.exclusions,
    )


def _warnings(
    layout: Layout,
    sorties: Sorties,
    ways: Sequence[FlightWay],
    profiles: Sequence[Profile],
    guessed: bool,
) -> tuple[str, ...]:
    said = []
    if layout.request.dem is None:
        said.append(
            "no elevation model: the ground is taken to be level with the take-off; on slopes "
            "overlap and clearance are not as proved. Give one with --dem"
        )
    if guessed:
        where = ", ".join(
            position_in_words(lon, lat)
            for lon, lat in layout.setting.frame.geodetic_from_plan(sorties.places)
        )
        said.append(f"take-off assumed at {where}; give yours with --takeoff LON,LAT")
        steepest = float(slopes_at(np.array(sorties.places), layout.setting.terrain).max())
        if steepest > LEVEL_ENOUGH[0] + 0.01:
            said.append(
                f"a take-off lies on a slope of {steepest:.0%}, as no gentler place sees all: look "
                "for a level spot near it, and plan again from there"
            )
    if len(sorties.places) > MANY_PLACES:
        said.append(
            f"{len(sorties.places)} take-off places, with {sorties.walk_m / 1000:.1f} km between "
            f"them: a pilot sees {layout.request.bounds.sight_m:g} m. Where your rules allow more, "
            "say --sight METRES; or plan the area in parts, one for each day"
        )
    if unfenced := layout.setting.unfenced:
        said.append(
            f"{unfenced} of the area's holes, the smallest, are not in the fence, which holds "
            f"{MOST_CORNERS} corners; the way keeps clear of them. If holes may be flown over, say "
            "--overfly-holes"
        )
    drone = layout.request.drone
    if drone.no_waypoints_in and drone.app is App.LITCHI:
        said.append(
            f"the firmware of a {drone.name} flies no waypoints: Litchi steers it by virtual "
            "sticks, which needs a good link to the controller all the way"
        )
    said += _if_swapped(layout.request.area)
    said += _if_dark(layout.request)
    said += [
        f"sortie {number}: the ground rises or falls faster than the drone can; from "
        f"{excess.start_m:.0f} to {excess.end_m:.0f} m along the way it flies up to "
        f"{excess.most_m:.1f} m above the band"
        for number, (way, profile) in enumerate(zip(ways, profiles, strict=True), start=1)
        for excess in way.profile.excesses
        if _surveyed(profile, excess)
    ]
    return tuple(said)


def _surveyed(profile: Profile, excess: Excess) -> bool:
    """Tell whether a stretch above the band belongs to a line; between lines it does no harm."""
    within = (profile.distance_m >= excess.start_m) & (profile.distance_m <= excess.end_m)
    return bool(profile.surveying[within].any())


def _if_dark(request: PlanRequest) -> list[str]:
    """Return a warning for a day on which the sun stays low, with the next on which it does not.

    Elevations are those at 12 h of the longitude's own time, a quarter of an hour from the
    highest.
    """
    lon_deg, lat_deg = request.area.centre
    lon_deg = (lon_deg + 180.0) % 360.0 - 180.0
    noon = np.datetime64(request.day, "s") + np.timedelta64(round(43_200 - 240 * lon_deg), "s")
    days = np.arange(DAYS_AHEAD)
    highest_deg = np.degrees(
        sun_position(lon_deg, lat_deg, noon + days * np.timedelta64(1, "D"))[0]
    )
    if highest_deg[0] >= LOW_SUN_DEG:
        return []
    found = f"reaches only {highest_deg[0]:.0f}°"
    if highest_deg[0] < RISEN_DEG:
        found = "does not rise"
    enough = request.day + timedelta(days=int(np.argmax(highest_deg >= LOW_SUN_DEG)))
    return [
        f"the sun {found} on {request.day:%-d %B %Y}: photographs are dark or shadows long; "
        f"it stands above {LOW_SUN_DEG:g}° at noon from {enough:%-d %B %Y} on"
    ]


def _if_swapped(area: SurveyArea) -> list[str]:
    """Return a warning for an area in no country that lies in one the other way round."""
    lon, lat = ((degrees + 180.0) % 360.0 - 180.0 for degrees in area.centre)
    if abs(lon) > 90 or country_near(lon, lat) or not (meant := country_near(lat, lon)):
        return []
    return [
        f"{position_in_words(lon, lat, decimals=2)} lies in no country known here, perhaps in the "
        f"open sea; with latitude and longitude swapped it would lie in or near {meant}: check "
        f"{area.source}"
    ]
