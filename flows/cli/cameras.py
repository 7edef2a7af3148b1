"""``tmp cameras``: the cameras and drones that plans know, and one's own from a photograph."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmp.errors import PhotographError
from tmp.files import words

if TYPE_CHECKING:
    from flightplan.equipment.catalogue import CameraModel, Catalogue
    from ingest.metadata.exif import Tags
    from tmp.cameras import Camera

HEIGHT_M = 50.0
CONFIDENCE = ((0.01, "A"), (0.03, "B"), (math.inf, "C"))
"""Greatest standard deviation of the focal length, as a fraction, for each letter."""
GUESSED = 0.1
"""Standard deviation from which on a focal length is no evidence."""

equipment_option = click.option(
    "--equipment",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Your own equipment.toml, besides ~/.config/tmp/equipment.toml.  (repeatable)",
)


@click.group(
    invoke_without_command=True,
    short_help="List cameras and drones; measure your own.",
    epilog="Example: tmp cameras calibrate DJI_0001.JPG",
)
@equipment_option
@click.pass_context
def cameras(ctx: click.Context, equipment: tuple[Path, ...]) -> None:
    """List the cameras and drones that plans know.

    Confidence: A maker's text or several lists, B one list, C derived or in dispute; `tmp cameras
    calibrate` settles it with a photograph of yours.
    """
    if ctx.invoked_subcommand is not None:
        return
    from flightplan.equipment.catalogue import read_catalogue, user_files

    catalogue = read_catalogue([*user_files(), *equipment])
    click.echo(f"Cameras, with what they see from {HEIGHT_M:g} m above ground\n")
    click.echo(_table(camera_rows(catalogue), left=(0, 7)))
    click.echo("\nDrones\n")
    click.echo(_table(drone_rows(catalogue), left=(0, 1, 7)))
    click.echo("\nNot planned\n")
    for one in catalogue.unplanned.values():
        click.echo(f"{one.name}: {one.why}")


@cameras.command(
    short_help="Read a camera's focal length from a photograph.",
    epilog="Example: tmp cameras calibrate DJI_0001.JPG",
)
@click.argument("photo", type=click.Path(path_type=Path))
@equipment_option
def calibrate(photo: Path, equipment: tuple[Path, ...]) -> None:
    """Read the focal length in pixels from PHOTO and print the entry for your equipment.toml.

    Use a file as it came from the card: programs that resize or crop leave metadata behind that
    no longer fit.
    """
    from flightplan.equipment.catalogue import read_catalogue, user_files

    for line in calibrate_photo(photo, read_catalogue([*user_files(), *equipment])):
        click.echo(line)


def camera_rows(catalogue: Catalogue) -> list[list[str]]:
    """Return the cameras as rows of a table with its heading."""
    rows = [["camera", "pixels", "f px", "GSD cm", "footprint m", "view °", "every s", ""]]
    for camera in catalogue.cameras.values():
        across, along = camera.fov_deg
        scale = HEIGHT_M / camera.f_px
        rows.append(
            [
                camera.key,
                f"{camera.width_px} × {camera.height_px}",
                f"{camera.f_px:.0f}",
                f"{100 * scale:.2f}",
                f"{camera.width_px * scale:.0f} × {camera.height_px * scale:.0f}",
                f"{across:.0f} × {along:.0f}",
                f"{camera.least_interval_s:g}",
                camera.confidence,
            ]
        )
    return rows


def drone_rows(catalogue: Catalogue) -> list[list[str]]:
    """Return the drones as rows of a table with its heading."""
    rows = [["drone", "cameras", "kg", "Wh", "hover min", "m/s", "points", "app", ""]]
    for drone in catalogue.drones.values():
        rows.append(
            [
                drone.key,
                " + ".join(drone.cameras),
                f"{drone.mass_kg:g}",
                f"{drone.battery_wh:g}",
                f"{drone.hover_min:g}",
                f"{drone.mission_speed_m_s:g}",
                f"{drone.max_points}",
                drone.app,
                drone.confidence,
            ]
        )
    return rows


def _table(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    """Return rows as text, columns aligned right but for those named."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def calibrate_photo(path: Path, catalogue: Catalogue) -> Iterator[str]:
    """Yield lines that say a photograph's focal length and end in an entry to paste.

    The catalogue tells whether the camera is known, and how far the figures differ.

    Raises
    ------
    PhotographError
        If the file cannot be read, is no photograph, or does not tell its focal length.
    """
    from ingest.metadata.cameras import propose_camera
    from ingest.metadata.exif import read_tags

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
