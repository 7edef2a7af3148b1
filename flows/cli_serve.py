"""The command ``tmp serve``."""

from __future__ import annotations

from pathlib import Path

import click

from flows.cli import available_cores, resumable


@click.command()
@click.argument("surveys", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--on",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Where the stages run.",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The cluster's cluster.toml.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Surveys that run at the same time; more of them wait.",
)
@resumable
def serve(surveys: Path, on: str, profile: Path | None, workers: int | None, at_once: int) -> None:
    """Run what Prefect's server asks for, of the surveys in the folder SURVEYS.

    Registers the deployment survey/after-flight and starts its runs, until it is stopped; that
    cancels runs under way, and their jobs.
    """
    from flows.serving import Service, serve_runs

    service = Service(
        surveys=surveys,
        on="slurm" if on == "slurm" else "local",
        profile_path=profile,
        workers=workers or available_cores(),
    )
    serve_runs(service, at_once)
