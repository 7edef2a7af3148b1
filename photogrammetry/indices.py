"""Indices of arrays: from bands as they are stored to float32 with nodata, block by block.

A block of rows fits the processor's cache, so that scaling, formula and masks cost one pass
through memory together; blocks run on threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photogrammetry.indextable import Index
from tmp.errors import InputError
from tmp.parallel import map_threads

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

BLOCK_CELLS = 1 << 16
"""Cells worked on at a time: a handful of float32 blocks stay in a core's cache."""
NODATA = -9999.0


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
    index: Index,
    layers: Mapping[str, Layer],
    *,
    mask: Bool | None = None,
    workers: int = 1,
) -> IndexCells:
    """Compute an index from its bands.

    Parameters
    ----------
    index : Index
    layers : mapping of str to Layer
        One for each letter of the formula, all of one shape.
    mask : ndarray of bool, shape (rows, cols), optional
        True where values are to be left out, such as saturated cells.
    workers : int
        Threads; never changes the result.

    Raises
    ------
    InputError
        If a band is missing or shapes differ.

    Examples
    --------
    >>> from photogrammetry.indextable import index_table
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

    counts = np.zeros(3, int)
    for _, count in map_threads(fill, _row_blocks(shape), workers=workers):
        counts += count
    unknown, masked, undefined = (int(count) for count in counts)
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


_MOST = float(np.finfo(np.float32).max)
"""Beyond it a value is infinite."""


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    step = max(BLOCK_CELLS // max(shape[1], 1), 1)
    return (slice(row, min(row + step, shape[0])) for row in range(0, shape[0], step))


def _common_shape(index: Index, layers: Mapping[str, Layer]) -> tuple[int, ...]:
    missing = [key for key in index.formula.names if key not in layers]
    if missing:
        raise InputError(f"{index.name}: no values for {', '.join(missing)}")
    shapes = {layers[key].stored.shape for key in index.formula.names}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise InputError(f"{index.name}: bands of shapes {sorted(shapes)}; give (rows, cols) each")
    return next(iter(shapes))
