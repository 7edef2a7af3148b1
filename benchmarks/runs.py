"""Time ``tmp run``, as Prefect's flow and without, against ``tmp map``, and a run after a change.

python benchmarks/runs.py SURVEY [--quality fast] [--workers N] [--slurm]

SURVEY is an ingested survey; it is copied, and only the copies are mapped.  With --slurm it is
also run on a private Slurm of three nodes on this machine, which only root can start.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusters import jobs_asked, private_cluster, queued, write_profile
from measure import TMP, Cost, add_run_options, judge, kernels, run, workplace

from flows.run.plan import BAND_STAGES, STAGES

OVERHEAD_S = 3.0
STAGE_OVERHEAD_S = 3.0
"""Of a stage that is a job: Slurm starts it, Python starts, the queue is looked at."""
PREFECT_S = 5.0
"""Of a run as Prefect's flow, with a server of its own: it starts once."""
UNCHANGED_S = 1.5
CHANGED_OPTION = "ortho_gsd_m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A survey, and how its copies are mapped."""

    survey: Path
    folder: Path
    quality: str
    workers: int
    environment: Mapping[str, str]

    def copy(self, name: str) -> Path:
        """Return a copy of the survey without results."""
        copy = self.folder / name
        shutil.copytree(self.survey, copy, ignore=shutil.ignore_patterns("work", "products"))
        return copy

    def run(self, command: str, survey: Path, *options: str | Path) -> Cost:
        """Run a command on a copy."""
        asked: Sequence[str | Path] = ("--quality", self.quality, "--workers", str(self.workers))
        return run(
            [TMP, command, survey, *options, *asked],
            environment=self.environment,
            log=self.folder / "log.txt",
        )


def main() -> None:
    """Map copies of a survey in all ways and print what each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("survey", type=Path)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--slurm", action="store_true", help="also on a private Slurm")
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        bench = Bench(
            survey=asked.survey,
            folder=folder,
            quality=asked.quality,
            workers=asked.workers,
            environment=kernels(folder, warm=asked.warm),
        )
        made, stages = compare_here(bench)
        if asked.slurm:
            compare_on_slurm(bench, made, stages)


def compare_here(bench: Bench) -> tuple[dict[str, str], int]:
    """Map and run on this machine; returns the products' digests and the number of stages."""
    costs, made = {}, {}
    # The first compiles kernels; what comes after finds them compiled.
    for way in ("map, first", "map", "run, Prefect", "run"):
        copy = bench.copy(way.replace(", ", "-"))
        options = ("--no-prefect",) if way == "run" else ()
        costs[way] = bench.run(way.split(",")[0], copy, *options)
        made[way] = digests(copy)
        print(f"tmp {way:<16} {costs[way]}", flush=True)
    judge(all(found == made["map"] != {} for found in made.values()), "the same products, bitwise")
    for way, most_s in (("run", OVERHEAD_S), ("run, Prefect", PREFECT_S)):
        over_s = costs[way].wall_s - costs["map"].wall_s
        judge(
            over_s < most_s,
            f"tmp {way}: {over_s:.1f} s over tmp map, {most_s:g} s asked; "
            f"{costs[way].wall_s / costs['map'].wall_s:.2f} times its time",
        )
    stages = len(manifests(copy))
    judge_rerun(bench, copy)
    return made["run"], stages


def compare_on_slurm(bench: Bench, expected: dict[str, str], stages: int) -> None:
    """Run stage by stage as jobs, then by arrays, and compare with what was run here."""
    with private_cluster(bench.folder) as _:
        here_s = bench.run("run", bench.copy("again"), "--no-prefect").wall_s
        for way, minutes in (("one job a stage", 1e6), ("arrays", 0.05)):
            profile = write_profile(bench.folder / "cluster.toml", unit_minutes=minutes)
            options = ("--no-prefect", "--on", "slurm", "--profile", profile)
            copy, before = bench.copy(way.replace(" ", "-")), jobs_asked(bench.folder)
            cost = bench.run("run", copy, *options)
            calls = jobs_asked(bench.folder) - before
            print(f"on Slurm, {way:<16} {cost}; sbatch called {calls} times", flush=True)
            judge(digests(copy) == expected, f"on Slurm, {way}: the same products, bitwise")
            if way == "one job a stage":
                over_s = (cost.wall_s - here_s) / stages
                judge(
                    over_s < STAGE_OVERHEAD_S,
                    f"on Slurm: {over_s:.1f} s a stage over a process here, "
                    f"{STAGE_OVERHEAD_S:g} s asked",
                )
        before = jobs_asked(bench.folder)
        judge_rerun(bench, copy, *options)
        calls = jobs_asked(bench.folder) - before
        changed = len(depending_on(CHANGED_OPTION))
        judge(calls > 0, f"sbatch called {calls} times for the {changed} stages that had changed")
        judge(queued() == [], "no job is left")


def judge_rerun(bench: Bench, survey: Path, *options: str | Path) -> None:
    """Run a survey again with nothing changed, and with another cell of the orthomosaic."""
    options = options or ("--no-prefect",)
    before, jobs = manifests(survey), jobs_asked(bench.folder)
    again = bench.run("run", survey, *options)
    kept = manifests(survey) == before and jobs_asked(bench.folder) == jobs
    judge(
        again.wall_s < UNCHANGED_S and kept,
        f"unchanged: {again.wall_s:.1f} s, {UNCHANGED_S:g} s asked, "
        f"{'no job' if kept else 'and work was done again'}",
    )
    changed = bench.run("run", survey, *options, "--ortho-gsd", "0.1")
    after = manifests(survey)
    fresh = {stage for stage, path, _ in after - before}
    print(f"with another cell of the orthomosaic {changed}")
    judge(
        fresh == depending_on(CHANGED_OPTION) and before <= after,
        f"another cell of the orthomosaic makes again: {', '.join(sorted(fresh))}",
    )


def depending_on(option: str) -> set[str]:
    """Return the stages that an option changes, itself or through what they need."""
    found: set[str] = set()
    for stage in (*STAGES, *BAND_STAGES):
        if option in stage.options or found.intersection(stage.after):
            found.add(stage.name)
    return found


def manifests(survey: Path) -> set[tuple[str, str, int]]:
    """Return the results of a survey: stage, key, and when each was made."""
    return {
        (path.parents[1].name, path.parent.name, path.stat().st_mtime_ns)
        for path in survey.glob("work/stages/*/*/manifest.json")
    }


def digests(survey: Path) -> dict[str, str]:
    """Return the digests of a survey's products."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((survey / "products").glob("*"))
        if path.suffix in (".tif", ".laz")
    }


if __name__ == "__main__":
    main()
