"""Photographs made for the occasion, with the tags a test asks for."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

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
