"""Volumes in polygons, above and below a base: a table, and the polygons with numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from flows.products.table import DSM, DSM_SIGMA, DTM, DTM_SIGMA
from flows.products.zones import Zones, shapes_on_map
from tmp.errors import InputError
from tmp.files import read_json, replacing
from tmp.geo.drawings import parts_of
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import open_elevation, read_grid

if TYPE_CHECKING:
    from photogrammetry.terrain.volumes import Base, Rim, Volume

Float = NDArray[np.float64]

CSV, GPKG, LAYER = "volumes.csv", "volumes.gpkg", "volumes"
MARGIN_CELLS = 40
"""Ground around a polygon that tells a gap in it from the end of the map."""
MOST_CELLS = 2**23
"""Cells of a polygon's window; of a larger one several are taken as one."""
NAMED = ("name", "label", "id", "title")
"""Columns that may say what a polygon is called, the first one that is there."""
METRES = ("", "m", "metre", "metres", "meter", "meters")
UNKNOWN = "unknown"
MOST_NOTES = 12
"""That are told of single polygons."""
RECEIVERS = 9
"""Photographs beyond which more do not better the mean of their positions' errors."""


class Surface(StrEnum):
    """What is measured."""

    DSM = "dsm"
    DTM = "dtm"


class BaseKind(StrEnum):
    """Above what it is measured, unless above a file."""

    PLANE = "plane"
    LOWEST = "lowest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How well a map knows its own level, tilt and scale."""

    sigma: float = 0.0
    """Standard deviation of a volume as a share of it, from those of the scale."""
    tilt_rad: float = 0.0
    level_m: float = 0.0
    """Standard deviation of the height of the whole map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One polygon and what was found in it."""

    name: str
    volume: Volume | None
    """None where there is none."""
    base: str
    """What the base is, or why there is no volume."""
    scale_sigma: float
    """Standard deviation of the volume as a share of it, from the scale of the map."""

    def sigma_m3(self, part: str = "net") -> float:
        """Return the whole standard deviation of cut, fill or net."""
        assert self.volume is not None
        value = getattr(self.volume, f"{part}_m3")
        return math.hypot(getattr(self.volume, f"{part}_sigma_m3"), self.scale_sigma * value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """What was measured."""

    zones: Zones
    rows: tuple[Row, ...]
    surface: Surface
    notes: tuple[str, ...] = ()
    """What to mind, in words."""


def measure_volumes(
    zones: Zones, products_dir: Path, *, surface: Surface = Surface.DSM, base: str = "plane"
) -> Volumes:
    """Measure the volume in each polygon of a map's surface above a base.

    The base is one of `BaseKind`, or the path of a raster of heights in any CRS and on any grid.

    Raises
    ------
    InputError
        If there is no such surface, it has no scale, no polygon lies on it, the base cannot be read
        or its heights count from elsewhere, or no polygon has a volume.
    """
    path, sigma_path = (
        products_dir / product.file
        for product in ((DSM, DSM_SIGMA) if surface is Surface.DSM else (DTM, DTM_SIGMA))
    )
    if not path.exists():
        said = "map the survey first with 'tmp map'"
        if surface is Surface.DTM and (products_dir / DSM.file).exists():
            said = "a preview has no bare ground; map with --quality normal, or take --surface dsm"
        raise InputError(f"{path}: no such product yet; {said}")
    if not sigma_path.exists():
        raise InputError(f"{sigma_path}: is missing; 'tmp map' puts it back")
    if read_grid(path).crs is None:
        raise InputError(
            f"{path}: the map has no scale, so nothing in it is a volume; photographs with "
            "positions give it one"
        )
    grid, shapes = shapes_on_map(zones, path)
    scale = _scale_of(products_dir)
    notes: list[str] = []
    if base not in list(BaseKind) and not _of_map(Path(base), products_dir):
        notes += _judge_base(Path(base), path)
    rows = tuple(
        _row(name, shape, path, sigma_path, grid, base, scale)
        for name, shape in zip(_names(zones), shapes, strict=True)
    )
    if all(row.volume is None for row in rows):
        raise InputError(f"{zones.source}: no polygon has a volume; {rows[0].name} {rows[0].base}")
    notes += _notes(rows)
    if len(notes) > MOST_NOTES:
        left = len(notes) - MOST_NOTES
        notes = [*notes[:MOST_NOTES], f"and {left} more such notes; {CSV} has the figures"]
    notes += _general_notes(scale, grid.cell_m)
    return Volumes(zones=zones, rows=rows, surface=surface, notes=tuple(notes))


def _names(zones: Zones) -> list[str]:
    """Return what each polygon is called: by a column for it, else by its number."""
    count = len(zones.shapes)
    numbers = [str(number) for number in range(1, count + 1)]
    lower = {name.lower(): name for name in zones.columns}
    column = next((lower[name] for name in NAMED if name in lower), None)
    if column is None:
        return numbers
    said = [str(value) if value is not None else "" for value in zones.columns[column]]
    return [text or number for text, number in zip(said, numbers, strict=True)]


def _row(
    name: str,
    shape: shapely.Geometry,
    path: Path,
    sigma_path: Path,
    grid: Grid,
    base: str,
    scale: Scale,
) -> Row:
    """Measure one polygon; says why where it cannot be."""
    try:
        if not np.isfinite(shape.bounds).all():
            raise InputError("has no place in the map's CRS")
        shape = shapely.MultiPolygon(parts_of(shape))  # mending a crossing may leave lines
        if shape.area <= 0 or not shape.intersects(shapely.box(*grid.bounds)):
            raise InputError("lies beside the map")
        volume, said = _measure(shape, path, sigma_path, grid, base, scale)
    except InputError as error:
        return Row(name=name, volume=None, base=str(error), scale_sigma=0.0)
    return Row(name=name, volume=volume, base=said, scale_sigma=scale.sigma)


def _measure(
    shape: shapely.Geometry, path: Path, sigma_path: Path, grid: Grid, base: str, scale: Scale
) -> tuple[Volume, str]:
    from photogrammetry.terrain.volumes import lowest_of, measure_volume, plane_through

    tile = grid.tile_over(shape.bounds).grown(MARGIN_CELLS)
    times = max(1, math.ceil(math.sqrt(tile.rows * tile.cols / MOST_CELLS)))
    window = grid.window(tile).coarser(times)
    height, sigma = (_read(one, grid, tile, window) for one in (path, sigma_path))
    share = share_within(shape, window)
    if base == BaseKind.PLANE:
        laid = plane_through(rim_of(shape, window, height, sigma), window.shape, window.cell_m)
    elif base == BaseKind.LOWEST:
        rim = rim_of(shape, window, height, sigma)
        laid = lowest_of(rim, window.shape, cell_m=grid.cell_m, tilt_rad=scale.tilt_rad)
    else:
        laid = _base_of(Path(base), window, path.parent, scale)
    found = measure_volume(height, sigma, share, laid, cell_m=window.cell_m, times=times)
    return found, laid.said


def _read(path: Path, grid: Grid, tile: Tile, window: Grid) -> Float:
    """Return a raster's values in the cells of a window, NaN where there is none."""
    values = np.full((tile.rows, tile.cols), np.nan)
    part = grid.clip(tile)
    if window.shape != values.shape:
        values = np.full(window.shape, np.nan)
        times = round(window.cell_m / grid.cell_m)
        with rasterio.open(path, driver="GTiff") as file:
            read = file.read(
                1,
                window=Window(tile.col, tile.row, window.cols * times, window.rows * times),
                out_shape=window.shape,
                resampling=Resampling.average,
                boundless=True,
                masked=True,
            )
        return np.asarray(np.ma.filled(read.astype(float), np.nan))
    if part is not None:
        with rasterio.open(path, driver="GTiff") as file:
            read = file.read(
                1, window=Window(part.col, part.row, part.cols, part.rows), masked=True
            )
        row, col = part.row - tile.row, part.col - tile.col
        filled = np.ma.filled(read.astype(float), np.nan)
        values[row : row + part.rows, col : col + part.cols] = filled
    return values


def share_within(shape: shapely.Geometry, window: Grid) -> Float:
    """Return the share of each cell of a window that lies in a polygon (rows, cols).

    Of cells on its edge it is exact (Baston's exactextract).
    """
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    x_min, y_min, x_max, y_max = window.bounds
    cells = np.arange(window.rows * window.cols, dtype=float).reshape(window.shape)
    source = NumPyRasterSource(cells, xmin=x_min, ymin=y_min, xmax=x_max, ymax=y_max)
    feature = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
    (found,) = exact_extract(source, [feature], ["values", "coverage"])
    share = np.zeros(cells.size)
    at = np.asarray(found["properties"]["values"], float).astype(int)
    share[at] = np.asarray(found["properties"]["coverage"], float)
    return share.reshape(window.shape)


def rim_of(shape: shapely.Geometry, window: Grid, height: Float, sigma: Float) -> Rim:
    """Return the heights along a polygon's edge, a cell apart; no closer where cells overlap."""
    from scipy.ndimage import map_coordinates

    from photogrammetry.terrain.volumes import Rim

    along = shapely.get_parts(shapely.boundary(shape))
    points = np.concatenate(
        [
            shapely.get_coordinates(
                shapely.line_interpolate_point(line, np.arange(0, line.length, window.cell_m))
            )
            for line in along
        ]
    )
    col = (points[:, 0] - window.x_min) / window.cell_m - 0.5
    row = (window.y_max - points[:, 1]) / window.cell_m - 0.5
    x_min, y_min, x_max, y_max = window.bounds
    heights, sigmas = (
        map_coordinates(values, [row, col], order=order, cval=np.nan)
        for values, order in ((height, 1), (sigma, 0))
    )
    return Rim(
        x=points[:, 0] - (x_min + x_max) / 2,
        y=points[:, 1] - (y_min + y_max) / 2,
        height=heights,
        sigma=np.where(np.isfinite(sigmas), sigmas, np.nan),
    )


def _judge_base(file: Path, surface: Path) -> list[str]:
    """Return what to mind of a base's file; refuses one that cannot be compared."""
    with _opened(file) as source:
        if source.crs is None:
            raise InputError(f"{file}: does not say its CRS; save it again with one")
        if (source.units[0] or "").lower() not in METRES:
            raise InputError(
                f"{file}: heights in {source.units[0]!r}; save it again with heights in metres"
            )
        there = _datum(source.tags().get("VERTICAL_DATUM", ""), source.crs.to_wkt())
    with rasterio.open(surface, driver="GTiff") as own:
        here = _datum(own.tags().get("VERTICAL_DATUM", ""), own.crs.to_wkt())
    if UNKNOWN in (here, there):
        which = f"{file.name} does not say" if there == UNKNOWN else "this map does not know"
        return [f"{which} what its heights count from: taken as the same in both"]
    if here != there:
        raise InputError(
            f"{file}: its heights count from {there}, the map's from {here}; convert it, as with "
            "gdalwarp and both compound CRS, then it can be compared"
        )
    return []


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a base's file."""
    if not file.is_file():
        raise InputError(f"--base {file}: no such file; give 'plane', 'lowest' or a GeoTIFF")
    with open_elevation(file) as source:
        yield source


def _datum(tag: str, wkt: str) -> str:
    """Return what heights count from, by a product's tag or a compound CRS; else "unknown"."""
    crs = CRS.from_wkt(wkt)
    vertical = next((part for part in crs.sub_crs_list if part.is_vertical), None)
    if vertical is not None:
        name = vertical.name.lower()
        return "EGM96" if "egm96" in name else "ellipsoid" if "ellips" in name else vertical.name
    if len(crs.axis_info) == 3:
        return "ellipsoid"
    return tag if tag and tag not in ("barometric", UNKNOWN) else UNKNOWN


def _base_of(file: Path, window: Grid, products_dir: Path, scale: Scale) -> Base:
    """Return a given surface, resampled to a window, with the doubt that is known of it."""
    from photogrammetry.terrain.volumes import Base

    height = _warped(file, window)
    if not np.isfinite(height).any():
        raise InputError(f"lies beside {file.name}")
    beside = file.with_name(f"{file.stem}_sigma{file.suffix}")
    sigma = _warped(beside, window) if beside.is_file() else None
    said = f"surface of {file.name}" + ("" if sigma is not None else ", taken as exact")
    same = _of_map(file, products_dir)
    level_m = tilt = 0.0
    if not same:  # a map errs with itself
        other = _scale_of(file.parent)
        level_m, tilt = (
            math.hypot(getattr(scale, name), getattr(other, name))
            for name in ("level_m", "tilt_rad")
        )
    covariance = np.diag([level_m**2, tilt**2, tilt**2])
    return Base(height=height, covariance=covariance, sigma=sigma, same=same, said=said)


def _of_map(file: Path, products_dir: Path) -> bool:
    """Tell whether a file is a product of the map itself."""
    return file.resolve().parent == products_dir.resolve()


def _warped(file: Path, window: Grid) -> Float:
    """Return a raster's heights in a window's cells, interpolated; NaN where it has none."""
    with (
        _opened(file) as source,
        WarpedVRT(
            source,
            crs=window.crs,
            transform=window.transform,
            width=window.cols,
            height=window.rows,
            resampling=Resampling.bilinear,
            nodata=source.nodata if source.nodata is not None else -32767.0,
            dtype="float64",
        ) as warped,
    ):
        values = warped.read(1, masked=True)
    return np.asarray(np.ma.filled(values.astype(float), np.nan))


def _scale_of(products_dir: Path) -> Scale:
    """Return how well a map knows its scale, tilt and level, by its ``quality.json``.

    Scale counts three times: a map too large by 1 % is too large in three directions.  The vertical
    scale, which hangs on the focal length, comes on top.
    """
    try:
        said = read_json(products_dir / "quality.json")
    except InputError:
        return Scale()
    flat, upright = (said.get(name) or 0.0 for name in ("scale_sigma", "vertical_scale_sigma"))
    ups = [axis for axis in said.get("gnss") or () if axis.get("axis") == "up"]
    count = max(1, min(said.get("photographs_oriented") or 1, RECEIVERS))
    level_m = max((axis.get("stated_sigma_m") or 0.0 for axis in ups), default=0.0)
    return Scale(
        sigma=math.hypot(3 * flat, upright),
        tilt_rad=math.radians(said.get("tilt_sigma_deg") or 0.0),
        level_m=level_m / math.sqrt(count),
    )


def _general_notes(scale: Scale, cell_m: float) -> list[str]:
    """Say what to mind of all volumes of a map."""
    from photogrammetry.terrain.volumes import RANGES

    lengths = " and ".join(f"{reach * cell_m:.2g}" for _, reach in RANGES)
    notes = [
        f"errors of heights are taken to go together over {lengths} m, as measured against the "
        "rehearsed farm's exact ground"
    ]
    if scale.sigma > 0.01:
        notes.append(
            f"the map's own scale is part of every ±: {100 * scale.sigma:.2g} % of a volume; it is "
            "the same for all of them, and falls out where they are compared within this map"
        )
    return notes


def _notes(rows: Sequence[Row]) -> list[str]:
    """Say what to mind of each volume."""
    notes = []
    for row in rows:
        volume = row.volume
        if volume is None:
            notes.append(f"{row.name}: {row.base}")
            continue
        if volume.outside > 0.001:
            notes.append(
                f"{row.name}: {100 * volume.outside:.2g} % of it has no surface and was not counted"
            )
        if volume.filled > 0.001:
            notes.append(
                f"{row.name}: {100 * volume.filled:.2g} % of it had no height and was closed from "
                "about it"
            )
        if volume.base_sigma_m3 > volume.heights_sigma_m3 and "plane" in row.base:
            notes.append(
                f"{row.name}: {row.base}; that is ± {_short(volume.base_sigma_m3)} m³ of it, and "
                "less where the edge is drawn on even ground"
            )
    return notes


def _short(value: float) -> str:
    """Return a figure with two digits, or whole.

    Examples
    --------
    >>> _short(0.1234), _short(45678.9)
    ('0.12', '45,679')
    """
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def write_volumes(found: Volumes, products_dir: Path) -> tuple[Path, Path]:
    """Write ``volumes.csv`` and ``volumes.gpkg``; returns their paths."""
    csv_path, gpkg_path = products_dir / CSV, products_dir / GPKG
    rows = [_columns(row, found.surface) for row in found.rows]
    with (
        replacing(csv_path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
    shapes = [shapely.MultiPolygon(parts_of(shape)) for shape in found.zones.shapes]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    columns |= {
        key: values for key, values in found.zones.columns.items() if key.lower() not in columns
    }
    with replacing(gpkg_path) as temporary:
        pyogrio.raw.write(
            temporary,
            shapely.to_wkb(np.array(shapes, object)),
            [
                values.astype(object) if values.dtype.kind in "UO" else values
                for values in columns.values()
            ],
            list(columns),
            layer=LAYER,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs=found.zones.crs.to_wkt(),
        )
    return csv_path, gpkg_path


def _columns(row: Row, surface: Surface) -> Mapping[str, Any]:
    """Return a row of the table; NaN where there is no volume."""
    names = ("cut", "fill", "net")
    volume = row.volume
    of = {} if volume is None else asdict(volume) | {"net_m3": volume.net_m3}

    def known(name: str) -> float:
        return float(of.get(name, math.nan))

    return {
        "name": row.name,
        **{
            f"{name}{what}": known(f"{name}_m3")
            if what == "_m3"
            else math.nan
            if volume is None
            else row.sigma_m3(name)
            for name in names
            for what in ("_m3", "_sigma_m3")
        },
        **{f"{what}_sigma_m3": known(f"{what}_sigma_m3") for what in ("heights", "base")},
        "scale_sigma_m3": abs(row.scale_sigma * known("net_m3")),
        "area_m2": known("area_m2"),
        "outside_share": known("outside"),
        "filled_share": known("filled"),
        "surface": str(surface),
        "base": row.base,
    }


def _cell(value: Any) -> str:
    """Write a value of the table."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def say_volumes(found: Volumes) -> list[str]:
    """Return the table in lines, for a terminal."""
    table = [("", "area m²", "cut m³", "fill m³", "net m³")]
    for row in found.rows:
        if row.volume is None:
            table.append((row.name, "", "", "", ""))
            continue
        parts = (
            ("cut", row.volume.cut_m3),
            ("fill", row.volume.fill_m3),
            ("net", row.volume.net_m3),
        )
        cut, fill, net = (say_with_sigma(value, row.sigma_m3(name)) for name, value in parts)
        table.append((row.name, f"{row.volume.area_m2:.4g}", cut, fill, net))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        f"{line[0]:<{widths[0]}}  "
        + "  ".join(f"{text:>{width}}" for text, width in zip(line[1:], widths[1:], strict=True))
        for line in table
    ]


def say_with_sigma(value: float, sigma: float) -> str:
    """Return a value and its standard deviation, as exact as that allows.

    Examples
    --------
    >>> say_with_sigma(1234.567, 8.21), say_with_sigma(12.3456, 0.0321), say_with_sigma(0.0, 0.0)
    ('1234.6 ± 8.2', '12.346 ± 0.032', '0 ± 0')
    """
    if sigma <= 0:
        return f"{value:.3g} ± 0"
    digits = 1 - math.floor(math.log10(sigma))
    rounded = (round(number, digits) + 0.0 for number in (value, sigma))
    return " ± ".join(f"{number:.{max(digits, 0)}f}" for number in rounded)
