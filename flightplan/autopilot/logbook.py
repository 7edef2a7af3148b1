"""What is kept beside a plan about its flights: photographs taken, and how far each sortie got.

Places come from the autopilot's and the camera's own reports of each trigger; what is left of a
sortie that ended early follows from them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pymavlink.dialects.v20 import ardupilotmega as mavlink
from shapely import LineString, Point

from flightplan.autopilot.protocol import UNITS_PER_DEG, WireItem
from flightplan.formats.geometry import photo_runs
from flightplan.formats.mavlink_items import Item
from flightplan.formats.mission import HeightReference, Mission, Place, photo_ways
from flightplan.formats.qgroundcontrol import wpl_text
from tmp.errors import InputError
from tmp.files import read_json, replacing, write_json

MESSAGES = ("CAMERA_FEEDBACK", "CAMERA_IMAGE_CAPTURED")
"""ArduPilot sends the first; PX4, and cameras of their own mind, send the second."""

_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Times before this count from when the autopilot was switched on."""

COLUMNS = (
    *("time_utc", "lon_deg", "lat_deg", "height_amsl_m", "height_takeoff_m"),
    *("yaw_deg", "pitch_deg", "roll_deg", "item", "waypoint", "camera", "index"),
)
"""Of the list of photographs: where the camera was and how it stood when each was triggered."""
_KEPT_FINGERPRINTS = 50
_PACKED = ("command", "frame", "p1", "p2", "p3", "p4", "x", "y", "z")
_GREATEST_PARAMETER = 10_000
"""Beyond this, parameters 5 and 6 are taken for a place in 1e-7 degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotographTrigger:
    """One photograph, from the message about it."""

    time: datetime
    lon_deg: float
    lat_deg: float
    height_amsl_m: float
    height_takeoff_m: float
    yaw_deg: float
    """Of the camera, clockwise from north; NaN where not told, as the other angles."""
    pitch_deg: float
    """Of the camera, -90 looks down; without a gimbal the autopilot tells its own."""
    roll_deg: float
    camera: int
    index: int
    """Counts the photographs since the autopilot or camera was switched on."""
    message: str
    """Which of `MESSAGES` told it."""


def read_trigger(message: Any, received: datetime) -> PhotographTrigger | None:
    """Return the photograph that one of `MESSAGES` tells of; None if the camera failed to take it.

    `received` stands in for the time in the message where that is missing or no time of day.
    """
    if message.get_type() == "CAMERA_FEEDBACK":
        return PhotographTrigger(
            time=_time(message.time_usec, received),
            lon_deg=message.lng / UNITS_PER_DEG,
            lat_deg=message.lat / UNITS_PER_DEG,
            height_amsl_m=message.alt_msl,
            height_takeoff_m=message.alt_rel,
            yaw_deg=message.yaw % 360.0,
            pitch_deg=message.pitch,
            roll_deg=message.roll,
            camera=message.cam_idx,
            index=message.img_idx,
            message=message.get_type(),
        )
    if message.capture_result != 1:
        return None
    yaw_deg, pitch_deg, roll_deg = angles_deg(message.q)
    return PhotographTrigger(
        time=_time(message.time_utc, received),
        lon_deg=message.lon / UNITS_PER_DEG,
        lat_deg=message.lat / UNITS_PER_DEG,
        height_amsl_m=message.alt / 1000.0,
        height_takeoff_m=message.relative_alt / 1000.0,
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        roll_deg=roll_deg,
        camera=message.camera_id,
        index=message.image_index,
        message=message.get_type(),
    )


def angles_deg(quaternion: Sequence[float]) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a rotation (w, x, y, z) from body to north-east-down.

    In degrees; yaw 0 up to 360.  Looking straight down or up, where yaw and roll turn about one
    axis, all of it is yaw.  NaN for a quaternion that is none.

    Examples
    --------
    >>> angles_deg([0.5, 0.5, -0.5, 0.5])  # down, the top of the picture to the east
    (90.0, -90.0, 0.0)
    """
    w, x, y, z = quaternion
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if not abs(length - 1.0) < 0.01:
        return math.nan, math.nan, math.nan
    w, x, y, z = w / length, x / length, y / length, z / length
    sine = 2 * (w * y - z * x)
    if abs(sine) > 1 - 1e-6:
        pitch_deg = math.copysign(90.0, sine)
        yaw_deg = math.degrees(-2 * math.copysign(1.0, sine) * math.atan2(x, w))
        return round(yaw_deg % 360.0, 6), pitch_deg, 0.0
    yaw_deg = math.degrees(math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    roll_deg = math.degrees(math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    return yaw_deg % 360.0, math.degrees(math.asin(sine)), roll_deg


def _time(microseconds: int, received: datetime) -> datetime:
    try:
        told = datetime.fromtimestamp(microseconds / 1e6, UTC)
    except (OverflowError, OSError, ValueError):
        return received
    return told if told >= _EARLIEST else received


@dataclass(frozen=True, slots=True, kw_only=True)
class Logbook:
    """Files beside the plan: one list of photographs for each sortie, and ``flights.json``."""

    folder: Path
    """The survey's ``plan/``."""

    @property
    def path(self) -> Path:
        """How far each sortie got, and which missions are the platform's own."""
        return self.folder / "flights.json"

    def photographs(self, sortie: str) -> Path:
        """Return the path of a sortie's list of photographs."""
        return self.folder / f"flown-{sortie}.csv"

    def knows(self, fingerprint: str) -> bool:
        """Whether a mission or fence with this fingerprint was loaded from this plan."""
        return fingerprint in self._read()["loaded"]

    def remember(self, fingerprint: str) -> None:
        """Note that a mission or fence was loaded from this plan."""
        content = self._read()
        loaded = [name for name in content["loaded"] if name != fingerprint]
        content["loaded"] = [*loaded, fingerprint][-_KEPT_FINGERPRINTS:]
        self._write(content)

    def sending(self, what: str, wanted: Sequence[WireItem], held: Sequence[WireItem]) -> None:
        """Note what is about to be sent, and what it takes the place of, until it has arrived."""
        content = self._read()
        lists = {"wanted": list(map(_packed, wanted)), "held": list(map(_packed, held))}
        content["sending"][what] = lists
        self._write(content)

    def sent(self, what: str) -> None:
        """Note that what was being sent has arrived whole."""
        content = self._read()
        if content["sending"].pop(what, None) is not None:
            self._write(content)

    def half_sent(self, what: str) -> tuple[tuple[WireItem, ...], tuple[WireItem, ...]]:
        """Return what was being sent when an upload ended early, and what was held before."""
        lists = self._read()["sending"].get(what, {})
        wanted, held = (tuple(map(_unpacked, lists.get(name, ()))) for name in ("wanted", "held"))
        return wanted, held

    def followed(self, sortie: str) -> bool:
        """Whether the last flight of a sortie was followed to its end; True for none."""
        return not self._read()["sorties"].get(sortie, {}).get("following", 0)

    def following(self, sortie: str, *, on: bool) -> None:
        """Note that a flight is being followed, or was to its end."""
        self._note(sortie, following=int(on))

    def waypoint(self, sortie: str) -> int:
        """Return the last waypoint of a sortie that was passed, -1 for none."""
        return int(self._read()["sorties"].get(sortie, {}).get("waypoint", -1))

    def first(self, sortie: str) -> int:
        """Return the waypoint at which what was last loaded of a sortie begins."""
        return int(self._read()["sorties"].get(sortie, {}).get("first", 0))

    def loaded(self, sortie: str, first: int, of: int) -> None:
        """Note that a sortie of so many waypoints was loaded from one of them on."""
        self._note(sortie, first=first, of=of)

    def passed(self, sortie: str, waypoint: int) -> None:
        """Note the furthest waypoint passed of a sortie."""
        self._note(sortie, waypoint=waypoint)

    def keep(self, items: Sequence[WireItem], what: str) -> Path:
        """Write items that are about to be replaced, as a QGroundControl WPL file.

        The format knows no open values: a heading left to the drone becomes 0.
        """
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self.folder / f"replaced-{what}-{now}.waypoints"
        with replacing(path) as temporary:
            temporary.write_text(wpl_text(map(_item, items)), encoding="utf-8", newline="\n")
        return path

    def _note(self, sortie: str, **values: int) -> None:
        content = self._read()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content["sorties"].setdefault(sortie, {}).update(values, at=now)
        self._write(content)

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {"loaded": [], "sorties": {}, "sending": {}}
        content = read_json(self.path, remedy="delete it")
        try:
            return {
                "loaded": list(content["loaded"]),
                "sorties": dict(content["sorties"]),
                "sending": dict(content.get("sending", {})),
            }
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path}: damaged ({error}); delete it") from error

    def _write(self, content: dict[str, Any]) -> None:
        write_json(self.path, content, indent=1, for_people=True)


class PhotographList:
    """A CSV file that gets one row for each photograph and is complete at every moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """Rows added since it was opened."""
        self.latest: dict[int, int] = {}
        """Number of the latest photograph of each camera when it was opened."""
        self._stream: TextIO | None = None

    def __enter__(self) -> PhotographList:
        """Open the file; rows of earlier flights stay."""
        new = not self.path.exists() or self.path.stat().st_size == 0
        if not new:
            self.latest = _latest(self.path)
        self._stream = self.path.open("a", encoding="utf-8", newline="")
        if new:
            self._row(COLUMNS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, trigger: PhotographTrigger, *, item: int, waypoint: int) -> None:
        """Add a photograph, taken after passing an item and a waypoint."""
        self._row(
            (
                trigger.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                f"{trigger.lon_deg:.7f}",
                f"{trigger.lat_deg:.7f}",
                *map(_number, (trigger.height_amsl_m, trigger.height_takeoff_m)),
                *map(_number, (trigger.yaw_deg, trigger.pitch_deg, trigger.roll_deg)),
                *(item, waypoint, trigger.camera, trigger.index),
            )
        )
        self.count += 1

    def _row(self, values: Sequence[object]) -> None:
        if self._stream is None:
            raise RuntimeError("the list of photographs is not open")
        csv.writer(self._stream, lineterminator="\n").writerow(values)
        self._stream.flush()


def _latest(path: Path) -> dict[int, int]:
    """Return the last number of each camera in a list of photographs; rows cut short are passed."""
    found: dict[int, int] = {}
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for row in csv.DictReader(stream):
            with suppress(TypeError, ValueError):
                found[int(row["camera"])] = int(row["index"])
    return found


def _packed(item: WireItem) -> list[float | int | None]:
    values = (getattr(item, name) for name in _PACKED)
    return [None if math.isnan(value) else value for value in values]


def _unpacked(values: Sequence[float | int | None]) -> WireItem:
    told = (math.nan if value is None else value for value in values)
    return WireItem(**dict(zip(_PACKED, told, strict=True)))  # type: ignore[arg-type]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _has_place(item: WireItem) -> bool:
    """Whether x and y of an item, whoever made it, are latitude and longitude."""
    flown_to = item.command < mavlink.MAV_CMD_NAV_LAST
    return flown_to or max(abs(item.x), abs(item.y)) > _GREATEST_PARAMETER


def _item(held: WireItem) -> Item:
    scale = UNITS_PER_DEG if _has_place(held) else 1.0
    p1, p2, p3, p4 = (
        0.0 if math.isnan(value) else value for value in (held.p1, held.p2, held.p3, held.p4)
    )
    where = held.x / scale, held.y / scale, held.z
    return Item(command=held.command, frame=held.frame, params=(p1, p2, p3, p4, *where))


def resume_from(mission: Mission, waypoint: int) -> int:
    """Return the waypoint to begin again at, after `waypoint` was the last one passed.

    An interrupted line is flown anew from the waypoint before it, so that the drone is level and
    up to speed at its first photograph.  Lines that were whole are not flown again.
    """
    for run in photo_runs(photo_ways(mission.waypoints)):
        if run.first <= waypoint < run.last:
            return max(run.first - 1, 0)
    return max(waypoint, 0)


def remaining(mission: Mission, first: int, home: Place) -> Mission:
    """Return a mission that flies what is left from a waypoint on, see `resume_from`.

    It takes off from `home`, if it does not say.  It climbs to the greatest height of the part
    flown before it sets out, for the straight way there was not looked at when the plan was made.

    Raises
    ------
    InputError
        If nothing is left, or the straight way from the take-off point to what is left leaves
        the fence or enters an exclusion.
    """
    if first == 0:
        return mission
    spacings = photo_ways(mission.waypoints)
    if not spacings[first:] or (any(spacings) and not any(spacings[first:])):
        raise InputError(f"mission {mission.name!r} was flown to its end; nothing is left")
    takeoff = mission.takeoff or home
    left = mission.waypoints[first:]
    start, end = (takeoff.lon_deg, takeoff.lat_deg), (left[0].lon_deg, left[0].lat_deg)
    way = LineString([start, end]) if start != end else Point(start)
    outside = mission.fence is not None and not mission.fence.covers(way)
    if outside or any(zone.intersects(way) for zone in mission.exclusions):
        raise InputError(
            f"mission {mission.name!r}: the straight way from the take-off point to waypoint "
            f"{first} leaves the fence or enters an exclusion; take off from elsewhere with a new "
            "plan of what is left"
        )
    climbs = [mission.takeoff_height_m]
    if mission.height_reference is HeightReference.TAKEOFF:
        climbs += [waypoint.height_m for waypoint in mission.waypoints[: first + 1]]
    climb = max((height for height in climbs if math.isfinite(height)), default=math.nan)
    return replace(mission, waypoints=left, photos=(), takeoff_height_m=climb, duration_s=math.nan)
