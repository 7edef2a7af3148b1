"""Arrays kept below ``work/`` with a digest of their content, so that they need not be compared."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.files import replacing

DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
"""What reading a missing or damaged archive can raise."""
DIGEST = "digest"


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and their digest as an uncompressed npz file, complete or not at all."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        digest.update(array.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        content = {**arrays, DIGEST: np.array(digest.hexdigest())}
        np.savez(partial, allow_pickle=False, **content)


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open what `write_arrays` wrote; each array is read when it is asked for.

    Raises
    ------
    Exception
        One of `DAMAGE` if the file is missing or damaged.
    """
    with path.open("rb") as file, np.load(file) as stored:
        yield stored


def read_digest(path: Path) -> str | None:
    """Return the digest of what `write_arrays` wrote; None if it is missing or damaged.

    Nothing else is read, so damage within the arrays themselves is not seen.
    """
    try:
        with open_arrays(path) as stored:
            return str(stored[DIGEST])
    except DAMAGE:
        return None
