"""What a plan may and should not do: bounds of law and of good sense, each with its rule named.

A rule compares one value of the plan with its limit.  What breaks the law or a photograph for sure
is refused, what may be fine is warned of; a person may override each rule by its name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
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
RULES = {
    "height": "highest above ground",
    "low": "nearest to the ground",
    "sight": "distance from the pilot",
    "sight-area": "area out of sight of every launch",
    "speed": "speed against the drone's",
    "interval": "speed against the shutter's interval",
    "blur": "speed against blur",
    "rolling-shutter": "speed against the readout of a rolling shutter",
    "overlap": "overlap too small to map",
    "wind": "wind against the drone's",
    "gimbal": "camera pitch against the gimbal's",
    "points": "waypoints against the controller's",
    "battery": "energy of a sortie",
    "fence": "way inside the fence",
    "exclusion": "way outside exclusions",
    "takeoff": "take-off outside exclusions and inside the fence",
}
"""Names of the rules, for ``--allow``."""


class Severity(StrEnum):
    """What a finding does to a plan."""

    REFUSE = "refuse"
    """No mission is written until it is mended or overridden."""
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that a plan breaks."""

    rule: str
    """Name of the rule, by which it can be overridden."""
    value: float
    """What the plan has."""
    limit: float
    """What the rule allows."""
    message: str
    """One line: what, and what to do."""
    severity: Severity = Severity.REFUSE
    source: str = "good practice"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits that a user may set otherwise, because their law or their land differs."""

    height_agl_m: float = OPEN_CATEGORY_M
    sight_m: float = SIGHT_M


def check_plan(
    plan: PlanFacts, bounds: Bounds | None = None, *, allowed: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return the rules that a plan breaks, refusals first.

    Parameters
    ----------
    allowed : collection of str
        Names of rules to override.

    Raises
    ------
    InputError
        If a rule to override does not exist.
    """
    for name in allowed:
        if name not in RULES:
            raise InputError(f"rule {name!r} is not known; choose from {', '.join(RULES)}")
    bounds = bounds or Bounds()
    found = [
        *_of_height(plan, bounds),
        *_of_drone(plan),
        *_of_photographs(plan),
        *_of_sight(plan, bounds),
        *_of_way(plan),
        *_of_launches(plan),
    ]
    found = [replace(finding, overridden=finding.rule in allowed) for finding in found]
    return tuple(sorted(found, key=lambda finding: (not finding.refuses, finding.overridden)))


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


def _of_height(plan: PlanFacts, bounds: Bounds) -> Iterator[Finding]:
    """Yield what concerns the height above the ground."""
    low_m, high_m = plan.height_agl_m
    if high_m > bounds.height_agl_m:
        yield Finding(
            rule="height",
            value=high_m,
            limit=bounds.height_agl_m,
            message=(
                f"flies up to {high_m:.0f} m above ground, and {bounds.height_agl_m:.0f} m is the "
                "limit; fly lower, follow the terrain"
            ),
            source="(EU) 2019/947, UAS.OPEN.010",
        )
    if low_m < plan.least_height_m:
        yield Finding(
            rule="low",
            value=low_m,
            limit=plan.least_height_m,
            message=(
                f"comes to {low_m:.1f} m above ground, nearer than {plan.least_height_m:g} m; "
                "fly higher, or give a better terrain model"
            ),
        )


def _of_drone(plan: PlanFacts) -> Iterator[Finding]:
    """Yield what the drone cannot or should not do."""
    drone = plan.drone
    if plan.speed_m_s > drone.mission_speed_m_s * (1 + 1e-9):
        yield Finding(
            rule="speed",
            value=plan.speed_m_s,
            limit=drone.mission_speed_m_s,
            message=(
                f"flies {plan.speed_m_s:.1f} m/s, and {drone.name} takes no mission above "
                f"{drone.mission_speed_m_s:g} m/s; fly slower"
            ),
            source="catalogue",
        )
    if plan.wind_m_s > drone.wind_m_s:
        yield Finding(
            rule="wind",
            value=plan.wind_m_s,
            limit=drone.wind_m_s,
            message=(
                f"wind of {plan.wind_m_s:g} m/s is more than the {drone.wind_m_s:g} m/s that "
                f"{drone.name} resists; wait"
            ),
            source="catalogue",
        )
    elif plan.wind_m_s > WIND_SHARE * drone.wind_m_s:
        yield Finding(
            rule="wind",
            value=plan.wind_m_s,
            limit=WIND_SHARE * drone.wind_m_s,
            message=(
                f"wind of {plan.wind_m_s:g} m/s leaves little of the {drone.wind_m_s:g} m/s that "
                f"{drone.name} resists to gusts; expect tilt, blur and short batteries"
            ),
            severity=Severity.WARN,
        )
    lowest_deg, highest_deg = drone.gimbal_deg
    if not lowest_deg <= plan.pitch_deg <= highest_deg:
        yield Finding(
            rule="gimbal",
            value=plan.pitch_deg,
            limit=lowest_deg,
            message=(
                f"camera pitch {plan.pitch_deg:g}° is beyond the gimbal's {lowest_deg:g} to "
                f"{highest_deg:g}°; choose one between"
            ),
            source="catalogue",
        )
    if plan.points > drone.max_points:
        yield Finding(
            rule="points",
            value=plan.points,
            limit=drone.max_points,
            message=(
                f"a sortie has {plan.points} waypoints, and its controller takes "
                f"{drone.max_points}; split it"
            ),
            source="catalogue",
        )
    if plan.energy_share > plan.usable_share * (1 + 1e-9):
        yield Finding(
            rule="battery",
            value=plan.energy_share,
            limit=plan.usable_share,
            message=(
                f"a sortie takes {plan.energy_share:.0%} of a battery, and {plan.usable_share:.0%} "
                "may be spent; split it"
            ),
        )


def _of_photographs(plan: PlanFacts) -> Iterator[Finding]:
    """Yield what spoils photographs."""
    fastest_m_s = plan.photo_m / plan.least_interval_s
    if plan.speed_m_s > fastest_m_s * (1 + 1e-6):
        yield Finding(
            rule="interval",
            value=plan.speed_m_s,
            limit=fastest_m_s,
            message=(
                f"a photograph every {plan.photo_m:.1f} m at {plan.speed_m_s:.1f} m/s is one every "
                f"{plan.photo_m / plan.speed_m_s:.1f} s, and the camera takes "
                f"{plan.least_interval_s:g} s; fly {fastest_m_s:.1f} m/s at most"
            ),
            source="catalogue",
        )
    elif plan.speed_m_s > KEEPS_UP * fastest_m_s * (1 + 1e-6):
        yield Finding(
            rule="interval",
            value=plan.speed_m_s,
            limit=KEEPS_UP * fastest_m_s,
            message=(
                f"at {plan.speed_m_s:.1f} m/s the camera just keeps up, and a slow card or a gust "
                f"from behind costs photographs; {KEEPS_UP * fastest_m_s:.1f} m/s is safe"
            ),
            severity=Severity.WARN,
        )
    if plan.blur_px > BLUR_PX:
        yield Finding(
            rule="blur",
            value=plan.blur_px,
            limit=BLUR_PX,
            message=f"exposure blurs {plan.blur_px:.1f} px; fly slower or expose shorter",
            severity=Severity.WARN,
        )
    if plan.rolling_px > ROLLING_PX:
        yield Finding(
            rule="rolling-shutter",
            value=plan.rolling_px,
            limit=ROLLING_PX,
            message=(
                f"the rolling shutter shifts rows by up to {plan.rolling_px:.0f} px; fly slower"
            ),
            severity=Severity.WARN,
            source="Vautherin et al. 2016, ISPRS Annals III-3",
        )
    for name, value, good in (
        ("frontlap", plan.frontlap, GOOD_FRONTLAP),
        ("sidelap", plan.sidelap, GOOD_SIDELAP),
    ):
        if value < good:
            yield Finding(
                rule="overlap",
                value=value,
                limit=good,
                message=(
                    f"{name} comes down to {value:.0%}, and surfaces come out whole from "
                    f"{good:.0%} on; ask for more"
                ),
                severity=Severity.WARN,
            )


def _of_sight(plan: PlanFacts, bounds: Bounds) -> Iterator[Finding]:
    """Yield what lies too far to be seen."""
    if plan.farthest_m > bounds.sight_m:
        yield Finding(
            rule="sight",
            value=plan.farthest_m,
            limit=bounds.sight_m,
            message=(
                f"flies {plan.farthest_m:.0f} m from the pilot, and a small drone is hard to see "
                f"beyond {bounds.sight_m:.0f} m; move the launch or post observers"
            ),
            severity=Severity.WARN,
            source="visual line of sight, (EU) 2019/947, UAS.OPEN.060",
        )
    if plan.area is not None and plan.launches:
        seen = shapely.union_all(shapely.points(plan.launches)).buffer(bounds.sight_m)
        hidden = plan.area.difference(seen).area / max(plan.area.area, 1e-9)
        if hidden > 1e-3:
            yield Finding(
                rule="sight-area",
                value=hidden,
                limit=0.0,
                message=(
                    f"{hidden:.0%} of the area lies farther than {bounds.sight_m:.0f} m from every "
                    "launch; add one with --takeoff"
                ),
                severity=Severity.WARN,
                source="visual line of sight, (EU) 2019/947, UAS.OPEN.060",
            )


def _of_way(plan: PlanFacts) -> Iterator[Finding]:
    """Yield where the way leaves the fence or enters an exclusion."""
    ways = [shapely.linestrings(path) for path in plan.paths if len(path) >= 2]
    way = shapely.multilinestrings(ways) if ways else None
    if plan.fence is not None and way is not None:
        out_m = way.difference(plan.fence).length
        if out_m > 0.01:
            yield Finding(
                rule="fence",
                value=out_m,
                limit=0.0,
                message=(
                    f"{out_m:.0f} m of the way lie outside the fence; widen the fence or the margin"
                ),
            )
    for number, exclusion in enumerate(plan.exclusions):
        inside_m = 0.0 if way is None else way.intersection(exclusion).length
        if inside_m > 0.01:
            yield Finding(
                rule="exclusion",
                value=inside_m,
                limit=0.0,
                message=(
                    f"{inside_m:.0f} m of the way lie over exclusion {number + 1}; "
                    "plan anew with it"
                ),
            )


def _of_launches(plan: PlanFacts) -> Iterator[Finding]:
    """Yield take-offs from where there must be none."""
    for x, y in plan.launches:
        place = shapely.Point(x, y)
        for number, exclusion in enumerate(plan.exclusions):
            if exclusion.intersects(place):
                inside_m = float(np.asarray(exclusion.boundary.distance(place)))
                yield Finding(
                    rule="takeoff",
                    value=inside_m,
                    limit=0.0,
                    message=(
                        f"take-off lies {inside_m:.0f} m inside exclusion {number + 1}; "
                        "choose another place"
                    ),
                )
        if plan.fence is not None and not plan.fence.intersects(place):
            out_m = float(np.asarray(plan.fence.distance(place)))
            yield Finding(
                rule="takeoff",
                value=out_m,
                limit=0.0,
                message=(
                    f"take-off lies {out_m:.0f} m outside the fence; "
                    "widen it or choose another place"
                ),
            )
