"""What is told of a map's bare ground on request: contours, slope, volumes in polygons."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.engine.stage import Stage, execute
from flows.engine.store import Input, Known, StageStore
from flows.products.qgis_project import write_project
from flows.products.sidecars import write_styles
from flows.products.table import (
    CONTOURS,
    DTM,
    DTM_SIGMA,
    HEIGHT_ABOVE_GROUND,
    HEIGHT_ABOVE_GROUND_SIGMA,
    SLOPE,
)
from flows.products.volumes import Surface, Volumes, measure_volumes, write_volumes
from flows.products.zones import read_zones
from flows.run.publish import (
    manifest_of,
    publish,
    put_back_products,
    report_map,
    require_map,
)
from flows.run.request import TerrainOptions
from flows.stages.inputs import SURVEY
from flows.stages.terrain import AboveGround, ContourLines, Slope, Terrain
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey

log = logging.getLogger(__name__)

_FILES: Mapping[type[Stage], tuple[str, ...]] = {
    Terrain: (DTM.file, DTM_SIGMA.file),
    AboveGround: (HEIGHT_ABOVE_GROUND.file, HEIGHT_ABOVE_GROUND_SIGMA.file),
    ContourLines: (CONTOURS.file,),
    Slope: (SLOPE.file,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TerrainResult:
    """What was made of the bare ground."""

    survey: Survey
    paths: tuple[Path, ...]
    """The products, in their order."""
    figures: Mapping[str, Any]
    """Of the contours: ``interval_m`` and ``lines``; empty without."""
    report_path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesResult:
    """What was measured in polygons."""

    survey: Survey
    found: Volumes
    paths: tuple[Path, ...]
    """The table and the polygons."""


def make_terrain(
    root: StrPath, options: TerrainOptions | None = None, *, track: Track = silent
) -> TerrainResult:
    """Make the bare ground of a mapped survey, and what is asked of it; nothing is made twice.

    Parameters
    ----------
    root : path or Survey
        A survey folder with a map.
    options : TerrainOptions, optional
    track : Track

    Raises
    ------
    NotASurveyError, InputError
        If the survey has no map, or a preview alone, or contours would be too many.
    """
    survey, options = open_survey(root), options or TerrainOptions()
    with locked_survey(survey, "'tmp terrain'"):
        put_back_products(survey)
        record = require_map(survey, "bare ground")
        store = StageStore(root=survey.work_dir / "stages")
        run = partial(execute, workers=options.workers)
        made = {result.stage: result for result in record.results}
        manifest = manifest_of(made["elevation"])
        asked: list[tuple[type[Stage], Mapping[str, Any]]] = [
            (Terrain, {name: manifest["options"][name] for name in Terrain.options}),
            (AboveGround, {}),
        ]
        if options.contours:
            asked.append((ContourLines, {"interval_m": options.interval_m}))
        if options.slope:
            asked.append((Slope, {}))
        known = Known(path=survey.folder, digest=manifest["inputs"][SURVEY])
        changed = False
        for stage, values in asked:
            inputs: dict[str, Input] = {SURVEY: known}
            inputs |= {name: made[name].known for name in stage.after}
            recipe = store.recipe(stage, inputs, values)
            result = store.make(recipe, run=run, track=track)
            former = made.get(stage.name)
            changed |= former is None or former.folder != result.folder
            made[stage.name] = result
        files = [file for stage, _ in asked for file in _FILES[stage]]
        publish([made[stage.name] for stage, _ in asked], survey.products_dir, files)
        write_styles(survey.products_dir)
        write_project(survey)
        if changed or not survey.report_path.exists():
            report_map(replace(record, results=tuple(made.values())))
    lines = made[ContourLines.name].figures if options.contours else {}
    return TerrainResult(
        survey=survey,
        paths=tuple(survey.products_dir / file for file in files),
        figures=lines,
        report_path=survey.report_path,
    )


def measure_in_polygons(
    root: StrPath, polygons: Path, *, base: str = "plane", surface: Surface = Surface.DSM
) -> VolumesResult:
    """Measure volumes of a map's surface in polygons, above a base; writes a table and polygons.

    Parameters
    ----------
    root : path or Survey
        A survey folder with a map.
    polygons : Path
        GeoPackage, GeoJSON, KML, shapefile or the like.
    base : str
        "plane" through each polygon's edge, "lowest" place of its edge, or the path of a raster of
        heights.
    surface : Surface
        The surface model, or the bare ground.

    Raises
    ------
    NotASurveyError, InputError
        If there is no map with a scale, no polygon on it, or a base that cannot be compared.
    """
    survey = open_survey(root)
    zones = read_zones(polygons)
    with locked_survey(survey, "'tmp volume'"):
        put_back_products(survey)
        found = measure_volumes(zones, survey.products_dir, surface=surface, base=base)
        paths = write_volumes(found, survey.products_dir)
    return VolumesResult(survey=survey, found=found, paths=paths)
