"""Volumes above and below a base, with what is known of them.

Heights are doubtful cell by cell, and neighbouring cells go wrong together, so that the doubt of a
volume is neither that of one cell times the area nor that of independent cells.  The base has a
doubt of its own.

References
----------
Rolstad, C., Haug, T. & Denby, B. (2009). Spatially integrated geodetic glacier mass balance and its
    uncertainty based on geostatistical analysis. Journal of Glaciology 55(192), eq. 1 to 8: errors
    correlated at several ranges, each a spherical variogram.  Here their double sum over the cells
    is taken as it stands, which holds for small and narrow polygons too.
Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical Statistics
    35(1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from photogrammetry.terrain.bare_ground import DOUBT_SLOPE, fill_gaps
from tmp.errors import InputError

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

RANGES = ((0.6, 5.0), (0.4, 45.0))
"""How the errors of a surface go together: share of their variance, and the distance in cells from
which that share is independent.

Measured on the open ground of the rehearsed farm, against the exact one: correlations of 0.80,
0.59, 0.38, 0.22 and 0.12 over 1, 2, 5, 10 and 20 cells.  The short range is that of the windows in
which photographs are compared, the long one that of heights which are made to fit their
neighbours'."""
LEAST_RIM = 0.5
"""Share of a rim that must have heights for a base to rest on it."""
MOST_RIM = 1200
"""Points of a rim whose errors are taken together."""
HUBER = 1.345
"""Residual in standard deviations from which a rim's point weighs less."""
ROUNDS = 20
SIMULATED = 200
"""How often a rim is made anew with other errors, to know its lowest height."""
SEED = 1
LOWEST_CELLS = 5
"""Points along a rim whose median stands for one height, so that no single error is the lowest."""
INFLATION = 1 / (np.sqrt(2) - 1)
"""What errors add to cut and to fill where the surface lies at the base, over what they would add
again to the surface as it was measured."""
SPHERICAL = 0.75
"""Integral of a spherical correlation along a line, in ranges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rim:
    """Points along the edge of a polygon with the heights of the surface there."""

    x: Float
    """East of the middle of the window, metres, (N,), evenly spaced along the edge."""
    y: Float
    height: Float
    """NaN where it is not known."""
    sigma: Float
    """Standard deviation of each height."""

    @property
    def known(self) -> Mask:
        """Points with a height."""
        return np.isfinite(self.height)

    def required(self) -> Rim:
        """Return the rim where it is known; refuses one that mostly is not."""
        known = self.known
        if known.mean() < LEAST_RIM or known.sum() < 2 * LOWEST_CELLS:
            raise InputError(
                f"only {100 * known.mean():.0f} % of its edge has a height to lay a base on; "
                "draw it over measured ground, or give a surface with --base FILE"
            )
        sure = np.isfinite(self.sigma)
        usual = float(np.median(self.sigma[sure])) if sure.any() else 0.0
        sigma = np.where(sure, self.sigma, usual)
        return Rim(x=self.x[known], y=self.y[known], height=self.height[known], sigma=sigma[known])


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The surface above which is cut and below which is fill."""

    height: Float
    """(rows, cols), metres; NaN where it has none."""
    covariance: Float
    """Of its height at the middle of the window and of its slopes east and north, (3, 3)."""
    sigma: Float | None = None
    """Standard deviation cell by cell that comes on top, (rows, cols)."""
    said: str = ""
    """What it is, in words."""
    same: bool = False
    """Whether it comes of the same measurements: where it is the surface, nothing is doubtful."""
    rim: Rim | None = None
    """Points of the surface itself from which it comes."""
    lever: Float | None = None
    """By how much each of their heights moves it: middle and slopes, (3, N)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What lies above and below a base within a polygon."""

    cut_m3: float
    """Volume above the base."""
    fill_m3: float
    """Volume below it, positive."""
    cut_sigma_m3: float
    """Standard deviation, without that of the map's scale."""
    fill_sigma_m3: float
    net_sigma_m3: float
    heights_sigma_m3: float
    """Part of the net volume's doubt that comes of the heights."""
    base_sigma_m3: float
    """Part that comes of the base."""
    area_m2: float
    """Ground that was counted."""
    outside: float
    """Share of the polygon that lies beyond the surface or the base and was not counted."""
    filled: float
    """Share of what was counted that had no height, closed from about it."""

    @property
    def net_m3(self) -> float:
        """Cut less fill."""
        return self.cut_m3 - self.fill_m3


def measure_volume(
    height: Float, sigma: Float, share: Float, base: Base, *, cell_m: float, times: int = 1
) -> Volume:
    """Return the volume of a surface above and below a base.

    Parameters
    ----------
    height : ndarray of shape (rows, cols)
        Surface in metres, first row in the north; NaN where it is not known.
    sigma : ndarray of shape (rows, cols)
        Standard deviation of each height; NaN where it is not known.
    share : ndarray of shape (rows, cols)
        Share of each cell that lies in the polygon, 0 to 1.
    base : Base
    cell_m : float
    times : int
        How many cells of the surface, along a side, were taken as one.

    Raises
    ------
    InputError
        If none of the polygon has a height and a base.

    Notes
    -----
    Holes in the surface are closed from about them, with a doubt that grows towards their middle;
    what lies beyond it is left out.  Where the base comes from the surface's own rim, the two go
    wrong together, and the volume is the surer for it.

    Where the surface lies at the base, errors add to the cut and to the fill alike, by 0.4 standard
    deviations of a cell; that is part of their doubt, and not of the net volume's.
    """
    known = np.isfinite(height)
    inside = share > 0
    counted = inside & binary_fill_holes(known) & np.isfinite(base.height)
    whole = float(share.sum())
    weight = np.where(counted, share, 0.0)
    if whole <= 0 or weight.sum() <= 0:
        raise InputError("lies beside the surface")
    height, sigma = _closed(height, sigma, known, cell_m)
    if base.sigma is not None:
        sigma = np.hypot(sigma, np.nan_to_num(base.sigma))
    above = np.where(counted, height - base.height, 0.0)
    if base.same:
        sigma = np.where(above == 0, 0.0, sigma)
    over, under = weight * (above > 0), weight * (above < 0)
    cell_m2 = cell_m**2
    excess = float((weight * _excess(above, sigma)).sum()) * INFLATION * cell_m2
    doubt = {
        name: cell_m2 * _sigma_parts(part, sigma, base, cell_m, times)
        for name, part in (("cut", over), ("fill", under), ("net", weight))
    }
    return Volume(
        cut_m3=float((over * above).sum()) * cell_m2,
        fill_m3=-float((under * above).sum()) * cell_m2,
        cut_sigma_m3=float(np.hypot(doubt["cut"][0], excess)),
        fill_sigma_m3=float(np.hypot(doubt["fill"][0], excess)),
        net_sigma_m3=float(doubt["net"][0]),
        heights_sigma_m3=float(doubt["net"][1]),
        base_sigma_m3=float(doubt["net"][2]),
        area_m2=float(weight.sum()) * cell_m2,
        outside=1 - float(weight.sum()) / whole,
        filled=float((weight * ~known).sum() / weight.sum()),
    )


def plane_through(rim: Rim, shape: tuple[int, int], cell_m: float) -> Base:
    """Return the plane fitted to a rim, over a window of some rows and columns.

    Points far off the plane, where the rim crosses a wall or a bush, weigh less.  What is left
    beside the plane tells how well it is known: the residuals' own spread, and how far along the
    rim they go together.
    """
    rim = rim.required()
    design = np.column_stack([np.ones_like(rim.x), rim.x, rim.y])
    weight = np.ones(len(rim.x))
    for _ in range(ROUNDS):
        hat = np.linalg.pinv(design.T @ (weight[:, None] * design)) @ (design.T * weight)
        plane = hat @ rim.height
        off = rim.height - design @ plane
        spread_m = max(1.4826 * float(np.median(np.abs(off))), 1e-6)
        weight = HUBER / np.maximum(np.abs(off) / spread_m, HUBER)
    step_m = float(np.median(np.hypot(np.diff(rim.x), np.diff(rim.y))))
    length_m = _length_together(np.clip(off, -3 * spread_m, 3 * spread_m), step_m)
    independent = max(len(rim.x) * step_m / length_m, 4.0)
    # What the heights' own errors do not explain is the shape of the ground.
    shape_m2 = max(spread_m**2 - float(np.median(rim.sigma)) ** 2, 0.0) / (1 - 3 / independent)
    some = slice(None, None, -(-len(rim.x) // MOST_RIM))
    places = design[some, 1:]
    apart_m = cdist(places, places)
    together = np.outer(rim.sigma[some], rim.sigma[some]) * correlation(apart_m / cell_m)
    together += shape_m2 * spherical(apart_m, length_m / SPHERICAL)
    thin = np.linalg.pinv(design[some].T @ (weight[some, None] * design[some]))
    thin = thin @ (design[some].T * weight[some])
    x, y = _offsets(shape, cell_m)
    return Base(
        height=plane[0] + plane[1] * x + plane[2] * y,
        covariance=thin @ together @ thin.T,
        rim=Rim(x=rim.x[some], y=rim.y[some], height=rim.height[some], sigma=rim.sigma[some]),
        lever=thin,
        said=f"plane through its edge, off it by {100 * spread_m:.0f} cm (one standard deviation)",
    )


def lowest_of(rim: Rim, shape: tuple[int, int], *, cell_m: float, tilt_rad: float = 0.0) -> Base:
    """Return the level of the lowest height of a rim, over a window of some rows and columns.

    The lowest of many heights with errors lies too low; by how much is simulated, and is part of
    the doubt.  The tilt is the standard deviation of the map's own.
    """
    rim = rim.required()
    some = slice(None, None, -(-len(rim.x) // MOST_RIM))
    places = np.column_stack([rim.x, rim.y])[some]
    together = correlation(cdist(places, places) / cell_m)
    root = np.linalg.cholesky(together + 1e-6 * np.eye(len(places)))
    rng = np.random.default_rng(SEED)
    noise = (root @ rng.normal(size=(len(places), SIMULATED))) * rim.sigma[some, None]
    seen = np.array([_lowest(rim.height[some] + one) for one in noise.T])
    lowest = _lowest(rim.height)
    sigma_m = float(np.hypot(seen.std(), seen.mean() - _lowest(rim.height[some])))
    return Base(
        height=np.full(shape, lowest),
        covariance=np.diag([sigma_m**2, tilt_rad**2, tilt_rad**2]),
        said=f"level of the lowest place of its edge, {lowest:.2f} m",
    )


def correlation(distance_cells: Float) -> Float:
    """Return how the errors of two cells of a surface go together, by their distance in cells."""
    found: Float = np.zeros_like(distance_cells, float)
    for part, reach in RANGES:
        found += part * spherical(distance_cells, reach)
    return found


def spherical(distance: Float, reach: float) -> Float:
    """Return the spherical correlation over distances, 0 from `reach` on.

    Examples
    --------
    >>> spherical(np.array([0.0, 1.0, 2.0, 3.0]), 2.0).tolist()
    [1.0, 0.3125, 0.0, 0.0]
    """
    ratio = np.minimum(distance / reach, 1.0)
    return np.asarray(1 - 1.5 * ratio + 0.5 * ratio**3)


def sigma_of_sum(sigma: Float, times: int = 1) -> float:
    """Return the standard deviation of the sum of a surface's cells, from theirs (rows, cols).

    That of cell i times that of cell j times their correlation, summed over all pairs.  Each is a
    square of `times` cells of the surface.
    """
    return float(np.sqrt(max((sigma * errors_about(sigma, times)).sum(), 0.0)))


def errors_about(sigma: Float, times: int = 1) -> Float:
    """Return the sum over all cells of their standard deviation times its correlation with each."""
    about: Float = np.zeros_like(sigma)
    for part, reach in RANGES:
        side = int(np.ceil(reach / times))
        row, col = np.mgrid[-side : side + 1, -side : side + 1]
        kernel = part * spherical(np.hypot(row, col), reach / times)
        about += cv2.filter2D(sigma, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)
    return about


def _sigma_parts(weight: Float, sigma: Float, base: Base, cell_m: float, times: int) -> Float:
    """Return the standard deviation of a weighted sum of heights above a base, in metres.

    The whole; that of the heights alone; that of the base alone.
    """
    about = errors_about(weight * sigma, times)
    heights = float((weight * sigma * about).sum())
    x, y = _offsets((weight.shape[0], weight.shape[1]), cell_m)
    moments = np.array([weight.sum(), (weight * x).sum(), (weight * y).sum()])
    of_base = float(moments @ base.covariance @ moments)
    common = 0.0
    if base.rim is not None and base.lever is not None:
        rows, cols = weight.shape
        col = np.clip(np.rint(base.rim.x / cell_m + (cols - 1) / 2).astype(int), 0, cols - 1)
        row = np.clip(np.rint((rows - 1) / 2 - base.rim.y / cell_m).astype(int), 0, rows - 1)
        common = float(moments @ base.lever @ (base.rim.sigma * about[row, col]))
    # Never surer than a tenth of its parts: the correlation is a model.
    whole = max(heights + of_base - 2 * common, (heights + of_base) / 100)
    return np.sqrt(np.maximum([whole, heights, of_base], 0.0))


def _closed(height: Float, sigma: Float, known: Mask, cell_m: float) -> tuple[Float, Float]:
    """Return heights and sigmas with their gaps closed."""
    usual = float(np.nanmedian(sigma)) if np.isfinite(sigma).any() else 0.0
    doubt: Float = np.where(np.isfinite(sigma), sigma, usual).astype(np.float64)
    if known.all():
        return height, doubt
    middle = float(np.nanmedian(height))
    filled = fill_gaps(np.where(known, height - middle, 0).astype(np.float32), known)
    closed = np.where(known, height, filled.astype(np.float64) + middle)
    away = cv2.distanceTransform((~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    grown = np.hypot(usual, DOUBT_SLOPE * cell_m * away.astype(np.float64))
    return closed.astype(np.float64), np.where(known, doubt, grown).astype(np.float64)


def _excess(above: Float, sigma: Float) -> Float:
    """Return by how much errors raise the mean of what of a height lies above 0."""
    away = np.abs(above) / np.maximum(sigma, 1e-9)
    density = np.exp(-0.5 * away**2) / np.sqrt(2 * np.pi)
    return np.asarray(sigma * (density - away * ndtr(-away)))


def _offsets(shape: tuple[int, int], cell_m: float) -> tuple[Float, Float]:
    """Return how far cells lie east (cols,) and north (rows, 1) of the middle of their window."""
    rows, cols = shape
    x: Float = np.arange(cols, dtype=np.float64)
    y: Float = np.arange(rows, dtype=np.float64)
    return (x - (cols - 1) / 2) * cell_m, ((rows - 1) / 2 - y[:, None]) * cell_m


def _length_together(off: Float, step_m: float) -> float:
    """Return over which length of a rim residuals go together: the integral of their correlation.

    Summed up to the first lag at which it is none.
    """
    count = len(off)
    spectrum = np.abs(np.fft.rfft(off - off.mean(), 2 * count)) ** 2
    lags = np.fft.irfft(spectrum)[:count]
    along = lags / max(lags[0], 1e-30)
    first = int(np.argmax(along <= 0)) if (along <= 0).any() else count
    return float(step_m * (1 + 2 * along[1:first].sum()))


def _lowest(height: Float) -> float:
    """Return the lowest height of a rim, each the median of so many in a row."""
    row = np.concatenate([height, height[: LOWEST_CELLS - 1]])
    return float(np.median(np.lib.stride_tricks.sliding_window_view(row, LOWEST_CELLS), 1).min())
