from __future__ import annotations

from dataclasses import replace

import numpy as np

from photogrammetry.orientation.matching import count_alike
from photogrammetry.orientation.pieces import SecondLook, propose_again
from tmp.geo.frames import LocalFrame

NOWHERE = LocalFrame(origin=None, crs=None)


def proposed(captures, piece_of, *, frame=NOWHERE, verified=(), descriptors=None, **options):
    found = propose_again(
        captures, np.array(piece_of), list(verified), frame, descriptors, SecondLook(**options)
    )
    return {(pair.first, pair.second) for pair in found}


def test_a_whole_block_gets_no_second_look(flown):
    captures = flown.captures_of(flown.stations())
    assert proposed(captures, [0] * 15, frame=flown.FRAME) == set()


def test_a_photograph_left_out_is_compared_with_the_nearest_of_the_block(flown):
    captures = flown.captures_of(flown.stations())
    pairs = proposed(captures, [0] * 7 + [-1] + [0] * 7, frame=flown.FRAME, sequence=1, nearest=4)
    # It stands in the middle of the second line: its neighbours on all three lines.
    assert {(2, 7), (7, 12)} <= pairs
    assert all(7 in pair for pair in pairs)


def test_pieces_are_compared_along_their_seam_and_not_within(flown):
    captures = flown.captures_of(flown.stations())
    pairs = proposed(captures, [0] * 10 + [1] * 5, frame=flown.FRAME, sequence=1, nearest=3)
    assert pairs
    assert all(first < 10 <= second for first, second in pairs)


def test_what_was_verified_is_not_compared_again(flown):
    captures = flown.captures_of(flown.stations())
    piece_of = [0] * 14 + [-1]
    first = proposed(captures, piece_of, frame=flown.FRAME)
    assert proposed(captures, piece_of, frame=flown.FRAME, verified=first) == set()


def test_without_positions_neighbours_by_name_and_likeness_are_compared(flown):
    captures = flown.captures_of(flown.stations())
    random = np.random.default_rng(1)
    scenes = random.integers(0, 255, (15, 40, 128)).astype(np.uint8)
    scenes[14] = scenes[2]  # the last photograph shows what the third does
    piece_of = [0] * 14 + [-1]
    pairs = proposed(captures, piece_of, descriptors=list(scenes), sequence=2, alike=1)
    assert pairs == {(2, 14), (12, 14), (13, 14)}


def test_photographs_of_different_bands_are_not_compared(flown):
    captures = flown.captures_of(flown.stations())
    captures = [replace(c, band="nir" if i % 2 else "red") for i, c in enumerate(captures)]
    pairs = proposed(captures, [-1] * 15, sequence=4)
    assert all((first - second) % 2 == 0 for first, second in pairs)


def test_likeness_counts_descriptors_that_agree_both_ways():
    random = np.random.default_rng(2)
    first = random.integers(0, 255, (50, 128)).astype(np.uint8)
    other = random.integers(0, 255, (50, 128)).astype(np.uint8)
    assert count_alike(first, first[::-1]) == 50
    assert count_alike(first, other) < 10
    assert count_alike(first, first[:1]) == 0
