"""``tmp terrain`` and ``tmp volume``: what is told of a map's bare ground on request."""

from __future__ import annotations

from pathlib import Path

import click

from tmp.threads import available_cores

CHOSEN = "chosen"
"""Interval of contours that suits relief and doubt."""


def _interval(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[bool, float | None]:
    """Return whether contours are asked for, and at which interval."""
    if text is None or text == CHOSEN:
        return text is not None, None
    from flightplan.coverage.spacing import length_from_text

    return True, length_from_text(text, option.opts[0])


@click.command(
    short_help="Bare ground, contours and slope of a map.",
    epilog="Example: tmp terrain dig --contours 0.25m --slope",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--contours",
    is_flag=False,
    flag_value=CHOSEN,
    metavar="[INTERVAL]",
    callback=_interval,
    help="Draw contours, each 0.25m or so; without INTERVAL one that suits relief and doubt.",
)
@click.option("--slope", is_flag=True, help="Write the slope in degrees.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
def terrain(
    survey: Path, contours: tuple[bool, float | None], slope: bool, workers: int | None
) -> None:
    """Make the bare ground of the map of SURVEY, and what is asked of it.

    What is there already is not made again.
    """
    from flows.run.request import TerrainOptions
    from flows.run.terrain import make_terrain
    from tmp.progress import bar

    asked, interval_m = contours
    options = TerrainOptions(
        contours=asked, interval_m=interval_m, slope=slope, workers=workers or available_cores()
    )
    with bar() as track:
        made = make_terrain(survey, options, track=track)
    if asked:
        click.echo(
            f"contours each {made.figures['interval_m']:g} m: {made.figures['lines']} lines",
            err=True,
        )
    for path in (*made.paths, made.report_path):
        click.echo(path)


@click.command(
    short_help="Volumes in polygons, cut and fill.",
    epilog="Example: tmp volume dig spoil_heaps.gpkg --base plane",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.argument("polygons", type=click.Path(path_type=Path))
@click.option(
    "--base",
    default="plane",
    show_default=True,
    metavar="plane|lowest|FILE",
    help="A plane through each polygon's edge, the lowest place of its edge, or heights in a file.",
)
@click.option(
    "--surface",
    type=click.Choice(["dsm", "dtm"]),
    default="dsm",
    show_default=True,
    help="What the camera saw, or the bare ground below it.",
)
def volume(survey: Path, polygons: Path, base: str, surface: str) -> None:
    """Measure cut (above a base) and fill (below it) in each of POLYGONS on the map of SURVEY.

    Prints a table, with one standard deviation of everything, and writes products/volumes.csv and
    volumes.gpkg.
    """
    from flows.products.volumes import Surface, say_volumes
    from flows.run.terrain import measure_in_polygons

    made = measure_in_polygons(survey, polygons, base=base, surface=Surface(surface))
    for line in say_volumes(made.found):
        click.echo(line)
    for note in made.found.notes:
        click.echo(f"note: {note}", err=True)
    for path in made.paths:
        click.echo(path)
