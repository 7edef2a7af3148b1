"""Hold a vehicle on the ground against the plan: kind, position, height, charge.

What is not there yet, a GNSS fix or the estimator's position, is waited for.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymavlink.dialects.v20 import ardupilotmega as mavlink
from pyproj import Geod

from flightplan.autopilot.link import Link, LinkError, RefusedError
from flightplan.autopilot.protocol import UNITS_PER_DEG
from flightplan.autopilot.texts import Message
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import Mission, Place
from flightplan.formats.mission_files import PLAN_FILE
from tmp.errors import InputError
from tmp.files import read_json
from tmp.geo.frames import PlanFrame, position_in_words

log = logging.getLogger(__name__)

USUAL_PERCENT = 50.0
"""Least charge where no plan says what the sortie takes."""
USUAL_RESERVE = 0.25
"""Of plans that do not tell theirs."""
WORTH_SAYING_M = 3.0
"""A take-off lower or higher by this is told, though it is not refused."""
_LOOK_S = 0.25
_TELL_S = 15.0
"""How often it is said again what is waited for."""
_EARTH = Geod(ellps="WGS84")
_MULTIROTORS = frozenset(
    getattr(mavlink, f"MAV_TYPE_{name}")
    for name in (
        *("QUADROTOR", "COAXIAL", "HELICOPTER", "HEXAROTOR", "OCTOROTOR", "TRICOPTER"),
        *("DODECAROTOR", "DECAROTOR"),
    )
)
_ESTIMATES = {
    Autopilot.ARDUPILOT: (
        "EKF_STATUS_REPORT",
        mavlink.EKF_POS_HORIZ_ABS | mavlink.EKF_PRED_POS_HORIZ_ABS,
    ),
    Autopilot.PX4: ("ESTIMATOR_STATUS", mavlink.ESTIMATOR_POS_HORIZ_ABS),
}
"""Message and flags, one of which says that the position is known well enough to arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a vehicle must meet before it is given the mission."""

    takeoff_m: float = 50.0
    """Greatest distance from the planned take-off point."""
    height_m: float = 10.0
    """Greatest difference between the ground where it stands and at the planned take-off."""
    first_waypoint_m: float = 2000.0
    """Greatest distance from the first waypoint, where the plan has no take-off point."""
    battery_percent: float | None = None
    """Least charge that the autopilot may report; by default what the sortie takes, and the
    reserve.  It need not report any."""
    wait_s: float = 180.0
    """How long a position is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSortie:
    """What the plan says of a sortie, beside its mission file."""

    seconds: float = math.nan
    """Of the flight."""
    share: float = math.nan
    """Of the battery's rated capacity that it takes."""
    reserve: float = USUAL_RESERVE
    """Of the capacity to come home with."""
    return_m: float = math.nan
    """Height above the take-off that is clear of the ground all the way home; NaN where the plan
    knows no ground."""
    datum: str = ""
    """What heights of the ground are measured from, in words; empty where it knows none."""
    step_m: float = 0.0
    ground_m: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    """Height round the take-off in its middle, `step_m` apart, (N, N); rows from south to north."""

    def ground_at(self, east_m: float, north_m: float) -> float:
        """Return the height of the ground beside the take-off, bilinear; NaN where not known.

        Examples
        --------
        >>> ground = np.array([[0.0, 0.0, 0.0], [10.0, 10.0, 10.0], [20.0, 20.0, 20.0]])
        >>> PlannedSortie(step_m=25.0, ground_m=ground).ground_at(0.0, 10.0)
        14.0
        """
        half = (len(self.ground_m) - 1) / 2
        if half <= 0 or self.step_m <= 0:
            return math.nan
        col, row = east_m / self.step_m + half, north_m / self.step_m + half
        if not (0 <= col <= 2 * half and 0 <= row <= 2 * half):
            return math.nan
        x, y = (min(int(at), int(2 * half) - 1) for at in (col, row))
        corners = self.ground_m[y : y + 2, x : x + 2]
        across = np.array([1 - (col - x), col - x])
        up = np.array([1 - (row - y), row - y])
        return float(up @ corners @ across)


def read_planned(folder: Path, name: str) -> PlannedSortie | None:
    """Return what ``plan.json`` says of a sortie; None where there is no plan, or not of it.

    Raises
    ------
    InputError
        If the plan is damaged.
    """
    path = folder / PLAN_FILE
    number = name.removeprefix("sortie-")
    if not path.is_file() or not number.isdecimal():
        return None
    summary = read_json(path, remedy="plan again")
    try:
        sorties = summary["sorties"]
        if not 1 <= int(number) <= len(sorties):
            return None
        said = sorties[int(number) - 1]
        ground = said.get("ground", {})
        level = summary.get("dem") is None
        return PlannedSortie(
            seconds=float(said.get("seconds", math.nan)),
            share=float(said["battery"]),
            reserve=float(summary.get("reserve", USUAL_RESERVE)),
            return_m=math.nan if level else float(said.get("return_m", math.nan)),
            datum="" if level else str(summary.get("dem_datum") or ""),
            step_m=0.0 if level else float(ground.get("step_m", 0.0)),
            ground_m=np.array(ground.get("m", []), float, ndmin=2),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error}); plan again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleState:
    """What a vehicle says about itself on the ground."""

    firmware: str
    """Such as ``ArduPilot 4.6.3``."""
    place: Place
    """Where it stands; height above mean sea level."""
    satellites: int
    battery_percent: int
    """-1 if it does not say."""
    battery_v: float = math.nan
    """NaN if it does not say."""
    ellipsoid_m: float = math.nan
    """Height above the WGS 84 ellipsoid; NaN if it does not say."""

    def __str__(self) -> str:
        charge = "unknown" if self.battery_percent < 0 else f"{self.battery_percent} %"
        return (
            f"{self.firmware} at {position_in_words(self.place.lon_deg, self.place.lat_deg)}, "
            f"{self.satellites} satellites, battery {charge}"
        )


def check_vehicle(
    link: Link,
    mission: Mission,
    *,
    planned: PlannedSortie | None = None,
    first: int = 0,
    limits: Limits | None = None,
    say: Callable[[str], None] = log.info,
) -> VehicleState:
    """Ask the vehicle for its state and hold it against the plan, from waypoint `first` on.

    A position is waited for; `say` tells what is waited for, and what a person should know.

    Raises
    ------
    RefusedError
        If it is no multirotor, has no position in three dimensions in time, stands too far from
        where the plan begins or too low or high, or has too little charge.
    LinkError
        If it does not tell its position.
    """
    limits = limits or Limits()
    _check_kind(link)
    _wait_for_position(link, limits.wait_s, say)
    state = _state(link)
    planned = planned or PlannedSortie()
    faults = (
        _too_far(state, mission, limits),
        _too_low(state, mission, planned, limits, say),
        _too_empty(state, mission, planned, first, limits),
    )
    for fault in faults:
        if fault:
            raise RefusedError(f"{link.address}: {fault}")
    return state


def _check_kind(link: Link) -> None:
    kind = link.heartbeat.type
    if kind not in _MULTIROTORS:
        entry = mavlink.enums["MAV_TYPE"].get(kind)
        name = entry.name.removeprefix("MAV_TYPE_").lower().replace("_", " ") if entry else kind
        raise RefusedError(
            f"{link.address}: the vehicle is of type {name!r}; the plan is for a multirotor"
        )


def _wait_for_position(link: Link, wait_s: float, say: Callable[[str], None]) -> None:
    """Wait until the receiver has a fix and the estimator a position.

    Notes
    -----
    The flags are those that the firmware's own checks before arming ask for: on ArduPilot an
    absolute position or the prediction of one (`Copter::ekf_has_absolute_position`), which comes
    some ten seconds after the fix; on PX4 ESTIMATOR_POS_HORIZ_ABS.  An autopilot that does not
    send them refuses to arm by itself.

    References
    ----------
    EKF_STATUS_REPORT (193), ESTIMATOR_STATUS (230), GPS_RAW_INT (24):
    https://mavlink.io/en/messages/ardupilotmega.html
    """
    if link.latest("GPS_RAW_INT", link.patience.hello_s) is None:
        raise LinkError(
            f"{link.address}: the autopilot does not tell its position; is its GNSS receiver on?"
        )
    link.latest(_ESTIMATES[link.autopilot][0], link.patience.reply_s)
    until_s = time.monotonic() + wait_s
    told, told_s = "", -math.inf
    while missing := _missing(link):
        now_s = time.monotonic()
        if now_s > until_s:
            raise RefusedError(
                f"{link.address}: the vehicle has no position after {wait_s:.0f} s ({missing}); "
                "wait under open sky, or give it longer with --wait"
            )
        if not link.open or now_s - link.heard_s > link.patience.silence_s:
            raise LinkError(
                f"{link.address}: the link was lost while waiting for {missing}; nothing is armed"
            )
        if missing.partition(",")[0] != told or now_s - told_s > _TELL_S:
            say(f"waiting for {missing}; {until_s - now_s:.0f} s at most, Ctrl-C gives up")
            told, told_s = missing.partition(",")[0], now_s
        time.sleep(_LOOK_S)


def _missing(link: Link) -> str:
    """Return what is still waited for, in words; empty when all is there."""
    gps: Message = link.latest("GPS_RAW_INT", 0.0)
    if gps.fix_type < mavlink.GPS_FIX_TYPE_3D_FIX:
        return f"the GNSS fix, {gps.satellites_visible} satellites"
    kind, flags = _ESTIMATES[link.autopilot]
    estimate = link.latest(kind, 0.0)
    if estimate is not None and not estimate.flags & flags:
        return "the autopilot's own position, which it estimates after the fix"
    return ""


def _state(link: Link) -> VehicleState:
    gps: Message = link.latest("GPS_RAW_INT", 0.0)
    power = link.latest("SYS_STATUS", link.patience.reply_s)
    settled = link.latest("GLOBAL_POSITION_INT", link.patience.reply_s)
    # The estimate is steadier than the receiver's own height; before the first one it is all zero.
    alt_mm = settled.alt if settled is not None and (settled.lat or settled.lon) else gps.alt
    unknown_mv = 65535
    return VehicleState(
        firmware=_firmware(link),
        place=Place(
            lon_deg=gps.lon / UNITS_PER_DEG, lat_deg=gps.lat / UNITS_PER_DEG, ground_m=alt_mm / 1e3
        ),
        satellites=gps.satellites_visible,
        battery_percent=-1 if power is None else power.battery_remaining,
        battery_v=math.nan
        if power is None or power.voltage_battery in (0, unknown_mv)
        else power.voltage_battery / 1e3,
        ellipsoid_m=gps.alt_ellipsoid / 1e3 if gps.alt_ellipsoid else math.nan,
    )


def read_version(link: Link) -> Message | None:
    """Return the message AUTOPILOT_VERSION; None if it does not come.

    Raises
    ------
    LinkError
        If the autopilot does not answer at all.
    """
    if (known := link.latest("AUTOPILOT_VERSION", 0.0)) is not None:
        return known
    asked = float(mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION)
    try:
        link.command(mavlink.MAV_CMD_REQUEST_MESSAGE, asked, what="tell its version")
    except RefusedError:  # old firmware; the mission is proven by reading it back, not by this
        return None
    return link.latest("AUTOPILOT_VERSION", link.patience.reply_s)


def _firmware(link: Link) -> str:
    """Return the firmware's name, with its version if it tells."""
    told = read_version(link)
    if told is None:
        return link.firmware
    major, minor, patch, _ = told.flight_sw_version.to_bytes(4, "big")
    return f"{link.firmware} {major}.{minor}.{patch}"


def _too_far(state: VehicleState, mission: Mission, limits: Limits) -> str:
    planned, what, most_m = mission.takeoff, "the planned take-off point", limits.takeoff_m
    if planned is None:
        first = mission.waypoints[0]
        planned = Place(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
        what, most_m = "the first waypoint", limits.first_waypoint_m
    away_m = _away_m(state.place, planned)
    if away_m <= most_m:
        return ""
    return (
        f"the vehicle stands {away_m:.0f} m from {what} at "
        f"{position_in_words(planned.lon_deg, planned.lat_deg)}, more than {most_m:g} m; carry it "
        "there, or plan from here"
    )


def _too_low(
    state: VehicleState,
    mission: Mission,
    planned: PlannedSortie,
    limits: Limits,
    say: Callable[[str], None],
) -> str:
    """Compare the ground where the vehicle stands with that at the planned take-off.

    All heights of the mission count from where it takes off, so that the whole survey is flown
    lower by as much as the take-off lies lower.  The plan's own ground tells the difference
    between two places without any datum.  The vehicle's height tells it where the two are
    measured from alike: GNSS receivers give heights above the ellipsoid, and above a coarse geoid
    near EGM96; national heights above the sea differ from that by a metre or two.
    """
    takeoff = mission.takeoff
    if takeoff is None:
        return ""
    frame = PlanFrame(lon_deg=takeoff.lon_deg, lat_deg=takeoff.lat_deg)
    ((east_m, north_m),) = frame.plan_from_geodetic([(state.place.lon_deg, state.place.lat_deg)])
    here_m = planned.ground_at(float(east_m), float(north_m))
    off_m = here_m - planned.ground_at(0.0, 0.0)
    found = [(off_m, "by the plan's elevation model")] if math.isfinite(off_m) else []
    expected_m = here_m if math.isfinite(here_m) else takeoff.ground_m
    measured_m, above = _comparable(state, planned.datum)
    known = math.isfinite(expected_m) and bool(planned.datum or expected_m)
    if known and math.isnan(measured_m):
        say(
            f"the plan's heights are measured from {planned.datum!r}, the vehicle's are not: look "
            "yourself that it stands as high as the planned take-off"
        )
    elif known:
        why = f"its GNSS says {measured_m:.0f} m above {above}, the plan {expected_m:.0f} m"
        found.append((measured_m - expected_m, why))
    for off_m, why in found:
        way, much = ("lower", "higher")[off_m > 0], abs(off_m)
        flown = f"{much:.0f} m {way} than the planned take-off ({why}), and all of it would be"
        if much > limits.height_m:
            return (
                f"the vehicle stands {flown} flown {much:.0f} m {way}: carry it there, plan from "
                f"here, or give --height-within (now {limits.height_m:g} m) if it is the GNSS"
            )
        if much > WORTH_SAYING_M:
            say(f"the vehicle stands {flown} flown so")
    return ""


def _comparable(state: VehicleState, datum: str) -> tuple[float, str]:
    """Return the vehicle's height as the plan measures heights, NaN if it cannot, and from what.

    A mission without a plan says its take-off above the sea, as QGroundControl has it.
    """
    words = datum.lower()
    if "ellipsoid" in words:
        return state.ellipsoid_m, "the ellipsoid"
    if any(word in words for word in ("local", "unknown", "flat")):
        return math.nan, ""
    return state.place.ground_m, "the sea"


def _too_empty(
    state: VehicleState, mission: Mission, planned: PlannedSortie, first: int, limits: Limits
) -> str:
    least, why = limits.battery_percent, "--battery asks for"
    if least is None and math.isnan(planned.share):
        least, why = USUAL_PERCENT, "usual where no plan says what the sortie takes:"
    elif least is None:
        takes = math.ceil(100 * planned.share * share_from(mission, first) - 1e-6)
        leaves = math.ceil(100 * planned.reserve - 1e-6)
        least = min(takes + leaves, 100)
        why = f"{mission.name} takes {takes} % and leaves {leaves} % in reserve, together"
    if not 0 <= state.battery_percent < least:
        return ""
    return f"the battery holds {state.battery_percent} %; {why} {least:g} %; put in a full one"


def share_from(mission: Mission, first: int) -> float:
    """Return how much of a mission's way is flown from a waypoint on, the ways out and home too.

    Examples
    --------
    >>> from flightplan.formats.mission import Waypoint
    >>> line = [Waypoint(lon_deg=0.001 * i, lat_deg=0.0, height_m=50.0) for i in (0, 2, 3)]
    >>> home = Place(lon_deg=0.0, lat_deg=0.0)
    >>> round(share_from(Mission(name="m", waypoints=tuple(line), takeoff=home), 2), 3)
    1.0
    """
    home = mission.takeoff or mission.waypoints[0]

    def way_m(start: int) -> float:
        places = [home, *mission.waypoints[start:], mission.landing or home]
        return sum(_away_m(a, b) for a, b in pairwise(places))

    whole_m = way_m(0)
    return min(way_m(first) / whole_m, 1.0) if first and whole_m > 0 else 1.0


def _away_m(a: object, b: object) -> float:
    """Return the distance of two places in metres."""
    lon_lat = (getattr(one, name) for one in (a, b) for name in ("lon_deg", "lat_deg"))
    return float(_EARTH.inv(*lon_lat)[2])
