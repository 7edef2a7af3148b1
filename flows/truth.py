"""Compare a map of a rehearsal with the truth the rehearsal left beside its photographs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.accuracy import Spread, edge_displacements, picture_shifts, spread, wall_relief
from flows.products import DSM, ORTHOMOSAIC
from photogrammetry.similarity import fit_similarity
from tmp.errors import InputError
from tmp.grids import Grid, Tile
from tmp.rasters import read_grid, read_window
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

GROUND, HOUSE = 0, 2
"""Bands of ``masks.tif``."""
NODATA = -9999.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """``truth = scale * rotation @ map + translation``, both about `centre`."""

    scale: float
    rotation: Float
    translation: Float
    centre: Float
    """Map coordinates (3,) subtracted from both sides."""

    def map_from_truth(self, points: Float) -> Float:
        """Return where true points (N, 3) lie in the map."""
        moved = points - self.centre - self.translation
        return np.asarray(moved @ self.rotation / self.scale + self.centre)


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
    reconstruction : Reconstruction
    products_dir : Path
        With surface model and orthomosaic.
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
    similarity = _fit(mine, its) if fitted else _as_it_is(mine)
    places = _places_in_map(grid, true, similarity)
    measured = true + similarity.scale * (
        _heights(products_dir / DSM.file, places) - places[..., 2]
    )
    ground = masks[GROUND]
    edges = np.abs(edge_displacements(measured, true, _house_outlines(truth_dir, grid)))
    picture, known = _picture(products_dir / ORTHOMOSAIC.file, places)
    truth_grey = _grey(read_window(truth_dir / "orthomosaic.tif", whole))
    shifts = picture_shifts(picture, truth_grey, known)
    left = mine - similarity.map_from_truth(its)
    return Accuracy(
        fitted=fitted,
        gsd_m=grid.cell_m,
        camera_rms_m=tuple(np.sqrt((left**2).mean(axis=0)).tolist()),
        offset_m=tuple((mine - its).mean(axis=0).tolist()),
        scale_error=1 / similarity.scale - 1,
        ground=spread((measured - true)[ground]),
        ground_measured=float(np.isfinite(measured[ground]).mean()),
        walls=wall_relief(measured, true, walls, ground, grid.cell_m),
        house_edge_m=_median_and_p95(edges * grid.cell_m),
        ortho_m=_median_and_p95(shifts.lengths * grid.cell_m),
        ortho_believed=len(shifts.cells) / max(shifts.tried, 1),
    )


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


def _fit(mine: Float, its: Float) -> Similarity:
    centre = its.mean(axis=0)
    fit = fit_similarity(mine - centre, its - centre)
    return Similarity(
        scale=fit.scale, rotation=fit.rotation, translation=fit.translation, centre=centre
    )


def _as_it_is(mine: Float) -> Similarity:
    return Similarity(
        scale=1.0, rotation=np.eye(3), translation=np.zeros(3), centre=mine.mean(axis=0)
    )


def _places_in_map(grid: Grid, true: Float32, similarity: Similarity) -> Float:
    """Return where each true surface cell lies in the map, (rows, cols, 3)."""
    x, y = np.meshgrid(*grid.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), true.ravel()])
    return similarity.map_from_truth(points).reshape(*grid.shape, 3)


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


def _heights(path: Path, places: Float) -> Float32:
    return np.asarray(_resampled(path, places)[..., 0])


def _picture(path: Path, places: Float) -> tuple[Float32, NDArray[np.bool_]]:
    rgba = _resampled(path, places)
    return _grey(np.moveaxis(rgba[..., :3], 2, 0)), rgba[..., 3] > 254


def _grey(bands: NDArray[Any]) -> Float32:
    red, green, blue = bands[:3].astype(np.float32)
    return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue, np.float32)


def _house_outlines(truth_dir: Path, grid: Grid) -> list[Float]:
    """Return house corners (N, 2) as (column, row) of the truth's grid."""
    document = json.loads((truth_dir / "houses.geojson").read_text(encoding="utf-8"))
    outlines = []
    for feature in document["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0], float)[:-1, :2]
        outlines.append(
            np.column_stack(
                [
                    (ring[:, 0] - grid.x_min) / grid.cell_m,
                    (grid.y_max - ring[:, 1]) / grid.cell_m,
                ]
            )
        )
    return outlines


def _median_and_p95(values: Float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return float("nan"), float("nan")
    return float(np.median(known)), float(np.percentile(known, 95))
