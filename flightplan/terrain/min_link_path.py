"""The straightest way through a tube: a polyline of fewest links between two chains."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Point = tuple[float, float]

HAIR_M = 1e-6


@dataclass(frozen=True, slots=True)
class _Straight:
    """A straight line held by two points, `first` left of `last`."""

    slope: float
    first: Point
    last: Point

    def at(self, x: float) -> float:
        return self.last[1] + self.slope * (x - self.last[0])


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a line that every way farther on crosses, from its last support to its exit.

    One end lies on the lower chain, the other on the upper one.
    """

    near: Point
    far: Point
    near_is_lower: bool


@dataclass(slots=True)
class _Sight:
    """All straight lines above some points and below some others, which come from left to right.

    They lie between two: the steepest, held from below on its left, and the flattest (the one
    that rises least), held from above on its left.  Only points on the convex chains that face
    the lines can ever hold one.
    """

    lower: list[Point] = field(default_factory=list)
    upper: list[Point] = field(default_factory=list)
    steepest: _Straight | None = None
    flattest: _Straight | None = None

    def add(self, x: float, low: float | None, high: float | None) -> _Straight | None:
        """Ask lines to pass above `low` and below `high` at `x`; return the last line if none do.

        The line returned is the one that met all that was asked before and came nearest.
        """
        if high is not None and self.flattest is not None and self.flattest.at(x) > high:
            return self.flattest
        if low is not None and self.steepest is not None and self.steepest.at(x) < low:
            return self.steepest
        if high is not None and self.lower and self.lower[0][0] < x:
            if self.steepest is None or self.steepest.at(x) > high:
                self.steepest = _touch(self.lower, (x, high), 1.0)
        if low is not None and self.upper and self.upper[0][0] < x:
            if self.flattest is None or self.flattest.at(x) < low:
                self.flattest = _touch(self.upper, (x, low), -1.0)
        if low is not None:
            _append(self.lower, (x, low), 1.0)
        if high is not None:
            _append(self.upper, (x, high), -1.0)
        return None


def _touch(chain: list[Point], point: Point, side: float) -> _Straight:
    """Return the line through a point right of a chain that touches it; `side` 1 passes above.

    Slopes from the chain's points to the point fall and then rise (times `side`), so the search
    ends at the first rise.  It begins at the left end, and what it passes is dropped: later lines
    on this side touch no farther left.
    """
    best = 0
    slope = (point[1] - chain[0][1]) / (point[0] - chain[0][0])
    for index in range(1, len(chain)):
        if chain[index][0] >= point[0]:
            break
        other = (point[1] - chain[index][1]) / (point[0] - chain[index][0])
        if side * other > side * slope:
            break
        best, slope = index, other
    del chain[:best]
    return _Straight(slope, chain[0], point)


def _append(chain: list[Point], point: Point, side: float) -> None:
    """Add a point to a chain that turns right (`side` 1: over lower points) or left."""
    while len(chain) >= 2:
        (ax, az), (bx, bz) = chain[-2], chain[-1]
        if side * ((bz - az) * (point[0] - ax) - (point[1] - az) * (bx - ax)) > 0:
            break
        chain.pop()
    chain.append(point)


def fewest_links(
    x: Float, lower: Float, upper: Float, *, climb: float, descent: float
) -> tuple[Float, Float]:
    """Return the polyline of fewest vertices (M,) that stays between two chains (N,).

    The chains are straight between the `x`, which increase strictly, N at least 2, and ``lower <
    upper`` throughout.  They, and the polyline, rise no faster than `climb` nor fall faster than
    `descent`.  It goes from ``x[0]`` to ``x[-1]``; vertices lie anywhere, not only at the `x`.

    Notes
    -----
    Greedy by windows: each link is the line that reaches farthest; the part of it between its
    last support and its exit separates what is behind from what is ahead, so every way crosses
    it, and all its points are reached with the links used so far.  The next link starts from
    there.  Time is linear but for the ends of links, which are seen twice.

    Slope limits cost no link and need no care, since the chains keep them: a line that reaches
    farthest is held, with its exit, by points of both chains in turn, and two chains that rise
    no faster than `climb` cannot hold a line steeper than that.  Only the last link has room to
    choose.

    References
    ----------
    Suri, S. (1986). A linear time algorithm for minimum link paths inside a simple polygon.
    Computer Vision, Graphics, and Image Processing 35(1).
    O'Rourke, J. (1981). An on-line algorithm for fitting straight lines between data ranges.
    Communications of the ACM 24(9).
    """
    xs, lows, highs = x.tolist(), lower.tolist(), upper.tolist()
    links: list[_Straight] = []
    turns: list[Point] = []
    window: _Window | None = None
    while True:
        link, blocked = _farthest(xs, lows, highs, window, (-descent, climb))
        if links and window is not None:
            turns.append(_crossing(links[-1], link, window))
        links.append(link)
        if blocked is None:
            break
        window = _window(link, blocked, xs, (lows, highs))
    start, end = (xs[0], links[0].at(xs[0])), (xs[-1], links[-1].at(xs[-1]))
    kept = [start]
    for turn in turns:
        # Of vertices that rounding alone keeps apart one is enough.
        if kept[-1][0] + HAIR_M < turn[0] < end[0] - HAIR_M:
            kept.append(turn)
    return np.array([x for x, _ in [*kept, end]]), np.array([z for _, z in [*kept, end]])


def _farthest(
    xs: list[float],
    lows: list[float],
    highs: list[float],
    window: _Window | None,
    slopes: tuple[float, float],
) -> tuple[_Straight, int | None]:
    """Return the line from a window that reaches farthest, and the sample that stops it."""
    sight = _Sight()
    for x, low, high, index in _asked(xs, lows, highs, window):
        link = sight.add(x, low, high)
        if link is not None:
            return link, index
    return _between(sight, slopes), None


def _asked(
    xs: list[float], lows: list[float], highs: list[float], window: _Window | None
) -> Iterator[tuple[float, float | None, float | None, int]]:
    """Yield what lines from a window must pass above and below, from left to right.

    A line that crosses the window beyond its near end lies on the near side of the window's own
    line before that, so it may be held to the whole chain there; to the other chain only beyond
    the far end.
    """
    if window is None:
        for index in range(len(xs)):
            yield xs[index], lows[index], highs[index], index
        return
    (near_x, near_z), (far_x, far_z), low_first = window.near, window.far, window.near_is_lower
    index = bisect_right(xs, near_x)
    yield near_x, near_z if low_first else None, None if low_first else near_z, index
    while index < len(xs) and xs[index] <= far_x:
        low, high = lows[index], highs[index]
        yield xs[index], low if low_first else None, None if low_first else high, index
        index += 1
    yield far_x, None if low_first else far_z, far_z if low_first else None, index
    for beyond in range(index, len(xs)):
        yield xs[beyond], lows[beyond], highs[beyond], beyond


def _between(sight: _Sight, slopes: tuple[float, float]) -> _Straight:
    """Return the line half way between the flattest and the steepest, within slope limits."""
    flat, steep = sight.flattest, sight.steepest
    if flat is None or steep is None:
        # The line before ran into the chain right at the end: nothing lies beyond its window.
        only = flat or steep
        if only is None:
            raise ValueError("a tube needs at least two samples")
        return only
    share = 0.5
    if steep.slope > flat.slope:
        least, most = ((limit - flat.slope) / (steep.slope - flat.slope) for limit in slopes)
        share = min(max(share, least, 0.0), most, 1.0)
    first_x, last_x = flat.first[0], steep.last[0]
    first_z, last_z = (
        (1 - share) * flat.at(place) + share * steep.at(place) for place in (first_x, last_x)
    )
    slope = (1 - share) * flat.slope + share * steep.slope
    return _Straight(slope, (first_x, first_z), (last_x, last_z))


def _window(
    link: _Straight, blocked: int, xs: list[float], chains: tuple[list[float], list[float]]
) -> _Window:
    """Return the window on a line that runs into a chain before the sample `blocked`."""
    lows, highs = chains
    rises_out = link.at(xs[blocked]) > highs[blocked]
    chain = highs if rises_out else lows
    left, right = xs[blocked - 1], xs[blocked]
    slope = (chain[blocked] - chain[blocked - 1]) / (right - left)
    beyond = link.at(right) - chain[blocked]
    x = right if slope == link.slope else right - beyond / (link.slope - slope)
    x = min(max(x, left, link.last[0]), right)
    return _Window(near=link.last, far=(x, link.at(x)), near_is_lower=rises_out)


def _crossing(before: _Straight, after: _Straight, window: _Window) -> Point:
    """Return where two links meet, on the window between them."""
    if before.slope == after.slope:
        return window.far
    x = before.last[0] + (after.at(before.last[0]) - before.last[1]) / (before.slope - after.slope)
    x = min(max(x, window.near[0]), window.far[0])
    return x, before.at(x)
