"""What the cluster's accounting knows of jobs, where it has one: time, memory, node."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

from flows.execution.commands import AT_A_TIME, Commands
from flows.execution.sbatch import array_of

log = logging.getLogger(__name__)

FIELDS = "JobID,State,ElapsedRaw,TotalCPU,MaxRSS,NodeList"
BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")


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
    """Return what jobs have taken; empty where the cluster keeps no account.

    Parameters
    ----------
    jobs : collection of str
        Such as "7_0"; one call serves those of a stage.
    commands : Commands, optional
    """
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
