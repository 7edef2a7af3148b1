"""Which view is drawn in which place, and where the seams between views run.

Every view that sees a place gets a cost: how far from the vertical it looks, how far it disagrees
with the other views (which drops cars that drove on), how near its rim the place lies.  A
semi-global aggregation of these costs lets regions of one view grow and puts their borders where
the views agree.

It works on a grid of labels, coarser than pixels and wider than a tile.

References
----------
Hirschmüller, H. (2008). Stereo processing by semiglobal matching and mutual information. IEEE
    TPAMI 30(2), eq. 13, with a Potts model in place of P1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.aggregation import aggregate
from photogrammetry.kernels.projection import FARTHEST_SLANT
from photogrammetry.kernels.rendering import mark_visible, sample_grey
from photogrammetry.pictures import PictureStore
from photogrammetry.views import (
    KernelViews,
    TileViews,
    View,
    pack_grey,
    place_views,
    trusted_radius2,
)
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile

LABEL_CELLS = 2
"""Side of a label cell in cells of the surface."""
HALO_LABELS = 48
"""Label cells considered beyond a tile, so that neighbouring tiles choose alike."""
BLOCK_LABELS = 16
"""Side in label cells of the squares that share a list of views; the same squares for all tiles."""
NEAREST_VIEWS = 8
"""Views considered in a square, those nearest to the vertical."""
OUT_OF_FRAME = 10.0
"""Added to the tangent of a view whose frame ends between a square and its middle."""

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
class SurfaceWindow:
    """A window of the surface, wider than the tile it serves."""

    grid: Grid
    height: Float32
    """Map heights (rows, cols), a guess where not measured."""
    mapped: Mask
    """Cells that belong to the map."""


def ground_window(surface: Grid, window: Grid) -> Tile:
    """Return the rectangle of surface cells that a tile of the orthomosaic needs.

    It is made of whole squares of `BLOCK_LABELS`, the same for every tile, and may reach beyond the
    surface.
    """
    x0, y0, x1, y1 = window.bounds
    block = LABEL_CELLS * BLOCK_LABELS
    halo_m = HALO_LABELS * LABEL_CELLS * surface.cell_m

    def squares(distance_m: float) -> int:
        return int(np.floor(distance_m / (block * surface.cell_m)))

    row0 = block * squares(surface.y_max - y1 - halo_m)
    row1 = block * (squares(surface.y_max - y0 + halo_m) + 1)
    col0 = block * squares(x0 - surface.x_min - halo_m)
    col1 = block * (squares(x1 - surface.x_min + halo_m) + 1)
    return Tile(row=row0, col=col0, rows=row1 - row0, cols=col1 - col0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelGround:
    """The label grid over a tile and its halo, in tile coordinates."""

    centre: NDArray[np.float64]
    x: Float32
    y: Float32
    height: Float32
    """(rows, cols), tile heights; the mean of each label cell."""
    cell_m: float
    mapped: Mask
    x_pixel: Float32
    y_pixel: Float32
    """Centres of the orthomosaic's columns and rows."""

    @classmethod
    def of(cls, window: Grid, ground: SurfaceWindow) -> LabelGround:
        """Lay the label grid over the ground of a tile."""
        x0, y0, x1, y1 = window.bounds
        reference = float(np.median(ground.height[ground.mapped]))
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2, reference])
        # Outside the map the guessed heights must not block any view.
        lowest = ground.height[ground.mapped].min()
        height = np.where(ground.mapped, ground.height, lowest) - np.float32(reference)
        shape = (ground.grid.cols // LABEL_CELLS, ground.grid.rows // LABEL_CELLS)
        x, y = ground.grid.cell_centres()
        x_pixel, y_pixel = window.cell_centres()
        mapped = cv2.resize(ground.mapped.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
        return cls(
            centre=centre,
            x=(x.reshape(-1, LABEL_CELLS).mean(axis=1) - centre[0]).astype(np.float32),
            y=(y.reshape(-1, LABEL_CELLS).mean(axis=1) - centre[1]).astype(np.float32),
            height=np.asarray(
                cv2.resize(height.astype(np.float32), shape, interpolation=cv2.INTER_AREA),
                np.float32,
            ),
            cell_m=ground.grid.cell_m * LABEL_CELLS,
            mapped=mapped > 0,
            x_pixel=(x_pixel - centre[0]).astype(np.float32),
            y_pixel=(y_pixel - centre[1]).astype(np.float32),
        )

    def places(self, y: Float32, x: Float32) -> tuple[Float32, Float32]:
        """Return fractional rows and columns (centre origin) of tile coordinates."""
        return (self.y[0] - y) / np.float32(self.cell_m), (x - self.x[0]) / np.float32(self.cell_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What one view has on a part of the label grid; nothing beyond."""

    window: tuple[slice, slice]
    """Rows and columns of label cells, by whole squares."""
    values: NDArray[Any]
    """(rows, cols) of the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearViews:
    """The views of a tile, and where each is offered."""

    placed: TileViews
    squares: Mask
    """(V, square rows, square cols)"""
    layer: NDArray[np.int64]
    """(V,); views that are offered nowhere side by side share a layer, so that there are about as
    many layers as views of one place, however many see the tile."""

    def offered(self, i: int) -> Mask:
        """Return the label cells (rows, cols) in which a view is offered."""
        return np.repeat(np.repeat(self.squares[i], BLOCK_LABELS, axis=0), BLOCK_LABELS, axis=1)


def views_near(
    views: Sequence[View], frame: LocalFrame, labels: LabelGround, ground: SurfaceWindow
) -> NearViews:
    """Place the views and offer each square of the ground those nearest to the vertical.

    What is offered in a square depends on nothing but it and the squares about it, so that
    neighbouring tiles choose among the same views where they meet; and what is offered in one is
    offered in those about it, so that seams need not run along the sides of squares.
    """
    half = (float(labels.x[-1] - labels.x[0]) / 2, float(labels.y[0] - labels.y[-1]) / 2)
    heights = ground.height[ground.mapped]
    placed = place_views(
        views, frame, labels.centre, half, (float(heights.min()), float(heights.max()))
    )
    middle = slice(BLOCK_LABELS // 2, None, BLOCK_LABELS)
    x, y = np.meshgrid(labels.x[middle], labels.y[middle])
    height = labels.height[middle, middle]
    shape = len(placed), *height.shape
    offered = np.zeros(shape, np.bool_)
    rank = np.full(shape, np.inf)
    points = np.column_stack([x.ravel(), y.ravel(), height.ravel()]).astype(float)
    for i in range(len(placed)):
        rank[i] = _rank(placed, i, points, labels.cell_m).reshape(height.shape)
    order = np.argsort(rank, axis=0, kind="stable")[:NEAREST_VIEWS]
    np.put_along_axis(offered, order, True, axis=0)
    about = np.ones((3, 3), np.uint8)
    for layer in offered:
        layer |= cv2.dilate(layer.astype(np.uint8), about) > 0
    offered &= np.isfinite(rank)
    kept = np.flatnonzero(offered.any(axis=(1, 2))).tolist()
    offered = offered[kept]
    return NearViews(placed=placed.subset(kept), squares=offered, layer=_layers(offered))


def _layers(offered: Mask) -> NDArray[np.int64]:
    """Give views (V, square rows, square cols) that meet nowhere the same number, few in all."""
    about = np.ones((3, 3), np.uint8)
    reach = np.empty(offered.shape, np.float32)
    for near, own in zip(reach, offered, strict=True):
        near[:] = cv2.dilate(own.astype(np.uint8), about)
    meets = np.tensordot(reach, offered.astype(np.float32), ([1, 2], [1, 2])) > 0
    layer = np.zeros(len(offered), np.int64)
    for i in range(len(offered)):
        taken = set(layer[:i][meets[i, :i]].tolist())
        layer[i] = next(number for number in range(i + 1) if number not in taken)
    return layer


def _rank(
    placed: TileViews, i: int, points: NDArray[np.float64], label_m: float
) -> NDArray[np.float64]:
    """Return the tangents at which a view sees middles of squares; infinite where not at all."""
    camera = placed.views[i].camera
    offset = placed.centres[i] - points
    tangent = np.hypot(offset[:, 0], offset[:, 1]) / np.maximum(offset[:, 2], 1e-6)
    pixels = _beyond_lens(placed, i, points)
    size = np.array([camera.width_px, camera.height_px], float)
    beyond_px = np.maximum(-pixels, pixels - size).max(axis=1)
    # A square may reach into a frame that does not hold its middle.
    reach_px = BLOCK_LABELS * label_m * camera.fx_px / np.maximum(offset[:, 2], 1e-6)
    near = beyond_px < reach_px
    rank = tangent + OUT_OF_FRAME * (beyond_px >= 0)
    return np.where(near & (offset[:, 2] > 0), rank, np.inf)


def _beyond_lens(placed: TileViews, i: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project tile points (N, 3); where the lens model ends, straight on from its rim (N, 2)."""
    camera, matrix = placed.views[i].camera, placed.cam_from_tile[i]
    cam = points @ matrix[:, :3].T + matrix[:, 3]
    rays = cam[:, :2] / np.maximum(cam[:, 2:], 1e-6)
    limit = np.sqrt(trusted_radius2(camera))
    radius = np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-9)[:, None]
    within = rays * np.minimum(1.0, limit / radius)
    pixels = camera.pixel_from_cam(np.column_stack([within, np.ones(len(within))]))
    return np.asarray(pixels + (rays - within) * (camera.fx_px, camera.fy_px), float)


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
    gains: Mapping[str, NDArray[np.float64]],
    store: PictureStore,
) -> Seams:
    """Choose the view of every label cell.

    Gains (3,) are factors of the photographs' bands, so that exposures do not count as
    disagreement.
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
        standing = _slant_cost(near.placed, i, labels) + _rim_cost(near.placed, i, labels)
        cost[layer][framed] = standing[framed]
        usable[layer] |= sight.open(i, framed)
    # What no view can look into still shows what the best view has there, rather than a hole.
    usable |= (view >= 0) & ~usable.any(axis=0)
    grey[~usable] = np.nan
    best = np.take_along_axis(view, _choose_layer(grey, cost, usable)[None], axis=0)[0]
    chosen = np.where(usable.any(axis=0), best.astype(np.int64), -1)
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
        labels = self.labels
        values = np.empty(labels.height.shape, np.float32)
        wanted = wanted & labels.mapped
        sample_grey(*self.packed, i, labels.x, labels.y, labels.height, wanted, values)
        steep = _slant2(self.placed, i, labels) >= FARTHEST_SLANT**2
        return values, np.isfinite(values) & ~steep

    def open(self, i: int, framed: Mask) -> Mask:
        """Return which cells (rows, cols) the ground does not hide from a view."""
        labels, visible = self.labels, framed.copy()
        centre, top = self.placed.centres[i], float(labels.height.max())
        clear_m = 1.5 * labels.cell_m
        mark_visible(
            labels.height, labels.cell_m, top, clear_m, labels.x, labels.y, centre, visible
        )
        return visible


def _packed(placed: TileViews, labels: LabelGround, store: PictureStore) -> KernelViews:
    west, east, north, south = np.array([*labels.x[[0, -1]], *labels.y[[0, -1]]], float)
    x, y, z = np.meshgrid(
        np.linspace(west, east, 7),
        np.linspace(north, south, 7),
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


def _slant_cost(placed: TileViews, i: int, labels: LabelGround) -> Float32:
    slant2 = _slant2(placed, i, labels)
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
