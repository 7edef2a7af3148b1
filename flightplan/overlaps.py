"""How far the footprints of neighbouring photographs overlap on the ground as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flightplan.footprints import Photos, border_rays, cast
from flightplan.terrain import Terrain
from tmp.cameras import Camera

Float = NDArray[np.float64]

PARALLEL_DEG = 5.0
"""Lines whose courses differ by less, or by as much less than half a turn, are neighbours."""
HAIR_M = 1e-3
"""Lines that end at the same place are abreast there, whatever arithmetic says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laps:
    """Overlaps as fractions of a footprint, each with the place where it was found."""

    front: Float
    """Of each photograph with the next on its line, (N,); negative where there is a gap."""
    front_at: Float
    """Half way between the two, plan metres (N, 2)."""
    side: Float
    """Of each photograph with the nearest one on the next line, (M,)."""
    side_at: Float
    """(M, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Strip:
    """The photographs of one line, measured along and across a common course."""

    along: Float
    across: Float
    edges: Float
    """Back, front, left, right edge of each footprint along and across the course, (N, 4)."""
    places: Float


def measure_laps(photos: Photos, camera: Camera, terrain: Terrain) -> Laps:
    """Measure frontlap and sidelap between footprints cast on the terrain.

    Parameters
    ----------
    photos : Photos
    camera : Camera
    terrain : Terrain

    Notes
    -----
    Footprints are measured through their middle: from the middle of the far edge to that of the
    near one, and from left to right.  What relief does to their corners shows in the number of
    photographs, which `flightplan.proof` counts everywhere.  The length that an overlap is a
    fraction of is that of the shorter of both footprints.  Lines are neighbours if they are
    parallel, abreast of one another for at least part of their length, and no other line lies
    between.
    """
    hits = cast(photos, border_rays(camera, 2), terrain)[..., :2]
    front, front_at, side, side_at = [], [], [], []
    for numbers in _families(photos):
        strips = _strips(photos, hits, numbers)
        for strip in strips:
            if len(strip.along) > 1:
                front.append(_overlap(strip.edges[:-1, :2], strip.edges[1:, :2]))
                front_at.append((strip.places[:-1] + strip.places[1:]) / 2)
        for number, strip in enumerate(strips):
            beside = _next_strip(strip, strips[number + 1 :])
            if beside is None:
                continue
            nearest = np.abs(strip.along[:, None] - beside.along).argmin(axis=1)
            abreast = strip.along >= beside.along.min() - HAIR_M
            abreast &= strip.along <= beside.along.max() + HAIR_M
            side.append(_overlap(strip.edges[:, 2:], beside.edges[nearest, 2:])[abreast])
            side_at.append(((strip.places + beside.places[nearest]) / 2)[abreast])
    return Laps(
        front=np.concatenate([*front, np.empty(0)]),
        front_at=np.vstack([*front_at, np.empty((0, 2))]),
        side=np.concatenate([*side, np.empty(0)]),
        side_at=np.vstack([*side_at, np.empty((0, 2))]),
    )


def _families(photos: Photos) -> list[NDArray[np.int_]]:
    """Return the numbers of the lines that run along one another, to or fro."""
    numbers, first = np.unique(photos.line, return_index=True)
    courses = photos.heading_deg[first] % 180.0
    families: list[NDArray[np.int_]] = []
    left = np.ones(len(numbers), bool)
    while left.any():
        course = courses[np.argmax(left)]
        turned = np.abs((courses - course + 90.0) % 180.0 - 90.0)
        family = left & (turned < PARALLEL_DEG)
        families.append(numbers[family])
        left &= ~family
    return families


def _strips(photos: Photos, hits: Float, numbers: NDArray[np.int_]) -> list[_Strip]:
    """Return the lines of one family from left to right, each in its direction of the family."""
    first = int(np.flatnonzero(photos.line == numbers[0])[0])
    course = np.radians(photos.heading_deg[first])
    ahead = np.array([np.sin(course), np.cos(course)])
    right = np.array([ahead[1], -ahead[0]])
    strips = []
    for number in numbers:
        members = np.flatnonzero(photos.line == number)
        turned = np.cos(np.radians(photos.heading_deg[members[0]]) - course) < 0
        places = photos.position[members, :2]
        u, v = hits[members] @ ahead, hits[members] @ right
        # Border points run clockwise from the top left corner: middles of sides at 1, 3, 5, 7.
        front, right_edge, back, left_edge = u[:, 1], v[:, 3], u[:, 5], v[:, 7]
        if turned:
            front, back, left_edge, right_edge = back, front, right_edge, left_edge
        edges = np.column_stack([back, front, left_edge, right_edge])
        order = np.argsort(places @ ahead, kind="stable")
        strips.append(
            _Strip(
                along=(places @ ahead)[order],
                across=(places @ right)[order],
                edges=edges[order],
                places=places[order],
            )
        )
    return sorted(strips, key=lambda strip: float(strip.across.mean()))


def _next_strip(strip: _Strip, others: list[_Strip]) -> _Strip | None:
    """Return the first line to the right that is abreast of this one."""
    for other in others:
        collinear = abs(other.across.mean() - strip.across.mean()) < 0.01 * np.ptp(
            strip.edges[0, 2:]
        )
        if collinear or other.along.min() > strip.along.max():
            continue
        if other.along.max() >= strip.along.min():
            return other
    return None


def _overlap(one: Float, other: Float) -> Float:
    """Return the overlap of intervals (N, 2), as a fraction of the shorter one."""
    shorter = np.minimum(one[:, 1] - one[:, 0], other[:, 1] - other[:, 0])
    shared = np.minimum(one[:, 1], other[:, 1]) - np.maximum(one[:, 0], other[:, 0])
    return np.asarray(shared / np.maximum(shorter, 1e-6))
