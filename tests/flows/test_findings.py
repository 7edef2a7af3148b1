from dataclasses import replace

import numpy as np
import pytest

from flows.findings import (
    camera_height_m,
    coverage,
    gnss_residuals,
    interior_changes,
    list_warnings,
    measured_share,
    not_oriented,
    photograph_gsd_m,
    say_vertical_scale,
)
from flows.report import MapRecord
from tmp.captures import Capture, Flag, HeightDatum
from tmp.grids import Grid
from tmp.rasters import read_grid
from tmp.reconstruction import Reconstruction


def test_residuals_are_summarised_for_each_axis(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    photos = tuple(
        replace(photo, gnss_residual_m=(0.1, -0.2 if i % 2 else 0.2, 0.0))
        for i, photo in enumerate(reconstruction.photos)
    )
    east, north, up = gnss_residuals(replace(reconstruction, photos=photos), captures)
    assert (east.axis, east.mean_m, east.rms_m) == ("east", pytest.approx(0.1), pytest.approx(0.1))
    assert (north.mean_m, north.rms_m, north.largest_m) == pytest.approx((0.0, 0.2, 0.2))
    assert (north.stated_sigma_m, up.stated_sigma_m) == (2.0, 4.0)


def test_gsd_and_height_are_those_of_a_pinhole(reconstruction: Reconstruction) -> None:
    # Cameras at 40 m over tie points about 0, focal length 705 px.
    assert camera_height_m(reconstruction) == pytest.approx(40.0, abs=0.1)
    assert photograph_gsd_m(reconstruction) == pytest.approx(40.0 / 705, rel=2e-3)


def test_change_of_focal_length_is_told_in_sigmas(reconstruction: Reconstruction) -> None:
    (camera_id,) = reconstruction.priors
    rows = {
        row.name: row
        for row in interior_changes(
            reconstruction.priors[camera_id], reconstruction.cameras[camera_id]
        )
    }
    assert rows["focal length x"].in_sigmas == pytest.approx(5.0 / (0.02 * 700))
    assert rows["k1"].in_sigmas is None


def test_measured_share_of_a_raster_with_a_hole(record: MapRecord) -> None:
    path = record.survey.products_dir / "dsm.tif"
    fine = read_grid(path)
    sheet = Grid.from_bounds(fine.bounds, 2.0, fine.crs)
    share = measured_share(path, sheet)
    assert share.max() == 1.0
    hole_m2 = (1 - share[1:-1, 1:-1]).sum() * sheet.cell_m**2
    assert hole_m2 == pytest.approx(np.pi * 5**2, rel=0.02)


def test_coverage_counts_ground_that_three_photographs_see() -> None:
    overlap = np.zeros((20, 20), int)
    overlap[5:15, 5:15] = 3
    measured = np.zeros((20, 20))
    measured[5:15, 5:10] = 1.0
    found = coverage(overlap, measured, cell_m=10.0)
    assert found.seen_ha == pytest.approx(1.0)
    assert found.measured_ha == pytest.approx(0.5)
    assert found.measured_of_seen == pytest.approx(0.5)


def test_good_map_gives_no_warning(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    assert reconstruction.vertical_scale is not None
    good = replace(
        reconstruction,
        left_out={},
        vertical_scale=replace(reconstruction.vertical_scale, weak=False, sigma_scale=0.001),
    )
    precise = [replace(capture, sigma_horizontal_m=0.02) for capture in captures]
    covered = coverage(np.full((9, 9), 5), np.ones((9, 9)), 1.0)
    assert list_warnings(good, precise, covered, HeightDatum.ELLIPSOID) == []


def test_warning_that_orientation_gave_is_not_given_twice(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    said = replace(reconstruction, warnings=("The vertical scale is weak; tilt the camera.",))
    warnings = list_warnings(said, captures, None, HeightDatum.ELLIPSOID)
    assert sum("vertical scale" in warning.lower() for warning in warnings) == 1


def test_holes_and_unknown_heights_are_warned_of(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    covered = coverage(np.full((9, 9), 5), np.full((9, 9), 0.5), 1.0)
    text = " ".join(list_warnings(reconstruction, captures, covered, HeightDatum.UNKNOWN))
    assert "Only 50 % of the ground" in text
    assert "--fill" in text
    assert "vertical_datum in survey.toml" in text


def test_photograph_unused_for_its_flag_is_not_reported_as_failed(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    assert [name for name, _ in not_oriented(reconstruction, captures)] == ["DJI_0016.JPG"]
    flagged = [
        replace(capture, flags=(Flag.DUPLICATE,)) if capture.name == "DJI_0016.JPG" else capture
        for capture in captures
    ]
    assert not_oriented(reconstruction, flagged) == []


def test_vertical_scale_is_said_in_words(reconstruction: Reconstruction) -> None:
    assert "do not fix the vertical scale" in say_vertical_scale(reconstruction.vertical_scale)
    assert say_vertical_scale(None) == "Not examined."
