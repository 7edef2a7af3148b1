"""The grid on which an orthomosaic's views are chosen: coarser than pixels, wider than a tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.views import TileViews, View, place_views
from tmp.frames import LocalFrame
from tmp.grids import Grid, Tile

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

LABEL_CELLS = 2
"""Side of a label cell in cells of the surface."""
HALO_LABELS = 48
"""Label cells considered beyond a tile, so that neighbouring tiles choose alike."""
VIEWS_HALO_LABELS = 24
"""Label cells beyond a tile over which its views are gathered."""
NEAREST_VIEWS = 5
"""Views considered for each place of a coarse lattice over a tile."""
MOST_VIEWS = 20
"""Views of a tile beyond which no further choice is offered: each takes memory."""


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

    It is aligned to label cells, the same for every tile, and may reach beyond the surface.
    """
    x0, y0, x1, y1 = window.bounds
    label_m = LABEL_CELLS * surface.cell_m

    def label(distance_m: float) -> int:
        return int(np.floor(distance_m / label_m))

    row0 = LABEL_CELLS * (label(surface.y_max - y1) - HALO_LABELS)
    row1 = LABEL_CELLS * (label(surface.y_max - y0) + 1 + HALO_LABELS)
    col0 = LABEL_CELLS * (label(x0 - surface.x_min) - HALO_LABELS)
    col1 = LABEL_CELLS * (label(x1 - surface.x_min) + 1 + HALO_LABELS)
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


def views_near(
    views: Sequence[View], frame: LocalFrame, labels: LabelGround, ground: Ground
) -> TileViews:
    """Place the views and keep those nearest to the vertical over some part of the tile."""
    half = (float(labels.x[-1] - labels.x[0]) / 2, float(labels.y[0] - labels.y[-1]) / 2)
    heights = ground.height[ground.mapped]
    placed = place_views(
        views, frame, labels.centre, half, (float(heights.min()), float(heights.max()))
    )
    inset = HALO_LABELS - VIEWS_HALO_LABELS
    rows = np.linspace(inset, len(labels.y) - 1 - inset, 9).astype(int)
    cols = np.linspace(inset, len(labels.x) - 1 - inset, 9).astype(int)
    r, c = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    points = np.column_stack([labels.x[c], labels.y[r], labels.height[r, c]]).astype(float)
    slant = np.full((len(placed), len(points)), np.inf)
    for i, view in enumerate(placed.views):
        pixels = placed.pixel_from_tile(i, points)
        with np.errstate(invalid="ignore"):
            seen = ((pixels > 0) & (pixels < (view.camera.width_px, view.camera.height_px))).all(1)
        offset = placed.centres[i] - points
        slant[i] = np.where(seen, np.hypot(offset[:, 0], offset[:, 1]) / offset[:, 2], np.inf)
    order = np.argsort(slant, axis=0, kind="stable")
    kept: set[int] = set()
    # The nearest view of every place, then the second nearest, ... while there is room.
    for nth in order[:NEAREST_VIEWS]:
        found = np.isfinite(slant[nth, np.arange(len(points))])
        further = kept | set(nth[found].tolist())
        if len(further) > MOST_VIEWS and len(kept) >= MOST_VIEWS // 2:
            break
        kept = further
    return placed.subset(sorted(kept))
