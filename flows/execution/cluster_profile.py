"""The one file that describes a cluster: ``cluster.toml``."""

from __future__ import annotations

import difflib
import math
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flows.engine.cost import Cost, Resources
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
            if value != "" and (not isinstance(value, str) or not WORD.fullmatch(value)):
                raise InputError(f"{entry.name} = {value!r} is no word for sbatch; mend it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What the units of a stage ask for where the site knows better than the platform."""

    cpus: int | None = None
    memory_gb: float | None = None
    minutes: float | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        _require_number("cpus", self.cpus, whole=True)
        _require_number("memory_gb", self.memory_gb)
        _require_number("minutes", self.minutes)
        _require_number("gpus", self.gpus, whole=True, nought=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a cluster is used."""

    place: Place = field(default_factory=Place)
    """Of stages without one of their own."""
    stages: Mapping[str, Place] = field(default_factory=dict)
    """By stage."""
    amounts: Mapping[str, Amounts] = field(default_factory=dict)
    """By stage."""
    python: str = sys.executable
    """The platform's Python on the nodes."""
    prologue: tuple[str, ...] = ()
    """Lines of shell before the work, such as "module load gcc"; the administrator's own."""
    scratch: str = ""
    """Folder on a disk of the node itself; "$NAME" is the job's own variable.  Empty: none."""
    unit_minutes: float = 2.0
    """Time, about, that one job of an array should take."""
    most_units: int = 200
    """Jobs of one array."""
    at_once: int | None = None
    """Jobs of an array that run at once; None: as many as the cluster lets."""
    most_cpus: int | None = None
    """Cores of the smallest node; no job asks for more."""
    poll_s: float = 10.0
    """Most time between two looks at the queue; the first come sooner."""
    grace_s: float = 60.0
    """Time that a shared disk gets to show what a node wrote."""

    def __post_init__(self) -> None:
        for name in ("most_units", "at_once", "most_cpus"):
            _require_number(name, getattr(self, name), whole=True)
        for name in ("unit_minutes", "poll_s", "grace_s"):
            _require_number(name, getattr(self, name))
        for name in ("python", "scratch"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.isprintable():
                raise InputError(f"{name} = {value!r} is no path; mend it")
        if self.scratch and not self.scratch.startswith(("/", "$")):
            raise InputError(f"scratch = {self.scratch!r}; give a path from / or from a $VARIABLE")

    def place_of(self, stage: str) -> Place:
        """Return where a stage runs."""
        return self.stages.get(stage, self.place)

    def adjusted(self, stage: str, asked: Resources) -> Resources:
        """Return what a unit of a stage asks for: what the site says, where it says anything."""
        own = self.amounts.get(stage, Amounts())
        said = {entry.name: getattr(own, entry.name) for entry in fields(own)}
        return replace(asked, **{name: value for name, value in said.items() if value is not None})

    def require_stages(self, known: Collection[str]) -> None:
        """Raise `InputError` if a stage is named that the platform does not have."""
        for stage in self.stages:
            if stage not in known:
                raise InputError(f"[stage.{stage}]: unknown stage; {_nearest(stage, known)}")

    def units(self, cost: Cost) -> int:
        """Return into how many units a stage of some cost is shared."""
        wanted = math.ceil(cost.minutes() / self.unit_minutes)
        return max(1, min(self.most_units, cost.parts, wanted))


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
    try:
        return _profile(said)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _profile(said: Mapping[str, Any]) -> Profile:
    words, numbers = _names(Place), _names(Amounts)
    known = _names(Profile) - {"place", "stages", "amounts"}
    _refuse_unknown("", said, known | words | {"stage"})
    place = {key: said[key] for key in words & said.keys()}
    stages, amounts = {}, {}
    for stage, own in _table("stage", said.get("stage", {})).items():
        where = f"stage.{stage}"
        _refuse_unknown(f"[{where}]: ", _table(where, own), words | numbers)
        stages[stage] = Place(**(place | {key: own[key] for key in words & own.keys()}))
        amounts[stage] = Amounts(**{key: own[key] for key in numbers & own.keys()})
    values = {key: said[key] for key in known & said.keys()}
    if "prologue" in values:
        values["prologue"] = _lines(values["prologue"])
    return Profile(place=Place(**place), stages=stages, amounts=amounts, **values)


def _table(name: str, said: object) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        raise InputError(f"{name} = {said!r}; write it as a table, such as [stage.surface]")
    return said


def _names(kind: type[Place | Amounts | Profile]) -> set[str]:
    return {entry.name for entry in fields(kind)}


def _lines(said: object) -> tuple[str, ...]:
    if not isinstance(said, list) or not all(isinstance(line, str) for line in said):
        raise InputError(f"prologue = {said!r}; give a list of lines")
    return tuple(said)


def _refuse_unknown(where: str, said: Mapping[str, Any], known: Collection[str]) -> None:
    for key in said:
        if key not in known:
            raise InputError(f"{where}unknown key {key!r}; {_nearest(key, known)}")


def _nearest(said: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(said, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"


def _require_number(name: str, value: object, *, whole: bool = False, nought: bool = False) -> None:
    if value is None:
        return
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or value < 0 or (value == 0 and not nought):  # type: ignore[operator]
        kind, least = "whole number" if whole else "number", "0 or more" if nought else "above 0"
        raise InputError(f"{name} = {value!r}; give a {kind} {least}")


def doubled(resources: Resources, *, memory: bool) -> Resources:
    """Return resources with twice the memory, or twice the time."""
    return replace(
        resources,
        memory_gb=resources.memory_gb * (2 if memory else 1),
        minutes=resources.minutes * (1 if memory else 2),
    )


WITHOUT_SHARES = Profile(most_units=1, poll_s=0.05, grace_s=1.0)
"""One machine: threads share the tiles of a stage, so that one process loads the photographs."""
