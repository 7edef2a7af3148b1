"""The grid on which an orthomosaic's views are chosen: coarser than pixels, wider than a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.views import TileViews, View, place_views, trusted_radius2
from tmp.frames import LocalFrame
from tmp.grids import Grid, Tile

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
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
    def of(cls, window: Grid, ground: Ground) -> LabelGround:
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
    views: Sequence[View], frame: LocalFrame, labels: LabelGround, ground: Ground
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
