"""Waypoint heights that keep a drone inside a band above the ground, with as few as possible.

The lower edge of the band is safety and never gives way.  The upper edge is resolution: where the
drone cannot climb or descend fast enough to keep both, it flies higher, and says where.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.terrain.min_link_path import fewest_links
from tmp.errors import InputError

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

ROOM_M = 0.01
"""Least height of the tube that is flown through; only where the band leaves no room at all."""
HAIR = 1e-6
"""Part of the way between two samples that is too short for another between them."""
ROUNDS = 4
"""Halvings of the search for the narrowest part of the band that needs no more waypoints."""
SPEED_ROUNDS = 10
"""Halvings of the search for a speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightBand:
    """Where above the ground a drone may fly, and how fast it climbs and descends."""

    height_m: float
    """Wanted height above ground."""
    below_m: float
    """How much lower it may be."""
    above_m: float
    """How much higher it may be."""
    climb: float
    """Greatest climb, metres up for each metre along: rate of climb over ground speed."""
    descent: float
    """Greatest descent, metres down for each metre along; positive."""

    def __post_init__(self) -> None:
        if not (self.below_m >= 0 and self.above_m >= 0 and self.climb > 0 and self.descent > 0):
            raise InputError(
                f"height band of -{self.below_m!r} m to +{self.above_m!r} m at slopes of "
                f"{self.climb!r} up and {self.descent!r} down cannot be flown; "
                "tolerances must not be negative, slopes must be positive"
            )
        if not self.height_m > self.below_m:
            raise InputError(
                f"height band reaches the ground: {self.height_m!r} m above it, less "
                f"{self.below_m!r} m; fly higher or allow less"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """A stretch that has to be flown above the band, for the sake of a slope that is too steep."""

    start_m: float
    end_m: float
    """Distances along the way."""
    most_m: float
    """How far above the band at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightProfile:
    """Heights along a way: straight between waypoints."""

    distance_m: Float
    """(M,) of the waypoints along the way, from its first sample to its last."""
    height_m: Float
    """(M,) in the vertical datum of the ground, not above it."""
    excesses: tuple[Excess, ...] = ()
    """Where it lies above the band, in order; empty where the band can be kept."""

    def at(self, distance_m: ArrayLike) -> Float:
        """Return the flying height (N,) at distances along the way (N,)."""
        return np.asarray(np.interp(np.asarray(distance_m, float), self.distance_m, self.height_m))


def fit_heights(
    distance_m: ArrayLike,
    ground_m: ArrayLike,
    band: HeightBand,
    *,
    highest_m: ArrayLike | None = None,
) -> FlightProfile:
    """Return the flight profile of fewest waypoints inside a height band.

    The ground (N,) is straight between samples at distances (N,) that increase strictly;
    `highest_m` (N,) is the highest ground that the drone might come over, such as that of a
    corridor as wide as its position is uncertain, by default the ground itself.

    The profile lies at or above ``highest + height - below`` everywhere, at or below ``ground +
    height + above`` wherever the slope limits and the corridor allow it, and is never steeper
    than the limits.  No polyline in that tube has fewer waypoints; of those with as few, it is one
    that stays near the wanted height.

    Raises
    ------
    InputError
        If samples are fewer than two, not finite, or not in order.

    Notes
    -----
    The lowest flyable curve over the lower edge is its upper envelope by cones of the greatest
    slopes, ``L(x) = max(low(x') - slope · |x - x'|)``: every flight that is safe lies above it,
    and it is one itself.  Where it is above the band's upper edge, that edge is lifted to it and
    no further.  The upper edge is then lowered to what can be left again in time, by the same
    cones upside down.  In the tube that is left each point is part of some flight, and
    `flightplan.terrain.min_link_path.fewest_links` finds the one of fewest waypoints.

    Examples
    --------
    A step of 60 m in the ground within 30 m cannot be followed at 0.375 m per metre: the drone
    begins to climb before it, above the band.

    >>> band = HeightBand(height_m=50, below_m=5, above_m=5, climb=0.375, descent=0.375)
    >>> flight = fit_heights([0, 600, 630, 1200], [40, 40, 100, 100], band)
    >>> len(flight.distance_m), [round(excess.most_m) for excess in flight.excesses]
    (4, [39])
    """
    x, ground, highest = _samples(distance_m, ground_m, highest_m)
    edges = np.array(
        [highest + band.height_m - band.below_m, ground + band.height_m + band.above_m]
    )
    x, (floor, ceiling, asked) = _knots(x, np.vstack([edges, highest + band.height_m]), band)
    low = _lowest_flyable(x, floor, band)
    high = _highest_flyable(x, np.maximum(ceiling, low + ROOM_M), band)
    wanted = np.clip(_lowest_flyable(x, asked, band), low, high)
    way, height = _narrowest(x, low, wanted, high, band)
    flight = FlightProfile(distance_m=way, height_m=height)
    excesses = _excesses(x, ceiling, flight)
    for excess in excesses:
        log.info(
            "too steep to follow from %.0f to %.0f m along the way: flown up to %.1f m above "
            "the band",
            excess.start_m,
            excess.end_m,
            excess.most_m,
        )
    return FlightProfile(distance_m=way, height_m=height, excesses=excesses)


def following_share(
    distance_m: ArrayLike,
    ground_m: ArrayLike,
    band: HeightBand,
    *,
    highest_m: ArrayLike | None = None,
    least: float,
    only_ends: bool = False,
) -> float:
    """Return the part of its speed at which a drone can follow the ground inside its band.

    The ground is given as for `fit_heights`.  The way begins and ends in the middle of the band's
    upper half, so that ways of which each can be followed can be flown one after the other, each at
    its own speed, also where the ground beside the one before is a little higher.
    `least` is the lowest part allowed; where not even that will do, the way is flown at full speed,
    above the band.  With `only_ends` it may lie above the band between its ends.

    Notes
    -----
    Rates of climb and descent are given by the drone: at half the speed it rises and falls twice as
    much for each metre along.

    Examples
    --------
    >>> band = HeightBand(height_m=50, below_m=5, above_m=5, climb=0.375, descent=0.375)
    >>> round(following_share([0, 100], [0, 75], band, least=0.1), 2)  # 0.75 m for each metre
    0.5
    """
    x, ground, highest = _samples(distance_m, ground_m, highest_m)
    floor = highest + band.height_m - band.below_m
    most = np.maximum(ground + band.height_m + band.above_m, floor)
    ends = np.maximum(ground[[0, -1]] + band.height_m + band.above_m / 2, floor[[0, -1]])
    floor[[0, -1]] = ends
    if only_ends:
        most[1:-1] = np.inf
    most[[0, -1]] = ends

    def keeps(share: float) -> bool:
        return bool((_lowest_flyable(x / share, floor, band) <= most + ROOM_M).all())

    if keeps(1.0) or not keeps(least):
        return 1.0
    slow, fast = least, 1.0
    for _ in range(SPEED_ROUNDS):
        share = (slow + fast) / 2
        slow, fast = (share, fast) if keeps(share) else (slow, share)
    return slow


def _samples(
    distance_m: ArrayLike, ground_m: ArrayLike, highest_m: ArrayLike | None
) -> tuple[Float, Float, Float]:
    x, ground = np.asarray(distance_m, float), np.asarray(ground_m, float)
    highest = ground if highest_m is None else np.asarray(highest_m, float)
    if x.ndim != 1 or len(x) < 2 or not x.shape == ground.shape == highest.shape:
        raise InputError(
            f"ground along a way needs two or more samples of each kind, not {x.shape}, "
            f"{ground.shape} and {highest.shape}"
        )
    if not (np.isfinite(x) & np.isfinite(ground) & np.isfinite(highest)).all():
        raise InputError("ground along a way holds values that are not finite")
    if not (np.diff(x) > 0).all():
        raise InputError("distances along a way must increase from sample to sample")
    return x, ground, np.maximum(ground, highest)


def _lowest_flyable(x: Float, floor: Float, band: HeightBand) -> Float:
    """Return the lowest curve over a floor that keeps the slope limits, (N,)."""
    # Ahead: still to be climbed to.  Behind: still descending from.
    ahead = np.maximum.accumulate((floor - band.climb * x)[::-1])[::-1] + band.climb * x
    behind = np.maximum.accumulate(floor + band.descent * x) - band.descent * x
    return np.asarray(np.maximum(ahead, behind))


def _highest_flyable(x: Float, ceiling: Float, band: HeightBand) -> Float:
    """Return the highest curve under a ceiling that keeps the slope limits, (N,)."""
    ahead = np.minimum.accumulate((ceiling + band.descent * x)[::-1])[::-1] - band.descent * x
    behind = np.minimum.accumulate(ceiling - band.climb * x) + band.climb * x
    return np.asarray(np.minimum(ahead, behind))


def _knots(x: Float, chains: Float, band: HeightBand) -> tuple[Float, Float]:
    """Add samples to chains (K, N), first the floor and second the ceiling, between their own.

    They are put where the lowest flyable curve over the floor turns and where it crosses the
    ceiling, so that both it and the higher of the two are straight between samples.
    """
    low = _lowest_flyable(x, chains[0], band)
    run, left, right = np.diff(x), low[:-1], low[1:]
    rise = np.diff(chains[0]) / run
    with np.errstate(divide="ignore", invalid="ignore"):
        turns = [
            (left - right + band.climb * run) / (band.climb + band.descent),
            (left - chains[0, :-1]) / (rise + band.descent),
            (chains[0, :-1] - right + band.climb * run) / (band.climb - rise),
        ]
    x, chains = _insert(x, chains, np.array(turns))
    over = _lowest_flyable(x, chains[0], band) - chains[1]
    return _insert(x, chains, _crossings(x, over)[None])


def _crossings(x: Float, height: Float) -> Float:
    """Return how far beyond each sample a chain (N,) crosses zero before the next one, or NaN."""
    left, right = height[:-1], height[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left * right < 0, left / (left - right) * np.diff(x), np.nan)


def _insert(x: Float, chains: Float, beyond: Float) -> tuple[Float, Float]:
    """Add samples to chains (K, N), beyond theirs by lengths (L, N-1) that are before the next."""
    run = np.diff(x)
    inside = (beyond > HAIR * run) & (beyond < (1 - HAIR) * run)
    places = np.union1d(x, (x[:-1] + beyond)[inside])
    return places, np.array([np.interp(places, x, chain) for chain in chains])


def _narrowest(
    x: Float, low: Float, wanted: Float, high: Float, band: HeightBand
) -> tuple[Float, Float]:
    """Return the fewest waypoints, in the narrowest tube about the wanted curve that needs no more.

    Any mean of curves that keep the slope limits keeps them too, so every such tube is flyable.
    """

    def fit(share: float) -> tuple[Float, Float]:
        lower, upper = wanted + share * (low - wanted), wanted + share * (high - wanted)
        return fewest_links(x, lower, upper, climb=band.climb, descent=band.descent)

    best = fit(1.0)
    narrow, wide = 0.0, 1.0
    for _ in range(ROUNDS):
        share = (narrow + wide) / 2
        found = fit(share)
        if len(found[0]) <= len(best[0]):
            best, wide = found, share
        else:
            narrow = share
    return best


def _excesses(x: Float, ceiling: Float, flight: FlightProfile) -> tuple[Excess, ...]:
    """Return the stretches on which a flight lies above the ceiling by more than `ROOM_M`."""
    places = np.union1d(x, flight.distance_m)
    over = flight.at(places) - np.interp(places, x, ceiling)
    places, (over,) = _insert(places, over[None], _crossings(places, over - ROOM_M)[None])
    above = np.concatenate([[False], over > ROOM_M, [False]])
    edges = np.flatnonzero(np.diff(above.astype(int)))
    return tuple(
        Excess(
            start_m=float(places[max(first - 1, 0)]),
            end_m=float(places[min(last, len(places) - 1)]),
            most_m=float(over[first:last].max()),
        )
        for first, last in zip(edges[::2], edges[1::2], strict=True)
    )
