"""Send 2 000 tiny tiles through arrays of jobs on a private Slurm, and see what that costs.

python benchmarks/arrays.py [--tiles 2000] [--cpus 8]

Needs root and Slurm's daemons (``python tests/flows/execution/slurm_cluster.py`` gets them).
Slurm's own latency is that of bare arrays of ``true`` of the same shape, run before.
"""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import runpy
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from measure import judge, workplace

from flows.engine.cost import SurveySize
from flows.engine.stage import Stage
from flows.engine.store import StageStore, read_result
from flows.execution.cluster_profile import Profile
from flows.execution.runner import UnitRunner, unit_count
from flows.execution.slurm import SlurmExecutor
from flows.execution.slurm_commands import ACTIVE, Commands
from flows.execution.unit import MORE_STAGES
from tmp.progress import silent

CLUSTER = Path(__file__).parents[1] / "tests" / "flows" / "execution" / "slurm_cluster.py"
MEMORY_MB = 500
CALLS_A_SECOND = 3.0
OVERHEAD_S = 0.3
TILE_CPU_S = 60.0
"""What a tile is said to cost, so that the default profile shares it as it shares real ones."""
STAGE = """
from flows.engine.cost import Cost
from flows.engine.stage import Recipe, Stage

def a_tile_a_photograph(size):
    return Cost(memory_gb=0.2, cpu_s=size.photographs * TILE_CPU_S, parts=size.photographs)

class Paint(Stage):
    name, version, needs = "paint", "1", a_tile_a_photograph

    def items(self):
        return [f"r{index}" for index in range(self.space.options["tiles"])]

    def is_made(self, item):
        return (self.space.out / f"{item}.txt").exists()

    def make(self, item):
        (self.space.out / f"{item}.txt").write_text(item)
        with open(self.space.options["count"], "a") as counted:
            counted.write(item + "\\n")

    def finish(self):
        return {"tiles": len(self.items())}
"""


def main() -> None:
    """Run bare arrays and stages of as many units, and print what each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--cpus", type=int, default=8, help="of each of the three nodes")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    asked = parser.parse_args()
    tools = runpy.run_path(str(CLUSTER))
    if reason := tools["why_not"]():
        sys.exit(f"no cluster can be started: {reason}")
    whole = Profile(most_units=asked.tiles, unit_minutes=TILE_CPU_S / 60)
    with workplace(asked.keep) as folder, tools["cluster"](folder / "c", cpus=asked.cpus) as slurm:
        os.environ["SLURM_CONF"] = str(slurm.conf)
        paint = _stage(folder)
        for name, profile in (("one tile a job", whole), ("shared as by default", Profile())):
            _measure(name, profile, paint, folder / name.replace(" ", "-"), asked.tiles)


def _stage(folder: Path) -> type[Stage]:
    """Return the stage, from a module that the workers find too."""
    modules = folder / "modules"
    modules.mkdir()
    (modules / "tiny_stage.py").write_text(f"TILE_CPU_S = {TILE_CPU_S}\n{STAGE}")
    sys.path.insert(0, str(modules))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(modules), os.environ.get("PYTHONPATH")])
    )
    os.environ[MORE_STAGES] = "tiny_stage"
    paint: type[Stage] = importlib.import_module("tiny_stage").Paint
    return paint


def _measure(name: str, profile: Profile, stage: type[Stage], folder: Path, tiles: int) -> None:
    size = SurveySize(photographs=tiles, megapixels=1)
    units = unit_count(stage, size, profile)
    bare_s = _bare_array(units, folder / "bare")
    count = folder / "count.txt"
    store = StageStore(root=folder / "work" / "stages")
    recipe = store.recipe(stage, {}, {"tiles": tiles, "count": str(count)})
    executor = SlurmExecutor(profile=profile)
    runner = UnitRunner(
        executor=executor, profile=profile, size=size, folder=folder / "work" / "units"
    )
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    runner(recipe, silent)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    calls = executor.commands.count
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    over_s = (took_s - bare_s) / tiles
    print(
        f"{name}: {units} jobs, {took_s:.1f} s; a bare array of as many {bare_s:.1f} s; "
        f"{calls} calls of Slurm; controller {cpu_s:.1f} CPU-seconds, {memory_mb:.0f} MB"
    )
    made = Counter(count.read_text().split())
    result = read_result(recipe.folder)
    judge(
        len(made) == tiles == len(result.files if result else ()) and set(made.values()) == {1},
        f"{len(made)} tiles, each made once",
    )
    judge(memory_mb < MEMORY_MB, f"controller: {memory_mb:.0f} MB, {MEMORY_MB} MB asked")
    judge(
        calls / took_s <= CALLS_A_SECOND,
        f"{calls / took_s:.2f} calls of Slurm a second, {CALLS_A_SECOND:g} asked",
    )
    judge(
        over_s < OVERHEAD_S,
        f"{over_s:.3f} s a tile beyond Slurm's own {bare_s / tiles:.3f} s, {OVERHEAD_S:g} s asked",
    )


def _bare_array(count: int, folder: Path) -> float:
    """Run an array of ``true``; returns how long it took."""
    folder.mkdir(parents=True)
    commands = Commands()
    began_s = time.monotonic()
    said = subprocess.run(
        [
            *("sbatch", "--parsable", f"--array=0-{count - 1}", "--mem=200M", "--time=10"),
            *(f"--chdir={folder}", f"--output={folder}/%a.log", "--wrap=true"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    while True:
        queue = commands.queue([said.stdout.strip()])
        if queue is not None and not any(entry.state in ACTIVE for entry in queue.values()):
            return time.monotonic() - began_s
        time.sleep(0.5)


if __name__ == "__main__":
    main()
