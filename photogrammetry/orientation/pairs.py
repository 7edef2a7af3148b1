"""Which photographs to compare: those whose footprints should overlap.

Each photograph keeps a bounded number of neighbours, in all directions, so that the work grows
in proportion to the survey and neighbouring flight lines are always tied together.  It is also
compared with the next by name, which the drone took just after, wherever that claims to be.

Bands of one camera are proposed each for itself, and tied to each other within every release of
the shutter; a separate camera of another band is compared with the nearest photographs of the
first one.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photogrammetry.orientation.matching import Pair
from photogrammetry.orientation.priors import gimbal_rotation, world_positions
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame

log = logging.getLogger(__name__)
Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions:
    """How many neighbours a photograph is compared with."""

    neighbours: int = 10
    """Each photograph chooses this many; it may be chosen by more."""
    per_sector: int = 3
    """At most this many of them in any sixth of the compass."""
    min_overlap: float = 0.1
    """Predicted common fraction of the footprints below which a comparison is not worth it."""
    exhaustive_below: int = 300
    """Photographs without position are compared with all others up to this many, ..."""
    sequence: int = 10
    """... and beyond it with this many before and after in the order of their names."""
    across_bands: int = 6
    """A photograph of another band, not released together with one of the first band, is
    compared with this many of those nearest to it."""


def propose_pairs(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    options: PairOptions,
) -> list[Pair]:
    """Choose pairs of photographs to compare, ordered by index.

    Ground is assumed level, as far below each camera as its height above take-off.  Where that
    is not recorded the nearest photographs are compared, whatever their footprints.
    """
    positioned = [i for i, c in enumerate(captures) if c.positioned and frame.referenced]
    pairs: dict[tuple[int, int], Pair] = {}
    bands = _by_band(captures)
    for band in bands:
        placed = sorted(set(band).intersection(positioned))
        for pair in _pairs_by_position(captures, cameras, frame, placed, options):
            pairs.setdefault((pair.first, pair.second), pair)
    # A wrong position must not cost a photograph.
    unknown = {pair for band in bands for pair in itertools.pairwise(band)}
    unknown |= _pairs_across_bands(captures, frame, positioned, bands, options)
    reach = len(captures) if len(captures) <= options.exhaustive_below else options.sequence
    for i in set(range(len(captures))).difference(positioned):
        near = range(max(i - reach, 0), min(i + reach + 1, len(captures)))
        unknown |= {(min(i, j), max(i, j)) for j in near if i != j}
    for i, j in unknown:
        pairs.setdefault((i, j), Pair(first=i, second=j))
    log.info("pairs: %d for %d photographs", len(pairs), len(captures))
    return [pairs[key] for key in sorted(pairs)]


def reference_band(captures: Sequence[Capture]) -> str:
    """Return the band that others are tied to: colour if there is any, else the most frequent."""
    counts = Counter(capture.band for capture in captures)
    return min(counts, key=lambda band: (band != "", -counts[band], band))


def _by_band(captures: Sequence[Capture]) -> list[list[int]]:
    """Return the indices of each band's photographs, the reference band first."""
    first = reference_band(captures) if captures else ""
    bands: dict[str, list[int]] = {first: []}
    for i, capture in enumerate(captures):
        bands.setdefault(capture.band, []).append(i)
    return list(bands.values())


def _pairs_across_bands(
    captures: Sequence[Capture],
    frame: LocalFrame,
    positioned: list[int],
    bands: list[list[int]],
    options: PairOptions,
) -> set[tuple[int, int]]:
    """Return the pairs of different bands: those of one release, else the nearest."""
    if len(bands) < 2:
        return set()
    releases: defaultdict[str, list[int]] = defaultdict(list)
    for i, capture in enumerate(captures):
        if capture.rig_id:
            releases[capture.rig_id].append(i)
    pairs = {
        (i, j)
        for released in releases.values()
        for i, j in itertools.combinations(sorted(released), 2)
        if captures[i].band != captures[j].band
    }
    tied = {i for pair in pairs for i in pair}
    placed = set(positioned)
    reference = [i for i in bands[0] if i in placed]
    alone = [i for band in bands[1:] for i in band if i in placed and i not in tied]
    if not reference or not alone:
        return pairs
    first, others = (
        world_positions([captures[i] for i in indices], frame) for indices in (reference, alone)
    )
    count = min(options.across_bands, len(reference))
    _, near = cKDTree(first).query(others, k=range(1, count + 1))
    for i, nearest in zip(alone, near, strict=True):
        pairs |= {(min(i, reference[k]), max(i, reference[k])) for k in nearest}
    return pairs


def _pairs_by_position(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    positioned: list[int],
    options: PairOptions,
) -> list[Pair]:
    if len(positioned) < 2:
        return []
    chosen = [captures[i] for i in positioned]
    footprints = Footprints.of(chosen, [cameras[c.camera_id] for c in chosen], frame)
    reach = 6 * options.neighbours + 1
    _, near = cKDTree(footprints.centres[:, :2]).query(
        footprints.centres[:, :2], k=min(reach, len(chosen))
    )
    pairs = []
    for a, candidates in enumerate(near):
        others = candidates[candidates != a]
        overlap = footprints.overlaps(a, others)
        for rank in _in_all_directions(
            footprints.centres[others] - footprints.centres[a], overlap, options
        ):
            i, j = sorted((positioned[a], positioned[others[rank]]))
            known = bool(np.isfinite(overlap[rank]))
            pairs.append(Pair(first=i, second=j, overlap=float(overlap[rank]) if known else None))
    return pairs


def _in_all_directions(offsets: Float, overlap: Float, options: PairOptions) -> list[int]:
    """Choose the largest overlaps, not too many in one direction; unknown ones by distance."""
    sector = ((np.arctan2(offsets[:, 1], offsets[:, 0]) / (np.pi / 3)).round() % 6).astype(int)
    distance = np.linalg.norm(offsets[:, :2], axis=1)
    taken = np.zeros(6, int)
    chosen: list[int] = []
    for k in np.lexsort((distance, -np.nan_to_num(overlap, nan=1.0))):
        if len(chosen) == options.neighbours:
            break
        if overlap[k] < options.min_overlap or taken[sector[k]] == options.per_sector:
            continue
        taken[sector[k]] += 1
        chosen.append(int(k))
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprints:
    """Where photographs look, as far as their metadata tell."""

    centres: Float
    """Projection centres, world, (N, 3)."""
    rotations: Float
    """cam_from_world, (N, 3, 3); straight down where the gimbal is unknown."""
    turned: NDArray[np.bool_]
    """Whether the heading is known, (N,)."""
    heights_m: Float
    """Height above ground, (N,); NaN where unknown."""
    half_sizes: Float
    """Tangents of the half angles of view, across and along, (N, 2)."""

    @classmethod
    def of(
        cls, captures: Sequence[Capture], cameras: Sequence[Camera], frame: LocalFrame
    ) -> Footprints:
        """Predict the footprints of positioned captures."""
        rotations = [gimbal_rotation(c) for c in captures]
        heights = [c.height_takeoff_m or np.nan for c in captures]
        down = Pose.from_gimbal(0.0, -90.0, 0.0, np.zeros(3)).rotation
        return cls(
            centres=world_positions(captures, frame),
            rotations=np.array([down if r is None else r for r in rotations]),
            turned=np.array([r is not None for r in rotations]),
            heights_m=np.where(np.array(heights) > 2.0, heights, np.nan),
            half_sizes=np.array(
                [[c.width_px / 2 / c.fx_px, c.height_px / 2 / c.fy_px] for c in cameras]
            ),
        )

    def overlaps(self, photo: int, others: NDArray[np.intp]) -> Float:
        """Return the fraction of a photograph's ground that each of some others sees, (M,)."""
        steps = np.linspace(-0.9, 0.9, 7)
        across, along = np.meshgrid(*np.outer(self.half_sizes[photo], steps))
        rays = np.column_stack([across.ravel(), along.ravel(), np.ones(across.size)])
        rays = rays @ self.rotations[photo]
        # A ray near the horizon is cut off at five times the height, an unknown ground at NaN.
        slope = np.maximum(-rays[:, 2:], 0.2 * np.linalg.norm(rays, axis=1, keepdims=True))
        ground = self.centres[photo] + rays * self.heights_m[photo] / slope
        cam = np.einsum("mij,msj->msi", self.rotations[others], ground - self.centres[others, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            view = np.abs(cam[..., :2] / cam[..., 2:]) / self.half_sizes[others, None]
        level = np.linalg.norm(view * self.half_sizes[others, None], axis=-1)
        circle = level < np.linalg.norm(self.half_sizes[others], axis=1)[:, None]
        square = np.all(view < 1.1, axis=-1)
        seen = np.where(self.turned[others, None] & self.turned[photo], square, circle)
        fraction = np.mean(seen & (cam[..., 2] > 0), axis=1)
        return np.where(np.isfinite(self.heights_m[photo]), fraction, np.nan)
