"""What all tests share: the real surveys, how properties are tried, and one thread per library.

Properties are tried with the same examples each time, so that a change is judged by what it
changes.  ``HYPOTHESIS_PROFILE=night pytest`` tries others, and more of them, each time.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# OpenCV and rasterio before pycolmap, whose own zlib would otherwise break PNG writing in them.
import cv2  # isort: skip
import rasterio  # noqa: F401  # isort: skip

cv2.setNumThreads(1)

# Before any test module is imported: its own @settings take the rest from the profile loaded.
NIGHT = 20
"""Times as many examples at night, of properties that do not say how many they take."""
settings.register_profile("day", derandomize=True, deadline=None)
settings.register_profile(
    "night", derandomize=False, deadline=None, max_examples=NIGHT * 100, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "day"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files with slow tests come first: side by side, none is left to run alone at last."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


REAL = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real surveys; skips the test where it is absent."""
    if not REAL.is_dir():
        pytest.skip("the real surveys are not in ../shared/data")
    return REAL
