"""What a cluster has: partitions, GPUs and features that a profile may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flows.execution.commands import Commands
from flows.execution.profile import Amounts, Place, Profile
from tmp.errors import ExecutionError, InputError

GPU = Place().gres
BRACKETS = re.compile(r"\([^)]*\)")
FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def require_offered(profile: Profile, commands: Commands) -> None:
    """Raise `InputError` if the profile names what the cluster does not have."""
    said = commands.call("sinfo", "-h", "-a", "-o", "%R|%G|%f")
    if said.returncode:
        raise ExecutionError(f"sinfo: {' '.join(said.stderr.split())}; see whether Slurm runs")
    offers = [_offer(line) for line in said.stdout.splitlines() if line.count("|") == 2]
    _require_place("", profile.place, Amounts(), offers)
    for stage, place in profile.stages.items():
        _require_place(f"[stage.{stage}] ", place, profile.amounts.get(stage, Amounts()), offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """Nodes of a partition that are alike."""

    partition: str
    gpus: frozenset[str]
    """By name and by name and type: "gpu", "gpu:a100"."""
    features: frozenset[str]


def _offer(line: str) -> _Offer:
    partition, gres, features = line.strip().split("|")
    gpus = set()
    for entry in BRACKETS.sub("", gres).split(","):
        name, *more = entry.split(":")
        gpus.add(name)
        if more and not more[0].isdigit():
            gpus.add(f"{name}:{more[0]}")
    return _Offer(
        partition=partition,
        gpus=frozenset(gpus - {"(null)", ""}),
        features=frozenset(FEATURE.findall(features.replace("(null)", ""))),
    )


def _require_place(where: str, place: Place, amounts: Amounts, offers: Sequence[_Offer]) -> None:
    partitions = [name for name in place.partition.split(",") if name]
    for name in partitions:
        _require(where, "partition", name, {offer.partition for offer in offers})
    here = [offer for offer in offers if not partitions or offer.partition in partitions]
    inside = f" in partition {place.partition}" if partitions else ""
    if amounts.gpus or place.gres != GPU:
        _require(where, "gres", place.gres, (g for o in here for g in o.gpus), inside)
    for feature in FEATURE.findall(place.constraint):
        _require(where, "constraint", feature, (f for o in here for f in o.features), inside)


def _require(where: str, kind: str, name: str, there: Iterable[str], inside: str = "") -> None:
    found = sorted(set(there))
    if name not in found:
        raise InputError(
            f"{where}{kind} = {name!r}: the cluster has no such {kind}{inside}; it has "
            f"{', '.join(found) or 'none'}: mend the profile"
        )
