"""What this machine has for units of work: memory, GPUs, and whether its kernel killed one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil

MEMORY_SHARE = 0.9
"""Of the machine's memory that units may ask for together."""
VMSTAT = Path("/proc/vmstat")
LIST_GPUS_S = 10.0
"""Time that ``nvidia-smi`` gets to answer."""


def memory_gb() -> float:
    """Return the memory that units may use, in units of 1e9 bytes."""
    return float(psutil.virtual_memory().total) / 1e9 * MEMORY_SHARE


def free_memory_gb() -> float:
    """Return the memory that nobody uses now, in units of 1e9 bytes."""
    return float(psutil.virtual_memory().available) / 1e9


def resident_gb(pid: int) -> float:
    """Return what a process and its children hold of the memory, in units of 1e9 bytes."""
    total = 0
    try:
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            total += member.memory_info().rss
    except psutil.Error:  # ended meanwhile
        pass
    return total / 1e9


def gpus() -> tuple[str, ...]:
    """Return the GPUs that programs started here may use, as CUDA names them.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, CUDA_VISIBLE_DEVICES="0,2"):
    ...     gpus()
    ('0', '2')
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=LIST_GPUS_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in said.stdout.splitlines())
    return tuple(str(index) for index in range(count))


def out_of_memory_kills() -> int | None:
    """Return how many processes the kernel has killed for memory; None where it does not count."""
    try:
        for line in VMSTAT.read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
