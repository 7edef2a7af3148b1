"""``tmp rehearse``: fly a survey before it is flown, or one that never will be."""

from __future__ import annotations

import os
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmp.errors import InputError
from tmp.files import nearest

if TYPE_CHECKING:
    from flightplan.rehearsal.farm import Rehearsal
    from flightplan.rehearsal.photographs import Gnss
    from flightplan.rehearsal.planned import FlownPlan
    from tmp.progress import Track
    from tmp.survey import Survey

PHOTOGRAPHS = "rehearsal"
"""Folder of a survey that the rehearsed photographs of its plan go into."""
FARM_ONLY = ("second_height", "oblique", "nir")
"""Options that say what to fly over the farm."""


@click.command(
    short_help="See what a plan would photograph; render photographs with their truth.",
    epilog="Example: tmp rehearse farm --farm",
)
@click.argument("folder", metavar="SURVEY", type=click.Path(path_type=Path))
@click.option("--photos", is_flag=True, help="Render the photographs of the plan as well.")
@click.option(
    "--gnss",
    type=click.Choice(["consumer", "rtk"]),
    default="consumer",
    show_default=True,
    help="Errors of the recorded positions: 2 m (3 m in height), or 2 cm.",
)
@click.option("--farm", is_flag=True, help="Rehearse an invented farm; SURVEY is a new folder.")
@click.option(
    "--hamlet",
    is_flag=True,
    help="Rehearse an invented hamlet from above and four sides; SURVEY is a new folder.",
)
@click.option("--second-height", is_flag=True, help="Add cross lines at 1.35 times the height.")
@click.option("--oblique", is_flag=True, help="Add lines that look 28° ahead.")
@click.option("--nir", is_flag=True, help="Add a near infrared camera, and grey targets.")
@click.option(
    "--scale",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Area, as a multiple of the standard one.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Threads to use.  [default: one per core]"
)
def rehearse(
    folder: Path, photos: bool, farm: bool, hamlet: bool, workers: int | None, **given: Any
) -> None:
    """Rehearse the plan of SURVEY, or, with --farm or --hamlet, a survey of an invented place.

    With a plan, its mission files are read as they are, edited or not, and what they would
    photograph is judged by what was asked.  --photos renders those photographs over the farm into
    SURVEY/rehearsal.

    With --farm, --second-height, --oblique, --nir and --scale say what to fly.  photos/ gets
    the photographs, with metadata as wrong as a drone's; truth/ gets the exact poses, surface,
    orthomosaic, NDVI and masks, and with --nir the grey targets on the ground.

    The hamlet has houses with eaves, trees, a wall with an overhang, a thin pole and a car, for
    models in three dimensions; its lines are its own, --gnss and --seed apply.
    """
    from tmp.lock import locked_survey
    from tmp.progress import bar
    from tmp.survey import Survey

    threads = workers or os.cpu_count() or 1
    survey = Survey(folder=folder)
    if farm or hamlet:
        _refuse_used(survey)
        if hamlet and (farm or any(given[name] for name in FARM_ONLY) or given["scale"] != 1):
            raise InputError(
                "--hamlet has lines of its own; leave --farm, --second-height, --oblique, --nir "
                "and --scale out"
            )
    elif not survey.plan_dir.is_dir():
        raise _no_plan(survey)
    writes = photos or farm or hamlet
    with locked_survey(survey, "'tmp rehearse'") if writes else nullcontext(), bar() as track:
        if hamlet:
            _rehearse_hamlet(folder, given, threads, track)
        elif farm:
            _rehearse_farm(folder, given, threads, track)
        else:
            _rehearse_plan(survey, photos, given, threads, track)


def _no_plan(survey: Survey) -> InputError:
    """Say that there is nothing to rehearse, and which survey may have been meant."""
    from tmp.survey import Survey

    folder = survey.folder
    near = folder.resolve().parent
    planned = (
        [one.name for one in near.iterdir() if Survey(folder=one).plan_dir.is_dir()]
        if near.is_dir()
        else []
    )
    meant = nearest(folder.name, planned)
    quoted = shlex.quote(str(folder))
    return InputError(
        f"{folder}: has no plan to rehearse{meant}; plan one with 'tmp plan AREA -o {quoted} "
        f"--drone NAME', or invent a farm in a new folder with 'tmp rehearse {quoted} --farm'"
    )


def _refuse_used(survey: Survey) -> None:
    """Raise `InputError` where an invented farm would be mixed with a survey of its own."""
    if survey.plan_dir.is_dir() or survey.toml_path.exists():
        raise InputError(f"{survey.folder}: is a survey already; give a new folder for the farm")


def _rehearse_plan(
    survey: Survey, photos: bool, given: dict[str, Any], workers: int, track: Track
) -> None:
    from flightplan.equipment.catalogue import read_catalogue, user_files
    from flightplan.rehearsal.farm import render_plan
    from flightplan.rehearsal.planned import prove_flown, read_plans

    plans = read_plans(survey, read_catalogue(user_files(survey.folder)))
    plan, *others = plans
    certificate, coverage = prove_flown(plan, workers=workers, track=track)
    click.echo(f"read     {plan.title}")
    for check in certificate.checks:
        click.echo(certificate.line_of(check))
    for views, share in coverage.shares():
        click.echo(f"{100 * share:5.1f} %  of the area is seen by {views}")
    good = certificate.passed & _judge(others, workers, track) & _agree(plans, survey)
    if photos:
        made = render_plan(
            plan,
            survey.folder / PHOTOGRAPHS,
            gnss=_gnss(given),
            seed=given["seed"],
            workers=workers,
            track=track,
        )
        click.echo(f"{len(made.shots)} photographs in {made.photos}, truth in {made.truth}")
    if not good:
        raise click.exceptions.Exit(1)


def _judge(others: list[FlownPlan], workers: int, track: Track) -> bool:
    """Say what files other than the drone's own come to; tell whether all pass that it flies."""
    from flightplan.rehearsal.planned import prove_flown

    good = True
    for other in others:
        if not other.flown:
            click.echo(f"read     {other.title}; to look at, not judged")
            continue
        judged, _ = prove_flown(other, workers=workers, track=track)
        good &= judged.passed
        click.echo(f"read     {other.title}")
        click.echo(f"{judged.verdict:8s} {judged.sentence}")
        for check in judged.checks:
            if not check.passed:
                click.echo(judged.line_of(check))
    return good


def _agree(plans: tuple[FlownPlan, ...], survey: Survey) -> bool:
    """Say which files do not fly the way of the drone's own, and which were edited."""
    from flightplan.rehearsal.planned import disagreements, edited_files

    apart = list(disagreements(plans))
    for name, own, apart_m in apart:
        said = f"goes up to {apart_m:.1f} m beside, above or below" if apart_m < 1e6 else "is not"
        click.echo(f"DIFFERS  {name} {said} the way of {own}: fly neither before you know why")
    if edited := edited_files(survey.plan_dir):
        click.echo(f"edited since the plan was made: {', '.join(edited)}")
    if not apart:
        click.echo("all files fly the same way")
    return not apart


def _rehearse_farm(folder: Path, given: dict[str, Any], workers: int, track: Track) -> None:
    from flightplan.rehearsal.farm import FarmOptions, farm_rehearsal

    options = FarmOptions(
        gnss=_gnss(given),
        **{name: given[name] for name in ("second_height", "oblique", "nir", "scale", "seed")},
    )
    _tell(farm_rehearsal(folder, options, workers=workers, track=track))


def _rehearse_hamlet(folder: Path, given: dict[str, Any], workers: int, track: Track) -> None:
    from flightplan.rehearsal.hamlet import HamletOptions, hamlet_rehearsal

    options = HamletOptions(gnss=_gnss(given), seed=given["seed"])
    _tell(hamlet_rehearsal(folder, options, workers=workers, track=track))


def _tell(made: Rehearsal) -> None:
    click.echo(f"{len(made.shots)} photographs in {made.photos}")
    click.echo(f"truth in {made.truth}, {made.grid.cell_m * 100:g} cm cells, {made.grid.crs}")


def _gnss(given: dict[str, Any]) -> Gnss:
    from flightplan.rehearsal.photographs import CONSUMER, RTK

    return RTK if given["gnss"] == "rtk" else CONSUMER
