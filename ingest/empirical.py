"""The empirical line: reflectance from radiance through targets whose reflectance is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tmp.errors import InputError

FAR_BEYOND = 1.5
"""Reflectance beyond the brightest target, times this, is far extrapolated."""
LEAST_SPREAD = 0.1
"""Targets of more nearly equal reflectance fix no offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalLine:
    """``reflectance = gain × radiance + offset``."""

    gain: float
    offset: float
    residual: float
    """Root mean square of what targets differ from the line, in reflectance; 0 for two targets."""
    lowest: float
    highest: float
    """Range of the targets' reflectance."""
    targets: int

    @property
    def said(self) -> str:
        """The line in words, with how far it may be trusted.

        Examples
        --------
        >>> fit_line([1.0, 5.0], [0.1, 0.5]).said
        'empirical line through 2 targets of reflectance 0.10 to 0.50, residual not known; \
above 0.75 it is far extrapolated'
        """
        residual = f"{self.residual:.3f}" if self.targets > 2 else "not known"
        return (
            f"empirical line through {self.targets} targets of reflectance {self.lowest:.2f} to "
            f"{self.highest:.2f}, residual {residual}; above {FAR_BEYOND * self.highest:.2f} it is "
            "far extrapolated"
        )


def spans_a_line(reflectance: ArrayLike) -> bool:
    """Tell whether targets differ enough in reflectance to fix an offset."""
    return bool(np.ptp(np.asarray(reflectance, float)) >= LEAST_SPREAD)


def fit_line(radiance: ArrayLike, reflectance: ArrayLike) -> EmpiricalLine:
    """Fit the line by least squares; through the origin if the targets are all but equal.

    Parameters
    ----------
    radiance, reflectance : array-like of shape (N,)
        Of the targets, N ≥ 1.

    Raises
    ------
    InputError
        If a brighter target sent back less light.

    References
    ----------
    Smith, G. M., Milton, E. J. (1999). The use of the empirical line method to calibrate remotely
    sensed data to reflectance. International Journal of Remote Sensing 20(13), eq. 1.
    """
    x, y = np.asarray(radiance, float), np.asarray(reflectance, float)
    if spans_a_line(y):
        gain, offset = (float(value) for value in np.polyfit(x, y, 1))
    else:
        gain, offset = float(x @ y / (x @ x)), 0.0
    if not gain > 0:
        pairs = ", ".join(f"{b:.2f} at radiance {a:.4g}" for a, b in zip(x, y, strict=True))
        raise InputError(
            f"targets contradict each other: reflectance {pairs}; check which panel is outlined "
            "where in panels.toml"
        )
    return EmpiricalLine(
        gain=gain,
        offset=offset,
        residual=float(np.sqrt(np.mean((gain * x + offset - y) ** 2))),
        lowest=float(y.min()),
        highest=float(y.max()),
        targets=len(x),
    )
