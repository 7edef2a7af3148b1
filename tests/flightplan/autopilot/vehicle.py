"""A MAVLink vehicle on a loopback socket, which answers as ArduPilot and as PX4 do.

ArduPilot asks for items with MISSION_REQUEST, keeps its own home as item 0, drops the values that
its source drops, and takes a mission item by item.  PX4 asks with MISSION_REQUEST_INT, keeps all
values, names frames by their long names, and takes a mission when it is complete.

Each has its parameters, with the values as delivered, and acts on them: fences, failsafes of
battery and ground station, height of the way home, speeds; the sources are named where it does.
"""

from __future__ import annotations

import heapq
import math
import os
import random
import socket
import struct
import threading
import time
import tty
from dataclasses import dataclass, field
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.protocol import WireItem

HOME = (641234567, -219876543, 31.25)
"""Latitude and longitude in 1e-7 degrees, and height above the sea in metres."""

COPTER_AUTO, COPTER_GUIDED, COPTER_RTL, COPTER_LAND = 3, 4, 6, 9
PX4_LOITER = (4 << 16) | (3 << 24)
PX4_MISSION = (4 << 16) | (4 << 24)
PX4_RTL = (4 << 16) | (5 << 24)
PX4_LAND = (4 << 16) | (6 << 24)
LATE_M = 0.07
"""By which a photograph by distance comes late: the camera is looked at as positions come in, and a
step of the flight lies between them; seen so in ArduCopter 4.7 on its simulator."""
FULL_V, EMPTY_V = 16.8, 13.2
"""Of a battery of four cells."""

ARDUPILOT_KEEPS = {
    16: ("p1", "x", "y", "z"),
    20: (),
    21: ("p1", "x", "y", "z"),
    22: ("p1", "x", "y", "z"),
    115: ("p1", "p2", "p3", "p4"),
    178: ("p1", "p2", "p3"),
    203: ("p1", "p2", "p3", "p4", "x", "y"),
    205: ("p1", "p2", "p3"),
    206: ("p1", "p3"),
    5001: ("p1", "x", "y"),
    5002: ("p1", "x", "y"),
}
LONG_FRAMES = {0: 5, 3: 6}
INT8, INT16, INT32, REAL32 = 2, 4, 6, 9
COPTER_PARAMETERS = {
    # AC_Fence.cpp: AC_FENCE_TYPE_DEFAULT is greatest height, circle and polygon.
    "FENCE_ENABLE": (0, INT8),
    "FENCE_TYPE": (7, INT8),
    "FENCE_ACTION": (1, INT8),
    "FENCE_ALT_MAX": (100, REAL32),
    "FENCE_ALT_MIN": (-10, REAL32),
    "FENCE_RADIUS": (300, REAL32),
    # ArduCopter/config.h and Parameters.cpp, of versions before 4.7.
    "RTL_ALT": (1500, INT32),
    "RTL_SPEED": (0, INT16),  # 0 is WPNAV_SPEED
    "RTL_LOIT_TIME": (5000, INT32),
    "LAND_SPEED": (50, INT16),
    "LAND_ALT_LOW": (1000, INT16),
    # AC_WPNav.cpp.
    "WPNAV_SPEED": (1000, REAL32),
    "WPNAV_SPEED_UP": (250, REAL32),
    "WPNAV_SPEED_DN": (150, REAL32),
    "WPNAV_ACCEL": (250, REAL32),
    "WPNAV_JERK": (1, REAL32),
    "FS_GCS_ENABLE": (0, INT8),
    "FS_THR_ENABLE": (1, INT8),
    "FS_OPTIONS": (16, INT32),
    "TERRAIN_ENABLE": (1, INT8),
    # AP_BattMonitor_Params.cpp.
    "BATT_FS_LOW_ACT": (0, INT8),
    "BATT_LOW_VOLT": (10.5, REAL32),
    "BATT_LOW_MAH": (0, REAL32),
    "BATT_CAPACITY": (3300, INT32),
}
PX4_PARAMETERS = {
    # navigator/geofence_params.c, rtl_params.c.
    "GF_ACTION": (2, INT32),
    "GF_MAX_HOR_DIST": (0, REAL32),
    "GF_MAX_VER_DIST": (0, REAL32),
    "RTL_RETURN_ALT": (60, REAL32),
    # mc_pos_control: multicopter_position_control_limits_params.c and _auto_.
    "MPC_XY_VEL_MAX": (12, REAL32),
    "MPC_XY_CRUISE": (5, REAL32),
    "MPC_ACC_HOR": (3, REAL32),
    "MPC_JERK_AUTO": (4, REAL32),
    "MPC_Z_V_AUTO_UP": (3, REAL32),
    "MPC_Z_V_AUTO_DN": (1.5, REAL32),
    "MPC_LAND_SPEED": (0.7, REAL32),
    # rtl_params.c, mission_params.c.
    "RTL_LAND_DELAY": (0, REAL32),
    "MIS_DIST_1WP": (10_000, REAL32),
    # commander_params.yaml, lib/battery.
    "NAV_DLL_ACT": (0, INT32),
    "NAV_RCL_ACT": (2, INT32),
    "COM_DLL_EXCEPT": (0, INT32),
    "COM_RCL_EXCEPT": (0, INT32),
    "COM_LOW_BAT_ACT": (0, INT32),
    "BAT_CRIT_THR": (0.07, REAL32),
}
METRES_PER_UNIT = 0.011132
"""Of a latitude, 1e-7 degrees on a sphere with the Earth's equator."""


@dataclass(kw_only=True)
class Habits:
    """How this vehicle behaves, and how bad its link is."""

    px4: bool = False
    kind: int = mavlink.MAV_TYPE_QUADROTOR
    firmware: int | None = None
    """What it says it is, if not ArduPilot or PX4."""
    loss: float = 0.0
    """Share of packets lost, each way."""
    twice: float = 0.0
    """Share of packets that arrive twice, each way."""
    late: float = 0.0
    """Share of packets that arrive late, after others, each way."""
    late_s: float = 0.02
    seed: int = 1
    again_s: float = 0.05
    """After which it asks again for an item."""
    refuse: dict[int, int] = field(default_factory=dict)
    """Result to refuse the mission's items with, by number."""
    holds: int = 650
    """Greatest number of items of a mission."""
    refuse_commands: dict[int, str] = field(default_factory=dict)
    """What to say when a command is denied, by number."""
    silent_after: int | None = None
    """Item of the mission after which it says nothing more."""
    keep_last_ack: bool = True
    """Whether the word that a mission is complete ever leaves it."""
    spoil: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Values it stores wrongly, by the mission's item."""
    fix_type: int = 3
    battery: int = 90
    uses: int = 0
    """Per cent of the battery that it uses from one waypoint to the next."""
    by_distance: bool = False
    """Whether it takes photographs by distance, late at each, instead of `photos_per_item`."""
    station_lost_s: float = 5.0
    """Without a heartbeat of the ground station for so long it is lost: FS_GCS_TIMEOUT 5 s, in
    PX4 COM_DL_LOSS_T 10 s."""
    at: tuple[int, int] = HOME[:2]
    photos_per_item: int = 1
    pause_at: int | None = None
    """Item after which it hangs in the air without a word for `pause_s`."""
    pause_s: float = 0.0
    hovers: bool = False
    """Whether it stays in the air at the end of its mission."""
    parameters: dict[str, float | None] = field(default_factory=dict)
    """Values other than as delivered; None for one that it does not know."""
    keeps_parameters: bool = False
    """Whether it takes no new values."""
    fix_after_s: float = 0.0
    """Time until it has `fix_type`, and before none."""
    estimates_after_s: float | None = 0.0
    """Time until its estimator has a position; None if it sends nothing of it."""
    above_home_m: float = 0.0
    """Where it stands, above HOME."""
    ellipsoid_m: float = 0.0
    """Its height above the ellipsoid; 0 if it does not say."""
    board: int = 0
    """Number of its board; 0 if it does not tell."""
    says: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Severity and text that it says at an item of the mission."""
    timeout_s: float = 8.0
    """Without an item for so long it gives an upload up, `MissionItemProtocol.h`."""
    chatter: bool = True
    """Whether a camera and a ground station speak on the same link."""


class Vehicle:
    """The vehicle, on a thread of its own; use it in a ``with`` block."""

    def __init__(
        self,
        habits: Habits,
        *,
        tcp: bool = False,
        cable: bool = False,
        to: tuple[str, int] | None = None,
    ):
        self.habits = habits
        self.rng = random.Random(habits.seed)
        self.mission: list[WireItem] = [self._home()] if not habits.px4 else []
        self.fence: list[WireItem] = []
        known = PX4_PARAMETERS if habits.px4 else COPTER_PARAMETERS
        own = {name: (value, REAL32) for name, value in habits.parameters.items()}
        own |= {
            name: (habits.parameters.get(name, value), kind)
            for name, (value, kind) in known.items()
        }
        self.parameters = {name: one for name, one in own.items() if one[0] is not None}
        self.sets: list[tuple[str, float]] = []
        self.speeds: list[float] = []
        """At which it flew to each waypoint, m/s."""
        self.home_at_m = math.nan
        """Height of its way home above the take-off, if it was turned home."""
        self.station_s = time.monotonic()
        """When a ground station was heard last."""
        self._speed = math.nan
        self._since_m, self._spacing_m, self._from = 0.0, 0.0, habits.at
        self._height_m = 0.0
        self.fence_on = self._homeward = False
        self._texts = 0
        self._drops = False
        self._born_s = time.monotonic()
        self.armed = False
        self.was_armed = False
        self.mode = PX4_LOITER if habits.px4 else 0
        self.current = 0
        self.photos = 0
        self.commands: list[int] = []
        self.deaf = False
        self.step_s = 0.01
        self.hovers_after = math.inf
        """Number of photographs after which it waits in the air for this to be more."""
        self.climb_s = 0.1
        self._tcp, self._to = tcp, to
        self._later: list[tuple[float, int, bytes, bool]] = []
        self._upload: tuple[int, int, list[WireItem]] | None = None
        self._asked_s = self._item_s = 0.0
        self._flying_s = math.inf
        self._stop = threading.Event()
        self._made = 0
        self._partner = (255, 0)
        self._mav = mavlink.MAVLink(None, srcSystem=7, srcComponent=1)
        self._mav.robust_parsing = True
        self._camera = mavlink.MAVLink(None, srcSystem=7, srcComponent=100)
        self._station = mavlink.MAVLink(None, srcSystem=250, srcComponent=190)
        kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self._peer: socket.socket | None = None
        if tcp:
            self._socket.listen(1)
        self.port = self._socket.getsockname()[1]
        self._ends = os.openpty() if cable else None
        if self._ends:
            tty.setraw(self._ends[1])
            os.set_blocking(self._ends[0], False)
        self._thread = threading.Thread(target=self._run)

    @property
    def address(self) -> str:
        """What to connect to; for a vehicle that speaks first, where to listen."""
        if self._ends:
            return f"{os.ttyname(self._ends[1])},115200"
        if self._to is not None:
            return f"udp:{self._to[0]}:{self._to[1]}"
        return f"{'tcp' if self._tcp else 'udpout'}:127.0.0.1:{self.port}"

    def __enter__(self) -> Vehicle:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._peer is not None:
            self._peer.close()
        self._socket.close()
        for end in self._ends or ():
            os.close(end)

    def hang_up(self) -> None:
        """Close the connection, as when a bridge on TCP loses power."""
        self._stop.set()

    def drop(self) -> None:
        """Close the connection, and take the next one."""
        self._drops = True

    def unplug(self) -> None:
        """Pull the cable out."""
        self._stop.set()
        self._thread.join()
        for end in self._ends or ():
            os.close(end)
        self._ends = None

    def revive(self) -> None:
        """Hear again after `silent_after`, the upload given up."""
        self.habits.silent_after, self._upload, self.deaf = None, None, False

    # The thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        self._socket.settimeout(0.005)
        beat_s = 0.0
        while not self._stop.is_set():
            now_s = time.monotonic()
            if now_s >= beat_s:
                self._tell_state()
                beat_s = now_s + 0.02
            while self._later and self._later[0][0] <= now_s:
                _, _, data, incoming = heapq.heappop(self._later)
                if incoming:
                    self._hear(data)
                else:
                    self._put(data)
            for data in self._received():
                self._through_the_air(data, incoming=True)
            self._ask_again()
            self._fly_on()
        if self._peer is not None:
            self._peer.close()

    def _received(self) -> list[bytes]:
        try:
            if self._drops and self._peer is not None:
                self._peer.close()
                self._peer, self._drops = None, False
            if self._ends:
                time.sleep(0.001)
                return [os.read(self._ends[0], 4096)]
            if not self._tcp:
                data, sender = self._socket.recvfrom(2048)
                self._to = self._to or sender
                return [data]
            if self._peer is None:
                self._peer, _ = self._socket.accept()
                self._peer.settimeout(0.005)
                return []
            data = self._peer.recv(4096)
        except (TimeoutError, ConnectionError, BlockingIOError):
            return []
        return [data] if data else []

    def _through_the_air(self, data: bytes, *, incoming: bool) -> None:
        if self.deaf or self.rng.random() < self.habits.loss:
            return
        copies = 2 if self.rng.random() < self.habits.twice else 1
        for _ in range(copies):
            if self.rng.random() < self.habits.late:
                self._made += 1
                due_s = time.monotonic() + self.habits.late_s
                heapq.heappush(self._later, (due_s, self._made, data, incoming))
            elif incoming:
                self._hear(data)
            else:
                self._put(data)

    def _put(self, data: bytes) -> None:
        try:
            if self._ends:
                os.write(self._ends[0], data)
            elif self._tcp:
                if self._peer is not None:
                    self._peer.sendall(data)
            elif self._to is not None:
                self._socket.sendto(data, self._to)
        except OSError:
            pass

    def _say(self, message: Any, voice: Any = None) -> None:
        self._through_the_air(bytes(message.pack(voice or self._mav)), incoming=False)

    def _hear(self, data: bytes) -> None:
        for message in self._mav.parse_buffer(data) or []:
            if message.get_type() == "HEARTBEAT":
                self.station_s = time.monotonic()
                continue
            self._partner = (message.get_srcSystem(), message.get_srcComponent())
            answer = getattr(self, "_on_" + message.get_type().lower(), None)
            if answer is not None and message.target_system == 7:
                answer(message)

    # State -----------------------------------------------------------------------------------

    def _home(self) -> WireItem:
        return WireItem(command=16, frame=0, x=HOME[0], y=HOME[1], z=HOME[2])

    def _tell_state(self) -> None:
        px4, make = self.habits.px4, self._mav
        base = mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED | (128 if self.armed else 0)
        firmware = mavlink.MAV_AUTOPILOT_PX4 if px4 else mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA
        firmware = self.habits.firmware or firmware
        self._say(make.heartbeat_encode(self.habits.kind, firmware, base, self.mode, 4))
        if self.habits.chatter:
            nobody = mavlink.MAV_AUTOPILOT_INVALID
            camera, station = mavlink.MAV_TYPE_CAMERA, mavlink.MAV_TYPE_GCS
            self._say(make.heartbeat_encode(camera, nobody, 0, 0, 4), self._camera)
            self._say(make.heartbeat_encode(station, nobody, 0, 0, 4), self._station)
        lat, lon = self.habits.at
        millimetres = int((HOME[2] + self.habits.above_home_m) * 1000)
        age_s = time.monotonic() - self._born_s
        fix_type = self.habits.fix_type if age_s >= self.habits.fix_after_s else 1
        self._say(
            make.gps_raw_int_encode(
                *(0, fix_type, lat, lon, millimetres, 80, 120, 0, 0, 14),
                alt_ellipsoid=int(self.habits.ellipsoid_m * 1000),
            )
        )
        if self.habits.estimates_after_s is not None:
            self._say(self._estimate(age_s >= self.habits.estimates_after_s))
        self._say(make.global_position_int_encode(0, lat, lon, millimetres, 0, 0, 0, 0, 9000))
        self._say(
            make.sys_status_encode(
                0, 0, 0, 0, int(self._volts() * 1000), 900, self.habits.battery, 0, 0, 0, 0, 0, 0
            )
        )
        self._say(make.mission_current_encode(self.current))

    def _estimate(self, ready: bool) -> Any:
        make = self._mav
        if self.habits.px4:
            flags = mavlink.ESTIMATOR_POS_HORIZ_ABS if ready else 0
            return make.estimator_status_encode(0, flags, 0, 0, 0, 0, 0, 0, 1.0, 1.0)
        # Before there is a position the filter holds one that it assumes.
        assumed = mavlink.EKF_ATTITUDE | mavlink.EKF_CONST_POS_MODE
        flags = mavlink.EKF_PRED_POS_HORIZ_ABS if ready else assumed
        return make.ekf_status_report_encode(flags, 0, 0, 0, 0, 0)

    def tell(self, severity: int, text: str) -> None:
        """Say something to people, in several packets if it is long."""
        data = text.encode()
        if len(data) <= 50:
            self._say(self._mav.statustext_encode(severity, data))
            return
        self._texts += 1
        for chunk, start in enumerate(range(0, len(data) + 1, 50)):
            part = data[start : start + 50]
            self._say(self._mav.statustext_encode(severity, part, self._texts, chunk))

    # Parameters ------------------------------------------------------------------------------

    def _on_param_request_read(self, message: Any) -> None:
        name = message.param_id.rstrip("\0")
        if name in self.parameters:  # neither firmware answers to names that it does not know
            self._tell_parameter(name)

    def _on_param_set(self, message: Any) -> None:
        name, value = message.param_id.rstrip("\0"), message.param_value
        if name not in self.parameters:
            return
        kind = self.parameters[name][1]
        if self.habits.px4 and kind == INT32:
            (value,) = struct.unpack("<i", struct.pack("<f", value))
        if not self.habits.keeps_parameters:
            self.parameters[name] = (value, kind)
            self.sets.append((name, value))
        self._tell_parameter(name)

    def _tell_parameter(self, name: str) -> None:
        value, kind = self.parameters[name]
        if self.habits.px4 and kind == INT32:  # byte by byte, mavlink_parameters.cpp
            (value,) = struct.unpack("<f", struct.pack("<i", int(value)))
        count = len(self.parameters)
        self._say(self._mav.param_value_encode(name.encode(), value, kind, count, 0))

    # Commands --------------------------------------------------------------------------------

    def _on_command_long(self, message: Any) -> None:
        number = message.command
        self.commands.append(number)
        result = mavlink.MAV_RESULT_ACCEPTED
        if number in self.habits.refuse_commands:
            result = mavlink.MAV_RESULT_DENIED
            text = self.habits.refuse_commands[number]
            self._say(self._mav.statustext_encode(mavlink.MAV_SEVERITY_CRITICAL, text.encode()))
        elif number == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
            self.armed = self.was_armed = bool(message.param1)
            if self.habits.px4 and self.mode == PX4_MISSION:
                self.begin()
        elif number == mavlink.MAV_CMD_DO_SET_MODE:
            px4_mode = (int(message.param2) << 16) | (int(message.param3) << 24)
            self.mode = px4_mode if self.habits.px4 else int(message.param2)
        elif number == mavlink.MAV_CMD_DO_FENCE_ENABLE:
            self.fence_on = bool(message.param1)
        elif number == mavlink.MAV_CMD_MISSION_START:
            self.begin()
        elif number == mavlink.MAV_CMD_REQUEST_MESSAGE:
            self._say(self._version())
        self._say(self._mav.command_ack_encode(number, result))

    def _version(self) -> Any:
        release = (1 << 24) | (15 << 16) if self.habits.px4 else (4 << 24) | (6 << 16) | (3 << 8)
        nothing = bytes(8)
        able = (
            mavlink.MAV_PROTOCOL_CAPABILITY_MISSION_INT
            | mavlink.MAV_PROTOCOL_CAPABILITY_MISSION_FENCE
        )
        return self._mav.autopilot_version_encode(
            able, release | 255, 0, 0, 0, nothing, nothing, nothing, 0, 0, self.habits.board
        )

    def begin(self) -> None:
        """Set out on the mission, if armed."""
        if self.armed and self._flying_s == math.inf:
            self._flying_s = time.monotonic() + self.climb_s

    # Missions ---------------------------------------------------------------------------------

    def _list(self, kind: int) -> list[WireItem]:
        return self.mission if kind == 0 else self.fence

    def _on_mission_count(self, message: Any) -> None:
        kind = message.mission_type
        if message.count > self.habits.holds:
            self._acknowledge(mavlink.MAV_MISSION_NO_SPACE, kind)
            return
        self._upload = (kind, message.count, [])
        self._item_s = time.monotonic()
        if kind == 0 and not self.habits.px4:  # MissionItemProtocol::truncate
            self.mission = self.mission[: message.count]
        self._ask(0)

    def _ask(self, seq: int) -> None:
        assert self._upload is not None
        kind = self._upload[0]
        self._asked_s = time.monotonic()
        if self.habits.px4:
            self._say(self._mav.mission_request_int_encode(*self._partner, seq, kind))
        else:
            self._say(self._mav.mission_request_encode(*self._partner, seq, kind))

    def _ask_again(self) -> None:
        if self._upload is None:
            return
        now_s, kind = time.monotonic(), self._upload[0]
        if now_s - self._item_s > self.habits.timeout_s:
            self._upload = None
            self.tell(mavlink.MAV_SEVERITY_WARNING, "Mission upload timeout")
            self._acknowledge(mavlink.MAV_MISSION_OPERATION_CANCELLED, kind)
        elif now_s - self._asked_s > self.habits.again_s:
            self._ask(len(self._upload[2]))

    def _on_mission_item_int(self, message: Any) -> None:
        if self._upload is None:
            return
        kind, count, got = self._upload
        if message.mission_type != kind or message.seq != len(got):
            return  # a copy of one that it has
        if kind == 0 and message.seq in self.habits.refuse:
            self._acknowledge(self.habits.refuse[message.seq], kind)
            self._asked_s = time.monotonic()
            return
        got.append(self._stored(message))
        self._item_s = time.monotonic()
        if kind == 0 and not self.habits.px4:  # MissionItemProtocol::handle_mission_item
            stored = got[-1] if message.seq else self._home()
            self.mission[message.seq : message.seq + 1] = [stored]
        if kind == 0 and self.habits.silent_after == message.seq:
            self.deaf = True
            return
        if len(got) < count:
            self._ask(len(got))
            return
        self._upload = None
        if kind == 0:
            self.mission = got if self.habits.px4 else [self._home(), *got[1:]]
        else:
            self.fence = got
        if self.habits.keep_last_ack:
            self._acknowledge(mavlink.MAV_MISSION_ACCEPTED, kind)

    def _acknowledge(self, result: int, kind: int) -> None:
        self._say(self._mav.mission_ack_encode(*self._partner, result, kind))

    def _stored(self, message: Any) -> WireItem:
        item = WireItem.from_message(message)
        values = {name: getattr(item, name) for name in ("p1", "p2", "p3", "p4", "x", "y", "z")}
        frame = item.frame
        if self.habits.px4:
            frame = LONG_FRAMES.get(frame, frame)
        else:
            kept = ARDUPILOT_KEEPS[item.command]
            values = {name: value if name in kept else 0 for name, value in values.items()}
            values["z"] = math.trunc(values["z"] * 100) / 100
            frame = 0 if frame == 2 else frame
        values |= self.habits.spoil.get(message.seq, {}) if message.mission_type == 0 else {}
        return WireItem(command=item.command, frame=frame, **values)

    def _on_mission_request_list(self, message: Any) -> None:
        kind = message.mission_type
        if self._upload is not None and not self.habits.px4:
            self._acknowledge(mavlink.MAV_MISSION_DENIED, kind)
            return
        self._say(self._mav.mission_count_encode(*self._partner, len(self._list(kind)), kind))

    def _on_mission_request_int(self, message: Any) -> None:
        kind, seq = message.mission_type, message.seq
        items = self._list(kind)
        if seq < len(items):
            self._say(items[seq].to_message(self._mav, self._partner, seq, kind))

    def _on_mission_set_current(self, message: Any) -> None:
        self.current = message.seq
        self._say(self._mav.mission_current_encode(self.current))

    # Flight -----------------------------------------------------------------------------------

    def _fly_on(self) -> None:
        now_s = time.monotonic()
        if now_s < self._flying_s or not self.armed or self.photos >= self.hovers_after:
            return
        self._flying_s = now_s + self.step_s
        self.current += not self._homeward
        if self.current >= len(self.mission) or self._homeward:
            self.armed = self.habits.hovers
            self._flying_s = math.inf
            self.deaf = self._homeward = False
            self._tell_state()
            return
        if self.habits.pause_at is not None:
            self.deaf = self.current == self.habits.pause_at
            if self.deaf:
                self._flying_s = now_s + self.habits.pause_s
        self._say(self._mav.mission_current_encode(self.current))
        self._say(self._mav.mission_item_reached_encode(self.current))
        self._do(self.mission[self.current])

    def _do(self, item: WireItem) -> None:
        """Fly to an item, or do it, unless a fence or a failsafe ends the mission there."""
        if self.current in self.habits.says:
            self.tell(*self.habits.says[self.current])
        if item.command == 178:
            self._speed = item.p2
        if item.command == 16:
            self._pass(item)
        if ended := self._breached(item) or self._failsafe():
            self._turn(*ended)
            return
        if item.command != 206:
            return
        self._spacing_m, self._since_m = item.p1, 0.0
        if not item.p1 > 0:
            return
        if self.habits.by_distance:
            self._photograph(self._from)
            return
        for _ in range(self.habits.photos_per_item):
            self._photograph()

    def _value(self, name: str, otherwise: float = 0.0) -> float:
        return self.parameters.get(name, (otherwise, 0))[0]

    def _volts(self) -> float:
        return EMPTY_V + (FULL_V - EMPTY_V) * self.habits.battery / 100

    def _pass(self, item: WireItem) -> None:
        """Fly to a waypoint: at the mission's speed, or that of WPNAV_SPEED or MPC_XY_CRUISE.

        PX4 flies no faster than MPC_XY_VEL_MAX (mc_pos_control), ArduPilot what is asked
        (AC_WPNav::set_speed_NE).
        """
        usual = self._value("MPC_XY_CRUISE" if self.habits.px4 else "WPNAV_SPEED")
        speed = self._speed if self._speed > 0 else usual / (1 if self.habits.px4 else 100)
        self.speeds.append(min(speed, self._value("MPC_XY_VEL_MAX", math.inf)))
        self.habits.battery = max(self.habits.battery - self.habits.uses, 0)
        start, self._from, self._height_m = self._from, (item.x, item.y), item.z
        if not (self.habits.by_distance and self._spacing_m > 0):
            return
        way_m = math.hypot(*self._metres(start, self._from))
        at_m = self._spacing_m + LATE_M - self._since_m
        while at_m < way_m:
            part = at_m / way_m
            here = (round(a + part * (b - a)) for a, b in zip(start, self._from, strict=True))
            self._photograph(tuple(here))
            self._since_m, at_m = -at_m, at_m + self._spacing_m + LATE_M
        self._since_m += way_m

    @staticmethod
    def _metres(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
        """Return how far north and east one place is of another."""
        north, east = ((b - a) * METRES_PER_UNIT for a, b in zip(one, other, strict=True))
        return north, east * math.cos(math.radians(HOME[0] / 1e7))

    def _turn(self, text: str, mode: int) -> None:
        """Leave the mission; on the way home at the height that the parameters give.

        ArduPilot comes home at RTL_ALT or as high as it is (mode_rtl.cpp, compute_return_target),
        PX4 at RTL_RETURN_ALT or as high as it is (rtl.cpp).
        """
        self.tell(mavlink.MAV_SEVERITY_WARNING, text)
        self.mode, self._homeward = mode, True
        if mode in (COPTER_RTL, PX4_RTL):
            name, scale = ("RTL_RETURN_ALT", 1) if self.habits.px4 else ("RTL_ALT", 100)
            self.home_at_m = max(self._value(name) / scale, self._height_m)

    def _breached(self, item: WireItem) -> tuple[str, int] | None:
        """Return what a fence says and does at an item, if it is left.

        ArduPilot (AC_Fence.cpp, fence.cpp): of FENCE_TYPE the bits 1 greatest height, 2 circle, 8
        least height; FENCE_ACTION 0 reports, 1 comes home, 2 lands.  PX4 (geofence.cpp): distances
        of 0 are no fence; GF_ACTION 0 nothing, 1 warns, 2 holds, 3 comes home, 5 lands.
        """
        if item.command != 16:
            return None
        away_m = math.hypot(*self._metres(self.habits.at, (item.x, item.y)))
        if self.habits.px4:
            far, high = self._value("GF_MAX_HOR_DIST"), self._value("GF_MAX_VER_DIST")
            left = 0 < far < away_m or 0 < high < item.z
            modes = {2: PX4_LOITER, 3: PX4_RTL, 5: PX4_LAND}
            action = int(self._value("GF_ACTION"))
            return ("Geofence violation", modes[action]) if left and action in modes else None
        if not self.fence_on:
            return None
        kinds = int(self._value("FENCE_TYPE"))
        name = ""
        if kinds & 8 and item.z < self._value("FENCE_ALT_MIN"):
            name = "Min Alt"
        if kinds & 1 and item.z > self._value("FENCE_ALT_MAX"):
            name = "Max Alt"
        if kinds & 2 and away_m > self._value("FENCE_RADIUS"):
            name = "Circle"
        action = int(self._value("FENCE_ACTION"))
        if name and action:
            return f"{name} fence breached", COPTER_LAND if action == 2 else COPTER_RTL
        return None

    def _failsafe(self) -> tuple[str, int] | None:
        """Return what a failsafe says and does now, if one acts.

        ArduPilot (events.cpp): BATT_FS_LOW_ACT 1 lands, 2 comes home, below BATT_LOW_VOLT or
        BATT_LOW_MAH; FS_GCS_ENABLE 1 comes home, but for bit 1 of FS_OPTIONS in missions.  PX4
        (Commander, failsafe.cpp): COM_LOW_BAT_ACT 2 lands and 3 comes home at BAT_CRIT_THR;
        NAV_DLL_ACT 2 comes home, but for bit 0 of COM_DLL_EXCEPT in missions.
        """
        lost = time.monotonic() - self.station_s > self.habits.station_lost_s
        if self.habits.px4:
            action = int(self._value("COM_LOW_BAT_ACT"))
            if action > 1 and self.habits.battery / 100 < self._value("BAT_CRIT_THR"):
                return "Critical battery level", PX4_LAND if action == 2 else PX4_RTL
            excepted = int(self._value("COM_DLL_EXCEPT")) & 1
            if lost and self._value("NAV_DLL_ACT") == 2 and not excepted:
                return "Connection to ground control lost", PX4_RTL
            return None
        action, capacity = int(self._value("BATT_FS_LOW_ACT")), self._value("BATT_CAPACITY")
        low = self._volts() < self._value("BATT_LOW_VOLT")
        low |= capacity * self.habits.battery / 100 < self._value("BATT_LOW_MAH")
        if low and action in (1, 2):
            used = capacity * (1 - self.habits.battery / 100)
            said = f"Battery 1 is low {self._volts():.2f}V used {used:.0f} mAh"
            return said, COPTER_LAND if action == 1 else COPTER_RTL
        if lost and self._value("FS_GCS_ENABLE") == 1 and not int(self._value("FS_OPTIONS")) & 2:
            return "GCS Failsafe", COPTER_RTL
        return None

    def _photograph(self, at: tuple[int, ...] = ()) -> None:
        self.photos += 1
        lat, lon = at or (HOME[0] + 10 * self.photos, HOME[1])
        when_us = 1_790_000_000_000_000 + self.photos * 2_000_000
        if self.habits.px4:
            looking_down = [math.sqrt(0.5), 0.0, -math.sqrt(0.5), 0.0]
            message = self._mav.camera_image_captured_encode(
                0, when_us, 1, lat, lon, 91250, 60000, looking_down, self.photos, 1, b""
            )
        else:
            message = self._mav.camera_feedback_encode(
                when_us, 7, 0, self.photos, lat, lon, 91.25, 60.0, 0.5, -90.0, 90.0, 0.0, 0
            )
        self._say(message)
