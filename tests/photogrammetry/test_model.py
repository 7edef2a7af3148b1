"""Heights become few triangles, photographs picture what stands steep, and GLB holds both."""

import io
import json
import struct
from dataclasses import replace
from types import ModuleType

import cv2
import numpy as np
import pytest
import trimesh
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.tri import LinearTriInterpolator
from matplotlib.tri import Triangulation as Triangles

from photogrammetry.model.charts import Charts, _borrow, lay_out
from photogrammetry.model.glb import Model, Part, glb_bytes, read_glb, write_glb
from photogrammetry.model.mesh import CONTINUED, MEASURED, NOTHING, HeightField, Mesh
from photogrammetry.model.portrait import SIDES, portray
from photogrammetry.model.relief_model import (
    CONTINUED_TINT,
    Budget,
    Sources,
    build_relief_model,
)
from photogrammetry.model.tiles import TileTree, halved, tileset_document
from photogrammetry.model.triangulation import triangulate
from tmp.errors import InputError
from tmp.geo.grids import Grid

CELL_M = 0.1
BUDGET = Budget(corners=20_000, megapixels=10, error_cells=0.4, megabytes=50)
ORTHO_GREY, WALL_GREY = 200, 60


def hills(rows: int = 90, cols: int = 130) -> np.ndarray:
    y, x = np.mgrid[:rows, :cols]
    height = 3 * np.sin(x / 17) + 2 * np.cos(y / 23)
    height[30:50, 40:70] += 2.5  # a house
    return height.astype(np.float32)


def edges_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(sides, axis=0, return_counts=True)


def areas_of(found) -> np.ndarray:
    x, y = found.col[found.faces].astype(float), -found.row[found.faces].astype(float)
    return (
        (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    ) / 2


@pytest.mark.parametrize("allowed_m", [0.02, 0.3])
def test_triangles_cover_the_ground_once_and_keep_to_it(allowed_m: float) -> None:
    height = hills()
    kind = np.ones(height.shape, np.uint8)
    kind[:10], kind[60:80, 90:110] = 0, 0
    allowed = np.full(height.shape, allowed_m, np.float32)
    found = triangulate(height, kind, allowed, block_cells=32, most_corners=99999)
    assert found.factor == 1.0
    area = areas_of(found)
    assert area.min() > 0  # anticlockwise
    # Squares of cells all of whose corners are mapped, and half of one at each corner of a hole.
    whole = (kind[1:, 1:] & kind[1:, :-1] & kind[:-1, 1:] & kind[:-1, :-1]).sum()
    assert area.sum() == pytest.approx(whole, abs=4)
    _, shared = edges_of(found.faces)
    assert shared.max() == 2
    surface = LinearTriInterpolator(
        Triangles(found.col, found.row, found.faces), height[found.row, found.col]
    )
    row, col = np.nonzero(kind)
    off = np.abs(surface(col, row) - height[row, col])
    assert off.count() > 0.99 * len(row)
    assert np.percentile(off.compressed(), 99) < allowed_m
    assert off.max() < 2 * allowed_m


def test_level_ground_takes_two_triangles_a_square_and_doubt_takes_fewer() -> None:
    kind = np.ones((65, 129), np.uint8)
    allowed = np.full(kind.shape, 0.1, np.float32)
    level = triangulate(0 * hills(65, 129), kind, allowed, block_cells=64, most_corners=10**6)
    assert level.faces.shape == (4, 3)
    assert sorted(level.block.tolist()) == [0, 0, 1, 1]
    x = np.mgrid[:65, :129][1]
    rough = (3 * np.sin(x / 17)).astype(np.float32)
    sure = triangulate(rough, kind, allowed, block_cells=64, most_corners=10**6)
    allowed[:, 64:] = 1.0  # the eastern square is known to a metre
    doubtful = triangulate(rough, kind, allowed, block_cells=64, most_corners=10**6)
    counts = [np.bincount(one.block) for one in (sure, doubtful)]
    assert counts[1][1] < counts[0][1] / 3
    assert counts[1][0] <= counts[0][0]


def test_corners_are_kept_to_a_number_by_allowing_more_everywhere() -> None:
    height, kind = hills(129, 129), np.ones((129, 129), np.uint8)
    found = triangulate(
        height, kind, np.full(kind.shape, 0.001, np.float32), block_cells=128, most_corners=800
    )
    assert 400 < len(found.row) <= 804  # and the corners of squares
    assert found.factor > 1


@given(arrays(np.uint8, (17, 25), elements=st.integers(0, 2)))
def test_triangles_never_leave_their_square_nor_what_is_mapped(kind: np.ndarray) -> None:
    allowed = np.full(kind.shape, 0.1, np.float32)
    found = triangulate(hills(17, 25), kind, allowed, block_cells=8, most_corners=10**6)
    assume(len(found.faces))
    assert (kind[found.row, found.col] > 0).all()
    rows, cols = found.row[found.faces], found.col[found.faces]
    assert (np.ptp(rows // 8 * 8, axis=1) <= 8).all()
    assert np.ptp(rows, axis=1).max() <= 8
    assert np.ptp(cols, axis=1).max() <= 8
    block = (rows.sum(axis=1) // 3 // 8) * 3 + cols.sum(axis=1) // 3 // 8
    assert (found.block == block).all()


def test_nothing_to_lay_triangles_over_is_refused() -> None:
    height = hills(9, 9)
    kind = np.zeros((9, 9), np.uint8)
    kind[4, 4] = MEASURED
    field = HeightField(
        grid=Grid(crs=None, x_min=0.0, y_max=0.9, cell_m=CELL_M, rows=9, cols=9),
        height=height,
        sigma=np.zeros_like(height),
        kind=kind,
    )
    with pytest.raises(InputError, match="no ground"):
        Mesh.of(field, [], block_cells=8, error_cells=0.4, most_corners=99)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=60))
def test_charts_lie_on_pages_without_touching_each_other(sizes: list[tuple[int, int]]) -> None:
    placement = lay_out(np.array(sizes), side=100)
    pages = [np.zeros(shape, int) for shape in placement.pages]
    for n, (columns, rows) in enumerate(sizes):
        x, y = placement.x[n], placement.y[n]
        spot = pages[placement.page[n]][y : y + rows, x : x + columns]
        assert spot.shape == (rows, columns)
        spot += 1
    assert all(page.max() == 1 and max(page.shape) <= 100 for page in pages)


def test_joined_charts_keep_their_own_numbers() -> None:
    one = Charts(
        views=("a", "b"),
        boxes=np.arange(8).reshape(2, 4),
        faces=np.array([4, 5, 6]),
        chart=np.array([0, 0, 1]),
        pixels=np.zeros((3, 3, 2), np.float32),
    )
    both = Charts.joined([one, Charts(), one])
    assert both.views == ("a", "b", "a", "b")
    assert both.chart.tolist() == [0, 0, 1, 2, 2, 3]


def small_field(small_world: ModuleType) -> tuple[HeightField, Sources]:
    """Return the exact ground of the small world, and its photographs."""
    world, frame = small_world.SmallWorld(), small_world.FRAME
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    grid = Grid(
        crs=frame.crs, x_min=middle[0] - 6, y_max=middle[1] + 6, cell_m=CELL_M, rows=120, cols=120
    )
    x, y = np.meshgrid(*grid.cell_centres())
    level = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, middle[2])])
    place = frame.world_from_map(level)
    height = (middle[2] + small_world.surface_height(place[:, 0], place[:, 1])).reshape(x.shape)
    kind = np.full(x.shape, MEASURED, np.uint8)
    kind[:, :10], kind[:4] = CONTINUED, NOTHING
    field = HeightField(
        grid=grid,
        height=height.astype(np.float32),
        sigma=np.zeros(x.shape, np.float32),
        kind=kind,
    )
    sources = Sources(
        orthomosaic=lambda window: np.full((*window.shape, 3), ORTHO_GREY, np.uint8),
        gsd_m=0.05,
        views=world.views,
        frame=frame,
        gains={view.name: np.ones(3) for view in world.views},
        photograph=lambda name: world.render(next(v for v in world.views if v.name == name)),
    )
    return field, sources


def grey_at(part: Part, pictures: list[bytes]) -> np.ndarray:
    """Return the grey value at the middle of each triangle of a part."""
    picture = cv2.imdecode(np.frombuffer(pictures[part.picture], np.uint8), cv2.IMREAD_GRAYSCALE)
    middle = part.uv[part.faces].mean(axis=1)
    col, row = (middle * picture.shape[::-1]).astype(int).T
    return picture[row, col]


def test_walls_are_pictured_by_photographs_and_the_rest_by_the_orthomosaic(
    small_world: ModuleType,
) -> None:
    field, sources = small_field(small_world)
    box = small_world.BOX
    found = build_relief_model(field, sources, BUDGET)
    steep = [part for part in found.model.parts if part.name.startswith("steep")]
    ground = [part for part in found.model.parts if part.name.startswith("ground")]
    beyond = [part for part in found.model.parts if part.name.startswith("continued")]
    assert steep
    assert ground
    assert all(part.tint == CONTINUED_TINT for part in beyond)
    assert beyond
    for part in (*ground, *beyond):
        assert np.abs(grey_at(part, found.model.pictures).astype(int) - ORTHO_GREY).max() < 4
    greys = np.concatenate([grey_at(part, found.model.pictures) for part in steep])
    assert (np.abs(greys.astype(int) - WALL_GREY) < 20).mean() > 0.9
    # The walls of the box, at most 2.4 m high, are all there is, and most of each is pictured.
    corner = np.concatenate([part.points[part.faces] for part in steep])
    east, north = corner[..., 0].ravel(), corner[..., 1].ravel()
    shift = (
        np.asarray(found.origin[:2]) - small_world.FRAME.map_from_world([[0.0, 0.0, 0.0]])[0, :2]
    )
    off_box = (
        np.maximum(np.abs(np.abs(east + shift[0]) - box[1]), 0),
        np.abs(np.abs(north + shift[1]) - box[3]),
    )
    assert np.minimum(*off_box).max() < 2 * CELL_M
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(cross, axis=1).sum() / 2
    around = 2 * (box[1] - box[0] + box[3] - box[2]) * small_world.BOX_TOP_M
    assert 0.8 * around < area < 1.2 * around


def test_what_stands_in_front_keeps_photographs_from_a_wall(small_world: ModuleType) -> None:
    """With a higher wall close before it, the western side is hidden from all views."""
    field, sources = small_field(small_world)
    box = small_world.BOX
    alone = build_relief_model(field, sources, BUDGET)
    col = int((box[0] + 6) / CELL_M) - 5
    field.height[40:80, col - 2 : col] += 6
    closed = build_relief_model(field, sources, BUDGET)

    def western(model) -> float:
        total = 0.0
        for part in model.model.parts:
            if part.name.startswith("steep"):
                corner = part.points[part.faces]
                cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
                at = corner[..., 0].mean(axis=1) + model.origin[0] - field.grid.x_min - 6
                here = (np.abs(at - box[0]) < 0.1) & (cross[:, 0] < 0)
                total += float(np.linalg.norm(cross[here], axis=1).sum() / 2)
        return total

    assert western(closed) < western(alone) / 2


def test_pictures_get_coarser_until_the_file_is_small_enough(small_world: ModuleType) -> None:
    field, sources = small_field(small_world)
    noise = np.random.default_rng(1).integers(0, 255, (999, 999, 3), np.uint8)
    noisy = replace(sources, orthomosaic=lambda window: noise[: window.rows, : window.cols])
    whole = build_relief_model(field, noisy, BUDGET)
    assert whole.pixel_m == sources.gsd_m
    of_mesh = glb_bytes(whole.model) - sum(map(len, whole.model.pictures))
    most = (of_mesh + 0.4 * sum(map(len, whole.model.pictures))) / 1e6
    small = build_relief_model(field, noisy, replace(BUDGET, megabytes=most))
    assert glb_bytes(small.model) / 1e6 <= most
    assert 1.2 * sources.gsd_m < small.pixel_m < 3 * sources.gsd_m
    assert small.model.faces == whole.model.faces


def one_part() -> Model:
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 3, 1]], np.float32)
    _, jpeg = cv2.imencode(".jpg", np.full((8, 8, 3), (10, 120, 240), np.uint8))
    return Model(
        parts=[
            Part(
                name="ground 1",
                points=points,
                normals=np.tile(np.float32([0, 0, 1]), (3, 1)),
                uv=np.float32([[0, 1], [1, 1], [0, 0]]),
                faces=np.uint32([[0, 1, 2]]),
                picture=0,
            )
        ],
        pictures=[bytes(jpeg)],
    )


def test_a_glb_is_read_by_others_with_its_place_picture_and_axes(tmp_path) -> None:
    model = one_part()
    path = tmp_path / "deep" / "model.glb"
    write_glb(path, model, about={"crs": "EPSG:32627"})
    data = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    assert abs(len(data) - glb_bytes(model)) < 3000  # besides what it says of itself
    (said,) = struct.unpack("<I", data[12:16])
    document = json.loads(data[20 : 20 + said])
    assert document["asset"]["extras"] == {"crs": "EPSG:32627"}
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    (mesh,) = scene.geometry.values()
    # x east, y up, z south
    assert mesh.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [0, 1, -3]]
    assert mesh.face_normals[0] @ (0, 1, 0) > 0.9
    red, green, blue = mesh.visual.material.baseColorTexture.getpixel((4, 4))
    assert abs(red - 240) < 6
    assert abs(green - 120) < 6
    assert abs(blue - 10) < 6
    assert not list(path.parent.glob(".*"))


def standing(at: tuple[float, float], east: bool, colour: tuple[int, int, int]) -> Model:
    """Return a wall 2 m wide and 1 m high that runs east or north, in one colour (red first)."""
    along = np.array([1.0, 0, 0] if east else [0, 1.0, 0])
    foot = np.array([*at, 0.0])
    corners = [foot - along, foot + along, foot + along + (0, 0, 1), foot - along + (0, 0, 1)]
    _, jpeg = cv2.imencode(".jpg", np.full((16, 16, 3), colour[::-1], np.uint8))
    part = replace(
        one_part().parts[0],
        points=np.array(corners, np.float32),
        normals=np.zeros((4, 3), np.float32),
        uv=np.full((4, 2), 0.5, np.float32),
        faces=np.uint32([[0, 1, 2], [0, 2, 3]]),
    )
    return Model(parts=[part], pictures=[bytes(jpeg)])


def joined(models: list[Model]) -> Model:
    parts = [replace(one.parts[0], picture=n) for n, one in enumerate(models)]
    return Model(parts=parts, pictures=[one.pictures[0] for one in models])


def test_each_side_shows_what_stands_in_front_there() -> None:
    """Two walls, red in the south and blue in the north, a green one in the east, yellow beyond."""
    red, green, blue, yellow = (230, 0, 0), (0, 230, 0), (0, 0, 230), (230, 230, 0)
    model = joined(
        [
            standing((0, -1), True, red),
            standing((0, 1), True, blue),
            standing((6, 0), False, green),
            standing((9, -1), True, yellow),
        ]
    )
    south, west, north, east = portray(model, 400)
    assert list(SIDES) == ["the south", "the west", "the north", "the east"]
    assert all(one.shape == south.shape and one.shape[1] == 400 for one in (west, north, east))

    def place(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
        shown = np.abs(picture[..., ::-1].astype(int) - colour).max(axis=2) < 25
        assert shown.sum() > 50, colour
        row, col = np.nonzero(shown)
        return float(row.mean()), float(col.mean())

    for picture, front, back in ((south, red, blue), (north, blue, red)):
        assert place(picture, front)[0] > place(picture, back)[0]  # lower in the picture
    assert place(south, yellow)[1] > place(south, red)[1]  # east is on the right
    assert place(north, yellow)[1] < place(north, red)[1]
    area = {
        name: int((np.abs(one[..., ::-1].astype(int) - green).max(axis=2) < 25).sum())
        for name, one in zip("swne", (south, west, north, east), strict=True)
    }
    assert min(area["w"], area["e"]) > 5 * max(area["s"], area["n"], 1)


def test_what_is_nearer_hides_what_is_behind_it_in_whatever_order_it_is_drawn() -> None:
    far, near = standing((0, 0.1), True, (230, 0, 0)), standing((0, -0.1), True, (0, 0, 230))
    for order in ([far, near], [near, far]):
        south = portray(joined(order), 200)[0]
        red, blue = (
            (np.abs(south[..., ::-1].astype(int) - colour).max(axis=2) < 25).sum()
            for colour in ((230, 0, 0), (0, 0, 230))
        )
        assert blue > 8 * red


def test_an_empty_tile_has_no_content_and_its_children_are_in_its_box() -> None:
    def bounds(x: float) -> np.ndarray:
        return np.array([[x, 0.0, -1.0], [x + 2.0, 1.0, 4.0]])

    found = tileset_document(
        {(1, 0, 0): bounds(0.0), (1, 1, 1): bounds(5.0)},
        [0.4, 0.2],
        np.eye(4),
        lambda node: f"{node}",
        {},
    )
    root = found["root"]
    assert "content" not in root
    assert [child["content"]["uri"] for child in root["children"]] == ["(1, 0, 0)", "(1, 1, 1)"]
    centre, half = np.array(root["boundingVolume"]["box"]).reshape(4, 3)[[0, 1]]
    assert centre.tolist() == [3.5, 0.5, 1.5]
    assert half[0] == pytest.approx(3.5, abs=0.01)
    assert (root["geometricError"], root["children"][0]["geometricError"]) == (6.4, 0.0)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_tiles_of_each_level_cover_the_ground_and_parents_their_children(
    rows: int, cols: int
) -> None:
    tree = TileTree(grid=Grid(crs=None, x_min=0.0, y_max=0.0, cell_m=1.0, rows=rows, cols=cols))
    assert tree.nodes(0) == [(0, 0, 0)]
    for level in range(tree.depth + 1):
        nodes = tree.nodes(level)
        tile = tree.core(max(nodes))
        last_row, last_col = ((side - 1) * tree.times(level) for side in (tile.rows, tile.cols))
        assert (tile.row * tree.times(level) + last_row) >= rows - 1
        assert (tile.col * tree.times(level) + last_col) >= cols - 1
        if level:
            above = set(tree.nodes(level - 1))
            assert {(level - 1, row // 2, col // 2) for _, row, col in nodes} == above


def test_ground_of_the_next_level_is_smooth_and_knows_where_nothing_is() -> None:
    slope = np.add.outer(np.arange(9.0), 2 * np.arange(7.0)).astype(np.float32)
    kind = np.full(slope.shape, MEASURED, np.float32)
    kind[:, :2] = NOTHING
    height, sigma, kinds = halved(np.stack([slope, np.full_like(slope, 0.1), kind]))
    assert height.shape == (4, 3)
    assert np.allclose(height[:, 2], slope[1:-1:2, 5])  # a plane stays one
    assert kinds[:, 0].tolist() == [NOTHING] * 4
    assert np.allclose(sigma[:, 1:], 0.1)


def test_a_far_face_takes_the_view_of_its_neighbour_and_a_hidden_one_none() -> None:
    """Seen from the south: one triangle faces that way, one north, one south behind a wall."""
    up = [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    corners = np.array([up, [up[0], up[2], up[1]], up], np.float32)
    view = np.array([0, -1, -1])
    _borrow(view, np.array([[0, 1], [1, 2]]), corners, np.array([[0.0, -9.0, 0.5]]))
    assert view.tolist() == [0, 0, -1]


def test_a_glb_read_back_is_the_model_that_was_written(tmp_path) -> None:
    model = replace(one_part(), parts=[replace(one_part().parts[0], tint=(0.5, 0.25, 1.0))])
    write_glb(tmp_path / "model.glb", model, about={"crs": None})
    found, about = read_glb(tmp_path / "model.glb")
    assert about == {"crs": None}
    assert found.pictures == model.pictures
    (part,), (wanted,) = found.parts, model.parts
    for name in ("points", "normals", "uv", "faces"):
        assert np.array_equal(getattr(part, name), getattr(wanted, name)), name
    assert (part.name, part.tint, part.picture) == (wanted.name, wanted.tint, 0)
