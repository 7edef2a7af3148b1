"""What a step of a map is, and what all of them share: survey, photographs, reconstruction.

A stage gets paths and plain values (`flows.engine.stage.Job`), so the same function can run here
or on a node of a cluster.  Heavy imports are inside the functions. Disk space is asked for before
work starts rather than missed in the middle of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flows.engine.stage import Job, Stage
from tmp.captures import Capture
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.reconstruction import Reconstruction, read_reconstruction
from tmp.survey import Settings, Survey, open_survey, read_settings
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.pictures import PictureStore

SURVEY = "survey"
"""Name of the input that every stage has: the survey folder."""

PICTURES = "pictures"
"""Folder below ``work/`` of the photographs' pyramids."""

FEATURE_SIZES = {"fast": (1200, 3000), "normal": (1600, 5000), "high": (2400, 8000)}
"""By quality: long side in pixels of the picture searched for keypoints, and their number."""
RESERVE_BYTES = 200 * 2**20
"""Left free for everything else on the disk."""
FARTHEST_M = 1000.0
"""An area farther than this from every photograph belongs to another survey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage in its place: whose results it needs, and which options change its result."""

    stage: Stage
    needs: tuple[str, ...] = ()
    """Names of earlier stages; each is an input of that name, the folder of its results."""
    options: tuple[str, ...] = ()
    """Names of the map's options."""


def picture_store(job: Job) -> PictureStore:
    """Return the store of the photographs' pyramids for a job's quality.

    Each quality has its own, so that a result does not depend on what was asked before.
    """
    from photogrammetry.pictures import PictureStore

    return PictureStore(
        folder=Survey(folder=job.inputs[SURVEY]).work_dir / PICTURES / job.options["quality"]
    )


def complete_pictures(job: Job, captures: Sequence[Capture]) -> None:
    """Decode again the photographs whose pyramids someone deleted from ``work/``."""
    store = picture_store(job)

    def decode(capture: Capture) -> None:
        with suppress(PhotographError):  # said by the orientation, which leaves it out
            save_picture(job, capture)

    used = {capture.name: capture for capture in captures if capture.used}
    missing = [used[name] for name in store.lacking(used)]
    done = map_threads(decode, missing, workers=job.workers)
    if missing:
        for _ in job.track(done, "Decoding photographs", len(missing)):
            pass


def save_picture(job: Job, capture: Capture) -> None:
    """Decode a photograph and store its pyramid."""
    from photogrammetry.pictures import read_photograph

    long_side_px, _ = FEATURE_SIZES[job.options["quality"]]
    halvings = int(max(capture.width_px, capture.height_px) >= 2 * long_side_px)
    photos_dir = Survey(folder=job.inputs[SURVEY]).photos_dir
    picture = read_photograph(photos_dir / capture.name, halvings=halvings)
    picture_store(job).save(capture.name, picture, halvings=halvings)


def read_survey(job: Job) -> tuple[Survey, Settings, Sequence[Capture]]:
    """Return the survey of a job, its settings, and its photographs with all verdicts applied."""
    survey = open_survey(job.inputs[SURVEY])
    return survey, read_settings(survey), survey.captures


def read_oriented(job: Job) -> Reconstruction:
    """Return the reconstruction that a job builds on."""
    return read_reconstruction(job.inputs["orientation"])


def read_surveying(job: Job) -> Reconstruction:
    """Return the reconstruction with only the photographs that surface and picture are made of."""
    from photogrammetry.ortho.bands import surface_part

    _, _, captures = read_survey(job)
    return surface_part(read_oriented(job), captures)


def require_space(folder: Path, needed_bytes: float, purpose: str) -> None:
    """Raise `SpaceError` if a folder's disk has less room than is needed.

    Parameters
    ----------
    folder : Path
        An existing folder.
    needed_bytes : float
        Without the reserve of `RESERVE_BYTES`, which is added.
    purpose : str
        What needs it, for the message.

    Raises
    ------
    SpaceError
        With what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    needed = needed_bytes + RESERVE_BYTES
    if free < needed:
        raise SpaceError(
            f"{folder}: {purpose} needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB is "
            "free; make room, or move the survey to another disk, and run again"
        )


def refuse_distant_area(path: Path, area: BaseGeometry, positions_m: NDArray[np.float64]) -> None:
    """Raise `InputError` if no photograph was taken near the area.

    Parameters
    ----------
    path : Path
        Where the area came from, for the message.
    area : shapely geometry
    positions_m : ndarray of shape (N, 2)
        Easting and northing of the photographs, in the CRS of the area.
    """
    nearest_m = float(shapely.distance(area, shapely.points(positions_m)).min())
    if nearest_m > FARTHEST_M:
        raise InputError(
            f"{path}: the area lies {nearest_m / 1000:.1f} km from the nearest photograph; "
            "give the polygon of this survey, or check its CRS"
        )
