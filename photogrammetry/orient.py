"""Orient the photographs of a survey: from JPEGs to poses, lens and tie points in the world.

`orient` does everything; `detect`, `match` and `solve` are its three steps, for a caller that
keeps the results of each.  All of them remember under ``work_dir`` what is done for each
photograph, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from photogrammetry.features import (
    FeatureOptions,
    OnPicture,
    detect_all,
    features_path,
    read_features,
)
from photogrammetry.matching import MatchOptions
from photogrammetry.outcome import count_matches, describe, explain_left_out
from photogrammetry.pairs import PairOptions, propose_pairs
from photogrammetry.settle import SettleOptions, settle
from photogrammetry.sfm import Photographs, SfmOptions, reconstruct
from photogrammetry.tracks import TrackOptions, build_tracks, choose_tracks, spanning_tracks
from photogrammetry.verification import VerifiedPair, VerifyOptions, ideal_keypoints, match_all
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.errors import OrientationError
from tmp.frames import LocalFrame
from tmp.progress import Track, silent
from tmp.reconstruction import Reconstruction

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientOptions:
    """Everything that can be chosen about the orientation."""

    features: FeatureOptions = field(default_factory=FeatureOptions)
    pairs: PairOptions = field(default_factory=PairOptions)
    matching: MatchOptions = field(default_factory=MatchOptions)
    verification: VerifyOptions = field(default_factory=VerifyOptions)
    tracks: TrackOptions = field(default_factory=TrackOptions)
    sfm: SfmOptions = field(default_factory=SfmOptions)
    settling: SettleOptions = field(default_factory=SettleOptions)


def orient(  # noqa: PLR0913  one argument for each thing a caller can wish for
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    photos_dir: Path,
    frame: LocalFrame,
    work_dir: Path,
    *,
    options: OrientOptions,
    workers: int,
    track: Track = silent,
    on_picture: OnPicture | None = None,
) -> Reconstruction:
    """Orient the photographs of a survey.

    Parameters
    ----------
    captures : sequence of Capture
        All of the survey's; those with a flag that leaves them out are named in the result.
    cameras : mapping of Camera
        Interior orientation from the metadata, by camera id.
    photos_dir : Path
        Where the photographs lie, by `Capture.name`.
    frame : LocalFrame
        The world of the result; without origin the result has a world of its own.
    work_dir : Path
        For keypoints, matches and COLMAP's database.
    on_picture : callable, optional
        Given each photograph's name and decoded picture, see `features.detect_all`.

    Raises
    ------
    OrientationError
        With fewer than two usable photographs, or when none overlap.
    """
    unreadable = detect(
        captures,
        photos_dir,
        work_dir,
        options=options,
        workers=workers,
        track=track,
        on_picture=on_picture,
    )
    captures = [replace(c, reason=unreadable.get(c.name, c.reason)) for c in captures]
    pairs = match(captures, cameras, frame, work_dir, options=options, workers=workers, track=track)
    return solve(
        captures, cameras, frame, work_dir, pairs, options=options, workers=workers, track=track
    )


def usable(captures: Sequence[Capture], work_dir: Path, options: OrientOptions) -> list[Capture]:
    """Return the captures that are to be used and have keypoints, by name."""
    folder = _features_dir(work_dir, options)
    found = [c for c in captures if c.used and features_path(folder, c.name).exists()]
    return sorted(found, key=lambda capture: capture.name)


def detect(
    captures: Sequence[Capture],
    photos_dir: Path,
    work_dir: Path,
    *,
    options: OrientOptions,
    workers: int,
    track: Track = silent,
    on_picture: OnPicture | None = None,
) -> dict[str, str]:
    """Find keypoints; return why photographs could not be read, by name."""
    used = sorted((c for c in captures if c.used), key=lambda capture: capture.name)
    if len(used) < 2:
        raise OrientationError(
            f"{photos_dir}: {len(used)} usable photograph{'s' * (len(used) != 1)}; "
            "at least two that overlap are needed"
        )
    return detect_all(
        used,
        photos_dir,
        _features_dir(work_dir, options),
        options=options.features,
        workers=workers,
        on_picture=on_picture,
        track=track,
    )


def match(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    work_dir: Path,
    *,
    options: OrientOptions,
    workers: int,
    track: Track = silent,
) -> list[VerifiedPair]:
    """Match photographs whose footprints should overlap; indices are those of `usable`."""
    used = usable(captures, work_dir, options)
    pairs = propose_pairs(used, cameras, frame, options.pairs)
    if not pairs:
        raise OrientationError(
            f"none of {len(used)} photographs overlap by their recorded positions; "
            "fly with at least 70 % overlap, or check the positions"
        )
    folders = (_features_dir(work_dir, options), _matches_dir(work_dir, options))
    with threadpool_limits(limits=1, user_api="blas"):  # one thread for each photograph
        verified = match_all(
            pairs,
            used,
            cameras,
            folders,
            options=(options.matching, options.verification),
            workers=workers,
            track=track,
        )
    if not verified:
        raise OrientationError(
            f"nothing matches between {len(used)} photographs ({len(pairs)} pairs compared); "
            "do they overlap and show textured ground?"
        )
    return verified


def solve(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    work_dir: Path,
    pairs: Sequence[VerifiedPair],
    *,
    options: OrientOptions,
    workers: int,
    track: Track = silent,
) -> Reconstruction:
    """Turn verified pairs into poses, lens and tie points in the world."""
    used = usable(captures, work_dir, options)
    photographs = _load_photographs(used, cameras, _features_dir(work_dir, options))
    joined = build_tracks(
        [len(xy) for xy in photographs.xy_px], [(p.first, p.second, p.inliers) for p in pairs]
    )
    joined = spanning_tracks(joined, [c.rig_id for c in used])
    long_sides = [max(c.width_px, c.height_px) for c in used]
    chosen = choose_tracks(joined, photographs.xy_px, long_sides, options.tracks)
    with threadpool_limits(limits=1, user_api="blas"):
        blocks = reconstruct(
            photographs,
            pairs,
            chosen,
            work_dir / "colmap",
            options=options.sfm,
            threads=workers,
            track=track,
        )
        if not blocks:
            raise OrientationError(
                f"{len(used)} photographs match in {len(pairs)} pairs but cannot be joined; "
                "more overlap is needed, and a camera that moves between photographs"
            )
        by_name = {c.name: c for c in used}
        mine = [by_name[name] for name in blocks[0].names]
        solution = settle(
            blocks[0], mine, cameras, frame, options=options.settling, threads=workers, track=track
        )
    return describe(
        solution,
        mine,
        cameras,
        left_out=explain_left_out(captures, used, blocks, pairs),
        counts=count_matches(pairs, joined, blocks),
    )


def _load_photographs(
    captures: Sequence[Capture], cameras: Mapping[str, Camera], features_dir: Path
) -> Photographs:
    xy_px = [read_features(features_path(features_dir, c.name)).xy_px for c in captures]
    in_use = {c.camera_id: cameras[c.camera_id] for c in captures}
    return Photographs(
        names=tuple(c.name for c in captures),
        camera_ids=tuple(c.camera_id for c in captures),
        cameras=in_use,
        xy_px=xy_px,
        ideal_px=[
            ideal_keypoints(in_use[c.camera_id], xy) for c, xy in zip(captures, xy_px, strict=True)
        ],
    )


def _features_dir(work_dir: Path, options: OrientOptions) -> Path:
    return work_dir / f"keypoints-{_digest(options.features)}"


def _matches_dir(work_dir: Path, options: OrientOptions) -> Path:
    chosen = (options.features, options.matching, options.verification)
    return work_dir / f"matches-{_digest(chosen)}"


def _digest(options: object) -> str:
    """Return a short name for options, so that results of others are not taken for theirs."""
    return hashlib.sha256(repr(options).encode()).hexdigest()[:8]
