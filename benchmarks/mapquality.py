"""Figures of a map against exact truth, when the map may be partial, tilted, bent or elsewhere.

The map is laid onto the truth by the similarity that brings the adjusted projection centres
closest to the true ones (least squares over all oriented photographs of the survey), so place,
scale and turn of the map do not count as false ground; they are told apart.

tilt
    Angle between the map's vertical and the true one.  Where the projection centres lie along
    one line the centres leave it open, and it is taken from the mean of the rotations.
scale
    Scale of the map over the true one by the projection centres, minus 1; without a meaning where
    the map has no place on Earth.
relief
    Depth of the ground below the projection centres over the true depth, after the fit, minus 1:
    the median over the cells measured.  The platform's ``sigma_scale`` states its doubt.
bend
    RMS distance of the projection centres from the true ones after the fit.
complete
    Share of the ground seen by at least three photographs that can be oriented, by true poses
    and true terrain, no more than 55° off the vertical and not through other ground, for which
    the surface model has a height.  Open water does not count.
false
    Share of the cells of the surface model, over the rehearsed ground, whose height differs by
    more than max(5 σ, 10 GSD) from every true height within one and a half cells around.  σ is
    what ``dsm_sigma.tif`` states for the cell.  Water counts.
ortho
    Share of the ground seen by at least one photograph, by the same rules and with water, that
    the orthomosaic shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from disturbances import Card
from measure import results_of
from numpy.typing import NDArray
from rehearsals import GSD_M, VIEW_STEP, Truth

from flows.products.table import DSM, DSM_SIGMA, ORTHOMOSAIC
from photogrammetry.orientation.block import Similarity, fit_similarity
from tmp.errors import TmpError
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.reconstruction import OrientedPhoto, Reconstruction, read_reconstruction
from tmp.survey import Survey

LEAST_SPREAD = 0.05
"""Spread of the projection centres across their line, over that along it, that fixes a tilt."""
FALSE_SIGMAS = 5.0
FALSE_GSD = 10.0
LEAST_VIEWS = 3

Float = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a map is worth; shares from 0 to 1, NaN where there is nothing to judge."""

    oriented: int
    """Photographs oriented of those that can be."""
    possible: int
    others: int
    """Photographs oriented that do not belong to the survey or need not be oriented."""
    tilt_deg: float = float("nan")
    tilt_sigma_deg: float | None = None
    """As the map states it."""
    scale_error: float = float("nan")
    relief_error: float = float("nan")
    relief_sigma: float | None = None
    """As the map states it."""
    bend_m: float = float("nan")
    complete: float = 0.0
    false: float = float("nan")
    ortho: float = 0.0
    referenced: bool = True
    """Whether the map has a place on Earth."""
    warnings: tuple[str, ...] = ()
    left_out: dict[str, str] | None = None
    verdict: str | None = None
    """``complete`` or ``partial``, as the map states it."""


def figures_of(survey: Survey, card: Card, truth: Truth) -> Figures:
    """Return the figures of a survey's map."""
    stated = read_stated(survey)
    names = {shot.name for shot in card.possible}
    warnings, left_out = list(stated.get("warnings", ())), dict(stated.get("left_out", {}))
    try:
        made = read_reconstruction(results_of(survey.folder)["orientation"].folder)
    except (TmpError, KeyError):
        return Figures(
            oriented=0,
            possible=len(names),
            others=0,
            warnings=tuple(warnings),
            left_out=left_out,
            verdict=stated.get("verdict"),
        )
    warnings += [warning for warning in made.warnings if warning not in warnings]
    left_out |= made.left_out
    mine = {Path(photo.name).name: photo for photo in made.photos}
    oriented = [name for name in mine if name in names]
    fit, bend_m = _laid(made, mine, card)
    scale = made.vertical_scale
    complete, relief, false, ortho = _ground(survey.products_dir, card, truth, fit)
    return Figures(
        oriented=len(oriented),
        possible=len(names),
        others=len(mine) - len(oriented),
        tilt_deg=_tilt_deg(fit),
        tilt_sigma_deg=_stated_tilt(stated, made),
        scale_error=1.0 / fit.scale - 1.0,
        relief_error=relief,
        relief_sigma=None if scale is None else scale.sigma_scale,
        bend_m=bend_m,
        complete=complete,
        false=false,
        ortho=ortho,
        referenced=made.frame.referenced,
        warnings=tuple(warnings),
        left_out=left_out,
        verdict=stated.get("verdict"),
    )


def read_stated(survey: Survey) -> dict[str, Any]:
    """Return what ``quality.json`` says, nothing where there is none."""
    return dict(survey.quality) if survey.quality_path.is_file() else {}


def _laid(
    made: Reconstruction, mine: dict[str, OrientedPhoto], card: Card
) -> tuple[Similarity, float]:
    """Return the similarity from map to truth, both in map coordinates, and what it leaves."""
    true = {shot.name: shot.station.pose for shot in card.possible if shot.name in mine}
    if len(true) < 2:
        nothing = Similarity(scale=np.nan, rotation=np.full((3, 3), np.nan),
                             translation=np.full(3, np.nan))  # fmt: skip
        return nothing, float("nan")
    centres = np.array([mine[name].pose.centre for name in true])
    source = made.frame.map_from_world(centres)
    target = card.frame.map_from_world(np.array([pose.centre for pose in true.values()]))
    spread = np.linalg.svd(target - target.mean(axis=0), compute_uv=False)
    if len(true) < 3 or spread[1] < LEAST_SPREAD * spread[0]:
        turn = sum(pose.rotation.T @ mine[name].pose.rotation for name, pose in true.items())
        u, _, vt = np.linalg.svd(turn)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        s, t = source - source.mean(axis=0), target - target.mean(axis=0)
        scale = float(np.sum((s @ rotation.T) * t) / np.sum(s * s))
        fit = Similarity(
            scale=scale,
            rotation=rotation,
            translation=target.mean(axis=0) - scale * rotation @ source.mean(axis=0),
        )
    else:
        # Large coordinates would cost digits.
        origin, middle = target.mean(axis=0), source.mean(axis=0)
        near = fit_similarity(source - middle, target - origin)
        fit = Similarity(
            scale=near.scale,
            rotation=near.rotation,
            translation=near.translation + origin - near.scale * near.rotation @ middle,
        )
    left = fit(source) - target
    return fit, float(np.sqrt((left**2).sum(axis=1).mean()))


def _tilt_deg(fit: Similarity) -> float:
    return float(np.degrees(np.arccos(np.clip(fit.rotation[2, 2], -1.0, 1.0))))


def _stated_tilt(stated: dict[str, Any], made: Reconstruction) -> float | None:
    """Return the standard deviation of the tilt as the map states it, in degrees."""
    for said in (stated, made.figures):
        for key, value in said.items():
            if re.search("tilt.*sigma|sigma.*tilt", key) and isinstance(value, int | float):
                return float(value)
    return None


def _ground(
    products: Path, card: Card, truth: Truth, fit: Similarity
) -> tuple[float, float, float, float]:
    """Return completeness, error of the relief, share of false ground, and the orthomosaic's."""
    if not (products / DSM.file).is_file() or not np.isfinite(fit.scale):
        return 0.0, float("nan"), float("nan"), 0.0
    grid, height = _band(products / DSM.file)
    places = _truth_places(truth)
    views = truth.views([shot.name for shot in card.possible])
    known = np.isfinite(places[:, 2])
    in_map = np.full(places.shape, np.nan)
    in_map[known] = (places[known] - fit.translation) @ fit.rotation / fit.scale
    water = truth.water[::VIEW_STEP, ::VIEW_STEP].ravel()
    wanted = (views.ravel() >= LEAST_VIEWS) & ~water & known
    found = _at(grid, height, in_map[wanted])
    measured = np.isfinite(found)
    complete = float(measured.mean())
    relief = float("nan")
    if measured.any():
        eyes_m = np.mean([shot.station.pose.centre for shot in card.possible], axis=0)
        eye_m = card.frame.map_from_world(eyes_m[None])[0, 2]
        error = fit.scale * (found - in_map[wanted][:, 2])[measured]
        relief = float(-np.median(error / (eye_m - places[wanted, 2][measured])))
    seen = (views.ravel() >= 1) & known
    if (products / ORTHOMOSAIC.file).is_file():
        ortho_grid, alpha = _band(products / ORTHOMOSAIC.file, 4)
        ortho = float((np.nan_to_num(_at(ortho_grid, alpha, in_map[seen])) > 0).mean())
    else:
        ortho = 0.0
    return complete, relief, _false(products, truth, fit, grid, height), ortho


def _false(products: Path, truth: Truth, fit: Similarity, grid: Grid, height: F32) -> float:
    """Return the share of measured cells whose height is not that of the ground."""
    _, sigma = _band(products / DSM_SIGMA.file)
    rows, cols = np.nonzero(np.isfinite(height))
    x, y = grid.cell_centres()
    places = fit(np.column_stack([x[cols], y[rows], height[rows, cols]]))
    reach = max(int(np.ceil(1.5 * fit.scale * grid.cell_m / truth.grid.cell_m)), 1)
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    filled = np.isfinite(truth.height)
    high = cv2.dilate(np.where(filled, truth.height, -1e6).astype(np.float32), around)
    low = cv2.erode(np.where(filled, truth.height, 1e6).astype(np.float32), around)
    above, below = _at(truth.grid, high, places), _at(truth.grid, low, places)
    here = np.isfinite(above) & (above > -1e5)
    if not here.any():
        return float("nan")
    error = np.maximum(places[:, 2] - above, below - places[:, 2])[here]
    allowed = np.maximum(
        FALSE_SIGMAS * fit.scale * np.nan_to_num(sigma[rows, cols][here]), FALSE_GSD * GSD_M
    )
    return float((error > allowed).mean())


def _truth_places(truth: Truth) -> Float:
    """Return the places whose views are counted, (N, 3), map."""
    x, y = truth.grid.cell_centres()
    x, y = x[::VIEW_STEP], y[::VIEW_STEP]
    height = truth.height[::VIEW_STEP, ::VIEW_STEP]
    return np.column_stack([np.tile(x, len(y)), np.repeat(y, len(x)), height.ravel()])


def _band(path: Path, band: int = 1) -> tuple[Grid, F32]:
    """Return the grid and one band of a raster, NaN where it has no value."""
    with rasterio.open(path) as raster:
        values = raster.read(band).astype(np.float32)
        if raster.nodata is not None:
            values[values == raster.nodata] = np.nan
    return read_grid(path), values


def _at(grid: Grid, values: F32, places: Float) -> F32:
    """Return the value of the cell that each place (N, 3) lies in, NaN outside."""
    cols = np.floor((places[:, 0] - grid.x_min) / grid.cell_m)
    rows = np.floor((grid.y_max - places[:, 1]) / grid.cell_m)
    inside = (cols >= 0) & (rows >= 0) & (cols < grid.cols) & (rows < grid.rows)
    out = np.full(len(places), np.nan, np.float32)
    out[inside] = values[rows[inside].astype(int), cols[inside].astype(int)]
    return out
