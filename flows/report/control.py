"""How a map agrees with its ground control, in words, for report and command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.report.verdict import say_cm


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """A control or check point of a finished map."""

    name: str
    role: str
    """What it did: held the map, only checked it, or was left out."""
    photographs: int
    """That show it."""
    off_m: Sequence[float] | None
    """The map's place of it less the given one: east, north, up; None where it was not seen."""
    left_out_m: Sequence[float] | None
    """The same, had a point that held the map only checked it."""
    residual_px: float | None


def control_rows(figures: Mapping[str, Any]) -> list[ControlRow]:
    """Return the points of the control in an orientation's figures; none without any."""
    said = figures.get("control") or {"points": []}
    rows = []
    for point in said["points"]:
        role = "checks" if point["role"] == "check" else "holds"
        if role == "holds" and not point["used"]:
            role = "left out" if point["name"] in said["blunders"] else "not marked enough"
        rows.append(
            ControlRow(
                name=point["name"],
                role=role,
                photographs=point["photographs"],
                off_m=point["off_m"],
                left_out_m=point["left_out_m"],
                residual_px=point["residual_px"],
            )
        )
    return rows


def say_control(figures: Mapping[str, Any]) -> str:
    """Say how far off points of the ground are in the map; empty without control.

    Examples
    --------
    >>> say_control({"control": {"points": [{"used": True}] * 4, "rmse_check_m": None,
    ...     "rmse_left_out_m": [0.021, 0.034], "rmse_control_m": [0.01, 0.02],
    ...     "positions_off_m": {"": [1.0, -2.0, 5.0]}}})
    'Held by 4 control points. Left out one after the other, they are off by 2.1 cm horizontally and 3.4 cm in height (root mean square). The positions recorded in flight lie 1.0 m east, 2.0 m south and 5.0 m above it.'
    """  # noqa: E501
    said = figures.get("control")
    if not said:
        return ""
    used = sum(point["used"] for point in said["points"])
    sentences = [f"Held by {used} control points."]
    if said["rmse_check_m"]:
        sentences.append(f"Check points are off by {_say(said['rmse_check_m'])}.")
    if said["rmse_left_out_m"]:
        sentences.append(
            f"Left out one after the other, they are off by {_say(said['rmse_left_out_m'])}."
        )
    if not (said["rmse_check_m"] or said["rmse_left_out_m"]):
        sentences.append(
            "Nothing checks the map: measure more points than three, or keep some for checking."
        )
    sentences += [
        f"The positions recorded in flight{f' {flight}' if flight else ''} lie {_say_off(off)} it."
        for flight, off in said["positions_off_m"].items()
    ]
    return " ".join(sentences)


def _say(rmse_m: Sequence[float]) -> str:
    level, up = (say_cm(value) for value in rmse_m)
    return f"{level} horizontally and {up} in height (root mean square)"


def _say_off(off_m: Sequence[float]) -> str:
    east, north, up = off_m
    words = (
        (east, "east", "west"),
        (north, "north", "south"),
        (up, "above", "below"),
    )
    a, b, c = (f"{abs(off):.1f} m {more if off >= 0 else less}" for off, more, less in words)
    return f"{a}, {b} and {c}"
