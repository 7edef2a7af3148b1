"""The demonstration: rehearse a survey, map it, and compare the map with the truth.

The measures are pure functions; all rasters are (rows, cols) on the truth's grid, heights in
metres, NaN where unknown.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flightplan.rehearsal.farm import farm_rehearsal
from flows.pipeline import map_survey
from flows.products.table import DSM, ORTHOMOSAIC
from flows.run.request import ORIENTED, MapOptions, SurveyResult
from ingest.photographs import ingest_photographs
from photogrammetry.orientation.block import Similarity, fit_similarity
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import read_grid, read_window
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.reconstruction import Reconstruction, read_reconstruction
from tmp.survey import Survey, is_unused

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
CARD = "card"
SURVEY = "survey"
LEAST_WALL_M = 0.25
"""Relief below which a wall is too low to judge."""
GROUND_REACH_M = 2.0
"""Distance over which the ground beside a wall is averaged."""
EDGE_REACH_CELLS = 24.0
"""Distance followed to both sides of a house's edge."""
CORNER_CELLS = 24.0
"""Length left out at both ends of a house's side."""
BLOCK_CELLS = 96
LEAST_LIKENESS = 0.6
"""Correlation of a block with the truth, once shifted, from which its shift is believed."""

GROUND = 0
"""Band of ``masks.tif``."""
NODATA = -9999.0
AS_IT_IS = Similarity(scale=1.0, rotation=np.eye(3), translation=np.zeros(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration made, and how true it is."""

    map: SurveyResult
    accuracy: Accuracy


def run_demo(folder: Path, options: MapOptions, *, track: Track = silent) -> DemoResult:
    """Rehearse the survey of a ruined farm, map it, and compare the map with the truth.

    ``card/`` gets the photographs and the truth, ``survey/`` the survey.  Run again, it goes on
    with what is there.

    The folder is new, empty, or of an earlier demonstration.

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    card = folder / CARD
    if not card.is_dir():
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give a folder for the demonstration")
        if not is_unused(folder):
            raise InputError(f"{folder}: holds other files; give a new or empty folder")
    with locked_survey(Survey(folder=folder), "'tmp demo'"):
        if not card.is_dir():
            partial = folder / f".{CARD}.part"
            shutil.rmtree(partial, ignore_errors=True)
            farm_rehearsal(partial, workers=options.workers, track=track)
            partial.replace(card)
    survey = Survey(folder=folder / SURVEY)
    ingest_photographs([card / "photos"], survey, workers=options.workers, track=track)
    made = map_survey(survey.folder, options, track=track)
    accuracy = compare_with_truth(
        read_reconstruction(made.folder_of(ORIENTED)),
        survey.products_dir,
        card / "truth",
        fitted=True,
    )
    return DemoResult(map=made, accuracy=accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and spread of errors, in the unit of the input."""

    count: int
    mean: float
    std: float
    nmad: float
    """1.4826 times the median absolute deviation; the standard deviation without outliers."""


def spread(errors: NDArray[np.floating]) -> Spread:
    """Summarise errors, NaN left out.

    References
    ----------
    Höhle, J. & Höhle, M. (2009). Accuracy assessment of digital elevation models by means of
    robust statistical methods. ISPRS Journal 64(4).

    Examples
    --------
    >>> spread(np.array([1.0, 1.0, 3.0, np.nan])).mean
    1.6666666666666667
    """
    known = np.asarray(errors, float)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return Spread(count=0, mean=np.nan, std=np.nan, nmad=np.nan)
    deviation = np.abs(known - np.median(known))
    return Spread(
        count=len(known),
        mean=float(known.mean()),
        std=float(known.std()),
        nmad=float(1.4826 * np.median(deviation)),
    )


def wall_relief(
    measured: Float32, true: Float32, wall_height: Float32, ground: Mask, cell_m: float
) -> float:
    """Return the share of the walls' true relief that a surface shows, 1 when all of it.

    Wall heights are the true ones above the ground beside them, 0 or NaN elsewhere.

    Notes
    -----
    The least-squares factor between measured and true relief over all wall cells; the measured
    relief is counted from the surface's own open ground within `GROUND_REACH_M`.
    """
    error = (measured - true).astype(np.float32)
    usable = ground & np.isfinite(error)
    size = (int(2 * GROUND_REACH_M / cell_m) | 1,) * 2
    weight = cv2.blur(usable.astype(np.float32), size)
    total = cv2.blur(np.where(usable, error, 0).astype(np.float32), size)
    with np.errstate(divide="ignore", invalid="ignore"):
        beside = np.where(weight > 0.01, total / weight, np.nan)
    wall = np.isfinite(error) & np.isfinite(beside) & (np.nan_to_num(wall_height) >= LEAST_WALL_M)
    if not wall.any():
        return float("nan")
    relief = wall_height[wall].astype(float)
    shown = relief + error[wall] - beside[wall]
    return float((shown @ relief) / (relief @ relief))


def edge_displacements(measured: Float32, true: Float32, outlines: Iterable[Float]) -> Float:
    """Return how far the sides of houses are displaced, in cells, positive outwards.

    One value (M,) every few cells along the sides; NaN where the measured surface shows no edge.
    Outlines are the corners (N, 2) of each house in cells, (column, row), corner origin, not
    closed.

    Notes
    -----
    The edge is where a surface, followed across the side, passes half way between eaves and
    ground; the same is done on the true surface, and the difference counts.
    """
    displacements = [
        _side_displacements(measured, true, outline, start, end)
        for outline in outlines
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True)
    ]
    return np.concatenate([np.zeros(0), *displacements])


def _side_displacements(
    measured: Float32, true: Float32, outline: Float, start: Float, end: Float
) -> Float:
    length = float(np.hypot(*(end - start)))
    if length <= 2 * CORNER_CELLS:
        return np.zeros(0)
    along = (end - start) / length
    normal = np.array([along[1], -along[0]])
    if np.dot(normal, start - outline.mean(axis=0)) < 0:
        normal = -normal
    feet = start + np.arange(CORNER_CELLS, length - CORNER_CELLS, 4.0)[:, None] * along
    offsets = np.arange(-EDGE_REACH_CELLS, EDGE_REACH_CELLS + 0.125, 0.25)
    places = feet[:, None] + offsets[None, :, None] * normal
    found = []
    for profile, truth in zip(_sample(measured, places), _sample(true, places), strict=True):
        quarter = len(truth) // 4
        level = (np.nanmedian(truth[:quarter]) + np.nanmedian(truth[-quarter:])) / 2
        found.append(_crossing(profile, offsets, level) - _crossing(truth, offsets, level))
    return np.array(found)


def _crossing(profile: Float, offsets: Float, level: float) -> float:
    """Return where a falling profile passes a level, bridging gaps linearly; NaN if it does not."""
    known = np.isfinite(profile)
    if known.sum() < 2:
        return float("nan")
    x, z = offsets[known], profile[known]
    above = np.flatnonzero(z > level)
    if len(above) == 0 or above[-1] == len(z) - 1:
        return float("nan")
    i = above[-1]
    return float(x[i] + (z[i] - level) / (z[i] - z[i + 1]) * (x[i + 1] - x[i]))


def _sample(raster: Float32, places: Float) -> Float:
    """Sample bilinearly at (column, row), corner origin; NaN outside and beside unknown cells."""
    centred = (places - 0.5).astype(np.float32)  # OpenCV's origin is the first cell's centre
    return np.asarray(
        cv2.remap(
            raster.astype(np.float32),
            centred[..., 0],
            centred[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        ),
        np.float64,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """Displacement of a picture against another, block by block."""

    cells: Float
    """(N, 2), right and down, of blocks whose shift can be believed."""
    tried: int
    """Blocks with enough picture to try."""

    @property
    def lengths(self) -> Float:
        """Lengths of the displacements, (N,)."""
        return np.asarray(np.hypot(*self.cells.T))


def picture_shifts(picture: Float32, truth: Float32, known: Mask) -> Shifts:
    """Measure the displacement of a picture, block by block.

    Phase correlation finds a block's shift to a cell, maximising the correlation coefficient
    refines it.  Blocks with gaps in what is known of the picture are passed over.

    References
    ----------
    Kuglin, C. D. & Hines, D. C. (1975). The phase correlation image alignment method.
    Evangelidis, G. D. & Psarakis, E. Z. (2008). Parametric image alignment using enhanced
    correlation coefficient maximization. IEEE PAMI 30(10).
    """
    window = cv2.createHanningWindow((BLOCK_CELLS, BLOCK_CELLS), cv2.CV_32F)
    smooth = [_texture(np.nan_to_num(image)) for image in (picture, truth)]
    shifts, tried = [], 0
    for row in range(0, picture.shape[0] - BLOCK_CELLS + 1, BLOCK_CELLS):
        for col in range(0, picture.shape[1] - BLOCK_CELLS + 1, BLOCK_CELLS):
            part = np.s_[row : row + BLOCK_CELLS, col : col + BLOCK_CELLS]
            if not known[part].all():
                continue
            tried += 1
            mine, its = (np.ascontiguousarray(image[part]) for image in smooth)
            start, _ = cv2.phaseCorrelate(its, mine, window)
            shift, likeness = _refine(mine, its, start)
            if likeness >= LEAST_LIKENESS:
                shifts.append(shift)
    return Shifts(cells=np.array(shifts, float).reshape(-1, 2), tried=tried)


def _texture(image: Float32) -> Float32:
    """Remove shading broader than a tenth of a block, and noise finer than a cell."""
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), 0.8)
    return np.asarray(fine - cv2.GaussianBlur(image, (0, 0), BLOCK_CELLS / 10), np.float32)


def _refine(
    mine: Float32, its: Float32, start: Sequence[float]
) -> tuple[tuple[float, float], float]:
    """Return the shift of one block against another, and their correlation once shifted."""
    warp = np.array([[1.0, 0.0, start[0]], [0.0, 1.0, start[1]]], np.float32)
    whole = np.ones(its.shape, np.uint8)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        likeness, found = cv2.findTransformECC(
            its, mine, warp, cv2.MOTION_TRANSLATION, until, whole, 1
        )
    except cv2.error:  # nothing alike in the two blocks
        return (start[0], start[1]), 0.0
    moved = np.asarray(found)
    return (float(moved[0, 2]), float(moved[1, 2])), float(likeness)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Errors of a map against the truth; lengths in metres."""

    fitted: bool
    """Whether the map was first laid onto the truth by a similarity of the camera positions."""
    gsd_m: float
    camera_rms_m: tuple[float, float, float]
    """Of the camera positions, east, north, up; after the fit, if there was one."""
    offset_m: tuple[float, float, float]
    """Mean of the map's camera positions minus the true ones, before any fit."""
    scale_error: float
    """Scale of the map over the true scale, minus 1; 0 without fit."""
    ground: Spread
    """Height errors on open ground."""
    ground_measured: float
    """Share of open ground that has a height."""
    walls: float
    """Share of the turf walls' relief that the surface shows."""
    house_edge_m: tuple[float, float]
    """Median and 95th percentile of the displacement of house edges."""
    ortho_m: tuple[float, float]
    """Median and 95th percentile of the orthomosaic's displacement."""
    ortho_believed: float
    """Share of the orthomosaic's blocks that could be compared."""

    def in_words(self) -> list[str]:
        """Return the errors as lines for people."""
        gsd = self.gsd_m
        laid = (
            "after laying the map onto the truth by its camera positions"
            if self.fitted
            else "as georeferenced by the GNSS positions alone"
        )
        return [
            f"against the truth, {laid}:",
            f"  camera positions   {self.camera_rms_m[0]:.3f} m east, "
            f"{self.camera_rms_m[1]:.3f} m north, {self.camera_rms_m[2]:.3f} m up (RMS)",
            f"  place of the map   {self.offset_m[0]:+.2f} m east, "
            f"{self.offset_m[1]:+.2f} m north, {self.offset_m[2]:+.2f} m up from the truth"
            + (f", {100 * self.scale_error:+.2f} % too large" if self.fitted else ""),
            f"  heights of ground  {_cm(self.ground.mean, gsd, '+')} mean, "
            f"{_cm(self.ground.std, gsd)} standard deviation, {_cm(self.ground.nmad, gsd)} NMAD",
            f"  ground measured    {100 * self.ground_measured:.1f} %",
            f"  turf walls         {100 * self.walls:.0f} % of their relief recovered",
            f"  house edges        {_cm(self.house_edge_m[0], gsd)} median, "
            f"{_cm(self.house_edge_m[1], gsd)} at the 95th percentile",
            f"  orthomosaic        {_cm(self.ortho_m[0], gsd)} median, "
            f"{_cm(self.ortho_m[1], gsd)} at the 95th percentile "
            f"({100 * self.ortho_believed:.0f} % of it comparable)",
        ]


def _cm(value_m: float, gsd_m: float, sign: str = "") -> str:
    return f"{100 * value_m:{sign}.1f} cm ({value_m / gsd_m:{sign}.2f} GSD)"


def compare_with_truth(
    reconstruction: Reconstruction, products_dir: Path, truth_dir: Path, *, fitted: bool
) -> Accuracy:
    """Compare a map with the truth of its rehearsal.

    Parameters
    ----------
    truth_dir : Path
        As a rehearsal writes it.
    fitted : bool
        Whether to lay the map onto the truth first, so that the error of its place does not
        count, only that of its shape.

    Raises
    ------
    InputError
        If map and truth have different CRS.
    """
    grid = read_grid(truth_dir / "dsm.tif")
    crs = reconstruction.frame.crs
    if crs != grid.crs:
        raise InputError(f"{truth_dir}: truth is in {grid.crs}, the map in {crs}; map it in that")
    whole = Tile(row=0, col=0, rows=grid.rows, cols=grid.cols)
    true = read_window(truth_dir / "dsm.tif", whole)[0]
    masks = read_window(truth_dir / "masks.tif", whole) > 0
    walls = read_window(truth_dir / "wall_height.tif", whole)[0]
    mine, its = _camera_centres(reconstruction, truth_dir)
    fit = fit_similarity(mine, its) if fitted else AS_IT_IS
    places = _places_in_map(grid, true, fit)
    measured = heights_on_truth(products_dir / DSM.file, grid, true, fit)
    ground = masks[GROUND]
    edges = np.abs(edge_displacements(measured, true, _house_outlines(truth_dir, grid)))
    rgba = np.moveaxis(_resampled(products_dir / ORTHOMOSAIC.file, places), 2, 0)
    truth_grey = _grey(read_window(truth_dir / "orthomosaic.tif", whole))
    shifts = picture_shifts(_grey(rgba), truth_grey, rgba[3] > 254)
    left = mine - fit.inverse(its)
    return Accuracy(
        fitted=fitted,
        gsd_m=grid.cell_m,
        camera_rms_m=tuple(np.sqrt((left**2).mean(axis=0)).tolist()),
        offset_m=tuple((mine - its).mean(axis=0).tolist()),
        scale_error=1 / fit.scale - 1,
        ground=spread((measured - true)[ground]),
        ground_measured=float(np.isfinite(measured[ground]).mean()),
        walls=wall_relief(measured, true, walls, ground, grid.cell_m),
        house_edge_m=_median_and_p95(edges * grid.cell_m),
        ortho_m=_median_and_p95(shifts.lengths * grid.cell_m),
        ortho_believed=len(shifts.cells) / max(shifts.tried, 1),
    )


def fit_to_truth(reconstruction: Reconstruction, truth_dir: Path) -> Similarity:
    """Return the similarity from a map to the truth of its rehearsal, by its camera positions."""
    return fit_similarity(*_camera_centres(reconstruction, truth_dir))


def values_on_truth(raster: Path, grid: Grid, true: Float32, truth_from_map: Similarity) -> Float32:
    """Return a map's raster (rows, cols) where a true surface (rows, cols) lies in it."""
    return np.asarray(_resampled(raster, _places_in_map(grid, true, truth_from_map))[..., 0])


def heights_on_truth(
    raster: Path, grid: Grid, true: Float32, truth_from_map: Similarity
) -> Float32:
    """Return a map's heights (rows, cols) as `values_on_truth` does, in the frame of the truth."""
    places = _places_in_map(grid, true, truth_from_map)
    heights = _resampled(raster, places)[..., 0]
    return np.asarray(true + truth_from_map.scale * (heights - places[..., 2]), np.float32)


def _camera_centres(reconstruction: Reconstruction, truth_dir: Path) -> tuple[Float, Float]:
    """Return adjusted and true projection centres (N, 3) of the oriented photographs, map."""
    poses = json.loads((truth_dir / "poses.json").read_text(encoding="utf-8"))
    true = {photo["name"]: photo["centre_map"] for photo in poses["photos"]}
    # A survey files photographs in folders of its own; the file's name stays.
    pairs = [
        (photo.pose.centre, true[Path(photo.name).name])
        for photo in reconstruction.photos
        if Path(photo.name).name in true
    ]
    if len(pairs) < 3:
        raise InputError(f"{truth_dir}: knows {len(pairs)} of the map's photographs, 3 are needed")
    mine = reconstruction.frame.map_from_world(np.array([centre for centre, _ in pairs]))
    return mine, np.array([centre for _, centre in pairs])


def _places_in_map(grid: Grid, true: Float32, truth_from_map: Similarity) -> Float:
    """Return where each true surface cell lies in the map, (rows, cols, 3)."""
    x, y = np.meshgrid(*grid.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), true.ravel()])
    return truth_from_map.inverse(points).reshape(*grid.shape, 3)


def _resampled(path: Path, places: Float) -> Float32:
    """Sample a raster's bands bilinearly at map places: (rows, cols, bands); NaN where unknown."""
    grid = read_grid(path)
    columns = (places[..., 0] - grid.x_min) / grid.cell_m
    rows = (grid.y_max - places[..., 1]) / grid.cell_m
    row0, col0 = int(np.floor(rows.min())) - 2, int(np.floor(columns.min())) - 2
    window = Tile(
        row=row0,
        col=col0,
        rows=int(np.ceil(rows.max())) + 2 - row0,
        cols=int(np.ceil(columns.max())) + 2 - col0,
    )
    bands = read_window(path, window).astype(np.float32)
    bands[bands == NODATA] = np.nan
    # OpenCV's origin is the first cell's centre.
    at = (columns - col0 - 0.5).astype(np.float32), (rows - row0 - 0.5).astype(np.float32)
    return np.stack([cv2.remap(band, *at, cv2.INTER_LINEAR) for band in bands], axis=-1)


def _grey(bands: NDArray[Any]) -> Float32:
    red, green, blue = bands[:3].astype(np.float32)
    return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)


def _house_outlines(truth_dir: Path, grid: Grid) -> list[Float]:
    """Return house corners (N, 2) as (column, row) of the truth's grid."""
    document = json.loads((truth_dir / "houses.geojson").read_text(encoding="utf-8"))
    outlines = []
    for feature in document["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0], float)[:-1, :2]
        outlines.append((ring - (grid.x_min, grid.y_max)) / (grid.cell_m, -grid.cell_m))
    return outlines


def _median_and_p95(values: Float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    return float(np.median(known)), float(np.percentile(known, 95))
