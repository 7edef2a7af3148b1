"""Shapes drawn once and written twice: as SVG for the page, as pixels for the picture.

Coordinates are those of a sheet: x to the right, y down, in units of one pixel.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Float = NDArray[np.float64]
Pixels = NDArray[np.uint8]

FINER = 2
"""How much finer the picture is drawn than it is written, for smooth edges."""
HIDDEN = ' hidden="hidden"'
"""Spelt as XML wants it, too."""
LETTER = 0.56
"""Mean width of a letter over the size of its font."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """Straight strokes from point to point, or filled rings."""

    parts: tuple[Float, ...]
    """Each (N, 2)."""
    colour: str | None = None
    """Of the stroke, ``#rrggbb``; None draws none."""
    width: float = 1.5
    fill: str | None = None
    """``#rrggbb`` or ``#rrggbbaa``; parts are then closed, and a part within another is a hole."""
    dash: float = 0.0
    """Length of dashes and gaps; 0 draws through."""
    halo: float = 0.0
    """White beyond the stroke on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dots:
    """Equal round marks."""

    places: Float
    """(N, 2)."""
    radius: float
    colour: str
    rim: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A line of text."""

    x: float
    y: float
    """Where its baseline begins, is centred, or ends, as `anchor` says."""
    text: str
    size: float = 13.0
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False
    colour: str = "#1d2429"
    halo: bool = True
    """Whether it is written on a white rim, so that it reads on any ground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A raster stretched over a rectangle."""

    pixels: Pixels
    """(rows, cols, 4), red, green, blue, opacity."""
    x: float
    y: float
    width: float
    height: float


Shape = Stroke | Dots | Text | Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Shapes that are shown or hidden together."""

    name: str
    """Identifier in the page."""
    label: str
    """What a reader switches; empty for what is always shown."""
    shapes: tuple[Shape, ...]
    shown: bool = True
    """Whether the page shows it at first; the picture holds just such layers."""


def rectangle(x: float, y: float, width: float, height: float) -> Float:
    """Return the ring of a rectangle, (4, 2)."""
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def moved(shape: Shape, x: float, y: float) -> Shape:
    """Return a shape drawn elsewhere."""
    offset = np.array([x, y])
    if isinstance(shape, Stroke):
        return replace(shape, parts=tuple(part + offset for part in shape.parts))
    if isinstance(shape, Dots):
        return replace(shape, places=shape.places + offset)
    return replace(shape, x=shape.x + x, y=shape.y + y)


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def png_bytes(pixels: Pixels) -> bytes:
    """Return an image (rows, cols[, 3 or 4]) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def to_svg(layers: Sequence[Layer], size: tuple[float, float], title: str) -> str:
    """Return layers as an inline SVG element that needs nothing else."""
    width, height = size
    groups = [
        f'<g id="layer-{escape(layer.name)}"{"" if layer.shown else HIDDEN}>'
        + "".join(_svg(shape) for shape in layer.shapes)
        + "</g>"
        for layer in layers
    ]
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(groups)}</svg>'
    )


def _svg(shape: Shape) -> str:
    if isinstance(shape, Stroke):
        return _svg_stroke(shape)
    if isinstance(shape, Dots):
        # A stroke of no length with round ends is a dot: thousands in one element.
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in shape.places)
        rims = [(shape.rim, 2 * shape.radius + 2)] if shape.rim else []
        return "".join(
            f'<path d="{path}" stroke="{colour}" stroke-width="{width:.1f}" '
            'stroke-linecap="round"/>'
            for colour, width in [*rims, (shape.colour, 2 * shape.radius)]
        )
    if isinstance(shape, Text):
        halo = ' stroke="#fff" stroke-width="3.5" paint-order="stroke"' if shape.halo else ""
        weight = ' font-weight="600"' if shape.bold else ""
        return (
            f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" '
            f'text-anchor="{shape.anchor}" fill="{shape.colour}"{halo}{weight}>'
            f"{escape(shape.text)}</text>"
        )
    return (
        f'<image href="{data_uri(png_bytes(shape.pixels), "image/png")}" x="{shape.x:.1f}" '
        f'y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}" '
        'preserveAspectRatio="none"/>'
    )


def _svg_stroke(shape: Stroke) -> str:
    close = "Z" if shape.fill else ""
    path = "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in part) + close for part in shape.parts
    )
    fill = shape.fill or "none"
    common = f'd="{path}" stroke-linejoin="round" stroke-linecap="round"'
    halo = ""
    if shape.halo:
        wide = shape.width + 2 * shape.halo
        halo = f'<path {common} fill="none" stroke="#fff" stroke-width="{wide:g}"/>'
    dash = f' stroke-dasharray="{shape.dash:g} {shape.dash:g}"' if shape.dash else ""
    return (
        f'{halo}<path {common} fill="{fill}" fill-rule="evenodd" '
        f'stroke="{shape.colour or "none"}" stroke-width="{shape.width:g}"{dash}/>'
    )


def to_picture(layers: Sequence[Layer], size: tuple[float, float]) -> Image.Image:
    """Return the layers shown, drawn on white."""
    width, height = (math.ceil(side) * FINER for side in size)
    sheet = Image.new("RGB", (width, height), "#ffffff")
    for layer in layers:
        for shape in layer.shapes if layer.shown else ():
            _paint(sheet, shape)
    return sheet.resize((width // FINER, height // FINER), Image.Resampling.LANCZOS)


def _paint(sheet: Image.Image, shape: Shape) -> None:
    if isinstance(shape, Stroke):
        _paint_stroke(sheet, shape)
    elif isinstance(shape, Dots):
        _paint_dots(sheet, shape)
    elif isinstance(shape, Text):
        ImageDraw.Draw(sheet).text(
            (shape.x * FINER, shape.y * FINER),
            shape.text,
            fill=shape.colour,
            font=ImageFont.load_default(shape.size * FINER),
            anchor={"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor],
            stroke_width=1.6 * FINER if shape.halo else 0.35 * shape.bold,
            stroke_fill="#ffffff" if shape.halo else shape.colour,
        )
    else:
        box = np.round(np.array([shape.x, shape.y, shape.width, shape.height]) * FINER).astype(int)
        picture = Image.fromarray(shape.pixels).resize(
            (max(int(box[2]), 1), max(int(box[3]), 1)), Image.Resampling.BILINEAR
        )
        sheet.paste(picture, (int(box[0]), int(box[1])), picture.getchannel("A"))


def _paint_stroke(sheet: Image.Image, shape: Stroke) -> None:
    if shape.fill and shape.parts:
        _fill(sheet, shape.parts, shape.fill)
    draw = ImageDraw.Draw(sheet)
    rings = [np.vstack([part, part[:1]]) if shape.fill else part for part in shape.parts]
    if shape.halo:
        for ring in rings:
            _line(draw, ring, "#ffffff", shape.width + 2 * shape.halo)
    if shape.colour:
        for ring in rings:
            for piece in _dashes(ring, shape.dash):
                _line(draw, piece, shape.colour, shape.width)


def _paint_dots(sheet: Image.Image, shape: Dots) -> None:
    draw = ImageDraw.Draw(sheet)
    for grow, colour in ((1.0, shape.rim), (0.0, shape.colour)):
        r = (shape.radius + grow) * FINER
        if colour:
            for x, y in shape.places * FINER:
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _fill(sheet: Image.Image, parts: Sequence[Float], fill: str) -> None:
    """Fill rings by the even-odd rule."""
    every = np.vstack(parts) * FINER
    left, top = np.floor(every.min(axis=0)).astype(int).clip(min=0)
    right, bottom = np.ceil(every.max(axis=0)).astype(int) + 1
    size = (max(int(right - left), 1), max(int(bottom - top), 1))
    mask = np.zeros(size[::-1], bool)
    for part in parts:
        ring = Image.new("1", size)
        inner = part * FINER - (left, top)
        ImageDraw.Draw(ring).polygon([tuple(point) for point in inner], fill=1)
        mask ^= np.asarray(ring)
    opacity = int(fill[7:9], 16) if len(fill) == 9 else 255
    cover = Image.fromarray((mask * np.uint8(opacity)).astype(np.uint8))
    sheet.paste(Image.new("RGB", size, fill[:7]), (int(left), int(top)), cover)


def _line(draw: ImageDraw.ImageDraw, points: Float, colour: str, width: float) -> None:
    draw.line(
        [tuple(point) for point in points * FINER],
        fill=colour,
        width=max(round(width * FINER), 1),
        joint="curve",
    )


def _dashes(points: Float, dash: float) -> list[Float]:
    """Cut a line into dashes with gaps of the same length; 0 leaves it whole."""
    if not dash or len(points) < 2:
        return [points]
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    pieces = []
    for start in np.arange(0, at[-1], 2 * dash):
        end = min(start + dash, at[-1])
        inner = at[(at > start) & (at < end)]
        where = np.concatenate([[start], inner, [end]])
        pieces.append(
            np.column_stack([np.interp(where, at, points[:, axis]) for axis in (0, 1)])
        )  # fmt: skip
    return pieces


def text_width(text: str, size: float) -> float:
    """Return roughly how wide a line of text is."""
    return LETTER * size * len(text)


def round_step(longest: float, steps: ArrayLike = (1.0, 2.0, 5.0)) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `longest`.

    Examples
    --------
    >>> round_step(37.0), round_step(0.9)
    (20.0, 0.5)
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(
        float(step * power) for step in np.asarray(steps) if step * power <= longest * (1 + 1e-9)
    )
