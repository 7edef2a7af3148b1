"""``tmp fly``: put a plan on an autopilot, prove that it arrived, start and follow it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmp.errors import InputError

if TYPE_CHECKING:
    from flightplan.autopilot.flight import Limits
    from flightplan.autopilot.link import Link
    from flightplan.autopilot.logbook import Logbook
    from flightplan.autopilot.upload import Loaded
    from flightplan.formats.mission import Mission, Place

WORD = "fly"
"""What a person types to start."""


@click.command(
    short_help="Upload a plan to an autopilot, start it and follow it.",
    epilog="Example: tmp fly dig --connect udpin:127.0.0.1:14550",
)
@click.argument("folder", metavar="SURVEY", type=click.Path(path_type=Path))
@click.option(
    "--connect",
    "address",
    required=True,
    metavar="ADDRESS",
    help="udp:HOST:PORT to listen, udpout: or tcp:HOST:PORT to call, or a serial DEVICE,BAUD.",
)
@click.option("--sortie", type=click.IntRange(min=1), help="Which one, if the plan has several.")
@click.option("--resume", is_flag=True, help="Fly only what the last flight left.")
@click.option("--replace", is_flag=True, help="Put it in the place of another mission.")
@click.option(
    "--start",
    metavar="SORTIE",
    help="Start without asking; give the sortie's name to show that it is meant.",
)
@click.option(
    "--takeoff-within",
    type=click.FloatRange(min=0, min_open=True),
    default=50.0,
    show_default=True,
    metavar="METRES",
    help="Greatest distance from the planned take-off point.",
)
@click.option(
    "--battery",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    metavar="PERCENT",
    help="Least charge to set out with.",
)
def fly(
    folder: Path,
    address: str,
    sortie: int | None,
    resume: bool,
    replace: bool,
    start: str | None,
    takeoff_within: float,
    battery: float,
) -> None:
    """Upload a sortie of SURVEY to an autopilot, read it back, and start it on your word.

    The mission and its fence are read back and compared to the centimetre; on any difference
    nothing is armed.  Where each photograph was triggered is written beside the plan.  When the
    vehicle is in the air with the sortie already, it is only followed.
    """
    from flightplan.autopilot.flight import Limits
    from flightplan.autopilot.flight import start as begin
    from flightplan.autopilot.link import open_link
    from flightplan.autopilot.logbook import Logbook, remaining
    from flightplan.autopilot.upload import load
    from flightplan.formats.mission_files import read_mission
    from tmp.progress import bar
    from tmp.survey import Survey

    path = _sortie_file(Survey(folder=folder).plan_dir, sortie)
    mission, logbook = read_mission(path), Logbook(folder=path.parent)
    _check_word(start, path.stem)
    with open_link(address) as link:
        flying = link.armed
        limits = Limits(takeoff_m=takeoff_within, battery_percent=battery)
        home = mission.takeoff if flying else None
        home = home or _checked_home(link, mission, limits)
        first = _first_waypoint(mission, logbook, path.stem, resume=resume, flying=flying)
        part = remaining(mission, first, home)
        with bar() as track:
            loaded = load(
                link, part, logbook, home=home, replace=replace, track=track, say=click.echo
            )
        if not flying:
            logbook.loaded(path.stem, first, len(mission.waypoints))
            if not _told_to_start(start, path.stem, loaded):
                click.echo(f"{path.stem} is on the autopilot and was not started")
                return
            begin(link, loaded)
            click.echo(f"{path.stem} is started")
        _follow(link, loaded, logbook, path.stem, first)


def _checked_home(link: Link, mission: Mission, limits: Limits) -> Place:
    """Hold the vehicle against the plan, say what it is, and return where it stands."""
    from flightplan.autopilot.flight import check_vehicle

    state = check_vehicle(link, mission, limits=limits)
    click.echo(state)
    return state.place


def _sortie_file(folder: Path, number: int | None) -> Path:
    """Return the mission file of a sortie; the only one where none is named."""
    from flightplan.formats.mission_files import sortie_plans

    found = sortie_plans(folder)
    if not found:
        raise InputError(f"{folder}: holds no sortie-1.plan; make a plan with 'tmp plan'")
    if number is None and len(found) == 1:
        return next(iter(found.values()))
    if number not in found:
        which = ", ".join(map(str, found))
        asked = "say which sortie" if number is None else f"there is no sortie {number}"
        raise InputError(f"{folder}: {asked}; give --sortie with one of {which}")
    return found[number]


def _check_word(start: str | None, name: str) -> None:
    if start is not None and start != name:
        raise InputError(f"--start {start!r} does not name the sortie; give --start {name}")


def _first_waypoint(
    mission: Mission, logbook: Logbook, name: str, *, resume: bool, flying: bool
) -> int:
    """Return the waypoint to begin at: that of the flight in progress, of what is left, or 0."""
    from flightplan.autopilot.logbook import resume_from

    if flying:
        return logbook.first(name)
    passed = logbook.waypoint(name)
    if resume:
        return resume_from(mission, passed)
    if 0 <= passed < len(mission.waypoints) - 1:
        click.echo(
            f"{name} was flown up to waypoint {passed + 1} of {len(mission.waypoints)}; "
            "--resume flies only the rest"
        )
    return 0


def _told_to_start(start: str | None, name: str, loaded: Loaded) -> bool:
    """Whether a person wants it started, by option or by typing the word."""
    if start is not None:
        return True
    if not _at_a_terminal():
        return False
    answer: str = click.prompt(
        f"Look around and up. To arm and start {name} ({loaded.waypoints} waypoints) type {WORD!r}",
        default="",
        show_default=False,
    )
    return answer.strip().lower() == WORD


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _follow(link: Link, loaded: Loaded, logbook: Logbook, name: str, first: int) -> None:
    """Follow the flight to its end, or until Ctrl-C, and say what was recorded."""
    from flightplan.autopilot.flight import follow
    from flightplan.autopilot.logbook import PhotographList
    from tmp.progress import bar

    interrupted = False
    with PhotographList(logbook.photographs(name)) as photographs:
        try:
            with bar() as track:
                passing = follow(
                    link,
                    loaded,
                    photographs,
                    passed=lambda waypoint: logbook.passed(name, first + waypoint),
                    say=lambda text: click.echo(text, err=True),
                )
                for _ in track(passing, f"flying {name}", loaded.waypoints):
                    pass
        except KeyboardInterrupt:
            interrupted = True
    click.echo(f"{photographs.count} photographs recorded in {photographs.path}")
    if interrupted:
        click.echo(
            "no longer followed: the vehicle flies its mission on, or comes home if it is set to "
            "without a ground station; run the same command again to follow it"
        )
        click.get_current_context().exit(130)
    passed, of = logbook.waypoint(name) + 1, first + loaded.waypoints
    if passed < of:
        click.echo(f"seen up to waypoint {passed} of {of}; --resume flies the rest")
