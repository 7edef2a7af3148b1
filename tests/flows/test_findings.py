from dataclasses import replace

import numpy as np
import pytest

from flows.report.findings import (
    Coverage,
    camera_height_m,
    in_doubt,
    interior_changes,
    list_warnings,
    not_oriented,
    photograph_gsd_m,
    say_vertical_scale,
)
from tmp.captures import Capture, Flag, HeightDatum
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import Reconstruction


@pytest.fixture
def good(reconstruction: Reconstruction) -> Reconstruction:
    """A block that nothing is to be said against."""
    assert reconstruction.vertical_scale is not None
    return replace(
        reconstruction,
        left_out={},
        photos=tuple(
            replace(photo, gnss_residual_m=(0.01, -0.01, 0.02)) for photo in reconstruction.photos
        ),
        vertical_scale=replace(reconstruction.vertical_scale, weak=False, sigma_scale=0.001),
    )


def test_gsd_and_height_are_those_of_a_pinhole(reconstruction: Reconstruction) -> None:
    # Cameras at 40 m over tie points about 0, focal length 705 px.
    assert camera_height_m(reconstruction) == pytest.approx(40.0, abs=0.1)
    assert photograph_gsd_m(reconstruction) == pytest.approx(40.0 / 705, rel=2e-3)


def test_change_of_focal_length_is_told_in_sigmas(reconstruction: Reconstruction) -> None:
    (camera_id,) = reconstruction.priors
    rows = {
        row.symbol: row
        for row in interior_changes(
            reconstruction.priors[camera_id], reconstruction.cameras[camera_id]
        )
    }
    assert rows["fx"].in_sigmas == pytest.approx(5.0 / (0.02 * 700))
    assert rows["k1"].in_sigmas is None


def covered(measured: float) -> Coverage:
    """A hectare that three photographs see, of which a share was measured."""
    return Coverage(
        flown_ha=1.0,
        mapped_ha=measured,
        drawn_ha=1.0,
        seen_by_two_ha=1.0,
        seen_by_three_ha=1.0,
        measured_of_two=measured,
        measured_of_three=measured,
    )


def test_good_map_gives_no_warning(good: Reconstruction, captures: tuple[Capture, ...]) -> None:
    precise = [
        replace(capture, sigma_horizontal_m=0.02, sigma_vertical_m=0.04) for capture in captures
    ]
    assert list_warnings(good, precise, covered(1.0), HeightDatum.ELLIPSOID) == []


def test_warning_that_orientation_gave_is_not_given_twice(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    said = replace(reconstruction, warnings=("The vertical scale is weak; tilt the camera.",))
    warnings = list_warnings(said, captures, None, HeightDatum.ELLIPSOID)
    assert sum("vertical scale" in warning.lower() for warning in warnings) == 1


def test_holes_and_unknown_heights_are_warned_of(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    text = " ".join(list_warnings(reconstruction, captures, covered(0.5), HeightDatum.UNKNOWN))
    assert "50 % of the ground that 3 or more photographs see could not be measured" in text
    assert "the usual causes are water" in text
    assert "--fill" in text
    assert "vertical_datum in survey.toml" in text


def test_many_gaps_are_warned_of_with_their_number_and_the_largest(
    good: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    torn = replace(
        covered(0.95),
        measured_of_two=0.6,
        gaps=3,
        gaps_ha=0.4,
        largest_gaps=((0.1618, 0, 0), (0.0126, 0, 0), (0.0063, 0, 0)),
        islands=1,
        islands_ha=0.01,
    )
    *_, said = list_warnings(good, captures, torn, HeightDatum.ELLIPSOID)
    assert said.startswith("40 % of the ground that two or more photographs see has no measured")
    assert "3 gaps, of 1,620, 126 and 63 m²" in said
    assert "1 piece of measured ground stands alone" in said
    nowhere = replace(good, frame=replace(good.frame, crs=None, origin=None))
    *_, said = list_warnings(nowhere, captures, torn, HeightDatum.ELLIPSOID)
    assert "m²" not in said
    few = replace(torn, measured_of_two=0.95)
    assert not any("gap" in one for one in list_warnings(good, captures, few, HeightDatum.EGM96))


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


@pytest.mark.parametrize(
    "warning", ["By the recorded heights, which were trusted as asked, the map leans by 6°."]
)
def test_a_block_in_doubt_is_not_blamed_on_water(
    good: Reconstruction, captures: tuple[Capture, ...], warning: str
) -> None:
    doubtful = replace(good, warnings=(warning,))
    assert in_doubt(doubtful)
    *_, unmeasured = list_warnings(doubtful, captures, covered(0.5), HeightDatum.ELLIPSOID)
    assert unmeasured.startswith("The orientation itself is in doubt")
    assert "water" not in unmeasured
    assert not in_doubt(good)


def test_a_preview_is_judged_by_the_pixels_that_were_searched(
    good: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    coarse = replace(good, point_residuals_px=np.full_like(good.point_residuals_px, 1.8))
    seen = replace(coarse, figures={**good.figures, "searched_pixel_px": 6.25})
    warnings = list_warnings(seen, captures, covered(1.0), HeightDatum.ELLIPSOID)
    assert not any("fit each other" in warning for warning in warnings)
    told = list_warnings(coarse, captures, covered(1.0), HeightDatum.ELLIPSOID)
    assert "less than 1 px is usual" in " ".join(told)


def test_nothing_is_recommended_that_cannot_be_done(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    nowhere = replace(reconstruction, frame=LocalFrame(origin=None, crs=None))
    for block in (reconstruction, nowhere):
        said = " ".join(list_warnings(block, captures, covered(0.5), HeightDatum.UNKNOWN))
        assert "ground control" not in said
