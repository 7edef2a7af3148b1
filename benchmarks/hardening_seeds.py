"""Good files of each kind that the platform reads, made for the occasion, for `hardening.py`."""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import shapely
from affine import Affine
from PIL import Image

from flightplan.formats.mission import Mission, Photo, Place, Role, Waypoint
from flightplan.formats.mission_files import FORMATS, Format, encode_mission
from tmp.cameras import Camera
from tmp.captures import Capture, HeightDatum, write_captures
from tmp.survey import Settings, create_survey, write_settings

LON_DEG, LAT_DEG = -19.76, 64.143
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description rdf:about="" xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" '
    'xmlns:Camera="http://pix4d.com/camera/1.0/" {}/></rdf:RDF></x:xmpmeta>'
)
DJI = {
    "drone-dji:RelativeAltitude": "+40.100", "drone-dji:AbsoluteAltitude": "+250.300",
    "drone-dji:GimbalYawDegree": "-170.20", "drone-dji:GimbalPitchDegree": "-89.90",
    "drone-dji:GimbalRollDegree": "+0.00", "drone-dji:GpsLatitude": "64.1430001",
    "drone-dji:GpsLongitude": "-19.7600001", "drone-dji:RtkFlag": "50",
    "drone-dji:RtkStdLon": "0.01234", "drone-dji:RtkStdLat": "0.01100",
    "drone-dji:RtkStdHgt": "0.02345", "drone-dji:CalibratedFocalLength": "3666.666504",
    "Camera:GPSXYAccuracy": "1.9200001", "Camera:GPSZAccuracy": "3.0100001",
}  # fmt: skip
M3M = {
    "drone-dji:BandName": "NIR", "drone-dji:BandFreq": "860(+/-26)nm",
    "drone-dji:SensorIndex": "4", "drone-dji:CaptureUUID": "0123456789abcdef",
    "drone-dji:BlackLevel": "3200", "drone-dji:SensorGain": "1.000",
    "drone-dji:SensorGainAdjustment": "1.5", "drone-dji:ExposureTime": "1000",
    "drone-dji:Irradiance": "10038.8", "drone-dji:CalibratedOpticalCenterX": "1296.5",
    "Camera:CentralWavelength": "860.0", "Camera:WavelengthFWHM": "26.0",
}  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A good file, and what must lie beside it."""

    name: str
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)


def seeds_of(kind: str) -> tuple[Seed, ...]:
    """Make the good files of a kind."""
    return tuple(_MAKERS[kind]())


def _tags() -> Image.Exif:
    tags = Image.Exif()
    tags[0x010F], tags[0x0110] = "DJI", "FC6310"
    tags.get_ifd(0x8769).update({0x9003: "2024:06:01 12:00:00", 0x920A: 8.8, 0x829A: 0.001})
    tags.get_ifd(0x8825).update(
        {1: "N", 2: (64.0, 8.0, 34.8), 3: "W", 4: (19.0, 45.0, 36.0), 5: b"\0", 6: 250.3, 11: 1.2}
    )
    return tags


def _xmp(attributes: Mapping[str, str]) -> bytes:
    return XMP.format(" ".join(f'{key}="{value}"' for key, value in attributes.items())).encode()


def _jpegs() -> list[Seed]:
    seeds = []
    for number, (size, xmp) in enumerate((((80, 60), DJI), ((160, 120), DJI), ((64, 48), {}))):
        noise = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
        buffer = io.BytesIO()
        packet = _xmp(xmp) if xmp else b""
        Image.fromarray(noise).save(buffer, "JPEG", quality=85, exif=_tags(), xmp=packet)
        seeds.append(Seed("DJI_0001.jpg", buffer.getvalue()))
    return seeds


def _tiffs() -> list[Seed]:
    seeds = []
    for number, compression in enumerate((None, "tiff_lzw")):
        noise = np.random.default_rng(number).integers(8000, 40000, (48, 64)).astype(np.uint16)
        tags = _tags()
        tags[0x0110], tags[700] = "M3M", _xmp(DJI | M3M)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "TIFF", exif=tags, compression=compression)
        seeds.append(Seed("DJI_0001_MS_NIR.tif", buffer.getvalue()))
    return seeds


def _mission() -> Mission:
    step = 1e-4
    points = [
        (LON_DEG + step * (i // 2), LAT_DEG + step * (5 if (i // 2 + i) % 2 else 0))
        for i in range(8)
    ]
    waypoints = tuple(
        Waypoint(
            lon_deg=lon, lat_deg=lat, height_m=60.0, ground_m=200.0, speed_m_s=6.0,
            role=Role.LINE if i % 2 == 0 else Role.TRANSIT,
            photo_spacing_m=15.0 if i % 2 == 0 else math.nan,
        )
        for i, (lon, lat) in enumerate(points)
    )  # fmt: skip
    around = shapely.box(LON_DEG - 0.001, LAT_DEG - 0.001, LON_DEG + 0.002, LAT_DEG + 0.002)
    return Mission(
        name="Farm, sortie 1",
        waypoints=waypoints,
        photos=tuple(
            Photo(lon_deg=lon, lat_deg=lat, height_m=60.0, heading_deg=0.0) for lon, lat in points
        ),
        takeoff=Place(lon_deg=LON_DEG, lat_deg=LAT_DEG - 5e-4, ground_m=200.0),
        takeoff_height_m=30.0,
        return_height_m=80.0,
        speed_m_s=6.0,
        transit_speed_m_s=10.0,
        drone="dji-mavic-3m",
        photo_interval_s=2.5,
        area=shapely.MultiPolygon([around]),
        fence=around.buffer(0.001, join_style="mitre"),
        fence_height_m=120.0,
        duration_s=400.0,
        vertical_datum="EGM2008",
    )


def _missions() -> list[Seed]:
    mission = _mission()
    return [
        Seed(f"sortie-1{FORMATS[f].suffix}", encode_mission(mission, f).content) for f in Format
    ]


def _shapes() -> list[shapely.Polygon]:
    ring = [(0, 0), (0.002, 0), (0.002, 0.001), (0.001, 0.0012), (0, 0.001)]
    shell = shapely.Polygon([(LON_DEG + x, LAT_DEG + y) for x, y in ring])
    hole = shapely.Polygon([(LON_DEG + 0.2 * x + 5e-4, LAT_DEG + 0.2 * y + 3e-4) for x, y in ring])
    return [shell - hole, shapely.transform(shell, lambda places: places + 0.003)]


def _layer(folder: Path, name: str, driver: str, crs: str = "EPSG:4326") -> Seed:
    shapes = np.array(_shapes())
    if crs != "EPSG:4326":
        shapes = shapely.transform(shapes, lambda p: (p - (LON_DEG, LAT_DEG)) * 1e5 + (5e5, 7.1e6))
    pyogrio.raw.write(
        folder / name, shapely.to_wkb(shapes), [np.arange(2), np.array(["a", "Ó"], object)],
        ["number", "plot"], driver=driver, crs=crs, geometry_type="Polygon",
    )  # fmt: skip
    files = {path.name: path.read_bytes() for path in folder.glob(f"{Path(name).stem}.*")}
    return Seed(name, files.pop(name), files)


def _kml() -> bytes:
    rings = [" ".join(f"{x},{y},0" for x, y in shape.exterior.coords) for shape in _shapes()]
    marks = "\n".join(
        "<Placemark><name>field</name><Polygon><outerBoundaryIs><LinearRing><coordinates>"
        f"{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
        for ring in rings
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2">\n'
        f"<Document><name>畑</name>\n<Folder><name>fields</name>\n{marks}\n</Folder>\n</Document>"
        "</kml>"
    ).encode()


def _vectors() -> list[Seed]:
    found = []
    for number, (name, driver, crs) in enumerate(
        (
            ("a.gpkg", "GPKG", "EPSG:4326"), ("b.gpkg", "GPKG", "EPSG:32627"),
            ("a.fgb", "FlatGeobuf", "EPSG:4326"), ("a.shp", "ESRI Shapefile", "EPSG:32627"),
            ("a.gml", "GML", "EPSG:4326"), ("a.geojson", "GeoJSON", "EPSG:4326"),
            ("b.geojson", "GeoJSON", "EPSG:32627"),
        )
    ):  # fmt: skip
        with tempfile.TemporaryDirectory(prefix=str(number)) as folder:
            found.append(_layer(Path(folder), name, driver, crs))
    shapefile = next(seed for seed in found if seed.name == "a.shp")
    for name, members in (
        ("a.kmz", {"doc.kml": _kml()}),
        ("a.zip", {shapefile.name: shapefile.content, **shapefile.beside}),
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        found.append(Seed(name, buffer.getvalue()))
    return [*found, Seed("a.kml", _kml())]


def _areas() -> list[Seed]:
    wkt = f"SRID=4326;{shapely.MultiPolygon(_shapes()).wkt}"
    return [*_vectors(), Seed("a.wkt", wkt.encode())]


def _elevations() -> list[Seed]:
    seeds = []
    rows, cols = np.mgrid[:80, :80]
    heights = (200 + 0.1 * cols + 5 * np.sin(rows / 9)).astype(np.float32)
    for name, options in (
        ("a.tif", {"driver": "GTiff"}),
        ("b.tif", {"driver": "GTiff", "compress": "deflate", "tiled": True, "blockxsize": 32,
                   "blockysize": 32, "dtype": "int16"}),
        ("c.tif", {"driver": "GTiff", "compress": "lzw", "predictor": 3, "nodata": -9999.0}),
        ("a.asc", {"driver": "AAIGrid"}),
        ("a.img", {"driver": "HFA"}),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            profile = {
                "width": 80, "height": 80, "count": 1, "dtype": "float32", "crs": "EPSG:32627",
                "transform": Affine(4.0, 0.0, 560_168.0, 0.0, -4.0, 7_113_720.0),
            } | options  # fmt: skip
            with rasterio.open(Path(folder, name), "w", **profile) as raster:
                raster.write(heights.astype(profile["dtype"]), 1)
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        seeds.append(Seed(name, files.pop(name), files))
    return seeds


def _captures() -> list[Capture]:
    first = Capture(
        name="100MEDIA/DJI_0001.JPG", source="/card/DJI_0001.JPG", sha256="ab" * 32,
        size_bytes=5_000_000, width_px=4000, height_px=3000, camera_id="dji-fc6310-4000x3000",
        time_utc=datetime(2024, 6, 1, 12, tzinfo=UTC), longitude_deg=LON_DEG,
        latitude_deg=LAT_DEG, height_m=250.0, height_datum=HeightDatum.ELLIPSOID,
        sigma_horizontal_m=0.02, sigma_vertical_m=0.04, gimbal_yaw_deg=10.0,
        gimbal_pitch_deg=-90.0, gimbal_roll_deg=0.0, sharpness=80.0, brightness=0.8,
    )  # fmt: skip
    return [
        replace(first, name=f"100MEDIA/DJI_000{n}.JPG", sha256=f"{n:064d}", longitude_deg=x)
        for n, x in enumerate((LON_DEG, LON_DEG + 1e-4, None), 1)
    ]


def _survey(folder: Path) -> tuple[bytes, bytes]:
    camera = Camera(
        camera_id="dji-fc6310-4000x3000", width_px=4000, height_px=3000, fx_px=2700.0,
        fy_px=2700.0, cx_px=2000.0, cy_px=1500.0, k1=-0.01,
    )  # fmt: skip
    survey = create_survey(folder / "farm")
    settings = Settings(
        name="Farm", crs="EPSG:32627", origin=(LON_DEG, LAT_DEG, 200.0), keep=("*/DJI_0003.JPG",),
        cameras={camera.camera_id: camera, "other": replace(camera, camera_id="other")},
    )  # fmt: skip
    write_settings(survey, settings)
    write_captures(survey.gpkg_path, _captures())
    return survey.toml_path.read_bytes(), survey.gpkg_path.read_bytes()


def _surveys(*, table: bool) -> list[Seed]:
    with tempfile.TemporaryDirectory() as folder:
        toml, gpkg = _survey(Path(folder))
    if table:
        return [Seed("survey.gpkg", gpkg, {"survey.toml": toml})]
    return [Seed("survey.toml", toml)]


CAMERAS = """\
[cameras."canon-powershot-s110-*"]
channels = ["nir", "green", "blue"]
centre_nm = [850, 550, 450]
width_nm = [100, 80, 80.5]
black_level = 0
linear = false

[cameras."mapir-*"]
filter = "RGN"
black_level = 64.5
"""
CLUSTER = """\
partition = "cpu"
account = "ice"
python = "/opt/tmp/bin/python"
prologue = ["module load gcc", "ulimit -n 4096"]
scratch = "$TMPDIR"
unit_minutes = 3.5
most_units = 100
at_once = 20
most_cpus = 32
poll_s = 5.0
grace_s = 60

[stage.surface]
partition = "gpu"
gres = "gpu:a100"
gpus = 1
cpus = 8
memory_gb = 24.5
minutes = 90
"""
EQUIPMENT = """\
[camera.kite]
name = "Kite camera"
width_px = 4000
height_px = 3000
f_px = 3100.5
least_interval_s = 1.5
readout_s = 0.02
photo_mb = 5.5
bands = ["RGB"]
shutter = "rolling"
derivation = "calibrated"
confidence = "B"

[drone.kite]
name = "Kite drone"
cameras = ["kite"]
mass_kg = 1.4
rotors = 4
rotor_m = 0.24
max_speed_m_s = 15.0
climb_m_s = 5
descent_m_s = 3
max_tilt_deg = 35.0
top_speed_m_s = 20.0
wind_m_s = 10.0
battery_wh = 89.2
hover_min = 25
cruise_min = 28.5
cruise_m_s = 8.0
gimbal_deg = [-90.0, 30.0]
max_points = 200
app = "dji-fly"
triggers = ["timer", "distance"]

[drone.kite.wpml]
drone = 67
drone_sub = 0
payload = 52
consumer = true
"""


def _texts(name: str, text: str) -> Callable[[], list[Seed]]:
    return lambda: [Seed(name, text.encode())]


_MAKERS: dict[str, Callable[[], Any]] = {
    "JPEG": _jpegs,
    "TIFF": _tiffs,
    "missions": _missions,
    "areas": _areas,
    "DEM": _elevations,
    "survey.toml": lambda: _surveys(table=False),
    "cameras.toml": _texts("cameras.toml", CAMERAS),
    "cluster.toml": _texts("cluster.toml", CLUSTER),
    "equipment.toml": _texts("equipment.toml", EQUIPMENT),
    "survey.gpkg": lambda: _surveys(table=True),
    "zones": _vectors,
}
