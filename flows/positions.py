"""What recorded positions say of a map: how far they lie from it, and what they leave open."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tmp.captures import Capture, HeightDatum
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]

LOOSE_POSITION_M = 0.5
"""Standard deviation of positions above which a map may be shifted by metres."""
CONTRADICTED = 2.0
"""Times the stated standard deviation from which observed differences contradict it."""
FAR_SIGMAS = 5.0
"""Standard deviations beyond which a recorded position is far off."""
MANY_FAR = 0.1
"""Share of positions far off from which something is wrong with all of them."""
LEAST_JUDGED = 4
"""Positions below which their differences say nothing: the block is fitted to them."""
NAMED = 2
_ONE_POSITION = re.compile(r"\S.*: the recorded position is [\d.]+ m from where")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisResidual:
    """Differences between adjusted and recorded positions along one axis, in metres."""

    axis: str
    mean_m: float
    rms_m: float
    largest_m: float
    stated_sigma_m: float
    """Median of the standard deviations that the positions came with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenShape:
    """What positions alone leave open in the shape of a block, one standard deviation."""

    tilt_deg: float
    """About the axis that the block is narrowest across."""
    scale: float
    """As a fraction."""


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


def open_shape(places: Float, sigma_horizontal_m: float, sigma_vertical_m: float) -> OpenShape:
    """Return the tilt and scale that positions of some accuracy leave open.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
        Positions in plan, metres, at least three and not along one line.
    sigma_horizontal_m, sigma_vertical_m : float
        Standard deviation of each coordinate.

    Raises
    ------
    ValueError
        If the places do not span an area, which leaves the tilt open altogether.

    Notes
    -----
    With the root mean square distances ``s1 >= s2`` from the centroid along the principal axes,
    ``tilt = sigma_z / (sqrt(n) s2)``, the standard deviation of a regression line's slope, and
    ``scale = sigma_xy / (sqrt(n) sqrt(s1² + s2²))``, that of a similarity fitted in plan.  Errors
    are taken as independent; what all positions share shifts a map and neither tilts nor scales
    it, and a drift along the flight does more than this says.

    References
    ----------
    Draper, N. R., Smith, H. (1998). Applied Regression Analysis, 3rd ed., section 1.4.
    """
    centred = places - places.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False) if len(places) > 2 else np.zeros(2)
    if spread[1] < 1e-3 * max(spread[0], 1e-9):  # sqrt(n) times the root mean squares
        raise ValueError("places along one line leave the tilt about it open")
    return OpenShape(
        tilt_deg=math.degrees(sigma_vertical_m / spread[1]),
        scale=float(sigma_horizontal_m / np.hypot(*spread)),
    )


def shape_left_open(
    reconstruction: Reconstruction, captures: Sequence[Capture]
) -> OpenShape | None:
    """Return what the positions of a block leave open; None where they cannot tell.

    Positions count as no better than they are observed to be.
    """
    axes = gnss_residuals(reconstruction, captures)
    placed = [p.pose.centre[:2] for p in reconstruction.photos if p.gnss_residual_m is not None]
    if not axes or not reconstruction.frame.referenced:
        return None
    sigmas_m = [float(np.fmax(axis.stated_sigma_m, axis.rms_m)) for axis in axes]
    try:
        return open_shape(np.array(placed), max(sigmas_m[:2]), sigmas_m[2])
    except ValueError:
        return None


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


def contradicted(reconstruction: Reconstruction, captures: Sequence[Capture]) -> bool:
    """Tell whether positions lie much farther from the map than their accuracy allows."""
    axes = gnss_residuals(reconstruction, captures)
    count = sum(photo.gnss_residual_m is not None for photo in reconstruction.photos)
    if count < LEAST_JUDGED:
        return False
    far = dict(far_positions(reconstruction, captures))
    if len(far) > MANY_FAR * count:
        return True
    # A few bad ones carry a root mean square; the map is in doubt if the others are off too.
    rest = [photo.gnss_residual_m for photo in reconstruction.photos if photo.name not in far]
    known = np.array([residual for residual in rest if residual is not None])
    rms_m = np.sqrt((known**2).mean(axis=0))
    return bool((rms_m > CONTRADICTED * np.array([a.stated_sigma_m for a in axes])).any())


def without_single_positions(warnings: Sequence[str]) -> list[str]:
    """Return warnings but those of one photograph's position each, which become one warning."""
    return [warning for warning in warnings if not _ONE_POSITION.match(warning)]


def position_warnings(
    reconstruction: Reconstruction, captures: Sequence[Capture], datum: HeightDatum
) -> list[str]:
    """Say what the positions of a block with a place mean for its map."""
    warnings = []
    axes = gnss_residuals(reconstruction, captures)
    far = far_positions(reconstruction, captures)
    if contradicted(reconstruction, captures):
        warnings.append(_say_contradicted(axes, far, len(reconstruction.photos)))
    else:
        if far:
            warnings.append(
                f"{_positions(len(far))} far off, by up to {far[0][1]:.0f} m ({_names(far)}), and "
                "had little weight; the table of photographs has them."
            )
        if axes and axes[0].stated_sigma_m > LOOSE_POSITION_M:
            known = sum(c.positioned and c.used for c in captures)
            warnings.append(_say_loose(axes, known, shape_left_open(reconstruction, captures)))
    if datum in (HeightDatum.UNKNOWN, HeightDatum.BAROMETRIC):
        warnings.append(
            f"What heights are measured from is {datum}: compare them within this map only, or "
            "set vertical_datum in survey.toml."
        )
    return warnings


def say_open_shape(
    reconstruction: Reconstruction, captures: Sequence[Capture], shape: OpenShape | None
) -> str:
    """Say how much tilt and scale the positions leave open."""
    axes = gnss_residuals(reconstruction, captures)
    if shape is None or not axes:
        return ""
    sigmas = [float(np.fmax(axis.stated_sigma_m, axis.rms_m)) for axis in axes]
    count = sum(photo.gnss_residual_m is not None for photo in reconstruction.photos)
    return (
        f"{count} positions good to {max(sigmas[:2]):.2g} m ({sigmas[2]:.2g} m in height) over the "
        f"extent of this block leave its tilt open by {shape.tilt_deg:.2g}° and its scale by "
        f"{100 * shape.scale:.2g} % (one standard deviation, if their errors are independent)."
    )


def _say_contradicted(
    axes: Sequence[AxisResidual], far: Sequence[tuple[str, float]], count: int
) -> str:
    observed = ", ".join(f"{axis.rms_m:.1f} m {axis.axis}" for axis in axes)
    flat_m, up_m = axes[0].stated_sigma_m, axes[2].stated_sigma_m
    many = (
        f" {len(far)} of {count} lie more than {FAR_SIGMAS:g} standard deviations off (worst: "
        f"{_names(far)})."
        if far
        else ""
    )
    return (
        f"The map and the recorded positions contradict each other: they differ by {observed} "
        f"(RMS), where {flat_m:g} m and {up_m:g} m in height are stated.{many} Do not rely on "
        "size, level or place of this map before you have compared a known length and a level "
        "surface in it; look first at the camera in survey.toml and at the lines on the figure of "
        "camera positions."
    )


def _say_loose(axes: Sequence[AxisResidual], count: int, shape: OpenShape | None) -> str:
    sigma_m = axes[0].stated_sigma_m
    shift_m = sigma_m / math.sqrt(max(1, min(count, 9)))
    leaves = (
        "any tilt about the flight line"
        if shape is None
        else f"a tilt of {shape.tilt_deg:.2g}° and a scale of {100 * shape.scale:.2g} %"
    )
    return (
        f"Positions are good to about {sigma_m:g} m each: the whole map may lie {shift_m:.1f} m or "
        f"more from its true place, more in height, and they leave {leaves} open. What lies near "
        "to each other in it is far better. Lay it over a known map to place it."
    )


def _positions(count: int) -> str:
    return "1 recorded position is" if count == 1 else f"{count} recorded positions are"


def _names(far: Sequence[tuple[str, float]]) -> str:
    named = ", ".join(name for name, _ in far[:NAMED])
    return named + (f" and {len(far) - NAMED} more" if len(far) > NAMED else "")
