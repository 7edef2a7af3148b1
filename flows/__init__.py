"""Stages and their runs: which stage is made when, where, and what is there already.

`map_survey` is what ``tmp map`` calls, `run_survey` what ``tmp run`` does, `compute_indices` what
``tmp indices`` does; `make_terrain` is ``tmp terrain``, `measure_in_polygons` ``tmp volume``,
`make_model` ``tmp model``; `make_relief` is ``tmp relief``, `make_viewer` writes what ``tmp view``
shows.
"""

from typing import TYPE_CHECKING

from tmp import load_on_use

__all__ = [
    "IndexOptions",
    "MapOptions",
    "ModelOptions",
    "ReliefOptions",
    "RunOptions",
    "SurveyRequest",
    "SurveyResult",
    "TerrainOptions",
    "Where",
    "compute_indices",
    "make_model",
    "make_relief",
    "make_terrain",
    "make_viewer",
    "map_survey",
    "measure_in_polygons",
    "read_profile",
    "run_survey",
]

if TYPE_CHECKING:
    from flows.execution.cluster_profile import read_profile
    from flows.pipeline import map_survey, run_survey
    from flows.run.indices import compute_indices
    from flows.run.model import make_model
    from flows.run.relief import ReliefOptions, make_relief
    from flows.run.request import (
        IndexOptions,
        MapOptions,
        ModelOptions,
        RunOptions,
        SurveyRequest,
        SurveyResult,
        TerrainOptions,
        Where,
    )
    from flows.run.terrain import make_terrain, measure_in_polygons
    from flows.run.viewer import make_viewer
else:
    __getattr__ = load_on_use(
        __name__,
        {
            "IndexOptions": "flows.run.request",
            "MapOptions": "flows.run.request",
            "ModelOptions": "flows.run.request",
            "ReliefOptions": "flows.run.relief",
            "RunOptions": "flows.run.request",
            "SurveyRequest": "flows.run.request",
            "SurveyResult": "flows.run.request",
            "TerrainOptions": "flows.run.request",
            "Where": "flows.run.request",
            "compute_indices": "flows.run.indices",
            "make_model": "flows.run.model",
            "make_relief": "flows.run.relief",
            "make_terrain": "flows.run.terrain",
            "make_viewer": "flows.run.viewer",
            "map_survey": "flows.pipeline",
            "measure_in_polygons": "flows.run.terrain",
            "read_profile": "flows.execution.cluster_profile",
            "run_survey": "flows.pipeline",
        },
    )
