"""Whether the vehicle on the link is fit for the plan, and stands where the plan begins."""

from __future__ import annotations

from dataclasses import dataclass

from pymavlink.dialects.v20 import ardupilotmega as mavlink
from pyproj import Geod

from flightplan.autopilot.items import UNITS_PER_DEG
from flightplan.autopilot.link import Link, LinkError, Patience, RefusedError
from flightplan.missions import Mission, Place

_EARTH = Geod(ellps="WGS84")

_MULTIROTORS = frozenset(
    (
        mavlink.MAV_TYPE_QUADROTOR,
        mavlink.MAV_TYPE_COAXIAL,
        mavlink.MAV_TYPE_HELICOPTER,
        mavlink.MAV_TYPE_HEXAROTOR,
        mavlink.MAV_TYPE_OCTOROTOR,
        mavlink.MAV_TYPE_TRICOPTER,
        mavlink.MAV_TYPE_DODECAROTOR,
        mavlink.MAV_TYPE_DECAROTOR,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a vehicle must meet before it is given the mission."""

    takeoff_m: float = 50.0
    """Greatest distance from the planned take-off point."""
    first_waypoint_m: float = 2000.0
    """Greatest distance from the first waypoint, where the plan has no take-off point."""
    battery_percent: float = 50.0
    """Least charge that the autopilot may report; it need not report any."""


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

    def __str__(self) -> str:
        charge = "unknown" if self.battery_percent < 0 else f"{self.battery_percent} %"
        return (
            f"{self.firmware} at {self.place.lat_deg:.6f}, {self.place.lon_deg:.6f}, "
            f"{self.satellites} satellites, battery {charge}"
        )


def check_vehicle(
    link: Link,
    mission: Mission,
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> VehicleState:
    """Ask the vehicle for its state and hold it against the plan.

    Raises
    ------
    RefusedError
        If it is no multirotor, has no position in three dimensions, stands too far from where
        the plan begins, or has too little charge.
    LinkError
        If it does not tell its position.
    """
    limits, patience = limits or Limits(), patience or Patience()
    _check_kind(link)
    state = _state(link, patience)
    for fault in (_too_far(state, mission, limits), _too_empty(state, limits)):
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


def _state(link: Link, patience: Patience) -> VehicleState:
    gps = link.latest("GPS_RAW_INT", patience.hello_s)
    if gps is None:
        raise LinkError(
            f"{link.address}: the autopilot does not tell its position; is its GNSS receiver on?"
        )
    if gps.fix_type < mavlink.GPS_FIX_TYPE_3D_FIX:
        raise RefusedError(
            f"{link.address}: the vehicle has no position yet ({gps.satellites_visible} "
            "satellites); wait for its GNSS fix under open sky"
        )
    power = link.latest("SYS_STATUS", patience.reply_s)
    return VehicleState(
        firmware=_firmware(link, patience),
        place=Place(
            lon_deg=gps.lon / UNITS_PER_DEG, lat_deg=gps.lat / UNITS_PER_DEG, ground_m=gps.alt / 1e3
        ),
        satellites=gps.satellites_visible,
        battery_percent=-1 if power is None else power.battery_remaining,
    )


def _firmware(link: Link, patience: Patience) -> str:
    """Return the firmware's name, with its version if it tells."""
    asked = float(mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION)
    try:
        link.command(
            mavlink.MAV_CMD_REQUEST_MESSAGE, asked, what="tell its version", patience=patience
        )
    except RefusedError:  # old firmware; the mission is proven by reading it back, not by this
        return link.firmware
    told = link.latest("AUTOPILOT_VERSION", patience.reply_s)
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
    at = state.place
    _, _, away_m = _EARTH.inv(at.lon_deg, at.lat_deg, planned.lon_deg, planned.lat_deg)
    if away_m <= most_m:
        return ""
    return (
        f"the vehicle stands {away_m:.0f} m from {what} at {planned.lat_deg:.6f}, "
        f"{planned.lon_deg:.6f}, more than {most_m:g} m; carry it there, or plan from here"
    )


def _too_empty(state: VehicleState, limits: Limits) -> str:
    if not 0 <= state.battery_percent < limits.battery_percent:
        return ""
    return (
        f"the battery holds {state.battery_percent} %, less than {limits.battery_percent:g} %; "
        "put in a full one"
    )
