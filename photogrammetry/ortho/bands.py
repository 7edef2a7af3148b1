"""Every band of light on the ground, from its own photographs, on one surface.

Each band is projected from the poses of its own lens, so bands lie on each other wherever the
surface is right, walls and slopes included.  Where one photograph ends and the next begins is
chosen once for all bands that were released together: an index of two bands then never mixes two
moments, two exposures or two views of a plant.  Values are mixed only in the narrow fade across a
seam and otherwise left as they are; nothing is evened out.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.pairs import reference_band
from photogrammetry.ortho.mosaic import fade_weights, resampled, sample_tile
from photogrammetry.ortho.seams import Ground, LabelGround, choose_seams, views_near
from photogrammetry.pictures import DecodedPictures, PictureStore
from photogrammetry.views import View, views_in_tile
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

LEAST_SHARE = 0.05
"""Weight of a band's photographs under which a place counts as unseen in that band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandLayer:
    """Photographs of the bands that share their seams."""

    leader: str
    """The band by which seams are chosen; empty for colour photographs."""
    releases: tuple[Mapping[str, View], ...]
    """The views of each release by band; all hold the leader."""
    gains: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
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

    Parameters
    ----------
    views : sequence of View
        Oriented photographs.
    captures : sequence of Capture
        Of at least those photographs.

    Notes
    -----
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
    ground: Ground,
    layer: BandLayer,
    channels: Mapping[str, int],
    frame: LocalFrame,
    store: PictureStore,
    values: DecodedPictures,
) -> dict[str, Float32]:
    """Render the bands of a layer over one tile.

    Parameters
    ----------
    window : Grid
        Cells of the tile.
    ground : Ground
        The surface over `photogrammetry.ortho.seams.ground_window` of the tile.
    layer : BandLayer
    channels : mapping of str to int
        Number of channels in the photographs of each band.
    frame : LocalFrame
    store : PictureStore
        Holds the grey pyramids by which seams are chosen.
    values : DecodedPictures
        Gives float32 values (rows, cols, channels) by name; NaN where a pixel has none.

    Returns
    -------
    dict of str to ndarray of shape (channels, rows, cols), float32
        By band; NaN outside the map and where not seen.
    """
    out = {
        band: np.full((channels[band], *window.shape), np.nan, np.float32) for band in layer.bands
    }
    if not ground.mapped.any():
        return out
    labels = LabelGround.of(window, ground)
    near = views_near(layer.leaders, frame, labels, ground)
    if len(near.placed) == 0:
        return out
    gains = {view.name: layer.gains.get(view.name, np.ones(3)) for view in near.placed.views}
    seams = choose_seams(near, labels, gains, store)
    placed, fade = seams.placed, fade_weights(seams)
    mapped = resampled(ground.mapped.astype(np.float32), labels, ground) > 0.5
    releases = {release[layer.leader].name: release for release in layer.releases}
    for band, cells in out.items():
        chosen = [i for i, v in enumerate(placed.views) if band in releases[v.name]]
        views = [releases[placed.views[i].name][band] for i in chosen]
        of_band = views_in_tile(views, frame, labels.centre)
        if not views:
            continue
        as_is = {view.name: np.ones(channels[band]) for view in views}
        total, weight = sample_tile(
            of_band, labels, ground, [fade[i] for i in chosen], as_is, values
        )
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
