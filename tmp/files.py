"""Write files so that a reader never meets half of one; JSON files, written and read."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tmp.errors import InputError, SpaceError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a full disk, and of a person's full share of it."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error says that a disk, or a person's share of it, is full."""
    return isinstance(error, SpaceError) or (isinstance(error, OSError) and error.errno in FULL)


def disk_full(path: Path) -> SpaceError:
    """Return the error for a file or folder that could not be written to its full disk."""
    folder = next(folder for folder in (path, *path.resolve().parents) if folder.is_dir())
    free_gb = shutil.disk_usage(folder).free / 1e9
    return SpaceError(
        f"{path}: the disk is full ({free_gb:.2f} GB free); make room there and run again, which "
        "goes on where it was"
    )


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
    # Machines that share a disk give out the same process numbers.
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(path) from error
        if isinstance(error, PermissionError):
            raise InputError(f"{path}: may not be written; check the folder's permissions") from (
                error
            )
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(
    path: Path, value: object, *, indent: int | None = None, for_people: bool = False
) -> None:
    """Write a JSON file, whole or not at all; raises as `replacing` does.

    Parameters
    ----------
    value : object
        What `json.dumps` takes.
    indent : int, optional
        Blanks before each entry; all on one line by default.
    for_people : bool
        Whether letters of all languages stay as they are, and a line ends the file; a number that
        is not finite is then a `ValueError`, since other programs cannot read it.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=not for_people, allow_nan=not for_people)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n" * for_people, encoding="utf-8")


def read_json(path: Path, *, remedy: str = "delete it and run again") -> Any:
    """Read a JSON file.

    Parameters
    ----------
    remedy : str
        What to do where it is damaged.

    Raises
    ------
    InputError
        If it is not there, cannot be read, or is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {remedy}") from error


@contextmanager
def replacing_folder(folder: Path, *, keep: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a new empty sibling of `folder` that takes its place when the block ends well.

    On an exception it is removed, and `folder` stays as it was.

    Parameters
    ----------
    folder : Path
        Need not exist; its parent must.
    keep : sequence of str
        Patterns of files directly in the folder that go on into the new one.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    former = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        temporary.mkdir()
        yield temporary
        if folder.exists():
            for pattern in keep:
                for file in folder.glob(pattern):
                    shutil.copy2(file, temporary)
            folder.replace(former)
        temporary.replace(folder)
    except OSError as error:
        if former.exists() and not folder.exists():
            former.replace(folder)
        if error.errno in FULL:
            raise disk_full(folder) from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"{folder}: may not be written; check the folder's permissions"
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
