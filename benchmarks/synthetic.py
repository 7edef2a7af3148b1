"""Errors of maps of rehearsed surveys against exact truth, and whether they keep what is promised.

    python benchmarks/synthetic.py FOLDER [--only NAME]... [--workers N]

Rehearses the farm with consumer positions (2 m), with RTK (2 cm) from one height, and with RTK
from two heights, maps each, and prints the errors with and without a similarity fit to the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2  # noqa: F401  # before pycolmap, whose zlib breaks PNG writing in it

from flightplan.rehearsal.farm import FarmOptions, farm_rehearsal
from flightplan.rehearsal.photographs import CONSUMER, RTK
from flows.demo.accuracy import Accuracy, compare_with_truth
from flows.run.plan import MapOptions
from flows.run.request import SurveyResult
from flows.run.survey_flow import map_survey
from ingest.photographs import ingest_photographs
from tmp.progress import Track, bar
from tmp.reconstruction import Reconstruction, read_reconstruction
from tmp.survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kind of survey, and whether its place and height must be right without a fit."""

    name: str
    options: FarmOptions
    horizontal: bool = False
    vertical: bool = False


CASES = (
    Case(name="consumer", options=FarmOptions(gnss=CONSUMER)),
    Case(name="rtk", options=FarmOptions(gnss=RTK), horizontal=True),
    Case(
        name="rtk-two-heights",
        options=FarmOptions(gnss=RTK, second_height=True),
        horizontal=True,
        vertical=True,
    ),
)
BEST_PLACE_M = 0.03


def main() -> None:
    """Run the cases and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    for case in CASES:
        if asked.only is None or case.name in asked.only:
            with bar() as track:
                made = run_case(case, asked.folder / case.name, asked.workers, track)
            report_case(case, made, asked.folder / case.name / "card" / "truth")


def run_case(case: Case, folder: Path, workers: int, track: Track) -> SurveyResult:
    """Rehearse (once) and map one case."""
    card = folder / "card"
    if not (card / "truth" / "houses.geojson").exists():
        farm_rehearsal(card, case.options, workers=workers, track=track)
    survey = Survey(folder=folder / "survey")
    ingest_photographs([card / "photos"], survey, link=True, workers=workers, track=track)
    return map_survey(survey.folder, MapOptions(workers=workers), track=track)


def report_case(case: Case, made: SurveyResult, truth: Path) -> None:
    """Print a case's errors and verdicts."""
    reconstruction = read_reconstruction(made.folder_of("orientation"))
    print(f"\n== {case.name}: {len(reconstruction.photos)} photographs")
    for result in made.results:
        usage = result.usage
        print(
            f"{result.stage:<12} {usage.wall_s:7.1f} s, {usage.cpu_s:7.1f} CPU-s, "
            f"{usage.peak_gb:5.2f} GB"
        )
    products = made.survey.products_dir
    fitted = compare_with_truth(reconstruction, products, truth, fitted=True)
    plain = compare_with_truth(reconstruction, products, truth, fitted=False)
    print("\n".join(fitted.in_words() + plain.in_words()))
    for verdict, said in judge(case, fitted, plain):
        print(f"{'kept  ' if verdict else 'MISSED'} {said}")
    _print_vertical_scale(reconstruction)
    scale = reconstruction.vertical_scale
    if not case.vertical:
        warned = scale is not None and scale.weak
        said = "the report warns that the photographs do not fix the vertical scale"
        print(f"{'kept  ' if warned else 'MISSED'} {said}")


def judge(case: Case, fitted: Accuracy, plain: Accuracy) -> Iterator[tuple[bool, str]]:
    """Yield whether each promise is kept, and the promise."""
    gsd = fitted.gsd_m
    yield fitted.ground.std <= gsd, "heights of open ground within 1 GSD (standard deviation)"
    yield fitted.walls >= 0.9, "90 % of the turf walls' relief recovered"
    yield fitted.ortho_m[0] <= gsd, "orthomosaic within 1 GSD at the median"
    yield fitted.ortho_m[1] <= 2 * gsd, "orthomosaic within 2 GSD at the 95th percentile"
    yield fitted.house_edge_m[0] <= 3 * gsd, "house edges within 3 GSD at the median"
    if case.horizontal:
        yield plain.ortho_m[0] <= BEST_PLACE_M, "3 cm horizontally without a fit (median)"
    if case.vertical:
        yield abs(plain.ground.mean) <= BEST_PLACE_M, "3 cm vertically without a fit (mean)"


def _print_vertical_scale(reconstruction: Reconstruction) -> None:
    scale = reconstruction.vertical_scale
    if scale is not None:
        firm = "weak" if scale.weak else "firm"
        print(f"vertical scale: {firm}, standard deviation {100 * scale.sigma_scale:.2f} %")
    for warning in reconstruction.warnings:
        print(f"warning in the report: {warning}")


if __name__ == "__main__":
    main()
