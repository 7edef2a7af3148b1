"""Models of a map that is there: in another detail, of an area, as OBJ and as 3D Tiles."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
import trimesh
from affine import Affine
from click.testing import CliRunner
from pyproj import CRS, Transformer
from shapely import Polygon, box

from flows.cli.model import model as model_command
from flows.engine.stage import Stage
from flows.engine.store import Known, Result, StageStore
from flows.products.ground import GROUND
from flows.products.table import GROUND_CLASSES, ORTHOMOSAIC, GroundClass
from flows.report.findings import why_flat
from flows.report.quality import MapRecord, assess_map
from flows.run.model import ModelResult, make_model
from flows.run.publish import publish, publish_map, remember_map
from flows.run.request import ModelOptions
from flows.stages.model import Model
from flows.stages.orthomosaic import GAINS_FILE
from flows.stages.solids import Sides, Solids, Standing, list_solids, read_sites
from flows.stages.surface import Elevation
from flows.stages.terrain import AboveGround, Terrain
from flows.stages.tiles3d import Tiles3d, raised_by
from photogrammetry.model.glb import read_glb
from photogrammetry.model.tiles import SCREEN_PX, SKIRT_CELLS, TILE_CELLS
from tmp.captures import HeightDatum, write_captures
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.geo.frames import EGM96_GRID
from tmp.geo.grids import Tile
from tmp.geo.rasters import create_tiled, finish_cog, read_grid
from tmp.reconstruction import write_reconstruction
from tmp.survey import open_survey

OPTIONS = {
    "fill": False,
    "area_wkt": None,
    "water_wkt": None,
    "quality": "normal",
    "model_sides": False,
    "model_detail": "normal",
}
CELL_M = 0.25
VALIDATORS = Path(__file__).parents[2] / "node_modules"
"""Where 'npm install gltf-validator 3d-tiles-validator' puts them."""


@pytest.fixture
def mapped(mapped_once: MapRecord, tmp_path: Path) -> MapRecord:
    """A survey of its own, as it was mapped."""
    return copied(mapped_once, tmp_path)


def copied(record: MapRecord, beside: Path) -> MapRecord:
    folder, was = beside / "survey", record.survey.folder
    shutil.copytree(was, folder)
    results = [replace(one, folder=folder / one.folder.relative_to(was)) for one in record.results]
    return replace(record, survey=open_survey(folder), results=results)


@pytest.fixture(scope="module")
def mapped_once(
    new_record: Callable[[Path], MapRecord], tmp_path_factory: pytest.TempPathFactory
) -> MapRecord:
    """A survey with a map and a model without sides: a mound, a wall of 1 m, on a slope."""
    record = new_record(tmp_path_factory.mktemp("mapped"))
    survey = record.survey
    shutil.rmtree(survey.photos_dir, ignore_errors=True)
    survey.photos_dir.mkdir()
    captures = []
    for capture in record.captures:
        path = survey.photos_dir / capture.name
        noise = np.random.default_rng(len(captures)).normal(120, 40, (150, 200, 3))
        picture = cv2.resize(np.clip(noise, 0, 255).astype(np.uint8), (800, 600))
        cv2.imwrite(str(path), picture)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        captures.append(replace(capture, sha256=digest, size_bytes=path.stat().st_size))
    write_captures(survey.gpkg_path, captures)
    ground, products = survey.folder.parent / GROUND, survey.products_dir
    gains = {photo.name: [1.0, 1.0, 1.0] for photo in record.reconstruction.photos}

    class Orientation(Stage):
        name = "orientation"
        version = "0"

        def finish(self) -> None:
            write_reconstruction(record.reconstruction, self.space.out)

    class Exposure(Stage):
        name = "exposure"
        version = "0"

        def finish(self) -> None:
            (self.space.out / GAINS_FILE).write_text(json.dumps(gains))

    class Surface(Stage):
        name = "surface"
        version = "0"
        options = ("quality",)

        def finish(self) -> None:
            shutil.copytree(ground, self.space.out / GROUND)

    class Orthomosaic(Stage):
        name = "orthomosaic"
        version = "0"

        def finish(self) -> None:
            shutil.copy(products / ORTHOMOSAIC.file, self.space.out)
            grid = read_grid(products / ORTHOMOSAIC.file)
            kinds = np.full((1, *grid.shape), GroundClass.MEASURED, np.uint8)
            kinds[:, :, :24] = GroundClass.CONTINUED
            raster = create_tiled(self.space.scratch / "classes", grid, dtype=np.uint8, nodata=0)
            for tile in raster.tiles():
                raster.write(tile, kinds[:, : tile.rows, : tile.cols])
            finish_cog(raster, self.space.out / GROUND_CLASSES.file, overviews="nearest")

    made: dict[str, Result] = {}
    store = StageStore(root=survey.work_dir / "stages")
    for stage in (
        *(Orientation, Exposure, Surface, Elevation, Terrain, AboveGround, Orthomosaic),
        *(Standing, Sides, Solids, Model),
    ):
        inputs = {"survey": Known(path=survey.folder, digest="")}
        inputs |= {name: made[name].known for name in stage.after}
        options = {name: OPTIONS[name] for name in stage.options}
        made[stage.name] = store.make(store.recipe(stage, inputs, options))
    results = list(made.values())
    for path in products.glob("*.tif"):
        path.unlink()
    publish(results, products)
    found = replace(record, results=results, captures=tuple(captures))
    remember_map(found, assess_map(found).verdict)
    return found


def asked(**options: Any) -> ModelOptions:
    return ModelOptions(**{"sides": False, **options})


def middle(record: MapRecord) -> np.ndarray:
    x_min, y_min, x_max, y_max = read_grid(record.survey.products_dir / "dsm.tif").bounds
    return np.array([(x_min + x_max) / 2, (y_min + y_max) / 2])


def write_polygon(path: Path, polygon: Polygon, crs: str = "EPSG:32627") -> Path:
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array([polygon], object)),
        [],
        [],
        geometry_type="Polygon",
        crs=crs,
        driver="GPKG",
    )
    return path


def names_of(made: ModelResult) -> list[str]:
    products = made.survey.products_dir
    return [path.relative_to(products).as_posix() for path in made.paths]


def test_what_the_map_has_is_not_made_again_and_another_detail_lies_beside_it(
    mapped: MapRecord,
) -> None:
    products = mapped.survey.products_dir
    own = (products / "model.glb").read_bytes()
    assert names_of(make_model(mapped.survey, asked())) == ["model.glb"]
    assert not (mapped.survey.work_dir / "stages" / "requested_model").exists()
    made = make_model(mapped.survey, asked(detail="low"))
    assert names_of(made) == ["model-low-no-sides.glb"]
    assert (products / "model.glb").read_bytes() == own
    assert made.figures["corners"] < read_glb(products / "model.glb")[0].corners
    assert "model-low-no-sides.glb" in made.report_path.read_text(encoding="utf-8")
    item = json.loads((products / "item.json").read_text())
    assert item["assets"]["model-low-no-sides"]["type"] == "model/gltf-binary"
    first = made.paths[0].stat()
    again = make_model(mapped.survey, asked(detail="low"))
    assert again.paths[0].stat().st_mtime_ns == first.st_mtime_ns


def test_a_model_of_an_area_shows_nothing_else(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    area = box(x - 9.1, y - 4.3, x + 6.2, y + 8.4)
    to_geodetic = Transformer.from_crs("EPSG:32627", "EPSG:4326", always_xy=True).transform
    drawn = shapely.transform(area, to_geodetic, interleaved=False)
    file = write_polygon(tmp_path / "trench 3.gpkg", drawn, "EPSG:4326")
    made = make_model(mapped.survey, asked(area_file=file))
    assert names_of(made) == ["model-trench_3-normal-no-sides.glb"]
    model, about = read_glb(made.paths[0])
    points = np.concatenate([part.points for part in model.parts]).astype(float)
    east = points[:, 0] + about["origin"]["easting"]
    north = points[:, 1] + about["origin"]["northing"]
    low_x, low_y, high_x, high_y = area.bounds
    assert low_x < east.min() < low_x + 2 * CELL_M
    assert high_x - 2 * CELL_M < east.max() < high_x
    assert low_y < north.min() < low_y + 2 * CELL_M
    assert high_y - 2 * CELL_M < north.max() < high_y


def test_obj_has_the_models_triangles_at_their_place(mapped: MapRecord) -> None:
    made = make_model(mapped.survey, asked(obj=True))
    glb, obj = made.paths
    folder = obj.parent
    model, about = read_glb(glb)
    origin = about["origin"]
    lines = obj.read_text().splitlines()
    count = Counter(line.split(" ")[0] for line in lines)
    assert (count["v"], count["f"]) == (model.corners, model.faces)
    corners = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert np.allclose(corners, np.concatenate([part.points for part in model.parts]), atol=1e-4)
    offset = (folder / "offset.txt").read_text()
    assert f"x  {origin['easting']:.3f}  easting" in offset
    assert f"z  {origin['height']:.3f}  height" in offset
    assert CRS.from_wkt((folder / "model.prj").read_text()).equals(
        CRS.from_epsg(32627).to_wkt("WKT1_ESRI"), ignore_axis_order=True
    )
    scene = trimesh.load(obj)
    meshes = list(scene.geometry.values())
    assert sum(len(mesh.faces) for mesh in meshes) == model.faces
    assert all(mesh.visual.material.image is not None for mesh in meshes)
    # Colours lie where those of the GLB do.
    flat = trimesh.load(glb)
    assert np.allclose(
        sorted(mesh.visual.to_color().vertex_colors.mean() for mesh in meshes),
        sorted(mesh.visual.to_color().vertex_colors.mean() for mesh in flat.geometry.values()),
        atol=2.0,
    )


def tiles_of(tile: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """Return all tiles of a tree and how deep each lies."""
    found = [(tile, 0)]
    for child in tile.get("children", []):
        found += [(one, depth + 1) for one, depth in tiles_of(child)]
    return found


@pytest.fixture
def finely_tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles so small that the map has three levels of them."""
    monkeypatch.setattr("photogrammetry.model.tiles.TILE_CELLS", 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tileset:
    """A tileset in three levels, and the map that it is of."""

    record: MapRecord
    path: Path

    @property
    def said(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    @property
    def tiles(self) -> list[tuple[dict[str, Any], int]]:
        return tiles_of(self.said["root"])

    def world_points(self, tile: dict[str, Any]) -> np.ndarray:
        """Return the corners of a tile's content east, north and up of the tileset's origin."""
        data = (self.path.parent / tile["content"]["uri"]).read_bytes()
        document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        model, _ = read_glb(self.path.parent / tile["content"]["uri"])
        x, y, z = document["nodes"][0]["translation"]
        return np.concatenate([part.points for part in model.parts]) + np.array([x, -z, y])

    def map_points(self, tile: dict[str, Any]) -> np.ndarray:
        """Return them as easting, northing and height, by way of Earth-centred coordinates."""
        points = self.world_points(tile)
        earth_from_world = np.array(self.said["root"]["transform"]).reshape(4, 4).T
        earth = np.column_stack([points, np.ones(len(points))]) @ earth_from_world.T
        to_geodetic = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
        longitude, latitude, up = to_geodetic.transform(*earth[:, :3].T)
        to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32627", always_xy=True)
        return np.column_stack([*to_utm.transform(longitude, latitude), up])


@pytest.fixture(scope="module")
def tileset(mapped_once: MapRecord, tmp_path_factory: pytest.TempPathFactory) -> Tileset:
    """Of tiles so small that there are three levels."""
    record = copied(mapped_once, tmp_path_factory.mktemp("tiled"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("photogrammetry.model.tiles.TILE_CELLS", 128)
        made = make_model(record.survey, asked(tiles3d=True))
    assert names_of(made) == ["model.glb", "model-tiles3d/tileset.json"]
    return Tileset(record=record, path=made.paths[1])


def test_tiles_form_a_tree_whose_boxes_hold_them_and_whose_errors_fall(tileset: Tileset) -> None:
    folder, said, tiles = tileset.path.parent, tileset.said, tileset.tiles
    assert said["asset"]["version"] == "1.1"
    assert max(depth for _, depth in tiles) == 2
    assert {tile["content"]["uri"] for tile, _ in tiles} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.glb")
    }
    pixel_m = read_grid(tileset.record.survey.products_dir / "orthomosaic.tif").cell_m
    for tile, depth in tiles:
        error = SCREEN_PX * pixel_m * 2 ** (2 - depth) if "children" in tile else 0.0
        assert tile["geometricError"] == pytest.approx(error)
        assert tile["refine"] == "REPLACE"
        values = np.array(tile["boundingVolume"]["box"])
        centre, half = values[:3], values[[3, 7, 11]]
        assert values[3:].nonzero()[0].tolist() == [0, 4, 8]
        for one, _ in tiles_of(tile):
            assert (np.abs(tileset.world_points(one) - centre) <= half).all()
    assert said["geometricError"] > said["root"]["geometricError"]


def test_tiles_stand_on_the_earth_where_the_surface_is(tileset: Tileset) -> None:
    """Corners of every level against the surface model."""
    for tile, depth in tileset.tiles:
        points = tileset.map_points(tile)
        with rasterio.open(tileset.record.survey.products_dir / "dsm.tif") as file:
            surface = np.array([value[0] for value in file.sample(points[:, :2].tolist())])
        known = surface != -9999
        off = np.abs(points[:, 2] - surface)[known]
        times = 2 ** (2 - depth)
        # Skirts hang below; at the wall a coarse cell is smooth.
        assert np.quantile(off, 0.5) < 0.02 * times
        assert off.max() < 1.0 + (SKIRT_CELLS + 1) * CELL_M * times


def test_neighbouring_tiles_share_their_edge_and_overlap_nowhere(tileset: Tileset) -> None:
    spans = []
    for tile, _ in tileset.tiles:
        if "children" not in tile:
            points = tileset.map_points(tile)[:, :2]
            spans.append(np.concatenate([points.min(axis=0), points.max(axis=0)]))
    shared = 0
    for n, one in enumerate(spans):
        for other in spans[n + 1 :]:
            overlap = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
            assert overlap.min() < 1e-3
            shared += bool((np.abs(overlap) < 1e-3).any() and overlap.max() > 1)
    assert shared > len(spans)  # each but those at the rim has four neighbours
    low, high = np.min(spans, axis=0)[:2], np.max(spans, axis=0)[2:]
    grid = read_grid(tileset.record.survey.products_dir / "dsm.tif")
    whole = [CELL_M * (grid.cols - 1), CELL_M * (grid.rows - 1)]
    assert (high - low).tolist() == pytest.approx(whole, abs=1e-3)


@pytest.mark.usefixtures("finely_tiled")
def test_stopped_tiles_go_on_where_they_were_and_come_out_the_same(
    mapped: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, seen = Tiles3d.make, []

    def stopped(stage: Tiles3d, item: str) -> None:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(item)
        make(stage, item)

    monkeypatch.setattr(Tiles3d, "make", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_model(mapped.survey, asked(tiles3d=True))
    assert not (mapped.survey.products_dir / "model-tiles3d").exists()
    later: list[str] = []

    def counted(stage: Tiles3d, item: str) -> None:
        later.append(item)
        make(stage, item)

    monkeypatch.setattr(Tiles3d, "make", counted)
    folder = make_model(mapped.survey, asked(tiles3d=True)).paths[1].parent
    assert not set(seen) & set(later)
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(mapped.survey.work_dir / "stages" / "tiles3d")
    make_model(mapped.survey, asked(tiles3d=True))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first


def test_what_stands_is_listed_by_place_and_size(mapped: MapRecord) -> None:
    """With its sides; the photographs agree on nothing, so the ground alone tells of the wall."""
    make_model(mapped.survey, asked(sides=True, detail="low"))
    standing, solids = (
        max((mapped.survey.work_dir / "stages" / name).glob("*/manifest.json"), key=wrote).parent
        for name in ("standing", "solids")
    )
    sites, listed = read_sites(standing), list_solids(solids)
    assert sites
    assert listed
    x, _ = middle(mapped)
    for one in listed:
        points = one.read().points
        assert len(points) == one.corners
        assert one.bounds == pytest.approx((*points[:, :2].min(0), *points[:, :2].max(0)))
        assert one.touches((x + 14, -1e9, x + 16, 1e9))
        assert not one.touches((x - 40, -1e9, x - 30, 1e9))


def wrote(path: Path) -> int:
    return path.stat().st_mtime_ns


def test_models_of_a_map_that_has_changed_are_taken_away_and_edited_ones_kept(
    mapped: MapRecord,
) -> None:
    products = mapped.survey.products_dir
    make_model(mapped.survey, asked(detail="low", obj=True))
    make_model(mapped.survey, asked(detail="high"))
    (products / "model-high-no-sides.glb").write_bytes(b"mine")

    class Plan:
        survey, settings, captures = mapped.survey, mapped.settings, mapped.captures
        values: ClassVar = {"area_wkt": None}

    publish_map(Plan(), mapped.results, mapped.asked)  # type: ignore[arg-type]
    assert (products / "model-low-no-sides.glb").exists()
    others = [
        result
        if result.stage != "orthomosaic"
        else replace(result, folder=result.folder.with_name("other"))
        for result in mapped.results
    ]
    shutil.copytree(
        next(one.folder for one in mapped.results if one.stage == "orthomosaic"),
        next(one.folder for one in others if one.stage == "orthomosaic"),
    )
    publish_map(Plan(), others, mapped.asked)  # type: ignore[arg-type]
    assert not (products / "model-low-no-sides.glb").exists()
    assert not (products / "model-low-no-sides-obj").exists()
    assert (products / "model.glb").exists()
    (kept,) = (products / "edited").glob("model-high-no-sides-*.glb")
    assert kept.read_bytes() == b"mine"


def test_an_edited_model_is_kept_when_it_is_asked_for_again(mapped: MapRecord) -> None:
    products = mapped.survey.products_dir
    make_model(mapped.survey, asked(obj=True))
    obj = products / "model-obj" / "model.obj"
    made = obj.read_bytes()
    obj.write_text("# mended in Blender")
    make_model(mapped.survey, asked(obj=True))
    assert obj.read_bytes() == made
    (kept,) = (products / "model-obj" / "edited").glob("model-*.obj")
    assert kept.read_text() == "# mended in Blender"


def test_what_cannot_be_made_is_refused_in_one_line(mapped: MapRecord, tmp_path: Path) -> None:
    x, y = middle(mapped)
    far = write_polygon(tmp_path / "far.gpkg", box(x + 500, y, x + 510, y + 10))
    with pytest.raises(InputError, match=r"far\.gpkg: no polygon lies on the map"):
        make_model(mapped.survey, asked(area_file=far))
    with pytest.raises(InputError, match="give one of low, normal, high"):
        asked(detail="none")
    (mapped.survey.photos_dir / "DJI_0003.JPG").write_bytes(b"another picture")
    with pytest.raises(PhotographError, match=r"DJI_0003\.JPG has changed"):
        make_model(mapped.survey, asked(detail="high"))
    remember_map(replace(mapped, asked={"quality": "fast"}), assess_map(mapped).verdict)
    with pytest.raises(InputError, match="has a preview, which has no 3D model; map it with"):
        make_model(mapped.survey, asked())
    mapped.survey.map_path.unlink()
    with pytest.raises(InputError, match="has no map yet; make one with 'tmp map"):
        make_model(mapped.survey, asked())


def test_too_full_a_disk_is_said_before_tiles_are_made(
    mapped: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.stages.tiles3d.BYTES_PER_CELL", 1e12)
    with pytest.raises(SpaceError, match=r"making the tiles needs .* GB is free"):
        make_model(mapped.survey, asked(tiles3d=True))


def test_tiles_need_a_place_on_earth(mapped: MapRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = replace(mapped.reconstruction.frame, origin=None, crs=None)
    nowhere = replace(mapped, reconstruction=replace(mapped.reconstruction, frame=frame))
    monkeypatch.setattr("flows.run.model.require_map", lambda *_: nowhere)
    with pytest.raises(InputError, match="has neither place nor scale"):
        make_model(mapped.survey, asked(tiles3d=True))


def test_heights_above_sea_level_are_raised_where_the_geoid_is_known(
    mapped: MapRecord, tmp_path: Path
) -> None:
    frame = mapped.settings.frame
    assert raised_by(HeightDatum.ELLIPSOID, frame) == 0.0
    assert raised_by(HeightDatum.UNKNOWN, frame) is None
    assert raised_by(HeightDatum.EGM96, frame) is None
    grid = {"driver": "GTiff", "width": 360, "height": 181, "count": 1, "dtype": "float32"}
    with rasterio.open(
        tmp_path / EGM96_GRID,
        "w",
        **grid,
        crs="EPSG:4326",
        transform=Affine(1, 0, -180.5, 0, -1, 90.5),
    ) as file:
        file.write(np.full((181, 360), 64.5, np.float32), 1)
    before = pyproj.datadir.get_data_dir()
    pyproj.datadir.append_data_dir(str(tmp_path))
    try:
        assert raised_by(HeightDatum.EGM96, frame) == pytest.approx(64.5)
    finally:
        pyproj.datadir.set_data_dir(before)


def test_a_model_says_why_it_is_flat(mapped: MapRecord) -> None:
    block = mapped.reconstruction
    assert why_flat({}, block) == []
    (said,) = why_flat({"standing": {"sites": 0}}, block)
    assert said.startswith("The model is 2.5-D")
    (said,) = why_flat({"standing": {"sites": 3}, "sides": {"measured": 0.05}}, block)
    assert "2.5-D for the most part: all photographs look down, and 5 % of the sides" in said
    assert "tmp plan --oblique" in said
    nowhere = replace(block, frame=replace(block.frame, origin=None, crs=None))
    (said,) = why_flat({"standing": {"sites": 0}}, nowhere)
    assert "photographs without positions" in said
    made = make_model(mapped.survey, asked(detail="low"))
    assert made.notes == ()


def test_the_command_prints_what_was_made(mapped: MapRecord) -> None:
    words = [str(mapped.survey.folder), "--no-sides", "--obj", "--workers", "1"]
    done = CliRunner().invoke(model_command, words)
    assert done.exit_code == 0, done.output
    assert "corners" in done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()] == [
        "model.glb",
        "model.obj",
        "report.html",
    ]


def test_validators_find_no_error(tileset: Tileset, tmp_path: Path) -> None:
    if shutil.which("node") is None or not (VALIDATORS / "gltf-validator").is_dir():
        pytest.skip("needs node, and 'npm install gltf-validator 3d-tiles-validator' beside README")
    script = tmp_path / "validate.cjs"
    script.write_text(
        f"const v = require({str(VALIDATORS / 'gltf-validator')!r});\n"
        "const fs = require('fs');\n"
        "Promise.all(process.argv.slice(2).map(async f => {\n"
        "  const r = await v.validateBytes(new Uint8Array(fs.readFileSync(f)));\n"
        "  if (r.issues.numErrors + r.issues.numWarnings)\n"
        "    console.log(f, JSON.stringify(r.issues.messages.slice(0, 5)));\n"
        "}));\n"
    )
    products = tileset.record.survey.products_dir
    files = [products / "model.glb", *tileset.path.parent.rglob("*.glb")]
    assert len(files) > 10
    done = subprocess.run(
        ["node", script, *files], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == ""
    whole = VALIDATORS / "3d-tiles-validator" / "build" / "src" / "main.js"
    if whole.exists():
        command = ["node", whole, "-t", tileset.path, "-r", tmp_path / "said.json"]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        assert json.loads((tmp_path / "said.json").read_text())["numErrors"] == 0


def test_the_finest_tiles_have_the_cells_of_the_surface(mapped: MapRecord) -> None:
    """One level does for a map of fewer cells than a tile has."""
    from photogrammetry.model.tiles import TileTree

    grid = read_grid(mapped.survey.products_dir / "dsm.tif")
    tree = TileTree(grid=grid)
    assert tree.depth == int(np.ceil(np.log2((grid.cols - 1) / TILE_CELLS)))
    for level in range(tree.depth + 1):
        coarse, times = tree.level_grid(level), tree.times(level)
        x, y = grid.cell_centres()
        at_x, at_y = coarse.cell_centres()
        assert np.allclose(at_x[:3], x[: 3 * times : times])
        assert np.allclose(at_y[:3], y[: 3 * times : times])
        assert at_x[-1] >= x[-1]
        assert at_y[-1] <= y[-1]
    assert TileTree(grid=grid.window(Tile(row=0, col=0, rows=200, cols=90))).depth == 0
