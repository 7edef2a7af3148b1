"""The stage store: work that has been done is not done again.

A result's key is the digest of the stage's name and version, its options and the content of its
inputs.  Its files lie in ``work/<stage>/<key>/`` beside a ``manifest.json`` that says what they
were made from.  While a stage runs, the folder is called ``<key>.part``; it stays when the run is
stopped, so a stage that keeps finished tiles in its scratch folder goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.engine.result import (
    DOOMED,
    MANIFEST,
    Ledger,
    UnitRecord,
    Usage,
    content_digest,
    damage,
    delete,
    digest_of,
    read_json,
    read_manifest,
    reopen,
)
from flows.engine.stage import Figures, Recipe, RunRecipe, Stage, execute, stage_key
from tmp.files import write_json
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

KEPT = 2
"""Results kept for each stage: the latest, and one to go back to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An input whose content digest is known without reading it, such as ingested photographs."""

    path: Path
    digest: str


Input = Path | Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Where a stage's results are and what they cost."""

    stage: str
    folder: Path
    files: Mapping[str, str]
    """Content digest of each file, by its path below `folder`."""
    figures: Figures
    usage: Usage
    """Cost of the run that made the result."""
    reused: bool
    """Whether the result was there already."""
    units: tuple[UnitRecord, ...] = ()
    """What each unit of that run cost; the last one ended the stage."""

    @property
    def holes(self) -> Mapping[str, str]:
        """The tiles that could not be made, and why."""
        return dict(self.figures.get("hole_reasons", {}))

    @property
    def known(self) -> Known:
        """The result's folder as an input for the next stage."""
        return Known(path=self.folder, digest=digest_of(dict(self.files)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStore:
    """Runs stages and keeps their results below one folder."""

    root: Path
    retry_holes: bool = False
    """Whether a result with holes counts as not there: only its holes are made again."""

    def make(
        self, recipe: Recipe, *, run: RunRecipe | None = None, track: Track = silent
    ) -> Result:
        """Return the result of a recipe, run, by default on one thread, only if it is not there.

        Raises
        ------
        FileNotFoundError
            If the result just made is not there.
        """
        if (found := self.find(recipe)) is not None:
            log.info("%s: nothing has changed; result taken from %s", found.stage, found.folder)
            return found
        if (recipe.folder / MANIFEST).exists():
            if wrong := damage(recipe.folder):
                said = ", ".join(f"{name} {what}" for name, what in sorted(wrong.items()))
                log.warning("%s: %s; it is made again", recipe.folder, said)
                delete(recipe.folder)
            else:
                reopen(recipe.folder, recipe.partial)
        (run or execute)(recipe, track)
        self._forget_old(recipe)
        made = read_result(recipe.folder)
        if made is None:
            raise FileNotFoundError(f"{recipe.folder}: the result has gone; run again")
        return replace(made, reused=False)

    def find(self, recipe: Recipe) -> Result | None:
        """Return the result of a recipe; None unless it is there, as made, and may be used."""
        found = read_true_result(recipe.folder)
        return None if found is not None and found.holes and self.retry_holes else found

    def recipe(
        self, stage: type[Stage], inputs: Mapping[str, Input], options: Mapping[str, Any]
    ) -> Recipe:
        """Return the recipe for a stage's result.

        Inputs are files or folders by the name the stage knows them by; options are JSON-able
        values that change the result.

        Raises
        ------
        FileNotFoundError
            If an input is not there.
        """
        digests = {name: self._digest(source) for name, source in sorted(inputs.items())}
        return Recipe(
            stage=stage,
            inputs={
                name: source.path if isinstance(source, Known) else source
                for name, source in inputs.items()
            },
            digests=digests,
            options=options,
            folder=self.root / stage.name / stage_key(stage, digests, options),
        )

    def _digest(self, source: Input) -> str:
        if isinstance(source, Known):
            return source.digest
        return DigestMemo(path=self.root / "digests.json").of(source)

    def _forget_old(self, recipe: Recipe) -> None:
        """Delete all but the latest results of a stage, and what nobody goes on with."""
        folders = [path for path in recipe.folder.parent.iterdir() if path.is_dir()]
        folders.sort(key=_changed_s, reverse=True)
        stopped = [path for path in folders if path.suffix == ".part"]
        doomed = [path for path in folders if path.suffix == DOOMED]
        others = [path for path in folders if not path.suffix and path != recipe.folder]
        for path in (*others[KEPT - 1 :], *stopped[KEPT - 1 :], *doomed):
            if not Ledger(partial=path).alive:
                delete(path)


def _changed_s(path: Path) -> float:
    """Return when a folder changed; another process may just have deleted it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def read_true_result(folder: Path) -> Result | None:
    """Return the result in a folder, or None unless all its files are as they were made."""
    found = read_result(folder)
    return None if found is None or damage(folder) else found


def read_result(folder: Path) -> Result | None:
    """Return the result in a folder, or None unless its manifest and every file are there.

    Content is not compared: for looking at, not for building on.
    """
    if (manifest := read_manifest(folder)) is None:
        return None
    return Result(
        stage=manifest["stage"],
        folder=folder,
        files={name: entry["digest"] for name, entry in manifest["files"].items()},
        figures=manifest["figures"],
        usage=Usage(**manifest["usage"]),
        reused=True,
        units=tuple(UnitRecord.from_values(unit) for unit in manifest.get("units", ())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestMemo:
    """Content digests remembered by path, size and time of change, so a file is read once."""

    path: Path

    def of(self, source: Path) -> str:
        """Return the digest of a file, or of a folder's files and their names.

        Raises
        ------
        FileNotFoundError
            If `source` does not exist.
        """
        known = read_json(self.path) or {}
        before = len(known)
        if source.is_dir():
            members = sorted(path for path in source.rglob("*") if path.is_file())
            digest = digest_of(
                {path.relative_to(source).as_posix(): _memoised(path, known) for path in members}
            )
        else:
            digest = _memoised(source, known)
        if len(known) != before:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, known)
        return digest


def _memoised(path: Path, known: dict[str, str]) -> str:
    stat = path.stat()
    stamp = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
    if stamp not in known:
        known[stamp] = content_digest(path)
    return known[stamp]
