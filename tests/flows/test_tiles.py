"""Tiles of a stage, shared and with holes."""

from pathlib import Path

import numpy as np
import pytest

from flows.engine.stage import Job, Share, work_tiles
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled

GRID = Grid(crs=None, x_min=0.0, y_max=8.0, cell_m=1.0, rows=8, cols=8)


def job(tmp_path: Path, share: Share | None = None, holes: dict[str, str] | None = None) -> Job:
    return Job(
        inputs={},
        options={},
        out=tmp_path,
        scratch=tmp_path,
        temporary=tmp_path,
        workers=1,
        share=share,
        holes=holes,
    )


def write(raster: TiledRaster, tile: Tile) -> None:
    if tile.name == "r0c1":
        raise ZeroDivisionError
    raster.write(tile, np.ones((1, tile.rows, tile.cols)))


def test_shares_make_all_tiles_and_only_the_whole_may_end(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "raster", GRID, tile_cells=4)
    made: list[str] = []

    def note(tile: Tile) -> None:
        made.append(tile.name)
        raster.write(tile, np.ones((1, tile.rows, tile.cols)))

    for index in range(3):
        part = job(tmp_path, Share(index=index, count=3))
        assert not work_tiles(part, raster, note, "x")
    assert sorted(made) == ["r0c0", "r0c1", "r1c0", "r1c1"]
    assert work_tiles(job(tmp_path), raster, note, "x")
    assert len(made) == 4


def test_tile_that_cannot_be_made_stops_the_stage_or_leaves_a_named_hole(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "raster", GRID, tile_cells=4)
    with pytest.raises(ZeroDivisionError):
        work_tiles(job(tmp_path), raster, lambda tile: write(raster, tile), "x")
    holes: dict[str, str] = {}
    work_tiles(job(tmp_path, holes=holes), raster, lambda tile: write(raster, tile), "x")
    assert holes == {"r0c1": "ZeroDivisionError"}
    assert [tile.name for tile in raster.missing()] == ["r0c1"]


def test_what_a_person_has_to_mend_is_never_a_hole(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "raster", GRID, tile_cells=4)

    def refuse(tile: Tile) -> None:
        raise InputError("no target")

    with pytest.raises(InputError, match="no target"):
        work_tiles(job(tmp_path, holes={}), raster, refuse, "x")
