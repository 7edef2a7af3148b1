"""``tmp ingest``: from cards and folders to a survey."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Take photographs into a survey.")
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
def ingest(
    photos: tuple[Path, ...],
    root: Path,
    link: bool,
    crs: str | None,
    panels: tuple[str, ...],
    workers: int | None,
) -> None:
    """Take the photographs in PHOTOS (folders, cards, files) into a survey.

    Copies are verified, the sources are only read, and running it again adds only what is new.
    Doubtful photographs are kept and flagged with a reason.
    """
    from ingest.photographs import ingest_photographs
    from ingest.radiometry.panel_table import FILE, add_panels, parse_panel
    from ingest.summary import summarise
    from tmp.errors import PhotographError
    from tmp.progress import bar
    from tmp.survey import Survey

    told = dict(parse_panel(text) for text in panels)
    with bar() as track:
        result = ingest_photographs(
            photos, Survey(folder=root), link=link, crs=crs, workers=workers, track=track
        )
    if told:
        add_panels(root / FILE, told)
    for line in summarise(result):
        click.echo(line)
    if result.failed:
        raise PhotographError(
            f"{len(result.failed)} files could not be taken in; run the same command again"
        )
