"""Pixel values as a photograph's file stores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.errors import PhotographError

# Its TIFF reader reports every private tag.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_stored(path: Path) -> NDArray[Any]:
    """Return a photograph's pixel values as stored: (rows, cols) or (rows, cols, channels).

    Channels are in the order of the file, red first in a colour picture.

    Raises
    ------
    PhotographError
        If the file cannot be decoded.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise PhotographError(f"{path}: cannot be decoded; copy it again from the card")
    if stored.ndim == 2:
        return np.asarray(stored)
    return np.ascontiguousarray(stored[..., 2::-1])  # OpenCV has blue first
