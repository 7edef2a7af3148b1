"""What was asked of a plan beside what its proof found: pass or fail, line by line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from flightplan.proof.footprints import Laps
from flightplan.proof.prove import Coverage, whereabouts
from flightplan.terrain.profiles import Profile
from tmp.errors import InputError
from tmp.files import replacing, write_json
from tmp.geo.frames import PlanFrame

Float = NDArray[np.float64]
LAP_HAIR = 0.005
"""An overlap counts as reached this far below what was asked: half a metre on the ground at most,
less than a drone's position errs."""
GSD_HAIR = 0.01
"""Fraction by which the ground sampling distance may exceed what was asked."""
SPARE_SHARE = 0.005
"""Share of the area, or of neighbours, that may be coarser or overlap less: the steepest places.
How often each place is seen, and heights, are judged everywhere."""
SPARING = ("GSD", "frontlap", "sidelap")
OBLIQUE_SPARE_SHARE = 0.05
"""Share of the area that no oblique photograph need see: they fix the lens, not the place."""
HEIGHT_HAIR_M = 0.05
MOST_PLACES = 3
"""Places named for each line that fails."""
OUTSIDE = 65535
"""Nodata of the raster of counts: beyond the area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plan has to reach; None where nothing is asked."""

    photographs: int = 1
    """Fewest photographs that see each place."""
    gsd_m: float | None = None
    """Largest ground sampling distance of each place's best view."""
    frontlap: float | None = None
    sidelap: float | None = None
    """Least overlaps, as fractions."""
    least_height_agl_m: float | None = None
    most_height_agl_m: float | None = None
    """Band above the ground on flight lines."""
    clearance_m: float | None = None
    """Least height above the ground on the whole way."""
    oblique: int = 0
    """Fewest of the photographs of each place that look aslant."""

    def __post_init__(self) -> None:
        if self.photographs < 1:
            raise InputError(f"{self.photographs!r} photographs of each place prove nothing")
        for name, value in (("frontlap", self.frontlap), ("sidelap", self.sidelap)):
            if value is not None and not 0 <= value < 1:
                raise InputError(f"{name} {value!r} is not a fraction; give 0 up to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place where a plan falls short."""

    x_m: float
    y_m: float
    """Plan metres."""
    lon_deg: float | None
    lat_deg: float | None
    """WGS 84; None where the plan has no place on Earth."""
    where: str
    """Part of the area, in words."""
    value: float
    """The worst there."""
    area_m2: float
    """Of the connected ground that fails; 0 for a point of the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of a certificate."""

    name: str
    unit: str
    """``""``, ``"m"``, ``"cm"`` or ``"%"``; overlaps are fractions."""
    asked: float
    at_most: bool
    """Whether the value must not exceed what is asked, instead of reaching it."""
    worst: float
    percentile_1: float
    percentile_5: float
    """Values that one and five hundredths of all do not reach (exceed, where `at_most`)."""
    share_failing: float
    """Fraction of the area, the photographs or the way that fails."""
    passed: bool
    sentence: str
    places: tuple[Spot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The outcome of a proof."""

    checks: tuple[Check, ...]
    photographs: int
    area_m2: float
    cell_m: float
    """Side of the cells on which was counted."""
    terrain: str
    """Vertical datum of the terrain, in words."""
    repairs: tuple[str, ...] = ()
    """What was added to the plan to pass, in words."""
    level_assumed: bool = False
    """Whether the ground is taken to be level because nothing is known of it."""

    @property
    def passed(self) -> bool:
        """Whether all checks pass."""
        return all(check.passed for check in self.checks)

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        failing = [check.name for check in self.checks if not check.passed]
        if failing:
            return f"Fails: {', '.join(failing)}."
        if self.level_assumed:
            return f"Passes all {len(self.checks)} checks on level ground; the terrain is unknown."
        return f"Passes all {len(self.checks)} checks."

    def word_for(self, check: Check) -> str:
        """Return what a check comes to, in a word or two: *pass*, *FAIL*, or *if level*."""
        if not check.passed:
            return "FAIL"
        return "if level" if self.level_assumed else "pass"

    @property
    def verdict(self) -> str:
        """The outcome in a word or two, as in the lines of `line_of`."""
        if not self.passed:
            return "FAILS"
        return "if level" if self.level_assumed else "proved"

    def line_of(self, check: Check) -> str:
        """Return a check as a line for a terminal."""
        word = self.word_for(check)
        return f"{ ({'pass': 'proved', 'FAIL': 'FAILS'}.get(word, word)):8s} {check.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON takes it; numbers that are not finite become None."""
        content = {"passed": self.passed, "sentence": self.sentence} | asdict(self)
        return {key: _finite(value) for key, value in content.items()}


def write_certificate(path: Path, certificate: Certificate) -> None:
    """Write a certificate as JSON."""
    write_json(path, certificate.as_dict(), indent=1, for_people=True)


def write_rasters(folder: Path, coverage: Coverage, *, terrain: str = "") -> list[Path]:
    """Write a proof's rasters in the plan's own CRS and return their paths.

    ``views.tif`` holds the number of photographs; ``gsd.tif`` the ground sampling distance of the
    best view, metres; ``height.tif`` the height of that view's camera above the ground, metres.
    Beyond the area all are nodata; so are the latter two where no photograph sees the ground.
    `terrain`, what heights are measured from, is stored as the tag VERTICAL_DATUM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = coverage.inside
    views = np.where(inside, np.minimum(coverage.count, OUTSIDE - 1), OUTSIDE).astype(np.uint16)
    seen = inside & (coverage.count > 0)
    gsd = np.where(seen, coverage.gsd_m, np.nan).astype(np.float32)
    height = np.where(seen, coverage.height_agl_m, np.nan).astype(np.float32)
    tags = {"VERTICAL_DATUM": terrain} if terrain else {}
    rasters: tuple[tuple[str, NDArray[Any], float, str, str], ...] = (
        ("views", views, OUTSIDE, "photographs that see the ground", ""),
        ("gsd", gsd, np.nan, "ground sampling distance of the best view", "metre"),
        ("height", height, np.nan, "height of the best view above the ground", "metre"),
    )
    paths = []
    for name, values, nodata, description, unit in rasters:
        path = folder / f"{name}.tif"
        with (
            replacing(path) as partial,
            rasterio.open(
                partial,
                "w",
                driver="GTiff",
                width=coverage.grid.cols,
                height=coverage.grid.rows,
                count=1,
                dtype=values.dtype,
                crs=coverage.grid.crs,
                transform=coverage.grid.transform,
                nodata=nodata,
                compress="deflate",
                tiled=True,
                blockxsize=256,
                blockysize=256,
            ) as file,
        ):
            file.write(values, 1)
            file.set_band_description(1, description)
            file.set_band_unit(1, unit)
            file.update_tags(**tags)
        paths.append(path)
    return paths


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def certify(
    asked: Asked,
    coverage: Coverage,
    *,
    laps: Laps | None = None,
    profiles: Sequence[Profile] = (),
    photographs: int,
    frame: PlanFrame | None = None,
    terrain: str = "",
    repairs: Sequence[str] = (),
) -> Certificate:
    """Compare what a proof found with what was asked.

    Overlaps are those of the plan's regular lines, judged where they lie over the area; without
    `laps` overlaps are not judged, and without `profiles`, the ways flown, heights are not.
    """
    judge = _Checker(coverage=coverage, frame=frame)
    checks = [judge.photographs(asked.photographs)]
    if asked.oblique:
        checks.append(judge.oblique(asked.oblique))
    if asked.gsd_m is not None:
        checks.append(judge.gsd(asked.gsd_m))
    if laps is not None and asked.frontlap is not None and laps.front.size:
        checks.append(judge.lap("frontlap", asked.frontlap, laps.front, laps.front_at))
    if laps is not None and asked.sidelap is not None and laps.side.size:
        checks.append(judge.lap("sidelap", asked.sidelap, laps.side, laps.side_at))
    if profiles:
        checks.extend(judge.heights(asked, profiles))
    return Certificate(
        checks=tuple(checks),
        photographs=photographs,
        area_m2=coverage.area_m2,
        cell_m=coverage.grid.cell_m,
        terrain=terrain,
        repairs=tuple(repairs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    """Makes checks about one area."""

    coverage: Coverage
    frame: PlanFrame | None

    def photographs(self, asked: int) -> Check:
        count = self.coverage.count[self.coverage.inside].astype(float)
        failing = self.coverage.inside & (self.coverage.count < asked)
        worst, share = int(count.min()), float((count < asked).mean())
        found = f"Every place is seen by at least {worst} photographs; {asked} were asked"
        if share:
            found = (
                f"{_percent(share)} of the area is seen by fewer than the {asked} photographs "
                f"asked, the worst place by {worst}"
            )
        return _check(
            "photographs of each place", "", asked, count, False, share, found,
            self.patches(failing, self.coverage.count, worst_is_most=False),
        )  # fmt: skip

    def oblique(self, asked: int) -> Check:
        seen, inside = self.coverage.oblique, self.coverage.inside
        share = float((seen[inside] < asked).mean())
        least = 1 - OBLIQUE_SPARE_SHARE
        found = (
            f"{_percent(1 - share)} of the area is seen by {asked} or more of the photographs that "
            f"look aslant; {least:.0%} were asked"
        )
        places = self.patches(inside & (seen < asked), seen, worst_is_most=False)
        return _check(
            "oblique photographs", "%", 100 * least, np.array([100 * (1 - share)]), False, share,
            found, places,
        )  # fmt: skip

    def gsd(self, asked_m: float) -> Check:
        gsd_m = self.coverage.gsd_m[self.coverage.inside].astype(float)
        limit_m = asked_m * (1 + GSD_HAIR)
        # Ground that no photograph sees fails the count, not the sharpness.
        seen = gsd_m[np.isfinite(gsd_m)]
        share = float((seen > limit_m).mean()) if seen.size else 1.0
        failing = self.coverage.inside & (self.coverage.gsd_m > limit_m)
        failing &= np.isfinite(self.coverage.gsd_m)
        worst = f"{seen.max() * 100:.2f} cm" if seen.size else "nothing seen"
        found = (
            f"The best view of each place has a pixel of at most {worst} on the ground; "
            f"{asked_m * 100:.2f} cm were asked"
        )
        if share:
            found += f" and {_percent(share)} of the area is coarser"
        places = self.patches(failing, self.coverage.gsd_m * 100, worst_is_most=True)
        return _check("GSD", "cm", asked_m * 100, seen * 100, True, share, found, places)

    def lap(self, name: str, asked: float, laps: Float, at: Float) -> Check:
        over = self.coverage.over_area(at)
        over = over if over.any() else np.ones(len(at), bool)
        laps, at = laps[over], at[over]
        share = float((laps < asked - LAP_HAIR).mean())
        found = f"Least {name} on the ground {laps.min():.1%}; {asked:.0%} were asked"
        if share:
            found += f" and {_percent(share)} of neighbours overlap less"
        places = self.points(laps, at, laps < asked - LAP_HAIR)
        return _check(name, "", asked, laps, False, share, found, places)

    def heights(self, asked: Asked, profiles: Sequence[Profile]) -> list[Check]:
        height = np.concatenate([profile.height_agl_m for profile in profiles])
        at = np.vstack([profile.place for profile in profiles])
        lines = np.concatenate([profile.surveying for profile in profiles])
        every = np.ones(len(height), bool)
        wanted = (
            ("lowest above ground on lines", asked.least_height_agl_m, lines, False),
            ("highest above ground on lines", asked.most_height_agl_m, lines, True),
            ("clearance on the whole way", asked.clearance_m, every, False),
        )
        checks = []
        for name, limit_m, where, at_most in wanted:
            if limit_m is None or not where.any():
                continue
            values = height[where]
            sign = 1.0 if at_most else -1.0
            failing = sign * (values - limit_m) > HEIGHT_HAIR_M
            worst = values.max() if at_most else values.min()
            found = (
                f"{name.capitalize()}: {worst:.1f} m; "
                f"{'at most' if at_most else 'at least'} {limit_m:.1f} m were asked"
            )
            share = float(failing.mean())
            if share:
                found += f", missed on {_percent(share)} of the way"
            places = self.points(sign * -values, at[where], failing, sign=-sign)
            checks.append(_check(name, "m", limit_m, values, at_most, share, found, places))
        return checks

    def patches(
        self, failing: NDArray[np.bool_], values: NDArray[Any], *, worst_is_most: bool
    ) -> tuple[Spot, ...]:
        """Return the largest pieces of failing ground, each with its worst cell."""
        pieces, number = ndimage.label(failing, np.ones((3, 3)))
        if not number:
            return ()
        cells = np.bincount(pieces.ravel())[1:]
        chosen = 1 + np.argsort(-cells, kind="stable")[:MOST_PLACES]
        place = ndimage.maximum_position if worst_is_most else ndimage.minimum_position
        x, y = self.coverage.grid.cell_centres()
        return tuple(
            self.spot(
                x[col], y[row], float(values[row, col]),
                float(cells[piece - 1]) * self.coverage.grid.cell_m**2,
            )
            for piece, (row, col) in zip(chosen, place(values, pieces, chosen), strict=True)
        )  # fmt: skip

    def points(
        self, values: Float, at: Float, failing: NDArray[np.bool_], *, sign: float = 1.0
    ) -> tuple[Spot, ...]:
        """Return the places of the lowest failing values, apart from one another."""
        x_min, y_min, x_max, y_max = self.coverage.grid.bounds
        apart_m = max(x_max - x_min, y_max - y_min) / 10
        order = np.flatnonzero(failing)[np.argsort(values[failing], kind="stable")]
        spots: list[Spot] = []
        while order.size and len(spots) < MOST_PLACES:
            worst = order[0]
            spots.append(self.spot(at[worst, 0], at[worst, 1], float(sign * values[worst]), 0.0))
            taken = at[worst]
            order = order[np.hypot(*(at[order] - taken).T) > apart_m]
        return tuple(spots)

    def spot(self, x: float, y: float, value: float, area_m2: float) -> Spot:
        lon = lat = None
        if self.frame is not None:
            lon, lat = self.frame.geodetic_from_plan([[x, y]])[0].tolist()
        return Spot(
            x_m=float(x),
            y_m=float(y),
            lon_deg=lon,
            lat_deg=lat,
            where=whereabouts(x, y, self.coverage.grid.bounds),
            value=value,
            area_m2=area_m2,
        )


def _check(
    name: str,
    unit: str,
    asked: float,
    values: Float,
    at_most: bool,
    share_failing: float,
    found: str,
    places: tuple[Spot, ...],
) -> Check:
    spare = SPARE_SHARE if name in SPARING else 0.0
    spare = OBLIQUE_SPARE_SHARE if name == "oblique photographs" else spare
    if values.size:
        worst = float(values.max() if at_most else values.min())
        first, fifth = np.percentile(values, (99, 95) if at_most else (1, 5)).tolist()
    else:
        worst = first = fifth = math.nan
    return Check(
        name=name,
        unit=unit,
        asked=float(asked),
        at_most=at_most,
        worst=worst,
        percentile_1=first,
        percentile_5=fifth,
        share_failing=share_failing,
        passed=share_failing <= spare,
        sentence=found + ".",
        places=places,
    )


def _percent(share: float) -> str:
    """Return a fraction in words that never call a little nothing."""
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
