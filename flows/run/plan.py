"""What a map of a survey is made of, in which steps, and where its products are put.

A later stage joins by being listed in `STEPS`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from flows.engine.cost import Raster, SurveySize, of_tiles, survey_size
from flows.engine.result import digest_of
from flows.engine.stage import Order, Stage
from flows.engine.store import Input, Known, Result, StageStore
from flows.products.table import PRODUCTS
from flows.stages.inputs import SURVEY, Step, refuse_distant_area
from flows.stages.orientation import FEATURES, MATCHES, ORIENTATION
from flows.stages.orthomosaic import EXPOSURE, MOSAIC_TILE, make_orthomosaic
from flows.stages.reflectance import REFLECTANCE, has_bands
from flows.stages.surface import SURFACE_TILE, make_cloud, measure_surface, write_elevation
from ingest.metadata.bands import FILE as CAMERAS_FILE
from ingest.radiometry.panel_table import FILE as PANELS_FILE
from tmp.captures import Capture, CaptureKind, HeightUse
from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.areas import read_area
from tmp.survey import Settings, Survey, open_survey, read_settings

SURFACE = Stage(
    name="surface",
    version="4",
    function=measure_surface,
    needs=of_tiles(
        cpus=2,
        raster=Raster.SURFACE,
        base_gb=0.8,
        gb_per_cpu=0.2,
        cpu_s_per_tile=9.0,
        end_s_per_tile=0.3,
        shared_side=SURFACE_TILE,
    ),
)
ELEVATION = Stage(
    name="elevation",
    version="3",
    function=write_elevation,
    needs=of_tiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.1, cpu_s_per_tile=1.0),
)
ORTHOMOSAIC = Stage(
    name="orthomosaic",
    version="6",
    function=make_orthomosaic,
    needs=of_tiles(
        cpus=2,
        raster=Raster.ORTHO,
        base_gb=0.8,
        gb_per_cpu=0.15,
        gb_per_megapixel=0.018,
        cpu_s_per_tile=0.6,
        end_s_per_tile=0.15,
        end_cpus=4,
        shared_side=MOSAIC_TILE,
    ),
)
CLOUD = Stage(
    name="cloud",
    version="1",
    function=make_cloud,
    needs=of_tiles(cpus=2, raster=Raster.SURFACE, base_gb=0.7, gb_per_cpu=0.1, cpu_s_per_tile=1.0),
)

STEPS = (
    Step(stage=FEATURES, options=("quality",)),
    Step(stage=MATCHES, needs=("features",), options=("quality",)),
    Step(
        stage=ORIENTATION,
        needs=("features", "matches"),
        options=("quality", "heights", "position_sigma_m"),
    ),
    Step(stage=EXPOSURE, needs=("orientation",), options=("quality",)),
    Step(stage=SURFACE, needs=("orientation",), options=("quality", "area_wkt")),
    Step(stage=ELEVATION, needs=("surface",), options=("fill", "area_wkt")),
    Step(
        stage=ORTHOMOSAIC,
        needs=("orientation", "exposure", "surface"),
        options=("quality", "area_wkt", "ortho_gsd_m"),
    ),
    Step(stage=CLOUD, needs=("elevation", "orthomosaic")),
)

ORIENTED = ORIENTATION.name
"""The step that all products build on."""

BAND_STEPS = (
    Step(
        stage=REFLECTANCE,
        needs=("orientation", "surface"),
        options=("quality", "area_wkt", "calibration"),
    ),
)
"""What follows for a survey with photographs of single bands."""

MAP_FILES = tuple(product.file for product in PRODUCTS)


def steps_for(captures: Sequence[Capture]) -> tuple[Step, ...]:
    """Return the steps of a survey's map, in their order."""
    return STEPS + (BAND_STEPS if has_bands(captures) else ())


class Quality(StrEnum):
    """How much work is spent on detail."""

    FAST = "fast"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """What is asked of a map."""

    quality: Quality = Quality.NORMAL
    area_file: Path | None = None
    """Polygon to crop the products to."""
    ortho_gsd_m: float | None = None
    """Cell of the orthomosaic; None for the photographs' own."""
    fill: bool = False
    """Whether holes in the surface are closed by interpolation."""
    heights: HeightUse = HeightUse.AUTO
    """Whether recorded GNSS heights give the map its tilt and height."""
    position_sigma_m: tuple[float, float] | None = None
    """Standard deviation of positions, horizontal and vertical; None for those recorded."""
    workers: int = 1
    """Threads; never changes the result."""

    def __post_init__(self) -> None:
        if self.ortho_gsd_m is not None and not 0.001 <= self.ortho_gsd_m <= 100:
            raise InputError(
                f"orthomosaic cell of {self.ortho_gsd_m!r} m; give metres between 0.001 and 100"
            )
        if self.position_sigma_m is not None and not all(
            0.001 <= sigma_m <= 1e4 for sigma_m in self.position_sigma_m
        ):
            raise InputError(
                f"position sigma of {self.position_sigma_m!r} m; give two values between 0.001 and "
                "10000, horizontal and vertical"
            )
        if self.workers < 1:
            raise InputError(f"{self.workers} workers; give at least 1")

    def in_words(self) -> dict[str, str]:
        """Return the options as the report shows them."""
        gsd = self.ortho_gsd_m
        return {
            "quality": str(self.quality),
            "area": "all" if self.area_file is None else self.area_file.name,
            "cell of the orthomosaic": "as the photographs" if gsd is None else f"{100 * gsd:g} cm",
            "holes": "filled" if self.fill else "left empty",
            "recorded heights": str(self.heights),
            "accuracy of positions": "as recorded"
            if self.position_sigma_m is None
            else "{:g} m horizontally, {:g} m vertically".format(*self.position_sigma_m),
            "workers": str(self.workers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """What a map will be made of, and in which steps."""

    survey: Survey
    settings: Settings
    captures: Sequence[Capture]
    """With all verdicts applied."""
    steps: Sequence[Step]
    values: Mapping[str, Any]
    """The options that stages know, JSON-able."""
    retry_holes: bool = False
    """Whether results with holes count as not there."""

    @property
    def size(self) -> SurveySize:
        """What the cost of the map depends on."""
        return survey_size(
            self.captures,
            self.settings.cameras,
            quality=self.values["quality"],
            ortho_gsd_m=self.values["ortho_gsd_m"],
        )

    @property
    def store(self) -> StageStore:
        """Where results are kept."""
        return StageStore(root=self.survey.work_dir / "stages", retry_holes=self.retry_holes)

    def order(self, step: Step, results: Mapping[str, Result]) -> Order:
        """Return the order of a step, given the results of those before it."""
        digest = survey_digest(self.settings, self.captures)
        inputs: dict[str, Input] = {SURVEY: Known(path=self.survey.folder, digest=digest)}
        inputs |= {name: results[name].known for name in step.needs}
        return self.store.order(
            step.stage, inputs, {name: self.values[name] for name in step.options}
        )


def plan_map(
    root: Path,
    options: MapOptions,
    *,
    steps: Sequence[Step] | None = None,
    retry_holes: bool = False,
) -> MapPlan:
    """Return what a map will be made of, refusing what cannot be mapped; computes nothing."""
    survey = open_survey(root)
    settings = read_settings(survey)
    captures = survey.captures
    _refuse_too_few(survey, captures)
    values = _option_values(options, settings, captures)
    values["calibration"] = calibration_digest(survey, captures)
    return MapPlan(
        survey=survey,
        settings=settings,
        captures=captures,
        steps=steps_for(captures) if steps is None else steps,
        values=values,
        retry_holes=retry_holes,
    )


def survey_digest(settings: Settings, captures: Sequence[Capture]) -> str:
    """Digest what of a survey can change its map: photographs used, their positions, cameras.

    Names and remarks may change without work being done again; the photographs' own content is
    known from their ingest.
    """
    told = {"source", "time_evidence", "position_source", "reason", "flags", "sharpness"}
    used = [
        {key: str(value) for key, value in asdict(capture).items() if key not in told}
        for capture in sorted(captures, key=lambda capture: capture.name)
        if capture.used
    ]
    cameras = {key: asdict(camera) for key, camera in settings.cameras.items()}
    return digest_of(
        {"used": used, "cameras": cameras, "crs": settings.crs, "origin": settings.origin}
    )


def calibration_digest(survey: Survey, captures: Sequence[Capture]) -> str:
    """Digest what of a survey can change its reflectance alone: panels, and what people say."""
    said = {}
    for path in (survey.folder / PANELS_FILE, survey.folder / CAMERAS_FILE):
        said[path.name] = path.read_bytes().hex() if path.is_file() else ""
    panels = sorted((c.name, c.sha256) for c in captures if c.kind is CaptureKind.PANEL)
    return digest_of({"said": said, "panels": panels})


def publish(
    results: Sequence[Result],
    products_dir: Path,
    files: Iterable[str] = MAP_FILES,
) -> list[Path]:
    """Put the stages' products where people look for them; returns their paths.

    A product is the same file as in the store where the disk knows hard links, else a copy.
    """
    products_dir.mkdir(parents=True, exist_ok=True)
    known = set(files)
    published = []
    for result in results:
        for name in sorted(known.intersection(result.files)):
            source, target = result.folder / name, products_dir / name
            published.append(target)
            if target.exists() and target.samefile(source):
                continue
            with replacing(target) as temporary:
                with suppress(OSError):
                    os.link(source, temporary)
                if not temporary.exists():
                    shutil.copyfile(source, temporary)
    return published


def _option_values(
    options: MapOptions, settings: Settings, captures: Sequence[Capture]
) -> dict[str, Any]:
    """Return the options that stages know, JSON-able."""
    return {
        "quality": str(options.quality),
        "area_wkt": None
        if options.area_file is None
        else _area_wkt(options.area_file, settings, captures),
        "ortho_gsd_m": options.ortho_gsd_m,
        "fill": options.fill,
        "heights": str(options.heights),
        "position_sigma_m": None
        if options.position_sigma_m is None
        else list(options.position_sigma_m),
    }


def _area_wkt(path: Path, settings: Settings, captures: Sequence[Capture]) -> str:
    frame = settings.frame
    if frame.crs is None:
        raise InputError(
            f"{path}: the photographs carry no positions, so an area cannot be placed; "
            "leave --area away"
        )
    area = read_area(path).projected(frame.crs)
    places = [
        (capture.longitude_deg, capture.latitude_deg, capture.height_m)
        for capture in captures
        if capture.used and capture.positioned
    ]
    if places:
        geodetic = np.array(places, float)
        positions = frame.map_from_world(frame.world_from_geodetic(geodetic))
        refuse_distant_area(path, area, positions[:, :2])
    return str(area.wkt)


def _refuse_too_few(survey: Survey, captures: Sequence[Capture]) -> None:
    used = sum(capture.used for capture in captures)
    if used < 2:
        said = "no photograph" if used == 0 else "one photograph"
        raise InputError(
            f"{survey.folder}: {said} to map, of {len(captures)} ingested; a map needs at least "
            "two that overlap: add more with 'tmp ingest', or see the flags in survey.gpkg"
        )
