"""``tmp cameras``: the cameras and drones that plans know, and one's own from a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flightplan.equipment.catalogue import Catalogue

HEIGHT_M = 50.0

equipment_option = click.option(
    "--equipment",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Your own equipment.toml, besides ~/.config/tmp/equipment.toml.  (repeatable)",
)


@click.group(invoke_without_command=True, short_help="List cameras and drones; measure your own.")
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


@cameras.command(short_help="Read a camera's focal length from a photograph.")
@click.argument("photo", type=click.Path(path_type=Path))
@equipment_option
def calibrate(photo: Path, equipment: tuple[Path, ...]) -> None:
    """Read the focal length in pixels from PHOTO and print the entry for your equipment.toml.

    Use a file as it came from the card: programs that resize or crop leave metadata behind that
    no longer fit.
    """
    from flightplan.equipment.catalogue import read_catalogue, user_files
    from flows.cli.calibration import calibrate_photo

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
