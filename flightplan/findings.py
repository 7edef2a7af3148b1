"""What the limits of a flight are judged by, and what is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shapely.geometry.base import BaseGeometry

from flightplan.catalogue import Drone
from flightplan.planframe import Float
from flightplan.pricing import Point

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
    unit: str
    severity: Severity
    message: str
    """One line: what, and what to do."""
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
    launches: Sequence[Point] = ()
    area: BaseGeometry | None = None
    """What is surveyed, plan metres."""
    fence: BaseGeometry | None = None
    exclusions: Sequence[BaseGeometry] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits that a user may set otherwise, because their law or their land differs."""

    height_agl_m: float = OPEN_CATEGORY_M
    sight_m: float = SIGHT_M
    wind_share: float = WIND_SHARE
    blur_px: float = BLUR_PX
    rolling_px: float = ROLLING_PX
