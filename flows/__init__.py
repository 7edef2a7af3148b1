"""Order and machines: which stage runs when, where, and what is already done.

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
    from flows.run.indices import IndexOptions, compute_indices
    from flows.run.plan import MapOptions
    from flows.run.request import RunOptions, SurveyRequest, SurveyResult, Where
    from flows.run.survey_flow import map_survey, run_survey
else:
    __getattr__ = load_on_use(
        __name__,
        {
            "IndexOptions": "flows.run.indices",
            "MapOptions": "flows.run.plan",
            "RunOptions": "flows.run.request",
            "SurveyRequest": "flows.run.request",
            "SurveyResult": "flows.run.request",
            "Where": "flows.run.request",
            "compute_indices": "flows.run.indices",
            "map_survey": "flows.run.survey_flow",
            "read_profile": "flows.execution.cluster_profile",
            "run_survey": "flows.run.survey_flow",
        },
    )
