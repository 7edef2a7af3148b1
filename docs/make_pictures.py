"""Make the pictures of README and tutorial: ``python docs/make_pictures.py FOLDER``.

FOLDER gets a demonstration and a plan of the sample area, unless they are there; ``docs/pictures``
the pictures. The pages are drawn by Chromium, which must be installed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling

from tmp.plotting import hillshade

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "sample_data"
WIDE = 1200
"""Pixels of a picture."""
MOST_BYTES = 150_000
GAP = 12
PAGE = (1100, 1500)
"""Pixels of a page as it is drawn."""
Pixels = NDArray[np.uint8]


def main(folder: Path) -> None:
    """Make what is lacking, then the pictures."""
    demo, planned = folder / "demo", folder / "farm"
    if not (demo / "survey" / "report.html").is_file():
        tmp("demo", demo)
    if not (planned / "plan" / "map.png").is_file():
        area, dem = SAMPLE / "farm_area.geojson", SAMPLE / "farm_dem.tif"
        words = ("--drone", "DJI Mini 4 Pro", "--gsd", "1cm", "--dem", dem, "--day", "2026-06-21")
        tmp("plan", area, "-o", planned, *words, "--takeoff=-19.7603,64.1428")
    save(orthomosaic_and_hillshade(demo / "survey" / "products"), "map")
    save(np.asarray(Image.open(planned / "plan" / "map.png").convert("RGB")), "plan")
    save(page(demo / "survey" / "report.html", folder / "report.png"), "report")


def tmp(*words: str | Path) -> None:
    """Call the platform."""
    subprocess.run([Path(sys.executable).with_name("tmp"), *words], check=True)


def orthomosaic_and_hillshade(products: Path) -> Pixels:
    """Return both beside each other, white where there is nothing."""
    with rasterio.open(products / "dsm.tif") as raster:
        wide = (WIDE - GAP) // 2
        tall = round(wide * raster.height / raster.width)
        shape, mean = (tall, wide), Resampling.average
        heights = raster.read(1, out_shape=shape, resampling=mean, masked=True)
        step_m, bounds = (raster.bounds[2] - raster.bounds[0]) / wide, raster.bounds
    shade = hillshade(heights.filled(float(heights.mean())), step_m)
    relief = np.where(heights.mask, 255, np.clip(255 * shade, 0, 255)).astype(np.uint8)
    with rasterio.open(products / "orthomosaic.tif") as raster:
        window = raster.window(*bounds)
        cells = raster.read(window=window, out_shape=(4, *shape), resampling=mean, boundless=True)
    colours = np.where(cells[3:] == 255, cells[:3], 255).transpose(1, 2, 0).astype(np.uint8)
    gap = np.full((tall, GAP, 3), 255, np.uint8)
    return np.concatenate([colours, gap, np.repeat(relief[..., None], 3, axis=-1)], axis=1)


def page(path: Path, to: Path) -> Pixels:
    """Return the head of a page as a browser draws it."""
    size = "--window-size={},{}".format(*PAGE)
    still = ("--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1")
    shot = f"--screenshot={to.resolve()}"
    subprocess.run(["chromium", *still, size, shot, path.resolve().as_uri()], check=True)
    return np.asarray(Image.open(to).convert("RGB"))


def save(pixels: Pixels, name: str) -> None:
    """Write a picture as JPEG, as good as there is room for."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((WIDE, 10 * WIDE), Image.Resampling.LANCZOS)
    path = HERE / "pictures" / f"{name}.jpg"
    path.parent.mkdir(exist_ok=True)
    for quality in range(90, 20, -5):
        picture.save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size <= MOST_BYTES:
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]))
