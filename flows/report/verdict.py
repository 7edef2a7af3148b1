"""How a map came out, in one place for the command, the report and ``quality.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from flows.report import findings
from flows.report.findings import Coverage, gnss_residuals
from tmp.captures import Capture, CaptureKind, HeightDatum
from tmp.geo.frames import DatumShift, describe_datum_shift
from tmp.reconstruction import Reconstruction

FORMAT = 1
"""Of ``quality.json``; raised when a key changes its meaning."""
PREVIEW = (
    "It is a preview, made of reduced photographs: map again without '--quality fast' before you "
    "measure in it."
)
LEAST_SHARE = 0.5
"""Of the photographs, of the ground flown that is drawn, and of what three photographs see that is
measured, from which a map counts as complete."""
NAMED = 2
"""Photographs named of each group that was left out."""
SHORT = 200
"""Length of a warning that the command repeats whole."""
AREAS = ("flown_ha", "mapped_ha", "drawn_ha", "seen_by_two_ha", "seen_by_three_ha")
SHARES = (
    "mapped_of_flown",
    "drawn_of_flown",
    "measured_of_two",
    "measured_of_three",
    "closed_of_mapped",
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class End(StrEnum):
    """How a map came out."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """Of less than half of what was photographed, see `Verdict.end`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Photographs left out for the same reason."""

    names: tuple[str, ...]
    reason: str
    """In words; numbers in it are those of the first one."""

    def in_words(self) -> str:
        """Return count, one or two names, and the reason.

        Examples
        --------
        >>> Group(names=("a.jpg", "b.jpg", "c.jpg"), reason="no matches").in_words()
        '3 (a.jpg, b.jpg, …): no matches'
        """
        named = ", ".join(self.names[:NAMED]) + (", …" if len(self.names) > NAMED else "")
        return f"{len(self.names)} ({named}): {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a map came out: its figures, and what they mean."""

    photographs_total: int
    """That were to be mapped."""
    photographs_oriented: int
    covered: Coverage
    scaled: bool
    """Whether metres mean anything: the block has a place and a scale."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Photographs that were to be mapped and could not be oriented, and why."""
    not_used: Mapping[str, str] = field(default_factory=dict)
    """Photographs that were not to be mapped, for their flags, and why."""
    warnings: tuple[str, ...] = ()
    """In the order of their weight."""
    fly_again: tuple[str, ...] = ()
    """Places of the ground asked for that too few photographs hold, in words, the largest first."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Of the orientation, JSON-able."""

    @property
    def end(self) -> End:
        """How the map came out.

        A rim that one photograph sees is never measured, and is large where a survey is small: of
        the ground flown it counts what is drawn, of heights what three photographs see.
        """
        return End.PARTIAL if self._lacking else End.COMPLETE

    @property
    def _lacking(self) -> list[str]:
        """What the map holds less than half of."""
        covered = self.covered
        heights = (covered.measured_of_three, "the heights of what three photographs see")
        if covered.seen_by_three_ha <= 0:
            heights = (covered.measured_of_two, "the heights of what two photographs see")
        shares = (
            (self.oriented_share, "the photographs"),
            (covered.drawn_of_flown, "the ground flown"),
            heights,
        )
        return [what for share, what in shares if share < LEAST_SHARE]

    @property
    def oriented_share(self) -> float:
        """Share of the photographs that are oriented, 0 to 1."""
        return self.photographs_oriented / max(self.photographs_total, 1)

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.end is End.COMPLETE and not self.scaled:
            return "The map is complete, but has no scale: nothing in it can be measured in metres."
        if self.end is End.COMPLETE:
            return "The map is complete enough to use."
        of = " and ".join(f"less than half of {what}" for what in self._lacking)
        return f"This is a partial map: it holds {of}."

    def counts(self) -> list[str]:
        """Return what was mapped of what was flown, in sentences."""
        covered = self.covered
        oriented = f"{self.photographs_oriented} of {self.photographs_total} photographs oriented"
        mapped, drawn = 100 * covered.mapped_of_flown, 100 * covered.drawn_of_flown
        if self.scaled:
            return [
                oriented,
                f"{say_ha(covered.mapped_ha)} mapped of {say_ha(covered.flown_ha)} flown "
                f"({mapped:.0f} %); the orthomosaic shows {say_ha(covered.drawn_ha)} "
                f"({drawn:.0f} %)",
            ]
        return [
            oriented,
            f"{mapped:.0f} % of the ground flown mapped; the orthomosaic shows {drawn:.0f} %; "
            "without scale: nothing in this map is in metres",
        ]

    @property
    def summary(self) -> str:
        """How the map came out and what of, in one line."""
        return f"{self.end}: {'; '.join(self.counts())}"

    def groups(self) -> list[Group]:
        """Return the photographs left out by their reason, the largest group first."""
        alike: dict[str, list[str]] = {}
        for name, reason in sorted(self.left_out.items()):
            alike.setdefault(_NUMBER.sub("#", reason.replace(name, "#")), []).append(name)
        groups = [
            Group(names=tuple(names), reason=self.left_out[names[0]]) for names in alike.values()
        ]
        return sorted(groups, key=lambda group: -len(group.names))

    def remedies(self) -> list[str]:
        """Return what to do, in sentences."""
        said = []
        if self.oriented_share < LEAST_SHARE:
            said.append(
                "fly what was left out again with more overlap (80 % along, 70 % across) and take "
                "both flights in with 'tmp ingest'"
            )
        elif self.end is End.PARTIAL:
            said.append(
                "see in the report under 'what is missing' which ground that is, and fly it again "
                "with more overlap; the rim that one photograph sees can never be measured"
            )
        if not self.scaled:
            said.append("measure a known length in the map before you use any other")
        return said

    def paragraph(self, report: Path) -> str:
        """Return all that counts in one paragraph: what was measured, how well, what to mind.

        It is what a command ends with.
        """
        said = [self.headline, *self.sentences()]
        if not self.warnings:
            said.append("Nothing gave cause for a warning.")
        else:
            count = len(self.warnings)
            which = "Mind" if count == 1 else f"Mind first, of {count} warnings"
            said.append(f"{which}: {shorten(self.warnings[0])}")
        return " ".join([*said, f"Open {report}."])

    def sentences(self) -> list[str]:
        """Return what was measured and how well, as the report begins."""
        preview = [PREVIEW] if self.figures.get("preview") else []
        return [*preview, f"{self._measured}.", *self._accuracy]

    @property
    def _measured(self) -> str:
        """What was measured of what, in a sentence without its end."""
        covered, gsd_m = self.covered, self.figures.get("gsd_m")
        said = f"{self.photographs_oriented} of {self.photographs_total} photographs"
        if self.scaled:
            said += f" give heights of {say_ha(covered.mapped_ha)}"
        else:
            said += " give heights in units of arbitrary length, not in metres"
        said += f", {100 * covered.measured_of_two:.0f} % of what two or more of them see"
        if covered.seen_by_three_ha > 0:
            said += f" and {100 * covered.measured_of_three:.0f} % of what three see"
        if gsd_m is None:
            return said
        return f"{said}; a pixel of the photographs is {say_cm(gsd_m)} on the ground"

    @property
    def _accuracy(self) -> list[str]:
        """How good the heights and the place of the map are, in sentences."""
        sigma_m, place_m = (self.figures.get(key) for key in ("dsm_sigma_m", "place_sigma_m"))
        said = []
        if sigma_m is not None:
            said.append(f"Half of the heights are known to {say_cm(sigma_m)} or better in the map.")
        if place_m is not None:
            said.append(f"All of it may lie {say_cm(place_m)} or more from its true place.")
        return said

    def in_words(self, report: Path) -> list[str]:
        """Return the last lines of a command: the paragraph, what was left out, what to do."""
        lines = [self.paragraph(report)]
        lines += [f"left out: {group.in_words()}" for group in self.groups()]
        if self.not_used:
            names = sorted(self.not_used)
            group = Group(names=tuple(names), reason="not used for their flags; see the report")
            lines.append(f"not used: {group.in_words()}")
        lines += [f"fly again: {place}" for place in self.fly_again]
        if remedies := self.remedies():
            lines.append(f"next: {'; '.join(remedies)}")
        return lines

    def document(self) -> dict[str, Any]:
        """Return the verdict as ``quality.json`` has it."""
        covered = self.covered

        def area(hectares: float) -> float | None:
            return round(hectares, 4) if self.scaled else None

        return {
            "format": FORMAT,
            "verdict": str(self.end),
            "photographs_total": self.photographs_total,
            "photographs_oriented": self.photographs_oriented,
            **{key: area(getattr(covered, key)) for key in AREAS},
            **{key: round(getattr(covered, key), 4) for key in SHARES},
            "gaps": covered.gaps,
            "gaps_ha": area(covered.gaps_ha),
            "largest_gaps": [
                {"ha": area(hectares), "place": [round(x, 2), round(y, 2)]}
                for hectares, x, y in covered.largest_gaps
            ],
            "islands": covered.islands,
            "islands_ha": area(covered.islands_ha),
            "water_ha": area(covered.water_ha),
            **self.figures,
            "warnings": list(self.warnings),
            "fly_again": list(self.fly_again),
            "left_out": dict(self.left_out),
            "not_used": dict(self.not_used),
        }


def judge_map(
    reconstruction: Reconstruction,
    captures: Sequence[Capture],
    covered: Coverage,
    datum: HeightDatum,
    *,
    hole_warnings: Sequence[str] = (),
    sigma_m: float | None = None,
    fly_again: Sequence[str] = (),
) -> Verdict:
    """Judge how a map came out, given what heights are measured from.

    Hole warnings are what is to be said of tiles that could not be made; sigma is the median
    standard deviation of the heights; what is to be flown again is said in words.
    """
    shift = _datum_shift(reconstruction)
    warnings = [
        *hole_warnings,
        *findings.list_warnings(reconstruction, captures, covered, datum),
        *([findings.say_fly_again(fly_again)] if fly_again else []),
        *([shift.in_words()] if shift is not None and shift.in_words() else []),
    ]
    left_out = dict(findings.not_oriented(reconstruction, captures))
    oriented = {photo.name for photo in reconstruction.photos}
    for capture in captures:
        if capture.used and capture.name not in oriented:
            left_out.setdefault(capture.name, "not oriented")
    return Verdict(
        photographs_total=len(oriented) + len(left_out),
        photographs_oriented=len(oriented),
        covered=covered,
        scaled=reconstruction.frame.referenced,
        left_out=left_out,
        not_used={
            capture.name: capture.reason or ", ".join(capture.flags)
            for capture in captures
            if capture.kind is CaptureKind.SURVEY and not capture.used
        },
        warnings=tuple(warnings),
        fly_again=tuple(fly_again),
        figures=_figures(reconstruction, captures, shift)
        | {"dsm_sigma_m": _number(sigma_m) if reconstruction.frame.referenced else None},
    )


def _datum_shift(reconstruction: Reconstruction) -> DatumShift | None:
    """Return how good the way from WGS 84 to the map's coordinates is; None without a place."""
    frame = reconstruction.frame
    if frame.crs is None or frame.origin is None:
        return None
    return describe_datum_shift(frame.crs, *frame.origin[:2])


def say_cm(metres: float) -> str:
    """Return a small length in the unit that people give it in.

    Examples
    --------
    >>> say_cm(0.0043), say_cm(0.0187), say_cm(0.21), say_cm(1.93)
    ('4.3 mm', '1.9 cm', '21 cm', '1.9 m')
    """
    if metres < 0.00995:
        return f"{float(f'{1000 * metres:.2g}'):g} mm"
    if metres < 0.995:
        return f"{float(f'{100 * metres:.2g}'):g} cm"
    return f"{float(f'{metres:.2g}'):g} m"


def say_ha(hectares: float) -> str:
    """Return an area with two decimals, or three significant digits where it is small.

    Examples
    --------
    >>> say_ha(1.2345), say_ha(0.00567)
    ('1.23 ha', '0.00567 ha')
    """
    return f"{hectares:.2f} ha" if hectares >= 0.095 else f"{hectares:.3g} ha"


def shorten(warning: str) -> str:
    """Return the first sentences of a warning, as many as a line or two hold.

    Examples
    --------
    >>> shorten("Positions are loose. " + "This is why. " * 20)[:47]
    'Positions are loose. This is why. This is why. '
    >>> shorten("A " + "very " * 60 + "long one. And more.")[-9:]
    'long one.'
    """
    first, *others = _SENTENCE_END.split(warning)
    for other in others:
        if len(first) + len(other) > SHORT:
            break
        first = f"{first} {other}"
    return first


def _place_sigma(
    given: Mapping[str, Any], axes: Sequence[findings.AxisResidual], positioned: int
) -> float | None:
    """Return how well the place of the whole is known, by ground control or else by positions."""
    if control := given.get("control"):
        return _number(control["sigma_m"][0])
    return _number(findings.place_sigma_m(axes, positioned)) if axes else None


def _figures(
    reconstruction: Reconstruction, captures: Sequence[Capture], shift: DatumShift | None
) -> dict[str, Any]:
    """Return the figures of the orientation; those in metres are None without a scale."""
    scaled = reconstruction.frame.referenced
    axes = gnss_residuals(reconstruction, captures) if scaled else ()
    rms = [axis.rms_m for axis in axes]
    positioned = sum(capture.positioned and capture.used for capture in captures)
    given = reconstruction.figures
    scale = reconstruction.vertical_scale
    height_m = findings.camera_height_m(reconstruction) if scaled else None
    gsd_m = findings.photograph_gsd_m(reconstruction) if scaled else None
    return {
        "mean_residual_px": _number(findings.mean_residual_px(reconstruction)),
        "tie_points": len(reconstruction.points),
        "gnss_rms_m": [_number(value) for value in rms] or None,
        "place_sigma_m": _place_sigma(given, axes, positioned),
        "height_agl_m": _number(height_m),
        "gsd_m": _number(gsd_m),
        "vertical_scale_sigma": None if scale is None else _number(scale.sigma_scale),
        "tilt_sigma_deg": _number(given.get("tilt_sigma_deg")),
        "scale_sigma": _number(given.get("scale_sigma")),
        "level_from": given.get("level_from"),
        "heights_from": given.get("heights_from"),
        "pieces": given.get("pieces"),
        "preview": bool(given.get("preview")),
        "crs": reconstruction.frame.crs,
        "crs_accuracy_m": None if shift is None else shift.accuracy_m,
        "crs_better_grid": None if shift is None else shift.better_grid or None,
    }


def _number(value: float | None) -> float | None:
    """Return a number to five significant digits; None for what JSON cannot hold."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}")
