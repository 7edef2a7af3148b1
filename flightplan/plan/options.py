"""What a person writes after ``tmp plan``, turned into a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from flightplan.coverage.spacing import Overlap, length_from_text, overlap_from_text
from flightplan.equipment.catalogue import Catalogue
from flightplan.equipment.flight_model import Battery, Wind
from flightplan.plan.request import PlanRequest
from flightplan.proof.rules import Bounds
from tmp.errors import InputError
from tmp.geo.areas import read_area

DEFAULT_GSD_M = 0.025


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of the command, as written; None and empty where nothing is."""

    area: str
    drone: str
    cameras: tuple[str, ...] = ()
    gsd: str | None = None
    height: str | None = None
    frontlap: str = "80"
    sidelap: str = "70"
    views: int | None = None
    dem: Path | None = None
    dem_datum: str | None = None
    exclusions: tuple[str, ...] = ()
    takeoffs: tuple[str, ...] = ()
    wind: str | None = None
    heading: float | None = None
    double_grid: bool = False
    oblique: float | None = None
    inside: bool = False
    day: datetime | None = None
    reserve: float = 25.0
    height_limit: float | None = None
    sight: float | None = None
    allowed: tuple[str, ...] = ()
    layer: str | None = None
    crs: str | None = None

    def request(self, catalogue: Catalogue) -> PlanRequest:
        """Return what is asked for.

        Raises
        ------
        InputError
            If a text cannot be understood, or names what does not exist.
        """
        drone = catalogue.drone(self.drone)
        own = tuple(catalogue.camera(name) for name in self.cameras)
        if self.gsd and self.height:
            raise InputError("--gsd and --height each fix the height; give one of them")
        height_m = length_from_text(self.height, "--height") if self.height else None
        gsd_m = length_from_text(self.gsd, "--gsd") if self.gsd else None
        return PlanRequest(
            area=read_area(_source(self.area), layer=self.layer, crs=self.crs),
            drone=drone,
            cameras=own or catalogue.cameras_of(drone),
            gsd_m=gsd_m if gsd_m or height_m else DEFAULT_GSD_M,
            height_agl_m=height_m,
            overlap=Overlap(
                front=overlap_from_text(self.frontlap, "--frontlap"),
                side=overlap_from_text(self.sidelap, "--sidelap"),
            ),
            views=self.views,
            exclusions=tuple(read_area(_source(one)) for one in self.exclusions),
            dem=self.dem,
            dem_datum=self.dem_datum,
            takeoffs=tuple(_place(text) for text in self.takeoffs),
            wind=_wind(self.wind) if self.wind else None,
            heading_deg=self.heading,
            double_grid=self.double_grid,
            oblique_deg=self.oblique,
            keep_inside=self.inside,
            day=self.day.date() if self.day else date.today(),
            battery=Battery(reserve=self.reserve / 100),
            bounds=self._bounds(),
            allowed=frozenset(self.allowed),
        )

    def _bounds(self) -> Bounds:
        bounds = Bounds()
        if self.height_limit is not None:
            bounds = replace(bounds, height_agl_m=self.height_limit)
        if self.sight is not None:
            bounds = replace(bounds, sight_m=self.sight)
        return bounds


def _source(text: str) -> Path | str:
    """Return well-known text as it is, and all else as a path."""
    return text if "(" in text and not Path(text).exists() else Path(text)


def _place(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*", text)
    if not found or not (abs(float(found[1])) <= 360 and abs(float(found[2])) <= 90):
        raise InputError(
            f"--takeoff {text!r} is no place; give longitude, then latitude in degrees, "
            "such as -21.9405,64.1466"
        )
    return float(found[1]), float(found[2])


def _wind(text: str) -> Wind:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m/s|km/h|kn)?\s*@\s*(\d+(?:\.\d+)?)\s*°?\s*", text)
    if not found or not 0 <= float(found[3]) <= 360:
        raise InputError(f"--wind {text!r}: give speed and where it comes from, such as 6m/s@240")
    factor = {"m/s": 1.0, "km/h": 1 / 3.6, "kn": 0.514444, None: 1.0}[found[2]]
    return Wind(speed_m_s=float(found[1]) * factor, from_deg=float(found[3]) % 360.0)
