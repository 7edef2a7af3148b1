"""What the benchmarks share: running commands at a measured cost, finding surveys, verdicts."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from flows.engine.store import Result, read_result
from tmp.reconstruction import Reconstruction, read_reconstruction

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PERIOD_S = 0.1
"""Time between two looks at memory; a peak shorter than this can be missed."""
TMP = str(Path(sysconfig.get_path("scripts")) / "tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command and all processes it started took."""

    wall_s: float
    cpu_s: float
    """User and system time."""
    peak_gb: float
    """Largest sum of resident memory, in units of 1e9 bytes; shared pages count in each."""
    status: int = 0
    """Exit status; of several commands the first that was not 0."""

    def __str__(self) -> str:
        """Return the cost in words."""
        return (
            f"{self.cpu_s:7.1f} CPU-seconds, {self.wall_s:6.1f} s on the clock, "
            f"{self.peak_gb:5.2f} GB at the peak"
        )

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of one command after another."""
        return Cost(
            wall_s=self.wall_s + other.wall_s,
            cpu_s=self.cpu_s + other.cpu_s,
            peak_gb=max(self.peak_gb, other.peak_gb),
            status=self.status or other.status,
        )


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    check: bool = True,
) -> Cost:
    """Run a command to its end; its output goes to a log.

    Ends the benchmark if the command fails, unless `check` is false.

    Notes
    -----
    Processor time is that of the process and of all descendants that were waited for, from
    the operating system; memory is sampled.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = log or Path(folder) / "log"
        with path.open("w") as out:
            began_s = time.perf_counter()
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
            peak = _PeakMemory(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - began_s
            process.returncode = os.waitstatus_to_exitcode(status)
            peak_bytes = peak.stop()
        if check and process.returncode != 0:
            lines = path.read_text(errors="replace").splitlines()
            print("\n".join(lines[-20:]), file=sys.stderr)
            sys.exit(f"{command[0]}: ended with status {process.returncode}")
    return Cost(
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_gb=peak_bytes / 1e9,
        status=process.returncode,
    )


class _PeakMemory:
    """Watch the resident memory of a process tree."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak = pid, 0
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self) -> int:
        self._stopped.set()
        self._watcher.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            try:
                process = psutil.Process(self._pid)
                members = [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
            total = 0
            for member in members:
                try:
                    total += member.memory_info().rss
                except psutil.Error:  # ended between being listed and being asked
                    continue
            self._peak = max(self._peak, total)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a command line with the options that all benchmarks on real surveys have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data", type=Path, default=DATA, help="folder of the real surveys")
    add_run_options(made)
    return made


def add_run_options(made: argparse.ArgumentParser) -> None:
    """Add the options that every benchmark has."""
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    made.add_argument(
        "--warm",
        action="store_true",
        help="use kernels compiled earlier; without it each run compiles its own, as a new user's",
    )


def photos_of(data: Path, survey: str) -> Path:
    """Return the photographs of a real survey, or end with a line that says what is missing."""
    photos = data / survey / "photos"
    if not photos.is_dir():
        sys.exit(f"{photos}: no such folder; give the folder of real surveys with --data")
    return photos


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Yield a folder to work in: a temporary one, or one to be kept."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="tmp-benchmark-") as folder:
            yield Path(folder)
        return
    if keep.exists() and any(keep.iterdir()):
        sys.exit(f"{keep}: holds files; give a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep


def kernels(folder: Path, *, warm: bool) -> dict[str, str]:
    """Return an environment that compiles kernels anew, unless `warm`."""
    return {} if warm else {"NUMBA_CACHE_DIR": str(folder / "kernels")}


def ingest_and_map(
    photos: Sequence[Path], survey: Path, *, workers: int, environment: Mapping[str, str]
) -> Cost:
    """Run ``tmp ingest`` and ``tmp map`` as a user does; returns their cost together."""
    first = run(
        [TMP, "ingest", *photos, "--to", survey, "--workers", str(workers)],
        environment=environment,
    )
    return first + run_map(survey, workers=workers, environment=environment)


def run_map(survey: Path, *, workers: int, environment: Mapping[str, str]) -> Cost:
    """Run ``tmp map`` on a survey."""
    return run([TMP, "map", survey, "--workers", str(workers)], environment=environment)


def results_of(survey: Path) -> dict[str, Result]:
    """Return the latest result of each stage of a survey's map, in the order they were made."""
    found = [read_result(path.parent) for path in survey.glob("work/stages/*/*/manifest.json")]
    results = [result for result in found if result is not None]
    results.sort(key=lambda result: (result.folder / "manifest.json").stat().st_mtime)
    return {result.stage: result for result in results}


def reconstruction_of(survey: Path) -> Reconstruction:
    """Return the oriented photographs of a survey's latest map."""
    return read_reconstruction(results_of(survey)["orientation"].folder)


def print_stages(survey: Path) -> None:
    """Print what each stage cost, by its own account."""
    for stage, result in results_of(survey).items():
        usage = result.usage
        print(
            f"  {stage:24s} {usage.cpu_s:7.1f} CPU-seconds, {usage.wall_s:6.1f} s on the clock, "
            f"{usage.peak_gb:5.2f} GB"
        )


def judge(kept: bool, promise: str) -> None:
    """Print whether a promise is kept."""
    print(f"{'kept  ' if kept else 'MISSED'} {promise}")
