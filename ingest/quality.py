"""Whether one picture can be read, how sharp it is, how well exposed, and fit for radiometry.

As in `ingest.checks`, each rule on bands that fail or tags that cannot be true returns reasons by
place in the list of captures.  None of them takes a photograph out of the map but the one for
empty pictures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.grouping import rigs_of
from ingest.metadata.bands import how_to_declare
from ingest.metadata.exif import Tags
from tmp.captures import Capture
from tmp.radiometry import UNKNOWN_BAND

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
Verdicts = dict[int, str]
"""Reasons by place in the list of captures."""
CLIPPED_SHARE = 0.1
"""Snow and low sun, well exposed, clip far less than this share of a picture."""
DARK = 0.04
"""A picture whose brightest parts stay below this share of the range holds mostly noise."""
LEAST_REACH = 1 / 8
"""Share of the range that a camera's brightest picture reaches if its files use all their bits."""
SAME_EXPOSURE = 1.02
"""Ratio up to which two exposures are the same setting."""
LEAST_RIGS = 3
"""Captures of a camera from which on it can be told what is usual for it."""


def why_unreadable(tags: Tags) -> str:
    """Return why a file cannot serve as a photograph, from its tags alone; empty when it can."""
    if not tags.kind:
        return "not a JPEG, TIFF or PNG picture inside"
    if tags.truncated:
        return "the file is cut short"
    if min(tags.width_px, tags.height_px) <= 0:
        return "no picture size in the file"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one look at a picture tells."""

    sharpness: float
    """Variance of the Laplacian of the reduced grey picture."""
    clipped_share: float
    """Share of the pixels with a saturated channel, 0 to 1."""
    brightness: float
    """Pixel value that 99 % stay below, from black (0) to saturation (1); may lie outside."""


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
    )


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


def find_empty(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures without any content."""
    return {
        i: "99 % of its pixels are black or zero"
        for i, c in enumerate(captures)
        if c.brightness is not None and c.brightness <= 0
    }


def find_overexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures of which much is saturated."""
    return {
        i: f"{c.clipped_share:.0%} of the picture is saturated{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.clipped_share is not None and c.clipped_share > CLIPPED_SHARE
    }


def find_underexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures that use next to nothing of the range of values.

    A camera none of whose pictures reaches an eighth of the range is taken to leave the upper bits
    of its files unused, as 12 bits in 16 do, and not to have exposed all of them wrongly.
    """
    reach: defaultdict[str, float] = defaultdict(float)
    for capture in captures:
        reach[capture.camera_id] = max(reach[capture.camera_id], capture.brightness or 0.0)
    return {
        i: f"99 % of the picture is below {c.brightness:.1%} of the range{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.brightness is not None
        and 0 < c.brightness < DARK
        and reach[c.camera_id] >= LEAST_REACH
    }


def _exposure(capture: Capture) -> str:
    return f", exposed {shutter(capture.exposure_s)}" if capture.exposure_s else ""


def find_implausible(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs whose tags cannot be true."""
    return {i: c.problems for i, c in enumerate(captures) if c.problems}


def find_unknown_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs of one band or of changed channels that nobody names."""
    return {
        i: f"the file does not say which bands it holds; {how_to_declare(c.camera_id)}"
        for i, c in enumerate(captures)
        if c.band == UNKNOWN_BAND
    }


def find_missing_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find captures that lack a band which at least half of their camera's captures have."""
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        counts = Counter(band for members in rigs.values() for band in {c.band for c in members})
        usual = [band for band, count in counts.items() if 2 * count >= len(rigs)]
        for rig, members in rigs.items():
            lacking = sorted(set(usual) - {c.band for c in members})
            if lacking:
                names = ", ".join(band or "RGB" for band in lacking)
                have = min(counts[band] for band in lacking)
                reason_of[rig] = (
                    f"its capture lacks {names}, which {have} of {len(rigs)} captures of this "
                    "camera have"
                )
    return _by_place(captures, reason_of)


def find_changed_exposures(captures: Sequence[Capture]) -> Verdicts:
    """Find captures whose bands differ in exposure where this camera's bands share theirs.

    Cameras that expose each band by itself, as the Sequoia does, are left alone.
    """
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        spread = {rig: _spread(members) for rig, members in rigs.items()}
        known = {rig: value for rig, value in spread.items() if value is not None}
        alike = sum(value <= SAME_EXPOSURE for value in known.values())
        if len(known) < LEAST_RIGS or 2 * alike <= len(known):
            continue
        for rig, value in known.items():
            if value > SAME_EXPOSURE:
                said = ", ".join(
                    f"{c.band} {shutter(c.exposure_s)} at gain {c.gain or 1:g}"
                    for c in rigs[rig]
                    if c.band and c.exposure_s
                )
                reason_of[rig] = (
                    f"exposure changed inside its capture ({said}), while this camera's bands "
                    "usually share one"
                )
    return _by_place(captures, reason_of)


def _rigs_by_body(captures: Sequence[Capture]) -> Iterator[dict[str, list[Capture]]]:
    """Yield the rigs of each camera body; that of the bands, where an RGB camera comes with it."""
    bodies: defaultdict[str, dict[str, list[Capture]]] = defaultdict(dict)
    for rig, members in rigs_of(captures).items():
        body = next((c.body for c in members if c.band), members[0].body)
        bodies[body][rig] = members
    yield from bodies.values()


def _spread(members: Sequence[Capture]) -> float | None:
    """Return the largest over the smallest exposure (time × gain) of a capture's bands."""
    values = [c.exposure_s * (c.gain or 1.0) for c in members if c.band and c.exposure_s]
    if len(values) < 2 or min(values) <= 0:
        return None
    return max(values) / min(values)


def _by_place(captures: Sequence[Capture], reason_of: dict[str, str]) -> Verdicts:
    return {i: reason_of[c.rig_id] for i, c in enumerate(captures) if c.rig_id in reason_of}


def shutter(exposure_s: float | None) -> str:
    """Return an exposure time as people write it.

    Examples
    --------
    >>> shutter(0.002), shutter(2.0)
    ('1/500 s', '2 s')
    """
    if not exposure_s:
        return "an unknown time"
    return f"1/{1 / exposure_s:.0f} s" if exposure_s < 0.5 else f"{exposure_s:g} s"
