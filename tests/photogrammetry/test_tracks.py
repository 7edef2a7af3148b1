from __future__ import annotations

import numpy as np

from photogrammetry.orientation.sfm import Tracks, build_tracks, spanning_tracks


def tracks_of(*photos: tuple[int, ...]) -> Tracks:
    return Tracks(
        photo=np.concatenate([np.array(p) for p in photos]),
        keypoint=np.concatenate([np.arange(len(p)) for p in photos]),
        track=np.repeat(np.arange(len(photos)), [len(p) for p in photos]),
    )


def test_a_track_that_only_the_bands_of_one_release_see_is_dropped():
    # Photographs 0 and 1 are one release, 2 and 3 another.
    joined = tracks_of((0, 1), (0, 2), (0, 1, 2, 3), (2, 3))
    kept = spanning_tracks(joined, ["a", "a", "b", "b"])
    assert kept.photo.tolist() == [0, 2, 0, 1, 2, 3]
    assert kept.track.tolist() == [0, 0, 1, 1, 1, 1]


def test_photographs_without_a_release_are_each_their_own():
    joined = tracks_of((0, 1), (1, 2))
    assert spanning_tracks(joined, ["", "", ""]).photo.tolist() == joined.photo.tolist()


def test_no_tracks_are_left_as_they_are():
    none = build_tracks([3, 3], [])
    assert len(spanning_tracks(none, ["a", "a"]).photo) == 0
