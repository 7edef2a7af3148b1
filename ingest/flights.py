"""Part a survey's photographs into flights, by the makers' ids, else by pauses of the camera."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tmp.captures import Capture, CaptureKind, Flag

FLIGHT_GAP = timedelta(minutes=10)
"""A pause that parts two flights."""
PANEL_WITHIN = timedelta(hours=1)
"""A panel picture belongs to a flight that begins or ends within this time of it."""

Flight = list[int]
"""Places in the list of captures, in order of time."""


def number_flights(captures: Sequence[Capture]) -> list[Capture]:
    """Return the captures with ``flight`` set to ``1``, ``2``, … in order of time.

    Notes
    -----
    Cameras that are in the air at the same time are on one flight.  A panel picture goes to the
    nearest flight, of its own camera if there is one.
    """
    flights = sorted(_merged(captures, _flights(captures)), key=lambda f: _span(captures, f))
    number = {index: str(k) for k, flight in enumerate(flights, start=1) for index in flight}
    for index, capture in enumerate(captures):
        if capture.kind is CaptureKind.PANEL and capture.time_utc is not None:
            number[index] = _nearest(captures, flights, index)
    return [replace(c, flight=number.get(index, "")) for index, c in enumerate(captures)]


def split_by_pauses(captures: Sequence[Capture], places: Sequence[int]) -> list[Flight]:
    """Part photographs with known times, in order of time, where the camera paused."""
    flights: list[Flight] = []
    for index in sorted(places, key=lambda i: (_time(captures[i]), captures[i].name)):
        if not flights or _time(captures[index]) - _time(captures[flights[-1][-1]]) > FLIGHT_GAP:
            flights.append([])
        flights[-1].append(index)
    return flights


def _flights(captures: Sequence[Capture]) -> Iterator[Flight]:
    named: defaultdict[str, Flight] = defaultdict(list)
    unnamed: defaultdict[str, Flight] = defaultdict(list)
    for index, capture in enumerate(captures):
        if (
            capture.kind is CaptureKind.SURVEY
            and capture.time_utc is not None
            and Flag.UNREADABLE not in capture.flags
        ):
            groups = named if capture.flight_id else unnamed
            groups[capture.flight_id or capture.body].append(index)
    yield from named.values()
    for places in unnamed.values():
        yield from split_by_pauses(captures, places)


def _merged(captures: Sequence[Capture], flights: Iterator[Flight]) -> list[Flight]:
    """Join flights of different bodies that overlap in time."""
    merged: list[Flight] = []
    for flight in sorted(flights, key=lambda f: _span(captures, f)):
        if merged:
            last = merged[-1]
            apart = {captures[i].body for i in flight}.isdisjoint(captures[i].body for i in last)
            if apart and _span(captures, flight)[0] <= _span(captures, last)[1]:
                last.extend(flight)
                continue
        merged.append(list(flight))
    return merged


def _nearest(captures: Sequence[Capture], flights: Sequence[Flight], index: int) -> str:
    """Return the number of the flight that a panel picture belongs to; empty for none."""
    panel = captures[index]
    choices = []
    for k, flight in enumerate(flights, start=1):
        begin, end = _span(captures, flight)
        away = max(begin - _time(panel), _time(panel) - end, timedelta(0))
        own = any(captures[i].body == panel.body for i in flight)
        named = panel.flight_id and any(captures[i].flight_id == panel.flight_id for i in flight)
        if named or away <= PANEL_WITHIN:
            choices.append((not named, not own, away, k))
    return str(min(choices)[-1]) if choices else ""


def _span(captures: Sequence[Capture], flight: Flight) -> tuple[datetime, datetime]:
    times = [_time(captures[i]) for i in flight]
    return min(times), max(times)


def _time(capture: Capture) -> datetime:
    assert capture.time_utc is not None
    return capture.time_utc
