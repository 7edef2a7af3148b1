"""What was asked of a plan beside what its proof found: pass or fail, line by line."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tmp.errors import InputError
from tmp.files import replacing


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
    """``""``, ``"m"`` or ``"cm"``; overlaps are fractions."""
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
        return f"Passes all {len(self.checks)} checks."

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON takes it; numbers that are not finite become None."""
        content = {"passed": self.passed, "sentence": self.sentence} | asdict(self)
        cleaned = _finite(content)
        assert isinstance(cleaned, dict)
        return cleaned


def write_certificate(path: Path, certificate: Certificate) -> None:
    """Write a certificate as JSON."""
    with replacing(path) as partial:
        text = json.dumps(certificate.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def whereabouts(x: float, y: float, bounds: tuple[float, float, float, float]) -> str:
    """Return in which part of a rectangle a place lies.

    Examples
    --------
    >>> whereabouts(95, 90, (0, 0, 100, 100)), whereabouts(50, 5, (0, 0, 100, 100))
    ('north-east corner', 'south side')
    """
    x_min, y_min, x_max, y_max = bounds
    column = min(max(int(3 * (x - x_min) / max(x_max - x_min, 1e-9)), 0), 2)
    row = min(max(int(3 * (y - y_min) / max(y_max - y_min, 1e-9)), 0), 2)
    words = [word for word in (("south", "", "north")[row], ("west", "", "east")[column]) if word]
    return "-".join(words) + (" corner", " side", "")[2 - len(words)] if words else "middle"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
