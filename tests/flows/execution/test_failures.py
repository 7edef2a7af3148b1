"""What happens when the work on a tile, or a whole unit, goes wrong: with real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.engine.cost import SurveySize
from flows.engine.result import SCRATCH
from flows.engine.stage import Recipe
from flows.engine.store import Result, StageStore
from flows.execution.cluster_profile import WITHOUT_SHARES, Profile
from flows.execution.local import LocalExecutor
from flows.execution.runner import UnitRunner
from flows.execution.unit import LOG
from tmp.errors import ExecutionError, SpaceError

STAGES = '''
import ctypes, os, resource, signal
from contextlib import suppress
from pathlib import Path
from flows.engine.cost import Cost
from flows.engine.stage import Stage
from tmp.files import replacing

def shared(size):
    return Cost(cpu_s=180, parts=6)

class Tiles(Stage):
    """Make six tiles; what goes wrong with one is said in a file of its name."""

    name, version, label, needs = "tiles", "1", "Painting", shared

    def items(self):
        return [f"r0c{i}" for i in range(6)]

    def is_made(self, item):
        return (self.space.scratch / item).exists()

    def make(self, item):
        with Path(self.space.options["tried"]).open("a") as tried:
            tried.write(item + "\\n")
        fault = Path(self.space.options["faults"]) / item
        if fault.exists():
            go_wrong(fault.read_text(), self.space)
        with replacing(self.space.scratch / item) as partial:
            partial.write_text(item * 3)

    def finish(self):
        there = filter(self.is_made, self.items())
        texts = [(self.space.scratch / item).read_text() for item in there]
        (self.space.out / "picture.txt").write_text("".join(texts))
        return {"tiles": len(texts)}

def go_wrong(fault, space):
    if fault == "killed" or (fault == "killed in company" and space.workers > 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "segfault":
        ctypes.string_at(0)
    if fault == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
        bytearray(2**33)
    if fault == "raises":
        raise ZeroDivisionError("no light")
    if fault == "large":
        (space.temporary / "large").write_bytes(bytes(2**21))
    if fault == "larger":
        (space.scratch / "larger").write_bytes(bytes(2**21))

    if fault == "killed, the disk full":
        with (space.scratch / "larger").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**12))
        os.kill(os.getpid(), signal.SIGKILL)

class Frame(Stage):
    name, version = "frame", "1"

    def finish(self):
        picture = (self.space.inputs["tiles"] / "picture.txt").read_text()
        (self.space.out / "framed.txt").write_text("[" + picture)
'''
ALL = "".join(f"r0c{i}" * 3 for i in range(6))


class Survey:
    """Recipes of small stages, what is wrong with their tiles, and which have been tried."""

    def __init__(self, root: Path, *, retry_holes: bool = False) -> None:
        self.root = root
        self.faults = root / "faults"
        self.faults.mkdir(exist_ok=True)
        self.store = StageStore(root=root / "work" / "stages", retry_holes=retry_holes)

    def fault(self, name: str, what: str) -> None:
        (self.faults / name).write_text(what)

    def tried(self) -> Counter[str]:
        """Return how often each tile has been tried since this was asked last."""
        path = self.root / "tried"
        found = Counter(path.read_text().split() if path.exists() else [])
        path.unlink(missing_ok=True)
        return found

    def recipe(self) -> Recipe:
        import failing_stages  # type: ignore[import-not-found]

        options = {"tried": str(self.root / "tried"), "faults": str(self.faults)}
        return self.store.recipe(failing_stages.Tiles, {}, options)

    def run(
        self, *, profile: Profile = WITHOUT_SHARES, strict: bool = False, cpus: int = 2
    ) -> Result:
        runner = UnitRunner(
            executor=LocalExecutor(cpus=cpus, scratch=profile.scratch),
            profile=profile,
            size=SurveySize(photographs=6, megapixels=1.0),
            folder=self.root / "work" / "units",
            lenient=not strict,
            cpus=cpus,
        )
        return self.store.make(self.recipe(), run=runner)

    def frame(self, result: Result) -> Result:
        import failing_stages

        made_of = {"tiles": result.known}
        return self.store.make(self.store.recipe(failing_stages.Frame, made_of, {}))


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "failing_stages.py").write_text(STAGES)
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(modules), before])))
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.delitem(sys.modules, "failing_stages", raising=False)
    return Survey(tmp_path)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let units count as failed when they are lost for the first time."""
    monkeypatch.setattr("flows.execution.runner.LOSSES", 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return what makes a disk of a size, or gives one another size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def sized(size: str) -> Path:
        remount = ["-o", f"remount,size={size}"] if folder.is_mount() else ["-o", f"size={size}"]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *remount, "tmpfs", str(folder)], capture_output=True
        )
        if done.returncode:
            pytest.skip("no disk of a size may be made here")
        return folder

    yield sized
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_tile_that_kills_its_process_leaves_a_named_hole_and_the_others_are_made(
    survey: Survey,
) -> None:
    survey.fault("r0c2", "segfault")
    result = survey.run()
    assert result.holes.keys() == {"r0c2"}
    assert "its process died 3 times" in result.holes["r0c2"]
    assert "SIGSEGV" in result.holes["r0c2"]
    assert result.figures["holes"] == ["r0c2"]
    assert (result.folder / "picture.txt").read_text() == ALL.replace("r0c2", "")
    tried = survey.tried()
    assert tried.pop("r0c2") == 6
    assert all(1 <= count <= 3 for count in tried.values())


def test_two_bad_tiles_in_parts_leave_two_holes_and_no_other_part_is_disturbed(
    survey: Survey, once: None
) -> None:
    survey.fault("r0c0", "killed")
    survey.fault("r0c4", "killed")
    result = survey.run(profile=Profile(unit_minutes=1))
    assert result.holes.keys() == {"r0c0", "r0c4"}
    tried = survey.tried()
    assert tried["r0c0"] == tried["r0c4"] == 2
    assert tried["r0c2"] == tried["r0c3"] == 1
    assert all(count <= 2 for count in tried.values())
    parts = {unit.part: unit for unit in result.units}
    assert {"1-of-3", "2-of-3", "3-of-3", "whole"} <= parts.keys()
    assert [parts[f"{i}-of-3"].attempts for i in (1, 2, 3)] == [2, 1, 2]
    assert parts["whole"].items == 0


def test_tile_that_needs_the_memory_of_the_others_is_made_alone(survey: Survey, once: None) -> None:
    survey.fault("r0c3", "killed in company")
    result = survey.run()
    assert not result.holes
    assert (result.folder / "picture.txt").read_text() == ALL
    assert not (result.folder / SCRATCH).exists()


def test_tile_out_of_memory_gets_twice_then_is_tried_alone_then_given_up(survey: Survey) -> None:
    survey.fault("r0c1", "memory")
    result = survey.run()
    assert result.holes == {"r0c1": "out of memory, alone with 2 GB"}
    assert survey.tried()["r0c1"] == 3


def test_tile_that_raises_is_a_hole_with_its_reason(survey: Survey) -> None:
    survey.fault("r0c5", "raises")
    assert survey.run().holes == {"r0c5": "ZeroDivisionError: no light"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("killed", r"^tiles: r0c1 cannot be made: its process died .* without --strict"),
        ("memory", r"^tiles: r0c1 cannot be made: out of memory, alone with 2 GB"),
        ("raises", r"^tiles: failed: no light, at r0c1; see .*log\.txt$"),
    ],
)
def test_strict_run_stops_with_one_line_and_publishes_nothing(
    fault: str, said: str, survey: Survey, once: None
) -> None:
    survey.fault("r0c1", fault)
    with pytest.raises(ExecutionError, match=said) as stopped:
        survey.run(strict=True, cpus=1)
    assert "\n" not in str(stopped.value)
    assert not survey.recipe().folder.exists()


def test_only_the_holes_are_made_again_and_only_when_asked(survey: Survey) -> None:
    survey.fault("r0c5", "raises")
    first = survey.run()
    survey.tried()
    assert survey.run().reused
    assert not survey.tried()
    again = Survey(survey.root, retry_holes=True)
    assert again.store.find(again.recipe()) is None
    assert again.run().holes == first.holes
    assert again.tried() == {"r0c5": 1}
    (survey.faults / "r0c5").unlink()
    mended = again.run()
    assert not mended.holes
    assert (mended.folder / "picture.txt").read_text() == ALL
    assert again.tried() == {"r0c5": 1}
    assert again.run().reused


def test_hole_of_a_tile_that_killed_its_process_can_be_mended(survey: Survey, once: None) -> None:
    survey.fault("r0c2", "killed")
    assert survey.run().holes.keys() == {"r0c2"}
    survey.tried()
    (survey.faults / "r0c2").unlink()
    again = Survey(survey.root, retry_holes=True)
    assert not again.run().holes
    assert again.tried() == {"r0c2": 1}


def test_cluster_gets_no_jobs_but_for_the_holes(survey: Survey) -> None:
    survey.fault("r0c5", "raises")
    profile = Profile(unit_minutes=1)
    survey.run(profile=profile)
    survey.tried()
    shutil.rmtree(survey.root / "work" / "units")
    again = Survey(survey.root, retry_holes=True)
    (survey.faults / "r0c5").unlink()
    mended = again.run(profile=profile)
    assert [(unit.part, unit.items) for unit in mended.units] == [("3-of-3", 1), ("whole", 0)]
    assert again.tried() == {"r0c5": 1}
    assert (mended.folder / "picture.txt").read_text() == ALL


def test_unit_without_room_for_its_record_says_that_the_disk_is_full(
    survey: Survey, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("1m")
    survey.fault("r0c4", "killed, the disk full")
    on_disk = Survey(disk)
    on_disk.faults = survey.faults
    with pytest.raises(SpaceError, match=r"the disk is full \(\d\.\d\d kB free\)"):
        on_disk.run(cpus=1)


def test_what_follows_is_made_again_only_if_a_hole_could_be_made(survey: Survey) -> None:
    survey.fault("r0c5", "raises")
    survey.frame(survey.run())
    again = Survey(survey.root, retry_holes=True)
    assert again.frame(again.run()).reused
    (survey.faults / "r0c5").unlink()
    assert not again.frame(again.run()).reused


def test_tile_that_was_given_up_is_left_alone_by_a_run_that_goes_on(
    survey: Survey, once: None
) -> None:
    survey.fault("r0c0", "killed")
    survey.fault("r0c5", "raises")
    with pytest.raises(ExecutionError):
        survey.run(strict=True, cpus=1)
    survey.tried()
    assert survey.run(cpus=1).holes.keys() == {"r0c0", "r0c5"}


def test_stage_of_nothing_but_holes_is_an_error(survey: Survey) -> None:
    for index in range(6):
        survey.fault(f"r0c{index}", "raises")
    with pytest.raises(ExecutionError, match="none of 6 could be made; the first: Zero"):
        survey.run()


def test_full_scratch_disk_of_a_node_is_done_without(
    survey: Survey, small_disk: Callable[[str], Path]
) -> None:
    survey.fault("r0c4", "large")
    disk = small_disk("1m")
    result = survey.run(profile=Profile(most_units=1, scratch=str(disk)))
    assert (result.folder / "picture.txt").read_text() == ALL
    assert survey.tried()["r0c4"] == 2
    (log,) = (survey.root / "work" / "units").glob(f"tiles/*/whole/{LOG}")
    assert "once more with temporary files on the survey's own disk" in log.read_text()
    assert not list(disk.iterdir())
    assert result.units[0].attempts == 1


def test_scratch_disk_that_is_not_there_is_done_without(survey: Survey) -> None:
    for scratch in ("$NO_SUCH_VARIABLE/tmp", "/proc/nowhere"):
        shutil.rmtree(survey.store.root, ignore_errors=True)
        assert survey.run(profile=Profile(most_units=1, scratch=scratch)).figures["tiles"] == 6


def test_full_disk_of_the_survey_is_said_in_one_line_and_the_run_goes_on_later(
    survey: Survey, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("1m")
    survey.fault("r0c4", "larger")
    on_disk = Survey(disk)
    on_disk.faults = survey.faults
    with pytest.raises(
        SpaceError, match=r"the disk is full \(\d+\.?\d* [kM]B free\); make room"
    ) as full:
        on_disk.run(cpus=1)
    assert "\n" not in str(full.value)
    assert not on_disk.recipe().folder.exists()
    assert on_disk.tried()["r0c0"] == 1
    small_disk("8m")
    result = on_disk.run(cpus=1)
    assert not result.holes
    assert on_disk.tried()["r0c0"] == 0
