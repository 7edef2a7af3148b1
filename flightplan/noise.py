"""Deterministic noise for the rehearsal's ground: the same place always looks the same.

Scalar functions for use inside Numba kernels.  Coordinates are metres; values lie in -1 … 1.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_K1 = np.uint64(0x9E3779B97F4A7C15)
_K2 = np.uint64(0xC2B2AE3D27D4EB4F)
_K3 = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_KEEP = np.uint64(0xFFFFFF)


@njit(cache=True, nogil=True, inline="always")
def lattice(i: int, j: int, seed: int) -> float:
    """Return a uniform pseudo-random number in 0 … 1 that belongs to an integer place.

    References
    ----------
    The mixing constants are those of Steele, Lea & Flood (2014), SplitMix, and of
    Evensen (2018), rrmxmx; any good 64-bit mixer would do.
    """
    h = np.uint64(i) * _K1 ^ np.uint64(j) * _K2 ^ np.uint64(seed) * _K3
    h = (h ^ (h >> _SHIFT)) * _K3
    h = (h ^ (h >> _SHIFT)) * _K3
    return float((h >> _SHIFT) & _KEEP) / 16777216.0


@njit(cache=True, nogil=True)
def value_noise(x: float, y: float, seed: int) -> float:
    """Return smooth noise of unit wavelength, -1 … 1, with a standard deviation near 0.4."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    top = lattice(i, j, seed) * (1.0 - u) + lattice(i + 1, j, seed) * u
    bottom = lattice(i, j + 1, seed) * (1.0 - u) + lattice(i + 1, j + 1, seed) * u
    return 2.0 * (top * (1.0 - v) + bottom * v) - 1.0


@njit(cache=True, nogil=True)
def octaves(x: float, y: float, wavelength_m: float, count: int, seed: int) -> float:
    """Return the sum of `count` octaves of noise, each of half the wavelength of the last.

    Equal amplitudes per octave make a 1/f amplitude spectrum, as natural ground has.  Every
    octave is turned by 37° so that the lattices do not show.
    """
    total = 0.0
    u, v = x / wavelength_m, y / wavelength_m
    for octave in range(count):
        total += value_noise(u, v, seed + octave)
        u, v = 2.0 * (0.8 * u - 0.6 * v) + 17.3, 2.0 * (0.6 * u + 0.8 * v) + 5.1
    return total / math.sqrt(count)


@njit(cache=True, nogil=True)
def scattered(x: float, y: float, cell_m: float, seed: int) -> tuple[float, float]:
    """Return the distance to the nearest of randomly scattered points, and that point's number.

    There is one point in every square of `cell_m`; the distance is in squares.

    References
    ----------
    Worley, S. (1996). A cellular texture basis function. SIGGRAPH 96.
    """
    u, v = x / cell_m, y / cell_m
    i0, j0 = math.floor(u), math.floor(v)
    nearest, number = 9.0, 0.0
    for i in range(i0 - 1, i0 + 2):
        for j in range(j0 - 1, j0 + 2):
            du = i + lattice(i, j, seed) - u
            dv = j + lattice(i, j, seed + 1) - v
            distance = du * du + dv * dv
            if distance < nearest:
                nearest, number = distance, lattice(i, j, seed + 2)
    return math.sqrt(nearest), number
