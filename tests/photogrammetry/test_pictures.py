"""The store of decoded pictures gives back what was put in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from photogrammetry.pictures import (
    PictureStore,
    halve,
    halve_smoothly,
    read_photograph,
    stretched,
)
from tmp.errors import PhotographError


@pytest.fixture
def picture():
    return np.random.default_rng(3).integers(0, 255, (130, 201, 3)).astype(np.uint8)


def test_halving_averages_two_by_two_and_drops_an_odd_rest():
    picture = np.array([[0, 4, 9], [8, 4, 9], [1, 1, 1]], np.uint8)
    assert halve(picture).tolist() == [[4]]


def test_halving_smoothly_weighs_four_by_four_and_keeps_the_corner():
    picture = np.zeros((8, 8), np.uint8)
    picture[2, 2] = 128
    # 3/8 × 3/8 for the pixel it lies in, 3/8 × 1/8 and 1/8 × 1/8 for those beside.
    assert halve_smoothly(picture)[:2, :2].tolist() == [[2, 6], [6, 18]]
    assert (halve_smoothly(np.full((6, 6), 77, np.uint8)) == 77).all()


def test_rows_of_three_pixels_leave_an_eighth_of_their_contrast():
    x = np.arange(360)
    rows = np.broadcast_to(128 + 100 * np.cos(2 * np.pi * (x + 0.5) / 3), (24, 360))
    picture = np.rint(rows).astype(np.uint8)

    def swing(halved):
        return np.abs(halved[4, 8:-8].astype(float) - 128).max()

    # The half pixel is the corner's: cosines of 60° in one factor and of 60° thrice in the other.
    assert swing(halve(picture)) == pytest.approx(50, abs=2)
    assert swing(halve_smoothly(picture)) == pytest.approx(12.5, abs=2)


def test_a_smooth_pyramid_is_stored_beside_and_begins_with_the_picture(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    store.save("a.jpg", picture, halvings=1)
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    for level, expected in enumerate((grey, halve_smoothly(grey)), start=1):
        found, returned = store.grey("a.jpg", level, smooth=True)
        assert returned == level
        np.testing.assert_array_equal(found, expected)
    assert store.grey("a.jpg", 9, smooth=True)[1] == store.grey("a.jpg", 9)[1]


def test_a_pyramid_of_an_earlier_version_counts_as_lacking(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    store.save("a.jpg", picture, halvings=0)
    head = next(tmp_path.glob("*.json"))
    head.rename(head.with_name(head.name.replace(".levels", "")))
    assert store.lacking(["a.jpg"]) == ["a.jpg"]


def test_a_stored_pyramid_comes_back_level_by_level(tmp_path, picture):
    store = PictureStore(folder=tmp_path / "pictures")
    store.save("flight 1/ä.jpg", picture, halvings=0)
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    for level, expected in enumerate((grey, halve(grey), halve(halve(grey)))):
        found, returned = store.grey("flight 1/ä.jpg", level)
        assert returned == level
        np.testing.assert_array_equal(found, expected)


def test_a_level_that_is_not_stored_gives_the_nearest(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    store.save("a.jpg", picture, halvings=1)
    found, level = store.grey("a.jpg", 0)
    assert level == 1
    assert found.shape == picture.shape[:2]
    assert store.grey("a.jpg", 9)[1] == 5  # 130 rows are 8 after four halvings more


def test_a_thumbnail_is_the_photograph_halved_four_times(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    store.save("a.jpg", picture, halvings=0)
    expected = halve(halve(halve(halve(picture))))
    np.testing.assert_array_equal(store.thumbnail("a.jpg"), expected)


def test_a_store_knows_what_it_has(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    assert not store.has("a.jpg", finest_level=0)
    store.save("a.jpg", picture, halvings=1)
    assert store.has("a.jpg", finest_level=1)
    assert not store.has("a.jpg", finest_level=0)
    assert not list(tmp_path.glob("*.part"))


def test_a_store_names_what_it_lacks(tmp_path, picture):
    store = PictureStore(folder=tmp_path / "pictures")
    assert store.lacking(["a.jpg", "day 1/b.jpg"]) == ["a.jpg", "day 1/b.jpg"]
    store.save("day 1/b.jpg", picture, halvings=0)
    assert store.lacking(["a.jpg", "day 1/b.jpg"]) == ["a.jpg"]


def test_a_torn_head_file_counts_as_absent(tmp_path, picture):
    store = PictureStore(folder=tmp_path)
    store.save("a.jpg", picture, halvings=0)
    next(tmp_path.glob("*.json")).write_text('{"levels": [')
    assert not store.has("a.jpg", finest_level=0)


def test_a_photograph_is_decoded_small_on_request(tmp_path, picture):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    np.testing.assert_array_equal(read_photograph(path), picture)
    assert read_photograph(path, halvings=1).shape == (65, 100, 3)


def test_a_torn_photograph_is_refused_by_name(tmp_path):
    path = tmp_path / "torn.jpg"
    path.write_bytes(b"\xff\xd8\xff nothing more")
    with pytest.raises(PhotographError, match=r"torn\.jpg.*copy it again"):
        read_photograph(path)


def test_a_picture_of_16_bits_is_stretched_over_all_8(tmp_path):
    ramp = np.linspace(5000, 9000, 200 * 300).reshape(200, 300).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "band.tif"), ramp)
    picture = read_photograph(tmp_path / "band.tif")
    assert picture.shape == (200, 300, 3)
    assert picture.dtype == np.uint8
    assert (picture[0, 0] == 0).all()
    assert (picture[-1, -1] == 255).all()
    assert read_photograph(tmp_path / "band.tif", halvings=1).shape == (100, 150, 3)


def test_a_quarter_of_the_light_is_half_as_bright_after_stretching():
    stored = np.zeros((80, 80), np.uint16)
    stored[:, 40:60], stored[:, 60:] = 1000, 4000
    assert stretched(stored)[0, [0, 50, 70], 0].tolist() == [0, 128, 255]


def test_an_even_picture_is_stretched_to_something_finite():
    assert np.ptp(stretched(np.full((20, 20), 700, np.uint16))) == 0


def test_a_tiff_of_8_bits_is_left_as_it_is(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.tif"), picture)
    np.testing.assert_array_equal(read_photograph(tmp_path / "a.tif"), picture)
