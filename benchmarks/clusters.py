"""What the benchmarks on a cluster share: a private Slurm, a profile for it, what it was asked."""

from __future__ import annotations

import os
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLUSTER = Path(__file__).parents[1] / "tests" / "flows" / "execution" / "slurm_cluster.py"
COUNTING = """#!/bin/sh
echo "$@" >> "$0.calls"
exec {sbatch} "$@"
"""


@contextmanager
def private_cluster(folder: Path) -> Iterator[Any]:
    """Run a cluster of three nodes on this machine, of two cores each, while the block runs.

    Commands find it by the environment, and each call of ``sbatch`` is counted; see `jobs_asked`.
    """
    tools = runpy.run_path(str(CLUSTER))
    if reason := tools["why_not"]():
        sys.exit(f"no cluster can be started: {reason}")
    counting = folder / "bin" / "sbatch"
    counting.parent.mkdir(parents=True)
    counting.write_text(COUNTING.format(sbatch=shutil.which("sbatch")), encoding="utf-8")
    counting.chmod(counting.stat().st_mode | stat.S_IXUSR)
    with tools["cluster"](folder / "slurm") as cluster:
        os.environ["SLURM_CONF"] = str(cluster.conf)
        os.environ["PATH"] = f"{counting.parent}{os.pathsep}{os.environ['PATH']}"
        yield cluster


def jobs_asked(folder: Path) -> int:
    """Return how many times ``sbatch`` was called in the cluster of a folder."""
    calls = folder / "bin" / "sbatch.calls"
    return len(calls.read_text(encoding="utf-8").splitlines()) if calls.exists() else 0


def queued(states: str = "PENDING,RUNNING,COMPLETING") -> list[str]:
    """Return the jobs of the cluster that are in some states, tasks of arrays one by one."""
    said = subprocess.run(
        ["squeue", "-h", "-r", "-t", states, "-o", "%i"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()


def write_profile(
    path: Path, *, unit_minutes: float, memory_gb: Mapping[str, float] | None = None, **words: str
) -> Path:
    """Write a profile for the private cluster.

    Parameters
    ----------
    path : Path
    unit_minutes : float
        Time that a job of an array should take.
    memory_gb : mapping, optional
        What the jobs of some stages ask for, by stage.
    **words : str
        Further keys.
    """
    lines = [
        f"python = {str(sys.executable)!r}",
        "most_cpus = 2",
        "poll_s = 1",
        "grace_s = 10",
        f"unit_minutes = {unit_minutes}",
        *(f"{key} = {value!r}" for key, value in words.items()),
    ]
    for stage, memory in (memory_gb or {}).items():
        lines += [f"[stage.{stage}]", f"memory_gb = {memory:.3f}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
