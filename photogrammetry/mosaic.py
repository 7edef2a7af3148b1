"""The true orthomosaic, tile by tile: the best view of every place, with seams that do not show.

On a grid coarser than the pixels, every view that sees a place gets a cost: how far from the
vertical it looks, how far it disagrees with the other views (which drops cars that drove on),
how near its rim the place lies.  A semi-global aggregation of these costs lets regions of one
view grow and puts their borders where the views agree.  The photographs are then sampled once,
at full size; across a border they fade into each other over a few pixels, and what is left of
their difference in brightness is spread over metres.

References
----------
Hirschmüller, H. (2008), eq. 13, with a Potts model in place of P1, for the seams.
Burt, P. & Adelson, E. (1983). A multiresolution spline with application to image mosaics. ACM
    TOG 2(4): fine detail fades over a short way and the rest over a long one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.aggregation import aggregate
from photogrammetry.pictures import THUMBNAIL_LEVEL, DecodedPictures, PictureStore, halve
from photogrammetry.rendering import add_view, compose, mark_visible, sample_colour, sample_grey
from photogrammetry.views import TileViews, View, geometry_row, pack_grey, place_views
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
LOW_LABELS = 8
"""Side in label cells of the grid on which brightness is evened out."""
NEAREST_VIEWS = 5
"""Views considered for each place of a coarse lattice over a tile."""
MOST_VIEWS = 20
"""Views of a tile beyond which no further choice is offered: each takes memory."""

UNSEEN = 255
SLANT_COST = 100.0
"""Cost of a view for the square of the tangent of its angle off the vertical."""
DISSENT_COST = 12.0
"""Cost for each `DISSENT_DN` by which a view differs from the median of all."""
DISSENT_DN = 8.0
RIM_COST = 40.0
"""Cost at the very rim of a photograph, falling to 0 at `RIM_SHARE` of its width inside."""
RIM_SHARE = 0.04
LEAST_SEAM_COST, SEAM_COST = 8.0, 60.0
"""Cost of a seam where all views agree, and its rise to where they differ by `SEAM_DN`."""
SEAM_DN = 25.0
FADE_LABELS = 1.0
"""Standard deviation in label cells of the fade across a seam."""
EVEN_LOWS = 2.5
"""Standard deviation in low cells over which brightness is evened out."""
LOW_LEVEL = THUMBNAIL_LEVEL + 2
"""Pyramid level of the colours that are evened out."""


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


def mosaic_tile(
    window: Grid,
    ground: Ground,
    views: Sequence[View],
    gains: dict[str, NDArray[np.float64]],
    frame: LocalFrame,
    store: PictureStore,
    pictures: DecodedPictures,
) -> NDArray[np.uint8]:
    """Render one tile of the orthomosaic.

    Parameters
    ----------
    window : Grid
        Cells of the tile.
    ground : Ground
        The surface over `ground_window` of the tile.
    views : sequence of View
        Oriented photographs; those that do not see the tile are passed over.
    gains : dict of str to ndarray of shape (3,)
        Factors for blue, green and red by photograph.
    frame : LocalFrame
    store : PictureStore
    pictures : DecodedPictures

    Returns
    -------
    ndarray of shape (4, rows, cols), uint8
        Red, green, blue and alpha; alpha is 0 or 255.
    """
    out = np.zeros((4, *window.shape), np.uint8)
    if not ground.mapped.any():
        return out
    labels = _LabelGround.of(window, ground)
    placed = _views_near(views, frame, labels, ground)
    if len(placed) == 0:
        return out
    seams = _choose_seams(placed, labels, gains, store)
    fade = _fade(seams)
    evening = _even_out(placed, labels, seams, fade, gains, store)
    colour, weight = _sample_tile(placed, labels, ground, fade, gains, pictures)
    row_at, col_at = labels.places(labels.y_pixel, labels.x_pixel)
    half = np.float32(0.5)
    compose(
        colour,
        weight,
        evening,
        (row_at + half) / np.float32(LOW_LABELS) - half,
        (col_at + half) / np.float32(LOW_LABELS) - half,
        _resampled(ground.mapped.astype(np.float32), labels, ground) > half,
        out,
    )
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _LabelGround:
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
    def of(cls, window: Grid, ground: Ground) -> _LabelGround:
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


def _views_near(
    views: Sequence[View], frame: LocalFrame, labels: _LabelGround, ground: Ground
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seams:
    """The view chosen in every label cell, and the views that could have been."""

    chosen: NDArray[np.int64]
    """(rows, cols), -1 where none sees the cell."""
    usable: Mask
    """(V, rows, cols)"""


def _choose_seams(
    placed: TileViews,
    labels: _LabelGround,
    gains: dict[str, NDArray[np.float64]],
    store: PictureStore,
) -> _Seams:
    grey = _grey_layers(placed, labels, gains, store)
    framed = np.isfinite(grey) & labels.mapped
    usable = framed.copy()
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
            usable[i],
        )
    # What no view can look into still shows what the best view has there, rather than a hole.
    blind = framed.any(axis=0) & ~usable.any(axis=0)
    usable |= framed & blind
    grey[~usable] = np.nan
    middle, spread = _median_and_range(grey)
    volume = np.empty((*labels.height.shape, len(placed)), np.uint8)
    for i, view in enumerate(placed.views):
        dissent = np.nan_to_num(np.abs(grey[i] - middle)) / DISSENT_DN
        cost = _slant_cost(placed, i, labels) + _rim_cost(placed, i, view, labels)
        cost += DISSENT_COST * np.minimum(dissent, 4.0)
        volume[..., i] = np.where(usable[i], np.minimum(cost, UNSEEN - 1), UNSEEN)
    del grey  # as large as all that follows
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
    return _Seams(chosen=chosen, usable=usable)


def _grey_layers(
    placed: TileViews,
    labels: _LabelGround,
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


def _slant_cost(placed: TileViews, i: int, labels: _LabelGround) -> Float32:
    centre = placed.centres[i]
    rise = np.maximum(centre[2] - labels.height, 1e-3)
    slant2 = ((labels.x - centre[0]) ** 2 + (labels.y[:, None] - centre[1]) ** 2) / rise**2
    return np.asarray(SLANT_COST * slant2, np.float32)


def _rim_cost(placed: TileViews, i: int, view: View, labels: _LabelGround) -> Float32:
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


def _fade(seams: _Seams) -> Float32:
    """Return the weight of every view in every label cell (V, rows, cols), summing to 1."""
    weights = np.zeros(seams.usable.shape, np.float32)
    for i in range(len(weights)):
        chosen = (seams.chosen == i).astype(np.float32)
        if chosen.any():
            weights[i] = cv2.GaussianBlur(chosen, (0, 0), FADE_LABELS) * seams.usable[i]
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-6), np.float32)


def _even_out(
    placed: TileViews,
    labels: _LabelGround,
    seams: _Seams,
    fade: Float32,
    gains: dict[str, NDArray[np.float64]],
    store: PictureStore,
) -> Float32:
    """Return what to add (low rows, low cols, 3) so that brightness changes over metres.

    In the low frequencies the views are mixed over a wide zone about each seam; what is added is
    that mixture less the one the fade has made already.
    """
    shape = tuple(side // LOW_LABELS for side in reversed(labels.height.shape))
    height, x, y = _reduced(labels, shape)
    wide = np.zeros((*height.shape, 3), np.float32)
    narrow = np.zeros_like(wide)
    wide_weight = np.full(height.shape, 1e-6, np.float32)
    narrow_weight = np.full(height.shape, 1e-6, np.float32)
    layer = np.empty_like(wide)
    for i, view in enumerate(placed.views):
        if not fade[i].any():
            continue
        here = cv2.resize(fade[i], shape, interpolation=cv2.INTER_AREA)
        usable = cv2.resize(seams.usable[i].astype(np.float32), shape, interpolation=cv2.INTER_AREA)
        small = halve(halve(store.thumbnail(view.name)))
        geometry = geometry_row(placed, i, 2.0**-LOW_LEVEL).astype(np.float32)[None]
        sample_colour(small, geometry, x, y, height, layer)
        known = np.isfinite(layer[..., 0])
        colour = np.where(known[..., None], layer, 0) * gains[view.name].astype(np.float32)
        spread = cv2.GaussianBlur(here, (0, 0), EVEN_LOWS) * usable * known
        here = here * known
        wide += spread[..., None] * colour
        wide_weight += spread
        narrow += here[..., None] * colour
        narrow_weight += here
    evening = wide / wide_weight[..., None] - narrow / narrow_weight[..., None]
    evening[(wide_weight < 1e-3) | (narrow_weight < 1e-3)] = 0.0
    return np.asarray(evening, np.float32)


def _reduced(labels: _LabelGround, shape: tuple[int, ...]) -> tuple[Float32, Float32, Float32]:
    rows, cols = shape[1] * LOW_LABELS, shape[0] * LOW_LABELS
    height = cv2.resize(labels.height[:rows, :cols], shape, interpolation=cv2.INTER_AREA)
    x = labels.x[:cols].reshape(-1, LOW_LABELS).mean(axis=1).astype(np.float32)
    y = labels.y[:rows].reshape(-1, LOW_LABELS).mean(axis=1).astype(np.float32)
    return np.asarray(height, np.float32), x, y


def _sample_tile(
    placed: TileViews,
    labels: _LabelGround,
    ground: Ground,
    fade: Float32,
    gains: dict[str, NDArray[np.float64]],
    pictures: DecodedPictures,
) -> tuple[Float32, Float32]:
    """Sample the photographs at the tile's pixels: weighted sum (rows, cols, 3) and weights."""
    x, y = labels.x_pixel, labels.y_pixel
    height = _resampled(ground.height, labels, ground)
    height -= np.float32(labels.centre[2])
    row_at, col_at = labels.places(y, x)
    total: Float32 = np.zeros((*height.shape, 3), np.float32)
    weights: Float32 = np.zeros(height.shape, np.float32)
    core = np.ix_(
        range(int(row_at[0]), int(row_at[-1]) + 2), range(int(col_at[0]), int(col_at[-1]) + 2)
    )
    for i, view in enumerate(placed.views):
        if not fade[i][core].any():
            continue
        add_view(
            pictures.get(view.name),
            geometry_row(placed, i, 1.0).astype(np.float32)[None],
            gains[view.name].astype(np.float32),
            x,
            y,
            height,
            fade[i],
            row_at,
            col_at,
            total,
            weights,
        )
    return total, weights


def _resampled(array: Float32, labels: _LabelGround, ground: Ground) -> Float32:
    """Interpolate an array on the surface grid at the tile's pixels."""
    x, y = ground.grid.cell_centres()
    col = (labels.x_pixel - (x[0] - labels.centre[0])) / ground.grid.cell_m
    row = ((y[0] - labels.centre[1]) - labels.y_pixel) / ground.grid.cell_m
    at_col, at_row = np.meshgrid(col.astype(np.float32), row.astype(np.float32))
    return np.asarray(
        cv2.remap(array, at_col, at_row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )
