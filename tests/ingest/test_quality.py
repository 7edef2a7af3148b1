import io
import struct

import numpy as np
import pytest
from PIL import Image

from ingest.metadata.exif import read_tags
from ingest.reading import measure_picture, read_photograph, why_unreadable
from tmp.captures import Capture, Flag

BARE = Capture(name="a", source="", sha256="", size_bytes=1, width_px=0, height_px=0, camera_id="")


def resized(jpeg: bytes, width_px: int, height_px: int) -> bytes:
    """Return a JPEG whose header says another size than it has."""
    at = 2
    while jpeg[at + 1] not in (0xC0, 0xC2):
        at += 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return jpeg[: at + 5] + struct.pack(">HH", height_px, width_px) + jpeg[at + 9 :]


def with_tag(tiff: bytes, number: int, value: int) -> bytes:
    """Return a little-endian TIFF in whose first directory a tag has another value."""
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    places = (at + 2 + 12 * k for k in range(count))
    entry = next(k for k in places if struct.unpack_from("<H", tiff, k)[0] == number)
    return tiff[: entry + 8] + struct.pack("<I", value) + tiff[entry + 12 :]


def test_a_coarser_picture_is_less_sharp(make_jpeg):
    sharp, soft, softer = (
        measure_picture(data, read_tags(data)).sharpness
        for data in (make_jpeg(size=(400, 300), blur=n) for n in (4, 8, 16))
    )
    assert sharp > 2 * soft > 4 * softer > 0


def test_a_whole_photograph_has_nothing_against_it(make_jpeg):
    assert why_unreadable(read_tags(make_jpeg())) == ""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[: len(data) // 2], "cut short"),
        (lambda data: b"", "not a JPEG"),
        (lambda data: b"%PDF-1.7" + data, "not a JPEG"),
        (lambda data: b"\xff\xd8\xff\xda\x00\x02\xff\xd9", "no picture size"),
    ],
)
def test_a_spoilt_file_is_unreadable_for_a_reason(make_jpeg, spoil, reason):
    assert reason in why_unreadable(read_tags(spoil(make_jpeg())))


def test_a_picture_that_does_not_decode_is_not_measured(make_jpeg):
    tags = read_tags(make_jpeg())
    assert measure_picture(b"\xff\xd8\xff\xd9", tags) is None


@pytest.mark.parametrize(
    "size", [(1600, 600), (800, 900), (800, 640), (900, 600), (30_000, 30_000)]
)
def test_a_jpeg_that_holds_less_than_its_header_says_is_unreadable(make_jpeg, size):
    whole = make_jpeg(size=(800, 600))
    assert not read_photograph(whole, BARE).capture.flags
    found = read_photograph(resized(whole, *size), BARE).capture
    assert found.flags == (Flag.UNREADABLE,)
    assert found.reason == (
        f"its header says {size[0]} × {size[1]} pixels, and the file holds only a part of them"
    )


@pytest.mark.parametrize(("tag", "value"), [(256, 81), (256, 60_000), (257, 61), (257, 60_000)])
def test_a_tiff_that_holds_less_than_its_header_says_is_unreadable(make_tiff, tag, value):
    whole = make_tiff()
    assert not read_photograph(whole, BARE).capture.flags
    found = read_photograph(with_tag(whole, tag, value), BARE).capture
    assert found.flags == (Flag.UNREADABLE,)
    assert "holds only a part" in found.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("grey", [0, 255])
def test_a_picture_of_one_tone_packed_as_small_as_can_be_is_whole(kind, grey):
    options = {"JPEG": {"optimize": True, "progressive": True, "quality": 10}}
    options |= {"TIFF": {"compression": "tiff_lzw"}, "PNG": {"optimize": True}}
    file = io.BytesIO()
    Image.new("L", (2000, 1500), grey).save(file, kind, **options[kind])
    assert not read_photograph(file.getvalue(), BARE).capture.flags


def test_a_tiff_of_one_row_is_unreadable(make_tiff):
    thin = make_tiff(picture=np.full((1, 80), 9000, np.uint16))
    assert read_photograph(thin, BARE).capture.flags == (Flag.UNREADABLE,)


@pytest.mark.parametrize("angle", ["1e308", "-361"])
def test_angles_beyond_a_full_turn_are_not_believed(make_jpeg, angle):
    said = {"Yaw": "+90.00", "Pitch": "-90.00", "Roll": angle}
    xmp = {f"drone-dji:Gimbal{axis}Degree": value for axis, value in said.items()}
    assert read_photograph(make_jpeg(xmp=xmp), BARE).capture.gimbal_yaw_deg is None
    xmp["drone-dji:GimbalRollDegree"] = "0"
    assert read_photograph(make_jpeg(xmp=xmp), BARE).capture.gimbal_yaw_deg == 90
