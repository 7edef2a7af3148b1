"""Values of photographs, levelled against each other where no sun sensor did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.bandvalues import BandValues
from tmp.calibration import Calibration, Provenance

if TYPE_CHECKING:
    from photogrammetry.bandmosaic import BandLayer
    from photogrammetry.levelling import Levelling
    from photogrammetry.views import View

Float32 = NDArray[np.float32]

SUN_READ = frozenset({Provenance.BOTH, Provenance.SUN_SENSOR})
"""Calibrations that know how the light changed from photograph to photograph."""
LEAST_PHOTOGRAPHS = 3
NOTE = (
    "photographs levelled against each other where they overlap, as no sun sensor tells how the "
    "light changed"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelledValues:
    """Gives the values of photographs with their levels and fall-off made equal."""

    values: BandValues
    levellings: tuple[tuple[Levelling, dict[str, View]], ...] = ()
    _by_name: dict[str, tuple[Levelling, View]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_name = {
            name: (found, view) for found, views in self.levellings for name, view in views.items()
        }
        object.__setattr__(self, "_by_name", by_name)

    def told(self, calibration: Calibration) -> Calibration:
        """Return a calibration that says which of its photographs were levelled."""
        bands = [
            replace(band, reasons=(*band.reasons, NOTE))
            if self._by_name.keys() & band.factors.keys()
            else band
            for band in calibration.bands
        ]
        return Calibration(bands=tuple(bands))

    def factors_at(self, name: str, place_px: tuple[float, float]) -> Sequence[float]:
        """Return the factors of a photograph's bands at one place in it."""
        if name not in self._by_name:
            return [1.0] * len(self.values.bands(name))
        levelling, view = self._by_name[name]
        return [float(factor) for factor in levelling.factors_at(view, np.array([place_px]))[0]]

    def load(self, name: str) -> Float32:
        """Return a photograph's values (rows, cols, bands), float32, as `BandValues.load` does."""
        if name not in self._by_name:
            return self.values.load(name)
        levelling, view = self._by_name[name]
        return self.values.load(name, factors=levelling.factors(view))


def level_layers(
    layers: Sequence[BandLayer],
    points: NDArray[np.float64],
    values: BandValues,
    *,
    workers: int,
) -> LevelledValues:
    """Level the photographs of every band for which no sun sensor was read.

    Parameters
    ----------
    layers : sequence of BandLayer
    points : ndarray of shape (N, 3)
        Tie points, world.
    values : BandValues
    workers : int
    """
    from photogrammetry.levelling import level_photographs

    found = []
    for layer in layers:
        for kind in layer.bands:
            views = [release[kind] for release in layer.releases if kind in release]
            if len(views) < LEAST_PHOTOGRAPHS or _sun_was_read(values, views):
                continue
            levelling = level_photographs(
                views, points, partial(values.load, calibrated=False), workers=workers
            )
            found.append((levelling, {view.name: view for view in views}))
    return LevelledValues(values=values, levellings=tuple(found))


def _sun_was_read(values: BandValues, views: Sequence[View]) -> bool:
    if not values.calibration.bands:
        return False
    return any(
        band.provenance in SUN_READ for view in views for band in values.calibration.of(view.name)
    )
