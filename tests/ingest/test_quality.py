import pytest

from ingest.metadata.exif import read_tags
from ingest.photographs import measure_picture, why_unreadable


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
