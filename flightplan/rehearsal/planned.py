"""Rehearse a plan: what its mission files would photograph, proved again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import shape

from flightplan.coverage.routes import NADIR_DEG
from flightplan.equipment.catalogue import CameraModel, Catalogue, narrowest
from flightplan.formats.mission import HeightReference, Mission, Photo, photos_along
from flightplan.formats.mission_files import (
    PLAN_FILE,
    PLAN_VERSION,
    read_mission,
    sortie_plans,
)
from flightplan.plan.request import FLAT_CELL_M
from flightplan.proof.certificate import Asked, Certificate, certify
from flightplan.proof.footprints import GroundCells, Photos, choose_cell, measure_laps
from flightplan.proof.prove import Coverage, prove
from flightplan.terrain.profiles import profile_along
from flightplan.terrain.terrain import Terrain, bounds_about, read_terrain
from tmp.errors import InputError, VersionError
from tmp.geo.frames import PlanFrame
from tmp.progress import Track, silent
from tmp.survey import Survey

Float = NDArray[np.float64]

ROOM_M = 1.0
"""Ground known beyond waypoints that were moved out of what the plan knew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlownPlan:
    """A plan as its mission files have it, edited by hand or not."""

    missions: tuple[Mission, ...]
    photos: tuple[tuple[Photo, ...], ...]
    """Of each mission."""
    frame: PlanFrame
    terrain: Terrain
    camera: CameraModel
    summary: dict[str, Any]
    """What was asked, see `flightplan.outputs.plan_folder.summary`."""


def read_plan(survey: Survey, catalogue: Catalogue) -> FlownPlan:
    """Read the sorties of a survey's plan as they would be flown.

    Raises
    ------
    InputError
        If there is no plan, a file is malformed, or the elevation model is gone.
    VersionError
        If a newer platform wrote it.
    """
    path = survey.plan_dir / PLAN_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{survey.folder}: holds no plan; make one with 'tmp plan'") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); plan again") from error
    if summary.get("version") != PLAN_VERSION:
        raise VersionError(f"{path}: version {summary.get('version')!r}; this platform reads 1")
    files = sortie_plans(survey.plan_dir).values()
    if not files:
        raise InputError(f"{survey.plan_dir}: holds no sortie-1.plan; plan again")
    missions = tuple(read_mission(file) for file in files)
    frame = PlanFrame(lon_deg=summary["frame"][0], lat_deg=summary["frame"][1])
    places = frame.plan_from_geodetic(
        [(point.lon_deg, point.lat_deg) for one in missions for point in one.waypoints]
    )
    known = np.reshape(summary["bounds"], (2, 2))
    moved = np.reshape(bounds_about(places, ROOM_M), (2, 2))
    bounds = bounds_about(np.vstack([known, moved]), 0.0)
    if summary["dem"] is None:
        terrain = Terrain.flat(bounds, cell_m=FLAT_CELL_M)
    else:
        terrain = read_terrain(Path(summary["dem"]), frame, bounds, datum=summary["dem_datum"])
    return FlownPlan(
        missions=missions,
        photos=tuple(tuple(photos_along(one)) for one in missions),
        frame=frame,
        terrain=terrain,
        camera=narrowest(catalogue.camera(key) for key in summary["cameras"]),
        summary=summary,
    )


def prove_flown(
    plan: FlownPlan, *, cell_m: float | None = None, workers: int = 1, track: Track = silent
) -> tuple[Certificate, Coverage]:
    """Judge a plan's mission files by what was asked of it, on cells as `choose_cell` has them."""
    summary, frame, terrain = plan.summary, plan.frame, plan.terrain
    area = frame.to_plan(shape(summary["area"]))
    for each in summary["exclusions"]:
        area = area.difference(frame.to_plan(shape(each)))
    photos = _placed(plan)
    camera = plan.camera.camera()
    cell_m = cell_m or choose_cell(summary["photo_spacing_m"], area)
    ground = GroundCells.over(area, terrain, cell_m, crs=frame.crs)
    coverage = prove(photos, camera, ground, workers=workers, track=track)
    height, band = summary["height_agl_m"], summary["band_m"]
    asked = Asked(
        photographs=summary["views"],
        gsd_m=summary["gsd_m"],
        frontlap=summary["frontlap"],
        sidelap=summary["sidelap"],
        least_height_agl_m=height - band,
        most_height_agl_m=height + band,
        clearance_m=height - band,
    )
    certificate = certify(
        asked,
        coverage,
        laps=measure_laps(photos, camera, terrain, regular=photos.pitch_deg == NADIR_DEG),
        profiles=[
            profile_along(
                _way(plan, mission),
                terrain,
                surveying=[one.photo_spacing_m > 0 for one in mission.waypoints[:-1]],
            )
            for mission in plan.missions
        ],
        photographs=len(photos),
        frame=frame,
        terrain=terrain.datum,
    )
    return replace(certificate, level_assumed=plan.summary["dem"] is None), coverage


def _placed(plan: FlownPlan) -> Photos:
    """Return all photographs in plan coordinates."""
    rows, lines, first = [], [], 0
    for mission, photos in zip(plan.missions, plan.photos, strict=True):
        home_m = ground_of(plan, mission)
        xy = plan.frame.plan_from_geodetic([(one.lon_deg, one.lat_deg) for one in photos])
        rows += [
            (x, y, home_m + one.height_m, one.heading_deg, one.gimbal_pitch_deg)
            for (x, y), one in zip(xy, photos, strict=True)
        ]
        lines += [first + one.line for one in photos]
        first = lines[-1] + 1
    x, y, z, heading, pitch = np.array(rows).T
    position = np.column_stack([x, y, z])
    return Photos(position=position, heading_deg=heading, pitch_deg=pitch, line=np.array(lines))


def _way(plan: FlownPlan, mission: Mission) -> Float:
    xy = plan.frame.plan_from_geodetic([(p.lon_deg, p.lat_deg) for p in mission.waypoints])
    home_m = ground_of(plan, mission)
    return np.column_stack([xy, [home_m + p.height_m for p in mission.waypoints]])


def ground_of(plan: FlownPlan, mission: Mission) -> float:
    """Return the height of the ground at a mission's take-off, which its heights start from.

    Raises
    ------
    InputError
        If the mission does not say where it takes off, or measures heights from elsewhere.
    """
    if mission.takeoff is None or mission.height_reference is not HeightReference.TAKEOFF:
        raise InputError(
            f"{mission.name}: heights are not above a known take-off point; plan again"
        )
    place = mission.takeoff.lon_deg, mission.takeoff.lat_deg
    (ground,) = plan.terrain.at(plan.frame.plan_from_geodetic([place]))
    return float(ground)
