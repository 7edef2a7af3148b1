"""The whole job on the rehearsed survey of a farm, held to what is promised of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import pytest
import rasterio
import trimesh
from cv2 import erode
from pyproj import CRS
from rasterio.features import geometry_mask
from rasterio.transform import rowcol
from rasterio.warp import reproject
from shapely import Polygon, box, contains_xy

from flows.demo import DemoResult, fit_to_truth, run_demo
from flows.pipeline import map_survey
from flows.products.ground import GROUND
from flows.products.table import GroundClass
from flows.products.volumes import Row, measure_volumes
from flows.products.zones import Zones
from flows.report.verdict import End
from flows.run.request import MapOptions, SurveyResult
from flows.stages.solids import read_sites
from photogrammetry.model.relief_model import NOT_MEASURED
from photogrammetry.solid.sites import replaced_squares
from tmp.geo.rasters import open_tiled, read_grid
from tmp.progress import silent
from tmp.reconstruction import read_reconstruction

pytestmark = pytest.mark.slow

ABOVE = ("height_above_ground", "height_above_ground_sigma")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo"), MapOptions(workers=2))


def folder_of(demo: DemoResult, stage: str) -> Path:
    (found,) = (result.folder for result in demo.map.results if result.stage == stage)
    return found


def test_heights_of_open_ground_are_true_to_one_sample_distance(demo: DemoResult) -> None:
    accuracy = demo.accuracy
    assert accuracy.ground_measured > 0.95
    assert abs(accuracy.ground.mean) < accuracy.gsd_m
    assert accuracy.ground.nmad < accuracy.gsd_m
    assert accuracy.ground.std < accuracy.gsd_m


def test_nine_tenths_of_the_turf_walls_relief_are_recovered(demo: DemoResult) -> None:
    assert 0.9 < demo.accuracy.walls < 1.1


def test_the_orthomosaic_is_true_to_one_pixel(demo: DemoResult) -> None:
    median_m, worst_m = demo.accuracy.ortho_m
    assert demo.accuracy.ortho_believed > 0.9
    assert median_m < demo.accuracy.gsd_m
    assert worst_m < 2 * demo.accuracy.gsd_m


def test_cameras_are_placed_to_a_centimetre_after_a_similarity(demo: DemoResult) -> None:
    assert max(demo.accuracy.camera_rms_m) < 0.01


def test_demonstration_is_a_complete_map_of_what_was_flown(demo: DemoResult) -> None:
    verdict = demo.map.verdict
    assert verdict is not None
    assert verdict.end is End.COMPLETE
    assert verdict.oriented_share == 1.0
    covered = verdict.covered
    assert covered.mapped_ha <= covered.flown_ha
    assert covered.measured_of_three > 0.95
    written = json.loads(demo.map.survey.quality_path.read_text(encoding="utf-8"))
    assert written | json.loads(json.dumps(verdict.document())) == written


def test_every_product_is_there_and_carries_its_datum(demo: DemoResult) -> None:
    products = demo.map.survey.products_dir
    for name in ("orthomosaic", "dsm", "dsm_sigma", "dsm_views", "dsm_confidence", *ABOVE):
        with rasterio.open(products / f"{name}.tif") as file:
            assert file.crs.to_string() == "EPSG:32627"
            assert file.tags()["VERTICAL_DATUM"]
            assert file.overviews(1)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert json.loads(demo.map.survey.catalog_path.read_text())["type"] == "Catalog"
    assert "<svg" in demo.map.report_path.read_text()


def test_companions_of_the_surface_say_something_exactly_where_it_does(demo: DemoResult) -> None:
    products = demo.map.survey.products_dir
    layers = {}
    for name in ("dsm", "dsm_sigma", "dsm_views", "dsm_confidence"):
        with rasterio.open(products / f"{name}.tif") as file:
            layers[name] = file.read(1, masked=True)
    shown = ~np.ma.getmaskarray(layers["dsm"])
    assert (~np.ma.getmaskarray(layers["dsm_sigma"]) == shown).all()
    assert (~np.ma.getmaskarray(layers["dsm_confidence"]) == shown).all()
    # Cells of a small gap are closed from their neighbours and keep their own count of views.
    assert (layers["dsm_views"].data[shown] >= 2).mean() > 0.98
    assert layers["dsm_sigma"].min() > 0


def test_the_cloud_has_a_point_for_every_measured_cell_with_a_picture(demo: DemoResult) -> None:
    products = demo.map.survey.products_dir
    with rasterio.open(products / "dsm.tif") as file:
        count = int(file.read(1, masked=True).count())
    with laspy.open(products / "cloud.laz") as cloud:
        assert 0.999 * count < cloud.header.point_count <= count


def test_the_terrain_has_no_house_and_all_turf_walls(demo: DemoResult) -> None:
    products, truth = demo.map.survey.products_dir, demo.map.survey.folder.parent / "card" / "truth"
    layers = {}
    for name in ("dsm", "dtm", "dtm_sigma"):
        with rasterio.open(products / f"{name}.tif") as file:
            layers[name] = file.read(1, masked=True)
            grid = file.transform, file.shape, file.crs
    with rasterio.open(truth / "masks.tif") as file:
        masks = np.zeros((4, *grid[1]), np.uint8)
        for band in range(4):
            reproject(
                rasterio.band(file, band + 1), masks[band], dst_transform=grid[0], dst_crs=grid[2]
            )
    house = erode(masks[2], np.ones((9, 9))) > 0
    assert house.sum() > 1000
    lower = layers["dsm"] - layers["dtm"]
    # The map lies up to a metre from the truth: within the masks less their rims.
    assert np.percentile(lower[house].compressed(), 10) > 1.5
    wide = (masks[1] > 0) & ~(masks[2] > 0)
    assert np.abs(lower[wide]).mean() < 0.01
    assert layers["dtm_sigma"][house].mean() > 3 * layers["dtm_sigma"][wide].mean()
    assert not np.ma.getmaskarray(layers["dtm"])[~np.ma.getmaskarray(layers["dsm"])].any()


def test_the_cloud_tells_house_and_ground_and_is_there_in_levels(demo: DemoResult) -> None:
    products, truth = demo.map.survey.products_dir, demo.map.survey.folder.parent / "card" / "truth"
    cloud, levels = (laspy.read(products / name) for name in ("cloud.laz", "cloud.copc.laz"))
    assert len(cloud) == len(levels)
    assert (np.bincount(cloud.classification) == np.bincount(levels.classification)).all()
    with laspy.CopcReader.open(products / "cloud.copc.laz") as reader:
        assert 0 < len(reader.query(level=0)) < len(cloud)
    with rasterio.open(truth / "masks.tif") as file:
        row, col = rowcol(file.transform, np.asarray(cloud.x), np.asarray(cloud.y))
        row, col = np.asarray(row), np.asarray(col)
        inside = (row >= 0) & (row < file.height) & (col >= 0) & (col < file.width)
        # The map lies up to a metre from the truth, and is 2 % larger.
        house, wide = (erode(file.read(band), np.ones((61, 61))) > 0 for band in (3, 1))
    classes = np.asarray(cloud.classification)[inside]
    assert (classes[house[row[inside], col[inside]]] == 6).mean() > 0.98
    assert (classes[wide[row[inside], col[inside]]] == 2).mean() > 0.98


def test_the_mound_has_its_volume_to_one_percent(demo: DemoResult) -> None:
    """In the map's own scale, and in metres within the doubt that is told."""
    products, truth = demo.map.survey.products_dir, demo.map.survey.folder.parent / "card" / "truth"
    fit = fit_to_truth(read_reconstruction(folder_of(demo, "orientation")), truth)
    turn = np.linspace(0, 2 * np.pi, 97)[:-1]
    ring = (560346.5, 7113538.5) + 5.75 * np.column_stack([np.cos(turn), np.sin(turn)])
    with rasterio.open(truth / "dsm.tif") as file:
        height = np.array([value[0] for value in file.sample(ring)])
        shape, transform, bare = file.shape, file.transform, file.read(1)
        crs, size = file.crs.to_string(), file.res[0]
    on_map = (np.column_stack([ring, height]) - fit.translation) / fit.scale @ fit.rotation

    def measured(folder: Path, corners: np.ndarray) -> Row:
        zones = Zones(source=folder, shapes=np.array([Polygon(corners)]), crs=CRS(crs), columns={})
        return measure_volumes(zones, folder).rows[0]

    exact = products.parent / "work" / "exact"
    exact.mkdir(exist_ok=True)
    for name, cells in (("dsm", bare), ("dsm_sigma", np.full(shape, 1e-4))):
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": crs}
        with rasterio.open(
            exact / f"{name}.tif",
            "w",
            **profile,
            height=shape[0],
            width=shape[1],
            transform=transform,
        ) as file:
            file.write(cells.astype(np.float32), 1)
    true, found = measured(exact, ring).volume.net_m3, measured(products, on_map[:, :2])
    assert size < 0.05
    assert found.volume.net_m3 == pytest.approx(true / fit.scale**3, rel=0.01)
    assert abs(found.volume.net_m3 - true) < found.sigma_m3()


def test_the_model_stands_where_the_map_says_and_has_the_walls_of_the_house(
    demo: DemoResult,
) -> None:
    products = demo.map.survey.products_dir
    scene = trimesh.load(products / "model.glb")
    data = (products / "model.glb").read_bytes()
    said = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["asset"]["extras"]
    with rasterio.open(products / "dsm.tif") as file:
        heights, transform = file.read(1, masked=True), file.transform
        assert said["crs"] == file.crs.to_string()
    origin = said["origin"]
    meshes = scene.geometry.values()
    ground = [mesh for mesh in meshes if "continued" not in mesh.visual.material.name]
    points = np.concatenate([mesh.vertices for mesh in ground])
    assert 1000 < len(points) < 320_000
    east, north = origin["easting"] + points[:, 0], origin["northing"] - points[:, 2]
    row, col = (np.asarray(at) for at in rowcol(transform, east, north))
    sites = read_sites(folder_of(demo, "standing"))
    stands = np.pad(
        replaced_squares(sites, read_grid(products / "dsm.tif").whole), ((0, 1), (0, 1))
    )
    plain = ~(stands[row, col] | stands[row - 1, col] | stands[row, col - 1])
    assert 0.1 < plain.mean() < 0.9  # the house is in true 3D, and the ground is not
    known = heights[row, col][plain]
    off = np.abs(known - origin["height"] - points[plain, 1])
    assert off.count() > 0.9 * len(off)
    assert np.percentile(off.compressed(), 99) < 0.002
    steep = [mesh for mesh in ground if mesh.visual.material.name.startswith("steep")]
    area = sum(mesh.area_faces[np.abs(mesh.face_normals[:, 1]) < 0.3].sum() for mesh in steep)
    # The house is 12 m by 7 m, its eaves 2.4 m high; photographs from above show some of its walls.
    assert area > 20
    unsure = [mesh for mesh in meshes if mesh.visual.material.name.startswith(NOT_MEASURED)]
    drawn = sum(mesh.area_faces[np.abs(mesh.face_normals[:, 1]) < 0.3].sum() for mesh in unsure)
    assert area + drawn > 50
    (sides,) = (result for result in demo.map.results if result.stage == "sides")
    assert sides.figures["measured"] > 0.6


def test_a_stopped_surface_goes_on_at_the_first_missing_tile(
    demo: DemoResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ground of another quality, stopped after two tiles, then finished."""
    from photogrammetry.surface import measure as surface

    measure, done = surface.measure_tile, []

    def stopping(grid, tile, *rest, **options):  # type: ignore[no-untyped-def]
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(tile.name)
        return measure(grid, tile, *rest, **options)

    root = demo.map.survey.folder
    fast = MapOptions(quality="fast")  # type: ignore[arg-type]
    monkeypatch.setattr("flows.stages.surface.SURFACE_TILE", 128)  # a preview has few of 512
    monkeypatch.setattr(surface, "measure_tile", stopping)
    with pytest.raises(KeyboardInterrupt):
        map_survey(root, fast)
    stopped = done.copy()
    monkeypatch.setattr(
        surface,
        "measure_tile",
        lambda grid, tile, *rest, **options: (
            done.append(tile.name) or measure(grid, tile, *rest, **options)
        ),
    )
    map_survey(root, fast)
    assert len(done) == len(set(done))
    assert done[:2] == stopped


def write_polygon(path: Path, polygon: Polygon) -> Path:
    """Write a polygon in the map's coordinates."""
    ring = [[float(a), float(b)] for a, b in polygon.exterior.coords]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32627"}}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    return path


def test_an_area_crops_and_a_filled_surface_has_no_holes_in_it(
    demo: DemoResult, tmp_path: Path
) -> None:
    grid = open_tiled(folder_of(demo, "surface") / GROUND).grid
    x, y = (grid.bounds[0] + grid.bounds[2]) / 2, (grid.bounds[1] + grid.bounds[3]) / 2
    area = write_polygon(tmp_path / "area.geojson", box(x - 8, y - 6, x + 8, y + 6))
    options = MapOptions(area_file=area, fill=True, ortho_gsd_m=0.05, workers=2)
    made = map_survey(demo.map.survey.folder, options, track=silent)
    assert next(result for result in made.results if result.stage == "orientation").reused
    with rasterio.open(made.survey.products_dir / "dsm.tif") as file:
        assert file.bounds.right - file.bounds.left == pytest.approx(16, abs=0.2)
        heights = file.read(1, masked=True)[2:-2, 2:-2]
        assert heights.count() == heights.size
    with rasterio.open(made.survey.products_dir / "orthomosaic.tif") as file:
        assert file.res == (0.05, 0.05)
        assert (file.read(4)[3:-3, 3:-3] == 255).all()
    check_water(made, options, box(x - 4, y - 3, x + 3, y + 2), tmp_path / "water.geojson")


def check_water(made: SurveyResult, options: MapOptions, pond: Polygon, path: Path) -> None:
    """Map again with a pond, which measures nothing again and leaves the pond without heights."""
    options = replace(options, water_file=write_polygon(path, pond))
    wet = map_survey(made.survey.folder, options, track=silent)
    reused = {result.stage for result in wet.results if result.reused}
    assert reused >= {"orientation", "exposure", "surface"}
    assert reused.isdisjoint({"elevation", "orthomosaic", "cloud"})
    for name in ("dsm", "dsm_sigma", "dsm_views", "dsm_confidence"):
        with rasterio.open(wet.survey.products_dir / f"{name}.tif") as file:
            inside = geometry_mask([pond], file.shape, file.transform, invert=True)
            assert (file.read_masks(1)[inside] == 0).all()
    with rasterio.open(wet.survey.products_dir / "ground.tif") as file:
        inside = geometry_mask([pond.buffer(-0.3)], file.shape, file.transform, invert=True)
        assert (file.read(1)[inside] == GroundClass.WATER).all()
    with rasterio.open(wet.survey.products_dir / "orthomosaic.tif") as file:
        assert (file.read(4)[3:-3, 3:-3] == 255).all()
    points = laspy.read(wet.survey.products_dir / "cloud.laz")
    assert not contains_xy(pond, points.x, points.y).any()
    quality = json.loads(wet.survey.quality_path.read_text())
    assert quality["water_ha"] == pytest.approx(pond.area / 1e4, rel=0.05)
    assert "Water" in wet.survey.report_path.read_text(encoding="utf-8")
