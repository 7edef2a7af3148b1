"""``tmp explore``, ``tmp share``: products in JupyterLab, with nothing fetched from outside."""

from __future__ import annotations

from pathlib import Path

import click

PLANNING, LOOKING = "01_plan_a_flight.ipynb", "02_first_look.ipynb"


@click.command(epilog="Example: tmp explore dig")
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port on this machine. [default: a free one]"
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the notebooks.  [default: notebooks/ in the survey]",
)
@click.option("--copy-only", is_flag=True, help="Only copy the notebooks, for a JupyterHub.")
def explore(
    survey: Path, port: int | None, no_browser: bool, to: Path | None, copy_only: bool
) -> None:
    """Open JupyterLab on SURVEY: maps, profiles, lengths and areas, the 3D model.

    Notebooks are copied into the survey; those that are there already stay as they are.  The
    server listens on this machine alone and asks nothing of the network.  Ctrl-C ends it.
    """
    from tmp.explore.lab import (
        FOLDER,
        choose_port,
        copy_notebooks,
        open_browser,
        refuse_without_jupyter,
        serve_lab,
    )
    from tmp.survey import open_survey

    folder = open_survey(survey).folder.resolve()
    refuse_without_jupyter()
    chosen = choose_port(port)
    notebooks = (to or folder / FOLDER).resolve()
    if copied := copy_notebooks(notebooks, folder):
        click.echo(f"{len(copied)} notebooks copied to {notebooks}")
    if copy_only:
        return
    mapped = any(path.suffix == ".tif" for path in open_survey(folder).products.values())
    if not mapped:
        click.echo(f"no map yet: 'tmp map {survey}' makes what there is to look at")
    first = LOOKING if mapped else PLANNING
    with serve_lab(folder, notebooks, first=first, port=chosen) as lab:
        click.echo(f"JupyterLab is at {lab.address}")
        if not no_browser:
            open_browser(lab.address, click.echo)
        click.echo("Ctrl-C ends it; what you save in a notebook stays")
        try:
            lab.process.wait()
        except KeyboardInterrupt:
            click.echo("ended")


@click.group(epilog="Example: tmp share install --prefix /opt/tljh/user")
def share() -> None:
    """Set up Jupyter for a group that shares a server."""


@share.command(epilog="Example: tmp share install --prefix /opt/tljh/user")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder with Jupyter's share/ and etc/, such as that of an environment.",
)
def install(prefix: Path) -> None:
    """Install kernel, configuration and notebooks below PREFIX, for a JupyterHub's users."""
    from tmp.explore.lab import refuse_without_jupyter
    from tmp.explore.share import install_share

    refuse_without_jupyter()
    for path in install_share(prefix.resolve()):
        click.echo(path)
