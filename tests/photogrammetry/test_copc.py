"""A cloud in levels holds the very points of the cloud, where its octree says they are."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
from laspy.copc import Bounds, CopcReader

from photogrammetry.surface import copc
from photogrammetry.surface.cloud import CloudTile, write_cloud
from photogrammetry.surface.copc import write_copc
from tmp.captures import HeightDatum
from tmp.errors import InputError

OFFSET = (500000.0, 7100000.0, 0.0)


def write_ground(path: Path, rows: int = 300, cols: int = 420, seed: int = 1) -> Path:
    """Write a rough slope with a tower, on cells of 0.1 m."""
    rng = np.random.default_rng(seed)
    x, y = 0.05 + 0.1 * np.arange(cols), 0.05 - 0.1 * np.arange(rows)
    height = 30 + 0.2 * x + 0.1 * y[:, None] + rng.normal(0, 0.05, (rows, cols))
    height[40:60, 40:60] += 12
    normals = np.zeros((rows, cols, 3), np.float32)
    normals[..., 2] = 1
    tile = CloudTile(
        x=OFFSET[0] + x,
        y=OFFSET[1] + y,
        height=height.astype(np.float32),
        measured=rng.random((rows, cols)) > 0.1,
        rgb=rng.integers(0, 255, (rows, cols, 3)).astype(np.uint8),
        normals=normals,
        sigma=np.full((rows, cols), 0.02, np.float32),
        views=np.full((rows, cols), 5, np.uint8),
        classes=rng.integers(2, 7, (rows, cols)).astype(np.uint8),
    )
    write_cloud(path, [tile], crs="EPSG:32627", offset=OFFSET, vertical_datum=HeightDatum.ELLIPSOID)
    return path


def ordered(points: laspy.LasData) -> np.ndarray:
    records = points.points.array
    return records[np.lexsort([records["Z"], records["Y"], records["X"]])]


@pytest.fixture(params=["whole", "by columns"])
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """A cloud, and the same in levels."""
    if request.param == "by columns":
        monkeypatch.setattr(copc, "COLUMN_POINTS", 9000)
        monkeypatch.setattr(copc, "READ_POINTS", 20_000)
    monkeypatch.setattr(copc, "NODE_BITS", 5)
    monkeypatch.setattr(copc, "NODE_CELLS", 32)
    monkeypatch.setattr(copc, "LEAST_POINTS", 50)
    source = write_ground(tmp_path / "cloud.laz")
    target = tmp_path / "cloud.copc.laz"
    assert write_copc(source, target, scratch=tmp_path) > 20
    assert not list(tmp_path.glob("columns-*"))
    return source, target


def test_all_points_are_there_with_all_they_had(pair: tuple[Path, Path]) -> None:
    source, target = (laspy.read(path) for path in pair)
    assert (ordered(source) == ordered(target)).all()
    assert list(source.point_format.dimension_names) == list(target.point_format.dimension_names)
    assert target.header.parse_crs() == source.header.parse_crs()
    assert target.header.point_count == source.header.point_count
    assert (target.header.mins == source.header.mins).all()
    assert (target.header.maxs == source.header.maxs).all()


def test_the_file_begins_as_copc_asks(pair: tuple[Path, Path]) -> None:
    head = pair[1].read_bytes()[:600]
    assert head[:4] == b"LASF"
    assert head[377:381] == b"copc"
    assert struct.unpack("<H", head[393:395]) == (1,)
    assert head[104] & 0x3F == 7
    assert head[429 + 72 : 429 + 160] == bytes(88)


def test_every_point_lies_in_its_node_and_levels_are_ever_denser(pair: tuple[Path, Path]) -> None:
    with CopcReader.open(pair[1]) as reader:
        info, entries = reader.copc_info, list(reader.root_page.entries.values())
        counts = [len(reader.query(level=level)) for level in range(6)]
    points = laspy.read(pair[1])
    xyz, start = np.column_stack([points.x, points.y, points.z]), 0
    keys = {(e.key.level, e.key.x, e.key.y, e.key.z) for e in entries}
    for entry in sorted((e for e in entries if e.point_count), key=lambda e: e.offset):
        level, *place = entry.key.level, entry.key.x, entry.key.y, entry.key.z
        side = 2 * info.halfsize / 2**level
        low = info.center - info.halfsize + np.array(place) * side
        found = xyz[start : start + entry.point_count]
        start += entry.point_count
        assert ((found > low) & (found < low + side)).all()
        for up in range(1, level + 1):
            assert (level - up, *(one >> up for one in place)) in keys
    assert start == len(points) == sum(counts)
    assert counts[0] < counts[1] < counts[2]


def test_a_window_holds_the_points_within_it(pair: tuple[Path, Path]) -> None:
    whole = laspy.read(pair[0])
    x, y = np.asarray(whole.x), np.asarray(whole.y)
    low, high = np.array([OFFSET[0] + 5, OFFSET[1] - 12]), np.array([OFFSET[0] + 9, OFFSET[1] - 4])
    inside = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    with CopcReader.open(pair[1]) as reader:
        assert len(reader.query(bounds=Bounds(low, high))) == inside.sum()


def test_the_coarsest_level_covers_the_ground_evenly(pair: tuple[Path, Path]) -> None:
    with CopcReader.open(pair[1]) as reader:
        root, spacing = reader.query(level=0), reader.copc_info.spacing
    cells = np.column_stack([np.asarray(root.x), np.asarray(root.y)]) // (2 * spacing)
    _, counts = np.unique(cells, axis=0, return_counts=True)
    whole = laspy.read(pair[0])
    wanted = np.column_stack([np.asarray(whole.x), np.asarray(whole.y)]) // (2 * spacing)
    assert len(counts) > 0.9 * len(np.unique(wanted, axis=0))


def test_the_same_cloud_gives_the_same_bytes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "again.copc.laz"
    write_copc(pair[0], again, scratch=tmp_path)
    assert again.read_bytes() == pair[1].read_bytes()


def test_a_small_cloud_is_a_root_and_an_empty_one_is_read(tmp_path: Path) -> None:
    small = write_ground(tmp_path / "small.laz", 12, 9)
    assert write_copc(small, tmp_path / "small.copc.laz", scratch=tmp_path) == 1
    with CopcReader.open(tmp_path / "small.copc.laz") as reader:
        assert len(reader.query()) == laspy.read(small).header.point_count
    empty = tmp_path / "empty.laz"
    write_cloud(empty, [], crs=None, offset=OFFSET)
    write_copc(empty, tmp_path / "empty.copc.laz", scratch=tmp_path)
    assert len(laspy.read(tmp_path / "empty.copc.laz")) == 0


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_ground(tmp_path / "cloud.laz", 50, 50)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copc, "_finish", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_copc(source, tmp_path / "cloud.copc.laz", scratch=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cloud.laz"]


def test_axes_of_different_scales_are_refused(tmp_path: Path) -> None:
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.scales = np.array([0.001, 0.001, 0.01])
    with laspy.open(tmp_path / "odd.laz", mode="w", header=header):
        pass
    with pytest.raises(InputError, match="different scales"):
        write_copc(tmp_path / "odd.laz", tmp_path / "x.copc.laz", scratch=tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("copclib") is None, reason="copclib is not installed")
def test_another_reader_of_copc_finds_the_same_nodes(pair: tuple[Path, Path]) -> None:
    import copclib

    reader = copclib.FileReader(str(pair[1]))
    nodes = reader.GetAllNodes()
    assert sum(node.point_count for node in nodes) == laspy.read(pair[0]).header.point_count
    assert len(reader.GetAllPoints()) == laspy.read(pair[0]).header.point_count
