"""Orient the photographs of a survey: from JPEGs to poses, lens and tie points in the world.

`orient` does everything.  Its steps are functions of an `OrientTask`, for a caller that shares
their work out: `find_keypoints` of some photographs, `collect_keypoints` of all, `propose` pairs,
match them by a `matcher`, and `solve`.  Keypoints and matches are kept below ``work_dir``, each
photograph for itself: what is there is not made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from threadpoolctl import threadpool_limits

from photogrammetry.orientation.features import (
    FeatureOptions,
    Features,
    OnPicture,
    detect_all,
    features_path,
    read_digest,
    read_features,
    read_keypoints,
)
from photogrammetry.orientation.matching import (
    MatchOptions,
    MatchPlaces,
    Pair,
    PairMatcher,
    VerifiedPair,
    VerifyOptions,
    group_pairs,
    ideal_keypoints,
    match_all,
)
from photogrammetry.orientation.pairs import PairOptions, propose_pairs
from photogrammetry.orientation.pieces import PATIENT, Grower, SecondLook
from photogrammetry.orientation.precision import assess_precision
from photogrammetry.orientation.refine import RefineOptions, refine, weigh
from photogrammetry.orientation.sfm import Photographs, SfmOptions, TrackOptions
from photogrammetry.orientation.summary import count_matches, describe, explain_left_out
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.errors import OrientationError
from tmp.geo.frames import LocalFrame
from tmp.progress import Track, silent
from tmp.reconstruction import Reconstruction


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientOptions:
    """Everything that can be chosen about the orientation."""

    features: FeatureOptions = field(default_factory=FeatureOptions)
    pairs: PairOptions = field(default_factory=PairOptions)
    matching: MatchOptions = field(default_factory=MatchOptions)
    verification: VerifyOptions = field(default_factory=VerifyOptions)
    tracks: TrackOptions = field(default_factory=TrackOptions)
    sfm: SfmOptions = field(default_factory=SfmOptions)
    second: SecondLook = field(default_factory=SecondLook)
    refinement: RefineOptions = field(default_factory=RefineOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientTask:
    """What is to be oriented, how, and where its files lie."""

    captures: Sequence[Capture]
    """All of the survey's; those with a flag that leaves them out are named in the result."""
    cameras: Mapping[str, Camera]
    """Interior orientation from the metadata, by camera id."""
    photos_dir: Path
    """Where the photographs lie, by `Capture.name`."""
    frame: LocalFrame
    """The world of the result; without origin the result has a world of its own."""
    work_dir: Path
    """For keypoints and matches."""
    options: OrientOptions = field(default_factory=OrientOptions)

    @property
    def used(self) -> list[Capture]:
        """The captures that are to be used, by name."""
        return sorted((c for c in self.captures if c.used), key=lambda capture: capture.name)

    @property
    def places(self) -> MatchPlaces:
        """Where keypoints and matches lie; the results of other options lie elsewhere."""
        chosen = self.options
        matching = (chosen.features, chosen.matching, chosen.verification)
        return MatchPlaces(
            features_dir=self.work_dir / f"keypoints-{_digest(chosen.features)}",
            matches_dir=self.work_dir / f"matches-{_digest(matching)}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Keypoints:
    """Which photographs have keypoints, and why others cannot be read; both by name."""

    digests: Mapping[str, str]
    """Of their content."""
    unreadable: Mapping[str, str]

    def usable(self, captures: Sequence[Capture]) -> list[Capture]:
        """Return the captures with keypoints, by name: what the indices of pairs refer to."""
        found = [capture for capture in captures if capture.name in self.digests]
        return sorted(found, key=lambda capture: capture.name)


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
    """Orient the photographs of a survey; see `OrientTask` and `features.detect_all`.

    Raises `OrientationError` with fewer than two usable photographs, or when none overlap.
    """
    task = OrientTask(
        captures=captures,
        cameras=cameras,
        photos_dir=photos_dir,
        frame=frame,
        work_dir=work_dir,
        options=options,
    )
    refuse_too_few(task)
    unreadable = find_keypoints(
        task, task.used, workers=workers, on_picture=on_picture, track=track
    )
    keypoints = collect_keypoints(task, unreadable)
    groups = group_pairs(propose(task, keypoints))
    with one_blas_thread():
        verified = match_all(groups, matcher(task, keypoints), workers=workers, track=track)
    with TemporaryDirectory(prefix="colmap-", dir=work_dir) as temporary:
        return solve(task, keypoints, verified, Path(temporary), workers=workers, track=track)


def refuse_too_few(task: OrientTask) -> None:
    """Raise `OrientationError` with fewer than two usable photographs."""
    count = len(task.used)
    if count < 2:
        raise OrientationError(
            f"{task.photos_dir}: {count} usable photograph{'s' * (count != 1)}; "
            "at least two that overlap are needed"
        )


def find_keypoints(
    task: OrientTask,
    captures: Sequence[Capture],
    *,
    workers: int,
    track: Track = silent,
    on_picture: OnPicture | None = None,
) -> dict[str, str]:
    """Find the keypoints of photographs that have none; returns why some cannot be read."""
    return detect_all(
        captures,
        task.photos_dir,
        task.places.features_dir,
        options=task.options.features,
        workers=workers,
        on_picture=on_picture,
        track=track,
    )


def collect_keypoints(task: OrientTask, unreadable: Mapping[str, str]) -> Keypoints:
    """Return which photographs have keypoints, given why others cannot be read."""
    folder = task.places.features_dir
    found = {c.name: read_digest(features_path(folder, c.name)) for c in task.used}
    return Keypoints(
        digests={name: digest for name, digest in found.items() if digest is not None},
        unreadable=unreadable,
    )


def propose(task: OrientTask, keypoints: Keypoints) -> list[Pair]:
    """Return the pairs to compare, indices being those of `Keypoints.usable`.

    Raises `OrientationError` if there are none.
    """
    used = keypoints.usable(task.captures)
    pairs = propose_pairs(used, task.cameras, task.frame, task.options.pairs)
    if not pairs:
        raise OrientationError(
            f"none of {len(used)} photographs overlap by their recorded positions; "
            "fly with at least 70 % overlap, or check the positions"
        )
    return pairs


def matcher(task: OrientTask, keypoints: Keypoints) -> PairMatcher:
    """Return what matches the pairs of a task."""
    return PairMatcher(
        keypoints.usable(task.captures),
        task.cameras,
        keypoints.digests,
        task.places,
        (task.options.matching, task.options.verification),
    )


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let linear algebra use one thread while photographs, or COLMAP's own, share the cores."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


def solve(
    task: OrientTask,
    keypoints: Keypoints,
    pairs: Sequence[VerifiedPair],
    scratch_dir: Path,
    *,
    workers: int,
    track: Track = silent,
) -> Reconstruction:
    """Turn verified pairs into poses, lens and tie points in the world.

    The scratch folder is empty, for COLMAP's database, best on a disk of this machine. Raises
    `OrientationError` if the photographs cannot be joined.

    Several threads of COLMAP and Ceres add up in the order they finish, so that no two results
    are the same in their last digits.  Blocks that are quickly solved are solved by one thread.
    """
    used, options = keypoints.usable(task.captures), task.options
    threads = workers if len(used) > options.sfm.global_above else 1
    with one_blas_thread():
        grown = _grower(task, keypoints, scratch_dir, workers, threads).grow(pairs, track=track)
        if not grown.blocks:
            raise OrientationError(_why_nothing(used, grown.pairs))
        solution = refine(
            grown.blocks,
            used,
            task.cameras,
            task.frame,
            options=options.refinement,
            threads=threads,
            track=track,
        )
        precision = assess_precision(
            solution.block,
            solution.weighed,
            weigh(solution.block, options.refinement),
            options.refinement.adjustment,
        )
    by_name = {c.name: c for c in used}
    mine = [by_name[name] for name in solution.block.names]
    captures = [
        replace(c, reason=keypoints.unreadable.get(c.name, c.reason)) for c in task.captures
    ]
    return describe(
        solution,
        mine,
        task.cameras,
        left_out=explain_left_out(captures, used, solution, grown.blocks, grown.pairs),
        counts=count_matches(grown.pairs, grown.tracks, grown.blocks),
        precision=precision,
    )


def _grower(
    task: OrientTask, keypoints: Keypoints, scratch_dir: Path, workers: int, threads: int
) -> Grower:
    used, folder = keypoints.usable(task.captures), task.places.features_dir
    patient = replace(task, options=replace(task.options, matching=PATIENT))
    xy_px = [read_keypoints(features_path(folder, c.name)) for c in used]

    def rematch(again: Sequence[Pair]) -> list[VerifiedPair]:
        return match_all(group_pairs(again), matcher(patient, keypoints), workers=workers)

    def read(photo: int) -> Features:
        return read_features(features_path(folder, used[photo].name))

    return Grower(
        captures=used,
        photographs=Photographs(
            names=tuple(c.name for c in used),
            camera_ids=tuple(c.camera_id for c in used),
            cameras={c.camera_id: task.cameras[c.camera_id] for c in used},
            xy_px=xy_px,
            ideal_px=[
                ideal_keypoints(task.cameras[c.camera_id], xy)
                for c, xy in zip(used, xy_px, strict=True)
            ],
        ),
        frame=task.frame,
        tracks=task.options.tracks,
        sfm=task.options.sfm,
        second=task.options.second,
        rematch=rematch,
        read_features=read,
        scratch_dir=scratch_dir,
        threads=threads,
    )


def _why_nothing(used: Sequence[Capture], pairs: Sequence[VerifiedPair]) -> str:
    if not pairs:
        return (
            f"nothing matches between {len(used)} photographs; "
            "do they overlap and show textured ground?"
        )
    return (
        f"{len(used)} photographs match in {len(pairs)} pairs but cannot be joined; "
        "more overlap is needed, and a camera that moves between photographs"
    )


def _digest(options: object) -> str:
    """Return a short name for options, so that results of others are not taken for theirs."""
    return hashlib.sha256(repr(options).encode()).hexdigest()[:8]
