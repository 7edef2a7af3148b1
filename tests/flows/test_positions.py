import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.positions import (
    OpenShape,
    contradicted,
    far_positions,
    gnss_residuals,
    open_shape,
    position_warnings,
    say_open_shape,
    shape_left_open,
    without_single_positions,
)
from tmp.captures import Capture, HeightDatum
from tmp.reconstruction import Reconstruction

Captures = tuple[Capture, ...]


def moved(block: Reconstruction, residuals: np.ndarray) -> Reconstruction:
    """Return a block whose photographs lie so far from their recorded positions."""
    return replace(
        block,
        photos=tuple(
            replace(photo, gnss_residual_m=tuple(map(float, residual)))
            for photo, residual in zip(block.photos, residuals, strict=True)
        ),
    )


def test_residuals_are_summarised_for_each_axis(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    photos = tuple(
        replace(photo, gnss_residual_m=(0.1, -0.2 if i % 2 else 0.2, 0.0))
        for i, photo in enumerate(reconstruction.photos)
    )
    east, north, up = gnss_residuals(replace(reconstruction, photos=photos), captures)
    assert (east.axis, east.mean_m, east.rms_m) == ("east", pytest.approx(0.1), pytest.approx(0.1))
    assert (north.mean_m, north.rms_m, north.largest_m) == pytest.approx((0.0, 0.2, 0.2))
    assert (north.stated_sigma_m, up.stated_sigma_m) == (2.0, 4.0)


def test_tilt_and_scale_of_four_corners_are_those_worked_by_hand() -> None:
    # Four corners of 60 × 40 m: root mean squares 30 and 20 m from the middle, n = 4.
    corners = np.array([(-30, -20), (30, -20), (-30, 20), (30, 20)], float)
    found = open_shape(corners, 3.0, 6.0)
    assert found.tilt_deg == pytest.approx(math.degrees(6 / (2 * 20)))
    assert found.scale == pytest.approx(3 / (2 * math.hypot(30, 20)))


def test_tilt_and_scale_are_as_open_as_trials_show() -> None:
    rng = np.random.default_rng(11)
    places = rng.uniform((-60, -20), (60, 20), (25, 2))
    found = open_shape(places, 2.0, 4.0)
    centred = places - places.mean(axis=0)
    narrow = np.linalg.svd(centred)[2][1]
    plane = np.column_stack([centred, np.ones(len(places))])
    slopes, scales = [], []
    for _ in range(4000):
        slope, *_ = np.linalg.lstsq(plane, rng.normal(0, 4.0, len(places)), rcond=None)
        slopes.append(slope[:2] @ narrow)
        seen = centred + rng.normal(0, 2.0, centred.shape)
        # The similarity in plan as one complex number, by least squares.
        a, b = (xy @ (1, 1j) for xy in (centred, seen - seen.mean(axis=0)))
        scales.append(float(np.real(np.vdot(a, b) / np.vdot(a, a))))
    # A standard deviation from 4 000 trials is good to 1.1 %.
    assert found.tilt_deg == pytest.approx(math.degrees(np.std(slopes)), rel=0.04)
    assert found.scale == pytest.approx(np.std(scales), rel=0.04)


@given(st.floats(1.5, 20), st.floats(0, math.tau))
def test_a_larger_block_leaves_less_open_whichever_way_it_lies(times: float, turn: float) -> None:
    places = np.array([(0, 0), (40, 5), (10, 30), (35, 33)], float)
    c, s = math.cos(turn), math.sin(turn)
    small, large = open_shape(places, 2, 4), open_shape(times * places @ [[c, s], [-s, c]], 2, 4)
    assert large.tilt_deg == pytest.approx(small.tilt_deg / times)
    assert large.scale == pytest.approx(small.scale / times)


@pytest.mark.parametrize("places", [[(0, 0), (1, 1)], [(0, 0), (10, 10), (20, 20)]])
def test_positions_along_a_line_leave_the_tilt_open(places: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="along one line"):
        open_shape(np.array(places, float), 2.0, 4.0)


def test_what_positions_leave_open_is_said_with_its_numbers(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    shape = shape_left_open(reconstruction, captures)
    assert isinstance(shape, OpenShape)
    said = say_open_shape(reconstruction, captures, shape)
    assert f"tilt open by {shape.tilt_deg:.2g}°" in said
    assert said.startswith("16 positions good to")
    nowhere = moved(reconstruction, np.zeros((16, 3)))
    nowhere = replace(
        nowhere, photos=tuple(replace(p, gnss_residual_m=None) for p in nowhere.photos)
    )
    assert shape_left_open(nowhere, captures) is None
    assert say_open_shape(nowhere, captures, None) == ""


def test_loose_positions_that_fit_are_said_to_shift_the_map(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    assert not contradicted(reconstruction, captures)
    (said,) = position_warnings(reconstruction, captures, HeightDatum.ELLIPSOID)
    assert said.startswith("Positions are good to about 2 m each")
    shape = shape_left_open(reconstruction, captures)
    assert shape is not None
    assert f"a tilt of {shape.tilt_deg:.2g}° and a scale of {100 * shape.scale:.2g} % open" in said
    strip = replace(reconstruction, photos=reconstruction.photos[:4])
    (said,) = position_warnings(strip, captures, HeightDatum.ELLIPSOID)
    assert "any tilt about the flight line open" in said


@pytest.mark.parametrize("far", [16, 4])
def test_positions_that_contradict_the_map_are_not_called_good(
    reconstruction: Reconstruction, captures: Captures, far: int
) -> None:
    # Stated are 2 m and 4 m in height.
    off = np.zeros((16, 3))
    off[:far] = (3.0, -15.0, 20.0)
    block = moved(reconstruction, off)
    assert contradicted(block, captures)
    (said,) = position_warnings(block, captures, HeightDatum.ELLIPSOID)
    rms = math.sqrt(far / 16)
    assert f"{3 * rms:.1f} m east, {15 * rms:.1f} m north, {20 * rms:.1f} m up (RMS)" in said
    assert "where 2 m and 4 m in height are stated" in said
    assert f"{far} of 16 lie more than 5 standard deviations off" in said
    assert "good to" not in said


def test_all_a_little_too_far_contradict_too(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    signs = np.where(np.arange(16) % 2, 1.0, -1.0)[:, None]
    block = moved(reconstruction, signs * (0.0, 5.0, 0.0))  # 2.5 sigmas each, none far off
    assert far_positions(block, captures) == []
    assert contradicted(block, captures)


def test_one_bad_position_is_one_warning_with_its_name(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    off = np.zeros((16, 3))
    off[3] = (0.0, 60.0, 0.0)
    block = moved(reconstruction, off)
    assert not contradicted(block, captures)
    assert far_positions(block, captures) == [("DJI_0003.JPG", pytest.approx(60.0))]
    bad, good = position_warnings(block, captures, HeightDatum.ELLIPSOID)
    assert bad.startswith("1 recorded position is far off, by up to 60 m (DJI_0003.JPG)")
    assert good.startswith("Positions are good to about 2 m")


def test_warnings_of_single_positions_are_taken_together() -> None:
    single = "a b/DJI_0001.JPG: the recorded position is 41.0 m from where the tie points put it."
    assert without_single_positions(["Fly higher.", single]) == ["Fly higher."]
