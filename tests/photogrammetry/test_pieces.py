from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.block import merge
from photogrammetry.orientation.pieces import align_piece, join_pieces

RANDOM = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()


def part(block, photos):
    """Return the piece of some photographs, tracks known, in a frame of its own."""
    photos = np.array(sorted(photos))
    mine = np.isin(block.photo, photos)
    tracked = replace(block, track=np.arange(len(block.points)))
    seen = tracked.kept(mine)
    return replace(
        seen,
        names=tuple(block.names[i] for i in photos),
        camera_of=block.camera_of[photos],
        poses=block.poses[photos],
        photo=np.searchsorted(photos, seen.photo),
    )


def away(block):
    return block.transformed(0.3, RANDOM, np.array([1.0, 2.0, 3.0]))


def test_pieces_that_share_tie_points_become_one_block(flown):
    block, _ = flown.flown_block(noise_px=0)
    pieces = [part(block, range(10)), away(part(block, range(10, 15)))]
    (whole,) = join_pieces(pieces)
    assert whole.names == block.names
    assert np.allclose(whole.centres, block.centres, atol=1e-6)
    assert np.abs(whole.residuals()).max() < 1e-6
    assert len(np.unique(whole.track)) == len(whole.points)


def test_pieces_that_share_photographs_become_one_block_with_each_once(flown):
    block, _ = flown.flown_block(noise_px=0)
    pieces = [part(block, range(10)), away(part(block, range(7, 15)))]
    (whole,) = join_pieces(pieces)
    assert whole.names == block.names
    assert np.abs(whole.residuals()).max() < 1e-6
    once = np.unique(np.column_stack([whole.photo, whole.point]), axis=0)
    assert len(once) == len(whole.photo)


def test_a_third_piece_joins_through_the_second(flown):
    block, _ = flown.flown_block(noise_px=0)
    lines = [part(block, range(6)), away(part(block, range(5, 11))), part(block, range(10, 15))]
    assert [len(b.names) for b in join_pieces([lines[0], lines[2], lines[1]])] == [15]


def test_pieces_that_share_nothing_stay_apart(flown):
    block, _ = flown.flown_block(noise_px=0)
    first, second = part(block, range(8)), part(block, range(8, 15))
    second = replace(second, track=second.track + 10_000)
    assert [len(b.names) for b in join_pieces([second, first])] == [8, 7]


def test_pieces_whose_points_contradict_are_not_joined(flown):
    block, _ = flown.flown_block(noise_px=0)
    first, second = part(block, range(10)), part(block, range(10, 15))
    random = np.random.default_rng(1)
    shuffled = replace(second, track=random.permutation(second.track))
    assert align_piece(first, shuffled) is None


def test_photographs_in_two_pieces_that_cannot_be_joined_stay_in_the_larger(flown):
    block, _ = flown.flown_block(noise_px=0)
    first, second = part(block, range(10)), part(block, range(8, 15))
    second = replace(second, track=second.track + 10_000)
    random = np.random.default_rng(2)
    second = replace(second, poses=second.poses[random.permutation(7)])
    found = join_pieces([first, second])
    assert [b.names for b in found] == [first.names, block.names[10:]]


def test_cameras_of_both_pieces_are_kept(flown):
    block, _ = flown.flown_block(noise_px=0)
    first, second = part(block, range(10)), part(block, range(10, 15))
    other = replace(flown.CAMERA, camera_id="another")
    whole = merge(first, replace(second, cameras=(other,)))
    assert [c.camera_id for c in whole.cameras] == ["another", "test"]
    assert whole.camera_of.tolist() == [1] * 10 + [0] * 5


@pytest.mark.parametrize("seed", range(5))
def test_merging_keeps_every_observation_once(flown, seed):
    block, _ = flown.flown_block(noise_px=0)
    random = np.random.default_rng(seed)
    chosen = random.permutation(15)
    first, second = part(block, chosen[:9]), part(block, chosen[6:])
    whole = merge(first, second)
    assert np.abs(whole.residuals()).max() < 1e-6
    pairs = np.unique(np.column_stack([whole.photo, whole.point]), axis=0)
    assert len(pairs) == len(whole.photo)
