"""From cards and folders to a survey: copy, read, judge, and settle where on Earth it lies.

One look at a picture tells whether it can be read, how sharp it is and how well exposed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
from ingest.metadata.bands import Declaration, band_tags, declare_bands, read_declarations
from ingest.metadata.cameras import propose_camera
from ingest.metadata.exif import Tags, read_position, read_tags, read_time
from ingest.places import check_crs, find_long_pauses, number_places, settle
from ingest.radiometry.panels import find_panels, mark_panel
from tmp.cameras import Camera
from tmp.captures import (
    Capture,
    CaptureKind,
    Flag,
    choose_captures,
    read_captures,
    write_captures,
)
from tmp.errors import PhotographError
from tmp.files import flush_to_disk, remove_partial
from tmp.geo.frames import describe_datum_shift
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.radiometry import BandTags, Family
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

HEIGHTS_M = (-500.0, 9000.0)
"""Heights that a drone can photograph from."""
CLOCK_SLACK = timedelta(days=2)
"""A photograph dated farther in the future has a wrong date."""
SENTERA_PANEL = "cal_"
"""Sentera's cameras name pictures of the panel so."""

MIDDLE_GREY, MOST_BLANK = 128, 0.01
"""Value of rows that a JPEG has no data for, and the share of them that tells of a wrong size."""

# Its TIFF reader reports every private tag, and every broken file that we flag anyway.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_GREY_PX = 3_000_000
"""Pictures are halved while decoding until they are smaller than this many pixels..."""
MIN_HALVINGS = 1
"""...but at least once, which keeps JPEG noise out of the sharpness."""

_REDUCED = {
    1: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    3: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
MAX_HALVINGS = max(_REDUCED)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a photograph's file says, and the camera that took it; None if it is unreadable."""

    capture: Capture
    camera: Camera | None


def read_photograph(
    data: bytes, capture: Capture, declarations: Sequence[Declaration] = ()
) -> Reading:
    """Fill in all that a file says of itself, where name, source, digest and size are known."""
    tags = read_tags(data)
    bands = band_tags(tags, declarations)
    capture = _with_bands(_with_tags(capture, tags), tags, bands)
    problem = why_unreadable(tags)
    picture = None
    if not problem:
        black_dn, saturation_dn = bands.black_level or 0.0, bands.saturation_dn
        if not 0 <= black_dn < saturation_dn - 1:  # told among the problems
            black_dn = 0.0
        picture = measure_picture(data, tags, black_dn=black_dn, saturation_dn=saturation_dn)
    if picture is not None and picture.blank_share > MOST_BLANK:
        picture, problem = None, _too_little(tags)
    if picture is None:
        reason = problem or "the picture does not decode"
        unreadable = replace(capture, flags=(Flag.UNREADABLE,), reason=reason)
        return Reading(capture=unreadable, camera=None)
    camera = propose_camera(tags)
    capture = replace(
        capture,
        camera_id=camera.camera_id,
        sharpness=round(picture.sharpness, 1),
        clipped_share=round(picture.clipped_share, 4),
        brightness=round(picture.brightness, 4),
        problems="; ".join(filter(None, (*bands.problems, capture.problems, *_problems(capture)))),
    )
    return Reading(capture=capture, camera=camera)


def why_unreadable(tags: Tags) -> str:
    """Return why a file cannot serve as a photograph, from its tags alone; empty when it can."""
    if not tags.kind:
        return "not a JPEG, TIFF or PNG picture inside"
    if tags.truncated:
        return "the file is cut short"
    if min(tags.width_px, tags.height_px) <= 0:
        return "no picture size in the file"
    if tags.short:
        return _too_little(tags)
    return ""


def _too_little(tags: Tags) -> str:
    return (
        f"its header says {tags.width_px} × {tags.height_px} pixels, and the file holds only a "
        "part of them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one look at a picture tells."""

    sharpness: float
    """Variance of the Laplacian of the reduced grey picture."""
    clipped_share: float
    """Share of the pixels with a saturated channel, 0 to 1."""
    brightness: float
    """Pixel value that 99 % stay below, from black (0) to saturation (1); may lie outside."""
    blank_share: float
    """Share of the rows, counted from the lower edge, that a decoder ran out of data for."""


def measure_picture(
    data: bytes, tags: Tags, *, black_dn: float = 0.0, saturation_dn: float = 255.0
) -> Picture | None:
    """Measure sharpness and exposure of a whole file, between pixel values of black and saturation.

    Of the tags only kind and size are used. Returns None when the picture does not decode.

    Sharpness depends on the scene and the camera: compare it within one camera and with
    photographs taken next to it.

    References
    ----------
    Pech-Pacheco et al. (2000). Diatom autofocusing in brightfield microscopy: a comparative
    study. ICPR, 3, 314–317.
    """
    pixels, halvings = tags.width_px * tags.height_px, MIN_HALVINGS
    while pixels > MAX_GREY_PX << (2 * halvings) and halvings < MAX_HALVINGS:
        halvings += 1
    # A reduced JPEG costs a fraction of a whole one; of a TIFF the true values are wanted.
    mode = cv2.IMREAD_UNCHANGED if tags.kind == "tiff" else _REDUCED[halvings]
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if picture is None:
        return None
    if tags.kind == "tiff":
        grey, peak = _grey(picture, halvings), _peak(picture[::2, ::2])
    else:
        grey = peak = picture
        saturation_dn -= 1.0  # a reduced pixel is the mean of several
    bright_dn = float(np.percentile(peak[::4, ::4], 99))
    return Picture(
        sharpness=float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0]) ** 2,
        clipped_share=float(np.count_nonzero(peak >= saturation_dn) / peak.size),
        brightness=(bright_dn - black_dn) / (saturation_dn - black_dn),
        blank_share=_blank_share(picture) if tags.kind == "jpeg" else 0.0,
    )


def _blank_share(picture: NDArray[Any]) -> float:
    """Return the share of rows at the lower edge in the grey that stands for absent JPEG data.

    A decoder takes coefficients it does not find for zeros, and the middle of the range comes out
    of them.  Noise keeps the rows of true pictures from being of one value.
    """
    blank = (picture == MIDDLE_GREY).all(axis=1)[::-1]
    return float(blank.argmin() / len(blank)) if not blank.all() else 1.0


def _peak(picture: NDArray[Any]) -> NDArray[Any]:
    """Return each pixel's brightest channel, (rows, cols)."""
    return picture if picture.ndim == 2 else np.asarray(picture.max(axis=2))


def _grey(picture: NDArray[Any], halvings: int) -> NDArray[Any]:
    """Return a whole picture as grey values of 8 bits' range, halved so many times."""
    small = cv2.resize(picture, None, fx=0.5**halvings, fy=0.5**halvings)
    grey = np.asarray(small, np.float32)
    if grey.ndim == 3:
        grey = np.asarray(grey.mean(axis=2))
    return grey / np.float32(256 if picture.dtype == np.uint16 else 1)


def _with_bands(capture: Capture, tags: Tags, bands: BandTags) -> Capture:
    """Return the capture with what its file says of camera body, bands and exposure."""
    name = capture.name.rpartition("/")[2].casefold()
    panel = bands.panel is not None or (
        bands.family is Family.SENTERA and name.startswith(SENTERA_PANEL)
    )
    make, model = bands.make, bands.model
    if model.casefold().startswith(make.casefold()):
        make = ""
    body = " ".join(filter(None, (make, model)))
    serial = tags.xmp_text("DroneSerialNumber") or bands.serial
    return replace(
        capture,
        band=bands.band,
        kind=CaptureKind.PANEL if panel else CaptureKind.SURVEY,
        body=f"{body} / {serial}" if serial else body,
        firmware=bands.firmware,
        capture_id=bands.capture_id,
        flight_id=bands.flight_id,
        exposure_s=bands.exposure_s,
        gain=bands.gain,
    )


def _problems(capture: Capture) -> list[str]:
    """Name what a photograph says of time and height that cannot be true."""
    found = []
    height_m, moment = capture.height_m, capture.time_utc
    if height_m is not None and not HEIGHTS_M[0] <= height_m <= HEIGHTS_M[1]:
        found.append(f"height {height_m:.0f} m")
    if moment is not None and moment > datetime.now(UTC) + CLOCK_SLACK:
        found.append(f"taken on {moment:%Y-%m-%d}, which is still to come")
    return found


def _with_tags(capture: Capture, tags: Tags) -> Capture:
    """Return the capture with size, position, time and attitude as the tags give them."""
    position = read_position(tags)
    time_utc, evidence = read_time(tags, position.longitude_deg)
    yaw, pitch, roll = read_attitude(tags)
    return replace(
        capture,
        width_px=tags.width_px,
        height_px=tags.height_px,
        time_utc=time_utc,
        time_evidence=evidence,
        **asdict(position),
        gimbal_yaw_deg=yaw,
        gimbal_pitch_deg=pitch,
        gimbal_roll_deg=roll,
    )


def read_attitude(tags: Tags) -> tuple[float | None, float | None, float | None]:
    """Return yaw, pitch and roll of the camera in degrees, pitch -90 looking down.

    Pix4D's ``Camera:Pitch`` counts from nadir.  Some makers write angles from the horizon under
    that name, so only values within 45° of nadir are believed.
    """
    angles = [tags.xmp_number(f"Gimbal{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    if None in angles:
        angles = [tags.xmp_number(f"Camera{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    if None not in angles:
        return angles[0], angles[1], angles[2]
    yaw, pitch, roll = (
        tags.xmp_number(axis, namespace="pix4d") for axis in ("Yaw", "Pitch", "Roll")
    )
    if yaw is None or pitch is None or roll is None or abs(pitch) > 45:
        return None, None, None
    return yaw, pitch - 90, roll


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
    create_survey(survey.folder)
    settings = read_settings(survey)
    before = read_captures(survey.gpkg_path) if survey.gpkg_path.exists() else []
    names = propose_names(found.photographs)
    survey.photos_dir.mkdir(exist_ok=True)
    remove_partial(survey.photos_dir)
    for path in (survey.gpkg_path, survey.manifest_path):
        remove_partial(survey.folder, stem=path.stem)
    if not link:
        check_space(survey.folder, _bytes_to_copy(found.photographs, names, survey, before))
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
    captures = _relate([*before, *(one.capture for one in taken)], declarations)
    if taken and (panels := find_panels(captures, survey.photos_dir)):
        captures = _relate([mark_panel(c, panels) for c in captures], declarations)
    cameras = {one.camera.camera_id: one.camera for one in reversed(taken) if one.camera}
    settings = replace(settings, cameras=dict(sorted((cameras | settings.cameras).items())))
    settings = settle(settings, captures, crs=crs)
    for folder in {(survey.photos_dir / one.capture.name).parent for one in taken}:
        flush_to_disk(folder)  # before a row says that the photograph is there
    write_settings(survey, settings)
    write_captures(survey.gpkg_path, captures)
    write_manifest(survey, captures)
    flush_to_disk(survey.folder)
    _remember(survey, captures, {one.capture.name for one in taken} | set(put_back.done))
    log.info("%s: %d photographs added, %d in all", survey.folder, len(taken), len(captures))
    chosen = choose_captures(captures, keep=settings.keep, drop=settings.drop, place=settings.place)
    return IngestResult(
        survey=survey,
        settings=settings,
        captures=tuple(chosen),
        added=tuple(one.capture.name for one in taken),
        already=sum(outcome is None for outcome in outcomes.values()),
        put_back=tuple(sorted(put_back.done)),
        failed=found.unlisted
        | {printable(p): o for p, o in outcomes.items() if isinstance(o, str)},
        ignored=found.ignored,
        left_out=found.left_out,
        notes=(
            *find_disagreements(chosen),
            *find_long_pauses(chosen),
            *_datum_notes(settings),
        ),
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
