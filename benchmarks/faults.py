"""Disturb a survey in the ways that clusters do, and compare what comes of it.

python benchmarks/faults.py SURVEY [--quality normal] [--seed N]

What goes wrong on one machine alone is tried by ``local_faults.py``.

SURVEY is an ingested survey; it is copied.  One copy is run undisturbed.  While the other is run,
a random task of an array is cancelled, the node's own disk fills up, a node dies with all that
runs on it, the controller is killed, and tiles get too little memory; after what stops the run,
``tmp run`` is started again.  Root only: a private cluster and a small disk are made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters import private_cluster, queued, write_profile
from measure import TMP, add_run_options, judge, kernels, workplace
from runs import digests
from tampering import Finished

UNIT_MINUTES = 0.02
SCRATCH_MB = 512
TOO_LITTLE = 0.6
"""Of the memory that a stage was seen to use: twice as much is enough."""
MEMORY_STAGE = "orthomosaic"
OUTAGE_S = 5.0
"""Time after which the dead node is started again."""
PATIENCE_S = 1800.0
ENDING_S = 10.0
"""Time that Slurm gets to end jobs that were cancelled."""
UNCHANGED_S = 5.0


@dataclass(slots=True, kw_only=True)
class Field:
    """A survey that is run on a cluster, and the controller that runs it."""

    survey: Path
    folder: Path
    quality: str
    cluster: Any
    environment: dict[str, str]
    finished: Finished
    controller: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What the controllers said."""
        return self.folder / f"{self.survey.name}.txt"

    def start(self, **memory_gb: float) -> None:
        """Start ``tmp run``, with too little memory for some stages."""
        profile = write_profile(
            self.folder / "cluster.toml",
            unit_minutes=UNIT_MINUTES,
            memory_gb=memory_gb,
            scratch=str(self.folder / "disk"),
        )
        command = [TMP, "run", self.survey, "--on", "slurm", "--profile", profile]
        with self.log.open("ab") as log:
            self.controller = subprocess.Popen(
                [*map(str, command), "--quality", self.quality, "--no-prefect"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
            )

    def end(self) -> tuple[int, str]:
        """Wait for the controller; returns its status and the last it said."""
        assert self.controller is not None
        status = self.controller.wait(PATIENCE_S)
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return status, lines[-1] if lines else ""

    def stop(self) -> None:
        """End the controller if it is at work."""
        if self.controller is not None and self.controller.poll() is None:
            self.controller.terminate()
            self.controller.wait(PATIENCE_S)

    def wait_for(self, what: str, ready: Callable[[], Any]) -> Any:
        """Wait until something is so; ends the benchmark if the controller ends before."""
        assert self.controller is not None
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := ready()):
            if self.controller.poll() is not None or time.monotonic() > deadline_s:
                sys.exit(f"{what}: not seen before the run ended; {self.end()[1]}")
            time.sleep(0.1)
        return found

    def done(self, stage: str) -> bool:
        """Tell whether a stage has its result."""
        return any(self.survey.glob(f"work/stages/{stage}/*/manifest.json"))

    def tiles(self, stage: str) -> int:
        """Return how many tiles of a stage there are."""
        return len(list(self.survey.glob(f"work/stages/{stage}/*/**/r*c*.tif")))

    def running(self, stage: str) -> list[tuple[str, str]]:
        """Return the jobs of a stage that run, each with its node."""
        said = subprocess.run(
            ["squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i %N %j"],
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [line.split(maxsplit=2) for line in said.stdout.splitlines()]
        return [(row[0], row[1]) for row in rows if len(row) == 3 and f"-{stage}-" in row[2]]


def main() -> None:
    """Run a survey undisturbed, then one that is disturbed, and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("survey", type=Path)
    parser.add_argument("--quality", default="normal")
    parser.add_argument("--seed", type=int, default=1, help="chooses moments, files and tasks")
    add_run_options(parser)
    asked = parser.parse_args()
    with (
        workplace(asked.keep) as folder,
        private_cluster(folder) as cluster,
        small_disk(folder / "disk"),
    ):
        environment = kernels(folder, warm=asked.warm)
        calm, rough = (
            Field(
                survey=copy_of(asked.survey, folder / name),
                folder=folder,
                quality=asked.quality,
                cluster=cluster,
                environment=environment,
                finished=Finished(folder / name / "work"),
            )
            for name in ("calm", "rough")
        )
        try:
            calm_s = run_calm(calm)
            with rough.finished:
                began_s = time.monotonic()
                disturb(rough, random.Random(asked.seed), peak_gb(calm.survey, MEMORY_STAGE))
                rough_s = time.monotonic() - began_s
            print(f"disturbed: {rough_s:.0f} s, against {calm_s:.0f} s", flush=True)
            judge_end(calm, rough)
        finally:
            for field in (calm, rough):
                field.stop()


def copy_of(survey: Path, copy: Path) -> Path:
    """Copy a survey without its results."""
    shutil.copytree(survey, copy, ignore=shutil.ignore_patterns("work", "products"))
    return copy


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a small disk in memory while the block runs."""
    folder.mkdir()
    size = f"size={SCRATCH_MB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def run_calm(field: Field) -> float:
    """Run a survey undisturbed; returns how long it took."""
    began_s = time.monotonic()
    field.start()
    status, said = field.end()
    if status != 0:
        sys.exit(f"the undisturbed run failed: {said}")
    took_s = time.monotonic() - began_s
    print(f"undisturbed: {took_s:.0f} s", flush=True)
    return took_s


def peak_gb(survey: Path, stage: str) -> float:
    """Return the memory that the shares of a stage used at most."""
    found = [
        json.loads(path.read_text(encoding="utf-8"))["usage"]["peak_gb"]
        for path in survey.glob(f"work/units/{stage}/*/*-of-*/exit.json")
    ]
    return float(max(found))


def disturb(field: Field, chance: random.Random, memory_gb: float) -> None:
    """Run a survey to its end through all faults."""
    field.start()
    cancel_task(field, chance)
    field.start()
    fill_disk(field)
    kill_node(field)
    kill_controller(field)
    starve(field, memory_gb)


def cancel_task(field: Field, chance: random.Random) -> None:
    """Cancel a task of an array, as an administrator might."""
    jobs = field.wait_for("an array of features", lambda: field.running("features"))
    job, node = chance.choice(jobs)
    subprocess.run(["scancel", job], check=True)
    began_s = time.monotonic()
    _, said = field.end()
    print(f"cancelled {job} on {node}: the run ended after {time.monotonic() - began_s:.1f} s")
    print(f"    {said}")
    deadline_s = time.monotonic() + ENDING_S
    while (left := queued()) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    judge(not left, "cancelled task: the run took its other jobs with it")


def fill_disk(field: Field) -> None:
    """Fill the nodes' own disk while the block of photographs is adjusted."""
    field.wait_for("matches", lambda: field.done("matches"))
    disk = field.folder / "disk"
    filling = disk / "filling"
    with filling.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free)
    began_s = time.monotonic()
    assert field.controller is not None
    while not field.done("orientation") and field.controller.poll() is None:
        time.sleep(0.1)
    filling.unlink()
    if field.controller.poll() is not None:
        print(f"filled the scratch disk: the run ended\n    {field.end()[1]}")
        field.start()
        field.wait_for("the orientation", lambda: field.done("orientation"))
    logs = field.survey.glob("work/units/orientation/*/whole/log.txt")
    said = [line for log in logs for line in log.read_text().splitlines() if "WARNING" in line]
    took_s = time.monotonic() - began_s
    print(f"filled the scratch disk: oriented {took_s:.1f} s later")
    for line in said:
        print(f"    {line}")
    judge(field.done("orientation"), "full scratch disk: the photographs are oriented")


def kill_node(field: Field) -> None:
    """Kill a node that works on the surface, with all its processes, and start it again."""
    field.wait_for("a tile of the surface", lambda: field.tiles("surface"))
    jobs = field.wait_for("jobs of the surface", lambda: field.running("surface"))
    node = jobs[0][1]
    had = [job for job, where in jobs if where == node]
    field.cluster.kill_node(node)
    killed_s, tiles = time.monotonic(), field.tiles("surface")
    time.sleep(OUTAGE_S)
    field.cluster.start_node(node)
    print(f"killed {node} with jobs {', '.join(had)}; started again {OUTAGE_S:.0f} s later")
    field.wait_for(
        "a tile after the node's death",
        lambda: field.tiles("surface") > tiles or field.done("surface"),
    )
    print(f"    the next tile came {time.monotonic() - killed_s:.1f} s after its death", flush=True)


def kill_controller(field: Field) -> None:
    """Kill the controller; its jobs go on, and another takes them up."""
    assert field.controller is not None
    field.controller.send_signal(signal.SIGKILL)
    field.controller.wait()
    at_work = queued()
    stage = "orthomosaic" if field.done("surface") else "surface"
    print(f"killed the controller during {stage}: {len(at_work)} jobs go on")


def starve(field: Field, memory_gb: float) -> None:
    """Go on with too little memory for a stage."""
    began_s = time.monotonic()
    asked_gb = memory_gb * TOO_LITTLE
    field.start(**{MEMORY_STAGE: asked_gb})
    field.wait_for("the surface", lambda: field.done("surface"))
    print(f"    started again: the surface was done {time.monotonic() - began_s:.1f} s later")
    surface_s = time.monotonic()
    status, said = field.end()
    logs = [
        log.read_text(errors="replace")
        for log in field.survey.glob(f"work/units/{MEMORY_STAGE}/**/*")
        if log.suffix in (".txt", ".log")
    ]
    over = sum("exceeded memory limit" in text for text in logs)
    print(
        f"gave {MEMORY_STAGE} {asked_gb:.2f} GB of {memory_gb:.2f}: {over} jobs were over; done "
        f"{time.monotonic() - surface_s:.1f} s after the surface"
    )
    judge(status == 0, f"the last run ended well: {said}")
    judge(over > 0, "jobs were killed for memory, and done with more")


def judge_end(calm: Field, rough: Field) -> None:
    """Judge what the disturbed survey has become."""
    judge(digests(rough.survey) == digests(calm.survey) != {}, "products as of an undisturbed run")
    again = rough.finished.made_again()
    judge(
        not again,
        f"{len(rough.finished)} tiles and photographs were finished, {len(again)} of them again",
    )
    for path in again[:10]:
        print(f"    again: {path}")
    judge(queued() == [], "no job is left")
    began_s = time.monotonic()
    rough.start()
    status, _ = rough.end()
    took_s = time.monotonic() - began_s
    judge(
        status == 0 and took_s < UNCHANGED_S, f"unchanged: {took_s:.1f} s, {UNCHANGED_S:g} s asked"
    )


if __name__ == "__main__":
    main()
