"""Map any real survey, and let a rival do the same: cost, ground drawn, level, scale.

    python benchmarks/rival.py SURVEY_PHOTOS… [--rival PATH] [--workers N] [--keep DIR] [--warm]
                               [--slanted] [--sloping]

The rival is ``orthomosaic-3d`` of pyOrthomosaic 0.9.3 (``pip install pyOrthomosaic==0.9.3`` into an
environment of its own; give the path of its executable).  Both get the same photographs and the
same number of workers, one after the other.  ``--keep`` leaves both maps and
``side_by_side.png``, the two orthomosaics at the same ground scale.

Areas are those of each map by its own scale.  As the scales differ, the rival's area is given
in our scale too: divided by the square of its scale over ours, which is measured on keypoints that
both orthomosaics show, or, where they show too few, on the cameras of both.  A map that is bent or
torn has no one scale, so the ground that the rival shows is also looked up place by place in our
map; that is what is judged, if the keypoints allow it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from ground import read_heights
from laidover import (
    Picture,
    draw_side_by_side,
    lay_over,
    onto_one_sheet,
    read_picture,
    shares_of,
)
from measure import (
    TMP,
    Cost,
    add_run_options,
    judge,
    kernels,
    print_stages,
    reconstruction_of,
    run,
    workplace,
)
from numpy.typing import NDArray
from pyproj import Transformer

from flows.cli.run import PARTIAL
from flows.products.table import DSM, ORTHOMOSAIC
from ingest.card import find_photographs, propose_names
from photogrammetry.orientation.block import fit_level_similarity
from photogrammetry.orientation.priors import angle_deg, fit_plane
from tmp.captures import read_captures
from tmp.errors import TmpError
from tmp.geo.grids import Grid

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

MOST_OF_RIVAL = 0.5
LEVEL_WITHIN_DEG = 3.0
LEAST_PLACES = 3
"""Positions from which a scale is measured, and cells from which a plane is."""
PLANE_CELLS = 40_000
"""Cells that a plane is put through, spread evenly over the surface."""
PICTURE = "side_by_side.png"
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A finished map, whichever program made it."""

    orthomosaic: Path
    heights: Float32
    """Measured heights of the surface model, NaN elsewhere, (rows, cols)."""
    grid: Grid
    """Of the heights."""
    filled: int
    """Cells of the surface model whose heights are not measured but filled in."""
    photographs: int
    """How many were given."""
    centres: Mapping[str, Float]
    """Projection centres in map coordinates, by the name of the photograph."""
    views: Float
    """View axes, z up, (N, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is printed of a map."""

    drawn_m2: float
    measured_m2: float
    heights_m2: float
    """Measured or filled in."""
    ground_tilt_deg: float
    """Of the robust plane through the measured heights against level."""
    view_tilt_deg: float
    """Of the mean view axis against the vertical."""
    view_to_ground_deg: float
    """Of the mean view axis against the normal of that plane: the same however a map leans."""
    scale: float
    """Of the map by its cameras' recorded positions; NaN where there are too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program did with the photographs."""

    cost: Cost
    load: float
    """Load of the machine over the minute before it began."""
    map: Map | None = None
    """None if it made none."""
    figures: Figures | None = None


def main() -> None:
    """Map with both programs and print their figures side by side."""
    asked = arguments()
    with workplace(asked.keep) as folder:
        ours = our_outcome(asked.photos, folder, workers=asked.workers, warm=asked.warm)
        its = None
        if asked.rival is not None:
            its = its_outcome(asked.photos, folder, asked.rival, workers=asked.workers)
        print_table(ours, its)
        print_stages(folder / "survey")
        judge_ours(ours, slanted=asked.slanted, sloping=asked.sloping)
        if its is None:
            print("no rival: give the path of orthomosaic-3d with --rival to compare")
        else:
            compare(ours, its, folder, keep=asked.keep)


def arguments() -> argparse.Namespace:
    """Read the command line; ends in one line if it cannot be used."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("photos", type=Path, nargs="+", help="photographs, or folders of them")
    made.add_argument("--rival", type=Path, help="path of the executable orthomosaic-3d")
    made.add_argument(
        "--slanted",
        action="store_true",
        help="cameras that did not look straight down: their tilt is printed and not judged",
    )
    made.add_argument(
        "--sloping",
        action="store_true",
        help="ground that is not level: its tilt is printed and not judged",
    )
    add_run_options(made)
    asked = made.parse_args()
    if asked.workers < 1:
        sys.exit(f"--workers {asked.workers}: at least one is needed")
    if asked.rival is not None and not (asked.rival.is_file() and os.access(asked.rival, os.X_OK)):
        sys.exit(f"{asked.rival}: no such program; install pyOrthomosaic and give orthomosaic-3d")
    try:
        find_photographs(asked.photos)
    except TmpError as error:
        sys.exit(str(error))
    return asked


def our_outcome(photos: Sequence[Path], folder: Path, *, workers: int, warm: bool) -> Outcome:
    """Run ``tmp ingest`` and ``tmp map``; a map that is partial counts as one."""
    load, survey, environment = os.getloadavg()[0], folder / "survey", kernels(folder, warm=warm)
    log = folder / "ingest.log"
    command: list[str | Path] = [TMP, "ingest", *photos, "--to", survey, "--workers", str(workers)]
    cost = run(command, environment=environment, log=log, check=False)
    if cost.status:
        sys.exit(f"tmp ingest: {last_line(log)}")
    log = folder / "map.log"
    command = [TMP, "map", survey, "--workers", str(workers)]
    cost += run(command, environment=environment, log=log, check=False)
    if cost.status not in (0, PARTIAL):
        print(f"tmp map: status {cost.status}: {last_line(log)}")
        return Outcome(cost=cost, load=load)
    made = read_our_map(survey)
    return Outcome(cost=cost, load=load, map=made, figures=figures_of(made, survey))


def its_outcome(photos: Sequence[Path], folder: Path, rival: Path, *, workers: int) -> Outcome:
    """Run the rival on links to the same photographs, named as in our survey."""
    links, out, log = folder / "photos", folder / "rival", folder / "rival.log"
    links.mkdir()
    found = find_photographs(photos).photographs
    for name, path in zip(propose_names(found), found, strict=True):
        (links / flat(name)).symlink_to(path.resolve())
    load = os.getloadavg()[0]
    command: list[str | Path] = [
        rival,
        links,
        "-o",
        out,
        "--backend",
        "cpu",
        "--workers",
        str(workers),
    ]
    cost = run(command, log=log, check=False)
    if not (out / "report.json").is_file():
        print(f"orthomosaic-3d: no map, status {cost.status}: {last_line(log)}")
        return Outcome(cost=cost, load=load)
    made = read_its_map(out)
    return Outcome(cost=cost, load=load, map=made, figures=figures_of(made, folder / "survey"))


def last_line(log: Path) -> str:
    """Return the last thing that a program said."""
    lines = [
        line
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    return lines[-1].strip() if lines else "nothing said"


def flat(name: str) -> str:
    """Return a photograph's name without folders: the rival looks into none."""
    return name.replace("/", "-")


def read_our_map(survey: Path) -> Map:
    """Read a survey's map."""
    reconstruction = reconstruction_of(survey)
    frame = reconstruction.frame
    height, grid = read_heights(survey / "products" / DSM.file)
    return Map(
        orthomosaic=survey / "products" / ORTHOMOSAIC.file,
        heights=height,
        grid=grid,
        filled=0,
        photographs=len(read_captures(survey / "survey.gpkg")),
        centres={
            flat(photo.name): frame.map_from_world(photo.pose.centre)[0]
            for photo in reconstruction.photos
        },
        views=np.array([photo.pose.rotation[2] for photo in reconstruction.photos]),
    )


def read_its_map(out: Path) -> Map:
    """Read what the rival wrote; ``dsm_support.tif`` says 1 where a height is measured."""
    report = json.loads((out / "report.json").read_text())
    height, grid = read_heights(out / "dsm.tif")
    with rasterio.open(out / "dsm_support.tif") as file:
        filled = np.isfinite(height) & (file.read(1) != 1)
    height[filled] = np.nan
    cameras = report["cameras"]
    return Map(
        orthomosaic=out / "orthophoto.tif",
        heights=height,
        grid=grid,
        filled=int(filled.sum()),
        photographs=report["images_total"],
        centres={name: np.array(camera["C"]) for name, camera in cameras.items()},
        views=np.array([camera["R"][2] for camera in cameras.values()]),
    )


def figures_of(made: Map, survey: Path) -> Figures:
    """Measure a map; `survey` knows the recorded positions."""
    cell_m2 = made.grid.cell_m**2
    measured = int(np.isfinite(made.heights).sum())
    ground, view = ground_normal(made.heights, made.grid), made.views.mean(axis=0)
    return Figures(
        drawn_m2=drawn_m2(made.orthomosaic),
        measured_m2=measured * cell_m2,
        heights_m2=(measured + made.filled) * cell_m2,
        ground_tilt_deg=angle_deg(ground, UP),
        view_tilt_deg=angle_deg(view, -UP),
        view_to_ground_deg=angle_deg(view, -ground),
        scale=scale_of(made.centres, recorded_positions(survey, made.grid.crs)),
    )


def drawn_m2(orthomosaic: Path) -> float:
    """Return the area whose opacity, the fourth band, is not zero."""
    with rasterio.open(orthomosaic) as file:
        cells = sum(int((file.read(4, window=w) > 0).sum()) for _, w in file.block_windows(4))
        return float(cells * abs(file.transform.a * file.transform.e))


def ground_normal(height: Float32, grid: Grid) -> Float:
    """Return the normal (3,) of the robust plane through measured heights; NaN without any."""
    row, col = np.nonzero(np.isfinite(height))
    if len(row) < LEAST_PLACES:
        return np.full(3, np.nan)
    some = np.linspace(0, len(row) - 1, min(PLANE_CELLS, len(row))).astype(int)
    x, y = grid.cell_centres()
    places = np.column_stack([x[col[some]], y[row[some]], height[row[some], col[some]]])
    normal, _ = fit_plane(places - places.mean(axis=0), UP)
    return normal


def recorded_positions(survey: Path, crs: str | None) -> dict[str, Float]:
    """Return recorded positions as easting and northing, by the name of the photograph."""
    if crs is None:
        return {}
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    return {
        flat(capture.name): np.array(
            to_map.transform(capture.longitude_deg, capture.latitude_deg), float
        )
        for capture in read_captures(survey / "survey.gpkg")
        if capture.positioned
    }


def scale_of(places: Mapping[str, Float], reference: Mapping[str, Float]) -> float:
    """Return the horizontal scale of places over that of a reference, by a robust similarity.

    NaN if fewer than `LEAST_PLACES` names are in common.

    Notes
    -----
    Fitted from the places to the reference: errors in what is fitted from make a scale too small
    (regression dilution), and recorded positions err much more than adjusted ones.
    """
    common = sorted(places.keys() & reference.keys())
    if len(common) < LEAST_PLACES:
        return float("nan")
    source = np.array([places[name][:2] for name in common])
    target = np.array([reference[name][:2] for name in common])
    fitted = fit_level_similarity(source - source.mean(axis=0), target - target.mean(axis=0))
    return 1.0 / fitted[0]


def print_table(ours: Outcome, its: Outcome | None) -> None:
    """Print the figures of both side by side."""
    outcomes = [ours] if its is None else [ours, its]

    def line(label: str, of: Callable[[Outcome], str]) -> None:
        print(f"{label:40s}" + "".join(f"{of(outcome):>18s}" for outcome in outcomes))

    def figure(label: str, of: Callable[[Figures], str]) -> None:
        line(label, lambda outcome: "—" if outcome.figures is None else of(outcome.figures))

    names = ["tmp ingest + map", "orthomosaic-3d"][: len(outcomes)]
    print(" " * 40 + "".join(f"{name:>18s}" for name in names))
    line("exit status", lambda o: str(o.cost.status))
    line(
        "photographs used",
        lambda o: "—" if o.map is None else f"{len(o.map.centres)} of {o.map.photographs}",
    )
    line("CPU-seconds", lambda o: f"{o.cost.cpu_s:.1f}")
    line("on the clock", lambda o: f"{o.cost.wall_s:.1f} s")
    line("peak of memory", lambda o: f"{o.cost.peak_gb:.2f} GB")
    line("load of the machine before", lambda o: f"{o.load:.1f}")
    figure("drawn by the orthomosaic", lambda f: f"{f.drawn_m2:.0f} m²")
    figure("with measured heights", lambda f: f"{f.measured_m2:.0f} m²")
    figure("with heights, those filled in counted", lambda f: f"{f.heights_m2:.0f} m²")
    figure("plane through the heights, off level", lambda f: f"{f.ground_tilt_deg:.2f}°")
    figure("mean view, off the vertical", lambda f: f"{f.view_tilt_deg:.2f}°")
    figure("mean view, off that plane's normal", lambda f: f"{f.view_to_ground_deg:.2f}°")
    figure(
        "scale by recorded positions",
        lambda f: f"{f.scale:.4f}" if np.isfinite(f.scale) else "no positions",
    )


def judge_ours(ours: Outcome, *, slanted: bool, sloping: bool) -> None:
    """Judge what our map promises by itself."""
    judge(ours.cost.status == 0, "tmp map ends with status 0")
    if ours.figures is None:
        return
    limit = f"within {LEVEL_WITHIN_DEG:g}°"
    if not sloping:
        kept = ours.figures.ground_tilt_deg <= LEVEL_WITHIN_DEG
        judge(kept, f"plane through the heights {limit} of level")
    if not slanted:
        kept = ours.figures.view_tilt_deg <= LEVEL_WITHIN_DEG
        judge(kept, f"mean view {limit} of the vertical")


def compare(ours: Outcome, its: Outcome, folder: Path, *, keep: Path | None) -> None:
    """Compare the ground that two programs drew and what it cost; writes the picture."""
    if its.cost.status:
        print(f"the rival ended with status {its.cost.status}")
    if its.map is None or its.figures is None:
        print("nothing to compare: the rival made no map")
        return
    if ours.map is None or ours.figures is None:
        judge(False, "a map where the rival makes one")
        return
    ratio = ours.cost.cpu_s / its.cost.cpu_s
    print(f"CPU-seconds over the rival's            {ratio:18.2f}")
    its_m2 = drawn_in_our_scale(ours.map, its.map, its.figures.drawn_m2, folder)
    if keep is not None:
        print(f"picture of both                         {folder / PICTURE}")
    judge(ours.figures.drawn_m2 > its_m2, "more ground drawn than by the rival, in the same scale")
    judge(ratio <= MOST_OF_RIVAL, f"at most {MOST_OF_RIVAL:g} of the rival's CPU-seconds")


def drawn_in_our_scale(ours: Map, its: Map, its_m2: float, folder: Path) -> float:
    """Return the area that the rival draws in our scale; prints how, and draws both maps."""
    pictures = read_picture(ours.orthomosaic), read_picture(its.orthomosaic)
    by_cameras = scale_of(its.centres, ours.centres)
    overlay = lay_over(*pictures)
    if overlay is None:
        scale = by_cameras if np.isfinite(by_cameras) else 1.0
        how = "by the cameras" if np.isfinite(by_cameras) else "taken, as nothing gives it"
        how += ": the orthomosaics have too few keypoints in common"
        matrix = placed_side_by_side(*pictures, scale)
    else:
        scale, matrix = overlay.scale, overlay.second_from_first
        how = (
            f"by {overlay.matches} of {len(overlay.here)} keypoints of both orthomosaics "
            f"({by_cameras:.4f} by the cameras)"
        )
    print(f"rival's scale over ours                 {scale:18.4f}  {how}")
    print(f"drawn by the rival, in our scale        {its_m2 / scale**2:15.0f} m²")
    sheets = onto_one_sheet(*pictures, matrix)
    draw_side_by_side(sheets, ["tmp map", "orthomosaic-3d"], folder / PICTURE)
    if overlay is None:
        return its_m2 / scale**2
    shares = shares_of(*pictures, overlay)
    print(f"place by place: drawn by the rival      {shares.second_m2:15.0f} m²")
    print(f"  by both                               {shares.both_m2:15.0f} m²")
    print(f"  by tmp map alone                      {shares.first_only_m2:15.0f} m²")
    print(f"  by the rival alone                    {shares.second_only_m2:15.0f} m²")
    return shares.second_m2


def placed_side_by_side(first: Picture, second: Picture, scale: float) -> Float:
    """Return the similarity (3, 3) that brings the middles of two maps together, unturned."""
    here, there = (
        np.array(picture.grid.bounds).reshape(2, 2).mean(axis=0) for picture in (first, second)
    )
    matrix = np.diag([scale, scale, 1.0])
    matrix[:2, 2] = there - scale * here
    return matrix


if __name__ == "__main__":
    main()
