"""The point cloud: what is written comes back, and nothing is left half written."""

from __future__ import annotations

import laspy
import numpy as np
import pytest
import rasterio
from pyproj import CRS

from photogrammetry.surface.cloud import (
    CloudSources,
    CloudTile,
    cloud_crs,
    read_cloud_tiles,
    write_cloud,
)
from tmp.captures import HeightDatum
from tmp.errors import InputError, SpaceError
from tmp.geo.grids import Grid

OFFSET = (500000.0, 7100000.0, 0.0)
UTM = "EPSG:32627"


def make_tile(rows=2, cols=3, **changes):
    values = {
        "x": OFFSET[0] + 10.05 + 0.1 * np.arange(cols),
        "y": OFFSET[1] + 20.05 - 0.1 * np.arange(rows),
        "height": np.arange(rows * cols, dtype=np.float32).reshape(rows, cols) + 0.125,
        "measured": np.ones((rows, cols), bool),
        "rgb": np.full((rows, cols, 3), (10, 20, 255), np.uint8),
        "normals": np.full((rows, cols, 3), (0.6, 0.0, 0.8), np.float32),
        "sigma": np.full((rows, cols), 0.042, np.float32),
        "views": np.full((rows, cols), 5, np.uint8),
        "classes": np.full((rows, cols), 2, np.uint8),
    }
    return CloudTile(**(values | changes))


def write(path, tiles, **options):
    return write_cloud(path, tiles, **({"crs": UTM, "offset": OFFSET} | options))


def header_of(path):
    with laspy.open(path) as cloud:
        return cloud.header


def test_points_come_back_as_they_were_written(tmp_path):
    measured = np.array([[True, False, True], [True, True, True]])
    sigma = np.full((2, 3), 0.042, np.float32)
    sigma[1, 2] = np.nan
    assert write(tmp_path / "cloud.laz", [make_tile(measured=measured, sigma=sigma)]) == 5
    cloud = laspy.read(tmp_path / "cloud.laz")
    assert (str(cloud.header.version), cloud.header.point_format.id) == ("1.4", 7)
    # Coordinates to half a millimetre, the resolution of the file.
    np.testing.assert_allclose(
        cloud.xyz - OFFSET,
        [
            [10.05, 20.05, 0.125],
            [10.25, 20.05, 2.125],
            [10.05, 19.95, 3.125],
            [10.15, 19.95, 4.125],
            [10.25, 19.95, 5.125],
        ],
        atol=0.00051,
    )
    assert set(zip(cloud.red, cloud.green, cloud.blue, strict=True)) == {(2560, 5120, 65280)}
    np.testing.assert_allclose(cloud["NormalX"], 0.6, atol=1 / 256)
    np.testing.assert_allclose(cloud["NormalZ"], 0.8, atol=1 / 256)
    np.testing.assert_allclose(np.asarray(cloud["sigma"])[:4], 0.042, atol=0.0005)
    assert cloud.points.array["sigma"][4] == 65535
    assert set(cloud["views"]) == {5}
    assert set(cloud.return_number) == set(cloud.number_of_returns) == {1}


def test_header_bounds_hold_all_tiles(tmp_path):
    far = make_tile(x=OFFSET[0] + 1000.0 + np.arange(3.0))
    write(tmp_path / "cloud.laz", [make_tile(), far])
    header = header_of(tmp_path / "cloud.laz")
    assert header.point_count == 12
    np.testing.assert_allclose(header.mins, np.add(OFFSET, (10.05, 19.95, 0.125)), atol=0.001)
    np.testing.assert_allclose(header.maxs, np.add(OFFSET, (1002.0, 20.05, 5.125)), atol=0.001)


@pytest.mark.parametrize("datum", list(HeightDatum))
def test_crs_is_read_back_whatever_the_heights_are_measured_from(tmp_path, datum):
    write(tmp_path / "cloud.laz", [make_tile()], vertical_datum=datum)
    found = header_of(tmp_path / "cloud.laz").parse_crs()
    horizontal = found.sub_crs_list[0] if found.is_compound else found.to_2d()
    assert horizontal.to_epsg() == 32627
    if datum is HeightDatum.EGM96:
        assert found.sub_crs_list[1].to_epsg() == 5773
    assert (len(found.axis_info) == 3) == (datum in (HeightDatum.EGM96, HeightDatum.ELLIPSOID))


def test_crs_is_written_in_the_form_that_las_asks_for(tmp_path):
    write(tmp_path / "cloud.laz", [make_tile()])
    (vlr,) = header_of(tmp_path / "cloud.laz").vlrs.get("WktCoordinateSystemVlr")
    assert vlr.string.startswith('PROJCS["WGS 84 / UTM zone 27N"')


def test_cloud_without_crs_has_none(tmp_path):
    write(tmp_path / "cloud.laz", [make_tile()], crs=None)
    header = header_of(tmp_path / "cloud.laz")
    assert header.parse_crs() is None
    said = {one.name: one.description for one in header.point_format.extra_dimensions}
    assert said["sigma"] == "height std deviation, units"


def test_crs_that_old_wkt_cannot_say_is_still_written(tmp_path):
    lone = CRS.from_proj4("+proj=laea +lat_0=64 +lon_0=-21 +datum=WGS84 +units=m").to_wkt()
    write(tmp_path / "cloud.laz", [make_tile()], crs=lone)
    assert header_of(tmp_path / "cloud.laz").parse_crs().is_projected


def test_ellipsoidal_heights_make_the_crs_three_dimensional():
    assert len(cloud_crs(UTM, HeightDatum.ELLIPSOID).axis_info) == 3


def test_nothing_measured_gives_an_empty_cloud(tmp_path):
    nothing = make_tile(measured=np.zeros((2, 3), bool))
    assert write(tmp_path / "cloud.laz", [nothing]) == 0
    assert len(laspy.read(tmp_path / "cloud.laz")) == 0
    assert write(tmp_path / "none.laz", []) == 0
    assert len(laspy.read(tmp_path / "none.laz")) == 0


def test_number_of_workers_does_not_change_the_points(tmp_path):
    rng = np.random.default_rng(1)
    tile = make_tile(300, 400, height=rng.normal(size=(300, 400)).astype(np.float32))
    for workers in (1, 2):
        write(tmp_path / f"{workers}.laz", [tile, tile], workers=workers)
    one, two = (tmp_path / f"{workers}.laz" for workers in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_failure_leaves_the_old_cloud_and_nothing_else(tmp_path):
    path = tmp_path / "cloud.laz"
    write(path, [make_tile()])
    before = path.read_bytes()

    def tiles():
        yield make_tile()
        raise RuntimeError("photographs gone")

    with pytest.raises(RuntimeError, match="gone"):
        write(path, tiles())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_said(tmp_path, monkeypatch):
    class Full(laspy.LasWriter):
        def write_points(self, points):
            from lazrs import LazrsError

            raise LazrsError("IoError: Failed to call write")

    monkeypatch.setattr("photogrammetry.surface.cloud.laspy.LasWriter", Full)
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr("photogrammetry.surface.cloud.shutil.disk_usage", lambda path: usage)
    with pytest.raises(SpaceError, match=r"cloud\.laz: the disk is full"):
        write(tmp_path / "cloud.laz", [make_tile()])
    assert list(tmp_path.iterdir()) == []


def test_offset_far_from_the_data_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"2 147 km from the offset 0 m"):
        write(tmp_path / "cloud.laz", [make_tile()], offset=(0.0, 0.0, 0.0))
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"views of shape \(3, 3\) where \(2, 3\) is needed"):
        make_tile(views=np.zeros((3, 3), np.uint8))


def write_raster(path, grid, bands, nodata=None):
    bands = np.asarray(bands)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.cols,
        height=grid.rows,
        count=len(bands),
        dtype=bands.dtype,
        crs=grid.crs,
        transform=grid.transform,
        nodata=nodata,
    ) as file:
        file.write(bands)


@pytest.mark.parametrize("crs", [UTM, None])
def test_tiles_take_height_doubt_and_mean_colour_from_the_products(tmp_path, crs):
    grid = Grid(crs=crs, x_min=100.0, y_max=200.0, cell_m=0.5, rows=8, cols=6)
    picture = Grid(crs=crs, x_min=100.0, y_max=200.0, cell_m=0.25, rows=16, cols=12)
    height = np.tile(np.arange(6, dtype=np.float32) * 0.5, (8, 1))
    height[7, 5] = -9999
    sources = CloudSources(
        dsm=tmp_path / "dsm.tif",
        sigma=tmp_path / "sigma.tif",
        views=tmp_path / "views.tif",
        orthomosaic=tmp_path / "orthomosaic.tif",
    )
    write_raster(sources.dsm, grid, [height], nodata=-9999)
    sigma = np.full((8, 6), 0.03, np.float32)
    sigma[0, 0] = -9999  # a height that was filled in
    write_raster(sources.sigma, grid, [sigma], nodata=-9999)
    write_raster(sources.views, grid, [np.full((8, 6), 4, np.uint8)], nodata=0)
    rgba = np.full((4, 16, 12), 255, np.uint8)
    rgba[0] = np.tile([100, 140], (16, 6))
    rgba[:, 2:4, 2:4] = 0  # a hole in the picture
    rgba[:, 4, 4] = 0  # and a frayed edge of it
    write_raster(sources.orthomosaic, picture, rgba)
    tiles = list(read_cloud_tiles(sources, tile_cells=4))
    assert [tile.height.shape for tile in tiles] == [(4, 4), (4, 2), (4, 2), (4, 4)]
    assert (tiles[0].x[0], tiles[0].y[0]) == (100.25, 199.75)
    assert sum(int(tile.measured.sum()) for tile in tiles) == 45
    for tile in tiles:
        seen = tile.measured
        red, green, blue = tile.rgb[seen].T
        assert set(red) <= {120, 127}  # (100 + 140) / 2; at the frayed edge (140 + 100 + 140) / 3
        assert set(green) == set(blue) == {255}
        # The plane rises one metre per metre to the east; tiles do not show at their rims.
        np.testing.assert_allclose(
            tile.normals[seen],
            np.broadcast_to([-(0.5**0.5), 0, 0.5**0.5], (seen.sum(), 3)),
            atol=1e-6,
        )
        assert set(tile.views.ravel()) == {4}
