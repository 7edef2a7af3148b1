import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.engine.result import MANIFEST, STAMPS, Ledger, digest_of
from flows.engine.stage import Stage, Workspace
from flows.engine.store import KEPT, DigestMemo, Input, Known, Result, StageStore


class Copier:
    """A stage that copies its input, counting how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, space: Workspace) -> Mapping[str, Any]:
        self.runs += 1
        text = space.inputs["text"].read_text() * int(space.options["times"])
        (space.out / "copy.txt").write_text(text)
        return {"letters": len(text)}


@pytest.fixture
def copier() -> Copier:
    return Copier()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("turf")
    return path


def make(
    root: Path,
    finish: Callable[[Workspace], Mapping[str, Any] | None],
    inputs: Mapping[str, Input],
    options: Mapping[str, Any],
    version: str = "1",
) -> Result:
    """Return the result of a stage that consists of its end."""
    stage = type(
        "Copy",
        (Stage,),
        {"name": "copy", "version": version, "finish": lambda self: finish(self.space)},
    )
    store = StageStore(root=root)
    return store.make(store.recipe(stage, inputs, options))


def test_second_run_takes_the_first_ones_result(tmp_path: Path, text: Path, copier: Copier) -> None:
    root = tmp_path / "work"
    first = make(root, copier, {"text": text}, {"times": 2})
    second = make(root, copier, {"text": text}, {"times": 2})
    assert copier.runs == 1
    assert not first.reused
    assert second.reused
    assert (second.folder / "copy.txt").read_text() == "turfturf"
    assert second.figures == {"letters": 8}


@pytest.mark.parametrize("change", ["option", "content", "version"])
def test_result_is_made_again_when_what_it_is_made_from_changes(
    change: str, tmp_path: Path, text: Path, copier: Copier
) -> None:
    root = tmp_path / "work"
    make(root, copier, {"text": text}, {"times": 2})
    if change == "content":
        text.write_text("sods")
    times = 3 if change == "option" else 2
    version = "2" if change == "version" else "1"
    make(root, copier, {"text": text}, {"times": times}, version)
    assert copier.runs == 2


def test_moved_input_of_the_same_content_is_a_hit(
    tmp_path: Path, text: Path, copier: Copier
) -> None:
    root = tmp_path / "work"
    make(root, copier, {"text": text}, {"times": 1})
    make(root, copier, {"text": text.rename(tmp_path / "other.txt")}, {"times": 1})
    assert copier.runs == 1


def test_result_that_lost_a_file_is_made_again(tmp_path: Path, text: Path, copier: Copier) -> None:
    root = tmp_path / "work"
    result = make(root, copier, {"text": text}, {"times": 1})
    (result.folder / "copy.txt").unlink()
    again = make(root, copier, {"text": text}, {"times": 1})
    assert copier.runs == 2
    assert (again.folder / "copy.txt").read_text() == "turf"


def test_result_whose_content_changed_is_named_and_made_again(
    tmp_path: Path, text: Path, copier: Copier, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "work"
    result = make(root, copier, {"text": text}, {"times": 1})
    (result.folder / "copy.txt").chmod(0o644)
    (result.folder / "copy.txt").write_text("sods")
    again = make(root, copier, {"text": text}, {"times": 1})
    assert copier.runs == 2
    assert not again.reused
    assert (again.folder / "copy.txt").read_text() == "turf"
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == (f"{result.folder}: copy.txt changed since it was made; it is made again")


def test_result_that_was_only_touched_or_copied_is_taken(
    tmp_path: Path, text: Path, copier: Copier
) -> None:
    result = make(tmp_path / "work", copier, {"text": text}, {"times": 1})
    (result.folder / "copy.txt").touch()
    shutil.copytree(tmp_path / "work", tmp_path / "moved")
    for root in ("work", "moved"):
        assert make(tmp_path / root, copier, {"text": text}, {"times": 1}).reused
    assert copier.runs == 1


def test_files_of_a_result_are_read_once_and_not_by_each_run(
    tmp_path: Path, text: Path, copier: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = make(tmp_path, copier, {"text": text}, {"times": 1})
    later_s = (result.folder / STAMPS).stat().st_mtime + 60
    os.utime(result.folder / STAMPS, (later_s, later_s))
    read: list[Path] = []
    monkeypatch.setattr("flows.engine.result.content_digest", read.append)
    assert make(tmp_path, copier, {"text": text}, {"times": 1}).reused
    assert read == []


def test_stopped_stage_goes_on_with_what_it_had_finished(tmp_path: Path) -> None:
    worked_on: list[str] = []
    stops = ["b"]

    def tiles(space: Workspace) -> None:
        for name in ("a", "b", "c"):
            done = space.scratch / name
            if done.exists():
                continue
            if name in stops:
                stops.clear()
                raise KeyboardInterrupt
            worked_on.append(name)
            done.touch()
        (space.out / "all").write_text("".join(sorted(p.name for p in space.scratch.iterdir())))

    root = tmp_path
    with pytest.raises(KeyboardInterrupt):
        make(root, tiles, {}, {})
    result = make(root, tiles, {}, {})
    assert worked_on == ["a", "b", "c"]
    assert (result.folder / "all").read_text() == "abc"
    assert set(result.files) == {"all"}


def test_only_the_latest_results_of_a_stage_are_kept(
    tmp_path: Path, text: Path, copier: Copier
) -> None:
    root = tmp_path / "work"
    for times in range(1, 5):
        latest = make(root, copier, {"text": text}, {"times": times})
    kept = list((tmp_path / "work" / "copy").iterdir())
    assert len(kept) == KEPT
    assert latest.folder in kept


def test_work_of_a_process_that_is_alive_is_not_deleted(
    tmp_path: Path, text: Path, copier: Copier
) -> None:
    root = tmp_path / "work"
    stopped = [tmp_path / "work" / "copy" / f"{name}.part" for name in "abcd"]
    with Ledger(partial=stopped[0]).at_work("1-of-4"):
        for folder in stopped[1:]:
            folder.mkdir(parents=True)
        (tmp_path / "work" / "copy" / ".e.0a.old").mkdir()
        make(root, copier, {"text": text}, {"times": 1})
        names = {path.name for path in (tmp_path / "work" / "copy").iterdir()}
        assert "a.part" in names
        assert len(names) <= 3
        assert ".e.0a.old" not in names


def test_result_says_what_each_of_its_units_cost(
    tmp_path: Path, text: Path, copier: Copier
) -> None:
    root = tmp_path / "work"
    make(root, copier, {"text": text}, {"times": 1})
    again = make(root, copier, {"text": text}, {"times": 1})
    (unit,) = again.units
    assert (unit.part, unit.host, unit.attempts) == ("whole", platform.node(), 1)
    assert unit.usage == again.usage
    assert again.holes == {}


def test_known_digest_stands_in_for_reading(tmp_path: Path, copier: Copier, text: Path) -> None:
    root = tmp_path / "work"
    make(root, copier, {"text": Known(path=text, digest="d1")}, {"times": 1})
    text.write_text("changed, but nobody says so")
    make(root, copier, {"text": Known(path=text, digest="d1")}, {"times": 1})
    assert copier.runs == 1


def test_folder_digest_sees_names_and_content(tmp_path: Path) -> None:
    memo = DigestMemo(path=tmp_path / "memo.json")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = memo.of(folder)
    assert memo.of(folder) == first
    (folder / "a").rename(folder / "b")
    assert memo.of(folder) != first


def test_missing_input_is_an_error(tmp_path: Path, copier: Copier) -> None:
    with pytest.raises(FileNotFoundError):
        make(tmp_path, copier, {"text": tmp_path / "no"}, {"times": 1})


def test_digest_tells_values_apart() -> None:
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({"a": None}) != digest_of({})


def test_result_says_with_which_versions_it_was_made(tmp_path: Path) -> None:
    result = make(tmp_path, lambda space: None, {}, {})
    said = json.loads((result.folder / MANIFEST).read_text())["environment"]
    assert said["python"] == platform.python_version()
    assert said["numpy"] == np.__version__
    assert "pytest" not in said
