"""The stages that orient a survey: features by photographs, matches by pairs, then the whole block.

The results of the first two are small: which photographs have keypoints, which pairs were
compared, and digests of what was found.  Keypoints and matches themselves lie below ``work/block``
and pyramids below ``work/pictures``; what is deleted there is made again where it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import (
    BLOCK_WORK,
    FEATURE_WORK,
    Cost,
    Needs,
    OfPhotographs,
    Quality,
    SurveySize,
)
from flows.engine.stage import Figures, Stage, Workspace
from flows.stages.inputs import (
    DECODED_SIZES,
    FEATURE_SIZES,
    keep_picture,
    picture_store,
    read_survey,
    require_space,
    save_picture,
    searched_halvings,
)
from tmp.captures import Capture, HeightUse
from tmp.errors import PhotographError
from tmp.files import replacing
from tmp.geo.control import control_from_text
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
BLOCK_NEEDS = OfPhotographs(
    cpus=4, base_gb=0.8, gb_per_thousand=4.0, cpu_s_per_photograph=0.4, work=BLOCK_WORK
)


class Features(Stage):
    """Find the keypoints of photographs, and keep their grey pyramids from the same decode."""

    name = "features"
    version = "3"
    options = ("quality",)
    label = "Finding keypoints"
    needs = OfPhotographs(
        cpus=2,
        base_gb=0.4,
        gb_per_cpu=0.6,
        cpu_s_per_photograph=0.8,
        work=FEATURE_WORK,
        shared=True,
    )

    def __init__(self, space: Workspace) -> None:
        """Read which photographs are used."""
        from photogrammetry.orientation.orient import refuse_too_few

        super().__init__(space)
        self._task = _task(space)
        refuse_too_few(self._task)
        self._captures = {capture.name: capture for capture in self._task.used}
        self._pictures = picture_store(space)
        self._digests: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}

    def items(self) -> Sequence[str]:
        """Name the photographs."""
        return list(self._captures)

    def is_made(self, item: str) -> bool:
        """Tell whether a photograph has keypoints and a pyramid."""
        capture = self._captures[item]
        size_px = capture.width_px, capture.height_px
        level = max(1, searched_halvings(self.space.options["quality"], size_px))
        return self._is_described(item) and self._pictures.has(item, finest_level=level)

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Ask for room, and give each photograph one thread."""
        del items
        pixels = sum(capture.width_px * capture.height_px for capture in self._captures.values())
        require_space(self.space.out, pixels * PYRAMID_BYTES_PER_PIXEL, "orienting the photographs")
        with one_thread_each():
            yield

    def make(self, item: str) -> None:
        """Find the keypoints of a photograph; one that cannot be decoded is noted."""
        from photogrammetry.orientation.features import detect_photograph

        capture = self._captures[item]
        try:
            if self._is_described(item):
                save_picture(self.space, capture)
            else:
                detect_photograph(
                    capture,
                    self._task.photos_dir,
                    self._task.places.features_dir,
                    options=self._task.options.features,
                    on_picture=self._keep,
                )
                self._is_described(item)
        except PhotographError as error:
            self._unreadable[item] = str(error)

    def finish(self) -> Figures:
        """Write which photographs have keypoints."""
        from photogrammetry.orientation.orient import Keypoints

        unreadable = self._unreadable | self.holes
        found = {
            name: self._digests[name]
            for name in self._captures
            if name not in unreadable and self._is_described(name)
        }
        _write(
            self.space.out / FEATURES_FILE, asdict(Keypoints(digests=found, unreadable=unreadable))
        )
        return {"photographs": len(found), "unreadable": len(unreadable)}

    def _keep(self, name: str, picture: NDArray[np.uint8]) -> None:
        from photogrammetry.pictures import halvings_of

        halvings = halvings_of(picture, self._captures[name].width_px)
        keep_picture(self.space, name, picture, halvings)

    def _is_described(self, name: str) -> bool:
        from photogrammetry.orientation.features import features_path, read_digest

        if name not in self._digests:
            digest = read_digest(features_path(self._task.places.features_dir, name))
            if digest is not None:
                self._digests[name] = digest
        return name in self._digests


class Matches(Stage):
    """Match the photographs whose footprints should overlap.

    An item is all pairs of one first photograph.
    """

    name = "matches"
    version = "1"
    after = ("features",)
    options = ("quality",)
    label = "Matching photographs"
    needs = OfPhotographs(
        cpus=2,
        base_gb=0.6,
        gb_per_thousand=0.1,
        gb_per_cpu=0.1,
        cpu_s_per_photograph=0.25,
        work=FEATURE_WORK,
        shared=True,
    )

    def __init__(self, space: Workspace) -> None:
        """Propose the pairs."""
        from photogrammetry.orientation.matching import group_pairs
        from photogrammetry.orientation.orient import matcher, propose

        super().__init__(space)
        self._task, keypoints = _task(space), _read_keypoints(space)
        self._used = keypoints.usable(self._task.used)
        self._matching = matcher(self._task, keypoints)
        groups = group_pairs(propose(self._task, keypoints))
        self._groups = {self._used[group[0].first].name: group for group in groups}
        self._verdicts: dict[str, MatchedGroup] = {}

    def items(self) -> Sequence[str]:
        """Name the first photographs of pairs."""
        return list(self._groups)

    def is_made(self, item: str) -> bool:
        """Tell whether the pairs of a first photograph have been compared."""
        if item not in self._verdicts:
            verdict = self._matching.known(self._groups[item])
            if verdict is not None:
                self._verdicts[item] = verdict
        return item in self._verdicts

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Restore keypoints, and give each pair one thread."""
        from photogrammetry.orientation.orient import one_blas_thread

        pairs = [pair for item in items for pair in self._groups[item]]
        wanted = sorted({i for pair in pairs for i in (pair.first, pair.second)})
        _restore_keypoints(self.space, self._task, [self._used[i] for i in wanted])
        with one_blas_thread():
            yield

    def make(self, item: str) -> None:
        """Match the pairs of a first photograph."""
        self._matching.match(self._groups[item])

    def finish(self) -> Figures:
        """Write which pairs were compared."""
        compared = [name for name in self._groups if self.is_made(name)]
        found = {
            name: {
                "pairs": [[pair.first, pair.second, pair.overlap] for pair in self._groups[name]],
                "digest": self._verdicts[name].digest,
            }
            for name in compared
        }
        _write(self.space.out / MATCHES_FILE, found)
        return {
            "pairs": sum(map(len, self._groups.values())),
            "pairs_verified": sum(verdict.verified for verdict in self._verdicts.values()),
        }


def _of_block(size: SurveySize) -> Cost:
    """Return the cost of solving a block: a small one by one thread, the same on any machine."""
    cost = BLOCK_NEEDS(size)
    return replace(cost, cpus=1) if size.photographs <= SMALL_BLOCK else cost


class Orientation(Stage):
    """Orient all photographs together, from their matches."""

    name = "orientation"
    version = "4"
    after = ("features", "matches")
    options = ("quality", "heights", "position_sigma_m", "control")
    needs: ClassVar[Needs] = _of_block

    def finish(self) -> Figures:
        """Solve the block and write a `Reconstruction`."""
        from photogrammetry.orientation.matching import match_all
        from photogrammetry.orientation.orient import matcher, one_blas_thread, solve

        space = self.space
        task, keypoints = _task(space), _read_keypoints(space)
        used, matching = keypoints.usable(task.used), matcher(task, keypoints)
        groups = _read_groups(space)
        _restore_keypoints(space, task, used)
        lost = any(matching.known(group) is None for group in groups)
        with one_blas_thread():
            verified = match_all(
                groups, matching, workers=space.workers, track=space.track if lost else silent
            )
        reconstruction = solve(
            task, keypoints, verified, space.temporary, workers=space.workers, track=space.track
        )
        figures = {
            **reconstruction.figures,
            "searched_pixel_px": _searched_pixel_px(space, used),
            "preview": space.options["quality"] == Quality.FAST,
        }
        write_reconstruction(replace(reconstruction, figures=figures), space.out)
        return {}


def _searched_pixel_px(space: Workspace, captures: Sequence[Capture]) -> float:
    """Return the side of a pixel of the pictures searched, in pixels of photographs (median)."""
    long_side_px, _ = FEATURE_SIZES[space.options["quality"]]
    sides = [max(capture.width_px, capture.height_px) for capture in captures]
    return max(float(np.median(sides)) / long_side_px, 1.0)


def _task(space: Workspace) -> OrientTask:
    from photogrammetry.orientation.features import FeatureOptions
    from photogrammetry.orientation.orient import OrientOptions, OrientTask
    from photogrammetry.orientation.pairs import PairOptions
    from photogrammetry.orientation.refine import RefineOptions

    survey, settings, captures = read_survey(space)
    quality = space.options["quality"]
    long_side_px, keypoints = FEATURE_SIZES[quality]
    decoded_px, most_halvings = DECODED_SIZES[quality]
    preview = quality == Quality.FAST
    sigma_m = space.options.get("position_sigma_m")
    return OrientTask(
        captures=captures,
        cameras=settings.cameras,
        photos_dir=survey.photos_dir,
        frame=settings.frame,
        work_dir=survey.work_dir / BLOCK,
        options=OrientOptions(
            features=FeatureOptions(
                long_side_px=long_side_px,
                decoded_px=decoded_px,
                most_halvings=most_halvings,
                keypoints=keypoints,
            ),
            pairs=PairOptions(neighbours=6, per_sector=2) if preview else PairOptions(),
            refinement=RefineOptions(
                heights=HeightUse(space.options.get("heights", HeightUse.AUTO)),
                position_sigma_m=None if sigma_m is None else (sigma_m[0], sigma_m[1]),
                control=control_from_text(space.options.get("control", "")),
            ),
        ),
    )


def _restore_keypoints(space: Workspace, task: OrientTask, captures: Sequence[Capture]) -> None:
    """Find again the keypoints of photographs whose files someone deleted from ``work/``."""
    from photogrammetry.orientation.features import features_path
    from photogrammetry.orientation.orient import find_keypoints

    folder = task.places.features_dir
    lost = [c for c in captures if not features_path(folder, c.name).exists()]
    if lost:
        find_keypoints(task, lost, workers=space.workers, track=space.track)


def _read_keypoints(space: Workspace) -> Keypoints:
    from photogrammetry.orientation.orient import Keypoints

    said = json.loads((space.inputs[Features.name] / FEATURES_FILE).read_text(encoding="utf-8"))
    return Keypoints(digests=said["digests"], unreadable=said["unreadable"])


def _read_groups(space: Workspace) -> list[list[Pair]]:
    """Return the pairs that were compared, by their first photograph."""
    from photogrammetry.orientation.matching import Pair

    said = json.loads((space.inputs[Matches.name] / MATCHES_FILE).read_text(encoding="utf-8"))
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
