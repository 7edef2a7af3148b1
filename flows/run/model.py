"""Models of a map that is there: of another detail or of an area, as OBJ and as 3D Tiles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import shapely

from flows.engine.stage import Recipe, Stage, execute
from flows.engine.store import Input, Known, Result, StageStore
from flows.products.table import DSM, MODEL, REQUESTED_MODEL, product_stamps
from flows.products.zones import read_zones, shapes_on_map
from flows.report.findings import why_flat
from flows.report.quality import MapRecord
from flows.run.publish import (
    manifest_of,
    publish_as,
    put_back_products,
    report_map,
    require_map,
    withdraw,
)
from flows.run.request import ModelOptions
from flows.run.verify import find_changed, refusal
from flows.stages.inputs import SURVEY
from flows.stages.model import Model, ModelAsObj, RequestedModel
from flows.stages.solids import Sides, Solids, Standing
from flows.stages.tiles3d import TILESET, Tiles3d
from photogrammetry.model.obj import OBJ
from tmp.captures import HeightDatum
from tmp.errors import InputError
from tmp.geo.drawings import parts_of
from tmp.geo.frames import EGM96_GRID
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey

MODEL_OF_MAP = "model of the map"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """What was made."""

    survey: Survey
    paths: tuple[Path, ...]
    """The model, and of OBJ and 3D Tiles the file to open."""
    figures: Mapping[str, Any]
    """Of the model: ``corners``, ``faces``, ``pixel_m`` and more."""
    notes: tuple[str, ...]
    """What to mind, in words."""
    report_path: Path


def make_model(
    root: StrPath, options: ModelOptions | None = None, *, track: Track = silent
) -> ModelResult:
    """Make a model of a mapped survey as it is asked for; nothing is made twice.

    The map's own ``model.glb`` stays as it is: others have area and detail in their names.

    Parameters
    ----------
    root : path or Survey
        A survey folder with a map.
    options : ModelOptions, optional
    track : Track

    Raises
    ------
    NotASurveyError, InputError
        If the survey has no map, or a preview alone; the area lies elsewhere; or 3D Tiles are
        asked of a map without a place.
    SpaceError
        If the disk has too little room.
    """
    survey, options = open_survey(root), options or ModelOptions()
    with locked_survey(survey, "'tmp model'"):
        put_back_products(survey)
        record = require_map(survey, "3D model")
        if options.tiles3d and not record.scaled:
            raise InputError(
                f"{survey.folder}: the photographs carry no positions, so the map has neither "
                "place nor scale, and 3D Tiles stand on the Earth; leave --tiles3d away"
            )
        values = _values(record, options)
        changed = find_changed(survey, record.captures, workers=options.workers, track=track)
        if changed:
            raise refusal(survey, changed)
        made = _make(record, options, values, track)
        stem = "model" if MODEL_OF_MAP in made else _stem(options)
        names = {
            f"{stem}.glb": (made["model"], MODEL.file),
            **_within(f"{stem}-obj", made.get(ModelAsObj.name)),
            **_within(f"{stem}-tiles3d", made.get(Tiles3d.name)),
        }
        listed = (survey.products_dir / f"{stem}.glb").exists() and survey.report_path.exists()
        _put(names, survey.products_dir)
        if not (listed and made["model"].reused):
            report_map(record)
    openable = [f"{stem}.glb", f"{stem}-obj/{OBJ}", f"{stem}-tiles3d/{TILESET}"]
    return ModelResult(
        survey=survey,
        paths=tuple(survey.products_dir / name for name in openable if name in names),
        figures=made["model"].figures,
        notes=tuple(_notes(record, made, options)),
        report_path=survey.report_path,
    )


def _values(record: MapRecord, options: ModelOptions) -> dict[str, Any]:
    """Return the options that stages know: those of the map, and what is asked of the model."""
    of_map: dict[str, Any] = {}
    for result in record.results:
        if result.stage in ("surface", "elevation"):
            of_map |= manifest_of(result)["options"]
    return {
        "quality": of_map["quality"],
        "water_wkt": of_map["water_wkt"],
        "model_sides": options.sides,
        "model_detail": options.detail,
        "model_area_wkt": _area_wkt(options.area_file, record.survey),
    }


def _area_wkt(path: Path | None, survey: Survey) -> str | None:
    """Return the polygons of a file on the map; refuses those that lie beside it."""
    if path is None:
        return None
    _, shapes = shapes_on_map(read_zones(path), survey.products_dir / DSM.file)
    return str(shapely.MultiPolygon(parts_of(shapely.union_all(shapes))).wkt)


def _make(
    record: MapRecord, options: ModelOptions, values: Mapping[str, Any], track: Track
) -> dict[str, Result]:
    """Make what is asked for; returns the results of map and model by stage.

    That of the model is called so whichever stage made it, and `MODEL_OF_MAP` too if it is what
    the map has.
    """
    store = StageStore(root=record.survey.work_dir / "stages")
    run = partial(execute, workers=options.workers)
    made = {result.stage: result for result in record.results}
    digest = manifest_of(made["elevation"])["inputs"][SURVEY]
    known = Known(path=record.survey.folder, digest=digest)

    def recipe(stage: type[Stage]) -> Recipe:
        inputs: dict[str, Input] = {SURVEY: known}
        inputs |= {name: made[name].known for name in stage.after}
        return store.recipe(stage, inputs, {name: values[name] for name in stage.options})

    for stage in (Standing, Sides, Solids):
        made[stage.name] = store.make(recipe(stage), run=run, track=track)
    of_map = made.get(Model.name)
    whole = values["model_area_wkt"] is None
    if whole and of_map is not None and of_map.folder == recipe(Model).folder:
        made[MODEL_OF_MAP] = of_map
    else:
        made[Model.name] = store.make(recipe(RequestedModel), run=run, track=track)
    if options.obj:
        made[ModelAsObj.name] = store.make(recipe(ModelAsObj), run=run, track=track)
    if options.tiles3d:
        made[Tiles3d.name] = store.make(recipe(Tiles3d), run=run, track=track)
    return made


def _stem(options: ModelOptions) -> str:
    """Return the name of a model that is not the map's own: its area and its detail.

    Examples
    --------
    >>> _stem(ModelOptions(detail="high", area_file=Path("plans/trench 3.gpkg"), sides=False))
    'model-trench_3-high-no-sides'
    """
    area = "" if options.area_file is None else re.sub(r"\W+", "_", options.area_file.stem) + "-"
    return f"{REQUESTED_MODEL}{area}{options.detail}{'' if options.sides else '-no-sides'}"


def _within(folder: str, result: Result | None) -> dict[str, tuple[Result, str]]:
    """Return the files of a result by their names within a folder of the products."""
    return {} if result is None else {f"{folder}/{file}": (result, file) for file in result.files}


def _put(names: Mapping[str, tuple[Result, str]], products_dir: Path) -> None:
    """Put the files into their places, and take away what earlier ones have left there."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    stale = [
        name
        for name in product_stamps(products_dir).remembered()
        if name.partition("/")[0] in folders and name not in names
    ]
    publish_as(names, products_dir)
    withdraw(stale, products_dir)


def _notes(record: MapRecord, made: Mapping[str, Result], options: ModelOptions) -> Iterator[str]:
    """Yield what to mind of a model."""
    if options.sides:
        figures = {name: result.figures for name, result in made.items()}
        yield from why_flat(figures, record.reconstruction)
    tiles = made.get(Tiles3d.name)
    if tiles is not None and tiles.figures["raised_m"] is None:
        datum = record.settings.vertical_datum
        if datum is HeightDatum.EGM96:
            yield (
                "3D Tiles stand on the ellipsoid, and the map's heights count from sea level: on a "
                f"globe the model is off by the height of the geoid; 'pyproj sync --file "
                f"{EGM96_GRID}' (once, with a network) fetches what mends that"
            )
        else:
            yield (
                "3D Tiles stand on the ellipsoid, and the cameras do not say from where the map's "
                "heights count: on a globe the model may hang in the air or lie below the ground"
            )
