"""Slurm's commands: called no more often than a login node bears, and again when Slurm is away."""

from __future__ import annotations

import getpass
import logging
import re
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from flows.execution.sbatch import QUEUE_FORMAT, Queue, array_of, read_queue
from tmp.errors import ExecutionError, InputError

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
        """Raise `ExecutionError` if work is to stop."""
        if self.stopping.is_set():
            raise ExecutionError("stopped with the run; run again to go on")

    def queue(
        self,
        jobs: Collection[str] | None = None,
        *,
        name: str | None = None,
        user: str | None = None,
    ) -> Queue | None:
        """Return jobs of a user, those that ended a moment ago too; None while Slurm is away.

        Parameters
        ----------
        jobs : collection of str, optional
            Only these and their arrays, so that others cost nothing; by default all.
        name : str, optional
            Only jobs of this name.
        user : str, optional
            By default the one who asks.
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
        raise ExecutionError(f"sbatch: {reason}; see whether 'sinfo' answers, and run again")

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
