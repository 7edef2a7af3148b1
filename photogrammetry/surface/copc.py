"""A point cloud as COPC: a LAZ file whose points lie in an octree, coarse ones first.

Viewers read of it what they show: QGIS, PDAL and web viewers open it at once, whatever its size;
every reader of LAZ 1.4 reads it whole.

Each level takes one point for each voxel of its spacing, half that of the level above; what is left
goes to the deepest.  The ground is worked on in square columns that fit in memory, each read from a
file of its own, so that memory does not grow with the cloud.

References
----------
Hobu, Inc. (2021). Cloud Optimized Point Cloud specification 1.0, https://copc.io.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import laspy
import lazrs  # type: ignore[import-untyped]
import numpy as np
from laspy.vlrs.known import LasZipVlr
from numpy.typing import NDArray

from tmp.errors import InputError
from tmp.files import replacing

log = logging.getLogger(__name__)

Ints = NDArray[np.int64]
Key = tuple[int, int, int, int]
"""Level, and place east, north and up among the cubes of that level."""

NODE_BITS = 8
NODE_CELLS = 1 << NODE_BITS
"""Voxels along a side of a node: of a surface, a node has up to this squared of points."""
MOST_DEPTH = 12
COLUMN_POINTS = 2_000_000
"""Points of a column that is worked on at once."""
READ_POINTS = 500_000
LEAST_POINTS = 400
"""A node with fewer points gives them to the one above it."""
INFO_RECORD, HIERARCHY_RECORD = 1, 1000
_INFO = struct.Struct("<5d2Q2d11Q")
_ENTRY = struct.Struct("<4iQ2i")
_EVLR = struct.Struct("<H16sHQ32s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Octree:
    """Where points belong: cubes of whole steps of the file's coordinates, which none cuts."""

    low: Ints
    """First step within the cube that holds all: the lowest of the points, as other writers have
    it, east, north, up, (3,)."""
    voxel: int
    """Steps along the side of a voxel of the deepest level."""
    depth: int
    """The deepest level."""

    @classmethod
    def over(cls, header: laspy.LasHeader) -> Octree:
        """Return the octree over a cloud, as deep as its points are dense on a surface."""
        ends = (np.array([header.mins, header.maxs]) - header.offsets) / header.scales
        low, high = np.rint(ends).astype(np.int64)
        along = math.sqrt(max(header.point_count, 1)) / NODE_CELLS
        depth = min(max(math.ceil(math.log2(max(along, 1))), 0), MOST_DEPTH)
        voxel = -(-int((high - low).max() + 1) // (NODE_CELLS << depth))
        return cls(low=low, voxel=voxel, depth=depth)

    @property
    def side(self) -> int:
        """Steps along the side of the cube that holds all."""
        return self.voxel * NODE_CELLS << self.depth

    def voxels(self, points: NDArray[Any]) -> Ints:
        """Return the deepest voxel of each record (N, 3)."""
        steps = np.column_stack([points[axis] for axis in "XYZ"]).astype(np.int64)
        return np.asarray((steps - self.low) // self.voxel)

    def levels(self, voxels: Ints) -> NDArray[np.int8]:
        """Return the level of each point: the first whose voxel no point before it has taken."""
        level = np.full(len(voxels), self.depth, np.int8)
        left = np.arange(len(voxels))
        for depth in range(self.depth):
            _, first = np.unique(_packed(voxels[left] >> (self.depth - depth)), return_index=True)
            level[left[first]] = depth
            left = np.delete(left, first)
        return self._gathered(voxels, level)

    def _gathered(self, voxels: Ints, level: NDArray[np.int8]) -> NDArray[np.int8]:
        """Give the points of small nodes to the nodes above them, the deepest first."""
        for depth in range(self.depth, 0, -1):
            here = np.flatnonzero(level == depth)
            _, node, count = np.unique(
                _packed(self.nodes(voxels[here], depth)), return_inverse=True, return_counts=True
            )
            level[here[count[node] < LEAST_POINTS]] = depth - 1
        return level

    def nodes(self, voxels: Ints, depth: int) -> Ints:
        """Return the node of each point (N, 3) at a level."""
        return voxels >> (self.depth - depth + NODE_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunks:
    """The points of a file, node by node."""

    file: BinaryIO
    compressor: Any
    entries: dict[Key, tuple[int, int, int]] = field(default_factory=dict)
    """Offset, bytes and points of each node."""

    def write(self, key: Key, points: NDArray[Any]) -> None:
        """Write the points of a node as a chunk of its own."""
        start = self.file.tell()
        self.compressor.compress_many(points.tobytes())
        self.compressor.finish_current_chunk()
        self.entries[key] = (start, self.file.tell() - start, len(points))


def write_copc(source: Path, target: Path, *, scratch: Path) -> int:
    """Write a LAZ file of point format 6, 7 or 8 anew as COPC; returns the number of its nodes.

    All fields, extra ones too, stay as they are, and so does the CRS.  The file appears only when
    complete.  Scratch is a folder for files of a large cloud's columns, which are deleted.

    Raises
    ------
    InputError
        If the axes of the cloud have different scales.
    """
    with laspy.open(source) as reader:
        if len(set(reader.header.scales)) > 1:
            raise InputError(f"{source}: its axes have different scales; write it again with one")
        octree = Octree.over(reader.header)
        header = _header(reader.header)
        split = _split_level(reader.header.point_count, octree)
        with replacing(target) as partial, partial.open("wb+") as file:
            laz = lazrs.LazVlr.new_for_compression(
                header.point_format.id, header.point_format.num_extra_bytes, True
            )
            header.vlrs.append(LasZipVlr(laz.record_data()))
            header.are_points_compressed = True
            header.write_to(file)
            compressor = lazrs.LasZipCompressor(file, laz)
            compressor.reserve_offset_to_chunk_table()
            chunks = _Chunks(file=file, compressor=compressor)
            _write_nodes(chunks, octree, reader, split, scratch)
            compressor.done()
            _finish(file, header, octree, chunks.entries)
    log.info("%s: %d nodes, %d levels", target.name, len(chunks.entries), octree.depth + 1)
    return len(chunks.entries)


def _write_nodes(
    chunks: _Chunks, octree: Octree, reader: laspy.LasReader, split: int, scratch: Path
) -> None:
    """Write all nodes; those above the level of the columns last, as all columns add to them."""
    upper: dict[Key, list[NDArray[Any]]] = {}
    with _columns(reader, octree, split, scratch) as columns:
        for points in columns:
            voxels = octree.voxels(points)
            level = octree.levels(voxels)
            for depth in range(octree.depth + 1):
                here = np.flatnonzero(level == depth)
                for key, some in _by_node(octree.nodes(voxels[here], depth), depth):
                    if depth < split:
                        upper.setdefault(key, []).append(points[here[some]])
                    else:
                        chunks.write(key, points[here[some]])
    for key in sorted(upper):
        chunks.write(key, np.concatenate(upper[key]))


def _by_node(nodes: Ints, depth: int) -> Iterator[tuple[Key, Ints]]:
    """Yield each node with the indices of its points."""
    if len(nodes) == 0:
        return
    packed = _packed(nodes)
    order = np.argsort(packed, kind="stable")
    starts = np.flatnonzero(np.diff(packed[order], prepend=-1))
    for some in np.split(order, starts[1:]):
        east, north, up = nodes[some[0]].tolist()
        yield (depth, east, north, up), some


@contextmanager
def _columns(
    reader: laspy.LasReader, octree: Octree, split: int, scratch: Path
) -> Iterator[Iterator[NDArray[Any]]]:
    """Yield the points by columns: squares of the nodes of a level."""
    dtype = reader.header.point_format.dtype()
    if split == 0:
        yield iter([reader.read_points(-1).array])
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="columns-", dir=scratch) as folder:
        names: set[tuple[int, int]] = set()
        for record in reader.chunk_iterator(READ_POINTS):
            points = record.array
            nodes = octree.nodes(octree.voxels(points), split)
            nodes[:, 2] = 0
            for (_, east, north, _), some in _by_node(nodes, split):
                names.add((east, north))
                with (Path(folder) / f"{east}-{north}").open("ab") as file:
                    file.write(points[some].tobytes())
        yield (
            np.fromfile(Path(folder) / f"{east}-{north}", dtype) for east, north in sorted(names)
        )


def _split_level(count: int, octree: Octree) -> int:
    """Return the level of the columns, each of no more than about `COLUMN_POINTS`."""
    level = math.ceil(math.log(max(count / COLUMN_POINTS, 1), 4))
    return min(level, octree.depth)


def _packed(places: Ints) -> Ints:
    """Return places (N, 3) below 2 ** 21 as one number each."""
    return np.asarray((places[:, 0] << 42) | (places[:, 1] << 21) | places[:, 2])


def _header(source: laspy.LasHeader) -> laspy.LasHeader:
    """Return the header of the COPC file, its own record first."""
    header = laspy.LasHeader(version="1.4", point_format=source.point_format)
    header.scales, header.offsets = source.scales, source.offsets
    header.mins, header.maxs = source.mins, source.maxs
    header.point_count = source.point_count
    header.number_of_points_by_return = source.number_of_points_by_return
    header.generating_software = source.generating_software
    header.system_identifier = source.system_identifier
    header.creation_date = source.creation_date
    header.global_encoding.wkt = True
    own = ("copc", "laszip encoded")
    kept = [vlr for vlr in source.vlrs if vlr.user_id not in own]
    header.vlrs.clear()
    header.vlrs.append(laspy.VLR("copc", INFO_RECORD, "COPC info", bytes(_INFO.size)))
    header.vlrs.extend(kept)
    return header


def _finish(
    file: BinaryIO,
    header: laspy.LasHeader,
    octree: Octree,
    entries: Mapping[Key, tuple[int, int, int]],
) -> None:
    """Write the hierarchy behind the points, and where it is into the header."""
    file.seek(0, 2)
    start = file.tell()
    known = dict(entries) or {(0, 0, 0, 0): (0, 0, 0)}
    for level, *place in entries:  # nodes that gave all their points away lead to others
        for up in range(1, level + 1):
            east, north, high = (one >> up for one in place)
            known.setdefault((level - up, east, north, high), (0, 0, 0))
    page = b"".join(_ENTRY.pack(*key, *known[key]) for key in sorted(known))
    file.write(_EVLR.pack(0, b"copc", HIERARCHY_RECORD, len(page), b"COPC hierarchy"))
    file.write(page)
    # From half a step below the first one: no point lies on the side of a cube.
    scale = float(header.scales[0])
    centre = (octree.low + (octree.side - 1) / 2) * scale + header.offsets
    half, spacing = octree.side * scale / 2, octree.side * scale / NODE_CELLS
    info = _INFO.pack(*centre, half, spacing, start + _EVLR.size, len(page), 0.0, 0.0, *[0] * 11)
    header.vlrs[0].record_data = info
    header.start_of_first_evlr, header.number_of_evlrs = start, 1
    file.seek(0)
    header.write_to(file, ensure_same_size=True)
