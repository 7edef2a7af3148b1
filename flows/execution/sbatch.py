"""What is said to Slurm and what it says: pure functions of text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from flows.execution.executor import State
from flows.execution.profile import Place, Profile
from flows.resources import Resources

ACTIVE = {
    "PENDING": State.WAITING,
    "CONFIGURING": State.WAITING,
    "REQUEUED": State.WAITING,
    "REQUEUE_HOLD": State.WAITING,
    "REQUEUE_FED": State.WAITING,
    "SPECIAL_EXIT": State.WAITING,
    "RUNNING": State.RUNNING,
    "COMPLETING": State.RUNNING,
    "SUSPENDED": State.RUNNING,
    "STOPPED": State.RUNNING,
    "SIGNALING": State.RUNNING,
    "STAGE_OUT": State.RUNNING,
}
"""States of a job that may still end well."""
NEVER = frozenset(
    {
        "AccountNotAllowed",
        "AssociationTimeLimit",
        "AssocMaxCpuPerJobLimit",
        "AssocMaxMemPerJob",
        "AssocMaxNodePerJobLimit",
        "AssocMaxWallDurationPerJobLimit",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "JobHeldAdmin",
        "PartitionConfig",
        "PartitionTimeLimit",
        "QOSMaxCpuPerJobLimit",
        "QOSMaxMemoryPerJob",
        "QOSMaxNodePerJobLimit",
        "QOSMaxWallDurationPerJobLimit",
        "QOSNotAllowed",
        "QOSTimeLimit",
    }
)
"""Reasons of a waiting job that time does not mend."""
NOT_LAUNCHED = ("launch failed requeued held", "JobHoldMaxRequeue")
"""Reasons of a job that its node could not start, so that Slurm holds it."""
WAITS = {
    "Resources": "for a node with room",
    "Priority": "behind jobs of higher priority",
    "JobArrayTaskLimit": "for others of its array: at_once",
    "BeginTime": "two minutes, as Slurm lets a job that lost its node",
    "ReqNodeNotAvail": "for nodes that are down, drained or reserved",
    "Nodes required for job are DOWN": "for nodes that are down, drained or reserved",
    "PartitionDown": "for its partition, which is down",
    "PartitionInactive": "for its partition, which takes no jobs now",
    "PartitionNodeLimit": "for its partition, which has too few nodes that are up",
    "JobHeldUser": "because someone holds it: scontrol release",
    "Licenses": "for a licence",
    "Reservation": "for its reservation",
    "QOS": "for a limit of its qos",
    "Assoc": "for a limit of its account",
}
"""What a job waits for, by the first letters of Slurm's reason."""
FINAL = ("TIMEOUT", "DEADLINE", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "CANCELLED")
"""States that say more of a job's end than the job itself could."""
MAY_RETURN = frozenset({"NODE_FAIL", "BOOT_FAIL", "PREEMPTED"})
"""States after which Slurm may start a job once more by itself."""
QUEUE_FORMAT = "%i|%T|%r|%N|%j"
MEMORY_SAID = re.compile(
    r"exceeded (job |step )?memory limit|oom[-_ ]kill|MemoryError|out of memory", re.IGNORECASE
)
"""What logs say of memory where the cluster's state does not."""


class Queued(NamedTuple):
    """How a job is in the queue."""

    state: str = ""
    """Slurm's word; empty if it does not know the job."""
    reason: str = ""
    """Why it waits."""
    node: str = ""
    name: str = ""


Queue = Mapping[str, Queued]
"""Jobs by number; those of an array are "7_0"."""


def batch_script(count: int, resources: Resources, profile: Profile, stage: str) -> str:
    """Return the script of an array of jobs.

    Parameters
    ----------
    count : int
        Jobs in the array.
    resources : Resources
        Of each.
    profile : Profile
    stage : str

    Notes
    -----
    The Python to run and the list of units are arguments of the script, so that no path is ever
    part of a shell's text.

    Examples
    --------
    >>> print(batch_script(1, Resources(), Profile(), "cloud"))  # doctest: +ELLIPSIS
    #!/bin/bash
    #SBATCH --array=0-0
    ...
    exec "$1" -P -m flows.worker --list "$2"
    <BLANKLINE>
    """
    limit = f"%{profile.at_once}" if profile.at_once else ""
    options = {
        "array": f"0-{count - 1}{limit}",
        "open-mode": "append",
        **_asked(resources, profile.place_of(stage)),
    }
    return _script(options, "requeue", profile, 'exec "$1" -P -m flows.worker --list "$2"')


def probe_script(resources: Resources, profile: Profile, place: Place) -> str:
    """Return the script of a job that looks at a node; see `flows.probe` for its arguments."""
    return _script(
        _asked(resources, place), "no-requeue", profile, 'exec "$1" -P -m flows.probe "$2" "$3"'
    )


def _script(options: Mapping[str, str], flag: str, profile: Profile, command: str) -> str:
    said = [f"#SBATCH --{key}={value}" for key, value in options.items()]
    return "\n".join(["#!/bin/bash", *said, f"#SBATCH --{flag}", *profile.prologue, command, ""])


def _asked(resources: Resources, place: Place) -> dict[str, str]:
    said = {
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(resources.cpus),
        "mem": f"{math.ceil(resources.memory_gb * 1e9 / 2**20)}M",
        "time": str(math.ceil(resources.minutes)),
        "partition": place.partition,
        "account": place.account,
        "qos": place.qos,
        "constraint": place.constraint,
        "gres": f"{place.gres}:{resources.gpus}" if resources.gpus else "",
    }
    return {key: value for key, value in said.items() if value}


def options_of(script: str) -> list[str]:
    r"""Return the options that a script asks for, to be said on the command line too.

    There they count more than what a person's ``SBATCH_`` variables say.

    Examples
    --------
    >>> options_of("#!/bin/bash\n#SBATCH --nodes=1\n#SBATCH --requeue\nmodule load gcc")
    ['--nodes=1', '--requeue']
    """
    mark = "#SBATCH "
    return [line.removeprefix(mark) for line in script.splitlines() if line.startswith(mark)]


def read_queue(text: str) -> dict[str, Queued]:
    """Return how each job is, from lines of `QUEUE_FORMAT`.

    Examples
    --------
    >>> read_queue("7_0|RUNNING|None|n1|tmp-cloud")
    {'7_0': Queued(state='RUNNING', reason='None', node='n1', name='tmp-cloud')}
    """
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5:
            found[parts[0]] = Queued(*parts[1:])
    return found


def array_of(job: str) -> str:
    """Return the number of a job's array.

    Examples
    --------
    >>> array_of("7_12"), array_of("8")
    ('7', '8')
    """
    return job.partition("_")[0]


def explain(reason: str) -> str:
    """Return what a job waits for, in words, with Slurm's own.

    Examples
    --------
    >>> explain("QOSMaxCpuPerUserLimit"), explain("None")
    ('for a limit of its qos (QOSMaxCpuPerUserLimit)', 'to be looked at by Slurm')
    """
    if reason in ("", "None"):
        return "to be looked at by Slurm"
    first = next((text for start, text in WAITS.items() if reason.startswith(start)), "")
    return f"{first} ({reason.partition(',')[0]})" if first else reason


def judge(state: str, log: str) -> State:
    """Return how a job ended that has left no outcome of its own.

    Parameters
    ----------
    state : str
        Slurm's word; empty if it has forgotten the job.
    log : str
        End of the job's log: without cgroups, only it tells of memory.
    """
    if state == "OUT_OF_MEMORY" or MEMORY_SAID.search(log):
        return State.NO_MEMORY
    if state in ("TIMEOUT", "DEADLINE"):
        return State.NO_TIME
    if state.startswith("CANCELLED"):
        return State.CANCELLED
    return State.DISPLACED if state == "PREEMPTED" else State.LOST
