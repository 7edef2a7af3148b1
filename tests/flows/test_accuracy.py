import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flows.demo import BLOCK_CELLS, edge_displacements, picture_shifts, spread, wall_relief

CELL_M = 0.025
SHAPE = (300, 360)


def texture(seed: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 60, (SHAPE[0] + 40, SHAPE[1] + 40)).astype(np.float32)
    return np.asarray(128 + 3 * cv2.GaussianBlur(noise, (0, 0), 2.0), np.float32)


def cut(image: NDArray[np.float32], dx: float, dy: float) -> NDArray[np.float32]:
    """Cut `SHAPE` out of an image whose content is moved right and down."""
    move = np.array([[1.0, 0, dx - 20], [0, 1.0, dy - 20]])
    return np.asarray(cv2.warpAffine(image, move, SHAPE[::-1], flags=cv2.INTER_CUBIC), np.float32)


@settings(max_examples=10, deadline=None)
@given(dx=st.floats(-6, 6), dy=st.floats(-6, 6))
def test_shift_of_a_picture_is_found_to_a_tenth_of_a_cell(dx: float, dy: float) -> None:
    image = texture()
    shifts = picture_shifts(cut(image, dx, dy), cut(image, 0, 0), np.ones(SHAPE, bool))
    assert len(shifts.cells) == shifts.tried == 9
    np.testing.assert_allclose(np.median(shifts.cells, axis=0), [dx, dy], atol=0.1)


def test_blocks_with_gaps_or_of_another_scene_are_not_believed() -> None:
    one, other = cut(texture(1), 0, 0), cut(texture(2), 0, 0)
    assert len(picture_shifts(one, other, np.ones(SHAPE, bool)).cells) == 0
    known = np.zeros(SHAPE, bool)
    known[:BLOCK_CELLS, :BLOCK_CELLS] = True
    assert picture_shifts(one, one, known).tried == 1


def walls() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Sloping ground with a wall: true surface, wall height, open ground."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    wall = np.where(np.abs(cols - 180) < 16, 0.6, 0.0)
    ground = np.abs(cols - 180) > 30
    return (
        (0.05 * rows * CELL_M + wall).astype(np.float32),
        wall.astype(np.float32),
        ground,
    )


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_share_of_wall_relief_is_found_whatever_the_offset_of_the_surface(share: float) -> None:
    true, wall, ground = walls()
    measured = true - (1 - share) * wall + 0.3
    measured[:40, :50] = np.nan
    assert wall_relief(measured, true, wall, ground, CELL_M) == pytest.approx(share, abs=0.01)


def test_wall_without_measured_cells_has_no_share() -> None:
    true, wall, ground = walls()
    measured = np.where(wall > 0, np.nan, true).astype(np.float32)
    assert np.isnan(wall_relief(measured, true, wall, ground, CELL_M))


OUTLINE = np.array([[120.0, 90.0], [240.0, 90.0], [240.0, 210.0], [120.0, 210.0]])


def house(grown: float) -> NDArray[np.float32]:
    """A house 3 m high on level ground, its outline moved outwards by cells."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    outside = np.maximum(np.abs(cols - 180), np.abs(rows - 150)) - 60 - grown
    return np.asarray(3.0 * np.clip(0.5 - outside, 0, 1), np.float32)


@pytest.mark.parametrize("grown", [-3.0, 0.0, 1.5])
def test_grown_house_shows_edges_moved_outwards(grown: float) -> None:
    moved = edge_displacements(house(grown), house(0.0), [OUTLINE])
    assert len(moved) == 4 * 18
    np.testing.assert_allclose(moved, grown, atol=0.05)


def test_missing_house_shows_no_edge() -> None:
    moved = edge_displacements(np.zeros(SHAPE, np.float32), house(0.0), [OUTLINE])
    assert np.isnan(moved).all()


def test_spread_of_errors_with_outliers() -> None:
    errors = np.random.default_rng(0).normal(0.1, 0.02, 20_000)
    errors[:100] = 5.0
    found = spread(np.append(errors, np.nan))
    assert found.count == 20_000
    assert found.nmad == pytest.approx(0.02, rel=0.05)
    assert found.std > 0.2
    assert np.isnan(spread(np.array([np.nan])).mean)
