"""The command ``tmp indices``."""

from __future__ import annotations

from pathlib import Path

import click

from tmp.cli import split_names
from tmp.threads import available_cores


def _pairs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not text.strip():
            raise click.BadParameter(
                f"{value!r} has no expression; write NAME=EXPRESSION", context, parameter
            )
        pairs.append((name.strip(), text.strip()))
    return tuple(pairs)


def _list_indices(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    del parameter
    if not asked or context.resilient_parsing:
        return
    from photogrammetry.indices.table import index_table

    for index in index_table().indices.values():
        names = ", ".join((index.name, *index.also))
        click.echo(f"{names:16} {index.in_words()}")
        click.echo(f"{'':16} {index.title} ({index.reference}); shows {index.shows}, ", nl=False)
        click.echo(f"needs {index.needs}")
    context.exit()


@click.command(
    short_help="Vegetation and other indices of a survey.",
    epilog="Example: tmp indices dig --index NDVI,NDRE --zones plots.gpkg",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--index",
    "indices",
    multiple=True,
    callback=split_names,
    metavar="NAME,…",
    help="Indices of the table, as NDVI,GNDVI,NDRE.  (repeatable)",
)
@click.option(
    "--formula",
    "formulas",
    multiple=True,
    callback=_pairs,
    metavar="NAME=EXPR",
    help="An index of your own, of B, G, R, RE1, RE2, N.  (repeatable)",
)
@click.option(
    "--zones", type=click.Path(path_type=Path), help="Polygons to summarise the indices in."
)
@click.option(
    "--from",
    "source",
    type=click.Choice(["reflectance", "orthomosaic"]),
    default="reflectance",
    show_default=True,
    help="Raster to compute from; the orthomosaic serves where there is no reflectance.",
)
@click.option("--mask-shadow", is_flag=True, help="Leave out cells in shadow.")
@click.option(
    "--relative", is_flag=True, help="Compute indices that need reflectance without it, marked so."
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_indices,
    help="List the indices and leave.",
)
def indices(
    survey: Path,
    indices: tuple[str, ...],
    formulas: tuple[tuple[str, str], ...],
    zones: Path | None,
    source: str,
    mask_shadow: bool,
    relative: bool,
    workers: int | None,
) -> None:
    """Compute indices of SURVEY from its reflectance, or its orthomosaic.

    Each becomes a raster beside the others in products/, with a style of fixed colours, and says
    in its tags what it rests on.
    """
    from flows.run.indices import compute_indices
    from flows.run.request import IndexOptions
    from tmp.progress import bar

    options = IndexOptions(
        indices=indices,
        formulas=formulas,
        zones_file=zones,
        picture=source == "orthomosaic",
        mask_shadow=mask_shadow,
        relative=relative,
        workers=workers or available_cores(),
    )
    with bar() as track:
        result = compute_indices(survey, options, track=track)
    for warning in result.warnings:
        click.echo(f"note: {warning}", err=True)
    for path in (*result.paths, *result.zone_paths):
        click.echo(path)
    if result.report_path is not None:
        click.echo(result.report_path)
