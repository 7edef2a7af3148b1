"""Ways from one flight line to another that keep out of obstacles: shortest paths round corners."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import dijkstra, shortest_path
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.motion import Motion

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

TOUCH_M = 0.01
"""A way may run along an obstacle's rim; only what goes deeper than this is in it."""


class Airspace:
    """The plane without obstacles.

    Parameters
    ----------
    obstacles : shapely geometry
        Polygons that no way may enter, plan metres; may be empty.
    clearance_m : float
        Distance kept from obstacles.
    within : shapely geometry, optional
        Area that no way may leave.

    Notes
    -----
    The shortest way among polygons bends only at their convex corners, so it is looked for in the
    graph of corners that see each other, by time.  Corners closer together than half the
    clearance are made one.

    References
    ----------
    Lozano-Pérez, T., & Wesley, M. A. (1979). An algorithm for planning collision-free paths among
    polyhedral obstacles. Communications of the ACM 22(10).
    """

    def __init__(
        self,
        obstacles: BaseGeometry,
        *,
        clearance_m: float = 0.0,
        within: BaseGeometry | None = None,
    ) -> None:
        solid = obstacles.buffer(clearance_m, join_style="mitre", mitre_limit=2.0)
        if clearance_m > 0:
            solid = solid.simplify(clearance_m / 2)
        if within is not None:
            frame = shapely.box(*within.union(solid).bounds).buffer(1000.0)
            solid = solid.union(frame.difference(within))
        self.solid: BaseGeometry = solid
        self._inside = solid.buffer(-TOUCH_M, join_style="mitre")
        shapely.prepare(self._inside)
        self.free = self._inside.is_empty
        self._corners = _convex_corners(solid)
        self._between: tuple[Motion, Float] | None = None

    def blocked(self, starts: ArrayLike, ends: ArrayLike) -> Mask:
        """Tell for straight ways from starts (N, 2) to ends (N, 2) which enter an obstacle."""
        starts, ends = np.atleast_2d(starts), np.atleast_2d(ends)
        if self.free:
            return np.zeros(len(starts), bool)
        ways = shapely.linestrings(np.stack([starts, ends], axis=1))
        return np.asarray(shapely.intersects(self._inside, ways))

    def open_parts(self, start: ArrayLike, end: ArrayLike) -> Float:
        """Return the parts of a line outside obstacles as distances from its start, (K, 2)."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.hypot(*(end - start)))
        if self.free:
            return np.array([[0.0, length]])
        rest = shapely.linestrings([start, end]).difference(self.solid)
        parts = [np.asarray(part.coords) for part in shapely.get_parts(rest) if not part.is_empty]
        if not parts:
            return np.empty((0, 2))
        ends = np.array([[part[0], part[-1]] for part in parts])
        return np.asarray(np.sort(np.hypot(*np.moveaxis(ends - start, 2, 0)), axis=1))

    def seconds(self, starts: Float, ends: Float, motion: Motion) -> Float:
        """Return the time (N, M) from each start (N, 2) to each end (M, 2) round the obstacles.

        A stop is made at every bend; stops at the ends themselves cost no corner.  Infinite where
        there is no way.
        """
        straight = _leg_matrix(starts, ends, motion)
        ways = starts.repeat(len(ends), 0), np.tile(ends, (len(starts), 1))
        blocked = self.blocked(*ways).reshape(straight.shape)
        if not blocked.any():
            return straight
        if len(self._corners) == 0:
            return np.where(blocked, np.inf, straight)
        first = self._seen_seconds(starts, self._corners, motion)
        last = self._seen_seconds(self._corners, ends, motion)
        middle = self._between_corners(motion)
        to_corner = (first[:, :, None] + middle[None]).min(axis=1, initial=np.inf)
        detour = np.full_like(straight, np.inf)
        for corner in range(len(self._corners)):
            np.minimum(detour, to_corner[:, corner, None] + last[None, corner], out=detour)
        return np.where(blocked, detour + motion.corner_s, straight)

    def way(self, start: ArrayLike, end: ArrayLike, motion: Motion) -> Float | None:
        """Return the quickest way (N, 2) from start to end, or None where there is none."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        if not self.blocked(start, end)[0]:
            return np.array([start, end])
        count = len(self._corners)
        graph = np.full((count + 2, count + 2), np.inf)
        graph[:count, :count] = self._seen_seconds(self._corners, self._corners, motion)
        graph[:count, :count] += motion.corner_s
        graph[count, :count] = self._seen_seconds(start[None], self._corners, motion)[0]
        graph[:count, count + 1] = self._seen_seconds(self._corners, end[None], motion)[:, 0]
        away, before = dijkstra(graph, indices=count, return_predecessors=True)
        if not math.isfinite(away[count + 1]):
            return None
        bends = []
        at = int(before[count + 1])
        while at != count:
            bends.append(self._corners[at])
            at = int(before[at])
        return np.array([start, *bends[::-1], end])

    def _seen_seconds(self, starts: Float, ends: Float, motion: Motion) -> Float:
        """Return the time (N, M) of straight ways, infinite for those that are blocked."""
        ways = starts.repeat(len(ends), 0), np.tile(ends, (len(starts), 1))
        blocked = self.blocked(*ways).reshape(len(starts), len(ends))
        return np.where(blocked, np.inf, _leg_matrix(starts, ends, motion))

    def _between_corners(self, motion: Motion) -> Float:
        """Return the time (K, K) from corner to corner, stops at the bends between included."""
        if self._between is None or self._between[0] != motion:
            legs = self._seen_seconds(self._corners, self._corners, motion) + motion.corner_s
            np.fill_diagonal(legs, 0.0)
            self._between = motion, np.asarray(shortest_path(legs))
        return self._between[1]


def _leg_matrix(starts: Float, ends: Float, motion: Motion) -> Float:
    return motion.leg_seconds(ends[None, :, :] - starts[:, None, :])


def _convex_corners(solid: BaseGeometry) -> Float:
    """Return the corners (K, 2) of polygons that a taut string could bend round."""
    corners = []
    for polygon in shapely.get_parts(solid):
        if not isinstance(polygon, Polygon) or polygon.is_empty:
            continue
        oriented = shapely.geometry.polygon.orient(polygon)
        for ring in (oriented.exterior, *oriented.interiors):
            points = np.asarray(ring.coords)[:-1]
            before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
            # Counter-clockwise outside, clockwise inside: left turns stick out of the solid.
            left = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] > 0
            corners.append(points[left])
    return np.concatenate(corners) if corners else np.empty((0, 2))


def obstacles_of(area: Polygon | MultiPolygon, exclusions: BaseGeometry | None) -> BaseGeometry:
    """Return what may not be flown over: the area's holes and the exclusions.

    What of another polygon of the area lies in a hole stays open.
    """
    holes = [Polygon(ring) for part in shapely.get_parts(area) for ring in part.interiors]
    solid = shapely.union_all(holes).difference(area) if holes else Polygon()
    return solid if exclusions is None else solid.union(exclusions)
