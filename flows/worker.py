"""Do one unit of work: ``python -m flows.worker FOLDER``, here or on a node of a cluster.

``--list FILE`` takes the folder from the line of a file that the cluster's array index says.
The worker knows nothing of Prefect and nothing of Slurm but that index.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from flows.execution.progress import ProgressFile
from flows.execution.units import EXIT, LOG, Outcome, read_work, usage_before, write_outcome
from flows.orders import execute
from flows.usage import Usage
from tmp.bars import bar
from tmp.errors import TmpError
from tmp.heap import share_one_heap

PARENT = "TMP_WORKER_PARENT"
"""Environment variable: the process that the worker must not outlive."""
ARRAY_INDEX = "SLURM_ARRAY_TASK_ID"
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Do the unit that the arguments name; returns the exit status."""
    share_one_heap()
    if arguments[0] == "--list":
        lines = Path(arguments[1]).read_text(encoding="utf-8").splitlines()
        folder = Path(lines[int(os.environ[ARRAY_INDEX])])
    else:
        folder = Path(arguments[0])
    _die_with_parent()
    (folder / EXIT).unlink(missing_ok=True)
    _log_to(folder / LOG)
    try:
        usage = work(folder)
    except Exception as error:
        if not isinstance(error, TmpError):
            traceback.print_exc()
        failed = Outcome(
            done=False,
            error=str(error) or type(error).__name__,
            kind=type(error).__name__,
            usage=Usage(),
        )
        write_outcome(folder, failed)
        return 1
    write_outcome(folder, Outcome(done=True, usage=usage))
    return 0


def work(folder: Path) -> Usage:
    """Execute the order of a unit; returns what it cost."""
    unit = read_work(folder)
    with bar() as lines, ProgressFile(folder, lines) as track:
        return execute(
            unit.order,
            workers=unit.cpus,
            track=track,
            share=unit.share,
            lenient=unit.lenient,
            before=usage_before(folder) if unit.share is None else (),
        )


def _log_to(path: Path) -> None:
    """Send all that this process says to a file, libraries in C included."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )


def _die_with_parent() -> None:
    """Let the kernel end this process with its controller, where the kernel can."""
    parent = os.environ.get(PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
