"""From cards and folders to a survey: copy, read, judge, and settle where on Earth it lies."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ingest.card import (
    Shelf,
    check_space,
    copy_verified,
    find_photographs,
    link_photograph,
    printable,
    propose_names,
    read_source,
    refuse_overlap,
    write_manifest,
)
from ingest.changed import PutBack, are_replaced, find_spoilt, photograph_stamps
from ingest.checks import fill_heights, find_disagreements, judge
from ingest.grouping import group_rigs, number_flights
from ingest.metadata.bands import Declaration, declare_bands, read_declarations
from ingest.places import check_crs, find_long_pauses, number_places, settle
from ingest.radiometry.panels import find_panels, mark_panel
from ingest.reading import Reading, read_photograph
from tmp.captures import Capture, Flag, choose_captures, read_captures, write_captures
from tmp.errors import PhotographError
from tmp.files import flush_to_disk, remove_partial
from tmp.geo.frames import describe_datum_shift
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import (
    Settings,
    StrPath,
    Survey,
    create_survey,
    read_settings,
    refuse_other_folder,
    write_settings,
)
from tmp.threads import map_threads, one_thread_each

log = logging.getLogger(__name__)

Outcome = Reading | str | None
"""What came of one photograph: taken in, refused with a reason, or known before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What an ingest found, did, and thinks of it."""

    survey: Survey
    settings: Settings
    captures: tuple[Capture, ...]
    """All photographs of the survey, with a person's choices applied."""
    added: tuple[str, ...]
    """Names of the photographs that are new."""
    already: int
    """Photographs given whose content the survey had before."""
    failed: dict[str, str]
    """Files that the source did not give up, with the reason; they are not in the survey."""
    ignored: Counter[str]
    """Other files, by suffix."""
    left_out: Mapping[str, str]
    """Links and the like that were not followed, with the reason."""
    put_back: tuple[str, ...] = ()
    """Names of the photographs that were lost or changed and are again what was taken in."""
    notes: tuple[str, ...] = ()
    """What does not fit together in the survey as a whole, a line each."""

    @property
    def flagged(self) -> tuple[Capture, ...]:
        """Photographs with something to say about them."""
        return tuple(capture for capture in self.captures if capture.reason)


def ingest_photographs(
    photographs: StrPath | Iterable[StrPath],
    to: StrPath,
    *,
    link: bool = False,
    crs: str | None = None,
    workers: int | None = None,
    track: Track = silent,
) -> IngestResult:
    """Take photographs into a survey, new or existing; only what is new is added.

    Parameters
    ----------
    photographs : path or iterable of path
        Folders, searched to their depth, and files.  They are only read.
    to : path or Survey
        Its folder is made if need be.
    link : bool
        Put symbolic links into the survey and leave the photographs where they are.
    crs : str, optional
        Projected CRS of the products; by default the survey's, or else the UTM zone.
    workers : int, optional
        Threads; by default one per core.

    Raises
    ------
    InputError
        If there is nothing to take, a place is missing, the CRS is not metric, one of
        `photographs` and `to` lies in the other, or another command is at work on the survey.
    NotASurveyError, VersionError
        If the folder is something else, or a newer version's survey.
    SpaceError
        If the disk has no room; nothing has been copied then.

    Examples
    --------
    >>> result = ingest_photographs("card", to="survey")
    >>> len(result.added), result.settings.crs
    (2, 'EPSG:32627')
    >>> ingest_photographs("card", to="survey").already
    2
    """
    given = [photographs] if isinstance(photographs, str | os.PathLike) else photographs
    places, survey = [Path(place) for place in given], Survey(folder=Path(to))
    with locked_for_ingest(places, survey):
        return take_in(places, survey, link=link, crs=crs, workers=workers, track=track)


@contextmanager
def locked_for_ingest(places: Sequence[Path], survey: Survey) -> Iterator[None]:
    """Hold the lock of a survey, new or existing, that photographs may be taken into.

    Raises
    ------
    InputError
        As `ingest_photographs` does, or if another command is at work on the survey.
    """
    # Before the lock, which would be a file on the card or among another's.
    refuse_overlap(places, survey.folder)
    refuse_other_folder(survey.folder)
    with locked_survey(survey, "'tmp ingest'"):
        yield


def take_in(
    places: Sequence[Path],
    survey: Survey,
    *,
    link: bool = False,
    crs: str | None = None,
    workers: int | None = None,
    track: Track = silent,
) -> IngestResult:
    """Take photographs into a survey whose lock is held; see `ingest_photographs`."""
    check_crs(crs)
    refuse_overlap(places, survey.folder)
    found = find_photographs(places)
    declarations = read_declarations(survey.folder)
    settings = read_settings(create_survey(survey.folder))
    before = read_captures(survey.gpkg_path) if survey.gpkg_path.exists() else []
    names = propose_names(found.photographs)
    _make_room(survey, None if link else _bytes_to_copy(found.photographs, names, survey, before))
    workers = workers or os.cpu_count() or 1
    spoilt = find_spoilt(survey, before, workers=workers, track=track)
    renewed = are_replaced(before, survey, spoilt, found.photographs)
    before = [_completed(c, survey, declarations) for c in before if c.name not in renewed]
    put_back = PutBack(survey, before, spoilt, link=link)
    take = partial(
        _take,
        survey=survey,
        shelf=Shelf(survey.photos_dir, (capture.name for capture in before)),
        known={capture.sha256 for capture in before},
        put_back=put_back,
        link=link,
        declarations=declarations,
    )
    outcomes = _take_all(take, list(zip(found.photographs, names, strict=True)), workers, track)
    taken = [o for path in found.photographs if isinstance(o := outcomes[path], Reading)]
    captures = _relate_all(before, taken, survey, declarations)
    settings = settle(_with_cameras(settings, taken), captures, crs=crs)
    added = tuple(one.capture.name for one in taken)
    _record(survey, settings, captures, added, put_back.done)
    chosen = choose_captures(captures, keep=settings.keep, drop=settings.drop, place=settings.place)
    failed = {printable(p): o for p, o in outcomes.items() if isinstance(o, str)}
    return IngestResult(
        survey=survey,
        settings=settings,
        captures=tuple(chosen),
        added=added,
        already=sum(outcome is None for outcome in outcomes.values()),
        put_back=tuple(sorted(put_back.done)),
        failed=found.unlisted | failed,
        ignored=found.ignored,
        left_out=found.left_out,
        notes=tuple(_notes(settings, chosen)),
    )


def _make_room(survey: Survey, needed_bytes: int | None) -> None:
    """Remove what killed ingests left, and refuse a disk that is too small for what is to come."""
    survey.photos_dir.mkdir(exist_ok=True)
    remove_partial(survey.photos_dir)
    for path in (survey.gpkg_path, survey.manifest_path):
        remove_partial(survey.folder, stem=path.stem)
    if needed_bytes is not None:
        check_space(survey.folder, needed_bytes)


def _with_cameras(settings: Settings, taken: Sequence[Reading]) -> Settings:
    """Add the cameras that are new; a person may have changed what is there."""
    cameras = {one.camera.camera_id: one.camera for one in reversed(taken) if one.camera}
    return replace(settings, cameras=dict(sorted((cameras | settings.cameras).items())))


def _record(
    survey: Survey,
    settings: Settings,
    captures: Sequence[Capture],
    added: Sequence[str],
    put_back: Sequence[str],
) -> None:
    """Write what the survey knows of its photographs, once these are on the disk."""
    for folder in {(survey.photos_dir / name).parent for name in added}:
        flush_to_disk(folder)
    write_settings(survey, settings)
    write_captures(survey.gpkg_path, captures)
    write_manifest(survey, captures)
    flush_to_disk(survey.folder)
    _remember(survey, captures, {*added, *put_back})
    log.info("%s: %d photographs added, %d in all", survey.folder, len(added), len(captures))


def _notes(settings: Settings, captures: Sequence[Capture]) -> Iterator[str]:
    """Yield what does not fit together, and what is amiss with the way from WGS 84 to the CRS."""
    yield from find_disagreements(captures)
    yield from find_long_pauses(captures)
    if settings.crs is not None and settings.origin is not None:
        words = describe_datum_shift(settings.crs, *settings.origin[:2]).in_words()
        if words:
            yield words


def _take_all(
    take: Callable[[Path, str], Reading | None],
    jobs: Sequence[tuple[Path, str]],
    workers: int,
    track: Track,
) -> dict[Path, Outcome]:
    """Take in all photographs, several at a time; one that fails does not stop the others."""

    def attempt(job: tuple[Path, str]) -> Outcome:
        try:
            return take(*job)
        except PhotographError as error:
            return str(error)

    results = map_threads(attempt, jobs, workers=workers)
    with one_thread_each():
        tracked = track(results, "taking in photographs", len(jobs))
        return {path: outcome for (path, _), outcome in tracked}


def _remember(survey: Survey, captures: Iterable[Capture], verified: Collection[str]) -> None:
    """Remember photographs whose content was just compared, but for those that were another before.

    Of these something may be left in ``work/``, which whoever reads them next is to find out.
    """
    stamps = photograph_stamps(survey)
    former = stamps.remembered()
    digests = {c.name: c.sha256 for c in captures if c.name in verified}
    stamps.remember(
        {n: sha256 for n, sha256 in digests.items() if former.get(n, (sha256,))[0] == sha256}
    )


def _completed(capture: Capture, survey: Survey, declarations: Sequence[Declaration]) -> Capture:
    """Return a photograph taken in before bands were read with what its file says of them."""
    if capture.brightness is not None or Flag.UNREADABLE in capture.flags:
        return capture
    try:
        data = (survey.photos_dir / capture.name).read_bytes()
    except OSError:
        return capture
    return read_photograph(data, capture, declarations).capture


def _relate(captures: Sequence[Capture], declarations: Sequence[Declaration]) -> list[Capture]:
    """Settle what depends on all photographs together: bands declared, rigs, flights, verdicts."""
    declared = [declare_bands(capture, declarations) for capture in captures]
    return number_places(judge(number_flights(group_rigs(fill_heights(declared)))))


def _relate_all(
    before: Sequence[Capture],
    taken: Sequence[Reading],
    survey: Survey,
    declarations: Sequence[Declaration],
) -> list[Capture]:
    """Relate photographs, those that are new among them, and mark what shows a panel's code."""
    captures = _relate([*before, *(one.capture for one in taken)], declarations)
    panels = find_panels(captures, survey.photos_dir) if taken else None
    return _relate([mark_panel(c, panels) for c in captures], declarations) if panels else captures


def _bytes_to_copy(
    photographs: Sequence[Path], names: Sequence[str], survey: Survey, before: Sequence[Capture]
) -> int:
    """Return an upper bound of what is still to be copied."""
    have = {(capture.source, capture.size_bytes) for capture in before}
    needed_bytes = 0
    for path, name in zip(photographs, names, strict=True):
        with suppress(OSError):  # told when it is read
            size = path.stat().st_size
            if (printable(path), size) not in have and not (survey.photos_dir / name).exists():
                needed_bytes += size
    return needed_bytes


def _take(
    source: Path,
    proposed: str,
    *,
    survey: Survey,
    shelf: Shelf,
    known: set[str],
    put_back: PutBack,
    link: bool,
    declarations: Sequence[Declaration],
) -> Reading | None:
    """Copy or link one photograph and read it, from one pass over its bytes; None if known."""
    read = read_source(source)
    sha256 = hashlib.sha256(read.data).hexdigest()
    if sha256 in known:
        put_back.offer(read, sha256, source)
        return None
    name = shelf.reserve(proposed, sha256)
    target = survey.photos_dir / name
    if link:
        link_photograph(source, target)
    else:
        copy_verified(read, sha256, target)
    bare = Capture(
        name=name,
        source=printable(source),
        sha256=sha256,
        size_bytes=len(read.data),
        width_px=0,
        height_px=0,
        camera_id="",
    )
    return read_photograph(read.data, bare, declarations)
