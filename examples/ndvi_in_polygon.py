"""Mean of a product in a polygon: SURVEY PRODUCT POLYGON.

A cell counts where its centre lies inside.  ``tmp indices --zones`` does the same for many polygons
and counts cells on their edges by share.
"""

import sys

import numpy as np
from rasterio.features import geometry_mask

import tmp
from tmp.geo.areas import read_area


def main(folder: str, product: str, polygon: str) -> float:
    """Return the mean of a product's first band over the polygons of a file."""
    survey = tmp.open_survey(folder)
    if survey.crs is None:
        raise tmp.TmpError(f"{folder}: has no place on Earth, so no polygon lies in it")
    area = read_area(polygon).projected(survey.crs)
    raster = survey.read(product, area.bounds)
    outside = geometry_mask([area], raster.grid.shape, raster.grid.transform)
    inside = np.ma.masked_where(outside, raster.values[0])
    print(f"{product}: {inside.mean():.3f} ± {inside.std():.3f}, {inside.count()} cells")
    return float(inside.mean())


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
