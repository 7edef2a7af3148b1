"""Pictures of relief of a map's heights, on request: what is asked for, and where it is put."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flows.engine.stage import execute
from flows.engine.store import Known, StageStore
from flows.products.qgis_project import write_project
from flows.products.sidecars import write_styles
from flows.products.table import DSM, DTM, RELIEF, RELIEF_DIR, Product
from flows.products.volumes import Surface
from flows.run.publish import publish, put_back_products, recall_map, report_map
from flows.stages.inputs import SURVEY
from flows.stages.relief import HEIGHTS, LEAST_CELLS, MOST_CELLS, Relief
from tmp.errors import InputError, require_range
from tmp.files import nearest
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey, read_settings

RADIUS_M = 5.0
"""How far is looked about unless asked otherwise: walls, banks and ditches are metres wide."""
RADIUS_CELLS = 50
"""The same on a map without a scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliefOptions:
    """What is asked of a map's pictures of relief."""

    layers: tuple[str, ...] = ()
    """Names, such as "vat" and "sky_view_factor"; all if none is given."""
    radius_m: float | None = None
    """How far each place looks about; None for what suits walls, banks and ditches."""
    surface: Surface = Surface.DTM
    """The bare ground, or whatever the camera saw first."""
    workers: int = 1
    """Threads; never changes the result."""

    def __post_init__(self) -> None:
        require_range(self, "radius_m", above=0, most=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliefResult:
    """What was made."""

    survey: Survey
    paths: tuple[Path, ...]
    """The pictures, in their order."""
    radius_m: float
    """How far was looked about; a whole number of cells."""
    report_path: Path | None
    """None where the map's results are gone, so that its report cannot be written anew."""


def make_relief(
    root: StrPath, options: ReliefOptions | None = None, *, track: Track = silent
) -> ReliefResult:
    """Make pictures of relief of a mapped survey; nothing is made twice.

    Parameters
    ----------
    root : path or Survey
        A survey folder with ``products/dtm.tif``, or ``products/dsm.tif`` where that is asked for.
    options : ReliefOptions, optional
    track : Track

    Raises
    ------
    NotASurveyError, InputError
        If the survey has no such heights, a picture is not known, or the radius is less than two
        cells or more than a thousand.
    """
    survey, options = open_survey(root), options or ReliefOptions()
    products = _products(options.layers)
    with locked_survey(survey, "'tmp relief'"):
        put_back_products(survey)
        source = _heights(survey, options.surface)
        grid = read_grid(source)
        radius = _radius_cells(options.radius_m, grid)
        store = StageStore(root=survey.work_dir / "stages")
        recipe = store.recipe(
            Relief,
            # Nothing else of the survey changes a picture.
            {SURVEY: Known(path=survey.folder, digest=""), HEIGHTS: source},
            {"layers": sorted(product.name for product in products), "radius_cells": radius},
        )
        result = store.make(recipe, run=partial(execute, workers=options.workers), track=track)
        publish([result], survey.products_dir, [product.file for product in products])
        write_styles(survey.products_dir)
        write_project(survey)
        record = None
        if survey.map_path.exists():
            record = recall_map(survey, read_settings(survey), survey.captures)
        if record is not None:
            former = {one.stage: one for one in record.results}
            known = former.get(Relief.name)
            if known is None or known.folder != result.folder or not survey.report_path.exists():
                results = tuple((former | {Relief.name: result}).values())
                report_map(replace(record, results=results))
    return ReliefResult(
        survey=survey,
        paths=tuple(survey.products_dir / product.file for product in products),
        radius_m=radius * grid.cell_m,
        report_path=None if record is None else survey.report_path,
    )


def _products(layers: tuple[str, ...]) -> tuple[Product, ...]:
    """Return the pictures of some names, in their order; all if none is given."""
    known = {product.name.removeprefix(f"{RELIEF_DIR}/"): product for product in RELIEF}
    for layer in layers:
        if layer not in known:
            raise InputError(
                f"no picture of relief called {layer!r}{nearest(layer, known)}; there are "
                f"{', '.join(known)}"
            )
    return tuple(product for name, product in known.items() if not layers or name in layers)


def _heights(survey: Survey, surface: Surface) -> Path:
    """Return the raster of heights that is asked for."""
    product = DTM if surface is Surface.DTM else DSM
    path = survey.products_dir / product.file
    if path.exists():
        return path
    if surface is Surface.DTM and (survey.products_dir / DSM.file).exists():
        raise InputError(
            f"{path}: not there, as a preview has no bare ground; map with 'tmp map --quality "
            "normal', or draw what the camera saw with --surface dsm"
        )
    raise InputError(f"{path}: not there; make a map with 'tmp map {survey.folder}'")


def _radius_cells(radius_m: float | None, grid: Grid) -> int:
    """Return how far is looked about in cells."""
    if radius_m is None:
        radius_m = RADIUS_M if grid.crs else RADIUS_CELLS * grid.cell_m
        return min(max(round(radius_m / grid.cell_m), LEAST_CELLS), MOST_CELLS)
    cells = round(radius_m / grid.cell_m)
    if not LEAST_CELLS <= cells <= MOST_CELLS:
        least, most = (f"{count * grid.cell_m:.3g}" for count in (LEAST_CELLS, MOST_CELLS))
        raise InputError(
            f"--radius {radius_m:g}: {cells} cells of {grid.cell_m:g} m; give {least} to {most}"
        )
    return cells
