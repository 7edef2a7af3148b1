"""The true orthomosaic, tile by tile: the best view of every place, with seams that do not show.

The photographs are sampled once, as large as they are given, through the full lens model
(`rendering.py`), from the views that `seams.py` chose.  Across a seam they fade into each other
over a few pixels, and what is left of their difference in brightness is spread over metres.

Bands of light are projected each from the poses of its own lens, so that they lie on each other
wherever the surface is right, walls and slopes included.  Seams are chosen once for all bands that
were released together: an index of two bands then never mixes two moments, two exposures or two
views of a plant.  Values are mixed only in the narrow fade across a seam; nothing is evened out.

References
----------
Burt, P. & Adelson, E. (1983). A multiresolution spline with application to image mosaics. ACM
    TOG 2(4): fine detail fades over a short way and the rest over a long one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.rendering import add_view, compose, sample_colour
from photogrammetry.orientation.pairs import reference_band
from photogrammetry.ortho.seams import (
    LabelGround,
    Patch,
    Seams,
    SurfaceWindow,
    choose_seams,
    views_near,
)
from photogrammetry.pictures import (
    THUMBNAIL_LEVEL,
    DecodedPictures,
    PictureStore,
    halve,
    halvings_of,
)
from photogrammetry.views import TileViews, View, geometry_row, views_in_tile
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

Gains = Mapping[str, NDArray[np.float64]]
"""Factors (bands,) of photographs, by name."""
STRIP_ROWS = 256
"""Pixel rows of a tile that are sampled at once: memory goes with them."""
LOW_LABELS = 8
"""Side in label cells of the grid on which brightness is evened out."""
FADE_LABELS = 1.0
"""Standard deviation in label cells of the fade across a seam."""
RIM_LABELS = 2
"""Label cells by which a view goes on beyond the rim."""
LEAST_SUM = 1e-6
EVEN_LOWS = 2.5
"""Standard deviation in low cells over which brightness is evened out."""
EVEN_SIZE = (11, 11)
"""Low cells over which that is cut off: as far as a tile's neighbours choose alike."""
LOW_LEVEL = THUMBNAIL_LEVEL + 2
"""Pyramid level of the colours that are evened out."""
LEAST_SHARE = 0.05
"""Weight of a band's photographs under which a place counts as unseen in that band."""


def mosaic_tile(
    window: Grid,
    ground: SurfaceWindow,
    views: Sequence[View],
    gains: Gains,
    frame: LocalFrame,
    store: PictureStore,
    pictures: DecodedPictures,
) -> NDArray[np.uint8]:
    """Render one tile of the orthomosaic: red, green, blue and alpha, uint8 (4, rows, cols).

    The surface reaches over `photogrammetry.ortho.seams.ground_window` of the tile. Views that do
    not see it are passed over; gains are factors for blue, green and red by photograph. Alpha is 0
    or 255.
    """
    out = np.zeros((4, *window.shape), np.uint8)
    found = _choose_views(window, ground, views, gains, frame, store)
    if found is None:
        return out
    drawing, visible = found
    evening = _even_out(drawing, visible, store)
    for row in range(0, window.rows, STRIP_ROWS):
        rows = slice(row, row + STRIP_ROWS)
        labels = replace(drawing.labels, y_pixel=drawing.labels.y_pixel[rows])
        out[:, rows] = _render(replace(drawing, labels=labels), evening, pictures)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """Which views are drawn in which of a tile's pixels."""

    labels: LabelGround
    ground: SurfaceWindow
    placed: TileViews
    fade: Sequence[Patch]
    """Weight of each view, see `_fade_weights`."""
    gains: Gains


def _choose_views(
    window: Grid,
    ground: SurfaceWindow,
    views: Sequence[View],
    gains: Gains,
    frame: LocalFrame,
    store: PictureStore,
) -> tuple[_Drawing, Sequence[Patch]] | None:
    """Choose the views of a tile, and tell what each sees; None where nothing is to be drawn."""
    if not ground.mapped.any():
        return None
    labels = LabelGround.of(window, ground)
    near = views_near(views, frame, labels, ground)
    if len(near.placed) == 0:
        return None
    seams = choose_seams(near, labels, gains, store)
    fade = _fade_weights(seams)
    return (
        _Drawing(labels=labels, ground=ground, placed=seams.placed, fade=fade, gains=gains),
        seams.visible,
    )


def _render(drawing: _Drawing, evening: Float32, pictures: DecodedPictures) -> NDArray[np.uint8]:
    """Return red, green, blue and alpha (4, rows, cols) of a tile's pixels."""
    colour, weight = _sample_tile(drawing, pictures)
    half, low = np.float32(0.5), np.float32(LOW_LABELS)
    places = drawing.labels.places(drawing.labels.y_pixel, drawing.labels.x_pixel)
    row_at, col_at = ((at + half) / low - half for at in places)
    out = np.zeros((4, *weight.shape), np.uint8)
    compose(colour, weight, evening, row_at, col_at, _mapped(drawing), out)
    return out


def _mapped(drawing: _Drawing) -> NDArray[np.bool_]:
    """Return which of the tile's pixels belong to the map."""
    mapped = _resampled(drawing.ground.mapped.astype(np.float32), drawing)
    return np.asarray(mapped > np.float32(0.5))


def _fade_weights(seams: Seams) -> list[Patch]:
    """Return the weight of every view in the label cells about where it is chosen.

    They sum to 1.  Beyond the rim, where the sum would be 0, the nearest views go on for two cells:
    where exactly a photograph ends is seen in the pixels.
    """
    total = np.zeros(seams.chosen.shape, np.float32)
    fade = []
    for i, seen in enumerate(seams.visible):
        chosen = (seams.chosen[seen.window] == i).astype(np.float32)
        weights = cv2.GaussianBlur(chosen, (0, 0), FADE_LABELS) * seen.values
        fade.append(Patch(window=seen.window, values=weights))
        total[seen.window] += weights
    beyond = total < LEAST_SUM
    around = np.ones((2 * RIM_LABELS + 1,) * 2, np.uint8)
    for one in fade:
        outside = beyond[one.window]
        going_on = cv2.dilate(one.values, around)[outside]
        total[one.window][outside] += going_on - one.values[outside]
        one.values[outside] = going_on
    for one in fade:
        one.values[:] /= np.maximum(total[one.window], LEAST_SUM)
    return fade


def _even_out(drawing: _Drawing, visible: Sequence[Patch], store: PictureStore) -> Float32:
    """Return what to add (low rows, low cols, 3) so that brightness changes over metres.

    In the low frequencies the views are mixed over a wide zone about each seam; what is added is
    that mixture less the one the fade has made already.
    """
    height, x, y = _reduced(drawing.labels)
    wide = np.zeros((*height.shape, 3), np.float32)
    narrow = np.zeros_like(wide)
    wide_weight = np.full(height.shape, 1e-6, np.float32)
    narrow_weight = np.full(height.shape, 1e-6, np.float32)
    for i, view in enumerate(drawing.placed.views):
        low, here = _lowered(drawing.fade[i])
        _, seen = _lowered(visible[i])
        layer = np.empty((*here.shape, 3), np.float32)
        small = halve(halve(store.thumbnail(view.name)))
        geometry = geometry_row(drawing.placed, i, 2.0**-LOW_LEVEL).astype(np.float32)[None]
        sample_colour(
            small, geometry, x[low[1]], y[low[0]], np.ascontiguousarray(height[low]), layer
        )
        known = np.isfinite(layer[..., 0])
        colour = np.where(known[..., None], layer, 0) * drawing.gains[view.name].astype(np.float32)
        spread = cv2.GaussianBlur(here, EVEN_SIZE, EVEN_LOWS) * seen * known
        here = here * known
        wide[low] += spread[..., None] * colour
        wide_weight[low] += spread
        narrow[low] += here[..., None] * colour
        narrow_weight[low] += here
    evening = wide / wide_weight[..., None] - narrow / narrow_weight[..., None]
    evening[(wide_weight < 1e-3) | (narrow_weight < 1e-3)] = 0.0
    return np.asarray(evening, np.float32)


def _lowered(patch: Patch) -> tuple[tuple[slice, ...], Float32]:
    """Average a patch over the cells of the grid on which brightness is evened out."""
    low = tuple(slice(one.start // LOW_LABELS, one.stop // LOW_LABELS) for one in patch.window)
    rows, cols = patch.values.shape
    values = patch.values.astype(np.float32)
    size = (cols // LOW_LABELS, rows // LOW_LABELS)
    return low, np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _reduced(labels: LabelGround) -> tuple[Float32, Float32, Float32]:
    """Return height, x and y of the cells of that grid."""
    shape = tuple(side // LOW_LABELS for side in reversed(labels.height.shape))
    rows, cols = shape[1] * LOW_LABELS, shape[0] * LOW_LABELS
    height = cv2.resize(labels.height[:rows, :cols], shape, interpolation=cv2.INTER_AREA)
    x = labels.x[:cols].reshape(-1, LOW_LABELS).mean(axis=1).astype(np.float32)
    y = labels.y[:rows].reshape(-1, LOW_LABELS).mean(axis=1).astype(np.float32)
    return np.asarray(height, np.float32), x, y


def _sample_tile(drawing: _Drawing, pictures: DecodedPictures) -> tuple[Float32, Float32]:
    """Sample the photographs at the tile's pixels.

    Returns the sums (rows, cols, bands) of values weighted by `_fade_weights` and multiplied by
    gains (bands,), and the sums (rows, cols) of the weights.
    """
    labels, gains = drawing.labels, drawing.gains
    x, y = labels.x_pixel, labels.y_pixel
    height = _resampled(drawing.ground.height, drawing)
    height -= np.float32(labels.centre[2])
    row_at, col_at = labels.places(y, x)
    bands = len(next(iter(gains.values())))
    total: Float32 = np.zeros((*height.shape, bands), np.float32)
    weights: Float32 = np.zeros(height.shape, np.float32)
    for i, (view, one) in enumerate(zip(drawing.placed.views, drawing.fade, strict=True)):
        rows, cols = (
            slice(*np.clip((int(at[0]) - own.start, int(at[-1]) + 2 - own.start), 0, None))
            for at, own in zip((row_at, col_at), one.window, strict=True)
        )
        if not one.values[rows, cols].any():
            continue
        picture = pictures.get(view.name)
        scale = 2.0 ** -halvings_of(picture, view.camera.width_px)
        add_view(
            picture,
            geometry_row(drawing.placed, i, scale).astype(np.float32)[None],
            gains[view.name].astype(np.float32),
            x,
            y,
            height,
            one.values,
            row_at - np.float32(one.window[0].start),
            col_at - np.float32(one.window[1].start),
            total,
            weights,
        )
    return total, weights


def _resampled(array: Float32, drawing: _Drawing) -> Float32:
    """Interpolate an array on the surface grid at the tile's pixels."""
    labels, ground = drawing.labels, drawing.ground
    x, y = ground.grid.cell_centres()
    col = (labels.x_pixel - (x[0] - labels.centre[0])) / ground.grid.cell_m
    row = ((y[0] - labels.centre[1]) - labels.y_pixel) / ground.grid.cell_m
    at_col, at_row = np.meshgrid(col.astype(np.float32), row.astype(np.float32))
    return np.asarray(
        cv2.remap(array, at_col, at_row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.float32,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BandLayer:
    """Photographs of the bands that share their seams."""

    leader: str
    """The band by which seams are chosen; empty for colour photographs."""
    releases: tuple[Mapping[str, View], ...]
    """The views of each release by band; all hold the leader."""
    gains: Gains = field(default_factory=dict)
    """Factors (3,) of the leaders' pictures, by name, so that exposure does not count as
    disagreement where seams are chosen; values on the map never meet them."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the layer, the leader first."""
        others = {band for release in self.releases for band in release} - {self.leader}
        return (self.leader, *sorted(others))

    @property
    def leaders(self) -> list[View]:
        """The leading view of each release."""
        return [release[self.leader] for release in self.releases]


def band_layers(views: Sequence[View], captures: Sequence[Capture]) -> list[BandLayer]:
    """Sort views into layers: the bands of each kind of rig, and every camera without one.

    A rig's colour camera has a shutter of its own and so a layer of its own.  A release whose
    leading band was not oriented is left out, as it has no seams.
    """
    by_name = {capture.name: capture for capture in captures}
    released: defaultdict[str, dict[str, View]] = defaultdict(dict)
    for view in views:
        capture = by_name[view.name]
        together = capture.rig_id if capture.band else ""
        released[together or f"\0{view.name}"][capture.band] = view
    bands_of = {key: frozenset(release) for key, release in released.items()}
    layers = []
    for group in _joined(set(bands_of.values())):
        members = [release for key, release in released.items() if bands_of[key] <= group]
        leader = reference_band([by_name[v.name] for release in members for v in release.values()])
        whole = tuple(release for release in members if leader in release)
        if len(whole) < len(members):
            log.warning(
                "%d releases lack band %r and are left out", len(members) - len(whole), leader
            )
        layers.append(BandLayer(leader=leader, releases=whole))
    return sorted(layers, key=lambda layer: layer.leader)


def mosaic_bands(
    window: Grid,
    ground: SurfaceWindow,
    layer: BandLayer,
    channels: Mapping[str, int],
    frame: LocalFrame,
    store: PictureStore,
    values: DecodedPictures,
) -> dict[str, Float32]:
    """Render the bands of a layer over one tile, as `mosaic_tile` does.

    Channels are counted by band; `values` gives float32 (rows, cols, channels) by name, NaN where a
    pixel has none. Returns float32 (channels, rows, cols) by band; NaN outside the map and where
    not seen.
    """
    out = {
        band: np.full((channels[band], *window.shape), np.nan, np.float32) for band in layer.bands
    }
    gains = {view.name: layer.gains.get(view.name, np.ones(3)) for view in layer.leaders}
    found = _choose_views(window, ground, layer.leaders, gains, frame, store)
    if found is None:
        return out
    drawing, _ = found
    mapped, led = _mapped(drawing), drawing.placed.views
    releases = {release[layer.leader].name: release for release in layer.releases}
    for band, cells in out.items():
        chosen = [i for i, view in enumerate(led) if band in releases[view.name]]
        views = [releases[led[i].name][band] for i in chosen]
        if not views:
            continue
        of_band = replace(
            drawing,
            placed=views_in_tile(views, frame, drawing.labels.centre),
            fade=[drawing.fade[i] for i in chosen],
            gains={view.name: np.ones(channels[band]) for view in views},
        )
        total, weight = _sample_tile(of_band, values)
        seen = mapped & (weight > LEAST_SHARE)
        cells[:, seen] = (total[seen] / weight[seen][:, None]).T
    return out


def _joined(sets: set[frozenset[str]]) -> list[frozenset[str]]:
    """Join sets of bands that share a band."""
    groups: list[frozenset[str]] = []
    for one in sorted(sets, key=sorted):
        apart = [group for group in groups if not group & one]
        touching = [group for group in groups if group & one]
        groups = [*apart, frozenset().union(one, *touching)]
    return groups
