"""Keypoints and descriptors of one photograph, from the only decode before the orthomosaic.

Keypoints are OpenCV's SIFT.  Of the many it finds, those of the largest *scale* are kept, spread
evenly over the picture: they are the ones that survive from one photograph to the next (a strong
response often belongs to a leaf or a glint that moves), so that a forest, too, is oriented.
Descriptors are computed only for what is kept.

They are kept below ``work/`` with a digest of their content, so that they need not be compared.

References
----------
Lowe, D. G. (2004). Distinctive image features from scale-invariant keypoints. IJCV 60(2).
Arandjelović, R., Zisserman, A. (2012). Three things everyone should know to improve object
retrieval. CVPR (RootSIFT).
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.pictures import halvings_to, read_photograph
from tmp.captures import Capture
from tmp.errors import OrientationError, PhotographError
from tmp.files import replacing
from tmp.progress import Track, silent
from tmp.threads import map_threads, one_thread_each

DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)
"""What reading a missing or damaged archive can raise."""
DIGEST = "digest"

log = logging.getLogger(__name__)
OnPicture = Callable[[str, NDArray[np.uint8]], None]
"""Called with a photograph's name and its picture (rows, cols, 3), BGR, as just decoded."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and their digest as an uncompressed npz file, complete or not at all."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        digest.update(array.tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        content = {**arrays, DIGEST: np.array(digest.hexdigest())}
        np.savez(partial, allow_pickle=False, **content)


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open what `write_arrays` wrote; each array is read when it is asked for.

    Raises one of `DAMAGE` if the file is missing or damaged.
    """
    with path.open("rb") as file, np.load(file) as stored:
        yield stored


def read_digest(path: Path) -> str | None:
    """Return the digest of what `write_arrays` wrote; None if it is missing or damaged.

    Nothing else is read, so damage within the arrays themselves is not seen.
    """
    try:
        with open_arrays(path) as stored:
            return str(stored[DIGEST])
    except DAMAGE:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureOptions:
    """How many keypoints are sought, and on how large a picture."""

    long_side_px: int = 1600
    """Size the picture is reduced to; smaller pictures are left as they are.

    SIFT doubles it for the smallest keypoints, which are the best placed: sought in 1000 pixels,
    they cost half, and the ground of a block whose photographs hardly fix its vertical scale comes
    out by 1.4 pixels higher.
    """
    decoded_px: int = 1600
    """Longer side that a photograph keeps when it is halved while it is decoded, ..."""
    most_halvings: int = 1
    """... and how often it may be."""
    keypoints: int = 5000
    """At most this many are kept for each photograph."""
    contrast: float = 0.03
    """SIFT's contrast threshold; low, because the choice is made by scale and not by contrast."""
    cells: int = 16
    """Cells along the long side of the grid over which keypoints are spread."""
    few: float = 0.25
    """Share of the keypoints wanted below which fainter ones are sought: snow, sand, haze."""
    faintest: float = 0.003
    """Contrast threshold below which there is but noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Keypoints of one photograph, the largest scale first."""

    width_px: int
    height_px: int
    """Size of the photograph."""
    xy_px: NDArray[np.float32]
    """Positions in the photograph at full size, corner origin, (N, 2)."""
    scale_px: NDArray[np.float32]
    """Diameter of the neighbourhood that was described, at full size, (N,)."""
    descriptors: NDArray[np.uint8]
    """RootSIFT, length 512, (N, 128)."""


def detect_features(
    picture: NDArray[np.uint8], size_px: tuple[int, int], options: FeatureOptions
) -> Features:
    """Find and describe the keypoints of a BGR picture (rows, cols, 3), at any size.

    Positions refer to the photograph itself, of a width and height `size_px`.

    OpenCV's keypoints have the first pixel's centre at (0, 0); half a pixel is added.  The
    precise upscaling is asked for, without which positions are a quarter of a pixel off.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    reduction = options.long_side_px / max(grey.shape)
    if reduction < 1:
        size = (round(grey.shape[1] * reduction), round(grey.shape[0] * reduction))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    contrast = options.contrast
    while True:
        sift = cv2.SIFT.create(contrastThreshold=contrast, enable_precise_upscale=True)
        found = sift.detect(grey)
        if len(found) >= options.few * options.keypoints or contrast <= options.faintest:
            break
        contrast = max(contrast / 3, options.faintest)
    xy = np.asarray(cv2.KeyPoint.convert(found), np.float32).reshape(-1, 2)
    scale = np.array([k.size for k in found], np.float32)
    kept = spread_by_scale(xy, scale, grey.shape, options)
    chosen, descriptors = sift.compute(grey, [found[i] for i in kept])
    if descriptors is None:
        chosen, descriptors = (), np.zeros((0, 128), np.float32)
    factors = np.array([size_px[0] / grey.shape[1], size_px[1] / grey.shape[0]], np.float32)
    xy = np.array([k.pt for k in chosen], np.float32).reshape(-1, 2)
    return Features(
        width_px=size_px[0],
        height_px=size_px[1],
        xy_px=(xy + 0.5) * factors,
        scale_px=np.array([k.size for k in chosen], np.float32) * factors[0],
        descriptors=to_root_sift(descriptors),
    )


def spread_by_scale(
    xy: NDArray[np.float32],
    scale: NDArray[np.float32],
    shape: tuple[int, ...],
    options: FeatureOptions,
) -> NDArray[np.intp]:
    """Choose the keypoints of largest scale, as many from every cell of a grid as it can give.

    Returns the indices of the chosen, (M,), by decreasing scale.
    """
    if len(xy) == 0:
        return np.zeros(0, np.intp)
    cell_px = max(shape) / options.cells
    column, row = (xy // cell_px).astype(int).T
    cell = row * (options.cells + 1) + column
    chosen = np.lexsort((-scale, rank_in_cells(cell, -scale)))[: options.keypoints]
    return np.asarray(chosen[np.argsort(-scale[chosen], kind="stable")])


def rank_in_cells(cell: NDArray[np.int_], *keys: NDArray[Any]) -> NDArray[np.int_]:
    """Return the place of every element among those of its cell, (N,), by keys, the last first."""
    order = np.lexsort((*keys, cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    rank = np.empty(len(cell), int)
    rank[order] = np.arange(len(cell)) - np.repeat(starts, np.diff([*starts, len(cell)]))
    return rank


def to_root_sift(descriptors: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn SIFT descriptors (N, 128) into RootSIFT of length 512 in bytes."""
    total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    root = np.rint(512 * np.sqrt(descriptors / total))
    return np.asarray(np.minimum(root, 255), np.uint8)


def detect_all(
    captures: Sequence[Capture],
    photos_dir: Path,
    features_dir: Path,
    *,
    options: FeatureOptions,
    workers: int,
    on_picture: OnPicture | None = None,
    track: Track = silent,
) -> dict[str, str]:
    """Detect the features of every photograph that has none in `features_dir` yet.

    Each picture is given to `on_picture` as decoded, for what else is wanted of it, from several
    threads; a photograph counts as done only when this, too, has returned.  Returns why photographs
    could not be read, by name.
    """
    failed: dict[str, str] = {}

    def detect_one(capture: Capture) -> str:
        try:
            if read_digest(features_path(features_dir, capture.name)) is None:
                detect_photograph(
                    capture, photos_dir, features_dir, options=options, on_picture=on_picture
                )
        except PhotographError as error:
            return str(error)
        return ""

    with one_thread_each():
        done: Iterator[tuple[Capture, str]] = map_threads(detect_one, captures, workers=workers)
        for capture, reason in track(done, "Finding keypoints", len(captures)):
            if reason:
                failed[capture.name] = reason
    log.info("keypoints: %d photographs, %d unreadable", len(captures), len(failed))
    return failed


def detect_photograph(
    capture: Capture,
    photos_dir: Path,
    features_dir: Path,
    *,
    options: FeatureOptions,
    on_picture: OnPicture | None = None,
) -> None:
    """Decode a photograph and write its features; see `detect_all`.

    Raises `PhotographError` if the photograph cannot be read.
    """
    size_px = capture.width_px, capture.height_px
    halvings = halvings_to(size_px, options.decoded_px, most=options.most_halvings)
    picture = read_photograph(photos_dir / capture.name, halvings=halvings)
    features = detect_features(picture, size_px, options)
    if on_picture is not None:
        on_picture(capture.name, picture)
    write_features(features, features_path(features_dir, capture.name))


def features_path(features_dir: Path, name: str) -> Path:
    """Return where the features of the photograph called `name` are kept."""
    return features_dir / f"{name}.npz"


def write_features(features: Features, path: Path) -> None:
    """Write features to a file, complete or not at all."""
    size_px = {"size_px": np.array([features.width_px, features.height_px])}
    arrays = {key: getattr(features, key) for key in ("xy_px", "scale_px", "descriptors")}
    write_arrays(path, size_px | arrays)


def read_keypoints(path: Path) -> NDArray[np.float32]:
    """Return `Features.xy_px` alone; see `read_features`."""
    with _opened(path) as stored:
        return np.asarray(stored["xy_px"], np.float32)


def read_features(path: Path) -> Features:
    """Read what `write_features` wrote.

    Raises `OrientationError` if the file is missing or damaged.
    """
    with _opened(path) as stored:
        width_px, height_px = (int(v) for v in stored["size_px"])
        return Features(
            width_px=width_px,
            height_px=height_px,
            xy_px=stored["xy_px"],
            scale_px=stored["scale_px"],
            descriptors=stored["descriptors"],
        )


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    try:
        with open_arrays(path) as stored:
            yield stored
    except DAMAGE as error:
        raise OrientationError(f"{path}: keypoints unreadable ({error}); delete it") from error
