"""``tmp fly``: put a plan on an autopilot, prove that it arrived, start and follow it."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmp.errors import InputError

if TYPE_CHECKING:
    from flightplan.autopilot.checks import PlannedSortie, VehicleState
    from flightplan.autopilot.link import Link
    from flightplan.autopilot.logbook import Logbook
    from flightplan.autopilot.needs import Needs
    from flightplan.autopilot.upload import Loaded
    from flightplan.formats.mission import Mission

WORD = "fly"
"""What a person types to start."""
UNSIGNED = (
    "MAVLink is not signed here: whoever reaches {} can pose as the vehicle, or order it about; "
    "see 'MAVLink trusts whoever speaks' in docs/fly.md"
)


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
    "--height-within",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="METRES",
    help="Greatest difference of height from the planned take-off point.",
)
@click.option(
    "--battery",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Least charge to set out with, instead of what the sortie takes and the plan's reserve.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for GNSS fix and position.",
)
@click.option(
    "--set-parameters",
    is_flag=True,
    help="Set fences and return height that do not fit, for this flight, and set them back.",
)
def fly(folder: Path, address: str, **options: Any) -> None:
    """Upload a sortie of SURVEY to an autopilot, read it back, and start it on your word.

    The mission and its fence are read back and compared to the centimetre; on any difference
    nothing is armed.  Where each photograph was triggered is written beside the plan.  When the
    vehicle is in the air with the sortie already, it is only followed.
    """
    from flightplan.autopilot.checks import read_planned
    from flightplan.autopilot.link import open_link
    from flightplan.autopilot.logbook import Logbook
    from flightplan.autopilot.parameters import set_back
    from flightplan.formats.mission_files import read_mission
    from tmp.survey import Survey

    path = _sortie_file(Survey(folder=folder).plan_dir, options["sortie"])
    mission, logbook = read_mission(path), Logbook(folder=path.parent)
    planned = read_planned(path.parent, path.stem)
    _check_word(options["start"], path.stem)
    click.echo(UNSIGNED.format(address), err=True)
    with open_link(address, say=_aside) as link:
        set_back(link, path.parent, say=click.echo)
        try:
            _fly(link, mission, planned, logbook, path.stem, **options)
        finally:
            set_back(link, path.parent, say=click.echo)


def _fly(
    link: Link,
    mission: Mission,
    planned: PlannedSortie | None,
    logbook: Logbook,
    name: str,
    **options: Any,
) -> None:
    """Load, start and follow one sortie."""
    from flightplan.autopilot.flight import start as begin
    from flightplan.autopilot.logbook import remaining
    from flightplan.autopilot.parameters import check_parameters, set_for_flight
    from flightplan.autopilot.upload import load
    from tmp.progress import bar

    flying = link.armed
    first = _first_waypoint(mission, logbook, name, resume=options["resume"], flying=flying)
    state = None
    if not flying or mission.takeoff is None:
        state = _checked_state(link, mission, planned, first, **options)
    home = state.place if state else mission.takeoff
    assert home is not None
    part = remaining(mission, first, home)
    changes = {}
    if state and not flying:
        needs = _needs(part, mission, planned, first, state)
        if options["battery"] is not None:
            needs = replace(needs, reserve=0.0)
        may_set = options["set_parameters"]
        changes = check_parameters(link, needs, may_set=may_set, say=click.echo)
    with bar() as track:
        loaded = load(
            *(link, part, logbook),
            home=home,
            replace=options["replace"],
            track=track,
            say=click.echo,
        )
    if not flying:
        logbook.loaded(name, first, len(mission.waypoints))
        if not _told_to_start(options["start"], name, loaded):
            click.echo(f"{name} is on the autopilot and was not started")
            if changes:
                which = " and ".join(f"{one.name} to {fit:g}" for one, fit in changes.items())
                click.echo(f"before starting it by remote control set {which}")
            return
        set_for_flight(link, changes, logbook.folder, say=click.echo)
        begin(link, loaded)
        click.echo(f"{name} is started")
    _follow(link, loaded, logbook, name, first, flying=flying)


def _aside(text: str) -> None:
    click.echo(text, err=True)


def _checked_state(
    link: Link, mission: Mission, planned: PlannedSortie | None, first: int, **options: Any
) -> VehicleState:
    """Hold the vehicle against the plan, say what it is, and return its state."""
    from flightplan.autopilot.checks import Limits, check_vehicle

    limits = Limits(
        takeoff_m=options["takeoff_within"],
        height_m=options["height_within"],
        battery_percent=options["battery"],
        wait_s=options["wait"],
    )
    state = check_vehicle(link, mission, planned=planned, first=first, limits=limits, say=_aside)
    click.echo(state)
    return state


def _needs(
    part: Mission,
    mission: Mission,
    planned: PlannedSortie | None,
    first: int,
    state: VehicleState,
) -> Needs:
    """Return what the part of a sortie that is flown needs of the autopilot's parameters."""
    from flightplan.autopilot.checks import PlannedSortie, share_from
    from flightplan.autopilot.needs import needs_of

    planned = planned or PlannedSortie()
    charge = state.battery_percent / 100 if state.battery_percent >= 0 else 1.0
    rest = share_from(mission, first)
    needs = needs_of(part, state.place, return_m=planned.return_m, battery_v=state.battery_v)
    return replace(
        needs,
        left=charge - planned.share * rest,
        share=planned.share * rest,
        reserve=planned.reserve,
        planned_s=planned.seconds if first == 0 else math.nan,
    )


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


def _follow(
    link: Link, loaded: Loaded, logbook: Logbook, name: str, first: int, *, flying: bool
) -> None:
    """Follow the flight to its end, or until Ctrl-C, and say what was recorded."""
    from flightplan.autopilot.flight import follow
    from flightplan.autopilot.logbook import PhotographList
    from tmp.progress import bar

    interrupted = False
    with PhotographList(logbook.photographs(name)) as photographs:
        if not flying and photographs.latest and not logbook.followed(name):
            last = " and ".join(map(str, photographs.latest.values()))
            click.echo(
                "the flight before was not followed to its end: its photographs after number "
                f"{last} are not in the list, but in the autopilot's own log"
            )
        logbook.following(name, on=True)
        try:
            with bar() as track:
                passing = follow(
                    link,
                    loaded,
                    photographs,
                    passed=lambda waypoint: logbook.passed(name, first + waypoint),
                    say=_aside,
                    before=photographs.latest if flying else None,
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
    logbook.following(name, on=False)
    passed, of = logbook.waypoint(name) + 1, first + loaded.waypoints
    if passed < of:
        click.echo(f"seen up to waypoint {passed} of {of}; --resume flies the rest")
