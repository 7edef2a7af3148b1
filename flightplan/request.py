"""What a survey's plan is asked for, before anything is worked out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from flightplan.catalogue import CameraModel, Drone
from flightplan.energy import Battery
from flightplan.findings import Bounds
from flightplan.limits import RULES
from flightplan.motion import Wind
from flightplan.stations import Overlap
from tmp.areas import SurveyArea
from tmp.errors import InputError

MOST_VIEWS = 9
"""Photographs of every place from which a surface comes out whole, edges included."""
VIEWS_OF_NOMINAL = 0.68
"""Share of the photographs that the overlaps promise in the middle of a field which can be had at
its edges for a few lines more."""
TERRAIN_BAND = 0.08
"""Part of the flying height by which the drone may leave it over relief."""
MOST_BAND_M = 6.0
FINEST_GSD_M, COARSEST_GSD_M = 0.001, 1.0
OBLIQUE_DEG = (5.0, 45.0)


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A plan that somebody wants."""

    area: SurveyArea
    drone: Drone
    cameras: Sequence[CameraModel]
    """Released together; the first is what the plan is proved with if all see the same."""
    gsd_m: float | None = None
    height_agl_m: float | None = None
    """One of the two."""
    overlap: Overlap = field(default_factory=lambda: Overlap(front=0.8, side=0.7))
    views: int | None = None
    """Photographs that shall see every place; by default what the overlaps make possible, up to
    `MOST_VIEWS`."""
    exclusions: Sequence[SurveyArea] = ()
    dem: Path | None = None
    dem_datum: str | None = None
    takeoffs: Sequence[tuple[float, float]] = ()
    """Longitude and latitude in degrees."""
    wind: Wind | None = None
    heading_deg: float | None = None
    double_grid: bool = False
    oblique_deg: float | None = None
    """Tilt from the vertical of a second set of lines."""
    keep_inside: bool = False
    day: date
    """When it is to be flown, for the light."""
    battery: Battery = field(default_factory=Battery)
    bounds: Bounds = field(default_factory=Bounds)
    allowed: frozenset[str] = frozenset()
    """Names of rules that shall not stop the plan."""

    def __post_init__(self) -> None:
        if self.gsd_m is not None and not FINEST_GSD_M <= self.gsd_m <= COARSEST_GSD_M:
            raise InputError(
                f"GSD of {self.gsd_m * 100:g} cm cannot be meant; give "
                f"{FINEST_GSD_M * 100:g} cm to {COARSEST_GSD_M * 100:g} cm, such as --gsd 2.5cm"
            )
        for rule in self.allowed:
            if rule not in RULES:
                raise InputError(
                    f"rule {rule!r} is not known; choose from {', '.join(RULES)} for --allow"
                )
        if self.oblique_deg is not None and not (
            OBLIQUE_DEG[0] <= self.oblique_deg <= OBLIQUE_DEG[1]
        ):
            raise InputError(
                f"--oblique {self.oblique_deg:g}: give {OBLIQUE_DEG[0]:g} to "
                f"{OBLIQUE_DEG[1]:g} degrees from the vertical; 20 to 30 fixes the heights best"
            )

    @property
    def asked_views(self) -> int:
        """Photographs that shall see every place."""
        if self.views is not None:
            return self.views
        nominal = 1 / ((1 - self.overlap.front) * (1 - self.overlap.side))
        return max(1, min(MOST_VIEWS, math.floor(VIEWS_OF_NOMINAL * nominal)))
