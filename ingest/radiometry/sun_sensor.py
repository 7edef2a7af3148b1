"""What sun sensors on the drone say of the light that fell on the ground while it flew.

MicaSense's sensors read W/m²/nm, DJI's a number that serves its own formula, and those of the
Sequoia and of Sentera only how the light changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmp.geo.frames import sun_position
from tmp.radiometry import BandTags, Family, SunReading

Float = NDArray[np.float64]

DIFFUSE_OVER_DIRECT = 1 / 6
"""Scattered light over that of the sun itself under a clear sky, as MicaSense takes it."""
LAYERS = (1.000277, 1.6, 1.38)
"""Refractive indices of air, the polycarbonate window and the teflon diffuser of the DLS."""
LOWEST_COSINE = 0.1
"""A sensor turned further from the sun than 84° says too little of it."""
MOST_CHANGE = 5.0
"""Readings this many times above or below the median of a flight are faults of the sensor."""
LIST_SPAN_S = 1.0
"""Records of a Sequoia this near to the exposure are averaged by their median."""


class SunUnit(StrEnum):
    """What a sun sensor's numbers are good for."""

    ABSOLUTE = "W/m²/nm"
    VENDOR = "maker's own"
    """Radiance over it is reflectance but for one factor common to all bands."""
    CHANGES = "changes"
    """How the light of one band changed, and no more."""


def sun_unit(tags: BandTags) -> SunUnit | None:
    """Return what a photograph's sun readings are good for; None without any."""
    if not tags.sun:
        return None
    if tags.family is Family.MICASENSE:
        return SunUnit.ABSOLUTE
    return SunUnit.VENDOR if tags.family is Family.DJI else SunUnit.CHANGES


def level_irradiance(
    tags: BandTags, time_utc: datetime | None, lon_lat_deg: tuple[float, float] | None
) -> float | None:
    """Return the light on a level surface that a photograph's sun sensor read, in its `sun_unit`.

    Without the time of the exposure or the place no tilt is corrected. None where the sensor said
    nothing of use.

    The Sequoia's and DJI's own values are taken as they are: the first does not document the
    frame of its sensor's angles, the second has corrected them.
    """
    if not tags.sun:
        return None
    if tags.family is Family.SEQUOIA:
        return _sequoia_level(tags)
    if tags.family is not Family.MICASENSE:
        readings = [r.irradiance for r in tags.sun if r.irradiance is not None]
        return _positive(float(np.mean(readings))) if readings else None
    return _micasense_level(tags.sun[0], time_utc, lon_lat_deg)


def _micasense_level(
    reading: SunReading, time_utc: datetime | None, lon_lat_deg: tuple[float, float] | None
) -> float | None:
    """Take the sensor's own sum, or make it from its parts, or undo the tilt of a single reading.

    The second kind of sensor parts the light into direct and scattered; the first does not.
    """
    if reading.horizontal is not None:
        return _positive(reading.horizontal)
    elevation = reading.solar_elevation_rad
    azimuth = reading.solar_azimuth_rad
    if elevation is None and time_utc is not None and lon_lat_deg is not None:
        moment = np.datetime64(time_utc.astimezone(UTC).replace(tzinfo=None), "ms")
        elevation, azimuth = (float(angle) for angle in sun_position(*lon_lat_deg, moment))
    if elevation is None:
        return _positive(reading.irradiance)
    if reading.direct is not None and reading.scattered is not None:
        return _positive(reading.direct * np.sin(elevation) + reading.scattered)
    attitude = (reading.yaw_rad, reading.pitch_rad, reading.roll_rad)
    if reading.irradiance is None or azimuth is None or None in attitude:
        return _positive(reading.irradiance)
    yaw, pitch, roll = (float(angle or 0.0) for angle in attitude)
    angle = sun_sensor_angle(elevation, azimuth, yaw, pitch, roll)
    return _positive(undo_tilt(reading.irradiance, angle, elevation))


def undo_tilt(irradiance: float, angle_rad: float, elevation_rad: float) -> float | None:
    """Return the light on a level surface from what a tilted diffuser read.

    The angle is that between the sensor's normal and the sun, the elevation the sun's. None where
    the sensor was turned so far from the sun that it says nothing of it.

    ``E_dir = E / fresnel(θ) / (1/6 + cos θ)`` and ``E = E_dir (sin(elevation) + 1/6)``: a clear sky
    is assumed, which overcorrects under cloud.

    References
    ----------
    MicaSense (2018), image processing tutorial 3, DLS sensor basic usage.
    """
    if np.cos(angle_rad) < LOWEST_COSINE:
        return None
    direct = irradiance / fresnel(angle_rad) / (DIFFUSE_OVER_DIRECT + np.cos(angle_rad))
    return float(direct * (np.sin(elevation_rad) + DIFFUSE_OVER_DIRECT))


def fresnel(angle_rad: float) -> float:
    """Return the share of unpolarised light that enters the DLS's window and diffuser.

    References
    ----------
    Born, M., Wolf, E. (1999). Principles of Optics, 7th ed., section 1.5.2, eq. 21.

    Examples
    --------
    >>> round(fresnel(0.0), 4)  # 4 n1 n2 / (n1 + n2)² twice over
    0.9416
    """
    share = 1.0
    sine = np.sin(angle_rad)
    for n1, n2 in pairwise(LAYERS):
        cos1, cos2 = np.sqrt(1 - (sine / n1) ** 2), np.sqrt(1 - (sine / n2) ** 2)
        across = ((n1 * cos1 - n2 * cos2) / (n1 * cos1 + n2 * cos2)) ** 2
        along = ((n1 * cos2 - n2 * cos1) / (n1 * cos2 + n2 * cos1)) ** 2
        share *= 1 - (across + along) / 2
    return float(share)


def sun_sensor_angle(
    elevation_rad: float, azimuth_rad: float, yaw_rad: float, pitch_rad: float, roll_rad: float
) -> float:
    """Return the angle between the sun and the normal of a sensor that looks up from its body.

    Yaw, pitch and roll turn the body, x forward, y right and z down, in that order from north,
    east and down.
    """
    sun = np.array(
        [
            np.cos(azimuth_rad) * np.cos(elevation_rad),
            np.sin(azimuth_rad) * np.cos(elevation_rad),
            -np.sin(elevation_rad),
        ]
    )
    cy, sy, cp, sp = np.cos(yaw_rad), np.sin(yaw_rad), np.cos(pitch_rad), np.sin(pitch_rad)
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    # The third column of Rz(yaw) Ry(pitch) Rx(roll), turned from down to up.
    normal = -np.array([cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr])
    return float(np.arccos(np.clip(sun @ normal, -1, 1)))


def _sequoia_level(tags: BandTags) -> float | None:
    """Return channel 0 per gain and second, from the records around the exposure.

    The gain is an *index*.  What it stands for follows from the sensor's calibration, which reads
    the same light at each gain; public scripts divide by the index itself.
    """
    gains = {int(row[0]): row[2] / row[1] for row in tags.sun_gains if 0 < row[2] < 65535}
    levels, apart_s = [], []
    for reading in tags.sun:
        if reading.counts is None or not reading.integration_s:
            continue
        factor = 1.0
        if reading.gain_index in gains and min(gains) in gains:
            factor = gains[reading.gain_index] / gains[min(gains)]
        levels.append(reading.counts[0] / (factor * reading.integration_s))
        known = None not in (reading.boot_time_s, tags.boot_time_s)
        apart_s.append(
            abs((reading.boot_time_s or 0.0) - (tags.boot_time_s or 0.0)) if known else 0.0
        )
    if not levels:
        return None
    apart = np.array(apart_s)
    near = apart <= max(LIST_SPAN_S, float(apart.min()))
    return _positive(float(np.median(np.array(levels)[near])))


def light_changes(
    times: ArrayLike, levels: Sequence[ArrayLike], *, window: int = 7, span_s: float = 30.0
) -> tuple[Float, Float]:
    """Return how the light changed over a flight, as all bands saw it together.

    Each band has its light on a level surface, in any unit, NaN where unknown, at the times (N,) of
    the releases in seconds from any zero. The running median is of at most `window` readings over
    `span_s`.

    Returned are the light as a fraction of the flight's median, (N,), NaN where no band knows it,
    and the robust standard deviation of each band's own change about the common one, (bands,).

    Clouds dim all bands by nearly the same factor, whereas the channels of a sun sensor differ
    from reading to reading by several per cent.  The median over the bands keeps a noisy channel
    from tinting the map: ratios such as NDVI do not move with it.
    """
    seconds = np.asarray(times, float)
    logs = np.array([np.log(np.where(np.asarray(b, float) > 0, b, np.nan)) for b in levels])
    own = logs - _nanmedian(logs, axis=1)[:, None]
    own[np.abs(np.nan_to_num(own)) > np.log(MOST_CHANGE)] = np.nan
    smooth = np.array([_running_median(seconds, row, window, span_s) for row in own])
    common = _nanmedian(smooth, axis=0)
    # Bands were centred one by one; centring the common change as well makes the mean factor 1.
    common -= _nanmedian(common[None], axis=1)[0]
    spread = 1.4826 * _nanmedian(np.abs(smooth - common), axis=1)
    return np.exp(common), np.nan_to_num(spread)


def _running_median(seconds: Float, values: Float, window: int, span_s: float) -> Float:
    order = np.argsort(seconds, kind="stable")
    result = np.full_like(values, np.nan)
    for place, index in enumerate(order):
        around = order[max(0, place - window // 2) : place + window // 2 + 1]
        near = around[np.abs(seconds[around] - seconds[index]) <= span_s]
        result[index] = _nanmedian(values[near][None], axis=1)[0]
    return result


def _nanmedian(values: Float, axis: int) -> Float:
    """Return the median of what is known; NaN, and no warning, where nothing is."""
    known = np.isfinite(values).any(axis=axis)
    filled = np.where(np.expand_dims(known, axis), values, 0.0)
    return np.where(known, np.nanmedian(filled, axis=axis), np.nan)


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) and value > 0 else None


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
    """Put together what the sun sensors say; panel pictures tie panels to flights."""
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
