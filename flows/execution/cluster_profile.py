"""The one file that describes a cluster: ``cluster.toml``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from flows.engine.cost import Cost, Resources
from tmp.errors import InputError, require_range
from tmp.files import build, read_toml, refuse_unknown, subtables

WORD = re.compile(r"[A-Za-z0-9_.,:@+=/&|*()\[\]-]+")
"""What may stand in a line for sbatch; anything else is refused."""
MOST_CPUS, MOST_MEMORY_GB, MOST_MINUTES = 100_000, 1e6, 1e6
MOST_UNITS, MOST_WAIT_S = 1_000_000, 86_400.0
"""More than any cluster gives, so that a slip of the pen is told from a large site."""


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
            if value != "" and not WORD.fullmatch(value):
                raise InputError(f"{entry.name} = {value!r} is no word for sbatch; mend it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What the units of a stage ask for where the site knows better than the platform."""

    cpus: int | None = None
    memory_gb: float | None = None
    minutes: float | None = None
    gpus: int | None = None

    def __post_init__(self) -> None:
        require_range(self, "cpus", above=0, most=MOST_CPUS)
        require_range(self, "memory_gb", above=0, most=MOST_MEMORY_GB)
        require_range(self, "minutes", above=0, most=MOST_MINUTES)
        require_range(self, "gpus", least=0, most=MOST_CPUS)


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
        require_range(self, "most_units", "at_once", above=0, most=MOST_UNITS)
        require_range(self, "most_cpus", above=0, most=MOST_CPUS)
        require_range(self, "unit_minutes", above=0, most=MOST_MINUTES)
        require_range(self, "poll_s", "grace_s", above=0, most=MOST_WAIT_S)
        for name in ("python", "scratch"):
            value = getattr(self, name)
            if not value.isprintable():
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
        refuse_unknown(self.stages, known, "[stage]")

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
    said, where = read_toml(path), str(path)
    places, numbers, own = ({f.name for f in fields(kind)} for kind in (Place, Amounts, Profile))
    refuse_unknown(said, (own - {"place", "stages", "amounts"}) | places | {"stage"}, where)
    common = {key: said.pop(key) for key in places & said.keys()}
    stages, amounts = {}, {}
    for stage, entry in subtables(said, "stage", where).items():
        inside = f"{where}: [stage.{stage}]"
        refuse_unknown(entry, places | numbers, inside)
        where_to = common | {key: entry[key] for key in places & entry.keys()}
        stages[stage] = build(Place, where_to, inside)
        amounts[stage] = build(Amounts, {k: entry[k] for k in numbers & entry.keys()}, inside)
    said.pop("stage", None)
    place = build(Place, common, where)
    return build(Profile, said, where, place=place, stages=stages, amounts=amounts)


def doubled(resources: Resources, *, memory: bool) -> Resources:
    """Return resources with twice the memory, or twice the time."""
    return replace(
        resources,
        memory_gb=resources.memory_gb * (2 if memory else 1),
        minutes=resources.minutes * (1 if memory else 2),
    )


WITHOUT_SHARES = Profile(most_units=1, poll_s=0.05, grace_s=1.0)
"""One machine: threads share the tiles of a stage, so that one process loads the photographs."""
