"""Time ``tmp demo``, from nothing to the error against truth.

python benchmarks/demo.py [--workers N]
"""

from __future__ import annotations

import argparse

from measure import TMP, add_run_options, judge, kernels, print_stages, run, workplace

LONGEST_S = 180.0


def main() -> None:
    """Run the demonstration and print what it took and what it said."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        log = folder / "demo.log"
        cost = run(
            [TMP, "demo", folder / "demo", "--workers", str(asked.workers)],
            environment=kernels(folder, warm=asked.warm),
            log=log,
        )
        print(f"tmp demo                 {cost}")
        print_stages(folder / "demo" / "survey")
        print(log.read_text())
    judge(cost.wall_s <= LONGEST_S, f"demonstration within {LONGEST_S:.0f} s on the clock")


if __name__ == "__main__":
    main()
