"""Decoded pictures of a survey, kept small on disk so that each photograph is decoded once.

The decode for feature detection also yields what the surface needs: a grey image pyramid, and a
small colour picture for the balance of exposures.  Both lie in ``work/pictures`` and may be
deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.errors import PhotographError
from tmp.files import replacing

Picture = NDArray[np.uint8]

# Makers' own TIFF tags are no news to anyone; failures come back as no picture.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

THUMBNAIL_LEVEL = 4
"""The small colour picture is the photograph halved this many times."""
COARSEST_LEVEL = 6
LEAST_SIDE_PX = 16
"""Shorter side from which a picture is halved again."""
HEAD = ".levels.json"
"""Ending of the file that says what is stored of a photograph."""
GREY, SMALL, COLOUR = ".grey.npy", ".small.npy", ".colour.npy"
"""Endings of the files of a photograph's pyramid, its thumbnail, and all of its picture."""
LEVELS, SMOOTH = "levels", "smooth"
DEEP_SUFFIXES = frozenset({".tif", ".tiff", ".png"})
"""Files that may hold more than 8 bits."""
STRETCH_PERCENT = (0.5, 99.5)
"""Percentiles of a picture's values that become black and white."""

Load = Callable[[str], NDArray[Any]]
"""Gives the values of a photograph by name, (rows, cols, bands)."""


def read_photograph(path: Path, *, halvings: int = 0) -> Picture:
    """Decode a photograph as stored, without turning it by its orientation tag.

    A picture of more than 8 bits, such as that of one band, is stretched to 8 by `stretched`:
    enough to find and correlate what it shows, not to measure light. Up to three halvings while
    decoding cost the JPEG decoder nothing. Returns blue, green and red, uint8 (rows, cols, 3);
    raises `PhotographError` if the file cannot be decoded.
    """
    reduced = (
        cv2.IMREAD_COLOR,
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_REDUCED_COLOR_8,
    )
    if path.suffix.lower() in DEEP_SUFFIXES:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if stored is not None and stored.dtype != np.uint8:
            picture = stretched(stored)
            for _ in range(halvings):
                picture = halve(picture)
            return picture
    decoded = cv2.imread(str(path), reduced[halvings] | cv2.IMREAD_IGNORE_ORIENTATION)
    if decoded is None:
        raise PhotographError(f"{path}: cannot be decoded; copy it again from the card")
    return np.asarray(decoded, np.uint8)


def halvings_to(size_px: tuple[int, int], long_side_px: int, *, most: int = 3) -> int:
    """Return how often a photograph of a width and height can be halved and keep a longer side.

    Examples
    --------
    >>> halvings_to((4000, 3000), 900), halvings_to((1600, 1300), 900)
    (2, 0)
    """
    times = max(size_px) / long_side_px
    return min(int(math.log2(times)), most) if times >= 1 else 0


def halvings_of(picture: NDArray[Any], width_px: int) -> int:
    """Return how often a photograph of a width was halved to a picture (rows, cols, ...)."""
    return round(math.log2(width_px / picture.shape[1]))


def stretched(stored: NDArray[Any]) -> Picture:
    """Bring a picture of more than 8 bits to 8, from its own darkest to its own brightest.

    One band (rows, cols) gives three that are the same; of more (rows, cols, bands) the first three
    are used.

    Between the 0.5 and 99.5 per cent of its values, as a square root: pixel values in proportion
    to light have a noise that grows with their root, so this makes the noise even and keeps what
    lies in shadow (Anscombe 1948, Biometrika 35).  All bands have the same stretch.
    """
    values = stored[..., :3] if stored.ndim == 3 else stored[..., None]
    sample = values[::4, ::4]
    low, high = np.percentile(sample[np.isfinite(sample)], STRETCH_PERCENT)
    share = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    root = np.sqrt(np.clip(np.nan_to_num(share), 0, 1))
    picture = np.asarray(np.rint(255 * root), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3)))


def halve(picture: Picture) -> Picture:
    """Average blocks of 2 × 2 pixels; an odd last row or column is dropped.

    Corner-origin coordinates of the result are exactly half those of the input.
    """
    rows, cols = picture.shape[0] // 2, picture.shape[1] // 2
    return np.asarray(
        cv2.resize(picture[: 2 * rows, : 2 * cols], (cols, rows), interpolation=cv2.INTER_AREA),
        np.uint8,
    )


def halve_smoothly(picture: Picture) -> Picture:
    """Halve as `halve` does, with weights of 1, 3, 3, 1 along rows and columns.

    Averages of 2 × 2 keep half of a pattern that repeats every three pixels, as a coarser one that
    is not there (aliasing): crop rows become a moiré, and a surface matched on it wanders.  These
    weights keep an eighth, and 0.6 of the noise that averages leave.
    """
    return halve(np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStore:
    """Grey pyramids and thumbnails in a folder, one pair of files per photograph."""

    folder: Path

    def _stem(self, name: str) -> Path:
        # Names may hold folders and any letters; a digest is safe on every file system.
        return self.folder / hashlib.blake2b(name.encode(), digest_size=12).hexdigest()

    def has(self, name: str, *, finest_level: int) -> bool:
        """Tell whether a photograph's pyramid is stored and reaches `finest_level`."""
        try:
            head = json.loads(self._stem(name).with_suffix(HEAD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(head["levels"][0]["level"] <= finest_level)

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Return the photographs without a pyramid, from one look at the folder.

        A disk shared by many machines has no room for a look at every file from every job.
        """
        stored = set(self.folder.glob(f"*{HEAD}"))
        return [name for name in names if self._stem(name).with_suffix(HEAD) not in stored]

    def save(self, name: str, picture: Picture, *, halvings: int, whole: bool = False) -> None:
        """Store the pyramid and thumbnail of a photograph.

        The picture (rows, cols, 3) is as decoded, blue, green, red, and `halvings` says how often
        it was halved against the photograph.  If `whole`, it is stored as well, see `colour`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = self._stem(name)
        thumbnail = picture
        for _ in range(THUMBNAIL_LEVEL - halvings):
            thumbnail = halve(thumbnail)
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
        pyramids = {LEVELS: _pyramid(grey, halve, halvings)}
        pyramids[SMOOTH] = _pyramid(grey, halve_smoothly, halvings)[1:]
        parts, offset = [], 0
        entries: dict[str, list[dict[str, int]]] = {LEVELS: [], SMOOTH: []}
        for kind, pyramid in pyramids.items():
            for level, part in pyramid:
                rows, cols = part.shape
                entries[kind].append({"level": level, "offset": offset, "rows": rows, "cols": cols})
                parts.append(part.ravel())
                offset += part.size
        stored = {GREY: np.concatenate(parts), SMALL: thumbnail} | (
            {COLOUR: picture} if whole else {}
        )
        for suffix, array in stored.items():
            with replacing(stem.with_suffix(suffix)) as partial, partial.open("wb") as file:
                np.save(file, array)
        with replacing(stem.with_suffix(HEAD)) as partial:  # last: it vouches for the others
            partial.write_text(json.dumps({"name": name, **entries}), encoding="utf-8")

    def forget(self, name: str) -> None:
        """Delete what is stored of a photograph, first what vouches for the rest."""
        for suffix in (HEAD, ".grey.npy", ".small.npy"):
            self._stem(name).with_suffix(suffix).unlink(missing_ok=True)

    def grey(self, name: str, level: int, *, smooth: bool = False) -> tuple[Picture, int]:
        """Return one level of a pyramid, memory-mapped, and the level actually returned.

        A level finer or coarser than what is stored gives the nearest one that is.  Smooth levels
        are halved by `halve_smoothly`: without moiré, for a search among many heights, and with
        less of the detail that a precise height needs.
        """
        head = json.loads(self._stem(name).with_suffix(HEAD).read_text(encoding="utf-8"))
        entries = head[LEVELS][:1] + head[SMOOTH] if smooth else head[LEVELS]
        found = min(entries, key=lambda entry: abs(entry["level"] - level))
        flat = np.load(self._stem(name).with_suffix(GREY), mmap_mode="r")
        part = flat[found["offset"] : found["offset"] + found["rows"] * found["cols"]]
        return part.reshape(found["rows"], found["cols"]), found["level"]

    def thumbnail(self, name: str) -> Picture:
        """Return the small colour picture (rows, cols, 3), blue, green, red."""
        return np.asarray(np.load(self._stem(name).with_suffix(SMALL)), np.uint8)

    def colour(self, name: str) -> Picture:
        """Return the picture (rows, cols, 3) that was saved, where it was stored as a whole."""
        return np.asarray(np.load(self._stem(name).with_suffix(COLOUR)), np.uint8)


def _pyramid(
    grey: Picture, halved: Callable[[Picture], Picture], halvings: int
) -> list[tuple[int, Picture]]:
    """Return a picture and its halvings with their levels, down to a side of 8 to 15 pixels."""
    pyramid = [(halvings, grey)]
    while pyramid[-1][0] < COARSEST_LEVEL and min(pyramid[-1][1].shape) >= LEAST_SIDE_PX:
        level, picture = pyramid[-1]
        pyramid.append((level + 1, halved(picture)))
    return pyramid


class DecodedPictures:
    """Photographs at full size, decoded when first asked for, the longest unused let go.

    Unless told how to load them they are decoded as pictures, blue, green and red in 8 bits.

    Threads that want the same photograph at once wait for one decode.  Neighbouring tiles see
    the same photographs, so in the order of `tmp.geo.grids.Grid.tiles` each is decoded about once.
    """

    def __init__(self, folder: Path, *, budget_bytes: int, load: Load | None = None) -> None:
        self._load = load or (lambda name: read_photograph(folder / name))
        self._budget_bytes = budget_bytes
        self._lock = threading.Lock()
        self._pictures: OrderedDict[str, Future[NDArray[Any]]] = OrderedDict()

    def get(self, name: str) -> NDArray[Any]:
        """Return a photograph (rows, cols, bands); blue, green, red unless loaded otherwise.

        Raises `PhotographError` if it cannot be decoded.
        """
        with self._lock:
            future = self._pictures.get(name)
            mine = future is None
            if future is None:
                future = self._pictures[name] = Future()
            self._pictures.move_to_end(name)
        if mine:
            try:
                future.set_result(self._load(name))
            except BaseException as error:
                future.set_exception(error)
            self._let_go()
        return future.result()

    def clear(self) -> None:
        """Let go of all photographs."""
        with self._lock:
            self._pictures.clear()

    def _let_go(self) -> None:
        with self._lock:
            sizes = {
                name: future.result().nbytes
                for name, future in self._pictures.items()
                if future.done() and future.exception() is None
            }
            excess = sum(sizes.values()) - self._budget_bytes
            for name, size in list(sizes.items())[:-1]:
                if excess <= 0:
                    break
                del self._pictures[name]
                excess -= size
