"""The map a scientist looks at before take-off: a picture, and a page that opens offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flightplan.outputs.drawing import (
    LETTER,
    Layer,
    Stroke,
    Text,
    data_uri,
    moved,
    png_bytes,
    rectangle,
    to_picture,
    to_svg,
)
from flightplan.outputs.mapcolours import (
    LegendEntry,
    count_picture,
    cursor_pixels,
    ground_picture,
    gsd_picture,
)
from flightplan.outputs.maplegend import check_row, head_shapes, legend_shapes
from flightplan.outputs.mapsheet import (
    SORTIE_COLOURS,
    DrawnSortie,
    MapView,
    PlanPicture,
    plan_layers,
    worst_places,
)
from flightplan.outputs.profilechart import draw_profile
from tmp.files import replacing

PROFILE_HEIGHT = 210.0
MOST_PROFILES = 4
"""Profiles drawn in the picture; the page has all."""
HEAD, GAP, LEGEND_WIDTH = 86.0, 18.0, 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """The parts of a plan's map."""

    view: MapView
    layers: list[Layer]
    counts: list[LegendEntry]
    gsds: list[LegendEntry]
    contours_m: float


def draw_map(path: Path, plan: PlanPicture) -> None:
    """Write the map with legend and terrain profiles as a PNG.

    Parameters
    ----------
    path : Path
    plan : PlanPicture
    """
    sheet = _compose(plan)
    wide, tall = sheet.view.size
    legend, needed = legend_shapes(plan, sheet.counts, sheet.contours_m)
    width = wide + LEGEND_WIDTH + 3 * GAP
    shown = plan.sorties[:MOST_PROFILES]
    body = max(tall, needed)
    height = HEAD + body + GAP + len(shown) * (PROFILE_HEIGHT + GAP)
    letters = int((width - 2 * GAP) / (LETTER * 13))
    head = Layer(name="head", label="", shapes=tuple(head_shapes(plan, letters)))
    parts = [_shifted(head, GAP, 0), *(_shifted(layer, GAP, HEAD) for layer in sheet.layers)]
    border = Stroke(parts=(rectangle(0, 0, wide, tall)[[0, 1, 2, 3, 0]],), colour="#5b666e",
                    width=1)  # fmt: skip
    parts.append(_shifted(Layer(name="border", label="", shapes=(border,)), GAP, HEAD))
    side = Layer(name="legend", label="", shapes=tuple(legend))
    parts.append(_shifted(side, wide + 2 * GAP, HEAD))
    for number, sortie in enumerate(shown):
        top = HEAD + body + GAP + number * (PROFILE_HEIGHT + GAP)
        chart = draw_profile(
            sortie.profile,
            (width - 2 * GAP, PROFILE_HEIGHT),
            title=f"{sortie.name}: ground, height band and flight",
            band_m=_band(plan),
        )
        parts.append(_shifted(Layer(name="chart", label="", shapes=chart), GAP, top))
    if len(plan.sorties) > len(shown):
        said = f"{len(plan.sorties) - len(shown)} more sorties: their profiles are on the page"
        note = Text(x=GAP, y=height - 8, text=said, halo=False)
        parts.append(Layer(name="note", label="", shapes=(note,)))
    picture = to_picture(parts, (width, height))
    with replacing(path) as partial:
        picture.save(partial, "PNG")


def write_map_html(path: Path, plan: PlanPicture) -> None:
    """Write the map as one HTML page that needs neither network nor other files.

    Parameters
    ----------
    path : Path
    plan : PlanPicture
    """
    environment = Environment(
        loader=PackageLoader("flightplan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheet = _compose(plan)
    pixels, bounds = cursor_pixels(plan.coverage)
    corners = plan.frame.geodetic_from_plan(sheet.view.corners)
    page = environment.get_template("plan.html.j2").render(
        plan=plan,
        map=to_svg(sheet.layers, sheet.view.size, f"map of {plan.title}"),
        switches=[layer for layer in sheet.layers if layer.label],
        counts=sheet.counts,
        gsds=sheet.gsds,
        contours_m=sheet.contours_m,
        sorties=_sorties_table(plan),
        profiles=[_profile_svg(sortie, plan) for sortie in plan.sorties],
        checks=[(check.passed, check_row(check)) for check in plan.certificate.checks],
        places=worst_places(plan.certificate),
        cursor={
            "picture": data_uri(png_bytes(pixels), "image/png"),
            "bounds": bounds,
            "view": [sheet.view.west, sheet.view.north, sheet.view.scale],
            "corners": corners.tolist(),
        },
    )
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _compose(plan: PlanPicture) -> _Sheet:
    view = MapView.around(plan)
    ground, contours_m = ground_picture(plan.terrain, view)
    counted, counts = count_picture(plan.coverage, plan.asked.photographs, view)
    layers = [
        Layer(name="ground", label="", shapes=(ground,)),
        Layer(name="count", label="Photographs of each place", shapes=(counted,)),
    ]
    gsds: list[LegendEntry] = []
    if plan.asked.gsd_m is not None:
        sharp, gsds = gsd_picture(plan.coverage, plan.asked.gsd_m, view)
        layers.append(
            Layer(name="gsd", label="Ground sampling distance", shapes=(sharp,), shown=False)
        )
    layers += plan_layers(plan, view)
    return _Sheet(view=view, layers=layers, counts=counts, gsds=gsds, contours_m=contours_m)


def _shifted(layer: Layer, x: float, y: float) -> Layer:
    return Layer(
        name=layer.name,
        label=layer.label,
        shapes=tuple(moved(shape, x, y) for shape in layer.shapes),
        shown=layer.shown,
    )


def _band(plan: PlanPicture) -> tuple[float, float] | None:
    least, most = plan.asked.least_height_agl_m, plan.asked.most_height_agl_m
    return None if least is None or most is None else (least, most)


def _profile_svg(sortie: DrawnSortie, plan: PlanPicture) -> str:
    size = (MapView.around(plan).size[0], PROFILE_HEIGHT + 30)
    size = (max(size[0], 860.0), size[1])
    shapes = draw_profile(
        sortie.profile,
        size,
        title=f"{sortie.name}: ground, height band and flight",
        band_m=_band(plan),
    )
    layer = Layer(name="profile", label="", shapes=shapes)
    return to_svg([layer], size, f"terrain profile of {sortie.name}").replace(
        ' id="layer-profile"', ""
    )


def _sorties_table(plan: PlanPicture) -> dict[str, Any]:
    """Return columns and rows of the table of sorties."""
    columns: dict[str, None] = {}
    for sortie in plan.sorties:
        columns.update(dict.fromkeys(sortie.facts))
    rows = [
        {
            "name": sortie.name,
            "colour": SORTIE_COLOURS[number % len(SORTIE_COLOURS)],
            "values": [sortie.facts.get(column, "") for column in columns],
        }
        for number, sortie in enumerate(plan.sorties)
    ]
    return {"columns": list(columns), "rows": rows}
