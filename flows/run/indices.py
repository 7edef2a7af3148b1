"""From the reflectance of a survey to its indices: products, styles, catalogue, report, zones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flows.engine.stage import Recipe, execute
from flows.engine.store import Result, StageStore, read_result
from flows.products.band_stack import REFLECTANCE_FILE, BandStack, choose_stack, read_index_products
from flows.products.qgis_project import write_project
from flows.products.sidecars import write_catalog, write_styles
from flows.products.zones import Zones, read_zones, shapes_on_map, write_zones
from flows.run.publish import (
    MAP_FILES,
    is_reported,
    publish,
    put_back_products,
    recall_map,
    report_map,
)
from flows.run.quick_look import TRIED, write_map_look
from flows.run.request import IndexOptions, IndicesResult
from flows.stages.indices import LEFT_OUT, NO_SHADOW, STACK, IndexRequest, Indices, read_requests
from tmp.errors import InputError
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey, read_settings

log = logging.getLogger(__name__)

MakeResult = Callable[[StageStore, Recipe], Result]
"""Returns the result of a recipe, made if it is not there."""


def compute_indices(
    root: StrPath, options: IndexOptions, *, track: Track = silent
) -> IndicesResult:
    """Compute indices of a survey; work already done is not done again.

    Parameters
    ----------
    root : path or Survey
        A survey folder with ``products/reflectance.tif``, or an orthomosaic for indices of
        visible bands.
    options : IndexOptions
    track : Track

    Raises
    ------
    NotASurveyError, InputError
        Before anything is computed: an unknown index, a missing band, a formula that is not
        arithmetic, an index that needs reflectance where its level is unknown.
    """
    survey = open_survey(root)
    plan_indices(survey, options)
    with locked_survey(survey, "'tmp indices'"):
        put_back_products(survey)
        run = partial(execute, workers=options.workers)
        return make_indices(
            survey, options, lambda store, recipe: store.make(recipe, run=run, track=track)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPlan:
    """What will be computed."""

    store: StageStore
    recipe: Recipe
    files: tuple[str, ...]
    """The index rasters, in the order asked for."""
    warnings: tuple[str, ...]
    zones: Zones | None = None
    """Polygons to summarise them in."""

    @property
    def done(self) -> bool:
        """Whether it is there already."""
        return read_result(self.recipe.folder) is not None


def default_indices(survey: Survey, workers: int) -> IndexOptions | None:
    """Return the index that a survey's reflectance is first looked at by; None if it has none."""
    from photogrammetry.indices.table import index_table

    if not (survey.products_dir / REFLECTANCE_FILE).exists():
        return None
    stack = choose_stack(survey.products_dir, picture=False)
    computable = {index.name for index in index_table().computable(stack.bands)}
    found = next((name for name in TRIED if name in computable), None)
    return None if found is None else IndexOptions(indices=(found,), workers=workers)


def refuse_unknown(options: IndexOptions) -> None:
    """Raise `InputError` for an index that is not in the table, or a formula that is none."""
    from photogrammetry.indices.table import index_table

    table = index_table()
    for asked in options.as_values():
        if asked["formula"]:
            table.from_user(asked["name"], asked["formula"])
        else:
            table.find(asked["name"])


def plan_indices(survey: Survey, options: IndexOptions) -> IndexPlan:
    """Return what will be computed, refusing what cannot be; computes nothing."""
    stack = choose_stack(survey.products_dir, picture=options.picture)
    requests = read_requests(options.as_values(), stack)
    _refuse_names_taken(requests, stack)
    zones = None
    if options.zones_file is not None:
        zones = read_zones(options.zones_file)
        shapes_on_map(zones, stack.path)  # refuses those beside it while nothing is computed
    store = StageStore(root=survey.work_dir / "stages")
    recipe = store.recipe(
        Indices,
        {STACK: stack.path},
        {"indices": options.as_values(), "mask_shadow": options.mask_shadow},
    )
    return IndexPlan(
        store=store,
        recipe=recipe,
        files=tuple(f"{request.stem}.tif" for request in requests),
        warnings=_judge_level(requests, stack, relative=options.relative),
        zones=zones,
    )


def make_indices(survey: Survey, options: IndexOptions, make: MakeResult) -> IndicesResult:
    """Compute indices of a survey whose lock is held; see `compute_indices`."""
    plan = plan_indices(survey, options)
    warnings = plan.warnings
    result = make(plan.store, plan.recipe)
    if NO_SHADOW in str(result.figures[LEFT_OUT]):
        warnings += (
            "no shadow was masked: dark and lit ground are not two classes in this survey",
        )
    publish([result], survey.products_dir, plan.files)
    write_styles(survey.products_dir)
    write_project(survey)
    paths = tuple(survey.products_dir / file for file in plan.files)
    zone_paths: tuple[Path, ...] = ()
    if plan.zones is not None:
        zone_paths = write_zones(plan.zones, paths, survey.products_dir)
    return IndicesResult(
        survey=survey,
        paths=paths,
        zone_paths=zone_paths,
        report_path=survey.report_path
        if result.reused and is_reported(survey, result)
        else _tell(survey, result, plan.files),
        warnings=warnings,
    )


def _refuse_names_taken(requests: Sequence[IndexRequest], stack: BandStack) -> None:
    taken = {*MAP_FILES, stack.path.name}
    for request in requests:
        if f"{request.stem}.tif" in taken:
            raise InputError(
                f"--formula {request.index.name}: {request.stem}.tif is another product; "
                "choose another name"
            )


def _judge_level(
    requests: Sequence[IndexRequest], stack: BandStack, *, relative: bool
) -> tuple[str, ...]:
    """Return what to be warned of; refuse what needs reflectance where there is none."""
    from photogrammetry.indices.table import Needs

    warnings = [warning for request in requests for warning in request.warnings]
    if stack.absolute:
        return tuple(warnings)
    wanting = [
        request.index.name for request in requests if request.index.needs is Needs.REFLECTANCE
    ]
    if wanting and not relative:
        raise InputError(
            f"{', '.join(wanting)}: needs reflectance, and {stack.path.name} is "
            f"{stack.in_words()}; picture a reflectance panel, take NDVI or another ratio, or "
            "add --relative to compute it for this picture alone"
        )
    if wanting:
        warnings.append(
            f"{', '.join(wanting)}: computed from values of unknown level; good for looking at "
            "this map, not for comparing or reporting"
        )
    warnings.append(
        f"values rest on: {stack.in_words()}; compare within this map only, not with other dates "
        "or cameras"
    )
    return tuple(warnings)


def _tell(survey: Survey, result: Result, files: Sequence[str]) -> Path | None:
    """Write quick looks, and catalogue and report anew; returns the report's path."""
    settings = read_settings(survey)
    captures = survey.captures
    times = [capture.time_utc for capture in captures if capture.time_utc is not None]
    for product in read_index_products(survey.products_dir):
        if product.file in files:
            date = f", {min(times):%Y-%m-%d}" if times else ""
            title = f"{product.title}: {settings.name}{date}"
            write_map_look(survey.products_dir / product.file, product, title=title)
    record = recall_map(survey, settings, captures)
    if record is None:
        write_catalog(survey, settings, captures)
        log.warning("%s: no map to report on; 'tmp map' writes one", survey.folder)
        return None
    others = [known for known in record.results if known.stage != result.stage]
    report_map(replace(record, results=[*others, result]))
    return survey.report_path
