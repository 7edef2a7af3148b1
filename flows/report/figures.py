"""Pictures for the report: orthomosaic, shaded relief, doubt, camera positions and overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.products.band_stack import read_index_products
from flows.products.ramps import colour_values, ramp_steps
from flows.products.table import DSM, ORTHOMOSAIC, REFLECTANCE, Product
from flows.report.charts import Curve, MapSheet, curves, data_uri, round_length
from flows.report.ground import Ground
from flows.report.provenance import Hole
from tmp.cameras import Camera, distort
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_reduced
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]
Picture = NDArray[np.uint8]

LONGEST = 1400
"""Longest side of a picture in the report, in pixels."""
OVERLAP_STEPS = (1, 2, 3, 5, 8, 12)
"""Least number of photographs of each class of the overlap map."""
OVERLAP_COLOURS = ("#b2182b", "#ef8a62", "#fddbc7", "#d1e5f0", "#67a9cf", "#2166ac")
PAPER = 255
UNMAPPED = "#d6006c"
"""Hatching of ground that was flown and not mapped: on no ground, and not on the overlap map."""
RIM = "#7a8791"
"""Hatching of ground that one photograph sees."""
HATCH_PX, HATCHED = 14, 5
"""Distance and width of the lines of the hatching, in pixels of the picture."""

Thumbnail = NDArray[np.floating[Any]] | NDArray[np.uint8]
LONGEST_PX = 480
"""Longest side of a picture."""
MOST_BYTES = 55_000
"""Of a picture; in the address it takes a third more."""
QUALITIES = (80, 60, 40, 20)
"""JPEG qualities that are tried, until the picture is small enough."""
STRETCHED = (2.0, 98.0)
"""Percentiles of a band that are shown as black and white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """What the colours of a map mean."""

    entries: tuple[tuple[str, str], ...]
    """CSS colour and label, low to high."""
    gradient: bool
    """Whether values run on between the entries."""
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing for the report."""

    svg: str
    legend: Legend | None = None
    note: str = ""


def draw_orthomosaic(path: Path) -> Figure:
    """Draw an orthomosaic on white paper."""
    bands, grid = read_reduced(path, LONGEST)
    rgba = np.moveaxis(np.ma.getdata(bands), 0, 2)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    paper = rgba[..., :3] * alpha + PAPER * (1 - alpha)
    return Figure(svg=MapSheet(grid=grid).svg(_jpeg(paper), "orthomosaic"))


def draw_surface(path: Path) -> Figure:
    """Draw heights as colours over a hillshade lit from the north-west."""
    heights, grid = read_reduced(path, LONGEST)
    height = np.ma.filled(heights[0].astype(np.float32), np.nan)
    low, high = _robust_range(height, 2.0)
    colours = _coloured((height - low) / (high - low), cv2.COLORMAP_VIRIDIS)
    shade = hillshade(height, grid.cell_m)
    # Colours are lifted towards white first, so that shading stays legible in dark ones.
    lit = (0.35 * PAPER + 0.65 * colours) * (0.25 + 0.85 * shade[..., None])
    lit[np.isnan(height)] = PAPER
    return Figure(
        svg=MapSheet(grid=grid).svg(_jpeg(lit), "surface model"),
        legend=_gradient_legend(
            low, high, cv2.COLORMAP_VIRIDIS, f"height in {_unit(grid)}", lifted=True
        ),
    )


def draw_sigma(path: Path) -> Figure:
    """Draw the standard deviation of heights."""
    sigmas, grid = read_reduced(path, LONGEST)
    sigma = np.ma.filled(sigmas[0].astype(np.float32), np.nan)
    _, high = _robust_range(sigma, 2.0)
    colours = _coloured(sigma / high, cv2.COLORMAP_MAGMA)
    colours[np.isnan(sigma)] = PAPER
    return Figure(
        svg=MapSheet(grid=grid).svg(_jpeg(colours), "standard deviation of heights"),
        legend=_gradient_legend(
            0.0, high, cv2.COLORMAP_MAGMA, f"standard deviation of height in {_unit(grid)}"
        ),
    )


def draw_index(path: Path, product: Product) -> Figure:
    """Draw an index in its fixed colours, with what it rests on as the note."""
    values, grid = read_reduced(path, LONGEST)
    index = np.ma.filled(values[0].astype(np.float32), np.nan)
    colours, steps = ramp_steps(product.ramp, product.shown)
    return Figure(
        svg=MapSheet(grid=grid).svg(
            _jpeg(colour_values(index, product.shown, product.ramp)), product.title
        ),
        legend=Legend(
            entries=tuple(
                (css, f"{round(step, 10) + 0.0:.3g}")
                for css, step in zip(colours, steps, strict=True)
            ),
            gradient=True,
            title=f"{product.title}; the same colours on every date",
        ),
        note="; ".join(f"{topic}: {said}" for topic, said in product.told.items()),
    )


def hillshade(height: NDArray[np.float32], cell_m: float) -> NDArray[np.float32]:
    """Return the brightness, 0 to 1, of a surface lit from the north-west at 45°.

    Parameters
    ----------
    height : ndarray of shape (rows, cols)
        Metres, NaN where unknown; the unknown is lit as if it were flat.
    cell_m : float

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).
    """
    known = np.nan_to_num(height, nan=float(np.nanmean(height)))
    east = cv2.Sobel(known, cv2.CV_32F, 1, 0, ksize=3) / (8 * cell_m)
    north = -cv2.Sobel(known, cv2.CV_32F, 0, 1, ksize=3) / (8 * cell_m)
    sun = np.array([-0.5, 0.5, np.sqrt(0.5)])
    cosine = (-sun[0] * east - sun[1] * north + sun[2]) / np.sqrt(1 + east**2 + north**2)
    return np.asarray(np.clip(cosine, 0, 1), np.float32)


def draw_ground(reconstruction: Reconstruction, ground: Ground, picture: Path | None) -> Figure:
    """Draw which ground was flown and not mapped, over the orthomosaic where there is one.

    Parameters
    ----------
    reconstruction : Reconstruction
    ground : Ground
    picture : Path or None
        The orthomosaic; without it the ground that was mapped is grey.
    """
    frame = MapSheet(grid=ground.sheet)
    drawn = _laid_on(ground.sheet, picture)
    rows, cols = drawn.shape[:2]
    size = (cols, rows)
    mapped = cv2.resize(ground.measured.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    if picture is None:
        drawn[mapped >= 0.5] = 160
    lines = (np.add.outer(np.arange(rows), np.arange(cols)) % HATCH_PX) < HATCHED
    for cells, css in ((ground.unmapped & ~ground.rim, UNMAPPED), (ground.rim, RIM)):
        bare = cv2.resize(cells.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        drawn[bare] = 0.6 * drawn[bare] + 0.4 * PAPER
        drawn[bare & lines] = _rgb(css)
    marks = [
        f'<circle class="camera" cx="{x:.1f}" cy="{y:.1f}" r="4">'
        f"<title>{escape(photo.name)}</title></circle>"
        for photo, (x, y) in zip(
            reconstruction.photos, frame.place(camera_positions(reconstruction)), strict=True
        )
    ]
    for one in ground.left_out:
        ((x, y),) = frame.place([one.place])
        marks.append(
            f'<path class="lost" d="M{x - 7:.1f} {y - 7:.1f} l14 14 m0 -14 l-14 14">'
            f"<title>{escape(one.name)}: left out</title></path>"
        )
    entries = [
        (_hatching(UNMAPPED), "flown, but without a measured height"),
        (_hatching(RIM), "rim that one photograph sees, which none can measure"),
        ("#111", "photograph (dot)"),
    ]
    if ground.left_out:
        entries.append(("#e31a1c", "photograph left out, where it was recorded (cross)"))
    return Figure(
        svg=frame.svg(_jpeg(drawn), "ground flown and not mapped", marks),
        legend=Legend(entries=tuple(entries), gradient=False, title=""),
    )


def _hatching(css: str) -> str:
    """Return the hatching of a legend's swatch."""
    return f"repeating-linear-gradient(45deg, {css} 0 3px, #fff 3px 7px)"


def _laid_on(sheet: Grid, picture: Path | None) -> NDArray[np.float32]:
    """Return an orthomosaic laid onto a sheet, `LONGEST` pixels long, white where it is empty."""
    factor = LONGEST / max(sheet.shape)
    rows, cols = max(1, round(sheet.rows * factor)), max(1, round(sheet.cols * factor))
    paper = np.full((rows, cols, 3), PAPER, np.float32)
    if picture is None:
        return paper
    bands, grid = read_reduced(picture, LONGEST)
    red, green, blue, alpha = np.ma.getdata(bands)
    step = sheet.cell_m / factor
    x = sheet.x_min + (np.arange(cols) + 0.5) * step
    y = sheet.y_max - (np.arange(rows) + 0.5) * step
    at_col, at_row = (x - grid.x_min) / grid.cell_m, (grid.y_max - y) / grid.cell_m
    on_rows = slice(*np.searchsorted(at_row, (0, grid.rows)))
    on_cols = slice(*np.searchsorted(at_col, (0, grid.cols)))
    places = np.ix_(at_row[on_rows].astype(int), at_col[on_cols].astype(int))
    share = alpha[places].astype(np.float32) / 255
    for i, band in enumerate((red, green, blue)):
        paper[on_rows, on_cols, i] += share * (band[places] - np.float32(PAPER))
    return paper


def camera_positions(reconstruction: Reconstruction) -> Float:
    """Return the map coordinates (N, 3) of the projection centres."""
    centres = np.array([photo.pose.centre for photo in reconstruction.photos])
    return reconstruction.frame.map_from_world(centres)


def draw_cameras(
    reconstruction: Reconstruction,
    overlap: NDArray[np.int_],
    sheet: Grid,
    holes: Sequence[Hole] = (),
) -> Figure:
    """Draw overlap, camera positions, what parts them from GNSS, and tiles that are missing."""
    classes = np.searchsorted(OVERLAP_STEPS, overlap, side="right")
    palette = np.array([_rgb("#ffffff"), *map(_rgb, OVERLAP_COLOURS)], np.uint8)
    frame = MapSheet(grid=sheet)
    centres = frame.place(camera_positions(reconstruction))
    residuals = [photo.gnss_residual_m for photo in reconstruction.photos]
    factor = _exaggeration(residuals, frame.scale)
    marks = _hole_marks(frame, holes)
    for photo, (x, y), residual in zip(reconstruction.photos, centres, residuals, strict=True):
        if residual is not None and factor:
            dx, dy = (factor * frame.scale * value for value in residual[:2])
            css = "up" if residual[2] > 0 else "down"
            marks.append(f'<path class="residual {css}" d="M{x:.1f} {y:.1f} l{dx:.1f} {-dy:.1f}"/>')
        marks.append(
            f'<circle class="camera" cx="{x:.1f}" cy="{y:.1f}" r="3">'
            f"<title>{escape(photo.name)}</title></circle>"
        )
    bounds = [*OVERLAP_STEPS[1:], None]
    labels = [
        f"{low}" if high == low + 1 else f"{low} or more" if high is None else f"{low}–{high - 1}"
        for low, high in zip(OVERLAP_STEPS, bounds, strict=True)
    ]
    drawn = "to scale" if factor == 1 else f"{factor:g} times too long"
    note = (
        "Lines lead from each adjusted position the way it moved from its GNSS position, drawn "
        f"{drawn}; blue where it rose, red where it sank."
        if factor
        else ""
    )
    if any(hole.bounds for hole in holes):
        note += " Dashed squares are tiles that could not be made."
    return Figure(
        svg=frame.svg(_lossless(palette[classes]), "camera positions and overlap", marks),
        legend=Legend(
            entries=tuple(zip(OVERLAP_COLOURS, labels, strict=True)),
            gradient=False,
            title="photographs that see the ground",
        ),
        note=note.strip(),
    )


def _hole_marks(frame: MapSheet, holes: Sequence[Hole]) -> list[str]:
    """Return tiles that could not be made as outlines, with the reason to read on them."""
    marks = []
    for hole in holes:
        if hole.bounds is None:
            continue
        west, south, east, north = hole.bounds
        (x0, y0), (x1, y1) = frame.place([(west, north), (east, south)])
        marks.append(
            f'<rect class="hole" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" '
            f'height="{y1 - y0:.1f}"><title>{escape(f"{hole.stage} {hole.name}: {hole.reason}")}'
            "</title></rect>"
        )
    return marks


def draw_distortion(prior: Camera, adjusted: Camera) -> Figure:
    """Draw radial distortion over the radius in the picture, before and after."""
    lines = []
    for camera, label, css in (
        (prior, "metadata", "line prior"),
        (adjusted, "adjusted", "line adjusted"),
    ):
        corner = np.hypot(camera.width_px, camera.height_px) / 2
        radius = np.linspace(0, corner / camera.fx_px, 40)
        k1, k2, _, _, k3 = camera.distortion
        moved, _ = distort(radius, np.zeros_like(radius), [k1, k2, 0, 0, k3])
        lines.append(
            Curve(x=radius * camera.fx_px, y=(moved - radius) * camera.fx_px, label=label, css=css)
        )
    return Figure(svg=curves(lines, "distance from the principal point, px", "distortion, px"))


def _exaggeration(residuals: list[tuple[float, float, float] | None], units_per_m: float) -> float:
    """Choose how many times too long residuals are drawn: the typical one about 30 units."""
    lengths = [np.hypot(r[0], r[1]) for r in residuals if r is not None]
    typical = float(np.median(lengths)) if lengths else 0.0
    if typical <= 0:
        return 0.0
    return max(1.0, round_length(30 / (typical * units_per_m)))


def _robust_range(values: NDArray[np.float32], percent: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, [percent, 100 - percent])
    return float(low), float(max(high, low + 1e-3))


def _coloured(share: NDArray[np.floating[Any]], colormap: int) -> NDArray[np.float32]:
    """Return colours (rows, cols, 3), red first, of values 0 to 1."""
    index = np.nan_to_num(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(index, colormap)[..., ::-1], np.float32)


def _gradient_legend(
    low: float, high: float, colormap: int, title: str, *, lifted: bool = False
) -> Legend:
    shares = np.linspace(0, 1, 6, dtype=np.float32)
    colours = _coloured(shares[None], colormap)[0]
    if lifted:
        colours = 0.35 * PAPER + 0.65 * colours
    decimals = 1 if high - low > 5 else 2 if high - low > 0.5 else 3
    return Legend(
        entries=tuple(
            (
                "#" + "".join(f"{int(c):02x}" for c in colour),
                f"{low + s * (high - low):.{decimals}f}",
            )
            for colour, s in zip(colours, shares, strict=True)
        ),
        gradient=True,
        title=title,
    )


def _unit(grid: Grid) -> str:
    """Return what lengths on a grid are in: without a place there is no scale either."""
    return "units" if grid.crs is None else "metres"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _jpeg(picture: NDArray[np.generic]) -> str:
    clipped = np.clip(np.asarray(picture, np.float32), 0, 255).astype(np.uint8)
    _, content = cv2.imencode(".jpg", clipped[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data_uri(content.tobytes(), "image/jpeg")


def _lossless(picture: Picture) -> str:
    # Not as PNG: pycolmap's zlib can break PNG writing once it is loaded before OpenCV.
    _, content = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    return data_uri(content.tobytes(), "image/webp")


def thumbnail(folder: Path) -> tuple[str, str]:
    """Return the name and the picture of the first raster in a folder that can be drawn.

    Returns
    -------
    name : str
        Of the file; empty where there is none.
    address : str
        The picture as a ``data:`` address of less than 80 kB.
    """
    for name, draw in _DRAWN.items():
        if (folder / name).exists():
            return name, _address(draw(folder / name))
    for product in read_index_products(folder):
        values = _filled(folder / product.file)[0]
        return product.file, _address(colour_values(values, product.shown, product.ramp))
    return "", ""


def _orthomosaic(path: Path) -> Thumbnail:
    bands, _ = read_reduced(path, LONGEST_PX)
    rgba = np.moveaxis(np.ma.getdata(bands), 0, 2).astype(np.float32)
    alpha = rgba[..., 3:] / 255
    return np.asarray(rgba[..., :3] * alpha + PAPER * (1 - alpha))


def _surface(path: Path) -> Thumbnail:
    bands, grid = read_reduced(path, LONGEST_PX)
    height = np.ma.filled(bands[0].astype(np.float32), np.nan)
    if np.isnan(height).all():
        return np.full((*height.shape, 3), PAPER, np.float32)
    share = (_stretched(height) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(share, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.float32)
    lit = (0.35 * PAPER + 0.65 * colours) * (0.25 + 0.85 * hillshade(height, grid.cell_m))[
        ..., None
    ]
    lit[np.isnan(height)] = PAPER
    return lit


def _reflectance(path: Path) -> Thumbnail:
    """Draw the last bands, the longest waves first, as red, green and blue; one alone as grey."""
    bands = _filled(path)
    chosen = bands[:-4:-1] if len(bands) >= 3 else bands[[-1, -1, -1]]
    picture = np.stack([_stretched(band) * 255 for band in chosen], axis=2)
    picture[np.isnan(chosen).any(axis=0)] = PAPER
    return picture


def _filled(path: Path) -> NDArray[np.float32]:
    """Return bands (bands, rows, cols) at the size of a picture, NaN where there is no value."""
    bands, _ = read_reduced(path, LONGEST_PX)
    return np.ma.filled(bands.astype(np.float32), np.nan)


def _stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values as 0 to 1 between their robust ends; NaN becomes 0."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, STRETCHED) if len(known) else (0.0, 1.0)
    share = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _address(picture: Thumbnail) -> str:
    pixels = np.clip(picture, 0, 255).astype(np.uint8)[..., ::-1]
    for quality in QUALITIES:
        _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(content) <= MOST_BYTES:
            break
    return data_uri(content.tobytes(), "image/jpeg")


_DRAWN: dict[str, Callable[[Path], Thumbnail]] = {
    ORTHOMOSAIC.file: _orthomosaic,
    DSM.file: _surface,
    REFLECTANCE.file: _reflectance,
}
