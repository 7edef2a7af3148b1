"""Where the light in a band photograph's pixels meets photogrammetry: values by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.bandtags import read_band_tags
from ingest.declared import Declaration
from ingest.pixels import read_stored
from ingest.radiance import find_saturated, to_radiance
from tmp.bands import Band, BandTags, Family
from tmp.calibration import Calibration

Float32 = NDArray[np.float32]

RGB = tuple(Band(name=name, channel=i) for i, name in enumerate(("red", "green", "blue")))
"""Bands of a colour photograph that nobody has declared anything else."""

NO_CALIBRATION = Calibration(bands=())


@dataclass(frozen=True, slots=True, kw_only=True)
class BandValues:
    """Gives the values of photographs, each file read when it is asked for."""

    photos_dir: Path
    calibration: Calibration = NO_CALIBRATION
    """Of all photographs; an empty one leaves radiance as it is."""
    declarations: Sequence[Declaration] = ()
    _tags: dict[str, BandTags] = field(default_factory=dict, repr=False)

    def tags(self, name: str) -> BandTags:
        """Return what a photograph says of its bands."""
        if name not in self._tags:
            self._tags[name] = read_band_tags(self.photos_dir / name, self.declarations)
        return self._tags[name]

    def bands(self, name: str) -> tuple[Band, ...]:
        """Return the bands of a photograph, in the order of `load`'s last axis."""
        tags = self.tags(name)
        return RGB if tags.family is Family.RGB else tags.bands

    def load(
        self, name: str, *, factors: Float32 | None = None, calibrated: bool = True
    ) -> Float32:
        """Return a photograph's reflectance, or its radiance without calibration.

        Parameters
        ----------
        name : str
        factors : ndarray of shape (rows, cols, bands), optional
            Multiplied with the radiance before it is calibrated.
        calibrated : bool
            Whether a calibration is to be used.

        Returns
        -------
        ndarray of shape (rows, cols, bands), float32
            NaN where any band is saturated: what is brighter than that is not known.

        Raises
        ------
        PhotographError
            If the file cannot be decoded.
        """
        stored = read_stored(self.photos_dir / name)
        tags = self.tags(name)
        radiance = to_radiance(stored, tags)
        values = radiance if radiance.ndim == 3 else radiance[..., None]
        if factors is not None:
            values = values * factors
        if calibrated and self.calibration.bands:
            values = self.calibration.to_reflectance(name, values, out=values)
        values[find_saturated(stored, tags)] = np.nan
        return values
