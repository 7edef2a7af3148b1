"""One command at a time works on a survey."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from tmp.errors import InputError


@contextlib.contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold a lock file while the block runs.

    A lock left behind by a process that was killed is taken over.

    Parameters
    ----------
    path : Path
        The lock file; its folder is made if absent.
    purpose : str
        What holds the lock, for the message to the next one.

    Raises
    ------
    InputError
        If a running process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {"pid": os.getpid(), "started": psutil.Process().create_time(), "purpose": purpose}
    while True:
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(holder, file)
            break
        except FileExistsError:
            refuse_if_running(path)
            path.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def refuse_if_running(path: Path) -> None:
    """Raise `InputError` if a running process holds a lock file."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(holder["pid"])
        # A process number is given out again; the time of its start tells old from new.
        running = abs(process.create_time() - holder["started"]) < 1.0
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        running = False
    if running:
        raise InputError(
            f"{path.parent.parent}: {holder['purpose']} is already at work on it "
            f"(process {holder['pid']}); wait for it or stop it"
        )
