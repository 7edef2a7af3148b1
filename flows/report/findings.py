"""What the numbers of a map mean: resolution, calibration, and warnings in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.report.ground import Coverage
from flows.report.positions import position_warnings
from tmp.cameras import Camera
from tmp.captures import Capture, HeightDatum
from tmp.reconstruction import Reconstruction, VerticalScale

GOOD_VIEWS = 3
"""Photographs that must see a place for its height to be checked by more than one pair."""
LEAST_COVERED = 0.9
HIGH_RESIDUAL_PX = 1.0
DOUBTFUL = ("the map leans",)
"""Words of the orientation's own warnings that put the whole block in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the interior orientation, before and after adjustment."""

    name: str
    prior: float
    adjusted: float
    unit: str
    in_sigmas: float | None
    """Difference over the prior's standard deviation, where there is one."""


def interior_changes(prior: Camera, adjusted: Camera) -> tuple[Parameter, ...]:
    """List what self-calibration changed."""
    focal_sigma_px = prior.focal_sigma * prior.fx_px
    rows: list[tuple[str, str, str, float | None]] = [
        ("focal length x", "fx_px", "px", focal_sigma_px),
        ("focal length y", "fy_px", "px", prior.focal_sigma * prior.fy_px),
        ("principal point x", "cx_px", "px", None),
        ("principal point y", "cy_px", "px", None),
        *((name, name, "", None) for name in ("k1", "k2", "k3", "p1", "p2")),
    ]
    changes = []
    for name, attribute, unit, sigma in rows:
        before, after = getattr(prior, attribute), getattr(adjusted, attribute)
        changes.append(
            Parameter(
                name=name,
                prior=before,
                adjusted=after,
                unit=unit,
                in_sigmas=(after - before) / sigma if sigma else None,
            )
        )
    return tuple(changes)


def photograph_gsd_m(reconstruction: Reconstruction) -> float:
    """Return the median size of a photograph's pixel on the ground, in world units."""
    ground = float(np.median(reconstruction.points[:, 2])) if len(reconstruction.points) else 0.0
    sizes = [
        (photo.pose.centre[2] - ground) / reconstruction.cameras[photo.camera_id].fx_px
        for photo in reconstruction.photos
    ]
    return float(np.median(sizes))


def camera_height_m(reconstruction: Reconstruction) -> float:
    """Return the median height of the cameras above the tie points, in world units."""
    heights = [photo.pose.centre[2] for photo in reconstruction.photos]
    return float(np.median(heights) - np.median(reconstruction.points[:, 2]))


def say_vertical_scale(scale: VerticalScale | None) -> str:
    """Say how firmly the block fixes its vertical scale."""
    if scale is None:
        return "Not examined."
    verdict = (
        "The photographs alone do not fix the vertical scale: heights of walls and depths of "
        "ditches may all be too large or too small by the same share."
        if scale.weak
        else "The photographs themselves fix the vertical scale."
    )
    return (
        f"{verdict} Standard deviation of the scale: {100 * scale.sigma_scale:.1f} %. The block "
        "was solved again with the focal length held shorter and longer:"
    )


def list_warnings(
    reconstruction: Reconstruction,
    captures: Sequence[Capture],
    covered: Coverage | None,
    datum: HeightDatum,
) -> list[str]:
    """Say what a reader should know before using the map, each with its remedy."""
    warnings = list(reconstruction.warnings)
    said = " ".join(warnings).lower()
    scale = reconstruction.vertical_scale
    if scale is not None and scale.weak and "vertical scale" not in said:
        warnings.append(
            f"The vertical scale is known to {100 * scale.sigma_scale:.1f} % only. Fly some lines "
            "at a second height, or tilt the camera by 15 to 30 degrees."
        )
    if not reconstruction.frame.referenced:
        if "position" not in said:
            warnings.append(
                "The photographs carry no positions: the map has no place, no north and no true "
                "scale. Measure a known length in it before you use any other."
            )
    else:
        warnings += position_warnings(reconstruction, captures, datum)
    left_out = len(not_oriented(reconstruction, captures))
    if left_out and "left out" not in said:
        warnings.append(
            f"{left_out} of {left_out + len(reconstruction.photos)} photographs could not be "
            "oriented; they are listed below with the reason. Fly with more overlap there."
        )
    residual = mean_residual_px(reconstruction)
    if residual > HIGH_RESIDUAL_PX:
        warnings.append(
            f"The photographs fit each other to {residual:.2f} px on average, where less than "
            f"{HIGH_RESIDUAL_PX:g} px is usual. Look for moving things, blur, or a wrong camera."
        )
    if covered is not None and covered.measured_of_three < LEAST_COVERED:
        warnings.append(_say_unmeasured(covered, in_doubt(reconstruction)))
    return warnings


def in_doubt(reconstruction: Reconstruction) -> bool:
    """Tell whether what is known of a block puts the whole of it in doubt."""
    said = " ".join(reconstruction.warnings).lower()
    return mean_residual_px(reconstruction) > HIGH_RESIDUAL_PX or any(
        word in said for word in DOUBTFUL
    )


def _say_unmeasured(covered: Coverage, doubtful: bool) -> str:
    """Say that ground stayed empty, by what is known of the cause."""
    empty = 100 * (1 - covered.measured_of_three)
    known = (
        f"{empty:.0f} % of the ground that {GOOD_VIEWS} or more photographs see could not be "
        "measured and is empty"
    )
    if doubtful:
        return (
            f"The orientation itself is in doubt (see above), and {known}: photographs that are "
            "not where they are thought to be agree on no height. Clear up the orientation first."
        )
    return (
        f"{known}; the usual causes are water, moving plants, bare even surfaces and blur. Run "
        "again with --fill if you need a closed surface."
    )


def not_oriented(
    reconstruction: Reconstruction, captures: Sequence[Capture]
) -> list[tuple[str, str]]:
    """Return name and reason of each photograph that was to be oriented and was not."""
    unused = {capture.name for capture in captures if not capture.used}
    return sorted(
        (name, reason) for name, reason in reconstruction.left_out.items() if name not in unused
    )


def mean_residual_px(reconstruction: Reconstruction) -> float:
    """Return the mean reprojection residual over the tie points; NaN without any."""
    residuals = reconstruction.point_residuals_px
    if len(residuals) == 0:
        return float("nan")
    return float(np.average(residuals, weights=reconstruction.point_views))
