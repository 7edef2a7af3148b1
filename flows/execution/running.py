"""Run an order by units of work on an executor: shares of tiles first, then its end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tmp.errors
from flows.execution.executor import Executor, State, Status, Unit
from flows.execution.profile import Profile, doubled
from flows.execution.progress import follow
from flows.execution.units import LOG, read_outcome, write_unit
from flows.orders import Order, Share, Stage
from flows.resources import Resources, SurveySize
from tmp.errors import ExecutionError, TmpError
from tmp.progress import Track

LOSSES = 3
"""Times that a unit may be lost before it counts as failed."""
PAUSE_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRunner:
    """Runs orders on an executor, as `flows.orders.here` runs them on threads."""

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
        count = unit_count(order.stage, self.size, self.profile)
        if count > 1:
            shares = [Share(index=index, count=count) for index in range(count)]
            units = [self._unit(order, share) for share in shares]
            run_units(self.executor, units, track, f"{order.stage.name} in {count} jobs")
        run_units(self.executor, [self._unit(order, None)], track, order.stage.name)

    def _unit(self, order: Order, share: Share | None) -> Unit:
        return write_unit(
            self.folder,
            order,
            unit_resources(
                order.stage, self.size, self.profile, share.count if share else 1, self.cpus
            ),
            share=share,
            lenient=self.lenient,
        )


def unit_count(stage: Stage, size: SurveySize, profile: Profile) -> int:
    """Return into how many units a stage is shared."""
    return profile.units(stage.needs(size))


def unit_resources(
    stage: Stage, size: SurveySize, profile: Profile, count: int, cpus: int | None
) -> Resources:
    """Return what each of so many units of a stage asks for."""
    cost = stage.needs(size)
    return cost.asked(count, cpus or min(cost.cpus, profile.most_cpus or cost.cpus))


def run_units(executor: Executor, units: Sequence[Unit], track: Track, label: str) -> None:
    """Run units to their end; what is lost is run again, what asked for too little gets twice.

    Raises
    ------
    TmpError
        As the unit raised it.
    ExecutionError
        If a unit failed for another reason.
    """
    try:
        executor.submit(units)
        follower = follow(units, track, label)
        for folder in _ends(executor, units, follower.see):
            follower.end(folder)
    except BaseException:
        executor.cancel()
        raise


def _ends(
    executor: Executor, units: Sequence[Unit], see: Callable[[Mapping[Path, Status]], None]
) -> Iterator[Path]:
    """Yield units as they are done; how they are in the meantime is shown."""
    left = {unit.folder: unit for unit in units}
    losses: Counter[Path] = Counter()
    raised: set[tuple[Path, State]] = set()
    while left:
        again = []
        statuses = executor.poll()
        see(statuses)
        for folder, status in statuses.items():
            unit = left.get(folder)
            if unit is None or not status.state.ended:
                continue
            if status.state is State.DONE:
                del left[folder]
                yield folder
                continue
            losses[folder] += status.state is State.LOST
            left[folder] = _next_try(unit, status, losses[folder], raised)
            again.append(left[folder])
        if again:
            executor.submit(again)
        elif left:
            time.sleep(PAUSE_S)


def _next_try(unit: Unit, status: Status, losses: int, raised: set[tuple[Path, State]]) -> Unit:
    """Return a unit as it is run again, or raise its error."""
    if status.state is State.LOST and losses < LOSSES:
        return unit
    short = status.state in (State.NO_MEMORY, State.NO_TIME)
    if short and (unit.folder, status.state) not in raised:
        raised.add((unit.folder, status.state))
        memory = status.state is State.NO_MEMORY
        return replace(unit, resources=doubled(unit.resources, memory=memory))
    raise _error(unit, status)


def _error(unit: Unit, status: Status) -> TmpError:
    outcome = read_outcome(unit.folder)
    if status.state is State.FAILED and outcome is not None:
        kind = getattr(tmp.errors, outcome.kind, None)
        if isinstance(kind, type) and issubclass(kind, TmpError):
            error: TmpError = kind(outcome.error)
            return error
    remedy = {
        State.NO_MEMORY: f"twice the memory ({unit.resources.memory_gb:g} GB) was too little",
        State.NO_TIME: f"twice the time ({unit.resources.minutes:g} min) was too little",
        State.CANCELLED: "run again to go on",
        State.REFUSED: "mend the profile: partition, most_cpus, account or qos",
    }.get(status.state, f"see {unit.folder / LOG}")
    return ExecutionError(f"{unit.name}: {status.state}: {status.said}; {remedy}")
