"""What the numbers of a map mean: areas, resolution, calibration, positions, and warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.cameras import Camera
from tmp.captures import Capture, HeightDatum
from tmp.reconstruction import InteriorPrecision, Reconstruction, VerticalScale

GOOD_VIEWS = 3
"""Photographs that must see a place for its height to be checked by more than one pair."""
LEAST_COVERED = 0.9
HIGH_RESIDUAL_PX = 1.0
"""Mean residual of a usual block, in pixels of the photographs."""
HIGH_SEARCHED_PX = 0.4
"""The same in pixels of the reduced pictures that keypoints were sought in, if that is more."""
DOUBTFUL = ("the map leans",)
"""Words of the orientation's own warnings that put the whole block in doubt."""
LOOSE_POSITION_M = 0.5
"""Standard deviation of positions above which a map may be shifted by metres."""
FAR_SIGMAS = 5.0
"""Standard deviations beyond which a recorded position is far off."""
OBLIQUE_DEG = 15.0
"""Angle off the vertical from which a photograph looks at what stands from aside."""
LEAST_SIDES = 0.2
"""Share of their sides that has to be measured for what stands to be true in 3D."""
WORSE = ("heights drift", "positions scatter")
"""Words of the orientation's own warnings that say more than how good positions claim to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Areas of ground in hectares; in square units over 10 000 where a block has no scale."""

    flown_ha: float
    """What the photographs to be mapped look at, those left out included."""
    mapped_ha: float
    """With a measured height."""
    drawn_ha: float
    """Shown by the orthomosaic."""
    seen_by_two_ha: float
    """What two or more oriented photographs see."""
    seen_by_three_ha: float
    measured_of_two: float
    """Share of the ground that two or more see which has a measured height, 0 to 1."""
    measured_of_three: float
    closed_of_mapped: float = 0.0
    """Share of the heights on which no two photographs agree: small gaps, closed from about."""
    gaps: int = 0
    """Places that two or more photographs see, asked for, and without a measured height."""
    gaps_ha: float = 0.0
    """All of them together."""
    largest_gaps: Sequence[Sequence[float]] = ()
    """Of the largest: hectares, easting and northing of a place within, the largest first."""
    islands: int = 0
    """Pieces of measured ground that gaps part from the largest piece."""
    islands_ha: float = 0.0
    water_ha: float = 0.0
    """Drawn as water, and counted in none of the others."""

    @property
    def mapped_of_flown(self) -> float:
        """Share of the ground flown that has a measured height, 0 to 1."""
        return self.mapped_ha / self.flown_ha if self.flown_ha > 0 else 0.0

    @property
    def drawn_of_flown(self) -> float:
        """Share of the ground flown that the orthomosaic shows, 0 to 1."""
        return self.drawn_ha / self.flown_ha if self.flown_ha > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of the interior orientation, before and after adjustment."""

    symbol: str
    meaning: str
    """In words."""
    prior: float
    adjusted: float
    unit: str
    in_sigmas: float | None
    """Difference over the prior's standard deviation, where there is one."""
    sigma: float | None = None
    """Standard deviation after the adjustment, where it is known."""


_INTERIOR = (
    ("fx_px", "fx", "focal length across", "px"),
    ("fy_px", "fy", "focal length down", "px"),
    ("cx_px", "cx", "principal point, from the left edge", "px"),
    ("cy_px", "cy", "principal point, from the upper edge", "px"),
    ("k1", "k1", "radial distortion, 3rd power: straight lines bow", ""),
    ("k2", "k2", "radial distortion, 5th power: towards the corners", ""),
    ("k3", "k3", "radial distortion, 7th power: in the corners", ""),
    ("p1", "p1", "tangential distortion: lens tilted up or down", ""),
    ("p2", "p2", "tangential distortion: lens tilted left or right", ""),
)
SYMBOLS = {attribute: symbol for attribute, symbol, _, _ in _INTERIOR}
"""Symbol of each parameter of a camera by its attribute."""


def interior_changes(
    prior: Camera, adjusted: Camera, known: InteriorPrecision | None = None
) -> tuple[Parameter, ...]:
    """List what self-calibration changed, and how well it knows it."""
    sigmas = {} if known is None else dict(zip(known.names, known.sigmas, strict=True))
    rows = []
    for attribute, symbol, meaning, unit in _INTERIOR:
        before, after = getattr(prior, attribute), getattr(adjusted, attribute)
        stated = prior.focal_sigma * before if symbol in ("fx", "fy") else 0.0
        rows.append(
            Parameter(
                symbol=symbol,
                meaning=meaning,
                prior=before,
                adjusted=after,
                unit=unit,
                in_sigmas=(after - before) / stated if stated else None,
                sigma=sigmas.get(attribute),
            )
        )
    return tuple(rows)


def strong_correlations(
    symbols: Sequence[str], matrix: NDArray[np.float64], least: float
) -> list[tuple[str, str, float]]:
    """Return the pairs of parameters whose correlation is strong, the strongest first."""
    i, j = np.nonzero(np.triu(np.abs(matrix) >= least, k=1))
    pairs = zip(i.tolist(), j.tolist(), strict=True)
    found = [(symbols[a], symbols[b], float(matrix[a, b])) for a, b in pairs]
    return sorted(found, key=lambda one: -abs(one[2]))


def taken(captures: Sequence[Capture]) -> tuple[str, str] | None:
    """Return when the first and the last photograph were taken, ISO 8601 in UTC; None if unknown.

    Those of panels count too.
    """
    times = sorted(capture.time_utc for capture in captures if capture.time_utc is not None)
    return (f"{times[0]:%Y-%m-%dT%H:%M:%SZ}", f"{times[-1]:%Y-%m-%dT%H:%M:%SZ}") if times else None


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
    residual, usual_px = mean_residual_px(reconstruction), usual_residual_px(reconstruction)
    if residual > usual_px:
        warnings.append(
            f"The photographs fit each other to {residual:.2f} px on average, where less than "
            f"{usual_px:.2g} px is usual. Look for moving things, blur, or a wrong camera."
        )
    if covered is not None and covered.measured_of_three < LEAST_COVERED:
        warnings.append(_say_unmeasured(covered, in_doubt(reconstruction)))
    if covered is not None and covered.gaps and covered.measured_of_two < LEAST_COVERED:
        warnings.append(_say_gaps(covered, scaled=reconstruction.frame.referenced))
    return warnings


def why_flat(figures: Mapping[str, Mapping[str, Any]], reconstruction: Reconstruction) -> list[str]:
    """Say why a 3D model has one height for each place, or guesses what lies below eaves.

    The figures are those of the map's stages by name. Empty where photographs show the sides too.
    """
    if "standing" not in figures:
        return []
    if not reconstruction.frame.referenced:
        return [
            "The model is 2.5-D, one height for each place: what stands is told by metres, which "
            "photographs without positions do not give."
        ]
    if not figures["standing"]["sites"]:
        return [
            "The model is 2.5-D, one height for each place: no walls or crowns were found that "
            "stand more than 60 cm high, or their sides were not asked for."
        ]
    measured = figures.get("sides", {}).get("measured") or 0.0
    down = [-float(photo.pose.rotation[2, 2]) for photo in reconstruction.photos]
    steepest_deg = math.degrees(math.acos(min(1.0, max(-1.0, min(down)))))
    if measured >= LEAST_SIDES and steepest_deg >= OBLIQUE_DEG:
        return []
    share = f"{100 * measured:.0f} % of the sides of what stands were measured"
    if steepest_deg < OBLIQUE_DEG:
        share = f"all photographs look down, and {share}"
    flat = "2.5-D for the most part" if measured < LEAST_SIDES else "closed where nobody looked"
    return [
        f"What stands is {flat}: {share}; what lies below eaves and crowns is drawn darker. Some "
        "lines flown obliquely ('tmp plan --oblique 25') show it."
    ]


def in_doubt(reconstruction: Reconstruction) -> bool:
    """Tell whether what is known of a block puts the whole of it in doubt."""
    said = " ".join(reconstruction.warnings).lower()
    return mean_residual_px(reconstruction) > usual_residual_px(reconstruction) or any(
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


def say_fly_again(places: Sequence[str]) -> str:
    """Say that ground asked for lacks photographs, and where to read what to fly."""
    return (
        f"Ground that was asked for is held by fewer than {GOOD_VIEWS} photographs: "
        f"{'; '.join(places)}. Fly it again before you leave: products/fly_again.geojson and "
        "fly_again.kml outline it."
    )


def _say_gaps(covered: Coverage, *, scaled: bool) -> str:
    """Say how many holes the surface has, and how large they are."""
    empty = 100 * (1 - covered.measured_of_two)
    said = (
        f"{empty:.0f} % of the ground that two or more photographs see has no measured height: "
        f"{covered.gaps} {'gap' if covered.gaps == 1 else 'gaps'}"
    )
    sizes = [f"{_three_digits(1e4 * hectares):,.10g}" for hectares, *_ in covered.largest_gaps]
    if scaled and sizes:
        *others, last = sizes
        which = "of" if len(sizes) == covered.gaps else "the largest of"
        said += f", {which} {', '.join(others)} and {last} m²" if others else f" of {last} m²"
    if covered.islands:
        one = covered.islands == 1
        said += (
            f"; {covered.islands} {'piece' if one else 'pieces'} of measured ground "
            f"{'stands' if one else 'stand'} alone"
        )
    return f"{said}. The report draws and numbers them; look there before you take a height."


def _three_digits(value: float) -> float:
    """Round to three significant digits.

    Examples
    --------
    >>> _three_digits(1617.8)
    1620.0
    """
    return float(f"{value:.3g}")


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
    weights = reconstruction.point_views
    return float(np.average(residuals, weights=weights)) if len(residuals) else float("nan")


def usual_residual_px(reconstruction: Reconstruction) -> float:
    """Return the mean residual that a sound block has at most."""
    searched_px = float(reconstruction.figures.get("searched_pixel_px", 1.0))
    return max(HIGH_RESIDUAL_PX, HIGH_SEARCHED_PX * searched_px)


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
    stated = [
        (c.sigma_horizontal_m, c.sigma_vertical_m)
        for c in captures
        if c.name in oriented and c.positioned
    ]
    horizontal, vertical = np.median(stated, axis=0).tolist() if stated else (np.nan, np.nan)
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
    held = "control" in reconstruction.figures
    if (
        not held
        and axes
        and axes[0].stated_sigma_m > LOOSE_POSITION_M
        and not any(w in said for w in WORSE)
    ):
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
    if "control" in figures:
        level = scale = "ground control"
    else:
        heights = " and GNSS heights" if figures["heights_from"] == "GNSS" else ""
        level, scale = f"{figures['level_from']}{heights}", "positions"
    return (
        f"Levelled by {level}, to {figures['tilt_sigma_deg']:.2g}°; scale by {scale}, to "
        f"{100 * figures['scale_sigma']:.2g} % (one standard deviation each)."
    )


def place_sigma_m(axes: Sequence[AxisResidual], count: int) -> float:
    """Return how far the whole map may lie from its true place, horizontally.

    Errors of a receiver go together in time: beyond nine photographs more do not better the mean.
    """
    return axes[0].stated_sigma_m / math.sqrt(max(1, min(count, 9)))


def _say_loose(axes: Sequence[AxisResidual], count: int, figures: Mapping[str, Any]) -> str:
    sigma_m, shift_m = axes[0].stated_sigma_m, place_sigma_m(axes, count)
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
