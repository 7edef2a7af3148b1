"""Indices of arrays: from bands as they are stored to float32 with nodata, block by block.

A block of rows fits the processor's cache, so that scaling, formula and masks cost one pass
through memory together; blocks run on threads.

Cells whose values say nothing about the ground are masked: saturated ones, and those in shadow.
Snow and raking light are neither: a mask for shadow is used only where it is asked for, and is
declined where the values show no class of their own that is dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from photogrammetry.indices.table import Index
from tmp.errors import InputError
from tmp.threads import map_threads

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

BLOCK_CELLS = 1 << 16
"""Cells worked on at a time: a handful of float32 blocks stay in a core's cache."""
NODATA = -9999.0

_MOST = float(np.finfo(np.float32).max)
"""Beyond it a value is infinite."""
BINS = 128
SMOOTHING_BINS = 2.5
LEAST_CELLS = 500
LEAST_DROP = 2.5
"""How many times brighter the lit class must be: a shadow gets a tenth to a third of the light."""
DEEPEST_VALLEY = 0.7
"""The valley between the classes must lie below this share of the lower one's peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One band as it is stored: ``value = factor * stored + offset``."""

    stored: NDArray[Any]
    """(rows, cols), any real dtype."""
    factor: float = 1.0
    """Such as 1e-4 for reflectance in ten-thousandths, or radiance to reflectance."""
    offset: float = 0.0
    nodata: float | None = NODATA
    """Stored value that means there is none; NaN always does."""

    def values(self, rows: slice) -> Float:
        """Return the values of some rows, NaN where there is none."""
        stored = self.stored[rows]
        values = stored.astype(np.float32)
        if self.factor != 1.0:
            values *= np.float32(self.factor)
        if self.offset:
            values += np.float32(self.offset)
        if self.nodata is not None:
            np.copyto(values, np.nan, where=np.equal(stored, self.nodata))
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCells:
    """Values of an index, and how many cells have none for which reason."""

    values: Float
    """(rows, cols), `NODATA` where there is none."""
    unknown: int
    """Cells where a band has no value."""
    masked: int
    """Cells with values in every band that the caller's mask left out."""
    undefined: int
    """Cells where the formula has no finite value (0/0), or one beyond the valid range."""

    @property
    def known(self) -> int:
        """Number of cells with a value."""
        return self.values.size - self.unknown - self.masked - self.undefined


def compute_index(
    index: Index, layers: Mapping[str, Layer], *, mask: Bool | None = None, workers: int = 1
) -> IndexCells:
    """Compute an index from its bands.

    There is a layer for each letter of the formula, all of one shape; cells of the mask are left
    out, such as saturated ones. Threads never change the result. Raises `InputError` if a band is
    missing or shapes differ.

    Examples
    --------
    >>> from photogrammetry.indices.table import index_table
    >>> nir = Layer(stored=np.uint16([[5000, 0, 65535]]), factor=1e-4, nodata=65535)
    >>> red = Layer(stored=np.uint16([[1000, 0, 1000]]), factor=1e-4, nodata=65535)
    >>> cells = compute_index(index_table().find("NDVI"), {"N": nir, "R": red})
    >>> [round(value, 4) for value in cells.values[0].tolist()], cells.unknown, cells.undefined
    ([0.6667, -9999.0, -9999.0], 1, 1)
    """
    shape = _common_shape(index, layers)
    if mask is not None and mask.shape != shape:
        raise InputError(f"{index.name}: mask of shape {mask.shape} over bands of shape {shape}")
    out = np.empty(shape, np.float32)

    def fill(rows: slice) -> tuple[int, int, int]:
        hidden = None if mask is None else mask[rows]
        return _fill_block(index, layers, hidden, rows, out[rows])

    step = max(BLOCK_CELLS // max(shape[1], 1), 1)
    blocks = (slice(row, min(row + step, shape[0])) for row in range(0, shape[0], step))
    counts = np.zeros(3, int)
    for _, count in map_threads(fill, blocks, workers=workers):
        counts += count
    unknown, masked, undefined = counts.tolist()
    return IndexCells(values=out, unknown=unknown, masked=masked, undefined=undefined)


def index_values(index: Index, values: Mapping[str, Float]) -> Float:
    """Return an index of plain arrays, any shape; NaN where it is undefined or not valid."""
    found = index.formula(values)
    low, high = index.valid
    with np.errstate(invalid="ignore"):
        return np.where((found >= low) & (found <= high) & np.isfinite(found), found, np.nan)


def _fill_block(
    index: Index, layers: Mapping[str, Layer], hidden: Bool | None, rows: slice, out: Float
) -> tuple[int, int, int]:
    """Write a block's values; returns how many are unknown, masked, undefined."""
    values = {key: layers[key].values(rows) for key in index.formula.names}
    found = index.formula(values)
    low, high = np.maximum(index.valid[0], -_MOST), np.minimum(index.valid[1], _MOST)
    with np.errstate(invalid="ignore"):
        # Written so that NaN fails.
        good = (found >= np.float32(low)) & (found <= np.float32(high))
    unknown = masked = undefined = 0
    if hidden is not None or not good.all():
        no_value = np.zeros(out.shape, np.bool_)
        for value in values.values():
            no_value |= np.isnan(value)
        unknown = int(no_value.sum())
        if hidden is not None:
            masked = int((hidden & ~no_value).sum())
            good &= ~hidden
        undefined = good.size - int(good.sum()) - unknown - masked
    np.copyto(out, found)
    np.copyto(out, np.float32(NODATA), where=~good)
    return unknown, masked, undefined


def _common_shape(index: Index, layers: Mapping[str, Layer]) -> tuple[int, ...]:
    missing = [key for key in index.formula.names if key not in layers]
    if missing:
        raise InputError(f"{index.name}: no values for {', '.join(missing)}")
    shapes = {layers[key].stored.shape for key in index.formula.names}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"{index.name}: bands of shapes {sorted(shapes)}; give (rows, cols) each")
    return next(iter(shapes))


def saturated_cells(layers: Mapping[str, Layer], limits: Mapping[str, float]) -> Bool:
    """Return where any band is saturated, (rows, cols).

    A quotient with a saturated band is biased, whichever side it stands on.  Limits are the stored
    values from which on bands are saturated; bands without one are not looked at.

    Examples
    --------
    >>> red = Layer(stored=np.uint8([[10, 255]]), nodata=None)
    >>> saturated_cells({"R": red}, {"R": 255}).tolist()
    [[False, True]]
    """
    found = np.zeros(next(iter(layers.values())).stored.shape, np.bool_)
    for key, limit in limits.items():
        stored = layers[key].stored
        over = stored >= limit
        if (nodata := layers[key].nodata) is not None:
            over &= ~np.equal(stored, nodata)
        found |= over
    return found


def brightness(layers: Iterable[Layer]) -> Float:
    """Return the mean over the bands of the logarithm of their values, NaN where one has none.

    A shadow darkens all bands; a leaf is dark in red and bright in near-infrared, wet soil the
    other way round.  So all bands have a say, the visible and the invisible alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(layer.values(slice(None))) for layer in layers]
        mean = np.asarray(np.mean(logs, axis=0), np.float32)
    mean[~np.isfinite(mean)] = np.nan
    return mean


def choose_shadow_limit(sample: Float) -> float | None:
    """Choose the brightness below which cells lie in shadow, from a sample of all the survey.

    It is the valley between a dark and a lit class; None where there are no two classes.

    Water, asphalt and burnt ground are as dark as shadows and taken for them.  Otsu's limit parts
    any distribution in two, so it only says where to look for the classes; they are believed where
    a valley lies between them and light explains how far apart they are.

    References
    ----------
    Otsu, N. (1979). A threshold selection method from gray-level histograms. IEEE Transactions on
    Systems, Man, and Cybernetics 9(1), eq. 14.
    Rüfenacht, D., Fredembach, C. and Süsstrunk, S. (2014). Automatic and accurate shadow detection
    using near-infrared information. IEEE Transactions on Pattern Analysis 36(8): dark in visible
    and near-infrared alike, parted at the first valley of the histogram.
    """
    known = sample[np.isfinite(sample)]
    if len(known) < LEAST_CELLS:
        return None
    low, high = np.percentile(known, [0.1, 99.9])
    if high <= low:
        return None
    counts, edges = np.histogram(known, BINS, (float(low), float(high)))
    centres = (edges[:-1] + edges[1:]) / 2
    middle = _otsu(counts, centres)
    smooth = gaussian_filter1d(counts.astype(float), SMOOTHING_BINS, mode="constant")
    dark, lit = int(np.argmax(smooth[:middle])), middle + int(np.argmax(smooth[middle:]))
    valley = dark + int(np.argmin(smooth[dark : lit + 1]))
    apart = centres[lit] - centres[dark] >= np.log(LEAST_DROP)
    parted = smooth[valley] < DEEPEST_VALLEY * min(smooth[dark], smooth[lit])
    return float(centres[valley]) if apart and parted else None


def shadowed_cells(layers: Iterable[Layer], limit: float) -> Bool:
    """Return where all bands together are darker than a limit of `choose_shadow_limit`."""
    with np.errstate(invalid="ignore"):
        return np.asarray(brightness(layers) < limit, np.bool_)


def _otsu(counts: NDArray[np.int_], centres: NDArray[np.float64]) -> int:
    """Return the first bin of the upper class."""
    weight = counts / counts.sum()
    below = np.cumsum(weight)
    mean = np.cumsum(weight * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * below - mean) ** 2 / (below * (1 - below))
    return int(np.nanargmax(np.where(np.isfinite(between[:-1]), between[:-1], 0))) + 1
