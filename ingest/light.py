"""The light over a survey as its sun sensors saw it, photograph by photograph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ingest.sun import SunUnit, level_irradiance, light_changes, sun_unit
from tmp.bands import BandTags

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One photograph as calibration sees it."""

    name: str
    flight: str
    camera_id: str
    body: str = ""
    """Of the camera, one for all of its bands."""
    release: str = ""
    """Same for files released together; empty for a photograph on its own."""
    time_utc: datetime | None = None
    lon_lat_deg: tuple[float, float] | None = None
    tags: BandTags


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """What sun sensors tell about the light on each photograph."""

    changes: dict[str, float] = field(default_factory=dict)
    """Light as a fraction of the median over all of a body's photographs, by photograph."""
    measured: dict[str, float] = field(default_factory=dict)
    """Irradiance on a level surface as read with each photograph, `SunUnit`'s unit."""
    levels: dict[str, float] = field(default_factory=dict)
    """Median irradiance by camera id."""
    disagreement: dict[str, float] = field(default_factory=dict)
    """How far a band's own changes lie from the common ones, a fraction, by camera id."""
    units: dict[str, SunUnit] = field(default_factory=dict)
    """By camera id."""


def read_light(shots: Sequence[Shot]) -> Light:
    """Put together what the sun sensors of all photographs say.

    Parameters
    ----------
    shots : sequence of Shot
        Of a whole survey, panel pictures included: they tie a panel to the flight.
    """
    light = Light()
    bodies: defaultdict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        unit = sun_unit(shot.tags)
        level = level_irradiance(shot.tags, shot.time_utc, shot.lon_lat_deg) if unit else None
        if unit is not None and level is not None:
            light.measured[shot.name] = level
            light.units[shot.camera_id] = unit
            bodies[shot.body or shot.camera_id].append(shot)
    for members in bodies.values():
        _fill(light, members)
    return light


def _fill(light: Light, shots: Sequence[Shot]) -> None:
    """Add changes, levels and disagreement of one body's photographs, each with a reading."""
    releases: dict[str, int] = {}
    places = [releases.setdefault(shot.release or shot.name, len(releases)) for shot in shots]
    cameras = list(dict.fromkeys(shot.camera_id for shot in shots))
    table = np.full((len(cameras), len(releases)), np.nan)
    seconds = np.arange(len(releases), dtype=float)
    timed = all(shot.time_utc is not None for shot in shots)
    for shot, place in zip(shots, places, strict=True):
        table[cameras.index(shot.camera_id), place] = light.measured[shot.name]
        if timed and shot.time_utc is not None:
            seconds[place] = shot.time_utc.timestamp()
    changes, disagreement = light_changes(seconds, list(table))
    for shot, place in zip(shots, places, strict=True):
        if np.isfinite(changes[place]):
            light.changes[shot.name] = float(changes[place])
    for row, camera_id in enumerate(cameras):
        # Divided by the common change, so that a camera which missed half a flight is not biased.
        light.levels[camera_id] = float(np.nanmedian(table[row] / changes))
        light.disagreement[camera_id] = float(disagreement[row])
