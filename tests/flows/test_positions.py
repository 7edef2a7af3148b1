from dataclasses import replace

import numpy as np
import pytest

from flows.report.findings import far_positions, gnss_residuals, position_warnings, say_firmness
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


def test_loose_positions_that_fit_are_said_to_shift_the_map(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    figures = {"tilt_sigma_deg": 1.25, "scale_sigma": 0.031}
    block = replace(reconstruction, figures=dict(reconstruction.figures) | figures)
    (said,) = position_warnings(block, captures, HeightDatum.ELLIPSOID)
    assert said.startswith("Positions are good to about 2 m each")
    assert "a tilt of 1.2° and a scale of 3.1 % stay open" in said


def test_positions_that_contradict_the_map_are_not_called_good(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    warning = "The recorded heights drift by 99 m against the photographs."
    block = replace(reconstruction, warnings=(warning,))
    assert position_warnings(block, captures, HeightDatum.ELLIPSOID) == []


def test_one_bad_position_stands_in_the_table(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    off = np.zeros((16, 3))
    off[3] = (0.0, 60.0, 0.0)
    block = moved(reconstruction, off)
    assert far_positions(block, captures) == [("DJI_0003.JPG", pytest.approx(60.0))]


def test_what_level_and_scale_rest_on_is_said_with_numbers() -> None:
    figures = {
        "level_from": "views, level flight",
        "heights_from": "none",
        "tilt_sigma_deg": 2.1,
        "scale_sigma": 0.09,
    }
    said = say_firmness(figures)
    assert said.startswith("Levelled by views, level flight, to 2.1°")
    assert "to 9 %" in said
    assert "and GNSS heights" in say_firmness(figures | {"heights_from": "GNSS"})
    assert say_firmness({}) == ""
