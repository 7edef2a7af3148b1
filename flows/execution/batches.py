"""Which job does which unit, on disk: a dead controller's jobs are found again by it.

An array of jobs has a folder ``batch-<token>`` beside its units, with the list of them, the
script, a log of each job, and, once Slurm has taken it, the array's number.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.execution.executor import Unit
from flows.execution.units import JOB, read_json, write_job
from tmp.files import replacing

LISTED = "units.txt"
SCRIPT = "job.sh"
NUMBER = "number.txt"
PREFIX = "batch-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Units that one array of jobs does."""

    folder: Path
    stage: str
    key: str

    @property
    def name(self) -> str:
        """Of the jobs, and of no other jobs."""
        token = self.folder.name.removeprefix(PREFIX)
        return f"tmp-{self.stage}-{self.key[:8]}-{token}"

    @property
    def listed(self) -> Path:
        """File of the units' folders, in the order of the array."""
        return self.folder / LISTED

    @property
    def script(self) -> Path:
        """File of the script that the jobs run."""
        return self.folder / SCRIPT

    def units(self) -> list[Path]:
        """Return the folders of the units."""
        return [Path(line) for line in self.listed.read_text(encoding="utf-8").splitlines()]

    def record(self, number: str) -> None:
        """Write down which jobs do the units; empty if Slurm never took them."""
        for index, folder in enumerate(self.units() if number else ()):
            log = str(self.folder / f"{index}.log")
            write_job(folder, {"id": f"{number}_{index}", "name": self.name, "log": log})
        with replacing(self.folder / NUMBER) as temporary:
            temporary.write_text(number, encoding="utf-8")


def write_batch(units: Sequence[Unit], script: str) -> Batch:
    """Write down an array of jobs that is to be submitted."""
    first = units[0]
    folder = first.folder.resolve().parent / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    batch = Batch(folder=folder, stage=first.stage, key=first.key)
    batch.script.write_text(script, encoding="utf-8")
    with replacing(batch.listed) as temporary:
        temporary.write_text("".join(f"{unit.folder.resolve()}\n" for unit in units), "utf-8")
    return batch


def unanswered(results: Path) -> list[Batch]:
    """Return the arrays of a stage's result whose controller died before it heard from Slurm."""
    return [
        Batch(folder=listed.parent, stage=results.parent.name, key=results.name)
        for listed in sorted(results.glob(f"{PREFIX}*/{LISTED}"))
        if not (listed.parent / NUMBER).exists()
    ]


def recorded_jobs(units: Path) -> dict[str, str]:
    """Return the jobs recorded below ``work/units`` and their names."""
    found = {}
    for path in sorted(units.glob(f"*/*/*/{JOB}")):
        record = read_json(path)
        if record is not None:
            found[record["id"]] = record["name"]
    return found
