"""How much ground is measured, and how much of a surface that cannot be right would be.

The photographs of a mapped survey are searched once at the heights of the ground and once as many
metres lower, where there is nothing.  What is called measured there is the rule's error.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from flows.stages.inputs import PICTURES
from photogrammetry.pictures import PictureStore
from photogrammetry.surface.measure import SurfaceOptions, measure_tile
from photogrammetry.surface.search import seek_ground
from photogrammetry.surface.trend import flying_heights, mapped_bounds, survey_trend
from photogrammetry.views import views_of
from tmp.geo.grids import Grid, Tile
from tmp.reconstruction import read_reconstruction
from tmp.survey import open_survey
from tmp.threads import map_threads

TILE_CELLS = 512


def main() -> None:
    """Print both shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("survey", type=Path, help="a survey that `tmp map` has mapped")
    parser.add_argument("--below", type=float, default=30.0, help="metres (default 30)")
    parser.add_argument("--cell", type=float, default=0.06, help="metres (default 0.06)")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    survey = open_survey(asked.survey)
    results = sorted((survey.work_dir / "stages" / "orientation").glob("*/reconstruction.json"))
    reconstruction = read_reconstruction(results[-1].parent)
    store = PictureStore(folder=survey.work_dir / PICTURES / "normal")
    views = views_of(reconstruction)
    points = reconstruction.frame.map_from_world(reconstruction.points)
    trend = survey_trend(reconstruction)
    bounds = mapped_bounds(reconstruction, trend, least_views=2)
    grid = Grid.from_bounds(bounds, asked.cell, reconstruction.frame.crs)
    flying_m = float(np.median(flying_heights(reconstruction)))
    sought = seek_ground(points, trend, bounds, flying_m)
    for name, shift in (("at the ground", 0.0), (f"{asked.below:g} m below", -asked.below)):

        def measure(tile: Tile, shift: float = shift) -> tuple[int, int]:
            found = measure_tile(
                grid,
                tile,
                views,
                reconstruction.frame,
                store,
                replace(sought, trend=trend.shifted(shift)),
                options=SurfaceOptions(),
            )
            return int(found.measured.sum()), int(np.isfinite(found.confidence).sum())

        begun = time.process_time()
        done = map_threads(measure, grid.tiles(TILE_CELLS), workers=asked.workers)
        measured, seen = np.sum([counts for _, counts in done], axis=0)
        print(
            f"{name:16s} {measured * asked.cell**2:8.0f} m² called measured, "
            f"{100 * measured / seen:5.1f} % of what two photographs or more see "
            f"({time.process_time() - begun:.1f} CPU-s)"
        )


if __name__ == "__main__":
    main()
