"""A QGIS project of the products: one file that opens them all, styled and in groups.

Paths in it are relative to the survey's folder, so that it opens wherever the folder lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from pyproj import CRS

from flows.products.band_stack import products_by_group
from flows.products.cameras import GEOJSON
from flows.products.sidecars import PROJECT, line_renderer, renderer_of
from flows.products.table import CONTOURS, ORTHOMOSAIC, Kind, Product
from tmp.files import replacing
from tmp.geo.rasters import read_grid
from tmp.survey import Survey

MARGIN = 0.03
"""About the map when the project is opened, as a share of its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A layer of the project."""

    name: str
    """QGIS gives those of ten letters or fewer another one, and no longer finds them."""
    title: str
    path: str
    """Relative to the project's file."""
    group: str
    crs: str | None
    style: str
    """What draws it, as QGIS has it; empty where QGIS chooses well by itself."""
    raster: bool
    shown: bool

    def in_tree(self) -> str:
        provider = "gdal" if self.raster else "ogr"
        checked = "Qt::Checked" if self.shown else "Qt::Unchecked"
        return (
            f"<layer-tree-layer id={quoteattr(self.name)} name={quoteattr(self.title)} "
            f'providerKey="{provider}" source={quoteattr(self.path)} checked="{checked}" '
            f'expanded="0"/>'
        )

    def described(self) -> str:
        kind = 'type="raster"' if self.raster else 'type="vector"'
        style = f"<pipe>{self.style}</pipe>" if self.raster and self.style else self.style
        provider = "gdal" if self.raster else "ogr"
        return (
            f"<maplayer {kind}><id>{escape(self.name)}</id>"
            f"<datasource>{escape(self.path)}</datasource>"
            f"<layername>{escape(self.title)}</layername>{_srs('srs', self.crs)}"
            f"<provider>{provider}</provider>{style}</maplayer>"
        )


def write_project(survey: Survey) -> Path | None:
    """Write ``survey.qgs`` of the products that are there; returns its path, None without any."""
    layers = list(_layers(survey))
    path = survey.folder / PROJECT
    main = next((one for one in layers if one.raster), None)
    if main is None:
        path.unlink(missing_ok=True)
        return None
    groups: dict[str, list[_Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.group, []).append(layer)
    with replacing(path) as temporary:
        temporary.write_text(_document(survey, main, groups), encoding="utf-8", newline="\n")
    return path


def _layers(survey: Survey) -> Iterator[_Layer]:
    """Yield the layers, those on top first."""
    products_dir, folder = survey.products_dir, survey.products_dir.name
    rasters: list[tuple[str, Product]] = [
        (group, product)
        for group, products in products_by_group(products_dir).items()
        for product in products
        if (products_dir / product.file).exists()
    ]
    crs = read_grid(products_dir / rasters[0][1].file).crs if rasters else None
    if (products_dir / GEOJSON).exists() and crs is not None:
        yield _Layer(
            name="survey_layer_cameras",
            title="Where the photographs were taken",
            path=f"./{folder}/{GEOJSON}",
            group="Photographs",
            crs="EPSG:4326",
            style="",
            raster=False,
            shown=False,
        )
    if (products_dir / CONTOURS.file).exists():
        yield _Layer(
            name="survey_layer_contours",
            title=CONTOURS.title,
            path=f"./{folder}/{CONTOURS.file}",
            group="Heights",
            crs=crs,
            style=line_renderer(),
            raster=False,
            shown=False,
        )
    for group, product in rasters:
        path = products_dir / product.file
        yield _Layer(
            name=f"survey_layer_{product.name}".replace("/", "_"),
            title=product.title,
            path=f"./{folder}/{product.file}",
            group=group,
            crs=crs,
            style=renderer_of(path, product),
            raster=True,
            shown=product is ORTHOMOSAIC or product.kind is Kind.INDEX,
        )


def _document(survey: Survey, main: _Layer, groups: Mapping[str, Sequence[_Layer]]) -> str:
    """Return the project's XML."""
    x_min, y_min, x_max, y_max = read_grid(survey.folder / main.path).bounds
    margin = MARGIN * max(x_max - x_min, y_max - y_min)
    name = survey.folder.resolve().name
    tree = "".join(
        f'<layer-tree-group name={quoteattr(group)} checked="Qt::Checked" '
        f'expanded="{int(group in ("Picture", "Relief"))}">'
        f"{''.join(layer.in_tree() for layer in layers)}</layer-tree-group>"
        for group, layers in groups.items()
    )
    everything = [layer for layers in groups.values() for layer in layers]
    extent = "".join(
        f"<{key}>{value!r}</{key}>"
        for key, value in (
            ("xmin", x_min - margin),
            ("ymin", y_min - margin),
            ("xmax", x_max + margin),
            ("ymax", y_max + margin),
        )
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.16" projectname={quoteattr(name)}>'
        f"<title>{escape(name)}</title>{_srs('projectCrs', main.crs)}"
        f"<layer-tree-group>{tree}</layer-tree-group>"
        '<mapcanvas name="theMapCanvas"><units>meters</units>'
        f"<extent>{extent}</extent>{_srs('destinationsrs', main.crs)}</mapcanvas>"
        f"<projectlayers>{''.join(layer.described() for layer in everything)}</projectlayers>"
        '<properties><Paths><Absolute type="bool">false</Absolute></Paths><SpatialRefSys>'
        '<ProjectionsEnabled type="int">1</ProjectionsEnabled></SpatialRefSys></properties>'
        "</qgis>\n"
    )


def _srs(tag: str, crs: str | None) -> str:
    """Return a CRS as QGIS reads it; nothing for a map without a place."""
    if crs is None:
        return ""
    wkt = escape(CRS.from_user_input(crs).to_wkt())
    return (
        f"<{tag}><spatialrefsys><wkt>{wkt}</wkt><authid>{escape(crs)}</authid></spatialrefsys>"
        f"</{tag}>"
    )
