"""Time ``tmp run`` against ``tmp map`` on one survey, and ``tmp run`` with nothing changed.

python benchmarks/runs.py SURVEY [--quality fast] [--workers N]

SURVEY is an ingested survey; it is copied, and only the copies are mapped.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

from measure import TMP, add_run_options, judge, kernels, run, workplace

OVERHEAD_S = 3.0
UNCHANGED_S = 5.0


def digests(survey: Path) -> dict[str, str]:
    """Return the digests of a survey's products."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((survey / "products").glob("*"))
        if path.suffix in (".tif", ".laz")
    }


def main() -> None:
    """Map copies of a survey both ways and print what each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("survey", type=Path)
    parser.add_argument("--quality", default="fast")
    add_run_options(parser)
    asked = parser.parse_args()
    costs = {}
    with workplace(asked.keep) as folder:
        environment = kernels(folder, warm=asked.warm)
        # The first compiles kernels; what comes after finds them compiled.
        ways = {
            "map, first": (),
            "map": (),
            "run --no-prefect": ("--no-prefect",),
            "run, first": (),
            "run": (),
        }
        made = []
        for way, extra in ways.items():
            copy = folder / way.replace(" ", "").replace(",", "-")
            shutil.copytree(asked.survey, copy, ignore=shutil.ignore_patterns("work", "products"))
            command = [TMP, way.split()[0].strip(","), copy, *extra, "--quality", asked.quality]
            command += ["--workers", str(asked.workers)]
            costs[way] = run(command, environment=environment, log=folder / "log.txt")
            print(f"tmp {way:<18} {costs[way]}")
            made.append(digests(copy))
        again = run(command, environment=environment, log=folder / "log.txt")
        print(f"tmp run, unchanged     {again}")
    judge(all(found == made[0] != {} for found in made), "the same products, bit for bit")
    for way in ("run --no-prefect", "run"):
        over_s = costs[way].wall_s - costs["map"].wall_s
        judge(
            over_s < OVERHEAD_S, f"tmp {way}: {over_s:.1f} s over tmp map, {OVERHEAD_S:g} s asked"
        )
    judge(again.wall_s < UNCHANGED_S, f"unchanged: {again.wall_s:.1f} s, {UNCHANGED_S:g} s asked")


if __name__ == "__main__":
    main()
