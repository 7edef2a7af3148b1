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
from photogrammetry.labels import BLOCK_LABELS, LabelGround, NearViews, Patch
from photogrammetry.pictures import PictureStore
from photogrammetry.rendering import mark_visible, sample_grey
from photogrammetry.views import FARTHEST_SLANT, KernelViews, TileViews, pack_grey

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
SEEN_LABELS = 56
"""Label cells beyond those a view is chosen for in which it is asked what it sees: farther than
brightness is evened out."""
STRIP_ROWS = 32
"""Rows of all views that are sorted at once: memory goes with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """The view chosen in every label cell, and where the chosen views see."""

    placed: TileViews
    """Those that are chosen anywhere."""
    chosen: NDArray[np.int64]
    """(rows, cols), their index; -1 where none sees the cell."""
    visible: tuple[Patch, ...]
    """Which cells each of them sees: across a seam it fades as far, offered there or not."""


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
    sight = _Sight(placed=near.placed, labels=labels, packed=_packed(near.placed, labels, store))
    shape = (int(near.layer.max()) + 1, *labels.height.shape)
    view = np.full(shape, -1, np.int16)
    grey = np.full(shape, np.nan, np.float32)
    cost = np.zeros(shape, np.float32)
    usable = np.zeros(shape, np.bool_)
    for i, layer in enumerate(near.layer):
        values, framed = sight.look(i, near.offered(i))
        view[layer][framed] = i
        grey[layer][framed] = values[framed] * np.float32(gains[near.placed.views[i].name].mean())
        standing = _slant_cost(_slant2(near.placed, i, labels)) + _rim_cost(near.placed, i, labels)
        cost[layer][framed] = standing[framed]
        usable[layer] |= sight.open(i, framed)
    # What no view can look into still shows what the best view has there, rather than a hole.
    usable |= (view >= 0) & ~usable.any(axis=0)
    grey[~usable] = np.nan
    layer = _choose_layer(grey, cost, usable)
    chosen = np.where(
        usable.any(axis=0), np.take_along_axis(view, layer[None], axis=0)[0].astype(np.int64), -1
    )
    used = np.unique(chosen[chosen >= 0])
    visible = []
    for i in used.tolist():
        own, layer = _about(chosen == i), near.layer[i]
        wanted = np.zeros(chosen.shape, np.bool_)
        wanted[own] = ~near.offered(i)[own]
        _, framed = sight.look(i, wanted)
        seen = sight.open(i, framed) | (usable[layer] & (view[layer] == i))
        visible.append(Patch(window=own, values=seen[own].copy()))
    number = np.full(len(near.placed) + 1, -1)
    number[used] = np.arange(len(used))
    return Seams(
        placed=near.placed.subset(used.tolist()), chosen=number[chosen], visible=tuple(visible)
    )


def _about(cells: Mask) -> tuple[slice, slice]:
    """Return the window of whole squares that holds cells and what lies near them."""
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))

    def grown(first: int, last: int, side: int) -> slice:
        start = max(first - SEEN_LABELS, 0) // BLOCK_LABELS * BLOCK_LABELS
        return slice(start, min(-(-(last + 1 + SEEN_LABELS) // BLOCK_LABELS) * BLOCK_LABELS, side))

    return (
        grown(int(rows[0]), int(rows[-1]), cells.shape[0]),
        grown(int(cols[0]), int(cols[-1]), cells.shape[1]),
    )


def _choose_layer(grey: Float32, cost: Float32, usable: Mask) -> NDArray[np.int64]:
    """Return the layer of every cell (rows, cols) from grey values and costs (L, rows, cols)."""
    middle, spread = _median_and_range(grey)
    volume = np.empty((*middle.shape, len(grey)), np.uint8)
    for i, values in enumerate(grey):
        dissent = np.nan_to_num(np.abs(values - middle)) / DISSENT_DN
        of_view = cost[i] + DISSENT_COST * np.minimum(dissent, 4.0)
        volume[..., i] = np.where(usable[i], np.minimum(of_view, UNSEEN - 1), UNSEEN)
    total = np.empty(volume.shape, np.float32)
    seam = LEAST_SEAM_COST + SEAM_COST * np.minimum(np.nan_to_num(spread) / SEAM_DN, 1.0)
    aggregate(
        volume,
        np.zeros(middle.shape, np.int32),
        np.full(middle.shape, len(grey), np.int32),
        1e5,  # Potts: a step to the neighbouring number is no smaller than any other
        seam.astype(np.float32),
        total,
    )
    total[volume == UNSEEN] = np.inf
    return np.asarray(np.argmin(total, axis=2))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sight:
    """What the views of a tile have in their frames, and what of it they can see."""

    placed: TileViews
    labels: LabelGround
    packed: KernelViews

    def look(self, i: int, wanted: Mask) -> tuple[Float32, Mask]:
        """Return a view's grey values (rows, cols), and which of the wanted cells it frames."""
        labels, packed = self.labels, self.packed
        values = np.empty(labels.height.shape, np.float32)
        sample_grey(
            packed.pixels,
            packed.geometry,
            packed.layout,
            i,
            labels.x,
            labels.y,
            labels.height,
            wanted & labels.mapped,
            values,
        )
        steep = _slant2(self.placed, i, labels) >= FARTHEST_SLANT**2
        return values, np.isfinite(values) & ~steep

    def open(self, i: int, framed: Mask) -> Mask:
        """Return which cells (rows, cols) the ground does not hide from a view."""
        labels, visible = self.labels, framed.copy()
        mark_visible(
            labels.height,
            labels.cell_m,
            float(labels.height.max()),
            1.5 * labels.cell_m,
            labels.x,
            labels.y,
            self.placed.centres[i],
            visible,
        )
        return visible


def _packed(placed: TileViews, labels: LabelGround, store: PictureStore) -> KernelViews:
    corners = np.array([labels.x[0], labels.x[-1], labels.y[0], labels.y[-1]], float)
    x, y, z = np.meshgrid(
        np.linspace(corners[0], corners[1], 7),
        np.linspace(corners[2], corners[3], 7),
        [float(labels.height.min()), float(labels.height.max())],
    )
    return pack_grey(
        placed, store, labels.cell_m, np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    )


def _slant2(placed: TileViews, i: int, labels: LabelGround) -> Float32:
    """Return the squared tangent of a view's angle off the vertical."""
    centre = placed.centres[i]
    rise = np.maximum(centre[2] - labels.height, 1e-3)
    slant2 = ((labels.x - centre[0]) ** 2 + (labels.y[:, None] - centre[1]) ** 2) / rise**2
    return np.asarray(slant2, np.float32)


def _slant_cost(slant2: Float32) -> Float32:
    steep = SLANT_COST + STEEP_COST * (slant2 - 1.0)
    return np.asarray(np.minimum(SLANT_COST * slant2, steep), np.float32)


def _rim_cost(placed: TileViews, i: int, labels: LabelGround) -> Float32:
    """Cost of lying near a photograph's rim, from every eighth cell."""
    step = 8
    rows, cols = labels.height[::step, ::step].shape
    x, y = np.meshgrid(labels.x[::step], labels.y[::step])
    points = np.column_stack([x.ravel(), y.ravel(), labels.height[::step, ::step].ravel()])
    pixels = placed.pixel_from_tile(i, points)
    camera = placed.views[i].camera
    size = np.array([camera.width_px, camera.height_px], float)
    inside = np.nan_to_num(np.minimum(pixels, size - pixels).min(axis=1), nan=-1.0)
    near = np.clip(1.0 - inside / (RIM_SHARE * size[0]), 0.0, 1.0).reshape(rows, cols)
    shape = labels.height.shape
    wide = np.repeat(np.repeat(near, step, axis=0), step, axis=1)[: shape[0], : shape[1]]
    return np.asarray(RIM_COST * wide, np.float32)


def _median_and_range(layers: Float32) -> tuple[Float32, Float32]:
    """Return median and range over the first axis, NaN left out; NaN where all are."""
    middle, spread = np.empty(layers.shape[1:], np.float32), np.empty(layers.shape[1:], np.float32)
    for row in range(0, len(middle), STRIP_ROWS):
        rows = slice(row, row + STRIP_ROWS)
        ordered = np.sort(layers[:, rows], axis=0)  # NaN last
        last = np.maximum(np.isfinite(ordered).sum(axis=0) - 1, 0)
        lower, upper, highest = (
            np.take_along_axis(ordered, index[None], axis=0)[0]
            for index in (last // 2, (last + 1) // 2, last)
        )
        middle[rows] = (lower + upper) / np.float32(2)
        spread[rows] = highest - ordered[0]
    return middle, spread
