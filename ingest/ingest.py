"""From cards and folders to a survey: copy, read, judge, and settle where on Earth it lies."""

from __future__ import annotations

import hashlib
import logging
import os
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pyproj import CRS
from pyproj.exceptions import CRSError

from ingest.agreement import find_disagreements
from ingest.card import (
    Shelf,
    check_space,
    copy_verified,
    find_photographs,
    link_photograph,
    propose_names,
    read_source,
    refuse_overlap,
    write_manifest,
)
from ingest.declared import Declaration, declare_bands, read_declarations
from ingest.flights import number_flights
from ingest.panelsearch import find_panels, mark_panel
from ingest.reading import Reading, read_photograph
from ingest.rigs import group_rigs
from ingest.verdicts import fill_heights, judge
from tmp.cameras import Camera
from tmp.captures import (
    Capture,
    Flag,
    HeightDatum,
    choose_captures,
    read_captures,
    write_captures,
)
from tmp.datums import describe_datum_shift
from tmp.errors import InputError, PhotographError
from tmp.frames import LocalFrame, choose_utm_crs
from tmp.parallel import map_threads, one_thread_each
from tmp.progress import Track, silent
from tmp.survey import Settings, Survey, create_survey, read_settings, write_settings

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
    notes: tuple[str, ...] = ()
    """What does not fit together in the survey as a whole, a line each."""

    @property
    def flagged(self) -> tuple[Capture, ...]:
        """Photographs with something to say about them."""
        return tuple(capture for capture in self.captures if capture.reason)


def ingest_photographs(
    places: Sequence[Path],
    survey: Survey,
    *,
    link: bool = False,
    crs: str | None = None,
    workers: int | None = None,
    track: Track = silent,
) -> IngestResult:
    """Take photographs into a survey, new or existing; only what is new is added.

    Parameters
    ----------
    places : sequence of Path
        Folders, searched to their depth, and files.  They are only read.
    survey : Survey
        Where to; its folder is made if need be.
    link : bool
        Put symbolic links into the survey and leave the photographs where they are.
    crs : str, optional
        Projected CRS of the products; by default the survey's, or else the UTM zone.
    workers : int, optional
        Threads; by default one per core.

    Raises
    ------
    InputError
        If there is nothing to take, a place is missing, the CRS is not metric, or one of
        `places` and `survey` lies in the other.
    NotASurveyError, VersionError
        If the folder is something else, or a newer version's survey.
    SpaceError
        If the disk has no room; nothing has been copied then.
    """
    check_crs(crs)
    refuse_overlap(places, survey.root)
    found = find_photographs(places)
    declarations = read_declarations(survey.root)
    create_survey(survey.root)
    settings = read_settings(survey)
    before = read_captures(survey.gpkg_path) if survey.gpkg_path.exists() else []
    names = propose_names(found.photographs)
    survey.photos_dir.mkdir(exist_ok=True)
    if not link:
        check_space(survey.root, _bytes_to_copy(found.photographs, names, survey, before))
    before = [_completed(capture, survey, declarations) for capture in before]
    take = partial(
        _take,
        survey=survey,
        shelf=Shelf(survey.photos_dir, (capture.name for capture in before)),
        known={capture.sha256 for capture in before},
        link=link,
        declarations=declarations,
    )
    outcomes = _take_all(take, list(zip(found.photographs, names, strict=True)), workers, track)
    taken = [o for path in found.photographs if isinstance(o := outcomes[path], Reading)]
    captures = _relate([*before, *(one.capture for one in taken)], declarations)
    if taken and (panels := find_panels(captures, survey.photos_dir)):
        captures = _relate([mark_panel(c, panels) for c in captures], declarations)
    settings = _settle(settings, captures, [one.camera for one in taken if one.camera], crs)
    write_settings(survey, settings)
    write_captures(survey.gpkg_path, captures)
    write_manifest(survey, captures)
    log.info("%s: %d photographs added, %d in all", survey.root, len(taken), len(captures))
    chosen = choose_captures(captures, keep=settings.keep, drop=settings.drop)
    return IngestResult(
        survey=survey,
        settings=settings,
        captures=tuple(chosen),
        added=tuple(one.capture.name for one in taken),
        already=sum(outcome is None for outcome in outcomes.values()),
        failed={str(p): o for p, o in outcomes.items() if isinstance(o, str)},
        ignored=found.ignored,
        notes=(*find_disagreements(chosen), *_datum_notes(settings)),
    )


def _datum_notes(settings: Settings) -> list[str]:
    """Return what is amiss with the way from WGS 84 to the CRS of the products."""
    if settings.crs is None or settings.origin is None:
        return []
    words = describe_datum_shift(settings.crs, *settings.origin[:2]).in_words()
    return [words] if words else []


def _take_all(
    take: Callable[[Path, str], Reading | None],
    jobs: Sequence[tuple[Path, str]],
    workers: int | None,
    track: Track,
) -> dict[Path, Outcome]:
    """Take in all photographs, several at a time; one that fails does not stop the others."""

    def attempt(job: tuple[Path, str]) -> Outcome:
        try:
            return take(*job)
        except PhotographError as error:
            return str(error)

    outcomes: dict[Path, Outcome] = {}
    results = map_threads(attempt, jobs, workers=workers or os.cpu_count() or 1)
    with one_thread_each():
        for (path, _), outcome in track(results, "taking in photographs", len(jobs)):
            outcomes[path] = outcome
    return outcomes


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
    return judge(number_flights(group_rigs(fill_heights(declared))))


def _bytes_to_copy(
    photographs: Sequence[Path], names: Sequence[str], survey: Survey, before: Sequence[Capture]
) -> int:
    """Return an upper bound of what is still to be copied."""
    have = {(capture.source, capture.size_bytes) for capture in before}
    total = 0
    for path, name in zip(photographs, names, strict=True):
        size = path.stat().st_size
        leftover = survey.photos_dir / name
        if (str(path.resolve()), size) not in have and not leftover.exists():
            total += size
    return total


def _take(
    source: Path,
    proposed: str,
    *,
    survey: Survey,
    shelf: Shelf,
    known: set[str],
    link: bool,
    declarations: Sequence[Declaration],
) -> Reading | None:
    """Copy or link one photograph and read it, from one pass over its bytes; None if known."""
    data = read_source(source)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in known:
        return None
    name = shelf.reserve(proposed, sha256)
    target = survey.photos_dir / name
    if link:
        link_photograph(source, target)
    else:
        copy_verified(data, sha256, source, target)
    bare = Capture(
        name=name,
        source=str(source.resolve()),
        sha256=sha256,
        size_bytes=len(data),
        width_px=0,
        height_px=0,
        camera_id="",
    )
    return read_photograph(data, bare, declarations)


def check_crs(crs: str | None) -> None:
    """Refuse a CRS that products cannot be written in.

    Raises
    ------
    InputError
        If PROJ does not know it, or it is not projected in metres.
    """
    if crs is None:
        return
    try:
        CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"{crs!r} is not a CRS; write it as 'EPSG:32633'") from error
    LocalFrame(origin=(0.0, 0.0, 0.0), crs=crs)


def _settle(
    settings: Settings, captures: Sequence[Capture], cameras: Sequence[Camera], crs: str | None
) -> Settings:
    """Add what is new to the settings; what they hold already stays, a person may have put it."""
    merged = {camera.camera_id: camera for camera in reversed(cameras)} | settings.cameras
    settings = replace(settings, cameras=dict(sorted(merged.items())))
    placed = [c for c in captures if c.positioned and c.used]
    if not placed:
        return replace(settings, crs=crs or settings.crs)
    if settings.vertical_datum is HeightDatum.UNKNOWN:
        datum = Counter(c.height_datum for c in placed).most_common(1)[0][0]
        settings = replace(settings, vertical_datum=datum)
    origin = settings.origin or choose_origin(placed)
    return replace(
        settings, origin=origin, crs=crs or settings.crs or choose_utm_crs(origin[0], origin[1])
    )


def choose_origin(captures: Sequence[Capture]) -> tuple[float, float, float]:
    """Return the zero of the local frame: the middle of the photographs, near the ground.

    Parameters
    ----------
    captures : sequence of Capture
        With positions, at least one.

    Returns
    -------
    tuple of float
        Longitude and latitude in degrees, height in whole metres.
    """
    above = [c.height_takeoff_m for c in captures if c.height_takeoff_m is not None]
    height_m = statistics.median(c.height_m or 0.0 for c in captures)
    return (
        round(statistics.median(c.longitude_deg or 0.0 for c in captures), 7),
        round(statistics.median(c.latitude_deg or 0.0 for c in captures), 7),
        float(round(height_m - (statistics.median(above) if above else 0.0))),
    )
