"""``tmp model``: models of a map that is there, in another detail, of an area, in other formats."""

from __future__ import annotations

from pathlib import Path

import click

from tmp.threads import available_cores


@click.command(
    short_help="3D models of a map: other detail, an area, OBJ, 3D Tiles.",
    epilog="Example: tmp model dig --area trench.gpkg --detail high --obj",
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--detail",
    type=click.Choice(["low", "normal", "high"]),
    default="normal",
    show_default=True,
    help="Detail of the 3D model.",
)
@click.option(
    "--area",
    type=click.Path(path_type=Path),
    help="Cut to the polygons of a GeoJSON, GeoPackage, KML or shapefile; a small area is finer.",
)
@click.option(
    "--no-sides",
    is_flag=True,
    help="Model walls and trees as seen from above alone: quicker, without eaves or trunks.",
)
@click.option(
    "--obj", is_flag=True, help="Write OBJ with its pictures, for CloudCompare, MeshLab, Blender."
)
@click.option("--tiles3d", is_flag=True, help="Make 3D Tiles, which globes load piece by piece.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
def model(
    survey: Path,
    detail: str,
    area: Path | None,
    no_sides: bool,
    obj: bool,
    tiles3d: bool,
    workers: int | None,
) -> None:
    """Make a 3D model of the map of SURVEY as it is asked for.

    The map's own products/model.glb stays; others are named by area and detail.  What is there
    already is not made again.
    """
    from flows.run.model import make_model
    from flows.run.request import ModelOptions
    from tmp.progress import bar

    options = ModelOptions(
        detail=detail,
        sides=not no_sides,
        area_file=area,
        obj=obj,
        tiles3d=tiles3d,
        workers=workers or available_cores(),
    )
    with bar() as track:
        made = make_model(survey, options, track=track)
    found = made.figures
    click.echo(
        f"model: {found['corners']} corners, {found['faces']} triangles, pictures of "
        f"{100 * found['pixel_m']:.1f} cm a pixel",
        err=True,
    )
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    for path in (*made.paths, made.report_path):
        click.echo(path)
