"""Whether one picture can be read, and how sharp it is."""

from __future__ import annotations

import cv2
import numpy as np

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


def measure_sharpness(data: bytes, tags: Tags) -> float | None:
    """Return the variance of the Laplacian of the reduced grey picture.

    Parameters
    ----------
    data : bytes
        The whole file.
    tags : Tags
        Its tags; only the size is used.

    Returns
    -------
    float or None
        None when the picture does not decode.

    Notes
    -----
    The number depends on the scene and the camera: compare it within one camera and with
    photographs taken next to it.

    References
    ----------
    Pech-Pacheco et al. (2000). Diatom autofocusing in brightfield microscopy: a comparative
    study. ICPR, 3, 314–317.
    """
    pixels, halvings = tags.width_px * tags.height_px, MIN_HALVINGS
    while pixels > MAX_GREY_PX << (2 * halvings) and halvings < 3:
        halvings += 1
    mode = {
        1: cv2.IMREAD_REDUCED_GRAYSCALE_2,
        2: cv2.IMREAD_REDUCED_GRAYSCALE_4,
        3: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    }[halvings]
    try:
        grey = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if grey is None:
        return None
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
