"""Where something stands: the parts of the ground that one height for each place does not show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.geo.grids import Grid, Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLOCK = 32
"""Side in cells of the squares that a site is made of."""
REACH_M = 0.15
"""Distance over which a jump in height is looked for."""
LEAST_JUMP_M = 0.6
"""Jump over which something stands: turf walls and banks do as well with one height."""
MARGIN_M = 0.8
"""Ground about what stands that belongs to its site, so that its edge is plain."""
ROUGH_CELLS = 3.0
"""Standard deviation of a height, in cells, from which it is rough, as leaves are."""
WOOD_M = 10.0
"""Side of a square of nothing but what is rough, from which it is a wood and no single tree: of a
wood the sides show little, and its crowns hang together."""
LARGEST_BLOCKS = 128
"""Longer side of a site; what stands farther is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A part of the ground on which something stands: whole blocks of the ground's grid."""

    name: str
    row: int
    """First row of blocks."""
    col: int
    blocks: Mask
    """(rows, cols), which blocks belong to it."""
    azimuth_deg: float
    """Direction, clockwise from north and less than 90°, that its walls face, or cross."""

    def nodes(self) -> Mask:
        """Tell which cells' centres belong to the site: (rows, cols) with those on both rims."""
        whole = np.repeat(np.repeat(self.blocks, BLOCK, axis=0), BLOCK, axis=1)
        rows, cols = whole.shape
        nodes = np.zeros((rows + 1, cols + 1), np.bool_)
        for down in (0, 1):
            for right in (0, 1):
                nodes[down : down + rows, right : right + cols] |= whole
        return nodes

    @property
    def tile(self) -> Tile:
        """Its nodes, as cells of the ground's grid."""
        rows, cols = self.blocks.shape
        row, col = self.first_cell
        return Tile(row=row, col=col, rows=rows * BLOCK + 1, cols=cols * BLOCK + 1, name=self.name)

    @property
    def first_cell(self) -> tuple[int, int]:
        """Row and column in the ground's grid of its first node."""
        return self.row * BLOCK, self.col * BLOCK

    def as_json(self) -> dict[str, Any]:
        """Return the site as plain values."""
        return {
            "name": self.name,
            "row": self.row,
            "col": self.col,
            "azimuth_deg": self.azimuth_deg,
            "blocks": ["".join("#" if one else "." for one in row) for row in self.blocks],
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Site:
        """Return the site of `as_json`."""
        blocks = np.array([[one == "#" for one in row] for row in said["blocks"]])
        names = ("name", "row", "col", "azimuth_deg")
        return cls(blocks=blocks, **{name: said[name] for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of the blocks of a ground; arrays (block rows, block cols)."""

    stands: Mask
    rough: NDArray[np.float64]
    """Share of cells whose height nobody knows well."""
    turn: NDArray[np.complex128]
    """Sum over jumps of their size times their direction, turned four times as fast."""

    @classmethod
    def empty(cls, rows: int, cols: int) -> Standing:
        """Return what is known of a ground of so many rows and columns of cells at first."""
        shape = -(-rows // BLOCK), -(-cols // BLOCK)
        return cls(
            stands=np.zeros(shape, np.bool_),
            rough=np.zeros(shape),
            turn=np.zeros(shape, np.complex128),
        )

    def add(
        self,
        tile: Tile,
        height: Float32,
        sigma: Float32,
        known: Mask,
        *,
        margin: int,
        cell_m: float,
    ) -> None:
        """Add a tile of the ground that begins at a block.

        Heights, their standard deviations (NaN where not measured) and where they are known
        (rows, cols) reach so many cells beyond the tile on every side.
        """
        jumps, turn = _jumps(height.astype(np.float32), known, cell_m)
        around = min(math.ceil(MARGIN_M / cell_m), margin)
        near = cv2.dilate(jumps.astype(np.uint8), np.ones((2 * around + 1,) * 2, np.uint8)) > 0
        core = np.s_[margin : margin + tile.rows, margin : margin + tile.cols]
        stands, turns = _of_blocks(near[core]) > 0, _of_blocks(turn[core])
        row, col = tile.row // BLOCK, tile.col // BLOCK
        part = np.s_[row : row + stands.shape[0], col : col + stands.shape[1]]
        self.stands[part] |= stands
        self.rough[part] = _of_blocks(~(sigma[core] < ROUGH_CELLS * cell_m)) / BLOCK**2
        self.turn[part] += turns


def _jumps(height: Float32, known: Mask, cell_m: float) -> tuple[Mask, NDArray[np.complex128]]:
    """Tell which cells lie on a jump, and the direction of each, turned four times as fast."""
    reach = max(1, round(REACH_M / cell_m))
    kernel = np.ones((2 * reach + 1,) * 2, np.uint8)
    top = cv2.dilate(np.where(known, height, np.float32(-1e6)).astype(np.float32), kernel)
    bottom = cv2.erode(np.where(known, height, np.float32(1e6)).astype(np.float32), kernel)
    jumps = known & (top - bottom > LEAST_JUMP_M)
    smooth = cv2.GaussianBlur(height, (0, 0), reach)
    south, east = np.gradient(smooth)
    slope = np.where(jumps, east - 1j * south, 0)  # east, and north times i
    size = np.maximum(np.abs(slope), 1e-12)
    return jumps, slope**4 / size**3


def _of_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """Sum values (rows, cols) over blocks."""
    rows, cols = values.shape
    padded = np.pad(values, ((0, -rows % BLOCK), (0, -cols % BLOCK)))
    shape = padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK
    return np.asarray(padded.reshape(shape).sum(axis=(1, 3)))


def sites_of(standing: Standing, grid: Grid) -> list[Site]:
    """Return the sites of a ground: blocks that touch are one, up to a size.

    A block in a wood, or whose nodes do not all lie on the grid, belongs to none.
    """
    whole = (grid.rows - 1) // BLOCK, (grid.cols - 1) // BLOCK
    side = max(2, round(WOOD_M / (BLOCK * grid.cell_m)))
    rough = (standing.rough > 0.5).astype(np.uint8)
    wood = cv2.morphologyEx(rough, cv2.MORPH_OPEN, np.ones((side, side), np.uint8)) > 0
    stands = standing.stands & ~wood
    found = []
    for row, col, blocks in _pieces(stands[: whole[0], : whole[1]]):
        rows, cols = np.s_[row : row + blocks.shape[0]], np.s_[col : col + blocks.shape[1]]
        turn = complex(standing.turn[rows, cols][blocks].sum())
        east_deg = math.degrees(np.angle(turn)) / 4
        found.append(
            Site(
                name=f"b{row}c{col}",
                row=row,
                col=col,
                blocks=blocks,
                azimuth_deg=round(-east_deg % 90, 3),
            )
        )
    return found


def _pieces(stands: Mask) -> Iterator[tuple[int, int, Mask]]:
    """Yield first row, first column and blocks of each connected piece, large ones cut."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(stands.astype(np.uint8), connectivity=8)
    for label, (x, y, width, height, _) in enumerate(boxes):
        if label == 0:
            continue
        for row in range(y, y + height, LARGEST_BLOCKS):
            for col in range(x, x + width, LARGEST_BLOCKS):
                bottom = min(row + LARGEST_BLOCKS, y + height)
                right = min(col + LARGEST_BLOCKS, x + width)
                blocks = labels[row:bottom, col:right] == label
                if blocks.any():
                    yield int(row), int(col), np.asarray(blocks)


def replaced_squares(sites: Sequence[Site], window: Tile) -> Mask:
    """Tell which squares between four cell centres (rows - 1, cols - 1) belong to any site.

    The window is of the ground's cells, and may reach beyond them.
    """
    mask = np.zeros((window.rows - 1, window.cols - 1), np.bool_)
    for site in sites:
        row, col = site.first_cell[0] - window.row, site.first_cell[1] - window.col
        rows, cols = (BLOCK * side for side in site.blocks.shape)
        top, left = max(row, 0), max(col, 0)
        bottom, right = min(row + rows, mask.shape[0]), min(col + cols, mask.shape[1])
        if top < bottom and left < right:
            down = (np.arange(top, bottom) - row) // BLOCK
            across = (np.arange(left, right) - col) // BLOCK
            mask[top:bottom, left:right] |= site.blocks[np.ix_(down, across)]
    return mask


def groups_of(site: Site, side_blocks: int) -> list[tuple[int, int]]:
    """Return first block row and column, within the site, of each square of blocks with any."""
    rows, cols = site.blocks.shape
    return [
        (i, j)
        for i in range(0, rows, side_blocks)
        for j in range(0, cols, side_blocks)
        if site.blocks[i : i + side_blocks, j : j + side_blocks].any()
    ]
