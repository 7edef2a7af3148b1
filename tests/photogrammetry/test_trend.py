"""Sheets through scattered heights."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.surface.trend import Trend, fit_sheet, medians_of, trend_of


def scattered(height, number: int = 4000, size_m: float = 200.0):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, size_m, (2, number))
    return np.column_stack([x, y, height(x, y)])


def laid(points, flying_height_m: float = 40.0) -> Trend:
    return trend_of(points, flying_height_m, np.full(len(points), 4))


def test_a_plane_is_followed_and_goes_on_beyond_its_points():
    trend = laid(scattered(lambda x, y: 500 + 0.6 * x - 0.3 * y))
    x, y = np.meshgrid(np.linspace(10, 190, 20), np.linspace(10, 190, 20))
    assert trend.at(x, y) == pytest.approx(500 + 0.6 * x - 0.3 * y, abs=0.5)
    assert float(trend.at(np.array(220.0), np.array(100.0))) == pytest.approx(602.0, abs=4.0)


def test_a_hill_wider_than_the_flying_height_is_followed():
    def hill(x, y):
        return 30 * np.exp(-((x - 100) ** 2 + (y - 100) ** 2) / (2 * 50.0**2))

    trend = laid(scattered(hill))
    x, y = np.meshgrid(np.linspace(20, 180, 20), np.linspace(20, 180, 20))
    assert np.abs(trend.at(x, y) - hill(x, y)).max() < 3.0


def test_a_few_wild_points_do_not_pull_the_sheet_away():
    points = scattered(lambda x, y: np.zeros_like(x))
    points[::40, 2] = 60.0
    trend = laid(points)
    assert np.abs(trend.at(points[:, 0], points[:, 1])).max() < 3.0


def test_points_that_only_two_photographs_see_are_left_out_where_there_are_others():
    points = scattered(lambda x, y: np.zeros_like(x))
    views = np.full(len(points), 4)
    views[::2] = 2
    points[::2, 2] = 9.0
    trend = trend_of(points, 40.0, views)
    assert np.abs(trend.at(points[:, 0], points[:, 1])).max() < 0.1


def test_a_sheet_through_nothing_is_level():
    assert (fit_sheet(np.zeros((20, 30)), np.zeros((20, 30))) == 0).all()


def test_a_sheet_is_followed_where_it_is_known_and_goes_on_smoothly():
    row, col = np.indices((64, 96)).astype(float)
    known = (col < 48).astype(float)
    sheet = fit_sheet(np.where(known > 0, 300 + 0.1 * row, 0.0), known, support=2.0)
    assert sheet[:, :40] == pytest.approx(300 + 0.1 * row[:, :40], abs=0.25)
    assert np.abs(np.diff(sheet, axis=1)).max() < 0.2


def test_raising_the_heights_raises_the_sheet():
    points = scattered(lambda x, y: 0.2 * x + 3 * np.sin(y / 30))
    raised = laid(points + np.array([0, 0, 250.0]))
    x, y = np.linspace(0, 200, 30), np.linspace(0, 200, 30)
    np.testing.assert_allclose(raised.over(x, y), laid(points).over(x, y) + 250, atol=1e-6)
    np.testing.assert_allclose(raised.over(x, y), laid(points).shifted(250).over(x, y), atol=1e-6)


def test_medians_ignore_points_outside_and_weigh_lone_ones_less():
    points = np.array([[0.5, 0.5, 1.0], [0.6, 0.4, 3.0], [0.7, 0.3, 50.0], [1.5, 0.5, 7.0]])
    points = np.vstack([points, [9.0, 9.0, 0.0]])
    value, weight = medians_of(points, 0.0, 1.0, 1.0, (1, 2))
    assert value.tolist() == [[3.0, 7.0]]
    assert weight == pytest.approx(np.array([[1.0, 1 / 3]]))
