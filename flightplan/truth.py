"""Write what is true of a rehearsal: poses, surface, orthomosaic, NDVI and masks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from flightplan.rehearsal import Shot
from flightplan.scene import Scene
from flightplan.sensor import COLOUR_SENSOR, to_picture
from tmp.cameras import Camera
from tmp.files import replacing
from tmp.frames import LocalFrame
from tmp.grids import Grid

log = logging.getLogger(__name__)


def write_truth(
    folder: Path,
    scene: Scene,
    frame: LocalFrame,
    cameras: Iterable[Camera],
    shots: Iterable[Shot],
    grid: Grid,
    *,
    workers: int = 2,
) -> None:
    """Write the truth of a rehearsal into a folder.

    ``poses.json``, ``dsm.tif`` (highest surface at cell centres), ``wall_height.tif`` (turf walls
    above the ground beside them), ``orthomosaic.tif`` (seen from straight above), ``ndvi.tif``,
    ``masks.tif`` (0 or 1: open ground, turf wall, house, boulder), ``houses.geojson`` (footprints
    in the CRS of the rasters) and, if plates of known reflectance lie in the scene,
    ``targets.geojson`` (corners with height, and reflectance).
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_poses(folder / "poses.json", frame, cameras, shots)
    height, radiance = scene.seen_from_above(grid, workers=workers)
    masks = scene.masks(grid)
    _write_raster(folder / "dsm.tif", height[None], grid, ["height above the ellipsoid, m"])
    _write_raster(folder / "wall_height.tif", scene.wall_height(grid)[None], grid, ["metres"])
    picture = np.moveaxis(to_picture(radiance[..., :3], COLOUR_SENSOR.gain), 2, 0)
    _write_raster(folder / "orthomosaic.tif", picture, grid, ["red", "green", "blue"])
    _write_raster(folder / "ndvi.tif", scene.ndvi(radiance)[None], grid, ["NDVI"])
    stacked = np.stack(list(masks.values())).astype(np.uint8)
    _write_raster(folder / "masks.tif", stacked, grid, list(masks))
    _write_json(folder / "houses.geojson", _footprints(scene, frame))
    if scene.plates:
        _write_json(folder / "targets.geojson", _targets(scene, frame))
    log.info("truth over %d × %d cells written to %s", grid.rows, grid.cols, folder)


def write_poses(
    path: Path, frame: LocalFrame, cameras: Iterable[Camera], shots: Iterable[Shot]
) -> None:
    """Write true interior and exterior orientation, and the recorded positions, as JSON."""
    _write_json(
        path,
        {
            "frame": {"origin": frame.origin, "crs": frame.crs},
            "cameras": {camera.camera_id: asdict(camera) for camera in cameras},
            "photos": [_pose_entry(shot, frame) for shot in shots],
        },
    )


def _pose_entry(shot: Shot, frame: LocalFrame) -> dict[str, Any]:
    pose, tags = shot.station.pose, shot.tags
    return {
        "name": shot.name,
        "camera_id": shot.camera_id,
        "cam_from_world": {
            "rotation": pose.rotation.tolist(),
            "translation": pose.translation.tolist(),
        },
        "centre_world": pose.centre.tolist(),
        "centre_map": frame.map_from_world(pose.centre[None])[0].tolist(),
        "gimbal_deg": [shot.station.yaw_deg, shot.station.pitch_deg, shot.station.roll_deg],
        "recorded": {
            "lon_lat_height": [tags.longitude_deg, tags.latitude_deg, tags.height_ellipsoid_m],
            "gimbal_deg": [tags.gimbal_yaw_deg, tags.gimbal_pitch_deg, tags.gimbal_roll_deg],
        },
    }


def _footprints(scene: Scene, frame: LocalFrame) -> Mapping[str, Any]:
    features = []
    for house in scene.houses:
        ring = [*house.outline.tolist(), house.outline[0].tolist()]
        features.append(
            {
                "type": "Feature",
                "properties": {"ridge_m": house.ridge_m, "eaves_m": house.eaves_m},
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
    return _collection(features, frame)


def _targets(scene: Scene, frame: LocalFrame) -> Mapping[str, Any]:
    features = []
    for plate in scene.plates:
        height = scene.plate_height(plate)
        corners = [[*corner, height] for corner in plate.outline.tolist()]
        features.append(
            {
                "type": "Feature",
                "properties": {"reflectance": plate.reflectance},
                "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
            }
        )
    return _collection(features, frame)


def _collection(features: list[dict[str, Any]], frame: LocalFrame) -> Mapping[str, Any]:
    crs = {"type": "name", "properties": {"name": frame.crs}}
    return {"type": "FeatureCollection", "crs": crs, "features": features}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as beside:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        beside.write_text(text + "\n", encoding="utf-8")


def _write_raster(path: Path, bands: NDArray[Any], grid: Grid, names: list[str]) -> None:
    """Write bands (bands, rows, cols) as a tiled GeoTIFF; NaN is nodata in float rasters."""
    real = np.issubdtype(bands.dtype, np.floating)
    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "height": grid.rows,
        "width": grid.cols,
        "dtype": bands.dtype.name,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "compress": "deflate",
        "predictor": 3 if real else 2,
        "nodata": np.nan if real else None,
    }
    with replacing(path) as beside, rasterio.open(beside, "w", **profile) as raster:
        raster.write(bands)
        raster.descriptions = names
