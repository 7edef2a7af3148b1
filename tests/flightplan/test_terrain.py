from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from flightplan.terrain.terrain import Terrain, read_terrain
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

FRAME = PlanFrame(lon_deg=8.2, lat_deg=46.8)
AREA = (-300.0, -200.0, 300.0, 200.0)


def write_model(
    path: Path, heights: np.ndarray, corner: tuple[float, float], cell: float, **options: Any
) -> Path:
    bands = heights if heights.ndim == 3 else heights[None]
    units = options.pop("units", None)
    profile = {
        "driver": "GTiff",
        "count": bands.shape[0],
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": "float32",
        "crs": "EPSG:32632+3855",
        "transform": Affine(cell, 0.0, corner[0], 0.0, -cell, corner[1]),
        "nodata": -9999.0,
    }
    with rasterio.open(path, "w", **(profile | options)) as target:
        target.write(bands.astype(profile["dtype"]))
        if units:
            target.units = (units,)
    return path


def plane_model(path: Path, crs: str, cell: float, horizontal: str, **options: Any) -> Path:
    """A plane of 0.1 east and 0.05 north about the frame's centre, 1 km about it."""
    forward = Transformer.from_crs("EPSG:4326", horizontal, always_xy=True)
    x, y = forward.transform(FRAME.lon_deg, FRAME.lat_deg)
    size = options.pop("size", 1000.0)
    metres = options.pop("cell_m", cell)
    count = round(2 * size / metres)
    corner = (x - count / 2 * cell, y + count / 2 * cell)
    centres = (np.arange(count) + 0.5) * cell
    east, north = np.meshgrid(corner[0] + centres, corner[1] - centres)
    back = Transformer.from_crs(horizontal, FRAME.crs, always_xy=True)
    plan_x, plan_y = back.transform(east, north)
    factor = options.pop("factor", 1.0)
    heights = (1000 + 0.1 * plan_x + 0.05 * plan_y) / factor
    return write_model(path, heights, corner, cell, crs=crs, **options)


def centres(terrain: Terrain) -> np.ndarray:
    rows, cols = terrain.heights.shape
    x = terrain.x_min + (np.arange(cols) + 0.5) * terrain.cell_m
    y = terrain.y_max - (np.arange(rows) + 0.5) * terrain.cell_m
    return np.array(np.meshgrid(x, y)).reshape(2, -1).T


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(0, 30)), min_size=1, max_size=20))
def test_a_plane_is_kept_between_cell_centres(points: list[tuple[float, float]]) -> None:
    x, y = np.meshgrid(np.arange(8) * 5 + 2.5, 30 - (np.arange(6) * 5 + 2.5))
    terrain = Terrain(
        heights=(100 + 0.3 * x - 0.2 * y).astype(np.float32),
        x_min=0.0,
        y_max=30.0,
        cell_m=5.0,
        datum="local",
    )
    at = np.array(points)
    inner = at.clip((2.5, 2.5), (37.5, 27.5))
    expected = 100 + 0.3 * inner[:, 0] - 0.2 * inner[:, 1]
    assert terrain.at(at) == pytest.approx(expected, abs=1e-4)


def test_heights_are_the_cells_own_at_their_centres_and_half_way_their_mean() -> None:
    heights = np.random.default_rng(2).uniform(0, 50, (4, 5)).astype(np.float32)
    terrain = Terrain(heights=heights, x_min=0, y_max=40, cell_m=10, datum="test")
    at = terrain.at(centres(terrain)).reshape(heights.shape)
    assert at == pytest.approx(heights, abs=1e-5)
    x, y = np.meshgrid(np.arange(5, 46, 10), np.arange(30, 9, -10))
    between = terrain.at(np.column_stack([x.ravel(), y.ravel()])).reshape(3, 5)
    assert between == pytest.approx((heights[:-1] + heights[1:]) / 2, abs=1e-5)


def test_flat_ground_covers_its_bounds() -> None:
    ground = Terrain.flat((-12.0, 3.0, 100.0, 47.0), height_m=7.5)
    assert ground.covers([[-12, 3], [100, 47], [100, 3]]).all()
    assert ground.at([[-12, 3], [99, 46]]).tolist() == [7.5, 7.5]


def test_one_cell_is_a_terrain() -> None:
    assert Terrain.flat((0, 0, 1, 1), 3.0).at([[0.2, 0.9]]).tolist() == [3.0]


def test_height_off_the_terrain_is_refused() -> None:
    ground = Terrain.flat((0.0, 0.0, 100.0, 100.0))
    assert not ground.covers([[101.0, 50.0]])[0]
    with pytest.raises(InputError, match=r"no ground height at plan x 101\.0 m, y 50\.0 m"):
        ground.at([[50.0, 50.0], [101.0, 50.0]])


def test_terrain_without_cells_or_heights_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        Terrain.flat((0.0, 0.0, 1.0, 1.0), cell_m=-1.0)
    with pytest.raises(InputError, match="not finite"):
        Terrain.flat((0.0, 0.0, 1.0, 1.0), height_m=np.nan)


@pytest.mark.parametrize(
    ("crs", "horizontal", "cell", "options"),
    [
        ("EPSG:32632+3855", "EPSG:32632", 5.0, {}),
        ("EPSG:2056+5728", "EPSG:2056", 2.0, {"size": 400.0}),
        ("EPSG:9518", "EPSG:4326", 30 / 111_320, {"cell_m": 30.0}),
        ("EPSG:4979", "EPSG:4326", 30 / 111_320, {"cell_m": 30.0}),
        ("EPSG:32632+6360", "EPSG:32632", 5.0, {"factor": 1200 / 3937}),
    ],
)
def test_a_plane_is_read_from_any_crs(
    crs: str, horizontal: str, cell: float, options: dict[str, Any], tmp_path: Path
) -> None:
    path = plane_model(tmp_path / "dem.tif", crs, cell, horizontal, **options)
    terrain = read_terrain(path, FRAME, AREA)
    at = centres(terrain)
    assert terrain.bounds[0] == AREA[0]
    assert terrain.covers([AREA[:2], AREA[2:]]).all()
    # A float32 at 1 000 m is good to 0.06 mm; the shift of the Swiss datum to 1 m is 0.1 m.
    assert terrain.at(at) == pytest.approx(1000 + 0.1 * at[:, 0] + 0.05 * at[:, 1], abs=2e-3)


def test_cells_are_half_the_model_s_own_but_never_finer_than_a_metre(tmp_path: Path) -> None:
    for cell, expected in ((10.0, 5.0), (1.5, 1.0), (0.5, 1.0)):
        path = plane_model(
            tmp_path / f"{cell}.tif", "EPSG:32632+3855", cell, "EPSG:32632", size=350.0
        )
        terrain = read_terrain(path, FRAME, AREA)
        assert terrain.cell_m == pytest.approx(expected, rel=1e-3)


def test_a_wall_in_a_fine_model_stands_in_coarse_cells(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 0.5, "EPSG:32632", size=350.0)
    with rasterio.open(path, "r+") as model:
        heights = model.read(1) * 0 + 100
        heights[:, 600] = 130
        model.write(heights, 1)
    terrain = read_terrain(path, FRAME, AREA)
    assert terrain.heights.max(axis=1).min() > 115
    assert (terrain.heights > 100.01).mean() < 0.01


def test_a_plan_too_large_for_memory_gets_coarser_cells_that_keep_peaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("flightplan.terrain.terrain.MOST_CELLS", 600)
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 5.0, "EPSG:32632")
    terrain = read_terrain(path, FRAME, AREA)
    assert terrain.heights.size <= 640
    assert "heights taken every 20.0 m" in caplog.text
    at = centres(terrain)
    over = terrain.at(at) - (1000 + 0.1 * at[:, 0] + 0.05 * at[:, 1])
    # The highest of 20 m of a slope of 0.1 and 0.05: between nothing and 1.5 m above its middle.
    assert over.min() > -0.01
    assert over.max() < 2.0


def test_area_across_the_antimeridian_is_read_from_a_model_beyond_it(tmp_path: Path) -> None:
    frame = PlanFrame(lon_deg=-179.999, lat_deg=70.0)
    path = write_model(
        tmp_path / "dem.tif", np.full((400, 400), 55.0), (179.9, 70.1), 0.0005, crs="EPSG:9518"
    )
    assert read_terrain(path, frame, (-500, -500, 500, 500)).heights.max() == 55


def test_model_without_vertical_datum_needs_one_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632", 10.0, "EPSG:32632")
    with pytest.raises(
        InputError,
        match="pass --dem-datum with it: EGM2008 for Copernicus GLO-30, ellipsoid for ArcticDEM",
    ):
        read_terrain(path, FRAME, AREA)
    assert read_terrain(path, FRAME, AREA, datum="EGM96").datum == "EGM96"
    path = plane_model(tmp_path / "dem2.tif", "EPSG:32632+3855", 10.0, "EPSG:32632")
    assert read_terrain(path, FRAME, AREA).datum == "EGM2008 height"
    assert not caplog.text
    assert read_terrain(path, FRAME, AREA, datum="ellipsoid").datum == "ellipsoid"
    assert "though the file says EGM2008 height" in caplog.text


def test_model_that_does_not_cover_says_how_much_and_where(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 10.0, "EPSG:32632", size=250.0)
    with pytest.raises(InputError, match=r"does not cover 1[5-8]\.\d % of the ground needed"):
        read_terrain(path, FRAME, AREA)
    with pytest.raises(InputError, match=r"does not cover 100\.0 %"):
        read_terrain(path, PlanFrame(lon_deg=9.0, lat_deg=46.8), AREA)


def test_gap_inside_the_area_is_refused_and_placed(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 10.0, "EPSG:32632")
    with rasterio.open(path, "r+") as model:
        heights = model.read(1)
        heights[100, 100] = -9999
        model.write(heights, 1)
    with pytest.raises(InputError, match=r"gaps \(nodata\) in .* about 46\.79\d+° N, 8\.200\d+° E"):
        read_terrain(path, FRAME, AREA)
    assert read_terrain(path, FRAME, (-300, 50, 300, 200)).heights.shape == (30, 120)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"crs": None}, "does not say its CRS"),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "no way leads from the Earth to .* 'site'"),
        ({"crs": "IAU_2015:30100"}, "no way leads from the Earth"),
        ({"units": "fathom"}, "heights in 'fathom'"),
        ({"factor": 0.05}, "not those of ground; check its unit and nodata value"),
    ],
)
def test_model_that_cannot_be_understood_is_refused(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    options = {"crs": "EPSG:32632+3855"} | change
    path = plane_model(tmp_path / "dem.tif", options.pop("crs"), 10.0, "EPSG:32632", **options)
    with pytest.raises(InputError, match=reason):
        read_terrain(path, FRAME, AREA, datum="local")


def test_model_whose_crs_is_damaged_is_refused(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "a.img", "EPSG:32632", 10.0, "EPSG:32632", driver="HFA")
    content = path.read_bytes()
    # One letter in the list of the file's own types, and no projection is found.
    assert b"oEprj_Coordinate,upperLeft" in content
    path.write_bytes(content.replace(b"oEprj_Coordinate,upperLeft", b"oErrj_Coordinate,upperLeft"))
    with pytest.raises(InputError, match=r"a\.img: its CRS cannot be read; save it again"):
        read_terrain(path, FRAME, AREA, datum="local")


def test_model_in_feet_must_say_the_unit_of_its_heights(tmp_path: Path) -> None:
    heights = np.full((100, 100), 328.0)
    frame = PlanFrame(lon_deg=-74.0, lat_deg=40.7)
    corner = Transformer.from_crs("EPSG:4326", "EPSG:2263", always_xy=True).transform(-74.01, 40.71)
    path = write_model(tmp_path / "a.tif", heights, corner, 100.0, crs="EPSG:2263")
    with pytest.raises(InputError, match="laid out in US survey foot"):
        read_terrain(path, frame, AREA, datum="NAVD88")
    path = write_model(tmp_path / "b.tif", heights, corner, 100.0, crs="EPSG:2263", units="ft")
    terrain = read_terrain(path, frame, AREA, datum="NAVD88")
    assert terrain.heights.max() == pytest.approx(328 * 0.3048, rel=1e-6)
    assert terrain.cell_m == pytest.approx(100 * 1200 / 3937 / 2, rel=1e-3)


def test_picture_and_other_files_are_no_elevation_models(tmp_path: Path) -> None:
    picture = write_model(tmp_path / "a.tif", np.zeros((3, 10, 10)), (5e5, 5e6), 1.0)
    with pytest.raises(InputError, match="has 3 bands; an elevation model has one"):
        read_terrain(picture, FRAME, AREA)
    text = tmp_path / "a.txt"
    text.write_text("no raster")
    with pytest.raises(InputError, match="cannot be read as a raster"):
        read_terrain(text, FRAME, AREA)
    with pytest.raises(InputError, match="no such file"):
        read_terrain(tmp_path / "b.tif", FRAME, AREA)


@pytest.mark.real
def test_marburg_model_is_read_about_its_plan(real_data: Path) -> None:
    path = real_data / "formats" / "marburg" / "mrbiko.tif"
    frame = PlanFrame(lon_deg=8.68, lat_deg=50.857)
    with pytest.raises(InputError, match="pass --dem-datum"):
        read_terrain(path, frame, (-700, -300, 700, 300))
    terrain = read_terrain(path, frame, (-700, -300, 700, 300), datum="DHHN2016")
    with rasterio.open(path) as model:
        expected = next(model.sample([(8.68, 50.857)]))[0]
    assert terrain.at([[0.0, 0.0]])[0] == pytest.approx(expected, abs=10)


def test_ground_beyond_what_is_needed_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 4.0, "EPSG:32632", size=350.0)
    needed = read_terrain(path, FRAME, AREA)
    wider = read_terrain(path, FRAME, AREA, spare_m=100.0)
    x_min, y_min, x_max, y_max = wider.bounds
    assert -350 <= x_min < -330
    assert 330 < x_max <= 350
    assert -300.1 <= y_min < -250
    assert 250 < y_max <= 300.1
    places = centres(needed)[::97]
    np.testing.assert_allclose(wider.at(places), needed.at(places), atol=0.05)


def test_a_model_that_ends_too_early_is_told_by_side_and_metres(tmp_path: Path) -> None:
    path = plane_model(tmp_path / "dem.tif", "EPSG:32632+3855", 4.0, "EPSG:32632", size=350.0)
    bounds = (-300.0, -200.0, 420.0, 200.0)
    with pytest.raises(
        InputError, match=r"ends too early by [67]\d m in the east; .* covers the area"
    ):
        read_terrain(path, FRAME, bounds)
