"""The commands ``tmp run``, ``tmp status``, ``tmp logs``, ``tmp cancel`` and ``tmp watch``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli import (
    STATUSES,
    exit_as,
    list_products,
    map_choices,
    map_options,
    resumable,
    split_names,
)

if TYPE_CHECKING:
    from flows.request import RunOptions, SurveyRequest, SurveyResult

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
    click.option(
        "--retry-holes", is_flag=True, help="Try tiles again that could not be made before."
    ),
    click.option(
        "--prefect/--no-prefect",
        default=None,
        help="Keep a record of the run in Prefect.  [default: where a server is there to keep it]",
    ),
)


def run_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run; `run_options` makes them one value."""
    for option in reversed(RUN_CHOICES):
        command = option(command)
    return command


def run_options(**chosen: Any) -> RunOptions:
    """Return the options of a run as they were chosen."""
    from flows.execution.profile import read_profile
    from flows.request import RunOptions, Where

    return RunOptions(
        on=Where(chosen["on"]),
        profile=None if chosen["profile"] is None else read_profile(chosen["profile"]),
        strict=chosen["strict"],
        retry_holes=chosen["retry_holes"],
        prefect=chosen["prefect"],
    )


@click.command(epilog=STATUSES)
@_survey
@click.option(
    "--card",
    "cards",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PHOTOS",
    help="Take the photographs of a card or folder in first.  (repeatable)",
)
@click.option("--link", is_flag=True, help="Link the photographs and do not copy them.")
@click.option("--crs", metavar="EPSG:CODE", help="Projected CRS of the maps.  [default: UTM zone]")
@click.option(
    "--index",
    "indices",
    multiple=True,
    callback=split_names,
    metavar="NAME,…",
    help="Indices to compute.  [default: NDVI, where there are bands for it]",
)
@click.option(
    "--until",
    type=click.Choice(["ingest", "orient", "products", "indices"]),
    default="indices",
    show_default=True,
    help="Stop after a part.",
)
@map_choices
@run_choices
@click.option("--dry-run", is_flag=True, help="Print what would run and what it asks for.")
@resumable
def run(survey: Path, dry_run: bool, **chosen: Any) -> None:
    """Make everything of SURVEY, from card to report, here or on a Slurm cluster.

    Run it again after a change, or after an interruption: what is done already is not done again.
    """
    from flows.dryrun import describe_run_plan
    from flows.flow import run_survey
    from tmp.bars import bar
    from tmp.survey import Survey

    request, how = survey_request(**chosen), run_options(**chosen)
    if dry_run:
        click.echo("\n".join(describe_run_plan(Survey(root=survey), request, how)))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what 'tmp cancel' sends
    with bar() as track:
        result = run_survey(survey, request, how, track=track)
    tell(result)
    exit_as(result)


def survey_request(**chosen: Any) -> SurveyRequest:
    """Return what is asked of a survey as it was chosen."""
    from flows.indices import IndexOptions
    from flows.parts import Part
    from flows.request import SurveyRequest

    asked = map_options(**chosen)
    names = chosen["indices"]
    return SurveyRequest(
        map=asked,
        cards=chosen["cards"],
        link=chosen["link"],
        crs=chosen["crs"],
        indices=IndexOptions(indices=names, workers=asked.workers) if names else None,
        until=Part(chosen["until"]),
    )


def tell(result: SurveyResult) -> None:
    """Print what a run made, and what it could not make."""
    for stage, tiles in result.holes.items():
        reasons = "; ".join(f"{tile}: {reason}" for tile, reason in tiles.items())
        click.echo(
            f"note: {stage} has holes: {reasons}; 'tmp run --retry-holes' tries them again",
            err=True,
        )
    if result.indices is not None:
        for warning in result.indices.warnings:
            click.echo(f"note: {warning}", err=True)
    if result.report_path is not None:
        list_products(result)
    else:
        click.echo(f"{result.survey.root}: {result.results[-1].stage} is done")


@click.command()
@_survey
def status(survey: Path) -> None:
    """Tell how the run of SURVEY is, stage by stage, or what it has cost."""
    from flows.status import describe_run
    from tmp.survey import open_survey

    click.echo("\n".join(describe_run(open_survey(survey))))


@click.command()
@_survey
@click.argument("stage", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on while the stage runs.")
@resumable
def logs(survey: Path, stage: str | None, follow: bool) -> None:
    """Print the log of a STAGE of SURVEY, or of one tile of it: orthomosaic:r3c7.

    Without STAGE, list the logs there are.
    """
    from flows.unitlogs import follow_log, list_logs, stage_log
    from tmp.survey import open_survey

    found = open_survey(survey)
    if stage is None:
        lines: Iterable[str] = list_logs(found)
    else:
        name, _, tile = stage.partition(":")
        lines = (follow_log if follow else stage_log)(found, name, tile)
    for line in lines:
        click.echo(line)


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
    default=120.0,
    show_default=True,
    help="Seconds without a change after which a copy counts as finished.",
)
@click.option("--once", is_flag=True, help="Run what has come to rest, and end.")
@map_choices
@run_choices
@resumable
def watch(inbox: Path, into: Path | None, quiet_s: float, once: bool, **chosen: Any) -> None:
    """Ingest and run each folder in INBOX once its copy is finished.

    A copy is finished when nothing in it has changed for a time, or at once when whoever copies
    writes a file .complete or flight.json into the folder last.  Nothing is written into INBOX.
    """
    from flows.execution.slurm import require_slurm
    from flows.flow import run_survey
    from flows.inbox import Inbox
    from flows.request import SurveyRequest, Where
    from flows.watching import Watch, refuse_nested, watch_inbox
    from tmp.bars import bar

    asked, how = map_options(**chosen), run_options(**chosen)
    surveys = into or inbox.resolve().parent / "surveys"
    refuse_nested(inbox, surveys)
    if how.on is Where.SLURM:
        require_slurm()

    def run_card(card: Path, root: Path) -> str:
        with bar() as track:
            result = run_survey(root, SurveyRequest(map=asked, cards=(card,)), how, track=track)
        holes = "".join(f"; no {stage} at {', '.join(at)}" for stage, at in result.holes.items())
        ended = "" if result.verdict is None else f"; {result.verdict.summary}"
        return f"{result.report_path}{holes}{ended}"

    def say(line: str) -> None:
        click.echo(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {line}")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say(f"watching {inbox}; surveys go to {surveys}")
    watch_inbox(
        Inbox(folder=inbox, quiet_s=quiet_s),
        Watch(surveys=surveys, run_card=run_card, tell=say),
        once=once,
    )
