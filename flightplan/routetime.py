"""The whole way of a route, run-ins and transits included, and the time it takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from flightplan.motion import Motion, path_seconds
from flightplan.routes import Route

Float = NDArray[np.float64]


def route_path(route: Route) -> Float:
    """Return the whole way of a route (N, 2), from the first run-in to the last run-out."""
    return np.concatenate([part for part, _ in _parts(route)]) if route.lines else np.empty((0, 2))


def route_seconds(
    route: Route, motion: Motion, *, caps_m_s: Sequence[float] | None = None
) -> float:
    """Return the time of a route from the first run-in to the last run-out.

    Parameters
    ----------
    caps_m_s : sequence of float, optional
        Highest speed on each line; none by default.
    """
    caps = [math.inf] * len(route.lines) if caps_m_s is None else caps_m_s
    limits: list[float] = []
    for part, line in _parts(route):
        # The first leg leads from the part before to this one.
        limits += [math.inf] + [math.inf if line is None else caps[line]] * (len(part) - 1)
    return path_seconds(route_path(route), motion, caps_m_s=limits[1:])


def _parts(route: Route) -> Iterator[tuple[Float, int | None]]:
    """Yield the ways of a route in order, each with the number of its line, None for transits.

    Transits hold the run-outs and run-ins between lines; only the very first run-in and the very
    last run-out are in none.
    """
    last = len(route.lines) - 1
    for number, line in enumerate(route.lines):
        yield line.flown[0 if number == 0 else 1 : 4 if number == last else 3], number
        if number < last:
            yield route.transits[number], None
