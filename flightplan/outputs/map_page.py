"""The map a scientist looks at before take-off: a picture, and a page that opens offline."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flightplan.outputs.briefing import write_page
from flightplan.outputs.plan_map import (
    BEFORE,
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
from tmp.geo.frames import position_in_words
from tmp.plotting import BAD, GOOD, INK, SOFT, SORTIES, key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

EDGE, GAP, TICKS = 18.0, 20.0, 24.0
"""Pixels round the picture, between its parts, and for the coordinates at two sides of the map."""
LEGEND_WIDTH, NARROWEST = 340.0, 960.0
"""Of the legend, and least width of the picture, so that the heads of profiles fit."""
PROFILE_HEIGHT, PAGE_PROFILE_WIDTH = 230.0, 1020.0
MOST_PROFILES = 4
"""Profiles drawn in the picture; the page has all."""
FINER = 1.6
"""Pixels of the picture for one of its lay-out, so that it prints well."""
MOST_POINTS = 800
"""Places of a profile at which the ground is drawn."""
GROUND, GROUND_EDGE, BAND = "#cdb79a", "#8a7350", "#9cc4e8"
FLIGHT = "#123f7a"
COLOUR_OF = {False: GOOD, True: "#9a5b00"}
"""Of what passes, by whether it does so only if the ground is level."""


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
    pixels, bounds = cursor_pixels(plan.coverage)
    write_page(
        page_path,
        "plan.html.j2",
        plan=plan,
        map=drawn,
        switches=layers,
        counts=count_keys(plan.coverage, plan.asked.photographs),
        gsds=[] if plan.asked.gsd_m is None else gsd_keys(plan.coverage, plan.asked.gsd_m),
        contours_m=contours_m,
        sorties=_sorties_table(plan),
        profiles=profiles,
        checks=[
            (plan.certificate.word_for(check), check_row(check))
            for check in plan.certificate.checks
        ],
        position_in_words=position_in_words,
        places=worst_places(plan.certificate),
        cursor={
            "picture": plotting.data_uri(pixels, lossless=True),
            "bounds": bounds,
            "box": plan.box,
            "sheet": plotting.page_box(axes, plan.box),
            "corners": plan.corners.tolist(),
        },
    )


def _compose(plan: PlanPicture) -> tuple[Figure, Axes, float]:
    """Draw the picture; returns the axes of its map, and the interval of contour lines, too."""
    west, south, east, north = plan.box
    wide, tall = (east - west) * plan.scale, (north - south) * plan.scale
    width = max(2 * EDGE + TICKS + wide + GAP + LEGEND_WIDTH, NARROWEST)
    facts = " · ".join(f"{name}: {value}" for name, value in plan.facts.items())
    lines = _wrapped(facts, width - 2 * EDGE, 12)
    title = _wrapped(plan.title, width - 2 * EDGE, 26)
    below = EDGE + 30 * len(title)
    top = below + 40 + 17 * len(lines)
    shown = plan.sorties[:MOST_PROFILES]
    # Drawn once for its height, with all that it may have.
    needed = _draw_legend(plotting.new_figure(width, 1000), plan, 1.0, 0, 0)
    body = max(tall + TICKS, needed)
    height = top + body + GAP + len(shown) * (PROFILE_HEIGHT + GAP) + EDGE
    figure = plotting.new_figure(width, height)
    verdict = COLOUR_OF[plan.certificate.level_assumed] if plan.certificate.passed else BAD
    plotting.write(figure, EDGE, EDGE, "\n".join(title), size=22, weight="bold")
    plotting.write(
        figure, EDGE, below + 4, plan.certificate.sentence, size=15, weight="bold", color=verdict
    )
    plotting.write(figure, EDGE, below + 30, "\n".join(lines), size=12, color=SOFT)
    axes, contours_m = draw_plan_map(figure, plan, EDGE + TICKS, top)
    _draw_legend(figure, plan, contours_m, EDGE + TICKS + wide + GAP, top)
    for number, sortie in enumerate(shown):
        at = top + body + GAP + number * (PROFILE_HEIGHT + GAP)
        _draw_profile(figure, sortie, plan, (EDGE, at, width - 2 * EDGE))
    if left_out := len(plan.sorties) - len(shown):
        said = f"{left_out} more {'sortie' if left_out == 1 else 'sorties'}: profiles on the page"
        plotting.write(figure, EDGE, height - EDGE, said)
    return figure, axes, contours_m


def _wrapped(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that are about so many pixels wide."""
    letters = 0.96 * len(text) * width / max(plotting.text_width(text, size), 1.0)
    return textwrap.wrap(text, max(int(letters), 1))


def _draw_legend(
    figure: Figure, plan: PlanPicture, contours_m: float, left: float, top: float
) -> float:
    """Draw what stands beside the map, certificate included; returns where it ends."""
    plotting.write(figure, left, top, "Certificate", size=14, weight="bold")
    top += 24
    for check in plan.certificate.checks:
        word = plan.certificate.word_for(check)
        colour = COLOUR_OF[plan.certificate.level_assumed] if check.passed else BAD
        row = check_row(check)
        said = f"{check.name}\n{row['worst']} (asked {row['asked']})"
        plotting.write(figure, left, top, word, weight="bold", color=colour)
        plotting.write(figure, left + 56, top, said)
        top += 42
    top += GAP / 2
    counts = count_keys(plan.coverage, plan.asked.photographs)
    sorties = []
    for number, sortie in enumerate(plan.sorties):
        facts = ", ".join(f"{name} {value}" for name, value in sortie.facts.items())
        said = "\n".join(_wrapped(facts, LEGEND_WIDTH - 36, 12))
        sorties += [
            key(sortie.name, SORTIES[number % len(SORTIES)], "line"),
            key(said, "none", "line"),
        ]
    marks = [
        key("area", "#000000", "line"),
        *([key("not to be flown over", BAD, "hatch")] if plan.exclusions else []),
        *([key("photographs taken before", BEFORE, "o")] if len(plan.before) else []),
        key("A, B … take-off", INK, "s"),
        *([key("worst places, numbered", BAD, "s")] if worst_places(plan.certificate) else []),
        *([key("sortie, where its lines begin", SORTIES[0], "o")] if len(plan.sorties) > 1 else []),
        *([key(f"heights every {contours_m:g} m", plan.contour, "line")] if contours_m else []),
    ]
    for title, keys in (
        ("Photographs of each place (share)", [key(label, css) for label, css in counts]),
        ("Sorties", [*sorties, key("way without photographs", SOFT, "dashes")]),
        ("Map", marks),
    ):
        top = plotting.draw_keys(figure, left, top, keys, title=title) + GAP
    return top


def check_row(check: Check) -> dict[str, str]:
    """Return a certificate's line as tables show it.

    Keys are ``name``, ``asked``, ``worst``, ``first``, ``fifth``, ``failing``, ``sentence``.
    """

    def said(value: float) -> str:
        if np.isnan(value):
            return "none"
        if check.unit:
            return f"{value:.{2 if check.unit == 'cm' else 1}f} {check.unit}"
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
    _draw_profile(figure, sortie, plan, (0.0, 0.0, PAGE_PROFILE_WIDTH - 10))
    return plotting.to_svg(figure, f"terrain profile of {sortie.name}")


def _draw_profile(
    figure: Figure, sortie: DrawnSortie, plan: PlanPicture, place: tuple[float, float, float]
) -> None:
    """Draw the ground along a way, the heights allowed above it, and the flight.

    Where many samples fall on one place of the chart, the highest ground among them is drawn.
    `place` is left, top and width in pixels.
    """
    left, top, width = place
    profile, asked = sortie.profile, plan.asked
    unit_m, unit = (1000.0, "km") if profile.distance_m[-1] >= 5000 else (1.0, "m")
    axes = plotting.axes_at(figure, left + 60, top + 30, width - 60, PROFILE_HEIGHT - 72)
    axes.set(xlabel=f"distance flown, {unit}", ylabel=f"height, m ({plan.terrain.datum})")
    starts = np.arange(0, profile.distance_m.size, math.ceil(profile.distance_m.size / MOST_POINTS))
    at = profile.distance_m[starts] / unit_m
    at[-1] = profile.distance_m[-1] / unit_m
    ground = np.maximum.reduceat(profile.ground_m, starts)
    lines = np.logical_or.reduceat(profile.surveying, starts)
    high, low = float(profile.flight_m.max()), float(profile.ground_m.min())
    if asked.least_height_agl_m is not None and asked.most_height_agl_m is not None:
        lower, upper = ground + asked.least_height_agl_m, ground + asked.most_height_agl_m
        high = max(high, float(upper[lines].max(initial=-np.inf)))
        axes.fill_between(
            at, lower, upper, where=_held(lines), fc=BAND, lw=0, label="heights asked on lines"
        )
    room = max(high - low, 10.0)
    axes.set(xlim=(0, at[-1] or 1.0), ylim=(low - 0.25 * room, high + 0.12 * room))
    axes.fill_between(at, ground, low - room, fc=GROUND, ec=GROUND_EDGE)
    distance = profile.distance_m / unit_m
    flying, between = (
        np.where(_held(mask), profile.flight_m, np.nan)
        for mask in (profile.surveying, ~profile.surveying)
    )
    axes.plot(distance, flying, c=FLIGHT, lw=2, label="flight with photographs")
    axes.plot(distance, between, c=SOFT, lw=1.3, ls=(0, (4, 4)), label="without")
    turns = np.interp(profile.waypoint_m, profile.distance_m, profile.flight_m)
    plotting.draw_dots(axes, np.column_stack([profile.waypoint_m / unit_m, turns]), 4.4, FLIGHT)
    _mark_lowest(axes, profile, unit_m)
    title = f"{sortie.name}: ground, height band and flight"
    plotting.write(figure, left, top, title, size=14, weight="bold")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.04), ncols=3)


def _held(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a mask holds or held at the sample before, so that its stretches meet."""
    return np.asarray(mask | np.append(False, mask[:-1]))


def _mark_lowest(axes: Axes, profile: Profile, unit_m: float) -> None:
    """Mark where the drone is lowest above the ground while it takes photographs."""
    if not profile.surveying.any():
        return
    height = np.where(profile.surveying, profile.height_agl_m, np.inf)
    number = int(height.argmin())
    x, foot, head = (
        float(values[number])
        for values in (profile.distance_m / unit_m, profile.ground_m, profile.flight_m)
    )
    axes.plot([x, x], [foot, head], c=BAD, lw=1.6)
    right = x < 0.75 * axes.get_xlim()[1]
    axes.annotate(
        f"lowest on lines {height[number]:.1f} m", (x, (foot + head) / 2), (7 if right else -7, 0),
        textcoords="offset points", weight="bold", color=BAD, bbox=plotting.PLATE, va="center",
        ha="left" if right else "right",
    )  # fmt: skip


def _sorties_table(plan: PlanPicture) -> dict[str, Any]:
    """Return columns and rows of the table of sorties."""
    columns = list(dict.fromkeys(name for sortie in plan.sorties for name in sortie.facts))
    rows = [
        {
            "name": sortie.name,
            "colour": SORTIES[number % len(SORTIES)],
            "values": [sortie.facts.get(column, "") for column in columns],
        }
        for number, sortie in enumerate(plan.sorties)
    ]
    return {"columns": columns, "rows": rows}
