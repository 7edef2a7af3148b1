"""The house style of every picture: colours, maps and charts, as SVG and as PNG from one figure.

A figure has 72 pixels to the inch, so that matplotlib's points are pixels; text stays text.  An
artist's ``gid`` becomes its class in the SVG, by which a page shows and hides layers.  Matplotlib
is loaded by what draws, and by nothing else.
"""

from __future__ import annotations

import base64
import io
import math
import re
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from shapely.geometry.base import BaseGeometry

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Float = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
"""West, south, east, north."""

INK, SOFT, FAINT, WHITE = "#1d2429", "#46525a", "#d5dade", "#ffffff"
GOOD, BAD, ACCENT = "#1b6e3c", "#b3261e", "#1f6f5c"
SORTIES = ("#1d5fd0", "#b34700", "#006d8f", "#1c1c1c", "#3b2f8f", "#00695c")
"""Taken in turn: dark on pale ground, and neighbours differ by 40 in CIELAB to all eyes."""
OVERLAPS = ("#b2182b", "#ef8a62", "#fddbc7", "#d1e5f0", "#67a9cf", "#2166ac")
"""From ground that too few photographs see to ground that many see."""
HATCH = "///"
PLATE = {"fc": "#ffffffcc", "ec": "none", "pad": 2.0}
"""Box that lets a label be read on any ground."""
JPEG_QUALITY = 85

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": SOFT,
    "axes.labelsize": 13,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 13,
    "grid.color": FAINT,
    "hatch.linewidth": 1.8,
    "image.composite_image": False,
    "legend.borderaxespad": 0,
    "legend.fontsize": 12,
    "legend.borderpad": 0,
    "legend.frameon": False,
    "lines.scale_dashes": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.hinting": "no_hinting",
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
    """Return a figure without the layers `hidden` as a PNG file, `finer` times its size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file = io.BytesIO()
    left_out = figure.findobj(lambda artist: artist.get_gid() in hidden)
    with house_style(), _unseen(left_out):
        figure.set_dpi(72 * finer)
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
        figure.set_dpi(72)
    return file.getvalue()


def to_svg(
    figure: Figure,
    title: str,
    *,
    css: str = "",
    hidden: Collection[str] = (),
    hints: str = "",
    only: Axes | None = None,
) -> str:
    """Return a figure as an SVG element that stands alone or in a page, its pictures below all.

    The title is read aloud in place of the picture, and tells its identifiers from those of other
    figures. The element has a class `css`, `hidden` layers the attribute ``hidden``; hints are from
    `hints_over`. The figure may be cropped to some axes `only`: all else is left out.
    """
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.StringIO()
    images = [image for axes in figure.axes for image in axes.images]
    others = [one for one in figure.get_children() if only is not None and one is not only]
    with house_style(), _unseen([figure.patch, *images, *others]):
        rcParams["svg.hashsalt"] = title
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
        x0, y0, x1, y1 = (0.0, 0.0, *(figure.get_size_inches() * 72))
        if only is not None:
            (x0, y0), (x1, y1) = np.asarray(only.get_tightbbox()) + np.array([[-2], [2]])
    pictures = "".join(_image_svg(image, hidden) for image in images if only in (None, image.axes))
    view = f"{x0:.1f} {figure.bbox.height - y1:.1f} {x1 - x0:.1f} {y1 - y0:.1f}"
    kind = f'class="{css}" ' if css else ""
    return (
        f'<svg {kind}xmlns="http://www.w3.org/2000/svg" viewBox="{view}" role="img" '
        f'aria-label="{escape(title)}" font-family="{_FONTS}" stroke-linejoin="round">'
        f"{pictures}{_tidied(file.getvalue(), hidden)}{hints}</svg>"
    )


@contextmanager
def _unseen(artists: Sequence[Artist]) -> Iterator[None]:
    seen = [artist for artist in artists if artist.get_visible()]
    for artist in seen:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in seen:
            artist.set_visible(True)


def _image_svg(image: Any, hidden: Collection[str]) -> str:
    """Return a picture as its own element: matplotlib's PNG is large for a photograph."""
    cells = image.get_interpolation() == "nearest"
    west, east, south, north = image.get_extent()
    left, top, width, height = page_box(image.axes, (west, south, east, north))
    return (
        f"<image{_class_of(image.get_gid(), hidden)} "
        f'href="{data_uri(image.get_array(), lossless=cells)}" x="{left:.1f}" y="{top:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none"'
        + (' style="image-rendering:pixelated"/>' if cells else "/>")
    )


def _class_of(layer: str | None, hidden: Collection[str]) -> str:
    return (f' class="{layer}"' if layer else "") + (' hidden="hidden"' if layer in hidden else "")


def _tidied(svg: str, hidden: Collection[str]) -> str:
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
        ("xlink:href", "href"),
    ):
        body = re.sub(pattern, put, body, flags=re.DOTALL)
    body = re.sub(r' (d|x|y|width|height)="([^"]*)"', rounded, body)
    return re.sub(r'<g id="([^"]*)"', grouped, body)


def data_uri(pixels: Pixels, *, lossless: bool = False, quality: int = JPEG_QUALITY) -> str:
    """Return a picture (rows, cols, 3 or 4) as a ``data:`` URI; one without opacity as JPEG."""
    from PIL import Image

    file = io.BytesIO()
    kind = "png" if lossless or pixels.shape[2] == 4 else "jpeg"
    Image.fromarray(pixels).save(file, kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def page_box(axes: Axes, box: Box) -> Box:
    """Return left, top, width and height on the page of a box in an axes' coordinates."""
    (x0, y0), (x1, y1) = axes.transData.transform([box[:2], box[2:]])
    return float(x0), float(axes.figure.bbox.height - y1), float(x1 - x0), float(y1 - y0)


def hints_over(axes: Axes, boxes: ArrayLike, texts: Sequence[str], *, around: float = 6.0) -> str:
    """Return words that a page shows while the pointer is over places of a figure.

    The places, boxes (N, 4) or points (N, 2) in the axes' coordinates, reach `around` pixels
    farther.
    """
    parts = []
    for box, text in zip(np.asarray(boxes, float), texts, strict=True):
        left, top, width, height = page_box(axes, (box[0], box[1], box[-2], box[-1]))
        wide, tall = width + 2 * around, height + 2 * around
        parts.append(
            f'<rect x="{left - around:.1f}" y="{top - around:.1f}" width="{wide:.1f}" '
            f'height="{tall:.1f}" fill="none" pointer-events="all">'
            f"<title>{escape(text)}</title></rect>"
        )
    return "".join(parts)


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes in a rectangle of a figure, pixels from its upper left corner."""
    wide, tall = figure.get_size_inches() * 72
    bottom = 1 - (top + height) / tall
    return figure.add_axes((left / wide, bottom, width / wide, height / tall))


def write(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write lines of text below and to the right of a place in pixels."""
    wide, tall = figure.get_size_inches() * 72
    style = {"va": "top", "linespacing": 1.35, **style}
    figure.text(left / wide, 1 - top / tall, text, **style)


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text, pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


def map_axes(figure: Figure, box: Box, left: float, top: float, scale: float) -> Axes:
    """Return the frame of a map of a box, north up, of `scale` pixels per unit of ground."""
    west, south, east, north = box
    axes = axes_at(figure, left, top, (east - west) * scale, (north - south) * scale)
    axes.set(xlim=(west, east), ylim=(south, north), aspect="equal")
    axes.grid(False)
    axes.patch.set_visible(False)
    axes.spines[:].set(visible=True, zorder=9)
    return axes


def pixel_of(axes: Axes) -> float:
    """Return the length of a pixel in the coordinates of a map."""
    (x0, _), (x1, _) = axes.transData.transform([(0, 0), (1, 0)])
    return float(1 / (x1 - x0))


def metre_ticks(axes: Axes, *, crs: str | None) -> None:
    """Write coordinates along two edges of a map; without a CRS it has units of its own."""
    for side, name in (("x", "easting"), ("y", "northing")):
        ends = axes.get_xlim() if side == "x" else axes.get_ylim()
        _edge_ticks(axes, side, ends, lambda value, _: f"{value:.10g}")
        said = f"{name}, m ({crs})" if crs else "units of arbitrary length"
        axes.set(**{f"{side}label": said})


def degree_ticks(axes: Axes, south_west: Sequence[float], north_east: Sequence[float]) -> None:
    """Write longitude and latitude along two edges of a map, by those of its corners."""
    for side, low, high, letters in zip("xy", south_west, north_east, ("WE", "SN"), strict=True):

        def said(value: float, digits: int, letters: str = letters) -> str:
            turned = (value + 180) % 360 - 180
            return f"{abs(turned):.{digits}f}° {letters[int(turned >= 0)]}"

        _edge_ticks(axes, side, (low, high + 360 * (high < low)), said)


def _edge_ticks(
    axes: Axes, side: str, values: tuple[float, float], said: Callable[[float, int], str]
) -> None:
    """Write round ones of the values that an edge has from end to end, but none near its ends."""
    ends = axes.get_xlim() if side == "x" else axes.get_ylim()
    room = 45 * pixel_of(axes)
    step = round_step((values[1] - values[0]) / max(1.0, (ends[1] - ends[0]) / (5 * room)))
    round_ones = np.arange(math.ceil(values[0] / step), values[1] / step) * step
    places = np.interp(round_ones, values, ends)
    inner = (places > ends[0] + room) & (places < ends[1] - room)
    digits = max(0, -math.floor(math.log10(step)))
    labels = [said(value, digits) for value in round_ones[inner]]
    turned: Any = {"rotation": 90, "va": "center"} if side == "y" else {}
    (axes.set_xticks if side == "x" else axes.set_yticks)(places[inner], labels, **turned)


def scale_bar(axes: Axes, unit: str = "m") -> None:
    """Draw a scale bar of a round length into a map's lower left corner."""
    (west, east), (south, _), px = axes.get_xlim(), axes.get_ylim(), pixel_of(axes)
    length = round_step((east - west) / 4)
    in_km = unit == "m" and length >= 1000
    said = f"{length / 1000:g} km" if in_km else f"{length:g} {unit}"
    x, y = west + 16 * px, south + 14 * px
    plate = shapely.box(x - 8 * px, y - 7 * px, x + length + 8 * px, y + 25 * px)
    draw_area(axes, plate, fc=PLATE["fc"], zorder=7)
    bar = [(x, y + 6 * px), (x, y), (x + length, y), (x + length, y + 6 * px)]
    draw_lines(axes, [bar], color="#000000", lw=2.4, zorder=8, gid="scale-bar")
    axes.text(x + length / 2, y + 9 * px, said, weight="bold", ha="center", zorder=8)


def north_arrow(axes: Axes) -> None:
    """Draw an arrow to the north into a map's upper right corner."""
    x, y = np.array([axes.get_xlim()[1], axes.get_ylim()[1]]) - pixel_of(axes) * 26
    tip = [(0, 16), (9, -16), (0, -10), (-9, -16)]
    arrow = shapely.Polygon(np.array(tip) * pixel_of(axes) + (x, y))
    draw_area(axes, arrow, fc="#000000", ec=WHITE, zorder=8, gid="north")
    axes.text(
        x, y - 32 * pixel_of(axes), "N", weight="bold", ha="center", zorder=8, bbox=PLATE
    )  # fmt: skip


def picture(axes: Axes, pixels: Pixels, box: Box, *, cells: bool = False, layer: str = "") -> None:
    """Draw a picture (rows, cols, 3 or 4) over a box below all else; cells stay sharp."""
    west, south, east, north = box
    axes.imshow(
        pixels,
        extent=(west, east, south, north),
        interpolation="nearest" if cells else "antialiased",
        aspect=axes.get_aspect(),
        gid=layer or None,
    )


def halo(texts: Sequence[Text]) -> None:
    """Give texts a white rim, so that they are read on any ground."""
    from matplotlib.patheffects import withStroke

    for text in texts:
        text.set_path_effects([withStroke(linewidth=2.5, foreground=WHITE)])


def draw_area(axes: Axes, area: BaseGeometry, **style: Any) -> None:
    """Draw polygons with their holes as one patch."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    # Rings run one way round and holes the other, so that holes stay empty.
    parts = shapely.get_parts(shapely.normalize(area))
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_rings(parts)]
    if rings:
        path = Path.make_compound_path(*(Path(ring, closed=True) for ring in rings))
        axes.add_patch(PathPatch(path, **{"ec": "none", **style}))


def draw_closed(axes: Axes, area: BaseGeometry, **style: Any) -> None:
    """Hatch ground that is not to be flown over."""
    draw_area(axes, area, fc="#ffffff80", zorder=2, **style)
    draw_area(axes, area, fc="none", ec=BAD, lw=1.8, hatch=HATCH, zorder=2, **style)


def draw_lines(axes: Axes, lines: Sequence[ArrayLike], *, halo: float = 0.0, **style: Any) -> None:
    """Draw lines, each (N, 2), as one artist, on white that is `halo` wider on either side."""
    from matplotlib.patheffects import withStroke

    if halo:
        style["path_effects"] = [withStroke(linewidth=style["lw"] + 2 * halo, foreground=WHITE)]
    gap = [(np.nan, np.nan)]
    points = [point for line in lines for point in (np.asarray(line, float), gap)]
    if points:
        axes.plot(*np.vstack(points).T, **style)


def draw_dots(axes: Axes, places: ArrayLike, size: float, colour: str, **style: Any) -> None:
    """Draw round marks at places (N, 2)."""
    x, y = np.asarray(places, float).reshape(-1, 2).T
    axes.plot(x, y, "o", ms=size, mfc=colour, mec=WHITE, mew=0.8, **style)


def place_letter(index: int) -> str:
    """Return the letter of a place, such as a take-off in the order flown; on all maps the same."""
    return ascii_uppercase[index % 26]


def draw_badge(
    axes: Axes,
    place: Sequence[float],
    text: str,
    colour: str,
    *,
    square: bool = False,
    **style: Any,
) -> None:
    """Draw a number or letter in white on a round or square mark."""
    shape = {
        "boxstyle": "square,pad=0.3" if square else "circle,pad=0.25",
        "fc": colour,
        "ec": WHITE,
    }
    axes.text(
        place[0], place[1], text, size=12, weight="bold", color=WHITE, ha="center", va="center",
        bbox=shape, **style,
    )  # fmt: skip


def free_place(
    axes: Axes, line: Float, taken: Sequence[tuple[float, float]], *, apart_px: float = 24.0
) -> tuple[float, float]:
    """Return the first place along a line (N, 2) that is apart from others; else its start."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    apart = apart_px * pixel_of(axes)
    where = np.arange(0.0, at[-1], apart / 4)
    for x, y in np.column_stack([np.interp(where, at, line[:, axis]) for axis in (0, 1)]).tolist():
        away = np.reshape(taken, (-1, 2)) - (x, y)
        if not (np.hypot(away[:, 0], away[:, 1]) < apart).any():
            return x, y
    return float(line[0, 0]), float(line[0, 1])


Mark = Literal["patch", "hatch", "line", "dashes", "o", "s", "x"]


def key(label: str, colour: str, mark: Mark = "patch") -> Artist:
    """Return an entry of a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if mark == "patch":
        return Patch(fc=colour, ec=SOFT, lw=0.7, label=label)
    if mark == "hatch":
        return Patch(fc=WHITE, ec=colour, hatch=HATCH + "/", label=label)
    if mark in ("line", "dashes"):
        dash = (0, (4, 3)) if mark == "dashes" else "-"
        return Line2D([], [], color=colour, ls=dash, lw=1.4 if dash != "-" else 2.4, label=label)
    return Line2D(
        [], [], color=colour, ls="", marker=mark, ms=9, mew=3 if mark == "x" else 0, label=label
    )


def draw_keys(
    figure: Figure, left: float, top: float, keys: Sequence[Artist], **style: Any
) -> float:
    """Draw a legend below and to the right of a place in pixels; returns where it ends."""
    wide, tall = figure.get_size_inches() * 72
    legend = figure.legend(
        handles=keys, loc="upper left", bbox_to_anchor=(left / wide, 1 - top / tall),
        alignment="left", title_fontproperties={"weight": "bold", "size": 14}, **style,
    )  # fmt: skip
    return top + float(legend.get_window_extent().height)


def colour_bar(
    figure: Figure,
    place: tuple[float, float, float],
    colours: Pixels,
    shown: Sequence[float],
    label: str,
    ticks: Sequence[str] = (),
) -> None:
    """Draw what colours (N, 3) from low to high stand for; left, top and width are in pixels.

    The ends of the values are shown; with ticks, even steps along the bar have these labels.
    """
    left, top, width = place
    axes = axes_at(figure, left, top, width, 14)
    axes.set(xlim=shown, ylim=(0, 1), yticks=[], xlabel=label)
    if ticks:
        axes.set_xticks(np.linspace(shown[0], shown[1], len(ticks)), ticks)
    axes.spines[:].set_visible(True)
    axes.patch.set_visible(False)
    picture(axes, colours[None], (shown[0], 0, shown[1], 1), layer="colour-bar")


def css_rgb(css: str) -> tuple[int, int, int]:
    """Return red, green, blue of ``#rrggbb``."""
    return int(css[1:3], 16), int(css[3:5], 16), int(css[5:7], 16)


def hillshade(height: NDArray[np.floating[Any]], cell: float) -> NDArray[np.float32]:
    """Return the brightness, 0 to 1, of a surface lit from the north-west at 45°.

    Heights (rows, cols) and the cell have one unit; NaN is lit as if it were flat.

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
