"""What recorded positions say of a map: how far they lie from it, and what they leave open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.captures import Capture, HeightDatum
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]

LOOSE_POSITION_M = 0.5
"""Standard deviation of positions above which a map may be shifted by metres."""
FAR_SIGMAS = 5.0
"""Standard deviations beyond which a recorded position is far off."""
WORSE = ("heights drift", "positions scatter")
"""Words of the orientation's own warnings that say more than how good positions claim to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisResidual:
    """Differences between adjusted and recorded positions along one axis, in metres."""

    axis: str
    mean_m: float
    rms_m: float
    largest_m: float
    stated_sigma_m: float
    """Median of the standard deviations that the positions came with."""


def gnss_residuals(
    reconstruction: Reconstruction, captures: Sequence[Capture]
) -> tuple[AxisResidual, ...]:
    """Summarise the differences to GNSS; empty without positions."""
    rows = [p.gnss_residual_m for p in reconstruction.photos if p.gnss_residual_m is not None]
    if not rows:
        return ()
    residuals = np.array(rows)
    oriented = {photo.name for photo in reconstruction.photos}
    known = [capture for capture in captures if capture.name in oriented and capture.positioned]
    horizontal = float(np.median([c.sigma_horizontal_m for c in known])) if known else np.nan
    vertical = float(np.median([c.sigma_vertical_m for c in known])) if known else np.nan
    return tuple(
        AxisResidual(
            axis=axis,
            mean_m=float(values.mean()),
            rms_m=float(np.sqrt((values**2).mean())),
            largest_m=float(np.abs(values).max()),
            stated_sigma_m=sigma,
        )
        for axis, values, sigma in zip(
            ("east", "north", "up"), residuals.T, (horizontal, horizontal, vertical), strict=True
        )
    )


def far_positions(
    reconstruction: Reconstruction, captures: Sequence[Capture]
) -> list[tuple[str, float]]:
    """Return name and distance in metres of each position far off, the worst first."""
    sigmas = {c.name: (c.sigma_horizontal_m, c.sigma_vertical_m) for c in captures}
    far = []
    for photo in reconstruction.photos:
        if photo.gnss_residual_m is None or photo.name not in sigmas:
            continue
        horizontal_m, vertical_m = sigmas[photo.name]
        off = np.array(photo.gnss_residual_m)
        if np.linalg.norm(off / (horizontal_m, horizontal_m, vertical_m)) > FAR_SIGMAS:
            far.append((photo.name, float(np.linalg.norm(off))))
    return sorted(far, key=lambda one: -one[1])


def position_warnings(
    reconstruction: Reconstruction, captures: Sequence[Capture], datum: HeightDatum
) -> list[str]:
    """Say what the positions of a block with a place mean for its map.

    Positions that contradict the block are the orientation's to tell, see
    `photogrammetry.orientation.summary`.
    """
    warnings = []
    axes = gnss_residuals(reconstruction, captures)
    said = " ".join(reconstruction.warnings)
    if axes and axes[0].stated_sigma_m > LOOSE_POSITION_M and not any(w in said for w in WORSE):
        known = sum(c.positioned and c.used for c in captures)
        warnings.append(_say_loose(axes, known, reconstruction.figures))
    if datum in (HeightDatum.UNKNOWN, HeightDatum.BAROMETRIC):
        warnings.append(
            f"What heights are measured from is {datum}: compare them within this map only, or "
            "set vertical_datum in survey.toml."
        )
    return warnings


def say_firmness(figures: Mapping[str, Any]) -> str:
    """Say how well level and scale of a block are known; empty for one without a place."""
    if "tilt_sigma_deg" not in figures:
        return ""
    return (
        f"Levelled by {figures['level_from']}"
        f"{' and GNSS heights' if figures['heights_from'] == 'GNSS' else ''}, to "
        f"{figures['tilt_sigma_deg']:.2g}°; scale by positions, to "
        f"{100 * figures['scale_sigma']:.2g} % (one standard deviation each)."
    )


def _say_loose(axes: Sequence[AxisResidual], count: int, figures: Mapping[str, Any]) -> str:
    sigma_m = axes[0].stated_sigma_m
    shift_m = sigma_m / math.sqrt(max(1, min(count, 9)))
    leaves = (
        f"; a tilt of {figures['tilt_sigma_deg']:.2g}° and a scale of "
        f"{100 * figures['scale_sigma']:.2g} % stay open"
        if "tilt_sigma_deg" in figures
        else ""
    )
    return (
        f"Positions are good to about {sigma_m:.2g} m each: the whole map may lie {shift_m:.1f} m "
        f"or more from its true place, more in height{leaves}. What lies near to each other in it "
        "is far better. Lay it over a known map to place it."
    )
