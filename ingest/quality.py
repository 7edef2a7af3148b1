"""Whether one picture can be read, how sharp it is, and how well exposed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.tags import Tags

# Its TIFF reader reports every private tag, and every broken file that we flag anyway.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_GREY_PX = 3_000_000
"""Pictures are halved while decoding until they are smaller than this many pixels..."""
MIN_HALVINGS = 1
"""...but at least once, which keeps JPEG noise out of the sharpness."""


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
    """Measure sharpness and exposure of one picture.

    Parameters
    ----------
    data : bytes
        The whole file.
    tags : Tags
        Its tags; only kind and size are used.
    black_dn, saturation_dn : float
        Pixel values of darkness and saturation.

    Returns
    -------
    Picture or None
        None when the picture does not decode.

    Notes
    -----
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


_REDUCED = {
    1: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    3: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
MAX_HALVINGS = max(_REDUCED)


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
