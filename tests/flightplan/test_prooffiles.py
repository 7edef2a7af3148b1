"""Rasters of a proof open in a GIS at the right place."""

from pathlib import Path

import numpy as np
import rasterio
import shapely

from flightplan.proof.certificate import OUTSIDE, write_rasters
from flightplan.proof.footprints import GroundCells, Photos
from flightplan.proof.prove import prove
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera
from tmp.geo.frames import PlanFrame

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip


def test_rasters_lie_where_the_plan_is_and_know_what_is_outside(tmp_path: Path) -> None:
    frame = PlanFrame(lon_deg=8.2, lat_deg=46.8)
    area = shapely.Point(0, 0).buffer(50)
    ground = Terrain.flat((-100, -100, 100, 100))
    sheet = GroundCells.over(area, ground, 1.0, crs=frame.crs)
    photo = Photos(
        position=np.array([[0.0, 0.0, 60.0]]),
        heading_deg=np.zeros(1),
        pitch_deg=np.full(1, -90.0),
        line=np.zeros(1, int),
    )
    coverage = prove(photo, CAMERA, sheet)
    paths = write_rasters(tmp_path / "plan", coverage, terrain="flat")
    assert [path.name for path in paths] == ["views.tif", "gsd.tif", "height.tif"]
    with rasterio.open(paths[0]) as views:
        assert views.nodata == OUTSIDE
        assert "Transverse" in views.crs.to_wkt()
        assert views.tags()["VERTICAL_DATUM"] == "flat"
        assert [value[0] for value in views.sample([(0, 0), (-49, 49), (0, 40)])] == [1, OUTSIDE, 0]
    with rasterio.open(paths[1]) as gsd:
        np.testing.assert_allclose(next(gsd.sample([(0, 0)])), 0.02, rtol=1e-6)
        assert np.isnan(next(gsd.sample([(0, 40)])))
        assert gsd.units == ("metre",)
