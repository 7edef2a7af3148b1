"""The indices of a survey, end to end on a small stack whose every value is known."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import defusedxml.ElementTree as ElementTree
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from click.testing import CliRunner
from pyproj import CRS

from flows.engine.stage import Stage
from flows.engine.store import StageStore
from flows.products.band_stack import choose_stack, open_stack, read_index_products, wavelength_tags
from flows.products.zones import Zones, read_zones, write_zones, zonal_statistics
from flows.report.quality import MapRecord, assess_map
from flows.run.indices import compute_indices
from flows.run.publish import publish, recall_map, remember_map
from flows.run.request import IndexOptions
from tmp.captures import write_captures
from tmp.cli import main
from tmp.errors import InputError
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog, read_grid
from tmp.radiometry import Band
from tmp.reconstruction import write_reconstruction

NODATA = -9999.0
SEQUOIA = (
    Band(name="green", centre_nm=550.0, width_nm=40.0),
    Band(name="red", centre_nm=660.0, width_nm=40.0),
    Band(name="rededge", centre_nm=735.0, width_nm=10.0),
    Band(name="nir", centre_nm=790.0, width_nm=40.0),
)
LAWN = (0.08, 0.05, 0.25, 0.45)
ASPHALT = (0.10, 0.11, 0.12, 0.13)
PANEL_TAGS = {
    "CALIBRATION": "panel",
    "CALIBRATION_LEVEL": "reflectance",
    "CALIBRATION_RED": "panel, sigma 3.0 %",
    "CALIBRATION_NIR": "panel, sigma 2.0 %",
}
RELATIVE_TAGS = {"CALIBRATION": "relative", "CALIBRATION_LEVEL": "proportional to reflectance"}


def write_stack(record: MapRecord, tags: dict[str, str] = PANEL_TAGS) -> Grid:
    """Write a stack on the map's ground: lawn in the west, asphalt in the east, a hole."""
    around = read_grid(record.survey.products_dir / "dsm.tif")
    cells = np.empty((4, *around.shape), np.float32)
    for number, (lawn, asphalt) in enumerate(zip(LAWN, ASPHALT, strict=True)):
        cells[number] = np.where(np.arange(around.cols) < around.cols // 2, lawn, asphalt)
    cells[:, :10, :10] = NODATA
    raster = create_tiled(record.survey.folder / "work" / "made", around, bands=4, nodata=NODATA)
    for tile in raster.tiles():
        rows, cols = (
            slice(tile.row, tile.row + tile.rows),
            slice(tile.col, tile.col + tile.cols),
        )
        raster.write(tile, cells[:, rows, cols])
    finish_cog(
        raster,
        record.survey.products_dir / "reflectance.tif",
        descriptions=[band.name for band in SEQUOIA],
        tags=tags | wavelength_tags(SEQUOIA),
    )
    return around


@pytest.fixture
def surveyed(record: MapRecord) -> MapRecord:
    """A survey that has a map, its record, and a stack calibrated with a panel."""
    write_captures(record.survey.gpkg_path, record.captures)
    stages = StageStore(root=record.survey.work_dir / "stages")

    class Orientation(Stage):
        name = "orientation"
        version = "0"

        def finish(self) -> None:
            write_reconstruction(record.reconstruction, self.space.out)

    result = stages.make(stages.recipe(Orientation, {}, {}))
    mapped = replace(record, results=[result])
    remember_map(mapped, assess_map(record).verdict)
    write_stack(record)
    return mapped


def read_band(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def test_ndvi_of_a_lawn_and_of_asphalt_are_those_worked_by_hand(surveyed: MapRecord) -> None:
    result = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI", "ndre")))
    ndvi, ndre = (read_band(path) for path in result.paths)
    assert [path.name for path in result.paths] == ["ndvi.tif", "ndre.tif"]
    assert ndvi[50, 20] == pytest.approx((0.45 - 0.05) / (0.45 + 0.05), abs=1e-6)
    assert ndvi[50, -20] == pytest.approx((0.13 - 0.11) / (0.13 + 0.11), abs=1e-6)
    assert ndre[50, 20] == pytest.approx((0.45 - 0.25) / (0.45 + 0.25), abs=1e-6)
    assert (ndvi[:10, :10] == NODATA).all()
    assert "735 nm" in " ".join(result.warnings)
    assert (surveyed.survey.products_dir / "ndvi.png").exists()


def test_a_raster_says_in_its_tags_what_it_rests_on(surveyed: MapRecord) -> None:
    (path,) = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",))).paths
    with rasterio.open(path) as file:
        tags, nodata = file.tags(), file.nodata
    assert nodata == NODATA
    assert tags["CALIBRATION"] == "panel"
    assert tags["BANDS"] == "N = nir 790 nm; R = red 660 nm"
    assert tags["FORMULA"] == "(N - R)/(N + R)"
    assert tags["SOURCE"].startswith("https://")


def test_the_doubt_of_the_panels_reaches_the_index(surveyed: MapRecord) -> None:
    """dNDVI = 2 N R / (N + R)² times the relative errors, which add in squares."""
    (path,) = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",))).paths
    with rasterio.open(path) as file:
        sigma = float(file.tags()["SIGMA"])
    with rasterio.open(surveyed.survey.products_dir / "reflectance.tif") as file:
        stack = np.where(file.read() == NODATA, np.nan, file.read())
    red, nir = np.nanmedian(stack[1]), np.nanmedian(stack[3])
    slope = 2 * nir * red / (nir + red) ** 2
    assert sigma == pytest.approx(slope * np.hypot(0.03, 0.02), abs=0.001)


def test_style_has_the_same_ends_whatever_the_values(surveyed: MapRecord) -> None:
    compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    tree = ElementTree.parse(surveyed.survey.products_dir / "ndvi.qml")
    values = [float(item.get("value")) for item in tree.iter("item")]
    assert (values[0], values[-1]) == (-0.2, 1.0)


def test_catalogue_and_report_know_the_index(surveyed: MapRecord) -> None:
    result = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    item = json.loads((surveyed.survey.products_dir / "item.json").read_text())
    asset = item["assets"]["ndvi"]
    assert asset["tmp:rests_on"] == "panel"
    assert asset["bands"][0]["name"] == "NDVI"
    assert result.report_path is not None
    report = result.report_path.read_text()
    assert "products/ndvi.tif" in report
    assert "the same colours on every date" in report


def test_a_later_map_keeps_the_indices_in_catalogue_and_report(surveyed: MapRecord) -> None:
    compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    again = recall_map(surveyed.survey, surveyed.settings, surveyed.captures)
    assert again is not None
    assert [result.stage for result in again.results] == ["orientation", "indices"]
    assert [p.file for p in read_index_products(surveyed.survey.products_dir)] == ["ndvi.tif"]


def test_an_index_of_former_reflectance_is_called_so(surveyed: MapRecord) -> None:
    compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    (before,) = read_index_products(surveyed.survey.products_dir)
    write_stack(surveyed, PANEL_TAGS | {"CALIBRATION_RED": "panel, sigma 5.0 %"})
    (after,) = read_index_products(surveyed.survey.products_dir)
    assert "earlier reflectance.tif" not in before.told.get("warning", "")
    assert "earlier reflectance.tif" in after.told["warning"]
    compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    (again,) = read_index_products(surveyed.survey.products_dir)
    assert "warning" not in again.told


def test_edited_reflectance_is_put_back_before_anything_is_computed_of_it(
    surveyed: MapRecord,
) -> None:
    survey, options = surveyed.survey, IndexOptions(indices=("NDVI",))
    stack = survey.products_dir / "reflectance.tif"
    made = survey.folder.parent / "made.tif"
    stack.rename(made)

    class Reflectance(Stage):
        name = "reflectance"
        version = "0"

        def finish(self) -> None:
            shutil.copy(made, self.space.out / "reflectance.tif")

    store = StageStore(root=survey.work_dir / "stages")
    result = store.make(store.recipe(Reflectance, {}, {}))
    publish([result], survey.products_dir)
    record = replace(surveyed, results=[*surveyed.results, result])
    remember_map(record, assess_map(record).verdict)
    (path,) = compute_indices(survey.folder, options).paths
    true = path.read_bytes()
    with rasterio.open(stack, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(file.read() + 0.1)
    (path,) = compute_indices(survey.folder, options).paths
    assert path.read_bytes() == true
    assert stack.read_bytes() == made.read_bytes()
    with rasterio.open(stack, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(file.read() + 0.1)
    shutil.rmtree(result.folder)
    with pytest.raises(InputError, match=r"reflectance\.tif: is not as it was made; 'tmp map'"):
        compute_indices(survey.folder, options)


def test_asking_again_computes_nothing(surveyed: MapRecord) -> None:
    options = IndexOptions(indices=("NDVI",))
    first = compute_indices(surveyed.survey.folder, options).paths[0].stat()
    second = compute_indices(surveyed.survey.folder, replace(options, workers=2)).paths[0].stat()
    assert first.st_mtime_ns == second.st_mtime_ns


def test_a_shadow_that_is_not_there_is_said_not_to_be_masked(surveyed: MapRecord) -> None:
    options = IndexOptions(indices=("NDVI",), mask_shadow=True)
    result = compute_indices(surveyed.survey.folder, options)
    plain = compute_indices(surveyed.survey.folder, replace(options, mask_shadow=False))
    said = [warning for warning in result.warnings if "no shadow was masked" in warning]
    assert len(said) == 1
    assert not set(said) & set(plain.warnings)


def test_shade_across_the_ground_is_masked_when_asked(surveyed: MapRecord) -> None:
    """A third of the ground gets a seventh of the light; what is left is the lit lawn's NDVI."""
    grid = write_stack(surveyed)
    path = surveyed.survey.products_dir / "reflectance.tif"
    with rasterio.open(path) as file:
        profile, cells, names, tags = file.profile, file.read(), file.descriptions, file.tags()
    shade = np.zeros(grid.shape, bool)
    shade[grid.rows // 2 :, : grid.cols // 3] = True
    noise = np.random.default_rng(2).normal(1, 0.1, grid.shape)
    cells = np.where(cells == NODATA, NODATA, cells * noise * np.where(shade, 0.14, 1.0))
    profile.update(driver="GTiff")
    with rasterio.open(path, "w", **profile) as file:
        file.write(cells.astype(np.float32))
        file.descriptions = names
        file.update_tags(**tags)
    options = IndexOptions(indices=("NDVI",), mask_shadow=True)
    ndvi = read_band(compute_indices(surveyed.survey.folder, options).paths[0])
    assert (ndvi[shade] == NODATA).mean() > 0.98
    assert (ndvi[~shade] == NODATA).mean() < 0.02


def test_without_a_map_there_is_no_report_but_all_else(record: MapRecord) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    write_stack(record)
    result = compute_indices(record.survey.folder, IndexOptions(indices=("NDVI",)))
    assert result.report_path is None
    assert result.paths[0].exists()


def test_an_index_that_needs_reflectance_is_refused_where_its_level_is_unknown(
    surveyed: MapRecord,
) -> None:
    write_stack(surveyed, RELATIVE_TAGS)
    with pytest.raises(InputError, match=r"OSAVI: needs reflectance.*relative.*--relative"):
        compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI", "OSAVI")))
    ndvi = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",)))
    assert "compare within this map only" in " ".join(ndvi.warnings)
    allowed = compute_indices(
        surveyed.survey.folder, IndexOptions(indices=("OSAVI",), relative=True)
    )
    assert any("unknown level" in warning for warning in allowed.warnings)


def test_the_orthomosaic_serves_visible_indices_and_is_called_relative(
    record: MapRecord,
) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    result = compute_indices(record.survey.folder, IndexOptions(indices=("VARI", "ExG")))
    stack = choose_stack(record.survey.products_dir)
    assert stack.picture
    with rasterio.open(record.survey.products_dir / "orthomosaic.tif") as file:
        red, green, blue, alpha = file.read().astype(float)
    excess = read_band(result.paths[1])
    expected = np.where(alpha > 0, (2 * green - red - blue) / 255, NODATA)
    np.testing.assert_allclose(excess, expected, atol=1e-6)
    assert any("relative" in warning for warning in result.warnings)


def test_near_infrared_is_not_in_an_orthomosaic(record: MapRecord) -> None:
    with pytest.raises(InputError, match=r"NDVI needs nir .*orthomosaic.tif has red, green, blue"):
        compute_indices(record.survey.folder, IndexOptions(indices=("NDVI",)))


def test_a_saturated_cell_has_no_index(record: MapRecord) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    path = record.survey.products_dir / "orthomosaic.tif"
    with rasterio.open(path) as file:
        profile, cells = file.profile, file.read()
    cells[1, 100, 100], cells[3, 100, 100] = 255, 255
    profile.update(driver="GTiff")
    with rasterio.open(path, "w", **profile) as file:
        file.write(cells)
        file.descriptions = ("red", "green", "blue", "alpha")
    (vari,) = compute_indices(record.survey.folder, IndexOptions(indices=("VARI",))).paths
    assert read_band(vari)[100, 100] == NODATA


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"indices": ("NDSI",)}, "short-wave infrared.*take NDGlaI"),
        ({"indices": ("NDVII",)}, "did you mean 'NDVI'"),
        ({"indices": ("BNDVI",)}, "needs blue.*could be had: NDVI"),
        ({"indices": ("NDVI", "ndvi")}, "asked for twice"),
        ({"formulas": (("dsm", "N/R"),)}, "dsm.tif is another product"),
        ({"formulas": (("NDVI", "N/R"),)}, "has its meaning"),
        ({"formulas": (("mine", "N.real"),)}, "column 1"),
        ({"formulas": (("mine", "N/Q"),)}, "column 3: there is no band 'Q'"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_written(
    surveyed: MapRecord, options: dict, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        compute_indices(surveyed.survey.folder, IndexOptions(**options))
    assert not list(surveyed.survey.products_dir.glob("*ndvi*"))


def test_a_stack_without_band_names_is_refused(tmp_path: Path) -> None:
    grid = Grid(crs="EPSG:32627", x_min=0.0, y_max=8.0, cell_m=1.0, rows=8, cols=8)
    raster = create_tiled(tmp_path / "tiles", grid, bands=2, nodata=NODATA)
    finish_cog(raster, tmp_path / "reflectance.tif")
    with pytest.raises(InputError, match="band 1 has no name"):
        open_stack(tmp_path / "reflectance.tif")


def write_plots(path: Path, grid: Grid, boxes: list[tuple[float, float, float, float]]) -> None:
    """Write plots given in cells from the grid's upper left corner, in longitude and latitude."""
    shapes = [
        shapely.box(
            grid.x_min + grid.cell_m * left,
            grid.y_max - grid.cell_m * bottom,
            grid.x_min + grid.cell_m * right,
            grid.y_max - grid.cell_m * top,
        )
        for left, top, right, bottom in boxes
    ]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes, object)),
        [np.array([f"plot {i}" for i in range(len(boxes))], object)],
        ["plot"],
        layer="plots",
        driver="GPKG",
        geometry_type="Polygon",
        crs=grid.crs,
    )


def test_zones_give_the_mean_of_their_ground_and_keep_their_columns(surveyed: MapRecord) -> None:
    grid = read_grid(surveyed.survey.products_dir / "reflectance.tif")
    plots = surveyed.survey.folder / "plots.gpkg"
    middle = grid.cols // 2
    write_plots(plots, grid, [(20, 20, 40, 40), (middle - 5, 50, middle + 5, 60), (5, 5, 15, 10)])
    result = compute_indices(
        surveyed.survey.folder, IndexOptions(indices=("NDVI",), zones_file=plots)
    )
    csv_path, gpkg_path = result.zone_paths
    with csv_path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lawn, asphalt = 0.8, 0.02 / 0.24
    assert [row["plot"] for row in rows] == ["plot 0", "plot 1", "plot 2"]
    assert float(rows[0]["ndvi_mean"]) == pytest.approx(lawn, abs=1e-5)
    assert float(rows[1]["ndvi_mean"]) == pytest.approx((lawn + asphalt) / 2, abs=1e-5)
    assert float(rows[2]["ndvi_valid_share"]) == pytest.approx(0.5, abs=1e-3)
    assert rows[0]["ndvi_rests_on"] == "panel"
    meta, _, _, _ = pyogrio.raw.read(gpkg_path)
    assert {"plot", "ndvi_median", "ndvi_p95"} <= set(meta["fields"])


def test_no_polygon_holds_more_values_than_it_has_room(tmp_path: Path) -> None:
    """Of such triangles every second one's cells add up to a hair more than its area."""
    path, random = tmp_path / "ndvi.tif", np.random.default_rng(1)
    affine = rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 7100006)
    profile = {"driver": "GTiff", "width": 60, "height": 60, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:32627", transform=affine, **profile) as raster:
        raster.write(np.ones((1, 60, 60), np.float32))
    corners = random.uniform(0.5, 5.5, (50, 3, 2)) + np.array([5e5, 7.1e6])
    zones = Zones(source=path, shapes=shapely.polygons(corners), crs=CRS(32627), columns={})
    share = zonal_statistics(zones, path)["valid_share"]
    assert share.max() == 1.0
    assert share.min() == pytest.approx(1.0)


def test_edge_cells_count_by_the_share_inside(surveyed: MapRecord) -> None:
    """A plot that cuts cells in half holds half of each: an area, not a count of centres."""
    path = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",))).paths[0]
    grid, plots = read_grid(path), surveyed.survey.folder / "plots.gpkg"
    middle = grid.cols // 2
    write_plots(plots, grid, [(middle - 1.25, 50, middle + 0.5, 60)])
    found = zonal_statistics(read_zones(plots), path)
    lawn, asphalt = 0.8, 0.02 / 0.24
    assert found["count"][0] == pytest.approx(17.5, abs=1e-3)
    assert found["mean"][0] == pytest.approx((1.25 * lawn + 0.5 * asphalt) / 1.75, abs=1e-4)


def test_a_column_called_fid_and_empty_cells_survive(surveyed: MapRecord) -> None:
    path = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",))).paths[0]
    plots = surveyed.survey.folder / "plots.geojson"
    west, south, east, north = read_grid(path).bounds
    ring = [[west, south], [east, south], [east, north], [west, south]]
    features = [
        {
            "type": "Feature",
            "properties": {"fid": label, "year": year},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for label, year in (("a", 2025), (None, None))
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32627"}}
    plots.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    csv_path, gpkg_path = write_zones(read_zones(plots), [path], surveyed.survey.products_dir)
    with csv_path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["fid_before"], row["year"]) for row in rows] == [("a", "2025"), ("", "")]
    assert len(pyogrio.raw.read(gpkg_path)[2]) == 2


def test_zones_off_the_map_or_without_polygons_are_refused(surveyed: MapRecord) -> None:
    path = compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",))).paths[0]
    grid, plots = read_grid(path), surveyed.survey.folder / "plots.gpkg"
    write_plots(plots, grid, [(9000, 9000, 9010, 9010)])
    with pytest.raises(InputError, match="no polygon lies on the map"):
        zonal_statistics(read_zones(plots), path)
    path.unlink()
    with pytest.raises(InputError, match="no polygon lies on the map"):
        compute_indices(surveyed.survey.folder, IndexOptions(indices=("NDVI",), zones_file=plots))
    assert not path.exists()
    points = surveyed.survey.folder / "points.geojson"
    points.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, '
        '"geometry": {"type": "Point", "coordinates": [0, 0]}}]}'
    )
    with pytest.raises(InputError, match="holds no polygon"):
        read_zones(points)
    with pytest.raises(InputError, match="no such file"):
        read_zones(Path("nowhere.gpkg"))


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        ([[0, 0], [1, 0], [1, 1]], "cannot be read as a vector file"),
        ([[0, 0], [1, 0], [1e400, 1], [0, 0]], "coordinates are no numbers"),
        ([[0, 0], [1, 0], [1, 95], [0, 0]], "no place on Earth"),
    ],
)
def test_zones_with_broken_rings_are_refused_in_one_line(
    tmp_path: Path, ring: list[list[float]], said: str
) -> None:
    plots = tmp_path / "plots.geojson"
    shape = json.dumps({"type": "Polygon", "coordinates": [ring]}).replace("Infinity", "1e400")
    plots.write_text(f'{{"type": "Feature", "properties": {{}}, "geometry": {shape}}}')
    with pytest.raises(InputError, match=said) as refusal:
        read_zones(plots)
    assert "\n" not in str(refusal.value)


def test_the_command_prints_paths_and_notes(surveyed: MapRecord) -> None:
    done = CliRunner().invoke(
        main,
        [
            "indices", str(surveyed.survey.folder), "--index", "NDVI,NDRE",
            "--formula", "mine=2*N/(N+R)",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for name in ("ndvi.tif", "ndre.tif", "mine.tif", "report.html"):
        assert name in done.output


def test_the_command_says_in_one_line_what_is_wrong(surveyed: MapRecord) -> None:
    done = CliRunner().invoke(main, ["indices", str(surveyed.survey.folder), "--index", "NDSI"])
    assert done.exit_code == 1
    assert "short-wave infrared" in done.output
    nothing = CliRunner().invoke(main, ["indices", str(surveyed.survey.folder)])
    assert "no index asked for" in nothing.output
