"""Tiles of a map that could not be made: where they lie, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.bandstack import REFLECTANCE_FILE
from flows.mosaics import MOSAIC_TILE
from flows.products import ORTHOMOSAIC
from flows.reflectance import REFLECTANCE_TILE
from flows.store import Result
from flows.surfaces import GROUND, SURFACE_TILE
from tmp.errors import InputError
from tmp.grids import Grid
from tmp.rasters import open_tiled, read_grid

TILE_NAME = re.compile(r"r(\d+)c(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """What a stage could not make."""

    stage: str
    name: str
    """Of the tile, or of whatever else the stage shares its work by."""
    reason: str
    bounds: tuple[float, float, float, float] | None
    """West, south, east, north in map coordinates; None if it is no piece of the map."""


def list_holes(results: Sequence[Result]) -> list[Hole]:
    """Return what the stages of a map could not make."""
    holes = []
    for result in results:
        if not result.holes:
            continue
        placed = _tiling(result)
        for name, reason in sorted(result.holes.items()):
            bounds = None if placed is None else _bounds(*placed, name)
            holes.append(Hole(stage=result.stage, name=name, reason=reason, bounds=bounds))
    return holes


def hole_warnings(holes: Sequence[Hole]) -> list[str]:
    """Return what a reader of the map has to know of its holes, a sentence for each stage."""
    counts = Counter(hole.stage for hole in holes)
    return [
        f"{count} {'piece' if count == 1 else 'pieces'} of the {stage} could not be made, and what "
        "builds on them is missing too; each is named below with the reason."
        for stage, count in counts.items()
    ]


def _tiling(result: Result) -> tuple[Grid, int] | None:
    """Return the grid of a stage's raster and the cells along a side of its tiles."""
    try:
        if result.stage == "surface":
            return open_tiled(result.folder / GROUND).grid, SURFACE_TILE
        if result.stage == "orthomosaic":
            return read_grid(result.folder / ORTHOMOSAIC.file), MOSAIC_TILE
        if result.stage == "reflectance":
            return read_grid(result.folder / REFLECTANCE_FILE), REFLECTANCE_TILE
    except (OSError, InputError):  # a report is written even of what has been deleted since
        return None
    return None


def _bounds(grid: Grid, size: int, name: str) -> tuple[float, float, float, float] | None:
    """Return where a tile lies.

    Examples
    --------
    >>> _bounds(Grid.from_bounds((0, 0, 10, 10), 1.0, None), 4, "r2c1")
    (4.0, 0.0, 8.0, 2.0)
    """
    found = TILE_NAME.fullmatch(name)
    if found is None:
        return None
    row, col = (int(number) * size for number in found.groups())
    west, north = grid.x_min + col * grid.cell_m, grid.y_max - row * grid.cell_m
    return (
        west,
        max(north - size * grid.cell_m, grid.bounds[1]),
        min(west + size * grid.cell_m, grid.bounds[2]),
        north,
    )
