"""Bare ground, heights above it, slope, contours and volumes of a small map without photographs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from pyproj import Transformer
from rasterio.warp import Resampling, reproject, transform_bounds
from shapely import Point, Polygon, box

from flows.cli.terrain import terrain as terrain_command
from flows.cli.terrain import volume as volume_command
from flows.engine.stage import Stage
from flows.engine.store import Known, Result, StageStore
from flows.products.ground import GROUND
from flows.products.volumes import Surface, measure_volumes, say_volumes, write_volumes
from flows.products.zones import read_zones
from flows.report.quality import MapRecord, assess_map
from flows.run.publish import publish, publish_map, remember_map
from flows.run.request import TerrainOptions
from flows.run.terrain import make_terrain, measure_in_polygons
from flows.stages.surface import Elevation
from flows.stages.terrain import AboveGround, ContourLines, Slope, Terrain, _write_lines
from tmp.captures import write_captures
from tmp.errors import InputError
from tmp.geo.rasters import read_grid
from tmp.reconstruction import write_reconstruction

NODATA = -9999.0
OPTIONS = {"fill": False, "area_wkt": None, "water_wkt": None}


@pytest.fixture
def mapped(record: MapRecord) -> MapRecord:
    """A survey with a map: a mound, a wall of 1 m, a hole, on a slope of 2 %."""
    write_captures(record.survey.gpkg_path, record.captures)
    store = StageStore(root=record.survey.work_dir / "stages")
    ground = record.survey.folder.parent / GROUND

    class Orientation(Stage):
        name = "orientation"
        version = "0"

        def finish(self) -> None:
            write_reconstruction(record.reconstruction, self.space.out)

    class Surface(Stage):
        name = "surface"
        version = "0"

        def finish(self) -> None:
            shutil.copytree(ground, self.space.out / GROUND)

    made: dict[str, Result] = {}
    for stage in (Orientation, Surface, Elevation, Terrain, AboveGround):
        inputs = {"survey": Known(path=record.survey.folder, digest="")}
        inputs |= {name: made[name].known for name in stage.after}
        options = {name: OPTIONS[name] for name in stage.options}
        made[stage.name] = store.make(store.recipe(stage, inputs, options))
    results = list(made.values())
    for path in record.survey.products_dir.glob("dsm*.tif"):
        path.unlink()
    publish(results, record.survey.products_dir)
    found = replace(record, results=results)
    remember_map(found, assess_map(found).verdict)
    return found


def read(path: Path) -> np.ma.MaskedArray:
    with rasterio.open(path) as file:
        return file.read(1, masked=True)


def middle(record: MapRecord) -> tuple[float, float]:
    x_min, y_min, x_max, y_max = read_grid(record.survey.products_dir / "dsm.tif").bounds
    return (x_min + x_max) / 2, (y_min + y_max) / 2


def write_polygons(path: Path, polygons: dict[str, Polygon], crs: str = "EPSG:32627") -> Path:
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(list(polygons.values()), object)),
        [np.array(list(polygons), object)],
        ["name"],
        geometry_type="Polygon",
        crs=crs,
        driver="GPKG" if path.suffix == ".gpkg" else "GeoJSON",
    )
    return path


def test_heights_above_ground_are_the_surface_less_the_terrain(mapped: MapRecord) -> None:
    products = mapped.survey.products_dir
    dsm, dtm, above, sigma, dsm_sigma, dtm_sigma = (
        read(products / f"{name}.tif")
        for name in (
            *("dsm", "dtm", "height_above_ground", "height_above_ground_sigma"),
            *("dsm_sigma", "dtm_sigma"),
        )
    )
    assert np.ma.allclose(above, dsm - dtm, atol=0.0011)
    assert (np.ma.getmaskarray(above) == np.ma.getmaskarray(dsm)).all()
    on_ground = (above == 0).filled(False)
    assert np.ma.allclose(sigma[on_ground], dsm_sigma[on_ground])
    other = ~on_ground & ~np.ma.getmaskarray(above)
    assert np.ma.allclose(sigma[other], np.ma.sqrt(dsm_sigma**2 + dtm_sigma**2)[other], atol=1e-3)


def test_contours_and_slope_are_made_on_request_and_only_once(mapped: MapRecord) -> None:
    folder = mapped.survey.folder
    made = make_terrain(folder, TerrainOptions(contours=True, interval_m=0.5, slope=True))
    names = [path.name for path in made.paths]
    assert names[-2:] == ["contours.gpkg", "slope.tif"]
    assert {"dtm.tif", "height_above_ground.tif"} < set(names)
    assert all(path.exists() for path in made.paths)
    times = {path: path.stat().st_mtime_ns for path in made.paths}
    again = make_terrain(folder, TerrainOptions(contours=True, interval_m=0.5, slope=True))
    assert {path: path.stat().st_mtime_ns for path in again.paths} == times
    assert "contours.gpkg" in made.report_path.read_text(encoding="utf-8")
    item = json.loads((folder / "products" / "item.json").read_text())
    assert {"contours", "slope", "height_above_ground"} < item["assets"].keys()
    assert (folder / "products" / "contours.qml").exists()


def test_contours_lie_at_their_height_on_the_ground_and_never_cross(mapped: MapRecord) -> None:
    products = mapped.survey.products_dir
    make_terrain(mapped.survey.folder, TerrainOptions(contours=True, interval_m=0.25))
    meta, _, wkb, (heights, bold) = pyogrio.raw.read(products / "contours.gpkg")
    assert meta["crs"] == "EPSG:32627"
    lines = shapely.from_wkb(wkb)
    assert np.allclose(heights / 0.25, np.rint(heights / 0.25))
    assert ((heights % 1.0 == 0) == (bold == 1)).all()
    tree = shapely.STRtree(lines)
    first, second = tree.query(lines, predicate="crosses")
    assert len(first) == len(second) == 0
    with rasterio.open(products / "dtm.tif") as file:
        off = [
            abs(value[0] - height)
            for line, height in zip(lines, heights, strict=True)
            for value in file.sample(shapely.get_coordinates(line)[::7])
            if value[0] != NODATA
        ]
    assert np.median(off) < 0.02  # the rest lies at the wall


def test_contours_are_the_same_whatever_the_tiles(
    mapped: MapRecord, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def drawn(name: str) -> np.ndarray:
        store = StageStore(root=tmp_path / name)
        result = store.make(
            store.recipe(
                ContourLines,
                {"survey": mapped.survey.folder, "terrain": mapped.results[3].folder},
                {"interval_m": 0.5},
            )
        )
        return shapely.from_wkb(pyogrio.raw.read(result.folder / "contours.gpkg")[2])

    whole = drawn("whole")
    monkeypatch.setattr("flows.stages.terrain.TILE_CELLS", 64)
    tiled = drawn("tiled")
    assert len(whole) == len(tiled)
    assert shapely.length(tiled).sum() == pytest.approx(shapely.length(whole).sum(), rel=1e-3)
    assert (
        shapely.hausdorff_distance(shapely.multilinestrings(whole), shapely.multilinestrings(tiled))
        < 0.3 * 0.25
    )


def test_a_map_without_a_place_has_contours_without_one(tmp_path: Path) -> None:
    path, line = tmp_path / "contours.gpkg", shapely.linestrings([[0, 0], [1, 1]])
    _write_lines(path, np.array([line], object), np.array([2.0]), np.array([True]), None)
    meta, _, _, (heights, bold) = pyogrio.raw.read(path)
    assert (meta["crs"], heights.tolist(), bold.tolist()) == (None, [2.0], [1])


def test_the_slope_is_that_of_the_ground(mapped: MapRecord) -> None:
    make_terrain(mapped.survey.folder, TerrainOptions(slope=True))
    slope = read(mapped.survey.products_dir / "slope.tif")
    # Far from the mound the ground rises by 2 %.
    assert np.ma.median(slope[:20, :40]) == pytest.approx(np.degrees(np.arctan(0.02)), abs=0.1)
    assert slope.max() < 90


def test_contours_of_a_terrain_that_has_changed_are_taken_away(mapped: MapRecord) -> None:
    folder = mapped.survey.folder
    make_terrain(folder, TerrainOptions(contours=True, slope=True))

    class Plan:
        survey, settings, captures = mapped.survey, mapped.settings, mapped.captures
        values: ClassVar = {"area_wkt": None}

    publish_map(Plan(), mapped.results, mapped.asked)  # type: ignore[arg-type]
    assert (folder / "products" / "contours.gpkg").exists()
    others = [
        result for result in mapped.results if result.stage not in ("terrain", "above_ground")
    ]
    publish_map(Plan(), others, mapped.asked)  # type: ignore[arg-type]
    for name in ("contours.gpkg", "slope.tif", "height_above_ground.tif"):
        assert not (folder / "products" / name).exists()


def test_a_stopped_drawing_of_contours_is_begun_again(
    mapped: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    from photogrammetry.terrain import contours

    options, join = TerrainOptions(contours=True), contours.join_contours

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(contours, "join_contours", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_terrain(mapped.survey.folder, options)
    assert not (mapped.survey.products_dir / "contours.gpkg").exists()
    monkeypatch.setattr(contours, "join_contours", join)
    (path,) = (
        path for path in make_terrain(mapped.survey.folder, options).paths if path.suffix == ".gpkg"
    )
    first = path.read_bytes()
    shutil.rmtree(mapped.survey.work_dir / "stages" / "contours")
    make_terrain(mapped.survey.folder, options)
    assert path.read_bytes() == first


def test_terrain_needs_a_map_that_is_no_preview(record: MapRecord, mapped: MapRecord) -> None:
    remember_map(replace(mapped, asked={"quality": "fast"}), assess_map(mapped).verdict)
    with pytest.raises(InputError, match="has a preview, which has no bare ground"):
        make_terrain(mapped.survey.folder)
    mapped.survey.map_path.unlink()
    with pytest.raises(InputError, match="has no map yet; make one with 'tmp map"):
        make_terrain(mapped.survey.folder)


def test_contours_too_many_or_without_a_height_between_them_are_refused(mapped: MapRecord) -> None:
    with pytest.raises(InputError, match="take a wider interval"):
        make_terrain(mapped.survey.folder, TerrainOptions(contours=True, interval_m=0.001))
    with pytest.raises(InputError, match="interval_m = 0"):
        TerrainOptions(contours=True, interval_m=0.0)


def test_the_mound_of_a_map_has_its_volume_above_a_plane(mapped: MapRecord, tmp_path: Path) -> None:
    """3 exp(-r²/200) on a slope; the plane lies where the mound meets the circle."""
    x, y = middle(mapped)
    radius_m = 9.0  # within the wall
    file = write_polygons(tmp_path / "mound.gpkg", {"mound": Point(x, y).buffer(radius_m, 64)})
    made = measure_in_polygons(mapped.survey, file)
    (row,) = made.found.rows
    rim = 3 * np.exp(-(radius_m**2) / 200)
    true = np.pi * 200 * (3 - rim) - np.pi * radius_m**2 * rim
    assert row.volume is not None
    assert row.volume.cut_m3 == pytest.approx(true, rel=0.002)
    assert abs(row.volume.net_m3 - true) < row.sigma_m3()
    assert [path.name for path in made.paths] == ["volumes.csv", "volumes.gpkg"]
    lines = say_volumes(made.found)
    assert lines[0].split() == ["area", "m²", "cut", "m³", "fill", "m³", "net", "m³"]
    assert lines[1].startswith("mound")
    assert f"± {row.sigma_m3('cut'):.2g}"[:4] in lines[1]
    table = made.paths[0].read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("name,cut_m3,cut_sigma_m3,fill_m3")
    _, _, wkb, _ = pyogrio.raw.read(made.paths[1], layer="volumes")
    assert shapely.from_wkb(wkb)[0].area == pytest.approx(np.pi * radius_m**2, rel=0.01)


def test_the_scale_of_the_map_is_part_of_the_doubt(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    file = write_polygons(tmp_path / "mound.gpkg", {"mound": Point(x, y).buffer(9)})
    products = mapped.survey.products_dir
    said = {"scale_sigma": 0.03, "vertical_scale_sigma": 0.04}
    (products / "quality.json").write_text(json.dumps(said))
    found = measure_volumes(read_zones(file), products)
    (row,) = found.rows
    assert row.scale_sigma == pytest.approx(np.hypot(0.09, 0.04))
    assert row.sigma_m3() > row.scale_sigma * row.volume.net_m3
    assert any("the map's own scale" in note for note in found.notes)


def test_volumes_above_another_surface_in_another_crs(mapped: MapRecord, tmp_path: Path) -> None:
    """The surface half a metre lower, in longitude and latitude, on other cells, with a hole."""
    products = mapped.survey.products_dir
    with rasterio.open(products / "dsm.tif") as file:
        lower = np.where(file.read(1) == NODATA, NODATA, file.read(1) - 0.5)
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        width, height = 700, 500
        transform = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
        cells = np.full((height, width), NODATA, np.float32)
        reproject(
            lower,
            cells,
            src_transform=file.transform,
            src_crs=file.crs,
            dst_transform=transform,
            dst_crs="EPSG:4326",
            src_nodata=NODATA,
            dst_nodata=NODATA,
            resampling=Resampling.bilinear,
        )
    base = tmp_path / "before.tif"
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "float32"}
    with rasterio.open(
        base, "w", **profile, crs="EPSG:4326", transform=transform, nodata=NODATA
    ) as file:
        file.write(cells, 1)
    x, y = middle(mapped)
    area = box(x - 6, y - 6, x + 6, y + 6)
    polygons = write_polygons(tmp_path / "dig.geojson", {"dig": area})
    found = measure_volumes(read_zones(polygons), products, base=str(base))
    (row,) = found.rows
    assert row.volume.net_m3 == pytest.approx(0.5 * 144, rel=0.01)
    assert row.base == "surface of before.tif, taken as exact"
    assert any("what its heights count from" in note for note in found.notes)
    # Beyond the other surface there is no volume, and the share of it is told.
    half = box(x - 60, y - 6, x, y + 6)
    far = write_polygons(tmp_path / "far.geojson", {"far": half})
    found = measure_volumes(read_zones(far), products, base=str(base))
    assert found.rows[0].volume.outside == pytest.approx(1 / 3, abs=0.02)
    assert any("has no surface and was not counted" in note for note in found.notes)


def test_heights_that_count_from_elsewhere_are_refused_as_base(
    mapped: MapRecord, tmp_path: Path
) -> None:
    products = mapped.survey.products_dir
    x, y = middle(mapped)
    polygons = read_zones(write_polygons(tmp_path / "p.gpkg", {"p": Point(x, y).buffer(5)}))
    other = tmp_path / "other.tif"
    shutil.copyfile(products / "dsm.tif", other)
    with rasterio.open(other, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.update_tags(VERTICAL_DATUM="EGM96")
    with rasterio.open(products / "dsm.tif") as file:
        assert file.tags()["VERTICAL_DATUM"] == "ellipsoid"
    with pytest.raises(InputError, match="count from EGM96, the map's from ellipsoid; convert it"):
        measure_volumes(polygons, products, base=str(other))
    with pytest.raises(InputError, match=r"--base .*: no such file; give 'plane', 'lowest' or"):
        measure_volumes(polygons, products, base=str(tmp_path / "plan"))
    with rasterio.open(other, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.set_band_unit(1, "ft")
    with pytest.raises(InputError, match="heights in 'ft'"):
        measure_volumes(polygons, products, base=str(other))


def test_the_terrain_below_its_own_surface_is_no_volume(mapped: MapRecord, tmp_path: Path) -> None:
    products = mapped.survey.products_dir
    x, y = middle(mapped)
    polygons = read_zones(write_polygons(tmp_path / "p.gpkg", {"p": Point(x, y).buffer(5)}))
    found = measure_volumes(polygons, products, base=str(products / "dtm.tif"))
    assert found.rows[0].volume.net_m3 == pytest.approx(0, abs=0.01)
    assert not any("heights count from" in note for note in found.notes)
    ground = measure_volumes(polygons, products, base="lowest", surface=Surface.DTM)
    assert ground.rows[0].volume.fill_m3 == pytest.approx(0, abs=0.01)


def test_polygons_may_be_kml(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    to_wgs84 = Transformer.from_crs("EPSG:32627", "EPSG:4326", always_xy=True).transform
    ring = shapely.get_coordinates(Point(x, y).buffer(5))
    corners = " ".join(f"{lon:.9f},{lat:.9f}" for lon, lat in zip(*to_wgs84(*ring.T), strict=True))
    file = tmp_path / "heap.kml"
    file.write_text(
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>'
        "<name>heap</name><Polygon><outerBoundaryIs><LinearRing><coordinates>"
        f"{corners}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )
    (row,) = measure_in_polygons(mapped.survey, file).found.rows
    assert row.name == "heap"
    assert row.volume.area_m2 == pytest.approx(shapely.area(Point(x, y).buffer(5)), rel=0.001)


def test_one_bad_polygon_does_not_spoil_the_others(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    polygons = {"good": Point(x, y).buffer(5), "far": Point(x + 900, y).buffer(5)}
    found = measure_volumes(
        read_zones(write_polygons(tmp_path / "p.gpkg", polygons)), mapped.survey.products_dir
    )
    assert [row.volume is None for row in found.rows] == [False, True]
    assert "far: lies beside the map" in found.notes
    csv_path, _ = write_volumes(found, tmp_path)
    assert csv_path.read_text(encoding="utf-8").splitlines()[2].startswith("far,,,")


def test_a_polygon_that_crosses_itself_counts_once(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    bow = Polygon([(x - 4, y - 4), (x + 4, y + 4), (x + 4, y - 4), (x - 4, y + 4), (x - 9, y + 4)])
    file = write_polygons(tmp_path / "bow.gpkg", {"bow": bow})
    found = measure_volumes(read_zones(file), mapped.survey.products_dir)
    assert found.rows[0].volume.area_m2 == pytest.approx(shapely.make_valid(bow).area, rel=0.001)
    write_volumes(found, tmp_path)


def test_volumes_are_refused_in_one_line(
    mapped: MapRecord, unscaled: MapRecord, tmp_path: Path
) -> None:
    x, y = middle(mapped)
    file = write_polygons(tmp_path / "p.gpkg", {"p": Point(x, y).buffer(5)})
    with pytest.raises(InputError, match="the map has no scale"):
        measure_volumes(read_zones(file), unscaled.survey.products_dir)
    with pytest.raises(InputError, match="no such product yet; map the survey first"):
        measure_volumes(read_zones(file), tmp_path)


def test_polygons_beside_the_map_and_empty_files_are_refused(
    mapped: MapRecord, tmp_path: Path
) -> None:
    x, y = middle(mapped)
    far = write_polygons(tmp_path / "far.gpkg", {"far": Point(x + 900, y).buffer(5)})
    with pytest.raises(InputError, match="no polygon lies on the map"):
        measure_in_polygons(mapped.survey, far)
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(InputError, match="holds no polygon"):
        measure_in_polygons(mapped.survey, empty)
    hole = write_polygons(tmp_path / "hole.gpkg", {"h": Point(x - 20, y + 10).buffer(3)})
    with pytest.raises(InputError, match="no polygon has a volume; h only 0 % of its edge"):
        measure_in_polygons(mapped.survey, hole)


def test_the_commands_print_what_they_made(mapped: MapRecord, tmp_path: Path) -> None:
    folder, run = str(mapped.survey.folder), CliRunner()
    done = run.invoke(terrain_command, [folder, "--contours", "50cm", "--slope", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert "contours each 0.5 m" in done.output
    assert "slope.tif" in done.output
    x, y = middle(mapped)
    file = write_polygons(tmp_path / "p.gpkg", {"p": Point(x, y).buffer(5)})
    done = run.invoke(volume_command, [folder, str(file), "--base", "lowest", "--surface", "dtm"])
    assert done.exit_code == 0, done.output
    assert "net m³" in done.output
    assert "volumes.gpkg" in done.output


def test_stages_on_request_come_after_the_terrain() -> None:
    assert ContourLines.after == Slope.after == ("terrain",)
