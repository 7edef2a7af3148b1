"""Stages that are small, and a Slurm that is three scripts on PATH."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flows.engine.cost import Resources, SurveySize
from flows.engine.stage import WHOLE, Recipe
from flows.engine.store import StageStore
from flows.execution.unit import MORE_STAGES, Unit, unit_of, units_of, write_unit

STAGES = """
import os, signal, subprocess, time
from pathlib import Path
from flows.engine.cost import Cost
from flows.engine.stage import Stage
from tmp.errors import InputError

def four_minutes(size):
    return Cost(cpu_s=240, parts=size.tiles)

class Paint(Stage):
    name, version, label, needs = "paint", "1", "Painting", four_minutes

    def items(self):
        return [f"r0c{i}" for i in range(self.space.options["tiles"])]

    def is_made(self, item):
        return (self.space.out / f"{item}.txt").exists()

    def make(self, item):
        with Path(self.space.options["count"]).open("a") as counted:
            counted.write(item + "\\n")
        (self.space.out / f"{item}.txt").write_text(item)

    def finish(self):
        return {"tiles": len(self.items())}

class Fail(Stage):
    name, version = "fail", "1"

    def finish(self):
        raise InputError("the card is empty; copy it again")

class Crash(Stage):
    name, version = "crash", "1"

    def finish(self):
        raise ZeroDivisionError("no photographs")

class TellProcess(Stage):
    name, version = "tell_process", "1"

    def finish(self):
        print(os.getpid(), flush=True)

class StartChild(Stage):
    name, version = "start_child", "1"

    def finish(self):
        subprocess.run(["sleep", "60"], check=False)

class Die(Stage):
    name, version = "die", "1"

    def finish(self):
        os.kill(os.getpid(), signal.SIGTERM)

class Sleep(Stage):
    name, version = "sleep", "1"

    def is_made(self, item):
        return False

    def make(self, item):
        time.sleep(self.space.options["seconds"])

    def finish(self):
        time.sleep(self.space.options["seconds"])

STAGES = {kind.name: kind for kind in (Paint, Fail, Crash, TellProcess, StartChild, Die, Sleep)}
"""
HEAD = """#!{python} -S
import json, os, subprocess, sys, time
from pathlib import Path
home = Path({home!r})
"""
FAKE = """
def load():
    return json.loads((home / "jobs.json").read_text()) if (home / "jobs.json").exists() else {}
def save(jobs):
    (home / "jobs.part").write_text(json.dumps(jobs))
    os.replace(home / "jobs.part", home / "jobs.json")
with (home / "calls.txt").open("a") as calls:
    calls.write(f"{time.monotonic()} {' '.join(sys.argv)}\\n")
"""
SBATCH = (
    FAKE
    + """
refusals = home / "refusals.json"
said = json.loads(refusals.read_text()) if refusals.exists() else []
if said and not said[0].startswith("taken:"):
    refusals.write_text(json.dumps(said[1:]))
    sys.exit("sbatch: error: " + said[0])
words = [a for a in sys.argv[1:] if not a.startswith("--")]
asked = dict(a[2:].partition("=")[::2] for a in sys.argv[1:] if a.startswith("--"))
script = Path(words[0]).read_text()
if "--partition=nowhere" in script:
    sys.exit("sbatch: error: invalid partition specified: nowhere")
if asked.get("exclude", "").count(",") == 1:
    sys.exit("sbatch: error: Requested node configuration is not available")
probe = "flows.execution.node_probe" in script
folders = [words[2]] if probe else Path(words[2]).read_text().splitlines()
jobs = load()
number = 100 + len({job.partition("_")[0] for job in jobs})
plan = json.loads((home / "plan.json").read_text()) if (home / "plan.json").exists() else []
(home / f"{number}.sh").write_text(script)
for index, folder in enumerate(folders):
    state = plan.pop(0) if plan else "COMPLETED"
    state, _, node = state.partition("@")
    reason = "None"
    if probe:
        command = [words[1], "-P", "-m", "flows.execution.node_probe", *words[2:]]
    else:
        command = [words[1], "-P", "-m", "flows.execution.worker", "--list", *words[2:]]
    output = Path(asked["output"].replace("%a", str(index)).replace("%%", "%"))
    if state == "HIDDEN":
        state, output = "JobLaunchFailure", Path(os.devnull)
    log = output.open("a")
    with log:
        if state in ("COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL:after"):
            environment = dict(os.environ, SLURM_ARRAY_TASK_ID=str(index))
            if state != "TIMEOUT":
                try:
                    done = subprocess.run(command, stdout=log, stderr=log, env=environment)
                    state = "FAILED" if done.returncode and state == "COMPLETED" else state
                except OSError as error:
                    log.write(f"{words[1]}: No such file or directory"); state = "FAILED"
        elif state == "OOM":
            log.write("slurmstepd: error: Job 7 exceeded memory limit (9 > 8), being killed\\n")
            state = "FAILED"
        elif state.startswith("PENDING"):
            state, _, reason = state.partition(":")
    job = str(number) if probe else f"{number}_{index}"
    if state == "JobLaunchFailure":
        state, reason = "FAILED", state
    jobs[job] = [state.partition(":")[0], reason, node or "n1", asked["job-name"]]
(home / "plan.json").write_text(json.dumps(plan))
save(jobs)
if said:
    refusals.write_text(json.dumps(said[1:]))
    sys.exit("sbatch: error: " + said[0].removeprefix("taken:"))
print(number)
"""
)
SQUEUE = (
    FAKE
    + """
if (home / "away").exists():
    (home / "away").unlink(); sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
after = lambda flag: sys.argv[sys.argv.index(flag) + 1].split(",") if flag in sys.argv else None
numbers, names = after("-j"), after("-n")
jobs = load()
if numbers and len(numbers) == 1 and not any(job.split("_")[0] in numbers for job in jobs):
    sys.exit("slurm_load_jobs error: Invalid job id specified")
for job, (state, reason, node, name) in jobs.items():
    if (numbers is None or job.split("_")[0] in numbers) and (names is None or name in names):
        print("|".join([job, state, reason, node, name]))
"""
)
SCANCEL = (
    FAKE
    + """
jobs = load()
for job in sys.argv[1:]:
    for one in jobs:
        if job in (one, one.split("_")[0]) and jobs[one][0] in ("PENDING", "RUNNING"):
            jobs[one][0] = "CANCELLED"
save(jobs)
"""
)
SINFO = (
    FAKE
    + """
if "%R|%G|%f" in sys.argv:
    print("cpu|(null)|avx2,rack1\\ngpu|gpu:a100:2(S:0-1)|avx2")
else:
    print("cpu* (null)\\ngpu gpu:1")
"""
)
SCONTROL = (
    FAKE
    + """
size = (home / "array_size.txt")
print("MaxArraySize            = " + (size.read_text() if size.exists() else "1001"))
"""
)
SACCT = (
    FAKE
    + """
accounts = home / "accounts.txt"
if not accounts.exists():
    sys.exit("Slurm accounting storage is disabled")
print(accounts.read_text())
"""
)


@pytest.fixture(autouse=True)
def _stages_of_tests(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Let units do the stages that the tests write."""
    modules = ("small_stages", "failing_stages", request.module.__name__)
    monkeypatch.setenv(MORE_STAGES, os.pathsep.join(modules))


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recipe]:
    """Return what gives recipes for stages of a module that other processes find too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "small_stages.py").write_text(STAGES)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), before])))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "small_stages", raising=False)

    def recipe(name: str, **options: object) -> Recipe:
        import small_stages  # type: ignore[import-not-found]

        store = StageStore(root=tmp_path / "work" / "stages")
        return store.recipe(small_stages.STAGES[name], {}, options)

    return recipe


@pytest.fixture
def whole(tmp_path: Path, asked: Resources) -> Callable[[Recipe], Unit]:
    """Return what writes down the unit that makes all of a recipe's result."""

    def write(recipe: Recipe) -> Unit:
        unit = unit_of(tmp_path / "work" / "units", recipe, WHOLE, asked)
        write_unit(unit, recipe, failed={}, lenient=False)
        return unit

    return write


@pytest.fixture
def parts(tmp_path: Path) -> Callable[..., list[Unit]]:
    """Return what writes down units of one item each, of what they ask for."""

    def write(recipe: Recipe, *asked: Resources) -> list[Unit]:
        items = [f"r0c{index}" for index in range(len(asked))]
        alike = units_of(tmp_path / "work" / "units", recipe, items, len(items), asked[0])
        units = [replace(unit, resources=own) for unit, own in zip(alike, asked, strict=True)]
        for unit in units:
            write_unit(unit, recipe, failed={}, lenient=False)
        return units

    return write


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a Slurm that does jobs at once, or lets them fail as planned."""
    home = tmp_path / "slurm"
    home.mkdir()
    for name, text in (
        ("sbatch", SBATCH),
        ("squeue", SQUEUE),
        ("scancel", SCANCEL),
        ("sinfo", SINFO),
        ("scontrol", SCONTROL),
        ("sacct", SACCT),
    ):
        path = home / name
        path.write_text(HEAD.format(python=sys.executable, home=str(home)) + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("flows.execution.slurm_commands.CALL_EVERY_S", 0.0)
    return home


@pytest.fixture
def size() -> SurveySize:
    """A survey of sixteen tiles."""
    return SurveySize(photographs=100, megapixels=1.6)


@pytest.fixture
def asked() -> Resources:
    """Little."""
    return Resources(cpus=1, memory_gb=0.5, minutes=5)
