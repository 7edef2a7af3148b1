"""``tmp control``: points measured on the ground, and where photographs show them."""

from __future__ import annotations

from pathlib import Path

import click

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
@click.option("--clear", is_flag=True, help="Take all control away.")
def control(
    survey: Path,
    file: Path | None,
    crs: str | None,
    sigma_m: tuple[float, float] | None,
    check: str,
    datum: str,
    clear: bool,
) -> None:
    """Add the ground control in FILE to SURVEY, or show what it has.

    FILE is a table with a heading (name, easting, northing, height; with photograph, x_px, y_px
    where points are marked) or a gcp_list.txt of OpenDroneMap.  The next 'tmp map' is held by it.
    """
    from flows.report.control import control_rows, say_control
    from ingest.control import SIGMA_M, ControlOptions, add_control, clear_control
    from tmp.captures import HeightDatum
    from tmp.errors import InputError
    from tmp.geo.control import read_control
    from tmp.survey import open_survey

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
    if file is not None:
        click.echo(f"'tmp map {survey}' makes the map that it holds", err=True)
        return
    try:
        figures = opened.reconstruction.figures
    except InputError:
        return
    for row in control_rows(figures):
        if row.off_m is not None:
            east, north, up = row.off_m
            click.echo(f"{row.name}  {row.role}: off by {east:+.3f} {north:+.3f} {up:+.3f} m")
    if said := say_control(figures):
        click.echo(said)
