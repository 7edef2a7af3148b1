"""What the numbers of a map mean: residuals, resolution, coverage, and warnings in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from tmp.cameras import Camera
from tmp.captures import Capture, HeightDatum
from tmp.grids import Grid
from tmp.reconstruction import Reconstruction, VerticalScale

Float = NDArray[np.float64]

STRIP_ROWS = 512
GOOD_VIEWS = 3
"""Photographs that must see a place for its height to be checked by more than one pair."""
LEAST_COVERED = 0.9
HIGH_RESIDUAL_PX = 1.0
LOOSE_POSITION_M = 0.5
"""Standard deviation of positions above which a map may be shifted by metres."""


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


def measured_share(path: Path, sheet: Grid) -> Float:
    """Return which share of each cell of a coarser grid a raster has values for.

    Parameters
    ----------
    path : Path
        A raster in the sheet's CRS.
    sheet : Grid

    Returns
    -------
    ndarray of shape (rows, cols)
        0 to 1.
    """
    values, cells = np.zeros(sheet.shape), sheet.cell_m**2
    with rasterio.open(path) as file:
        transform = file.transform
        for row in range(0, file.height, STRIP_ROWS):
            rows = min(STRIP_ROWS, file.height - row)
            mask = file.read_masks(1, window=Window(0, row, file.width, rows)) > 0
            x = transform.c + (np.arange(file.width) + 0.5) * transform.a
            y = transform.f + (row + np.arange(rows) + 0.5) * transform.e
            j = ((x - sheet.x_min) / sheet.cell_m).astype(int)
            i = ((sheet.y_max - y) / sheet.cell_m).astype(int)
            inside = (j >= 0) & (j < sheet.cols)
            for strip_row in np.unique(i[(i >= 0) & (i < sheet.rows)]):
                columns = mask[i == strip_row].sum(axis=0)
                values[strip_row] += np.bincount(
                    j[inside], weights=columns[inside], minlength=sheet.cols
                )
        cell_area = abs(transform.a * transform.e)
    return np.asarray(np.minimum(values * cell_area / cells, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the ground was measured."""

    seen_ha: float
    """Area that at least `GOOD_VIEWS` photographs see."""
    measured_ha: float
    """Area with a height."""
    measured_of_seen: float
    """Share of the first that has a height, 0 to 1."""


def coverage(overlap: NDArray[np.int_], measured: Float, cell_m: float) -> Coverage:
    """Compare where photographs overlap with where heights were measured.

    Parameters
    ----------
    overlap : ndarray of shape (rows, cols)
        Photographs that see each cell.
    measured : ndarray of shape (rows, cols)
        Share of each cell that has a height.
    cell_m : float
    """
    # Cells at the rim are seen only in part; they would count as holes.
    seen = cv2.erode((overlap >= GOOD_VIEWS).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    hectare = cell_m**2 / 1e4
    return Coverage(
        seen_ha=float((overlap >= GOOD_VIEWS).sum() * hectare),
        measured_ha=float(measured.sum() * hectare),
        measured_of_seen=float(measured[seen].mean()) if seen.any() else 0.0,
    )


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
            "at a second height, or tilt the camera by 15 to 30 degrees, or give ground control."
        )
    if not reconstruction.frame.referenced:
        if "position" not in said:
            warnings.append(
                "The photographs carry no positions: the map has no place, no north and no true "
                "scale. Measure a known length in it, or give ground control."
            )
    else:
        warnings += _position_warnings(captures, datum)
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
    if covered is not None and covered.measured_of_seen < LEAST_COVERED:
        warnings.append(
            f"Only {100 * covered.measured_of_seen:.0f} % of the ground that {GOOD_VIEWS} or more "
            "photographs see could be measured; the rest is empty. Water, moving plants and bare "
            "even surfaces do this. Run again with --fill if you need a closed surface."
        )
    return warnings


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


def _position_warnings(captures: Sequence[Capture], datum: HeightDatum) -> list[str]:
    warnings = []
    known = [capture for capture in captures if capture.positioned and capture.used]
    if known:
        sigma_m = float(np.median([capture.sigma_horizontal_m for capture in known]))
        if sigma_m > LOOSE_POSITION_M:
            shift_m = sigma_m / np.sqrt(min(len(known), 9))
            warnings.append(
                f"Positions are good to about {sigma_m:g} m each, so the whole map may lie "
                f"{shift_m:.1f} m or more from its true place, and more in height; distances and "
                "shapes within it are far better. Lay it over a known map, or give ground control."
            )
    if datum in (HeightDatum.UNKNOWN, HeightDatum.BAROMETRIC):
        warnings.append(
            f"What heights are measured from is {datum}: compare them within this map only, or "
            "set vertical_datum in survey.toml."
        )
    return warnings
