"""Profiles, lengths, areas and heights, each with its standard deviation.

Horizontal lengths and areas are those of the ground: the scale of the map's projection, and that of
its height above the ellipsoid, are taken out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Proj, Transformer
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError, shown
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import read_grid, read_raster

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Float = NDArray[np.float64]
Line: TypeAlias = BaseGeometry | Mapping[str, Any] | Sequence[Any] | Float
"""A shapely geometry, a GeoJSON geometry, or (N, 2) places, in the survey's CRS."""

EARTH_M = 6_371_000.0
"""Mean radius; heights of a few kilometres change a length by a thousandth."""
SPAN_CELLS = 1024
"""Longest side of the window that a part of a profile is read from."""
MOST_STEPS = 200_000
"""Places of a profile; more no screen shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Heights, or other values, along a line."""

    distance_m: Float
    """(N,), along the line, horizontal and true to the ground."""
    x: Float
    """(N,), in the survey's CRS."""
    y: Float
    values: Float
    """(N,), NaN where the raster has none."""
    sigma: Float
    """(N,), standard deviation of each value; NaN where none is known."""
    product: str
    unit: str

    def plot(self, *others: Profile, height_px: int = 300) -> Figure:
        """Return a chart of it, with a band of one standard deviation, and of others beside it."""
        from matplotlib.axes import Axes

        from tmp.plotting import SORTIES, house_style, new_figure

        with house_style():
            figure = new_figure(900, height_px)
            axes: Axes = figure.add_axes((0.08, 0.2, 0.9, 0.74))
            for profile, colour in zip((self, *others), SORTIES, strict=False):
                axes.plot(profile.distance_m, profile.values, color=colour, label=profile.product)
                low, high = profile.values - profile.sigma, profile.values + profile.sigma
                axes.fill_between(
                    profile.distance_m, low, high, color=colour, alpha=0.25, linewidth=0
                )
            axes.set_xlabel("along the line, metres")
            axes.set_ylabel(f"{self.unit or 'value'}, with one σ")
            axes.margins(x=0)
            if others:
                axes.legend(loc="best")
        return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured of a point, a line or a polygon; None where it has none."""

    geometry: BaseGeometry
    """In the survey's CRS."""
    unit: str
    """``m``; ``units`` where the map has no scale."""
    length_m: float | None = None
    """Of a line, or round a polygon: horizontal."""
    length_sigma_m: float | None = None
    surface_length_m: float | None = None
    """Of a line, up and down over the heights; None where a part has none."""
    area_m2: float | None = None
    """Of a polygon: horizontal."""
    area_sigma_m2: float | None = None
    height_m: float | None = None
    """Of a point."""
    height_sigma_m: float | None = None
    rise_m: float | None = None
    """Of a line, from its first to its last point."""
    rise_sigma_m: float | None = None

    def __str__(self) -> str:
        """Return it in words.

        Examples
        --------
        >>> point = shapely.Point(3, 4)
        >>> str(Measurement(geometry=point, unit="m", height_m=12.3, height_sigma_m=0.02))
        'height 12.300 ± 0.020 m'
        """
        squared = "m²" if self.unit == "m" else f"square {self.unit}"
        around = "outline" if self.area_m2 is not None else "length"
        parts = [
            ("area ", self.area_m2, self.area_sigma_m2, squared),
            (f"{around} ", self.length_m, self.length_sigma_m, self.unit),
            ("rise ", self.rise_m, self.rise_sigma_m, self.unit),
            ("height ", self.height_m, self.height_sigma_m, self.unit),
        ]
        said = [f"{word}{with_doubt(value, sigma)} {unit}"
                for word, value, sigma, unit in parts if value is not None]  # fmt: skip
        return ", ".join(said) or "no height here"


def with_doubt(value: float, sigma: float | None) -> str:
    """Return a value and its standard deviation, to one or two figures of the latter, at most 1 mm.

    Examples
    --------
    >>> with_doubt(12.3456, 0.021), with_doubt(1234.6, 38.0), with_doubt(5.0, None)
    ('12.346 ± 0.021', '1235 ± 38', '5.00')
    """
    if sigma is None or not math.isfinite(sigma):
        return f"{value:.2f}"
    digits = min(3, max(0, 1 - math.floor(math.log10(max(sigma, 1e-3)) + 0.5)))
    return f"{value:.{digits}f} ± {sigma:.{digits}f}"


def ground_scale(crs: str | None, x: float, y: float, height_m: float = 0.0) -> float:
    """Return the length on the ground of a map's metre, at a place and height.

    The CRS is taken for conformal, as UTM and nearly all national grids are.

    Examples
    --------
    >>> round(ground_scale("EPSG:32632", 500_000, 5_200_000), 5)
    1.0004
    """
    if crs is None:
        return 1.0
    known = CRS.from_user_input(crs)
    to_degrees = Transformer.from_crs(known, known.geodetic_crs, always_xy=True)
    longitude_deg, latitude_deg = to_degrees.transform(x, y)
    factors = Proj(known).get_factors(longitude_deg, latitude_deg)
    return float((1 + height_m / EARTH_M) / math.sqrt(factors.areal_scale))


def geometry_of(drawn: Line) -> BaseGeometry:
    """Return what was drawn as a geometry.

    Raises `InputError` if it is none, or has no place.

    Examples
    --------
    >>> geometry_of([(0, 0), (3, 4)]).length
    5.0
    """
    try:
        if isinstance(drawn, BaseGeometry):
            geometry = drawn
        elif isinstance(drawn, Mapping):
            geometry = shapely.geometry.shape(drawn.get("geometry", drawn))
        else:
            geometry = _of_places(np.asarray(drawn, np.float64))
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{shown(drawn)} is no point, line or polygon; draw one") from error
    if geometry.is_empty or not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise InputError("what is to be measured has no place; draw it on the map")
    return geometry


def _of_places(places: Float) -> BaseGeometry:
    if places.size == 0 or not np.isfinite(places).all():
        return shapely.Point()
    return shapely.Point(places) if places.ndim == 1 else shapely.LineString(places)


def sample(path: Path, x: Float, y: Float) -> Float:
    """Return a raster's values at places (N,), bilinear between cell centres; NaN where none is.

    Only windows about the places are read, each of at most `SPAN_CELLS` along a side where places
    follow each other closely.
    """
    grid = read_grid(path)
    cols = (x - grid.x_min) / grid.cell_m - 0.5
    rows = (grid.y_max - y) / grid.cell_m - 0.5
    # A place on the raster's outermost half cell has the value of its edge.
    inside = (cols >= -0.5 - 1e-9) & (cols <= grid.cols - 0.5 + 1e-9)
    inside &= (rows >= -0.5 - 1e-9) & (rows <= grid.rows - 0.5 + 1e-9)
    cols, rows = np.clip(cols, 0, grid.cols - 1), np.clip(rows, 0, grid.rows - 1)
    out = np.full(len(x), np.nan)
    start = 0
    while start < len(x):
        end = _span_end(rows, cols, start)
        out[start:end] = _sample_window(path, rows[start:end], cols[start:end])
        start = end
    out[~inside] = np.nan
    return out


def _span_end(rows: Float, cols: Float, start: int) -> int:
    """Return the end of the longest run of places whose window is not too large."""

    def side(at: Float) -> Float:
        part = at[start:]
        spread = np.maximum.accumulate(part) - np.minimum.accumulate(part)
        return np.asarray(spread, np.float64)

    within = np.maximum(side(rows), side(cols)) <= SPAN_CELLS
    return start + (len(within) if within.all() else int(np.argmin(within)))


def _sample_window(path: Path, rows: Float, cols: Float) -> Float:
    """Return values at places given in cells from the centre of the first, within the raster."""
    row0, col0 = int(rows.min()), int(cols.min())
    tile = Tile(
        row=row0, col=col0, rows=int(rows.max()) - row0 + 2, cols=int(cols.max()) - col0 + 2
    )
    # Cut at the raster's edge, where the cell beyond has no weight.
    values = np.ma.filled(read_raster(path, tile).values[0].astype(np.float64), np.nan)
    last_row, last_col = values.shape[0] - 1, values.shape[1] - 1
    i, j = (rows - row0).astype(int), (cols - col0).astype(int)
    u, v = rows - row0 - i, cols - col0 - j
    total = np.zeros(len(rows))
    for down, right, weight in (
        (0, 0, (1 - u) * (1 - v)),
        (0, 1, (1 - u) * v),
        (1, 0, u * (1 - v)),
        (1, 1, u * v),
    ):
        corner = values[np.minimum(i + down, last_row), np.minimum(j + right, last_col)]
        total += np.where(weight > 0, weight * corner, 0.0)
    return total


def measure_profile(
    products: Mapping[str, Path], line: Line, product: str = "dsm", step_m: float | None = None
) -> Profile:
    """Return a product's values along a line; see `tmp.survey.Survey.profile`."""
    path = _raster(products, product)
    grid = read_grid(path)
    drawn = geometry_of(line)
    if not isinstance(drawn, shapely.LineString) or drawn.length <= 0:
        raise InputError("a profile needs a line of two different points or more; draw one")
    step = grid.cell_m if step_m is None else step_m
    if not 0 < step < math.inf:
        raise InputError(f"step_m = {step!r}; give a length above 0")
    count = max(1, math.ceil(drawn.length / step))
    if count > MOST_STEPS:
        raise InputError(
            f"a line of {drawn.length:.0f} m at every {step:g} m has {count} places, more than "
            f"{MOST_STEPS}; give a longer step_m"
        )
    # Evenly spaced, and the line's own corners among them.
    along = np.union1d(np.linspace(0, drawn.length, count + 1), _corner_distances(drawn))
    x, y = shapely.get_coordinates(shapely.line_interpolate_point(drawn, along)).T
    values = sample(path, x, y)
    doubt = products.get(f"{product}_sigma")
    known = values[np.isfinite(values)]
    height_m = float(known.mean()) if known.size and product in ("dsm", "dtm") else 0.0
    middle = drawn.centroid
    return Profile(
        distance_m=along * ground_scale(grid.crs, middle.x, middle.y, height_m),
        x=x,
        y=y,
        values=values,
        sigma=sample(doubt, x, y) if doubt else np.full(len(x), np.nan),
        product=product,
        unit=_unit(path),
    )


def _corner_distances(line: shapely.LineString) -> Float:
    steps = np.hypot(*np.diff(shapely.get_coordinates(line), axis=0).T)
    along = np.minimum(np.concatenate([[0.0], np.cumsum(steps)]), line.length)
    return np.asarray(along, np.float64)


def measure_geometry(
    products: Mapping[str, Path],
    drawn: Line,
    product: str = "dsm",
    *,
    pointing_m: float | None = None,
    scale_sigma: float = 0.0,
) -> Measurement:
    """Return length, area or height of what was drawn; see `tmp.survey.Survey.measure`.

    `scale_sigma` is the standard deviation of the map's scale, as a fraction.
    """
    geometry = geometry_of(drawn)
    path = _raster(products, product)
    grid = read_grid(path)
    unit = "m" if grid.crs else "units"
    if pointing_m is None:
        picture = products.get("orthomosaic")
        pointing_m = read_grid(picture).cell_m if picture else grid.cell_m
    middle = geometry.centroid
    if isinstance(geometry, shapely.Point):
        height = _height_at(products, product, geometry)
        known = {} if height is None else {"height_m": height[0], "height_sigma_m": height[1]}
        return Measurement(geometry=geometry, unit=unit, **known)
    if not isinstance(geometry, shapely.LineString | shapely.Polygon):
        raise InputError(f"a {geometry.geom_type} cannot be measured; draw a point, line or area")
    at_middle = _height_at(products, product, middle)
    scale = ground_scale(grid.crs, middle.x, middle.y, at_middle[0] if at_middle else 0.0)
    length_m = float(geometry.length * scale)
    if isinstance(geometry, shapely.Polygon):
        area_m2 = float(geometry.area * scale**2)
        rings = [shapely.get_coordinates(ring) for ring in (geometry.exterior, *geometry.interiors)]
        return Measurement(
            geometry=geometry,
            unit=unit,
            length_m=length_m,
            length_sigma_m=math.hypot(
                *(length_sigma(ring, pointing_m, closed=True) for ring in rings),
                scale_sigma * length_m,
            ),
            area_m2=area_m2,
            area_sigma_m2=math.hypot(
                *(area_sigma(ring, pointing_m) for ring in rings), 2 * scale_sigma * area_m2
            ),
        )
    profile = measure_profile(products, geometry, product, _step(geometry, grid))
    over = np.hypot(np.diff(profile.distance_m), np.diff(profile.values))
    (low, low_sigma), (high, high_sigma) = (
        (profile.values[end], profile.sigma[end]) for end in (0, -1)
    )
    rises = math.isfinite(high - low)
    return Measurement(
        geometry=geometry,
        unit=unit,
        length_m=length_m,
        length_sigma_m=math.hypot(
            length_sigma(shapely.get_coordinates(geometry), pointing_m), scale_sigma * length_m
        ),
        surface_length_m=float(over.sum()) if np.isfinite(over).all() else None,
        rise_m=float(high - low) if rises else None,
        rise_sigma_m=_known(math.hypot(low_sigma, high_sigma)) if rises else None,
    )


def length_sigma(places: Float, pointing_m: float, *, closed: bool = False) -> float:
    """Return the standard deviation of a line's length from that of its corners' places.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
        Corners; of a closed ring the last one is the first.
    pointing_m : float
        Standard deviation of each corner, in x and in y, independent of the others.
    closed : bool

    Notes
    -----
    The length changes by the difference of the unit vectors of the two sides that meet in a corner,
    so a corner on a straight line adds nothing.  Leads of first order.

    Examples
    --------
    >>> round(length_sigma(np.array([[0.0, 0], [5, 0], [10, 0]]), 1.0), 3)
    1.414
    """
    sides = np.diff(places, axis=0)
    lengths = np.hypot(*sides.T)
    units = sides[lengths > 0] / lengths[lengths > 0, None]
    if not len(units):
        return 0.0
    bends = np.diff(units, axis=0)
    ends = [units[:1] - units[-1:]] if closed else [units[:1], units[-1:]]
    return float(pointing_m * math.sqrt(sum((part**2).sum() for part in (bends, *ends))))


def area_sigma(ring: Float, pointing_m: float) -> float:
    """Return the standard deviation of a polygon's area from that of its corners' places.

    Parameters
    ----------
    ring : ndarray of shape (N, 2)
        Corners, the last one being the first.
    pointing_m : float
        Standard deviation of each corner, in x and in y, independent of the others.

    References
    ----------
    Chrisman, N. R. & Yandell, B. S. (1988). Effects of point error on area calculations: a
    statistical model. Surveying and Mapping 48(4).  A corner moves the area by half the distance of
    its two neighbours.

    Examples
    --------
    >>> area_sigma(np.array([[0.0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]), 0.1)
    1.4142135623730951
    """
    corners = ring[:-1]
    chords = np.roll(corners, -1, axis=0) - np.roll(corners, 1, axis=0)
    return float(pointing_m * math.sqrt((chords**2).sum() / 4))


def _step(line: shapely.LineString, grid: Grid) -> float:
    return float(max(grid.cell_m, line.length / MOST_STEPS * 2))


def _height_at(
    products: Mapping[str, Path], product: str, point: shapely.Point
) -> tuple[float, float | None] | None:
    x, y = np.array([point.x]), np.array([point.y])
    height = float(sample(products[product], x, y)[0])
    if not math.isfinite(height):
        return None
    doubt = products.get(f"{product}_sigma")
    return height, _known(float(sample(doubt, x, y)[0])) if doubt else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _raster(products: Mapping[str, Path], product: str) -> Path:
    path = products.get(product)
    if path is None or path.suffix != ".tif":
        rasters = [name for name, one in products.items() if one.suffix == ".tif"]
        said = f"there are {', '.join(rasters)}" if rasters else "'tmp map' makes them"
        raise InputError(f"no raster {product!r} to measure; {said}")
    return path


def _unit(path: Path) -> str:
    return read_raster(path, Tile(row=0, col=0, rows=1, cols=1)).units[0]
