"""The stage that solves how bright each photograph is: once for a survey, for all its tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.orders import Figures, Job, Stage
from flows.resources import of_photographs
from flows.stages import complete_pictures, picture_store, read_survey, read_surveying
from tmp.files import replacing

GAINS_FILE = "gains.json"


def solve_exposures(job: Job) -> Figures:
    """Solve the gains with which photographs agree where they overlap; writes them as JSON."""
    from photogrammetry.exposure import balance_exposures
    from photogrammetry.views import views_of

    reconstruction = read_surveying(job)
    _, _, captures = read_survey(job)
    complete_pictures(job, captures)
    views = views_of(reconstruction)
    solved = balance_exposures(views, reconstruction.points, picture_store(job), track=job.track)
    gains = {view.name: gain.tolist() for view, gain in zip(views, solved, strict=True)}
    with replacing(job.out / GAINS_FILE) as temporary:
        temporary.write_text(json.dumps(gains, indent=0), encoding="utf-8")
    return {"least_gain": float(solved.min()), "greatest_gain": float(solved.max())}


def read_gains(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the factors (3,) of each photograph's bands, by its name, to the last bit as solved.

    Parameters
    ----------
    folder : Path
        Of the stage's result.
    """
    said = json.loads((folder / GAINS_FILE).read_text(encoding="utf-8"))
    return {name: np.array(gain) for name, gain in said.items()}


EXPOSURE = Stage(
    name="exposure",
    version="1",
    function=solve_exposures,
    needs=of_photographs(cpus=1, base_gb=0.5, gb_per_thousand=0.2, cpu_s_per_photograph=0.01),
)
