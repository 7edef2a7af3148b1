"""The survey: a folder that a person can read, what lies in it, and its ``survey.toml``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit
from pyproj.exceptions import ProjError
from tomlkit.exceptions import TOMLKitError

from tmp.cameras import Camera
from tmp.captures import Capture, HeightDatum, choose_captures, read_captures
from tmp.errors import InputError, NotASurveyError, VersionError, require_range, shown
from tmp.files import build, flush_to_disk, read_toml, replacing, subtables, table
from tmp.geo.frames import LocalFrame

if TYPE_CHECKING:
    import xarray

    from tmp.explore.map_widget import SurveyMap
    from tmp.explore.measuring import Line, Measurement, Profile
    from tmp.explore.model_widget import ModelView
    from tmp.geo.grids import Tile
    from tmp.geo.rasters import Bounds, Raster
    from tmp.reconstruction import Reconstruction

StrPath = str | os.PathLike[str]
"""A path, or a `Survey`, which stands for its folder."""
FORMAT = 1
"""Version of the folder's layout; raised when an older platform could misread it."""

_TEMPLATE = """\
# A survey of the Terrestrial Mapping Platform.
# Edit freely: commands keep your values, your comments and keys they do not know.
"""

_CAMERA_KEYS = tuple(f.name for f in fields(Camera) if f.name != "camera_id")

ORIENTATION = "orientation"
"""Stage whose results hold a reconstruction."""
PRODUCT_SUFFIXES = (".tif", ".laz")
JUPYTER = "pip install 'terrestrial-mapping-platform[jupyter]'"
"""What has a person explore surveys in Jupyter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One survey's folder: where things lie in it, and what they say.

    Nothing is kept in memory: each property reads the folder anew, so it stays true while commands
    work there.  A survey can be given wherever a path to its folder can.

    Examples
    --------
    >>> import tmp
    >>> survey = tmp.open_survey("farm")
    >>> survey.crs
    'EPSG:32627'
    >>> list(survey.products)
    ['dsm', 'ndvi', 'orthomosaic']
    >>> survey.quality["photographs_oriented"], len(survey.captures)
    (2, 3)
    >>> dsm = survey.read("dsm", (587710, 7109420, 587720, 7109425))
    >>> dsm.values.shape, dsm.grid.cell_m
    ((1, 10, 20), 0.5)
    >>> print(f"{dsm.values.mean():.2f} {dsm.units[0]}")
    12.00 m
    """

    folder: Path
    """Where all of it lies."""

    def __fspath__(self) -> str:
        return os.fspath(self.folder)

    @property
    def captures(self) -> tuple[Capture, ...]:
        """Photographs with all verdicts, those of ``survey.toml`` included.

        Raises `InputError` if none has been taken in.
        """
        settings = read_settings(self)
        captures = read_captures(self.gpkg_path)
        if not captures:
            raise InputError(f"{self.folder}: no photographs yet; add some with 'tmp ingest'")
        return tuple(
            choose_captures(captures, keep=settings.keep, drop=settings.drop, place=settings.place)
        )

    @property
    def crs(self) -> str | None:
        """Projected CRS of the products; None until known, or for a survey without positions."""
        return read_settings(self).crs

    @property
    def products(self) -> Mapping[str, Path]:
        """Products that are there, by name: rasters, and ``cloud``, which laspy reads.

        Pictures of relief have names such as ``relief/vat``.
        """
        root = self.products_dir
        found = (
            path
            for suffix in PRODUCT_SUFFIXES
            for folder in (root, root / "relief")
            for path in folder.glob(f"*{suffix}")
        )
        return {
            path.relative_to(root).with_suffix("").as_posix(): path
            for path in sorted(found)
            if not path.name.startswith(".")
        }

    def read(self, product: str, window: Bounds | Tile | None = None) -> Raster:
        """Return a product's cells and where they lie.

        Parameters
        ----------
        product : str
            One of `products`, such as "dsm" or "ndvi".
        window : (x_min, y_min, x_max, y_max) or Tile, optional
            In the product's CRS, grown to whole cells; or in cells.  It is cut at the edges of
            the product; by default all of it is read.

        Raises
        ------
        InputError
            If the product is not there or not a raster, or the window lies beside it.
        """
        from tmp.geo.rasters import read_raster

        return read_raster(self._raster(product), window)

    def array(self, product: str, cell_m: float | None = None) -> xarray.DataArray:
        """Return a product as an xarray array (band, y, x) that reads what is used of it.

        Parameters
        ----------
        product : str
            One of `products`.
        cell_m : float, optional
            Coarsest cell that will do: an overview is opened if one fits.

        Raises
        ------
        InputError
            If the product is not there or not a raster, or the extra "jupyter" is not installed.

        Examples
        --------
        >>> dsm = open_survey("farm").array("dsm")
        >>> dsm.dims, dsm.shape
        (('band', 'y', 'x'), (1, 30, 60))
        >>> float(dsm.sel(x=slice(587710, 587715), y=slice(7109425, 7109420)).mean())
        12.0
        """
        with _jupyter_needed():
            from tmp.explore.arrays import open_array

            return open_array(self._raster(product), cell_m)

    def profile(self, line: Line, product: str = "dsm", step_m: float | None = None) -> Profile:
        """Return a product's values, and their standard deviations, along a line.

        Parameters
        ----------
        line : shapely LineString, GeoJSON geometry, or places (N, 2)
            In the survey's CRS.
        product : str
        step_m : float, optional
            Distance of neighbouring places on the map; by default the product's cell.

        Raises
        ------
        InputError
            If the product is not there, or the line is none.

        Notes
        -----
        Values are bilinear between cell centres, and NaN where one of these has none.  So are the
        standard deviations: neighbouring heights err together, and their mean is no surer.

        Examples
        --------
        >>> west_east = [(587702, 7109420), (587712, 7109420)]
        >>> profile = open_survey("farm").profile(west_east)
        >>> len(profile.values), float(profile.values.mean())
        (21, 12.0)
        """
        from tmp.explore.measuring import measure_profile

        return measure_profile(self.products, line, product, step_m)

    def measure(
        self, drawn: Line, product: str = "dsm", *, pointing_m: float | None = None
    ) -> Measurement:
        """Return length and rise of a line, area of a polygon, or height of a point, with doubt.

        Parameters
        ----------
        drawn : shapely geometry, GeoJSON geometry, or places (N, 2)
            In the survey's CRS.
        product : str
            Whose heights are taken.
        pointing_m : float, optional
            Standard deviation of each corner that was pointed at, in x and in y; by default a
            pixel of the orthomosaic.

        Raises
        ------
        InputError
            If the product is not there, or nothing that can be measured was drawn.

        Notes
        -----
        The doubt has two parts: how well corners were pointed at, and how well the map knows its
        scale (``scale_sigma`` of `quality`).  What the eye takes for a wall's edge is not in it.

        Examples
        --------
        >>> measured = open_survey("farm").measure([(587702, 7109420), (587712, 7109420)])
        >>> f"{measured.length_m:.3f} {measured.length_sigma_m:.2f}"
        '10.003 0.71'
        """
        from tmp.explore.measuring import measure_geometry

        return measure_geometry(
            self.products, drawn, product, pointing_m=pointing_m, scale_sigma=self._scale_sigma
        )

    def map(
        self,
        *views: str | Sequence[str],
        swipe: bool = False,
        height_px: int = 480,
        layers: Sequence[str] = (),
    ) -> SurveyMap:
        """Return a map of the products for a notebook: views that move together, in the CRS.

        Parameters
        ----------
        *views : str or sequence of str
            For each view the layers that are on, the lowest first: products, "hillshade" or
            "hillshade_dtm".  By default one view of the first layer there is.
        swipe : bool
            Whether the uppermost layer is cut at a line that can be moved.
        height_px : int
        layers : sequence of str, optional
            Layers that may be switched on; by default all that are there.

        Raises
        ------
        InputError
            If there is no raster, or not the one asked for, or the extra "jupyter" is not
            installed.
        """
        with _jupyter_needed():
            from tmp.explore.layers import open_layers
            from tmp.explore.map_widget import SurveyMap

        products = dict(self.products)
        return SurveyMap(
            open_layers(products, layers),
            views=[[view] if isinstance(view, str) else view for view in views],
            products=products,
            scale_sigma=self._scale_sigma,
            swipe=swipe,
            height_px=height_px,
        )

    def view_model(self, *, height_px: int = 520) -> ModelView:
        """Return the 3D model for a notebook: turned, lit from any side, cut by a plane.

        Raises
        ------
        InputError
            If there is no model, or the extra "jupyter" is not installed.
        """
        with _jupyter_needed():
            from tmp.explore.model_widget import ModelView

        path = self.products_dir / "model.glb"
        if not path.exists():
            raise InputError(f"{path}: no 3D model; make it with 'tmp map --model normal'")
        return ModelView(path, height_px=height_px)

    @property
    def _scale_sigma(self) -> float:
        """Standard deviation of the map's scale, as a fraction; 0 where it is not known."""
        try:
            return float(self.quality.get("scale_sigma") or 0.0)
        except InputError:
            return 0.0

    def _raster(self, product: str) -> Path:
        found = self.products
        if product not in found:
            there = f"there are {', '.join(found)}" if found else "'tmp map' makes them"
            raise InputError(f"{self.folder}: no product {product!r}; {there}")
        return found[product]

    @property
    def quality(self) -> Mapping[str, Any]:
        """How the map came out: ``products/quality.json``, explained in ``docs/survey-folder.md``.

        Raises `InputError` if there is no map.
        """
        older = self.folder / self.quality_path.name  # where earlier versions wrote it
        there = older.exists() and not self.quality_path.exists()
        return self._of_map(older if there else self.quality_path)

    @property
    def reconstruction(self) -> Reconstruction:
        """Orientation that the products were made with.

        Raises `InputError` if there is no map, or ``work/`` has been deleted.
        """
        from tmp.reconstruction import read_reconstruction

        folders = [Path(name) for name in self._of_map(self.map_path)["results"]]
        oriented = (folder for folder in folders if folder.parent.name == ORIENTATION)
        return read_reconstruction(self.work_dir / next(oriented))

    def _of_map(self, path: Path) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{path}: not there; 'tmp map {self.folder}' writes it") from error
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error}); run 'tmp map' again") from error
        return document

    @property
    def toml_path(self) -> Path:
        """What was asked: name, CRS, cameras, options."""
        return self.folder / "survey.toml"

    @property
    def photos_dir(self) -> Path:
        """Ingested photographs, verified copies or links, never changed."""
        return self.folder / "photos"

    @property
    def manifest_path(self) -> Path:
        """SHA-256 of each photograph, as ``sha256sum`` writes and checks it."""
        return self.folder / "photos.sha256"

    @property
    def plan_dir(self) -> Path:
        """Mission files and their proof of coverage."""
        return self.folder / "plan"

    @property
    def gpkg_path(self) -> Path:
        """One row per photograph; see `tmp.captures`."""
        return self.folder / "survey.gpkg"

    @property
    def work_dir(self) -> Path:
        """Intermediate results, safe to delete."""
        return self.folder / "work"

    @property
    def map_path(self) -> Path:
        """Which results the products were made of, and what was asked."""
        return self.work_dir / "map.json"

    @property
    def products_dir(self) -> Path:
        """Orthomosaic, surface, point cloud."""
        return self.folder / "products"

    @property
    def report_path(self) -> Path:
        """The self-contained report."""
        return self.folder / "report.html"

    @property
    def quality_path(self) -> Path:
        """How the map came out, in figures."""
        return self.products_dir / "quality.json"

    @property
    def catalog_path(self) -> Path:
        """Static STAC catalogue over the products."""
        return self.folder / "catalog.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``survey.toml`` says."""

    name: str
    crs: str | None = None
    """Projected CRS of the products; None until known, or for an unreferenced survey."""
    origin: tuple[float, float, float] | None = None
    """Longitude, latitude (degrees) and height (m) of the local frame's zero."""
    cameras: dict[str, Camera]
    """Interior orientation priors by camera id."""
    vertical_datum: HeightDatum = HeightDatum.UNKNOWN
    """What the heights of positions and products are measured from."""
    keep: tuple[str, ...] = ()
    """Photographs a person wants used whatever their flags; names may hold ``*``."""
    drop: tuple[str, ...] = ()
    """Photographs a person wants left out; names may hold ``*``."""
    place: int | None = None
    """Of several places that the photographs are of, the one to map; None as long as none is
    chosen."""

    @property
    def frame(self) -> LocalFrame:
        """The survey's local frame; unreferenced when it has no CRS or origin."""
        return LocalFrame(origin=self.origin, crs=self.crs if self.origin else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """The table ``[origin]``."""

    longitude_deg: float
    latitude_deg: float
    height_m: float

    def __post_init__(self) -> None:
        require_range(self, "height_m", least=-12_000, most=100_000)
        if not (-180 <= self.longitude_deg <= 180 and -90 <= self.latitude_deg <= 90):
            raise InputError(
                f"longitude {self.longitude_deg!r}, latitude {self.latitude_deg!r} is not on Earth"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What the table of a camera cannot do without."""

    width_px: int
    height_px: int
    fx_px: float


@contextmanager
def _jupyter_needed() -> Iterator[None]:
    """Say how to install what the block needs and is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name}: not installed; for Jupyter, {JUPYTER}") from error


def create_survey(root: StrPath, *, name: str | None = None) -> Survey:
    """Make a survey folder, or open the one that is there.

    Raises
    ------
    NotASurveyError
        If `root` is a file, or holds files but no ``survey.toml``.
    VersionError
        If it is a survey made by a newer version.
    """
    root = Path(root)
    survey = Survey(folder=root)
    refuse_other_folder(root)
    if survey.toml_path.is_file():
        return survey
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{root}: the folder cannot be made ({error.strerror}); give another"
        ) from error
    write_settings(survey, Settings(name=name or root.resolve().name, cameras={}))
    return survey


def refuse_other_folder(root: StrPath) -> None:
    """Refuse what is neither a survey nor a folder that one can be made in, as `create_survey`."""
    root = Path(root)
    unused = is_unused(root)  # first, as another command may make the survey at this moment
    if (root / "survey.toml").is_file():
        open_survey(root)
    elif root.exists() and not root.is_dir():
        raise NotASurveyError(f"{root}: is a file, not a survey folder; give a new folder")
    elif not unused:
        raise NotASurveyError(
            f"{root}: an output folder that is not a survey (it holds files but no survey.toml); "
            "give a new or empty folder"
        )


def is_unused(folder: Path) -> bool:
    """Tell whether a folder is not there, or holds nothing but hidden files and a command's lock.

    The lock of whoever is about to fill the folder lies in its ``work/`` before anything else.
    """
    work = Survey(folder=folder).work_dir
    others = [path for path in folder.glob("*") if path != work]
    others += [path for path in work.glob("*") if not path.name.startswith("lock")]
    return all(path.name.startswith(".") for path in others)


def open_survey(root: StrPath) -> Survey:
    """Open an existing survey folder.

    Raises
    ------
    NotASurveyError
        If there is no ``survey.toml`` in it, or one of something else.
    VersionError
        If it was made by a newer version.

    Examples
    --------
    >>> open_survey("farm").toml_path.name
    'survey.toml'
    """
    root = Path(root)
    survey = Survey(folder=root)
    if not survey.toml_path.is_file():
        missing = "does not exist" if not root.exists() else "is not a survey (no survey.toml)"
        raise NotASurveyError(f"{root}: {missing}; make one with 'tmp ingest PHOTOS --to {root}'")
    _checked(survey)
    return survey


def read_settings(survey: Survey) -> Settings:
    """Read ``survey.toml``; raises as `open_survey` does.

    A value that cannot be understood is an `InputError` whose message names the key.
    """
    document, where = _checked(survey), str(survey.toml_path)
    origin = None
    if "origin" in document:
        said = table(document, "origin", where)
        origin = astuple(build(_Origin, said, f"{where}: origin", strict=False))
    cameras = {
        key: _camera(key, entry, f"{where}: cameras.{key}")
        for key, entry in subtables(document, "cameras", where).items()
    }
    said = {"name": survey.folder.resolve().name} | document | table(document, "photographs", where)
    settings = build(Settings, said, where, strict=False, origin=origin, cameras=cameras)
    try:
        _ = settings.frame  # refuses a CRS that is not metric while the file is at hand
    except (InputError, ProjError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}; correct it") from error
    return settings


def write_settings(survey: Survey, settings: Settings) -> None:
    """Write ``survey.toml``, touching only values that differ from what it says.

    Comments, order and keys the platform does not know stay as people left them.
    """
    if survey.toml_path.is_file():
        _checked(survey)
        document = _editable(survey.toml_path)
    else:
        document = tomlkit.parse(_TEMPLATE)
        document["format"] = FORMAT
    _put(document, "name", settings.name)
    _put(document, "crs", settings.crs)
    _put(document, "vertical_datum", str(settings.vertical_datum))
    if settings.origin is None:
        document.pop("origin", None)
    else:
        origin = document.setdefault("origin", tomlkit.table())
        for field, value in zip(fields(_Origin), settings.origin, strict=True):
            _put(origin, field.name, value)
    if settings.keep or settings.drop or settings.place or "photographs" in document:
        photographs = document.setdefault("photographs", tomlkit.table())
        _put(photographs, "keep", list(settings.keep))
        _put(photographs, "drop", list(settings.drop))
        _put(photographs, "place", settings.place)
    _put_cameras(document, settings.cameras)
    with replacing(survey.toml_path) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8", newline="\n")
        flush_to_disk(temporary)


def _checked(survey: Survey) -> dict[str, Any]:
    """Read ``survey.toml`` and refuse what is not a survey of this version or older."""
    path = survey.toml_path
    if not path.exists():
        raise NotASurveyError(f"{survey.folder}: is not a survey (no survey.toml)")
    document = read_toml(path)
    version = document.get("format")
    if not isinstance(version, int) or version < 1:
        raise NotASurveyError(f"{path}: not a survey's settings (no 'format' key)")
    if version > FORMAT:
        raise VersionError(
            f"{survey.folder}: survey made by a newer version (format {shown(version)}, this "
            f"version knows {FORMAT}); update the platform"
        )
    return document


def _editable(path: Path) -> tomlkit.TOMLDocument:
    """Read a TOML file with its comments and its order."""
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except (TOMLKitError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be edited ({said}); write it more simply") from error


def _camera(camera_id: str, entry: Mapping[str, Any], where: str) -> Camera:
    """Read one camera; fy, and the principal point, may be left to their usual values."""
    size = build(_Size, entry, where, strict=False)
    usual = {"fy_px": size.fx_px, "cx_px": size.width_px / 2, "cy_px": size.height_px / 2}
    return build(Camera, usual | dict(entry), where, strict=False, camera_id=camera_id)


def _put(table: MutableMapping[str, Any], key: str, value: Any) -> None:
    """Set a value only if it differs, so that untouched lines keep their form and comments."""
    if value is None:
        table.pop(key, None)
    elif table.get(key) != value:
        table[key] = value


def _put_cameras(document: tomlkit.TOMLDocument, cameras: Mapping[str, Camera]) -> None:
    if not cameras:
        document.pop("cameras", None)
        return
    table = document.setdefault("cameras", tomlkit.table(is_super_table=True))
    for stale in set(table) - set(cameras):
        del table[stale]
    for camera_id, camera in cameras.items():
        entry = table.setdefault(camera_id, tomlkit.table())
        for key in _CAMERA_KEYS:
            _put(entry, key, getattr(camera, key))
