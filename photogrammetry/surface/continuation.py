"""The ground beyond what was measured: which patches of a surface to trust, and where it goes on.

A survey's surface is summed up in coarse cells.  Seen from so far, patches that lie apart from the
main surface show; the main surface, and the tie points where it has gaps, carry a sheet that goes
on smoothly over gaps and beyond the rim.  An orthomosaic is drawn on it there, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from photogrammetry.surface.trend import fit_sheet, medians_of, points_in_cells
from tmp.geo.grids import Grid, Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

COARSE_CELLS = 16
"""Side of a coarse cell in cells of the surface."""
SURFACE_SHARE = 0.2
"""Share of measured cells from which a coarse cell counts as surface."""
JUMP = 0.06
"""Difference in height that parts neighbouring coarse cells, as a share of the flying height."""
MAIN_AREA = 0.1
"""Least area of a patch that stands by itself, as a share of the flying height squared."""
SIZEABLE_AREA = 0.01
"""The same of a patch that may stand on two photographs alone."""
LEVEL = 0.03
"""Difference in height that still counts as the same, as a share of the flying height."""
ABOUT_CELLS = 3
"""Coarse cells on every side within which the lowest firm height counts as ground."""
TIED_POINTS = 3
"""Tie points at its height that speak for a patch."""
MANY_VIEWS = 2.6
"""Mean number of agreeing photographs from which a coarse cell was checked by a third."""
TIE_WEIGHT = 0.3
"""Weight of tie points in the sheet, against 1 for a measured cell."""
SHEET_SUPPORT = 2.0
"""Standard deviation in coarse cells of the weight of a local plane of the sheet."""
WIDE_SUPPORT = 6.0
"""The same of the wider sheet that tells which cells stand out."""
ROUNDS = 3
REACH = 1.5
"""How far beyond what is known the ground is drawn, as a share of the flying height."""
NEAR_BOX = 29
"""Side in cells of the surface of a box that, applied twice, weighs what lies about a place: a
standard deviation of 12 cells, over which the surface leaves for the sheet."""
LEAST_WEIGHT = 0.02
STEP_CELLS = 24.0
"""Height above or below the sheet, in cells, from which a surface ends with a step: a crown."""
REACH_CELLS = 96
"""Half the side of the square over which the share of measured cells is taken."""
LEAST_SHARE = 0.3
"""Share of measured cells about a place from which a gap there is closed."""


class Standing(IntEnum):
    """What a coarse cell is good for."""

    UNKNOWN = 0
    """Too far from anything known to draw a picture on."""
    CONTINUED = 1
    """The sheet may be drawn on; what was measured here is not trusted."""
    TRUSTED = 2
    """What was measured here stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A surface in coarse cells; all arrays (rows, cols)."""

    grid: Grid
    share: Float
    """Share of cells measured."""
    height: Float
    """Mean map height of the measured cells; 0 where none is."""
    views: Float
    """Mean number of agreeing photographs, bridged cells left out; NaN where all are bridged."""

    @classmethod
    def empty(cls, surface: Grid) -> Summary:
        """Return a summary of nothing, over the whole of a surface's grid."""
        rows, cols = -(-surface.rows // COARSE_CELLS), -(-surface.cols // COARSE_CELLS)
        return cls(
            grid=replace(surface, cell_m=surface.cell_m * COARSE_CELLS, rows=rows, cols=cols),
            share=np.zeros((rows, cols)),
            height=np.zeros((rows, cols)),
            views=np.full((rows, cols), np.nan),
        )

    def add(self, tile: Tile, height: Float32, measured: Mask, views: Float32) -> None:
        """Sum up a tile of the surface, which begins with a coarse cell; arrays are (rows, cols).

        A cell measured without an agreeing view is bridged.
        """
        rows, cols = -(-tile.rows // COARSE_CELLS), -(-tile.cols // COARSE_CELLS)
        part = np.s_[
            tile.row // COARSE_CELLS : tile.row // COARSE_CELLS + rows,
            tile.col // COARSE_CELLS : tile.col // COARSE_CELLS + cols,
        ]
        agreed = measured & (views > 0)
        known = _sums(measured)
        self.share[part] = known / COARSE_CELLS**2
        self.height[part] = _sums(np.where(measured, height, 0.0)) / np.maximum(known, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.views[part] = _sums(np.where(agreed, views, 0.0)) / _sums(agreed)


def _sums(array: NDArray[np.generic]) -> Float:
    """Return the sums over coarse cells, the last of a row or column cut short."""
    rows, cols = (-(-side // COARSE_CELLS) for side in array.shape)
    whole = np.zeros((rows * COARSE_CELLS, cols * COARSE_CELLS))
    whole[: array.shape[0], : array.shape[1]] = array
    return np.asarray(whole.reshape(rows, COARSE_CELLS, cols, -1).sum(axis=(1, 3)), float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """The sheet on which a surface goes on, in coarse cells; all arrays (rows, cols)."""

    height: Float
    """Map heights, everywhere."""
    standing: NDArray[np.int_]
    """See `Standing`."""


def continue_surface(summary: Summary, points: Float, flying_height_m: float) -> Continuation:
    """Decide which parts of a surface stand by its tie points (N, 3), map, and continue them."""
    grid = summary.grid
    medians = medians_of(points, grid.x_min, grid.y_max, grid.cell_m, grid.shape)
    tie_height, tie_weight = medians
    trusted = _trusted(summary, points, medians, flying_height_m)
    tied = ~trusted & (tie_weight > 0)
    weight = np.where(trusted, summary.share, np.where(tied, TIE_WEIGHT * tie_weight, 0.0))
    sheet = _robust_sheet(
        np.where(trusted, summary.height, tie_height), weight, LEVEL * flying_height_m
    )
    known = (trusted | tied).astype(np.uint8)
    away_m = np.full(grid.shape, np.inf)
    if known.any():
        away_m = cv2.distanceTransform(1 - known, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * grid.cell_m
    # Stray cells beside a trusted patch belong to it, those beyond do not.
    rejected = _surface_cells(summary) & ~trusted
    near = cv2.dilate(trusted.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    standing = np.where(away_m <= REACH * flying_height_m, Standing.CONTINUED, Standing.UNKNOWN)
    standing[near & ~rejected] = Standing.TRUSTED
    return Continuation(height=sheet, standing=standing)


def _robust_sheet(value: Float, weight: Float, level_m: float) -> Float:
    """Lay a sheet through what most cells about a place agree on.

    A crown that stands alone must not pull the sheet up: a picture on its flank would be smeared.
    """
    sheet = fit_sheet(value, weight, support=WIDE_SUPPORT)
    for _ in range(ROUNDS):
        doubt = 1.0 + ((value - sheet) / level_m) ** 2  # Cauchy
        sheet = fit_sheet(value, weight / doubt, support=WIDE_SUPPORT)
    doubt = 1.0 + ((value - sheet) / level_m) ** 2
    return fit_sheet(value, weight / doubt, support=SHEET_SUPPORT)


def _surface_cells(summary: Summary) -> Mask:
    return np.asarray(summary.share >= SURFACE_SHARE)


def _trusted(
    summary: Summary, points: Float, medians: tuple[Float, Float], flying_height_m: float
) -> Mask:
    """Return the coarse cells whose surface stands, given the tie points and their medians.

    Houses and trees stand above the ground about them; what lies below it is a false match more
    often than a pit.  So a patch that lies apart from all large ones needs tie points at its
    height, or must lie on or above the ground about it and be checked by a third photograph, or
    be of some size.  The same holds for what two photographs alone say within a large patch.
    """
    surface = _surface_cells(summary)
    if not surface.any():
        return surface
    grid = summary.grid
    label = _patches(surface, summary.height, JUMP * flying_height_m)
    cells = np.bincount(label[surface])
    area_m2 = np.append(cells * grid.cell_m**2, 0.0)  # label -1 finds the last
    large = surface & (area_m2[label] >= MAIN_AREA * flying_height_m**2)
    if not large.any():
        large = surface & (label == np.argmax(cells))
    checked = ~(summary.views < MANY_VIEWS)
    level_m = LEVEL * flying_height_m
    ties = _ties_at(summary, points, level_m)
    tie_height, tie_weight = medians
    firm = large & checked
    reference = fit_sheet(
        np.where(firm, summary.height, tie_height),
        np.where(firm, summary.share, TIE_WEIGHT * tie_weight),
        support=SHEET_SUPPORT,
    )
    above_m = summary.height - np.minimum(reference, _lowest_about(summary.height, firm))
    tied = np.append(np.bincount(label[surface], weights=ties[surface]), 0.0)
    mean_above_m = _means(label, surface, above_m)
    mean_checked = _means(label, surface, checked.astype(float))
    sizeable = area_m2 >= SIZEABLE_AREA * flying_height_m**2
    small_stands = (tied >= TIED_POINTS) | (
        ((mean_checked > 0.5) | sizeable) & (mean_above_m > -level_m)
    )
    about = cv2.blur(ties, (3, 3), borderType=cv2.BORDER_CONSTANT) > 0
    two_stand = about | (above_m > -level_m)
    return np.asarray(
        (large & (checked | two_stand)) | (surface & ~large & small_stands[label]), np.bool_
    )


def _lowest_about(height: Float, firm: Mask) -> Float:
    """Return the lowest firm height about every cell; infinite where there is none.

    Beside a wood the sheet lies between crowns and ground, and the ground is not a pit.
    """
    lowest = np.where(firm, height, np.inf)
    return np.asarray(cv2.erode(lowest, np.ones((2 * ABOUT_CELLS + 1,) * 2, np.uint8)), float)


def _patches(surface: Mask, height: Float, jump_m: float) -> NDArray[np.int_]:
    """Return each surface cell's patch (rows, cols), parted by gaps and jumps; or -1."""
    number = np.full(surface.shape, -1)
    number[surface] = np.arange(surface.sum())
    starts, ends = [], []
    for one, other in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ):
        joined = surface[one] & surface[other] & (np.abs(height[one] - height[other]) < jump_m)
        starts.append(number[one][joined])
        ends.append(number[other][joined])
    start, end = np.concatenate(starts), np.concatenate(ends)
    size = int(surface.sum())
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    number[surface] = labels
    return number


def _means(label: NDArray[np.int_], surface: Mask, values: Float) -> Float:
    """Return the mean of every patch, and a 0 for label -1."""
    count = np.bincount(label[surface])
    return np.append(np.bincount(label[surface], weights=values[surface]) / count, 0.0)


def _ties_at(summary: Summary, points: Float, level_m: float) -> Float:
    """Count the tie points in every coarse cell that lie at its surface's height."""
    grid = summary.grid
    cell, z = points_in_cells(points, grid.x_min, grid.y_max, grid.cell_m, grid.shape)
    at = np.abs(z - summary.height.ravel()[cell]) <= level_m
    at &= summary.share.ravel()[cell] > 0
    count = np.bincount(cell[at], minlength=grid.rows * grid.cols)
    return np.asarray(count.reshape(grid.shape), float)


def blend_into(height: Float32, measured: Mask, sheet: Float32, cell_m: float) -> Float32:
    """Continue a surface over its gaps and beyond its rim, where it leaves for a sheet.

    All arrays are (rows, cols), heights in the map.  Measured heights stay as they are.  Elsewhere
    it is the sheet, moved by what the measured cells about a place lie above it (normalised
    convolution, Knutsson & Westin 1993); a few metres off nothing is left of that.  What stands
    high above the sheet has no say: it ends with a step.
    """
    step = STEP_CELLS * cell_m
    level = measured & (np.abs(height - sheet) < step)
    known = level.astype(np.float32)
    above = np.where(level, height - sheet, 0).astype(np.float32)
    weight, total = _softened(known), _softened(above)
    near = sheet + total / (weight + np.float32(LEAST_WEIGHT))
    return np.where(measured, height, near).astype(np.float32)


def _softened(array: Float32) -> Float32:
    """Average twice over a box, whose cost does not depend on its size."""
    size = (NEAR_BOX, NEAR_BOX)
    return np.asarray(cv2.blur(cv2.blur(array, size), size), np.float32)


def closed_ground(measured: Mask, seen: Mask, asked: Mask) -> Mask:
    """Return the cells of a surface model whose gaps are closed, (rows, cols).

    A gap among measured cells belongs to it; what lies beyond the ragged rim, and stray cells, do
    not. Seen are cells that two photographs or more see; asked, those that could have been
    measured, not beyond the survey's grid.
    """
    size = (2 * REACH_CELLS + 1,) * 2
    share = cv2.blur(measured.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    most = cv2.blur(asked.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    enough = np.asarray(share) > LEAST_SHARE * np.asarray(most)
    return np.asarray((measured | seen) & enough, np.bool_)
