"""Quick looks: NDVI of single releases, before there is a map, as pictures.

They show whether the card holds what it should, with a colour bar that is the same on every date.
Bands of a release are laid onto each other picture to picture.  A few releases spread over the
survey tell how the lenses of a rig sit to each other, and all others are laid so too.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.products.colours import colour_values, ramp_colours
from flows.products.table import Product
from flows.report.figures import draw_index
from flows.stages.reflectance import BandValues, calibrate_survey
from tmp import plotting
from tmp.captures import Capture, CaptureKind
from tmp.errors import InputError, PhotographError
from tmp.files import replacing
from tmp.plotting import SOFT
from tmp.progress import Track, silent
from tmp.radiometry import Band
from tmp.survey import Survey, open_survey, read_settings
from tmp.threads import map_threads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from photogrammetry.indices.table import Index

Float = NDArray[np.float32]

THUMB_PX = 260
"""Width of a picture on a contact sheet."""
SHEET_COLUMNS = 6
MARGIN_PX, GAP_PX, LINE_PX = 24, 10, 18
BAR_WIDTH_PX, BAR_PX = 420, 68
"""Width of the colour bar, and its height with what is written below it."""
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
    """Write small pictures, at least one, in reading order as one PNG.

    Lines below the title say what the values rest on and what was left out.
    """
    thumbs = [_thumb(look.values, scale) for look in looks]
    columns = min(SHEET_COLUMNS, len(looks))
    width = max(columns, 3) * (THUMB_PX + GAP_PX) - GAP_PX + 2 * MARGIN_PX
    notes = max(len(look.notes) for look in looks)
    cell = max(len(thumb) for thumb in thumbs) + (1 + notes) * LINE_PX + GAP_PX
    bar = MARGIN_PX + 36 + LINE_PX * len(lines)
    top, rows = bar + BAR_PX, math.ceil(len(looks) / columns)
    with plotting.house_style():
        figure = plotting.new_figure(width, top + rows * cell + MARGIN_PX)
        room = width - 2 * MARGIN_PX
        _write(figure, MARGIN_PX, MARGIN_PX, title, room, size=22)
        for number, line in enumerate(lines):
            _write(figure, MARGIN_PX, MARGIN_PX + 32 + number * LINE_PX, line, room, color=SOFT)
        colours = ramp_colours(scale.ramp)
        place = (MARGIN_PX, bar, BAR_WIDTH_PX)
        plotting.colour_bar(figure, place, colours, scale.shown, scale.name)
        for number, (look, thumb) in enumerate(zip(looks, thumbs, strict=True)):
            x = MARGIN_PX + number % columns * (THUMB_PX + GAP_PX)
            y = top + number // columns * cell
            height = len(thumb)
            figure.figimage(thumb, x, round(figure.bbox.height) - y - height, origin="upper")
            _write(figure, x, y + height + 3, look.name, THUMB_PX, size=12)
            for line_number, note in enumerate(look.notes, start=1):
                at = y + height + 3 + line_number * LINE_PX
                _write(figure, x, at, note, THUMB_PX, size=12, color=SOFT)
        picture = plotting.to_png(figure)
    with replacing(path) as temporary:
        temporary.write_bytes(picture)


def write_map_look(raster: Path, product: Product, *, title: str) -> Path:
    """Write the quick look of an index raster beside it; returns its path."""
    lines = [f"{topic}: {product.told[topic]}" for topic in _TOLD if topic in product.told]
    drawn = draw_index(raster, product, title=title, lines=lines)
    path = raster.with_suffix(".png")
    with replacing(path) as temporary:
        temporary.write_bytes(plotting.to_png(drawn.figure, finer=2.0))
    return path


def _write(
    figure: Figure, left: float, top: float, text: str, room: float, size: float = 13, **style: Any
) -> None:
    """Write a line of text, cut to the room there is."""
    if plotting.text_width(text, size) > room:
        kept = bisect(
            range(len(text)), room, key=lambda n: plotting.text_width(text[:n] + "…", size)
        )
        text = text[: kept - 1] + "…"
    plotting.write(figure, left, top, text, size=size, **style)


def _thumb(values: Float, scale: Scale) -> plotting.Pixels:
    height = max(round(THUMB_PX * values.shape[0] / values.shape[1]), 1)
    colours = colour_values(values, scale.shown, scale.ramp)
    colours[~np.isfinite(values)] = HATCH
    resized = cv2.resize(colours, (THUMB_PX, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


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

    Photographs suffice, no map is needed.

    Raises
    ------
    InputError
        If no camera of the survey saw near-infrared and a visible band in one release.
    """
    survey = open_survey(root)
    settings = read_settings(survey)
    captures = survey.captures
    values = calibrate_survey(survey, captures, BandValues.of_survey(survey))
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
                Source(name=one.name, lens=f"{one.camera_id} {one.band}", place=place, band=band)
                for one in group
                for place, band in enumerate(values.bands(one.name))
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
        found = {}
        for place in _evenly(len(members), ALIGNED):
            by_lens = {source.lens: source for source in members[place].values()}
            first, other = by_lens[first_lens], by_lens[other_lens]
            found[first.name] = align_band(
                np.nan_to_num(_read(first, values)), np.nan_to_num(_read(other, values))
            )
        homographies[first_lens][other_lens] = rig_median(found.values())
        left = [one.residual_px for one in found.values() if one.residual_px is not None]
        by = ", ".join(sorted({str(one.method) for one in found.values()}))
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
