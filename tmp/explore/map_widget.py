"""The map of a survey as a widget: tiles come through the kernel, so no port and no host is asked.

The page asks for tiles, for what lies under the pointer, and for measures of what is drawn; each
message has an ``id`` that its answer bears.
"""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import shapely
import traitlets
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError, TmpError
from tmp.explore.annotations import read_annotations, write_annotations
from tmp.explore.colours import Light, Style, stretched
from tmp.explore.layers import (
    DEEPER,
    LIT,
    TILE,
    Bounds,
    Layer,
    Pixels,
    Pyramid,
    encoded,
    open_file,
)
from tmp.explore.measuring import measure_geometry, with_doubt
from tmp.geo.grids import Grid

log = logging.getLogger(__name__)
STATIC = files("tmp.explore") / "static"
MOST_VIEWS = 4
PICTURE_PX = 900
"""Longer side of the still picture that a notebook keeps where no kernel runs."""


def page_code(library: str, own: str, name: str) -> str:
    """Return a module for the page: a library written as CommonJS, and our own code.

    The page fetches nothing: what our own code calls `name` is the library, in the same text.
    """
    script = (STATIC / library).read_text(encoding="utf-8")
    return (
        f"const {name} = (() => {{ const module = {{ exports: {{}} }}, exports = module.exports;"
        f"\n{script}\nreturn module.exports; }})();\n{(STATIC / own).read_text(encoding='utf-8')}"
    )


class SurveyMap(anywidget.AnyWidget):
    """A map of one or more linked views on a survey's layers, in the survey's CRS.

    `tmp.survey.Survey.map` makes one.  What is shown and drawn can be read and set from the
    notebook, and observed as any widget's traits are.
    """

    _esm = page_code("leaflet.js", "map.js", "L")
    _css = (STATIC / "leaflet.css").read_text() + (STATIC / "map.css").read_text()

    views = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    """Keys of the layers that are on, for each view, the lowest first."""
    opacity = traitlets.Dict().tag(sync=True)
    """By key, from 0 to 1; 1 where nothing is said."""
    swipe = traitlets.Bool(False).tag(sync=True)
    """Whether the uppermost layer of each view is cut at a line that can be moved."""
    light = traitlets.List([315.0, 35.0, 1.0]).tag(sync=True)
    """Azimuth and elevation in degrees, and by how much heights are drawn out."""
    drawn = traitlets.List(traitlets.Dict()).tag(sync=True)
    """What has been drawn: GeoJSON geometries in the survey's CRS, with ``id``, ``name`` and
    ``said``, the measure in words."""
    height_px = traitlets.Int(480).tag(sync=True)
    look = traitlets.List(traitlets.Float()).tag(sync=True)
    """x, y and the width in metres to look at; empty for all of it."""
    _layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    _grid = traitlets.Dict().tag(sync=True)
    _stills = traitlets.List(traitlets.Dict()).tag(sync=True)
    """A small picture of each view, to be there while the kernel is at work on other cells."""

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        views: Sequence[Sequence[str]] = (),
        products: Mapping[str, Path] | None = None,
        scale_sigma: float = 0.0,
        **state: Any,
    ) -> None:
        self._by_key = {layer.key: layer for layer in layers}
        self._products = dict(products or {})
        self._scale_sigma = scale_sigma
        self._pyramid = Pyramid.over([layer.grid for layer in layers])
        chosen = [list(view) for view in views] or [[layers[0].key]]
        if len(chosen) > MOST_VIEWS:
            raise InputError(f"{len(chosen)} views beside each other; give at most {MOST_VIEWS}")
        for key in (key for view in chosen for key in view):
            if key not in self._by_key:
                raise InputError(f"no layer {key!r}; there are {', '.join(self._by_key)}")
        super().__init__(
            views=chosen,
            _layers=[_told(layer) for layer in layers],
            _grid=_described(self._pyramid),
            **state,
        )
        self.on_msg(_answer)

    def add(
        self,
        key: str,
        values: Any,
        *,
        title: str | None = None,
        unit: str = "",
        grid: Grid | None = None,
        style: Style | None = None,
        colours: tuple[str, ...] | None = None,
        lit: bool = False,
    ) -> None:
        """Lay what a notebook has computed over the map, in every view; replaces one of its key.

        Parameters
        ----------
        key : str
        values : xarray.DataArray, tmp.Raster or ndarray of shape (rows, cols)
            One band; an ndarray needs its `grid`.
        title, unit : str, optional
        grid : Grid, optional
        style : Style, optional
            Colours and their values; by default a stretch to the values, over `colours`.
        colours : tuple of str, optional
            ``#rrggbb`` from the low to the high end.
        lit : bool
            Whether the values are heights that light falls on.
        """
        band, lies = _band_of(values, grid)
        if style is None and not (lit and colours is None):
            style = stretched(band, unit, colours) if colours else stretched(band, unit)
        layer = Layer(
            key=key, title=title or key, grid=lies, unit=unit, values=band, style=style, lit=lit
        )
        known = key in self._by_key
        self._by_key[key] = layer
        told = [one for one in self._layers if one["key"] != key]
        version = 1 + max((one["version"] for one in self._layers if one["key"] == key), default=0)
        self._layers = [*told, _told(layer) | {"version": version}]
        if not known:
            self.views = [[*view, key] for view in self.views]

    @property
    def bounds(self) -> Bounds:
        """``(x_min, y_min, x_max, y_max)`` of all that can be shown."""
        return self._pyramid.bounds

    @property
    def crs(self) -> str | None:
        """CRS of the map and of what is drawn on it."""
        return self._pyramid.crs

    def go_to(self, x: float, y: float, width_m: float = 50.0) -> None:
        """Look at a place in the survey's CRS, with so many metres from left to right."""
        self.look = [float(x), float(y), float(width_m)]

    @property
    def geometries(self) -> list[BaseGeometry]:
        """What has been drawn, as shapely geometries in the survey's CRS."""
        return [shapely.geometry.shape(one["geometry"]) for one in self.drawn]

    def lines(self) -> list[shapely.LineString]:
        """Return the lines that have been drawn."""
        return [one for one in self.geometries if isinstance(one, shapely.LineString)]

    def polygons(self) -> list[shapely.Polygon]:
        """Return the areas that have been drawn."""
        return [one for one in self.geometries if isinstance(one, shapely.Polygon)]

    def draw(self, geometry: BaseGeometry, name: str = "") -> None:
        """Add a point, line or area to what has been drawn."""
        described = shapely.geometry.mapping(geometry)
        said = self._measured(described)
        number = 1 + max((int(one["id"]) for one in self.drawn), default=0)
        self.drawn = [
            *self.drawn,
            {"id": number, "name": name, "geometry": _plain(described), "said": said},
        ]

    def save(self, path: Path) -> None:
        """Write what has been drawn to a GeoPackage; one that `save` wrote is replaced.

        Raises `InputError` if nothing has been drawn, or the file is something else.
        """
        write_annotations(path, self.drawn, self._pyramid.crs)

    def load(self, path: Path) -> None:
        """Show what was saved, if there is such a file; raises `InputError` if it is another's."""
        if path.exists():
            for one in read_annotations(path):
                self.draw(shapely.geometry.shape(one["geometry"]), one["name"])

    def on_drawn(self, call: Callable[[], None]) -> None:
        """Have something called whenever what is drawn changes."""
        self.observe(lambda change: call(), names=["drawn"])

    def picture(self, view: int = 0, longest_px: int = PICTURE_PX) -> Pixels:
        """Return what a view shows of the whole survey, (rows, cols, 4)."""
        grid = self._still_grid(longest_px)
        out = np.full((*grid.shape, 4), 255, np.uint8)
        for key in self.views[view]:
            drawn = self._by_key[key].draw(grid, self._lit_from())
            share = drawn[..., 3:] / 255 * float(self.opacity.get(key, 1.0))
            out[..., :3] = (1 - share) * out[..., :3] + share * drawn[..., :3]
        return out

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Return the widget, and a still picture for where no kernel runs."""
        pictures: list[Pixels] = []
        with suppress(TmpError, OSError):
            pictures = [self.picture(view) for view in range(len(self.views))]
            bounds = list(self._still_grid(PICTURE_PX).bounds)
            self._stills = [
                {"file": file, "type": media_type, "bounds": bounds}
                for file, media_type in map(encoded, pictures)
            ]
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None or not pictures:
            return bundle
        data, metadata = bundle
        file, media_type = encoded(np.hstack(pictures))
        return data | {media_type: base64.b64encode(file).decode("ascii")}, metadata

    def _still_grid(self, longest_px: int) -> Grid:
        west, south, east, north = self._pyramid.bounds
        cell = max(east - west, north - south) / longest_px
        return Grid.from_bounds(self._pyramid.bounds, cell, self._pyramid.crs)

    def _lit_from(self) -> Light:
        azimuth, elevation, exaggeration = (float(value) for value in self.light)
        return Light(azimuth_deg=azimuth, elevation_deg=elevation, exaggeration=exaggeration)

    def tile(self, key: str, level: int, col: int, row: int) -> tuple[bytes, str]:
        """Return one tile of a layer as a picture and its media type, empty where nothing is."""
        layer = self._by_key[key]
        drawn = layer.draw(self._pyramid.tile(level, col, row), self._lit_from())
        return encoded(drawn, exact=layer.exact)

    def values_at(self, x: float, y: float, keys: Sequence[str]) -> list[str]:
        """Return the values of some layers at a place, in words, with their doubt."""
        said, told = [], set()
        for layer in (self._by_key[key] for key in keys if key in self._by_key):
            name = LIT.get(layer.key, layer.key)
            values = layer.at(x, y)
            if layer.is_picture or not values or name in told:
                continue
            told.add(name)
            said.append(f"{layer.title.partition(',')[0]}: {self._value(name, layer, x, y)}")
        return said

    def _value(self, name: str, layer: Layer, x: float, y: float) -> str:
        (value,) = layer.at(x, y)
        style = layer.style
        if layer.exact and style is not None:
            at = int(np.searchsorted(np.array(style.values), value))
            return style.labels[min(at, len(style.labels) - 1)]
        doubt = self._by_key.get(f"{name}_sigma")
        sigma = doubt.at(x, y) if doubt else []
        return f"{with_doubt(value, sigma[0] if sigma else None)} {layer.unit}".strip()

    def _measured(self, geometry: Mapping[str, Any]) -> str:
        surface = next((name for name in ("dsm", "dtm") if name in self._products), None)
        if surface is None:
            return ""
        try:
            return str(
                measure_geometry(self._products, geometry, surface, scale_sigma=self._scale_sigma)
            )
        except TmpError as error:
            return str(error)


def _answer(widget: SurveyMap, asked: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
    """Answer a message of the page; what fails is said to the page, and in the log."""
    del buffers
    answer: dict[str, Any] = {"id": asked.get("id")}
    sent: list[bytes] = []
    try:
        match asked.get("kind"):
            case "tile":
                at = (int(asked[name]) for name in ("level", "col", "row"))
                file, answer["type"] = widget.tile(str(asked["key"]), *at)
                sent = [file]
            case "values":
                answer["said"] = widget.values_at(asked["x"], asked["y"], asked["keys"])
            case "measure":
                answer["said"] = widget._measured(asked["geometry"])
    except Exception as error:  # the page waits for an answer, and the kernel goes on
        log.warning("the map could not answer %s: %s", asked.get("kind"), error)
        answer["error"] = str(error)
    widget.send(answer, sent)


def blank_map(
    crs: str, x: float, y: float, *, width_m: float = 1000.0, step_m: float = 50.0
) -> SurveyMap:
    """Return an empty map, with a net of lines, to draw on where there is no picture yet.

    Parameters
    ----------
    crs : str
        Projected, in metres.
    x, y : float
        Its middle.
    width_m : float
        Side of the square it shows.
    step_m : float
        Distance of the lines, at whole multiples of it.
    """
    half = math.ceil(width_m / 2 / step_m) * step_m
    west, north = (round(at / step_m) * step_m for at in (x - half, y + half))
    cell = step_m / 25
    side = round(2 * half / cell)
    grid = Grid(crs=crs, x_min=west, y_max=north, cell_m=cell, rows=side, cols=side)
    on_line = np.arange(side) % 25 == 0
    net = np.where(on_line[:, None] | on_line[None, :], 0.0, 1.0).astype(np.float32)
    style = Style(values=(0.0, 1.0), colours=("#b9c1c6", "#ffffff"), labels=("", ""))
    title = f"Lines every {step_m:g} m"
    return SurveyMap([Layer(key="net", title=title, grid=grid, values=net, style=style)])


def file_map(path: Path, crs: str | None = None) -> SurveyMap:
    """Return a map of a GeoTIFF of your own, in its CRS or in another; see `open_file`."""
    return SurveyMap([open_file(path, crs)])


def _band_of(values: Any, grid: Grid | None) -> tuple[NDArray[np.float32], Grid]:
    """Return one band (rows, cols), NaN where nothing is, and where it lies."""
    if hasattr(values, "rio"):  # an xarray.DataArray
        array = values.squeeze(drop=True)
        transform = array.rio.transform()
        grid = Grid(
            crs=array.rio.crs.to_string() if array.rio.crs else None,
            x_min=transform.c,
            y_max=transform.f,
            cell_m=transform.a,
            rows=array.shape[-2],
            cols=array.shape[-1],
        )
        band = np.asarray(array.values)
    elif hasattr(values, "grid"):  # a Raster
        band, grid = values.values[0], values.grid
    else:
        band = np.ma.asanyarray(values)
    band = np.ma.filled(band.astype(np.float32), np.nan)
    if grid is None or band.shape != grid.shape:
        raise InputError(
            f"values of shape {band.shape} have no grid of that shape; give one band with its grid"
        )
    return band, grid


def _told(layer: Layer) -> dict[str, Any]:
    """Return what the page has to know of a layer."""
    style, legend = layer.style, []
    if style is not None:
        legend = [
            {"colour": colour, "label": label}
            for colour, label in zip(style.colours, style.labels, strict=True)
        ]
    return {
        "key": layer.key,
        "title": layer.title,
        "lit": layer.lit,
        "picture": layer.is_picture,
        "ramp": style is not None and style.kind == "ramp",
        "legend": legend,
        "version": 0,
    }


def _described(pyramid: Pyramid) -> dict[str, Any]:
    return {
        "crs": pyramid.crs or "",
        "unit": "m" if pyramid.crs else "units",
        "x": pyramid.x_min,
        "y": pyramid.y_max,
        "cell": pyramid.cell_m * 2.0**pyramid.levels,
        "levels": pyramid.levels,
        "deeper": DEEPER,
        "tile": TILE,
        "bounds": list(pyramid.bounds),
    }


def _plain(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a geometry with lists in place of tuples, as the page gives it."""

    def listed(value: Any) -> Any:
        return [listed(one) for one in value] if isinstance(value, tuple | list) else value

    return {"type": geometry["type"], "coordinates": listed(geometry["coordinates"])}
