"""Put an adjusted block into words and numbers: the `Reconstruction` that others read.

What a reader must know of how the block was placed is said in plain words, with its remedy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.adjust import height_above_ground_m
from photogrammetry.orientation.block import Block
from photogrammetry.orientation.control import ControlFit
from photogrammetry.orientation.georeference import Firmness, HeightSource, Placement
from photogrammetry.orientation.matching import VerifiedPair
from photogrammetry.orientation.refine import Solution
from photogrammetry.orientation.sfm import Tracks
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.reconstruction import Observations, OrientedPhoto, Reconstruction, VerticalScale

if TYPE_CHECKING:
    from photogrammetry.orientation.precision import Precision

SURPRISE = 5.0
"""Standard deviations of a recorded position beyond which its residual is worth a warning."""
WORSE = 1.5
"""Observed over stated standard deviation from which positions are worse than they claim."""
NAMED = 3
"""Photographs named of those whose positions are far off."""

HISTOGRAM_STEP_PX = 0.1
HISTOGRAM_BINS = 40
FOCAL_SURPRISE = 3.0
"""Standard deviations of the metadata's focal length beyond which its change is worth a warning."""


def warn_of_positions(solution: Solution) -> list[str]:
    """Say what is wrong with recorded positions and heights, and what was done about it."""
    placement, firmness = solution.placement, solution.firmness
    if placement is None or firmness is None:
        return []
    return [
        *_warn_of_heights(placement, firmness),
        *_warn_of_slip(placement),
        *_warn_of_scatter(solution, firmness, placement.heights),
        *_warn_of_single(solution),
        *_warn_of_flying_height(solution),
    ]


def _warn_of_heights(placement: Placement, firmness: Firmness) -> list[str]:
    judged = placement.judged
    if placement.heights is HeightSource.GNSS:
        if judged.plausible:
            return []
        return [
            f"By the recorded heights, which were trusted as asked, the map leans by "
            f"{judged.tilt_deg:.0f}° against {' and '.join(placement.vertical.evidence)}. Run "
            "again without --heights trust unless you know the heights to be right."
        ]
    evidence = list(placement.vertical.evidence)
    if placement.heights is HeightSource.RELATIVE:
        evidence.insert(0, "heights above take-off")
    *others, last = evidence
    level = f"{', '.join(others)} and {last}" if others else last
    instead = f"the map is levelled by {level} instead"
    if judged.plausible:  # the user asked for it
        return [f"The recorded heights were not used, as asked: {instead}."]
    slope = 100 * np.tan(np.radians(firmness.tilt_sigma_deg))
    return [
        f"The recorded heights drift by {judged.range_m:.0f} m against the photographs and would "
        f"tilt the map by {judged.tilt_deg:.0f}°. They were not used; {instead}, to about "
        f"{firmness.tilt_sigma_deg:.1f}° ({slope:.0f} % slope), and lies only roughly at its "
        "height. Slopes of the whole ground cannot be told from this tilt; shapes and relief "
        "within it can be used. If you know that the heights are right, run again with --heights "
        "trust."
    ]


def _warn_of_slip(placement: Placement) -> Iterator[str]:
    if placement.slip:
        yield (
            f"Recorded positions come {abs(placement.slip):.1f} photographs too "
            f"{'late' if placement.slip > 0 else 'early'}: the clocks of camera and receiver "
            "disagree. They were moved along the flight accordingly."
        )


def _warn_of_scatter(solution: Solution, firmness: Firmness, heights: HeightSource) -> list[str]:
    placed = np.isfinite(solution.known.positions).all(axis=1)
    stated = np.median(solution.known.position_sigmas[placed], axis=0)
    level_m, up_m = firmness.scatter_m
    worse = []
    if level_m > WORSE * stated[0]:
        worse.append(f"{level_m:.1f} m horizontally (stated: {stated[0]:.1g} m)")
    if heights is HeightSource.GNSS and up_m > WORSE * stated[2]:
        worse.append(f"{up_m:.1f} m in height (stated: {stated[2]:.1g} m)")
    if not worse:
        return []
    return [
        f"Recorded positions scatter by {' and '.join(worse)} about the photographs' own geometry "
        "and were weighed accordingly: the scale of the map is known to about "
        f"{100 * firmness.scale_sigma:.0f} %, its place to a few metres at best. Lay it over a "
        "known map, or compare a length you have measured on the ground."
    ]


def _warn_of_single(solution: Solution) -> list[str]:
    """Name photographs whose positions are far off, by the weights they were given."""
    off = solution.block.centres - solution.weighed.positions
    with np.errstate(invalid="ignore"):
        sigmas = np.linalg.norm(off / solution.weighed.position_sigmas, axis=1)
    far = np.flatnonzero(sigmas > SURPRISE)
    if len(far) == 0:
        return []
    worst = far[np.argsort(-sigmas[far])][:NAMED]
    named = ", ".join(f"{solution.block.names[i]} by {np.linalg.norm(off[i]):.1f} m" for i in worst)
    more = f" and {len(far) - len(worst)} more" if len(far) > len(worst) else ""
    verb = "position lies" if len(far) == 1 else "positions lie"
    return [
        f"{len(far)} recorded {verb} far from where the tie points put the photograph "
        f"({named}{more}), beyond all stated accuracy, and got little weight."
    ]


def _warn_of_flying_height(solution: Solution) -> list[str]:
    flown = solution.flown
    if flown is None or flown.agrees:
        return []
    apart_m = flown.solved_m - flown.recorded_m
    wrong = 100 * abs(flown.solved_m / flown.recorded_m - 1)
    return [
        f"By lens and positions the cameras flew {flown.solved_m:.0f} m above the ground, by the "
        f"barometer {flown.recorded_m:.0f} m above take-off. Either the ground surveyed lies "
        f"{abs(apart_m):.0f} m {'below' if apart_m > 0 else 'above'} the take-off point, or the "
        f"focal length in the metadata is {wrong:.0f} % too "
        f"{'long' if apart_m > 0 else 'short'} and all relief stretched with it. Check the camera "
        "in survey.toml."
    ]


def warn_of_control(fit: ControlFit) -> list[str]:
    """Say which control is wrong, and which points lie farther off than they should."""
    held, warnings = fit.held, []
    if held.blunders:
        one = len(held.blunders) == 1
        warnings.append(
            f"Control {_points(held.blunders)} {'contradicts' if one else 'contradict'} the "
            f"others and {'was' if one else 'were'} left out: check the coordinates, and that the "
            "marks show that very point."
        )
    if held.wrong_marks:
        named = ", ".join(
            f"{point} in {photograph} by {off:.0f} px"
            for point, photograph, off in held.wrong_marks[:NAMED]
        )
        more = len(held.wrong_marks) - NAMED
        one = len(held.wrong_marks) == 1
        warnings.append(
            f"{len(held.wrong_marks)} {'mark' if one else 'marks'} of control "
            f"{'lies' if one else 'lie'} far from where the other photographs put the point "
            f"({named}{f' and {more} more' if more > 0 else ''}) and "
            f"{'was' if one else 'were'} left out: mark again."
        )
    map_m = float(np.linalg.norm(fit.place_sigmas_m()))
    far = [
        f"{name} by {np.linalg.norm(off):.2f} m"
        for name, off, sigma, check in zip(
            held.given.names, fit.off_m, held.given.sigmas, held.given.check, strict=True
        )
        if check and np.linalg.norm(off) > SURPRISE * np.hypot(np.linalg.norm(sigma), map_m)
    ]
    if far:
        warnings.append(
            f"Check {_points(far)} {'lies' if len(far) == 1 else 'lie'} farther off than points "
            "and map can be: look at its marks and coordinates before you believe either."
        )
    return warnings


def _points(names: Sequence[str]) -> str:
    return f"point{'s' * (len(names) != 1)} {', '.join(names)}"


def warn_of_weak_scale(scale: VerticalScale, evidence: str) -> str:
    """Say what a weak vertical scale means, given where the focal length comes from."""
    short, fitted, long = scale.mean_residual_px
    return (
        "The photographs alone do not fix the vertical scale: with a focal length 5 % shorter or "
        f"longer they fit almost as well ({short:.2f} and {long:.2f} px against {fitted:.2f} px) "
        f"while the cameras stand {scale.height_agl_m[0]:.1f} or {scale.height_agl_m[2]:.1f} m "
        f"instead of {scale.height_agl_m[1]:.1f} m above the ground. Heights therefore rest on the "
        f"focal length in the metadata ({evidence}): relief may be stretched by about "
        f"{100 * scale.sigma_scale:.1f} %, and the whole ground lie "
        f"{scale.sigma_scale * scale.height_agl_m[1]:.2f} m too high or too low (one standard "
        "deviation). To mend it, add oblique photographs (camera 20 to 30° from the vertical) or "
        "some flight lines at another height."
    )


def describe(
    solution: Solution,
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    *,
    left_out: dict[str, str],
    counts: dict[str, int],
    precision: Precision | None = None,
) -> Reconstruction:
    """Describe a solution.

    Captures are those of the block's photographs, in its order, and cameras those of the metadata;
    the rest comes from `explain_left_out`, `count_matches` and `precision.assess_precision`.
    """
    block = solution.block
    residual = np.linalg.norm(block.residuals(), axis=1)
    camera_ids = sorted({capture.camera_id for capture in captures})
    adjusted = dict(zip(camera_ids, block.cameras, strict=True))
    return Reconstruction(
        frame=solution.frame,
        cameras=adjusted,
        priors={key: cameras[key] for key in camera_ids},
        photos=_describe_photos(solution, captures, residual, precision),
        left_out=left_out,
        points=block.points,
        point_views=block.views.astype(np.int32),
        point_residuals_px=_mean_by(block.point, residual, len(block.points)).astype(np.float32),
        observations=Observations(
            photo=block.photo.astype(np.int32),
            point=block.point.astype(np.int32),
            xy_px=block.xy_px.astype(np.float32),
        ),
        interior={} if precision is None else precision.interior,
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
    refused = solution.pieces.refused
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
    solution: Solution,
    captures: Sequence[Capture],
    residual: NDArray[np.float64],
    known: Precision | None,
) -> tuple[OrientedPhoto, ...]:
    block = solution.block
    off = block.centres - solution.known.positions
    observations = np.bincount(block.photo, minlength=len(block.names))
    mean = _mean_by(block.photo, residual, len(block.names))
    scaled = solution.frame.referenced
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
            sigma_m=_triple(known.centre_sigmas[i]) if known and scaled else None,
            sigma_deg=_triple(known.turn_sigmas_deg[i]) if known and scaled else None,
        )
        for i, capture in enumerate(captures)
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return three numbers to four significant digits."""
    a, b, c = (float(f"{value:.4g}") for value in values)
    return a, b, c


def _measure(
    solution: Solution, captures: Sequence[Capture], residual: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the figures of the report; residuals are in pixels of the photograph itself."""
    block = solution.block
    long_side_px = max(block.cameras[0].width_px, block.cameras[0].height_px)
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
        "mean_residual_per_mille": 1e3 * float(residual.mean()) / long_side_px,
        "sigma_px": solution.sigma_px,
        "height_agl_m": height_above_ground_m(block),
        "height_takeoff_m": float(np.median(recorded)) if recorded else None,
        **_measure_placement(solution),
        **({} if solution.control is None else {"control": solution.control.document()}),
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
    if solution.control is not None:
        warnings += warn_of_control(solution.control)
    if beside := solution.pieces.beside:
        counts = " and ".join(str(len(names)) for names in beside)
        warnings.append(
            f"The photographs fall into {len(beside) + 1} pieces that share no "
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
