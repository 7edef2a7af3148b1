"""Run a recipe by units of work on an executor: its items in parts, then its end.

The retry policy says what is run for units that end badly.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import tmp.errors
from flows.engine.cost import Resources, SurveySize
from flows.engine.result import Ledger
from flows.engine.stage import WHOLE, Recipe, Stage
from flows.execution.cluster_profile import Profile, doubled
from flows.execution.progress import follow
from flows.execution.unit import (
    LOG,
    Executor,
    State,
    Status,
    Unit,
    forget_old,
    read_record,
    unit_alone,
    unit_of,
    units_of,
    write_unit,
)
from tmp.errors import ExecutionError, InputError, StoppedError, TmpError, TransientError
from tmp.files import disk_full, is_disk_full
from tmp.progress import Track

log = logging.getLogger(__name__)

LOSSES = 3
"""Times that a unit may be lost before something is done about it."""
MOST_ISOLATED = 5
"""Times that items of one unit are isolated; what dies more often dies of something else."""
ROOM_BYTES = 2**16
"""Room on a disk without which a process may die without a word."""
SHORT = (State.NO_MEMORY, State.NO_TIME)
"""States of units that asked for too little."""
PASSING = (State.LOST, State.CANCELLED)
"""States of units that may well be done by another run."""

PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class RetryPolicy:
    """What is run for the units of one stage that ended badly, by what has been tried so far.

    A unit that is lost or displaced is run again; one that asked for too little gets twice of it.
    If that does not help, the items it was at work on are isolated: each is made by a unit of its
    own, with one thread.  An item that fails alone is not tried again.
    """

    ledger: Ledger
    """Of the stage's items."""
    alone: Callable[[str, Resources], Unit]
    """Gives the unit that makes one item, of what the resources name."""
    strict: bool
    """Whether an item that fails alone stops the run."""
    _losses: Counter[Path] = field(default_factory=Counter)
    _isolated: Counter[Path] = field(default_factory=Counter)
    _raised: set[tuple[Path, State]] = field(default_factory=set)
    _lower: dict[Unit, Unit] = field(default_factory=dict)
    """Units as they were, by those that ask for twice."""

    def after(self, unit: Unit, status: Status) -> Sequence[Unit]:
        """Return the units to run for one that ended without its work done.

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
        elif not unit.alone and (unit.folder, status.state) not in self._raised:
            self._raised.add((unit.folder, status.state))
            log.warning("%s: %s, run again with twice of it", unit.name, status.state)
            memory = status.state is State.NO_MEMORY
            raised = replace(unit, resources=doubled(unit.resources, memory=memory))
            self._lower[raised] = unit
            return [raised]
        if unit.alone:
            self._give_up(unit, status)
            return []
        return self._isolate(unit, status)

    def is_raised(self, unit: Unit) -> bool:
        """Tell whether a unit asks for twice of what it did at first."""
        return unit in self._lower

    def after_refusal(self, unit: Unit, error: TmpError) -> Sequence[Unit]:
        """Return the units to run for a raised one that no machine can serve, or raise `error`."""
        lower = self._lower[unit]
        if not self.ledger.in_hand(unit.part):
            raise error
        return self._isolate(lower, Status(state=State.REFUSED, said=str(error)))

    def _isolate(self, unit: Unit, status: Status) -> Sequence[Unit]:
        items = self.ledger.in_hand(unit.part)
        self._isolated[unit.folder] += 1
        if not items or self._isolated[unit.folder] > MOST_ISOLATED:
            raise _error(unit, status)
        log.warning("%s: %s; now alone: %s", unit.name, status.state, ", ".join(items))
        self._losses[unit.folder] = 0
        left = unit.items and tuple(item for item in unit.items if item not in items)
        return [*(self.alone(item, unit.resources) for item in items), replace(unit, items=left)]

    def _give_up(self, unit: Unit, status: Status) -> None:
        (item,) = unit.items or ()
        reason = {
            State.NO_MEMORY: f"out of memory, alone with {unit.resources.memory_gb:g} GB",
            State.NO_TIME: f"out of time, alone with {unit.resources.minutes:g} min",
        }.get(status.state, _death(status))
        if self.strict:
            raise ExecutionError(
                f"{unit.stage}: {item} cannot be made: {reason}; see {unit.folder / LOG}, or run "
                "without --strict to leave a hole there"
            )
        log.warning("%s: %s is not tried again: %s", unit.stage, item, reason)
        self.ledger.add_failed(item, reason)


def _death(status: Status) -> str:
    """Say how a process died, by the last that was said of it but for the course of its work."""
    said = [line for line in status.said.split(" | ") if " INFO " not in line]
    return f"its process died {LOSSES} times{': ' + said[-1] if said else ''}"


def _refuse_full_disk(unit: Unit, status: Status) -> None:
    """Raise `SpaceError` if a unit had no room to say how it ended."""
    if status.state not in (State.LOST, State.FAILED) or read_record(unit.folder) is not None:
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
    record = read_record(unit.folder)
    if status.state is State.FAILED and record is not None:
        kind = getattr(tmp.errors, record.kind, None)
        if isinstance(kind, type) and issubclass(kind, TmpError):
            error: TmpError = kind(record.error)
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
    failed = TransientError if status.state in PASSING else ExecutionError
    return failed(f"{unit.name}: {status.state}: {status.said}; {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRunner:
    """Runs recipes by units on an executor, as `flows.engine.stage.execute` does on threads."""

    executor: Executor
    profile: Profile
    size: SurveySize
    folder: Path
    """``work/units`` of the survey."""
    lenient: bool = True
    """Whether tiles that cannot be made leave holes."""
    cpus: int | None = None
    """Cores of a unit; None: as many as the stage asks for and the profile allows."""
    stopping: Event = field(default_factory=Event)
    """Set to have it stop, from any thread."""

    def __call__(self, recipe: Recipe, track: Track) -> None:
        """Make a recipe's result: its items in parts first, where there are several, then its end.

        Raises
        ------
        TmpError
            As a unit raised it.
        ExecutionError
            If a unit failed for another reason, and nothing is left to try.
        """
        stage = recipe.stage
        forget_old(self.folder / stage.name, recipe.key)
        ledger = Ledger(partial=recipe.partial)
        if not self.lenient:
            ledger.forget_failed()
        policy = RetryPolicy(
            ledger=ledger,
            alone=lambda item, asked: unit_alone(self.folder, recipe, item, asked),
            strict=not self.lenient,
        )
        count = unit_count(stage, self.size, self.profile)
        asked = unit_resources(stage, self.size, self.profile, count, self.cpus)
        if count > 1:
            units = self._parts(recipe, count, asked)
            self._run(recipe, units, track, f"{stage.name} in {len(units)} jobs", policy)
            asked = end_resources(stage, self.size, self.profile, self.cpus)
        whole = unit_of(self.folder, recipe, WHOLE, asked)
        self._run(recipe, [whole], track, stage.name, policy)

    def _parts(self, recipe: Recipe, count: int, asked: Resources) -> list[Unit]:
        """Return the units whose items are not all there; the same ones in every run."""
        stage = recipe.opened()
        items = stage.items()
        units = units_of(self.folder, recipe, items, min(count, max(1, len(items))), asked)
        failed = Ledger(partial=recipe.partial).failed()
        return [
            unit
            for unit in units
            if not all(item in failed or stage.is_made(item) for item in unit.items or ())
        ]

    def _run(
        self, recipe: Recipe, units: Sequence[Unit], track: Track, label: str, policy: RetryPolicy
    ) -> None:
        """Run units to their end; for those that end badly other ones are tried."""
        if not units:
            return
        try:
            self._submit(recipe, units, policy)
            follower = follow(units, track, label)
            asked = {unit.folder for unit in units}
            for folder in self._ends(recipe, units, follower.see, policy):
                if folder in asked:
                    follower.end(folder)
        except BaseException:
            self.executor.cancel()
            raise

    def _ends(
        self,
        recipe: Recipe,
        units: Sequence[Unit],
        see: Callable[[Mapping[Path, Status]], None],
        policy: RetryPolicy,
    ) -> Iterator[Path]:
        """Yield units as they are done; how they are in the meantime is shown."""
        left = {unit.folder: unit for unit in units}
        held: list[Unit] = []
        while left:
            if self.stopping.is_set():
                raise StoppedError("stopped; run again to go on")
            statuses = self.executor.poll()
            see(statuses)
            for folder, status in statuses.items():
                if folder not in left or not status.state.ended:
                    continue
                unit = left.pop(folder)
                if status.state is State.DONE:
                    yield folder
                    continue
                following = policy.after(unit, status)
                left |= {other.folder: other for other in following}
                held += following
            # What ends the stage waits for the items that are tried alone.
            again = [unit for unit in held if unit.part != WHOLE or len(left) == 1]
            if again:
                held = [] if len(again) == len(held) else [u for u in held if u.part == WHOLE]
                held += self._submit(recipe, again, policy)
                left |= {unit.folder: unit for unit in held}
            elif left:
                time.sleep(PAUSE_S)

    def _submit(self, recipe: Recipe, units: Sequence[Unit], policy: RetryPolicy) -> Sequence[Unit]:
        """Submit units; returns what to run for those whose raised request nothing can serve."""
        failed = policy.ledger.failed()
        for unit in units:
            write_unit(unit, recipe, failed=failed, lenient=self.lenient)
        self.executor.submit([unit for unit in units if not policy.is_raised(unit)])
        instead: list[Unit] = []
        for unit in filter(policy.is_raised, units):
            try:
                self.executor.submit([unit])
            except InputError as error:
                instead += policy.after_refusal(unit, error)
        return instead


def unit_count(stage: type[Stage], size: SurveySize, profile: Profile) -> int:
    """Return into how many units a stage is shared."""
    return profile.units(stage.needs(size))


def unit_resources(
    stage: type[Stage], size: SurveySize, profile: Profile, count: int, cpus: int | None
) -> Resources:
    """Return what each of so many units of a stage asks for."""
    cost = stage.needs(size)
    return profile.adjusted(stage.name, cost.asked(count, cpus or _at_most(cost.cpus, profile)))


def end_resources(
    stage: type[Stage], size: SurveySize, profile: Profile, cpus: int | None
) -> Resources:
    """Return what the unit asks for that ends a stage whose shares are done."""
    cost = stage.needs(size)
    wanted = max(cost.cpus, cost.end_cpus)
    return profile.adjusted(stage.name, cost.asked_at_end(cpus or _at_most(wanted, profile)))


def _at_most(cpus: int, profile: Profile) -> int:
    return min(cpus, profile.most_cpus or cpus)
