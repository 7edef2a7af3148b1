"""What a plan's photographs would see: every picture cast on the terrain, hills in its way too.

What the photographs see of cells over the area is counted, and the ground sampling distance of the
best view is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flightplan.proof.casting import SeenCells, Views, Window
from flightplan.proof.footprints import GroundCells, Photos
from tmp.cameras import Camera
from tmp.geo.grids import Grid
from tmp.progress import Track, silent
from tmp.threads import map_threads

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

BAND_CELLS = 256
"""Rows of cells that one thread works on at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the photographs see of each cell."""

    grid: Grid
    inside: NDArray[np.bool_]
    """Which cells belong to the area; elsewhere nothing is counted."""
    ground_m: Float32
    count: NDArray[np.uint16]
    """Photographs that see the cell."""
    oblique: NDArray[np.uint16]
    """Those of them that do not look straight down."""
    gsd_m: Float32
    """Ground sampling distance of the best view: the longer side of a pixel laid on the ground's
    slope; infinite where no photograph sees the cell."""
    height_agl_m: Float32
    """Height of the best view's camera above the cell; NaN where there is none."""

    def plus(self, other: Coverage) -> Coverage:
        """Return what these and other photographs see together, on the same cells."""
        better = other.gsd_m < self.gsd_m
        return replace(
            self,
            count=self.count + other.count,
            oblique=self.oblique + other.oblique,
            gsd_m=np.where(better, other.gsd_m, self.gsd_m),
            height_agl_m=np.where(better, other.height_agl_m, self.height_agl_m),
        )

    @property
    def area_m2(self) -> float:
        """Area of the cells inside."""
        return float(self.inside.sum()) * self.grid.cell_m**2

    def shares(self) -> list[tuple[str, float]]:
        """Return which share of the area is seen by how many photographs, in words."""
        counts = self.count[self.inside]
        found = []
        for least, most in pairwise((0, 1, 3, 5, 9, 15, 25, 10_000)):
            share = float(((counts >= least) & (counts < most)).mean())
            words = f"{least} or more" if most == 10_000 else f"{least} to {most - 1}"
            if share > 0:
                found.append(("none" if most == 1 else f"{words} photographs", share))
        return found

    def share_below(self, count: int) -> float:
        """Return the share of the area that fewer than `count` photographs see."""
        return float((self.count[self.inside] < count).mean())

    def over_area(self, at: Float) -> NDArray[np.bool_]:
        """Tell which plan points (N, 2) lie in the area, as (N,)."""
        grid = self.grid
        row = np.floor((grid.y_max - at[:, 1]) / grid.cell_m).astype(int)
        col = np.floor((at[:, 0] - grid.x_min) / grid.cell_m).astype(int)
        over = (row >= 0) & (row < grid.rows) & (col >= 0) & (col < grid.cols)
        over[over] = self.inside[row[over], col[over]]
        return over


def whereabouts(x: float, y: float, bounds: tuple[float, float, float, float]) -> str:
    """Return in which part of a rectangle a place lies.

    Examples
    --------
    >>> whereabouts(95, 90, (0, 0, 100, 100)), whereabouts(50, 5, (0, 0, 100, 100))
    ('north-east corner', 'south side')
    """
    x_min, y_min, x_max, y_max = bounds
    column = min(max(int(3 * (x - x_min) / max(x_max - x_min, 1e-9)), 0), 2)
    row = min(max(int(3 * (y - y_min) / max(y_max - y_min, 1e-9)), 0), 2)
    words = [word for word in (("south", "", "north")[row], ("west", "", "east")[column]) if word]
    return "-".join(words) + (" corner", " side", "")[2 - len(words)] if words else "middle"


def prove(
    photos: Photos, camera: Camera, ground: GroundCells, *, workers: int = 1, track: Track = silent
) -> Coverage:
    """Cast every photograph on the terrain.

    The drone is taken to be where the plan says, level but for its gimbal.  The ground is that of
    the terrain model: trees and houses that it does not hold hide nothing.
    """
    return prove_phases([photos], camera, ground, workers=workers, track=track)


def prove_phases(
    phases: Sequence[Photos],
    camera: Camera,
    ground: GroundCells,
    *,
    workers: int = 1,
    track: Track = silent,
) -> Coverage:
    """Return what is sure to be seen where the photographs of each line come at one of some phases.

    A timer stands differently at the beginning of every line, so that each line counts with the
    phase by which a place is seen least.  Of one phase it is what `prove` returns.
    """
    rows, cols = ground.grid.shape
    whole = SeenCells.none(rows, cols)
    views = [Views.of(photos, camera, ground) for photos in phases]
    lines = [tuple(np.arange(len(photos)) for photos in phases)]
    if len(phases) > 1:
        numbers = np.unique(phases[0].line)
        lines = [tuple(np.flatnonzero(one.line == line) for one in phases) for line in numbers]

    def work(band: slice) -> None:
        for members in lines:
            window = _around(views, members, band)
            if window is not None:
                ways = (view.cast(some, window) for view, some in zip(views, members, strict=True))
                whole.part(window).add(reduce(SeenCells.least, ways))

    bands = [slice(row, min(row + BAND_CELLS, rows)) for row in range(0, rows, BAND_CELLS)]
    done = map_threads(work, bands, workers=workers)
    for _ in track(done, "casting photographs", len(bands)):
        pass
    log.debug("%d photographs cast on %d cells of %.2f m", len(phases[0]), rows * cols,
              ground.grid.cell_m)  # fmt: skip
    return Coverage(
        grid=ground.grid,
        inside=ground.inside,
        ground_m=ground.ground_m,
        count=whole.count,
        oblique=whole.oblique,
        gsd_m=whole.gsd_m,
        height_agl_m=whole.height_agl_m,
    )


def _around(
    views: Sequence[Views], members: Sequence[NDArray[np.intp]], band: slice
) -> Window | None:
    """Return the rectangle, within some rows, of all that some photographs of each phase see."""
    windows = np.concatenate([one.windows[each] for one, each in zip(views, members, strict=True)])
    top, bottom, left, right = windows.T
    some = (top < bottom) & (left < right) & (top < band.stop) & (bottom > band.start)
    windows = windows[some]
    if not windows.size:
        return None
    first, last = windows[:, ::2].min(axis=0).tolist(), windows[:, 1::2].max(axis=0).tolist()
    return max(first[0], band.start), min(last[0], band.stop), first[1], last[1]
