"""How far a CRS of another datum can be trusted: the accuracy of the way from WGS 84 to it.

PROJ takes the best transformation whose grid files are there, and says nothing when a better one
lacks its file.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyproj.aoi import AreaOfInterest
from pyproj.transformer import TransformerGroup

WORTH_M = 0.5
"""Gain in accuracy below which a better transformation is not worth a word."""
LOOSE_M = 2.0
"""Accuracy from which a transformation is worth a word though there is no better one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatumShift:
    """The transformation from WGS 84 to a projected CRS that is used at a place."""

    crs: str
    accuracy_m: float | None
    """Stated accuracy, metres; None where nobody knows the relation of the datums."""
    better_accuracy_m: float | None = None
    """Of the best one that lacks its grid file; None where the best there is is used."""
    better_grid: str = ""
    """Name of that file, as PROJ knows it."""

    def in_words(self) -> str:
        """Say what is amiss and how to mend it; empty when nothing is."""
        if self.accuracy_m is None:
            return (
                f"How {self.crs} lies against WGS 84 is not known here: the map may lie hundreds "
                "of metres from its true place. Choose a CRS made for this place, or a UTM zone, "
                "with --crs."
            )
        good = f"Map coordinates in {self.crs} are good to {self.accuracy_m:g} m only"
        if self.better_accuracy_m is None:
            known = f"{good}: nothing better is known of how its datum lies against WGS 84."
            return known if self.accuracy_m >= LOOSE_M else ""
        return (
            f"{good}: the grid file {self.better_grid}, which makes them good to "
            f"{self.better_accuracy_m:g} m, is not on this machine. Get it with 'pyproj sync "
            f"--file {self.better_grid}' (once, with a network) and delete work/ before the next "
            "'tmp map', or choose a UTM zone with --crs."
        )


def describe_datum_shift(crs: str, longitude_deg: float, latitude_deg: float) -> DatumShift:
    """Tell which accuracy the transformation from WGS 84 to a CRS has at a place.

    Parameters
    ----------
    crs : str
        Projected, as understood by PROJ.
    longitude_deg, latitude_deg : float
        WGS 84.

    Notes
    -----
    Reads PROJ's database only; whatever is set, no network is used.
    """
    place = AreaOfInterest(longitude_deg, latitude_deg, longitude_deg, latitude_deg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the best one lacks a file
        group = TransformerGroup(
            "EPSG:4326",
            crs,
            always_xy=True,
            area_of_interest=place,  # type: ignore[arg-type]  # pyproj's stub has one of its own
        )
    if not group.transformers or group.transformers[0].accuracy < 0:
        accuracy_m = None
    else:
        accuracy_m = float(group.transformers[0].accuracy)
    lacking = [
        (float(operation.accuracy), PurePosixPath(grid.url or grid.short_name).name)
        for operation in group.unavailable_operations
        for grid in operation.grids
        if not grid.available and operation.accuracy >= 0
    ]
    best = min(lacking, default=None)
    if accuracy_m is None or best is None or best[0] > accuracy_m - WORTH_M:
        return DatumShift(crs=crs, accuracy_m=accuracy_m)
    return DatumShift(
        crs=crs, accuracy_m=accuracy_m, better_accuracy_m=best[0], better_grid=best[1]
    )
