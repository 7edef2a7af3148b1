"""Fly the mission before you fly it: render the photographs that camera stations would take.

The photographs carry metadata with stated errors, as a drone's do; the truth is kept apart: poses,
surface, orthomosaic, NDVI and masks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from flightplan.coverage.spacing import Overlap
from flightplan.rehearsal.camera import (
    COLOUR_SENSOR,
    MODEL,
    PhotoTags,
    SensorModel,
    develop,
    expose,
    to_picture,
    write_photograph,
)
from flightplan.rehearsal.ray_tracing import BLOCK, Triple, photograph
from flightplan.rehearsal.scene import Scene
from flightplan.rehearsal.solids.pictures import photograph_solids
from tmp.cameras import Camera, Pose
from tmp.errors import InputError
from tmp.files import replacing, write_json
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.progress import Track, silent
from tmp.threads import map_threads

log = logging.getLogger(__name__)
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
BANDS = {"rgb": 3, "nir": 1}
"""Number of bands of a camera's photographs."""
NIR_NM = 840.0
SECONDS_BETWEEN_PHOTOS = 2.0
LARGEST_PATCH_PX = 8
INSET = 0.15
"""How far inside the area the outermost stations lie, as a fraction of the footprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Where a photograph is taken from, and the gimbal's angles there."""

    position: tuple[float, float, float]
    """Projection centre, world (east, north, up in metres)."""
    yaw_deg: float
    """Heading of the picture's top, clockwise from north."""
    pitch_deg: float = -90.0
    roll_deg: float = 0.0

    @property
    def pose(self) -> Pose:
        """The exterior orientation."""
        return Pose.from_gimbal(self.yaw_deg, self.pitch_deg, self.roll_deg, self.position)


def fly_lines(
    size_m: tuple[float, float],
    camera: Camera,
    height_agl_m: float,
    *,
    heading_deg: float,
    overlap: Overlap | None = None,
    pitch_deg: float = -90.0,
) -> list[Station]:
    """Return the stations of parallel lines over a level rectangle about the world's origin.

    `size_m` is its east-west and north-south extent.  Heading 0 flies lines north and south, 90
    east and west; pitch -90 looks down, otherwise each line looks ahead.

    Raises
    ------
    InputError
        If an overlap is not a fraction, or the height is not positive.
    """
    if height_agl_m <= 0:
        raise InputError(f"flying height {height_agl_m!r} m is not above the ground")
    overlap = overlap or Overlap()
    heading = math.radians(heading_deg)
    along = np.array([math.sin(heading), math.cos(heading)])
    across = np.array([along[1], -along[0]])
    footprint = (
        np.array([camera.height_px / camera.fy_px, camera.width_px / camera.fx_px]) * height_agl_m
    )
    extent = np.abs(np.array([along, across])) @ np.array(size_m) - 2 * INSET * footprint
    extent = np.maximum(extent, 0.0)
    steps = (1 - np.array([overlap.front, overlap.side])) * footprint
    photos, lines = (np.ceil(extent / steps - 1e-9).astype(int) + 1).tolist()
    stations = []
    ways = np.linspace(-0.5, 0.5, photos) * extent[0]
    # An oblique camera sees the area from behind it.
    set_back = height_agl_m / math.tan(math.radians(-pitch_deg)) if pitch_deg > -89 else 0.0
    for number, side in enumerate(np.linspace(-0.5, 0.5, lines) * extent[1]):
        backwards = number % 2 == 1
        for way in -ways if backwards else ways:
            offset = (way + (set_back if backwards else -set_back)) * along + side * across
            stations.append(
                Station(
                    position=(float(offset[0]), float(offset[1]), height_agl_m),
                    yaw_deg=(heading_deg + 180.0 * backwards) % 360.0,
                    pitch_deg=pitch_deg,
                )
            )
    return stations


def flown(
    stations: Iterable[Station],
    rng: np.random.Generator,
    *,
    position_sigma_m: float = 0.35,
    angle_sigma_deg: float = 0.8,
) -> list[Station]:
    """Return the stations as wind and gimbal leave them."""
    return [
        replace(
            station,
            position=tuple(np.add(station.position, rng.normal(0, position_sigma_m, 3)).tolist()),
            yaw_deg=station.yaw_deg + float(rng.normal(0, 2 * angle_sigma_deg)),
            pitch_deg=station.pitch_deg + float(rng.normal(0, angle_sigma_deg)),
            roll_deg=station.roll_deg + float(rng.normal(0, angle_sigma_deg)),
        )
        for station in stations
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gnss:
    """How wrong recorded positions and angles are, independently in each photograph."""

    sigma_m: tuple[float, float, float]
    """Standard deviation east, north, up."""
    rtk: bool = False
    """Whether the receiver claims a fixed RTK solution."""
    height_takeoff_sigma_m: float = 0.15
    """Of the barometric height above the take-off point."""
    gimbal_sigma_deg: float = 0.6


CONSUMER = Gnss(sigma_m=(2.0, 2.0, 3.0))
RTK = Gnss(sigma_m=(0.02, 0.02, 0.02), rtk=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """Who flies: the true camera, and what its metadata get wrong."""

    camera: Camera
    """True interior orientation."""
    gnss: Gnss = CONSUMER
    sensor: SensorModel = COLOUR_SENSOR
    band: str = "rgb"
    """``rgb`` (JPEG) or ``nir`` (16-bit TIFF)."""
    start: datetime
    """When the first photograph is taken."""
    pixels_per_mm: float = 123.6364
    """Resolution of the focal plane in the metadata; 1632 pixels on 13.2 mm."""
    focal_error: float = -0.01
    """Recorded minus true focal length, as a fraction of the true one."""
    speed_m_s: float = 0.0
    """Speed along each station's heading while the shutter is open."""
    readout_s: float = 0.0
    """Time from reading the first row to reading the last; 0 for a global shutter."""
    prefix: str = "REH"
    model: str = MODEL
    """Model of the camera in the metadata."""

    def __post_init__(self) -> None:
        if self.band not in BANDS:
            raise InputError(f"band {self.band!r} is unknown; choose one of {sorted(BANDS)}")
        if self.readout_s < 0:
            raise InputError(f"readout of {self.readout_s!r} s is negative; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPhotograph:
    """One rendered photograph: what is true and what was recorded."""

    name: str
    """File name below the photographs' folder."""
    camera_id: str
    station: Station
    """True pose and gimbal angles."""
    tags: PhotoTags
    """What the metadata say."""


def render(
    scene: Scene,
    frame: LocalFrame,
    camera: Camera,
    station: Station,
    *,
    band: str = "rgb",
    sweep_m: float = 0.0,
) -> F32:
    """Return the radiance (rows, cols, bands) that a camera at a station receives.

    With a rolling shutter the camera moves `sweep_m` along its heading between reading the first
    row and the last; the station is where the middle row is read.

    Between the world's curved frame and the map the affine approximation about the ground in the
    middle of the picture is used: 0.1 mm at 30 m from there.

    Raises
    ------
    InputError
        If the photograph sees beyond the scene.
    """
    matrix, centre = lattice_from_cam(scene, frame, station.pose)
    out = np.zeros((camera.height_px, camera.width_px, BANDS[band]), np.float32)
    brown = (camera.k1, camera.k2, camera.p1, camera.p2, camera.k3)
    lowest_m = float(scene.ground.height.min())
    patch = 1 if scene.solids else _patch_px(scene, camera, matrix, centre)
    strip = LARGEST_PATCH_PX if sweep_m else camera.height_px
    misses = 0
    for row in range(0, camera.height_px, strip):
        part = out[row : row + strip]
        if sweep_m:
            share = (row + len(part) / 2) / camera.height_px - 0.5
            here = _moved(station, share * sweep_m)
            matrix, centre = lattice_from_cam(scene, frame, here.pose)
        lens = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px - row)
        seen = lens + brown, matrix, centre
        if scene.solids:
            misses += photograph_solids(scene.ground, scene.solids, *seen, lowest_m, part)
        else:
            misses += photograph(scene.ground, *seen, patch, part)
    if misses:
        raise InputError(
            f"the photograph at {np.round(station.position, 1).tolist()} m sees beyond the scene "
            f"({misses / out[..., 0].size / 4:.1%} of its rays); build the scene larger"
        )
    return out


def _moved(station: Station, ahead_m: float) -> Station:
    """Return a station so far ahead along its heading."""
    yaw = math.radians(station.yaw_deg)
    east, north, up = station.position
    ahead = (east + ahead_m * math.sin(yaw), north + ahead_m * math.cos(yaw), up)
    return replace(station, position=ahead)


def lattice_from_cam(scene: Scene, frame: LocalFrame, pose: Pose) -> tuple[F64, Triple]:
    """Return the matrix from rays to lattice metres, and the projection centre there."""
    forward = pose.rotation[2]
    ground_m = float(np.median(scene.ground.height[::50, ::50]))
    # Where the optical axis meets the mean ground; oblique views are kept from running away.
    up = frame.map_from_world(pose.centre[None])[0, 2] - ground_m
    target = pose.centre + forward * up / max(-forward[2], 0.3)
    around = frame.map_from_world(target[None])[0]
    world_from_map, offset = frame.world_from_map_affine(around)
    map_from_world = np.linalg.inv(world_from_map)
    flip = np.diag([1.0, -1.0, 1.0])
    centre = map_from_world @ (pose.centre - offset) + around
    x, y, z = scene.lattice_from_map(centre[None])[0].tolist()
    return flip @ map_from_world @ pose.rotation.T, (x, y, z)


def _patch_px(scene: Scene, camera: Camera, matrix: F64, centre: Triple) -> int:
    """Return how many pixels a side of a square may have so that its ground stays in one block.

    The picture's corners see the farthest; the lowest ground is the farthest away.
    """
    width, height = camera.width_px, camera.height_px
    pixels = np.array(
        [[x, y] for x in (0, 1, width - 1, width) for y in (0, 1, height - 1, height)]
    )
    rays = camera.ray_from_pixel(pixels) @ matrix.T
    fall = float(scene.ground.height.min()) - centre[2]
    ground = (rays[:, :2] * (fall / np.minimum(rays[:, 2], -0.05))[:, None]).reshape(4, 4, 2)
    # Of the steps between those sixteen points every other one is a single pixel.
    widest = max(
        np.hypot(*np.diff(ground, axis=0)[::2].reshape(-1, 2).T).max(),
        np.hypot(*np.diff(ground, axis=1)[:, ::2].reshape(-1, 2).T).max(),
    )
    return max(1, min(LARGEST_PATCH_PX, int(BLOCK * scene.ground.cell_m / (1.5 * widest))))


def take_photographs(
    scene: Scene,
    frame: LocalFrame,
    stations: Sequence[Station],
    flight: Flight,
    folder: Path,
    *,
    seed: int,
    workers: int = 2,
    track: Track = silent,
) -> list[RenderedPhotograph]:
    """Render and write the photographs of one camera, and return what is true of them.

    Every photograph has its own random stream, so the result does not depend on `workers`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    streams = np.random.SeedSequence([seed, *flight.band.encode()]).spawn(len(stations))
    numbered = list(zip(range(len(stations)), stations, streams, strict=True))

    def shoot(numbered_station: tuple[int, Station, np.random.SeedSequence]) -> RenderedPhotograph:
        number, station, stream = numbered_station
        rng = np.random.default_rng(stream)
        shot = record(number, station, frame, flight, rng)
        sweep_m = flight.speed_m_s * flight.readout_s
        radiance = render(scene, frame, flight.camera, station, band=flight.band, sweep_m=sweep_m)
        pixels = develop(expose(radiance, flight.camera, flight.sensor, rng))
        write_photograph(folder / shot.name, pixels, shot.tags, quality=flight.sensor.jpeg_quality)
        return shot

    done = map_threads(shoot, numbered, workers=workers)
    shots = [shot for _, shot in track(done, "rehearse photographs", len(stations))]
    log.info("%d photographs of %s rendered to %s", len(shots), flight.camera.camera_id, folder)
    return sorted(shots, key=lambda shot: shot.name)


def record(
    number: int, station: Station, frame: LocalFrame, flight: Flight, rng: np.random.Generator
) -> RenderedPhotograph:
    """Return a shot with the metadata its drone would write."""
    gnss = flight.gnss
    believed = np.add(station.position, rng.normal(0.0, 1.0, 3) * gnss.sigma_m)
    longitude, latitude, height = frame.geodetic_from_world(believed[None])[0]
    yaw, pitch, roll = rng.normal(0.0, gnss.gimbal_sigma_deg, 3)
    suffix = ".JPG" if flight.band == "rgb" else f"_{flight.band.upper()}.TIF"
    tags = PhotoTags(
        time=flight.start + timedelta(seconds=SECONDS_BETWEEN_PHOTOS * number),
        focal_mm=flight.camera.fx_px * (1 + flight.focal_error) / flight.pixels_per_mm,
        pixels_per_mm=flight.pixels_per_mm,
        longitude_deg=float(longitude),
        latitude_deg=float(latitude),
        height_ellipsoid_m=float(height),
        height_takeoff_m=station.position[2] + float(rng.normal(0, gnss.height_takeoff_sigma_m)),
        gimbal_yaw_deg=station.yaw_deg + float(yaw),
        gimbal_pitch_deg=station.pitch_deg + float(pitch),
        gimbal_roll_deg=station.roll_deg + float(roll),
        rtk_sigma_m=gnss.sigma_m if gnss.rtk else None,
        model=flight.model,
    )
    if flight.band == "nir":
        tags = replace(tags, band="NIR", wavelength_nm=NIR_NM)
    return RenderedPhotograph(
        name=f"{flight.prefix}_{number + 1:04d}{suffix}",
        camera_id=flight.camera.camera_id,
        station=station,
        tags=tags,
    )


def write_truth(
    folder: Path,
    scene: Scene,
    frame: LocalFrame,
    cameras: Iterable[Camera],
    shots: Iterable[RenderedPhotograph],
    grid: Grid,
    *,
    workers: int = 2,
) -> None:
    """Write the truth of a rehearsal into a folder.

    ``poses.json``, ``dsm.tif`` (highest surface at cell centres), ``wall_height.tif`` (turf walls
    above the ground beside them), ``orthomosaic.tif`` (seen from straight above), ``ndvi.tif``,
    ``masks.tif`` (0 or 1: open ground, turf wall, house, boulder), ``houses.geojson`` (roofs seen
    from above, in the CRS of the rasters) and, if plates of known reflectance lie in the scene,
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
    houses = [
        _feature({"ridge_m": house.ridge_m, "eaves_m": house.eaves_m}, house.roof_outline.tolist())
        for house in scene.houses
    ]
    targets = [
        _feature(
            {"reflectance": plate.reflectance},
            [[*corner, scene.plate_height(plate)] for corner in plate.outline.tolist()],
        )
        for plate in scene.plates
    ]
    _write_features(folder / "houses.geojson", houses, frame)
    if targets:
        _write_features(folder / "targets.geojson", targets, frame)
    log.info("truth over %d × %d cells written to %s", grid.rows, grid.cols, folder)


def write_poses(
    path: Path, frame: LocalFrame, cameras: Iterable[Camera], shots: Iterable[RenderedPhotograph]
) -> None:
    """Write true interior and exterior orientation, and the recorded positions, as JSON."""
    content = {
        "frame": {"origin": frame.origin, "crs": frame.crs},
        "cameras": {camera.camera_id: asdict(camera) for camera in cameras},
        "photos": [_pose_entry(shot, frame) for shot in shots],
    }
    write_json(path, content, indent=1, for_people=True)


def _pose_entry(shot: RenderedPhotograph, frame: LocalFrame) -> dict[str, Any]:
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


def _feature(properties: Mapping[str, float], corners: list[list[float]]) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _write_features(path: Path, features: list[dict[str, Any]], frame: LocalFrame) -> None:
    crs = {"type": "name", "properties": {"name": frame.crs}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    write_json(path, content, indent=1, for_people=True)


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
