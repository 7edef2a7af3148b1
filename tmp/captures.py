"""One photograph as the survey knows it: where, when, by what, and what is wrong with it.

`read_captures` and `write_captures` keep them in the layer ``photographs`` of ``survey.gpkg``,
one row each, with points for those that have a position.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from tmp.cameras import MOST_PX
from tmp.errors import LARGEST, InputError, require_range, shown
from tmp.files import flush_to_disk, replacing
from tmp.geo.vectors import read_layer

LAYER = "photographs"


class HeightDatum(StrEnum):
    """What a GNSS height is measured from."""

    ELLIPSOID = "ellipsoid"
    EGM96 = "egm96"
    BAROMETRIC = "barometric"
    CONTROL = "ground control"
    """What the heights of the survey's control points are measured from."""
    UNKNOWN = "unknown"


class HeightUse(StrEnum):
    """Whether recorded GNSS heights give a map its tilt and height."""

    AUTO = "auto"
    """Where they are in keeping with gimbal, views and flight."""
    TRUST = "trust"
    IGNORE = "ignore"


class Flag(StrEnum):
    """Why a photograph is not used by default, or deserves a second look."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NO_POSITION = "no position"
    STRAGGLER = "straggler"
    BLURRED = "blurred"
    EMPTY = "empty"
    OVEREXPOSED = "overexposed"
    UNDEREXPOSED = "underexposed"
    MISSING_BAND = "missing band"
    EXPOSURE_CHANGED = "exposure changed"
    UNKNOWN_BAND = "unknown band"
    IMPLAUSIBLE = "implausible tags"
    ELSEWHERE = "another place"
    DROPPED = "dropped by hand"


class CaptureKind(StrEnum):
    """What a photograph is of."""

    SURVEY = "survey"
    PANEL = "panel"
    """A reflectance panel: kept for calibration, not for the map."""


LEAVES_OUT = frozenset(
    {Flag.UNREADABLE, Flag.DUPLICATE, Flag.STRAGGLER, Flag.EMPTY, Flag.ELSEWHERE, Flag.DROPPED}
)
"""Flags that keep a photograph out of the orientation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One photograph of a survey."""

    name: str
    """Path below the survey's ``photos/``, with forward slashes; the photograph's identity."""
    source: str
    """Path it was ingested from, for the record."""
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    camera_id: str
    """Key of its `Camera` in survey.toml; empty for an unreadable file."""
    time_utc: datetime | None = None
    time_evidence: str = ""
    """Which tags gave the time and how its zone was settled."""
    longitude_deg: float | None = None
    latitude_deg: float | None = None
    height_m: float | None = None
    height_datum: HeightDatum = HeightDatum.UNKNOWN
    sigma_horizontal_m: float = 3.0
    """Standard deviation of each horizontal coordinate."""
    sigma_vertical_m: float = 6.0
    position_source: str = ""
    """"EXIF GNSS", "XMP RTK fixed", ..."""
    height_takeoff_m: float | None = None
    """Height above the take-off point, from the autopilot's barometer."""
    gimbal_yaw_deg: float | None = None
    gimbal_pitch_deg: float | None = None
    gimbal_roll_deg: float | None = None
    sharpness: float | None = None
    """Variance of the Laplacian of the reduced grey picture; for comparison within a camera."""
    band: str = ""
    """Name of the band (``red``, ``nir``, …); of a container all of its channels', as
    ``red+green+nir``; empty for an ordinary colour photograph."""
    rig_id: str = ""
    """Same for the files released together by a camera with several lenses; empty for others."""
    kind: CaptureKind = CaptureKind.SURVEY
    flight: str = ""
    """``1``, ``2``, … in order of time; empty where it cannot be told."""
    body: str = ""
    """Make and model of the camera, and behind a slash its serial number; one for all bands."""
    firmware: str = ""
    capture_id: str = ""
    """The maker's id of the capture, from which `rig_id` follows where it can be trusted."""
    flight_id: str = ""
    """The maker's id of the flight, from which `flight` follows."""
    place: str = ""
    """``1``, ``2``, … where the survey's photographs are of places far apart; else empty."""
    exposure_s: float | None = None
    gain: float | None = None
    """Amplification as a factor: ISO / 100, or the maker's own."""
    clipped_share: float | None = None
    """Share of the pixels that are saturated, 0 to 1."""
    brightness: float | None = None
    """Pixel value that 99 % stay below, as a share of the range from black to saturation."""
    problems: str = ""
    """What the file says that cannot be true; empty when it is plausible."""
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    """The flags in a sentence with their numbers; empty when there are none."""

    @property
    def positioned(self) -> bool:
        """Tell whether longitude, latitude and height are all known."""
        return None not in (self.longitude_deg, self.latitude_deg, self.height_m)

    @property
    def used(self) -> bool:
        """Tell whether the photograph takes part in the orientation."""
        return self.kind is CaptureKind.SURVEY and not LEAVES_OUT.intersection(self.flags)


def choose_captures(
    captures: Iterable[Capture],
    *,
    keep: Sequence[str],
    drop: Sequence[str],
    place: int | None = None,
) -> list[Capture]:
    """Apply a person's choice of photographs to the verdicts made by the platform.

    Names may hold ``*`` and ``?``. Those to keep are used in spite of their flags, but for
    unreadable ones; those to drop are left out, and that wins.  Where a place is chosen, those of
    others are left out.

    Examples
    --------
    >>> photo = Capture(name="a/1.jpg", source="", sha256="", size_bytes=1, width_px=1,
    ...                 height_px=1, camera_id="c", flags=(Flag.STRAGGLER,), reason="2 m up")
    >>> [photo.used for photo in choose_captures([photo], keep=["a/*"], drop=[])]
    [True]
    """
    chosen = []
    for capture in captures:
        if place is not None and capture.place not in ("", str(place)):
            capture = replace(
                capture,
                flags=(*capture.flags, Flag.ELSEWHERE),
                reason="; ".join(
                    filter(None, (capture.reason, f"of place {capture.place}, not {place}"))
                ),
            )
        flags, reason = capture.flags, capture.reason
        if any(fnmatchcase(capture.name, pattern) for pattern in drop):
            flags = (*flags, Flag.DROPPED)
            reason = "; ".join(filter(None, (reason, "dropped by hand in survey.toml")))
        elif any(fnmatchcase(capture.name, pattern) for pattern in keep):
            flags = tuple(f for f in flags if f not in LEAVES_OUT or f is Flag.UNREADABLE)
            if flags != capture.flags:
                reason = f"kept by hand in survey.toml although: {reason}"
        chosen.append(replace(capture, flags=flags, reason=reason))
    return chosen


def read_captures(gpkg_path: Path) -> list[Capture]:
    """Read the photographs of a survey, in the order they were written.

    Raises `InputError` if there is no such file, it holds no photographs, or a row says what cannot
    be.
    """
    if not gpkg_path.is_file():
        raise InputError(f"{gpkg_path}: no photographs yet; add some with 'tmp ingest'")
    try:
        _, _, table = read_layer(gpkg_path, LAYER)
    except InputError as error:
        raise InputError(
            f"{gpkg_path}: no readable layer {LAYER!r}; delete the file and run 'tmp ingest' again"
        ) from error
    missing = [f.name for f in fields(Capture) if f.default is MISSING and f.name not in table]
    if missing:
        raise InputError(f"{gpkg_path}: layer {LAYER!r} lacks {', '.join(missing)}")
    known = [f.name for f in fields(Capture) if f.name in table]
    rows = zip(*(table[name] for name in known), strict=True)
    captures = []
    for number, row in enumerate(rows, start=1):
        try:
            cells = {k: _from_cell(k, v) for k, v in zip(known, row, strict=True)}
            captures.append(Capture(**cells))
            _refuse_nonsense(captures[-1])
        except (ValueError, OverflowError, TypeError, AttributeError) as error:
            raise InputError(
                f"{gpkg_path}: layer {LAYER!r}, row {number}: {error}; correct the value"
            ) from error
    twice = [name for name, count in Counter(c.name for c in captures).items() if count > 1]
    if twice:
        raise InputError(
            f"{gpkg_path}: layer {LAYER!r} has {shown(twice[0])} more than once; delete one row"
        )
    return captures


def _refuse_nonsense(capture: Capture) -> None:
    """Raise `InputError` for what nobody's photograph can be, by whoever's edit it came in."""
    path = PurePosixPath(capture.name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in capture.name:
        raise InputError(f"name = {shown(capture.name)} is no path below photos/")
    if not re.fullmatch("[0-9a-f]{64}", capture.sha256):
        raise InputError(f"sha256 = {shown(capture.sha256)} is no SHA-256")
    least_px = 0 if Flag.UNREADABLE in capture.flags else 1
    require_range(capture, "width_px", "height_px", least=least_px, most=MOST_PX)
    require_range(capture, "size_bytes", least=0)
    require_range(capture, "longitude_deg", least=-180, most=180)
    require_range(capture, "latitude_deg", least=-90, most=90)
    require_range(capture, "height_m", "height_takeoff_m", least=-12_000, most=100_000)
    require_range(capture, "sigma_horizontal_m", "sigma_vertical_m", above=0, most=1e7)


def write_captures(gpkg_path: Path, captures: Sequence[Capture]) -> None:
    """Write the photographs of a survey, replacing its layer and no other.

    Raises `SpaceError` if the disk is full, `InputError` if the file that is there cannot be added
    to.
    """
    from pyogrio import raw
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError

    columns = {f.name: _column(f.name, captures) for f in fields(Capture)}
    # Not a field, but what people filter by in QGIS.
    columns["used"] = np.array([capture.used for capture in captures], bool)
    points = [
        shapely.Point(c.longitude_deg, c.latitude_deg, c.height_m).wkb if c.positioned else None
        for c in captures
    ]
    with replacing(gpkg_path) as temporary:
        if gpkg_path.exists():
            shutil.copyfile(gpkg_path, temporary)
        try:
            raw.write(
                temporary,
                np.array(points, object),
                list(columns.values()),
                list(columns),
                layer=LAYER,
                driver="GPKG",
                geometry_type="Point Z",
                crs="EPSG:4326",
                promote_to_multi=False,
                gdal_tz_offsets={"time_utc": np.full(len(captures), _GDAL_UTC)},
                # All that the standard of the GeoPackage knows, and older programs insist on it.
                layer_options={"DATETIME_PRECISION": "MILLISECOND"},
            )
            flush_to_disk(temporary)
        except (DataLayerError, DataSourceError, FeatureError) as error:
            # GDAL tells of a full disk in many ways, the system in one.
            with temporary.open("ab") as file:
                file.write(bytes(_BASE_BYTES + _ROW_BYTES * len(captures)))
                flush_to_disk(temporary)
            raise InputError(
                f"{gpkg_path}: cannot be added to; is it damaged, or open in another program? "
                "Close it or move it away, and run again"
            ) from error
        # A log left behind by QGIS belongs to the old file and would be replayed into the new.
        for suffix in ("-wal", "-shm"):
            gpkg_path.with_name(gpkg_path.name + suffix).unlink(missing_ok=True)


_BASE_BYTES, _ROW_BYTES = 200_000, 2_000
"""More than a table of photographs takes on disk, without rows and for each."""
_GDAL_UTC = 100
"""What GDAL calls the zone of a time."""
_NUMBERS = frozenset(
    f.name for f in fields(Capture) if f.type in ("float", "float | None", "float|None")
)
_BY_THE_WAY = _NUMBERS - {
    *("longitude_deg", "latitude_deg", "height_m", "height_takeoff_m"),
    *("sigma_horizontal_m", "sigma_vertical_m"),
}
_WHOLE = frozenset(f.name for f in fields(Capture) if f.type == "int")


def _column(name: str, captures: Sequence[Capture]) -> NDArray[Any]:
    values = [getattr(capture, name) for capture in captures]
    if name in _WHOLE:
        return np.array(values, np.int64)
    if name in _NUMBERS:
        return np.array([np.nan if v is None else v for v in values], np.float64)
    if name == "time_utc":
        naive = [v.astimezone(UTC).replace(tzinfo=None) if v else None for v in values]
        return np.array(naive, "datetime64[ms]")
    if name == "flags":
        values = ["; ".join(v) for v in values]
    return np.array([str(v) for v in values], object)


def _from_cell(name: str, cell: Any) -> Any:
    if name in _WHOLE:
        return int(cell)
    if name in _NUMBERS:
        # A tag gone wild is as good as none; of place and σ it is refused.
        wild = name in _BY_THE_WAY and not abs(cell) <= LARGEST
        return None if np.isnan(cell) or wild else float(cell)
    if name == "time_utc":
        return None if np.isnat(cell) else cell.astype("datetime64[ms]").item().replace(tzinfo=UTC)
    text = "" if cell is None else str(cell)
    if name == "flags":
        return tuple(Flag(part) for part in text.split("; ") if part)
    if name == "kind":
        return CaptureKind(text or CaptureKind.SURVEY)
    return HeightDatum(text) if name == "height_datum" else text
