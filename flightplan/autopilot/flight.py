"""Check a vehicle against the plan, start its loaded mission, and follow it to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pymavlink.dialects.v20 import ardupilotmega as mavlink
from pyproj import Geod

from flightplan.autopilot.link import Link, LinkError, Message, MessageQueue, RefusedError
from flightplan.autopilot.logbook import MESSAGES, PhotographList, read_trigger
from flightplan.autopilot.protocol import UNITS_PER_DEG, waypoints_passed
from flightplan.autopilot.upload import Loaded
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import Mission, Place
from tmp.geo.frames import position_in_words

log = logging.getLogger(__name__)

LOST_S = 5.0
"""Without a heartbeat for so long, the link counts as lost."""

_LOOK_S = 0.25
"""How often the link is looked at."""

_CUSTOM = float(mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED)

_COPTER_AUTO, _COPTER_GUIDED = 3.0, 4.0
_PX4_AUTO, _PX4_AUTO_MISSION = 4.0, 4.0

_HEARD = ("HEARTBEAT", "MISSION_CURRENT", "MISSION_ITEM_REACHED", "STATUSTEXT", *MESSAGES)

_EARTH = Geod(ellps="WGS84")
_MULTIROTORS = frozenset(
    getattr(mavlink, f"MAV_TYPE_{name}")
    for name in (
        *("QUADROTOR", "COAXIAL", "HELICOPTER", "HEXAROTOR", "OCTOROTOR", "TRICOPTER"),
        *("DODECAROTOR", "DECAROTOR"),
    )
)


def start(link: Link, loaded: Loaded) -> None:
    """Arm the vehicle and begin the mission from its first item.

    The caller has asked a person.  The fence is switched on first where there is one.

    Raises
    ------
    RefusedError
        If the autopilot refuses a command, with what it says; it is told to disarm then.
    LinkError
        If it does not answer.
    """
    _rewind(link)
    command = link.command
    set_mode, arm = mavlink.MAV_CMD_DO_SET_MODE, mavlink.MAV_CMD_COMPONENT_ARM_DISARM
    if link.autopilot is Autopilot.PX4:
        mission_mode = (_CUSTOM, _PX4_AUTO, _PX4_AUTO_MISSION)
        command(set_mode, *mission_mode, what="change to its mission mode")
        command(arm, 1.0, what="arm")
        return
    if loaded.fence:
        command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1.0, what="switch its fence on")
    command(set_mode, _CUSTOM, _COPTER_GUIDED, what="change to mode GUIDED, to arm in")
    command(arm, 1.0, what="arm")
    try:
        command(set_mode, _CUSTOM, _COPTER_AUTO, what="change to mode AUTO")
        command(mavlink.MAV_CMD_MISSION_START, what="start the mission")
    except (RefusedError, LinkError):
        disarm = link.make.command_long_encode(*link.target, arm, 0, *[0.0] * 7)
        link.send(disarm)  # on the ground it obeys; in the air it refuses, and should
        raise


def follow(
    link: Link,
    loaded: Loaded,
    photographs: PhotographList,
    *,
    passed: Callable[[int], None],
    say: Callable[[str], None] = log.info,
) -> Iterator[int]:
    """Follow a mission until it has ended, yielding once for each waypoint passed.

    `passed` is told the index of the furthest waypoint passed, `say` what a person should know:
    warnings of the autopilot, a lost link, a changed mode, photographs whose message was lost.  A
    lost link ends nothing here: the vehicle flies its mission, and following goes on when it is
    heard again.

    Raises
    ------
    LinkError
        If the connection is closed.  The vehicle flies on; follow it again.
    """
    watch = _Watch(link=link, loaded=loaded, photographs=photographs, say=say)
    began_s = time.monotonic()
    with link.listening(*_HEARD) as inbox:
        for _ in watch.events(inbox):
            if watch.waypoint > watch.told:
                passed(watch.waypoint)
                yield from range(watch.told + 1, watch.waypoint + 1)
                watch.told = watch.waypoint
            if watch.ended or (not loaded.lands and watch.told == loaded.waypoints - 1):
                break
            if not watch.flown and time.monotonic() - began_s > link.patience.hello_s:
                say("the vehicle is not armed; there is nothing to follow")
                break
    watch.count_lost()


def _rewind(link: Link) -> None:
    """Set the mission to its beginning and wait until the autopilot confirms."""
    until_s = time.monotonic() + link.patience.silence_s
    with link.listening("MISSION_CURRENT") as inbox:
        while link.open and time.monotonic() < until_s:
            link.send(link.make.mission_set_current_encode(*link.target, 0))
            again_s = time.monotonic() + link.patience.reply_s
            while (message := inbox.take(again_s - time.monotonic())) is not None:
                if message.seq <= 1:
                    return
    raise LinkError(
        f"{link.address}: the autopilot does not confirm that its mission begins at the first "
        "item; nothing is armed"
    )


@dataclass(slots=True, kw_only=True)
class _Watch:
    """What has been seen of a flight so far."""

    link: Link
    loaded: Loaded
    photographs: PhotographList
    say: Callable[[str], None]
    item: int = 0
    waypoint: int = -1
    told: int = -1
    flown: bool = False
    ended: bool = False
    _lost_since: datetime | None = None
    _mode: str = ""
    _told_by: str = ""
    _seen: dict[int, set[int]] = field(default_factory=dict)

    def events(self, inbox: MessageQueue) -> Iterator[None]:
        """Yield after each message, and at least every quarter of a second."""
        while True:
            message = inbox.take(_LOOK_S)
            self._look_at_link()
            if message is not None:
                self._take(message)
            yield

    def count_lost(self) -> None:
        """Say how many photographs were triggered without their message arriving."""
        for camera, indices in self._seen.items():
            missing = sorted(set(range(min(indices), max(indices))) - indices)
            if missing:
                shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
                self.say(
                    f"{len(missing)} photographs of camera {camera} were taken while their "
                    f"message was lost: {shown}"
                )

    def _look_at_link(self) -> None:
        if not self.link.open:
            raise LinkError(
                f"{self.link.address}: the connection was closed at {_clock()}; the vehicle flies "
                "its mission on; run again to follow it"
            )
        silent_s = time.monotonic() - self.link.heard_s
        if silent_s > LOST_S and self._lost_since is None:
            self._lost_since = datetime.now(UTC)
            self.say(f"link lost at {_clock()}; the vehicle flies its mission on")
        elif silent_s <= LOST_S and self._lost_since is not None:
            away_s = (datetime.now(UTC) - self._lost_since).total_seconds() + LOST_S
            self._lost_since = None
            self.say(f"link back at {_clock()} after {away_s:.0f} s")

    def _take(self, message: Message) -> None:
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._take_heartbeat(message)
        elif kind == "STATUSTEXT":
            if message.severity <= mavlink.MAV_SEVERITY_WARNING:
                self.say(f"autopilot: {message.text.strip()}")
        elif kind in MESSAGES:
            self._take_photograph(message)
        elif kind == "MISSION_ITEM_REACHED":
            self._reach(message.seq)
        elif self.flown:
            self._reach(message.seq - 1)  # makes good a lost word about an item reached

    def _take_heartbeat(self, message: Message) -> None:
        armed = bool(message.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)
        self.ended = self.flown and not armed
        self.flown = self.flown or armed
        mode = self.link.mode
        if armed and self._mode and mode != self._mode:
            self.say(f"flight mode is {mode} since {_clock()}")
        self._mode = mode if armed else self._mode

    def _reach(self, item: int) -> None:
        if 0 <= item < len(self.loaded.items):
            self.item = max(self.item, item)
            self.waypoint = waypoints_passed(self.loaded.items, self.item)

    def _take_photograph(self, message: Message) -> None:
        trigger = read_trigger(message, datetime.now(UTC))
        if trigger is None:
            self.say(f"the camera failed to take photograph {message.image_index}")
            return
        # An autopilot and its camera may both tell of the same photographs.
        self._told_by = self._told_by or trigger.message
        seen = self._seen.setdefault(trigger.camera, set())
        if trigger.message != self._told_by or trigger.index in seen:
            return
        seen.add(trigger.index)
        self.photographs.add(trigger, item=self.item, waypoint=self.waypoint)


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


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
            f"{self.firmware} at {position_in_words(self.place.lon_deg, self.place.lat_deg)}, "
            f"{self.satellites} satellites, battery {charge}"
        )


def check_vehicle(link: Link, mission: Mission, *, limits: Limits | None = None) -> VehicleState:
    """Ask the vehicle for its state and hold it against the plan.

    Raises
    ------
    RefusedError
        If it is no multirotor, has no position in three dimensions, stands too far from where
        the plan begins, or has too little charge.
    LinkError
        If it does not tell its position.
    """
    limits = limits or Limits()
    _check_kind(link)
    state = _state(link)
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


def _state(link: Link) -> VehicleState:
    gps = link.latest("GPS_RAW_INT", link.patience.hello_s)
    if gps is None:
        raise LinkError(
            f"{link.address}: the autopilot does not tell its position; is its GNSS receiver on?"
        )
    if gps.fix_type < mavlink.GPS_FIX_TYPE_3D_FIX:
        raise RefusedError(
            f"{link.address}: the vehicle has no position yet ({gps.satellites_visible} "
            "satellites); wait for its GNSS fix under open sky"
        )
    power = link.latest("SYS_STATUS", link.patience.reply_s)
    return VehicleState(
        firmware=_firmware(link),
        place=Place(
            lon_deg=gps.lon / UNITS_PER_DEG, lat_deg=gps.lat / UNITS_PER_DEG, ground_m=gps.alt / 1e3
        ),
        satellites=gps.satellites_visible,
        battery_percent=-1 if power is None else power.battery_remaining,
    )


def _firmware(link: Link) -> str:
    """Return the firmware's name, with its version if it tells."""
    asked = float(mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION)
    try:
        link.command(mavlink.MAV_CMD_REQUEST_MESSAGE, asked, what="tell its version")
    except RefusedError:  # old firmware; the mission is proven by reading it back, not by this
        return link.firmware
    told = link.latest("AUTOPILOT_VERSION", link.patience.reply_s)
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
        f"the vehicle stands {away_m:.0f} m from {what} at "
        f"{position_in_words(planned.lon_deg, planned.lat_deg)}, more than {most_m:g} m; carry it "
        "there, or plan from here"
    )


def _too_empty(state: VehicleState, limits: Limits) -> str:
    if not 0 <= state.battery_percent < limits.battery_percent:
        return ""
    return (
        f"the battery holds {state.battery_percent} %, less than {limits.battery_percent:g} %; "
        "put in a full one"
    )
