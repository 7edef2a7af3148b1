"""A user's own map below the map of a plan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray

from flightplan.outputs.basemap import open_basemap, read_basemap
from tmp.cli import main
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

FRAME = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
BOX = (-50.0, -40.0, 50.0, 40.0)
RED, GREEN = (200, 30, 20), (10, 160, 40)


def picture(path: Path, bands: NDArray[Any], cell_m: float = 1.0, **options: Any) -> Path:
    """Write bands (B, N, N) about the middle of the frame, in its own plane."""
    size = bands.shape[1]
    west = -size * cell_m / 2
    options = {"crs": FRAME.crs, "driver": "GTiff"} | options
    with rasterio.open(
        path, "w", count=len(bands), width=size, height=size, dtype=bands.dtype,
        transform=Affine(cell_m, 0, west, 0, -cell_m, -west), **options,
    ) as target:  # fmt: skip
        target.write(bands)
    return path


def halves(size: int = 60) -> NDArray[np.uint8]:
    """Return a picture, red in the west and green in the east."""
    bands = np.empty((3, size, size), np.uint8)
    bands[:, :, : size // 2] = np.reshape(RED, (3, 1, 1))
    bands[:, :, size // 2 :] = np.reshape(GREEN, (3, 1, 1))
    return bands


def test_colours_lie_where_they_are_on_the_ground_and_beyond_is_nothing(tmp_path: Path) -> None:
    found = read_basemap(picture(tmp_path / "a.tif", halves()), FRAME.crs, BOX, (80, 100))
    assert found.shape == (80, 100, 4)
    # Row 40 is the middle; the picture is 60 m wide in a box of 100.
    assert found[40, 30].tolist() == [*RED, 255]
    assert found[40, 70].tolist() == [*GREEN, 255]
    assert found[40, 10, 3] == found[5, 50, 3] == 0
    assert abs(int(np.flatnonzero(found[40, :, 3])[0]) - 20) <= 1


def test_tiles_in_web_mercator_are_brought_to_the_plan(tmp_path: Path) -> None:
    # A pixel of zoom 20: 0.149 m in the projection, 0.065 m on the ground at 64° N.
    cell = 0.149291070895
    x, y = -2226389.82, 9362287.45
    path = tmp_path / "a.tif"
    bands = halves(1024)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, width=1024, height=1024, dtype="uint8",
        crs="EPSG:3857", transform=Affine(cell, 0, x - 512 * cell, 0, -cell, y + 512 * cell),
    ) as target:  # fmt: skip
        target.write(bands)
        lon, lat = target.lnglat()
    frame = PlanFrame(lon_deg=lon, lat_deg=lat)
    rasterio.shutil.copy(path, tmp_path / "a.mbtiles", driver="MBTILES")
    box = (-20.0, -20.0, 20.0, 20.0)
    for name in ("a.tif", "a.mbtiles"):
        found = read_basemap(tmp_path / name, frame.crs, box, (40, 40)).astype(int)
        # Tiles are stored as JPEG or in a palette: colours are good to a few steps.
        np.testing.assert_allclose(found[20, 10, :3], RED, atol=12)
        np.testing.assert_allclose(found[20, 30, :3], GREEN, atol=12)


def test_grey_palette_and_wide_values_have_colours(tmp_path: Path) -> None:
    ramp = np.linspace(1000, 9000, 60).astype(np.uint16)[None, None] * np.ones((1, 60, 1))
    wide = picture(tmp_path / "wide.tif", ramp.astype(np.uint16))
    found = read_basemap(wide, FRAME.crs, BOX, (80, 100))
    assert found[40, 22, 0] < 15
    assert found[40, 77, 0] > 240
    assert (found[40, 30:70, 0] == found[40, 30:70, 2]).all()
    named = picture(tmp_path / "named.tif", np.full((1, 60, 60), 7, np.uint8))
    with rasterio.open(named, "r+") as target:
        target.write_colormap(1, {7: (*RED, 255)})
    assert read_basemap(named, FRAME.crs, BOX, (80, 100))[40, 50].tolist() == [*RED, 255]


def test_what_is_no_base_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give a GeoTIFF or MBTiles"):
        open_basemap(tmp_path / "missing.tif")
    (tmp_path / "notes.tif").write_text("not a picture")
    with pytest.raises(InputError, match="it is no GeoTIFF, MBTiles or GeoPackage"):
        open_basemap(tmp_path / "notes.tif")
    picture(tmp_path / "a.tif", halves())
    rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "virtual.tif", driver="VRT")
    with pytest.raises(InputError, match="it is no GeoTIFF, MBTiles or GeoPackage"):
        open_basemap(tmp_path / "virtual.tif")
    picture(tmp_path / "bare.tif", halves(), crs=None)
    with pytest.raises(InputError, match="does not say its CRS"):
        open_basemap(tmp_path / "bare.tif")
    with pytest.raises(InputError, match="does not cover the area"):
        read_basemap(tmp_path / "a.tif", FRAME.crs, (500.0, 0.0, 600.0, 100.0), (50, 50))


def test_a_bad_base_map_is_told_before_anything_is_planned(tmp_path: Path) -> None:
    (tmp_path / "notes.tif").write_text("not a picture")
    area = "POLYGON ((8 47, 8.001 47, 8.001 47.001, 8 47))"
    words = ["plan", area, "--crs", "EPSG:4326", "-o", str(tmp_path / "s"), "--drone", "px4"]
    result = CliRunner().invoke(main, [*words, "--basemap", str(tmp_path / "notes.tif")])
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert "cannot be read as a raster" in result.output
    assert not (tmp_path / "s").exists()
