"""What each stage of a map costs, and whether what it asks of a cluster covers that.

    python benchmarks/costs.py SURVEY [SURVEY ...] [--quality fast] [--record FILE]

Each SURVEY is an ingested survey.  A copy is mapped twice, on two threads and on one, every stage
in a process of its own as a unit of `tmp run` is.  Printed are processor time and memory by stage,
and how what the stage expects and asks for compares.  ``--record`` writes the times down, each
tile's and each photograph's own: `scaling.py` replays them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from measure import judge, kernels, workplace

from flows.engine.cost import Cost, Quality, SurveySize
from flows.engine.stage import Recipe, execute
from flows.engine.store import Result
from flows.run.plan import plan_map
from flows.run.request import MapOptions
from tmp.progress import Track
from tmp.threads import share_one_heap

T = TypeVar("T")

WORKERS = (2, 1)
"""The first run compiles kernels where there are none; times are taken from the second."""
MOST_OVER = 3.0
FLOOR_GB, FLOOR_S = 1.0, 20.0
"""Memory that may be asked for, and processor time expected, however little is used."""
DISK_PERIOD_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Items that a stage works through under one label."""

    label: str
    began_s: float
    """Since the stage began."""
    times_s: list[float]
    """From one item's end to the next's; on one thread, what each item takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one run of a stage took."""

    stage: str
    workers: int
    wall_s: float
    cpu_s: float
    peak_gb: float
    size_bytes: int
    """Of its results."""
    phases: list[Phase]


@dataclass(slots=True)
class Stopwatch:
    """A `Track` that notes when each item was done."""

    began_s: float = field(default_factory=time.perf_counter)
    phases: list[Phase] = field(default_factory=list)

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        """Yield `items`, noting the time at each."""
        del total
        last_s = time.perf_counter()
        phase = Phase(label=label, began_s=round(last_s - self.began_s, 3), times_s=[])
        self.phases.append(phase)
        for item in items:
            now_s = time.perf_counter()
            phase.times_s.append(round(now_s - last_s, 4))
            last_s = now_s
            yield item


def timed(recipe: Recipe, workers: int) -> list[Phase]:
    """Execute a recipe in this process; returns what it went through."""
    watch = Stopwatch()
    execute(recipe, watch, workers=workers)
    return watch.phases


def map_timed(survey: Path, quality: Quality, workers: int) -> list[Recorded]:
    """Make all stages of a survey's map, each in a process of its own."""
    plan = plan_map(survey, MapOptions(quality=quality, workers=workers))
    context, recorded = multiprocessing.get_context("spawn"), []
    results: dict[str, Result] = {}
    for stage in plan.stages:
        phases: list[Phase] = []

        def run(recipe: Recipe, track: Track, phases: list[Phase] = phases) -> None:
            del track
            with ProcessPoolExecutor(1, mp_context=context, initializer=share_one_heap) as pool:
                phases.extend(pool.submit(timed, recipe, workers).result())

        result = plan.store.make(plan.recipe(stage, results), run=run)
        results[stage.name] = result
        usage = result.usage
        recorded.append(
            Recorded(
                stage=result.stage,
                workers=workers,
                wall_s=round(usage.wall_s, 3),
                cpu_s=round(usage.cpu_s, 3),
                peak_gb=round(usage.peak_gb, 3),
                size_bytes=sum((result.folder / file).stat().st_size for file in result.files),
                phases=phases,
            )
        )
    return recorded


class PeakDisk:
    """Watch how much a folder takes."""

    def __init__(self, folder: Path) -> None:
        self.bytes = 0
        self._folder, self._stopped = folder, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self) -> int:
        """Return the most that was taken."""
        self._stopped.set()
        self._watcher.join()
        return self.bytes

    def _watch(self) -> None:
        while not self._stopped.wait(DISK_PERIOD_S):
            self.bytes = max(self.bytes, taken(self._folder))


def taken(folder: Path) -> int:
    """Return the bytes that the files below a folder take; those that vanish count nothing."""
    total = 0
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                total += (Path(path) / file).stat().st_size
            except OSError:
                continue
    return total


def main() -> None:
    """Map the surveys and print what stages cost and what they ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("surveys", type=Path, nargs="+", metavar="SURVEY")
    parser.add_argument("--quality", type=Quality, choices=list(Quality), default=Quality.NORMAL)
    parser.add_argument("--record", type=Path, help="write the recorded times to this file")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    parser.add_argument("--warm", action="store_true", help="use kernels compiled earlier")
    asked = parser.parse_args()
    documents = []
    with workplace(asked.keep) as folder:
        os.environ |= kernels(folder, warm=asked.warm)
        for number, survey in enumerate(asked.surveys):
            documents.append(record_survey(survey, folder / str(number), asked.quality))
    if asked.record:
        known = json.loads(asked.record.read_text()) if asked.record.exists() else []
        asked.record.write_text(json.dumps([*known, *documents], indent=None) + "\n")


def record_survey(survey: Path, folder: Path, quality: Quality) -> dict[str, Any]:
    """Map copies of a survey, print and judge; returns what was recorded on one thread."""
    runs: dict[int, list[Recorded]] = {}
    disk_bytes = 0
    for workers in WORKERS:
        copy = folder / f"workers-{workers}"
        shutil.copytree(survey, copy, ignore=shutil.ignore_patterns("work", "products"))
        (copy / "work").mkdir()
        disk = PeakDisk(copy / "work")
        runs[workers] = map_timed(copy, quality, workers)
        disk_bytes = max(disk_bytes, disk.stop())
    plan = plan_map(copy, MapOptions(quality=quality))
    size = plan.size
    print(
        f"\n{survey}: {size.photographs} photographs of {size.megapixels:.1f} megapixels, "
        f"quality {quality}, {size.tiles} tiles expected; at most {disk_bytes / 1e9:.2f} GB of "
        f"disk below work/, {disk_bytes / size.pixels:.2f} bytes for each pixel"
    )
    print_costs(size, runs)
    judge(disk_bytes <= 1e9 * size.disk_gb, f"disk: {size.disk_gb:.2f} GB asked")
    for stage in plan.stages:
        judge_stage(stage.needs(size), runs, stage.name)
    return {
        "survey": survey.resolve().parent.name,
        "quality": str(quality),
        "photographs": size.photographs,
        "megapixels": round(size.megapixels, 3),
        "disk_bytes": disk_bytes,
        "stages": [asdict(run) for run in runs[WORKERS[-1]]],
    }


def print_costs(size: SurveySize, runs: dict[int, list[Recorded]]) -> None:
    """Print what each stage took, by what it grows with."""
    print(
        f"{'stage':<14}{'CPU-s':>8}{'a megapixel':>13}{'a tile':>8}"
        f"{'GB on 1':>9}{'on 2':>7}{'a worker':>10}{'result, MB':>12}"
    )
    for one, two in zip(runs[1], runs[2], strict=True):
        print(
            f"{one.stage:<14}{one.cpu_s:8.1f}{one.cpu_s / size.pixels * 1e6:13.4f}"
            f"{one.cpu_s / size.tiles:8.2f}{one.peak_gb:9.2f}{two.peak_gb:7.2f}"
            f"{two.peak_gb - one.peak_gb:10.2f}{one.size_bytes / 1e6:12.1f}"
        )


def judge_stage(cost: Cost, runs: dict[int, list[Recorded]], name: str) -> None:
    """Print whether what a stage expects and asks for covers what it took."""
    used = {w: next(run for run in runs[w] if run.stage == name) for w in runs}
    ratio = cost.cpu_s / used[1].cpu_s
    judge(
        1 / MOST_OVER <= ratio and cost.cpu_s <= max(FLOOR_S, MOST_OVER * used[1].cpu_s),
        f"{name}: {ratio:.1f} times the processor time used is expected",
    )
    for workers, run in used.items():
        asked = cost.asked(1, workers)
        most_gb = max(FLOOR_GB, MOST_OVER * run.peak_gb)
        judge(
            run.peak_gb <= asked.memory_gb <= most_gb and run.wall_s <= 60 * asked.minutes,
            f"{name} on {workers}: {asked.memory_gb:.1f} GB and {asked.minutes:.0f} min asked, "
            f"{run.peak_gb:.2f} GB and {run.wall_s / 60:.1f} min used",
        )


if __name__ == "__main__":
    main()
