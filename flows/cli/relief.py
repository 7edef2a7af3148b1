"""``tmp relief`` and ``tmp view``: pictures of relief, and the map in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from tmp.cli import split_names
from tmp.threads import available_cores


def _radius_m(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Return a length in metres."""
    if text is None:
        return None
    from flightplan.coverage.spacing import length_from_text

    return length_from_text(text, option.opts[0])


@click.command(
    short_help="Pictures of relief: sky-view factor, openness, hillshades.",
    epilog="Example: tmp relief dig --layer vat,local_relief --radius 10m",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--layer",
    "layers",
    multiple=True,
    callback=split_names,
    metavar="NAME,…",
    help="Only these, as vat,sky_view_factor.  [default: all]  (repeatable)",
)
@click.option(
    "--radius",
    "radius_m",
    metavar="LENGTH",
    callback=_radius_m,
    help="How far each place looks about.  [default: 5m]",
)
@click.option(
    "--surface",
    type=click.Choice(["dsm", "dtm"]),
    default="dtm",
    show_default=True,
    help="What the camera saw, or the bare ground below it.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
def relief(
    survey: Path,
    layers: tuple[str, ...],
    radius_m: float | None,
    surface: str,
    workers: int | None,
) -> None:
    """Draw the relief of the map of SURVEY in the ways that show walls, banks and ditches.

    Writes products/relief/*.tif.  What is there already is not made again.
    """
    from flows.products.volumes import Surface
    from flows.run.relief import ReliefOptions, make_relief
    from tmp.progress import bar

    options = ReliefOptions(
        layers=layers,
        radius_m=radius_m,
        surface=Surface(surface),
        workers=workers or available_cores(),
    )
    with bar() as track:
        made = make_relief(survey, options, track=track)
    click.echo(f"looked about over {made.radius_m:g} m", err=True)
    for path in (*made.paths, *filter(None, [made.report_path])):
        click.echo(path)
