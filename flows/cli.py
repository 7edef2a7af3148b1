"""The commands ``tmp map`` and ``tmp demo``."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from flows.map import MapOptions
    from flows.request import SurveyResult

INTERRUPTED = 130
"""Exit status of a shell command that Ctrl-C ended."""
PARTIAL = 3
"""Exit status of a command whose map holds less than half of what was photographed."""
STATUSES = """Exit status: 0 if the map holds at least half of the photographs that were to be
mapped, shows at least half of the ground flown and has heights of at least half of what three of
them see; 3 if it holds less (a partial map: the products are written all the same); 1 for an error;
2 for a wrong option; 130 when interrupted."""

Command = Callable[..., None]


def resumable(command: Command) -> Command:
    """Make Ctrl-C end a command in one line and exit status 130."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to go on", err=True)
            sys.exit(INTERRUPTED)

    return run


def available_cores() -> int:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of an option that may be repeated and hold several."""
    del context, parameter
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def split_sigma(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Return the two values of an option like ``3,6``."""
    del context, parameter
    if value is None:
        return None
    try:
        level_m, up_m = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r}; give two numbers of metres, horizontal and vertical, as 3,6"
        ) from None
    return level_m, up_m


MAP_CHOICES = (
    click.option(
        "--quality",
        type=click.Choice(["fast", "normal", "high"]),
        default="normal",
        show_default=True,
        help="How much work is spent on detail.",
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]"),
    click.option(
        "--area",
        type=click.Path(path_type=Path),
        help="Crop to the polygons of a GeoJSON, GeoPackage, KML or shapefile.",
    ),
    click.option("--ortho-gsd", type=float, metavar="M", help="Cell of the orthomosaic in metres."),
    click.option("--fill", is_flag=True, help="Close holes in the surface by interpolation."),
    click.option(
        "--heights",
        type=click.Choice(["auto", "trust", "ignore"]),
        default="auto",
        show_default=True,
        help="Whether recorded heights give the map its tilt: auto drops heights that drift.",
    ),
    click.option(
        "--position-sigma",
        metavar="H,V",
        callback=split_sigma,
        help="Accuracy of all recorded positions in metres, horizontal and vertical.",
    ),
)
"""What a person may choose of a map."""


def map_choices(command: Command) -> Command:
    """Give a command the options of a map; `map_options` makes them one value."""
    for option in reversed(MAP_CHOICES):
        command = option(command)
    return command


def map_options(**chosen: Any) -> MapOptions:
    """Return the options of a map as they were chosen."""
    from flows.map import MapOptions, Quality
    from tmp.captures import HeightUse

    return MapOptions(
        quality=Quality(chosen["quality"]),
        workers=chosen["workers"] or available_cores(),
        area_file=chosen["area"],
        ortho_gsd_m=chosen["ortho_gsd"],
        fill=chosen["fill"],
        heights=HeightUse(chosen["heights"]),
        position_sigma_m=chosen["position_sigma"],
    )


def list_products(result: SurveyResult) -> None:
    """Print the paths of a map's products and its report, and how it came out."""
    products = result.survey.products_dir
    for path in sorted([*products.glob("*.tif"), *products.glob("*.laz")]):
        click.echo(path)
    click.echo(result.report_path)
    tell_verdict(result)


def tell_verdict(result: SurveyResult) -> None:
    """Print how a map came out."""
    if result.verdict is None or result.report_path is None:
        return
    for line in result.verdict.in_words(result.report_path):
        click.echo(_wrapped(line))


def exit_as(result: SurveyResult) -> None:
    """End the command with `PARTIAL` if its map is partial."""
    from flows.verdict import End

    if result.verdict is not None and result.verdict.end is End.PARTIAL:
        sys.exit(PARTIAL)


def _wrapped(line: str) -> str:
    """Break a line for people at a terminal; programs get it whole."""
    if not sys.stdout.isatty():
        return line
    width = min(max(shutil.get_terminal_size().columns, 40), 100)
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


@click.command("map", epilog=STATUSES)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@map_choices
@resumable
def map_(survey: Path, **chosen: Any) -> None:
    """Make orthomosaic, surface, point cloud and report of SURVEY.

    Run it again after a change, or after an interruption: what is done already is not done again.
    """
    from flows.flow import map_survey
    from tmp.bars import bar

    options = map_options(**chosen)
    with bar() as track:
        result = map_survey(survey, options, track=track)
    list_products(result)
    exit_as(result)


@click.command(epilog=STATUSES)
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("tmp-demo")
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@resumable
def demo(folder: Path, workers: int | None) -> None:
    """Rehearse a survey of a ruined farm, map it, and compare the map with the truth.

    The photographs are rendered, so what they show is known exactly.  Everything goes to FOLDER,
    by default ./tmp-demo.
    """
    from flows.demo import run_demo
    from flows.map import MapOptions
    from tmp.bars import bar

    with bar() as track:
        result = run_demo(folder, MapOptions(workers=workers or available_cores()), track=track)
    for line in result.accuracy.in_words():
        click.echo(line)
    click.echo(f"report: {result.map.report_path}")
    tell_verdict(result.map)
    exit_as(result.map)
