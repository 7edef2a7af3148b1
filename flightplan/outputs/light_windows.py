"""Where the sun stands over a survey, and when its light serves.

Multispectral work wants a high sun, earthworks show by their shadows under a low one, and over
flat water or wet ice the sun's mirror image must stay out of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

import numpy as np
from numpy.typing import NDArray

from flightplan.outputs.briefing import LightWindow
from flightplan.plan.planning import FlightPlan
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import RISEN_DEG, sun_position, zone_of_longitude

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

MULTISPECTRAL_DEG = 30.0
"""Least elevation for reflectance work: shadows are then at most 1.7 times as long as high."""
RAKING_DEG = (5.0, 15.0)
"""Elevations at which earthworks of a few decimetres throw shadows of metres."""
NEAR_HIGHEST = 0.95
"""Where the sun stays low, the best of the day is where it stands this near its highest (sine)."""
TOO_LOW_DEG = 10.0
"""Highest elevation of a day on which reflectance work is not worth a try."""
STEP_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of time, both ends in UTC."""

    start: datetime
    end: datetime

    def said(self, zone: tzinfo) -> str:
        """Return it in words, UTC and local time.

        Examples
        --------
        >>> from datetime import timedelta, timezone
        >>> start = datetime(2026, 6, 21, 9, 5, tzinfo=UTC)
        >>> window = Window(start=start, end=start + timedelta(hours=2))
        >>> window.said(timezone(timedelta(hours=2)))
        '09:05 to 11:05 UTC (11:05 to 13:05 local, UTC+02:00)'
        """
        local = self.start.astimezone(zone), self.end.astimezone(zone)
        return (
            f"{self.start:%H:%M} to {self.end:%H:%M} UTC "
            f"({local[0]:%H:%M} to {local[1]:%H:%M} local, {zone})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SunDay:
    """The sun over one place for one day of local time, every two minutes."""

    times: NDArray[np.datetime64]
    """UTC, (N,)."""
    elevation_deg: Float
    """Above the horizon, refraction included, (N,)."""
    azimuth_deg: Float
    """Clockwise from north, (N,)."""
    zone: tzinfo

    @property
    def highest(self) -> tuple[datetime, float]:
        """When the sun stands highest, UTC, and its elevation in degrees."""
        at = int(np.argmax(self.elevation_deg))
        return _utc(self.times[at]), float(self.elevation_deg[at])

    def windows(self, light: Callable[[Float], Bool]) -> tuple[Window, ...]:
        """Return when a condition on the elevation (N,) holds."""
        held = np.concatenate([[False], np.asarray(light(self.elevation_deg), bool), [False]])
        edges = np.flatnonzero(held[1:] != held[:-1])
        return tuple(
            Window(start=_utc(self.times[a]), end=_utc(self.times[b - 1]))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        )

    @property
    def said(self) -> str:
        """How the day is, in words."""
        up = self.windows(lambda elevation: elevation > RISEN_DEG)
        when, top_deg = self.highest
        if not up:
            return f"polar night: the sun does not rise (at most {top_deg:.1f}°)"
        if bool(np.all(self.elevation_deg > RISEN_DEG)):
            low = float(self.elevation_deg.min())
            return f"polar day: the sun does not set (from {low:.1f}° to {top_deg:.1f}°)"
        local = when.astimezone(self.zone)
        return (
            f"sun up {' and '.join(window.said(self.zone) for window in up)}; "
            f"highest {top_deg:.1f}° at {when:%H:%M} UTC ({local:%H:%M} local)"
        )


def light_of(plan: FlightPlan) -> tuple[LightWindow, ...]:
    """Return when the light serves on the day of the plan."""
    lon_deg, lat_deg = plan.request.area.centre
    day = sun_day((lon_deg + 180.0) % 360.0 - 180.0, lat_deg, plan.request.day)
    high, remark = multispectral_windows(day)
    found = [LightWindow(what="sun", when=day.said.removeprefix("sun "))]
    for what, windows in (
        (f"high sun, for reflectance ({remark})" if remark else "high sun, for reflectance", high),
        ("raking light, for earthworks", raking_windows(day)),
        (
            "sun mirrored by water and wet ice: avoid",
            glint_windows(day, plan.request.proving_camera.camera()),
        ),
    ):
        said = "; ".join(window.said(day.zone) for window in windows)
        found.append(LightWindow(what=what, when=said or "not on this day"))
    found.append(
        LightWindow(
            what="local time",
            when=f"{day.zone}, from the longitude; clocks there may differ by 1 or 2 h",
        )
    )
    return tuple(found)


def sun_day(lon_deg: float, lat_deg: float, day: date, *, zone: tzinfo | None = None) -> SunDay:
    """Return the sun over a place for a day of its local time.

    It lasts from midnight to midnight in `zone`, by default the one that the longitude suggests:
    the computer that plans may stand anywhere.

    Raises
    ------
    InputError
        If the place is not on Earth.
    """
    if not (-90 <= lat_deg <= 90 and -360 <= lon_deg <= 360):
        raise InputError(
            f"place {lon_deg!r}, {lat_deg!r} is not on Earth; give longitude, then latitude"
        )
    local = zone or zone_of_longitude(lon_deg)
    midnight = datetime(day.year, day.month, day.day, tzinfo=local)
    first = np.datetime64(midnight.astimezone(UTC).replace(tzinfo=None), "m")
    times = first + np.arange(0, 24 * 60 + 1, STEP_MIN).astype("timedelta64[m]")
    elevation, azimuth = sun_position(lon_deg, lat_deg, times)
    return SunDay(
        times=times,
        elevation_deg=np.degrees(elevation),
        azimuth_deg=np.degrees(azimuth),
        zone=local,
    )


def multispectral_windows(day: SunDay) -> tuple[tuple[Window, ...], str]:
    """Return when the sun is high enough for reflectance work, and what to know, in words.

    Where it never gets so high, the windows are the best of the day: as long as it gives 95 % of
    its highest light on level ground.
    """
    windows = day.windows(lambda elevation: elevation >= MULTISPECTRAL_DEG)
    if windows:
        return windows, f"sun above {MULTISPECTRAL_DEG:g}°"
    when, top_deg = day.highest
    if top_deg < TOO_LOW_DEG:
        return (), f"the sun reaches {top_deg:.1f}° at most: too low for reflectance work"
    enough = NEAR_HIGHEST * np.sin(np.radians(top_deg))
    windows = day.windows(lambda elevation: np.sin(np.radians(elevation)) >= enough)
    return windows, (
        f"the sun never reaches {MULTISPECTRAL_DEG:g}°; best of the day about {when:%H:%M} UTC, at "
        f"{top_deg:.1f}°: shadows are {1 / np.tan(np.radians(top_deg)):.1f} times as long as high"
    )


def raking_windows(day: SunDay) -> tuple[Window, ...]:
    """Return when low sun shows earthworks by their shadows."""
    low, high = RAKING_DEG
    return day.windows(lambda elevation: (elevation >= low) & (elevation <= high))


def glint_windows(day: SunDay, camera: Camera, *, margin_deg: float = 5.0) -> tuple[Window, ...]:
    """Return when a camera looking straight down sees the sun in flat water, whatever its heading.

    The mirror image of the sun lies as far below the horizon as the sun stands above, in the
    sun's azimuth: at ``90° - elevation`` from straight down.  Ripples of slope s spread the glint
    by 2 s; `margin_deg` is how far.
    """
    half = np.hypot(camera.width_px / camera.fx_px, camera.height_px / camera.fy_px) / 2
    reach_deg = np.degrees(np.arctan(half)) + margin_deg
    return day.windows(lambda elevation: (elevation > 0) & (90.0 - elevation < reach_deg))


def _utc(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[s]").astype(datetime)
    return moment.replace(tzinfo=UTC)
