"""Photographs made for the occasion, with the tags a test asks for."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" '
    'xmlns:Camera="http://pix4d.com/camera/1.0/" {attributes}/>'
    "</rdf:RDF></x:xmpmeta>"
)


def _rational(value: float) -> IFDRational:
    fraction = Fraction(value).limit_denominator(10_000_000)
    return IFDRational(fraction.numerator, fraction.denominator)


def _sexagesimal(degrees: float) -> tuple[IFDRational, ...]:
    minutes, seconds = divmod(abs(degrees) * 3600, 60)
    whole, minutes = divmod(minutes, 60)
    return _rational(whole), _rational(minutes), _rational(seconds)


def make_jpeg(
    *,
    seed: int = 0,
    size: tuple[int, int] = (80, 60),
    make: str = "DJI",
    model: str = "FC300S",
    focal_mm: float | None = 3.61,
    lon_lat: tuple[float, float] | None = (7.6, 45.0),
    height_m: float | None = 300.0,
    gps: dict[int, Any] | None = None,
    exif: dict[int, Any] | None = None,
    time: str = "2024:06:01 12:00:00",
    xmp: dict[str, Any] | None = None,
    blur: int = 1,
) -> bytes:
    """Return a noisy JPEG; `gps` and `exif` add tags by number, `xmp` by prefixed name."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110] = make, model
    main = tags.get_ifd(0x8769)
    main[0x9003] = time
    if focal_mm is not None:
        main[0x920A] = _rational(focal_mm)
    main.update(exif or {})
    place = tags.get_ifd(0x8825)
    if lon_lat is not None:
        place[1], place[2] = "N" if lon_lat[1] >= 0 else "S", _sexagesimal(lon_lat[1])
        place[3], place[4] = "E" if lon_lat[0] >= 0 else "W", _sexagesimal(lon_lat[0])
    if height_m is not None:
        place[5], place[6] = (b"\x01" if height_m < 0 else b"\x00"), _rational(abs(height_m))
    place.update(gps or {})
    cells = (size[1] // blur + 1, size[0] // blur + 1)
    noise = np.random.default_rng(seed).integers(0, 255, cells, np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
    attributes = " ".join(f'{name}="{value}"' for name, value in (xmp or {}).items())
    packet = XMP.format(attributes=attributes).encode() if xmp else b""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, exif=tags, xmp=packet)
    return buffer.getvalue()


def make_tiff(
    *,
    seed: int = 0,
    size: tuple[int, int] = (80, 60),
    make: str = "DJI",
    model: str = "M3M",
    software: str = "10.08.05.02",
    picture: NDArray[Any] | None = None,
    lon_lat: tuple[float, float] | None = (7.6, 45.0),
    height_m: float = 340.0,
    exif: dict[int, Any] | None = None,
    tiff: dict[int, Any] | None = None,
    time: str = "2024:06:01 12:00:00",
    xmp: dict[str, Any] | None = None,
) -> bytes:
    """Return a 16-bit TIFF of one band, or of `picture`; `tiff` adds tags to the main directory."""
    tags = ImageFileDirectory_v2()
    tags[0x010F], tags[0x0110], tags[0x0131] = make, model, software
    for number, value in (tiff or {}).items():
        tags[number] = value
    tags[0x8769] = {0x9003: time, 0x829A: _rational(0.001), 0x8827: 100} | (exif or {})
    if lon_lat is not None:
        tags[0x8825] = {
            1: "N" if lon_lat[1] >= 0 else "S",
            2: _sexagesimal(lon_lat[1]),
            3: "E" if lon_lat[0] >= 0 else "W",
            4: _sexagesimal(lon_lat[0]),
            5: b"\x00",
            6: _rational(height_m),
        }
    attributes = " ".join(f'{name}="{value}"' for name, value in (xmp or {}).items())
    if xmp:
        tags[700] = XMP.format(attributes=attributes).encode()
    if picture is None:
        noise = np.random.default_rng(seed).integers(8000, 40000, (size[1], size[0]))
        picture = noise.astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()


BANDS = {"G": ("Green", 560, 1), "R": ("Red", 650, 2), "RE": ("RedEdge", 730, 3)}
BANDS["NIR"] = ("NIR", 860, 4)


def m3m_xmp(letters: str, uuid: str, **more: Any) -> dict[str, Any]:
    """Return the tags of one band of a Mavic 3 Multispectral."""
    name, centre_nm, index = BANDS[letters]
    return {
        "drone-dji:BandName": name,
        "drone-dji:BandFreq": f"{centre_nm}(+/-{26 if letters == 'NIR' else 16})nm",
        "drone-dji:SensorIndex": index,
        "drone-dji:CaptureUUID": uuid,
        "drone-dji:BlackLevel": 3200,
        "drone-dji:SensorGain": "1.000",
        "drone-dji:SensorGainAdjustment": "1.5",
        "drone-dji:ExposureTime": 1000,
        "drone-dji:Irradiance": "10038.8",
        "drone-dji:CalibratedOpticalCenterX": "1296.5",
        "drone-dji:CalibratedOpticalCenterY": "972.5",
        "drone-dji:RelativeOpticalCenterX": "1.5",
        "drone-dji:RelativeOpticalCenterY": "-2.25",
        "drone-dji:VignettingData": "1e-05, 2e-08, 3e-11, 4e-14, 5e-17, 6e-20",
        "drone-dji:CalibratedHMatrix": "1,0,3,0,1,4,0,0,1",
        "drone-dji:DroneSerialNumber": "1581F5FJC",
        "drone-dji:RelativeAltitude": "+40.00",
    } | more


@pytest.fixture(name="make_tiff")
def _make_tiff() -> Callable[..., bytes]:
    return make_tiff


@pytest.fixture(name="m3m_xmp")
def _m3m_xmp() -> Callable[..., dict[str, Any]]:
    return m3m_xmp


@pytest.fixture
def band_card(tmp_path: Path) -> Callable[..., Path]:
    """Make a card of a Mavic 3 Multispectral: captures of four bands and RGB, 20 m apart."""

    def fill(folder: str = "card/DCIM/100MEDIA", count: int = 4, **options: Any) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        day = options.get("day", "2024:06:01")
        lon = options.get("lon", 7.6)
        for i in range(count):
            seed = options.get("first_seed", 0) + 10 * i
            said = {"lon_lat": (lon + 0.00025 * i, 45.0), "time": f"{day} 12:00:{2 * i:02d}"}
            uuid = f"uuid-{day}-{i}" if options.get("ids", True) else ""
            base = f"DJI_202406011200{2 * i:02d}_{i + 1:04d}"
            for k, letters in enumerate(BANDS):
                data = make_tiff(seed=seed + k, xmp=m3m_xmp(letters, uuid), **said)
                (place / f"{base}_MS_{letters}.TIF").write_bytes(data)
            if options.get("rgb", True):
                xmp = {"drone-dji:CaptureUUID": uuid, "drone-dji:RelativeAltitude": "+40.00"}
                data = make_jpeg(seed=seed + 9, model="M3M", focal_mm=12.29, xmp=xmp, **said)
                (place / f"{base}_D.JPG").write_bytes(data)
        return place

    return fill


@pytest.fixture(name="make_jpeg")
def _make_jpeg() -> Callable[..., bytes]:
    return make_jpeg


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., Path]:
    """Make a card: a grid of ten photographs, 20 m apart, 40 m above take-off."""

    def fill(folder: str = "card/DCIM/100MEDIA", count: int = 10, first_seed: int = 0) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (place / f"DJI_{i + 1:04d}.JPG").write_bytes(
                make_jpeg(
                    seed=first_seed + i,
                    lon_lat=(7.6 + 0.00025 * (i % 5), 45.0 + 0.00018 * (i // 5)),
                    height_m=340.0,
                    time=f"2024:06:01 12:00:{2 * i:02d}",
                    xmp={
                        "drone-dji:RelativeAltitude": "+40.00",
                        "drone-dji:GimbalYawDegree": "+90.00",
                        "drone-dji:GimbalPitchDegree": "-90.00",
                        "drone-dji:GimbalRollDegree": "+0.00",
                    },
                )
            )
        return place

    return fill


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real surveys beside the checkout, or skip."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real surveys in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def panel_scene() -> ModuleType:
    """The module ``panel_scene``: a reflectance panel and a field, pictured with known light."""
    name = "panel_scene"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
