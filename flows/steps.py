"""The stages of a map in their order; a later stage joins by being listed here."""

from __future__ import annotations

from collections.abc import Sequence

from flows.clouds import make_cloud
from flows.mosaics import make_orthomosaic
from flows.orders import Stage
from flows.reflectance import REFLECTANCE, has_bands
from flows.resources import of_tiles
from flows.stages import ORIENTATION, Step
from flows.surfaces import measure_surface, write_elevation
from tmp.captures import Capture

SURFACE = Stage(
    name="surface",
    version="2",
    function=measure_surface,
    needs=of_tiles(cpus=2, base_gb=1.5, gb_per_megapixel=0.05, cpu_s_per_tile=60.0, shared=True),
)
ELEVATION = Stage(
    name="elevation",
    version="1",
    function=write_elevation,
    needs=of_tiles(cpus=2, base_gb=1.0, gb_per_megapixel=0.0, cpu_s_per_tile=3.0),
)
ORTHOMOSAIC = Stage(
    name="orthomosaic",
    version="1",
    function=make_orthomosaic,
    needs=of_tiles(cpus=2, base_gb=1.5, gb_per_megapixel=0.1, cpu_s_per_tile=30.0, shared=True),
)
CLOUD = Stage(
    name="cloud",
    version="1",
    function=make_cloud,
    needs=of_tiles(cpus=2, base_gb=1.0, gb_per_megapixel=0.0, cpu_s_per_tile=3.0),
)

STEPS = (
    Step(stage=ORIENTATION, options=("quality",)),
    Step(stage=SURFACE, needs=("orientation",), options=("quality", "area_wkt")),
    Step(stage=ELEVATION, needs=("surface",), options=("fill", "area_wkt")),
    Step(
        stage=ORTHOMOSAIC,
        needs=("orientation", "surface"),
        options=("quality", "area_wkt", "ortho_gsd_m"),
    ),
    Step(stage=CLOUD, needs=("elevation", "orthomosaic")),
)

ORIENTED = ORIENTATION.name
"""The step that all products build on."""

BAND_STEPS = (
    Step(
        stage=REFLECTANCE,
        needs=("orientation", "surface"),
        options=("quality", "area_wkt", "calibration"),
    ),
)
"""What follows for a survey with photographs of single bands."""


def steps_for(captures: Sequence[Capture]) -> tuple[Step, ...]:
    """Return the steps of a survey's map, in their order."""
    return STEPS + (BAND_STEPS if has_bands(captures) else ())
