"""What is kept beside a plan about its flights: photographs taken, and how far each sortie got."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.items import UNITS_PER_DEG, WireItem
from flightplan.autopilot.triggers import Trigger
from tmp.errors import InputError
from tmp.files import replacing

COLUMNS = (
    "time_utc",
    "lon_deg",
    "lat_deg",
    "height_amsl_m",
    "height_takeoff_m",
    "yaw_deg",
    "pitch_deg",
    "roll_deg",
    "item",
    "waypoint",
    "camera",
    "index",
)
"""Of the list of photographs: where the camera was and how it stood when each was triggered."""

_KEPT_FINGERPRINTS = 50

_GREATEST_PARAMETER = 10_000
"""Beyond this, parameters 5 and 6 are taken for a place in 1e-7 degrees."""


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
            temporary.write_text(_wpl(items), encoding="utf-8")
        return path

    def _note(self, sortie: str, **values: int) -> None:
        content = self._read()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        content["sorties"].setdefault(sortie, {}).update(values, at=now)
        self._write(content)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {"loaded": list(content["loaded"]), "sorties": dict(content["sorties"])}
        except FileNotFoundError:
            return {"loaded": [], "sorties": {}}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.path}: damaged ({error}); delete it") from error

    def _write(self, content: dict[str, Any]) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class PhotographList:
    """A CSV file that gets one row for each photograph and is complete at every moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """Rows added since it was opened."""
        self._stream: TextIO | None = None

    def __enter__(self) -> PhotographList:
        """Open the file; rows of earlier flights stay."""
        new = not self.path.exists() or self.path.stat().st_size == 0
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

    def add(self, trigger: Trigger, *, item: int, waypoint: int) -> None:
        """Add a photograph, taken after passing an item and a waypoint."""
        self._row(
            (
                trigger.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                f"{trigger.lon_deg:.7f}",
                f"{trigger.lat_deg:.7f}",
                _number(trigger.height_amsl_m),
                _number(trigger.height_takeoff_m),
                _number(trigger.yaw_deg),
                _number(trigger.pitch_deg),
                _number(trigger.roll_deg),
                item,
                waypoint,
                trigger.camera,
                trigger.index,
            )
        )
        self.count += 1

    def _row(self, values: Sequence[object]) -> None:
        if self._stream is None:
            raise RuntimeError("the list of photographs is not open")
        csv.writer(self._stream, lineterminator="\n").writerow(values)
        self._stream.flush()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _has_place(item: WireItem) -> bool:
    """Whether x and y of an item, whoever made it, are latitude and longitude."""
    flown_to = item.command < mavlink.MAV_CMD_NAV_LAST
    return flown_to or max(abs(item.x), abs(item.y)) > _GREATEST_PARAMETER


def _wpl(items: Sequence[WireItem]) -> str:
    lines = ["QGC WPL 110"]
    for seq, item in enumerate(items):
        scale = UNITS_PER_DEG if _has_place(item) else 1.0
        params = (item.p1, item.p2, item.p3, item.p4)
        values = [f"{0.0 if math.isnan(value) else value:.8g}" for value in params]
        where = [f"{item.x / scale:.8f}", f"{item.y / scale:.8f}", f"{item.z:.3f}"]
        row = [str(seq), str(int(seq == 0)), str(item.frame), str(item.command), *values, *where]
        lines.append("\t".join([*row, "1"]))
    return "\n".join(lines) + "\n"
