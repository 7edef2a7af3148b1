"""Cameras and drones: what the platform knows of them, and what the user knows better.

The catalogue is `equipment.toml` beside this module, with its fields explained at the top; files
of the user's own, of the same form, change entries and add new ones.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tmp.cameras import MOST_FOCAL_PX, MOST_PX, Camera
from tmp.errors import InputError, require_range
from tmp.files import build, nearest, read_toml, refuse_unknown, subtables, words

Tables = dict[str, dict[str, dict[str, Any]]]
"""Kind (``camera``, ``drone``), key, and the fields as the file has them."""
FILE_NAME = "equipment.toml"
DJI_FLY_SPEED_M_S = 11.5
"""DJI Fly takes more than 12 m/s for 2.5 m/s without a word; this keeps clear of it."""
FOCAL_SIGMA = {"A": 0.02, "B": 0.03, "C": 0.05}
"""Standard deviation of the focal length as a fraction, by confidence.

Lists that agree differ by 1 to 2 %, those that conflict by up to 8 %.
"""


class Confidence(StrEnum):
    """How far an entry's figures can be trusted."""

    A = "A"
    """The maker's text, or several lists that agree."""
    B = "B"
    """One list, or the maker's figure as others quote it."""
    C = "C"
    """Lists disagree, or the figure is derived."""


class Shutter(StrEnum):
    """How the rows of a picture are exposed."""

    GLOBAL = "global"
    MECHANICAL = "mechanical"
    ROLLING = "rolling"


class App(StrEnum):
    """What flies the mission on the user's side."""

    DJI_FLY = "dji-fly"
    PILOT_2 = "pilot-2"
    LITCHI = "litchi"
    MAVLINK = "mavlink"


APP_NAMES = {
    App.DJI_FLY: "DJI Fly",
    App.PILOT_2: "DJI Pilot 2",
    App.LITCHI: "Litchi",
    App.MAVLINK: "MAVLink",
}


class Trigger(StrEnum):
    """What releases the shutter."""

    DISTANCE = "distance"
    TIMER = "timer"
    POINT = "point"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraModel:
    """A camera in one of its picture sizes."""

    key: str
    name: str
    width_px: int
    height_px: int
    f_px: float
    """Focal length in pixels of the stored picture."""
    least_interval_s: float
    """Shortest time between two photographs."""
    raw_interval_s: float = math.nan
    """The same when raw files are written too; NaN where it makes no difference or is unknown."""
    shutter: Shutter = Shutter.ROLLING
    readout_s: float = math.nan
    """Time from the exposure of the first row to that of the last; NaN where not measured."""
    photo_mb: float = math.nan
    """Card space of one release, all bands together."""
    bands: tuple[str, ...] = ("RGB",)
    also: tuple[str, ...] = ()
    """Other names, EXIF models among them."""
    derivation: str = ""
    """Where `f_px` comes from."""
    source: str = ""
    confidence: Confidence = Confidence.C

    def __post_init__(self) -> None:
        require_range(self, "width_px", "height_px", least=1, most=MOST_PX)
        require_range(self, "f_px", above=0, most=MOST_FOCAL_PX)
        require_range(self, "least_interval_s", above=0, most=3600)
        unknown = ("raw_interval_s", "readout_s", "photo_mb")
        require_range(self, *unknown, above=0, most=10_000, or_nan=True)

    @property
    def fov_deg(self) -> tuple[float, float]:
        """Field of view over the picture's width and height."""
        across, along = (
            2 * math.degrees(math.atan(0.5 * size / self.f_px))
            for size in (self.width_px, self.height_px)
        )
        return across, along

    def interval_s(self, *, raw: bool = False) -> float:
        """Return the shortest time between photographs, with raw files or without."""
        return self.raw_interval_s if raw and self.raw_interval_s > 0 else self.least_interval_s

    def camera(self) -> Camera:
        """Return the interior orientation: a pinhole, principal point in the middle."""
        return Camera(
            camera_id=self.key,
            width_px=self.width_px,
            height_px=self.height_px,
            fx_px=self.f_px,
            fy_px=self.f_px,
            cx_px=self.width_px / 2,
            cy_px=self.height_px / 2,
            focal_sigma=FOCAL_SIGMA[self.confidence],
            source=f"catalogue ({self.derivation or self.source})",
        )


def no_waypoints(drone: Drone) -> str:
    """Say that an app flies no waypoints with a drone, and what does."""
    apps = " and ".join(APP_NAMES[app] for app in drone.no_waypoints_in)
    return (
        f"{apps} flies no waypoints with a {drone.name}, whose firmware has none; plan it for "
        'Litchi, which steers it by virtual sticks (app = "litchi"), or fly the lines of the map '
        "by hand with the camera's timer on"
    )


def narrowest(cameras: Iterable[CameraModel]) -> CameraModel:
    """Return the camera whose picture covers the least ground."""
    return min(cameras, key=lambda one: one.width_px * one.height_px / one.f_px**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wpml:
    """How DJI's mission files call a drone and its camera."""

    drone: int
    """`droneEnumValue`."""
    drone_sub: int = 0
    """`droneSubEnumValue`."""
    payload: int | None = None
    """`payloadEnumValue` of the camera; None on consumer drones, whose files have none."""
    consumer: bool = False
    """Whether the values come from controllers' own files and not from DJI's specification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drone:
    """A drone with what it carries and can do."""

    key: str
    name: str
    cameras: tuple[str, ...]
    """Keys of the cameras released together; the first leads."""
    other_cameras: tuple[str, ...] = ()
    """Keys of cameras it can carry or be set to instead."""
    mass_kg: float
    rotors: int = 4
    rotor_m: float
    """Diameter."""
    max_speed_m_s: float
    """In a mission, level."""
    climb_m_s: float
    descent_m_s: float
    acceleration_m_s2: float = 2.0
    """Of speeding up and of braking in a mission."""
    jerk_m_s3: float = math.nan
    """How fast that is reached; NaN where it is not known, and taken to be reached at once."""
    legs_alone: bool = False
    """Whether the autopilot shapes each leg of a mission by itself."""
    landing_m_s: float = math.nan
    """Descent below `landing_below_m`; NaN where it is as above."""
    landing_below_m: float = 10.0
    home_s: float = 0.0
    """Wait over home before the descent."""
    ground_s: float = 0.0
    """Motors running besides climb and descent: before lifting off and after touching down."""
    max_tilt_deg: float = 30.0
    top_speed_m_s: float
    """Airspeed at `max_tilt_deg`."""
    wind_m_s: float
    """Wind it resists, as the maker says."""
    battery_wh: float
    hover_min: float
    """Endurance at hover, from full to empty."""
    cruise_min: float = math.nan
    """Endurance level at `cruise_m_s` in still air; NaN where not published."""
    cruise_m_s: float = math.nan
    gimbal_deg: tuple[float, float] = (-90.0, 0.0)
    """Lowest and highest pitch."""
    max_points: int = 99
    """Waypoints that its controller takes without trouble."""
    app: App = App.MAVLINK
    no_waypoints_in: tuple[App, ...] = ()
    """Apps that do not fly waypoints with it, because its firmware has none."""
    triggers: tuple[Trigger, ...] = (Trigger.DISTANCE,)
    wpml: Wpml | None = None
    also: tuple[str, ...] = ()
    """Other names."""
    source: str = ""
    confidence: Confidence = Confidence.C

    def __post_init__(self) -> None:
        speeds = ("max_speed_m_s", "climb_m_s", "descent_m_s", "top_speed_m_s", "wind_m_s")
        require_range(self, *speeds, above=0, most=350)
        require_range(self, "cruise_m_s", "landing_m_s", above=0, most=350, or_nan=True)
        require_range(self, "acceleration_m_s2", above=0, most=100)
        require_range(self, "jerk_m_s3", above=0, most=1000, or_nan=True)
        require_range(self, "landing_below_m", "home_s", "ground_s", least=0, most=1000)
        require_range(self, "mass_kg", "rotor_m", above=0, most=1000)
        require_range(self, "battery_wh", above=0, most=100_000)
        require_range(self, "hover_min", above=0, most=10_000)
        require_range(self, "cruise_min", above=0, most=10_000, or_nan=True)
        require_range(self, "rotors", "max_points", least=1, most=100_000)
        if not self.cameras:
            raise InputError("cameras is empty; name the one that it carries")
        if not 0 < self.max_tilt_deg < 60:
            raise InputError(f"max_tilt_deg {self.max_tilt_deg!r}; give 0 to 60")
        low_deg, high_deg = self.gimbal_deg
        if not -180 <= low_deg <= high_deg <= 180:
            raise InputError(f"gimbal_deg {self.gimbal_deg!r}; give lowest and highest pitch")

    @property
    def mission_speed_m_s(self) -> float:
        """Highest speed that a mission may ask for, with the controller's app in mind."""
        if self.app is App.DJI_FLY:
            return min(self.max_speed_m_s, DJI_FLY_SPEED_M_S)
        return self.max_speed_m_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplanned:
    """A drone whose missions are not written here."""

    key: str
    name: str
    also: tuple[str, ...] = ()
    """Other names."""
    why: str
    """Why not, and what to do instead."""
    source: str = ""


_KINDS: Mapping[str, type[CameraModel | Drone | Unplanned]] = {
    "camera": CameraModel,
    "drone": Drone,
    "unplanned": Unplanned,
}


class _Named(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def also(self) -> tuple[str, ...]: ...


Entry = TypeVar("Entry", bound=_Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All cameras and drones, by key."""

    cameras: Mapping[str, CameraModel]
    drones: Mapping[str, Drone]
    unplanned: Mapping[str, Unplanned] = field(default_factory=dict)
    """Drones that are known not to be plannable."""

    def camera(self, name: str) -> CameraModel:
        """Return a camera by a name in loose spelling.

        Raises
        ------
        InputError
            If no camera, or more than one, is meant; with those of nearest name.

        Examples
        --------
        >>> read_catalogue().camera("rededge mx").key
        'micasense-rededge-m'
        """
        return _find(name, self.cameras, "camera")

    def drone(self, name: str) -> Drone:
        """Return a drone by a name in loose spelling; raises as `camera` does.

        A drone whose missions are not written here is refused with the reason.

        Examples
        --------
        >>> read_catalogue().drone("Mini 4 Pro").name
        'DJI Mini 4 Pro'
        """
        try:
            return _find(name, self.drones, "drone")
        except InputError:
            meant = _meant(name, self.unplanned)
            if len(meant) != 1:
                raise
        other = self.unplanned[meant.pop()]
        raise InputError(f"no missions are written for the {other.name}: {other.why}")

    def cameras_of(self, drone: Drone) -> tuple[CameraModel, ...]:
        """Return the cameras that a drone releases together."""
        return tuple(self.cameras[key] for key in drone.cameras)


def user_files(beside: Path | None = None) -> tuple[Path, ...]:
    """Return the user's catalogues that exist, the weaker first: one `beside` a survey is last."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [config / "tmp" / FILE_NAME, *([beside / FILE_NAME] if beside else [])]
    return tuple(place for place in places if place.is_file())


def read_catalogue(user: Iterable[Path] = ()) -> Catalogue:
    """Read the platform's catalogue and lay files of its form over it, the strongest last.

    Raises
    ------
    InputError
        If a file is missing, not TOML, or holds a key that is not known or a value of the wrong
        kind; or a drone names a camera that is not there.
    """
    tables: Tables = {kind: {} for kind in _KINDS}
    where: dict[tuple[str, str], str] = {}
    for path in (Path(str(files("flightplan.equipment") / FILE_NAME)), *user):
        found = _read_tables(path)
        tables = _lay_over(tables, found, path)
        where |= {
            (k, key): f"{path}: [{k}.{key}]" for k, entries in found.items() for key in entries
        }
    cameras = {
        key: build(CameraModel, entry, where["camera", key], key=key)
        for key, entry in tables["camera"].items()
    }
    drones = {
        key: build(Drone, entry, where["drone", key], key=key)
        for key, entry in tables["drone"].items()
    }
    for drone in drones.values():
        for camera in (*drone.cameras, *drone.other_cameras):
            if camera not in cameras:
                raise InputError(
                    f"{where['drone', drone.key]}: carries camera {camera!r}, which is not in the "
                    f"catalogue{nearest(camera, cameras)}"
                )
    unplanned = {
        key: build(Unplanned, entry, where["unplanned", key], key=key)
        for key, entry in tables["unplanned"].items()
    }
    return Catalogue(cameras=cameras, drones=drones, unplanned=unplanned)


def _read_tables(path: Path) -> Tables:
    """Read an equipment file, whose tables are ``[camera.KEY]`` and ``[drone.KEY]``."""
    document = read_toml(path)
    refuse_unknown(document, _KINDS, str(path))
    tables = {kind: subtables(document, kind, str(path)) for kind in _KINDS}
    for kind, cls in _KINDS.items():
        known = {one.name for one in fields(cls)} - {"key"}
        for key, entry in tables[kind].items():
            refuse_unknown(entry, known, f"{path}: [{kind}.{key}]")
    return tables


def _lay_over(below: Tables, above: Tables, path: Path) -> Tables:
    """Return tables in which the entries of a file at `path` change or join those below.

    An entry of a known key replaces just the fields it names, inner tables alike; where it does
    not say its source, the file is the source.
    """
    merged = {kind: dict(entries) for kind, entries in below.items()}
    for kind, entries in above.items():
        for key, entry in entries.items():
            old = merged[kind].get(key, {})
            source = f"{path}; else {old['source']}" if "source" in old else str(path)
            inner = {
                name: {**old[name], **value}
                for name, value in entry.items()
                if isinstance(value, dict) and isinstance(old.get(name), dict)
            }
            merged[kind][key] = {**old, "source": source, **entry, **inner}
    return merged


def _find(name: str, entries: Mapping[str, Entry], kind: str) -> Entry:
    """Return the entry whose name is the same but for spelling, or holds all the words."""
    meant = _meant(name, entries)
    if len(meant) == 1:
        return entries[meant.pop()]
    if meant:
        raise InputError(
            f"{kind} {name!r} may be {' or '.join(map(repr, sorted(meant)))}; name one of them"
        )
    raise InputError(
        f"{kind} {name!r} is not in the catalogue{nearest(name, entries)}; "
        "tmp cameras lists all, an equipment.toml of your own adds more"
    )


def _meant(name: str, entries: Mapping[str, _Named]) -> set[str]:
    """Return the keys of all entries that a name may mean."""
    wanted = words(name)
    spellings = [
        (entry.key, words(spelt))
        for entry in entries.values()
        for spelt in (entry.key, entry.name, *entry.also)
    ]
    meant = {key for key, spelt in spellings if wanted and "".join(spelt) == "".join(wanted)}
    return meant or {key for key, spelt in spellings if wanted and set(wanted) <= set(spelt)}
