"""The stages that orient a survey: features by photographs, matches by pairs, then the whole block.

The results of the first two are small: which photographs have keypoints, which pairs were
compared, and digests of what was found.  Keypoints and matches themselves lie below ``work/block``
and pyramids below ``work/pictures``; what is deleted there is made again where it is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import FEATURE_WORK, Cost, SurveySize, of_photographs
from flows.engine.stage import Figures, Job, Stage, work_items
from flows.stages.inputs import (
    FEATURE_SIZES,
    picture_store,
    read_survey,
    require_space,
    save_picture,
)
from tmp.captures import Capture, HeightUse
from tmp.errors import PhotographError
from tmp.files import replacing
from tmp.progress import silent
from tmp.reconstruction import write_reconstruction
from tmp.threads import one_thread_each

if TYPE_CHECKING:
    from photogrammetry.orientation.matching import MatchedGroup, Pair
    from photogrammetry.orientation.orient import Keypoints, OrientTask

FEATURES_FILE = "features.json"
MATCHES_FILE = "matches.json"
BLOCK = "block"
"""Folder below ``work/`` of keypoints and matches."""
PYRAMID_BYTES_PER_PIXEL = 1.6
"""Disk taken by a photograph's grey pyramid and features while it is worked on."""

SMALL_BLOCK = 300
"""Photographs up to which `photogrammetry.orientation.sfm` solves a block by one thread."""
BLOCK_NEEDS = of_photographs(cpus=4, base_gb=0.8, gb_per_thousand=4.0, cpu_s_per_photograph=0.4)


def find_features(job: Job) -> Figures:
    """Find the keypoints of photographs, and keep their grey pyramids from the same decode."""
    from photogrammetry.orientation.features import (
        detect_photograph,
        features_path,
        read_digest,
    )
    from photogrammetry.orientation.orient import Keypoints, refuse_too_few

    task = _task(job)
    refuse_too_few(task)
    pixels = sum(capture.width_px * capture.height_px for capture in task.used)
    require_space(job.out, pixels * PYRAMID_BYTES_PER_PIXEL, "orienting the photographs")
    pictures, folder = picture_store(job), task.places.features_dir
    widths_px = {capture.name: capture.width_px for capture in task.used}
    digests: dict[str, str] = {}
    unreadable: dict[str, str] = {}

    def keep(name: str, picture: NDArray[np.uint8]) -> None:
        pictures.save(name, picture, halvings=round(math.log2(widths_px[name] / picture.shape[1])))

    def described(capture: Capture) -> bool:
        if capture.name not in digests:
            digest = read_digest(features_path(folder, capture.name))
            if digest is not None:
                digests[capture.name] = digest
        return capture.name in digests

    def made(capture: Capture) -> bool:
        return described(capture) and pictures.has(capture.name, finest_level=1)

    def find(capture: Capture) -> None:
        try:
            if described(capture):
                save_picture(job, capture)
            else:
                detect_photograph(
                    capture, task.photos_dir, folder, options=task.options.features, on_picture=keep
                )
        except PhotographError as error:
            unreadable[capture.name] = str(error)

    with one_thread_each():
        if not work_items(job, task.used, find, "Finding keypoints", made=made, name=_name):
            return {}
    unreadable |= job.holes or {}
    found = {name: digest for name, digest in digests.items() if name not in unreadable}
    _write(job.out / FEATURES_FILE, asdict(Keypoints(digests=found, unreadable=unreadable)))
    return {"photographs": len(found), "unreadable": len(unreadable)}


def match_photographs(job: Job) -> Figures:
    """Match the photographs whose footprints should overlap, pairs of one first photograph each."""
    from photogrammetry.orientation.matching import group_pairs
    from photogrammetry.orientation.orient import matcher, one_blas_thread, propose

    task, keypoints = _task(job), _read_keypoints(job)
    used, matching = keypoints.usable(task.used), matcher(task, keypoints)
    groups = group_pairs(propose(task, keypoints))

    verdicts: dict[str, MatchedGroup] = {}

    def first(group: Sequence[Pair]) -> str:
        return used[group[0].first].name

    def made(group: Sequence[Pair]) -> bool:
        if first(group) not in verdicts:
            verdict = matching.known(group)
            if verdict is not None:
                verdicts[first(group)] = verdict
        return first(group) in verdicts

    missing = [group for group in job.shared(groups, first) if not made(group)]
    wanted = {i for group in missing for pair in group for i in (pair.first, pair.second)}
    _restore_keypoints(job, task, [used[i] for i in sorted(wanted)])
    label = "Matching photographs"
    with one_blas_thread():
        if not work_items(job, groups, matching.match, label, made=made, name=first):
            return {}
    found = {
        first(group): {
            "pairs": [[pair.first, pair.second, pair.overlap] for pair in group],
            "digest": verdicts[first(group)].digest,
        }
        for group in groups
        if made(group)
    }
    _write(job.out / MATCHES_FILE, found)
    return {
        "pairs": sum(map(len, groups)),
        "pairs_verified": sum(verdict.verified for verdict in verdicts.values()),
    }


def orient_block(job: Job) -> Figures:
    """Orient all photographs together, from their matches; writes a `Reconstruction`."""
    from photogrammetry.orientation.matching import match_all
    from photogrammetry.orientation.orient import matcher, one_blas_thread, solve

    task, keypoints = _task(job), _read_keypoints(job)
    used, matching = keypoints.usable(task.used), matcher(task, keypoints)
    groups = _read_groups(job)
    _restore_keypoints(job, task, used)
    lost = any(matching.known(group) is None for group in groups)
    with one_blas_thread():
        verified = match_all(
            groups, matching, workers=job.workers, track=job.track if lost else silent
        )
    reconstruction = solve(
        task, keypoints, verified, job.temporary, workers=job.workers, track=job.track
    )
    write_reconstruction(reconstruction, job.out)
    return {}


def _task(job: Job) -> OrientTask:
    from photogrammetry.orientation.features import FeatureOptions
    from photogrammetry.orientation.orient import OrientOptions, OrientTask
    from photogrammetry.orientation.refine import RefineOptions

    survey, settings, captures = read_survey(job)
    long_side_px, keypoints = FEATURE_SIZES[job.options["quality"]]
    sigma_m = job.options.get("position_sigma_m")
    return OrientTask(
        captures=captures,
        cameras=settings.cameras,
        photos_dir=survey.photos_dir,
        frame=settings.frame,
        work_dir=survey.work_dir / BLOCK,
        options=OrientOptions(
            features=FeatureOptions(long_side_px=long_side_px, keypoints=keypoints),
            refinement=RefineOptions(
                heights=HeightUse(job.options.get("heights", HeightUse.AUTO)),
                position_sigma_m=None if sigma_m is None else (sigma_m[0], sigma_m[1]),
            ),
        ),
    )


def _restore_keypoints(job: Job, task: OrientTask, captures: Sequence[Capture]) -> None:
    """Find again the keypoints of photographs whose files someone deleted from ``work/``."""
    from photogrammetry.orientation.features import features_path
    from photogrammetry.orientation.orient import find_keypoints

    folder = task.places.features_dir
    lost = [c for c in captures if not features_path(folder, c.name).exists()]
    if lost:
        find_keypoints(task, lost, workers=job.workers, track=job.track)


def _read_keypoints(job: Job) -> Keypoints:
    from photogrammetry.orientation.orient import Keypoints

    said = json.loads((job.inputs[FEATURES.name] / FEATURES_FILE).read_text(encoding="utf-8"))
    return Keypoints(digests=said["digests"], unreadable=said["unreadable"])


def _read_groups(job: Job) -> list[list[Pair]]:
    """Return the pairs that were compared, by their first photograph."""
    from photogrammetry.orientation.matching import Pair

    said = json.loads((job.inputs[MATCHES.name] / MATCHES_FILE).read_text(encoding="utf-8"))
    return [
        [
            Pair(first=first, second=second, overlap=overlap)
            for first, second, overlap in of["pairs"]
        ]
        for of in said.values()
    ]


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=0, sort_keys=True), encoding="utf-8")


def _name(capture: Capture) -> str:
    return capture.name


FEATURES = Stage(
    name="features",
    version="1",
    function=find_features,
    needs=of_photographs(
        cpus=2,
        base_gb=0.4,
        gb_per_cpu=0.6,
        cpu_s_per_photograph=0.8,
        work=FEATURE_WORK,
        shared=True,
    ),
)
MATCHES = Stage(
    name="matches",
    version="1",
    function=match_photographs,
    needs=of_photographs(
        cpus=2,
        base_gb=0.6,
        gb_per_thousand=0.1,
        gb_per_cpu=0.1,
        cpu_s_per_photograph=0.25,
        work=FEATURE_WORK,
        shared=True,
    ),
)


def _of_block(size: SurveySize) -> Cost:
    """Return the cost of solving a block: a small one by one thread, the same on any machine."""
    cost = BLOCK_NEEDS(size)
    return replace(cost, cpus=1) if size.photographs <= SMALL_BLOCK else cost


ORIENTATION = Stage(name="orientation", version="3", function=orient_block, needs=_of_block)
