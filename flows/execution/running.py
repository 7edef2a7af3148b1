"""Run an order by units of work on an executor: shares of tiles first, then its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.execution.executor import Executor, State, Status, Unit
from flows.execution.profile import Profile
from flows.execution.progress import follow
from flows.execution.trying import Tries, tries_of
from flows.execution.units import forget_old, write_unit
from flows.orders import WHOLE, Order, Share, Stage
from flows.resources import Resources, SurveySize
from tmp.errors import InputError
from tmp.progress import Track

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
