"""``tmp control``: points measured on the ground, and where photographs show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tmp.survey import Survey

DATUMS = ("ground control", "ellipsoid", "egm96", "unknown")
"""What heights may be measured from, as `tmp.captures.HeightDatum` has it."""


def _sigmas(
    _: click.Context, option: click.Parameter, text: str | None
) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        level_m, up_m = (float(part) for part in text.split(","))
    except ValueError as error:
        said = f"{text!r} is not H,V in metres, such as 0.02,0.03"
        raise click.BadParameter(said, param=option) from error
    return level_m, up_m


@click.command(
    short_help="Ground control and check points of a survey.",
    epilog="Example: tmp control dig gcp_list.txt --check P4,P5",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--crs", metavar="EPSG:CODE", help="CRS of the coordinates, if the file says none.")
@click.option(
    "--sigma",
    "sigma_m",
    metavar="H,V",
    callback=_sigmas,
    help="Standard deviations in metres, horizontal and vertical, of points that say none of "
    "their own.  [default: 0.02,0.03]",
)
@click.option("--check", metavar="NAME,…", default="", help="Points that only check the map.")
@click.option(
    "--datum",
    type=click.Choice(DATUMS),
    default=DATUMS[0],
    show_default=True,
    help="What their heights are measured from; the map's then are too.",
)
@click.option("--mark", is_flag=True, help="Make the page to mark points in; needs a map.")
@click.option("--clear", is_flag=True, help="Take all control away.")
def control(
    survey: Path,
    file: Path | None,
    crs: str | None,
    sigma_m: tuple[float, float] | None,
    check: str,
    datum: str,
    mark: bool,
    clear: bool,
) -> None:
    """Add the ground control in FILE to SURVEY, or show what it has.

    FILE is a table with a heading (name, easting, northing, height; with photograph, x_px, y_px
    where points are marked) or a gcp_list.txt of OpenDroneMap.  The next 'tmp map' is held by it.
    Points without marks are marked in a page that --mark makes from the last map.
    """
    from ingest.control import SIGMA_M, ControlOptions, add_control, clear_control
    from tmp.captures import HeightDatum
    from tmp.errors import InputError
    from tmp.geo.control import read_control
    from tmp.survey import open_survey

    if mark:
        _make_page(survey)
        return
    if clear:
        clear_control(survey)
        click.echo("no control any more; the next 'tmp map' is placed by the positions", err=True)
        return
    opened = open_survey(survey)
    if file is not None:
        options = ControlOptions(
            crs=crs,
            sigma_m=sigma_m or SIGMA_M,
            check=tuple(name.strip() for name in check.split(",") if name.strip()),
            datum=HeightDatum(datum),
        )
        found = add_control(survey, file, options)
    else:
        found = read_control(opened.folder)
        if not found:
            raise InputError(f"{survey}: no control yet; give a FILE of points")
    for point in found.points:
        marks = sum(mark.point == point.name for mark in found.marks)
        click.echo(
            f"{point.name}  {point.role}  {point.x:.3f} {point.y:.3f} {point.height_m:.3f}  "
            f"± {point.sigma_m:g}, {point.height_sigma_m:g} m  in {marks} photographs"
        )
    if not found.holds:
        said = f"not enough is marked to hold a map; 'tmp control {survey} --mark' makes the page"
        click.echo(f"{said} for it", err=True)
    elif file is not None:
        click.echo(f"'tmp map {survey}' makes the map that it holds", err=True)
    if file is None:
        _tell_fit(opened)


def _tell_fit(survey: Survey) -> None:
    """Say how the last map agrees with the control it was held by, if it was by any."""
    from flows.report.control import control_rows, say_control
    from tmp.errors import InputError

    try:
        figures = survey.reconstruction.figures
    except InputError:
        return
    for row in control_rows(figures):
        if row.off_m is not None:
            east, north, up = row.off_m
            click.echo(f"{row.name}  {row.role}: off by {east:+.3f} {north:+.3f} {up:+.3f} m")
    if said := say_control(figures):
        click.echo(said)


def _make_page(survey: Path) -> None:
    from flows.run.marking import make_marking_page
    from tmp.progress import bar
    from tmp.threads import available_cores

    with bar() as track:
        page = make_marking_page(survey, track=track, workers=available_cores())
    click.echo(page)
    click.echo(f"open it in a browser, mark, save, then 'tmp control {survey} marks.csv'", err=True)
