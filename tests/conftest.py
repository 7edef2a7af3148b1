"""What all tests share: the real surveys, and one thread for each library that brings its own."""

from __future__ import annotations

from pathlib import Path

import pytest

# OpenCV and rasterio before pycolmap, whose own zlib would otherwise break PNG writing in them.
import cv2  # isort: skip
import rasterio  # noqa: F401  # isort: skip

cv2.setNumThreads(1)

REAL = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real surveys; skips the test where it is absent."""
    if not REAL.is_dir():
        pytest.skip("the real surveys are not in ../shared/data")
    return REAL
