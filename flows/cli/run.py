"""The commands that make maps: ``tmp run map demo status logs cancel watch serve``."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.engine.cost import Quality
from tmp.cli import command_logs, command_of, split_names
from tmp.threads import available_cores

if TYPE_CHECKING:
    from flows.pipeline import SurveyRun
    from flows.run.request import MapOptions, RunOptions, SurveyRequest, SurveyResult

PARTIAL = 3
"""Exit status of a command whose map holds less than half of what was photographed."""
STATUSES = """Exit status: 0 if the map holds at least half of the photographs that were to be
mapped, shows at least half of the ground flown and has heights of at least half of what three of
them see; 3 if it holds less (a partial map: the products are written all the same); 1 for an error;
2 for a wrong option; 130 when interrupted."""

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
        default=True,
        show_default=True,
        help="Run as Prefect's flow: on the server that is configured, else on one for this run.",
    ),
)


def split_sigma(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Return the two values of an option like ``3,6``."""
    del context, parameter
    if value is None:
        return None
    try:
        level_m, up_m = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r}; give two numbers of metres, horizontal and vertical, as 3,6"
        ) from None
    return level_m, up_m


MAP_CHOICES = (
    click.option(
        "--quality",
        type=click.Choice([str(quality) for quality in Quality]),
        default=str(Quality.NORMAL),
        show_default=True,
        help="How much work is spent on detail.",
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]"),
    click.option(
        "--area",
        type=click.Path(path_type=Path),
        help="Crop to the polygons of a GeoJSON, GeoPackage, KML or shapefile.",
    ),
    click.option(
        "--water",
        type=click.Path(path_type=Path),
        help="Polygons of lakes and rivers, drawn along the shore: no height is measured there.",
    ),
    click.option("--ortho-gsd", type=float, metavar="M", help="Cell of the orthomosaic in metres."),
    click.option("--fill", is_flag=True, help="Close holes in the surface by interpolation."),
    click.option(
        "--model",
        type=click.Choice(["none", "low", "normal", "high"]),
        default="normal",
        show_default=True,
        help="Detail of the 3D model.",
    ),
    click.option(
        "--no-sides",
        is_flag=True,
        help="Model walls and trees as seen from above alone: quicker, without eaves or trunks.",
    ),
    click.option(
        "--heights",
        type=click.Choice(["auto", "trust", "ignore"]),
        default="auto",
        show_default=True,
        help="Whether recorded heights give the map its tilt: auto drops heights that drift.",
    ),
    click.option(
        "--position-sigma",
        metavar="H,V",
        callback=split_sigma,
        help="Accuracy of all recorded positions in metres, horizontal and vertical.",
    ),
)
"""What a person may choose of a map."""


def map_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a map; `map_options` makes them one value."""
    for option in reversed(MAP_CHOICES):
        command = option(command)
    return command


place_choice = click.option(
    "--place",
    type=click.IntRange(min=1),
    metavar="N",
    help="Which to map where photographs are of several places, as 'tmp ingest' numbers them.",
)


def map_options(**chosen: Any) -> MapOptions:
    """Return the options of a map as they were chosen."""
    from flows.run.request import MapOptions
    from tmp.captures import HeightUse

    return MapOptions(
        quality=Quality(chosen["quality"]),
        workers=chosen["workers"] or available_cores(),
        area_file=chosen["area"],
        water_file=chosen["water"],
        ortho_gsd_m=chosen["ortho_gsd"],
        fill=chosen["fill"],
        model_detail=chosen["model"],
        model_sides=not chosen["no_sides"],
        heights=HeightUse(chosen["heights"]),
        position_sigma_m=chosen["position_sigma"],
        place=chosen.get("place"),
    )


def tell_map(result: SurveyResult, *, show: bool) -> None:
    """Print how a map came out and where it lies; open its report if that is to be shown."""
    if result.verdict is None or result.report_path is None:
        return
    for line in result.verdict.in_words(result.report_path):
        click.echo(_wrapped(line))
    products = result.survey.products_dir
    made = [
        path.name for kind in ("*.tif", "*.laz", "*.glb") for path in sorted(products.glob(kind))
    ]
    click.echo(_wrapped(f"products: {products}: {', '.join(made)}"))
    if show:
        open_page(result.report_path)


def open_page(path: Path) -> None:
    """Open a page as people do who click on it; says so where there is nothing to open it with."""
    import webbrowser

    screen = (
        sys.platform in ("win32", "darwin") or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    )
    if not (screen and webbrowser.open(path.resolve().as_uri())):
        click.echo(f"note: nothing here to show {path} with; open it in a browser", err=True)


open_option = click.option("--open", "show", is_flag=True, help="Open the report when it is there.")


def exit_as(result: SurveyResult) -> None:
    """End the command with `PARTIAL` if its map is partial."""
    from flows.report.verdict import End

    if result.verdict is not None and result.verdict.end is End.PARTIAL:
        sys.exit(PARTIAL)


def _wrapped(line: str) -> str:
    """Break a line for people at a terminal; programs get it whole."""
    if not sys.stdout.isatty():
        return line
    width = min(max(shutil.get_terminal_size().columns, 40), 100)
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


@click.command("map", epilog=f"{STATUSES}\n\nExample: tmp map dig --quality fast --open")
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@map_choices
@place_choice
@open_option
def map_(survey: Path, show: bool, **chosen: Any) -> None:
    """Make orthomosaic, surface, point cloud, 3D model and report of SURVEY.

    Run it again after a change, or after an interruption: what is done already is not done again.
    """
    from flows.pipeline import map_survey
    from tmp.progress import bar

    options = map_options(**chosen)
    with bar() as track:
        result = map_survey(survey, options, track=track)
    tell_map(result, show=show)
    exit_as(result)


@click.command(epilog=f"{STATUSES}\n\nExample: tmp demo ./tmp-demo --open")
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("tmp-demo")
)
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
@open_option
def demo(folder: Path, workers: int | None, show: bool) -> None:
    """Rehearse a survey of a ruined farm, map it, and compare the map with the truth.

    The photographs are rendered, so what they show is known exactly.  Everything goes to FOLDER,
    by default ./tmp-demo.
    """
    from flows.demo import run_demo
    from flows.run.request import MapOptions
    from tmp.progress import bar

    with bar() as track:
        result = run_demo(folder, MapOptions(workers=workers or available_cores()), track=track)
    for line in result.accuracy.in_words():
        click.echo(line)
    tell_map(result.map, show=show)
    exit_as(result.map)


def run_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a run; `run_options` makes them one value."""
    for option in reversed(RUN_CHOICES):
        command = option(command)
    return command


def run_options(**chosen: Any) -> RunOptions:
    """Return the options of a run as they were chosen."""
    from flows.execution.cluster_profile import read_profile
    from flows.run.request import RunOptions, Where

    return RunOptions(
        on=Where(chosen["on"]),
        profile=None if chosen["profile"] is None else read_profile(chosen["profile"]),
        strict=chosen["strict"],
        retry_holes=chosen["retry_holes"],
    )


@contextmanager
def way_of_running(*, prefect: bool) -> Iterator[Callable[[SurveyRun], SurveyResult]]:
    """Yield what runs a survey: Prefect's flow, whose server starts now, or the pipeline alone."""
    if not prefect:
        from flows.pipeline import SurveyRun

        yield SurveyRun.go
        return
    from flows.prefect.server import server_of_run

    with server_of_run() as server:

        def go(run: SurveyRun) -> SurveyResult:
            if server is None:
                return run.go()
            from flows.survey_flow import run_flow

            return run_flow(run, server)

        yield go


@click.command(epilog=f"{STATUSES}\n\nExample: tmp run dig --card /media/card --on slurm")
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
@place_choice
@run_choices
@open_option
@click.option("--dry-run", is_flag=True, help="Print what would run and what it asks for.")
def run(survey: Path, dry_run: bool, show: bool, **chosen: Any) -> None:
    """Make everything of SURVEY, from card to report, here or on a Slurm cluster.

    Run it again after a change, or after an interruption: what is done already is not done again.
    """
    if dry_run:
        from flows.run.status import describe_run_plan
        from tmp.survey import Survey

        request, how = survey_request(**chosen), run_options(**chosen)
        click.echo("\n".join(describe_run_plan(Survey(folder=survey), request, how)))
        return
    from tmp.progress import bar

    with way_of_running(prefect=chosen["prefect"]) as go, bar() as track:
        from flows.pipeline import run_survey

        request, how = survey_request(**chosen), run_options(**chosen)
        result = run_survey(survey, request, how, go=go, track=track)
    tell(result, show=show)
    exit_as(result)


def survey_request(**chosen: Any) -> SurveyRequest:
    """Return what is asked of a survey as it was chosen."""
    from flows.run.request import IndexOptions, Part, SurveyRequest

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


def tell(result: SurveyResult, *, show: bool) -> None:
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
        tell_map(result, show=show)
    else:
        click.echo(f"{result.survey.folder}: {result.results[-1].stage} is done")


@click.command(epilog="Example: tmp status dig")
@_survey
def status(survey: Path) -> None:
    """Tell how the run of SURVEY is, stage by stage, or what it has cost."""
    from flows.run.status import describe_run
    from tmp.survey import open_survey

    click.echo("\n".join(describe_run(open_survey(survey))))


@click.command(epilog="Example: tmp logs dig map")
@_survey
@click.argument("stage", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on while the stage runs.")
def logs(survey: Path, stage: str | None, follow: bool) -> None:
    """Print the log of a STAGE of SURVEY, or of one tile of it: orthomosaic:r3c7.

    The name of a command, such as map, gives the log of the last one.  Without STAGE, list the logs
    there are.
    """
    from flows.run.record import UNITS
    from flows.run.status import follow_log, list_logs, stage_log
    from tmp.errors import InputError
    from tmp.survey import open_survey

    found, own = open_survey(survey), command_logs(survey)
    name, _, tile = (stage or "").partition(":")
    mine = [path for path in own if command_of(path) == name]
    lines: Iterable[str]
    if stage is None:
        lines = [f"{command_of(path):<14}{path}" for path in own]
        with suppress(InputError) if own else nullcontext():
            lines += list_logs(found)
    elif mine and not (found.work_dir / UNITS / name).is_dir():
        lines = mine[-1].read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        lines = (follow_log if follow else stage_log)(found, name, tile)
    for line in lines:
        click.echo(line)


@click.command(epilog="Example: tmp cancel dig")
@_survey
def cancel(survey: Path) -> None:
    """Stop the run of SURVEY and all its jobs."""
    from flows.run.record import cancel_run
    from tmp.survey import open_survey

    click.echo(cancel_run(open_survey(survey)))


@click.command(epilog="Example: tmp watch /srv/inbox --into /srv/surveys --quality fast")
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
def watch(inbox: Path, into: Path | None, quiet_s: float, once: bool, **chosen: Any) -> None:
    """Ingest and run each folder in INBOX once its copy is finished.

    A copy is finished when nothing in it has changed for a time, or at once when whoever copies
    writes a file .complete or flight.json into the folder last.  Nothing is written into INBOX.
    """
    from flows.execution.slurm import require_slurm
    from flows.pipeline import run_survey
    from flows.run.request import SurveyRequest, Where
    from flows.run.watch import Inbox, Watch, refuse_nested, watch_inbox
    from tmp.progress import bar

    asked, how = map_options(**chosen), run_options(**chosen)
    surveys = into or inbox.resolve().parent / "surveys"
    refuse_nested(inbox, surveys)
    if how.on is Where.SLURM:
        require_slurm()

    def run_card(card: Path, root: Path) -> str:
        request = SurveyRequest(map=asked, cards=(card,))
        with way_of_running(prefect=chosen["prefect"]) as go, bar() as track:
            result = run_survey(root, request, how, go=go, track=track)
        holes = "".join(f"; no {stage} at {', '.join(at)}" for stage, at in result.holes.items())
        ended = "" if result.verdict is None else f"; {result.verdict.summary}"
        return f"{result.report_path}{holes}{ended}"

    def say(line: str) -> None:
        click.echo(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {line}")

    say(f"watching {inbox}; surveys go to {surveys}")
    watch_inbox(
        Inbox(folder=inbox, quiet_s=quiet_s),
        Watch(surveys=surveys, run_card=run_card, tell=say),
        once=once,
    )


@click.command(epilog="Example: tmp serve /srv/surveys --on slurm --profile cluster.toml")
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
@click.option(
    "--cards",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where runs may take cards in, beside SURVEYS, such as /media.  (repeatable)",
)
@click.option(
    "--without-password",
    is_flag=True,
    help="Serve although Prefect's server lets in whoever reaches it.",
)
def serve(surveys: Path, cards: tuple[Path, ...], **chosen: Any) -> None:
    """Run what Prefect's server asks for, of the surveys in the folder SURVEYS.

    Registers the deployment survey/after-flight and starts its runs, until it is stopped; that
    cancels runs under way, and their jobs.  The server needs a password: whoever reaches it may
    ask for runs, which have your rights.
    """
    from flows.run.request import Service
    from flows.serve import serve_runs
    from flows.survey_flow import survey

    service = Service(
        surveys=surveys,
        cards=cards,
        on="slurm" if chosen["on"] == "slurm" else "local",
        profile_path=chosen["profile"],
        workers=chosen["workers"] or available_cores(),
    )
    serve_runs(survey, service, chosen["at_once"], without_password=chosen["without_password"])
