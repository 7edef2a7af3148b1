"""What a stage is, an order for one of its results, and how an order is executed.

An order can be executed here, in a process of its own, or on a node of a cluster: all it needs is
in it.  Its tiles may be shared among several of these; the one that has no share ends the stage.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from flows.resources import Needs, modest
from flows.usage import Usage, measured
from tmp.files import replacing
from tmp.progress import Track, silent

MANIFEST = "manifest.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of a stage's tiles that one of several units of work does.

    Examples
    --------
    >>> Share(index=1, count=3).of(["r0c0", "r0c1", "r0c2", "r0c3", "r0c4"])
    ['r0c1', 'r0c4']
    """

    index: int
    count: int

    def of(self, items: Sequence[T]) -> list[T]:
        """Return this share; all shares together are all items, each once."""
        return list(items[self.index :: self.count])


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a stage's function is given: paths and plain values, so that it can run anywhere."""

    inputs: Mapping[str, Path]
    options: Mapping[str, Any]
    """JSON-able."""
    out: Path
    """Folder for the results."""
    scratch: Path
    """Folder for what the stage can resume from; kept when it is stopped, deleted at its end."""
    temporary: Path
    """Folder of this process alone, on a disk of its own machine; deleted when it ends."""
    workers: int
    """Threads or processes the stage may use; never changes its result."""
    track: Track = silent
    share: Share | None = None
    """None: the whole stage, which also ends it."""
    holes: list[str] | None = None
    """Gets the names of tiles that cannot be made; None: the first one stops the stage."""

    def shared(self, items: Sequence[T]) -> list[T]:
        """Return the items that are this job's."""
        return list(items) if self.share is None else self.share.of(items)


Figures = Mapping[str, Any]
"""Numbers for the report, JSON-able."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of the work: a function from files and options to files."""

    name: str
    version: str
    """Raised when the same inputs and options give another result."""
    function: Callable[[Job], Figures | None]
    needs: Needs = modest


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A stage with its inputs and options: all that is needed to run it, anywhere."""

    stage: Stage
    inputs: Mapping[str, Path]
    digests: Mapping[str, str]
    """Content of each input."""
    options: Mapping[str, Any]
    folder: Path
    """Where the results will be."""

    @property
    def partial(self) -> Path:
        """Folder of the results while they are made."""
        return self.folder.with_name(f"{self.folder.name}.part")

    @property
    def key(self) -> str:
        """What the result is known by."""
        return self.folder.name


RunOrder = Callable[[Order, Track], None]
"""Makes the result of an order that is not there yet."""


def here(workers: int) -> RunOrder:
    """Return how orders are run on threads of this process."""

    def run(order: Order, track: Track) -> None:
        execute(order, workers=workers, track=track)

    return run


def execute(
    order: Order,
    *,
    workers: int,
    track: Track = silent,
    share: Share | None = None,
    lenient: bool = False,
    before: Sequence[Usage] = (),
    scratch_disk: Path | None = None,
) -> Usage:
    """Run an order, or a share of its tiles; the whole order publishes the result.

    Parameters
    ----------
    order : Order
    workers : int
        Threads or processes; never changes the result.
    track : Track
    share : Share, optional
    lenient : bool
        Whether tiles that cannot be made leave holes, named in the result's figures.
    before : sequence of Usage
        What the shares done before have cost.
    scratch_disk : Path, optional
        Folder on a fast disk of this machine for temporary files; by default the survey's own.
    """
    partial = order.partial
    scratch = partial / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    disk = scratch_disk or partial / "temporary"
    disk.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="tmp-", dir=disk) as temporary,
        measured() as usage,
    ):
        job = Job(
            inputs=order.inputs,
            options=order.options,
            out=partial,
            scratch=scratch,
            temporary=Path(temporary),
            workers=workers,
            track=track,
            share=share,
            holes=[] if lenient else None,
        )
        figures = dict(order.stage.function(job) or {})
    if share is not None:
        return usage
    if job.holes:
        figures["holes"] = sorted(job.holes)
    for other in before:
        usage.wall_s += other.wall_s
        usage.cpu_s += other.cpu_s
        usage.peak_gb = max(usage.peak_gb, other.peak_gb)
    _publish(order, figures, usage)
    return usage


def _publish(order: Order, figures: Figures, usage: Usage) -> None:
    """Turn the folder of an order at work into its result."""
    partial = order.partial
    shutil.rmtree(partial / "scratch")
    shutil.rmtree(partial / "temporary", ignore_errors=True)
    manifest = {
        "stage": order.stage.name,
        "version": order.stage.version,
        "software": version("terrestrial-mapping-platform"),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": dict(order.digests),
        "options": dict(order.options),
        "figures": dict(figures),
        "usage": asdict(usage),
        "files": _listed(partial),
    }
    with replacing(partial / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    shutil.rmtree(order.folder, ignore_errors=True)  # a result that lost a file
    partial.replace(order.folder)


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "digest": content_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
