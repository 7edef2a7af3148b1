"""The commands ``tmp run``, ``tmp status``, ``tmp logs``, ``tmp cancel`` and ``tmp watch``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli import list_products, map_choices, map_options, resumable

if TYPE_CHECKING:
    from flows.flow import RunOptions

_survey = click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
RUN_CHOICES = (
    click.option(
        "--on",
        type=click.Choice(["local", "slurm"]),
        default="local",
        show_default=True,
        help="Where the stages run.",
    ),
    click.option(
        "--profile",
        type=click.Path(path_type=Path, dir_okay=False),
        help="The cluster's cluster.toml.",
    ),
    click.option("--strict", is_flag=True, help="Stop at a tile that cannot be made."),
    click.option("--no-prefect", is_flag=True, help="Keep no record of the run in Prefect."),
)


def run_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run; `run_options` makes them one value."""
    for option in reversed(RUN_CHOICES):
        command = option(command)
    return command


def run_options(**chosen: Any) -> RunOptions:
    """Return the options of a run as they were chosen."""
    from flows.execution.profile import read_profile
    from flows.flow import RunOptions, Where

    return RunOptions(
        on=Where(chosen["on"]),
        profile=None if chosen["profile"] is None else read_profile(chosen["profile"]),
        strict=chosen["strict"],
        prefect=not chosen["no_prefect"],
    )


@click.command()
@_survey
@map_choices
@run_choices
@click.option("--dry-run", is_flag=True, help="Print what would run and what it asks for.")
@resumable
def run(survey: Path, dry_run: bool, **chosen: Any) -> None:
    """Make products and report of SURVEY, stage by stage, here or on a Slurm cluster.

    Run it again after a change, or after an interruption: what is done already is not done again.
    """
    from flows.flow import describe_plan, run_survey
    from flows.map import plan_map
    from tmp.bars import bar

    asked, how = map_options(**chosen), run_options(**chosen)
    if dry_run:
        click.echo("\n".join(describe_plan(plan_map(survey, asked), how, asked)))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what 'tmp cancel' sends
    with bar() as track:
        result = run_survey(survey, asked, how, track=track)
    for done in result.results:
        if done.figures.get("holes"):
            click.echo(f"{done.stage}: holes at tiles {', '.join(done.figures['holes'])}", err=True)
    list_products(result)


@click.command()
@_survey
def status(survey: Path) -> None:
    """Tell how the run of SURVEY is."""
    from flows.runs import describe_run
    from tmp.survey import open_survey

    click.echo("\n".join(describe_run(open_survey(survey))))


@click.command()
@_survey
@click.argument("stage")
def logs(survey: Path, stage: str) -> None:
    """Print the log of a STAGE of SURVEY, or of one tile of it: orthomosaic:r3c7."""
    from flows.runs import find_log
    from tmp.survey import open_survey

    name, _, tile = stage.partition(":")
    path = find_log(open_survey(survey), name, tile)
    click.echo(path.read_text(encoding="utf-8", errors="replace"), nl=False)


@click.command()
@_survey
def cancel(survey: Path) -> None:
    """Stop the run of SURVEY and all its jobs."""
    from flows.runs import cancel_run
    from tmp.survey import open_survey

    click.echo(cancel_run(open_survey(survey)))


@click.command()
@click.argument("inbox", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the surveys.  [default: surveys, beside INBOX]",
)
@click.option(
    "--quiet-s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds without a change after which a copy counts as finished.",
)
@click.option("--once", is_flag=True, help="Look once, run what is ready, and end.")
@map_choices
@run_choices
@resumable
def watch(inbox: Path, into: Path | None, quiet_s: float, once: bool, **chosen: Any) -> None:
    """Ingest and run each folder in INBOX once its copy is finished."""
    from flows.watching import watch_inbox

    watch_inbox(
        inbox,
        into or inbox.resolve().parent / "surveys",
        map_options(**chosen),
        run_options(**chosen),
        quiet_s=quiet_s,
        once=once,
    )
