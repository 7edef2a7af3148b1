"""The surface as a point cloud: LAZ with colours, normals, doubt and CRS.

One point for each measured cell of the surface.  Tiles are written as they come, so that memory
does not grow with the survey.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np
import rasterio
from laspy.vlrs.known import WktCoordinateSystemVlr
from lazrs import LazrsError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.crs import CompoundCRS
from pyproj.exceptions import CRSError

from photogrammetry.terrain.classes import HALO_M, PointClass, classify
from tmp.captures import HeightDatum
from tmp.errors import InputError, SpaceError
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import FULL_BYTES, TILE_CELLS, read_grid, read_over, read_window

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BYTES_PER_POINT = 9.0
"""Generous size of a compressed point, to know before writing whether the disk has room."""
SCALE_M = 0.001
"""Resolution of the coordinates and of sigma."""
NORMAL_STEPS = 128
"""Steps of a normal's component between 0 and 1: half a degree at worst, at half the bytes."""
UNKNOWN_SIGMA = 65535
"""Stored for a sigma that is not known or greater than 65.534 m."""
LEAST_ALPHA = 128
"""Mean alpha from which a cell has a picture."""
BATCH = 1 << 17
"""Points turned into records at a time: few enough for a processor's cache."""
ONLY_RETURN = 0x11
"""LAS: return 1 of 1."""
EGM96_HEIGHT = "EPSG:5773"
ELLIPSOID_HEIGHT = (
    'VERT_CS["ellipsoidal height",VERT_DATUM["Ellipsoid",2002],UNIT["metre",1],AXIS["Up",UP]]'
)
_DIRECTIONS = {"E": (0, 1, 2.0), "N": (-1, 0, 2.0), "NE": (-1, 1, 1.0), "SE": (1, 1, 1.0)}
"""Cells to the south and east of the neighbour ahead, and weight."""
_HAIR = np.float32(1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudTile:
    """One tile of the surface, ready to become points."""

    x: Float
    """Easting of each column in metres, (cols,)."""
    y: Float
    """Northing of each row in metres, (rows,)."""
    height: Float32
    """Map height in metres, (rows, cols); ignored where not measured."""
    measured: NDArray[np.bool_]
    """Cells that become points, (rows, cols)."""
    rgb: Bytes
    """Colours, (rows, cols, 3)."""
    normals: Float32
    """Upward unit normals in map axes, (rows, cols, 3)."""
    sigma: Float32
    """Standard deviation of the height in metres, NaN where unknown, (rows, cols)."""
    views: Bytes
    """Number of agreeing views, (rows, cols)."""
    classes: Bytes
    """What each is, (rows, cols); see `photogrammetry.terrain.classes.PointClass`."""

    def __post_init__(self) -> None:
        shape = (len(self.y), len(self.x))
        for name in ("height", "measured", "rgb", "normals", "sigma", "views", "classes"):
            found = getattr(self, name).shape
            if found[:2] != shape:
                raise InputError(f"cloud tile: {name} of shape {found} where {shape} is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSources:
    """The rasters that a point cloud is made from; all but the orthomosaic share one grid."""

    dsm: Path
    sigma: Path
    views: Path
    orthomosaic: Path
    """Red, green, blue and alpha, on a grid of its own in the same CRS."""
    terrain: Path | None = None
    """The bare ground, which tells what each point is; None to leave them without a class."""


def write_cloud(
    target: Path,
    tiles: Iterable[CloudTile],
    *,
    crs: str | None,
    offset: tuple[float, float, float],
    vertical_datum: HeightDatum = HeightDatum.UNKNOWN,
    workers: int = 1,
) -> int:
    """Write tiles of the surface as a LAZ file (LAS 1.4, point format 7); returns its points.

    Tiles are taken one at a time, and the file appears only when complete. Without a CRS the cloud
    has none; the vertical datum goes into it where it is the ellipsoid or EGM96. Coordinates are
    counted from an offset (easting, northing, height) near the data. With several workers all cores
    compress; the file is the same.

    Raises `InputError` if the offset is too far from the data, `SpaceError` if the disk is full.

    Colours are multiplied by 256, as the specification asks for 8 bits.  Beside the standard
    fields a point has ``NormalX``, ``NormalY``, ``NormalZ`` (in steps of
    1/128), ``sigma`` (mm) and ``views``, as extra dimensions.  Costs 0.5 CPU-seconds and 7 MB
    per million points.

    References
    ----------
    ASPRS (2019). LAS specification 1.4 R15.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    backend = laspy.LazBackend.LazrsParallel if workers > 1 else laspy.LazBackend.Lazrs
    with replacing(target) as partial, partial.open("wb+") as file:
        try:
            writer = laspy.LasWriter(
                file, _header(crs, offset, vertical_datum), laz_backend=backend, closefd=False
            )
            for tile in tiles:
                for points in _points(tile, writer.header):
                    writer.write_points(points)
            writer.close()
        except LazrsError as error:  # says neither what failed nor why
            if shutil.disk_usage(target.parent).free < FULL_BYTES:
                raise SpaceError(f"{target}: the disk is full; make room and run again") from error
            raise
    count = int(writer.header.point_count)
    log.info("%s: %d points", target.name, count)
    return count


def read_cloud_tiles(sources: CloudSources, *, tile_cells: int = TILE_CELLS) -> Iterator[CloudTile]:
    """Yield the tiles of a surface with the mean colour of the orthomosaic in each cell.

    Heights without a sigma were interpolated, not measured: they give normals, but no points.
    Nor do cells without a picture: black would pass for a colour.

    Tiles are of `tile_cells` a side.
    """
    grid = read_grid(sources.dsm)
    for tile in grid.tiles(tile_cells):
        window = grid.window(tile)
        # A halo gives the normals at a tile's rim their neighbours, and classes what is about.
        halo = 1 if sources.terrain is None else math.ceil(HALO_M / grid.cell_m)
        wide, own = tile.grown(halo), np.s_[halo:-halo, halo:-halo]
        around, around_sigma = (_read_known(path, wide) for path in (sources.dsm, sources.sigma))
        height, sigma = around[own], around_sigma[own]
        around_rgb, around_pictured = _colours(sources.orthomosaic, grid.window(wide))
        rgb, pictured = around_rgb[own], around_pictured[own]
        classes = np.full(height.shape, PointClass.UNCLASSIFIED, np.uint8)
        if sources.terrain is not None:
            terrain = _read_known(sources.terrain, wide)
            classes = classify(around, terrain, around_sigma, around_rgb, grid.cell_m)[own]
        x, y = window.cell_centres()
        yield CloudTile(
            x=x,
            y=y,
            height=height,
            measured=np.isfinite(height) & np.isfinite(sigma) & pictured,
            rgb=rgb,
            normals=normals_of(around, grid.cell_m)[own],
            sigma=sigma,
            views=read_window(sources.views, tile)[0].astype(np.uint8),
            classes=classes,
        )


def cloud_crs(crs: str, vertical_datum: HeightDatum) -> CRS:
    """Return a CRS that says what the heights are measured from, where that is known.

    Examples
    --------
    >>> cloud_crs("EPSG:32627", HeightDatum.EGM96).name
    'WGS 84 / UTM zone 27N + EGM96 height'
    """
    horizontal = CRS.from_user_input(crs)
    if vertical_datum is HeightDatum.EGM96:
        vertical = CRS.from_user_input(EGM96_HEIGHT)
        return CompoundCRS(
            name=f"{horizontal.name} + {vertical.name}", components=[horizontal, vertical]
        )
    if vertical_datum is HeightDatum.ELLIPSOID:
        return horizontal.to_3d()
    return horizontal


def _crs_wkt(crs: str, vertical_datum: HeightDatum) -> str:
    """Describe a CRS in the first version of WKT, as LAS 1.4 asks, if that can express it."""
    horizontal, full = CRS.from_user_input(crs), cloud_crs(crs, vertical_datum)
    try:
        if vertical_datum is HeightDatum.ELLIPSOID:
            # PROJ reads a three-dimensional CRS in this form but does not write it.
            name, flat = horizontal.name, horizontal.to_wkt("WKT1_GDAL")
            return f'COMPD_CS["{name} + ellipsoidal height",{flat},{ELLIPSOID_HEIGHT}]'
        return full.to_wkt("WKT1_GDAL")
    except CRSError:
        return full.to_wkt()


def _header(
    crs: str | None, offset: tuple[float, float, float], vertical_datum: HeightDatum
) -> laspy.LasHeader:
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.generating_software = "Terrestrial Mapping Platform"
    header.system_identifier = "OTHER"
    header.scales = np.full(3, SCALE_M)
    header.offsets = np.array(offset, np.float64)
    header.global_encoding.wkt = True
    if crs is not None:
        header.vlrs.append(WktCoordinateSystemVlr(_crs_wkt(crs, vertical_datum)))
    header.add_extra_dims(
        [
            *(
                laspy.ExtraBytesParams(f"Normal{axis}", "f4", f"unit normal, {direction}")
                for axis, direction in zip("XYZ", ("east", "north", "up"), strict=True)
            ),
            laspy.ExtraBytesParams(
                "sigma",
                "u2",
                f"height std deviation, {'m' if crs else 'units'}",
                offsets=[0.0],
                scales=[SCALE_M],
                no_data=[UNKNOWN_SIGMA],
            ),
            laspy.ExtraBytesParams("views", "u1", "photographs that agree"),
        ]
    )
    return header


def _points(tile: CloudTile, header: laspy.LasHeader) -> Iterator[laspy.ScaleAwarePointRecord]:
    """Turn the measured cells of a tile into point records, row by row."""
    measured = np.flatnonzero(tile.measured)
    colours, normals = tile.rgb.reshape(-1, 3), tile.normals.reshape(-1, 3)
    classes = tile.classes.ravel()
    x, y = _steps(tile.x, header.offsets[0]), _steps(tile.y, header.offsets[1])
    for start in range(0, len(measured), BATCH):
        cells = measured[start : start + BATCH]
        row, col = np.divmod(cells, len(x))
        record = laspy.ScaleAwarePointRecord.zeros(len(cells), header=header)
        fields = record.array
        fields["X"], fields["Y"] = x[col], y[row]
        fields["Z"] = _steps(tile.height.ravel()[cells].astype(np.float64), header.offsets[2])
        fields["bit_fields"] = ONLY_RETURN
        fields["classification"] = classes[cells]
        for axis in range(3):
            fields[("red", "green", "blue")[axis]] = colours[cells, axis].astype(np.uint16) << 8
            steps = np.rint(normals[cells, axis] * NORMAL_STEPS)
            fields[f"Normal{'XYZ'[axis]}"] = steps / NORMAL_STEPS
        sigma = np.nan_to_num(tile.sigma.ravel()[cells], nan=np.inf) / np.float32(SCALE_M)
        fields["sigma"] = np.rint(np.clip(sigma, 0, UNKNOWN_SIGMA))
        fields["views"] = tile.views.ravel()[cells]
        yield record


def _steps(values: Float, offset: float) -> NDArray[np.int32]:
    """Return coordinates as the file counts them."""
    steps = np.rint((values - offset) / SCALE_M)
    if np.abs(steps).max(initial=0) > np.iinfo(np.int32).max:
        raise InputError(
            f"cloud: coordinates lie farther than 2 147 km from the offset {offset:g} m; "
            "choose one near the data"
        )
    return steps.astype(np.int32)


def _read_known(path: Path, tile: Tile) -> Float32:
    """Return a rectangle of a raster (rows, cols), NaN where it has no value."""
    with rasterio.open(path, driver="GTiff") as file:
        nodata = file.nodata
    values: Float32 = read_window(path, tile, fill=np.nan)[0].astype(np.float32)
    if nodata is not None:
        values[values == np.float32(nodata)] = np.nan
    return values


def _colours(orthomosaic: Path, window: Grid) -> tuple[Bytes, NDArray[np.bool_]]:
    """Return the mean colour (rows, cols, 3) of a picture in each cell, and where it has one."""
    rgba = read_over(orthomosaic, window)
    pictured = rgba[3] >= LEAST_ALPHA
    return np.moveaxis(rgba[:3], 0, 2), pictured


def normals_of(height: Float32, cell_m: float) -> Float32:
    """Return the upward unit normals (rows, cols, 3), east, north, up, of a surface (rows, cols).

    Heights are in metres, first row in the north; where they are NaN, the normals are.

    ``n = (-p, -q, 1) / sqrt(1 + p² + q²)``.  The slopes p east and q north are Horn's, written as
    what they are: the least-squares solution for the height differences across the cell in four
    directions, diagonals at half weight.  So holes and rims can be left out: where one of two
    opposite neighbours is unknown, the difference to the other stands for both; where both are,
    that direction does not count.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).

    Examples
    --------
    >>> normals_of(np.zeros((2, 2), np.float32), 0.1)[0, 0]
    array([0., 0., 1.], dtype=float32)
    """
    padded = np.pad(height.astype(np.float32), 1, constant_values=np.nan)
    known: dict[str, Float32] = {}
    rise: dict[str, Float32] = {}
    for name, (south, east, weight) in _DIRECTIONS.items():
        found = _difference_across(padded, south, east) / np.float32(cell_m)
        known[name] = np.where(np.isnan(found), 0, weight).astype(np.float32)
        rise[name] = known[name] * np.nan_to_num(found)
    diagonal = known["NE"] + known["SE"]
    a, b, c = known["E"] + diagonal, known["NE"] - known["SE"], known["N"] + diagonal
    lone = a * c - b * b < 1  # at most one direction: level across it
    a, c = a + _HAIR * lone, c + _HAIR * lone
    u, v = rise["E"] + rise["NE"] + rise["SE"], rise["N"] + rise["NE"] - rise["SE"]
    determinant = 2 * (a * c - b * b)
    p, q = (c * u - b * v) / determinant, (a * v - b * u) / determinant
    normals = np.stack([-p, -q, np.ones_like(p)], axis=-1)
    normals /= np.sqrt(1 + p**2 + q**2)[..., None]
    normals += np.float32(0)  # no negative zeros
    normals[np.isnan(height)] = np.nan
    return np.asarray(normals, np.float32)


def _difference_across(padded: Float32, south: int, east: int) -> Float32:
    """Return the rise from the neighbour behind each cell to the one ahead; NaN if both are."""
    rows, cols = padded.shape[0] - 2, padded.shape[1] - 2
    height = padded[1:-1, 1:-1]
    ahead = padded[1 + south : 1 + south + rows, 1 + east : 1 + east + cols] - height
    behind = height - padded[1 - south : 1 - south + rows, 1 - east : 1 - east + cols]
    ahead = np.where(np.isnan(ahead), behind, ahead)
    behind = np.where(np.isnan(behind), ahead, behind)
    return np.asarray(ahead + behind, np.float32)
