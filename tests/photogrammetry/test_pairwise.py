"""Pairs of photographs are compared once, and again when what they rest on has changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from photogrammetry.orientation import matching
from photogrammetry.orientation.features import (
    FeatureOptions,
    detect_all,
    features_path,
    read_digest,
)
from photogrammetry.orientation.matching import (
    MatchOptions,
    MatchPlaces,
    Pair,
    PairMatcher,
    VerifyOptions,
    group_pairs,
    match_all,
    read_matches,
)
from tmp.cameras import Camera
from tmp.captures import Capture

PAIRS = [Pair(first=0, second=1), Pair(first=0, second=2), Pair(first=1, second=2)]


@dataclass
class Bench:
    """Three photographs with keypoints, and the pairs that were compared of late."""

    captures: list[Capture]
    cameras: dict[str, Camera]
    places: MatchPlaces
    compared: list[tuple[int, int]]

    def matcher(self) -> PairMatcher:
        digests = {
            c.name: read_digest(features_path(self.places.features_dir, c.name)) or ""
            for c in self.captures
        }
        options = (MatchOptions(), VerifyOptions())
        return PairMatcher(self.captures, self.cameras, digests, self.places, options)

    def run(self, pairs: list[Pair]) -> list[tuple[int, int]]:
        self.compared.clear()
        found = match_all(group_pairs(pairs), self.matcher(), workers=2)
        return [(pair.first, pair.second) for pair in found]

    def file(self, name: str) -> Path:
        return self.places.matches_dir / f"{name}.npz"


@pytest.fixture
def bench(tmp_path, flown, monkeypatch) -> Bench:
    poses = flown.stations()[:3]
    flown.photograph_ground(tmp_path / "photos", poses)
    captures = flown.captures_of(poses)
    places = MatchPlaces(features_dir=tmp_path / "keypoints", matches_dir=tmp_path / "matches")
    detect_all(
        captures,
        tmp_path / "photos",
        places.features_dir,
        options=FeatureOptions(keypoints=1500),
        workers=2,
    )
    compared: list[tuple[int, int]] = []
    verify = matching.verify_pair

    def watched(pair, *rest):
        compared.append((pair.first, pair.second))
        return verify(pair, *rest)

    monkeypatch.setattr(matching, "verify_pair", watched)
    return Bench(captures, {"test": flown.CAMERA}, places, compared)


def test_matches_are_remembered(bench):
    first = match_all(group_pairs(PAIRS), bench.matcher(), workers=2)
    assert [(v.first, v.second) for v in first] == [(0, 1), (0, 2), (1, 2)]
    stamp = bench.file("000.jpg").stat().st_mtime_ns
    again = match_all(group_pairs(PAIRS), bench.matcher(), workers=2)
    assert bench.file("000.jpg").stat().st_mtime_ns == stamp
    assert sorted(bench.compared) == [(0, 1), (0, 2), (1, 2)]
    assert all(np.array_equal(a.inliers, b.inliers) for a, b in zip(first, again, strict=True))
    assert all(np.array_equal(a.matrices, b.matrices) for a, b in zip(first, again, strict=True))


def test_pair_more_has_only_itself_compared(bench):
    bench.run(PAIRS[:1])
    assert bench.run(PAIRS[:2]) == [(0, 1), (0, 2)]
    assert bench.compared == [(0, 2)]
    assert bench.run(PAIRS[1:2]) == [(0, 2)]
    assert bench.compared == []


def test_photograph_that_moves_up_the_list_keeps_its_matches(bench):
    bench.run(PAIRS[2:])
    bench.captures = bench.captures[1:]
    assert bench.run([Pair(first=0, second=1)]) == [(0, 1)]
    assert bench.compared == []


def test_another_lens_has_pairs_compared_anew_and_other_evidence_for_it_does_not(bench):
    bench.run(PAIRS)
    camera = bench.cameras["test"]
    bench.cameras["test"] = replace(camera, source="calibration", focal_sigma=0.001)
    bench.run(PAIRS)
    assert bench.compared == []
    bench.cameras["test"] = replace(camera, k1=-0.02)
    bench.run(PAIRS)
    assert len(bench.compared) == 3


def test_other_keypoints_have_their_pairs_compared_anew(bench):
    bench.run(PAIRS)
    lost = features_path(bench.places.features_dir, "001.jpg")
    lost.write_bytes(features_path(bench.places.features_dir, "002.jpg").read_bytes())
    bench.run(PAIRS)
    assert sorted(bench.compared) == [(0, 1), (1, 2)]


def test_damaged_matches_are_made_again(bench):
    bench.run(PAIRS)
    whole = bench.file("000.jpg").read_bytes()
    bench.file("000.jpg").write_bytes(whole[: len(whole) // 2])
    assert bench.matcher().known(PAIRS[:2]) is None
    assert bench.run(PAIRS) == [(0, 1), (0, 2), (1, 2)]
    assert bench.file("000.jpg").read_bytes() == whole


def test_pairs_that_nothing_verifies_are_remembered_too(bench, monkeypatch):
    monkeypatch.setattr(matching, "match_features", lambda *_, **__: np.zeros((0, 2), np.uint32))
    assert bench.run(PAIRS) == []
    assert bench.run(PAIRS) == []
    assert bench.compared == []
    stored = read_matches(bench.file("000.jpg"))
    assert stored is not None
    assert list(stored.values()) == [None, None]
