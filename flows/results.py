"""A result on disk: its files and the manifest that makes it count, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.apart import LEDGER
from tmp.files import replacing

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SCRATCH = "scratch"
"""Folder of what a stage can resume from; no part of its result."""
TEMPORARY = "temporary"
"""Folder of the temporary folders of processes that have no other disk for them."""
DOOMED = ".old"
"""How the name of a folder ends that is being deleted."""
NO_RESULT = (SCRATCH, TEMPORARY, LEDGER, MANIFEST)


def publish(
    partial: Path, folder: Path, manifest: Mapping[str, Any], *, keep_scratch: bool
) -> None:
    """Turn the folder of a stage at work into its result.

    Parameters
    ----------
    partial : Path
        With all files of the result.
    folder : Path
        Of the result.  What is there is replaced, unless another process has published the same
        result meanwhile: then that one stays.
    manifest : mapping
        What is to be known of the result; the list of its files is added.
    keep_scratch : bool
        Whether the stage is to go on from its scratch folder one day.
    """
    try:
        # A network disk keeps files that another process has open; they are no part of the result.
        for needless in (TEMPORARY, LEDGER, *(() if keep_scratch else (SCRATCH,))):
            shutil.rmtree(partial / needless, ignore_errors=True)
        for left in partial.rglob(".*.part*"):  # by processes that were killed while they wrote
            left.unlink(missing_ok=True)
        files = _listed(partial)
        with replacing(partial / MANIFEST) as temporary:
            whole = {**manifest, "files": files}
            temporary.write_text(json.dumps(whole, indent=1), encoding="utf-8")
        if read_manifest(folder) is None:
            delete(folder)  # a result that lost a file
        partial.replace(folder)
    except OSError:
        if read_manifest(folder) is None:
            raise
        log.info("%s: another process has published it", folder)
        shutil.rmtree(partial, ignore_errors=True)


def delete(folder: Path) -> None:
    """Delete a result, so that half of it is never met; does nothing where there is none."""
    doomed = folder
    if not folder.name.endswith(DOOMED):
        doomed = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{DOOMED}")
        try:
            folder.replace(doomed)
        except FileNotFoundError:
            return
    shutil.rmtree(doomed, ignore_errors=True)


def reopen(folder: Path, partial: Path) -> None:
    """Turn a result that kept its scratch folder into a stage at work again."""
    delete(partial)
    folder.replace(partial)
    (partial / MANIFEST).unlink()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a result; None unless it and every file it names are there."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all(
            (folder / name).stat().st_size == entry["size_bytes"]
            for name, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return None
    return manifest if whole else None


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "digest": content_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in NO_RESULT
    }


def content_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def digest_of(value: Any) -> str:
    """Digest a JSON-able value; the order of a mapping's keys does not matter.

    Examples
    --------
    >>> digest_of({"a": 1, "b": 2.5}) == digest_of({"b": 2.5, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
