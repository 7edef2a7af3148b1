"""Which view is drawn in which place, and where the seams between views run.

Every view that sees a place gets a cost: how far from the vertical it looks, how far it disagrees
with the other views (which drops cars that drove on), how near its rim the place lies.  A
semi-global aggregation of these costs lets regions of one view grow and puts their borders where
the views agree.

References
----------
Hirschmüller, H. (2008). Stereo processing by semiglobal matching and mutual information. IEEE
    TPAMI 30(2), eq. 13, with a Potts model in place of P1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.aggregation import aggregate
from photogrammetry.labels import LabelGround, NearViews
from photogrammetry.pictures import PictureStore
from photogrammetry.rendering import mark_visible, sample_grey
from photogrammetry.views import FARTHEST_SLANT, TileViews, View, pack_grey

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

UNSEEN = 255
SLANT_COST = 100.0
"""Cost of a view for the square of the tangent of its angle off the vertical, up to 45°."""
STEEP_COST = 60.0
"""The same beyond, so that 60° still fits into a byte."""
DISSENT_COST = 12.0
"""Cost for each `DISSENT_DN` by which a view differs from the median of all."""
DISSENT_DN = 8.0
RIM_COST = 40.0
"""Cost at the very rim of a photograph, falling to 0 at `RIM_SHARE` of its width inside."""
RIM_SHARE = 0.04
LEAST_SEAM_COST, SEAM_COST = 8.0, 60.0
"""Cost of a seam where all views agree, and its rise to where they differ by `SEAM_DN`."""
SEAM_DN = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """The view chosen in every label cell, and the views that see it."""

    chosen: NDArray[np.int64]
    """(rows, cols), -1 where none sees the cell."""
    visible: Mask
    """(V, rows, cols); across a seam a view fades as far as it sees, offered there or not."""


def choose_seams(
    near: NearViews,
    labels: LabelGround,
    gains: dict[str, NDArray[np.float64]],
    store: PictureStore,
) -> Seams:
    """Choose the view of every label cell.

    Parameters
    ----------
    near : NearViews
    labels : LabelGround
    gains : dict of str to ndarray of shape (3,)
        Factors of the photographs' bands, so that exposures do not count as disagreement.
    store : PictureStore
        Holds the grey pyramids.
    """
    placed = near.placed
    grey = _grey_layers(placed, labels, gains, store)
    slant2 = [_slant2(placed, i, labels) for i in range(len(placed))]
    framed = np.isfinite(grey) & labels.mapped
    for i, one in enumerate(slant2):
        framed[i] &= one < FARTHEST_SLANT**2
    visible = _visible(placed, labels, framed)
    usable = visible & near.offered
    # What no view can look into still shows what the best view has there, rather than a hole.
    usable |= framed & near.offered & ~usable.any(axis=0)
    grey[~usable] = np.nan
    middle, spread = _median_and_range(grey)
    volume = np.empty((*labels.height.shape, len(placed)), np.uint8)
    for i, view in enumerate(placed.views):
        dissent = np.nan_to_num(np.abs(grey[i] - middle)) / DISSENT_DN
        cost = _slant_cost(slant2[i]) + _rim_cost(placed, i, view, labels)
        cost += DISSENT_COST * np.minimum(dissent, 4.0)
        volume[..., i] = np.where(usable[i], np.minimum(cost, UNSEEN - 1), UNSEEN)
    del grey, slant2, framed  # as large as all that follows
    shape = labels.height.shape
    total = np.empty(volume.shape, np.float32)
    seam = LEAST_SEAM_COST + SEAM_COST * np.minimum(np.nan_to_num(spread) / SEAM_DN, 1.0)
    aggregate(
        volume,
        np.zeros(shape, np.int32),
        np.full(shape, len(placed), np.int32),
        1e5,  # Potts: a step to the neighbouring number is no smaller than any other
        seam.astype(np.float32),
        total,
    )
    total[volume == UNSEEN] = np.inf
    chosen = np.where(usable.any(axis=0), np.argmin(total, axis=2), -1)
    return Seams(chosen=chosen, visible=visible | usable)


def _visible(placed: TileViews, labels: LabelGround, framed: Mask) -> Mask:
    """Return which views see a cell (V, rows, cols), of those whose frame holds it."""
    visible = framed.copy()
    top = float(labels.height.max())
    for i in range(len(placed)):
        mark_visible(
            labels.height,
            labels.cell_m,
            top,
            1.5 * labels.cell_m,
            labels.x,
            labels.y,
            placed.centres[i],
            visible[i],
        )
    return visible


def _grey_layers(
    placed: TileViews,
    labels: LabelGround,
    gains: dict[str, NDArray[np.float64]],
    store: PictureStore,
) -> Float32:
    """Sample every view on the label grid (V, rows, cols), exposures balanced; NaN unseen."""
    corners = np.array([labels.x[0], labels.x[-1], labels.y[0], labels.y[-1]], float)
    x, y, z = np.meshgrid(
        np.linspace(corners[0], corners[1], 7),
        np.linspace(corners[2], corners[3], 7),
        [float(labels.height.min()), float(labels.height.max())],
    )
    packed = pack_grey(
        placed, store, labels.cell_m, np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    )
    layers = np.empty((len(placed), *labels.height.shape), np.float32)
    for i, view in enumerate(placed.views):
        sample_grey(
            packed.pixels,
            packed.geometry,
            packed.layout,
            i,
            labels.x,
            labels.y,
            labels.height,
            layers[i],
        )
        layers[i] *= np.float32(gains[view.name].mean())
    return layers


def _slant2(placed: TileViews, i: int, labels: LabelGround) -> Float32:
    """Return the squared tangent of a view's angle off the vertical."""
    centre = placed.centres[i]
    rise = np.maximum(centre[2] - labels.height, 1e-3)
    slant2 = ((labels.x - centre[0]) ** 2 + (labels.y[:, None] - centre[1]) ** 2) / rise**2
    return np.asarray(slant2, np.float32)


def _slant_cost(slant2: Float32) -> Float32:
    steep = SLANT_COST + STEEP_COST * (slant2 - 1.0)
    return np.asarray(np.minimum(SLANT_COST * slant2, steep), np.float32)


def _rim_cost(placed: TileViews, i: int, view: View, labels: LabelGround) -> Float32:
    """Cost of lying near a photograph's rim, from every eighth cell."""
    step = 8
    rows, cols = labels.height[::step, ::step].shape
    x, y = np.meshgrid(labels.x[::step], labels.y[::step])
    points = np.column_stack([x.ravel(), y.ravel(), labels.height[::step, ::step].ravel()])
    pixels = placed.pixel_from_tile(i, points)
    size = np.array([view.camera.width_px, view.camera.height_px], float)
    inside = np.nan_to_num(np.minimum(pixels, size - pixels).min(axis=1), nan=-1.0)
    near = np.clip(1.0 - inside / (RIM_SHARE * size[0]), 0.0, 1.0).reshape(rows, cols)
    shape = labels.height.shape
    wide = np.repeat(np.repeat(near, step, axis=0), step, axis=1)[: shape[0], : shape[1]]
    return np.asarray(RIM_COST * wide, np.float32)


def _median_and_range(layers: Float32) -> tuple[Float32, Float32]:
    """Return median and range over the first axis, NaN left out; NaN where all are."""
    ordered = np.sort(layers, axis=0)  # NaN last
    count = np.isfinite(ordered).sum(axis=0)
    last = np.maximum(count - 1, 0)

    def pick(index: NDArray[np.int64]) -> Float32:
        return np.asarray(np.take_along_axis(ordered, index[None], axis=0)[0], np.float32)

    middle = (pick(last // 2) + pick((last + 1) // 2)) / np.float32(2)
    return np.asarray(middle, np.float32), pick(last) - ordered[0]
