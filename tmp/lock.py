"""One command at a time works on a survey, whichever machines share its disk.

The lock is a file that says who holds it.  A holder on this machine is known by its process; one
on another machine shows that it lives by touching the file, so that one that died is told from
one at work.  Times of change are compared with those of the same disk: clocks differ.

Notes
-----
`filelock.SoftFileLease` (4.3) would do this but for one thing: the claim of another machine expires
only once the process that wants it has itself seen it unchanged for the time of the lease.  Before
the lock of a node that died last week, every command would first stand still for five minutes.
It also keeps nothing of what a holder does, for whom and since when.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import platform
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tmp.errors import InputError, TmpError
from tmp.files import disk_full, is_disk_full, say_owner, shared_with_group
from tmp.progress import say_time
from tmp.survey import Survey
from tmp.threads import heartbeat, process_began_s, runs_here

log = logging.getLogger(__name__)

LOCK = "lock"
"""File below a survey's ``work/``."""
BEAT_S = 30.0
"""Time between two touches of a lock by its holder."""
STALE_S = 300.0
"""Age of the last touch after which a holder on another machine counts as dead."""
HALF_WRITTEN_S = 1.0
"""Time a lock just made gets to say whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock."""

    host: str = field(default_factory=platform.node)
    user: str = field(default_factory=lambda: user_name())
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=process_began_s)
    """When the process began, in seconds since 1970."""
    since_utc: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    purpose: str
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this lock alone."""

    def __str__(self) -> str:
        """Say who holds it, as the next one is told."""
        return (
            f"by {self.user} on {self.host} since {say_time(self.since_utc)} (process {self.pid})"
            if self.user
            else f"process {self.pid}"
        )


def locked_survey(survey: Survey, purpose: str) -> contextlib.AbstractContextManager[None]:
    """Hold the lock of a survey, which need not be there yet, as `locked` does."""
    return locked(survey.work_dir / LOCK, purpose)


@contextlib.contextmanager
def locked(path: Path, purpose: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the purpose is told to whoever comes next.

    A lock left behind by a process that was killed is taken over.  Folders that were made for the
    lock go with it, if nothing else has come into them.  In a folder of a group's, what is made
    meanwhile is for the group to write to.

    Raises
    ------
    InputError
        If a running process holds it, here or on another machine, or the folder cannot be written.
    """
    made = [folder for folder in path.parents if not os.path.lexists(folder)]
    holder = Holder(purpose=purpose)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(shared_with_group(path.parent))
        except OSError as error:
            raise _unwritable(path, error) from error
        stack.callback(_release, path, holder, made)
        while not _create(path, holder):
            if (other := living_holder(path)) is not None:
                raise InputError(
                    f"{path.parent.parent}: {other.purpose} is already at work on it, {other}; "
                    "wait for it or stop it"
                )
            _clear(path)
        stack.enter_context(heartbeat(lambda: _touch(path, holder), every_s=BEAT_S))
        yield


def _release(path: Path, holder: Holder, made: list[Path]) -> None:
    """Give a lock back, and the folders that were made for it."""
    if _read_holder(path) == holder:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # no longer empty, or gone with another's lock
        for folder in made:
            folder.rmdir()


def living_holder(path: Path) -> Holder | None:
    """Return who holds a lock file and is at work; None if nobody is."""
    holder = _read_holder(path)
    if holder is None:
        return None
    if holder.host == platform.node():
        return holder if runs_here(holder.pid, holder.started) else None
    age_s = _age_s(path)
    return holder if age_s is not None and age_s < STALE_S else None


def _read_holder(path: Path) -> Holder | None:
    """Return who wrote a lock file; None if there is none, or none that can be read."""
    deadline_s = time.monotonic() + HALF_WRITTEN_S
    while True:
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            # Locks of earlier versions name no machine: they are of this one.
            return Holder(**{"user": "", "since_utc": "", "token": ""} | said)
        except OSError:
            return None
        except (ValueError, TypeError):
            if time.monotonic() > deadline_s:
                return None
            time.sleep(HALF_WRITTEN_S / 10)


def user_name() -> str:
    """Return the name of the user; a number where the machine knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # the last on Windows
        return str(os.getuid()) if hasattr(os, "getuid") else "somebody"


def _create(path: Path, holder: Holder) -> bool:
    """Make the lock file; False if there is one, or its folder goes at this moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(asdict(holder)))
    except (FileExistsError, FileNotFoundError) as error:
        if not path.parent.is_dir() and path.parent.exists():
            raise _unwritable(path, error) from error
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def _unwritable(path: Path, error: OSError) -> TmpError:
    if is_disk_full(error):
        return disk_full(path)
    if isinstance(error, PermissionError):
        return InputError(f"{path}: may not be written: {say_owner(path)}")
    return InputError(
        f"{path}: cannot be written ({error.strerror}); copy the survey to a disk that can"
    )


def _clear(path: Path) -> None:
    """Remove the lock of a dead holder, and no other.

    Of several who find it dead one gets to remove it, and looks once more before it does: the
    lock may be another's by then.  The right to remove is itself a file with a holder.
    """
    right = path.with_name(f"{path.name}.clearing")
    if not _create(right, Holder(purpose="clearing")):
        if living_holder(right) is None:
            with contextlib.suppress(FileNotFoundError):  # another was first
                right.rename(path.with_name(f"{path.name}.{secrets.token_hex(8)}.dead"))
            for dead in path.parent.glob(f"{path.name}.*.dead"):
                dead.unlink(missing_ok=True)
        time.sleep(HALF_WRITTEN_S / 10)
        return
    try:
        if living_holder(path) is None:
            log.warning("%s: taken over; left behind %s", path, _read_holder(path) or "unreadable")
            path.unlink(missing_ok=True)
    finally:
        right.unlink(missing_ok=True)


def _touch(path: Path, holder: Holder) -> bool:
    """Touch the lock; False, with an error in the log, where it is another's by now."""
    if _read_holder(path) != holder:
        log.error("%s: lost, although this process (%s) is at work", path, holder)
        return False
    os.utime(path)
    return True


def _age_s(path: Path) -> float | None:
    """Return how long ago a file was touched by its own disk's clock; None if it has gone."""
    probe = path.with_name(f".{path.name}.{platform.node()}.{secrets.token_hex(4)}.clock")
    try:
        probe.touch()
        now_s = probe.stat().st_mtime
    except OSError:  # we may not write there
        now_s = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    try:
        return now_s - path.stat().st_mtime
    except OSError:
        return None
