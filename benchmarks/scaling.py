"""How long maps of 100 to 10 000 photographs would take on 1 to 64 nodes: simulated.

    python benchmarks/scaling.py [--unit-minutes 10] [--figure docs/scaling.svg] [--check]

Times recorded by `costs.py` (``recorded.json``) and by `adjustment.py` are replayed through the
scheduler's model of `scheduler.py`: stages one after the other as the flow makes them, each shared
into the units that the platform would submit, a spread of times drawn from the recorded ones.
"""

from __future__ import annotations

import argparse
import doctest
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import scheduler
from chart import draw_times
from measure import judge
from scheduler import Latency, Node, Task, run_array

from flows.engine.cost import Cost, Raster, SurveySize
from flows.execution.cluster_profile import Profile
from flows.products.table import SURFACE_TILE
from flows.run.plan import STAGES
from flows.stages.ingest import Ingest

RECORDED = Path(__file__).with_name("recorded.json")
SURVEY = "b6"
"""The recorded survey that is replayed: real photographs."""
PHOTOGRAPHS = (100, 1_000, 10_000)
NODES = (1, 2, 4, 8, 16, 32, 64)
MEGAPIXELS = 20.0
SMALL, LARGE = Node(cpus=16, memory_gb=64.0), Node(cpus=16, memory_gb=256.0)

ADJUSTED = {20: 2.3, 50: 6.3, 100: 14.6, 200: 34.5, 300: 57.2, 400: 111.7, 800: 214.5}
"""Seconds on one thread by photographs, from `adjustment.py`; solved at once above 300."""
DENSE = 1.7
"""Times as many observations a photograph of textured ground has, and as much time it takes."""
INGEST_S = 0.0375
"""A photograph copied, read back and judged: 7.5 ms a megapixel, on four threads."""
DECODE_S = 0.01
"""Each further megapixel of a photograph, at half its size."""
LOAD_S = 1.0
"""A unit's start: interpreter, libraries, its order."""
LOAD_RECORD_S = 0.0007
"""What each photograph adds to that: its record and pose."""
EXPOSURE_S = 0.01
"""A photograph's gain, in the stage that solves them, at two points for each of 10 000."""
DIGEST_BYTES_S = 0.8e9
FILE_SERIAL = 0.27
"""Share of the writing of a file that one thread does; two were measured to take 1.57 times less
time than one, more are assumed to go on so."""
REPORT_S, REPORT_PHOTOGRAPH_S = 3.0, 0.001
STEEPER = 1.3
"""A power by which the adjustment may grow beyond what was measured."""
WRITERS = 16
"""Units that could write a product's parts."""
BESIDE = ("exposure", "elevation")
"""Stages that are made beside the one after them, which does not need them."""
PIECE, SEAMS = 800, 1.5
"""Photographs of a piece of the block, and times the work that its overlap with others makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A stage as it is submitted."""

    name: str
    shares: Sequence[Task]
    """Empty where one unit does everything."""
    end: Task


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A simulated run."""

    seconds: float = 0.0
    core_s: float = 0.0
    """Cores asked for, for the time they were held."""
    serial_s: dict[str, float] = field(default_factory=dict)
    """Time in which one unit is at work, by what it does."""

    def minutes_with(self, factors: Mapping[str, float]) -> float:
        """Return the minutes of a run whose single units took so many times as long, by name."""
        saved_s = sum(self.serial_s[name] * (1 - factor) for name, factor in factors.items())
        return (self.seconds - saved_s) / 60


def adjustment_s(photographs: int, power: float | None = None) -> float:
    """Return the time of the adjustment on one thread.

    Between the measured sizes it is interpolated on logarithms; beyond them it goes on by the
    power that the two largest show, or by the one given.

    Examples
    --------
    >>> adjustment_s(200), round(adjustment_s(1600, 1.0)), round(adjustment_s(1600, 2.0))
    (34.5, 429, 858)
    """
    sizes, times = np.log(list(ADJUSTED)), np.log(list(ADJUSTED.values()))
    largest = max(ADJUSTED)
    if photographs <= largest:
        return round(float(np.exp(np.interp(math.log(photographs), sizes, times))), 6)
    measured = (times[-1] - times[-2]) / (sizes[-1] - sizes[-2])
    grown = (photographs / largest) ** (float(measured) if power is None else power)
    return float(ADJUSTED[largest] * grown)


def draw(mean_s: float, times_s: Sequence[float], count: int, random: Any) -> np.ndarray:
    """Return so many times of a mean, spread log-normally as the recorded ones are."""
    known = np.log([time_s for time_s in times_s if time_s > 0.2 * np.mean(times_s)])
    sigma = float(known.std())
    return np.asarray(random.lognormal(math.log(mean_s) - sigma**2 / 2, sigma, count))


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was recorded of one survey."""

    size: SurveySize
    stages: Mapping[str, Any]

    def times_s(self, stage: str) -> list[float]:
        """Return the times of a stage's items."""
        return list(self.stages[stage]["phases"][0]["times_s"])

    def end_s(self, stage: str) -> float:
        """Return the time that a stage took after its items."""
        phase = self.stages[stage]["phases"][0]
        return float(self.stages[stage]["wall_s"] - phase["began_s"] - sum(phase["times_s"]))


def read_recording(path: Path, survey: str) -> Recording:
    """Return what was recorded of a survey at normal quality."""
    document = next(
        d for d in json.loads(path.read_text(encoding="utf-8")) if d["survey"] == survey
    )
    return Recording(
        size=SurveySize(photographs=document["photographs"], megapixels=document["megapixels"]),
        stages={stage["stage"]: stage for stage in document["stages"]},
    )


def works(
    size: SurveySize, recorded: Recording, profile: Profile, power: float | None
) -> list[Work]:
    """Return the stages of a survey with the times that their units take."""
    random = np.random.default_rng(size.photographs)
    asked = Ingest.needs(size).asked()
    taken = Task(seconds=INGEST_S * size.photographs, cpus=asked.cpus, memory_gb=asked.memory_gb)
    found = [Work(name="ingest", shares=(), end=taken)]
    for stage in STAGES:
        name, cost = stage.name, stage.needs(size)
        if name == "orientation":
            asked = cost.asked()
            seconds = DENSE * adjustment_s(size.photographs, power)
            end = Task(seconds=seconds, cpus=asked.cpus, memory_gb=asked.memory_gb)
            found.append(Work(name=name, shares=(), end=end))
        elif name == "exposure":
            asked = cost.asked()
            seconds = LOAD_S + size.photographs * (LOAD_RECORD_S + EXPOSURE_S)
            end = Task(seconds=seconds, cpus=asked.cpus, memory_gb=asked.memory_gb)
            found.append(Work(name=name, shares=(), end=end))
        else:
            found.append(_shared(name, cost, size, recorded, profile, random))
    return found


def _shared(
    name: str, cost: Cost, size: SurveySize, recorded: Recording, profile: Profile, random: Any
) -> Work:
    """Return a stage of photographs or tiles, shared as the platform would."""
    count, mean_s = _items(name, size, recorded)
    items_s = draw(mean_s, recorded.times_s(name), count, random)
    larger = size.cells / recorded.size.cells
    units = profile.units(cost)
    end_s = recorded.end_s(name) * larger
    end_s /= speed_up(min(cost.cpus, cost.end_cpus) if units == 1 else cost.end_cpus)
    end_s += recorded.stages[name]["size_bytes"] * larger / DIGEST_BYTES_S
    load_s = LOAD_S + size.photographs * LOAD_RECORD_S
    asked = cost.asked()
    shares_s = [
        load_s + max(float(share.sum()) / cost.cpus, float(share.max()))
        for share in (items_s[index::units] for index in range(units))
    ]
    tasks = [Task(seconds=s, cpus=asked.cpus, memory_gb=asked.memory_gb) for s in shares_s]
    if units == 1:
        return Work(name=name, shares=(), end=replace(tasks[0], seconds=shares_s[0] + end_s))
    end = cost.asked_at_end()
    last = Task(seconds=load_s + end_s, cpus=end.cpus, memory_gb=end.memory_gb)
    return Work(name=name, shares=tasks, end=last)


def speed_up(cpus: int) -> float:
    """Return how many times faster so many cores write a file.

    Examples
    --------
    >>> round(speed_up(2), 2), round(speed_up(4), 1)
    (1.57, 2.2)
    """
    return 1 / (FILE_SERIAL + (1 - FILE_SERIAL) / cpus)


def _items(name: str, size: SurveySize, recorded: Recording) -> tuple[int, float]:
    """Return how many items a stage has, and the mean time of one."""
    total_s = sum(recorded.times_s(name))
    if name in ("features", "matches"):
        each_s = total_s / recorded.size.photographs
        if name == "features":
            each_s += DECODE_S * (size.megapixels - recorded.size.megapixels)
        return size.photographs, each_s
    # The items of a survey are counted by the ground that it shows, not by its bounding box.
    raster = Raster.ORTHO if name == "orthomosaic" else Raster.SURFACE
    per_tile = (1024 / SURFACE_TILE) ** 2 if raster is Raster.SURFACE else 1.0
    count = max(1, round(size.tiles_of(raster) * per_tile))
    return count, total_s * size.cells / recorded.size.cells / count


def simulate(
    size: SurveySize,
    nodes: Sequence[Node],
    recorded: Recording,
    profile: Profile,
    power: float | None = None,
) -> Outcome:
    """Run a survey through the model."""
    outcome, latency = Outcome(), Latency(poll_s=profile.poll_s)
    beside, beside_s, everywhere = "", 0.0, nodes
    for work in works(size, recorded, profile, power):
        outcome.core_s += sum(task.cpus * task.seconds for task in (*work.shares, work.end))
        if work.name in BESIDE:
            beside, beside_s = work.name, run_array([work.end], nodes, latency, outcome.seconds)
            outcome.serial_s[beside] = 0.0
            nodes = [replace(nodes[0], cpus=nodes[0].cpus - work.end.cpus), *nodes[1:]]
            continue
        if work.shares:
            outcome.seconds = run_array(work.shares, nodes, latency, outcome.seconds)
        before_s = outcome.seconds
        outcome.seconds = run_array([work.end], nodes, latency, before_s)
        outcome.serial_s[work.name] = outcome.seconds - before_s
        if beside_s > outcome.seconds:
            outcome.serial_s[beside] = beside_s - outcome.seconds
            outcome.seconds = beside_s
        nodes = everywhere
    report_s = REPORT_S + REPORT_PHOTOGRAPH_S * size.photographs
    outcome.serial_s["report"] = report_s
    outcome.seconds += report_s
    return outcome


def cluster(count: int) -> list[Node]:
    """Return so many nodes, the first of them with much memory."""
    return [LARGE, *[SMALL] * (count - 1)]


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unit-minutes", type=float, default=Profile().unit_minutes)
    parser.add_argument("--figure", type=Path, help="draw the times into this SVG")
    parser.add_argument("--check", action="store_true", help="only check the model by its examples")
    asked = parser.parse_args()
    if asked.check:
        failed = doctest.testmod(scheduler).failed + doctest.testmod().failed
        judge(not failed, "the model gives what was worked by hand")
        return
    recorded = read_recording(RECORDED, SURVEY)
    profile = Profile(unit_minutes=asked.unit_minutes)
    curves = {}
    for photographs in PHOTOGRAPHS:
        size = SurveySize(photographs=photographs, megapixels=MEGAPIXELS)
        runs = [simulate(size, cluster(count), recorded, profile) for count in NODES]
        curves[photographs] = [run.seconds for run in runs]
        print_runs(size, runs)
    steeper = simulate(size, cluster(NODES[-1]), recorded, profile, STEEPER)
    print_remedies(size, runs[-1], steeper)
    if asked.figure:
        asked.figure.write_text(draw_times(NODES, curves))


def print_runs(size: SurveySize, runs: Sequence[Outcome]) -> None:
    """Print what a survey takes on each number of nodes, and what cannot be shared."""
    one = runs[0].seconds
    print(f"\n{size.photographs} photographs of {size.megapixels:g} megapixels")
    print(" nodes       min  speed-up  efficiency  node-hours")
    for count, run in zip(NODES, runs, strict=True):
        speed_up = one / run.seconds
        print(
            f"{count:6d}{run.seconds / 60:10.1f}{speed_up:10.2f}{speed_up / count:11.0%} "
            f"{run.core_s / 3600 / SMALL.cpus:11.2f}"
        )
    serial_s = runs[-1].serial_s
    total_s = sum(serial_s.values())
    named = sorted(serial_s.items(), key=lambda entry: -entry[1])
    print(
        f"one unit at work for {total_s / 60:.1f} min, {total_s / one:.0%} of the time on one "
        f"node: never more than {one / total_s:.1f} times faster"
    )
    print("   " + ", ".join(f"{name} {s / 60:.1f}" for name, s in named))


def print_remedies(size: SurveySize, run: Outcome, steeper: Outcome) -> None:
    """Print what would make the largest survey faster, and what slower."""
    written = dict.fromkeys(("orthomosaic", "elevation", "cloud"), 1 / WRITERS)
    pieces = {"orientation": SEAMS * adjustment_s(PIECE) / adjustment_s(size.photographs)}
    cases = {
        f"products written by {WRITERS} units": run.minutes_with(written),
        f"block adjusted in pieces of {PIECE}": run.minutes_with(pieces),
        "both": run.minutes_with({**written, **pieces}),
        f"adjustment that grows by the power of {STEEPER}": steeper.seconds / 60,
    }
    print(f"\n{size.photographs} photographs on {NODES[-1]} nodes, min")
    for case, minutes in cases.items():
        print(f"{minutes:6.0f}  {case}")


if __name__ == "__main__":
    main()
