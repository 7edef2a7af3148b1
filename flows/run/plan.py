"""What a map of a survey is made of, and by which stages.

A later stage joins by being listed in `STAGES`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from flows.engine.cost import Quality, SurveySize, survey_size
from flows.engine.result import digest_of
from flows.engine.stage import Recipe, Stage
from flows.engine.store import Input, Known, Result, StageStore
from flows.run.request import NO_MODEL, ORIENTED, MapOptions
from flows.stages.inputs import FARTHEST_M, SURVEY, refuse_distant_area
from flows.stages.model import Model
from flows.stages.orientation import Features, Matches, Orientation
from flows.stages.orthomosaic import Exposure, Orthomosaic
from flows.stages.reflectance import Reflectance, has_bands
from flows.stages.solids import Sides, Solids, Standing
from flows.stages.surface import Cloud, CloudLevels, Elevation, Surface
from flows.stages.terrain import AboveGround, Terrain
from ingest.metadata.bands import FILE as CAMERAS_FILE
from ingest.places import refuse_several_places, settle
from ingest.radiometry.panel_table import FILE as PANELS_FILE
from tmp.captures import Capture, CaptureKind, choose_captures, read_captures
from tmp.errors import InputError
from tmp.geo.areas import MOST_M2, read_area
from tmp.geo.control import LEAST_MARKS, LEAST_POINTS, control_text, read_control
from tmp.survey import Settings, Survey, open_survey, read_settings

STAGES: tuple[type[Stage], ...] = (
    Features,
    Matches,
    Orientation,
    Exposure,
    Surface,
    Elevation,
    Terrain,
    AboveGround,
    Orthomosaic,
    Cloud,
    CloudLevels,
    Standing,
    Sides,
    Solids,
    Model,
)
"""Of the map of any survey, in their order."""
MODEL_STAGES: tuple[type[Stage], ...] = (Standing, Sides, Solids, Model)
"""Those of the 3D model alone."""
BAND_STAGES: tuple[type[Stage], ...] = (Reflectance,)
"""What follows for a survey with photographs of single bands."""


def stages_for(
    captures: Sequence[Capture], quality: Quality = Quality.NORMAL, *, model: bool = True
) -> tuple[type[Stage], ...]:
    """Return the stages of a survey's map, in their order.

    A preview has no terrain, no point cloud and no model; other maps have a model if one is asked
    for.
    """
    preview = quality == Quality.FAST
    left_out: tuple[type[Stage], ...] = ()
    if preview:
        left_out = (Terrain, AboveGround, Cloud, CloudLevels, *MODEL_STAGES)
    if not model:
        left_out = (*left_out, *MODEL_STAGES)
    stages = tuple(stage for stage in STAGES if stage not in left_out)
    return stages + (BAND_STAGES if has_bands(captures) else ())


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """What a map will be made of, and by which stages."""

    survey: Survey
    settings: Settings
    captures: Sequence[Capture]
    """With all verdicts applied."""
    stages: Sequence[type[Stage]]
    """In their order."""
    values: Mapping[str, Any]
    """The options that stages know, JSON-able."""
    digest: str
    """Of what can change the map in the survey itself."""
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

    def recipe(self, stage: type[Stage], results: Mapping[str, Result]) -> Recipe:
        """Return the recipe of a stage, given the results of those before it."""
        inputs: dict[str, Input] = {SURVEY: Known(path=self.survey.folder, digest=self.digest)}
        inputs |= {name: results[name].known for name in stage.after}
        return self.store.recipe(stage, inputs, {name: self.values[name] for name in stage.options})

    def find_results(self) -> dict[str, Result]:
        """Return the results that are there already, by stage.

        What follows a stage whose result is not there is not there either: its inputs are unknown.
        """
        results: dict[str, Result] = {}
        for stage in self.stages:
            if results.keys() >= set(stage.after):
                result = self.store.find(self.recipe(stage, results))
                if result is not None:
                    results[stage.name] = result
        return results

    @property
    def until_oriented(self) -> Sequence[type[Stage]]:
        """The stages up to the one that all products build on."""
        names = [stage.name for stage in self.stages]
        return self.stages[: names.index(ORIENTED) + 1]


def plan_map(
    root: Path,
    options: MapOptions,
    *,
    stages: Sequence[type[Stage]] | None = None,
    retry_holes: bool = False,
) -> MapPlan:
    """Return what a map will be made of, refusing what cannot be mapped; computes nothing."""
    survey = open_survey(root)
    settings, captures = read_settings(survey), read_captures(survey.gpkg_path)
    if options.place or any(capture.place for capture in captures):
        settings = settle(settings, captures, place=options.place or settings.place)
    captures = choose_captures(
        captures, keep=settings.keep, drop=settings.drop, place=settings.place
    )
    _refuse_too_few(survey, captures)
    refuse_several_places(captures, str(survey.folder))
    values = _option_values(options, settings, captures)
    values["calibration"] = calibration_digest(survey, captures)
    values["control"] = _control_text(survey)
    return MapPlan(
        survey=survey,
        settings=settings,
        captures=captures,
        stages=stages_for(captures, options.quality, model=options.model_detail != NO_MODEL)
        if stages is None
        else stages,
        values=values,
        digest=survey_digest(settings, captures),
        retry_holes=retry_holes,
    )


def _control_text(survey: Survey) -> str:
    """Return the control that holds a survey's map; empty while too little of it is marked."""
    control = read_control(survey.folder)
    if control and not control.holds:
        log.warning(
            "the control does not hold the map yet: %d points must be marked in %d photographs "
            "each; 'tmp control %s --mark' makes the page to mark them in",
            LEAST_POINTS,
            LEAST_MARKS,
            survey.folder,
        )
        return ""
    return control_text(control)


def survey_digest(settings: Settings, captures: Sequence[Capture]) -> str:
    """Digest what of a survey can change its map: photographs used, their positions, cameras.

    Names and remarks may change without work being done again; the photographs' own content is
    known from their ingest.
    """
    told = {"source", "time_evidence", "position_source", "reason", "flags", "sharpness", "place"}
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


def _option_values(
    options: MapOptions, settings: Settings, captures: Sequence[Capture]
) -> dict[str, Any]:
    """Return the options that stages know, JSON-able."""
    return {
        "quality": str(options.quality),
        "area_wkt": _polygons_wkt("area", options.area_file, settings, captures),
        "water_wkt": _polygons_wkt("water", options.water_file, settings, captures),
        "ortho_gsd_m": options.ortho_gsd_m,
        "fill": options.fill,
        "model_detail": options.model_detail,
        "model_sides": options.model_sides,
        "heights": str(options.heights),
        "position_sigma_m": None
        if options.position_sigma_m is None
        else list(options.position_sigma_m),
    }


def _polygons_wkt(
    option: str, path: Path | None, settings: Settings, captures: Sequence[Capture]
) -> str | None:
    """Return the polygons of an option's file on the map; None where none is given."""
    if path is None:
        return None
    frame = settings.frame
    if frame.crs is None:
        raise InputError(
            f"{path}: the photographs carry no positions, so polygons cannot be placed; "
            f"leave --{option} away"
        )
    # A layer of waters may be a country's.
    area = read_area(path, most_m2=math.inf if option == "water" else MOST_M2).projected(frame.crs)
    places = [
        (capture.longitude_deg, capture.latitude_deg, capture.height_m)
        for capture in captures
        if capture.used and capture.positioned
    ]
    if places:
        geodetic = np.array(places, float)
        positions = frame.map_from_world(frame.world_from_geodetic(geodetic))
        refuse_distant_area(path, area, positions[:, :2])
        if option == "water":
            parts, taken = shapely.get_parts(area), shapely.multipoints(positions[:, :2])
            area = shapely.multipolygons(parts[shapely.dwithin(parts, taken, FARTHEST_M)])
    return str(area.wkt)


def _refuse_too_few(survey: Survey, captures: Sequence[Capture]) -> None:
    used = sum(capture.used for capture in captures)
    if used < 2:
        said = "no photograph" if used == 0 else "one photograph"
        raise InputError(
            f"{survey.folder}: {said} to map, of {len(captures)} ingested; a map needs at least "
            "two that overlap: add more with 'tmp ingest', or see the flags in survey.gpkg"
        )
