"""``tmp ingest``: from cards and folders to a survey, with a first look at it."""

from __future__ import annotations

from pathlib import Path

import click

from tmp.threads import available_cores


@click.command(
    short_help="Take photographs into a survey.",
    epilog="Example: tmp ingest /media/card/DCIM --to dig",
)
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "root",
    required=True,
    metavar="SURVEY",
    type=click.Path(path_type=Path),
    help="The survey's folder; made if it does not exist.",
)
@click.option("--link", is_flag=True, help="Link the photographs and do not copy them.")
@click.option("--crs", metavar="EPSG:CODE", help="Projected CRS of the maps.  [default: UTM zone]")
@click.option(
    "--panel",
    "panels",
    multiple=True,
    metavar="SERIAL:BAND=VALUE,…",
    help="What a reflectance panel reflects, as 'RP02-1603036-SC:blue=0.67,green=0.69'; kept in "
    "the survey's panels.toml.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Threads to use.  [default: one per core]"
)
@click.option(
    "--quick-ndvi",
    is_flag=True,
    help="Also write a contact sheet of NDVI, to see before leaving the site.",
)
def ingest(
    photos: tuple[Path, ...],
    root: Path,
    link: bool,
    crs: str | None,
    panels: tuple[str, ...],
    workers: int | None,
    quick_ndvi: bool,
) -> None:
    """Take the photographs in PHOTOS (folders, cards, files) into a survey.

    Copies are verified, the sources are only read, and running it again adds only what is new.
    Doubtful photographs are kept and flagged with a reason.
    """
    from flows.prefect.records import announce_ingest
    from ingest.photographs import locked_for_ingest, take_in
    from ingest.radiometry.panel_table import FILE, add_panels, parse_panel
    from ingest.summary import summarise
    from tmp.errors import PhotographError
    from tmp.progress import bar
    from tmp.survey import Survey

    survey = Survey(folder=root)
    told = dict(parse_panel(text) for text in panels)
    with locked_for_ingest(photos, survey):
        with bar() as track:
            result = take_in(photos, survey, link=link, crs=crs, workers=workers, track=track)
        if told:
            add_panels(root / FILE, told)
        for line in summarise(result):
            click.echo(line)
        if result.failed:
            raise PhotographError(
                f"{len(result.failed)} files could not be taken in; run the same command again"
            )
    announce_ingest(root)
    if quick_ndvi:
        from flows.run.quick_look import write_quick_ndvi

        with bar() as track:
            click.echo(write_quick_ndvi(root, workers=workers or available_cores(), track=track))
