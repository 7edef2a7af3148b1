"""An autopilot's own parameters: read, held against what a sortie needs, and set for a flight.

References
----------
MAVLink developer guide, Parameter Protocol: https://mavlink.io/en/services/parameter.html
ArduPilot 4.7 gives RTL_ALT (cm) in metres as RTL_ALT_M (pull request 31970), and WPNAV_SPEED (cm/s)
in m/s as WP_SPD (pull request 32147).
"""

from __future__ import annotations

import logging
import math
import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.checks import read_version
from flightplan.autopilot.link import Link, LinkError, RefusedError
from flightplan.autopilot.needs import Needs, misfits, remarks
from flightplan.autopilot.texts import Message
from flightplan.formats.mavlink_items import Autopilot
from tmp.errors import InputError
from tmp.files import read_json, write_json

log = logging.getLogger(__name__)

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
        *("RTL_ALT", "RTL_ALT_M", "RTL_SPEED", "RTL_SPEED_MS", "WPNAV_SPEED", "WP_SPD"),
        *("WPNAV_ACCEL", "WP_ACC", "WPNAV_JERK", "WP_JERK", "WPNAV_SPEED_UP", "WP_SPD_UP"),
        *("WPNAV_SPEED_DN", "WP_SPD_DN", "LAND_SPEED", "LAND_SPD_MS"),
        *("LAND_ALT_LOW", "LAND_ALT_LOW_M", "RTL_LOIT_TIME"),
        *("FENCE_ENABLE", "FENCE_TYPE", "FENCE_ACTION", "FENCE_RADIUS", "FENCE_ALT_MAX"),
        *("FENCE_ALT_MIN", "FS_GCS_ENABLE", "FS_THR_ENABLE", "FS_OPTIONS", "TERRAIN_ENABLE"),
        *("BATT_FS_LOW_ACT", "BATT_LOW_VOLT", "BATT_LOW_MAH", "BATT_CAPACITY"),
    ),
    Autopilot.PX4: (
        *("GF_ACTION", "GF_MAX_HOR_DIST", "GF_MAX_VER_DIST", "RTL_RETURN_ALT"),
        *("MPC_XY_CRUISE", "MPC_XY_VEL_MAX", "NAV_DLL_ACT", "NAV_RCL_ACT", "COM_LOW_BAT_ACT"),
        *("COM_DLL_EXCEPT", "COM_RCL_EXCEPT", "BAT_CRIT_THR", "MIS_DIST_1WP"),
        *("MPC_ACC_HOR", "MPC_JERK_AUTO", "MPC_Z_V_AUTO_UP", "MPC_Z_V_AUTO_DN"),
        *("MPC_LAND_SPEED", "RTL_LAND_DELAY"),
    ),
}
"""What is read of each; versions differ, and those that one does not have are passed over."""
_EITHER = (
    *({"RTL_ALT", "RTL_ALT_M"}, {"RTL_SPEED", "RTL_SPEED_MS"}, {"WPNAV_SPEED", "WP_SPD"}),
    *({"WPNAV_ACCEL", "WP_ACC"}, {"WPNAV_JERK", "WP_JERK"}, {"WPNAV_SPEED_UP", "WP_SPD_UP"}),
    *({"WPNAV_SPEED_DN", "WP_SPD_DN"}, {"LAND_SPEED", "LAND_SPD_MS"}),
    {"LAND_ALT_LOW", "LAND_ALT_LOW_M"},
)
"""Old and new names of one parameter; no version has both.  Both are asked for in one batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter as the autopilot holds it."""

    name: str
    value: float
    kind: int
    """MAV_PARAM_TYPE."""


def read_parameters(link: Link, names: Iterable[str]) -> dict[str, Parameter]:
    """Ask for parameters by name; when three tries in a row bring none, the rest are not there.

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
            silent = 0
            while (missing := _not_found(batch, found)) and silent < TRIES:
                silent += 1
                for name in missing:
                    ask = link.make.param_request_read_encode(*link.target, name.encode(), -1)
                    link.send(ask)
                until_s = time.monotonic() + link.patience.reply_s
                while missing and (message := inbox.take(until_s - time.monotonic())) is not None:
                    parameter = _parameter(message, link.autopilot)
                    if parameter.name in missing:
                        found[parameter.name], silent = parameter, 0
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
