"""From a field to a route: the headings, cells, lines and order that take least time."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.annealing import (
    RIM,
    Lacks,
    Places,
    anneal,
    lengthened,
    patched,
    places_inside,
    places_on_edge,
)
from flightplan.coverage.routes import (
    NOTHING_M2,
    Airspace,
    Axes,
    Pattern,
    Route,
    Strip,
    obstacles_of,
    route_over,
    without,
)
from flightplan.coverage.sweep import (
    Cell,
    Division,
    along_line,
    divisions,
    edge_choices,
    lay_strips,
    sweep_extent,
    views_per_line,
)
from flightplan.coverage.tours import Pricing, Tour
from flightplan.equipment.flight_model import Motion
from tmp.errors import InputError

Float = NDArray[np.float64]

log = logging.getLogger(__name__)

FINE_M = 2.0
"""Grid on which the views of the finished route are counted."""
COARSE_PLACES = 5000
"""About how many places views are counted at during the search."""
FINE_PLACES = 400_000
"""Above so many places the finished route is checked on a coarser grid."""
INNER_M = 4.0
"""Finest grid on which it is looked whether a photograph is near."""
SPECK = 20
HEADING_STEP_DEG = 3.0
HEATS = ((8, 1.2, 200), (4, 1.05, 400), (2, 1.02, 2000))
"""How many divisions of the field are searched in each round, up to which time against the
quickest one's, and with how many moves."""
CORRIDOR_BENDS = (0.1, 0.25, 0.5, 1.0, 2.0)
"""Bends of a corridor at which lines may turn, the smallest of each try, as shares of the line
spacing."""
LACK_S_M2 = 0.02
"""Time it takes, roughly, to see a square metre that is still seen too rarely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOptions:
    """What a coverage path must keep to."""

    views: int = 9
    """Photographs that are to see every place of the area."""
    heading_deg: float | None = None
    """Course of all lines, clockwise from north; None lets time decide, cell by cell."""
    keep_inside: bool = False
    """Whether the drone must stay over the area; the edges are then seen less often."""
    overfly_holes: bool = False
    """Whether holes of the area are merely not wanted, and may be flown over."""
    clearance_m: float = 2.0
    """Distance kept from holes and exclusions."""
    run_in_m: float = 0.0
    """Way flown straight before the first and after the last photograph of a line, so that the
    drone is level and at speed; shorter where an obstacle is in the way."""
    double_grid: bool = False
    """Whether to fly a second set of lines across the first, each for half of the views."""
    middle: BaseGeometry | None = None
    """Line in plan metres along which the area lies, whose bends its lines may follow."""
    home: tuple[float, float] | None = None
    """Plan metres; the way from here to the first line and back from the last counts too."""
    effort: float = 1.0
    """How long to search, against the usual."""
    seed: int = 0
    """Of the random search; the same seed gives the same route."""

    def __post_init__(self) -> None:
        if self.views < 1:
            raise InputError(f"{self.views!r} views of every place; ask for at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A field and all that its lines must keep to."""

    ground: BaseGeometry
    pattern: Pattern
    motion: Motion
    airspace: Airspace
    options: PathOptions

    def pricing(self, axes: Sequence[Axes]) -> Pricing:
        return Pricing(
            axes,
            self.airspace,
            self.motion,
            self.pattern,
            run_in_m=self.options.run_in_m,
            home=self.options.home,
        )

    def places(self, cell_m: float) -> Places:
        """Return where to look: on a grid and along the edge, more coarsely in the interior."""
        inner_m = max(cell_m, INNER_M)
        core = self.ground.buffer(-RIM * self.pattern.line_spacing_m)
        views = np.concatenate(
            [places_inside(self.ground, cell_m), places_on_edge(self.ground, 2 * cell_m)]
        )
        inner = places_inside(core, inner_m) if core.area > 0 else np.empty((0, 2))
        # A speck must weigh as much as a few photographs' own ground, or it would be left out.
        least_m2 = SPECK * self.pattern.line_spacing_m * self.pattern.photo_spacing_m
        weight = max(self.ground.area, least_m2) / len(views)
        return Places(views=views, inner=inner, cells_m2=(weight, inner_m**2))

    def lacks(self, axes: Sequence[Axes], places: Places) -> Lacks:
        return Lacks(places, axes, self.pattern, self.options.views)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solution:
    """A division of the field with the tour found for it."""

    division: Division
    tour: Tour
    cost_s: float
    """Time, and a price on what is not seen."""
    short_share: float = 0.0
    """Share of the area seen too rarely, where that has been looked at closely."""

    @property
    def axes(self) -> list[Axes]:
        return [Axes(heading_deg=cell.heading_deg) for cell in self.division]


def plan_path(
    area: Polygon | MultiPolygon,
    pattern: Pattern,
    motion: Motion,
    *,
    exclusions: BaseGeometry | None = None,
    options: PathOptions | None = None,
) -> Route:
    """Return the quickest route found that sees an area as often as asked.

    Parameters
    ----------
    area : shapely Polygon or MultiPolygon
        Plan metres.  Its holes are not flown over, unless the options say so; several polygons are
        flown in one tour.
    exclusions : shapely geometry, optional
        Polygons not to be flown over, inside the area or outside; what of the area they cover
        need not be seen.

    Raises
    ------
    InputError
        If the area crosses itself or has no extent, or nothing of it can be reached.

    Notes
    -----
    The area is cut into cells and headings in several ways (`sweep`); each is filled with lines,
    put in order (`tours`), and made quicker as far as the views allow (`annealing`).  The quickest
    is checked and completed on a 2 m grid.  Views are counted on level ground, each footprint a
    rectangle aligned with its line.

    Examples
    --------
    >>> pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
    >>> route = plan_path(shapely.box(0, 0, 200, 100), pattern, Motion())
    >>> len(route.lines)
    4
    """
    options = options or PathOptions()
    ground = _ground(area, exclusions)
    task = _Task(
        ground=ground,
        pattern=pattern,
        motion=motion,
        airspace=Airspace(
            obstacles_of(area, exclusions, overfly_holes=options.overfly_holes),
            clearance_m=options.clearance_m,
            within=_within(ground, options) if options.keep_inside else None,
        ),
        options=options,
    )
    if not options.double_grid:
        solution = _best_solution(task, _candidates(task))
        return _route(task, solution.axes, solution.tour)
    task = replace(task, options=replace(options, views=math.ceil(options.views / 2)))
    first = _best_solution(task, _candidates(task))
    across = tuple(
        replace(cell, heading_deg=(cell.heading_deg + 90.0) % 180.0) for cell in first.division
    )
    second = _best_solution(task, [across])
    return _route(task, first.axes + second.axes, _joined(task, first, second))


def _ground(area: Polygon | MultiPolygon, exclusions: BaseGeometry | None) -> BaseGeometry:
    """Return what is to be seen."""
    if not area.is_valid:
        raise InputError(f"the area is not a proper polygon: {shapely.is_valid_reason(area)}")
    if area.area <= NOTHING_M2:
        raise InputError("the area has no extent; give a polygon of at least three corners")
    return area if exclusions is None else without(area, exclusions)


def _within(ground: BaseGeometry, options: PathOptions) -> BaseGeometry:
    """Return what the drone must stay over."""
    if not options.overfly_holes:
        return ground
    return shapely.union_all([Polygon(part.exterior) for part in shapely.get_parts(ground)])


def _candidates(task: _Task) -> list[Division]:
    """Return divisions of the ground worth trying, the seemingly quickest first."""
    pattern, motion = task.pattern, task.motion
    if task.options.heading_deg is not None:
        return [(Cell(ground=task.ground, heading_deg=task.options.heading_deg % 180.0),)]
    # A turn is the way to the next line and two corners; each line brakes and speeds up once.
    turn_s = float(motion.leg_seconds([pattern.line_spacing_m, 0.0])) + 2 * motion.corner_s
    brake_s = float(motion.ramp_s(motion.cruise_m_s))

    def cost(ground: BaseGeometry, heading_deg: float) -> float:
        axes = Axes(heading_deg=heading_deg)
        there_and_back = motion.ground_speed(np.array([axes.along, -axes.along]))
        length, strips = sweep_extent(ground, axes, pattern)
        return length * float((1 / there_and_back).mean()) + strips * (turn_s + brake_s)

    middle = task.options.middle
    bends = [
        along_line(task.ground, middle, share * pattern.line_spacing_m)
        for share in (CORRIDOR_BENDS if middle is not None else ())
    ]
    found = divisions(
        task.ground,
        cost,
        step_deg=HEADING_STEP_DEG,
        tolerance_m=pattern.line_spacing_m / 3,
        least_m2=pattern.line_spacing_m**2,
    )[: HEATS[0][0]]
    return [*bends, *found]


def _best_solution(task: _Task, candidates: Sequence[Division]) -> _Solution:
    """Return the quickest of the candidates after search."""
    places = task.places(max(FINE_M, math.sqrt(task.ground.area / COARSE_PLACES)))
    laid = [solution for solution in (_laid(task, each, places) for each in candidates) if solution]
    if not laid:
        raise InputError(
            "no line can be flown over the area; exclusions or their clearance leave no room"
        )
    left = laid
    for number, (most, factor, moves) in enumerate(HEATS):
        quickest_s = min(each.cost_s for each in left)
        left = sorted(left, key=lambda each: each.cost_s)[:most]
        left = [each for each in left if each.cost_s <= factor * quickest_s]
        tries = round(moves * task.options.effort)
        left = [_searched(task, each, places, tries, number) for each in left]
    fine = task.places(max(FINE_M, math.sqrt(task.ground.area / FINE_PLACES)))
    found: list[_Solution] = []
    for each in sorted(left, key=lambda each: each.cost_s):
        found.append(_completed(task, each, fine))
        if found[-1].short_share == 0:
            break
    best = min(found, key=lambda each: (each.short_share, each.cost_s))
    if not math.isfinite(best.cost_s):
        raise InputError("part of the area cannot be reached; exclusions wall it in")
    if best.short_share > 0:
        log.warning("%.2g %% of the area is seen less often than asked", 100 * best.short_share)
    return best


def _laid(task: _Task, division: Division, places: Places) -> _Solution | None:
    """Return the better of several fillings of a division with lines, before any search."""
    axes = [Axes(heading_deg=cell.heading_deg) for cell in division]
    pricing, lacks = task.pricing(axes), task.lacks(axes, places)
    pattern, views = task.pattern, task.options.views
    per_line = views_per_line(pattern, pattern.photo_spacing_m)
    # Over a narrow hole it is quicker to photograph on than to leave the line and come back to it.
    gap_m = 2 * task.options.run_in_m + pattern.along_m if task.options.overfly_holes else 0.0
    solutions = []
    for edges in edge_choices(views, pattern):
        at_ends = min(math.ceil(views / edges.lines), per_line)
        strips: list[Strip] = []
        for sweep, cell in enumerate(division):
            strips += lay_strips(
                sweep,
                cell.ground,
                axes[sweep],
                pattern,
                task.airspace,
                edges=edges,
                photos_at_ends=at_ends,
                gap_m=gap_m,
            )
        if len(strips) > 1:  # a line of one photograph has no course to fly it on
            longer = [strip.grown(0, 1) if strip.photos == 1 else strip for strip in strips]
            strips = [strip for strip in longer if pricing.clear([strip])]
        if strips:
            tour = pricing.ordered(strips, shakes=0)
            cost_s = pricing.seconds(tour) + LACK_S_M2 * lacks.area_m2(lacks.look(tour.strips))
            solutions.append(_Solution(division=division, tour=tour, cost_s=cost_s))
    return min(solutions, key=lambda each: each.cost_s, default=None)


def _searched(
    task: _Task, solution: _Solution, places: Places, moves: int, number: int
) -> _Solution:
    """Return the solution after annealing and another look at the order."""
    pricing, lacks = task.pricing(solution.axes), task.lacks(solution.axes, places)
    seed = task.options.seed + number
    tour = anneal(solution.tour, lacks, pricing, moves=moves, seed=seed)
    tour = _reordered(tour, pricing, seed)
    lack = lacks.area_m2(lacks.look(tour.strips))
    return replace(solution, tour=tour, cost_s=pricing.seconds(tour) + LACK_S_M2 * lack)


def _completed(task: _Task, solution: _Solution, places: Places) -> _Solution:
    """Return the solution with lines for what a finer grid shows to be seen too rarely."""
    pricing, lacks = task.pricing(solution.axes), task.lacks(solution.axes, places)
    tour = lengthened(solution.tour, lacks, pricing)
    tour = patched(tour, lacks, pricing)
    tour = _reordered(tour, pricing, task.options.seed)
    return replace(
        solution,
        tour=tour,
        cost_s=pricing.seconds(tour),
        short_share=lacks.short_share(lacks.look(tour.strips)),
    )


def _reordered(tour: Tour, pricing: Pricing, seed: int) -> Tour:
    other = pricing.ordered(tour.strips, seed=seed)
    return min((tour, other), key=pricing.seconds)


def _joined(task: _Task, first: _Solution, second: _Solution) -> Tour:
    """Return two tours flown one after the other, each forwards or backwards."""
    count = len(first.division)
    moved = tuple(replace(strip, sweep=strip.sweep + count) for strip in second.tour.strips)
    other = replace(second.tour, strips=moved)
    pricing = task.pricing(first.axes + second.axes)
    ways = itertools.product((first.tour, first.tour.backwards()), (other, other.backwards()))
    return min((one.then(two) for one, two in ways), key=pricing.seconds)


def _route(task: _Task, axes: Sequence[Axes], tour: Tour) -> Route:
    """Return a tour as lines and ways in plan metres."""
    pricing = task.pricing(axes)
    ends = pricing.ends(tour.strips, tour.turned)
    lines = []
    for strip, turned, (enter, leave) in zip(tour.strips, tour.turned, ends, strict=True):
        line = axes[strip.sweep].line(strip)
        line = line.reversed() if turned else line
        run_in, run_out = np.hypot(*(enter - line.start)), np.hypot(*(leave - line.end))
        lines.append(replace(line, run_in_m=float(run_in), run_out_m=float(run_out)))
    caps = [task.pattern.speed_cap_m_s(strip.spacing_m) for strip in tour.strips]
    route = route_over(lines, task.airspace, task.motion, caps_m_s=caps)
    log.info("%d lines, %d photographs, %.0f s", len(route.lines), route.photos, route.time_s)
    return route
