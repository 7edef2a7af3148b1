import mmap
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import psutil
import pytest

from flows.engine.result import _cpu_s, measured


def test_memory_held_for_a_moment_is_seen() -> None:
    with measured() as idle:
        pass
    with measured() as busy:
        # From the system, never from what the process has kept free.
        with mmap.mmap(-1, 40_000_000) as block:
            block.write(b"x" * 40_000_000)
            until_s = time.monotonic() + 60
            while busy.peak_gb - idle.peak_gb < 0.03 and time.monotonic() < until_s:
                time.sleep(0.01)
    assert 0.03 < busy.peak_gb - idle.peak_gb < 0.08


def test_processor_time_of_children_counts() -> None:
    loop = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    with measured() as usage:
        subprocess.run([sys.executable, "-c", loop], check=True)
    assert usage.cpu_s > 0.28
    assert usage.wall_s > 0.28


def test_processor_time_is_that_of_the_program_and_of_the_system_for_all_of_a_family() -> None:
    def gone() -> SimpleNamespace:
        raise psutil.NoSuchProcess(1)

    def times(**seconds: float) -> Callable[[], SimpleNamespace]:
        return lambda: SimpleNamespace(**seconds)

    children = [SimpleNamespace(cpu_times=each) for each in (gone, times(user=8.0, system=16.0))]
    parent = SimpleNamespace(
        cpu_times=times(user=1.0, system=2.0, children_user=4.0, children_system=32.0),
        children=lambda *, recursive: children if recursive else [],
    )
    assert _cpu_s(parent) == pytest.approx(1 + 2 + 4 + 8 + 16 + 32)  # type: ignore[arg-type]
