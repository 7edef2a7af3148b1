"""Stages and their runs: which stage is made when, where, and what is there already.

`map_survey` is what ``tmp map`` calls, `run_survey` what ``tmp run`` does, `compute_indices` what
``tmp indices`` does.
"""

from typing import TYPE_CHECKING

from tmp import load_on_use

__all__ = [
    "IndexOptions",
    "MapOptions",
    "RunOptions",
    "SurveyRequest",
    "SurveyResult",
    "Where",
    "compute_indices",
    "map_survey",
    "read_profile",
    "run_survey",
]

if TYPE_CHECKING:
    from flows.execution.cluster_profile import read_profile
    from flows.pipeline import map_survey, run_survey
    from flows.run.indices import compute_indices
    from flows.run.request import (
        IndexOptions,
        MapOptions,
        RunOptions,
        SurveyRequest,
        SurveyResult,
        Where,
    )
else:
    __getattr__ = load_on_use(
        __name__,
        {
            "IndexOptions": "flows.run.request",
            "MapOptions": "flows.run.request",
            "RunOptions": "flows.run.request",
            "SurveyRequest": "flows.run.request",
            "SurveyResult": "flows.run.request",
            "Where": "flows.run.request",
            "compute_indices": "flows.run.indices",
            "map_survey": "flows.pipeline",
            "read_profile": "flows.execution.cluster_profile",
            "run_survey": "flows.pipeline",
        },
    )
