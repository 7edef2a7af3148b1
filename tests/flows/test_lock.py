import json
import os
from pathlib import Path

import psutil
import pytest

from flows.lock import locked
from tmp.errors import InputError


def test_second_command_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    path = tmp_path / "survey" / "work" / "lock"
    with (
        locked(path, "'tmp map'"),
        pytest.raises(InputError, match="'tmp map' is already at work"),
        locked(path, "'tmp map'"),
    ):
        pass
    assert not path.exists()


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    started = psutil.Process().create_time() - 1000
    path.write_text(json.dumps({"pid": os.getpid(), "started": started, "purpose": "x"}))
    with locked(path, "'tmp map'"):
        pass
    path.write_text("half of a lo")
    with locked(path, "'tmp map'"):
        pass
