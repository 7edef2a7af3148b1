"""Judge the photographs of a survey together: what is doubtful, why, and with which numbers.

Nothing is dropped in silence: every verdict is a flag with a reason on the photograph, and
``[photographs] keep`` and ``drop`` in survey.toml have the last word. Photographs that do not fit
together (firmware, days, places) are named too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ingest.grouping import rigs_of, split_by_pauses
from ingest.metadata.bands import how_to_declare
from ingest.places import local_day, said_days
from tmp.captures import Capture, CaptureKind, Flag, HeightDatum
from tmp.radiometry import UNKNOWN_BAND

Verdicts = dict[int, str]
"""Reasons by place in the list of captures."""
Rule = Callable[[Sequence[Capture]], Verdicts]

LOW_SHARE, LOW_MARGIN_M = 0.4, 10.0
"""A take-off or landing picture is below this share of the median height, and by this much."""
GROUND_M = 5.0
"""A picture within this height of the take-off point was taken standing, or all but."""
STRAGGLER_SHARE, STRAGGLERS_ANYWAY = 0.25, 3
"""More low pictures than this are a flight of their own."""
ALONE_M, ALONE_FACTOR, ALONE_HEIGHTS = 100.0, 10.0, 3.0
"""A picture stands apart beyond the largest of: this distance, this many times the usual one,
this many flying heights."""
TAGGED_SHARE = 0.7
"""Share of photographs with camera, time and position from which one without any is foreign."""
BLUR_SHARE, BLUR_NEIGHBOURS = 0.25, 8
"""A blurred picture has less than this share of the sharpness usual around it."""

CLIPPED_SHARE = 0.1
"""Snow and low sun, well exposed, clip far less than this share of a picture."""
DARK = 0.04
"""A picture whose brightest parts stay below this share of the range holds mostly noise."""
LEAST_REACH = 1 / 8
"""Share of the range that a camera's brightest picture reaches if its files use all their bits."""
SAME_EXPOSURE = 1.02
"""Ratio up to which two exposures are the same setting."""
LEAST_RIGS = 3
"""Captures of a camera from which on it can be told what is usual for it."""
EARTH_RADIUS_M = 6_371_000.0

_ALL_OF_AN_EMPTY_PICTURE = frozenset({Flag.DUPLICATE, Flag.EMPTY})
"""What else could be said of it follows from its emptiness."""
_NOT_FOR_PANELS = frozenset({Flag.NO_POSITION, Flag.STRAGGLER, Flag.BLURRED})
"""A panel is photographed on the ground, from close by."""

AWAY_M, AWAY_FACTOR = 50.0, 5.0
"""A NIR photograph is elsewhere when farther from each RGB photograph than the larger of this
distance and this many times the usual one between RGB photographs."""
MOSTLY = 0.5
"""Share of a flight that must be elsewhere."""


def judge(captures: Sequence[Capture]) -> list[Capture]:
    """Return the captures with flags and reasons set from scratch.

    Unreadable photographs keep their verdict, which only reading them can give.
    """
    verdicts: list[list[tuple[Flag, str]]] = [[] for _ in captures]
    for flag, rule in _RULES:
        places = [
            i
            for i, c in enumerate(captures)
            if flag not in _NOT_FOR_PANELS or c.kind is not CaptureKind.PANEL
        ]
        for k, reason in sorted(rule([captures[i] for i in places]).items()):
            verdicts[places[k]].append((flag, reason))
    for k, said in enumerate(verdicts):
        if any(flag is Flag.EMPTY for flag, _ in said):
            verdicts[k] = [(f, reason) for f, reason in said if f in _ALL_OF_AN_EMPTY_PICTURE]
    return [
        capture
        if Flag.UNREADABLE in capture.flags
        else replace(
            capture,
            flags=tuple(flag for flag, _ in said),
            reason="; ".join(reason for _, reason in said),
        )
        for capture, said in zip(captures, verdicts, strict=True)
    ]


def fill_heights(captures: Sequence[Capture]) -> list[Capture]:
    """Give photographs that lack a GNSS height the one that their barometer suggests.

    The height of the take-off point comes from the photographs that have both heights; without
    any it is taken as zero, and the heights count from there.
    """
    both = [c for c in captures if c.height_m is not None and c.height_takeoff_m is not None]
    differences = [(c.height_m or 0.0) - (c.height_takeoff_m or 0.0) for c in both]
    takeoff_m = float(np.median(differences)) if both else 0.0
    datum = both[0].height_datum if both else HeightDatum.BAROMETRIC
    return [
        replace(
            c,
            height_m=round(takeoff_m + c.height_takeoff_m, 3),
            height_datum=datum,
            position_source=f"{c.position_source}, height from the barometer",
        )
        if c.height_m is None and c.height_takeoff_m is not None and c.longitude_deg is not None
        else c
        for c in captures
    ]


def find_duplicates(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs whose file is byte for byte an earlier one's."""
    first: dict[str, str] = {}
    found = {}
    for index, capture in enumerate(captures):
        original = first.setdefault(capture.sha256, capture.name)
        if original != capture.name:
            found[index] = f"same file as {original}"
    return found


def find_unpositioned(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs without longitude, latitude or height."""
    found = {}
    for index, capture in enumerate(captures):
        if capture.longitude_deg is None:
            found[index] = capture.position_source or "no GPS tags"
        elif capture.height_m is None:
            found[index] = "no height with the GPS position"
    return found


def find_stragglers(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs taken while climbing or landing, far from all others, or by no camera."""
    return _isolated(captures) | _low_tails(captures) | _foreign(captures)


def _low_tails(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs of take-off and landing: low, at the beginning or end of a flight.

    They are also near the ground, or on a climb steeper than 45°, so that a flight that follows
    the terrain downhill is left alone; and they are few, so that a second, lower flight is too.
    """
    places = [i for i, c in enumerate(captures) if c.height_takeoff_m is not None]
    heights = {i: float(captures[i].height_takeoff_m or 0.0) for i in places}
    if len(places) < 5:
        return {}
    median_m = float(np.median(list(heights.values())))
    limit_m = min(LOW_SHARE * median_m, median_m - LOW_MARGIN_M)
    xy = dict(zip(places, plane_metres(captures, places), strict=True))
    tails: set[int] = set()
    for flight in _flights(captures, places):
        first = next((k for k, i in enumerate(flight) if heights[i] >= limit_m), None)
        if first is None:
            continue
        last = max(k for k, i in enumerate(flight) if heights[i] >= limit_m)
        outside_in = ((flight[:first], flight[first]), (flight[:last:-1], flight[last]))
        for run, beside in outside_in:
            for index in run:
                climb_m = heights[beside] - heights[index]
                apart_m = float(np.hypot(*(xy[index] - xy[beside])))
                if abs(heights[index]) >= GROUND_M and not climb_m > apart_m:
                    break
                tails.add(index)
    if len(tails) > max(STRAGGLERS_ANYWAY, STRAGGLER_SHARE * len(places)):
        return {}
    return {
        i: f"{heights[i]:.1f} m above take-off at the start or end of a flight at {median_m:.1f} m"
        for i in tails
    }


def _foreign(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures that no camera took, as screenshots and thumbnails, among photographs.

    Their tags name no camera, no time and no position, where nearly all others name all three.
    """
    bare = [
        i
        for i, c in enumerate(captures)
        if not c.body and c.time_utc is None and c.longitude_deg is None
    ]
    tagged = sum(
        bool(c.body) and c.time_utc is not None and c.longitude_deg is not None for c in captures
    )
    if not bare or tagged < TAGGED_SHARE * len(captures):
        return {}
    return dict.fromkeys(
        bare,
        f"no camera, time or position in its tags, while {tagged} photographs have them: a "
        "screenshot, a thumbnail?",
    )


def _flights(captures: Sequence[Capture], places: Sequence[int]) -> list[list[int]]:
    """Part photographs by their flights, else by pauses; one flight without times."""
    if any(captures[i].time_utc is None for i in places):
        return [list(places)]
    if not all(captures[i].flight for i in places):
        return split_by_pauses(captures, places)
    in_order = sorted(places, key=lambda i: (captures[i].time_utc, captures[i].name))
    return [
        [i for i in in_order if captures[i].flight == flight]
        for flight in sorted({captures[i].flight for i in places})
    ]


def _isolated(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs, alone or up to three together, too far off to overlap any other."""
    places = [i for i, c in enumerate(captures) if c.longitude_deg is not None]
    if len(places) < 10:
        return {}
    xy = plane_metres(captures, places)
    distances = cKDTree(xy).query(xy, k=4)[0][:, 3]
    heights = [c.height_takeoff_m for c in captures if c.height_takeoff_m is not None]
    limit_m = max(
        ALONE_M,
        ALONE_FACTOR * float(np.median(distances)),
        ALONE_HEIGHTS * float(np.median(heights)) if heights else 0.0,
    )
    return {
        i: f"{distance:.0f} m from the block, where photographs lie {np.median(distances):.0f} m "
        "apart"
        for i, distance in zip(places, distances, strict=True)
        if distance > limit_m
    }


def plane_metres(captures: Sequence[Capture], places: Sequence[int]) -> NDArray[np.float64]:
    """Return plane coordinates (N, 2), good enough to compare distances within a survey.

    Rows of photographs without a position are NaN.
    """
    known = [(captures[i].longitude_deg, captures[i].latitude_deg) for i in places]
    lon, lat = np.radians(np.array(known, float)).T
    centre = next((row for row in known if None not in row), (0.0, 0.0))
    lon0, lat0 = np.radians(np.array(centre, float))
    return EARTH_RADIUS_M * np.column_stack([(lon - lon0) * np.cos(lat0), lat - lat0])


def find_blurred(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs far less sharp than their camera's others and than those taken around."""
    found = {}
    for camera in {c.camera_id for c in captures if c.sharpness is not None}:
        places = [
            i for i, c in enumerate(captures) if c.camera_id == camera and c.sharpness is not None
        ]
        if len(places) < 5:
            continue
        sharpness = np.array([captures[i].sharpness for i in places], float)
        median = float(np.median(sharpness))
        for k, index in enumerate(places):
            start = min(max(0, k - BLUR_NEIGHBOURS // 2), max(0, len(places) - BLUR_NEIGHBOURS - 1))
            around = float(np.median(sharpness[start : start + BLUR_NEIGHBOURS + 1]))
            if sharpness[k] < BLUR_SHARE * min(median, around):
                found[index] = (
                    f"sharpness {sharpness[k]:.0f}, while photographs around it have {around:.0f} "
                    f"and this camera's {median:.0f}"
                )
    return found


def find_empty(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures without any content."""
    return {
        i: "99 % of its pixels are black or zero"
        for i, c in enumerate(captures)
        if c.brightness is not None and c.brightness <= 0
    }


def find_overexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures of which much is saturated."""
    return {
        i: f"{c.clipped_share:.0%} of the picture is saturated{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.clipped_share is not None and c.clipped_share > CLIPPED_SHARE
    }


def find_underexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures that use next to nothing of the range of values.

    A camera none of whose pictures reaches an eighth of the range is taken to leave the upper bits
    of its files unused, as 12 bits in 16 do, and not to have exposed all of them wrongly.
    """
    reach: defaultdict[str, float] = defaultdict(float)
    for capture in captures:
        reach[capture.camera_id] = max(reach[capture.camera_id], capture.brightness or 0.0)
    return {
        i: f"99 % of the picture is below {c.brightness:.1%} of the range{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.brightness is not None
        and 0 < c.brightness < DARK
        and reach[c.camera_id] >= LEAST_REACH
    }


def _exposure(capture: Capture) -> str:
    return f", exposed {shutter(capture.exposure_s)}" if capture.exposure_s else ""


def find_implausible(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs whose tags cannot be true."""
    return {i: c.problems for i, c in enumerate(captures) if c.problems}


def find_unknown_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs of one band or of changed channels that nobody names."""
    return {
        i: f"the file does not say which bands it holds; {how_to_declare(c.camera_id)}"
        for i, c in enumerate(captures)
        if c.band == UNKNOWN_BAND
    }


def find_missing_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find captures that lack a band which at least half of their camera's captures have."""
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        counts = Counter(band for members in rigs.values() for band in {c.band for c in members})
        usual = [band for band, count in counts.items() if 2 * count >= len(rigs)]
        for rig, members in rigs.items():
            lacking = sorted(set(usual) - {c.band for c in members})
            if lacking:
                names = ", ".join(band or "RGB" for band in lacking)
                have = min(counts[band] for band in lacking)
                reason_of[rig] = (
                    f"its capture lacks {names}, which {have} of {len(rigs)} captures of this "
                    "camera have"
                )
    return _by_place(captures, reason_of)


def find_changed_exposures(captures: Sequence[Capture]) -> Verdicts:
    """Find captures whose bands differ in exposure where this camera's bands share theirs.

    Cameras that expose each band by itself, as the Sequoia does, are left alone.
    """
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        spread = {rig: _spread(members) for rig, members in rigs.items()}
        known = {rig: value for rig, value in spread.items() if value is not None}
        alike = sum(value <= SAME_EXPOSURE for value in known.values())
        if len(known) < LEAST_RIGS or 2 * alike <= len(known):
            continue
        for rig, value in known.items():
            if value > SAME_EXPOSURE:
                said = ", ".join(
                    f"{c.band} {shutter(c.exposure_s)} at gain {c.gain or 1:g}"
                    for c in rigs[rig]
                    if c.band and c.exposure_s
                )
                reason_of[rig] = (
                    f"exposure changed inside its capture ({said}), while this camera's bands "
                    "usually share one"
                )
    return _by_place(captures, reason_of)


def _rigs_by_body(captures: Sequence[Capture]) -> Iterator[dict[str, list[Capture]]]:
    """Yield the rigs of each camera body; that of the bands, where an RGB camera comes with it."""
    bodies: defaultdict[str, dict[str, list[Capture]]] = defaultdict(dict)
    for rig, members in rigs_of(captures).items():
        body = next((c.body for c in members if c.band), members[0].body)
        bodies[body][rig] = members
    yield from bodies.values()


def _spread(members: Sequence[Capture]) -> float | None:
    """Return the largest over the smallest exposure (time × gain) of a capture's bands."""
    values = [c.exposure_s * (c.gain or 1.0) for c in members if c.band and c.exposure_s]
    if len(values) < 2 or min(values) <= 0:
        return None
    return max(values) / min(values)


def _by_place(captures: Sequence[Capture], reason_of: dict[str, str]) -> Verdicts:
    return {i: reason_of[c.rig_id] for i, c in enumerate(captures) if c.rig_id in reason_of}


def shutter(exposure_s: float | None) -> str:
    """Return an exposure time as people write it.

    Examples
    --------
    >>> shutter(0.002), shutter(2.0)
    ('1/500 s', '2 s')
    """
    if not exposure_s:
        return "an unknown time"
    return f"1/{1 / exposure_s:.0f} s" if exposure_s < 0.5 else f"{exposure_s:g} s"


_RULES: tuple[tuple[Flag, Rule], ...] = (
    (Flag.DUPLICATE, find_duplicates),
    (Flag.NO_POSITION, find_unpositioned),
    (Flag.STRAGGLER, find_stragglers),
    (Flag.EMPTY, find_empty),
    (Flag.BLURRED, find_blurred),
    (Flag.OVEREXPOSED, find_overexposed),
    (Flag.UNDEREXPOSED, find_underexposed),
    (Flag.MISSING_BAND, find_missing_bands),
    (Flag.EXPOSURE_CHANGED, find_changed_exposures),
    (Flag.UNKNOWN_BAND, find_unknown_bands),
    (Flag.IMPLAUSIBLE, find_implausible),
)


def find_disagreements(captures: Sequence[Capture]) -> list[str]:
    """Return what does not fit together among photographs in use, a line each."""
    used = [capture for capture in captures if capture.used]
    return [*_mixed_firmware(used), *_elsewhere(used)]


def _mixed_firmware(captures: Sequence[Capture]) -> Iterator[str]:
    """Name models of band cameras whose photographs come from several versions of firmware."""
    versions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for capture in captures:
        if capture.band and capture.firmware:
            versions[capture.body.partition(" / ")[0]][capture.firmware] += 1
    for model, counts in versions.items():
        if len(counts) > 1:
            said = " and ".join(f"{version} ({n})" for version, n in sorted(counts.items()))
            yield (
                f"{model}: mixed firmware, {said} photographs; pixel values may differ between "
                "them: compare their calibrations"
            )


def _elsewhere(captures: Sequence[Capture]) -> Iterator[str]:
    """Name cameras with bands only that flew over another place, or on another day, than RGB."""
    placed = [c for c in captures if c.longitude_deg is not None and c.time_utc is not None]
    colour = [c for c in placed if not c.band]
    with_colour = {(c.flight, c.body) for c in colour}
    flights: defaultdict[tuple[str, str], list[Capture]] = defaultdict(list)
    for capture in placed:
        if capture.band and (capture.flight, capture.body) not in with_colour:
            flights[capture.flight, capture.body].append(capture)
    for bands in flights.values() if colour else ():
        away_m = _distances_m(bands, colour)
        limit_m = max(AWAY_M, AWAY_FACTOR * _spacing_m(colour))
        # Both ways, so that a NIR flight around a smaller RGB flight is not another place.
        apart = (away_m, _distances_m(colour, bands))
        if all(float(np.mean(distances > limit_m)) > MOSTLY for distances in apart):
            yield (
                f"{_named(bands)} lies {np.median(away_m):.0f} m away from {_named(colour)}: "
                "another place; keep them as two surveys"
            )
        elif {local_day(c) for c in bands}.isdisjoint({local_day(c) for c in colour}):
            yield (
                f"{_named(bands)} was flown on another day than {_named(colour)}: what grew, "
                "moved or melted in between will not match"
            )


def _named(captures: Sequence[Capture]) -> str:
    """Describe a set of photographs: bands, day, camera, and the first and last file."""
    bands = "/".join(sorted({c.band or "RGB" for c in captures}))
    model = Counter(c.body.partition(" / ")[0] for c in captures).most_common(1)[0][0]
    ordered = sorted(captures, key=lambda c: (c.time_utc is None, c.time_utc, c.name))
    return (
        f"{bands} of {said_days(captures)} ({model}, {len(captures)} photographs, "
        f"{ordered[0].name} to {ordered[-1].name})"
    )


def _distances_m(ones: Sequence[Capture], others: Sequence[Capture]) -> NDArray[np.float64]:
    """Return from each of `ones` the distance to the nearest of `others`."""
    both = [*ones, *others]
    xy = plane_metres(both, range(len(both)))
    return np.asarray(cKDTree(xy[len(ones) :]).query(xy[: len(ones)])[0])


def _spacing_m(captures: Sequence[Capture]) -> float:
    """Return the usual distance between neighbours; 0 for a single photograph."""
    if len(captures) < 2:
        return 0.0
    xy = plane_metres(captures, range(len(captures)))
    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1]))
