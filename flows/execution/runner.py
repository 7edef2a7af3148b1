"""Run an order by units of work on an executor: shares of tiles first, then its end.

A unit that ends badly is tried once more, with more, with its items alone, or no more.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tmp.errors
from flows.engine.cost import Resources, SurveySize
from flows.engine.result import Ledger
from flows.engine.stage import WHOLE, Order, Share, Stage
from flows.execution.cluster_profile import Profile, doubled
from flows.execution.progress import follow
from flows.execution.unit import (
    LOG,
    Executor,
    State,
    Status,
    Unit,
    forget_old,
    read_outcome,
    write_unit,
)
from tmp.errors import ExecutionError, InputError, TmpError
from tmp.files import disk_full, is_disk_full
from tmp.progress import Track

log = logging.getLogger(__name__)

LOSSES = 3
"""Times that a unit may be lost before something is done about it."""
ROUNDS = 5
"""Times that items of one unit are set apart; what dies more often dies of something else."""
ROOM_BYTES = 2**16
"""Room on a disk without which a process may die without a word."""
SHORT = (State.NO_MEMORY, State.NO_TIME)
"""States of units that asked for too little."""

Alone = Callable[[str, Resources], Unit]
"""Makes the unit that does one item alone, of what the resources name."""

PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class Tries:
    """What has been tried for the units of one stage."""

    ledger: Ledger
    """Of the stage's items."""
    alone: Alone
    strict: bool
    """Whether an item that fails alone stops the run."""
    _losses: Counter[Path] = field(default_factory=Counter)
    _rounds: Counter[Path] = field(default_factory=Counter)
    _raised: set[tuple[Path, State]] = field(default_factory=set)
    _lower: dict[Unit, Unit] = field(default_factory=dict)
    """Units as they were, by those that ask for twice."""
    _alone: dict[Path, str] = field(default_factory=dict)
    """The item of each unit that does one alone."""

    def after(self, unit: Unit, status: Status) -> Sequence[Unit]:
        """Return the units to run for one that ended without its work done.

        A unit that is lost or displaced is run again; one that asked for too little gets twice of
        it.  If that does not help, the items it had in hand are set apart, and each is tried in a
        unit of its own, with one thread.  An item that fails alone is given up.

        Raises
        ------
        TmpError
            As the unit raised it.
        ExecutionError
            If nothing is left to try.
        """
        _refuse_full_disk(unit, status)
        if status.state is State.DISPLACED:
            log.info("%s: %s, run again", unit.name, status.said)
            return [unit]
        if status.state is State.LOST:
            self._losses[unit.folder] += 1
            if self._losses[unit.folder] < LOSSES:
                log.warning("%s: lost, run again: %s", unit.name, status.said)
                return [unit]
        elif status.state is State.REFUSED and self.is_raised(unit):
            return self.after_refusal(unit, _error(unit, status))
        elif status.state not in SHORT:
            raise _error(unit, status)
        elif unit.folder not in self._alone and (unit.folder, status.state) not in self._raised:
            self._raised.add((unit.folder, status.state))
            log.warning("%s: %s, run again with twice of it", unit.name, status.state)
            memory = status.state is State.NO_MEMORY
            raised = replace(unit, resources=doubled(unit.resources, memory=memory))
            self._lower[raised] = unit
            return [raised]
        if unit.folder in self._alone:
            self._give_up(unit, status)
            return []
        return self._set_apart(unit, status)

    def is_raised(self, unit: Unit) -> bool:
        """Tell whether a unit asks for twice of what it did at first."""
        return unit in self._lower

    def after_refusal(self, unit: Unit, error: TmpError) -> Sequence[Unit]:
        """Return the units to run for a raised one that no machine can serve, or raise `error`."""
        lower = self._lower[unit]
        if not self.ledger.in_hand(unit.part):
            raise error
        return self._set_apart(lower, Status(state=State.REFUSED, said=str(error)))

    def _set_apart(self, unit: Unit, status: Status) -> Sequence[Unit]:
        items = self.ledger.in_hand(unit.part)
        self._rounds[unit.folder] += 1
        if not items or self._rounds[unit.folder] > ROUNDS:
            raise _error(unit, status)
        log.warning("%s: %s; now alone: %s", unit.name, status.state, ", ".join(items))
        self._losses[unit.folder] = 0
        self.ledger.set_apart(items)
        single = {item: self.alone(item, replace(unit.resources, cpus=1)) for item in items}
        self._alone |= {other.folder: item for item, other in single.items()}
        return [*single.values(), unit]

    def _give_up(self, unit: Unit, status: Status) -> None:
        item = self._alone[unit.folder]
        reason = {
            State.NO_MEMORY: f"out of memory, alone with {unit.resources.memory_gb:g} GB",
            State.NO_TIME: f"out of time, alone with {unit.resources.minutes:g} min",
        }.get(status.state, _death(status))
        if self.strict:
            raise ExecutionError(
                f"{unit.stage}: {item} cannot be made: {reason}; see {unit.folder / LOG}, or run "
                "without --strict to leave a hole there"
            )
        log.warning("%s: %s is given up: %s", unit.stage, item, reason)
        self.ledger.give_up(item, reason)


def _death(status: Status) -> str:
    """Say how a process died, by the last that was said of it but for the course of its work."""
    said = [line for line in status.said.split(" | ") if " INFO " not in line]
    return f"its process died {LOSSES} times{': ' + said[-1] if said else ''}"


def tries_of(partial: Path, alone: Alone, *, strict: bool) -> Tries:
    """Return what has been tried for a stage at work: nothing yet, in this run.

    What an earlier run has given up stays so, unless this one is strict.
    """
    ledger = Ledger(partial=partial)
    ledger.forget(all_items=strict)
    return Tries(ledger=ledger, alone=alone, strict=strict)


def _refuse_full_disk(unit: Unit, status: Status) -> None:
    """Raise `SpaceError` if a unit had no room to say how it ended."""
    if status.state not in (State.LOST, State.FAILED) or read_outcome(unit.folder) is not None:
        return
    probe = unit.folder / "room.txt"
    try:
        probe.write_bytes(bytes(ROOM_BYTES))
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(unit.folder) from error
    finally:
        probe.unlink(missing_ok=True)


def _error(unit: Unit, status: Status) -> TmpError:
    outcome = read_outcome(unit.folder)
    if status.state is State.FAILED and outcome is not None:
        kind = getattr(tmp.errors, outcome.kind, None)
        if isinstance(kind, type) and issubclass(kind, TmpError):
            error: TmpError = kind(outcome.error)
            return error
    stage = unit.stage
    remedy = {
        State.NO_MEMORY: (
            f"twice the memory ({unit.resources.memory_gb:g} GB) was too little; give more as "
            f"memory_gb below [stage.{stage}] of the profile, or use a larger machine"
        ),
        State.NO_TIME: (
            f"twice the time ({unit.resources.minutes:g} min) was too little; give more as "
            f"minutes below [stage.{stage}] of the profile"
        ),
        State.CANCELLED: "run again to go on",
        State.REFUSED: "mend the profile: partition, most_cpus, account or qos",
    }.get(status.state, f"see {unit.folder / LOG}")
    return ExecutionError(f"{unit.name}: {status.state}: {status.said}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRunner:
    """Runs orders on an executor, as `flows.engine.stage.here` runs them on threads."""

    executor: Executor
    profile: Profile
    size: SurveySize
    folder: Path
    """``work/units`` of the survey."""
    lenient: bool = True
    """Whether tiles that cannot be made leave holes."""
    cpus: int | None = None
    """Cores of a unit; None: as many as the stage asks for and the profile allows."""

    def __call__(self, order: Order, track: Track) -> None:
        """Make an order's result."""
        forget_old(self.folder / order.stage.name, order.key)
        count = unit_count(order.stage, self.size, self.profile)
        asked = unit_resources(order.stage, self.size, self.profile, count, self.cpus)

        def alone(item: str, raised: Resources) -> Unit:
            return self._unit(order, Share(index=0, count=1, only=item), raised)

        tries = tries_of(order.partial, alone, strict=not self.lenient)
        if count > 1:
            shares = [Share(index=index, count=count) for index in range(count)]
            units = [alone(item, replace(asked, cpus=1)) for item in tries.ledger.retried()]
            units = units or [self._unit(order, share, asked) for share in shares]
            label = f"{order.stage.name} in {len(units)} jobs"
            run_units(self.executor, units, track, label, tries)
            asked = end_resources(order.stage, self.size, self.profile, self.cpus)
        run_units(self.executor, [self._unit(order, None, asked)], track, order.stage.name, tries)

    def _unit(self, order: Order, share: Share | None, resources: Resources) -> Unit:
        return write_unit(
            self.folder,
            order,
            resources,
            share=share,
            lenient=self.lenient,
            scratch=self.profile.scratch,
        )


def unit_count(stage: Stage, size: SurveySize, profile: Profile) -> int:
    """Return into how many units a stage is shared."""
    return profile.units(stage.needs(size))


def unit_resources(
    stage: Stage, size: SurveySize, profile: Profile, count: int, cpus: int | None
) -> Resources:
    """Return what each of so many units of a stage asks for."""
    cost = stage.needs(size)
    return profile.adjusted(stage.name, cost.asked(count, cpus or _at_most(cost.cpus, profile)))


def end_resources(stage: Stage, size: SurveySize, profile: Profile, cpus: int | None) -> Resources:
    """Return what the unit asks for that ends a stage whose shares are done."""
    cost = stage.needs(size)
    wanted = max(cost.cpus, cost.end_cpus)
    return profile.adjusted(stage.name, cost.asked_at_end(cpus or _at_most(wanted, profile)))


def _at_most(cpus: int, profile: Profile) -> int:
    return min(cpus, profile.most_cpus or cpus)


def run_units(
    executor: Executor, units: Sequence[Unit], track: Track, label: str, tries: Tries
) -> None:
    """Run units to their end; for those that end badly other ones are tried.

    Raises
    ------
    TmpError
        As the unit raised it.
    ExecutionError
        If a unit failed for another reason, and nothing is left to try.
    """
    try:
        executor.submit(units)
        follower = follow(units, track, label)
        asked = {unit.folder for unit in units}
        for folder in _ends(executor, units, follower.see, tries):
            if folder in asked:
                follower.end(folder)
    except BaseException:
        executor.cancel()
        raise


def _ends(
    executor: Executor,
    units: Sequence[Unit],
    see: Callable[[Mapping[Path, Status]], None],
    tries: Tries,
) -> Iterator[Path]:
    """Yield units as they are done; how they are in the meantime is shown."""
    left = {unit.folder: unit for unit in units}
    held: list[Unit] = []
    while left:
        statuses = executor.poll()
        see(statuses)
        for folder, status in statuses.items():
            if folder not in left or not status.state.ended:
                continue
            unit = left.pop(folder)
            if status.state is State.DONE:
                yield folder
                continue
            following = tries.after(unit, status)
            left |= {other.folder: other for other in following}
            held += following
        # What ends the stage waits for the items that are tried alone.
        again = [unit for unit in held if unit.part != WHOLE or len(left) == 1]
        if again:
            held = [] if len(again) == len(held) else [u for u in held if u.part == WHOLE]
            held += _submit(executor, again, tries)
            left |= {unit.folder: unit for unit in held}
        elif left:
            time.sleep(PAUSE_S)


def _submit(executor: Executor, units: Sequence[Unit], tries: Tries) -> list[Unit]:
    """Submit units; returns what to run for those whose raised request nothing can serve."""
    executor.submit([unit for unit in units if not tries.is_raised(unit)])
    instead: list[Unit] = []
    for unit in filter(tries.is_raised, units):
        try:
            executor.submit([unit])
        except InputError as error:
            instead += tries.after_refusal(unit, error)
    return instead
