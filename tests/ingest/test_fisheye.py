from __future__ import annotations

import math

import numpy as np
import pytest

from ingest.metadata.cameras import FisheyeLens, fit_brown, propose_camera
from ingest.metadata.exif import Tags
from tmp.errors import InputError

PARROT = FisheyeLens(polynomial=(0.0, 1.0, 0.010754389, -0.147354298), scale_px=1671.556624069)
"""The near infrared lens of a Sequoia, as its files have it."""
CORNER_PX = 832.0


def test_a_lens_whose_angle_grows_with_distance_has_the_focal_length_of_its_middle():
    equidistant = FisheyeLens(polynomial=(0.0, 1.0, 0.0, 0.0), scale_px=1000.0)
    # r = C 2 t / pi with t = atan(tan) = tan - tan^3 / 3 + ...
    fit = fit_brown(equidistant, 300.0)
    assert fit.focal_px == pytest.approx(2000 / math.pi, rel=1e-4)
    assert fit.k1 == pytest.approx(-1 / 3, abs=0.01)


def test_a_sequoia_is_a_lens_of_brown_to_a_tenth_of_a_pixel():
    fit = fit_brown(PARROT, CORNER_PX)
    assert fit.rms_px < 0.1
    assert fit.max_px < 0.35
    assert fit.focal_px == pytest.approx(3.98 / 0.00375, rel=0.005)  # 3.98 mm, pixels of 3.75 µm


def test_the_fit_lies_on_the_fisheye_at_thirty_degrees():
    fit, tangent = fit_brown(PARROT, CORNER_PX), math.tan(math.radians(30))
    brown = fit.focal_px * (
        tangent + fit.k1 * tangent**3 + fit.k2 * tangent**5 + fit.k3 * tangent**7
    )
    assert brown == pytest.approx(float(PARROT.radius_px(np.array(tangent))), abs=0.2)


def test_a_picture_too_wide_for_brown_is_refused():
    with pytest.raises(InputError, match="does not reach the picture's corner"):
        fit_brown(PARROT, 1500.0)


def fisheye_tags(polynomial: str) -> Tags:
    class Number:
        def __init__(self, value: float) -> None:
            self.values = [value]

    said = {
        "FisheyePolynomial": polynomial,
        "FisheyeAffineMatrix": "1671.556624069,0,0,1671.556624069",
        "PrincipalPoint": "2.544297,1.797905",
    }
    return Tags(
        kind="tiff",
        width_px=1280,
        height_px=960,
        exif={
            "EXIF FocalPlaneXResolution": Number(800 / 3),
            "EXIF FocalPlaneResolutionUnit": Number(4),
        },
        xmp={name: (("http://pix4d.com/camera/1.0/", text),) for name, text in said.items()},
    )


def test_a_file_with_a_fisheye_calibration_gives_a_calibrated_camera():
    camera = propose_camera(fisheye_tags("0,1,0.010754389,-0.147354298"))
    assert camera.distortion_known
    assert (camera.cx_px, camera.cy_px) == pytest.approx((678.48, 479.44), abs=0.01)
    assert "fisheye" in camera.source


def test_a_fisheye_that_bends_back_is_passed_over():
    assert "fisheye" not in propose_camera(fisheye_tags("0,1,0,-2")).source
