"""What a cluster's accounting says of jobs."""

from pathlib import Path

import pytest

from flows.execution.slurm_commands import Accounted, Commands, read_accounting

SAID = """7_0|COMPLETED|61|01:58.500||n1
7_0.batch|COMPLETED|61|01:58.500|2097152K|n1
7_0.extern|COMPLETED|61|00:00:00|1000K|n1
7_1|CANCELLED by 1000|3|00:00:00||n2
7_2|PENDING|0|00:00:00||None assigned
8_0|OUT_OF_MEMORY|90000|1-01:00:00||n3
8_0.batch|OUT_OF_MEMORY|90000|1-01:00:00|32G|n3
"""


def test_time_and_memory_are_those_of_a_job_and_its_steps(slurm: Path) -> None:
    (slurm / "accounts.txt").write_text(SAID)
    commands = Commands()
    found = read_accounting(["7_0", "7_1", "8_0"], commands)
    assert found["7_0"] == Accounted(
        state="COMPLETED",
        node="n1",
        elapsed_s=61.0,
        cpu_s=118.5,
        max_rss_gb=pytest.approx(2.147, abs=1e-3),
    )
    assert found["7_1"].state == "CANCELLED"
    assert found["8_0"].cpu_s == 90000
    assert found["8_0"].max_rss_gb == pytest.approx(34.36, abs=0.01)
    assert set(found) == {"7_0", "7_1", "8_0"}
    assert commands.count == 1


def test_cluster_without_accounting_says_nothing(slurm: Path) -> None:
    assert read_accounting(["7_0"]) == {}


def test_machine_without_slurm_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert read_accounting(["7_0"]) == {}
