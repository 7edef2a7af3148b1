"""What is told of a map's bare ground on request: contours, slope, volumes in polygons."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flows.engine.cost import Quality
from flows.engine.result import read_manifest
from flows.engine.stage import Stage, execute
from flows.engine.store import Input, Known, Result, StageStore
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
from flows.report.quality import MapRecord
from flows.run.publish import publish, put_back_products, recall_map, report_map
from flows.run.request import TerrainOptions
from flows.stages.inputs import SURVEY
from flows.stages.terrain import AboveGround, ContourLines, Slope, Terrain
from tmp.errors import InputError
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey, read_settings

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
        record = _record_of(survey)
        store = StageStore(root=survey.work_dir / "stages")
        run = partial(execute, workers=options.workers)
        made = {result.stage: result for result in record.results}
        options_of_map = _manifest_of(made["elevation"])["options"]
        asked: list[tuple[type[Stage], Mapping[str, Any]]] = [
            (Terrain, {name: options_of_map[name] for name in Terrain.options}),
            (AboveGround, {}),
        ]
        if options.contours:
            asked.append((ContourLines, {"interval_m": options.interval_m}))
        if options.slope:
            asked.append((Slope, {}))
        known = Known(path=survey.folder, digest=_manifest_of(made["elevation"])["inputs"][SURVEY])
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


def _record_of(survey: Survey) -> MapRecord:
    """Return the record of a survey's map; refuses one without, or with a preview alone."""
    record = recall_map(survey, read_settings(survey), survey.captures)
    if record is None or not any(result.stage == "elevation" for result in record.results):
        raise InputError(
            f"{survey.folder}: has no map yet; make one with 'tmp map {survey.folder}'"
        )
    if record.asked.get("quality") == Quality.FAST:
        raise InputError(
            f"{survey.folder}: has a preview, which has no bare ground; map it with "
            "'tmp map --quality normal'"
        )
    return record


def _manifest_of(result: Result) -> Mapping[str, Any]:
    """Return what is known of a result that is there."""
    manifest = read_manifest(result.folder)
    if manifest is None:
        raise InputError(f"{result.folder}: the result has gone; map again")
    return manifest
