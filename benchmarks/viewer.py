"""The viewer of a real map: what it costs, what it takes, and how soon its first picture is there.

    python benchmarks/viewer.py SURVEY

SURVEY is a mapped survey, whose viewer is made anew.  The page is opened from the disk, in a
Chromium that has just been started each time; needs ``pip install playwright`` and Chromium.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import time
from pathlib import Path

from measure import judge
from playwright.sync_api import sync_playwright

from flows.run.relief import make_relief
from flows.run.viewer import make_viewer

OPENED = 5
MOST_S = 1.0
FIRST = "document.querySelector('img.leaflet-tile-loaded') && performance.now()"


def main() -> None:
    """Print what the viewer costs and how soon it shows something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("survey", type=Path)
    asked = parser.parse_args()
    shutil.rmtree(asked.survey / "products" / "viewer", ignore_errors=True)
    make_relief(asked.survey)
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    made = make_viewer(asked.survey, workers=2)
    cpu_s, wall_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{made.size.files} files, {made.size.megabytes:.0f} MB, {cpu_s:.1f} CPU-seconds, "
          f"{wall_s:.0f} s on the clock, {peak_gb:.2f} GB")  # fmt: skip
    taken_s = [first_picture_s(made.path) for _ in range(OPENED)]
    print(f"first picture after {', '.join(f'{one:.2f}' for one in taken_s)} s")
    judge(statistics.median(taken_s) < MOST_S, "first picture within a second")


def first_picture_s(page_path: Path) -> float:
    """Return the time from opening the page to its first tile, in seconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(page_path.resolve().as_uri(), wait_until="commit")
        found = page.wait_for_function(FIRST, polling=10)
        taken_s = float(found.json_value()) / 1000
        browser.close()
    return taken_s


if __name__ == "__main__":
    main()
