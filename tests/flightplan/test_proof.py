"""Casting photographs on terrain, against values worked by hand and the pinhole itself."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.coverage.routes import Line
from flightplan.proof.footprints import GroundCells, Photos, choose_cell
from flightplan.proof.prove import Coverage, prove, prove_phases
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera, Pose
from tmp.errors import InputError

F_PX = 2795.0
CAMERA = Camera(
    camera_id="mini", width_px=4032, height_px=3024, fx_px=F_PX, fy_px=F_PX, cx_px=2016, cy_px=1512
)  # fmt: skip
WIDE = (-300.0, -300.0, 600.0, 600.0)


def terrain_of(height: np.ndarray, cell_m: float = 2.0) -> Terrain:
    """Terrain over `WIDE` from a function's values on `nodes`."""
    return Terrain(heights=height.astype(np.float32), x_min=-300, y_max=600, cell_m=cell_m,
                   datum="test")  # fmt: skip


def nodes(cell_m: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    count = int(900 / cell_m)
    x = -300 + (np.arange(count) + 0.5) * cell_m
    y = 600 - (np.arange(count) + 0.5) * cell_m
    return np.meshgrid(x, y)


def one(x: float, y: float, z: float, heading: float = 0.0, pitch: float = -90.0) -> Photos:
    return Photos(
        position=np.array([[x, y, z]]),
        heading_deg=np.array([heading]),
        pitch_deg=np.array([pitch]),
        line=np.array([0]),
    )


def block(height_m: float, front: float, side: float, size: tuple[float, float]) -> list[Line]:
    """Lines over a rectangle at the origin, along x, as far beyond it as a footprint."""
    wide, tall = (px / F_PX * height_m for px in (4032, 3024))
    lines = []
    for number, y in enumerate(np.arange(-wide, size[1] + wide, (1 - side) * wide)):
        photos = int((size[0] + 2 * tall) / ((1 - front) * tall)) + 1
        end = -tall + (photos - 1) * (1 - front) * tall
        line = Line(start=(-tall, float(y)), end=(float(end), float(y)), photos=photos)
        lines.append(line if number % 2 == 0 else line.reversed())
    return lines


def test_level_ground_is_seen_as_often_as_the_overlaps_say_at_exactly_height_over_focal() -> None:
    """75 % by 70 % is 13.3 photographs of each place: 4 along the line by 3 or 4 across."""
    ground = Terrain.flat(WIDE, height_m=500.0)
    sheet = GroundCells.over(shapely.box(0, 0, 300, 200), ground, 1.0)
    photos = Photos.on_lines(block(60, 0.75, 0.70, (300, 200)), lambda xy: ground.at(xy) + 60)
    coverage = prove(photos, CAMERA, sheet)
    assert coverage.count.mean() == pytest.approx(1 / (0.25 * 0.30), rel=0.01)
    assert coverage.count.min() == 12
    assert coverage.share_below(13) > 0
    np.testing.assert_allclose(coverage.gsd_m, 60 / F_PX, rtol=1e-6)
    np.testing.assert_allclose(coverage.height_agl_m, 60, rtol=1e-6)


def test_a_wall_hides_the_ground_behind_it() -> None:
    """A 20 m wall at x = 10 to 12 seen from 60 m at x = 0: shadow to 12 · 60 / 40 = 18 m."""
    x, _ = nodes(0.5)
    wall = np.where((x > 10) & (x < 12), 20.0, 0.0)
    sheet = GroundCells.over(shapely.box(-20, -20, 30, 20), terrain_of(wall, 0.5), 0.5)
    coverage = prove(one(0, 0, 60, heading=90), CAMERA, sheet)
    centres, _ = sheet.grid.cell_centres()
    middle = coverage.count[coverage.count.shape[0] // 2]
    assert middle[(centres > -20) & (centres < 9.5)].all()
    assert not middle[(centres > 12.5) & (centres < 17.2)].any()
    assert middle[(centres > 18.3) & (centres < 28)].all()


def test_a_tilted_plane_is_seen_where_the_pinhole_says_and_as_sharp() -> None:
    """15° slope rising east: footprint and pixel size from the plane's own equations."""
    x, _ = nodes()
    rise = np.tan(np.radians(15))
    sheet = GroundCells.over(shapely.box(-60, -60, 60, 60), terrain_of(rise * x), 0.5)
    coverage = prove(one(0, 0, 60, heading=90), CAMERA, sheet)
    centres, _ = sheet.grid.cell_centres()
    middle = coverage.count[coverage.count.shape[0] // 2] > 0
    half = 1512 / F_PX  # tangent of half the field of view along the line
    uphill, downhill = 60 * half / (1 + rise * half), -60 * half / (1 - rise * half)
    assert centres[middle].max() == pytest.approx(uphill, abs=0.5)
    assert centres[middle].min() == pytest.approx(downhill, abs=0.5)
    # Below the camera a pixel is as long up the slope as level ground's, over the cosine.
    at = coverage.gsd_m[120, 120]
    assert at == pytest.approx(60 / F_PX / np.cos(np.radians(15)), rel=0.01)


@settings(max_examples=25, deadline=None)
@given(
    heading=st.floats(0, 360),
    pitch=st.floats(-90, -55),
    x=st.floats(-20, 20),
    k1=st.sampled_from([0.0, -0.05, 0.04]),
)
def test_a_cell_is_seen_exactly_where_it_projects_into_the_picture(
    heading: float, pitch: float, x: float, k1: float
) -> None:
    camera = Camera(
        camera_id="small", width_px=400, height_px=300, fx_px=280, fy_px=280, cx_px=190, cy_px=155,
        k1=k1,
    )  # fmt: skip
    xx, yy = nodes()
    ground = terrain_of(4 * np.sin(xx / 40) + 3 * np.cos(yy / 30))
    sheet = GroundCells.over(shapely.box(-150, -150, 150, 150), ground, 5.0)
    coverage = prove(one(x, 3, 60, heading, pitch), camera, sheet)
    cx, cy = np.meshgrid(*sheet.grid.cell_centres())
    cells = np.column_stack([cx.ravel(), cy.ravel(), sheet.ground_m.ravel()])
    pose = Pose.from_gimbal(heading, pitch, 0.0, (x, 3, 60))
    cam = pose.cam_from_world(cells)
    px, py = camera.pixel_from_cam(cam).T
    away = np.hypot(cells[:, 0] - x, cells[:, 1] - 3)
    steep = 60 - cells[:, 2] > away * np.tan(np.radians(10))
    # Brown's polynomial folds far rays back into the picture; a real lens does not.
    inside = (px >= 0) & (px <= 400) & (py >= 0) & (py <= 300) & steep
    inside &= np.hypot(cam[:, 0], cam[:, 1]) < 2 * cam[:, 2]
    differing = inside != (coverage.count.ravel() > 0)
    assert differing.mean() < 0.002


@settings(max_examples=25, deadline=None)
@given(
    heading=st.floats(0, 360),
    pitch=st.floats(-90, -55),
    rise=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
)
def test_a_pixel_is_as_long_on_a_slope_as_its_projection_stretches(
    heading: float, pitch: float, rise: tuple[float, float]
) -> None:
    """Two steps on the ground, one pixel between their images: the singular values tell."""
    x, y = nodes()
    sheet = GroundCells.over(
        shapely.box(-60, -60, 60, 60), terrain_of(rise[0] * x + rise[1] * y), 4.0
    )
    coverage = prove(one(0, 0, 60, heading, pitch), CAMERA, sheet)
    seen = coverage.count > 0
    assert seen.any()
    cx, cy = np.meshgrid(*sheet.grid.cell_centres())
    cells = np.column_stack([cx[seen], cy[seen], rise[0] * cx[seen] + rise[1] * cy[seen]])
    pose = Pose.from_gimbal(heading, pitch, 0.0, (0, 0, 60))

    def pixels(places: np.ndarray) -> np.ndarray:
        return CAMERA.pixel_from_cam(pose.cam_from_world(places))

    east = np.array([1.0, 0, rise[0]]) / np.hypot(1, rise[0])
    north = np.cross(
        np.array([-rise[0], -rise[1], 1]) / np.sqrt(1 + rise[0] ** 2 + rise[1] ** 2), east
    )
    step = 1e-3
    moved = [(pixels(cells + step * each) - pixels(cells)) / step for each in (east, north)]
    smaller = np.linalg.svd(np.stack(moved, axis=-1), compute_uv=False)[:, 1]
    np.testing.assert_allclose(coverage.gsd_m[seen], 1 / smaller, rtol=1e-3)


def test_coverage_of_two_halves_adds_up_to_the_whole() -> None:
    x, y = nodes()
    ground = terrain_of(10 * np.sin(x / 25) * np.cos(y / 35))
    sheet = GroundCells.over(shapely.box(0, 0, 120, 90), ground, 1.0)
    lines = block(60, 0.75, 0.70, (120, 90))

    def of(part: list[Line]) -> Coverage:
        return prove(Photos.on_lines(part, lambda xy: ground.at(xy) + 60), CAMERA, sheet)

    whole, halves = of(lines), of(lines[::2]).plus(of(lines[1::2]))
    np.testing.assert_array_equal(whole.count, halves.count)
    np.testing.assert_array_equal(whole.gsd_m, halves.gsd_m)
    np.testing.assert_array_equal(whole.height_agl_m, halves.height_agl_m)


def test_threads_do_not_change_the_proof() -> None:
    ground = Terrain.flat(WIDE)
    sheet = GroundCells.over(shapely.box(0, 0, 100, 290), ground, 0.5)
    photos = Photos.on_lines(block(60, 0.6, 0.6, (100, 290)), lambda xy: ground.at(xy) + 60)
    np.testing.assert_array_equal(
        prove(photos, CAMERA, sheet, workers=1).count, prove(photos, CAMERA, sheet, workers=2).count
    )


@pytest.mark.parametrize("follow", [False, True])
def test_a_slope_flown_at_one_height_is_missed_and_followed_is_covered(follow: bool) -> None:
    """15° across the lines, 300 × 200 m: 11 % unseen at one height, none when followed."""
    _, y = nodes()
    ground = terrain_of(np.tan(np.radians(15)) * y)
    sheet = GroundCells.over(shapely.box(0, 0, 300, 200), ground, 1.0)
    # Lines and photographs only over the area itself, as most planners lay them.
    lines = [
        Line(start=(0.0, float(across)), end=(300.0, float(across)), photos=20)
        for across in np.linspace(0, 200, 9)
    ]
    photos = Photos.on_lines(lines, lambda xy: ground.at(xy) * follow + 60)
    coverage = prove(photos, CAMERA, sheet)
    if follow:
        assert coverage.count.min() >= 4
        assert coverage.gsd_m.max() == pytest.approx(60 / F_PX, rel=0.05)
    else:
        assert coverage.share_below(1) > 0.05
        assert coverage.gsd_m.min() < 0.01


def test_cells_are_a_tenth_of_the_spacing_but_fit_a_narrow_area() -> None:
    assert choose_cell(15.0, shapely.box(0, 0, 1000, 1000)) == 1.5
    assert choose_cell(15.0, shapely.box(0, 0, 1000, 4)) == 0.5
    assert choose_cell(1.0, shapely.box(0, 0, 10_000, 10_000)) == pytest.approx(3.54, abs=0.01)


def test_terrain_that_does_not_cover_the_area_is_refused() -> None:
    with pytest.raises(InputError, match="does not cover the area"):
        GroundCells.over(shapely.box(0, 0, 5000, 10), Terrain.flat(WIDE), 1.0)


def test_cells_too_coarse_for_the_area_are_refused() -> None:
    with pytest.raises(InputError, match="too coarse"):
        GroundCells.over(shapely.box(0, 0, 3, 3), Terrain.flat(WIDE), 10.0)


def test_photographs_without_a_height_are_refused() -> None:
    with pytest.raises(InputError, match="no finite position"):
        one(0, 0, float("nan"))


def test_flying_below_the_ground_sees_nothing(caplog: pytest.LogCaptureFixture) -> None:
    sheet = GroundCells.over(shapely.box(0, 0, 50, 50), Terrain.flat(WIDE, height_m=100), 1.0)
    with caplog.at_level(logging.DEBUG):
        coverage = prove(one(25, 25, 40), CAMERA, sheet)
    assert coverage.count.max() == 0
    assert np.isinf(coverage.gsd_m).all()
    assert "1 photographs cast" in caplog.text


def test_a_place_counts_with_the_phase_by_which_each_line_sees_it_least() -> None:
    # Pictures 29 m wide: a phase moves that of one line or that of the other off x = 25.
    sheet = GroundCells.over(shapely.box(0, 0, 50, 50), Terrain.flat(WIDE), 1.0)

    def two(first: float, second: float) -> Photos:
        places = np.array([(first, 25.0, 20.0), (second, 25.0, 20.0)])
        pitch = np.full(2, -90.0)
        return Photos(position=places, heading_deg=np.zeros(2), pitch_deg=pitch, line=np.arange(2))

    phases = [two(15, 35), two(5, 35), two(15, 45)]
    ones = [prove(phase, CAMERA, sheet) for phase in phases]
    found = prove_phases(phases, CAMERA, sheet)
    assert (found.count <= np.min([one.count for one in ones], axis=0)).all()
    assert found.count.max() < ones[0].count.max() == 2
    # In one phase or another each place may be missed by both, as their phases are not tied.
    assert (found.count < np.min([one.count for one in ones], axis=0)).any()
    assert np.array_equal(prove_phases(phases[:1], CAMERA, sheet).count, ones[0].count)
    tilted = [replace(phase, pitch_deg=np.array([-90.0, -65.0])) for phase in phases]
    aslant = [prove(phase, CAMERA, sheet).oblique for phase in tilted]
    sure = prove_phases(tilted, CAMERA, sheet).oblique
    assert np.array_equal(sure, np.min(aslant, axis=0))
    assert sure.max() == 1
    assert (sure < aslant[0]).any()
