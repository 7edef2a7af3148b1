"""Stages of items: portions of them, holes, and what a person has to mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.engine.stage import Figures, Portion, Recipe, Stage, execute
from flows.engine.store import read_result
from tmp.errors import ExecutionError, InputError, SpaceError

NAMES = ("r0c0", "r0c1", "r1c0", "r1c1")


class Tiles(Stage):
    """Write four tiles; options say which of them cannot be made."""

    name = "tiles"
    version = "1"
    label = "Painting"

    def items(self) -> Sequence[str]:
        return NAMES

    def is_made(self, item: str) -> bool:
        return (self.space.scratch / item).exists()

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        with (self.space.out / "prepared").open("a") as file:
            file.write(",".join(items) + ";")
        yield

    def make(self, item: str) -> None:
        if item in self.space.options.get("bad", ()):
            raise ZeroDivisionError
        if item in self.space.options.get("refused", ()):
            raise InputError("no target")
        (self.space.scratch / item).write_text(item)

    def finish(self) -> Figures:
        made = [item for item in NAMES if self.is_made(item)]
        (self.space.out / "picture").write_text(" ".join(made))
        return {"tiles": len(made)}


class Blind(Stage):
    """Fail without saying why, as libraries in C do."""

    name = "blind"
    version = "1"

    def finish(self) -> Figures:
        raise RuntimeError("no registered database factory succeeded")


def recipe(tmp_path: Path, stage: type[Stage] = Tiles, **options: Any) -> Recipe:
    return Recipe(
        stage=stage, inputs={}, digests={}, options=options, folder=tmp_path / stage.name / "key"
    )


def test_units_make_their_items_and_only_the_one_without_items_ends_the_stage(
    tmp_path: Path,
) -> None:
    asked = recipe(tmp_path)
    for index, items in enumerate((NAMES[:2], NAMES[2:3])):
        record = execute(asked, portion=Portion(part=f"{index + 1}-of-3", items=items))
        assert record.items == len(items)
        assert read_result(asked.folder) is None
    assert execute(asked, workers=2).items == 1
    result = read_result(asked.folder)
    assert result is not None
    assert (result.folder / "picture").read_text() == " ".join(NAMES)
    assert (result.folder / "prepared").read_text() == "r0c0,r0c1;r1c0;r1c1;"


def test_tile_that_cannot_be_made_stops_the_stage_or_leaves_a_named_hole(tmp_path: Path) -> None:
    asked = recipe(tmp_path, bad=["r0c1"])
    with pytest.raises(ZeroDivisionError) as raised:
        execute(asked)
    assert raised.value.__notes__ == ["at r0c1"]
    execute(asked, portion=Portion(lenient=True))
    result = read_result(asked.folder)
    assert result is not None
    assert result.holes == {"r0c1": "ZeroDivisionError"}
    assert result.figures["tiles"] == 3


def test_item_that_failed_before_is_left_alone_and_named(tmp_path: Path) -> None:
    asked = recipe(tmp_path)
    execute(asked, portion=Portion(failed={"r1c1": "out of memory"}, lenient=True))
    result = read_result(asked.folder)
    assert result is not None
    assert result.holes == {"r1c1": "out of memory"}
    assert (result.folder / "picture").read_text() == "r0c0 r0c1 r1c0"


def test_stage_of_nothing_but_holes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="none of 4 could be made; the first: Zero"):
        execute(recipe(tmp_path, bad=NAMES), portion=Portion(lenient=True))


def test_what_a_person_has_to_mend_is_never_a_hole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no target"):
        execute(recipe(tmp_path, refused=["r0c0"]), portion=Portion(lenient=True))


@pytest.mark.parametrize(("free_bytes", "kind"), [(0, SpaceError), (2**30, RuntimeError)])
def test_library_that_fails_on_a_full_disk_is_told_as_that(
    free_bytes: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("flows.engine.stage.shutil.disk_usage", lambda _: usage)
    with pytest.raises(kind):
        execute(recipe(tmp_path, Blind), scratch_disk=tmp_path / "disk")
