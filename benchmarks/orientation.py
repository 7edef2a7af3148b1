"""Orient real and rehearsed surveys and print what it cost and how well it went.

    python benchmarks/orientation.py                          # the three real surveys
    python benchmarks/orientation.py --data DIR --only brighton
    python benchmarks/orientation.py --photos FOLDER --truth FOLDER/../truth/poses.json

CPU-seconds count all threads; those of the first step include the imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2  # noqa: F401  before pycolmap
import numpy as np
import rasterio  # noqa: F401  before pycolmap

from ingest.photographs import ingest_photographs
from photogrammetry.orientation.block import fit_similarity
from photogrammetry.orientation.orient import OrientOptions, orient
from tmp.reconstruction import Reconstruction, write_reconstruction
from tmp.survey import Survey

T = TypeVar("T")

SURVEYS = {
    "brighton": "brighton/photos",
    "mirafiori": "mirafiori/photos",
    "sheffield": "sheffield_gcp/photos",
}


def cpu_s() -> float:
    """Return user and system seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def print_steps(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Track a step by its CPU-seconds."""
    start = cpu_s()
    done = 0
    for item in items:
        done += 1
        yield item
    print(f"  {label:24s} {done:4d} of {total:4d} {cpu_s() - start:8.2f} CPU s", flush=True)


def measure(photos: Path, work: Path, workers: int) -> Reconstruction:
    """Ingest and orient one folder of photographs and print the figures."""
    survey = Survey(folder=work / "survey")
    result = ingest_photographs([photos], survey, link=True, workers=workers)
    start, wall = cpu_s(), time.perf_counter()
    reconstruction = orient(
        result.captures,
        result.settings.cameras,
        survey.photos_dir,
        result.settings.frame,
        survey.work_dir,
        options=OrientOptions(),
        workers=workers,
        track=print_steps,
    )
    imports = start_of_process_s
    print(
        f"  whole orientation        {cpu_s() - start + imports:8.2f} CPU s, "
        f"imports of {imports:.2f} s included; {time.perf_counter() - wall:.1f} s on the wall, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB at the peak"
    )
    describe(reconstruction)
    return reconstruction


def describe(reconstruction: Reconstruction) -> None:
    """Print what the report will say about a reconstruction."""
    figures = reconstruction.figures
    photos, left_out = len(reconstruction.photos), len(reconstruction.left_out)
    print(f"  oriented                 {photos} of {photos + left_out}")
    print(
        f"  reprojection residual    mean {figures['mean_residual_px']:.3f}, "
        f"rms {figures['rms_residual_px']:.3f} px of the photograph; "
        f"mean {figures['mean_residual_per_mille']:.3f} thousandths of its long side; "
        f"{figures['observations']} observations of {figures['tie_points']} points"
    )
    for key, camera in reconstruction.cameras.items():
        prior = reconstruction.priors[key]
        prior_px = float(np.sqrt(prior.fx_px * prior.fy_px))
        print(
            f"  focal length             {camera.fx_px:.1f} px, "
            f"{100 * (camera.fx_px / prior_px - 1):+.2f} % from {prior_px:.1f} px ({prior.source})"
        )
    recorded = figures["height_takeoff_m"]
    above = "not recorded" if recorded is None else f"recorded {recorded:.2f} m above take-off"
    print(f"  height above tie points  {figures['height_agl_m']:.2f} m ({above})")
    if figures["gnss_rms_m"]:
        x, y, z = figures["gnss_rms_m"]
        print(f"  rms to GNSS              east {x:.3f}, north {y:.3f}, up {z:.3f} m")
    if (scale := reconstruction.vertical_scale) is not None:
        pairs = zip(scale.focal_factors, scale.mean_residual_px, scale.height_agl_m, strict=True)
        solved = "; ".join(f"{f:.2f} f: {r:.3f} px, {h:.2f} m" for f, r, h in pairs)
        print(
            f"  vertical scale           sigma {100 * scale.sigma_scale:.2f} %, "
            f"{'weak' if scale.weak else 'firm'} ({solved})"
        )
    for name, reason in reconstruction.left_out.items():
        print(f"  left out                 {name}: {reason}")
    for warning in reconstruction.warnings:
        print(f"  warning                  {warning}")


def compare(reconstruction: Reconstruction, truth_path: Path) -> None:
    """Print errors of projection centres and lens against the truth of a rehearsal."""
    truth = json.loads(truth_path.read_text(encoding="utf-8"))
    true_map = {photo["name"]: photo["centre_map"] for photo in truth["photos"]}
    # A survey keeps folders in its names; the rehearsal's photographs lie in one.
    photos = [p for p in reconstruction.photos if Path(p.name).name in true_map]
    target = np.array([true_map[Path(p.name).name] for p in photos])
    centres = np.array([photo.pose.centre for photo in photos])
    solved = reconstruction.frame.map_from_world(centres)
    errors = {"without fit": solved - target}
    offset = target.mean(axis=0)
    fit = fit_similarity(solved - offset, target - offset)
    errors["after a similarity"] = fit(solved - offset) - (target - offset)
    for label, error in errors.items():
        x, y, z = np.sqrt((error**2).mean(axis=0))
        print(f"  centres {label:18s} rms east {x:.4f}, north {y:.4f}, up {z:.4f} m")
    print(f"  scale of the fit         {fit.scale - 1:+.2e}")
    (true_camera,) = truth["cameras"].values()
    (camera,) = reconstruction.cameras.values()
    print(f"  focal length against truth {100 * (camera.fx_px / true_camera['fx_px'] - 1):+.3f} %")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of the real surveys")
    parser.add_argument("--only", choices=SURVEYS, help="measure one of them")
    parser.add_argument("--photos", type=Path, help="measure another folder of photographs")
    parser.add_argument("--truth", type=Path, help="poses.json of a rehearsal")
    parser.add_argument("--keep", type=Path, help="write the reconstruction into this folder")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    if chosen.photos is not None:
        surveys = {chosen.photos.name: chosen.photos}
    else:
        names = [chosen.only] if chosen.only else list(SURVEYS)
        surveys = {name: chosen.data / SURVEYS[name] for name in names}
    for name, photos in surveys.items():
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as work:
            reconstruction = measure(photos, Path(work), chosen.workers)
        if chosen.truth is not None:
            compare(reconstruction, chosen.truth)
        if chosen.keep is not None:
            write_reconstruction(reconstruction, chosen.keep / name)


start_of_process_s = cpu_s()
if __name__ == "__main__":
    main()
