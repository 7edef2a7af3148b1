"""What the stages of a map read of a survey and its ground; and the room they need.

Heavy imports are inside the functions, as the controller of a run needs the stages' names alone.
Disk space is asked for before work starts rather than missed in the middle of it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flows.engine.cost import MOST_HALVINGS, PREVIEW_SIDE_PX, Quality
from flows.engine.result import DISTRIBUTION, environment_in_short
from flows.engine.stage import Workspace
from flows.products.ground import NO_WATER, Continued, Water, read_continued
from tmp.captures import Capture
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster
from tmp.reconstruction import Reconstruction, read_reconstruction
from tmp.survey import Settings, Survey, open_survey, read_settings
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.ortho.seams import SurfaceWindow
    from photogrammetry.pictures import PictureStore
    from photogrammetry.views import View

SURVEY = "survey"
"""Name of the input that every stage has: the survey folder."""

PICTURES = "pictures"
"""Folder below ``work/`` of the photographs' pyramids."""

PREVIEWS = "preview"
"""Folder in it of what a preview is drawn of."""
FEATURE_SIZES = {
    Quality.FAST: (600, 3000),
    Quality.NORMAL: (1600, 5000),
    Quality.HIGH: (2400, 8000),
}
"""Long side in pixels of the picture searched for keypoints, and their number."""
DECODED_SIZES = {
    Quality.FAST: (PREVIEW_SIDE_PX, MOST_HALVINGS),
    Quality.NORMAL: (1600, 1),
    Quality.HIGH: (2400, 1),
}
"""Long side in pixels that photographs keep when they are halved before keypoints and surface are
sought in them, and how often they may be."""
PICTURES_PER_WORKER = 6
"""Decoded photographs kept in memory for each worker, and once more for all."""
RESERVE_BYTES = 200 * 2**20
"""Left free for everything else on the disk."""
FARTHEST_M = 1000.0
"""An area farther than this from every photograph belongs to another survey."""


def picture_store(space: Workspace) -> PictureStore:
    """Return the store of the photographs' pyramids for the quality that is asked for.

    Each quality has its own, so that a result does not depend on what was asked before.
    """
    from photogrammetry.pictures import PictureStore

    quality = space.options["quality"]
    name = PREVIEWS if quality == Quality.FAST else quality
    return PictureStore(folder=Survey(folder=space.inputs[SURVEY]).work_dir / PICTURES / name)


def complete_pictures(space: Workspace, captures: Sequence[Capture]) -> None:
    """Decode again the photographs whose pyramids someone deleted from ``work/``."""
    store = picture_store(space)

    def decode(capture: Capture) -> None:
        with suppress(PhotographError):  # said by the orientation, which leaves it out
            save_picture(space, capture)

    used = {capture.name: capture for capture in captures if capture.used}
    missing = [used[name] for name in store.lacking(used)]
    done = map_threads(decode, missing, workers=space.workers)
    if missing:
        for _ in space.track(done, "Decoding photographs", len(missing)):
            pass


def ready_views(
    space: Workspace, reconstruction: Reconstruction
) -> tuple[list[View], PictureStore]:
    """Return the oriented photographs and their pyramids, none of which is lacking."""
    from photogrammetry.views import views_of

    _, _, captures = read_survey(space)
    complete_pictures(space, captures)
    return views_of(reconstruction), picture_store(space)


def searched_halvings(quality: Quality, size_px: tuple[int, int]) -> int:
    """Return how often a photograph is halved before keypoints and surface are sought in it."""
    from photogrammetry.pictures import halvings_to

    long_side_px, most = DECODED_SIZES[quality]
    return halvings_to(size_px, long_side_px, most=most)


def drawn_halvings(quality: Quality, size_px: tuple[int, int]) -> int:
    """Return how often a photograph is halved before it is drawn: never, but for a preview.

    For that, the pictures serve in which keypoints were sought.
    """
    return searched_halvings(quality, size_px) if quality == Quality.FAST else 0


def drawn_bytes(quality: Quality, size_px: tuple[int, int]) -> int:
    """Return what a photograph of a size takes as it is drawn: three bands in 8 bits."""
    width, height = size_px
    return 3 * width * height >> 2 * drawn_halvings(quality, size_px)


def save_picture(space: Workspace, capture: Capture) -> None:
    """Decode a photograph and store its pyramid."""
    from photogrammetry.pictures import read_photograph

    size_px = capture.width_px, capture.height_px
    halvings = searched_halvings(space.options["quality"], size_px)
    photos_dir = Survey(folder=space.inputs[SURVEY]).photos_dir
    picture = read_photograph(photos_dir / capture.name, halvings=halvings)
    keep_picture(space, capture.name, picture, halvings)


def keep_picture(space: Workspace, name: str, picture: NDArray[np.uint8], halvings: int) -> None:
    """Store the pyramid of a photograph; for a preview, all that is drawn of it as well."""
    preview = space.options["quality"] == Quality.FAST
    picture_store(space).save(name, picture, halvings=halvings, whole=preview)


def read_survey(space: Workspace) -> tuple[Survey, Settings, Sequence[Capture]]:
    """Return the survey of a stage, its settings, and its photographs with all verdicts applied."""
    survey = open_survey(space.inputs[SURVEY])
    return survey, read_settings(survey), survey.captures


def read_oriented(space: Workspace) -> Reconstruction:
    """Return the reconstruction that a stage builds on."""
    return read_reconstruction(space.inputs["orientation"])


def read_surveying(space: Workspace) -> Reconstruction:
    """Return the reconstruction with only the photographs that surface and picture are made of."""
    from photogrammetry.views import surface_part

    _, _, captures = read_survey(space)
    return surface_part(read_oriented(space), captures)


def read_ground(ground: TiledRaster, window: Tile, water: Water = NO_WATER) -> SurfaceWindow:
    """Return the ground over a window, which may reach beyond it.

    Over gaps and beyond the rim it is a surface continued from what was measured, so that the
    picture has no holes where the surface has, and reaches as far as the photographs; water is
    level.
    """
    return drawn_on(ground.grid.window(window), read_continued(ground, window, water))


def drawn_on(grid: Grid, found: Continued) -> SurfaceWindow:
    """Return the ground of a grid as seams and picture need it."""
    from photogrammetry.ortho.seams import SurfaceWindow

    return SurfaceWindow(grid=grid, height=found.height, mapped=found.mapped)


def product_tags(vertical_datum: str, crs: str | None) -> dict[str, str]:
    """Return the tags that every raster carries, one in no CRS that it has no metres."""
    return {
        **({} if crs else {"SCALE": "none: lengths and heights are in units, not in metres"}),
        "SOFTWARE": f"Terrestrial Mapping Platform {version(DISTRIBUTION)}",
        "ENVIRONMENT": environment_in_short(),
        "VERTICAL_DATUM": str(vertical_datum),
    }


def neat(cell_m: float, reconstruction: Reconstruction) -> float:
    """Round a cell down to whole millimetres, where metres mean anything."""
    if not reconstruction.frame.referenced:
        return cell_m
    return max(math.floor(cell_m * 1000) / 1000, 0.001)


def require_space(folder: Path, needed_bytes: float, purpose: str) -> None:
    """Raise `SpaceError` if a folder's disk has less room than is needed.

    `RESERVE_BYTES` are added to the need; the purpose is for the message.
    """
    free = shutil.disk_usage(folder).free
    needed = needed_bytes + RESERVE_BYTES
    if free < needed:
        raise SpaceError(
            f"{folder}: {purpose} needs {needed / 1e9:.1f} GB of disk and {free / 1e9:.1f} GB is "
            "free; make room, or move the survey to another disk, and run again"
        )


def refuse_distant_area(path: Path, area: BaseGeometry, positions_m: NDArray[np.float64]) -> None:
    """Raise `InputError` if no photograph was taken near the area read from a path.

    Positions (N, 2) are easting and northing of the photographs in the CRS of the area.
    """
    nearest_m = float(shapely.distance(area, shapely.points(positions_m)).min())
    if nearest_m > FARTHEST_M:
        raise InputError(
            f"{path}: the area lies {nearest_m / 1000:.1f} km from the nearest photograph; "
            "give the polygon of this survey, or check its CRS"
        )
