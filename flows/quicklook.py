"""Quick looks: indices as pictures with a colour bar that is the same on every date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.charts import ticks
from flows.products import Product
from flows.ramps import colour_values, ramp_colours
from tmp.files import replacing
from tmp.rasters import read_reduced

Float = NDArray[np.float32]

INK, SOFT, PAPER = "#1d2429", "#5b666e", "#ffffff"
THUMB_PX = 260
"""Width of a picture on a contact sheet."""
SHEET_COLUMNS = 6
MAP_PX = 1600
"""Longest side of a map's quick look."""
MARGIN_PX, GAP_PX, LINE_PX = 24, 10, 20
BAR_WIDTH_PX, BAR_HEIGHT_PX = 420, 18
HATCH = (214, 218, 222)
"""Grey for what has no value on a contact sheet, so that white paper is not taken for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the colours mean."""

    name: str
    """Of the index."""
    shown: tuple[float, float]
    ramp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One picture of a contact sheet."""

    name: str
    values: Float
    """(rows, cols), NaN where there is none."""
    notes: tuple[str, ...] = ()
    """Lines below the name."""


def write_contact_sheet(
    path: Path, looks: Sequence[Look], scale: Scale, *, title: str, lines: Sequence[str] = ()
) -> None:
    """Write many small pictures as one PNG.

    Parameters
    ----------
    path : Path
    looks : sequence of Look
        In reading order; at least one.
    scale : Scale
    title : str
    lines : sequence of str
        Below the title: what the values rest on, what was left out.
    """
    thumbs = [_thumb(look.values, scale) for look in looks]
    most_notes = max(len(look.notes) for look in looks)
    cell_height = max(thumb.height for thumb in thumbs) + (1 + most_notes) * LINE_PX + GAP_PX
    columns = min(SHEET_COLUMNS, len(looks))
    rows = math.ceil(len(looks) / columns)
    width = max(columns * (THUMB_PX + GAP_PX) - GAP_PX, 3 * (THUMB_PX + GAP_PX)) + 2 * MARGIN_PX
    head = _head_height(lines)
    sheet = Image.new("RGB", (width, head + rows * cell_height + MARGIN_PX), PAPER)
    _draw_head(sheet, scale, title, lines)
    draw = ImageDraw.Draw(sheet)
    for place, (look, thumb) in enumerate(zip(looks, thumbs, strict=True)):
        x = MARGIN_PX + place % columns * (THUMB_PX + GAP_PX)
        y = head + place // columns * cell_height
        sheet.paste(thumb, (x, y))
        for number, text in enumerate((look.name, *look.notes)):
            draw.text(
                (x, y + thumb.height + 3 + number * LINE_PX),
                _fitting(draw, text, THUMB_PX),
                fill=SOFT if number else INK,
                font=_font(14),
            )
    _save(sheet, path)


def write_map_look(raster: Path, product: Product, *, title: str) -> Path:
    """Write the quick look of an index raster beside it; returns its path."""
    values, _ = read_reduced(raster, MAP_PX)
    index = np.ma.filled(values[0].astype(np.float32), np.nan)
    scale = Scale(name=product.bands[0], shown=product.shown, ramp=product.ramp)
    picture = Image.fromarray(colour_values(index, scale.shown, scale.ramp))
    lines = [f"{topic}: {product.told[topic]}" for topic in _TOLD if topic in product.told]
    head = _head_height(lines)
    least = BAR_WIDTH_PX + 2 * MARGIN_PX
    size = (max(picture.width + 2 * MARGIN_PX, least), head + picture.height + MARGIN_PX)
    sheet = Image.new("RGB", size, PAPER)
    _draw_head(sheet, scale, title, lines)
    sheet.paste(picture, (MARGIN_PX, head))
    path = raster.with_suffix(".png")
    _save(sheet, path)
    return path


_TOLD = ("rests on", "bands", "warning")
"""What a map's quick look says beneath its title."""


def _thumb(values: Float, scale: Scale) -> Image.Image:
    height = max(round(THUMB_PX * values.shape[0] / values.shape[1]), 1)
    colours = colour_values(values, scale.shown, scale.ramp)
    colours[~np.isfinite(values)] = HATCH
    return Image.fromarray(colours).resize((THUMB_PX, height), Image.Resampling.BOX)


def _head_height(lines: Sequence[str]) -> int:
    return MARGIN_PX + 34 + LINE_PX * len(lines) + BAR_HEIGHT_PX + 3 * LINE_PX


def _draw_head(sheet: Image.Image, scale: Scale, title: str, lines: Sequence[str]) -> None:
    """Draw title, lines and colour bar at the top of a sheet."""
    draw, room = ImageDraw.Draw(sheet), sheet.width - 2 * MARGIN_PX
    draw.text((MARGIN_PX, MARGIN_PX), _fitting(draw, title, room, 24), fill=INK, font=_font(24))
    y = MARGIN_PX + 34
    for line in lines:
        draw.text((MARGIN_PX, y), _fitting(draw, line, room), fill=SOFT, font=_font(14))
        y += LINE_PX
    y += GAP_PX
    strip = np.repeat(ramp_colours(scale.ramp, BAR_WIDTH_PX)[None], BAR_HEIGHT_PX, axis=0)
    sheet.paste(Image.fromarray(strip), (MARGIN_PX, y))
    box = (MARGIN_PX, y, MARGIN_PX + BAR_WIDTH_PX - 1, y + BAR_HEIGHT_PX - 1)
    draw.rectangle(box, outline=SOFT)
    low, high = scale.shown
    for value in ticks(low, high):
        x = MARGIN_PX + round((value - low) / (high - low) * (BAR_WIDTH_PX - 1))
        draw.line((x, y + BAR_HEIGHT_PX, x, y + BAR_HEIGHT_PX + 4), fill=INK)
        draw.text((x, y + BAR_HEIGHT_PX + 6), f"{value:g}", fill=INK, font=_font(14), anchor="ma")


def _fitting(draw: ImageDraw.ImageDraw, text: str, room_px: int, size: int = 14) -> str:
    """Cut a text to the room there is."""
    if draw.textlength(text, font=_font(size)) <= room_px:
        return text
    while text and draw.textlength(text + "…", font=_font(size)) > room_px:
        text = text[:-1]
    return text + "…"


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _save(sheet: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")
