"""Disk space, asked for before work starts rather than missed in the middle of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tmp.errors import SpaceError

RESERVE_BYTES = 200 * 2**20
"""Left free for everything else on the disk."""


def require_space(folder: Path, needed_bytes: float, purpose: str) -> None:
    """Raise `SpaceError` if a folder's disk has less room than is needed.

    Parameters
    ----------
    folder : Path
        An existing folder.
    needed_bytes : float
        Without the reserve of `RESERVE_BYTES`, which is added.
    purpose : str
        What needs it, for the message.

    Raises
    ------
    SpaceError
        With what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    needed = needed_bytes + RESERVE_BYTES
    if free < needed:
        raise SpaceError(
            f"{folder}: {purpose} needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB is "
            "free; make room, or move the survey to another disk, and run again"
        )
