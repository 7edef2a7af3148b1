"""The rehearsed hamlet for benchmarks of models in three dimensions, rendered once.

    python benchmarks/hamlet.py FOLDER [--workers N]

Renders the photographs into a folder named after what they depend on, unless they are there, and
prints what that took, how much surface there is of each kind, and how much of it enough
photographs see.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

import flightplan.rehearsal
from flightplan.rehearsal.farm import farm_frame
from flightplan.rehearsal.features import read_farm
from flightplan.rehearsal.hamlet import (
    AREA_M,
    CAMERA,
    HamletOptions,
    hamlet_rehearsal,
    hamlet_scene,
    hamlet_stations,
)
from flightplan.rehearsal.solids.bodies import Kind
from flightplan.rehearsal.truth import crowns, roof_edges, sample_truth, seen_by
from tmp.progress import Track, bar, silent

SPACING_M = 0.05
ENOUGH = 3
"""Photographs that have to see a place."""


def main() -> None:
    """Render, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    options, began_s = HamletOptions(), time.process_time()
    with bar() as track:
        card = hamlet_card(asked.folder, options, workers=asked.workers, track=track)
    photos = sum(1 for _ in (card / "photos").iterdir())
    print(f"{photos} photographs in {card}: {time.process_time() - began_s:.0f} CPU-s")

    frame, stations = farm_frame(read_farm("hamlet")), hamlet_stations(options)
    scene = hamlet_scene(stations, workers=asked.workers)
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0, :2]
    low, high = middle - np.array(AREA_M) / 2, middle + np.array(AREA_M) / 2
    truth = sample_truth(scene, SPACING_M, bounds=(*low.tolist(), *high.tolist()))
    views = [(CAMERA, station.pose) for station in stations]
    seen = seen_by(scene, frame, truth.points, truth.normals, views, enough=ENOUGH)
    for kind in Kind:
        here = truth.kind == kind
        if here.any():
            share = (seen[here] >= ENOUGH).mean()
            area_m2 = here.sum() * SPACING_M**2
            name = kind.name.lower().replace("_", " ")
            print(f"{name:<14} {area_m2:7.1f} m², {100 * share:5.1f} % seen by {ENOUGH}")
    print("crowns:", ", ".join(f"{crown.volume_m3:.1f} m³" for crown in crowns(scene)))
    length_m = sum(float(np.linalg.norm(np.diff(e.ends, axis=0))) for e in roof_edges(scene))
    print(f"roof edges: {length_m:.1f} m")


def hamlet_card(
    folder: Path, options: HamletOptions, *, workers: int = 2, track: Track = silent
) -> Path:
    """Return a folder with ``photos/`` and ``truth/``, rendered if it is not there.

    Its name has a digest of the options, of the hamlet in `sample_data`, and of the code that
    renders it.
    """
    digest = hashlib.sha256(repr(asdict(options)).encode())
    code = Path(flightplan.rehearsal.__path__[0])
    sample = code.parents[1] / "sample_data"
    for path in sorted([*code.rglob("*.py"), *sample.glob("hamlet*.*")]):
        digest.update(path.read_bytes())
    card = folder / f"hamlet-{digest.hexdigest()[:12]}"
    # The houses are written last.
    if not (card / "truth" / "houses.geojson").exists():
        for leftover in card.glob("photos/*"):
            leftover.unlink()
        hamlet_rehearsal(card, options, workers=workers, track=track)
    return card


if __name__ == "__main__":
    main()
