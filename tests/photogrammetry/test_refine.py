from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.georeference import georeference
from photogrammetry.orientation.priors import Priors, estimate_vertical
from photogrammetry.orientation.refine import place_pieces

RANDOM = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()


def part(block, photos):
    photos = np.array(photos)
    seen = block.kept(np.isin(block.photo, photos))
    return replace(
        seen,
        names=tuple(block.names[i] for i in photos),
        camera_of=block.camera_of[photos],
        poses=block.poses[photos],
        photo=np.searchsorted(photos, seen.photo),
    )


def known_of(block, truth, *, off=(0.0, 0.0, 0.0)):
    at = [truth.names.index(name) for name in block.names]
    count = len(at)
    return Priors(
        positions=truth.centres[at] + np.array(off),
        position_sigmas=np.tile([3.0, 3.0, 6.0], (count, 1)),
        cameras=block.cameras,
        rotations=np.full((count, 3, 3), np.nan),
        tilt_sigmas_deg=np.full(count, 2.0),
    )


def lay(truth, first, second, **options):
    block = part(truth, first).transformed(0.2, RANDOM, np.ones(3))
    piece = part(truth, second).transformed(3.0, RANDOM.T, np.zeros(3))
    known = known_of(block, truth)
    placement = georeference(block, known, estimate_vertical(block, known.rotations))
    return place_pieces(
        placement,
        [piece],
        lambda found: known_of(found, truth, **options),
        lambda found: np.full(len(found.names), np.nan),
    )


def test_a_piece_is_laid_where_its_positions_are(flown):
    truth, _ = flown.flown_block(noise_px=0)
    laid = lay(truth, range(9), range(9, 15))
    assert laid.block.names == truth.names
    assert laid.beside == (truth.names[9:],)
    assert np.abs(laid.block.centres - truth.centres).max() < 1.0
    assert laid.known.positions == pytest.approx(truth.centres)
    assert np.isfinite(laid.known.rotations).all()


def test_a_piece_too_small_to_be_placed_is_refused_with_the_reason(flown):
    truth, _ = flown.flown_block(noise_px=0)
    laid = lay(truth, range(12), [12, 13])
    assert laid.beside == ()
    assert "too few positions" in laid.refused["012.jpg"]
    assert laid.block.names == truth.names[:12]


def test_a_piece_whose_positions_contradict_its_flying_height_is_refused(flown):
    truth, _ = flown.flown_block(noise_px=0)
    block = part(truth, range(9)).transformed(0.2, RANDOM, np.ones(3))
    known = known_of(block, truth)
    placement = georeference(block, known, estimate_vertical(block, known.rotations))
    piece = part(truth, range(9, 15))

    def squeezed(found):
        right = known_of(found, truth)
        return replace(right, positions=right.positions * np.array([0.3, 0.3, 1.0]))

    laid = place_pieces(
        placement, [piece], squeezed, lambda found: np.full(len(found.names), np.nan)
    )
    assert laid.beside == ()
    assert "contradict" in laid.refused["009.jpg"]
