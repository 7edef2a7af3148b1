"""Match and verify pairs of photographs, remembering each.

The pairs of one first photograph are kept in one file below ``work/``.  A pair is known by the
content of both photographs' keypoints and by their cameras, so that a photograph more, or another
lens, has only those pairs compared anew that it touches.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from photogrammetry.archives import DAMAGE, DIGEST, open_arrays, write_arrays
from photogrammetry.features import Features, features_path, read_features
from photogrammetry.matching import MatchOptions, match_features
from photogrammetry.pairs import Pair
from photogrammetry.verification import (
    Float,
    VerifiedPair,
    VerifyOptions,
    ideal_camera,
    ideal_keypoints,
    verify_pair,
)
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.parallel import map_threads
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

REMEMBERED = 64
"""Photographs whose keypoints are kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchPlaces:
    """Where keypoints are found and matches are kept."""

    features_dir: Path
    matches_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the pairs of one first photograph."""

    compared: tuple[str, ...]
    """What each pair is known by."""
    verified: int
    """Pairs whose matches agree with one motion."""
    digest: str
    """Of all that was found."""


def group_pairs(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return pairs by their first photograph, both in order of index."""
    return [list(group) for _, group in itertools.groupby(sorted(pairs), key=lambda p: p.first)]


class PairMatcher:
    """Matches the pairs of one first photograph after the other, from several threads.

    Parameters
    ----------
    captures : sequence of Capture
        To which the indices of pairs refer.
    digests : mapping of str to str
        Of each photograph's features, by name.
    """

    def __init__(
        self,
        captures: Sequence[Capture],
        cameras: Mapping[str, Camera],
        digests: Mapping[str, str],
        places: MatchPlaces,
        options: tuple[MatchOptions, VerifyOptions],
    ) -> None:
        self._captures, self._cameras, self._digests = captures, cameras, digests
        self._places, self._options = places, options
        self._load = lru_cache(maxsize=REMEMBERED)(self._read)

    def known(self, group: Sequence[Pair]) -> Verdict | None:
        """Return what is remembered of a group; None unless it is all of it and no more."""
        verdict = read_verdict(self._path(group))
        keys = tuple(self._key(pair) for pair in group)
        return verdict if verdict is not None and verdict.compared == keys else None

    def match(self, group: Sequence[Pair]) -> list[VerifiedPair]:
        """Match pairs with the same first photograph, as far as that is not remembered."""
        path, keys = self._path(group), [self._key(pair) for pair in group]
        before = read_matches(path)
        known = {} if before is None else before
        pairs = {
            key: known[key] if key in known else self._compare(pair)
            for key, pair in zip(keys, group, strict=True)
        }
        if before is None or list(before) != keys:
            write_matches(path, pairs)
        return [
            replace(found, first=pair.first, second=pair.second)  # indices as they are now
            for pair, found in zip(group, pairs.values(), strict=True)
            if found is not None
        ]

    def _path(self, group: Sequence[Pair]) -> Path:
        return self._places.matches_dir / f"{self._captures[group[0].first].name}.npz"

    def _compare(self, pair: Pair) -> VerifiedPair | None:
        (a, xy_a), (b, xy_b) = self._load(pair.first), self._load(pair.second)
        matches = match_features(a, b, self._options[0], expected=bool(pair.overlap))
        ideals = (ideal_camera(self._camera(pair.first)), ideal_camera(self._camera(pair.second)))
        return verify_pair(pair, ideals, (xy_a, xy_b), matches, self._options[1])

    def _read(self, index: int) -> tuple[Features, Float]:
        path = features_path(self._places.features_dir, self._captures[index].name)
        features = read_features(path)
        return features, ideal_keypoints(self._camera(index), features.xy_px)

    def _camera(self, index: int) -> Camera:
        return self._cameras[self._captures[index].camera_id]

    def _key(self, pair: Pair) -> str:
        """Return what the result of a pair is known by."""
        said = [str(bool(pair.overlap))]
        for index in (pair.first, pair.second):
            name, camera = self._captures[index].name, self._camera(index)
            lens = replace(camera, source="", focal_sigma=1.0)
            said += [name, self._digests[name], repr(lens)]
        return hashlib.blake2b("\n".join(said).encode(), digest_size=12).hexdigest()


def match_all(
    groups: Sequence[Sequence[Pair]],
    matcher: PairMatcher,
    *,
    workers: int,
    track: Track = silent,
) -> list[VerifiedPair]:
    """Match groups of pairs; those whose matches agree with one motion are returned, in order."""
    done = map_threads(matcher.match, groups, workers=workers)
    found = [pair for _, of in track(done, "Matching photographs", len(groups)) for pair in of]
    log.info("matches: %d of %d pairs verified", len(found), sum(map(len, groups)))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def write_matches(path: Path, pairs: Mapping[str, VerifiedPair | None]) -> None:
    """Write the pairs of one first photograph, complete or not at all.

    Parameters
    ----------
    pairs : mapping of str to VerifiedPair or None
        By what a pair is known by; None where nothing agrees.  Indices are not kept.
    """
    found = [pair for pair in pairs.values() if pair is not None]
    arrays = {
        "compared": np.array(list(pairs), str),
        "verified": np.array([pair is not None for pair in pairs.values()], bool),
        "configuration": np.array([pair.configuration for pair in found], np.int64),
        "matrices": np.array([pair.matrices for pair in found], float).reshape(-1, 3, 3, 3),
        "counts": np.array([len(pair.inliers) for pair in found], np.int64),
        "inliers": np.concatenate([np.zeros((0, 2), np.uint32), *(p.inliers for p in found)]),
    }
    write_arrays(path, arrays)


def read_matches(path: Path) -> dict[str, VerifiedPair | None] | None:
    """Read what `write_matches` wrote; None if it is missing or damaged."""
    try:
        with open_arrays(path) as stored:
            starts = np.cumsum(stored["counts"])[:-1]
            parts = zip(
                stored["configuration"],
                stored["matrices"],
                np.split(stored["inliers"], starts),
                strict=False,  # nothing verified is split into one empty part
            )
            found = (
                VerifiedPair(
                    first=0,
                    second=0,
                    configuration=int(configuration),
                    matrices=matrices,
                    inliers=inliers,
                )
                for configuration, matrices, inliers in parts
            )
            return {
                str(key): next(found) if verified else None
                for key, verified in zip(stored["compared"], stored["verified"], strict=True)
            }
    except DAMAGE:
        return None


def read_verdict(path: Path) -> Verdict | None:
    """Read what `write_matches` wrote, but for the matches themselves."""
    try:
        with open_arrays(path) as stored:
            return Verdict(
                compared=tuple(str(key) for key in stored["compared"]),
                verified=int(np.count_nonzero(stored["verified"])),
                digest=str(stored[DIGEST]),
            )
    except DAMAGE:
        return None
