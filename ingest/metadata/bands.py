"""Read from a photograph's tags all that its pixel values hang on, whoever made the camera.

Where files do not say what they hold, a person declares it in ``cameras.toml``::

    [cameras."canon-powershot-s110-*"]       # the camera id; * and ? stand for any characters
    channels = ["nir", "green", "blue"]      # what the file's red, green and blue hold
    centre_nm = [850, 550, 450]              # these four may be left out
    width_nm = [100, 80, 80]
    black_level = 0
    linear = false                           # true for pictures developed without a curve

``filter = "RGN"`` stands for the channels of a known filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ingest.metadata.cameras import camera_id
from ingest.metadata.exif import Tags, read_tags
from ingest.metadata.vendors import (
    BANDS_OF_FILTERS,
    bands_at,
    dji_tags,
    light_nm,
    mapir_tags,
    micasense_tags,
    normal_name,
    sentera_tags,
    sequoia_tags,
    why_implausible,
)
from tmp.captures import Capture
from tmp.errors import InputError, require_range
from tmp.files import build, read_toml, subtables
from tmp.radiometry import Band, BandTags, Family

FILE = "cameras.toml"

SATURATION_16_BIT = 65472.0
"""Highest value of 10 bits stored in the upper bits of 16; 12 bits reach up to 65 520."""
LONGEST_EXPOSURE_S = 10.0
LARGEST_GAIN = 1000.0
RGB = frozenset({"red", "green", "blue"})
_READERS: dict[Family, Callable[[Tags], dict[str, Any]]] = {
    Family.SEQUOIA: sequoia_tags,
    Family.MICASENSE: micasense_tags,
    Family.DJI: dji_tags,
    Family.MAPIR: mapir_tags,
    Family.SENTERA: sentera_tags,
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One table of ``cameras.toml`` as it is written."""

    channels: tuple[str, ...] | None = None
    filter: str | None = None
    centre_nm: tuple[float, ...] | None = None
    width_nm: tuple[float, ...] | None = None
    black_level: float | None = None
    linear: bool | None = None

    def __post_init__(self) -> None:
        require_range(self, "black_level", least=0, most=SATURATION_16_BIT)


def read_declarations(root: Path) -> list[Declaration]:
    """Read ``cameras.toml`` in a survey's folder and beside it; the survey's own comes first.

    Raises `InputError` if a file is no TOML, or an entry cannot be understood.
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
    entries = subtables(read_toml(path), "cameras", str(path))
    if not entries:
        raise InputError(f'{path}: no [cameras."..."] tables; add one for each camera')
    found = []
    for name, entry in entries.items():
        where = f"{path}: camera {name!r}"
        said = build(_Entry, entry, where)
        found.append(
            Declaration(
                pattern=name.casefold(),
                bands=_bands(said, where),
                black_level=said.black_level,
                linear=said.linear,
            )
        )
    return found


def _bands(entry: _Entry, where: str) -> tuple[Band, ...]:
    if entry.filter is not None:
        if entry.filter.upper() == "RGB":
            return ()
        if entry.filter.upper() not in BANDS_OF_FILTERS:
            raise InputError(
                f"{where}: filter {entry.filter!r} is not known; give RGB or one of "
                f"{', '.join(BANDS_OF_FILTERS)}, or list its channels"
            )
        return BANDS_OF_FILTERS[entry.filter.upper()]
    if entry.channels is None:
        raise InputError(f'{where}: give channels = ["nir", "green", "blue"] or filter = "RGN"')
    names = [normal_name(name) for name in entry.channels]
    if names == ["red", "green", "blue"]:
        return ()
    if len({n for n in names if n}) < len([n for n in names if n]) or not any(names):
        raise InputError(
            f"{where}: channels {list(entry.channels)!r} must differ; write '' for one of no use"
        )
    wavelengths: list[Sequence[float | None]] = []
    for key, values in (("centre_nm", entry.centre_nm), ("width_nm", entry.width_nm)):
        if values is not None and len(values) != len(names):
            raise InputError(f"{where}: {key} must list {len(names)} numbers, one for each channel")
        wavelengths.append(values or [None] * len(names))
    try:
        return tuple(
            Band(name=name, centre_nm=centre_nm, width_nm=width_nm, channel=channel)
            for channel, (name, centre_nm, width_nm) in enumerate(
                zip(names, *wavelengths, strict=True)
            )
            if name
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def read_band_tags(path: Path, declarations: Sequence[Declaration] = ()) -> BandTags:
    """Read what one file says of its bands, and what is declared of it (`read_declarations`).

    Damaged and absent tags are None in the answer, and nonsense is named in ``problems``.
    """
    return band_tags(read_tags(path.read_bytes()), declarations)


def band_tags(tags: Tags, declarations: Sequence[Declaration] = ()) -> BandTags:
    """Return what a file's tags say of its bands; as `read_band_tags`."""
    declaration = find_declaration(camera_id(tags), declarations)
    family = _family(tags)
    read = _READERS.get(family)
    found = {**_common(tags), "bands": _named_bands(tags), **(read(tags) if read else {})}
    if declaration is not None:
        found |= declaration.overrides()
    if found["bands"] and family in (Family.RGB, Family.UNKNOWN):
        family = Family.DECLARED
    elif not found["bands"]:
        rgb = declaration is not None or family is Family.RGB
        rgb = rgb or (family is not Family.UNKNOWN and _is_rgb(tags))
        family = Family.RGB if rgb else Family.UNKNOWN
    result = BandTags(family=family, **found)
    return replace(result, problems=_problems(result, tags))


def _family(tags: Tags) -> Family:
    """Tell the camera's family from make and model; RGB cameras of a maker are not of it."""
    make, model = tags.text("Image Make").casefold(), tags.text("Image Model").casefold()
    if "sequoia" in model:
        return Family.SEQUOIA
    if "micasense" in make or model.startswith(("rededge", "altum")):
        return Family.MICASENSE
    if "sentera" in make:
        return Family.SENTERA
    if "mapir" in make or "survey3" in model:
        return Family.MAPIR
    if make == "dji" and (tags.xmp_text("BandName", "BandFreq") or _channels(tags) == 1):
        return Family.DJI
    return Family.UNKNOWN if _channels(tags) == 1 else Family.RGB


def _channels(tags: Tags) -> int:
    """Return the number of channels of a TIFF, 3 for other files and where it is not said."""
    return int(tags.number("Image SamplesPerPixel") or 1) if tags.kind == "tiff" else 3


def _is_rgb(tags: Tags) -> bool:
    """Tell whether a file of a multispectral camera is from its ordinary colour lens."""
    names = [normal_name(name) for name in tags.xmp_text("BandName").split(",") if name.strip()]
    source = tags.xmp_text("ImageSource").casefold()
    if names:
        return set(names) <= RGB | {"rgb"} and (len(names) == 3 or names == ["rgb"])
    if _family(tags) is Family.MAPIR:
        return tags.text("Image Model").casefold().endswith("rgb")
    return _channels(tags) == 3 and "ms_" not in source


def _named_bands(tags: Tags) -> tuple[Band, ...]:
    """Return the bands that a file names in Pix4D's or DJI's XMP tags."""
    if _is_rgb(tags):
        return ()
    names = [normal_name(name) for name in tags.xmp_text("BandName").split(",")]
    return bands_at(tags, [(name, channel) for channel, name in enumerate(names) if name])


def _common(tags: Tags) -> dict[str, Any]:
    """Return the fields that all cameras write in EXIF."""
    levels = tags.numbers("Image BlackLevel")
    iso = tags.number("EXIF ISOSpeed") or tags.number("EXIF ISOSpeedRatings")
    bits = int(tags.number("Image BitsPerSample") or 16) if tags.kind == "tiff" else 8
    white = tags.number("Image Tag 0xC61D") or tags.number("Image WhiteLevel")
    full = SATURATION_16_BIT if bits == 16 else float(2 ** min(max(bits, 1), 32) - 1)
    return {
        "make": tags.text("Image Make"),
        "model": tags.text("Image Model"),
        "serial": tags.xmp_text("CameraSerialNumber") or tags.text("EXIF BodySerialNumber"),
        "firmware": tags.text("Image Software"),
        "exposure_s": tags.number("EXIF ExposureTime"),
        "gain": iso / 100 if iso is not None else None,
        "f_number": tags.number("EXIF FNumber"),
        "black_level": sum(levels) / len(levels) if levels else None,
        "bits": bits,
        "saturation_dn": white if white and white > 0 else full,
        "linear": tags.kind == "tiff",
        "capture_id": tags.xmp_text("CaptureUUID", "CaptureId"),
        "flight_id": tags.xmp_text("FlightUUID", "FlightId"),
    }


def _problems(found: BandTags, tags: Tags) -> tuple[str, ...]:
    """Name what a band photograph says that cannot be true; an RGB photograph needs none of it."""
    if not found.bands:
        return ()
    problems = [problem for band in found.bands if (problem := why_implausible(band))]
    problems += [
        f"band {name.strip()!r} centred at {centre:g} nm"
        for name, centre in zip(
            tags.xmp_text("BandName").split(","),
            tags.xmp_numbers("CentralWavelength"),
            strict=False,
        )
        if light_nm(centre) is None
    ]
    exposure_s, gain, black = found.exposure_s, found.gain, found.black_level
    if exposure_s is None:
        problems.append("no exposure time")
    elif not 0 < exposure_s <= LONGEST_EXPOSURE_S:
        problems.append(f"exposure time {exposure_s:g} s")
    if gain is not None and not 0 < gain <= LARGEST_GAIN:
        problems.append(f"gain {gain:g}")
    if black is not None and not 0 <= black < found.saturation_dn:
        problems.append(f"black level {black:g} where {found.saturation_dn:g} is saturated")
    # Only DJI says it twice; EXIF has the nearest setting of the shutter.
    in_exif_s = tags.number("EXIF ExposureTime") if found.family is Family.DJI else None
    if exposure_s and in_exif_s and not 2 / 3 < exposure_s / in_exif_s < 3 / 2:
        problems.append(f"exposure time {exposure_s:g} s in XMP, {in_exif_s:g} s in EXIF")
    return tuple(problems)
