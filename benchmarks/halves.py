"""Map two halves of one survey's photographs apart and compare their surfaces.

    python benchmarks/halves.py [--data DIR] [--survey brighton] [--workers N]

Every second photograph goes into one half, the others into the other.  The halves share no
photograph, so they have no camera in common, and consumer positions leave them metres apart: one
surface is laid onto the other by the similarity that makes their heights agree best.  What is left
on open ground (see `ground.py`) is what the surfaces are good for without any outside truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
from ground import open_ground, print_within_sigma, read_heights, read_layer
from measure import (
    ingest_and_map,
    judge,
    kernels,
    parser,
    photos_of,
    reconstruction_of,
    workplace,
)
from numpy.typing import NDArray

from flows.demo import spread
from flows.products.table import DSM, DSM_SIGMA, DSM_VIEWS
from flows.products.volumes import rim_of, share_within
from photogrammetry.terrain.volumes import correlation, measure_volume, plane_through
from tmp.geo.grids import Grid

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SEARCH_M, SEARCH_STEP_M = 4.0, 0.25
"""Horizontal offset within which the surfaces are first brought together, and its step."""
STRIDE = 3
"""Every how many cells of the surface takes part in the fit."""
ROUNDS = 25
TUKEY = 4.685
"""Tukey's constant: residuals beyond so many standard deviations have no weight."""
DISCS, DISCS_M, LEAST_KNOWN, SEED = 60, (1.0, 2.0, 4.0), 0.97, 1
"""Discs in which volumes are compared, their radii, and the share of each that is compared."""
MOST_CELLS = 2.0
"""Promised NMAD, in cells of the surface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One half's surface."""

    height: Float32
    sigma: Float32
    views: Float32
    open: Mask
    grid: Grid

    def points(self, stride: int) -> tuple[Float, Mask]:
        """Return measured places (N, 3) and whether each lies on open ground (N,)."""
        height, ground = self.height[::stride, ::stride], self.open[::stride, ::stride]
        x, y = self.grid.cell_centres()
        row, col = np.nonzero(np.isfinite(height))
        places = np.column_stack([x[::stride][col], y[::stride][row], height[row, col]])
        return places, ground[row, col]

    def sample(self, raster: Float32, places: Float, how: int = cv2.INTER_LINEAR) -> Float:
        """Sample a raster on this grid at places (N, 2+), NaN outside; returns (N,)."""
        # OpenCV's origin is the first cell's centre, and it wants images of fewer than 32768.
        col = (places[:, 0] - self.grid.x_min) / self.grid.cell_m - 0.5
        row = (self.grid.y_max - places[:, 1]) / self.grid.cell_m - 0.5
        out = np.empty(len(places))
        for start in range(0, len(places), 30000):
            part = slice(start, start + 30000)
            out[part] = cv2.remap(
                raster,
                col[part, None].astype(np.float32),
                row[part, None].astype(np.float32),
                how,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=float("nan"),
            )[:, 0]
        return out


def main() -> None:
    """Map both halves and print how they differ."""
    made = parser(__doc__)
    made.add_argument("--survey", default="brighton", help="which of the real surveys")
    asked = made.parse_args()
    photos = sorted(path for path in photos_of(asked.data, asked.survey).iterdir())
    photos = [path for path in photos if path.suffix.lower() in (".jpg", ".jpeg", ".tif")]
    with workplace(asked.keep) as folder:
        surfaces = []
        for name, half in (("odd", photos[::2]), ("even", photos[1::2])):
            survey = folder / name
            environment = kernels(folder, warm=asked.warm)
            cost = ingest_and_map(half, survey, workers=asked.workers, environment=environment)
            print(f"{name + ' half':24s} {cost}")
            oriented = reconstruction_of(survey)
            print(f"  oriented               {len(oriented.photos)} of {len(half)}")
            surfaces.append(read_surface(survey / "products" / DSM.file))
        compare(*surfaces)


def read_surface(path: Path) -> Surface:
    """Read a surface model and find its open ground."""
    height, grid = read_heights(path)
    return Surface(
        height=height,
        sigma=read_layer(path.with_name(DSM_SIGMA.file)),
        views=read_layer(path.with_name(DSM_VIEWS.file)),
        open=open_ground(height, grid.cell_m),
        grid=grid,
    )


def compare(fixed: Surface, moving: Surface) -> None:
    """Lay one surface onto the other and print what is left."""
    similarity = fit_similarity(fixed, moving)
    places, ground = moving.points(1)
    moved = similarity.apply(places)
    difference = moved[:, 2] - fixed.sample(fixed.height, moved)
    its_ground = fixed.sample(fixed.open.astype(np.float32), moved, cv2.INTER_NEAREST) == 1
    both = np.isfinite(difference)
    cell_m = max(fixed.grid.cell_m, moving.grid.cell_m)
    shift = similarity.apply(similarity.centre[None])[0] - similarity.centre
    print(f"laid together by         {similarity}, {np.round(shift, 2).tolist()} m")
    for label, chosen in (
        ("all cells of both", both),
        ("open ground of both", both & ground & its_ground),
    ):
        found = spread(difference[chosen])
        print(
            f"{label:24s} {found.count * moving.grid.cell_m**2:.0f} m², NMAD "
            f"{100 * found.nmad:.1f} cm ({found.nmad / cell_m:.2f} cells of "
            f"{100 * cell_m:.1f} cm), standard deviation {100 * found.std:.1f} cm, "
            f"mean {100 * found.mean:+.1f} cm"
        )
    measured = np.isfinite(moving.height)
    its_sigma = fixed.sample(fixed.sigma, moved, cv2.INTER_NEAREST)
    its_views = fixed.sample(fixed.views, moved, cv2.INTER_NEAREST)
    known = its_views >= 2  # a closed gap speaks for nothing
    print_within_sigma(
        np.where(known, difference, np.nan),
        np.hypot(moving.sigma[measured], its_sigma),
        moving.views[measured],
    )
    sure = both & known & ground & its_ground
    left = np.full(moving.height.shape, np.nan)
    left[measured] = np.where(sure, difference, np.nan) / np.hypot(
        moving.sigma[measured], its_sigma
    )
    print_correlation(left)
    flat, doubt = np.full((2, *left.shape), np.nan)
    flat[measured] = np.where(both & ground & its_ground, difference, np.nan)
    doubt[measured] = np.hypot(moving.sigma[measured], its_sigma)
    print_volumes(flat, doubt, moving.grid)
    judge(found.nmad <= MOST_CELLS * cell_m, "NMAD of 2 cells or less on open ground")


def print_correlation(left: Float32) -> None:
    """Print how differences (rows, cols), in their own doubt, go together, as volumes count it."""
    known = np.isfinite(left)
    near = np.clip(np.where(known, left - np.median(left[known]), 0), -4, 4)
    size = [2 * side for side in left.shape]
    together, pairs = (
        np.fft.irfft2(np.abs(np.fft.rfft2(layer, size)) ** 2, size)
        for layer in (near, known.astype(float))
    )
    row, col = (np.minimum(np.arange(n), n - np.arange(n)) for n in size)
    apart = np.hypot(row[:, None], col)
    enough = pairs > 0.5
    steps = (1, 2, 3, 5, 10, 20, 45)
    found = []
    for step in steps:
        ring = (np.abs(apart - step) < 0.5) & enough
        found.append(together[ring].sum() / pairs[ring].sum())
    whole = together[0, 0] / pairs[0, 0]
    for said, values in (
        ("go together over cells", steps),
        ("  correlation", np.round(np.array(found) / whole, 2)),
        ("  taken for volumes", np.round(correlation(np.array(steps, float)), 2)),
    ):
        print(f"{said:24s} " + " ".join(f"{value:>5}" for value in values))


def print_volumes(left: Float, sigma: Float, grid: Grid) -> None:
    """Print volumes of the difference (rows, cols) in discs above planes through their edges.

    There is none in truth, so they are errors.
    """
    known = np.isfinite(left)
    rng = np.random.default_rng(SEED)
    for radius_m in DISCS_M:
        share = cv2.boxFilter(known.astype(float), -1, (round(2.2 * radius_m / grid.cell_m),) * 2)
        rows, cols = np.nonzero(known & (share > LEAST_KNOWN))
        off, mean_m = [], []
        for at in rng.choice(len(rows), min(DISCS, len(rows)), replace=False):
            x = grid.x_min + (cols[at] + 0.5) * grid.cell_m
            y = grid.y_max - (rows[at] + 0.5) * grid.cell_m
            disc = shapely.Point(x, y).buffer(radius_m)
            tile = grid.clip(grid.tile_over(disc.bounds).grown(10))
            if tile is None:
                continue
            window = grid.window(tile)
            part = np.s_[tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols]
            rim = rim_of(disc, window, left[part], sigma[part])
            base = plane_through(rim, window.shape, window.cell_m)
            share_in = share_within(disc, window)
            found = measure_volume(left[part], sigma[part], share_in, base, cell_m=grid.cell_m)
            off.append(found.net_m3 / found.net_sigma_m3)
            mean_m.append(found.net_m3 / found.area_m2)
        within = np.abs(off) < 1
        print(
            f"discs of {radius_m:g} m radius    {len(off)}, mean height off by "
            f"{100 * np.sqrt(np.mean(np.square(mean_m))):.1f} cm (root mean square), "
            f"{np.sqrt(np.mean(np.square(off))):.2f} of the doubt told; "
            f"{100 * within.mean():.0f} % within it"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """``fixed = scale * rotation @ (moving - centre) + centre + shift``."""

    scale: float
    rotation: Float
    shift: Float
    centre: Float

    def apply(self, places: Float) -> Float:
        """Transform places (N, 3)."""
        turned = (places - self.centre) @ self.rotation.T
        return np.asarray(self.scale * turned + self.centre + self.shift)

    def __str__(self) -> str:
        """Return scale and angle in words."""
        angle = np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1, 1))
        return f"scale {100 * (self.scale - 1):+.2f} %, rotation {np.degrees(angle):.2f}°"


def fit_similarity(fixed: Surface, moving: Surface) -> Similarity:
    """Find the similarity under which the heights of two surfaces agree best.

    Notes
    -----
    Least-squares matching of surfaces: the height difference at each place is linearised in
    seven parameters through the slope of the fixed surface, with Tukey's weights, after a search
    over horizontal shifts.

    References
    ----------
    Gruen, A. & Akca, D. (2005). Least squares 3D surface and curve matching. ISPRS Journal 59(3).
    """
    places, _ = moving.points(STRIDE)
    centre = places.mean(axis=0)
    similarity = Similarity(
        scale=1.0, rotation=np.eye(3), shift=_first_shift(fixed, places), centre=centre
    )
    rows, columns = np.gradient(fixed.height, fixed.grid.cell_m)
    slopes = [np.asarray(slope, np.float32) for slope in (columns, -rows)]
    for _ in range(ROUNDS):
        moved = similarity.apply(places)
        difference = moved[:, 2] - fixed.sample(fixed.height, moved)
        p, q = (fixed.sample(slope, moved) for slope in slopes)
        known = np.isfinite(difference) & np.isfinite(p) & np.isfinite(q)
        step = _step(moved[known] - centre, difference[known], p[known], q[known])
        similarity = _moved(similarity, step)
        if np.abs(step[:3]).max() < 1e-4:
            break
    return similarity


def _first_shift(fixed: Surface, places: Float) -> Float:
    """Return the shift (3,) on a lattice that leaves the least NMAD."""
    steps = np.arange(-SEARCH_M, SEARCH_M + SEARCH_STEP_M / 2, SEARCH_STEP_M)
    some = places[:: max(len(places) // 20000, 1)]
    least, best = np.inf, np.zeros(3)
    for east in steps:
        for north in steps:
            height = fixed.sample(fixed.height, some[:, :2] + (east, north))
            difference = height - some[:, 2]
            found = spread(difference)
            if found.count > len(some) / 4 and found.nmad < least:
                least = found.nmad
                best = np.array([east, north, np.nanmedian(difference)])
    return best


def _step(arm: Float, difference: Float, p: Float, q: Float) -> Float:
    """Solve for shift (3), rotation vector (3) and change of scale that take the difference away.

    A small motion d of a place changes the difference by ``n @ d`` with ``n = (-p, -q, 1)``.
    """
    normal = np.column_stack([-p, -q, np.ones_like(p)])
    columns = np.column_stack([normal, np.cross(arm, normal), (normal * arm).sum(axis=1)])
    # A place counts by its distance along the normal, or steep crowns would outweigh the ground.
    distance = 1 / np.linalg.norm(normal, axis=1)
    residual = difference * distance
    sigma = 1.4826 * np.median(np.abs(residual - np.median(residual)))
    ratio = np.clip(np.abs(residual) / (TUKEY * max(sigma, 1e-6)), 0, 1)
    weight = ((1 - ratio**2) * distance) ** 2
    solved, *_ = np.linalg.lstsq(
        columns.T @ (weight[:, None] * columns), -columns.T @ (weight * difference), rcond=None
    )
    return np.asarray(solved)


def _moved(similarity: Similarity, step: Float) -> Similarity:
    shift, turn, growth = step[:3], step[3:6], step[6]
    rotation, _ = cv2.Rodrigues(turn)
    return Similarity(
        scale=similarity.scale * (1 + growth),
        rotation=rotation @ similarity.rotation,
        shift=(1 + growth) * rotation @ similarity.shift + shift,
        centre=similarity.centre,
    )


if __name__ == "__main__":
    main()
