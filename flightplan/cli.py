"""``tmp rehearse``: fly a survey that never was, with the truth kept beside it."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(short_help="Render the photographs of an invented survey, with its truth.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--gnss",
    type=click.Choice(["consumer", "rtk"]),
    default="consumer",
    show_default=True,
    help="Errors of the recorded positions: 2 m (3 m in height), or 2 cm.",
)
@click.option("--second-height", is_flag=True, help="Add cross lines at 1.35 times the height.")
@click.option("--oblique", is_flag=True, help="Add lines that look 28° ahead.")
@click.option("--nir", is_flag=True, help="Add a near infrared camera.")
@click.option(
    "--scale",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Area, as a multiple of the standard one.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Threads to use.  [default: one per core]"
)
def rehearse(
    folder: Path,
    gnss: str,
    second_height: bool,
    oblique: bool,
    nir: bool,
    scale: int,
    seed: int,
    workers: int | None,
) -> None:
    """Render a survey of an invented farm into FOLDER.

    photos/ gets the photographs, with metadata as wrong as a drone's; truth/ gets the exact
    poses, surface, orthomosaic, NDVI and masks.
    """
    from flightplan.farm import FarmOptions, farm_rehearsal
    from flightplan.rehearsal import CONSUMER, RTK
    from tmp.bars import bar

    options = FarmOptions(
        gnss=RTK if gnss == "rtk" else CONSUMER,
        second_height=second_height,
        oblique=oblique,
        nir=nir,
        scale=scale,
        seed=seed,
    )
    with bar() as track:
        made = farm_rehearsal(folder, options, workers=workers or os.cpu_count() or 1, track=track)
    click.echo(f"{len(made.shots)} photographs in {made.photos}")
    click.echo(f"truth in {made.truth}, {made.grid.cell_m * 100:g} cm cells, {made.grid.crs}")
