"""What a stage of a map is, what all of them share, and the first: orientation.

A stage gets paths and plain values (`flows.store.Job`), so the same function can run here or on
a node of a cluster.  Heavy imports are inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.orders import Figures, Job, Stage
from flows.resources import of_photographs
from flows.space import require_space
from tmp.captures import Capture, choose_captures, read_captures
from tmp.errors import PhotographError
from tmp.parallel import map_threads
from tmp.reconstruction import Reconstruction, read_reconstruction, write_reconstruction
from tmp.survey import Settings, Survey, open_survey, read_settings

if TYPE_CHECKING:
    from photogrammetry.pictures import PictureStore

SURVEY = "survey"
"""Name of the input that every stage has: the survey folder."""

PICTURES = "pictures"
"""Folder below ``work/`` of the photographs' pyramids."""
PYRAMID_BYTES_PER_PIXEL = 1.6
"""Disk taken by a photograph's grey pyramid and features while it is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A stage in its place: whose results it needs, and which options change its result."""

    stage: Stage
    needs: tuple[str, ...] = ()
    """Names of earlier stages; each is an input of that name, the folder of its results."""
    options: tuple[str, ...] = ()
    """Names of the map's options."""


FEATURE_SIZES = {"fast": (1200, 3000), "normal": (1600, 5000), "high": (2400, 8000)}
"""By quality: long side in pixels of the picture searched for keypoints, and their number."""


def orient_photographs(job: Job) -> Figures:
    """Orient the photographs of a survey; writes a `Reconstruction`.

    Each photograph is decoded once: its grey pyramid for the surface is kept on the way.
    """
    from photogrammetry.features import FeatureOptions
    from photogrammetry.orient import OrientOptions, orient

    survey, settings, captures = read_survey(job)
    sizes_px = {capture.name: capture.width_px for capture in captures}
    pixels = sum(c.width_px * c.height_px for c in captures if c.used)
    require_space(job.out, pixels * PYRAMID_BYTES_PER_PIXEL, "orienting the photographs")
    pictures = picture_store(job)

    def keep(name: str, picture: NDArray[np.uint8]) -> None:
        pictures.save(name, picture, halvings=round(math.log2(sizes_px[name] / picture.shape[1])))

    long_side_px, keypoints = FEATURE_SIZES[job.options["quality"]]
    reconstruction = orient(
        captures,
        settings.cameras,
        survey.photos_dir,
        settings.frame,
        survey.work_dir / "block",
        options=OrientOptions(
            features=FeatureOptions(long_side_px=long_side_px, keypoints=keypoints)
        ),
        workers=job.workers,
        track=job.track,
        on_picture=keep,
    )
    complete_pictures(job, captures)
    write_reconstruction(reconstruction, job.out)
    return {}


def picture_store(job: Job) -> PictureStore:
    """Return the store of the photographs' pyramids for a job's quality.

    Each quality has its own, so that a result does not depend on what was asked before.
    """
    from photogrammetry.pictures import PictureStore

    return PictureStore(
        folder=Survey(root=job.inputs[SURVEY]).work_dir / PICTURES / job.options["quality"]
    )


def complete_pictures(job: Job, captures: Sequence[Capture]) -> None:
    """Decode again the photographs whose pyramids someone deleted from ``work/``."""
    from photogrammetry.pictures import read_photograph

    store, photos_dir = picture_store(job), open_survey(job.inputs[SURVEY]).photos_dir
    long_side_px, _ = FEATURE_SIZES[job.options["quality"]]

    def decode(capture: Capture) -> None:
        halvings = int(max(capture.width_px, capture.height_px) >= 2 * long_side_px)
        with suppress(PhotographError):  # said by the orientation, which leaves it out
            picture = read_photograph(photos_dir / capture.name, halvings=halvings)
            store.save(capture.name, picture, halvings=halvings)

    missing = [c for c in captures if c.used and not store.has(c.name, finest_level=1)]
    done = map_threads(decode, missing, workers=job.workers)
    if missing:
        for _ in job.track(done, "Decoding photographs", len(missing)):
            pass


def read_survey(job: Job) -> tuple[Survey, Settings, Sequence[Capture]]:
    """Return the survey of a job, its settings, and its photographs with all verdicts applied."""
    survey = open_survey(job.inputs[SURVEY])
    settings = read_settings(survey)
    captures = choose_captures(
        read_captures(survey.gpkg_path), keep=settings.keep, drop=settings.drop
    )
    return survey, settings, captures


def read_oriented(job: Job) -> Reconstruction:
    """Return the reconstruction that a job builds on."""
    return read_reconstruction(job.inputs[ORIENTATION.name])


def read_surveying(job: Job) -> Reconstruction:
    """Return the reconstruction with only the photographs that surface and picture are made of."""
    from photogrammetry.bandmosaic import surface_part

    _, _, captures = read_survey(job)
    return surface_part(read_oriented(job), captures)


ORIENTATION = Stage(
    name="orientation",
    version="1",
    function=orient_photographs,
    needs=of_photographs(cpus=8, base_gb=2.0, gb_per_thousand=8.0, cpu_s_per_megapixel=0.5),
)
