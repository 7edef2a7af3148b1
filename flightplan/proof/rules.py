"""What a plan may and should not do: bounds of law and of good sense, each with its rule named.

A rule compares one value of the plan with its limit.  What breaks the law or a photograph for sure
is refused, what may be fine is warned of; a person may override each rule by its name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.spacing import KEEPS_UP
from flightplan.equipment.catalogue import Drone
from tmp.errors import InputError
from tmp.geo.frames import Float

OPEN_CATEGORY_M = 120.0
"""Greatest height above the ground below in the EU's open category: Implementing Regulation (EU)
2019/947, UAS.OPEN.010; the same 400 ft hold in the USA (14 CFR 107.51) and the UK."""
SIGHT_M = 500.0
"""Distance at which a small drone is commonly taken to be still in the pilot's sight; the law
names no figure."""
WIND_SHARE = 2 / 3
"""Of the wind that the maker says a drone resists; gusts take the rest."""
BLUR_PX, ROLLING_PX = 1.0, 5.0
"""Blur that spoils detail; shift of a rolling shutter's rows that an adjustment may not absorb."""

GOOD_FRONTLAP, GOOD_SIDELAP = 0.7, 0.6
"""Least overlaps from which dense surfaces come out whole over open ground; woods need more."""
Breach = tuple[str, float, float, dict[str, Any]]
"""Key in the table, value and limit, and what else the message names."""


class Severity(StrEnum):
    """What a finding does to a plan."""

    REFUSE = "refuse"
    """No mission is written until it is mended or overridden."""
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a plan must keep, and what is said where it does not."""

    severity: Severity
    source: str
    """Where the rule comes from."""
    message: str
    """One line: what, and what to do; a format of the value, the limit, and the `PlanFacts`."""


_GOOD, _CATALOGUE = "good practice", "catalogue"
_OPEN_SIGHT = "visual line of sight, (EU) 2019/947, UAS.OPEN.060"
_TABLE = {
    "height": _Rule(
        Severity.REFUSE,
        "(EU) 2019/947, UAS.OPEN.010",
        "flies up to {value:.0f} m above ground, and {limit:.0f} m is the limit; fly lower, follow "
        "the terrain",
    ),
    "low": _Rule(
        Severity.REFUSE,
        _GOOD,
        "comes to {value:.1f} m above ground, nearer than {limit:g} m; fly higher, or give a "
        "better terrain model",
    ),
    "sight": _Rule(
        Severity.WARN,
        _OPEN_SIGHT,
        "flies {value:.0f} m from the pilot, and a small drone is hard to see beyond {limit:.0f} "
        "m; move the launch or post observers",
    ),
    "sight-area": _Rule(
        Severity.WARN,
        _OPEN_SIGHT,
        "{value:.0%} of the area lies farther than {beyond_m:.0f} m from every launch; add one "
        "with --takeoff",
    ),
    "speed": _Rule(
        Severity.REFUSE,
        _CATALOGUE,
        "flies {value:.1f} m/s, and {plan.drone.name} takes no mission above {limit:g} m/s; fly "
        "slower",
    ),
    "interval": _Rule(
        Severity.REFUSE,
        _CATALOGUE,
        "a photograph every {plan.photo_m:.1f} m at {value:.1f} m/s is one every "
        "{plan.interval_s:.1f} s, and the camera takes {plan.least_interval_s:g} s; fly "
        "{limit:.1f} m/s at most",
    ),
    "interval just kept": _Rule(
        Severity.WARN,
        _GOOD,
        "at {value:.1f} m/s the camera just keeps up, and a slow card or a gust from behind costs "
        "photographs; {limit:.1f} m/s is safe",
    ),
    "blur": _Rule(
        Severity.WARN,
        _GOOD,
        "exposure blurs {value:.1f} px of the finest camera; if its detail is wanted fly slower "
        "(--speed) or expose shorter (--shutter)",
    ),
    "rolling-shutter": _Rule(
        Severity.WARN,
        "Vautherin et al. 2016, ISPRS Annals III-3",
        "the rolling shutter shifts rows by up to {value:.0f} px; fly slower",
    ),
    "overlap": _Rule(
        Severity.WARN,
        _GOOD,
        "{name} comes down to {value:.0%}, and surfaces come out whole from {limit:.0%} on; ask "
        "for more",
    ),
    "wind": _Rule(
        Severity.REFUSE,
        _CATALOGUE,
        "wind of {value:g} m/s is more than the {limit:g} m/s that {plan.drone.name} resists; wait",
    ),
    "wind in gusts": _Rule(
        Severity.WARN,
        _GOOD,
        "wind of {value:g} m/s leaves little of the {plan.drone.wind_m_s:g} m/s that "
        "{plan.drone.name} resists to gusts; expect tilt, blur and short batteries",
    ),
    "gimbal": _Rule(
        Severity.REFUSE,
        _CATALOGUE,
        "camera pitch {value:g}° is beyond the gimbal's {plan.drone.gimbal_deg[0]:g} to "
        "{plan.drone.gimbal_deg[1]:g}°; choose one between",
    ),
    "points": _Rule(
        Severity.REFUSE,
        _CATALOGUE,
        "a sortie has {value} waypoints, and its controller takes {limit}; split it",
    ),
    "battery": _Rule(
        Severity.REFUSE,
        _GOOD,
        "a sortie takes {value:.0%} of a battery, and {limit:.0%} may be spent; split it",
    ),
    "fence": _Rule(
        Severity.REFUSE,
        _GOOD,
        "{value:.0f} m of the way lie outside the fence; widen the fence or the margin",
    ),
    "exclusion": _Rule(
        Severity.REFUSE,
        _GOOD,
        "{value:.0f} m of the way lie over exclusion {number}; plan anew with it",
    ),
    "takeoff": _Rule(
        Severity.REFUSE,
        _GOOD,
        "take-off lies {value:.0f} m inside exclusion {number}; choose another place",
    ),
    "takeoff in the fence": _Rule(
        Severity.REFUSE,
        _GOOD,
        "take-off lies {value:.0f} m outside the fence; widen it or choose another place",
    ),
}
RULES = tuple(dict.fromkeys(key.split()[0] for key in _TABLE))
"""Names of the rules, for ``--allow``: the first words of their keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that a plan breaks."""

    rule: str
    """Name of the rule, by which it can be overridden."""
    value: float
    """What the plan has."""
    limit: float
    """What the rule allows."""
    severity: Severity
    message: str
    """One line: what, and what to do."""
    source: str
    """Where the rule comes from."""
    overridden: bool = False
    """Whether the user said to go on."""

    @property
    def overridable_by(self) -> str:
        """What to write so that the plan goes on all the same."""
        return f"--allow {self.rule}"

    @property
    def refuses(self) -> bool:
        """Tell whether it stops the plan."""
        return self.severity is Severity.REFUSE and not self.overridden

    @property
    def line(self) -> str:
        """The finding as a line to print."""
        state = "allowed" if self.overridden else self.severity.value
        return f"{state}: {self.message} [{self.rule}: {self.source}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFacts:
    """What of a plan is judged; whatever is NaN or None is not."""

    drone: Drone
    height_agl_m: tuple[float, float] = (math.nan, math.nan)
    """Lowest and highest above the ground below, anywhere on the way."""
    least_height_m: float = 10.0
    farthest_m: float = math.nan
    """From the pilot."""
    speed_m_s: float = math.nan
    """On lines."""
    photo_m: float = math.nan
    """Between photographs."""
    least_interval_s: float = math.nan
    """Of the slowest shutter."""
    blur_px: float = math.nan
    """At that speed."""
    rolling_px: float = math.nan
    """Shift between first and last row at that speed."""
    frontlap: float = math.nan
    """At the lowest clearance, as a fraction."""
    sidelap: float = math.nan
    wind_m_s: float = math.nan
    pitch_deg: float = -90.0
    points: int = 0
    """Waypoints of the longest sortie."""
    energy_share: float = math.nan
    """Largest of a sortie, of the battery's rated capacity."""
    usable_share: float = 0.65
    """What may be spent of it."""
    paths: Sequence[Float] = ()
    """Whole way of each sortie, (N, 2), plan metres."""
    launches: Sequence[tuple[float, float]] = ()
    area: BaseGeometry | None = None
    """What is surveyed, plan metres."""
    fence: BaseGeometry | None = None
    exclusions: Sequence[BaseGeometry] = ()

    @property
    def interval_s(self) -> float:
        """Time between photographs on lines."""
        return self.photo_m / self.speed_m_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleLimits:
    """Limits that a user may set otherwise, because their law or their land differs."""

    height_agl_m: float = OPEN_CATEGORY_M
    sight_m: float = SIGHT_M


def check_plan(
    plan: PlanFacts, bounds: RuleLimits | None = None, *, allowed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return the rules that a plan breaks, refusals first.

    Raises
    ------
    InputError
        If a rule to override does not exist.
    """
    require_rules(allowed)
    bounds = bounds or RuleLimits()
    breaches = (
        *_of_flight(plan, bounds),
        *_of_photographs(plan),
        *_of_places(plan, bounds),
        *_of_launches(plan),
    )
    found = []
    for key, value, limit, more in breaches:
        rule, name = _TABLE[key], key.split()[0]
        finding = Finding(
            rule=name,
            value=value,
            limit=limit,
            severity=rule.severity,
            message=rule.message.format(value=value, limit=limit, plan=plan, **more),
            source=rule.source,
            overridden=name in allowed,
        )
        found.append(finding)
    return tuple(sorted(found, key=lambda finding: (not finding.refuses, finding.overridden)))


def require_rules(names: Iterable[str]) -> None:
    """Raise for a name that is no rule's."""
    for name in names:
        if name not in RULES:
            raise InputError(
                f"rule {name!r} is not known; choose from {', '.join(RULES)} for --allow"
            )


def refuse(findings: Sequence[Finding]) -> None:
    """Raise for the findings that stop a plan.

    Raises
    ------
    InputError
        With the first refusal, how to override it, and how many more there are.
    """
    stops = [finding for finding in findings if finding.refuses]
    if stops:
        more = f" ({len(stops) - 1} more refusals)" if len(stops) > 1 else ""
        raise InputError(f"{stops[0].message}, or {stops[0].overridable_by}{more}")


def _of_flight(plan: PlanFacts, bounds: RuleLimits) -> Iterator[Breach]:
    """Yield what concerns height, speed, wind and the drone."""
    drone, (low_m, high_m) = plan.drone, plan.height_agl_m
    if high_m > bounds.height_agl_m:
        yield "height", high_m, bounds.height_agl_m, {}
    if low_m < plan.least_height_m:
        yield "low", low_m, plan.least_height_m, {}
    if plan.speed_m_s > drone.mission_speed_m_s * (1 + 1e-9):
        yield "speed", plan.speed_m_s, drone.mission_speed_m_s, {}
    if plan.wind_m_s > drone.wind_m_s:
        yield "wind", plan.wind_m_s, drone.wind_m_s, {}
    elif plan.wind_m_s > WIND_SHARE * drone.wind_m_s:
        yield "wind in gusts", plan.wind_m_s, WIND_SHARE * drone.wind_m_s, {}
    lowest_deg, highest_deg = drone.gimbal_deg
    if not lowest_deg <= plan.pitch_deg <= highest_deg:
        yield "gimbal", plan.pitch_deg, lowest_deg, {}
    if plan.points > drone.max_points:
        yield "points", plan.points, drone.max_points, {}
    if plan.energy_share > plan.usable_share * (1 + 1e-9):
        yield "battery", plan.energy_share, plan.usable_share, {}


def _of_photographs(plan: PlanFacts) -> Iterator[Breach]:
    """Yield what spoils photographs."""
    fastest_m_s = plan.photo_m / plan.least_interval_s
    if plan.speed_m_s > fastest_m_s * (1 + 1e-6):
        yield "interval", plan.speed_m_s, fastest_m_s, {}
    elif plan.speed_m_s > KEEPS_UP * fastest_m_s * (1 + 1e-6):
        yield "interval just kept", plan.speed_m_s, KEEPS_UP * fastest_m_s, {}
    if plan.blur_px > BLUR_PX:
        yield "blur", plan.blur_px, BLUR_PX, {}
    if plan.rolling_px > ROLLING_PX:
        yield "rolling-shutter", plan.rolling_px, ROLLING_PX, {}
    if plan.frontlap < GOOD_FRONTLAP:
        yield "overlap", plan.frontlap, GOOD_FRONTLAP, {"name": "frontlap"}
    if plan.sidelap < GOOD_SIDELAP:
        yield "overlap", plan.sidelap, GOOD_SIDELAP, {"name": "sidelap"}


def _of_places(plan: PlanFacts, bounds: RuleLimits) -> Iterator[Breach]:
    """Yield where the way lies too far to be seen, outside the fence, or in an exclusion."""
    if plan.farthest_m > bounds.sight_m:
        yield "sight", plan.farthest_m, bounds.sight_m, {}
    if plan.area is not None and plan.launches:
        seen = shapely.union_all(shapely.points(plan.launches)).buffer(bounds.sight_m)
        hidden = plan.area.difference(seen).area / max(plan.area.area, 1e-9)
        if hidden > 1e-3:
            yield "sight-area", hidden, 0.0, {"beyond_m": bounds.sight_m}
    ways = [shapely.linestrings(path) for path in plan.paths if len(path) >= 2]
    way = shapely.multilinestrings(ways) if ways else shapely.LineString()
    out_m = 0.0 if plan.fence is None else way.difference(plan.fence).length
    if out_m > 0.01:
        yield "fence", out_m, 0.0, {}
    for number, exclusion in enumerate(plan.exclusions, start=1):
        inside_m = way.intersection(exclusion).length
        if inside_m > 0.01:
            yield "exclusion", inside_m, 0.0, {"number": number}


def _of_launches(plan: PlanFacts) -> Iterator[Breach]:
    """Yield take-offs from where there must be none."""
    for place in map(shapely.Point, plan.launches):
        for number, exclusion in enumerate(plan.exclusions, start=1):
            if exclusion.intersects(place):
                yield "takeoff", exclusion.boundary.distance(place), 0.0, {"number": number}
        if plan.fence is not None and not plan.fence.intersects(place):
            yield "takeoff in the fence", plan.fence.distance(place), 0.0, {}
