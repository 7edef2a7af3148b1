"""Quick looks: NDVI of single releases, before there is a map, as pictures.

They show whether the card holds what it should, with a colour bar that is the same on every date.
Bands of a release are laid onto each other picture to picture.  A few releases spread over the
survey tell how the lenses of a rig sit to each other, and all others are laid so too.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.products.ramps import colour_values, ramp_colours
from flows.products.table import Product
from flows.report.charts import ticks
from flows.stages.reflectance import BandValues, calibrate_survey
from tmp.captures import Capture, CaptureKind
from tmp.errors import InputError, PhotographError
from tmp.files import replacing
from tmp.geo.rasters import read_reduced
from tmp.progress import Track, silent
from tmp.radiometry import Band
from tmp.survey import Survey, open_survey, read_settings
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.indices.table import Index

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

_TOLD = ("rests on", "bands", "warning")
"""What a map's quick look says beneath its title."""
log = logging.getLogger(__name__)
Float32 = NDArray[np.float32]
Homographies = Mapping[str, NDArray[np.float64]]
SHEET_FILE = "quick_ndvi.png"
TRIED = ("NDVI", "BNDVI", "GNDVI")
"""Indices in the order of preference; a converted camera may have no red."""
MOST_LOOKS = 120
"""Pictures on a sheet; of more, so many are taken evenly."""
ALIGNED = 7
"""Releases that are aligned each for itself, to know the rig."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a band of a release is found."""

    name: str
    """Of the photograph."""
    lens: str
    """The camera that took it, by which releases of one rig are known."""
    place: int
    """Along the last axis of its values."""
    band: Band


Release = Mapping[str, Source]
"""By the letter of the formula."""


def write_quick_ndvi(root: Path, *, workers: int = 1, track: Track = silent) -> Path:
    """Write a contact sheet of the NDVI of a survey's releases; returns its path.

    Parameters
    ----------
    root : Path
        A survey folder with ingested photographs; no map is needed.
    workers : int
    track : Track

    Raises
    ------
    InputError
        If no camera of the survey saw near-infrared and a visible band in one release.
    """
    survey = open_survey(root)
    settings = read_settings(survey)
    captures = survey.captures
    values = calibrate_survey(survey, captures)
    index, releases = _find_releases(survey, captures, values)
    chosen = [releases[i] for i in _evenly(len(releases), MOST_LOOKS)]
    homographies, said = _align(chosen, values)

    def look(release: Release) -> Look:
        return _look(index, release, values, homographies)

    keys = {id(release): place for place, release in enumerate(chosen)}
    looks: dict[int, Look] = {}
    done = map_threads(look, chosen, workers=workers)
    for release, found in track(done, f"Looking at {index.name}", len(chosen)):
        looks[keys[id(release)]] = found
    of_all = "" if len(chosen) == len(releases) else f" of {len(releases)}, taken evenly"
    level = "" if values.calibration.absolute else ", level unknown"
    rests_on = f"{values.calibration.provenance}{level}"
    lines = [
        f"Releases shown: {len(chosen)}{of_all}; values rest on: {rests_on}; "
        "grey: saturated, or seen by one band only",
        f"{index.title}: {index.in_words()}",
        *said,
    ]
    path = survey.folder / SHEET_FILE
    write_contact_sheet(
        path,
        [looks[place] for place in sorted(looks)],
        Scale(name=index.name, shown=index.shown, ramp=index.ramp),
        title=f"{index.name}: {settings.name}",
        lines=lines,
    )
    return path


def _find_releases(
    survey: Survey, captures: Sequence[Capture], values: BandValues
) -> tuple[Index, list[Release]]:
    """Return the index that can be had, and the releases that give it, by time."""
    from photogrammetry.indices.table import choose_band, index_table

    groups: defaultdict[str, list[Capture]] = defaultdict(list)
    for capture in sorted(captures, key=lambda c: (c.time_utc is None, c.time_utc, c.name)):
        if capture.used and capture.kind is CaptureKind.SURVEY:
            groups[capture.rig_id or capture.name].append(capture)
    for name in TRIED:
        index = index_table().find(name)
        releases: list[Release] = []
        for group in groups.values():
            sources = [
                Source(name=capture.name, lens=_lens(capture), place=place, band=band)
                for capture in group
                for place, band in enumerate(values.bands(capture.name))
            ]
            bands = [source.band for source in sources]
            chosen = {
                key: choose_band(index_table().slots[key], bands) for key in index.formula.names
            }
            if all(chosen.values()):
                releases.append({key: sources[bands.index(b)] for key, b in chosen.items() if b})
        if releases:
            return index, releases
    raise InputError(
        f"{survey.folder}: no release has near-infrared and a visible band; for a converted camera "
        "say in cameras.toml which channel is which band"
    )


def _lens(capture: Capture) -> str:
    return f"{capture.camera_id} {capture.band}"


def _evenly(count: int, most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _align(
    releases: Sequence[Release], values: BandValues
) -> tuple[dict[str, Homographies], list[str]]:
    """Return how lenses lie on the first of their release, and that in words."""
    from photogrammetry.ortho.alignment import align_band, rig_median

    pairs: defaultdict[tuple[str, str], list[Release]] = defaultdict(list)
    for release in releases:
        first, *others = release.values()
        for other in others:
            if other.name != first.name:
                pairs[first.lens, other.lens].append(release)
    homographies: defaultdict[str, dict[str, NDArray[np.float64]]] = defaultdict(dict)
    said = []
    for (first_lens, other_lens), members in pairs.items():
        attempts = {}
        for place in _evenly(len(members), ALIGNED):
            by_lens = {source.lens: source for source in members[place].values()}
            first, other = by_lens[first_lens], by_lens[other_lens]
            alignment = align_band(
                np.nan_to_num(_read(first, values)), np.nan_to_num(_read(other, values))
            )
            attempts[first.name] = alignment.chosen
        homographies[first_lens][other_lens] = rig_median(attempts)
        left = [a.residual_px for a in attempts.values() if a.residual_px is not None]
        by = ", ".join(sorted({str(attempt.method) for attempt in attempts.values()}))
        rest = f"{np.median(left):.1f} px left" if left else "residual unknown"
        said.append(f"{other.band.name} laid onto {first.band.name} by {by}, {rest}")
    return dict(homographies), said


def _look(
    index: Index, release: Release, values: BandValues, homographies: Mapping[str, Homographies]
) -> Look:
    """Return the index of one release at the size of a contact sheet."""
    from photogrammetry.indices.compute import index_values
    from photogrammetry.ortho.alignment import warp_onto

    first = next(iter(release.values()))
    try:
        reference = _read(first, values)
        bands = {}
        for key, source in release.items():
            picture = reference if source is first else _read(source, values)
            if source.name != first.name:
                homography = homographies[first.lens][source.lens]
                picture = warp_onto(picture, homography, reference.shape)
            bands[key] = _reduced(picture)
    except PhotographError as error:
        return Look(
            name=first.name, values=np.full((3, 4), np.nan, np.float32), notes=(str(error),)
        )
    found = index_values(index, bands)
    known = np.isfinite(found)
    said = "no value"
    if known.any():
        low, middle, high = (
            round(float(np.percentile(found[known], percent)), 2) + 0.0 for percent in (5, 50, 95)
        )
        said = f"median {middle:.2f}, 5 to 95 %: {low:.2f} to {high:.2f}"
    return Look(name=Path(first.name).name, values=found, notes=(said,))


def _read(source: Source, values: BandValues) -> Float32:
    picture = values.load(source.name)
    return np.asarray(picture[..., source.place], np.float32)


def _reduced(picture: Float32) -> Float32:
    """Return a band at the size of a contact sheet; a cell with any unknown pixel is unknown."""
    rows = max(round(THUMB_PX * picture.shape[0] / picture.shape[1]), 1)
    return np.asarray(
        cv2.resize(picture, (THUMB_PX, rows), interpolation=cv2.INTER_AREA), np.float32
    )
