"""Part photographs into flights, and into the files that several lenses released together.

By the makers' ids; else flights by pauses of the camera, releases by time and name.  The groups
are made anew from the photographs' own records at each ingest, so that bands which lie on
different cards find each other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tmp.captures import Capture, CaptureKind, Flag

FLIGHT_GAP = timedelta(minutes=10)
"""A pause that parts two flights."""
PANEL_WITHIN = timedelta(hours=1)
"""A panel picture belongs to a flight that begins or ends within this time of it."""

Flight = list[int]
"""Places in the list of captures, in order of time."""

SAME_CAPTURE = timedelta(seconds=5)
"""Files of one capture id are not farther apart; cameras write them one after the other."""
SAME_NAME = timedelta(seconds=2)
"""Files alike but for the band are one capture within this time: clocks count whole seconds."""
SAME_MOMENT = timedelta(milliseconds=300)
"""Files of one body are one capture within this time, whatever they are called."""
_BAND_ENDING = re.compile(
    r"[-_](?:ms[-_]?)?(?:nir|red|gre|green|blue|reg|rededge|re|rgb|lwir|pan|[rgbdt]|\d{1,2})$"
)
_DJI_NUMBER = re.compile(r"^(dji_\d{3})\d$")
"""Phantom 4 Multispectral: the last digit is the lens."""
Group = list[int]
"""Places in the list of captures."""


def number_flights(captures: Sequence[Capture]) -> list[Capture]:
    """Return the captures with ``flight`` set to ``1``, ``2``, … in order of time.

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


def group_rigs(captures: Sequence[Capture]) -> list[Capture]:
    """Return the captures of a survey with ``rig_id`` set, and panel marks shared within each rig.

    A capture id is not believed where one band carries it twice or where its files lie more than
    5 s apart.  Photographs of separate cameras, even on one drone, are no rig: what holds them
    together is not rigid in time.  Ids made from names begin with ``~``.
    """
    rigs = dict(_by_ids(captures))
    grouped = {index for group in rigs.values() for index in group}
    rigs |= _by_name_and_time(captures, grouped)
    rig_of = {index: rig for rig, group in rigs.items() for index in group}
    panels = {rig_of[i] for i in rig_of if captures[i].kind is CaptureKind.PANEL}
    return [
        replace(
            capture,
            rig_id=(rig := rig_of.get(index, "")),
            kind=CaptureKind.PANEL if rig in panels else capture.kind,
        )
        for index, capture in enumerate(captures)
    ]


def rigs_of(captures: Sequence[Capture]) -> dict[str, list[Capture]]:
    """Return the members of each rig that are good for anything, without copies of a file."""
    members: defaultdict[str, dict[str, Capture]] = defaultdict(dict)
    for capture in captures:
        if capture.rig_id and usable(capture):
            members[capture.rig_id].setdefault(capture.sha256, capture)
    return {rig: list(photos.values()) for rig, photos in members.items()}


def usable(capture: Capture) -> bool:
    """Tell whether the file can be read and its picture holds anything."""
    dark = capture.brightness is not None and capture.brightness <= 0
    return Flag.UNREADABLE not in capture.flags and not dark


def _by_ids(captures: Sequence[Capture]) -> Iterable[tuple[str, Group]]:
    groups: defaultdict[str, Group] = defaultdict(list)
    for index, capture in enumerate(captures):
        if capture.capture_id:
            groups[capture.capture_id].append(index)
    for capture_id, group in groups.items():
        if any(captures[i].band for i in group) and _is_one_capture(captures, group):
            yield capture_id, group


def _is_one_capture(captures: Sequence[Capture], group: Group) -> bool:
    originals = {captures[i].sha256: captures[i] for i in group}.values()
    bands = [(c.body, c.band, c.camera_id) for c in originals]
    times = [c.time_utc for c in originals if c.time_utc is not None]
    together = not times or max(times) - min(times) <= SAME_CAPTURE
    return together and len(set(bands)) == len(bands)


def _by_name_and_time(captures: Sequence[Capture], grouped: set[int]) -> dict[str, Group]:
    """Group photographs of known time: by name and maker, and what is left by body."""
    free = [
        i
        for i, c in enumerate(captures)
        if i not in grouped and c.time_utc is not None and c.camera_id
    ]
    named: defaultdict[tuple[str, str], Group] = defaultdict(list)
    for index in free:
        body, stem = captures[index].body, name_without_band(captures[index].name)
        # Two cameras of one make can count alike: without a mark of the band they are two.
        marked = not captures[index].name.casefold().rpartition(".")[0].endswith(stem)
        owner = body.partition(" ")[0].casefold() if marked else body
        named[owner, stem].append(index)
    found = [g for group in named.values() for g in _split(captures, group, SAME_NAME)]
    left = set(free).difference(i for group in found for i in group)
    bodies: defaultdict[str, Group] = defaultdict(list)
    for index in sorted(left):
        bodies[captures[index].body].append(index)
    found += [g for group in bodies.values() for g in _split(captures, group, SAME_MOMENT)]
    return {_made_id(captures, group): group for group in found}


def _split(captures: Sequence[Capture], group: Group, within: timedelta) -> list[Group]:
    """Part photographs in order of time into runs of different bands; runs of one are dropped."""
    runs: list[Group] = []
    for index in sorted(group, key=lambda i: (_time(captures[i]), captures[i].name)):
        run = runs[-1] if runs else []
        bands = {captures[i].band for i in run}
        fits = bool(run) and _time(captures[index]) - _time(captures[run[0]]) <= within
        if fits and captures[index].band not in bands:
            run.append(index)
        else:
            runs.append([index])
    return [run for run in runs if len(run) > 1]


def _made_id(captures: Sequence[Capture], group: Group) -> str:
    first = captures[group[0]]
    return f"~{name_without_band(first.name)} {_time(first):%Y%m%dT%H%M%S.%f}"


def name_without_band(name: str) -> str:
    """Return a file's name, in lower case, without folder, suffix and the mark of its band.

    Examples
    --------
    >>> [name_without_band(name) for name in ("a/IMG_0001_4.tif", "b/IMG_0001_5.tif")]
    ['img_0001', 'img_0001']
    >>> name_without_band("DJI_20230601_0001_MS_NIR.TIF"), name_without_band("DJI_0025.TIF")
    ('dji_20230601_0001', 'dji_002')
    """
    stem = name.rpartition("/")[2].rpartition(".")[0].casefold()
    if match := _DJI_NUMBER.match(stem):
        return match.group(1)
    return _BAND_ENDING.sub("", stem)
