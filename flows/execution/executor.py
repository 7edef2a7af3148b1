"""What an executor is: it takes units of work, says how they are, and can stop them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from flows.resources import Resources


class State(StrEnum):
    """How a unit of work is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """By its own fault: again it would fail again."""
    NO_MEMORY = "out of memory"
    NO_TIME = "out of time"
    LOST = "lost"
    """Killed, or its node failed: again it may well succeed."""
    DISPLACED = "displaced"
    """By jobs that go first: again as often as it happens."""
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """The cluster will never start it."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A stage of a survey, or a share of its tiles, as a process of its own."""

    folder: Path
    """Its order, log and outcome; see `flows.execution.units`."""
    stage: str
    key: str
    part: str
    """ "whole", or which share: "3-of-12"."""
    resources: Resources

    @property
    def name(self) -> str:
        """What people call it."""
        return self.stage if self.part == "whole" else f"{self.stage} {self.part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a unit is, and what was said about it."""

    state: State
    said: str = ""


class Executor(Protocol):
    """Runs units of work somewhere."""

    def submit(self, units: Sequence[Unit]) -> None:
        """Take units, or take up those that an earlier controller left at work."""
        ...

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is, by its folder; an ended one is told once."""
        ...

    def cancel(self) -> None:
        """Stop all units that have not ended; none is left behind."""
        ...
