"""An order as it is executed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.engine.stage import Job, Order, Stage, execute
from tmp.errors import SpaceError


def fail_without_reason(job: Job) -> None:
    raise RuntimeError("no registered database factory succeeded")


@pytest.mark.parametrize(("free_bytes", "kind"), [(0, SpaceError), (2**30, RuntimeError)])
def test_library_that_fails_on_a_full_disk_is_told_as_that(
    free_bytes: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("flows.engine.stage.shutil.disk_usage", lambda _: usage)
    order = Order(
        stage=Stage(name="blind", version="1", function=fail_without_reason),
        inputs={},
        digests={},
        options={},
        folder=tmp_path / "blind" / "key",
    )
    with pytest.raises(kind):
        execute(order, workers=1, scratch_disk=tmp_path / "disk")
