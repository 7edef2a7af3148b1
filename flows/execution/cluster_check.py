"""Look at a cluster before the first job of a run: whether its nodes can do the work.

A profile may name only partitions, GPUs and features that the cluster has.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.engine.cost import Resources
from flows.engine.result import digest_of, read_json
from flows.execution.cluster_profile import Amounts, Place, Profile
from flows.execution.node_probe import ANSWER, DISTRIBUTION, QUESTION
from flows.execution.slurm import require_slurm
from flows.execution.slurm_commands import (
    ACTIVE,
    NEVER,
    NOT_LAUNCHED,
    Commands,
    Queued,
    explain,
    options_of,
    probe_script,
)
from flows.execution.unit import last_lines
from tmp.errors import ExecutionError, InputError
from tmp.files import replacing

GPU = Place().gres
BRACKETS = re.compile(r"\([^)]*\)")
FEATURE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

log = logging.getLogger(__name__)
REMEMBERED = "probe.json"
VALID_S = 86400.0
"""Time for which a cluster that passed is not looked at again."""
ASKED = Resources(cpus=1, memory_gb=0.25, minutes=2)
LOOK_S = 0.1
ASK_S = 0.5
"""Time between two looks at the queue at first."""
WAIT_TOLD_S = 5.0
"""Time after which people are told what a probe waits for."""
FAILED_GRACE_S = 5.0
"""Time that a shared disk gets to show the log of a probe that failed."""
NO_LOG = ("JobLaunchFailure", "RaisedSignal:53")
"""Slurm's reasons for a job whose log the node could not write."""


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


def prepare_cluster(profile: Profile, survey_root: Path) -> None:
    """Make sure that a cluster can run a survey; what passed is not asked again for a day.

    Raises
    ------
    InputError
        If there is no Slurm, no such partition, GPU or feature, or if the nodes that the profile
        names do not see the survey's folder or have another version of the platform.
    ExecutionError
        If Slurm does not answer.
    """
    require_slurm()
    root = survey_root.resolve()
    memory = root / "work" / REMEMBERED
    key = _key(profile, root)
    passed = _passed(memory)
    if key in passed:
        return
    commands = Commands()
    require_offered(profile, commands)
    _look_at_nodes(profile, root, commands)
    with replacing(memory) as temporary:
        temporary.write_text(json.dumps(passed | {key: time.time()}), encoding="utf-8")


def _key(profile: Profile, root: Path) -> str:
    return digest_of(
        {
            "profile": asdict(profile),
            "version": version(DISTRIBUTION),
            "python": platform.python_version(),
            "survey": str(root),
            "cluster": os.environ.get("SLURM_CONF", ""),
        }
    )


def _passed(memory: Path) -> dict[str, float]:
    now_s = time.time()
    return {
        key: passed_s
        for key, passed_s in (read_json(memory) or {}).items()
        if 0 <= now_s - passed_s < VALID_S
    }


@dataclass(slots=True, kw_only=True)
class _Probe:
    """A job that looks at a node."""

    place: Place
    folder: Path
    question: str
    number: str = ""
    ended_s: float | None = None
    """When it was seen to have ended without an answer."""
    told: str = ""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"


def _look_at_nodes(profile: Profile, root: Path, commands: Commands) -> None:
    """Run a probe at each place that the profile names."""
    places = (
        replace(place, gres=Place().gres) for place in (profile.place, *profile.stages.values())
    )
    with _submitted(profile, root, dict.fromkeys(places), commands) as waiting:
        began_s, asked_s, pause_s = time.monotonic(), 0.0, ASK_S
        queue: Mapping[str, Queued] | None = None
        while waiting:
            if time.monotonic() - asked_s >= pause_s:
                queue = commands.queue([probe.number for probe in waiting])
                asked_s = time.monotonic()
                pause_s = min(max(ASK_S, profile.poll_s), pause_s * 1.5)
            for probe in list(waiting):
                if (answer := _answer(probe)) is not None:
                    _judge(answer, profile)
                    waiting.remove(probe)
                elif queue is not None:
                    told = time.monotonic() - began_s > WAIT_TOLD_S
                    _check(probe, queue.get(probe.number, Queued()), profile, root, told=told)
            time.sleep(LOOK_S if waiting else 0)


@contextmanager
def _submitted(
    profile: Profile, root: Path, places: Iterable[Place], commands: Commands
) -> Iterator[list[_Probe]]:
    """Submit probes; those that are left in the list at the end are cancelled."""
    folder = root / "work" / "probe" / secrets.token_hex(4)
    waiting: list[_Probe] = []
    try:
        for index, place in enumerate(places):
            probe = _Probe(place=place, folder=folder / str(index), question=secrets.token_hex(16))
            probe.folder.mkdir(parents=True)
            (probe.folder / QUESTION).write_text(probe.question, encoding="utf-8")
            probe.number = _submit(probe, profile, commands)
            waiting.append(probe)
        yield waiting
    finally:
        commands.cancel([probe.number for probe in waiting])
        shutil.rmtree(folder, ignore_errors=True)


def _submit(probe: _Probe, profile: Profile, commands: Commands) -> str:
    script, text = probe.folder / "job.sh", probe_script(ASKED, profile, probe.place)
    script.write_text(text, encoding="utf-8")
    output = str(probe.log).replace("%", "%%")
    try:
        return commands.submit(
            f"tmp-probe-{probe.folder.parent.name}-{probe.folder.name}",
            *options_of(text),
            *("--chdir=/", f"--output={output}", str(script)),
            *(profile.python, str(probe.folder), profile.scratch),
        )
    except InputError as error:
        raise InputError(
            f"Slurm refuses a job{_at(probe.place)}: {error}; mend the profile"
        ) from error


def _answer(probe: _Probe) -> dict[str, Any] | None:
    os.listdir(probe.folder)  # noqa: PTH208 -- lets a network disk look again
    answer = read_json(probe.folder / ANSWER)
    return answer if answer is not None and answer.get("question") == probe.question else None


def _judge(answer: Mapping[str, Any], profile: Profile) -> None:
    """Raise `InputError` if a node has another installation, or no room for temporary files."""
    node, here = answer["node"], version(DISTRIBUTION)
    remedy = "install one release for all and name its Python as 'python' in the profile"
    if answer["version"] != here:
        raise InputError(
            f"node {node} has version {answer['version']} of the platform ({profile.python}), "
            f"this machine has {here}; {remedy}"
        )
    there, mine = (
        text.rpartition(".")[0] for text in (answer["python"], platform.python_version())
    )
    if there != mine:
        raise InputError(
            f"node {node} runs Python {there} ({profile.python}), this machine {mine}; {remedy}"
        )
    if answer["scratch"]:
        raise InputError(
            f"node {node}: scratch = {profile.scratch!r}: {answer['scratch']}; name a folder "
            "that jobs may write to there"
        )


def _check(probe: _Probe, entry: Queued, profile: Profile, root: Path, *, told: bool) -> None:
    """Raise `InputError` if a probe that has not answered never will."""
    if entry.reason in NEVER or entry.reason.startswith(NOT_LAUNCHED):
        raise InputError(
            f"a job{_at(probe.place)} can never start: {entry.reason}; mend the profile"
        )
    if entry.state in ACTIVE:
        waits = entry.state == "PENDING" and told and entry.reason != probe.told
        if waits:
            probe.told = entry.reason
            log.warning(
                "job %s, which looks at the nodes, waits %s", probe.number, explain(entry.reason)
            )
        return
    now_s = time.monotonic()
    probe.ended_s = now_s if probe.ended_s is None else probe.ended_s
    failed = entry.state not in ("", "COMPLETED")
    said = last_lines(probe.log)
    grace_s = min(profile.grace_s, FAILED_GRACE_S) if failed else profile.grace_s
    if said or entry.reason.startswith(NO_LOG) or now_s - probe.ended_s >= grace_s:
        raise InputError(_why_not(probe, entry, said, profile, root))


def _why_not(probe: _Probe, entry: Queued, said: str, profile: Profile, root: Path) -> str:
    node = f"node {entry.node}" if entry.node else "a node"
    if not probe.log.exists():
        return (
            f"{root}: {node} does not see this folder (job {probe.number} ended as "
            f"{entry.state or 'forgotten'} and could not write there); keep surveys on a file "
            "system that this machine and the nodes see under one path, writable for you"
        )
    if "No module named" in said:
        return (
            f"{profile.python} on {node} does not have version {version(DISTRIBUTION)} of the "
            f"platform ({said}); install it there, or name its Python as 'python' in the profile"
        )
    if profile.python in said and re.search("No such file|ermission denied|cannot execute", said):
        return (
            f"{node} cannot start {profile.python} ({said}); name the platform's Python on the "
            "nodes as 'python' in the profile"
        )
    end = f": {said}" if said else ", and said nothing"
    return f"{node}: job {probe.number} ended as {entry.state or 'forgotten'}{end}"


def _at(place: Place) -> str:
    said = {key: value for key, value in asdict(place).items() if value and key != "gres"}
    return f" at {', '.join(f'{key} {value}' for key, value in said.items())}" if said else ""
