"""Cells whose values say nothing about the ground: saturated ones, and those in shadow.

Snow and raking light are neither: a mask for shadow is used only where it is asked for, and is
declined where the values show no class of their own that is dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from photogrammetry.indices import Layer

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

BINS = 128
SMOOTHING_BINS = 2.5
LEAST_CELLS = 500
LEAST_DROP = 2.5
"""How many times brighter the lit class must be: a shadow gets a tenth to a third of the light."""
DEEPEST_VALLEY = 0.7
"""The valley between the classes must lie below this share of the lower one's peak."""


def saturated_cells(layers: Mapping[str, Layer], limits: Mapping[str, float]) -> Bool:
    """Return where any band is saturated.

    Parameters
    ----------
    layers : mapping of str to Layer
    limits : mapping of str to float
        Stored value from which on each band is saturated; bands without one are not looked at.

    Returns
    -------
    ndarray of bool, shape (rows, cols)
        A quotient with a saturated band is biased, whichever side it stands on.

    Examples
    --------
    >>> red = Layer(stored=np.uint8([[10, 255]]), nodata=None)
    >>> saturated_cells({"R": red}, {"R": 255}).tolist()
    [[False, True]]
    """
    shape = next(iter(layers.values())).stored.shape
    found = np.zeros(shape, np.bool_)
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

    Returns
    -------
    ndarray of float32, shape (rows, cols)
    """
    everything = slice(None)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(layer.values(everything)) for layer in layers]
        mean = np.asarray(np.mean(logs, axis=0), np.float32)
    mean[~np.isfinite(mean)] = np.nan
    return mean


def choose_shadow_limit(sample: Float) -> float | None:
    """Choose the brightness below which cells lie in shadow.

    Parameters
    ----------
    sample : ndarray of float32
        `brightness` of cells from all over the survey, any shape.

    Returns
    -------
    float or None
        The valley between a dark and a lit class; None where there are no two classes.

    Notes
    -----
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
