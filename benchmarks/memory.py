"""Memory of the products' stages when a survey grows four times in area.

    python benchmarks/memory.py [--scale 4] [--workers N]

Rehearses the farm at its standard area and at a multiple of it, and maps both.  Then everything
but the orientation is deleted and made again, so that the peak is that of surface, orthomosaic,
point cloud and report in a process of their own.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from measure import (
    TMP,
    Cost,
    add_run_options,
    judge,
    kernels,
    print_stages,
    reconstruction_of,
    run,
    run_map,
    workplace,
)

MOST_GROWTH = 0.1
ORIENTING = ("features", "matches", "orientation")


def main() -> None:
    """Map both sizes and print their peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=int, default=4, help="area of the larger survey")
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        environment = kernels(folder, warm=asked.warm)
        small, large = (
            products_cost(folder / f"area-{scale}", scale, asked.workers, environment)
            for scale in (1, asked.scale)
        )
    growth = large.peak_gb / small.peak_gb - 1
    print(f"peak                     {100 * growth:+.1f} % at {asked.scale} times the area")
    judge(growth < MOST_GROWTH, "peak of memory grows by less than 10 %")


def products_cost(folder: Path, scale: int, workers: int, environment: dict[str, str]) -> Cost:
    """Rehearse and map one size; returns the cost of all that follows the orientation."""
    card, survey = folder / "card", folder / "survey"
    run([TMP, "rehearse", card, "--farm", "--scale", str(scale), "--workers", str(workers)])
    run([TMP, "ingest", card / "photos", "--to", survey, "--link", "--workers", str(workers)])
    run_map(survey, workers=workers, environment=environment)
    for stage in (survey / "work" / "stages").iterdir():
        if stage.is_dir() and stage.name not in ORIENTING:
            shutil.rmtree(stage)
    cost = run_map(survey, workers=workers, environment=environment)
    photographs = len(reconstruction_of(survey).photos)
    print(f"{photographs:3d} photographs          {cost}", flush=True)
    print_stages(survey)
    return cost


if __name__ == "__main__":
    main()
