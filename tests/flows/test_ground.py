from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.products.table import GroundClass
from flows.report.figures import camera_positions
from flows.report.ground import (
    Ground,
    LeftOut,
    choose_sheet,
    closed_share,
    drawn_share,
    measured_share,
    predict_left_out,
    survey_ground,
    water_share,
)
from flows.report.quality import MapRecord
from photogrammetry.surface.trend import survey_trend
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.reconstruction import Reconstruction

LOST = "DJI_0016.JPG"


def ground_of(record: MapRecord, **changes: object) -> Ground:
    found = replace(record, **changes)  # type: ignore[arg-type]
    return survey_ground(
        found.reconstruction,
        found.captures,
        found.settings.cameras,
        found.results,
        found.survey.products_dir,
        area_wkt=found.area_wkt,
    )


def lost(captures: tuple[Capture, ...], **known: object) -> list[Capture]:
    """Return the photograph that was left out, with more that is known of it."""
    (capture,) = (c for c in captures if c.name == LOST)
    return [replace(capture, **known)]  # type: ignore[arg-type]


def without_blurred(record: MapRecord) -> tuple[Capture, ...]:
    return tuple(c for c in record.captures if c.name != "DJI_0017.JPG")


def area_of(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_measured_share_of_a_raster_with_a_hole(record: MapRecord) -> None:
    path = record.survey.products_dir / "dsm.tif"
    fine = read_grid(path)
    sheet = Grid.from_bounds(fine.bounds, 2.0, fine.crs)
    share = measured_share(path, sheet)
    assert share.max() == 1.0
    hole_m2 = (1 - share[1:-1, 1:-1]).sum() * sheet.cell_m**2
    assert hole_m2 == pytest.approx(np.pi * 5**2, rel=0.02)


def test_closed_gaps_are_a_share_of_the_heights(tmp_path: Path) -> None:
    views = np.full((700, 30), 255, np.uint8)
    views[100:600, :10] = 3
    views[590:600, :10] = 0
    path = tmp_path / "dsm_views.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30, height=700, count=1, dtype="uint8", nodata=255,
        transform=rasterio.Affine(0.5, 0, 5, 0, -0.5, 5),
    ) as file:  # fmt: skip
        file.write(views, 1)
    assert closed_share(path) == pytest.approx(10 / 500)


def test_water_is_a_share_of_each_cell(tmp_path: Path) -> None:
    classes = np.full((700, 40), GroundClass.MEASURED, np.uint8)
    classes[:650, :15] = GroundClass.WATER
    classes[650:, 20:] = GroundClass.NOTHING
    path = tmp_path / "classes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=40, height=700, count=1, dtype="uint8", nodata=0,
        transform=rasterio.Affine(0.5, 0, 5, 0, -0.5, 350),
    ) as file:  # fmt: skip
        file.write(classes, 1)
    sheet = Grid(crs=None, x_min=5, y_max=350, cell_m=5.0, rows=70, cols=4)
    wanted = np.zeros((70, 4))
    wanted[:65] = (1.0, 0.5, 0.0, 0.0)
    assert water_share(path, sheet) == pytest.approx(wanted)


def test_drawn_share_is_that_of_the_alpha(record: MapRecord) -> None:
    path = record.survey.products_dir / "orthomosaic.tif"
    fine = read_grid(path)
    west, south, east, north = fine.bounds
    sheet = Grid.from_bounds((west - 10, south, east + 10, north), 2.0, fine.crs)
    drawn_m2 = drawn_share(path, sheet).sum() * sheet.cell_m**2
    assert drawn_m2 == pytest.approx(80 * 70 - np.pi * 5**2, rel=0.01)


def test_areas_are_those_worked_by_hand() -> None:
    overlap = np.zeros((20, 20), int)
    overlap[5:15, 5:15] = 3
    overlap[5:15, 3:5] = 2
    overlap[5:15, 1:3] = 1
    measured, drawn = np.zeros((20, 20)), np.zeros((20, 20))
    measured[5:15, 5:10] = 1.0
    drawn[5:15, 3:15] = 1.0
    ground = Ground(
        sheet=Grid(crs=None, x_min=0, y_max=0, cell_m=10.0, rows=20, cols=20),
        overlap=overlap,
        framed=overlap,
        flown=overlap > 0,
        measured=measured,
        drawn=drawn,
        asked=np.ones((20, 20), bool),
        water=np.zeros((20, 20)),
    )
    found = ground.coverage()
    assert (found.flown_ha, found.mapped_ha, found.drawn_ha) == pytest.approx((1.4, 0.5, 1.2))
    assert (found.seen_by_two_ha, found.seen_by_three_ha) == pytest.approx((1.2, 1.0))
    assert (found.measured_of_two, found.measured_of_three) == pytest.approx((0.5 / 1.2, 0.5))
    assert found.mapped_of_flown == pytest.approx(0.5 / 1.4)
    assert ground.rim.sum() == 20
    # What two see and nothing measures lies west and east of the measured ground.
    assert (found.gaps, found.islands) == (2, 0)
    assert found.gaps_ha == pytest.approx(0.7)
    east_gap, west_gap = found.largest_gaps
    assert east_gap == pytest.approx((0.5, 125, -95), abs=20)
    assert west_gap == pytest.approx((0.2, 40, -100), abs=50)
    # Where a photograph left out looks too, there would have been two.
    corners = np.array([(10, -50), (20, -50), (20, -150), (10, -150)], float)
    lost = LeftOut(name="lost", place=(15.0, -100.0), footprint=corners)
    assert replace(ground, left_out=(lost,)).rim.sum() == 10
    # Within an area of the eastern half, only that half counts.
    east = np.zeros((20, 20), bool)
    east[:, 10:] = True
    half = replace(ground, asked=east).coverage()
    assert (half.flown_ha, half.mapped_ha) == pytest.approx((0.5, 0.0))


def test_measured_ground_that_a_gap_parts_is_an_island_and_specks_are_neither() -> None:
    measured = np.ones((20, 20))
    measured[:, 8:10] = 0.0  # a gap of 40 cells from north to south
    measured[:, 8] = 0.4  # less than half of a cell counts as none
    measured[3, 3] = 0.0  # a speck
    ground = Ground(
        sheet=Grid(crs=None, x_min=0, y_max=0, cell_m=1.0, rows=20, cols=20),
        overlap=np.full((20, 20), 2),
        framed=np.full((20, 20), 2),
        flown=np.ones((20, 20), bool),
        measured=measured,
        drawn=measured,
        asked=np.ones((20, 20), bool),
        water=np.zeros((20, 20)),
    )
    assert [patch.area for patch in ground.gaps] == [40]
    assert [patch.area for patch in ground.islands] == [159]
    assert ground.coverage().islands_ha == pytest.approx(159e-4)


def test_measured_ground_is_never_more_than_was_flown(record: MapRecord) -> None:
    found = ground_of(record).coverage()
    assert found.mapped_ha <= found.flown_ha
    assert found.seen_by_three_ha <= found.seen_by_two_ha <= found.flown_ha
    # Sixteen photographs of 45 × 34 m, 16 × 13 m apart: 94 × 74 m, less some distortion.
    assert found.flown_ha == pytest.approx(93.4 * 74.0 / 1e4, rel=0.04)
    # The products' 80 × 70 m, but for a hole 10 m across.
    assert found.mapped_ha == pytest.approx((80 * 70 - np.pi * 25) / 1e4, rel=0.01)


def test_what_was_filled_is_not_measured(record: MapRecord) -> None:
    before = ground_of(record).coverage()
    path = record.survey.products_dir / "dsm.tif"
    with rasterio.open(path) as file:
        profile, heights = file.profile, file.read(1)
    path.unlink()
    with rasterio.open(path, "w", **profile | {"driver": "GTiff"}) as file:
        file.write(np.maximum(heights, 29.0), 1)  # as 'tmp map --fill' closes the hole
    assert ground_of(record).coverage() == before
    (record.survey.products_dir / "dsm_sigma.tif").unlink()
    assert ground_of(record).coverage().mapped_ha > before.mapped_ha


def test_sheet_holds_all_that_photographs_look_at(record: MapRecord) -> None:
    ground = ground_of(record)
    inner = ground.flown[1:-1, 1:-1].sum()
    assert ground.flown.sum() - inner < 0.02 * inner
    inside = camera_positions(record.reconstruction)[:, :2]
    west, south, east, north = ground.sheet.bounds
    assert ((inside > (west, south)) & (inside < (east, north))).all()


def test_footprint_of_a_photograph_left_out_follows_from_its_height(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    def predicted(**known: object) -> np.ndarray:
        (found,) = predict_left_out(
            reconstruction, lost(captures, **known), {}, survey_trend(reconstruction)
        )
        assert found.name == LOST
        return found.footprint

    # 800 × 600 px at 705 px see 45.4 × 34.0 m from 40 m, but for some distortion.
    low = predicted(height_takeoff_m=40.0)
    assert area_of(low) == pytest.approx(45.4 * 34.0, rel=0.05)
    assert area_of(predicted(height_takeoff_m=80.0)) == pytest.approx(4 * area_of(low), rel=1e-2)
    # Facing east the picture's width lies north and south.
    east = predicted(height_takeoff_m=40.0, gimbal_yaw_deg=90.0, gimbal_pitch_deg=-90.0)
    np.testing.assert_allclose(np.ptp(east, axis=0), np.ptp(low, axis=0)[::-1], rtol=0.03)


def test_a_photograph_of_unknown_height_sees_a_disc_as_large_as_the_others(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    (found,) = predict_left_out(reconstruction, lost(captures), {}, survey_trend(reconstruction))
    assert area_of(found.footprint) == pytest.approx(45.4 * 34.0, rel=0.05)
    radius = np.hypot(*(found.footprint - found.place).T)
    assert np.ptp(radius) < 1e-6


def test_a_photograph_without_a_place_or_far_away_has_no_footprint(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> None:
    assert (
        predict_left_out(
            reconstruction, lost(captures, longitude_deg=None), {}, survey_trend(reconstruction)
        )
        == ()
    )
    assert (
        predict_left_out(
            reconstruction, lost(captures, latitude_deg=63.0), {}, survey_trend(reconstruction)
        )
        == ()
    )
    nowhere = replace(reconstruction, frame=LocalFrame(origin=None, crs=None))
    assert predict_left_out(nowhere, lost(captures), {}, survey_trend(nowhere)) == ()


def test_ground_of_photographs_left_out_counts_as_flown(record: MapRecord) -> None:
    def flown_ha(longitude_deg: float) -> float:
        captures = [
            replace(c, longitude_deg=longitude_deg) if c.name == LOST else c
            for c in without_blurred(record)
        ]
        return ground_of(record, captures=captures).coverage().flown_ha

    beside_ha = flown_ha(-21.895)  # 243 m east of the block
    assert beside_ha - flown_ha(-21.9) == pytest.approx(45.4 * 34.0 / 1e4, rel=0.08)


def test_within_an_area_only_the_area_is_judged(record: MapRecord) -> None:
    west, south, east, north = read_grid(record.survey.products_dir / "dsm.tif").bounds
    x, y = (west + east) / 2, (south + north) / 2
    square = f"POLYGON (({x} {y}, {x + 20} {y}, {x + 20} {y + 20}, {x} {y + 20}, {x} {y}))"
    found = ground_of(record, area_wkt=square).coverage()
    assert found.flown_ha == pytest.approx(0.04, rel=0.06)
    assert found.mapped_of_flown > 0.98


def test_sheet_without_products_spans_the_cameras(reconstruction: Reconstruction) -> None:
    sheet = choose_sheet(reconstruction, (5e5, 7.11e6, 5e5, 7.11e6), survey_trend(reconstruction))
    assert sheet.cell_m > 0
    assert max(sheet.shape) >= 200
