from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.radiometry.calibration_methods import fit_line, spans_a_line
from tmp.errors import InputError


def test_two_targets_give_the_line_through_them():
    line = fit_line([2.0, 10.0], [0.05, 0.45])
    assert (line.gain, line.offset) == pytest.approx((0.05, -0.05))
    assert line.residual == pytest.approx(0.0, abs=1e-12)
    assert "above 0.68 it is far extrapolated" in line.said


def test_targets_of_one_reflectance_fix_no_offset():
    line = fit_line([4.0, 5.0], [0.5, 0.5])
    assert not spans_a_line([0.5, 0.5])
    assert line.offset == 0
    assert line.gain == pytest.approx(4.5 / 41)


def test_a_contradiction_is_refused_with_its_numbers():
    with pytest.raises(InputError, match=r"0\.05 at radiance 10"):
        fit_line([10.0, 2.0], [0.05, 0.45])


@given(st.floats(0.01, 10), st.floats(-0.1, 0.1), st.integers(3, 8))
def test_a_perfect_line_is_found_again(gain, offset, count):
    radiance = np.linspace(0.1, 1.0, count) / gain
    line = fit_line(radiance, gain * radiance + offset)
    assert line.gain == pytest.approx(gain, rel=1e-6)
    assert line.offset == pytest.approx(offset, abs=1e-6)
    assert line.residual == pytest.approx(0, abs=1e-8)
