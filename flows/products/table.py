"""The products of a map: file names, what each is for, how it is shown, and what was put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from pathlib import Path

from flows.engine.result import content_digest
from tmp.files import Stamps

PUBLISHED = ".published.json"
"""File below ``products/`` that remembers what was put there."""
VIEWER, VIEWER_PAGE = "viewer", "index.html"
"""Folder below ``products/`` that shows them in a browser, and its page."""
EDITED = "edited"
"""Folder below ``products/`` of products that were changed after they were put there."""


class Kind(StrEnum):
    """How a product is drawn."""

    PICTURE = "picture"
    HEIGHT = "height"
    DOUBT = "doubt"
    COUNT = "count"
    SHARE = "share"
    CLASS = "class"
    CLOUD = "cloud"
    MODEL = "model"
    INDEX = "index"
    BANDS = "bands"
    FIXED = "fixed"
    """By fixed steps, so that colours compare from survey to survey."""
    LINES = "lines"


class GroundClass(IntEnum):
    """What a pixel of the orthomosaic stands on."""

    NOTHING = 0
    MEASURED = 1
    BRIDGED = 2
    CONTINUED = 3
    WATER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownClass:
    """A value of a raster of classes, and how it is shown."""

    value: int
    name: str
    colour: str
    """``#rrggbb``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One file below ``products/``."""

    file: str
    title: str
    purpose: str
    """What a person opens it for, in one sentence."""
    kind: Kind
    bands: tuple[str, ...] = ()
    unit: str = ""
    shown: tuple[float, float] = (0.0, 1.0)
    """Ends of an index's colour bar."""
    ramp: str = ""
    """Colours of an index; see `flows.products.colours.RAMPS`."""
    classes: tuple[ShownClass, ...] = ()
    """Of a raster of classes, 0 being nothing; or of counts, the last one and more."""
    steps: tuple[float, ...] = ()
    """Values that its colours stand for."""
    told: Mapping[str, str] = field(default_factory=dict)
    """What it rests on, by topic, for catalogue and report."""

    def unit_in(self, crs: object) -> str:
        """Return the unit of its values in a CRS; a map without one has no metres.

        Examples
        --------
        >>> DSM.unit_in("EPSG:32615"), DSM.unit_in(None)
        ('m', 'units')
        """
        return "units" if self.unit == "m" and not crs else self.unit

    @property
    def name(self) -> str:
        """What it is called below ``products/``.

        Examples
        --------
        >>> DSM.name, VAT.name
        ('dsm', 'relief/vat')
        """
        return self.file.rpartition(".")[0]

    @property
    def is_raster(self) -> bool:
        """Whether it is a GeoTIFF."""
        return self.kind not in (Kind.CLOUD, Kind.MODEL, Kind.LINES)

    @property
    def media_type(self) -> str:
        """IANA media type, for the catalogue."""
        if self.kind is Kind.CLOUD:
            return f"application/vnd.laszip{'+copc' if '.copc.' in self.file else ''}"
        if self.kind is Kind.MODEL:
            return "model/gltf-binary"
        if self.kind is Kind.LINES:
            return "application/geopackage+sqlite3"
        return "image/tiff; application=geotiff; profile=cloud-optimized"


SURFACE_TILE, MOSAIC_TILE, REFLECTANCE_TILE = 512, 1536, 1024
"""Side of the tiles, in cells, by which surface, orthomosaic and reflectance are made."""

ORTHOMOSAIC = Product(
    file="orthomosaic.tif",
    title="Orthomosaic",
    purpose="The photographs as one picture that can be measured like a map.",
    kind=Kind.PICTURE,
    bands=("red", "green", "blue", "alpha"),
)
GROUND_CLASSES = Product(
    file="ground.tif",
    title="What the picture stands on",
    purpose="Where the orthomosaic is drawn on measured ground, where on ground continued "
    "beyond it, and where on level water.",
    kind=Kind.CLASS,
    bands=("ground",),
    classes=(
        ShownClass(value=GroundClass.MEASURED, name="measured", colour="#4daf4a"),
        ShownClass(value=GroundClass.BRIDGED, name="gap closed from about it", colour="#ffd92f"),
        ShownClass(value=GroundClass.CONTINUED, name="continued, not measured", colour="#e41a1c"),
        ShownClass(value=GroundClass.WATER, name="water, as drawn", colour="#377eb8"),
    ),
)
REFLECTANCE = Product(
    file="reflectance.tif",
    title="Reflectance",
    purpose="The share of light that each place returned, band by band; indices are made of it.",
    kind=Kind.BANDS,
)
DSM = Product(
    file="dsm.tif",
    title="Surface model",
    purpose="Height of whatever the camera saw first: ground, walls, plants, roofs.",
    kind=Kind.HEIGHT,
    bands=("height",),
    unit="m",
)
DSM_SIGMA = Product(
    file="dsm_sigma.tif",
    title="Doubt of the surface",
    purpose="Standard deviation of each height, from comparing photographs; mask with it before "
    "you measure.",
    kind=Kind.DOUBT,
    bands=("standard deviation",),
    unit="m",
)
DSM_VIEWS = Product(
    file="dsm_views.tif",
    title="Views of the surface",
    purpose="Number of photographs that agree on each height; 0 where none speaks for it and a "
    "small gap was closed from about it.",
    kind=Kind.COUNT,
    bands=("views",),
    classes=(  # as the overlap of photographs is drawn; one alone gives no height
        ShownClass(value=0, name="none: small gap, closed from about it", colour="#8d8d8d"),
        ShownClass(value=2, name="2", colour="#ef8a62"),
        ShownClass(value=3, name="3", colour="#fddbc7"),
        ShownClass(value=4, name="4", colour="#d1e5f0"),
        ShownClass(value=5, name="5", colour="#67a9cf"),
        ShownClass(value=6, name="6 or more", colour="#2166ac"),
    ),
)
DSM_CONFIDENCE = Product(
    file="dsm_confidence.tif",
    title="Confidence of the surface",
    purpose="How alike the photographs look at each height, from 0 to 1.",
    kind=Kind.SHARE,
    bands=("correlation",),
)
DTM = Product(
    file="dtm.tif",
    title="Terrain model",
    purpose="Height of the bare ground: houses, cars, trees and bushes are taken away, and the "
    "ground below them is interpolated.",
    kind=Kind.HEIGHT,
    bands=("height",),
    unit="m",
)
DTM_SIGMA = Product(
    file="dtm_sigma.tif",
    title="Doubt of the terrain",
    purpose="Standard deviation of each height of the terrain model; it grows with the distance "
    "over which the ground was interpolated.",
    kind=Kind.DOUBT,
    bands=("standard deviation",),
    unit="m",
)
HEIGHT_ABOVE_GROUND = Product(
    file="height_above_ground.tif",
    title="Height above ground",
    purpose="How high what stands on the ground rises above it: the surface less the terrain.",
    kind=Kind.FIXED,
    bands=("height above ground",),
    unit="m",
    ramp="rising",
    steps=(0.0, 0.25, 0.5, 1.0, 3.0, 10.0),
)
HEIGHT_ABOVE_GROUND_SIGMA = Product(
    file="height_above_ground_sigma.tif",
    title="Doubt of heights above ground",
    purpose="Standard deviation of each height above ground, from those of surface and terrain.",
    kind=Kind.DOUBT,
    bands=("standard deviation",),
    unit="m",
)
SLOPE = Product(
    file="slope.tif",
    title="Slope",
    purpose="Slope of the terrain model in degrees.",
    kind=Kind.FIXED,
    bands=("slope",),
    unit="°",
    ramp="rising",
    steps=(0.0, 5.0, 10.0, 20.0, 35.0, 60.0),
)
CONTOURS = Product(
    file="contours.gpkg",
    title="Contours",
    purpose="Lines of equal height of the terrain model; bold ones are marked.",
    kind=Kind.LINES,
)
CLOUD = Product(
    file="cloud.laz",
    title="Point cloud",
    purpose="The surface as coloured points with normals, and whether each is ground, a plant or a "
    "building; for CloudCompare and its like.",
    kind=Kind.CLOUD,
)
CLOUD_COPC = Product(
    file="cloud.copc.laz",
    title="Point cloud in levels",
    purpose="The point cloud as COPC, of which QGIS and web viewers read only what they show.",
    kind=Kind.CLOUD,
)
MODEL = Product(
    file="model.glb",
    title="3D model",
    purpose="The ground with its picture on it, to turn around in any viewer of 3D models.",
    kind=Kind.MODEL,
)
REQUESTED_MODEL = "model-"
"""How the names of models begin that ``tmp model`` makes of a map."""
MODEL_SIDES = "sides.jpg"
"""File in the results of the model: how it looks from its four sides, one below the other."""

PRODUCTS = (
    ORTHOMOSAIC,
    GROUND_CLASSES,
    REFLECTANCE,
    DSM,
    DSM_SIGMA,
    DSM_VIEWS,
    DSM_CONFIDENCE,
    DTM,
    DTM_SIGMA,
    HEIGHT_ABOVE_GROUND,
    HEIGHT_ABOVE_GROUND_SIGMA,
    CLOUD,
    CLOUD_COPC,
    MODEL,
)
RELIEF_DIR = "relief"
"""Folder below ``products/`` of the pictures of relief."""


def _grey(
    name: str, title: str, purpose: str, ends: tuple[float, float], unit: str = ""
) -> Product:
    """Return a picture of relief from black to white between two values."""
    return Product(
        file=f"{RELIEF_DIR}/{name}.tif",
        title=title,
        purpose=purpose,
        kind=Kind.FIXED,
        bands=(title.lower(),),
        unit=unit,
        ramp="grey" if ends[0] < ends[1] else "grey_turned",
        steps=tuple(min(ends) + abs(ends[1] - ends[0]) * k / 5 for k in range(6)),
    )


HILLSHADE = _grey("hillshade", "Hillshade", "The ground lit from the north-west.", (0.0, 1.0))
MULTI_HILLSHADE = Product(
    file=f"{RELIEF_DIR}/multi_hillshade.tif",
    title="Hillshade from three sides",
    purpose="Red light from the north-west, green from the north, blue from the east: walls show "
    "whichever way they run.",
    kind=Kind.PICTURE,
    bands=("red", "green", "blue", "alpha"),
)
RELIEF_SLOPE = _grey(
    "slope",
    "Slope, sharp",
    "Steepness from neighbouring cells alone, steep being dark: for looking, not for measuring.",
    (50.0, 0.0),
    "°",
)
SKY_VIEW_FACTOR = _grey(
    "sky_view_factor",
    "Sky-view factor",
    "How much of the sky each place sees: ditches and the feet of walls are dark.",
    (0.7, 1.0),
)
POSITIVE_OPENNESS = _grey(
    "positive_openness",
    "Openness, positive",
    "Mean angle from the zenith down to the horizon: crests are bright.",
    (68.0, 93.0),
    "°",
)
NEGATIVE_OPENNESS = _grey(
    "negative_openness",
    "Openness, negative",
    "The same of the ground turned upside down: hollows and the feet of walls are dark.",
    (93.0, 68.0),
    "°",
)
LOCAL_DOMINANCE = _grey(
    "local_dominance",
    "Local dominance",
    "How far a person standing there looks down on the ground about: faint rises are bright.",
    (0.7, 1.5),
)
LOCAL_RELIEF = Product(
    file=f"{RELIEF_DIR}/local_relief.tif",
    title="Local relief",
    purpose="Height above the mean of the ground about: rises are red, hollows blue.",
    kind=Kind.FIXED,
    bands=("height above the surroundings",),
    unit="m",
    ramp="about",
    steps=(-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5),
)
VAT = _grey(
    "vat",
    "Relief, blended",
    "Hillshade, slope, openness and sky-view factor in one picture: the first to look at for "
    "walls, banks and ditches.",
    (0.0, 1.0),
)
RELIEF = (
    VAT,
    HILLSHADE,
    MULTI_HILLSHADE,
    RELIEF_SLOPE,
    SKY_VIEW_FACTOR,
    POSITIVE_OPENNESS,
    NEGATIVE_OPENNESS,
    LOCAL_DOMINANCE,
    LOCAL_RELIEF,
)
"""Pictures of relief, which ``tmp relief`` makes of a map's heights."""
GROUPS: Mapping[str, tuple[Product, ...]] = {
    "Picture": (ORTHOMOSAIC,),
    "Relief": RELIEF,
    "Heights": (DSM, DTM, HEIGHT_ABOVE_GROUND, SLOPE),
    "Doubt": (DSM_SIGMA, DSM_VIEWS, DSM_CONFIDENCE, GROUND_CLASSES),
}
"""Rasters that are shown as layers of a map, in groups; indices come before the doubt."""
ON_REQUEST = (SLOPE, CONTOURS, *RELIEF)
"""Products that ``tmp terrain`` and ``tmp relief`` make of a map's heights."""


def requested_models(products_dir: Path) -> list[Product]:
    """Return the models that ``tmp model`` made of a map, as far as they are there."""
    return [
        replace(MODEL, file=path.name, title=f"3D model, {path.stem.removeprefix(REQUESTED_MODEL)}")
        for path in sorted(products_dir.glob(f"{REQUESTED_MODEL}*.glb"))
    ]


def product_stamps(products_dir: Path) -> Stamps:
    """Return what is remembered of the products that were put into a folder."""
    return Stamps(path=products_dir / PUBLISHED, folder=products_dir, digest=content_digest)
