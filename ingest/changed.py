"""Photographs of a survey that are no longer what was taken in: found, and put back from a card."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ingest.card import Source, copy_verified, digest, link_photograph
from tmp.captures import Capture
from tmp.files import Stamps
from tmp.progress import Track, silent
from tmp.survey import Survey
from tmp.threads import map_threads

REMEMBERED = "photographs.json"
"""File below ``work/`` that remembers what photographs looked like when they were last read."""
KEPT = "photos-changed"
"""Folder of a survey for what lay in ``photos/`` in place of a photograph that was put back."""


def photograph_stamps(survey: Survey) -> Stamps:
    """Return what is remembered of a survey's photographs."""
    return Stamps(path=survey.work_dir / REMEMBERED, folder=survey.photos_dir, digest=digest)


def find_spoilt(
    survey: Survey, captures: Iterable[Capture], *, workers: int = 1, track: Track = silent
) -> dict[str, str]:
    """Return the photographs without the content that was taken in, and the SHA-256 they have.

    One that is not there is `tmp.files.ABSENT`, one that cannot be read `tmp.files.UNREAD`.
    Only those are read that do not look as they did when they were last read.
    """

    def read(content: Callable[[str], str], names: Sequence[str]) -> Iterable[tuple[str, str]]:
        contents = map_threads(content, names, workers=workers)
        return track(contents, "Comparing photographs", len(names))

    return photograph_stamps(survey).differing({c.name: c.sha256 for c in captures}, read=read)


def are_replaced(
    captures: Iterable[Capture], survey: Survey, spoilt: Collection[str], given: Iterable[Path]
) -> set[str]:
    """Return the linked photographs whose files changed where they lie and are given once more.

    Their records are to be made anew: what was taken in is nowhere any more.
    """
    sources = {path.resolve() for path in given}
    paths = {c.name: survey.photos_dir / c.name for c in captures if c.name in spoilt}
    return {name for name, path in paths.items() if path.is_symlink() and path.resolve() in sources}


class PutBack:
    """Puts photographs back whose content is met on a card; safe across threads."""

    def __init__(
        self, survey: Survey, captures: Iterable[Capture], spoilt: Collection[str], *, link: bool
    ) -> None:
        self._survey, self._link = survey, link
        self._wanted: dict[str, list[str]] = {}
        for capture in captures:
            if capture.name in spoilt:
                self._wanted.setdefault(capture.sha256, []).append(capture.name)
        self.done: list[str] = []
        """Names of the photographs that were put back."""

    def offer(self, read: Source, sha256: str, source: Path) -> None:
        """Put a photograph of this content back wherever it is wanted; does nothing where not."""
        for name in self._wanted.pop(sha256, ()):
            target = self._survey.photos_dir / name
            aside = self._aside(name)
            try:
                if self._link:
                    link_photograph(source, target)
                else:
                    copy_verified(read, sha256, target)
            except BaseException:
                if aside is not None and not target.exists():
                    aside.replace(target)
                raise
            self.done.append(name)

    def _aside(self, name: str) -> Path | None:
        """Move what lies in a photograph's place out of the way; a link is deleted."""
        target = self._survey.photos_dir / name
        if target.is_symlink():
            target.unlink()
        if not target.exists():
            return None
        kept = self._survey.folder / KEPT / f"{datetime.now(UTC):%Y%m%dT%H%M%S}Z" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        target.replace(kept)
        return kept
