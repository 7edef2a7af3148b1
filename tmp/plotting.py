"""The house style of every picture: colours, maps and charts, as SVG and as PNG from one figure.

A figure has 72 pixels to the inch, so that matplotlib's points are pixels too, and text stays text.
What is drawn later covers what was drawn before.  Names of layers become classes in the SVG, which
a page shows and hides.  Matplotlib is loaded by what draws, and by nothing else.
"""

from __future__ import annotations

import base64
import io
import math
import re
import textwrap
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""West, south, east, north."""

INK, SOFT, FAINT, WHITE = "#1d2429", "#46525a", "#d5dade", "#ffffff"
GOOD, BAD, ACCENT = "#1b6e3c", "#b3261e", "#1f6f5c"
PAPER = (255, 255, 255)
SORTIES = ("#1d5fd0", "#b34700", "#006d8f", "#1c1c1c", "#3b2f8f", "#00695c")
"""Taken in turn: dark on pale ground, and neighbours differ by 40 in CIELAB to all eyes."""
OVERLAPS = ("#b2182b", "#ef8a62", "#fddbc7", "#d1e5f0", "#67a9cf", "#2166ac")
"""From ground that too few photographs see to ground that many see."""
RAMPS = {
    # Brown, yellow, green as people know NDVI.  The browns are dull and the greens are not, so that
    # they differ in yellowness too; for many eyes it is all that parts them.
    "plants": ("#7d5a50", "#b6947f", "#f0e0b4", "#dfe68c", "#7dbb50", "#278038", "#00441b"),
    "soil": ("#1f4e79", "#6a9fc0", "#cfe0e6", "#f3ead6", "#e0b27a", "#bd6f35", "#7a3012"),
    "water": ("#7a4a1c", "#c0904c", "#ecd9b0", "#f4f4f1", "#b3d3e6", "#5a9bc8", "#12508f"),
    "ice": ("#4d3a2b", "#8d7a68", "#c9c2b8", "#eef2f4", "#a9d3e8", "#4a9cc7", "#0b4f7d"),
    "plain": ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"),
    "doubt": ("#000004", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"),
}
"""CSS colours at even steps from the low to the high end; with seven, steps are round numbers.

"plain" is matplotlib's viridis, "doubt" its magma.  All keep apart for people who do not tell red
from green: their two ends differ in lightness or in blue against yellow.
"""
ENTRIES = 256
HATCH = "///"
JPEG_QUALITY = 85

_STYLE: Any = {
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 13,
    "axes.axisbelow": True,
    "font.size": 13,
    "grid.color": FAINT,
    "hatch.linewidth": 1.8,
    "image.composite_image": False,
    "legend.fontsize": 12,
    "lines.scale_dashes": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 12,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 12,
}
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', sans-serif"
"""Verdana is as wide as the font that places are reckoned with, and is where that one is not."""
_drawing = threading.RLock()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, whatever a user's own settings of matplotlib are.

    Matplotlib's settings are the process's: threads draw one after the other.
    """
    import matplotlib

    with _drawing, warnings.catch_warnings(), matplotlib.rc_context():
        # A name in letters that the font lacks is drawn as boxes in a PNG, and well in a page.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of a size in pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=WHITE)


def to_png(figure: Figure, *, finer: float = 1.0, hidden: Collection[str] = ()) -> bytes:
    """Return a figure as a PNG file, `finer` times as large as its size in pixels.

    Parameters
    ----------
    figure : Figure
    finer : float
    hidden : collection of str
        Layers that are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    left_out = figure.findobj(lambda artist: artist.get_gid() in hidden)
    with house_style(), _unseen(left_out):
        figure.set_dpi(72 * finer)
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
        figure.set_dpi(72)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Words that a page shows while the pointer is over a place of a figure."""

    axes: Axes
    box: Box
    """In the axes' coordinates."""
    text: str
    around_px: float = 0.0
    """By how much the box is wider on all sides."""


def to_svg(
    figure: Figure,
    title: str,
    *,
    css: str = "",
    hidden: Collection[str] = (),
    hints: Sequence[Hint] = (),
    only: Axes | None = None,
) -> str:
    """Return a figure as an SVG element that stands alone or in a page.

    Parameters
    ----------
    figure : Figure
    title : str
        Read aloud in place of the picture; tells its identifiers from those of other figures.
    css : str
        Class of the element.
    hidden : collection of str
        Layers that have the attribute ``hidden``.
    hints : sequence of Hint
    only : Axes, optional
        What the figure is cropped to; all else is left out.
    """
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    left_out = [axes for axes in figure.axes if only is not None and axes is not only]
    with (
        house_style(),
        _unseen([figure.patch, *left_out]),
        _pictures_apart(figure, hidden) as pictures,
    ):
        rcParams["svg.hashsalt"] = title
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
        over = "".join(_hint_svg(hint) for hint in hints)
        wide, tall = figure.get_size_inches() * 72
        shown = (0.0, 0.0, wide, tall)
        if only is not None:
            (x0, y0), (x1, y1) = np.asarray(only.get_tightbbox())
            shown = (x0 - 2, tall - y1 - 2, x1 - x0 + 4, y1 - y0 + 4)
    view = " ".join(f"{side:.1f}" for side in shown)
    kind = f'class="{css}" ' if css else ""
    return (
        f'<svg {kind}xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img" '
        f'aria-label="{escape(title)}" font-family="{_FONTS}" stroke-linejoin="round">'
        f"{_tidied(file.getvalue(), pictures, hidden)}{over}</svg>"
    )


def page_box(axes: Axes, box: Box) -> Box:
    """Return left, top, width and height on the page of a box in an axes' coordinates."""
    (x0, y0), (x1, y1) = axes.transData.transform([box[:2], box[2:]])
    tall = axes.figure.bbox.height
    return float(x0), float(tall - y1), float(x1 - x0), float(y1 - y0)


@contextmanager
def _unseen(artists: Sequence[Artist]) -> Iterator[None]:
    seen = [artist for artist in artists if artist.get_visible()]
    for artist in seen:
        artist.set_visible(False)
    yield
    for artist in seen:
        artist.set_visible(True)


@contextmanager
def _pictures_apart(figure: Figure, hidden: Collection[str]) -> Iterator[dict[str, str]]:
    """Put a pixel in each picture's place, and give the pictures as SVG by their identifiers.

    Matplotlib writes every picture as PNG, which is five times as large for a photograph.
    """
    from matplotlib.image import AxesImage

    kept: list[tuple[AxesImage, Any, Any, str | None]] = []
    pictures: dict[str, str] = {}
    for axes in figure.axes:
        for image in axes.images:
            if isinstance(image, AxesImage) and image.get_visible():
                name, layer = f"picture-{len(kept)}", image.get_gid()
                pixels, smoothing = np.asarray(image.get_array()), image.get_interpolation()
                west, east, south, north = image.get_extent()
                left, top, width, height = page_box(axes, (west, south, east, north))
                cells = smoothing == "nearest"
                pictures[name] = (
                    f'<image{_class_of(layer, hidden)} href="{data_uri(pixels, lossless=cells)}" '
                    f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
                    'preserveAspectRatio="none"'
                    + (' style="image-rendering:pixelated"/>' if cells else "/>")
                )
                kept.append((image, pixels, smoothing, layer))
                image.set_data(np.zeros((1, 1, 4), np.uint8))
                image.set_interpolation("none")
                image.set_gid(name)
    yield pictures
    for image, pixels, smoothing, layer in kept:
        image.set_data(pixels)
        image.set_interpolation(smoothing)
        image.set_gid(layer)


def _class_of(layer: str | None, hidden: Collection[str]) -> str:
    return (f' class="{layer}"' if layer else "") + (' hidden="hidden"' if layer in hidden else "")


def data_uri(pixels: Pixels, *, lossless: bool = False, quality: int = JPEG_QUALITY) -> str:
    """Return a picture (rows, cols, 3 or 4) as a ``data:`` URI; one without opacity as JPEG."""
    from PIL import Image

    file = io.BytesIO()
    kind = "png" if lossless or pixels.shape[2] == 4 else "jpeg"
    Image.fromarray(pixels).save(file, kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _hint_svg(hint: Hint) -> str:
    left, top, width, height = page_box(hint.axes, hint.box)
    more = hint.around_px
    return (
        f'<rect x="{left - more:.1f}" y="{top - more:.1f}" width="{width + 2 * more:.1f}" '
        f'height="{height + 2 * more:.1f}" fill="none" pointer-events="all">'
        f"<title>{escape(hint.text)}</title></rect>"
    )


def _tidied(svg: str, pictures: dict[str, str], hidden: Collection[str]) -> str:
    """Return what is in matplotlib's ``svg`` element, shorter, with classes for identifiers."""

    def grouped(found: re.Match[str]) -> str:
        given = not re.fullmatch(r"[\w.]+_\d+", found[1])
        return f"<g{_class_of(found[1], hidden)}" if given else "<g"

    def rounded(found: re.Match[str]) -> str:
        places = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", found[2])
        places = re.sub(r"\s*([A-Za-z])\s*", r"\1", places.strip())
        return f' {found[1]}="{places}"'

    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    for pattern, put in (
        (r"<metadata>.*?</metadata>", ""),
        (r"<defs>\s*<style.*?</style>\s*</defs>", ""),
        (r"font-family: [^;\"]*;? ?", ""),
        (r' transform="rotate\(-?0 [^"]*"', ""),
        (r">\s*\n\s*<", "><"),
    ):
        body = re.sub(pattern, put, body, flags=re.DOTALL)
    body = re.sub(r' (d|x|y|width|height)="([^"]*)"', rounded, body.replace("xlink:href", "href"))
    body = re.sub(r'<g id="([^"]*)"', grouped, body)
    for name, picture in pictures.items():
        body = re.sub(rf'<image\b[^>]*\bid="{name}"[^>]*/>', picture, body)
    return body


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes in a rectangle of a figure, pixels from its upper left corner."""
    wide, tall = figure.get_size_inches() * 72
    return figure.add_axes(
        (left / wide, 1 - (top + height) / tall, width / wide, height / tall)
    )  # fmt: skip


def sheet_of(figure: Figure) -> Axes:
    """Return axes over a whole figure whose coordinates are its pixels, y down."""
    wide, tall = figure.get_size_inches() * 72
    axes = axes_at(figure, 0, 0, wide, tall)
    axes.set(xlim=(0, wide), ylim=(tall, 0))
    axes.set_axis_off()
    return axes


def map_axes(figure: Figure, box: Box, left: float, top: float, scale: float) -> Axes:
    """Return the frame of a map, north up and of one scale.

    Parameters
    ----------
    figure : Figure
    box : tuple of 4 floats
        Ground shown.
    left, top : float
        Upper left corner, pixels.
    scale : float
        Pixels per unit of ground.
    """
    west, south, east, north = box
    axes = axes_at(figure, left, top, (east - west) * scale, (north - south) * scale)
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    for spine in axes.spines.values():
        spine.set_zorder(_ON_TOP)
    return axes


def chart_axes(
    figure: Figure, left: float, top: float, width: float, height: float, x: str, y: str
) -> Axes:
    """Return the axes of a chart with what is on them, units included."""
    axes = axes_at(figure, left, top, width, height)
    axes.set(xlabel=x, ylabel=y)
    axes.grid(axis="y")
    axes.tick_params(length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0)
    return axes


def metre_ticks(axes: Axes, *, crs: str | None) -> None:
    """Write coordinates along the lower and the left edge of a map.

    Parameters
    ----------
    axes : Axes
    crs : str or None
        Of the map; without one it has units of its own, and no north.
    """
    for axis, ends, name in (
        (axes.xaxis, axes.get_xlim(), "easting"),
        (axes.yaxis, axes.get_ylim(), "northing"),
    ):
        _place_ticks(axes, axis, ends, np.array(ends), lambda value, _: f"{value:.10g}")
        axis.set_label_text(f"{name}, m ({crs})" if crs else "units of arbitrary length")


def degree_ticks(axes: Axes, longitudes: ArrayLike, latitudes: ArrayLike) -> None:
    """Write longitude along the lower edge of a map and latitude along its left one.

    Parameters
    ----------
    axes : Axes
    longitudes : array_like of shape (N,)
        Degrees, at even steps from west to east.
    latitudes : array_like of shape (N,)
        From south to north.
    """

    def said(letters: str) -> Callable[[float, int], str]:
        def label(value: float, digits: int) -> str:
            whole = (value + 180) % 360 - 180
            return f"{abs(whole):.{digits}f}° {letters[int(whole >= 0)]}"

        return label

    east = np.unwrap(np.asarray(longitudes, float), period=360)
    _place_ticks(axes, axes.xaxis, axes.get_xlim(), east, said("WE"))
    _place_ticks(axes, axes.yaxis, axes.get_ylim(), np.asarray(latitudes, float), said("SN"))


def _place_ticks(
    axes: Axes,
    axis: Axis,
    ends: tuple[float, float],
    values: Float,
    label: Callable[[float, int], str],
) -> None:
    """Write round ones of the values that an edge has at even steps, but none near its ends."""
    length = (ends[1] - ends[0]) / pixel_of(axes)[0]
    step = round_step(float(np.ptp(values)) / max(1.0, length / 150))
    round_ones = np.arange(math.ceil(values[0] / step), values[-1] / step) * step
    places = np.interp(round_ones, values, np.linspace(*ends, len(values)))
    room = 45 / length * (ends[1] - ends[0])
    inner = (places > ends[0] + room) & (places < ends[1] - room)
    digits = max(0, -math.floor(math.log10(step)))
    axis.set_ticks(places[inner], [label(value, digits) for value in round_ones[inner]])
    axis.set_tick_params(length=4)
    if axis is axes.yaxis:
        for text in axis.get_ticklabels():
            text.set(rotation=90, verticalalignment="center")


def scale_bar(axes: Axes, unit: str = "m") -> None:
    """Draw a scale bar of a round length into a map's lower left corner."""
    (west, east), (south, _) = axes.get_xlim(), axes.get_ylim()
    px, up = pixel_of(axes)
    length = round_step((east - west) / 4)
    in_km = unit == "m" and length >= 1000
    said = f"{length / 1000:g} km" if in_km else f"{length:g} {unit}"
    x, y = west + 16 * px, south + 14 * up
    end = x + length
    plate = ring_of((x - 8 * px, y - 7 * up, end + 8 * px, y + 25 * up))
    fills(axes, [plate], "#ffffffcc")
    bar = [(x, y + 6 * up), (x, y), (end, y), (end, y + 6 * up)]
    strokes(axes, [bar], "#000000", width=2.4, layer="scale-bar")
    write(axes, ((x + end) / 2, y + 9 * up), said, bold=True, anchor="center")


def north_arrow(axes: Axes) -> None:
    """Draw an arrow to the north into a map's upper right corner."""
    (_, east), (_, north) = axes.get_xlim(), axes.get_ylim()
    px, up = pixel_of(axes)
    x, y = east - 24 * px, north - 10 * up
    plate = ring_of((x - 15 * px, y - 54 * up, x + 15 * px, y + 4 * up))
    fills(axes, [plate], "#ffffffcc")
    arrow = np.array([[0, 0], [9, -32], [0, -26], [-9, -32]]) * (px, up) + (x, y)
    fills(axes, [arrow], "#000000", layer="north")
    write(axes, (x, y - 48 * up), "N", bold=True, anchor="center")


def pixel_of(axes: Axes) -> tuple[float, float]:
    """Return what a pixel to the right and one upwards are in the coordinates of axes."""
    (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
    return float(1 / (x1 - x0)), float(1 / (y1 - y0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An entry of a legend."""

    label: str
    colour: str
    mark: Literal["patch", "hatch", "line", "dashes", "dot", "square", "cross"] = "patch"


KEY_HEIGHT, KEY_INDENT = 21.0, 32.0
"""From an entry of a legend to the next, and from the left of its mark to its label."""


def draw_key(sheet: Axes, x: float, y: float, key: Key) -> None:
    """Draw an entry of a legend with its baseline at a place of a sheet."""
    ring = ring_of((x, y - 10, x + 24, y + 2))
    if key.mark == "patch":
        fills(sheet, [ring], key.colour, edge=SOFT, width=0.7)
    elif key.mark == "hatch":
        fills(sheet, [ring], WHITE, edge=key.colour, hatch=HATCH)
    elif key.mark == "dot":
        dots(sheet, [(x + 12, y - 4)], 4.5, key.colour)
    elif key.mark == "square":
        fills(sheet, [ring_of((x + 6, y - 10, x + 18, y + 2))], key.colour)
    elif key.mark == "cross":
        crosses(sheet, [(x + 12, y - 4)], 5.0, key.colour)
    else:
        dash = 4.0 if key.mark == "dashes" else 0.0
        line = [(x, y - 4), (x + 24, y - 4)]
        strokes(sheet, [line], key.colour, width=1.4 if dash else 2.4, dash=dash)
    write(sheet, (x + KEY_INDENT, y), key.label)


def draw_keys(
    sheet: Axes, left: float, top: float, width: float, keys: Sequence[Key], *, columns: int
) -> None:
    """Draw a legend row by row in columns."""
    for number, key in enumerate(keys):
        row, column = divmod(number, columns)
        draw_key(sheet, left + column * width / columns, top + 14 + row * KEY_HEIGHT, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of text, or an entry of a legend, among others."""

    text: str = ""
    key: Key | None = None
    height: float = 19.0
    """From the baseline of the row above, pixels."""
    indent: float = 0.0
    size: float = 13.0
    bold: bool = False
    colour: str = INK


def draw_rows(sheet: Axes, rows: Sequence[Row], left: float, top: float) -> None:
    """Write rows one below the other."""
    for row in rows:
        top += row.height
        if row.key is not None:
            draw_key(sheet, left, top, row.key)
        else:
            place = (left + row.indent, top)
            write(sheet, place, row.text, size=row.size, bold=row.bold, colour=row.colour)


def paragraph(
    text: str, width: float, *, size: float = 13.0, indent: float = 0.0, colour: str = INK
) -> list[Row]:
    """Break a text into rows of a width."""
    letters = int(0.97 * len(text) * (width - indent) / max(text_width(text, size), 1.0))
    return [
        Row(text=line, height=size + 4, indent=indent, size=size, colour=colour)
        for line in textwrap.wrap(text, max(letters, 1))
    ]


def fitting(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Cut a text to a width."""
    if text_width(text, size, bold=bold) <= width:
        return text
    while text and text_width(text + "…", size, bold=bold) > width:
        text = text[:-1]
    return text + "…"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a line of text, pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width)


def colour_bar(
    figure: Figure,
    left: float,
    top: float,
    width: float,
    colours: Pixels,
    shown: tuple[float, float],
    label: str,
) -> None:
    """Draw what colours (N, 3) from low to high stand for; 50 pixels high with its label."""
    axes = axes_at(figure, left, top, width, 14)
    axes.set(xlim=shown, ylim=(0, 1), yticks=[], xlabel=label)
    picture(axes, colours[None], (shown[0], 0, shown[1], 1), layer="colour-bar")
    for spine in axes.spines.values():
        spine.set_zorder(_ON_TOP)


# What is drawn on axes: each call covers what was drawn before it.

_ON_TOP = 1e6


def over(axes: Axes) -> float:
    """Return the order of drawing that is above all that axes have."""
    return 3.0 + len(axes.get_children())


def picture(axes: Axes, pixels: Pixels, box: Box, *, smooth: bool = True, layer: str = "") -> None:
    """Draw a picture (rows, cols, 3 or 4) over a box; what is not smooth keeps its cells."""
    west, south, east, north = box
    axes.imshow(
        pixels,
        extent=(west, east, south, north),
        interpolation="auto" if smooth else "nearest",
        aspect=axes.get_aspect(),
        gid=layer or None,
        zorder=over(axes),
    )


def strokes(
    axes: Axes,
    parts: Sequence[ArrayLike],
    colour: str,
    *,
    width: float = 1.5,
    dash: float = 0.0,
    halo: float = 0.0,
    layer: str = "",
) -> None:
    """Draw lines, each (N, 2), as one path.

    Parameters
    ----------
    axes : Axes
    parts : sequence of array_like
    colour : str
    width : float
        Pixels, like what follows.
    dash : float
        Length of dashes and gaps; 0 draws through.
    halo : float
        White beyond the line on either side.
    layer : str
    """
    if halo:
        strokes(axes, parts, WHITE, width=width + 2 * halo, layer=layer)
    style = (0, (dash, dash)) if dash else "-"
    _add_path(axes, parts, layer, ec=colour, lw=width, ls=style, capstyle="butt")


def fills(
    axes: Axes,
    rings: Sequence[ArrayLike],
    colour: str,
    *,
    edge: str = "none",
    width: float = 1.0,
    hatch: str = "",
    layer: str = "",
) -> None:
    """Fill rings, each (N, 2), as one path; rings that run the other way are holes.

    `hatch` is drawn in the colour of the edge, as matplotlib writes it.
    """
    _add_path(axes, rings, layer, close=True, fc=colour, ec=edge, lw=width, hatch=hatch or None)


def hatched(axes: Axes, rings: Sequence[ArrayLike], *, layer: str = "") -> None:
    """Hatch rings as ground that is closed, on white that lets through what is below."""
    fills(axes, rings, "#ffffff80", layer=layer)
    fills(axes, rings, "none", edge=BAD, width=1.8, hatch=HATCH, layer=layer)


def dots(
    axes: Axes,
    places: ArrayLike,
    radius: float,
    colour: str,
    *,
    rim: str = WHITE,
    layer: str = "",
) -> None:
    """Draw round marks of one size at places (N, 2), a pixel of rim included in neither."""
    # A stroke of next to no length with round ends is a dot: thousands in one path.
    spot = np.array([[0.0, 0.0], [0.01 * pixel_of(axes)[0], 0.0]])
    parts = list(np.asarray(places, float).reshape(-1, 1, 2) + spot)
    for css, size in ((rim, radius + 1), (colour, radius)):
        _add_path(axes, parts, layer, ec=css, lw=2 * size, capstyle="round", snap=False)


def crosses(axes: Axes, places: ArrayLike, radius: float, colour: str, *, layer: str = "") -> None:
    """Draw slanting crosses at places (N, 2)."""
    arms = radius * np.array([[[-1, -1], [1, 1]], [[-1, 1], [1, -1]]]) * pixel_of(axes)
    points = np.asarray(places, float).reshape(-1, 1, 2)
    strokes(axes, [place + arm for place in points for arm in arms], colour, width=4, layer=layer)


def _add_path(
    axes: Axes, parts: Sequence[ArrayLike], layer: str, *, close: bool = False, **style: Any
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not parts:
        return
    points, codes = [], []
    for part in parts:
        line = np.asarray(part, float)
        line = np.vstack([line, line[:1]]) if close else line
        points.append(line)
        codes.append(np.full(len(line), Path.LINETO, Path.code_type))
        codes[-1][0] = Path.MOVETO
        if close:
            codes[-1][-1] = Path.CLOSEPOLY
    path = Path(np.vstack(points), np.concatenate(codes))
    path.should_simplify = False
    axes.add_artist(
        PathPatch(path, **{"fc": "none", **style}, gid=layer or None, zorder=over(axes))
    )


def write(
    axes: Axes,
    place: tuple[float, float],
    text: str,
    *,
    size: float = 13.0,
    bold: bool = False,
    colour: str = INK,
    anchor: Literal["left", "center", "right"] = "left",
    plate: bool = False,
) -> None:
    """Write a line of text from, about or up to a place on its baseline, on white if asked."""
    white = {"fc": "#ffffffcc", "ec": "none", "pad": 1.5} if plate else None
    x, y = place
    axes.text(
        x, y, text, size=size, weight="bold" if bold else "normal", color=colour, ha=anchor,
        va="baseline", bbox=white, zorder=over(axes),
    )  # fmt: skip


def badge(
    axes: Axes,
    place: tuple[float, float],
    text: str,
    colour: str,
    *,
    radius: float = 9.0,
    square: bool = False,
    layer: str = "",
) -> None:
    """Draw a number or letter in white on a round or square mark."""
    pixel = np.array(pixel_of(axes))
    if square:
        corners = np.array(ring_of((-radius, -radius, radius, radius)))
        fills(axes, [place + corners * pixel], colour, edge=WHITE, layer=layer)
    else:
        dots(axes, [place], radius, colour, layer=layer)
    size = 1.35 * radius
    x, y = place - 0.36 * size * pixel * (0, 1)
    axes.text(
        x, y, text, size=size, weight="bold", color=WHITE, ha="center", va="baseline",
        gid=layer or None, zorder=over(axes),
    )  # fmt: skip


def free_place(
    axes: Axes, line: Float, taken: Sequence[tuple[float, float]], *, apart_px: float
) -> tuple[float, float]:
    """Return the first place along a line (N, 2) that is apart from others; else its start."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    apart = apart_px * pixel_of(axes)[0]
    where = np.arange(0.0, at[-1], apart / 4)
    for x, y in np.column_stack([np.interp(where, at, line[:, axis]) for axis in (0, 1)]).tolist():
        away = np.reshape(taken, (-1, 2)) - (x, y)
        if not (np.hypot(away[:, 0], away[:, 1]) < apart).any():
            return x, y
    return float(line[0, 0]), float(line[0, 1])


def ring_of(box: Box) -> list[tuple[float, float]]:
    """Return the corners of a box."""
    west, south, east, north = box
    return [(west, south), (east, south), (east, north), (west, north)]


def rings_of(area: BaseGeometry) -> list[Float]:
    """Return the rings of polygons, each (N, 2), holes the other way round than outlines."""
    parts = shapely.get_parts(shapely.normalize(area))
    return [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(parts)]


# Colours and numbers.


def ramp_colours(name: str, count: int = ENTRIES) -> Pixels:
    """Return a ramp as colours.

    Parameters
    ----------
    name : str
        One of `RAMPS`; another name gives "plain".
    count : int

    Returns
    -------
    ndarray of shape (count, 3), uint8
        Red, green, blue.

    Examples
    --------
    >>> ramp_colours("plants")[0].tolist()
    [125, 90, 80]
    """
    stops = np.array([css_rgb(css) for css in RAMPS.get(name, RAMPS["plain"])], float)
    at = np.linspace(0, len(stops) - 1, count)
    mixed = [np.interp(at, np.arange(len(stops)), stops[:, band]) for band in range(3)]
    return np.round(np.stack(mixed, axis=1)).astype(np.uint8)


def colour_values(values: NDArray[np.float32], shown: tuple[float, float], name: str) -> Pixels:
    """Return a picture (rows, cols, 3) of values; beyond the ends the end's colour, NaN white."""
    low, high = shown
    known = np.isfinite(values)
    share = (np.where(known, values, low) - low) / (high - low)
    pixels = ramp_colours(name)[np.clip(share * (ENTRIES - 1) + 0.5, 0, ENTRIES - 1).astype(int)]
    pixels[~known] = PAPER
    return np.asarray(pixels, np.uint8)


def ramp_steps(name: str, shown: tuple[float, float]) -> tuple[Sequence[str], Float]:
    """Return a ramp's CSS colours and the values they stand for, for styles and legends."""
    colours = RAMPS.get(name, RAMPS["plain"])
    return colours, np.linspace(shown[0], shown[1], len(colours))


def css_rgb(css: str) -> tuple[int, int, int]:
    """Return red, green, blue of ``#rrggbb``."""
    return int(css[1:3], 16), int(css[3:5], 16), int(css[5:7], 16)


def hillshade(height: NDArray[np.floating[Any]], cell: float) -> NDArray[np.float32]:
    """Return the brightness, 0 to 1, of a surface lit from the north-west at 45°.

    Parameters
    ----------
    height : ndarray of shape (rows, cols)
        NaN where unknown, which is lit as if it were flat.
    cell : float
        In the unit of the heights.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).
    """
    known = np.pad(np.nan_to_num(height, nan=float(np.nanmean(height))), 1, mode="edge")
    across = known[:, 2:] - known[:, :-2]
    down = known[2:] - known[:-2]
    east = (across[:-2] + 2 * across[1:-1] + across[2:]) / (8 * cell)
    south = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / (8 * cell)
    cosine = (0.5 * east + 0.5 * south + np.sqrt(0.5)) / np.sqrt(1 + east**2 + south**2)
    return np.asarray(np.clip(cosine, 0, 1), np.float32)


def round_step(longest: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `longest`.

    Examples
    --------
    >>> round_step(37.0), round_step(0.9)
    (20.0, 0.5)
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest * (1 + 1e-9))
