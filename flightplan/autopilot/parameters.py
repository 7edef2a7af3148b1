"""An autopilot's own parameters: what would end or bend a mission, and setting it for a flight.

Fences, the height of the way home, speeds and failsafes are the autopilot's, not the mission's.
They are read and held against what the sortie needs.

References
----------
MAVLink developer guide, Parameter Protocol: https://mavlink.io/en/services/parameter.html
ArduPilot, Copter parameters: https://ardupilot.org/copter/docs/parameters.html
ArduPilot 4.7 gives RTL_ALT (cm) in metres as RTL_ALT_M (pull request 31970), and WPNAV_SPEED (cm/s)
in m/s as WP_SPD (pull request 32147).
PX4, parameter reference: https://docs.px4.io/main/en/advanced_config/parameter_reference.html
"""

from __future__ import annotations

import logging
import math
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink
from pyproj import Geod

from flightplan.autopilot.checks import read_version
from flightplan.autopilot.link import Link, LinkError, Message, RefusedError
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import HeightReference, Mission, Place
from tmp.errors import InputError
from tmp.files import read_json, write_json

log = logging.getLogger(__name__)

ROOM_M = 10.0
"""Kept from a fence round home: GNSS, gusts, and turns flown wide."""
ROOM_ABOVE_M = 5.0
RELIEF_M = 5.0
"""A mission whose heights differ by more follows the ground, which may lie high on the way home."""
BATCH = 10
"""Parameters asked for at a time: ArduPilot queues 20 requests and drops the others
(`GCS_MAVLINK::param_requests`)."""
TRIES = 3
BEATS_S = 3.0
"""Within so long a heartbeat comes, one a second, if the vehicle is heard at all."""
SAME = 1e-5
"""Relative difference of values that are one: they travel as 32 bit floats."""
CHANGED_FILE = "flown-parameters.json"
"""What was set for a flight and is to be set back, beside the lists of photographs."""
_INTEGERS = {
    mavlink.MAV_PARAM_TYPE_UINT8: "<Bxxx",
    mavlink.MAV_PARAM_TYPE_INT8: "<bxxx",
    mavlink.MAV_PARAM_TYPE_UINT16: "<Hxx",
    mavlink.MAV_PARAM_TYPE_INT16: "<hxx",
    mavlink.MAV_PARAM_TYPE_UINT32: "<I",
    mavlink.MAV_PARAM_TYPE_INT32: "<i",
}
READ = {
    Autopilot.ARDUPILOT: (
        *("FENCE_ENABLE", "FENCE_TYPE", "FENCE_ACTION", "FENCE_RADIUS", "FENCE_ALT_MAX"),
        *("FENCE_ALT_MIN", "RTL_ALT", "RTL_ALT_M", "WPNAV_SPEED", "WP_SPD"),
        *("FS_GCS_ENABLE", "FS_THR_ENABLE", "FS_OPTIONS", "TERRAIN_ENABLE"),
        *("BATT_FS_LOW_ACT", "BATT_LOW_VOLT", "BATT_LOW_MAH", "BATT_CAPACITY"),
    ),
    Autopilot.PX4: (
        *("GF_ACTION", "GF_MAX_HOR_DIST", "GF_MAX_VER_DIST", "RTL_RETURN_ALT"),
        *("MPC_XY_CRUISE", "MPC_XY_VEL_MAX", "NAV_DLL_ACT", "NAV_RCL_ACT", "COM_LOW_BAT_ACT"),
        *("COM_DLL_EXCEPT", "COM_RCL_EXCEPT", "BAT_CRIT_THR"),
    ),
}
"""What is read of each; versions differ, and those that one does not have are passed over."""
_EITHER = ({"RTL_ALT", "RTL_ALT_M"}, {"WPNAV_SPEED", "WP_SPD"})
"""Old and new names of one parameter; no version has both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter as the autopilot holds it."""

    name: str
    value: float
    kind: int
    """MAV_PARAM_TYPE."""


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
    left: float = math.nan
    """Fraction of the battery that is left after the landing."""
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
    left: float = math.nan,
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
        left=left,
        battery_v=battery_v,
    )


def misfits(values: Mapping[str, float], needs: Needs, autopilot: Autopilot) -> list[Misfit]:
    """Return the parameters that would end or bend a mission, each with what the sortie needs."""
    rules = _ardupilot if autopilot is Autopilot.ARDUPILOT else _px4
    return list(rules(values, needs))


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
    caps what a mission asks for.  COM_LOW_BAT_ACT acts at BAT_CRIT_THR (`commander_params.yaml`).
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
    return list(rules(values, needs))


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
    usual = values.get("WP_SPD", values.get("WPNAV_SPEED", math.nan) / 100.0)
    yield from _speed(usual, needs, "WP_SPD" if "WP_SPD" in values else "WPNAV_SPEED")


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
    yield from _speed(values.get("MPC_XY_CRUISE", math.nan), needs, "MPC_XY_CRUISE")


def _ends(ends: Sequence[str]) -> Iterator[str]:
    if ends:
        yield f"the autopilot ends the sortie by itself when {', or '.join(ends)}"


def _speed(usual_m_s: float, needs: Needs, name: str) -> Iterator[str]:
    if usual_m_s < needs.speed_m_s - 0.05:
        yield (
            f"{name} is {usual_m_s:g} m/s: it comes home slower than the {needs.speed_m_s:g} m/s "
            "that its battery was planned for"
        )
    elif math.isnan(needs.speed_m_s) and usual_m_s == usual_m_s:
        yield f"the mission asks for no speed and is flown at {name}, {usual_m_s:g} m/s"


def read_parameters(link: Link, names: Iterable[str]) -> dict[str, Parameter]:
    """Ask for parameters by name; those that do not come after three tries are not there.

    Neither firmware answers to a name that it does not know.

    Raises
    ------
    LinkError
        If the connection is closed.
    """
    wanted = list(names)
    found: dict[str, Parameter] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        with link.listening("PARAM_VALUE") as inbox:
            for _ in range(TRIES):
                missing = _not_found(batch, found)
                for name in missing:
                    ask = link.make.param_request_read_encode(*link.target, name.encode(), -1)
                    link.send(ask)
                until_s = time.monotonic() + link.patience.reply_s
                while missing and (message := inbox.take(until_s - time.monotonic())) is not None:
                    parameter = _parameter(message, link.autopilot)
                    if parameter.name in missing:
                        found[parameter.name] = parameter
                        missing = _not_found(missing, found)
                if not link.open:
                    raise LinkError(f"{link.address}: the link was closed while reading parameters")
    return found


def _not_found(names: Iterable[str], found: Collection[str]) -> list[str]:
    there = {*found}.union(*(pair for pair in _EITHER if pair & {*found}))
    return [name for name in names if name not in there]


def set_parameter(link: Link, parameter: Parameter, value: float) -> None:
    """Set a parameter and wait until the autopilot says that it holds the value.

    Raises
    ------
    RefusedError
        If it keeps another value.
    LinkError
        If it does not answer.
    """
    field = _to_wire(value, parameter.kind, link.autopilot)
    name = parameter.name
    with link.listening("PARAM_VALUE") as inbox:
        held = math.nan
        for _ in range(TRIES):
            link.send(
                link.make.param_set_encode(*link.target, name.encode(), field, parameter.kind)
            )
            until_s = time.monotonic() + link.patience.reply_s
            while (message := inbox.take(until_s - time.monotonic())) is not None:
                told = _parameter(message, link.autopilot)
                if told.name == name:
                    held = told.value
                    if _same(held, value):
                        return
    if math.isnan(held):
        raise LinkError(f"{link.address}: no answer to setting {name}; look at the link")
    raise RefusedError(f"{link.address}: {name} stays at {held:g}; the autopilot refuses {value:g}")


def _parameter(message: Message, autopilot: Autopilot) -> Parameter:
    value, kind = message.param_value, message.param_type
    if autopilot is Autopilot.PX4 and kind in _INTEGERS:
        (value,) = struct.unpack(_INTEGERS[kind], struct.pack("<f", value))
    return Parameter(name=message.param_id.rstrip("\0"), value=float(value), kind=kind)


def _to_wire(value: float, kind: int, autopilot: Autopilot) -> float:
    """Return the field of a value: PX4 puts integers there byte by byte, ArduPilot as a number."""
    if autopilot is Autopilot.PX4 and kind in _INTEGERS:
        (field,) = struct.unpack("<f", struct.pack(_INTEGERS[kind], round(value)))
        return float(field)
    return value


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b), 1.0)


def check_parameters(
    link: Link, needs: Needs, *, may_set: bool, say: Callable[[str], None] = log.info
) -> dict[Parameter, float]:
    """Hold the autopilot's parameters against a sortie; return those to set, and to what.

    Raises
    ------
    RefusedError
        If one does not fit and may not, or cannot, be set.
    """
    held = read_parameters(link, READ[link.autopilot])
    values = {name: parameter.value for name, parameter in held.items()}
    for remark in remarks(values, needs, link.autopilot):
        say(remark)
    found = misfits(values, needs, link.autopilot)
    bad = [one for one in found if not (may_set and math.isfinite(one.fit))]
    if bad:
        settable = any(math.isfinite(one.fit) for one in found) and not may_set
        which = "it" if len(bad) == 1 else "them"
        remedy = f"; set {which}, or give --set-parameters to set {which} for this flight"
        remedy = remedy if settable else ""
        raise RefusedError(
            f"{link.address}: {'; '.join(f'{one.name} {one.said}' for one in bad)}{remedy}; "
            "nothing is armed"
        )
    for one in found:
        say(f"{one.name} will be set to {one.fit:g} for this flight; it {one.said}")
    return {held[one.name]: one.fit for one in found}


def set_for_flight(
    link: Link,
    changes: Mapping[Parameter, float],
    folder: Path,
    *,
    say: Callable[[str], None] = log.info,
) -> None:
    """Set parameters, noting in the folder first what they were, for `set_back`.

    Raises
    ------
    RefusedError, LinkError
        If one cannot be set.
    """
    if not changes:
        return
    path, vehicle = folder / CHANGED_FILE, _vehicle(link)
    noted = {(one["vehicle"], one["name"]): one for one in _noted(path)}
    for parameter, value in changes.items():
        one = {"vehicle": vehicle, "name": parameter.name, "was": parameter.value}
        one = noted.get((vehicle, parameter.name), one)
        noted[vehicle, parameter.name] = {**one, "set": value}
    _note(path, list(noted.values()))
    for parameter, value in changes.items():
        set_parameter(link, parameter, value)
        say(f"{parameter.name} is set to {value:g} for this flight (it was {parameter.value:g})")


def set_back(link: Link, folder: Path, *, say: Callable[[str], None] = log.info) -> None:
    """Set back what was set for a flight, this one or one whose program was ended.

    Nothing is set back while the vehicle is armed: a fence drawn in about a vehicle beyond it
    would turn it home.  What someone has changed since stays as it is, and so does another vehicle.

    Raises
    ------
    RefusedError, LinkError
        If one cannot be set back; it stays noted.
    """
    path = folder / CHANGED_FILE
    noted = _noted(path)
    if not noted:
        return
    if not _on_ground(link):
        say(
            f"{_listed(one['name'] for one in noted)} will be set back after the landing; run the "
            "same command again then, if this one has ended"
        )
        return
    vehicle = _vehicle(link)
    own = [one for one in noted if one["vehicle"] == vehicle]
    held = read_parameters(link, [one["name"] for one in own])
    for one in own:
        parameter = held.get(one["name"])
        if parameter is None:
            say(f"{one['name']} was set to {one['set']:g} for a flight and cannot be read")
            continue
        if _same(parameter.value, one["set"]):
            set_parameter(link, parameter, one["was"])
            say(f"{one['name']} is set back to {one['was']:g}")
        elif not _same(parameter.value, one["was"]):
            say(f"{one['name']} was changed to {parameter.value:g} since, and stays so")
        noted = [other for other in noted if other is not one]
        _note(path, noted)


def _vehicle(link: Link) -> str:
    """Return a name of this very vehicle: the number of its board, or that of its system."""
    told = read_version(link)
    if told is not None and any(told.uid2):
        return bytes(told.uid2).hex()
    return f"{told.uid:x}" if told is not None and told.uid else f"system {link.target[0]}"


def _on_ground(link: Link) -> bool:
    """Whether the vehicle says now that it is not armed; the latest heartbeat may be older."""
    with link.listening("HEARTBEAT") as inbox:
        fresh = inbox.take(BEATS_S) if link.open else None
    return fresh is not None and not link.armed


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def _note(path: Path, noted: Sequence[Mapping[str, Any]]) -> None:
    if noted:
        write_json(path, list(noted), indent=1, for_people=True)
    else:
        path.unlink(missing_ok=True)


def _noted(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    noted = read_json(path, remedy="set the parameters in it back by hand, then delete it")
    keys = {"vehicle", "name", "was", "set"}
    if not isinstance(noted, list) or not all(keys <= set(one) for one in noted):
        raise InputError(f"{path}: damaged; set the parameters in it back by hand, then delete it")
    return noted
