"""What a preview for the field costs beside a map of normal quality.

    python benchmarks/preview.py PHOTOS [--workers N] [--keep FOLDER]

The photographs are taken in once and mapped twice, with ``--quality fast`` and without.  Kernels
are to be compiled already, as they are by the first map of an installation.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from measure import (
    TMP,
    Cost,
    judge,
    print_stages,
    reconstruction_of,
    run,
    run_map,
    workplace,
)

CORES, PHOTOGRAPHS, WITHIN_S = 4, 100, 60.0
"""Where, of how many photographs, and in what time a preview is to be there."""
LESS = 6.0
"""Times the processor time that normal quality takes."""


def main() -> None:
    """Map the same photographs at both qualities and print what each cost."""
    made = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("photos", type=Path)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    asked = made.parse_args()
    with workplace(asked.keep) as folder:
        survey = folder / "survey"
        taken = run([TMP, "ingest", asked.photos, "--link", "--to", survey])
        print(f"taking photographs in    {taken}")
        words = ["--workers", str(asked.workers), "--quality", "fast"]
        fast: Cost = run([TMP, "map", survey, *words])
        print(f"preview                  {fast}")
        print_stages(survey)
        count = len(reconstruction_of(survey).photos)
        normal = run_map(survey, workers=asked.workers, environment={})
        print(f"normal quality           {normal}")
        print_stages(survey)
    each_s = fast.cpu_s / count
    print(f"preview                  {each_s:.2f} CPU-seconds for each of {count} photographs")
    judge(normal.cpu_s / fast.cpu_s >= LESS, f"a {LESS:g}th of the processor time of a map")
    judge(
        each_s * PHOTOGRAPHS <= CORES * WITHIN_S,
        f"{PHOTOGRAPHS} such photographs within {CORES} × {WITHIN_S:g} CPU-seconds",
    )


if __name__ == "__main__":
    main()
