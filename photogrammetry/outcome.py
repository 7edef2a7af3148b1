"""Put an adjusted block into words and numbers: the `Reconstruction` that others read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photogrammetry.block import Block
from photogrammetry.observability import height_above_ground_m, warn_of_weak_scale
from photogrammetry.placement_words import warn_of_positions
from photogrammetry.settle import Solution
from photogrammetry.tracks import Tracks
from photogrammetry.verification import VerifiedPair
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.reconstruction import OrientedPhoto, Reconstruction

HISTOGRAM_STEP_PX = 0.1
HISTOGRAM_BINS = 40
FOCAL_SURPRISE = 3.0
"""Standard deviations of the metadata's focal length beyond which its change is worth a warning."""


def describe(
    solution: Solution,
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    *,
    left_out: dict[str, str],
    counts: dict[str, int],
) -> Reconstruction:
    """Describe a solution.

    Parameters
    ----------
    captures : sequence of Capture
        Of the block's photographs, in its order.
    cameras : mapping of Camera
        As they came from the metadata.
    left_out : dict
        From `explain_left_out`.
    counts : dict
        From `count_matches`.
    """
    block = solution.block
    residual = np.linalg.norm(block.residuals(), axis=1)
    camera_ids = sorted({capture.camera_id for capture in captures})
    adjusted = dict(zip(camera_ids, block.cameras, strict=True))
    return Reconstruction(
        frame=solution.frame,
        cameras=adjusted,
        priors={key: cameras[key] for key in camera_ids},
        photos=_describe_photos(solution, captures, residual),
        left_out=left_out,
        points=block.points,
        point_views=block.views.astype(np.int32),
        point_residuals_px=_mean_by(block.point, residual, len(block.points)).astype(np.float32),
        vertical_scale=solution.scale,
        warnings=_warn(solution, adjusted, cameras, left_out),
        figures=counts | _measure(solution, captures, residual),
    )


def count_matches(
    pairs: Sequence[VerifiedPair], tracks: Tracks, blocks: Sequence[Block]
) -> dict[str, int]:
    """Count what matching and reconstruction found."""
    return {
        "pairs_verified": len(pairs),
        "matches_verified": sum(len(pair.inliers) for pair in pairs),
        "tracks": len(tracks.lengths),
        "pieces": len(blocks),
    }


def explain_left_out(
    captures: Sequence[Capture],
    used: Sequence[Capture],
    solution: Solution,
    blocks: Sequence[Block],
    pairs: Sequence[VerifiedPair],
) -> dict[str, str]:
    """Say of each photograph outside the solution why it is there."""
    reasons: dict[str, str] = {}
    known = {capture.name for capture in used}
    for capture in captures:
        if capture.name not in known:
            flags = ", ".join(capture.flags)
            reasons[capture.name] = capture.reason or f"flagged: {flags}"
    partners: Counter[int] = Counter()
    matches: Counter[int] = Counter()
    for pair in pairs:
        for index in (pair.first, pair.second):
            partners[index] += 1
            matches[index] += len(pair.inliers)
    piece = {name: block for block in blocks for name in block.names}
    refused = {} if solution.laid is None else solution.laid.refused
    oriented = set(solution.block.names)
    for index, capture in enumerate(used):
        if capture.name in oriented:
            continue
        if capture.name in refused:
            reason = refused[capture.name]
        elif (block := piece.get(capture.name)) is not None:
            reason = (
                f"joins only {len(block.names) - 1} others to a piece of its own, "
                "without enough overlap with the block"
            )
        elif partners[index] == 0:
            reason = "matches no other photograph: too little overlap, blurred or without texture"
        else:
            reason = (
                f"{matches[index]} matches with {partners[index]} photographs "
                "were too few or too ill-placed to orient it"
            )
        reasons[capture.name] = reason
    return reasons


def _describe_photos(
    solution: Solution, captures: Sequence[Capture], residual: NDArray[np.float64]
) -> tuple[OrientedPhoto, ...]:
    block = solution.block
    off = block.centres - solution.known.positions
    observations = np.bincount(block.photo, minlength=len(block.names))
    mean = _mean_by(block.photo, residual, len(block.names))
    return tuple(
        OrientedPhoto(
            name=capture.name,
            camera_id=capture.camera_id,
            pose=block.pose(i),
            gnss_residual_m=(float(off[i, 0]), float(off[i, 1]), float(off[i, 2]))
            if np.isfinite(off[i]).all()
            else None,
            observations=int(observations[i]),
            mean_residual_px=float(mean[i]),
        )
        for i, capture in enumerate(captures)
    )


def _measure(
    solution: Solution, captures: Sequence[Capture], residual: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the figures of the report; residuals are in pixels of the photograph itself."""
    block = solution.block
    camera = block.cameras[0]
    off = block.centres - solution.known.positions
    off = off[np.isfinite(off).all(axis=1)]
    recorded = [c.height_takeoff_m for c in captures if c.height_takeoff_m is not None]
    edges = np.arange(HISTOGRAM_BINS + 1) * HISTOGRAM_STEP_PX
    histogram = np.histogram(np.minimum(residual, edges[-1] - 1e-9), edges)[0]
    return {
        "tie_points": len(block.points),
        "observations": len(block.photo),
        "observations_dropped": solution.dropped,
        "mean_residual_px": float(residual.mean()),
        "median_residual_px": float(np.median(residual)),
        "rms_residual_px": float(np.sqrt((residual**2).mean())),
        "mean_residual_per_mille": 1e3
        * float(residual.mean())
        / max(camera.width_px, camera.height_px),
        "sigma_px": solution.sigma_px,
        "height_agl_m": height_above_ground_m(block),
        "height_takeoff_m": float(np.median(recorded)) if recorded else None,
        **_measure_placement(solution),
        "gnss_rms_m": np.sqrt((off**2).mean(axis=0)).tolist() if len(off) else None,
        "residual_histogram": {"step_px": HISTOGRAM_STEP_PX, "counts": histogram.tolist()},
    }


def _measure_placement(solution: Solution) -> dict[str, Any]:
    """Return how the block was placed and how firmly; empty for one without a place."""
    placement, firmness = solution.placement, solution.firmness
    if placement is None or firmness is None:
        return {}
    return {
        "level_from": ", ".join(placement.vertical.evidence),
        "heights_from": str(placement.heights),
        "tilt_sigma_deg": firmness.tilt_sigma_deg,
        "scale_sigma": firmness.scale_sigma,
        "heights_tilt_deg": placement.judged.tilt_deg,
        "heights_range_m": placement.judged.range_m,
        "positions_scatter_m": list(firmness.scatter_m),
        "positions_late_by_photographs": placement.slip,
    }


def _warn(
    solution: Solution,
    adjusted: Mapping[str, Camera],
    cameras: Mapping[str, Camera],
    left_out: Mapping[str, str],
) -> tuple[str, ...]:
    warnings = []
    if left_out:
        names = ", ".join(sorted(left_out)[:5]) + (" and others" if len(left_out) > 5 else "")
        warnings.append(
            f"{len(left_out)} of {len(left_out) + len(solution.block.names)} photographs were "
            f"left out ({names}); the reasons are listed with them."
        )
    if not solution.frame.referenced:
        warnings.append(
            "The photographs carry no usable positions: the result has no place on Earth and an "
            "arbitrary scale. Compare lengths in it with one another, not with metres."
        )
    warnings += warn_of_positions(solution)
    if solution.laid is not None and solution.laid.beside:
        counts = " and ".join(str(len(names)) for names in solution.laid.beside)
        warnings.append(
            f"The photographs fall into {len(solution.laid.beside) + 1} pieces that share no "
            f"ground. Those of {counts} photographs were laid beside the largest by their own "
            "positions alone: heights and places may jump by metres from one piece to the next. "
            "Fly the gap between them to join them."
        )
    for key, camera in adjusted.items():
        prior = cameras[key]
        before_px = float(np.sqrt(prior.fx_px * prior.fy_px))
        change = camera.fx_px / before_px - 1
        if abs(change) > FOCAL_SURPRISE * prior.focal_sigma:
            warnings.append(
                f"Camera {key}: the focal length was adjusted by {100 * change:+.1f} %, from "
                f"{before_px:.0f} px ({prior.source}, trusted to {100 * prior.focal_sigma:.1f} %) "
                f"to {camera.fx_px:.0f} px. Check the camera in survey.toml."
            )
    if solution.scale is not None and solution.scale.weak and solution.frame.referenced:
        evidence = " and ".join(sorted({cameras[key].source for key in adjusted}))
        warnings.append(warn_of_weak_scale(solution.scale, evidence))
    return tuple(warnings)


def _mean_by(
    group: NDArray[np.int64], values: NDArray[np.float64], groups: int
) -> NDArray[np.float64]:
    """Return the mean of values by group; NaN for an empty one."""
    number = np.bincount(group, minlength=groups)
    total = np.bincount(group, values, minlength=groups)
    return np.asarray(np.divide(total, number, out=np.full(groups, np.nan), where=number > 0))
