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


@click.command(
    short_help="The map in a browser: layers, measuring, cameras, 3D model.",
    epilog="Example: tmp view dig",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option("--kmz", is_flag=True, help="Write products/survey.kmz for Google Earth, too.")
@click.option("--write-only", is_flag=True, help="Write the folder, and open no browser.")
@click.option("--no-browser", is_flag=True, help="Serve it, and print the address alone.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port to serve at.  [default: a free one]",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
def view(
    survey: Path, kmz: bool, write_only: bool, no_browser: bool, port: int, workers: int | None
) -> None:
    """Show the map of SURVEY in a browser, until Ctrl-C.

    Writes products/viewer/: one folder to copy to whom you like, who opens its index.html by a
    double click, without a network or anything installed.  Pictures of relief are made first where
    there are none.
    """
    from flows.products.google_earth import write_kmz
    from flows.run.viewer import make_viewer, serve_viewer
    from tmp.progress import bar

    with bar() as track:
        made = make_viewer(survey, track=track, workers=workers or available_cores())
    if kmz:
        click.echo(write_kmz(made.survey))
    if not made.reused:
        click.echo(f"{made.size.files} files, {made.size.megabytes:.0f} MB", err=True)
    click.echo(made.path)
    if not write_only:
        serve_viewer(
            made.path.parent,
            port,
            lambda address: click.echo(f"{address}  (Ctrl-C ends)", err=True),
            browse=not no_browser,
        )
