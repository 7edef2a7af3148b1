"""Slurm's commands: called no more often than a login node bears, and again when Slurm is away.

What is said to Slurm, what it says, and what its accounting knows of jobs are pure functions of
text.
"""

from __future__ import annotations

import getpass
import logging
import math
import re
import subprocess
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flows.engine.cost import Resources
from flows.execution.cluster_profile import Place, Profile
from flows.execution.unit import State
from tmp.errors import InputError, StoppedError, TransientError

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

log = logging.getLogger(__name__)
CALL_EVERY_S = 1 / 3
"""Least time between two calls of Slurm's commands."""
AT_A_TIME = 200
"""Jobs named in one ``scancel``."""
COMMAND_S = 60.0
RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0, 60.0)
"""Pauses before a job is submitted again to a Slurm that is away: five minutes in all."""
RETRY_CANCEL_S = (1.0, 2.0, 4.0)
"""Pauses before a Slurm that is away is told again to end jobs: people wait for it."""
AWAY = re.compile(
    r"socket timed out|temporarily unable|unable to contact|zero bytes were transmitted|"
    r"connection (refused|reset|timed out)|no answer|temporarily unavailable|"
    r"(receive|send) failure|communication connection failure",
    re.IGNORECASE,
)
"""What commands say where the controller is busy or restarts: again it may well work."""
FORGOTTEN = "Invalid job id"
"""What squeue says of jobs that Slurm no longer knows."""
ARRAY_SIZE = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)
USUAL_ARRAY_SIZE = 1001
"""Slurm's own default."""
COMMENT = "terrestrial-mapping-platform"
"""On each job, for whoever looks after the cluster."""
FIELDS = "JobID,State,ElapsedRaw,TotalCPU,MaxRSS,NodeList"
BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")


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
    """Return the script of an array of so many jobs.

    The Python to run, the list of units and the folder for temporary files are arguments of the
    script, so that no path is ever part of a shell's text.

    Examples
    --------
    >>> print(batch_script(1, Resources(), Profile(), "cloud"))  # doctest: +ELLIPSIS
    #!/bin/bash
    #SBATCH --array=0-0
    ...
    exec "$1" -P -m flows.execution.worker --list "$2" "$3"
    <BLANKLINE>
    """
    limit = f"%{profile.at_once}" if profile.at_once else ""
    options = {
        "array": f"0-{count - 1}{limit}",
        "open-mode": "append",
        **_asked(resources, profile.place_of(stage)),
    }
    return _script(
        options, "requeue", profile, 'exec "$1" -P -m flows.execution.worker --list "$2" "$3"'
    )


def probe_script(resources: Resources, profile: Profile, place: Place) -> str:
    """Return the script of a job that looks at a node; for its arguments see `node_probe`."""
    command = 'exec "$1" -P -m flows.execution.node_probe "$2" "$3"'
    return _script(_asked(resources, place), "no-requeue", profile, command)


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
    """Return how a job ended that has left no record of its own.

    Slurm's word for its state is empty if it has forgotten the job; without cgroups only the end
    of the job's log tells of memory.
    """
    if state == "OUT_OF_MEMORY" or MEMORY_SAID.search(log):
        return State.NO_MEMORY
    if state in ("TIMEOUT", "DEADLINE"):
        return State.NO_TIME
    if state.startswith("CANCELLED"):
        return State.CANCELLED
    return State.DISPLACED if state == "PREEMPTED" else State.LOST


@dataclass(slots=True, kw_only=True)
class Commands:
    """Slurm's commands, as one user of them."""

    stopping: threading.Event = field(default_factory=threading.Event)
    """Set from outside to have nothing more submitted nor waited for."""
    count: int = 0
    """Calls made."""
    _last_s: float = 0.0
    _most_in_array: int | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; its failure is in the status that comes back."""
        with self._turn:
            time.sleep(max(0.0, self._last_s + CALL_EVERY_S - time.monotonic()))
            self._last_s = time.monotonic()
            self.count += 1
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_S
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "no answer")
        except FileNotFoundError:
            return subprocess.CompletedProcess(command, 127, "", f"no {command[0]} here")

    def refuse_if_stopping(self) -> None:
        """Raise `StoppedError` if work is to stop."""
        if self.stopping.is_set():
            raise StoppedError("stopped; run again to go on")

    def queue(
        self,
        jobs: Collection[str] | None = None,
        *,
        name: str | None = None,
        user: str | None = None,
    ) -> Queue | None:
        """Return jobs of a user, those that ended a moment ago too; None while Slurm is away.

        By default all jobs of the one who asks; asking for some and their arrays costs less.
        """
        whose = user or getpass.getuser()
        command = ["squeue", "-h", "-r", "-t", "all", "-u", whose, "-o", QUEUE_FORMAT]
        if jobs is not None:
            command += ["-j", ",".join(sorted({array_of(job) for job in jobs}))]
        if name is not None:
            command += ["-n", name]
        said = self.call(*command)
        if said.returncode and FORGOTTEN in said.stderr:
            return {}
        if said.returncode:
            log.debug("squeue: %s", said.stderr.strip())
            return None
        return read_queue(said.stdout)

    def submit(self, name: str, *options: str) -> str:
        """Submit a job and return its number; Slurm may be away for some minutes.

        Parameters
        ----------
        name : str
            Of this job alone: by it, a job is found that was taken though no answer came.
        options : str
            Of ``sbatch``, the script and its arguments.

        Raises
        ------
        InputError
            If Slurm refuses the job.
        ExecutionError
            If it does not answer.
        """
        command = ("sbatch", "--parsable", f"--job-name={name}", f"--comment={COMMENT}", *options)
        try:
            for pause_s in (*RETRY_S, None):
                said = self.call(*command)
                reason = " ".join(said.stderr.split()).removeprefix("sbatch: error: ")
                if not said.returncode:
                    return said.stdout.strip().split(";")[0]
                if not AWAY.search(reason):
                    raise InputError(reason)
                if pause_s is not None:
                    log.warning("sbatch: %s; again in %g s", reason, pause_s)
                    self.stopping.wait(pause_s)
                if (taken := self.find(name)) is not None:
                    return taken
                self.refuse_if_stopping()
        except KeyboardInterrupt:
            if (taken := self.find(name)) is not None:
                self.cancel([taken])
            raise
        raise TransientError(f"sbatch: {reason}; see whether 'sinfo' answers, and run again")

    def find(self, name: str) -> str | None:
        """Return the number of the job of a name, if it is in the queue."""
        queue = self.queue(name=name) or {}
        return next((array_of(job) for job, entry in queue.items() if entry.name == name), None)

    def cancel(self, jobs: Sequence[str]) -> bool:
        """End jobs, whether they wait or run; returns whether Slurm has heard it."""
        parts = [jobs[start : start + AT_A_TIME] for start in range(0, len(jobs), AT_A_TIME)]
        return not [part for part in parts if not self._cancelled(part)]

    def _cancelled(self, jobs: Sequence[str]) -> bool:
        for pause_s in (*RETRY_CANCEL_S, None):
            said = self.call("scancel", *jobs)
            if not said.returncode or not AWAY.search(said.stderr):
                return True
            if pause_s is not None:
                time.sleep(pause_s)
        log.warning(
            "scancel: %s; jobs left: %d; 'tmp cancel' ends them when Slurm answers",
            said.stderr.strip(),
            len(jobs),
        )
        return False

    def most_in_array(self) -> int:
        """Return how many jobs an array may have, as the cluster is configured."""
        if self._most_in_array is None:
            found = ARRAY_SIZE.search(self.call("scontrol", "show", "config").stdout)
            self._most_in_array = int(found[1]) if found else USUAL_ARRAY_SIZE
        return max(1, self._most_in_array)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """What a job has taken, by the cluster's own account."""

    state: str
    """Slurm's word, such as "COMPLETED"."""
    node: str
    elapsed_s: float
    cpu_s: float
    """User and system time of all its processes."""
    max_rss_gb: float
    """Most memory seen, in units of 1e9 bytes; Slurm looks twice a minute, or as configured."""


def read_accounting(
    jobs: Collection[str], commands: Commands | None = None
) -> dict[str, Accounted]:
    """Return what jobs, such as "7_0", have taken; empty where the cluster keeps no account."""
    commands = commands or Commands()
    found: dict[str, Accounted] = {}
    arrays = sorted({array_of(job) for job in jobs}, key=lambda array: (len(array), array))
    for start in range(0, len(arrays), AT_A_TIME):
        asked = ",".join(arrays[start : start + AT_A_TIME])
        said = commands.call("sacct", "-n", "-P", "--noconvert", "-o", FIELDS, "-j", asked)
        if said.returncode:
            log.debug("sacct: %s", said.stderr.strip())
            return {}
        found |= read_accounts(said.stdout)
    return {job: account for job, account in found.items() if job in set(jobs)}


def read_accounts(text: str) -> dict[str, Accounted]:
    r"""Return what each job has taken, from lines of `FIELDS`: of the job, then of its steps.

    Examples
    --------
    >>> said = "7_0|COMPLETED|61|00:58.250||n1\n7_0.batch|COMPLETED|61|00:58.250|500000K|n1"
    >>> read_accounts(said)["7_0"].max_rss_gb
    0.512
    """
    rows: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) == len(FIELDS.split(",")):
            rows.setdefault(parts[0].partition(".")[0], []).append(parts)
    return {job: _account(lines) for job, lines in rows.items()}


def _account(lines: list[list[str]]) -> Accounted:
    _, state, elapsed, _, _, node = lines[0]
    return Accounted(
        state=state.split()[0] if state else "",
        node=node,
        elapsed_s=float(elapsed) if elapsed.isdigit() else 0.0,
        cpu_s=max(_seconds(line[3]) for line in lines),
        max_rss_gb=max(_gb(line[4]) for line in lines),
    )


def _seconds(said: str) -> float:
    """Return a duration of Slurm's, ``[[days-]hours:]minutes:seconds``, in seconds.

    Examples
    --------
    >>> _seconds("1-02:03:04"), _seconds("00:58.250"), _seconds("")
    (93784.0, 58.25, 0.0)
    """
    found = DURATION.fullmatch(said)
    if found is None:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _gb(said: str) -> float:
    """Return an amount of memory of Slurm's in units of 1e9 bytes.

    Examples
    --------
    >>> _gb("500000K"), _gb("1000000000"), _gb("")
    (0.512, 1.0, 0.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", said)
    return float(found[1]) * BYTES[found[2]] / 1e9 if found else 0.0
