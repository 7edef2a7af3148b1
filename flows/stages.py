"""The stages of a map, in their order, and how each reads its inputs and writes its results.

A stage gets paths and plain values (`flows.store.Job`), so the same function can run here or on
a node of a cluster.  Heavy imports are inside the functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.space import require_space
from flows.store import Figures, Job, Resources, Stage
from tmp.captures import Capture, choose_captures, read_captures
from tmp.reconstruction import Reconstruction, read_reconstruction, write_reconstruction
from tmp.survey import Settings, Survey, open_survey, read_settings

SURVEY = "survey"
"""Name of the input that every stage has: the survey folder."""

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


def orient_photographs(job: Job) -> Figures:
    """Orient the photographs of a survey; writes a `Reconstruction`."""
    from photogrammetry.orient import orient, orient_options

    survey, settings, captures = read_survey(job)
    pixels = sum(capture.width_px * capture.height_px for capture in captures)
    require_space(job.out, pixels * PYRAMID_BYTES_PER_PIXEL, "orienting the photographs")
    reconstruction = orient(
        captures,
        settings.cameras,
        survey.photos_dir,
        settings.frame,
        survey.work_dir,
        options=orient_options(job.options["quality"]),
        workers=job.workers,
        track=job.track,
    )
    write_reconstruction(reconstruction, job.out)
    return {
        "photographs": len(reconstruction.photos),
        "tie_points": len(reconstruction.points),
    }


def read_survey(job: Job) -> tuple[Survey, Settings, Sequence[Capture]]:
    """Return the survey of a job, its settings, and the photographs to use."""
    survey = open_survey(job.inputs[SURVEY])
    settings = read_settings(survey)
    captures = choose_captures(
        read_captures(survey.gpkg_path), keep=settings.keep, drop=settings.drop
    )
    return survey, settings, [capture for capture in captures if capture.used]


def read_oriented(job: Job) -> Reconstruction:
    """Return the reconstruction that a job builds on."""
    return read_reconstruction(job.inputs[ORIENTATION.name])


ORIENTATION = Stage(
    name="orientation",
    version="1",
    function=orient_photographs,
    resources=Resources(cpus=8, memory_gb=8.0, minutes=120.0),
)

STEPS = (Step(stage=ORIENTATION, options=("quality",)),)
