"""Units on a real Slurm that runs on this host."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.execution.commands import Commands
from flows.execution.profile import Profile
from flows.execution.running import UnitRunner
from flows.execution.slurm import SlurmExecutor
from flows.execution.units import JOB
from flows.orders import Order
from flows.resources import SurveySize
from flows.store import read_result
from tmp.errors import ExecutionError
from tmp.progress import silent

CLUSTER = runpy.run_path(str(Path(__file__).with_name("slurm_cluster.py")))
PROFILE = Profile(poll_s=0.5, grace_s=5, unit_minutes=1)
SIZE = SurveySize(photographs=100, megapixels=1.6)
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(CLUSTER["why_not"]()), reason=CLUSTER["why_not"]()),
]
CONTROLLER = """
import sys
from pathlib import Path
from flows.execution.profile import Profile
from flows.execution.running import UnitRunner
from flows.execution.slurm import SlurmExecutor
from flows.orders import Order, Stage
from flows.resources import SurveySize
from tmp.progress import silent
import small_stages
root = Path(sys.argv[1])
order = Order(stage=Stage(name="sleep", version="1", function=small_stages.sleep), inputs={},
    digests={}, options={"seconds": 8}, folder=root / "work" / "stages" / "sleep" / "key")
profile = Profile(poll_s=0.5)
UnitRunner(executor=SlurmExecutor(profile=profile), profile=profile,
    size=SurveySize(photographs=1, megapixels=1), folder=root / "units")(order, silent)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with CLUSTER["cluster"](tmp_path_factory.mktemp("cluster") / "slurm", cpus=4) as running:
        yield running


@pytest.fixture(autouse=True)
def on_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))


def runner(tmp_path: Path) -> UnitRunner:
    return UnitRunner(
        executor=SlurmExecutor(profile=PROFILE),
        profile=PROFILE,
        size=SIZE,
        folder=tmp_path / "units",
    )


def left() -> list[str]:
    queue = Commands().queue()
    assert queue is not None
    return [job for job, (state, *_) in queue.items() if state in ("PENDING", "RUNNING")]


def test_array_makes_each_tile_once(stages: Callable[..., Order], tmp_path: Path) -> None:
    order = stages("paint", tiles=10, count=str(tmp_path / "count"))
    runner(tmp_path)(order, silent)
    assert len((tmp_path / "count").read_text().split()) == 10
    assert read_result(order.folder)
    assert left() == []


def test_job_cancelled_by_someone_stops_the_run(
    stages: Callable[..., Order], tmp_path: Path
) -> None:
    order = stages("sleep", seconds=60)
    canceller = threading.Timer(2, subprocess.run, args=(["scancel", "-u", "root"],))
    canceller.start()
    with pytest.raises(ExecutionError, match="cancelled"):
        runner(tmp_path)(order, silent)
    canceller.join()
    assert left() == []


def test_job_of_a_killed_controller_goes_on_and_is_taken_up(
    stages: Callable[..., Order], tmp_path: Path
) -> None:
    order = stages("sleep", seconds=8)
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path)]
    controller = subprocess.Popen(command, env=os.environ)
    record = tmp_path / "units" / "sleep" / "key" / "whole" / JOB
    deadline_s = time.monotonic() + 20
    while not record.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    assert len(left()) == 1
    again = runner(tmp_path)
    again(order, silent)
    assert read_result(order.folder)
    assert len(list(record.parent.parent.glob("batch-*"))) == 1
    assert left() == []
