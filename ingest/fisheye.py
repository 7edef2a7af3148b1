"""A fisheye calibration in the terms of Brown's model, as near as it comes inside the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError

Float = NDArray[np.float64]

SAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class FisheyeLens:
    """Pix4D's fisheye model without shear, as Parrot's Sequoia writes it.

    References
    ----------
    Pix4D, "How are the internal and external camera parameters defined?": for a point at the
    angle t from the axis ``θ = 2 t / π``, ``ρ = p0 + p1 θ + p2 θ² + p3 θ³``, and the distance
    from the principal point is ``C ρ``.
    """

    polynomial: tuple[float, ...]
    """p0, p1, p2, p3."""
    scale_px: float
    """C, the mean of the affine matrix's diagonal."""

    def radius_px(self, tangent: Float) -> Float:
        """Return the distance from the principal point of rays by the tangent of their angle."""
        theta = 2 / np.pi * np.arctan(tangent)
        powers = theta[..., None] ** np.arange(len(self.polynomial))
        return np.asarray(self.scale_px * (powers @ np.array(self.polynomial)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownFit:
    """A lens of Brown's model, and how far it is from what it stands for."""

    focal_px: float
    k1: float
    k2: float
    k3: float
    rms_px: float
    """Root mean square over the picture, each ring counted by its area."""
    max_px: float
    """Largest difference, in the picture's farthest corner."""


@lru_cache(maxsize=64)  # a survey's photographs come from a few lenses
def fit_brown(lens: FisheyeLens, farthest_px: float) -> BrownFit:
    """Fit Brown's radial model to a fisheye's out to a distance from the principal point.

    Parameters
    ----------
    lens : FisheyeLens
    farthest_px : float
        Distance of the picture's farthest corner.

    Raises
    ------
    InputError
        If the fisheye does not reach that far, or does so at an angle beyond 70° where no
        polynomial of Brown's holds.

    Notes
    -----
    Least squares on the distance, with weights in proportion to a ring's area.  At the 45° of a
    Sequoia's corners the fit is within 0.2 px, and 0.06 px over the picture; at 60° it is not.
    """
    tangents = np.linspace(0.0, np.tan(np.radians(70.0)), 50 * SAMPLES)
    radius = lens.radius_px(tangents)
    if not (np.diff(radius) > 0).all() or radius[-1] < farthest_px:
        raise InputError(
            f"fisheye polynomial {lens.polynomial!r} does not reach the picture's corner, "
            f"{farthest_px:.0f} px from the middle, within 70°"
        )
    wanted_px = np.linspace(0.0, farthest_px, SAMPLES + 1)[1:]
    tangent = np.interp(wanted_px, radius, tangents)
    design = tangent[:, None] ** np.array([1, 3, 5, 7])
    weight = np.sqrt(wanted_px)[:, None]
    found, *_ = np.linalg.lstsq(design * weight, wanted_px * weight[:, 0], rcond=None)
    error = design @ found - wanted_px
    focal_px = float(found[0])
    k1, k2, k3 = (float(value) / focal_px for value in found[1:])
    return BrownFit(
        focal_px=focal_px,
        k1=k1,
        k2=k2,
        k3=k3,
        rms_px=float(np.sqrt((error**2 * wanted_px).sum() / wanted_px.sum())),
        max_px=float(np.abs(error).max()),
    )
