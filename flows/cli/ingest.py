"""``tmp ingest`` as it is offered: with a first look at what was photographed.

The look needs the bands laid onto each other, which is photogrammetry; ingest alone knows nothing
of that.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from flows.cli.run import available_cores
from ingest.cli import ingest as take_in

_QUICK_NDVI = click.Option(
    ["--quick-ndvi"],
    is_flag=True,
    help="Also write a contact sheet of NDVI, to see before leaving the site.",
)


@click.command(
    "ingest",
    params=[*take_in.params, _QUICK_NDVI],
    help=take_in.help,
    short_help=take_in.short_help,
)
@click.pass_context
def ingest(context: click.Context, /, quick_ndvi: bool, **options: Any) -> None:
    """Take photographs in, as `ingest.cli.ingest` does, and look at them if asked."""
    from flows.run.lock import locked
    from flows.run.prefect.announcing import announce_ingest
    from tmp.survey import Survey

    root: Path = options["root"]
    survey = Survey(folder=root)
    lock = survey.work_dir / "lock"
    with locked(lock, "'tmp ingest'") if survey.toml_path.exists() else nullcontext():
        context.invoke(take_in, **options)
    announce_ingest(root)
    if not quick_ndvi:
        return
    from flows.run.quick_look import write_quick_ndvi
    from tmp.progress import bar

    with bar() as track:
        path = write_quick_ndvi(root, workers=options["workers"] or available_cores(), track=track)
    click.echo(path)
