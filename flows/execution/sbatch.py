"""What is said to Slurm and what it says: pure functions of text."""

from __future__ import annotations

import math
import re

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
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "AccountNotAllowed",
        "QOSNotAllowed",
        "InvalidAccount",
        "InvalidQOS",
        "AssociationTimeLimit",
        "QOSTimeLimit",
        "JobHeldAdmin",
        "JobHeldUser",
    }
)
"""Reasons of a waiting job that time does not mend."""
MEMORY_SAID = re.compile(
    r"exceeded (job |step )?memory limit|oom[-_ ]kill|MemoryError|out of memory", re.IGNORECASE
)
"""What logs say of memory where the cluster's state does not."""


def batch_script(name: str, count: int, resources: Resources, profile: Profile, stage: str) -> str:
    """Return the script of an array of jobs.

    Parameters
    ----------
    name : str
        Of the job.
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
    >>> print(batch_script("tmp-cloud-1", 1, Resources(), Profile(), "cloud"))  # doctest: +ELLIPSIS
    #!/bin/bash
    #SBATCH --job-name=tmp-cloud-1
    #SBATCH --array=0-0
    ...
    exec "$1" -P -m flows.worker --list "$2"
    <BLANKLINE>
    """
    place = profile.place_of(stage)
    limit = f"%{profile.at_once}" if profile.at_once else ""
    options = {
        "job-name": name,
        "array": f"0-{count - 1}{limit}",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(resources.cpus),
        "mem": f"{math.ceil(resources.memory_gb * 1e9 / 2**20)}M",
        "time": str(math.ceil(resources.minutes)),
        "open-mode": "append",
        **_placed(place, resources),
    }
    lines = [f"#SBATCH --{key}={value}" for key, value in options.items()]
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "#SBATCH --requeue",
            *profile.prologue,
            'exec "$1" -P -m flows.worker --list "$2"',
            "",
        ]
    )


def _placed(place: Place, resources: Resources) -> dict[str, str]:
    said = {
        "partition": place.partition,
        "account": place.account,
        "qos": place.qos,
        "constraint": place.constraint,
        "gres": f"{place.gres}:{resources.gpus}" if resources.gpus else "",
    }
    return {key: value for key, value in said.items() if value}


def read_queue(text: str) -> dict[str, tuple[str, str, str]]:
    """Return state, reason and name of each job from lines of ``%i|%T|%r|%j``.

    Examples
    --------
    >>> read_queue("7_0|PENDING|Resources|tmp-cloud")
    {'7_0': ('PENDING', 'Resources', 'tmp-cloud')}
    """
    found = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 3)
        if len(parts) == 4:
            found[parts[0]] = (parts[1], parts[2], parts[3])
    return found


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
    return State.LOST
