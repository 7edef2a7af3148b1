from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.orientation import sfm
from photogrammetry.orientation.features import Features
from photogrammetry.orientation.pieces import Grower, SecondLook
from photogrammetry.orientation.sfm import SfmOptions, TrackOptions
from tmp.geo.frames import LocalFrame

NOWHERE = LocalFrame(origin=None, crs=None)


@pytest.fixture
def matched(flown):
    """Photographs of a block, what was recorded of them, and the pairs that match."""
    block, poses = flown.flown_block(noise_px=0.2)
    photographs, pairs = flown.matched_photographs(block)
    return photographs, flown.captures_of(poses), pairs


def grower(matched, tmp_path, rematch):
    photographs, captures, _ = matched

    def read(photo):
        count = len(photographs.xy_px[photo])
        return Features(
            width_px=800,
            height_px=600,
            xy_px=photographs.xy_px[photo],
            scale_px=np.ones(count, np.float32),
            descriptors=np.zeros((count, 128), np.uint8),
        )

    return Grower(
        captures=captures,
        photographs=photographs,
        frame=NOWHERE,
        tracks=TrackOptions(),
        sfm=SfmOptions(),
        second=SecondLook(),
        rematch=rematch,
        read_features=read,
        scratch_dir=tmp_path,
        threads=1,
    )


def never(pairs):
    raise AssertionError("a whole block was compared again")


def test_a_block_that_holds_together_is_not_compared_again(matched, tmp_path):
    grown = grower(matched, tmp_path, never).grow(matched[2])
    assert [len(block.names) for block in grown.blocks] == [15]


def test_a_block_in_two_pieces_is_made_whole_by_a_second_look(matched, tmp_path):
    *_, pairs = matched
    across = {(p.first, p.second): p for p in pairs if (p.first < 5) != (p.second < 5)}
    within = [p for p in pairs if (p.first, p.second) not in across]
    asked = []

    def rematch(again):
        asked.extend(again)
        return [across[p.first, p.second] for p in again if (p.first, p.second) in across]

    grown = grower(matched, tmp_path, rematch).grow(within)
    assert [len(block.names) for block in grown.blocks] == [15]
    assert asked
    assert all((p.first < 5) != (p.second < 5) for p in asked)


def test_a_block_grows_on_to_photographs_that_were_left_out(matched, tmp_path, monkeypatch):
    *_, pairs = matched
    lost = {(p.first, p.second): p for p in pairs if 14 in (p.first, p.second)}
    others = [p for p in pairs if (p.first, p.second) not in lost]
    started = []
    grow = sfm.reconstruct

    def watched(*arguments, start, **options):
        started.append(start)
        return grow(*arguments, start=start, **options)

    monkeypatch.setattr("photogrammetry.orientation.pieces.reconstruct", watched)

    def rematch(again):
        return [lost[p.first, p.second] for p in again if (p.first, p.second) in lost]

    grown = grower(matched, tmp_path, rematch).grow(others)
    assert [len(block.names) for block in grown.blocks] == [15]
    assert started[0] is None
    assert started[1].name == sfm.START


def test_a_second_look_that_finds_nothing_leaves_the_pieces(matched, tmp_path):
    *_, pairs = matched
    within = [p for p in pairs if (p.first < 5) == (p.second < 5)]
    grown = grower(matched, tmp_path, lambda again: []).grow(within)
    assert [len(block.names) for block in grown.blocks] == [10, 5]


def test_photographs_without_any_match_are_looked_at_again_before_a_survey_is_given_up(
    matched, tmp_path
):
    *_, pairs = matched
    by_pair = {(p.first, p.second): p for p in pairs}

    def rematch(again):
        return [by_pair[p.first, p.second] for p in again if (p.first, p.second) in by_pair]

    grown = grower(matched, tmp_path, rematch).grow([])
    assert grown.rank[0] >= 5
    assert grower(matched, tmp_path / "other", lambda again: []).grow([]).blocks == ()
