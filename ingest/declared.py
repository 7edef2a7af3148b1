"""What a person declares of cameras in ``cameras.toml``, where files do not say what they hold.

::

    [cameras."canon-powershot-s110-*"]       # the camera id; * and ? stand for any characters
    channels = ["nir", "green", "blue"]      # what the file's red, green and blue hold
    centre_nm = [850, 550, 450]              # these four may be left out
    width_nm = [100, 80, 80]
    black_level = 0
    linear = false                           # true for pictures developed without a curve

``filter = "RGN"`` stands for the channels of a known filter.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ingest.bandnames import BANDS_OF_FILTERS, normal_name
from tmp.bands import Band
from tmp.captures import Capture
from tmp.errors import InputError

FILE = "cameras.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What one entry of ``cameras.toml`` says of the cameras it names."""

    pattern: str
    """Camera id, in lower case; may hold ``*`` and ``?``."""
    bands: tuple[Band, ...]
    """Empty for an ordinary colour camera."""
    black_level: float | None = None
    linear: bool | None = None

    @property
    def band(self) -> str:
        """Return the name of the bands as `tmp.captures.Capture.band` has it."""
        return "+".join(band.name for band in self.bands)

    def overrides(self) -> dict[str, Any]:
        """Return the fields of `BandTags` that the declaration settles."""
        said = {"bands": self.bands, "black_level": self.black_level, "linear": self.linear}
        return {key: value for key, value in said.items() if value is not None}


def read_declarations(root: Path) -> list[Declaration]:
    """Read ``cameras.toml`` in a survey's folder and beside it; the survey's own comes first.

    Parameters
    ----------
    root : Path
        The survey's folder; need not exist.

    Raises
    ------
    InputError
        If a file is no TOML, or an entry cannot be understood.
    """
    folder = root.resolve()
    return [
        declaration
        for path in (folder / FILE, folder.parent / FILE)
        if path.is_file()
        for declaration in _read(path)
    ]


def find_declaration(camera_id: str, declarations: Sequence[Declaration]) -> Declaration | None:
    """Return the first declaration that names a camera."""
    name = camera_id.casefold()
    return next((d for d in declarations if fnmatchcase(name, d.pattern)), None)


def declare_bands(capture: Capture, declarations: Sequence[Declaration]) -> Capture:
    """Return a photograph with the bands that a person declared for its camera, if any."""
    declaration = find_declaration(capture.camera_id, declarations) if capture.camera_id else None
    return capture if declaration is None else replace(capture, band=declaration.band)


def how_to_declare(camera_id: str) -> str:
    """Return in one line what to put into ``cameras.toml`` for a camera nobody knows."""
    return (
        f'write into cameras.toml in or beside the survey: [cameras."{camera_id}"] '
        'channels = ["nir"], with a name (red, green, blue, rededge, nir) for each channel of the '
        'file, or filter = "RGN"'
    )


def _read(path: Path) -> list[Declaration]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML ({error}); correct it") from error
    cameras = document.get("cameras")
    if not isinstance(cameras, dict):
        raise InputError(f'{path}: no [cameras."..."] tables; add one for each camera')
    return [
        _declaration(name, entry, f"{path}: camera {name!r}") for name, entry in cameras.items()
    ]


def _declaration(name: str, entry: Any, where: str) -> Declaration:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is not a table; write it as [cameras.{name!r}]")
    if unknown := set(entry) - {
        *("channels", "filter", "centre_nm", "width_nm", "black_level", "linear")
    }:
        raise InputError(f"{where}: unknown key {min(unknown)!r}; correct or remove it")
    black_level = entry.get("black_level")
    if black_level is not None and not _is_number(black_level):
        raise InputError(f"{where}: black_level is {black_level!r}, not a number")
    linear = entry.get("linear")
    if not isinstance(linear, bool | None):
        raise InputError(f"{where}: linear is {linear!r}; write true or false")
    return Declaration(
        pattern=name.casefold(),
        bands=_bands(entry, where),
        black_level=black_level,
        linear=linear,
    )


def _bands(entry: dict[str, Any], where: str) -> tuple[Band, ...]:
    letters, channels = entry.get("filter"), entry.get("channels")
    if letters is not None:
        if str(letters).upper() == "RGB":
            return ()
        if str(letters).upper() not in BANDS_OF_FILTERS:
            raise InputError(
                f"{where}: filter {letters!r} is not known; give RGB or one of "
                f"{', '.join(BANDS_OF_FILTERS)}, or list its channels"
            )
        return BANDS_OF_FILTERS[str(letters).upper()]
    if not isinstance(channels, list) or not all(isinstance(name, str) for name in channels):
        raise InputError(f'{where}: give channels = ["nir", "green", "blue"] or filter = "RGN"')
    names = [normal_name(name) for name in channels]
    if names == ["red", "green", "blue"]:
        return ()
    if len({n for n in names if n}) < len([n for n in names if n]) or not any(names):
        raise InputError(f"{where}: channels {channels!r} must differ; write '' for one of no use")
    centres, widths = (_list(entry, key, len(names), where) for key in ("centre_nm", "width_nm"))
    try:
        return tuple(
            Band(name=name, centre_nm=centres[k], width_nm=widths[k], channel=k)
            for k, name in enumerate(names)
            if name
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _list(entry: dict[str, Any], key: str, length: int, where: str) -> list[float | None]:
    values = entry.get(key)
    if values is None:
        return [None] * length
    if not isinstance(values, list) or len(values) != length or not all(map(_is_number, values)):
        raise InputError(f"{where}: {key} must list {length} numbers, one for each channel")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
