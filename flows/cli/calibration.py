"""A catalogue entry for a camera, from what one of its photographs records."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from flightplan.equipment.catalogue import CameraModel, Catalogue
from ingest.metadata.cameras import propose_camera
from ingest.metadata.exif import Tags, read_tags
from tmp.cameras import Camera
from tmp.errors import PhotographError
from tmp.files import words

CONFIDENCE = ((0.01, "A"), (0.03, "B"), (math.inf, "C"))
"""Greatest standard deviation of the focal length, as a fraction, for each letter."""
GUESSED = 0.1
"""Standard deviation from which on a focal length is no evidence."""


def calibrate_photo(path: Path, catalogue: Catalogue) -> Iterator[str]:
    """Yield lines that say a photograph's focal length and end in an entry to paste.

    Parameters
    ----------
    path : Path
        A photograph as it came from the card.
    catalogue : Catalogue
        To tell whether the camera is known, and how far the figures differ.

    Raises
    ------
    PhotographError
        If the file cannot be read, is no photograph, or does not tell its focal length.
    """
    try:
        tags = read_tags(path.read_bytes())
    except OSError as error:
        raise PhotographError(f"{path}: cannot be read ({error.strerror})") from error
    if not (tags.width_px and tags.height_px):
        raise PhotographError(f"{path}: is not a photograph; give a JPEG or TIFF from the card")
    camera = propose_camera(tags)
    if camera.focal_sigma > GUESSED:
        raise PhotographError(
            f"{path}: records neither focal length nor calibration; give a file as it came from "
            "the card"
        )
    make, model = tags.text("Image Make"), tags.text("Image Model")
    if model.casefold().startswith(make.casefold()):
        make = ""
    name = f"{make} {model}".strip() or path.stem
    f_px = (camera.fx_px + camera.fy_px) / 2
    yield f"{path.name}: {name}, {tags.width_px} × {tags.height_px} px"
    yield f"focal length {f_px:.1f} px ±{camera.focal_sigma:.1%}, from {camera.source}"
    yield from _ambiguity(tags, camera)
    known = known_camera(catalogue, model, tags)
    if known is not None:
        scaled = known.f_px * tags.width_px / known.width_px
        yield (
            f"the catalogue's {known.key} has {scaled:.1f} px at this width "
            f"({f_px / scaled - 1:+z.1%}, confidence {known.confidence})"
        )
    yield "for ~/.config/tmp/equipment.toml, or an equipment.toml beside the survey:"
    yield ""
    yield from to_entry(path, name, camera, known)


def known_camera(catalogue: Catalogue, model: str, tags: Tags) -> CameraModel | None:
    """Return the catalogue's camera of an EXIF model, that of the nearest picture size first."""
    fits = [
        camera
        for camera in catalogue.cameras.values()
        if model and words(model) in [words(name) for name in camera.also]
    ]
    return min(fits, key=lambda camera: abs(camera.width_px - tags.width_px), default=None)


def to_entry(path: Path, name: str, camera: Camera, known: CameraModel | None) -> Iterator[str]:
    """Yield the lines of a TOML entry: what differs from a known camera, or a new one.

    A picture of another size than the known one gets an entry of its own.
    """
    same = known is not None and (known.width_px, known.height_px) == (
        camera.width_px,
        camera.height_px,
    )
    confidence = next(letter for most, letter in CONFIDENCE if camera.focal_sigma <= most)
    if known is not None and same:
        yield f"[camera.{known.key}]"
    else:
        slug = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
        yield f"[camera.{slug}-{camera.width_px}x{camera.height_px}]"
        yield f"name = {_text(f'{name} ({camera.width_px} × {camera.height_px})')}"
        yield f"width_px = {camera.width_px}"
        yield f"height_px = {camera.height_px}"
        interval_s = known.least_interval_s if known is not None else 2.0
        yield f"least_interval_s = {interval_s}  # shortest time between photographs; check yours"
        shutter = known.shutter if known is not None else "rolling"
        yield f'shutter = "{shutter}"'
    yield f"f_px = {(camera.fx_px + camera.fy_px) / 2:.1f}"
    yield f"derivation = {_text(camera.source)}"
    yield f"source = {_text(f'photograph {path.name}')}"
    yield f'confidence = "{confidence}"'


def _ambiguity(tags: Tags, camera: Camera) -> Iterator[str]:
    """Yield how else a 35 mm equivalent can be read, where it is all there is."""
    equivalent_mm = tags.number("EXIF FocalLengthIn35mmFilm")
    if equivalent_mm and camera.source.startswith("35 mm"):
        by_width = equivalent_mm / 36 * max(tags.width_px, tags.height_px)
        yield (
            f"some makers mean equal widths and not diagonals, which would be {by_width:.1f} px; "
            "and it is rounded to whole millimetres: measure a known length on the ground to settle"
        )


def _text(value: str) -> str:
    """Return a TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", " ", escaped) + '"'
