"""Hold a survey with RTK and a distorting lens against its positions and calibration.

    python benchmarks/mirafiori.py [--data DIR] [--workers N]

Maps 33 photographs as a user does and prints how the oriented photographs fit their RTK
positions, each other, and the calibrated focal length.
"""

from __future__ import annotations

import numpy as np
from measure import (
    ingest_and_map,
    judge,
    kernels,
    parser,
    photos_of,
    print_stages,
    reconstruction_of,
    workplace,
)

from flows.report.findings import mean_residual_px
from tmp.reconstruction import Reconstruction

BEST_POSITION_M = 0.05
BEST_RESIDUAL_PX = 0.8
BEST_FOCAL = 0.02


def main() -> None:
    """Map the survey and print its figures."""
    asked = parser(__doc__).parse_args()
    photos = photos_of(asked.data, "mirafiori")
    with workplace(asked.keep) as folder:
        survey = folder / "survey"
        cost = ingest_and_map(
            [photos], survey, workers=asked.workers, environment=kernels(folder, warm=asked.warm)
        )
        print(f"tmp ingest and tmp map   {cost}")
        print_stages(survey)
        describe(reconstruction_of(survey))


def describe(reconstruction: Reconstruction) -> None:
    """Print the figures and verdicts of a reconstruction with RTK positions."""
    oriented, lost = len(reconstruction.photos), len(reconstruction.left_out)
    print(f"oriented                 {oriented} of {oriented + lost}")
    judge(lost == 0, "all photographs oriented")
    residuals = [p.gnss_residual_m for p in reconstruction.photos if p.gnss_residual_m is not None]
    rms_m = np.sqrt((np.array(residuals) ** 2).mean(axis=0))
    east, north, up = rms_m
    print(f"RMS to RTK               east {east:.3f} m, north {north:.3f} m, up {up:.3f} m")
    judge(bool((rms_m <= BEST_POSITION_M).all()), "camera positions within 5 cm RMS in each axis")
    residual_px = mean_residual_px(reconstruction)
    print(f"reprojection residual    {residual_px:.3f} px (mean)")
    judge(residual_px <= BEST_RESIDUAL_PX, "mean reprojection residual of 0.8 px or less")
    for key, camera in reconstruction.cameras.items():
        prior = reconstruction.priors[key]
        change = camera.fx_px / prior.fx_px - 1
        print(
            f"focal length             {camera.fx_px:.1f} px, {100 * change:+.2f} % from "
            f"{prior.fx_px:.1f} px ({prior.source})"
        )
        judge(abs(change) <= BEST_FOCAL, "focal length within 2 % of the calibrated one")
    for warning in reconstruction.warnings:
        print(f"warning in the report: {warning}")


if __name__ == "__main__":
    main()
