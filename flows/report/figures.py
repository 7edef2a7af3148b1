"""Pictures for the report: orthomosaic, shaded relief, doubt, camera positions and overlap."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyogrio
import shapely
from numpy.typing import ArrayLike, NDArray
from rasterio.features import shapes

from flows.products.band_stack import read_index_products
from flows.products.colours import (
    NO_VALUE,
    colour_values,
    doubt_stops,
    ramp_colours,
    relief_stops,
    say_stops,
)
from flows.products.table import DSM, ORTHOMOSAIC, REFLECTANCE, Product
from tmp import plotting
from tmp.cameras import Camera, distort
from tmp.files import replacing
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_reduced
from tmp.plotting import INK, OVERLAPS, WHITE, key
from tmp.reconstruction import Reconstruction

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from flows.report.ground import Ground
    from flows.report.provenance import Hole

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

LONGEST = 1400
"""Longest side of a picture in the report, in pixels."""
WIDTH, TALLEST, NARROWEST = 860.0, 780.0, 560.0
"""Of a figure with a map, of the map in it, and of a figure that has a legend, in pixels."""
GAPS_NAMED = 5
"""Gaps that are numbered on the map of the ground."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 6.0, 6.0, 52.0
"""Room for the coordinates round a map."""
BAR_HEIGHT, BAR_WIDTH = 58.0, 480.0
"""Of a colour bar with its label."""
CHART = (440.0, 240.0)
OVERLAP_STEPS = (1, 2, 3, 5, 8, 12)
"""Least number of photographs of each class of the overlap map."""
LACKING = "#0d3bd1"
"""Outline of ground that too few photographs hold."""
UNMAPPED = "#d6006c"
"""Hatching of ground that was flown and not mapped: on no ground, and not on the overlap map."""
RIM = "#5b666e"
"""Hatching of ground that one photograph sees."""
LOST = "#e31a1c"
UP, DOWN = "#00441b", "#7a0177"
"""Lines to cameras that rose and that sank in the adjustment: neither red nor blue, as the overlap
beneath them is."""

WATER = (
    "Water is told from ground only where it was drawn with --water. Elsewhere a bed seen through "
    "clear shallow water is drawn too high, by a quarter of the depth or more."
)
STEPS = (
    "Equal steps of colour are equal factors of doubt. It is that of comparing photographs alone: "
    "the orientation's own error comes on top. It steps along straight edges where other "
    "photographs were compared, or fewer."
)
THUMBNAIL = "thumbnail.jpg"
LONGEST_PX = 480
"""Longest side of a thumbnail."""
MOST_CHARACTERS = 75_000
"""Of a thumbnail's address."""
QUALITIES = (80, 60, 40, 20)
"""JPEG qualities that are tried, until the picture is small enough."""
CONTOUR = "#5a3410"
STRETCHED = (2.0, 98.0)
"""Percentiles of values that the ends of their colours stand for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A figure of the report."""

    figure: Figure
    title: str
    """Read aloud in place of the picture."""
    note: str = ""
    hints: str = ""
    """Names that a page shows under the pointer."""
    css: str = "map"

    @property
    def svg(self) -> str:
        """The figure as an element of a page."""
        return plotting.to_svg(self.figure, self.title, css=self.css, hints=self.hints)


def draw_orthomosaic(path: Path) -> Drawn:
    """Draw an orthomosaic on white paper."""
    pixels, grid = _on_paper(path, LONGEST)
    return _draw_raster(pixels, grid, "orthomosaic")


def draw_surface(path: Path, contours: Path | None = None) -> Drawn:
    """Draw heights as colours over a hillshade lit from the north-west, with contours if given."""
    height, grid = _values(path, LONGEST)
    stops = relief_stops(height)
    bar = _Bar(
        _lifted(ramp_colours("plain")),
        stops,
        f"height in {_unit(grid)}; colours are closer where much of the ground is",
        say_stops(stops),
    )
    lines = () if contours is None else _read_lines(contours, grid.cell_m / 2)
    drawn = _draw_raster(_shaded(height, grid), grid, "surface model", bar, lines=lines)
    return replace(drawn, note=WATER)


def _read_lines(path: Path, tolerance_m: float) -> list[tuple[Float, bool]]:
    """Return the points (N, 2) of contours, as many as show, and whether each is a bold one."""
    _, _, wkb, (_, bold) = pyogrio.raw.read(path, columns=["height", "index"])
    return [
        (shapely.get_coordinates(line), bool(marked))
        for line, marked in zip(
            shapely.simplify(shapely.from_wkb(wkb), tolerance_m), bold, strict=True
        )
    ]


def draw_fixed(path: Path, product: Product) -> Drawn:
    """Draw a raster by the fixed steps of its colours."""
    values, grid = _values(path, LONGEST)
    unit = product.unit_in(grid.crs)
    bar = _Bar(
        ramp_colours(product.ramp),
        product.steps,
        f"{product.title.lower()} in {'degrees' if unit == '°' else _unit(grid)}",
        say_stops(product.steps),
    )
    return _draw_raster(
        colour_values(values, product.steps, product.ramp), grid, product.title, bar
    )


def draw_sigma(path: Path) -> Drawn:
    """Draw the standard deviation of heights: equal factors are equal steps of colour."""
    sigma, grid = _values(path, LONGEST)
    stops = doubt_stops(sigma)
    bar = _Bar(
        ramp_colours("doubt"),
        stops,
        f"standard deviation of height in {_unit(grid)}; grey: no measured height",
        [*say_stops(stops)[:-1], f"{stops[-1]:g} or more"],
    )
    pixels = colour_values(sigma, stops, "doubt", unknown=NO_VALUE)
    drawn = _draw_raster(pixels, grid, "standard deviation of heights", bar)
    return replace(drawn, note=STEPS)


def draw_index(
    path: Path, product: Product, *, title: str = "", lines: Sequence[str] = ()
) -> Drawn:
    """Draw an index in its fixed colours, with what it rests on as the note.

    Title and lines are written above the map, for a picture that stands alone.
    """
    index, grid = _values(path, LONGEST)
    bar = _Bar(ramp_colours(product.ramp), product.shown,
               f"{product.title}; the same colours on every date")  # fmt: skip
    pixels = colour_values(index, product.shown, product.ramp)
    drawn = _draw_raster(
        pixels, grid, product.title, bar, above=40.0 + 18 * len(lines) if title else 0
    )
    with plotting.house_style():
        plotting.write(drawn.figure, LEFT, 8, title, size=22, weight="bold")
        plotting.write(drawn.figure, LEFT, 40, "\n".join(lines), color=plotting.SOFT)
    return replace(
        drawn, note="; ".join(f"{topic}: {said}" for topic, said in product.told.items())
    )


class _Bar(NamedTuple):
    """What the colours of a map stand for."""

    colours: plotting.Pixels
    stops: Sequence[float] | Float
    """Values of even steps along the colours, the two ends at least."""
    label: str
    ticks: Sequence[str] = ()
    """Labels of the stops, where they are not even."""


def _draw_raster(
    pixels: plotting.Pixels,
    grid: Grid,
    title: str,
    bar: _Bar | None = None,
    above: float = 0.0,
    lines: Sequence[tuple[Float, bool]] = (),
) -> Drawn:
    with plotting.house_style():
        figure, axes, foot = _new_map(grid, above, BAR_HEIGHT if bar else 0.0)
        plotting.picture(axes, pixels, grid.bounds)
        for bold, width in ((False, 0.4), (True, 1.0)):
            some = [points for points, marked in lines if marked == bold]
            plotting.draw_lines(axes, some, color=CONTOUR, lw=width)
        if bar:
            ends = (bar.stops[0], bar.stops[-1])
            place = (LEFT, foot, BAR_WIDTH)
            plotting.colour_bar(figure, place, bar.colours, ends, bar.label, bar.ticks)
        _finish(axes, grid)
    return Drawn(figure=figure, title=title)


def _new_map(grid: Grid, above: float, below: float) -> tuple[Figure, Axes, float]:
    """Return a figure with the frame of a map, and where the room below it begins."""
    west, south, east, north = grid.bounds
    scale = min((WIDTH - LEFT - RIGHT) / (east - west), TALLEST / (north - south))
    width = max(LEFT + (east - west) * scale + RIGHT, NARROWEST if above or below else 0.0)
    foot = above + TOP + (north - south) * scale + BOTTOM
    figure = plotting.new_figure(width, foot + below)
    axes = plotting.map_axes(figure, grid.bounds, LEFT, above + TOP, scale)
    plotting.metre_ticks(axes, crs=grid.crs)
    return figure, axes, foot


def _finish(axes: Axes, grid: Grid) -> None:
    """Draw scale bar and north; without positions there are neither metres nor a north."""
    plotting.scale_bar(axes, "m" if grid.crs else "units")
    if grid.crs:
        plotting.north_arrow(axes)


def draw_ground(
    reconstruction: Reconstruction,
    ground: Ground,
    picture: Path | None,
    lacks: Sequence[shapely.Geometry] = (),
) -> Drawn:
    """Draw which ground was flown and not mapped, over the orthomosaic.

    Without it the ground that was mapped is grey.  What lacks photographs, map coordinates, is
    outlined.
    """
    sheet = ground.sheet
    places = camera_positions(reconstruction)[:, :2]
    lost = np.reshape([one.place for one in ground.left_out], (-1, 2))
    with plotting.house_style():
        figure, axes, foot = _new_map(sheet, 0.0, 40.0)
        if picture is not None:
            pixels, grid = _on_paper(picture, LONGEST)
            plotting.picture(axes, pixels, grid.bounds)
        else:
            plotting.draw_area(axes, _outline(sheet, ground.measured >= 0.5), fc="#a0a0a0")
        for cells, css in ((ground.unmapped & ~ground.rim, UNMAPPED), (ground.rim, RIM)):
            area = _outline(sheet, cells)
            plotting.draw_area(axes, area, fc="#ffffff66")
            plotting.draw_area(axes, area, fc="none", ec=css, lw=0, hatch=plotting.HATCH)
        for place in lacks:
            plotting.draw_area(axes, place, fc="none", ec=LACKING, lw=4, gid="lacking")
        plotting.draw_dots(axes, places, 7, INK, gid="camera")
        axes.plot(*lost.T, "x", color=LOST, ms=13, mew=4, gid="lost")
        for number, gap in enumerate(ground.gaps[:GAPS_NAMED], 1):
            plotting.draw_badge(axes, gap.place, f"{number}", UNMAPPED, square=True, zorder=6)
        _finish(axes, sheet)
        plotting.draw_keys(figure, LEFT, foot, _ground_keys(ground, lacks), ncols=2)
        hints = plotting.hints_over(axes, places, [photo.name for photo in reconstruction.photos])
        hints += plotting.hints_over(
            axes, lost, [f"{one.name}: left out" for one in ground.left_out]
        )
    return Drawn(
        figure=figure,
        title="ground flown and not mapped",
        note=_say_gaps(ground, "m²" if sheet.crs else "square units"),
        hints=hints,
    )


def _say_gaps(ground: Ground, unit: str) -> str:
    """Say how many gaps and islands there are and how large; empty where there are none."""
    said = []
    for patches, what in (
        (ground.gaps, "without a height, where two photographs or more look (numbered)"),
        (ground.islands, "of measured ground that gaps part from the main one"),
    ):
        if patches:
            total = sum(patch.area for patch in patches)
            first = ", ".join(
                f"{float(f'{patch.area:.3g}'):,.10g}" for patch in patches[:GAPS_NAMED]
            )
            which = "the largest" if len(patches) > GAPS_NAMED else "of"
            patch = "patch" if len(patches) == 1 else "patches"
            said.append(f"{len(patches)} {patch} {what}: {total:,.0f} {unit} ({which} {first}).")
    return " ".join(said)


def _ground_keys(ground: Ground, lacks: Sequence[shapely.Geometry]) -> Sequence[Artist]:
    keys = [
        key("flown, but without a measured height", UNMAPPED, "hatch"),
        key("rim that one photograph sees, which none can measure", RIM, "hatch"),
        key("photograph", INK, "o"),
    ]
    if lacks:
        keys.append(key("held by too few photographs: fly again", LACKING, "line"))
    lost = key("photograph left out, where it was recorded", LOST, "x")
    return [*keys, lost] if ground.left_out else keys


def _outline(sheet: Grid, cells: NDArray[np.bool_]) -> shapely.MultiPolygon:
    """Return the outline of cells of a sheet."""
    found = shapes(cells.astype(np.uint8), mask=cells, transform=sheet.transform)
    return shapely.MultiPolygon([shapely.geometry.shape(polygon) for polygon, _ in found])


def camera_positions(reconstruction: Reconstruction) -> Float:
    """Return the map coordinates (N, 3) of the projection centres."""
    centres = np.array([photo.pose.centre for photo in reconstruction.photos])
    return reconstruction.frame.map_from_world(centres)


def draw_cameras(
    reconstruction: Reconstruction,
    overlap: NDArray[np.int_],
    sheet: Grid,
    holes: Sequence[Hole] = (),
) -> Drawn:
    """Draw overlap, camera positions, what parts them from GNSS, and tiles that are missing."""
    classes = np.searchsorted(OVERLAP_STEPS, overlap, side="right")
    palette = np.array([plotting.css_rgb(css) for css in (WHITE, *OVERLAPS)], np.uint8)
    missing = [(hole.bounds, hole) for hole in holes if hole.bounds is not None]
    places = camera_positions(reconstruction)[:, :2]
    with plotting.house_style():
        figure, axes, foot = _new_map(sheet, 0.0, 96.0)
        plotting.picture(axes, palette[classes], sheet.bounds, cells=True)
        for bounds, _ in missing:
            plotting.draw_area(
                axes, shapely.box(*bounds), fc="#00000020", ec=INK, lw=1.5, ls="--", gid="hole"
            )
        factor = _draw_residuals(axes, reconstruction, places)
        plotting.draw_dots(axes, places, 6, INK, zorder=4, gid="camera")
        _finish(axes, sheet)
        title = "photographs that see the ground"
        plotting.draw_keys(figure, LEFT, foot, _overlap_keys(factor > 0), ncols=4, title=title)
        said = [f"{hole.stage} {hole.name}: {hole.reason}" for _, hole in missing]
        hints = plotting.hints_over(axes, [bounds for bounds, _ in missing], said, around=0)
        hints += plotting.hints_over(axes, places, [photo.name for photo in reconstruction.photos])
    drawn = "to scale" if factor == 1 else f"{factor:g} times too long"
    note = (
        "Lines lead from each adjusted position the way it moved from its GNSS position, drawn "
        f"{drawn}; green where it rose, purple where it sank."
        if factor
        else ""
    )
    if missing:
        note += " Dashed squares are tiles that could not be made."
    title = "camera positions and overlap"
    return Drawn(figure=figure, title=title, note=note.strip(), hints=hints)


def _draw_residuals(axes: Axes, reconstruction: Reconstruction, places: Float) -> float:
    """Draw what parts cameras from GNSS; returns how many times too long, 0 for no lines."""
    residuals = [photo.gnss_residual_m for photo in reconstruction.photos]
    factor = _exaggeration(residuals, 1 / plotting.pixel_of(axes))
    for css, layer, rising in ((DOWN, "residual-down", False), (UP, "residual-up", True)):
        lines = [
            [place, place + factor * np.array(residual[:2])]
            for place, residual in zip(places, residuals, strict=True)
            if residual is not None and factor and (residual[2] > 0) == rising
        ]
        plotting.draw_lines(axes, lines, halo=2.0, color=css, lw=2.6, zorder=3, gid=layer)
    return factor


def _overlap_keys(rose_and_sank: bool) -> Sequence[Artist]:
    labels = [
        f"{low}" if high == low + 1 else f"{low}–{high - 1}"
        for low, high in pairwise(OVERLAP_STEPS)
    ]
    labels.append(f"{OVERLAP_STEPS[-1]} or more")
    keys = [key(said, css) for css, said in zip(OVERLAPS, labels, strict=True)]
    lines = [key("camera that rose", UP, "line"), key("camera that sank", DOWN, "line")]
    return [*keys, *lines] if rose_and_sank else keys


def draw_distortion(prior: Camera, adjusted: Camera) -> Drawn:
    """Draw radial distortion over the radius in the picture, before and after."""
    with plotting.house_style():
        figure, axes = _new_chart("distance from the principal point, px", "distortion, px")
        for camera, label, css, style in (
            (prior, "metadata", plotting.SOFT, "--"),
            (adjusted, "adjusted", plotting.ACCENT, "-"),
        ):
            corner = np.hypot(camera.width_px, camera.height_px) / 2
            radius = np.linspace(0, corner / camera.fx_px, 40)
            k1, k2, _, _, k3 = camera.distortion
            moved, _ = distort(radius, np.zeros_like(radius), [k1, k2, 0, 0, k3])
            x, y = radius * camera.fx_px, (moved - radius) * camera.fx_px
            axes.plot(x, y, color=css, linestyle=style, linewidth=2.2, label=label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return Drawn(figure=figure, title=f"distortion of {prior.camera_id}", css="chart")


def draw_histogram(values: ArrayLike, edges: Float, x_label: str, y_label: str) -> Drawn:
    """Draw shares of all values, those beyond the last edge in the last column."""
    values = np.asarray(values, float)
    counts, _ = np.histogram(np.minimum(values, edges[-1] - 1e-9), edges)
    with plotting.house_style():
        figure, axes = _new_chart(x_label, y_label)
        shares = 100 * counts / max(len(values), 1)
        axes.stairs(shares, edges, fill=True, color=plotting.ACCENT, gid="columns")
    return Drawn(figure=figure, title=f"histogram of {x_label}", css="chart")


def _new_chart(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    width, height = CHART
    figure = plotting.new_figure(width, height)
    axes = plotting.axes_at(figure, 60, 28, width - 76, height - 76)
    axes.set(xlabel=x_label, ylabel=y_label, xmargin=0)
    return figure, axes


def _exaggeration(residuals: list[tuple[float, float, float] | None], px_per_m: float) -> float:
    """Choose how many times too long residuals are drawn: the typical one about 30 pixels."""
    lengths = [np.hypot(r[0], r[1]) for r in residuals if r is not None]
    typical = float(np.median(lengths)) if lengths else 0.0
    if typical <= 0:
        return 0.0
    return max(1.0, plotting.round_step(30 / (typical * px_per_m)))


def _on_paper(path: Path, longest: int) -> tuple[plotting.Pixels, Grid]:
    """Return a picture with opacity on white (rows, cols, 3)."""
    bands, grid = read_reduced(path, longest)
    rgba = np.moveaxis(np.ma.getdata(bands), 0, 2)
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8), grid


def _values(path: Path, longest: int) -> tuple[Float32, Grid]:
    """Return the first band of a raster (rows, cols), NaN where there is no value."""
    bands, grid = read_reduced(path, longest)
    return np.ma.filled(bands[0].astype(np.float32), np.nan), grid


def _lifted(colours: NDArray[np.generic]) -> plotting.Pixels:
    """Lift colours towards white, so that shading stays legible in dark ones."""
    return (0.35 * 255 + 0.65 * colours.astype(np.float32)).astype(np.uint8)


def _shaded(height: Float32, grid: Grid) -> plotting.Pixels:
    """Return heights as colours over a hillshade."""
    if np.isnan(height).all():
        return np.full((*height.shape, 3), 255, np.uint8)
    colours = _lifted(colour_values(height, relief_stops(height), "plain"))
    light = 0.25 + 0.85 * plotting.hillshade(height, grid.cell_m)
    lit = np.minimum(colours * light[..., None], 255).astype(np.uint8)
    lit[np.isnan(height)] = 255
    return lit


def _robust_range(values: Float32) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, STRETCHED)
    return float(low), float(max(high, low + 1e-3))


def _unit(grid: Grid) -> str:
    """Return what lengths on a grid are in: without a place there is no scale either."""
    return "units" if grid.crs is None else "metres"


def write_thumbnail(folder: Path) -> None:
    """Write the picture of `thumbnail` beside the rasters; remove one that there is no more."""
    path = folder / THUMBNAIL
    _, address = thumbnail(folder)
    if not address:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(base64.b64decode(address.split(",", 1)[1]))


def thumbnail(folder: Path) -> tuple[str, str]:
    """Return the name and the picture of the first raster in a folder that can be drawn.

    The picture is a ``data:`` address of less than 80 kB; both are empty where there is none.
    """
    for name, draw in _THUMBNAILS.items():
        if (folder / name).exists():
            return name, _address(draw(folder / name))
    for product in read_index_products(folder):
        values, _ = _values(folder / product.file, LONGEST_PX)
        pixels = colour_values(values, product.shown, product.ramp)
        return product.file, _address(pixels)
    return "", ""


def _reflectance(path: Path) -> plotting.Pixels:
    """Draw the last bands, the longest waves first, as red, green and blue; one alone as grey."""
    masked, _ = read_reduced(path, LONGEST_PX)
    bands = np.ma.filled(masked.astype(np.float32), np.nan)
    chosen = bands[:-4:-1] if len(bands) >= 3 else bands[[-1, -1, -1]]
    picture = np.stack([_stretched(band) * 255 for band in chosen], axis=2)
    picture[np.isnan(chosen).any(axis=0)] = 255
    return picture.astype(np.uint8)


def _stretched(values: Float32) -> Float32:
    """Return values as 0 to 1 between their robust ends; NaN becomes 0."""
    low, high = _robust_range(values)
    share = (np.nan_to_num(values, nan=low) - low) / (high - low)
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _address(pixels: plotting.Pixels) -> str:
    for quality in QUALITIES:
        address = plotting.data_uri(pixels, quality=quality)
        if len(address) <= MOST_CHARACTERS:
            break
    return address


_THUMBNAILS: dict[str, Callable[[Path], plotting.Pixels]] = {
    ORTHOMOSAIC.file: lambda path: _on_paper(path, LONGEST_PX)[0],
    DSM.file: lambda path: _shaded(*_values(path, LONGEST_PX)),
    REFLECTANCE.file: _reflectance,
}
