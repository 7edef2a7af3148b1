"""A second opinion on a plan, from its mission files, its camera and the ground alone.

Nothing of the planner is used.  Plane: metres east and north of a place, through Earth-centred
coordinates.  Heights: as the elevation model has them; a mission's start from the ground where it
takes off.  Written with plain numpy, so that a mistake would have to be made twice.
"""

from __future__ import annotations

import json
import math
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer

Float = NDArray[np.float64]
ROOT = Path(__file__).parents[2]
LATE_M = 0.07
"""By which an autopilot releases late at every photograph, see docs/mission-files.md."""
BRAKES_M_S2 = 2.0
RAY_STEP_M = 1.5
SEMI_MAJOR_M, FLATTENING = 6378137.0, 1 / 298.257223563


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Metres east and north of a place."""

    lon_deg: float
    lat_deg: float

    def at(self, lon_lat: object) -> Float:
        """Return plane coordinates (N, 2) of longitudes and latitudes (N, 2)."""
        lon, lat = np.radians(np.asarray(lon_lat, float).reshape(-1, 2)).T
        lon_0, lat_0 = math.radians(self.lon_deg), math.radians(self.lat_deg)
        away = _earth_centred(lon, lat) - _earth_centred(np.array([lon_0]), np.array([lat_0]))
        east = [-math.sin(lon_0), math.cos(lon_0), 0.0]
        north = [
            -math.sin(lat_0) * math.cos(lon_0),
            -math.sin(lat_0) * math.sin(lon_0),
            math.cos(lat_0),
        ]
        return np.column_stack([away @ east, away @ north])


def _earth_centred(lon: Float, lat: Float) -> Float:
    squared = FLATTENING * (2 - FLATTENING)
    across = SEMI_MAJOR_M / np.sqrt(1 - squared * np.sin(lat) ** 2)
    return np.column_stack(
        [
            across * np.cos(lat) * np.cos(lon),
            across * np.cos(lat) * np.sin(lon),
            across * (1 - squared) * np.sin(lat),
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A pinhole, by the catalogue's file."""

    f_px: float
    width_px: float
    height_px: float


def lens(key: str) -> Lens:
    """Return a camera of the catalogue."""
    text = (ROOT / "flightplan" / "equipment" / "equipment.toml").read_text("utf-8")
    entry = tomllib.loads(text)["camera"][key]
    return Lens(f_px=entry["f_px"], width_px=entry["width_px"], height_px=entry["height_px"])


class Ground:
    """Heights between the centres of an elevation model's cells, bilinear; level without one."""

    def __init__(self, plane: Plane, dem: Path | None, reach_m: float, step_m: float = 1.0):
        side = np.arange(-reach_m, reach_m + step_m, step_m)
        self.first_m, self.step_m = -reach_m, step_m
        self.heights = np.zeros((len(side), len(side)))
        if dem is None:
            return
        # Plane to longitude and latitude by Newton's steps on `Plane.at`.
        x, y = (one.ravel() for one in np.meshgrid(side, side))
        lon_lat = np.full((len(x), 2), (plane.lon_deg, plane.lat_deg))
        per_deg = 111_000 * np.array([math.cos(math.radians(plane.lat_deg)), 1.0])
        for _ in range(6):
            lon_lat += (np.column_stack([x, y]) - plane.at(lon_lat)) / per_deg
        with rasterio.open(dem) as file:
            values, at = file.read(1).astype(float), file.transform
            into = Transformer.from_crs("EPSG:4326", file.crs, always_xy=True)
        east, north = into.transform(*lon_lat.T)
        col, row = (east - at.c) / at.a, (north - at.f) / at.e
        self.heights = _bilinear(values, col - 0.5, row - 0.5).reshape(len(side), len(side))

    def at(self, x: Float, y: Float) -> Float:
        """Return heights at plane coordinates."""
        col, row = (x - self.first_m) / self.step_m, (y - self.first_m) / self.step_m
        return _bilinear(self.heights, col, row)

    def slopes(self, x: Float, y: Float) -> tuple[Float, Float]:
        """Return the rise to the east and to the north."""
        half = self.step_m
        east = (self.at(x + half, y) - self.at(x - half, y)) / (2 * half)
        return east, (self.at(x, y + half) - self.at(x, y - half)) / (2 * half)


def _bilinear(values: Float, col: Float, row: Float) -> Float:
    rows, cols = values.shape
    c, r = (np.clip(np.floor(one).astype(int), 0, n - 2) for one, n in ((col, cols), (row, rows)))
    a, b = np.clip(col - c, 0, 1), np.clip(row - r, 0, 1)
    upper = values[r, c] * (1 - a) + values[r, c + 1] * a
    return np.asarray(upper * (1 - b) + (values[r + 1, c] * (1 - a) + values[r + 1, c + 1] * a) * b)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A waypoint of a file, and what holds on the way to the next."""

    lon_deg: float
    lat_deg: float
    height_m: float
    speed_m_s: float
    spacing_m: float
    """0 with the camera off."""
    heading_deg: float
    """NaN where the drone faces the way it flies."""
    pitch_deg: float
    stops: bool


@dataclass(frozen=True, kw_only=True)
class Flown:
    """A mission as its file has it."""

    takeoff: tuple[float, float]
    points: list[Point]


def read_plan_file(path: Path) -> Flown:
    """Read QGroundControl's JSON."""
    mission = json.loads(path.read_text("utf-8"))["mission"]
    items: list[dict] = []
    for one in mission["items"]:
        inner = one.get("TransectStyleComplexItem", {}).get("Items")
        items += inner if inner else [one]
    lat, lon, _ = mission["plannedHomePosition"]
    px4 = mission["firmwareType"] == 12
    points: list[dict] = []
    speed, pitch, spacing = mission["cruiseSpeed"], -90.0, 0.0
    for item in items:
        p = [math.nan if value is None else value for value in item["params"]]
        match item["command"]:
            case 16:
                points.append(
                    {"lat_deg": p[4], "lon_deg": p[5], "height_m": p[6], "stops": p[0] > 0}
                    | {"heading_deg": p[3] if px4 else math.nan}
                )
                assert item["frame"] == 3
            case 178:
                speed = p[1]
            case 205:
                pitch = p[0]
            case 206:
                spacing = p[0]
            case 115:
                points[-1]["heading_deg"] = p[0]
            case 20 | 22:
                pass
            case other:
                raise AssertionError(f"command {other} in {path}")
        if points:
            points[-1] |= {"speed_m_s": speed, "pitch_deg": pitch, "spacing_m": spacing}
    return Flown(takeoff=(lon, lat), points=[Point(**one) for one in points])


def read_wpml_file(path: Path, takeoff: tuple[float, float]) -> Flown:
    """Read what DJI's drones fly, `waylines.wpml`."""
    with zipfile.ZipFile(path) as archive:
        root = ElementTree.fromstring(archive.read("wpmz/waylines.wpml"))
    for one in root.iter():
        one.tag = one.tag.rpartition("}")[2]
    found, on = [], {}
    for mark in root.iter("Placemark"):
        index = int(mark.findtext("index"))
        pitch = next(
            (float(one.text) for one in mark.iter("gimbalPitchRotateAngle")),
            found[-1].pitch_deg if found else -90.0,
        )
        for group in mark.findall("actionGroup"):
            if group.findtext("actionTrigger/actionTriggerType") == "multipleDistance":
                first, last = (int(group.findtext(f"actionGroup{end}Index"))
                               for end in ("Start", "End"))  # fmt: skip
                every = float(group.findtext("actionTrigger/actionTriggerParam"))
                on |= dict.fromkeys(range(first, last), every)
        lon, lat = map(float, mark.findtext("Point/coordinates").split(",")[:2])
        follows = mark.findtext("waypointHeadingParam/waypointHeadingMode") == "followWayline"
        angle = float(mark.findtext("waypointHeadingParam/waypointHeadingAngle"))
        found.append(
            Point(
                lon_deg=lon,
                lat_deg=lat,
                height_m=float(mark.findtext("executeHeight")),
                speed_m_s=float(mark.findtext("waypointSpeed")),
                spacing_m=on.get(index, 0.0),
                heading_deg=math.nan if follows else angle,
                pitch_deg=pitch,
                stops="Stop" in mark.findtext("waypointTurnParam/waypointTurnMode"),
            )
        )
    return Flown(takeoff=takeoff, points=found)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A photograph: plane coordinates, height of the datum, and where it looks."""

    at: tuple[float, float, float]
    heading_deg: float
    pitch_deg: float


def _legs(flown: Flown, plane: Plane, home_m: float) -> Iterator[tuple[Point, Float, Float]]:
    """Yield the ways between waypoints, each with its ends (3,)."""
    xy = plane.at([(p.lon_deg, p.lat_deg) for p in flown.points])
    ends = np.column_stack([xy, [home_m + p.height_m for p in flown.points]])
    yield from zip(flown.points, ends[:-1], ends[1:], strict=False)


def by_distance(flown: Flown, plane: Plane, home_m: float) -> Iterator[Shot]:
    """Yield the photographs of a file whose drone releases by distance, late at each."""
    since_m, was_on = 0.0, False
    for point, here, there in _legs(flown, plane, home_m):
        length = float(np.hypot(*(there - here)[:2]))
        if not point.spacing_m:
            was_on = False
            continue
        at_m = 0.0 if not was_on else point.spacing_m + LATE_M - since_m
        last_m = -since_m if was_on else 0.0
        while at_m < length:
            yield _shot(point, here, there, at_m / max(length, 1e-9))
            last_m, at_m = at_m, at_m + point.spacing_m + LATE_M
        since_m, was_on = length - last_m, True


def by_timer(
    flown: Flown, plane: Plane, home_m: float, every_s: float, phase: float
) -> Iterator[Shot]:
    """Yield the photographs of a timer that runs from before the first waypoint to the last.

    `phase` is the fraction of an interval at which the first is taken.  The drone speeds up from
    and brakes to each waypoint at which it stops, by `BRAKES_M_S2`.
    """
    next_s, now_s = phase * every_s, 0.0
    legs = list(_legs(flown, plane, home_m))
    stops = [True, *(p.stops for p in flown.points[1:-1]), True]
    for number, (point, here, there) in enumerate(legs):
        length = float(np.linalg.norm(there - here))
        way = _trapezium(length, point.speed_m_s, stops[number], stops[number + 1])
        took_s = way[0]
        while next_s <= now_s + took_s:
            yield _shot(point, here, there, way[1](next_s - now_s) / max(length, 1e-9))
            next_s += every_s
        now_s += took_s


def _trapezium(
    length: float, speed: float, from_rest: bool, to_rest: bool
) -> tuple[float, Callable[[float], float]]:
    """Return the time of a way, and where on it the drone is at a time."""
    a = BRAKES_M_S2
    top = min(speed, math.sqrt(a * length / max((from_rest + to_rest) / 2, 1e-9)))
    up_m, down_m = (top**2 / (2 * a) * rest for rest in (from_rest, to_rest))
    up_s, down_s = (top / a * rest for rest in (from_rest, to_rest))
    level_s = max(length - up_m - down_m, 0.0) / top

    def at(t: float) -> float:
        if t < up_s:
            return a * t * t / 2
        if t < up_s + level_s:
            return up_m + top * (t - up_s)
        left_s = max(up_s + level_s + down_s - t, 0.0)
        return length - (a * left_s**2 / 2 if to_rest else 0.0)

    return up_s + level_s + down_s, at


def _shot(point: Point, here: Float, there: Float, part: float) -> Shot:
    x, y, z = here + min(part, 1.0) * (there - here)
    course = math.degrees(math.atan2(*(there - here)[:2]))
    heading = course if math.isnan(point.heading_deg) else point.heading_deg
    return Shot(at=(x, y, z), heading_deg=heading, pitch_deg=point.pitch_deg)


def look(
    shots: list[Shot], camera: Lens, ground: Ground, places: Float
) -> tuple[NDArray[np.int_], Float]:
    """Return by how many photographs places (N, 2) are seen, and their best GSD in metres."""
    x, y = places.T
    z = ground.at(x, y)
    rise = ground.slopes(x, y)
    one, nothing = np.ones_like(x), np.zeros_like(x)
    tangents = np.stack([one, nothing, rise[0]]), np.stack([nothing, one, rise[1]])
    lift = 1 + rise[0] ** 2 + rise[1] ** 2
    steep = float(np.hypot(*rise).max(initial=0.0)) > 0.05
    count, best = np.zeros(len(x), int), np.full(len(x), np.inf)
    for shot in shots:
        h, p = math.radians(shot.heading_deg), math.radians(shot.pitch_deg)
        right = np.array([math.cos(h), -math.sin(h), 0.0])
        ahead = np.array([math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)])
        down = np.cross(ahead, right)
        ray = np.stack([x, y, z]) - np.array(shot.at)[:, None]
        depth = ahead @ ray
        u, v = (right @ ray) / depth, (down @ ray) / depth
        half_u, half_v = camera.width_px / 2 / camera.f_px, camera.height_px / 2 / camera.f_px
        seen = (depth > 0) & (np.abs(u) <= half_u) & (np.abs(v) <= half_v)
        seen &= -ray[2] > np.hypot(ray[0], ray[1]) * math.tan(math.radians(10.0))
        if steep:
            seen[seen] = ~_hidden(np.array(shot.at), x[seen], y[seen], z[seen], ground)
        count += seen
        # A pixel on the ground: the tangent plane's Jacobian, pixels per metre along each tangent.
        j = [
            [camera.f_px * (side @ t - w * (ahead @ t)) / depth for t in tangents]
            for side, w in ((right, u), (down, v))
        ]
        # In orthonormal coordinates of the plane |J|² = tr(J G⁻¹ Jᵀ), G the metric of its tangents.
        g00, g11, g01 = 1 + rise[0] ** 2, 1 + rise[1] ** 2, rise[0] * rise[1]
        rows = [(a * a * g11 - 2 * a * b * g01 + b * b * g00) / lift for a, b in j]
        det = np.abs(j[0][0] * j[1][1] - j[0][1] * j[1][0]) / np.sqrt(lift)
        total = rows[0] + rows[1]
        larger = np.sqrt((total + np.sqrt(np.maximum(total**2 - 4 * det**2, 0))) / 2)
        best = np.where(seen, np.minimum(best, larger / det), best)
    return count, best


def _hidden(eye: Float, x: Float, y: Float, z: Float, ground: Ground) -> NDArray[np.bool_]:
    """Tell which places the ground hides from the eye, looked at every `RAY_STEP_M`."""
    away = np.hypot(x - eye[0], y - eye[1])
    steps = max(int(away.max(initial=0.0) / RAY_STEP_M), 1)
    out = np.zeros(len(x), bool)
    for part in np.arange(1, steps) / steps:
        at = x + part * (eye[0] - x), y + part * (eye[1] - y)
        out |= ground.at(*at) > z + part * (eye[2] - z) + 0.02
    return out


def clearance(flown: Flown, plane: Plane, ground: Ground, home_m: float) -> Float:
    """Return the height above the ground at every metre of a mission's way."""
    found = []
    for _, here, there in _legs(flown, plane, home_m):
        count = max(math.ceil(float(np.hypot(*(there - here)[:2]))), 1)
        part = np.linspace(0, 1, count + 1)[:, None]
        x, y, z = (here + part * (there - here)).T
        found.append(z - ground.at(x, y))
    return np.concatenate(found)


def way_home(flown: Flown, plane: Plane, ground: Ground, home_m: float, return_m: float) -> Float:
    """Return the height above the ground at every metre of the ways home from all waypoints.

    The drone climbs to the return height, or stays as high as it is, and flies straight.
    """
    at = plane.at([(p.lon_deg, p.lat_deg) for p in flown.points])
    (home,) = plane.at([flown.takeoff])
    found = []
    for here, point in zip(at, flown.points, strict=True):
        part = np.linspace(0, 1, math.ceil(math.dist(here, home)) + 1)[:, None]
        x, y = (here + part * (home - here)).T
        found.append(home_m + max(return_m, point.height_m) - ground.at(x, y))
    return np.concatenate(found)


def places_in(rings: list[list[Float]], step_m: float) -> Float:
    """Return a grid over polygons, each an outline and holes (N, 2), and points just within edges.

    Points lie a hand's breadth inside edges, so that rounding does not put them out.
    """
    outlines = np.concatenate([each[0] for each in rings])
    low, high = outlines.min(axis=0), outlines.max(axis=0)
    x, y = np.meshgrid(*(np.arange(a + 0.3, b, step_m) for a, b in zip(low, high, strict=True)))
    tried = [np.column_stack([x.ravel(), y.ravel()])]
    for ring in (one for each in rings for one in each):
        for here, there in pairwise(ring):
            way = there - here
            length = float(np.hypot(*way))
            across = np.array([-way[1], way[0]]) / length * 0.1
            part = np.linspace(0, 1, max(int(length / step_m), 2) + 1)[:, None]
            tried += [here + part * way + across, here + part * way - across]
    points = np.concatenate(tried)
    inside = np.zeros(len(points), bool)
    for outline, *holes in rings:
        within = _within(outline, points)
        for hole in holes:
            within &= ~_within(hole, points)
        inside |= within
    return points[inside]


def _within(ring: Float, points: Float) -> NDArray[np.bool_]:
    """Tell which points lie in a ring, by how often a ray to the east crosses it."""
    x, y = points.T
    inside = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in pairwise(ring):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside
