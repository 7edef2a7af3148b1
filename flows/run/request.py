"""What is asked of a survey, how it is run, here or by a service, and what a run leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.engine.cost import Quality
from flows.execution.cluster_profile import WITHOUT_SHARES, Profile, read_profile
from tmp.captures import HeightUse
from tmp.errors import InputError, require_range
from tmp.survey import Survey
from tmp.threads import SERVICE

if TYPE_CHECKING:
    from flows.engine.store import Result
    from flows.report.verdict import Verdict


NO_MODEL = "none"
MODEL_DETAILS = (NO_MODEL, "low", "normal", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """What is asked of a map."""

    quality: Quality = Quality.NORMAL
    area_file: Path | None = None
    """Polygon to crop the products to."""
    water_file: Path | None = None
    """Polygons of water, within which no height is called measured."""
    ortho_gsd_m: float | None = None
    """Cell of the orthomosaic; None for the photographs' own."""
    fill: bool = False
    """Whether holes in the surface are closed by interpolation."""
    heights: HeightUse = HeightUse.AUTO
    """Whether recorded GNSS heights give the map its tilt and height."""
    position_sigma_m: tuple[float, float] | None = None
    """Standard deviation of positions, horizontal and vertical; None for those recorded."""
    model_detail: str = "normal"
    """How much of the detail the 3D model keeps, of `MODEL_DETAILS`; ``none`` makes no model."""
    model_sides: bool = True
    """Whether what stands is measured from its sides as well; else it goes straight down."""
    place: int | None = None
    """Of several places that the photographs are of, the one to map; None for the one chosen
    before."""
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
        if self.model_detail not in MODEL_DETAILS:
            raise InputError(
                f"model detail {self.model_detail!r}; give one of {', '.join(MODEL_DETAILS)}"
            )
        if self.workers < 1:
            raise InputError(f"{self.workers} workers; give at least 1")

    def in_words(self) -> dict[str, str]:
        """Return the options as the report shows them."""
        gsd = self.ortho_gsd_m
        return {
            "quality": str(self.quality),
            "area": "all" if self.area_file is None else self.area_file.name,
            "water": "none given" if self.water_file is None else self.water_file.name,
            "cell of the orthomosaic": "as the photographs" if gsd is None else f"{100 * gsd:g} cm",
            "holes": "filled" if self.fill else "left empty",
            "3D model": f"{self.model_detail} detail" if self.model_detail != NO_MODEL else "none",
            "recorded heights": str(self.heights),
            "accuracy of positions": "as recorded"
            if self.position_sigma_m is None
            else "{:g} m horizontally, {:g} m vertically".format(*self.position_sigma_m),
            "workers": str(self.workers),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """What is asked of the indices of a survey."""

    indices: tuple[str, ...] = ()
    """Names of the table."""
    formulas: tuple[tuple[str, str], ...] = ()
    """Names and expressions of one's own."""
    zones_file: Path | None = None
    """Polygons to summarise the indices in."""
    picture: bool = False
    """Whether to take the orthomosaic although there is reflectance."""
    mask_shadow: bool = False
    """Whether to leave out cells in shadow."""
    relative: bool = False
    """Whether to compute what needs reflectance from values of unknown level."""
    workers: int = 1
    """Threads; never changes the result."""

    def __post_init__(self) -> None:
        if not self.indices and not self.formulas:
            raise InputError("no index asked for; give --index NDVI, or --formula NAME=EXPRESSION")

    def as_values(self) -> list[dict[str, str]]:
        """Return what is asked for, JSON-able."""
        table = [{"name": name, "formula": ""} for name in dict.fromkeys(self.indices)]
        return table + [{"name": name, "formula": text} for name, text in self.formulas]


@dataclass(frozen=True, slots=True, kw_only=True)
class TerrainOptions:
    """What is asked of a map's bare ground."""

    contours: bool = False
    """Whether to draw contour lines."""
    interval_m: float | None = None
    """Height between them; None for one that suits relief and doubt."""
    slope: bool = False
    """Whether to write the slope."""
    workers: int = 1
    """Threads; never changes the result."""

    def __post_init__(self) -> None:
        require_range(self, "interval_m", above=0, most=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What is asked of a model of a map that is there."""

    detail: str = "normal"
    """How much of the detail it keeps, of `MODEL_DETAILS` without ``none``."""
    sides: bool = True
    """Whether what stands is measured from its sides as well; else it goes straight down."""
    area_file: Path | None = None
    """Polygons that it is cut to; None for the whole map."""
    obj: bool = False
    """Whether it is written as OBJ as well."""
    tiles3d: bool = False
    """Whether 3D Tiles are made as well."""
    workers: int = 1
    """Threads; never changes the result."""

    def __post_init__(self) -> None:
        if self.detail not in MODEL_DETAILS[1:]:
            raise InputError(
                f"model detail {self.detail!r}; give one of {', '.join(MODEL_DETAILS[1:])}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndicesResult:
    """What was made."""

    survey: Survey
    paths: tuple[Path, ...]
    """The index rasters, in the order asked for."""
    zone_paths: tuple[Path, ...]
    report_path: Path | None
    """None where the survey has no map whose report could be written."""
    warnings: tuple[str, ...]


ORIENTED = "orientation"
"""Name of the stage that all products build on."""


class Part(StrEnum):
    """A part of a run; each can be run without those after it."""

    INGEST = "ingest"
    ORIENT = "orient"
    PRODUCTS = "products"
    INDICES = "indices"


class Where(StrEnum):
    """Where the stages run."""

    THREADS = "threads"
    """On threads of this process."""
    LOCAL = "local"
    """In processes of this machine."""
    SLURM = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a survey is run; none of it changes a result."""

    on: Where = Where.LOCAL
    profile: Profile | None = None
    """Of the cluster; None for its defaults."""
    strict: bool = False
    """Whether a tile that cannot be made stops the run, rather than leaving a named hole."""
    retry_holes: bool = False
    """Whether the holes of earlier runs are tried again."""

    @property
    def used_profile(self) -> Profile:
        """The profile, or what serves where none was given."""
        if self.profile is not None:
            return self.profile
        return Profile() if self.on is Where.SLURM else WITHOUT_SHARES

    @property
    def tries_holes(self) -> bool:
        """Whether a result with holes counts as not there."""
        return self.strict or self.retry_holes

    @property
    def command(self) -> str:
        """What a person would call the run."""
        return "'tmp map'" if self.on is Where.THREADS else "'tmp run'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRequest:
    """What is asked of a survey."""

    map: MapOptions = field(default_factory=MapOptions)
    cards: tuple[Path, ...] = ()
    """Folders of photographs to take in first."""
    link: bool = False
    """Whether photographs are linked rather than copied."""
    crs: str | None = None
    """Of the products; None for the survey's own."""
    indices: IndexOptions | None = None
    """None: the one that the bands are first looked at by, if there is any."""
    until: Part = Part.INDICES
    """The last part that is run."""

    def reaches(self, part: Part) -> bool:
        """Tell whether a part is asked for."""
        order = list(Part)
        return order.index(part) <= order.index(self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyResult:
    """What a run left behind."""

    survey: Survey
    results: tuple[Result, ...] = ()
    """Of the stages, in their order."""
    report_path: Path | None = None
    """None where the run ended before the products."""
    indices: IndicesResult | None = None
    verdict: Verdict | None = None
    """How the map came out; None where the run ended before the products."""

    def folder_of(self, stage: str) -> Path:
        """Return the folder of a stage's results."""
        return next(result.folder for result in self.results if result.stage == stage)

    @property
    def holes(self) -> dict[str, Mapping[str, str]]:
        """The tiles of each stage that could not be made, and why."""
        return {result.stage: result.holes for result in self.results if result.holes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is settled for all runs that Prefect starts, by whoever starts the service.

    Who may reach the server may ask for runs, so what could make a run do anything else is not
    theirs to choose: the folder of surveys, where cards may be, the cluster and its profile.
    """

    surveys: Path | None = None
    """Folder of the surveys; no run works outside it.  None: any may be run."""
    cards: tuple[Path, ...] = ()
    """Folders below which a run may take photographs in, beside that of the surveys."""
    on: Literal["local", "slurm"] = "local"
    profile_path: Path | None = None
    """The cluster's ``cluster.toml``."""
    workers: int = 1
    """Threads and cores of a run on this machine."""

    def to_text(self) -> str:
        """Return the service as JSON, with whole paths."""
        return json.dumps(asdict(self), default=lambda path: str(path.resolve()))

    @classmethod
    def from_text(cls, text: str) -> Service:
        """Return the service that `to_text` wrote."""
        said = json.loads(text)
        paths = {name: Path(said[name]) for name in ("surveys", "profile_path") if said[name]}
        return cls(**said | paths | {"cards": tuple(map(Path, said["cards"]))})

    def survey(self, name: str) -> Path:
        """Return the folder of a survey, given by its name or path.

        Raises
        ------
        InputError
            If it is not below the folder of surveys.
        """
        if self.surveys is None:
            return Path(name)
        root = self.surveys.resolve()
        folder = (root / name).resolve()
        if folder == root or not folder.is_relative_to(root):
            raise InputError(f"{name}: not a survey below {root}, which is all this service runs")
        return folder

    def readable(self, name: str) -> Path:
        """Return a card, or the file of an area or of water, that a run may read.

        Raises
        ------
        InputError
            If it lies neither where cards may be nor below the folder of surveys.
        """
        if self.surveys is None:
            return Path(name)
        path = (self.surveys / name).resolve()
        roots = [root.resolve() for root in (self.surveys, *self.cards)]
        if not any(path.is_relative_to(root) for root in roots):
            raise InputError(
                f"{name}: this service reads below {', '.join(map(str, roots))} only; start it "
                "with --cards for other folders"
            )
        return path

    def options(self) -> RunOptions:
        """Return how its runs are run."""
        path = self.profile_path
        profile = None if path is None else read_profile(path)
        return RunOptions(on=Where(self.on), profile=profile)


def service_of_process() -> Service:
    """Return the service that this process belongs to; without one, any survey may be run."""
    if SERVICE in os.environ:
        return Service.from_text(os.environ[SERVICE])
    return Service(workers=os.cpu_count() or 1)
