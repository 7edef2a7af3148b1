"""What stands is found, measured from its sides, and joined to one closed surface."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from photogrammetry.kernels.fusion import AROUND, BRICK
from photogrammetry.model.mesh import MEASURED, HeightField, Mesh, Solid, fair_share, thinned
from photogrammetry.pictures import PictureStore
from photogrammetry.solid.fusion import (
    Sheet,
    SolidMesh,
    fade_of,
    fuse_group,
    ground_sheet,
    group_box,
    group_outline,
    joined,
    side_sheet,
    side_window,
    without_specks,
)
from photogrammetry.solid.measure import measure_side, turned_views
from photogrammetry.solid.sides import (
    Side,
    SiteFrame,
    heights_of,
    lay_sides,
    side_rotation,
)
from photogrammetry.solid.simplification import simplified
from photogrammetry.solid.sites import (
    BLOCK,
    Site,
    Standing,
    groups_of,
    replaced_squares,
    sites_of,
)
from photogrammetry.surface.measure import SurfaceOptions
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile

CELL_M = 0.1
NOWHERE = LocalFrame(origin=None, crs=None)


def plain(rows: int, cols: int) -> Grid:
    return Grid(crs=None, x_min=0.0, y_max=rows * CELL_M, cell_m=CELL_M, rows=rows, cols=cols)


def ground_with(
    box: tuple[int, int, int, int], rise_m: float, shape: tuple[int, int]
) -> np.ndarray:
    """Return level ground at 10 m with a box on it: first row, last row, first and last column."""
    height = np.full(shape, 10.0, np.float32)
    height[box[0] : box[1], box[2] : box[3]] += rise_m
    return height


def found_in(
    height: np.ndarray, known: np.ndarray | None = None, rough: np.ndarray | None = None
) -> list[Site]:
    rows, cols = height.shape
    standing = Standing.empty(rows, cols)
    wide = np.pad(height, 16, mode="edge")
    seen = np.pad(np.ones(height.shape, bool) if known is None else known, 16)
    sigma = np.full(wide.shape, np.float32(0.01)) if rough is None else np.pad(rough, 16)
    standing.add(
        Tile(row=0, col=0, rows=rows, cols=cols), wide, sigma, seen, margin=16, cell_m=CELL_M
    )
    return sites_of(standing, plain(rows, cols))


def test_a_wall_of_a_house_stands_and_a_bank_does_not() -> None:
    assert found_in(ground_with((100, 140, 100, 150), 0.5, (257, 257))) == []
    (site,) = found_in(ground_with((100, 140, 100, 150), 2.5, (257, 257)))
    rows, cols = np.nonzero(site.blocks)
    assert (rows.min() + site.row) * BLOCK <= 100 - 8
    assert (rows.max() + site.row + 1) * BLOCK >= 140 + 8
    assert (cols.max() + site.col + 1) * BLOCK >= 150 + 8
    slope = np.linspace(0, 12, 257, dtype=np.float32)[:, None] + np.zeros(257, np.float32)
    assert found_in(slope) == []


def test_what_nobody_sees_does_not_stand() -> None:
    height = ground_with((100, 140, 100, 150), 2.5, (257, 257))
    known = np.ones(height.shape, bool)
    known[80:160, 80:170] = False
    assert found_in(height, known) == []


@pytest.mark.parametrize("turn_deg", [0.0, 20.0, 65.0])
def test_sides_face_the_walls(turn_deg: float) -> None:
    y, x = np.mgrid[:257, :257] - 128.0
    turn = np.radians(turn_deg)  # clockwise: the wall's normal from north
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    height = np.where((np.abs(along) < 60) & (np.abs(across) < 35), 13.0, 10.0).astype(np.float32)
    (site,) = found_in(height)
    away = (site.azimuth_deg - turn_deg + 45) % 90 - 45
    assert abs(away) < 3
    again = Site.from_json(site.as_json())
    assert again.as_json() == site.as_json()


def test_a_tree_stands_and_a_wood_does_not() -> None:
    height = ground_with((32, 64, 32, 64), 4.0, (641, 641))
    height[256:512, 256:512] += 8
    sigma = np.where(height > 11, 1.0, 0.01).astype(np.float32)
    sites = found_in(height, rough=sigma)
    tree = [site for site in sites if site.row < 4 and site.col < 4]
    assert len(tree) == 1
    squares = replaced_squares(sites, plain(641, 641).whole)
    assert not squares[300:460, 300:460].any()


def test_blocks_that_touch_are_one_site_and_others_are_not() -> None:
    height = ground_with((40, 60, 40, 60), 3.0, (513, 513))
    height[400:420, 400:420] += 3
    one, other = found_in(height)
    assert one.tile != other.tile
    squares = replaced_squares([one, other], plain(513, 513).whole)
    assert squares.sum() == (one.blocks.sum() + other.blocks.sum()) * BLOCK**2
    assert squares[50, 50]
    assert squares[410, 410]
    assert not squares[200, 200]


def test_a_block_that_reaches_beyond_the_grid_is_no_site() -> None:
    height = ground_with((60, 64, 60, 64), 3.0, (64, 64))  # 63 squares: one block
    assert all(site.blocks.sum() == 1 for site in found_in(height))


@given(st.floats(0, 360), st.floats(1, 80))
def test_a_side_is_seen_along_its_direction_upright_and_unmirrored(
    azimuth_deg: float, tilt_deg: float
) -> None:
    rotation = side_rotation(azimuth_deg, tilt_deg)
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation[2, 2] == pytest.approx(np.cos(np.radians(tilt_deg)))
    assert rotation[0, 2] == pytest.approx(0)  # the horizon is level
    assert rotation[1, 2] > 0  # and what is up is up


EAVES = (70, 120, 70, 120)
"""First and last row and column of a roof."""
WALLS = (78, 112, 78, 112)
"""The same of the walls below it."""
ROOF_M = 3.0


def boxes_of(frame: SiteFrame) -> np.ndarray:
    """Return lowest and highest corners (3, 2, 3) of ground, walls and roof, map coordinates."""
    x_min, y_max = frame.grid.x_min, frame.grid.y_max

    def box(sides: tuple[int, int, int, int], low_m: float, high_m: float) -> list[list[float]]:
        north, south = (y_max - CELL_M * row for row in sides[:2])
        west, east = (x_min + CELL_M * col for col in sides[2:])
        return [[west, south, low_m], [east, north, high_m]]

    eave_m = 10.0 + ROOF_M - 0.3
    return np.array(
        [
            box((-99, 299, -99, 299), 5.0, 10.0),
            box(WALLS, 10.0, eave_m),
            box(EAVES, eave_m, 10.0 + ROOF_M),
        ]
    )


def true_side(side: Side, frame: SiteFrame) -> np.ndarray:
    """Return what is seen of a box below a wider, thin roof: (3, rows, cols), by casting rays."""
    x, y = (axis.ravel() for axis in np.meshgrid(*side.grid.cell_centres()))
    origin = np.column_stack([x, y, np.full(len(x), 30.0)]) @ side.rotation + frame.centre
    along = -side.rotation[2]
    height = np.full(len(x), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for low, high in boxes_of(frame):
            enter, leave = np.sort([(low - origin) / along, (high - origin) / along], axis=0)
            first, last = np.nanmax(enter, axis=1), np.nanmin(leave, axis=1)
            height = np.fmax(height, np.where((first <= last) & (first > 0), 30.0 - first, np.nan))
    height = height.reshape(side.grid.shape)
    known = np.isfinite(height)
    return np.stack([height, np.where(known, 0.01, np.nan), np.where(known, 5, 0)]).astype(
        np.float32
    )


def away_from(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the distance of points (N, 3) from the nearest surface of some boxes."""
    found = []
    for low, high in boxes:
        beyond = np.maximum(low - points, points - high)
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
        found.append(np.where(outside > 0, outside, -beyond.max(axis=1)))
    return np.min(found, axis=0)


def ground_about(frame: SiteFrame) -> Sheet:
    """Return the house from above, with a margin of ground."""
    height = np.pad(ground_with(EAVES, ROOF_M, (193, 193)), 18, mode="edge")
    return ground_sheet(frame, (-18, -18), height, np.full(height.shape, 0.01, np.float32))


@pytest.fixture(scope="module")
def house() -> tuple[SiteFrame, SolidMesh]:
    """A box with eaves of 0.8 m, as its sides and the ground see it truly."""
    height = ground_with(EAVES, ROOF_M, (193, 193))
    site = Site(name="house", row=0, col=0, blocks=np.ones((6, 6), bool), azimuth_deg=0.0)
    frame = SiteFrame.of(site, plain(193, 193), heights_of(site, height), NOWHERE)
    sheets = [ground_about(frame)]
    sheets += [
        side_sheet(side, frame, (0, 0), true_side(side, frame)) for side in lay_sides(frame, height)
    ]
    return frame, fuse_group(frame, (0, 0), 6, sheets, fade_of(site))


def placed(frame: SiteFrame, mesh: SolidMesh) -> np.ndarray:
    points = np.column_stack([mesh.points, np.ones(len(mesh.points))]) @ frame.node_axes.T
    return points + frame.centre


def test_walls_stand_below_the_eaves_and_not_below_their_rim(
    house: tuple[SiteFrame, SolidMesh],
) -> None:
    frame, mesh = house
    points = placed(frame, mesh)
    x, y = frame.grid.cell_centres()
    wall_m = x[WALLS[3]] - CELL_M / 2
    low = (points[:, 2] > 10.3) & (points[:, 2] < 11.6)
    beside = low & (points[:, 1] > y[105]) & (points[:, 1] < y[85]) & (points[:, 0] > x[95])
    assert beside.sum() > 100
    assert np.abs(points[beside, 0] - wall_m).max() < CELL_M
    high = points[points[:, 2] > 10 + ROOF_M - 0.05]
    assert len(high) > 1000
    assert np.abs(high[:, 2] - 10 - ROOF_M).max() < 0.05
    away = away_from(points[low], boxes_of(frame)[1:])
    assert np.quantile(away, 0.95) < CELL_M


def test_the_surface_is_closed_looks_outward_and_ends_on_the_ground(
    house: tuple[SiteFrame, SolidMesh],
) -> None:
    frame, mesh = house
    points = placed(frame, mesh)
    sides = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    rim = np.unique(edges[uses == 1])
    nodes = mesh.points[rim]
    at_rim = np.isin(nodes[:, :2], (0, 192)).any(axis=1)
    assert at_rim.all()
    assert np.allclose(points[rim, 2], 10.0, atol=2e-6)  # the ground's own height
    corners = points[mesh.faces]
    up = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    flat = np.abs(points[mesh.faces][:, :, 2] - 10).max(axis=1) < 1e-3
    assert (up[flat] > 0).all()


def test_halves_of_a_site_have_the_same_corners_where_they_meet(
    house: tuple[SiteFrame, SolidMesh],
) -> None:
    frame, whole = house
    height = ground_with(EAVES, ROOF_M, (193, 193))
    fade, parts = fade_of(frame.site), []
    for group in groups_of(frame.site, 3):
        box = group_box(frame.site, group, 3)
        sheets = [ground_about(frame)]
        for side in lay_sides(frame, height):
            seen, window = true_side(side, frame), side_window(side, frame, box)
            wide = np.full((3, window.rows, window.cols), np.nan, np.float32)
            rows, cols = (
                np.arange(first, first + count)
                for first, count in ((window.row, window.rows), (window.col, window.cols))
            )
            inside = np.ix_(
                (rows >= 0) & (rows < side.grid.rows), (cols >= 0) & (cols < side.grid.cols)
            )
            source = np.ix_(
                rows[(rows >= 0) & (rows < side.grid.rows)],
                cols[(cols >= 0) & (cols < side.grid.cols)],
            )
            for band in range(3):
                wide[band][inside] = seen[band][source]
            sheets.append(side_sheet(side, frame, (window.row, window.col), wide))
        mesh = fuse_group(frame, group, 3, sheets, fade)
        assert group_outline(mesh, box).any()
        parts.append(mesh)
    together = joined(parts)
    assert len(together.faces) == pytest.approx(len(whole.faces), rel=0.01)
    sides = np.sort(together.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    open_nodes = together.points[np.unique(edges[uses == 1])]
    apart = ~np.isin(open_nodes[:, :2], (0, 192)).any(axis=1)
    assert not apart.any(), open_nodes[apart]  # none where the halves meet


def test_fewer_triangles_lie_as_near_and_keep_the_open_edge(
    house: tuple[SiteFrame, SolidMesh],
) -> None:
    _, mesh = house
    points, faces, seen = simplified(mesh.points, mesh.faces, mesh.seen, tolerance=0.4)
    assert len(faces) < len(mesh.faces) / 4
    assert len(seen) == len(points)
    away, _ = cKDTree(mesh.points).query(points)
    assert away.max() < 1.2

    def rim(corners: np.ndarray, triangles: np.ndarray) -> set[tuple[float, ...]]:
        sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        edges, uses = np.unique(sides, axis=0, return_counts=True)
        return {tuple(place) for place in corners[np.unique(edges[uses == 1])].round(6)}

    assert rim(points, faces) == rim(mesh.points, mesh.faces)


def test_specks_and_hollows_go_and_what_goes_on_elsewhere_stays() -> None:
    def ball(at: float, radius: float, *, hollow: bool = False) -> SolidMesh:
        # Rows run south: outward triangles are clockwise in nodes.
        sphere = trimesh.creation.icosphere(subdivisions=2, radius=radius)
        faces = sphere.faces if hollow else sphere.faces[:, ::-1]
        points = np.asarray(sphere.vertices) + np.array([at, 50, 50])
        return SolidMesh(
            points=points, faces=np.asarray(faces, np.int64), seen=np.ones(len(points), bool)
        )

    mesh = joined([ball(30, 20), ball(30, 10, hollow=True), ball(70, 2), ball(90, 2)])
    keeps = mesh.points[:, 0] > 91.9
    assert keeps.any()
    left = without_specks(mesh, CELL_M, keeps)
    assert set(np.rint(left.points[:, 0]).astype(int) // 20) <= {0, 1, 2, 4}
    one = len(ball(30, 20).faces)
    assert len(left.faces) == 2 * one


def test_a_solid_is_thinned_to_its_share(house: tuple[SiteFrame, SolidMesh]) -> None:
    frame, mesh = house
    solid = Solid(points=placed(frame, mesh), faces=mesh.faces, seen=mesh.seen)
    assert len(thinned(solid, 10_000).points) == pytest.approx(10_000, rel=0.1)
    assert thinned(solid, 10**7) is solid


@given(st.lists(st.integers(0, 1000), max_size=9), st.integers(0, 5000))
def test_shares_are_fair_and_leave_nothing_over(counts: list[int], most: int) -> None:
    share = fair_share(counts, most)
    given = [min(count, share) for count in counts]
    assert sum(given) <= most
    if sum(counts) > most:
        assert sum(min(count, share + 1) for count in counts) > most
    else:
        assert given == counts


def test_a_solid_takes_the_place_of_its_ground(house: tuple[SiteFrame, SolidMesh]) -> None:
    frame, mesh = house
    grid = plain(385, 385)
    height = np.full(grid.shape, 10.0, np.float32)
    height[3 * BLOCK :, 3 * BLOCK :][:193, :193] = ground_with(EAVES, ROOF_M, (193, 193))
    site = Site(name="house", row=3, col=3, blocks=np.ones((6, 6), bool), azimuth_deg=0.0)
    shift = np.array([3 * BLOCK * CELL_M, (385 - 193 - 3 * BLOCK) * CELL_M, 0.0])
    solid = Solid(points=placed(frame, mesh) + shift, faces=mesh.faces, seen=mesh.seen)
    field = HeightField(
        grid=grid,
        height=height,
        sigma=np.zeros(grid.shape, np.float32),
        kind=np.full(grid.shape, MEASURED, np.uint8),
        replaced=replaced_squares([site], grid.whole),
    )
    made = Mesh.of(field, [solid], block_cells=128, error_cells=0.4, most_corners=99_999)
    corners = made.points[made.faces].astype(float)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # Seen from above the ground is covered once: signed areas, as eaves cover it thrice.
    assert cross[:, 2].sum() / 2 == pytest.approx((384 * CELL_M) ** 2, rel=1e-4)
    assert made.below.any()
    under = corners.mean(axis=1)[made.below][:, 2] + made.origin[2]
    assert under.max() < 10 + ROOF_M


def test_a_side_is_measured_like_the_ground(small_world: ModuleType, tmp_path: Path) -> None:
    world, frame = small_world.SmallWorld(), small_world.FRAME
    store = PictureStore(folder=tmp_path)
    for view in world.views:
        store.save(view.name, world.render(view), halvings=0)
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    grid = Grid(
        crs=frame.crs,
        x_min=middle[0] - 6.45,
        y_max=middle[1] + 6.45,
        cell_m=0.1,
        rows=129,
        cols=129,
    )
    x, y = np.meshgrid(*grid.cell_centres())
    place = frame.world_from_map(
        np.column_stack([x.ravel(), y.ravel(), np.full(x.size, middle[2])])
    )
    height = (middle[2] + small_world.surface_height(place[:, 0], place[:, 1])).reshape(x.shape)
    site = Site(name="box", row=0, col=0, blocks=np.ones((4, 4), bool), azimuth_deg=0.0)
    about = SiteFrame.of(site, grid, heights_of(site, height.astype(np.float32)), frame)
    sides = lay_sides(about, height.astype(np.float32))
    assert [side.name for side in sides] == ["n", "e", "s", "w"]
    side = Side.from_arrays("s", sides[2].as_arrays())
    assert side.grid == sides[2].grid
    (tile,) = side.tiles()
    found = measure_side(
        side, tile, turned_views(world.views, about, side), store, options=SurfaceOptions()
    )
    up, right = np.meshgrid(*side.grid.cell_centres(), indexing="xy")[::-1]
    known = np.isfinite(found[1]) & (found[2] >= 3)
    assert known.mean() > 0.3
    seen = np.stack([right, up, found[0]], axis=-1)[known] @ side.rotation + about.offset
    off = np.abs(seen[:, 2] - small_world.surface_height(seen[:, 0], seen[:, 1]))
    assert np.median(off) < 0.03


def test_bricks_lie_within_what_is_looked_up_about_their_middle() -> None:
    assert AROUND >= np.sqrt(3) * (BRICK - 1) / 2 + 1
