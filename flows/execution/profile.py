"""The one file that describes a cluster: ``cluster.toml``."""

from __future__ import annotations

import math
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flows.resources import Cost, Resources
from tmp.errors import InputError

WORD = re.compile(r"[A-Za-z0-9_.,:@+=/&|*()\[\]-]+")
"""What may stand in a line for sbatch; anything else is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a cluster a job runs; empty for the cluster's own choice."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gres: str = "gpu"
    """Name of the resource that is a GPU, such as "gpu" or "gpu:a100"."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value and (not isinstance(value, str) or not WORD.fullmatch(value)):
                raise InputError(f"{entry.name} = {value!r} is no word for sbatch; mend it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a cluster is used."""

    place: Place = field(default_factory=Place)
    """Of stages without one of their own."""
    stages: Mapping[str, Place] = field(default_factory=dict)
    """By stage."""
    python: str = sys.executable
    """The platform's Python on the nodes."""
    prologue: tuple[str, ...] = ()
    """Lines of shell before the work, such as "module load gcc"; the administrator's own."""
    unit_minutes: float = 10.0
    """Time, about, that one job of an array should take."""
    most_units: int = 200
    """Jobs of one array."""
    at_once: int | None = None
    """Jobs of an array that run at once; None: as many as the cluster lets."""
    most_cpus: int | None = None
    """Cores of the smallest node; no job asks for more."""
    poll_s: float = 2.0
    """Time between two looks at the queue."""
    grace_s: float = 60.0
    """Time that a shared disk gets to show what a node wrote."""

    def __post_init__(self) -> None:
        for name in ("unit_minutes", "most_units", "at_once", "most_cpus", "poll_s", "grace_s"):
            value = getattr(self, name)
            if value is None and name in ("at_once", "most_cpus"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise InputError(f"{name} = {value!r}; give a number above 0")

    def place_of(self, stage: str) -> Place:
        """Return where a stage runs."""
        return self.stages.get(stage, self.place)

    def units(self, cost: Cost) -> int:
        """Return into how many units a stage of some cost is shared."""
        wanted = math.ceil(cost.minutes() / self.unit_minutes)
        return max(1, min(self.most_units, cost.parts, wanted))


WITHOUT_SHARES = Profile(most_units=1, poll_s=0.05, grace_s=1.0)
"""One machine: threads share the tiles of a stage, so that one process loads the photographs."""


def read_profile(path: Path) -> Profile:
    """Read a ``cluster.toml``.

    Raises
    ------
    InputError
        If it cannot be read, has a key that is not known, or a value that cannot be.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a cluster's profile; {error}") from error
    known = {entry.name for entry in fields(Profile)} - {"place", "stages"}
    words = {entry.name for entry in fields(Place)}
    _refuse_unknown(path, said, known | words | {"stage"})
    try:
        place = {key: said[key] for key in words & said.keys()}
        stages = {}
        for stage, own in said.get("stage", {}).items():
            _refuse_unknown(path, own, words)
            stages[stage] = Place(**(place | own))
        values = {key: said[key] for key in known & said.keys()}
        if "prologue" in values:
            values["prologue"] = tuple(str(line) for line in values["prologue"])
        return Profile(place=Place(**place), stages=stages, **values)
    except (InputError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from error


def _refuse_unknown(path: Path, said: Mapping[str, Any], known: set[str]) -> None:
    for key in said:
        if key not in known:
            raise InputError(f"{path}: unknown key {key!r}; known are {', '.join(sorted(known))}")


def doubled(resources: Resources, *, memory: bool) -> Resources:
    """Return resources with twice the memory, or twice the time."""
    return Resources(
        cpus=resources.cpus,
        memory_gb=resources.memory_gb * (2 if memory else 1),
        gpus=resources.gpus,
        minutes=resources.minutes * (1 if memory else 2),
    )
