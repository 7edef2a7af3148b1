"""Two orthomosaics of the same ground, laid over each other and drawn side by side.

Maps of different programs differ in scale, turn and place.  Keypoints that both pictures show give
the similarity from one to the other, so that areas and pictures can be compared on the same ground.
A map may also lean, be bent, or be torn and show ground twice: then no similarity holds all over,
and ground is looked up place by place, each by the keypoints nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import fit_level_similarity
from tmp.files import replacing
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_reduced

Float = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LONGEST_PX = 2000
"""Longest side at which orthomosaics are matched and drawn."""
RATIO = 0.75
"""Most distance of the best match over that of the second best; Lowe (2004)."""
WITHIN = 0.01
"""Distance within which a match is in keeping with a similarity, as a share of the longest side:
maps are bent against each other."""
LEAST_MATCHES = 30
BLOCKS = 50
"""Blocks along the longest side of a map that are looked up each by a similarity of its own."""
NEAREST = 24
"""Keypoints that such a similarity rests on."""
MOST_UNLIKE = 2.0
"""Scale of a block's similarity over the whole map's beyond which it is not believed."""
TRIALS = 60
RIM_PX = 5
"""Rim of a picture within which no keypoints are looked for."""
HEAD_PX, GAP_PX = 56, 24
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An orthomosaic at reduced size."""

    colours: Bytes
    """Blue, green, red, (rows, cols, 3); white where nothing is drawn."""
    drawn: Mask
    """(rows, cols)."""
    grid: Grid

    @property
    def map_from_pixel(self) -> Float:
        """Map coordinates of columns and rows, corner origin, (3, 3)."""
        return np.array(self.grid.transform).reshape(3, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """How the second of two maps lies on the first."""

    second_from_first: Float
    """Similarity between their map coordinates, (3, 3)."""
    matches: int
    """Keypoints that it rests on."""
    here: Float
    """Map coordinates in the first map of all keypoints that look alike, (N, 2)."""
    there: Float
    """In the second."""

    @property
    def scale(self) -> float:
        """Length in the second map of what is 1 m long in the first."""
        return float(np.hypot(*self.second_from_first[:2, 0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Ground that two maps draw, in square metres of the first map."""

    both_m2: float
    first_only_m2: float
    second_only_m2: float

    @property
    def second_m2(self) -> float:
        """What the second map draws, alone or not."""
        return self.both_m2 + self.second_only_m2


def read_picture(path: Path) -> Picture:
    """Read an orthomosaic of four bands, the last of them opacity, at reduced size."""
    bands, grid = read_reduced(path, LONGEST_PX)
    drawn = bands.data[3] > 127
    colours = np.ascontiguousarray(bands.data[2::-1].transpose(1, 2, 0)).astype(np.uint8)
    colours[~drawn] = WHITE
    return Picture(colours=colours, drawn=drawn, grid=grid)


def lay_over(first: Picture, second: Picture) -> Overlay | None:
    """Find the similarity between two maps by keypoints; None if they have too few in common.

    References
    ----------
    Lowe, D. G. (2004). Distinctive image features from scale-invariant keypoints. IJCV 60(2).
    """
    found = [_keypoints(picture) for picture in (first, second)]
    if any(len(places) < LEAST_MATCHES for places, _ in found):
        return None
    (here, words), (there, their_words) = found
    pairs = cv2.BFMatcher().knnMatch(words, their_words, k=2)
    good = [best for best, next_best in pairs if best.distance < RATIO * next_best.distance]
    if len(good) < LEAST_MATCHES:
        return None
    here = here[[match.queryIdx for match in good]]
    there = there[[match.trainIdx for match in good]]
    affine, kept = cv2.estimateAffinePartial2D(
        here,
        there,
        method=cv2.RANSAC,
        ransacReprojThreshold=WITHIN * max(second.grid.shape),
        maxIters=5000,
        confidence=0.999,
    )
    if affine is None or kept.sum() < LEAST_MATCHES:
        return None
    pixels = np.vstack([affine, (0, 0, 1)])
    return Overlay(
        second_from_first=second.map_from_pixel @ pixels @ np.linalg.inv(first.map_from_pixel),
        matches=int(kept.sum()),
        here=_transformed(first.map_from_pixel, here),
        there=_transformed(second.map_from_pixel, there),
    )


def onto_one_sheet(first: Picture, second: Picture, second_from_first: Float) -> list[Picture]:
    """Draw two maps on one grid that holds both, in the first one's coordinates."""
    first_from_second = np.asarray(np.linalg.inv(second_from_first), float)
    corners = np.vstack([_corners(first), _transformed(first_from_second, _corners(second))])
    low, high = corners.min(axis=0), corners.max(axis=0)
    cell_m = max(float((high - low).max()) / LONGEST_PX, first.grid.cell_m)
    sheet = Grid.from_bounds((low[0], low[1], high[0], high[1]), cell_m, first.grid.crs)
    return [
        _redrawn(picture, sheet, own_from_sheet)
        for picture, own_from_sheet in ((first, np.eye(3)), (second, second_from_first))
    ]


def shares_of(first: Picture, second: Picture, overlay: Overlay) -> Shares:
    """Return what two maps draw alone and together, place by place in the first one's scale.

    Ground that the second map shows twice counts once.
    """
    places = _places_in_first(second, overlay)
    low = np.minimum(places.min(axis=0), first.grid.bounds[:2])
    high = np.maximum(places.max(axis=0), first.grid.bounds[2:])
    # Coarser than both, so that places moved one by one leave no gaps.
    cell_m = 2 * max(first.grid.cell_m, second.grid.cell_m / overlay.scale)
    sheet = Grid.from_bounds((low[0], low[1], high[0], high[1]), cell_m, first.grid.crs)
    shown = np.zeros(sheet.shape, np.uint8)
    row = ((sheet.y_max - places[:, 1]) / cell_m).astype(int).clip(0, sheet.rows - 1)
    col = ((places[:, 0] - sheet.x_min) / cell_m).astype(int).clip(0, sheet.cols - 1)
    shown[row, col] = 1
    its = cv2.morphologyEx(shown, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    ours = _redrawn(first, sheet, np.eye(3)).drawn
    return Shares(
        both_m2=cell_m**2 * float((ours & its).sum()),
        first_only_m2=cell_m**2 * float((ours & ~its).sum()),
        second_only_m2=cell_m**2 * float((its & ~ours).sum()),
    )


def draw_side_by_side(pictures: list[Picture], titles: list[str], path: Path) -> None:
    """Write pictures of one sheet side by side, with titles and a scale bar, as PNG."""
    rows, cols = pictures[0].drawn.shape
    out = np.full((HEAD_PX + rows, 2 * cols + GAP_PX, 3), 255, np.uint8)
    for left, picture, title in zip((0, cols + GAP_PX), pictures, titles, strict=True):
        out[HEAD_PX:, left : left + cols] = picture.colours
        cv2.putText(out, title, (left + 10, 36), cv2.FONT_HERSHEY_SIMPLEX, 0.9, BLACK, 2)
    _draw_scale_bar(out, pictures[0].grid.cell_m)
    with replacing(path) as partial:
        partial.write_bytes(cv2.imencode(".png", out)[1].tobytes())


def _keypoints(picture: Picture) -> tuple[Float, NDArray[np.float32]]:
    """Return places (N, 2), corner origin, and descriptors (N, 128)."""
    inside = cv2.erode(
        picture.drawn.astype(np.uint8), np.ones((2 * RIM_PX + 1,) * 2), borderValue=0
    )
    grey = cv2.cvtColor(picture.colours, cv2.COLOR_BGR2GRAY)
    points, words = cv2.SIFT.create(20000).detectAndCompute(grey, inside)
    if words is None:
        return np.empty((0, 2)), np.empty((0, 128), np.float32)
    # OpenCV's origin is the centre of the first pixel.
    return np.array([point.pt for point in points]) + 0.5, np.asarray(words, np.float32)


def _places_in_first(second: Picture, overlay: Overlay) -> Float:
    """Return where the first map has what each drawn pixel of the second shows, (N, 2)."""
    row, col = np.nonzero(second.drawn)
    places = _transformed(second.map_from_pixel, np.column_stack([col, row]) + 0.5)
    step = -(-max(second.drawn.shape) // BLOCKS)
    block = row // step * BLOCKS + col // step
    first_from_second = np.asarray(np.linalg.inv(overlay.second_from_first), float)
    out = np.empty_like(places)
    for one in np.unique(block):
        members = block == one
        centre = places[members].mean(axis=0)
        near = np.argsort(np.linalg.norm(overlay.there - centre, axis=1))[:NEAREST]
        middle = overlay.here[near].mean(axis=0)
        scale, turn, shift = fit_level_similarity(
            overlay.there[near] - centre, overlay.here[near] - middle, trials=TRIALS
        )
        if 1 / MOST_UNLIKE < scale * overlay.scale < MOST_UNLIKE:
            cos, sin = scale * np.cos(turn), scale * np.sin(turn)
            matrix = np.array([[cos, -sin], [sin, cos]])
            out[members] = (places[members] - centre) @ matrix.T + shift + middle
        else:
            out[members] = _transformed(first_from_second, places[members])
    return out


def _corners(picture: Picture) -> Float:
    x_min, y_min, x_max, y_max = picture.grid.bounds
    return np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)])


def _transformed(matrix: Float, places: NDArray[np.floating]) -> Float:
    return np.asarray(places @ matrix[:2, :2].T + matrix[:2, 2], float)


def _redrawn(picture: Picture, sheet: Grid, own_from_sheet: Float) -> Picture:
    sheet_matrix = np.array(sheet.transform).reshape(3, 3)
    pixel_from_sheet = np.linalg.inv(picture.map_from_pixel) @ own_from_sheet @ sheet_matrix
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV: centre of the first pixel
    matrix = (np.linalg.inv(half) @ pixel_from_sheet @ half)[:2]
    size, flags = (sheet.cols, sheet.rows), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(picture.drawn.astype(np.float32), matrix, size, flags=flags) > 0.5
    colours = cv2.warpAffine(picture.colours, matrix, size, flags=flags, borderValue=WHITE)
    colours[~drawn] = WHITE
    return Picture(colours=np.asarray(colours, np.uint8), drawn=drawn, grid=sheet)


def _draw_scale_bar(out: Bytes, cell_m: float) -> None:
    wanted_m = 0.12 * out.shape[1] * cell_m
    power = 10.0 ** np.floor(np.log10(wanted_m))
    length_m = power * max(step for step in (1, 2, 5) if step * power <= wanted_m)
    right, top = out.shape[1] - 20, 28
    left = right - round(length_m / cell_m)
    cv2.rectangle(out, (left, top), (right, top + 6), BLACK, -1)
    cv2.putText(out, f"{length_m:g} m", (left, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.7, BLACK, 2)
