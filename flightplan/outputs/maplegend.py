"""What stands beside the map in the picture: title, legend, certificate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from flightplan.outputs.drawing import Dots, Shape, Stroke, Text, moved, rectangle
from flightplan.outputs.mapcolours import LegendEntry
from flightplan.outputs.mapsheet import RULED, SORTIE_COLOURS, PlanPicture, worst_places
from flightplan.proof.certificate import Check

GOOD, BAD, SOFT = "#1b6e3c", "#b3261e", "#46525a"
MARK = 24.0
"""Width of the mark before an entry."""
LETTERS = 46
"""Letters of small print on a line of the legend."""


def head_shapes(plan: PlanPicture, letters: int) -> list[Shape]:
    """Return title, verdict and facts, the latter cut after so many letters."""
    facts = " · ".join(f"{name}: {value}" for name, value in plan.facts.items())
    colour = GOOD if plan.certificate.passed else BAD
    return [
        Text(x=0, y=30, text=plan.title, size=22, bold=True, halo=False),
        Text(x=0, y=53, text=plan.certificate.sentence, size=15, bold=True, halo=False,
             colour=colour),
        Text(x=0, y=74, text=textwrap.shorten(facts, letters, placeholder=" …"), halo=False,
             colour=SOFT),
    ]  # fmt: skip


def legend_shapes(
    plan: PlanPicture, counts: Sequence[LegendEntry], contours_m: float
) -> tuple[list[Shape], float]:
    """Return the legend, from (0, 0) down, and its height."""
    column = _Column()
    column.heading("Photographs of each place (share of area)")
    for item in counts:
        column.entry([_swatch(item.colour)], item.label)
    column.heading("Sorties")
    for number, sortie in enumerate(plan.sorties):
        column.entry([_stroke(SORTIE_COLOURS[number % len(SORTIE_COLOURS)])], sortie.name)
        facts = ", ".join(f"{name} {value}" for name, value in sortie.facts.items())
        for line in textwrap.wrap(facts, LETTERS):
            column.small(line, MARK + 10)
    column.entry([_stroke(SOFT, dash=4, width=1.4)], "way without photographs")
    column.heading("Map")
    column.entry([_stroke("#000000", width=2.6)], "area")
    if plan.exclusions:
        slants = tuple(np.array([[x, 2.0], [x + 8, -11]]) for x in (0.0, 8.0, 16.0))
        hatch = Stroke(parts=slants, colour=RULED, width=1.1)
        column.entry([_swatch("#ffffff", RULED), hatch], "exclusion")
    column.entry([_dot("#000000")], "H take-off, L landing elsewhere")
    if worst_places(plan.certificate):
        column.entry([_dot(RULED)], "worst places, numbered")
    if contours_m:
        column.entry([_stroke("#a9a294", width=1.2)], f"contours every {contours_m:g} m")
    column.heading("Certificate")
    for check in plan.certificate.checks:
        column.verdict(check)
    return column.shapes, column.y


class _Column:
    """A legend written from the top down."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self.y = 6.0

    def heading(self, text: str) -> None:
        self.y += 10
        self.shapes.append(Text(x=0, y=self.y, text=text, size=14, bold=True, halo=False))
        self.y += 22

    def entry(self, mark: Sequence[Shape], label: str) -> None:
        self.shapes += [moved(shape, 0, self.y) for shape in mark]
        self.shapes.append(Text(x=MARK + 10, y=self.y, text=label, halo=False))
        self.y += 20

    def small(self, text: str, x: float) -> None:
        self.shapes.append(
            Text(x=x, y=self.y - 3, text=text, size=11.5, halo=False, colour=SOFT)
        )  # fmt: skip
        self.y += 16

    def verdict(self, check: Check) -> None:
        word, colour = ("pass", GOOD) if check.passed else ("FAIL", BAD)
        self.shapes.append(
            Text(x=0, y=self.y, text=word, size=12, bold=True, halo=False, colour=colour)
        )
        self.shapes.append(Text(x=MARK + 10, y=self.y, text=check.name, halo=False))
        self.y += 19
        row = check_row(check)
        self.small(f"{row['worst']} (asked {row['asked']})", MARK + 10)
        self.y += 5


def _swatch(fill: str, colour: str = "#7d878d") -> Stroke:
    return Stroke(parts=(rectangle(0, -11, MARK, 13),), fill=fill, colour=colour, width=1)


def _stroke(colour: str, *, dash: float = 0.0, width: float = 2.2) -> Stroke:
    line = np.array([[0, -4.0], [MARK, -4]])
    return Stroke(parts=(line,), colour=colour, width=width, dash=dash)


def _dot(colour: str) -> Dots:
    return Dots(places=np.array([[MARK / 2, -4]]), radius=6, colour=colour)


def check_row(check: Check) -> dict[str, str]:
    """Return a certificate's line as tables show it.

    Keys are ``name``, ``asked``, ``worst``, ``first``, ``fifth``, ``failing``, ``sentence``.
    """

    def said(value: float) -> str:
        if np.isnan(value):
            return "none"
        if check.unit:
            return f"{value:.2f} cm" if check.unit == "cm" else f"{value:.1f} m"
        return f"{value:.1%}" if check.name.endswith("lap") else f"{value:.0f}"

    return {
        "name": check.name,
        "asked": ("at most " if check.at_most else "at least ") + said(check.asked),
        "worst": said(check.worst),
        "first": said(check.percentile_1),
        "fifth": said(check.percentile_5),
        "failing": f"{check.share_failing:.2%}" if check.share_failing else "none",
        "sentence": check.sentence,
    }
