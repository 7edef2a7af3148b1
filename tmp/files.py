"""Write files so that a reader never meets half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tmp.errors import InputError, SpaceError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place when the block ends well.

    On an exception the temporary file is removed and `path` stays as it was.

    Raises
    ------
    SpaceError
        If the disk fills up while writing.
    InputError
        If the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpaceError(f"{path}: the disk is full; make room and run again") from error
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: may not be written; check the folder's permissions") from (
                error
            )
        raise
    finally:
        temporary.unlink(missing_ok=True)
