"""The map a scientist looks at before take-off: a picture, and a page that opens offline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from flightplan.outputs.plan_map import (
    CONTOUR,
    DrawnSortie,
    PlanPicture,
    count_keys,
    cursor_pixels,
    draw_plan_map,
    gsd_keys,
    plan_layers,
    worst_places,
)
from flightplan.proof.certificate import Check
from flightplan.terrain.profiles import Profile
from tmp import plotting
from tmp.files import replacing
from tmp.plotting import BAD, GOOD, SOFT, SORTIES, Key, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

EDGE, GAP, TICKS = 18.0, 20.0, 24.0
"""Pixels round the picture, between its parts, and for the coordinates at two sides of the map."""
LEGEND_WIDTH = 344.0
PROFILE_HEIGHT, PAGE_PROFILE_WIDTH = 230.0, 1020.0
MOST_PROFILES = 4
"""Profiles drawn in the picture; the page has all."""
FINER = 1.6
"""Pixels of the picture for one of its lay-out, so that it prints well."""
MOST_POINTS = 800
"""Places of a profile at which the ground is drawn."""
GROUND, GROUND_EDGE, BAND = "#cdb79a", "#8a7350", "#9cc4e8"
FLIGHT, TRANSIT = "#123f7a", "#46525a"


def write_map(picture_path: Path, page_path: Path, plan: PlanPicture) -> None:
    """Write the map with legend and terrain profiles as PNG, and as one HTML page.

    The page needs neither network nor other files.
    """
    layers = plan_layers(plan)
    hidden = {f"layer-{layer.name}" for layer in layers if not layer.shown}
    with plotting.house_style():
        figure, axes, contours_m = _compose(plan)
        with replacing(picture_path) as partial:
            partial.write_bytes(plotting.to_png(figure, finer=FINER, hidden=hidden))
        drawn = plotting.to_svg(figure, f"map of {plan.title}", hidden=hidden, only=axes)
        profiles = [_profile_svg(sortie, plan) for sortie in plan.sorties]
    environment = Environment(
        loader=PackageLoader("flightplan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pixels, bounds = cursor_pixels(plan.coverage)
    page = environment.get_template("plan.html.j2").render(
        plan=plan,
        map=drawn,
        switches=layers,
        counts=count_keys(plan.coverage, plan.asked.photographs),
        gsds=gsd_keys(plan.coverage, plan.asked.gsd_m),
        contours_m=contours_m,
        sorties=_sorties_table(plan),
        profiles=profiles,
        checks=[(check.passed, check_row(check)) for check in plan.certificate.checks],
        places=worst_places(plan.certificate),
        cursor={
            "picture": plotting.data_uri(pixels, lossless=True),
            "bounds": bounds,
            "box": plan.box,
            "sheet": plotting.page_box(axes, plan.box),
            "corners": plan.corners.tolist(),
        },
    )
    with replacing(page_path) as partial:
        partial.write_text(page, encoding="utf-8")


def _compose(plan: PlanPicture) -> tuple[Figure, Axes, float]:
    """Draw the picture; returns the axes of its map, and the interval of contour lines, too."""
    west, south, east, north = plan.box
    wide, tall = (east - west) * plan.scale, (north - south) * plan.scale
    width = 2 * EDGE + TICKS + wide + GAP + LEGEND_WIDTH
    head = _head(plan, width - 2 * EDGE)
    top = EDGE + _height(head) + 10
    shown = plan.sorties[:MOST_PROFILES]
    left_out = len(plan.sorties) - len(shown)
    # Contours are one row of the legend, whether there are any or not.
    body = max(tall + TICKS, _height(_legend(plan, 1.0)))
    height = top + body + GAP + len(shown) * (PROFILE_HEIGHT + GAP) + (24 if left_out else 0)
    figure = plotting.new_figure(width, height)
    axes, contours_m = draw_plan_map(figure, plan, EDGE + TICKS, top)
    sheet = plotting.sheet_of(figure)
    plotting.draw_rows(sheet, head, EDGE, EDGE)
    plotting.draw_rows(sheet, _legend(plan, contours_m), EDGE + TICKS + wide + GAP, top)
    for number, sortie in enumerate(shown):
        at = top + body + GAP + number * (PROFILE_HEIGHT + GAP)
        _draw_profile(figure, sheet, sortie, plan, EDGE, at, width - 2 * EDGE)
    if left_out:
        said = f"{left_out} more {'sortie' if left_out == 1 else 'sorties'}: profiles on the page"
        plotting.write(sheet, (EDGE, height - 14), said)
    return figure, axes, contours_m


def _height(rows: Sequence[Row]) -> float:
    return sum(row.height for row in rows)


def _head(plan: PlanPicture, width: float) -> list[Row]:
    """Return title, verdict and facts."""
    facts = " · ".join(f"{name}: {value}" for name, value in plan.facts.items())
    verdict = GOOD if plan.certificate.passed else BAD
    return [
        Row(text=plan.title, height=20, size=22, bold=True),
        Row(text=plan.certificate.sentence, height=26, size=15, bold=True, colour=verdict),
        Row(height=6),
        *_small(facts, width),
    ]


def _small(text: str, width: float, indent: float = 0.0) -> list[Row]:
    return plotting.paragraph(text, width, size=12, indent=indent, colour=SOFT)


def _legend(plan: PlanPicture, contours_m: float) -> list[Row]:
    """Return what stands beside the map, certificate included."""

    def heading(text: str) -> Row:
        return Row(text=text, height=30, size=14, bold=True)

    indent = plotting.KEY_INDENT
    rows = [Row(text="Photographs of each place", height=11, size=14, bold=True)]
    rows += _small("with the share of the area", LEGEND_WIDTH)
    rows += _keys(count_keys(plan.coverage, plan.asked.photographs))
    rows.append(heading("Sorties"))
    for number, sortie in enumerate(plan.sorties):
        colour = SORTIES[number % len(SORTIES)]
        rows += _keys([Key(label=sortie.name, colour=colour, mark="line")])
        facts = ", ".join(f"{name} {value}" for name, value in sortie.facts.items())
        rows += _small(facts, LEGEND_WIDTH, indent=indent)
    rows += _keys([Key(label="way without photographs", colour=SOFT, mark="dashes")])
    rows.append(heading("Map"))
    keys = [Key(label="area", colour="#000000", mark="line")]
    if plan.exclusions:
        keys.append(Key(label="exclusion", colour=BAD, mark="hatch"))
    keys.append(Key(label="H take-off, L landing elsewhere", colour="#000000", mark="dot"))
    if worst_places(plan.certificate):
        keys.append(Key(label="worst places, numbered", colour=BAD, mark="square"))
    if len(plan.sorties) > 1:
        keys.append(Key(label="sortie by number, at its first line", colour=SORTIES[0], mark="dot"))
    if contours_m:
        keys.append(
            Key(label=f"heights, contours every {contours_m:g} m", colour=CONTOUR, mark="line")
        )
    rows += _keys(keys)
    rows.append(heading("Certificate"))
    for check in plan.certificate.checks:
        word, colour = ("pass", GOOD) if check.passed else ("FAIL", BAD)
        row = check_row(check)
        rows.append(Row(text=word, height=22, bold=True, colour=colour))
        rows.append(Row(text=check.name, height=0, indent=indent + 8))
        rows += _small(
            f"{row['worst']} (asked {row['asked']})", LEGEND_WIDTH, indent=indent + 8
        )  # fmt: skip
    return rows


def _keys(keys: Sequence[Key]) -> list[Row]:
    return [Row(key=key, height=plotting.KEY_HEIGHT) for key in keys]


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


def _profile_svg(sortie: DrawnSortie, plan: PlanPicture) -> str:
    figure = plotting.new_figure(PAGE_PROFILE_WIDTH, PROFILE_HEIGHT)
    sheet = plotting.sheet_of(figure)
    _draw_profile(figure, sheet, sortie, plan, 0, 0, PAGE_PROFILE_WIDTH - 10)
    return plotting.to_svg(figure, f"terrain profile of {sortie.name}")


def _draw_profile(
    figure: Figure,
    sheet: Axes,
    sortie: DrawnSortie,
    plan: PlanPicture,
    left: float,
    top: float,
    width: float,
) -> None:
    """Draw the ground along a way, the heights allowed above it, and the flight.

    Where many samples fall on one place of the chart, the highest ground among them is drawn.
    """
    profile = sortie.profile
    band_m = (plan.asked.least_height_agl_m, plan.asked.most_height_agl_m)
    unit_m, unit = (1000.0, "km") if profile.distance_m[-1] >= 5000 else (1.0, "m")
    axes = plotting.chart_axes(
        figure, left + 60, top + 32, width - 60, PROFILE_HEIGHT - 74,
        f"distance flown, {unit}", f"height, m ({plan.terrain.datum})",
    )  # fmt: skip
    starts = np.arange(0, profile.distance_m.size, math.ceil(profile.distance_m.size / MOST_POINTS))
    at = profile.distance_m[starts] / unit_m
    at[-1] = profile.distance_m[-1] / unit_m
    ground = np.maximum.reduceat(profile.ground_m, starts)
    lines = np.logical_or.reduceat(profile.surveying, starts)
    tops = [profile.flight_m.max()]
    keys = [Key(label="flight with photographs", colour=FLIGHT, mark="line"),
            Key(label="without", colour=TRANSIT, mark="dashes")]  # fmt: skip
    if None not in band_m:
        lower, upper = (ground + height for height in band_m)
        tops.append(upper[lines].max(initial=-np.inf))
        axes.fill_between(at, lower, upper, where=_held(lines), color=BAND, linewidth=0)
        keys.insert(0, Key(label="heights asked on lines", colour=BAND))
    low, high = float(profile.ground_m.min()), float(max(tops))
    room = max(high - low, 10.0)
    foot = low - 0.25 * room
    axes.set(xlim=(0, at[-1] or 1.0), ylim=(foot, high + 0.12 * room))
    axes.fill_between(at, ground, foot, color=GROUND, linewidth=0)
    axes.plot(at, ground, color=GROUND_EDGE, linewidth=1)
    distance = profile.distance_m / unit_m
    for mask, colour, style in (
        (~profile.surveying, TRANSIT, (0, (4, 4))),
        (profile.surveying, FLIGHT, "-"),
    ):
        height = np.where(_held(mask), profile.flight_m, np.nan)
        axes.plot(distance, height, color=colour, linewidth=2 if style == "-" else 1.3, ls=style)
    turns = np.interp(profile.waypoint_m, profile.distance_m, profile.flight_m)
    plotting.dots(axes, np.column_stack([profile.waypoint_m / unit_m, turns]), 2.2, FLIGHT)
    _mark_lowest(axes, profile, unit_m)
    plotting.write(
        sheet,
        (left, top + 16),
        f"{sortie.name}: ground, height band and flight",
        bold=True,
        size=14,
    )
    plotting.draw_keys(sheet, left + width - 620, top, 620, keys, columns=len(keys))


def _held(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a mask holds or held at the sample before, so that its stretches meet."""
    return np.asarray(mask | np.append(False, mask[:-1]))


def _mark_lowest(axes: Axes, profile: Profile, unit_m: float) -> None:
    """Mark where the drone is lowest above the ground while it takes photographs."""
    if not profile.surveying.any():
        return
    height = np.where(profile.surveying, profile.height_agl_m, np.inf)
    number = int(height.argmin())
    x, foot, head = (float(values[number]) for values in
                     (profile.distance_m / unit_m, profile.ground_m, profile.flight_m))  # fmt: skip
    plotting.strokes(axes, [[(x, foot), (x, head)]], BAD, width=1.6)
    px, _ = plotting.pixel_of(axes)
    right = x < 0.75 * axes.get_xlim()[1]
    plotting.write(
        axes, (x + (7 if right else -7) * px, (foot + head) / 2),
        f"lowest on lines {height[number]:.1f} m", bold=True, colour=BAD, plate=True,
        anchor="left" if right else "right",
    )  # fmt: skip


def _sorties_table(plan: PlanPicture) -> dict[str, Any]:
    """Return columns and rows of the table of sorties."""
    columns: dict[str, None] = {}
    for sortie in plan.sorties:
        columns.update(dict.fromkeys(sortie.facts))
    rows = [
        {
            "name": sortie.name,
            "colour": SORTIES[number % len(SORTIES)],
            "values": [sortie.facts.get(column, "") for column in columns],
        }
        for number, sortie in enumerate(plan.sorties)
    ]
    return {"columns": list(columns), "rows": rows}
