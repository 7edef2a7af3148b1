"""Names of bands as makers write them, in one spelling, and what wavelengths suit them."""

from __future__ import annotations

import re

from tmp.bands import Band

BANDS_OF_FILTERS: dict[str, tuple[Band, ...]] = {
    "RGN": (
        Band(name="red", centre_nm=660.0, channel=0),
        Band(name="green", centre_nm=550.0, channel=1),
        Band(name="nir", centre_nm=850.0, channel=2),
    ),
    "OCN": (
        Band(name="orange", centre_nm=615.0, channel=0),
        Band(name="cyan", centre_nm=490.0, channel=1),
        Band(name="nir", centre_nm=808.0, channel=2),
    ),
    "NGB": (
        Band(name="nir", centre_nm=850.0, channel=0),
        Band(name="green", centre_nm=550.0, channel=1),
        Band(name="blue", centre_nm=475.0, channel=2),
    ),
    "RE": (Band(name="rededge", centre_nm=725.0, channel=0),),
    "NIR": (Band(name="nir", centre_nm=850.0, channel=0),),
}
"""What the channels of a one-sensor camera hold behind a filter, by the filter's letters.

References
----------
MAPIR Survey3 camera data sheets: transmission peaks of the filters.
"""

_SPELLINGS = {
    "b": "blue",
    "g": "green",
    "gre": "green",
    "r": "red",
    "n": "nir",
    "nearinfrared": "nir",
    "nearir": "nir",
    "re": "rededge",
    "reg": "rededge",
    "panchromatic": "panchro",
    "pan": "panchro",
    "thermal": "lwir",
}
"""Our spelling of names that are written without blanks; none of ours is spelled once more."""

_RANGES_NM = {
    "blue": (400.0, 520.0),
    "cyan": (460.0, 540.0),
    "green": (500.0, 610.0),
    "orange": (580.0, 650.0),
    "red": (600.0, 710.0),
    "rededge": (670.0, 780.0),
    "nir": (740.0, 1100.0),
}
"""Wavelengths that a band of this name can be centred at."""

_WAVELENGTH = re.compile(r"-[_\s]*([0-9]+)[_\s]*\Z")
_BLANKS = re.compile(r"[-_\s]+")


def normal_name(text: str) -> str:
    """Return a maker's name of a band in our spelling, which is its own normal name.

    A dash stays only before a wavelength in digits at the end; others are blanks, as underscores
    are, and blanks go.

    Examples
    --------
    >>> [normal_name(text) for text in ("NIR", "Red edge", "GRE", "Red edge-740", "Red-Edge")]
    ['nir', 'rededge', 'green', 'rededge-740', 'rededge']
    """
    said = text.strip().casefold()
    wavelength = _WAVELENGTH.search(said)
    name = _BLANKS.sub("", said[: wavelength.start()] if wavelength else said)
    return _SPELLINGS.get(name, name) + (f"-{wavelength[1]}" if wavelength else "")


def why_implausible(band: Band) -> str:
    """Return why a band's wavelength cannot belong to its name; empty when it can.

    Examples
    --------
    >>> why_implausible(Band(name="nir", centre_nm=550.0))
    "band 'nir' centred at 550 nm"
    """
    low, high = _RANGES_NM.get(band.name.partition("-")[0], (0.0, 1e9))
    if band.centre_nm is None or low <= band.centre_nm <= high:
        return ""
    return f"band {band.name!r} centred at {band.centre_nm:g} nm"
