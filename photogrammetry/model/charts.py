"""What the orthomosaic does not show of a model, pictured by the photographs that face it.

From above a wall is a line, and what lies below an eave is hidden; the photographs show them.  Each
triangle takes the view that has the most pixels of it, or nearly the most if its neighbours take
that one; neighbours with one view make a chart, which is cut out of the photograph as it is and
laid beside others on a page.  Nothing is unwrapped, so nothing is warped twice.

References
----------
Waechter, M., Moehrle, N. & Goesele, M. (2014). Let there be color! Large-scale texturing of 3D
    reconstructions. ECCV 2014: a view for each face, smooth over neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from photogrammetry.kernels.facing import draw_depths, rate_faces
from photogrammetry.pictures import Picture
from photogrammetry.views import TileViews, geometry_row

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Ints = NDArray[np.int64]

NEAR_BEST = 0.6
"""Share of the most pixels of a triangle that another view may have and be taken instead."""
ROUNDS = 4
"""How often triangles look at what their neighbours take."""
CHART_CELLS = 64
"""Side in cells of the cubes that charts are cut at: a long wall has little in its own frame."""
DEPTH_CELLS = 1.5
"""Pixel, in cells, of the pictures of what each view sees first."""
GRACE_CELLS = 2.0
"""Cells behind that by which a triangle is not yet hidden."""
LEAST_PIXELS = 25.0
"""Pixels of a chart below which the orthomosaic does as well."""
BORROWED = 2
"""Triangles across which one that no view shows takes the view of those beside it."""
PAD = 2
"""Pixels about a chart that are copied too, so that filters do not mix it with its neighbours."""
PAGE_SIDE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """Triangles that photographs picture, chart by chart."""

    views: tuple[str, ...] = ()
    """Name of the photograph of each chart, (C,)."""
    boxes: Ints = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    """Least and greatest column and row in it, with margin: ``x0, y0, x1, y1``, (C, 4)."""
    faces: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Triangles, (F,)."""
    chart: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """Chart of each, (F,)."""
    pixels: Float32 = field(default_factory=lambda: np.zeros((0, 3, 2), np.float32))
    """Places of their corners in the photographs (F, 3, 2), corner origin."""

    @classmethod
    def joined(cls, parts: Sequence[Charts]) -> Charts:
        """Return the charts of several squares of the ground as one."""
        if not parts:
            return cls()
        before = np.cumsum([0] + [len(part.views) for part in parts])
        return cls(
            views=tuple(view for part in parts for view in part.views),
            boxes=np.concatenate([part.boxes for part in parts]),
            faces=np.concatenate([part.faces for part in parts]),
            chart=np.concatenate([part.chart + n for part, n in zip(parts, before, strict=False)]),
            pixels=np.concatenate([part.pixels for part in parts]),
        )


def choose_charts(
    corners: Float32,
    faces: Ints,
    wanted: Ints,
    placed: TileViews,
    *,
    cell_m: float,
    pixel_m: float,
) -> Charts:
    """Return the charts of some triangles of a square of the ground.

    Parameters
    ----------
    corners : ndarray of shape (N, 3), float32
        In tile coordinates of the placed views.
    faces : ndarray of shape (F, 3), int
        Anticlockwise seen from outside: those that are pictured, and what may stand before them.
    wanted : ndarray of shape (W,), int
        Which of them are pictured.
    placed : TileViews
        Views that may see any of it.
    cell_m : float
        Side of the surface's cells: what is told apart along a ray.
    pixel_m : float
        Side on the ground of a photograph's pixel.
    """
    if len(wanted) == 0 or len(placed) == 0:
        return Charts()
    pictured = faces[wanted]
    ratings = _rated(corners, faces, pictured, placed, cell_m, pixel_m)
    pairs = _neighbours(pictured)
    view = _agree(ratings, pairs)
    _borrow(view, pairs, corners[pictured], placed.centres)
    square = np.rint(corners[pictured].mean(axis=1) / (CHART_CELLS * cell_m)).astype(np.int64)
    label = np.column_stack([view, square])
    same = (label[pairs[:, 0]] == label[pairs[:, 1]]).all(axis=1)
    links = coo_matrix((np.ones(same.sum()), pairs[same].T), shape=(len(pictured),) * 2)
    _, component = connected_components(links, directed=False)
    shown = np.where(view >= 0, ratings[np.arange(len(pictured)), view], 0)
    large = np.bincount(component, weights=shown) >= LEAST_PIXELS
    kept = np.flatnonzero((view >= 0) & large[component])
    kept = kept[np.argsort(component[kept], kind="stable")]
    charts = _charts_of(kept, component[kept], view[kept], corners[pictured[kept]], placed)
    return replace(charts, faces=wanted[charts.faces])


def _rated(
    corners: Float32,
    faces: Ints,
    pictured: Ints,
    placed: TileViews,
    cell_m: float,
    pixel_m: float,
) -> Float32:
    """Return the pixels (F, V) that each view has of each pictured triangle."""
    times = 2.0 ** max(np.floor(np.log2(DEPTH_CELLS * cell_m / pixel_m) + 1e-6), 0.0)
    whole, scaled = (
        np.array([geometry_row(placed, i, scale) for i in range(len(placed))], np.float32)
        for scale in (1.0, 1 / times)
    )
    sizes = np.array([(view.camera.height_px, view.camera.width_px) for view in placed.views])
    shapes = np.ceil(sizes / times).astype(np.int64)
    offsets = np.cumsum(np.concatenate([[0], shapes.prod(axis=1)]))
    layout = np.column_stack([offsets[:-1], shapes])
    depths = np.empty(offsets[-1], np.float32)
    draw_depths(scaled, layout, corners, faces, depths)
    ratings = np.zeros((len(pictured), len(placed)), np.float32)
    rate_faces(
        whole,
        sizes.astype(np.float32),
        placed.centres.astype(np.float32),
        np.ascontiguousarray(corners[pictured]),
        scaled,
        layout,
        depths,
        np.float32(GRACE_CELLS * cell_m),
        ratings,
    )
    return ratings


def _charts_of(
    faces: Ints, component: Ints, view: Ints, corners: Float32, placed: TileViews
) -> Charts:
    """Return charts of triangles (F, 3, 3) that are sorted by component; each has one view."""
    if len(faces) == 0:
        return Charts()
    pixels = np.zeros((len(faces), 3, 2), np.float32)
    for i in np.unique(view):
        here = view == i
        places = placed.pixel_from_tile(int(i), corners[here].reshape(-1, 3))
        pixels[here] = places.reshape(-1, 3, 2)
    first = np.flatnonzero(np.diff(component, prepend=-1))
    low = np.floor(np.minimum.reduceat(pixels.min(axis=1), first)) - PAD
    high = np.ceil(np.maximum.reduceat(pixels.max(axis=1), first)) + PAD
    return Charts(
        views=tuple(placed.views[i].name for i in view[first]),
        boxes=np.column_stack([low, high]).astype(np.int64),
        faces=faces,
        chart=np.cumsum(np.diff(component, prepend=component[0]) > 0),
        pixels=pixels,
    )


def _neighbours(faces: Ints) -> Ints:
    """Return the pairs (P, 2) of triangles that share a side."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort(sides.T)
    sides, owner = sides[order], owner[order]
    same = (sides[1:] == sides[:-1]).all(axis=1)
    return np.column_stack([owner[:-1][same], owner[1:][same]])


def _agree(ratings: Float32, pairs: Ints) -> Ints:
    """Return the view of each triangle (F,), -1 where none sees it, alike where it costs little."""
    best = ratings.max(axis=1)
    allowed = (ratings >= NEAR_BEST * best[:, None]) & (ratings > 0)
    share = ratings / np.maximum(best, 1e-6)[:, None]
    view = np.asarray(np.where(best > 0, ratings.argmax(axis=1), -1), np.int64)
    for _ in range(ROUNDS):
        votes = np.zeros_like(ratings)
        for one, other in (pairs.T, pairs.T[::-1]):
            seen = view[other] >= 0
            np.add.at(votes, (one[seen], view[other][seen]), 1)
        wanted = np.where(allowed, votes + share, -1)
        view = np.where(best > 0, wanted.argmax(axis=1), -1)
    return view


def _borrow(view: Ints, pairs: Ints, corners: Float32, centres: Float) -> None:
    """Give triangles (F, 3, 3) that no view shows a neighbour's view from which they turn away.

    The far faces of what is rough do: in that view lies what surrounds them.  Those that something
    else hides would show that instead, and take none.
    """
    a, b, c = (corners[:, k].astype(float) for k in range(3))
    normal = np.cross(b - a, c - a)
    for _ in range(BORROWED):
        one, other = np.concatenate([pairs, pairs[:, ::-1]]).T
        free = (view[one] < 0) & (view[other] >= 0)
        one, taken = one[free], view[other[free]]
        away = ((centres[taken] - a[one]) * normal[one]).sum(axis=1) <= 0
        view[one[away]] = taken[away]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where charts lie on pages; all arrays are by chart."""

    page: Ints
    x: Ints
    y: Ints
    size: Ints
    """Columns and rows, (C, 2)."""
    pages: Sequence[tuple[int, int]] = field(default=())
    """Rows and columns of each page."""


def lay_out(sizes: Ints, side: int = PAGE_SIDE) -> Placement:
    """Lay rectangles (C, 2), columns and rows of at most `side`, on pages, shelf by shelf.

    Examples
    --------
    >>> lay_out(np.array([[6, 2], [5, 4], [4, 4]]), side=10).x.tolist()
    [0, 0, 5]
    """
    page, x, y = (np.zeros(len(sizes), np.int64) for _ in range(3))
    pages: list[tuple[int, int]] = []
    left = top = shelf = width = 0
    for n in np.argsort(-sizes[:, 1], kind="stable"):
        columns, rows = sizes[n]
        if left + columns > side:
            left, top, shelf = 0, top + shelf, 0
        if top + rows > side:
            pages.append((top + shelf, width))
            left = top = shelf = width = 0
        page[n], x[n], y[n] = len(pages), left, top
        left, shelf = left + columns, max(shelf, rows)
        width = max(width, left)
    if len(sizes):
        pages.append((top + shelf, width))
    return Placement(page=page, x=x, y=y, size=sizes, pages=tuple(pages))


def chart_sizes(charts: Charts, scale: float) -> Ints:
    """Return columns and rows (C, 2) that charts take at a scale of their photographs."""
    sizes = np.ceil((charts.boxes[:, 2:] - charts.boxes[:, :2]) * scale)
    return np.asarray(np.clip(sizes, 2, PAGE_SIDE), np.int64)


def draw_pages(
    charts: Charts,
    placement: Placement,
    gains: Mapping[str, Float],
    photograph: Callable[[str], Picture],
) -> list[Picture]:
    """Cut charts out of their photographs: pages, blue, green and red (rows, cols, 3).

    Each photograph is asked for once, in the order of names.
    """
    pages = [np.full((*shape, 3), 127, np.uint8) for shape in placement.pages]
    by_view: defaultdict[str, list[int]] = defaultdict(list)
    for n, view in enumerate(charts.views):
        by_view[view].append(n)
    for name, members in sorted(by_view.items()):
        brighter = _brightened(photograph(name), gains[name])
        for n in members:
            x0, y0, x1, y1 = charts.boxes[n]
            columns, rows = placement.size[n].tolist()
            x, y = placement.x[n], placement.y[n]
            pages[placement.page[n]][y : y + rows, x : x + columns] = cv2.resize(
                brighter[max(y0, 0) : y1, max(x0, 0) : x1],
                (columns, rows),
                interpolation=cv2.INTER_AREA,
            )
    return pages


def _brightened(picture: Picture, gain: Float) -> Picture:
    """Multiply blue, green and red by their factors."""
    table = np.clip(np.rint(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[None]), np.uint8)


def places_on_pages(charts: Charts, placement: Placement) -> Float32:
    """Return the places (F, 3, 2) of triangles' corners as shares of their chart's page."""
    box, n = charts.boxes[charts.chart][:, None], charts.chart
    share = (charts.pixels - box[..., :2]) / (box[..., 2:] - box[..., :2])
    corner = np.stack([placement.x[n], placement.y[n]], axis=-1)[:, None]
    page_sizes = np.array(placement.pages)[:, ::-1][placement.page[n]]
    at = share * placement.size[n, None] + corner
    return np.asarray(at / page_sizes[:, None], np.float32)
