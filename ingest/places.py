"""Where on Earth a survey lies: photographs told apart by place, and the place that is mapped.

A card often still holds flights over other ground.  A map is of one place; which one, a person
says, and it is kept in survey.toml.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from tmp.captures import Capture, HeightDatum, choose_captures
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame, choose_utm_crs
from tmp.survey import Settings

APART_M = 2000.0
"""Photographs farther than this from all others are of another place: a pilot sees no drone as
far, and no tie point joins them."""
ROUNDED_M = 50.0
"""Photographs closer than this are one for the purpose."""
LONG_PAUSE = timedelta(days=14)
"""Time without photographs after which the ground is no longer the same."""
EARTH_RADIUS_M = 6_371_000.0


def number_places(captures: Sequence[Capture]) -> list[Capture]:
    """Return the captures with ``place`` set to ``1``, ``2``, …, or to nothing where all is one.

    Places are numbered as they come in the list, so that they keep their numbers when others are
    added.  A photograph without position is of the place of its flight; one that is not used is of
    none.
    """
    placed = [i for i, c in enumerate(captures) if c.used and c.longitude_deg is not None]
    found = _clusters(_on_sphere([captures[i] for i in placed]))
    if len(set(found)) < 2:
        return [replace(capture, place="") for capture in captures]
    numbers = {cluster: str(k) for k, cluster in enumerate(dict.fromkeys(found), start=1)}
    place_of = {i: numbers[cluster] for i, cluster in zip(placed, found, strict=True)}
    of_flights: dict[str, set[str]] = {}
    for i, place in place_of.items():
        of_flights.setdefault(captures[i].flight, set()).add(place)
    numbered = []
    for i, capture in enumerate(captures):
        place = place_of.get(i, "")
        of_flight = of_flights.get(capture.flight, set()) if capture.flight else set()
        if not place and capture.used and len(of_flight) == 1:
            (place,) = of_flight
        numbered.append(replace(capture, place=place))
    return numbered


def _on_sphere(captures: Sequence[Capture]) -> NDArray[np.float64]:
    """Return positions on a sphere (N, 3), metres, where no date line parts what is near."""
    geodetic = [(c.longitude_deg or 0.0, c.latitude_deg or 0.0) for c in captures]
    lon, lat = np.radians(np.array(geodetic, float).reshape(-1, 2)).T
    return EARTH_RADIUS_M * np.column_stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    )


def _clusters(points: NDArray[np.float64]) -> list[int]:
    """Part points (N, 3) where gaps exceed `APART_M`; returns a label for each."""
    if len(points) == 0:
        return []
    cells, cell_of = np.unique(np.round(points / ROUNDED_M), axis=0, return_inverse=True)
    pairs = cKDTree(cells * ROUNDED_M).query_pairs(APART_M, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (*pairs.T,)), shape=(len(cells), len(cells)))
    labels = connected_components(links, directed=False)[1]
    return [int(label) for label in labels[cell_of.reshape(-1)]]


def places_of(captures: Sequence[Capture]) -> dict[str, list[Capture]]:
    """Return the photographs in use of each place, in the order of their numbers."""
    numbers = sorted({c.place for c in captures if c.used and c.place}, key=int)
    return {n: [c for c in captures if c.used and c.place == n] for n in numbers}


def describe_places(captures: Sequence[Capture]) -> list[str]:
    """Say of each place how many photographs are of it, of which days, and where it is."""
    said = []
    for number, members in places_of(captures).items():
        photographs = "1 photograph" if len(members) == 1 else f"{len(members)} photographs"
        lon_deg, lat_deg, _ = choose_origin([c for c in members if c.longitude_deg is not None])
        said.append(
            f"{number}: {photographs} of {said_days(members)} at {abs(lat_deg):.4f}° "
            f"{'NS'[lat_deg < 0]} {abs(lon_deg):.4f}° {'EW'[lon_deg < 0]}"
        )
    return said


def span_km(captures: Sequence[Capture]) -> float:
    """Return how far the places of photographs lie apart at the most, as the crow flies."""
    middles = [
        _on_sphere(members).mean(axis=0) for members in places_of(captures).values() if members
    ]
    chords = [float(np.linalg.norm(a - b)) for a in middles for b in middles]
    half = min(max(chords, default=0.0) / (2 * EARTH_RADIUS_M), 1.0)
    return float(2 * EARTH_RADIUS_M * np.arcsin(half)) / 1000


def find_long_pauses(captures: Sequence[Capture]) -> list[str]:
    """Return, a line for each place, what was photographed weeks or years apart there."""
    lines = []
    for place in dict.fromkeys(c.place for c in captures):
        here = [c for c in captures if c.used and c.place == place and c.time_utc is not None]
        periods: list[list[Capture]] = []
        for capture in sorted(here, key=_time):
            if not periods or _time(capture) - _time(periods[-1][-1]) > LONG_PAUSE:
                periods.append([])
            periods[-1].append(capture)
        if len(periods) > 1:
            said = " and ".join(f"{len(period)} of {said_days(period)}" for period in periods)
            lines.append(
                f"photographs of {len(periods)} times{f' at place {place}' if place else ''}: "
                f"{said}; what grew, moved or melted in between will not match: leave some out "
                "with drop = [...] under [photographs] in survey.toml, or make two surveys"
            )
    return lines


def said_days(captures: Sequence[Capture]) -> str:
    """Return the first and the last day of photographs, or the one that they are of."""
    days = sorted(local_day(c) for c in captures if c.time_utc is not None)
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "an unknown day"


def local_day(capture: Capture) -> str:
    """Return the day in solar time, so that no flight in daylight is parted by midnight UTC."""
    assert capture.time_utc is not None
    return str((capture.time_utc + timedelta(hours=(capture.longitude_deg or 0.0) / 15)).date())


def _time(capture: Capture) -> datetime:
    assert capture.time_utc is not None
    return capture.time_utc


def refuse_several_places(captures: Sequence[Capture], where: str) -> None:
    """Raise `InputError`, beginning with `where`, if photographs to be mapped are of several."""
    said = describe_places(captures)
    if len(said) > 1:
        raise InputError(
            f"{where}: photographs of {len(said)} places, up to {span_km(captures):.0f} km apart: "
            f"{'; '.join(said)}; a map is of one: name it, such as --place 1"
        )


def settle(
    settings: Settings,
    captures: Sequence[Capture],
    *,
    place: int | None = None,
    crs: str | None = None,
) -> Settings:
    """Add to the settings where the survey lies, and from what its heights count.

    What they hold already stays, for a person may have put it; but the zero of the frame goes along
    when another place is chosen, and so does the UTM zone that was chosen by it.  As long as no
    place is chosen of several there is none of it.

    Raises `InputError` if there is no such place.
    """
    numbers = {c.place for c in captures if c.place}
    if place is not None and str(place) not in (numbers or {"1"}):
        there = "; ".join(describe_places(captures)) or "all photographs are of one"
        raise InputError(f"there is no place {place} among the photographs: {there}")
    settings = replace(settings, place=place or settings.place, crs=crs or settings.crs)
    chosen = choose_captures(captures, keep=settings.keep, drop=settings.drop, place=settings.place)
    placed = [c for c in chosen if c.positioned and c.used]
    if not placed or len({c.place for c in placed if c.place}) > 1:
        return settings
    if settings.vertical_datum is HeightDatum.UNKNOWN:
        datum = Counter(c.height_datum for c in placed).most_common(1)[0][0]
        settings = replace(settings, vertical_datum=datum)
    if numbers and settings.origin is not None and _lies_elsewhere(settings.origin, placed):
        by_origin = settings.crs == choose_utm_crs(*settings.origin[:2]) and crs is None
        settings = replace(settings, origin=None, crs=None if by_origin else settings.crs)
    origin = settings.origin or choose_origin(placed)
    return replace(settings, origin=origin, crs=settings.crs or choose_utm_crs(*origin[:2]))


def _lies_elsewhere(origin: tuple[float, float, float], placed: Sequence[Capture]) -> bool:
    zero = replace(placed[0], longitude_deg=origin[0], latitude_deg=origin[1])
    apart_m = np.linalg.norm(_on_sphere(placed) - _on_sphere([zero]), axis=1)
    return bool(apart_m.min() > APART_M)


def check_crs(crs: str | None) -> None:
    """Refuse a CRS that products cannot be written in.

    Raises `InputError` if PROJ does not know it, or it is not projected in metres.
    """
    if crs is None:
        return
    try:
        CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"{crs!r} is not a CRS; write it as 'EPSG:32633'") from error
    LocalFrame(origin=(0.0, 0.0, 0.0), crs=crs)


def choose_origin(captures: Sequence[Capture]) -> tuple[float, float, float]:
    """Return the zero of the local frame: the middle of the positions, near the ground.

    Longitude and latitude are in degrees, the height in whole metres.
    """
    above = [c.height_takeoff_m for c in captures if c.height_takeoff_m is not None]
    height_m = statistics.median(c.height_m or 0.0 for c in captures)
    return (
        round(statistics.median(c.longitude_deg or 0.0 for c in captures), 7),
        round(statistics.median(c.latitude_deg or 0.0 for c in captures), 7),
        float(round(height_m - (statistics.median(above) if above else 0.0))),
    )
