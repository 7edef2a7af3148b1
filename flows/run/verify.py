"""Whether photographs, results and products are what they were when they were taken in or made.

A run looks at its photographs before each use, by size, times and inode; `verify_survey` reads all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from flows.engine.result import MANIFEST, result_digests, stamps_of
from flows.products.table import EDITED, product_stamps
from flows.stages.inputs import PICTURES
from flows.stages.orientation import BLOCK
from ingest.changed import find_spoilt, photograph_stamps
from tmp.captures import LEAVES_OUT, Capture, read_captures
from tmp.errors import PhotographError
from tmp.files import ABSENT, UNREAD, Stamps
from tmp.progress import Track, silent
from tmp.survey import Survey
from tmp.threads import map_threads

NAMED = 3
"""Photographs named in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was read of a survey, and what of it is not as it was."""

    photographs: int
    results: int
    products: int
    """Files of each kind that were read."""
    size_bytes: int
    """Of all these."""
    damaged: tuple[str, ...]
    """A line for each file that is damaged, with what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Files of one folder that are verified alike."""

    stamps: Stamps
    digests: Callable[[], Mapping[str, str]]
    """Reads the digests that they are to have, by name."""
    damage: str
    """What is said of a file of other content."""
    remedy: str
    may_be_absent: bool = False

    def wrong(self, name: str, digest: str) -> str:
        """Return what is wrong with a file; nothing if it is as its digest says."""
        found = self.stamps.content(name)
        if found == digest or (found == ABSENT and self.may_be_absent):
            return ""
        if self.digests().get(name) != digest:  # another command was here meanwhile
            return ""
        self.stamps.doubt([name])
        said = {ABSENT: "is not there", UNREAD: "cannot be read"}.get(found, self.damage)
        return f"{self.stamps.folder / name}: {said}; {self.remedy}"


def verify_survey(survey: Survey, *, workers: int = 1, track: Track = silent) -> Verified:
    """Read all photographs, results and products of a survey and compare them with their digests.

    Takes no lock and changes nothing, but that the next run looks anew at what is damaged.

    Raises
    ------
    InputError
        If no photographs have been taken in, or `survey.gpkg` cannot be read.
    """
    photographs, results, products = _photographs(survey), _results(survey), _products(survey)
    files = [
        (kind, name, digest)
        for kind in (photographs, *results, products)
        for name, digest in kind.digests().items()
    ]
    read = map_threads(lambda file: file[0].wrong(*file[1:]), files, workers=workers)
    damaged, size_bytes = [], 0
    for (kind, name, _), wrong in track(read, "Verifying", len(files)):
        with suppress(OSError):
            size_bytes += (kind.stamps.folder / name).stat().st_size
        damaged += [wrong] if wrong else []
    counts = Counter(id(kind) for kind, _, _ in files)
    return Verified(
        photographs=counts[id(photographs)],
        results=sum(counts[id(kind)] for kind in results),
        products=counts[id(products)],
        size_bytes=size_bytes,
        damaged=tuple(sorted(damaged)),
    )


def _photographs(survey: Survey) -> _Kind:
    return _Kind(
        stamps=photograph_stamps(survey),
        digests=lambda: {c.name: c.sha256 for c in read_captures(survey.gpkg_path)},
        damage="is not the photograph that was taken in",
        remedy=f"'tmp ingest CARD --to {survey.folder}' puts it back",
    )


def _results(survey: Survey) -> list[_Kind]:
    return [
        _Kind(
            stamps=stamps_of(path.parent),
            digests=partial(result_digests, path.parent),
            damage="is not as it was made",
            remedy=f"'tmp map {survey.folder}' makes it again",
        )
        for path in sorted(survey.work_dir.glob(f"stages/*/*/{MANIFEST}"))
    ]


def _products(survey: Survey) -> _Kind:
    stamps = product_stamps(survey.products_dir)
    return _Kind(
        stamps=stamps,
        digests=lambda: {name: digest for name, (digest, _) in stamps.remembered().items()},
        damage="is not as it was made",
        remedy=f"'tmp map {survey.folder}' keeps it in {EDITED}/ and puts the true one back",
        may_be_absent=True,
    )


def find_changed(
    survey: Survey, captures: Sequence[Capture], *, workers: int = 1, track: Track = silent
) -> list[str]:
    """Return the photographs whose content is not the one that was taken in.

    Those that are left out of the map may be anything, and one that is not there is told by the
    stage that wants it.  What was kept of a photograph whose record is another one by now, such as
    its keypoints, is deleted.
    """
    wanted = [c for c in captures if not LEAVES_OUT.intersection(c.flags)]
    known = photograph_stamps(survey).remembered()
    forget_work(survey, [c.name for c in wanted if known.get(c.name, (c.sha256,))[0] != c.sha256])
    found = find_spoilt(survey, wanted, workers=workers, track=track)
    return sorted(name for name, sha256 in found.items() if sha256 not in (ABSENT, UNREAD))


def refusal(survey: Survey, changed: Sequence[str]) -> PhotographError:
    """Return the error for photographs that have changed: which, and what to do."""
    named = ", ".join(changed[:NAMED])
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    since = "has changed since it was" if len(changed) == 1 else "have changed since they were"
    return PhotographError(
        f"{survey.photos_dir}: {named}{more} {since} taken in; 'tmp ingest CARD --to "
        f"{survey.folder}' puts back what was taken; to map without, add the name to 'drop' in "
        "survey.toml; to map what is there now, move it out of photos/ and ingest it from there"
    )


def forget_work(survey: Survey, names: Iterable[str]) -> None:
    """Delete keypoints and pyramids of photographs that are other ones now."""
    from photogrammetry.orientation.features import features_path
    from photogrammetry.pictures import PictureStore

    for name in names:
        for folder in (survey.work_dir / BLOCK).glob("keypoints-*"):
            features_path(folder, name).unlink(missing_ok=True)
        for folder in (survey.work_dir / PICTURES).glob("*/"):
            PictureStore(folder=folder).forget(name)
