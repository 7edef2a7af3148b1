"""Do a unit of work: ``python -m flows.execution.worker FOLDER``, here or on a node of a cluster.

``--list FILE SCRATCH`` takes the folder from the line of a file that the cluster's array index
says, and puts temporary files into a folder of the node, if one is named.
``--next FOLDER`` goes on with the folders that standard input names, a JSON string a line, to its
end or to the first unit that is not done; ``--ready MODULE`` does so too, once it has loaded what
the first will need.  The worker knows nothing of Prefect and nothing of Slurm
but that index.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import psutil

from flows.engine.result import UnitRecord
from flows.engine.stage import execute
from flows.execution.progress import ProgressFile
from flows.execution.unit import EXIT, LOG, begin, read_task, records_beside, write_record
from tmp.errors import InputError, TmpError
from tmp.files import disk_full, is_disk_full, open_to_add, shared_with_group
from tmp.progress import bar
from tmp.threads import give_back_heap, share_one_heap, stay_offline

log = logging.getLogger(__name__)

NEXT, READY = "--next", "--ready"
PARENT = "TMP_WORKER_PARENT"
"""Environment variable: the process that the worker must not outlive."""
ARRAY_INDEX = "SLURM_ARRAY_TASK_ID"
SCRATCH = "TMP_WORKER_SCRATCH"
"""Environment variable: folder for temporary files; may name further variables."""
WATCH_EVERY_S = 0.5
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Do the unit that the arguments name; returns the exit status."""
    share_one_heap()
    stay_offline()
    die_with_parent()
    if arguments[0] == "--list":
        os.environ[SCRATCH] = arguments[2]
        return do(listed(Path(arguments[1]), int(os.environ[ARRAY_INDEX])))
    status = 0
    if arguments[0] == READY:
        importlib.import_module(arguments[1])
    elif arguments[0] == NEXT:
        status = do(Path(arguments[1]))
    else:
        return do(Path(arguments[0]))
    while status == 0 and (line := sys.stdin.readline()):
        status = do(Path(json.loads(line)))
    return status


def listed(path: Path, index: int) -> Path:
    """Return the folder of a unit that the file of an array, in a folder beside the units, names.

    Raises
    ------
    InputError
        If it lies elsewhere.
    """
    folder = Path(path.read_text(encoding="utf-8").splitlines()[index])
    if folder.parent.resolve() != path.parent.parent.resolve():
        raise InputError(f"{path}: altered: {folder} is no unit of {path.parent.parent}; run again")
    return folder


def do(folder: Path) -> int:
    """Do the unit in a folder and write down how it ended; returns 0 if it is done."""
    with shared_with_group(folder):
        return _do(folder)


def _do(folder: Path) -> int:
    (folder / EXIT).unlink(missing_ok=True)
    _log_to(folder / LOG)
    record = begin(folder)
    try:
        record = work(folder, record)
    except Exception as error:
        failure = _as_told(error, folder)
        if not isinstance(failure, TmpError):
            traceback.print_exc()
        write_record(folder, record, failure)
        return 1
    give_back_heap()  # the next unit's peak is its own
    write_record(folder, record)
    return 0


def work(folder: Path, record: UnitRecord) -> UnitRecord:
    """Execute the task of a unit; returns its record with what it cost.

    A node's own disk that is full, or not there, is done without.
    """
    task = read_task(folder)
    before = records_beside(folder) if task.portion.finishes else ()
    disk = _scratch_disk(os.environ.get(SCRATCH, ""))
    with bar() as lines, ProgressFile(folder, lines) as track:
        while True:
            try:
                return execute(
                    task.recipe,
                    track,
                    task.portion,
                    workers=task.cpus,
                    before=before,
                    scratch_disk=disk,
                    record=record,
                )
            except OSError as error:
                if disk is None or not is_disk_full(error):
                    raise
                log.warning("%s; once more with temporary files on the survey's own disk", error)
                disk = None


def _as_told(error: Exception, folder: Path) -> Exception:
    """Return an error as people are told of it."""
    if isinstance(error, OSError) and is_disk_full(error) and not isinstance(error, TmpError):
        return disk_full(Path(error.filename or folder))
    return error


def _scratch_disk(said: str) -> Path | None:
    """Return the folder for temporary files that a profile names; None if it cannot serve."""
    if not said:
        return None
    folder, reason = Path(os.path.expandvars(said)), "may not be written"
    if "$" in str(folder):
        reason = "this machine does not set it"
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError as error:
            reason = str(error)
    log.warning("scratch = %r: %s; temporary files go to the survey's own disk", said, reason)
    return None


def _log_to(path: Path) -> None:
    """Send all that this process says to a file, libraries in C included."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open_to_add(path) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )


def die_with_parent() -> None:
    """Let this process end with its controller, at once where the kernel sees to it."""
    if PARENT not in os.environ:
        return
    number = int(os.environ[PARENT])
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != number:  # it died before
            os.kill(os.getpid(), signal.SIGTERM)
        return
    try:
        parent = psutil.Process(number)
    except psutil.NoSuchProcess:
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: psutil.Process) -> None:
    """End this process with another; a number given out again is not taken for it."""
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        time.sleep(WATCH_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TmpError as refusal:  # before there was a log
        sys.exit(str(refusal))
