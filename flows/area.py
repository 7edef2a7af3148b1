"""The ground a map is wanted of, as a polygon that someone drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError

FARTHEST_M = 1000.0
"""An area farther than this from every photograph belongs to another survey."""


def refuse_distant_area(path: Path, area: BaseGeometry, positions_m: NDArray[np.float64]) -> None:
    """Raise `InputError` if no photograph was taken near the area.

    Parameters
    ----------
    path : Path
        Where the area came from, for the message.
    area : shapely geometry
    positions_m : ndarray of shape (N, 2)
        Easting and northing of the photographs, in the CRS of the area.
    """
    nearest_m = float(shapely.distance(area, shapely.points(positions_m)).min())
    if nearest_m > FARTHEST_M:
        raise InputError(
            f"{path}: the area lies {nearest_m / 1000:.1f} km from the nearest photograph; "
            "give the polygon of this survey, or check its CRS"
        )
