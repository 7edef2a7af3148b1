"""The stages of a map in their order; a later stage joins by being listed here."""

from __future__ import annotations

from collections.abc import Sequence

from flows.clouds import make_cloud
from flows.exposure import EXPOSURE
from flows.mosaics import MOSAIC_TILE, make_orthomosaic
from flows.orders import Stage
from flows.orientation import FEATURES, MATCHES, ORIENTATION
from flows.reflectance import REFLECTANCE, has_bands
from flows.resources import Raster, of_tiles
from flows.stages import Step
from flows.surfaces import SURFACE_TILE, measure_surface, write_elevation
from tmp.captures import Capture

SURFACE = Stage(
    name="surface",
    version="4",
    function=measure_surface,
    needs=of_tiles(
        cpus=2,
        raster=Raster.SURFACE,
        base_gb=0.8,
        gb_per_cpu=0.2,
        cpu_s_per_tile=9.0,
        end_s_per_tile=0.3,
        shared_side=SURFACE_TILE,
    ),
)
ELEVATION = Stage(
    name="elevation",
    version="3",
    function=write_elevation,
    needs=of_tiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.1, cpu_s_per_tile=1.0),
)
ORTHOMOSAIC = Stage(
    name="orthomosaic",
    version="6",
    function=make_orthomosaic,
    needs=of_tiles(
        cpus=2,
        raster=Raster.ORTHO,
        base_gb=0.8,
        gb_per_cpu=0.15,
        gb_per_megapixel=0.018,
        cpu_s_per_tile=0.6,
        end_s_per_tile=0.15,
        end_cpus=4,
        shared_side=MOSAIC_TILE,
    ),
)
CLOUD = Stage(
    name="cloud",
    version="1",
    function=make_cloud,
    needs=of_tiles(cpus=2, raster=Raster.SURFACE, base_gb=0.7, gb_per_cpu=0.1, cpu_s_per_tile=1.0),
)

STEPS = (
    Step(stage=FEATURES, options=("quality",)),
    Step(stage=MATCHES, needs=("features",), options=("quality",)),
    Step(
        stage=ORIENTATION,
        needs=("features", "matches"),
        options=("quality", "heights", "position_sigma_m"),
    ),
    Step(stage=EXPOSURE, needs=("orientation",), options=("quality",)),
    Step(stage=SURFACE, needs=("orientation",), options=("quality", "area_wkt")),
    Step(stage=ELEVATION, needs=("surface",), options=("fill", "area_wkt")),
    Step(
        stage=ORTHOMOSAIC,
        needs=("orientation", "exposure", "surface"),
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
