"""What a sortie needs of an autopilot, and which of its parameters would end or bend it.

Fences, the height of the way home, speeds and failsafes are the autopilot's, not the mission's.

References
----------
ArduPilot, Copter parameters: https://ardupilot.org/copter/docs/parameters.html
PX4, parameter reference: https://docs.px4.io/main/en/advanced_config/parameter_reference.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyproj import Geod

from flightplan.autopilot.pace import NOTABLE, Way, flight_seconds, home_speed, pace_of, way_through
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import HeightReference, Mission, Place

ROOM_M = 10.0
"""Kept from a fence round home: GNSS, gusts, and turns flown wide."""
ROOM_ABOVE_M = 5.0
RELIEF_M = 5.0
"""A mission whose heights differ by more follows the ground, which may lie high on the way home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a sortie needs of the autopilot; heights above where the vehicle takes off."""

    farthest_m: float
    """Greatest distance from where it takes off."""
    highest_m: float
    lowest_m: float
    """Of the waypoints."""
    return_m: float = math.nan
    """Least height of the way home; NaN where the ground on it is as level as at the take-off."""
    speed_m_s: float = math.nan
    """Greatest that is asked for; NaN for none."""
    fence: bool = False
    """Whether the plan's own fence is loaded, and switched on at the start."""
    terrain: bool = False
    """Whether heights are above the autopilot's own terrain model."""
    first_m: float = 0.0
    """From where it takes off to the first waypoint."""
    left: float = math.nan
    """Fraction of the battery that is left after the landing."""
    share: float = math.nan
    """Fraction of it that the plan says it takes."""
    reserve: float = 0.0
    """Fraction that has to be left; 0 where a person has said what charge will do."""
    planned_s: float = math.nan
    """Time that the plan says it takes."""
    way: Way | None = None
    battery_v: float = math.nan
    """Voltage now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One parameter that does not fit the sortie."""

    name: str
    said: str
    """Value, what the sortie needs, and what would happen."""
    fit: float = math.nan
    """A value that fits, in the parameter's own unit; NaN where none is for a program to set."""


def needs_of(
    mission: Mission,
    home: Place,
    *,
    return_m: float = math.nan,
    battery_v: float = math.nan,
) -> Needs:
    """Return what a mission needs when it takes off from `home`.

    Heights above the sea are brought to the take-off by the height of `home`; heights above the
    terrain count as they are.
    """
    base_m = home.ground_m if mission.height_reference is HeightReference.AMSL else 0.0
    heights = [waypoint.height_m - base_m for waypoint in mission.waypoints]
    if return_m != return_m and max(heights) - min(heights) > RELIEF_M:
        return_m = max(heights)
    earth = Geod(ellps="WGS84")
    places = [mission.landing, *mission.waypoints]
    speeds = [mission.speed_m_s, mission.transit_speed_m_s]
    speeds += [waypoint.speed_m_s for waypoint in mission.waypoints]
    climb_m = mission.takeoff_height_m
    return Needs(
        farthest_m=max(
            earth.inv(home.lon_deg, home.lat_deg, at.lon_deg, at.lat_deg)[2] for at in places if at
        ),
        highest_m=max(heights + [climb_m] * math.isfinite(climb_m)),
        lowest_m=min(heights),
        return_m=return_m,
        speed_m_s=max((speed for speed in speeds if math.isfinite(speed)), default=math.nan),
        fence=mission.fence is not None or bool(mission.exclusions),
        terrain=mission.height_reference is HeightReference.TERRAIN,
        battery_v=battery_v,
        first_m=float(
            earth.inv(
                home.lon_deg,
                home.lat_deg,
                mission.waypoints[0].lon_deg,
                mission.waypoints[0].lat_deg,
            )[2]
        ),
        way=way_through(mission, home),
    )


def misfits(values: Mapping[str, float], needs: Needs, autopilot: Autopilot) -> list[Misfit]:
    """Return the parameters that would end or bend a mission, each with what the sortie needs."""
    rules = _ardupilot if autopilot is Autopilot.ARDUPILOT else _px4
    return [*rules(values, needs), *_too_long(values, needs, autopilot)]


def longer_s(values: Mapping[str, float], needs: Needs, autopilot: Autopilot) -> float:
    """Return how long the sortie takes by the autopilot's settings; NaN if about as planned."""
    if needs.way is None or not needs.planned_s > 0 or not values:
        return math.nan
    takes_s = flight_seconds(needs.way, pace_of(values, autopilot))
    return takes_s if takes_s > NOTABLE * needs.planned_s else math.nan


def _too_long(values: Mapping[str, float], needs: Needs, autopilot: Autopilot) -> Iterator[Misfit]:
    """Yield a flight that takes so much longer than planned that the battery does not suffice."""
    takes_s = longer_s(values, needs, autopilot)
    more = (takes_s / needs.planned_s - 1) * needs.share
    if needs.left - more < needs.reserve:
        held = needs.left + needs.share
        said = (
            f"takes {_minutes(takes_s)} by the autopilot's own speeds and accelerations, and "
            f"{_minutes(needs.planned_s)} were planned: {100 * (needs.share + more):.0f} % of a "
            f"battery that holds {100 * held:.0f} %, with {100 * needs.reserve:.0f} % to be left; "
            "put in a full one, set them back, or plan with yours (equipment.toml)"
        )
        yield Misfit(name="the flight", said=said)


def _minutes(seconds: float) -> str:
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"


def _ardupilot(values: Mapping[str, float], needs: Needs) -> Iterator[Misfit]:
    """Yield what does not fit.

    FENCE_TYPE is a set of bits: 1 greatest height, 2 circle round home, 4 polygons, 8 least height;
    as delivered 7 with 300 m and 100 m (`AC_Fence.cpp`).  FENCE_ACTION 0 only reports.  RTL_ALT is
    the least height of the way home: who flies higher stays there (`Parameters.cpp`).
    """
    return_m, rtl = _return_height(values)
    if rtl and return_m < needs.return_m - 0.5:
        scale = 100.0 if rtl == "RTL_ALT" else 1.0
        yield _too_small(
            *(rtl, return_m, needs.return_m, "the way home must be that high to clear the ground"),
            scale=scale,
        )
    home_m = max(return_m, needs.return_m) if needs.return_m == needs.return_m else return_m
    kinds = int(values.get("FENCE_TYPE", 7))
    on = needs.fence or values.get("FENCE_ENABLE", 0) > 0
    if on and values.get("FENCE_ACTION", 1) > 0:
        most = _fence_needs(needs, home_m)
        for bit, name, need_m, why in (
            (2, "FENCE_RADIUS", *most["far"]),
            (1, "FENCE_ALT_MAX", *most["high"]),
        ):
            if kinds & bit and values.get(name, math.inf) < need_m:
                yield _too_small(name, values[name], need_m, why)
        lowest_m = math.floor(min(needs.lowest_m, 0.0) - ROOM_ABOVE_M)
        if kinds & 8 and needs.lowest_m <= values.get("FENCE_ALT_MIN", -math.inf):
            said = f"is {values['FENCE_ALT_MIN']:g} m and the sortie flies down to "
            said += f"{needs.lowest_m:.0f} m: it would be turned home there"
            yield Misfit(name="FENCE_ALT_MIN", said=said, fit=lowest_m)
    if needs.terrain and values.get("TERRAIN_ENABLE", 1) == 0:
        yield Misfit(name="TERRAIN_ENABLE", said="is 0 and the mission's heights need terrain: 1")
    if values.get("BATT_FS_LOW_ACT", 0) > 0:
        yield from _ardupilot_battery(values, needs)


def _return_height(values: Mapping[str, float]) -> tuple[float, str]:
    """Return the least height of the way home in metres, and the parameter's name, if there."""
    if "RTL_ALT_M" in values:
        return values["RTL_ALT_M"], "RTL_ALT_M"
    if "RTL_ALT" in values:
        return values["RTL_ALT"] / 100.0, "RTL_ALT"
    return 0.0, ""


def _ardupilot_battery(values: Mapping[str, float], needs: Needs) -> Iterator[Misfit]:
    """Yield what would end the sortie for its battery (`AP_BattMonitor_Params.cpp`)."""
    volt, capacity = values.get("BATT_LOW_VOLT", 0), values.get("BATT_CAPACITY", 0)
    if 0 < needs.battery_v < volt:
        said = f"is {volt:g} V and the battery has {needs.battery_v:.1f} V: it would end the flight"
        yield Misfit(name="BATT_LOW_VOLT", said=f"{said} at once; put in a full one, or correct it")
    low = values.get("BATT_LOW_MAH", 0) / capacity if capacity > 0 else 0.0
    if needs.left < low:
        said = (
            f"is {values['BATT_LOW_MAH']:g} mAh, {100 * low:.0f} % of the battery, and the sortie "
            f"leaves {100 * needs.left:.0f} %: it would be ended before its end; put in a full "
            "battery, or plan shorter sorties"
        )
        yield Misfit(name="BATT_LOW_MAH", said=said)


def _px4(values: Mapping[str, float], needs: Needs) -> Iterator[Misfit]:
    """Yield what does not fit.

    GF_ACTION 0 and 1 only warn; distances of 0 are no fence (`geofence_params.c`).  MPC_XY_VEL_MAX
    caps what a mission asks for.  MIS_DIST_1WP keeps versions before 1.14 from starting, and makes
    later ones warn (`mission_params.c`).  COM_LOW_BAT_ACT acts at BAT_CRIT_THR
    (`commander_params.yaml`).
    """
    return_m = values.get("RTL_RETURN_ALT", math.inf)
    if return_m < needs.return_m - 0.5:
        why = "the way home must be that high to clear the ground"
        yield _too_small("RTL_RETURN_ALT", return_m, needs.return_m, why)
    if values.get("GF_ACTION", 0) > 1:
        home_m = 0.0 if math.isinf(return_m) else return_m
        most = _fence_needs(needs, max(home_m, needs.return_m if needs.return_m > 0 else 0.0))
        for name, (need_m, why) in (
            ("GF_MAX_HOR_DIST", most["far"]),
            ("GF_MAX_VER_DIST", most["high"]),
        ):
            if 0 < values.get(name, 0) < need_m:
                yield _too_small(name, values[name], need_m, why)
    if 0 < values.get("MIS_DIST_1WP", 0) < needs.first_m:
        why = f"the first waypoint is {needs.first_m:.0f} m from the vehicle, and it may not start"
        yield _too_small("MIS_DIST_1WP", values["MIS_DIST_1WP"], needs.first_m, why)
    if values.get("MPC_XY_VEL_MAX", math.inf) < needs.speed_m_s - 0.05:
        why = "the flight would take longer than its battery was planned for"
        yield _too_small(
            "MPC_XY_VEL_MAX", values["MPC_XY_VEL_MAX"], needs.speed_m_s, why, unit="m/s"
        )
    if values.get("COM_LOW_BAT_ACT", 0) > 0 and needs.left < values.get("BAT_CRIT_THR", 0):
        said = (
            f"is {values['BAT_CRIT_THR']:g} of the battery and the sortie leaves {needs.left:.2f}: "
            "it would be ended before its end; put in a full battery, or plan shorter sorties"
        )
        yield Misfit(name="BAT_CRIT_THR", said=said)


def _fence_needs(needs: Needs, home_m: float) -> dict[str, tuple[float, str]]:
    high_m = max(needs.highest_m, home_m)
    return {
        "far": (
            needs.farthest_m + ROOM_M,
            f"the sortie reaches {needs.farthest_m:.0f} m from the vehicle and would end there",
        ),
        "high": (
            high_m + ROOM_ABOVE_M,
            f"the sortie, or its way home, is {high_m:.0f} m high and would end there",
        ),
    }


def _too_small(
    name: str, value: float, need: float, why: str, *, scale: float = 1.0, unit: str = "m"
) -> Misfit:
    least = math.ceil(need)
    own = f" ({least * scale:g} in its own unit)" if scale != 1 else ""
    said = f"is {value:g} {unit} and must be {least} {unit} or more{own}: {why}"
    return Misfit(name=name, said=said, fit=least * scale)


def remarks(values: Mapping[str, float], needs: Needs, autopilot: Autopilot) -> list[str]:
    """Return what a person should know of settings that are theirs to choose, a line each."""
    if not values:
        return ["the autopilot tells none of its parameters: look yourself at fences and failsafes"]
    rules = _ardupilot_remarks if autopilot is Autopilot.ARDUPILOT else _px4_remarks
    found = list(rules(values, needs))
    if (takes_s := longer_s(values, needs, autopilot)) > 0:
        share = f", {100 * needs.share * takes_s / needs.planned_s:.0f} % of the battery"
        found.append(
            f"by the autopilot's own speeds and accelerations the sortie takes {_minutes(takes_s)}"
            f"{share if needs.share > 0 else ''}; {_minutes(needs.planned_s)} were planned"
        )
    return found


def _ardupilot_remarks(values: Mapping[str, float], needs: Needs) -> Iterator[str]:
    """Yield remarks; FS_OPTIONS bits 0 and 1 go on in missions on loss of remote or station."""
    go_on = int(values.get("FS_OPTIONS", 0))
    ends = [
        f"the {what} is lost ({name} {values[name]:g})"
        for name, what, bit in (("FS_GCS_ENABLE", "ground station", 2), ("FS_THR_ENABLE", "RC", 1))
        if values.get(name, 0) > 0 and not go_on & bit
    ]
    low = values.get("BATT_FS_LOW_ACT")
    if low:
        ends.append(f"the battery runs low (BATT_FS_LOW_ACT {low:g})")
    yield from _ends(ends)
    if low == 0:
        yield "nothing happens when the battery runs low: BATT_FS_LOW_ACT is 0"
    if values.get("FS_GCS_ENABLE") == 0 and values.get("FS_THR_ENABLE") == 0:
        yield "nothing happens when RC and ground station are lost: FS_THR_ENABLE, FS_GCS_ENABLE 0"
    if needs.fence and not int(values.get("FENCE_TYPE", 7)) & 4:
        yield f"FENCE_TYPE {values['FENCE_TYPE']:g} leaves polygons out: the plan's is not watched"
    elif needs.fence and values.get("FENCE_ACTION") == 0:
        yield "FENCE_ACTION is 0: leaving the plan's fence is reported, and nothing done"
    yield from _speed(*home_speed(values), needs)


def _px4_remarks(values: Mapping[str, float], needs: Needs) -> Iterator[str]:
    """Yield remarks; bit 0 of the exceptions goes on in missions."""
    ends = [
        f"the {what} is lost ({name} {values[name]:g})"
        for name, what, but in (
            ("NAV_DLL_ACT", "ground station", "COM_DLL_EXCEPT"),
            ("NAV_RCL_ACT", "RC", "COM_RCL_EXCEPT"),
        )
        if values.get(name, 0) > 0 and not int(values.get(but, 0)) & 1
    ]
    low = values.get("COM_LOW_BAT_ACT")
    if low:
        ends.append(f"the battery is critical (COM_LOW_BAT_ACT {low:g})")
    yield from _ends(ends)
    if low == 0:
        yield "nothing happens when the battery runs low: COM_LOW_BAT_ACT is 0"
    if needs.fence and values.get("GF_ACTION", 2) in (0, 1):
        yield f"GF_ACTION is {values['GF_ACTION']:g}: leaving the plan's fence is only reported"
    elif values.get("GF_ACTION") == 4:
        yield "GF_ACTION is 4: leaving the fence stops the motors in the air"
    yield from _speed(values.get("MPC_XY_CRUISE", math.nan), "MPC_XY_CRUISE", needs)


def _ends(ends: Sequence[str]) -> Iterator[str]:
    if ends:
        yield f"the autopilot ends the sortie by itself when {', or '.join(ends)}"


def _speed(usual_m_s: float, name: str, needs: Needs) -> Iterator[str]:
    if usual_m_s < needs.speed_m_s - 0.05:
        yield (
            f"{name} is {usual_m_s:g} m/s: it comes home slower than the {needs.speed_m_s:g} m/s "
            "that its battery was planned for"
        )
    elif math.isnan(needs.speed_m_s) and usual_m_s == usual_m_s:
        yield f"the mission asks for no speed and is flown at {name}, {usual_m_s:g} m/s"
