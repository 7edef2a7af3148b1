"""Compute an index of your own: SURVEY NAME FORMULA, such as farm ExGn "(2*G - R - B)/(R + G + B)".

Letters are bands: B G R RE1 RE2 N.  A survey without reflectance gives its orthomosaic's.
"""

import sys

import numpy as np

import flows
import tmp


def main(folder: str, name: str, formula: str) -> float:
    """Compute a formula over a survey and return its median."""
    made = flows.compute_indices(folder, flows.IndexOptions(formulas=((name, formula),)))
    for warning in made.warnings:
        print(f"note: {warning}")
    raster = tmp.open_survey(folder).read(made.paths[0].stem)
    median = float(np.nanmedian(raster.values.filled(np.nan)))
    print(f"{made.paths[0]}: median {median:.3f}; rests on {raster.tags.get('RESTS_ON', '?')}")
    return median


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
