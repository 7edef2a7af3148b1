from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import exifread
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.rehearsal.camera import (
    DJI_NAMESPACE,
    PhotoTags,
    srgb_from_linear,
    to_exif,
    to_xmp,
    write_photograph,
)

TAGS = PhotoTags(
    time=datetime(2026, 7, 18, 14, 20, 7, 250000, tzinfo=UTC),
    focal_mm=8.80008,
    pixels_per_mm=123.6364,
    longitude_deg=-19.760012345678,
    latitude_deg=64.142987654321,
    height_ellipsoid_m=275.1234,
    height_takeoff_m=27.5,
    gimbal_yaw_deg=271.5,
    gimbal_pitch_deg=-89.7,
    gimbal_roll_deg=0.4,
    rtk_sigma_m=(0.02, 0.021, 0.03),
)


def degrees(tag: Any) -> float:
    whole, minutes, seconds = (float(value) for value in tag.values)
    return whole + minutes / 60 + seconds / 3600


def test_a_reader_finds_place_time_and_focal_length_as_written(tmp_path: Path) -> None:
    path = tmp_path / "REH_0001.JPG"
    write_photograph(path, np.full((12, 16, 3), 90, np.uint8), TAGS, quality=92)
    with path.open("rb") as file:
        exif = exifread.process_file(file)
    assert degrees(exif["GPS GPSLatitude"]) == pytest.approx(TAGS.latitude_deg, abs=1e-10)
    assert degrees(exif["GPS GPSLongitude"]) == pytest.approx(-TAGS.longitude_deg, abs=1e-10)
    assert str(exif["GPS GPSLongitudeRef"]) == "W"
    height = float(exif["GPS GPSAltitude"].values[0])
    assert height == pytest.approx(275.1234, abs=1e-4)
    assert str(exif["EXIF DateTimeOriginal"]) == "2026:07:18 14:20:07"
    assert str(exif["EXIF OffsetTimeOriginal"]) == "+00:00"
    assert str(exif["EXIF SubSecTimeOriginal"]) == "250"
    per_cm = float(exif["EXIF FocalPlaneXResolution"].values[0])
    focal_px = float(exif["EXIF FocalLength"].values[0]) * per_cm / 10
    assert focal_px == pytest.approx(8.80008 * 123.6364, rel=1e-6)


def test_xmp_carries_djis_entries_in_their_ranges() -> None:
    packet = to_xmp(TAGS).decode()
    root = defusedxml.ElementTree.fromstring(packet[packet.index("<x:") : packet.rindex("<?")])
    found = next(iter(root[0])).attrib
    assert float(found[f"{{{DJI_NAMESPACE}}}GimbalYawDegree"]) == -88.5
    assert float(found[f"{{{DJI_NAMESPACE}}}AbsoluteAltitude"]) == 275.1234
    assert found[f"{{{DJI_NAMESPACE}}}RtkFlag"] == "50"
    assert float(found[f"{{{DJI_NAMESPACE}}}RtkStdHgt"]) == 0.03


@given(st.floats(-89.9, 89.9), st.floats(-179.9, 179.9))
def test_degrees_survive_to_a_nanodegree(latitude: float, longitude: float) -> None:
    exif = to_exif(replace(TAGS, latitude_deg=latitude, longitude_deg=longitude), 16, 12)
    gps = exif.get_ifd(0x8825)
    for value, ref, signs, given_deg in (
        (gps[2], gps[1], "NS", latitude),
        (gps[4], gps[3], "EW", longitude),
    ):
        size = float(value[0]) + float(value[1]) / 60 + float(value[2]) / 3600
        assert float(value[2]) < 60
        assert size * (1 if ref == signs[0] else -1) == pytest.approx(given_deg, abs=1e-9)


def test_a_single_band_is_a_16_bit_tiff_with_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "REH_0001_NIR.TIF"
    write_photograph(path, np.full((12, 16), 40000, np.uint16), TAGS, quality=92)
    with path.open("rb") as file:
        exif = exifread.process_file(file, details=False)
    assert degrees(exif["GPS GPSLatitude"]) == pytest.approx(TAGS.latitude_deg, abs=1e-10)
    assert b"drone-dji:GimbalYawDegree" in path.read_bytes()


def test_intensities_are_encoded_as_srgb_says() -> None:
    """IEC 61966-2-1: straight up to 0.0031308, which is encoded as 0.04045, and a power beyond."""
    linear = np.float32([-0.1, 0.0, 0.001, 0.0031308, 0.2140, 1.0, 2.0])
    wanted = [0.0, 0.0, 0.01292, 0.04045, 0.5, 1.0, 1.0]
    assert srgb_from_linear(linear) == pytest.approx(wanted, abs=1e-4)
