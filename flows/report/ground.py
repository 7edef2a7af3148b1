"""What became of the ground a survey flew over: seen, measured, drawn; on one coarse sheet.

The ground flown is what the photographs that were to be mapped look at: the oriented ones by their
adjusted orientation, those left out by what was recorded of them.  Report, command and
``quality.json`` all take their areas from here, so they cannot differ.

Whether a photograph sees a place is more than whether the place lies within its frame: trees and
walls hide what is behind them, and high ground has less overlap than low.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from flows.engine.store import Result
from flows.products.ground import GROUND, NO_VIEWS, inside_area, read_closed
from flows.products.table import (
    DSM,
    DSM_SIGMA,
    DSM_VIEWS,
    GROUND_CLASSES,
    ORTHOMOSAIC,
    GroundClass,
)
from flows.report.findings import Coverage
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, open_tiled, read_grid, read_reduced
from tmp.reconstruction import OrientedPhoto, Reconstruction

if TYPE_CHECKING:
    from photogrammetry.surface.trend import Trend

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHEET_CELLS = 200
"""Longest side of the sheet, in cells."""
MARGIN_M = 3.0
"""Ground kept beyond the outermost camera."""
STRIP_ROWS = 512
DRAWN_CELLS = 1400
"""Longest side at which the orthomosaic is looked at; its overviews have it ready."""
LEAST_HEIGHT_M = 2.0
"""Height above take-off below which a photograph was taken on the ground."""
FARTHEST_M = 5000.0
"""A photograph left out that was recorded farther from the others has a wrong position."""
WINDOW_CELLS = 1024
"""Side of what is read of a surface at once; gaps are closed from well beyond it."""
LEAST_GAP_CELLS = 4
"""Cells from which ground without heights is counted as a gap, and measured ground as an island:
a hundredth of the sheet's longer side both ways."""
GAPS_NAMED = 5
"""Gaps that are listed with their places."""
CLEARANCE_CELLS = 1.0
"""Height in cells by which a surface must rise above a ray to block it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A photograph that was not oriented, where its recorded position puts it."""

    name: str
    place: tuple[float, float]
    """Map coordinates."""
    footprint: Float
    """Corners of the ground it should see, map, (N, 2)."""


class Patch(NamedTuple):
    """Cells of a sheet that hang together."""

    area: float
    """In square metres, or square units of a map without scale."""
    place: tuple[float, float]
    """The cell that lies deepest within, map coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The ground of a survey, cell by cell; arrays are (rows, cols) of the sheet."""

    sheet: Grid
    overlap: NDArray[np.int_]
    """Oriented photographs that see the cell."""
    framed: NDArray[np.int_]
    """Oriented photographs whose frame holds the cell, though something may hide it from them."""
    flown: Mask
    """Whether a photograph to be mapped looks at it."""
    measured: Float
    """Share of the cell with a measured height, 0 to 1."""
    drawn: Float
    """Share of the cell that the orthomosaic shows, 0 to 1."""
    asked: Mask
    """Whether a map is wanted of it; all of it unless an area was given."""
    water: Float
    """Share of the cell that the orthomosaic shows as water, by what was drawn of it, 0 to 1."""
    left_out: tuple[LeftOut, ...] = ()
    closed: float = 0.0
    """Share of the heights on which no two photographs agree: small gaps, closed from about."""

    @property
    def wanted(self) -> Mask:
        """Cells that heights are wanted of: those asked for, without water."""
        return np.asarray(self.asked & (self.water < 0.5))

    @property
    def unmapped(self) -> Mask:
        """Cells that were flown and wanted, and are measured to less than half."""
        return np.asarray(self.flown & self.wanted & (self.measured < 0.5))

    @property
    def rim(self) -> Mask:
        """Cells that one photograph sees and none left out should have: nothing measures them."""
        lost = np.zeros(self.sheet.shape, bool)
        for one in self.left_out:
            lost |= _filled(one.footprint, self.sheet)
        return np.asarray(self.unmapped & (self.overlap == 1) & ~lost)

    @property
    def gaps(self) -> tuple[Patch, ...]:
        """Ground that two or more see, wanted, without heights; the largest first."""
        return _patches((self.overlap >= 2) & self.wanted & (self.measured < 0.5), self.sheet)

    @property
    def islands(self) -> tuple[Patch, ...]:
        """Measured ground apart from its largest piece; the largest first."""
        return _patches(self.wanted & (self.measured >= 0.5), self.sheet)[1:]

    def coverage(self) -> Coverage:
        """Return the areas, within what was asked for and without water."""
        hectare = self.sheet.cell_m**2 / 1e4
        flown = self.flown & self.wanted
        two, three = ((self.overlap >= views) & self.wanted for views in (2, 3))
        gaps, islands = self.gaps, self.islands

        def area(share: Float | Mask) -> float:
            return float(share.sum() * hectare)

        def measured_of(chosen: Mask) -> float:
            return float(self.measured[chosen].mean()) if chosen.any() else 0.0

        return Coverage(
            flown_ha=area(flown),
            mapped_ha=area(np.where(flown, self.measured, 0.0)),
            drawn_ha=area(np.where(flown, self.drawn, 0.0)),
            seen_by_two_ha=area(two),
            seen_by_three_ha=area(three),
            measured_of_two=measured_of(two),
            measured_of_three=measured_of(three),
            closed_of_mapped=self.closed,
            water_ha=area(self.water),
            gaps=len(gaps),
            gaps_ha=sum(gap.area for gap in gaps) / 1e4,
            largest_gaps=tuple((gap.area / 1e4, *gap.place) for gap in gaps[:GAPS_NAMED]),
            islands=len(islands),
            islands_ha=sum(island.area for island in islands) / 1e4,
        )


def _patches(cells: Mask, sheet: Grid) -> tuple[Patch, ...]:
    """Return the patches of cells that share sides, from `LEAST_GAP_CELLS` on, by their size."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        cells.astype(np.uint8), connectivity=4
    )
    deep = cv2.distanceTransform(
        np.pad(cells.astype(np.uint8), 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    x, y = sheet.cell_centres()
    found = []
    for label in range(1, count):
        size = int(stats[label, cv2.CC_STAT_AREA])
        if size >= LEAST_GAP_CELLS:
            row, col = np.unravel_index(np.argmax(np.where(labels == label, deep, -1)), cells.shape)
            found.append(Patch(size * sheet.cell_m**2, (float(x[col]), float(y[row]))))
    return tuple(sorted(found, key=lambda patch: -patch.area))


def survey_ground(
    reconstruction: Reconstruction,
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    results: Sequence[Result],
    products_dir: Path,
    *,
    area_wkt: str | None = None,
) -> Ground:
    """Find out what became of the ground that was flown over.

    The captures that are used were to be mapped; the cameras are those of the metadata, for
    photographs whose camera was not adjusted; the surface's result tells how high the ground lies.
    The polygon of the area, map coordinates, is what to judge within.
    """
    from photogrammetry.surface.trend import survey_trend

    trend = survey_trend(reconstruction)
    left_out = predict_left_out(reconstruction, captures, cameras, trend)
    sheet = choose_sheet(reconstruction, _bounds(reconstruction, products_dir), trend, left_out)
    height_m = _heights(reconstruction, results, sheet)
    flown = _looked_at(reconstruction, sheet, height_m)
    for one in left_out:
        flown |= _filled(one.footprint, sheet)
    nothing = np.zeros(sheet.shape)
    heights = next(
        (products_dir / p.file for p in (DSM_SIGMA, DSM) if (products_dir / p.file).exists()), None
    )
    picture, views = products_dir / ORTHOMOSAIC.file, products_dir / DSM_VIEWS.file
    classes = products_dir / GROUND_CLASSES.file
    whole = Tile(row=0, col=0, rows=sheet.rows, cols=sheet.cols)
    return Ground(
        sheet=sheet,
        overlap=count_overlap(reconstruction, sheet, height_m),
        framed=count_overlap(reconstruction, sheet, height_m, hidden=True),
        flown=flown,
        measured=nothing if heights is None else measured_share(heights, sheet),
        drawn=drawn_share(picture, sheet) if picture.exists() else nothing,
        asked=inside_area(sheet, whole, area_wkt),
        water=water_share(classes, sheet) if classes.exists() else nothing,
        left_out=left_out,
        closed=closed_share(views) if views.exists() else 0.0,
    )


def choose_sheet(
    reconstruction: Reconstruction,
    bounds: tuple[float, float, float, float],
    trend: Trend,
    left_out: Sequence[LeftOut] = (),
) -> Grid:
    """Choose the sheet: the products' bounds, every camera, all that photographs look at."""
    from photogrammetry.surface.trend import footprint

    centres = np.array([photo.pose.centre for photo in reconstruction.photos])
    places = reconstruction.frame.map_from_world(centres)[:, :2]
    looked_at = [footprint(reconstruction, photo, trend) for photo in reconstruction.photos]
    looked_at += [one.footprint for one in left_out]
    corners = np.vstack([places - MARGIN_M, places + MARGIN_M, *looked_at])
    west, south = np.minimum(bounds[:2], corners.min(axis=0))
    east, north = np.maximum(bounds[2:], corners.max(axis=0))
    cell_m = max(east - west, north - south) / SHEET_CELLS
    return Grid.from_bounds((west, south, east, north), cell_m, reconstruction.frame.crs)


def predict_left_out(
    reconstruction: Reconstruction,
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    trend: Trend,
) -> tuple[LeftOut, ...]:
    """Predict what the photographs that could not be oriented should have seen.

    Notes
    -----
    The camera is taken to fly as high above the tie points' median as above take-off, and to look
    where its gimbal says, else straight down.  Where no height above take-off is recorded, the
    footprint is a disc of the oriented photographs' median size.  Photographs without a position
    have no place, and are not in the list.
    """
    frame = reconstruction.frame
    oriented = {photo.name for photo in reconstruction.photos}
    missing = [c for c in captures if c.used and c.positioned and c.name not in oriented]
    if not missing or not frame.referenced or not reconstruction.photos:
        return ()
    geodetic = [(c.longitude_deg, c.latitude_deg, c.height_m) for c in missing]
    recorded = frame.world_from_geodetic(np.array(geodetic, float))
    places = frame.map_from_world(recorded)[:, :2]
    centres = np.array([photo.pose.centre for photo in reconstruction.photos])
    known = replace(reconstruction, cameras={**cameras, **reconstruction.cameras})
    return tuple(
        LeftOut(
            name=capture.name,
            place=(float(place[0]), float(place[1])),
            footprint=_predicted(known, capture, world, place, trend),
        )
        for capture, world, place in zip(missing, recorded, places, strict=True)
        if np.hypot(*(centres[:, :2] - world[:2]).T).min() <= FARTHEST_M
    )


def _predicted(
    reconstruction: Reconstruction, capture: Capture, world: Float, place: Float, trend: Trend
) -> Float:
    """Return the corners of the ground that a photograph should see, map, (N, 2)."""
    from photogrammetry.surface.trend import footprint

    height_m = capture.height_takeoff_m or 0.0
    if height_m < LEAST_HEIGHT_M or capture.camera_id not in reconstruction.cameras:
        areas = [
            shapely.Polygon(footprint(reconstruction, photo, trend)).convex_hull.area
            for photo in reconstruction.photos
        ]
        radius = np.sqrt(np.median(areas) / np.pi)
        turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        return np.asarray(place + radius * np.column_stack([np.cos(turn), np.sin(turn)]))
    yaw, pitch, roll = capture.gimbal_yaw_deg, capture.gimbal_pitch_deg, capture.gimbal_roll_deg
    angles = (0.0, -90.0, 0.0) if yaw is None or pitch is None else (yaw, pitch, roll or 0.0)
    level = float(np.median(reconstruction.points[:, 2]))
    photo = OrientedPhoto(
        name=capture.name,
        camera_id=capture.camera_id,
        pose=Pose.from_gimbal(*angles, (world[0], world[1], level + height_m)),
    )
    return footprint(reconstruction, photo, trend)


def _looked_at(reconstruction: Reconstruction, sheet: Grid, height_m: Float) -> Mask:
    """Return which cells lie in the frame of an oriented photograph, and not near its horizon."""
    from photogrammetry.kernels.projection import FARTHEST_SLANT

    world = reconstruction.frame.world_from_map(_places(sheet, height_m))
    found = np.zeros(len(world), bool)
    for photo in reconstruction.photos:
        framed = _in_frame(world, reconstruction.cameras[photo.camera_id], photo.pose)
        away = photo.pose.centre - world[framed]
        found[framed[np.hypot(away[:, 0], away[:, 1]) <= FARTHEST_SLANT * away[:, 2]]] = True
    return found.reshape(sheet.shape)


def _places(sheet: Grid, height_m: Float) -> Float:
    """Return the middles of all cells, map coordinates, (rows × cols, 3)."""
    x, y = np.meshgrid(*sheet.cell_centres())
    return np.column_stack([x.ravel(), y.ravel(), height_m.ravel()])


def _filled(corners: Float, sheet: Grid) -> Mask:
    """Return which cells have their centre in a polygon (N, 2)."""
    x, y = np.meshgrid(*sheet.cell_centres())
    return np.asarray(shapely.contains_xy(shapely.Polygon(corners).convex_hull, x, y))


def _bounds(
    reconstruction: Reconstruction, products_dir: Path
) -> tuple[float, float, float, float]:
    """Return the products' bounds, or those of the tie points where there are no products."""
    for product in (DSM, ORTHOMOSAIC):
        if (path := products_dir / product.file).exists():
            return read_grid(path).bounds
    points = reconstruction.frame.map_from_world(reconstruction.points)
    low, high = np.percentile(points[:, :2], [1, 99], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _heights(reconstruction: Reconstruction, results: Sequence[Result], sheet: Grid) -> Float:
    """Return the map height of the ground in each cell of a sheet."""
    for result in results:
        if result.stage == "surface":
            return heights_of(open_tiled(result.folder / GROUND), sheet)
    points = reconstruction.frame.map_from_world(reconstruction.points)
    return np.full(sheet.shape, float(np.median(points[:, 2])))


def measured_share(path: Path, sheet: Grid) -> Float:
    """Return which share, 0 to 1, of each cell of a coarser grid a raster has values for."""
    return _strips_share(path, sheet, lambda file, strip: file.read_masks(1, window=strip) > 0)


def water_share(path: Path, sheet: Grid) -> Float:
    """Return which share, 0 to 1, of each cell of a coarser grid is of the class of water."""
    return _strips_share(
        path, sheet, lambda file, strip: file.read(1, window=strip) == GroundClass.WATER
    )


def _strips_share(path: Path, sheet: Grid, chosen: Callable[[Any, Window], Mask]) -> Float:
    """Return which share of each cell of a coarser grid a raster's chosen cells are."""
    total = np.zeros(sheet.shape)
    grid = read_grid(path)
    with rasterio.open(path, driver="GTiff") as file:
        for row in range(0, file.height, STRIP_ROWS):
            rows = min(STRIP_ROWS, file.height - row)
            cells = chosen(file, Window(0, row, file.width, rows))
            strip = Tile(row=row, col=0, rows=rows, cols=file.width)
            total += _summed(cells.astype(float), grid.window(strip), sheet)
    return _shared(total, grid, sheet)


def closed_share(path: Path) -> float:
    """Return the share of a surface's heights on which no two photographs agree, by its counts."""
    counts = np.zeros(NO_VIEWS + 1)
    with rasterio.open(path) as file:
        for row in range(0, file.height, STRIP_ROWS):
            strip = Window(0, row, file.width, min(STRIP_ROWS, file.height - row))
            counts += np.bincount(file.read(1, window=strip).ravel(), minlength=len(counts))
    return float(counts[0] / max(counts[:NO_VIEWS].sum(), 1))


def drawn_share(path: Path, sheet: Grid) -> Float:
    """Return which share of each cell of a coarser grid a picture shows, by its alpha."""
    bands, grid = read_reduced(path, DRAWN_CELLS)
    alpha = np.ma.getdata(bands)[-1] / 255.0
    return _shared(_summed(alpha, grid, sheet), grid, sheet)


def _summed(values: Float, grid: Grid, sheet: Grid) -> Float:
    """Sum the cells of a grid whose centres lie in each cell of a sheet."""
    i, j = _cells_of(grid, sheet)
    inside = (j >= 0) & (j < sheet.cols)
    total = np.zeros(sheet.shape)
    for row in np.unique(i[(i >= 0) & (i < sheet.rows)]):
        columns = values[i == row].sum(axis=0)
        total[row] = np.bincount(j[inside], weights=columns[inside], minlength=sheet.cols)
    return total


def _shared(total: Float, grid: Grid, sheet: Grid) -> Float:
    """Turn sums over a grid's cells into shares of the area of a sheet's cells."""
    i, j = _cells_of(grid, sheet)
    # Cells differ in how many centres they hold, by one a side: their mean, not their sum, counts.
    in_rows = np.bincount(i[(i >= 0) & (i < sheet.rows)], minlength=sheet.rows)
    in_cols = np.bincount(j[(j >= 0) & (j < sheet.cols)], minlength=sheet.cols)
    mean = total / np.maximum(np.outer(in_rows, in_cols), 1)
    west, south, east, north = grid.bounds
    x, y = sheet.cell_centres()
    across = np.minimum(x + sheet.cell_m / 2, east) - np.maximum(x - sheet.cell_m / 2, west)
    along = np.minimum(y + sheet.cell_m / 2, north) - np.maximum(y - sheet.cell_m / 2, south)
    inside = np.outer(along.clip(0.0), across.clip(0.0)) / sheet.cell_m**2
    return np.asarray(mean * inside)


def _cells_of(grid: Grid, sheet: Grid) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return row and column of the sheet that each row and column of a grid lies in."""
    x, y = grid.cell_centres()
    j = np.floor((x - sheet.x_min) / sheet.cell_m).astype(int)
    i = np.floor((sheet.y_max - y) / sheet.cell_m).astype(int)
    return i, j


def heights_of(ground: TiledRaster, sheet: Grid) -> Float:
    """Return the height of what the photographs look at, in each coarser cell of a sheet.

    That is the mean map height of the surface as it was found, measured or not; beyond it, that of
    the nearest place it reaches.
    """
    cells = sheet.rows * sheet.cols
    total, count = np.zeros(cells), np.zeros(cells)
    for window in ground.grid.tiles(WINDOW_CELLS):
        height, *_ = ground.read(window)
        row, col = np.nonzero(read_closed(ground, window))
        x, y = ground.grid.window(window).cell_centres()
        i = ((sheet.y_max - y[row]) / sheet.cell_m).astype(int)
        j = ((x[col] - sheet.x_min) / sheet.cell_m).astype(int)
        on = (i >= 0) & (j >= 0) & (i < sheet.rows) & (j < sheet.cols)
        cell = i[on] * sheet.cols + j[on]
        total += np.bincount(cell, weights=height[row[on], col[on]], minlength=cells)
        count += np.bincount(cell, minlength=cells)
    mean = (total / np.maximum(count, 1)).reshape(sheet.shape)
    known = count.reshape(sheet.shape) > 0
    return _nearest(mean, known) if known.any() else mean


def count_overlap(
    reconstruction: Reconstruction, sheet: Grid, height_m: Float, *, hidden: bool = False
) -> NDArray[np.int_]:
    """Count the photographs that see each cell, given the map height of the ground (rows, cols).

    If hidden ones count, those whose frame holds the cell, though the surface hides it from them.
    """
    places = _places(sheet, height_m)
    world = reconstruction.frame.world_from_map(places)
    count = np.zeros(len(world), int)
    for photo in reconstruction.photos:
        near = _in_frame(world, reconstruction.cameras[photo.camera_id], photo.pose)
        if not hidden:
            (centre,) = reconstruction.frame.map_from_world(photo.pose.centre[None])
            near = near[_open(sheet, height_m, places[near], centre)]
        count[near] += 1
    return count.reshape(sheet.shape)


def _in_frame(world: Float, camera: Camera, pose: Pose) -> NDArray[np.int_]:
    """Return the indices of the points (N, 3), world, that lie within a photograph."""
    in_cam = pose.cam_from_world(world)
    # Far outside the picture the distortion polynomial can fold points back into it.
    reach = 1.2 * np.hypot(camera.width_px, camera.height_px) / 2 / camera.fx_px
    near = np.flatnonzero(np.hypot(in_cam[:, 0], in_cam[:, 1]) < reach * in_cam[:, 2])
    u, v = camera.pixel_from_cam(in_cam[near]).T
    inside = (u > 0) & (v > 0) & (u < camera.width_px) & (v < camera.height_px)
    return np.asarray(near[inside])


def _open(sheet: Grid, height_m: Float, places: Float, centre: Float) -> NDArray[np.bool_]:
    """Tell which places (N, 3) a surface leaves open to a projection centre, map coordinates.

    Rays are walked one cell at a time, as far as the surface's highest point.
    """
    away = centre - places
    away[:, 2] = np.maximum(away[:, 2], 1e-3)
    level = np.hypot(away[:, 0], away[:, 1])
    # The part of the way to the camera after which a ray is above everything.
    clear = CLEARANCE_CELLS * sheet.cell_m
    until = np.clip((height_m.max() - clear - places[:, 2]) / away[:, 2], 0.0, 1.0)
    steps = np.floor(until * level / sheet.cell_m).astype(int)
    blocked = np.zeros(len(places), bool)
    for step in range(1, int(steps.max(initial=0)) + 1):
        going = np.flatnonzero((steps >= step) & ~blocked)
        part = step * sheet.cell_m / level[going]
        on_ray = places[going] + part[:, None] * away[going]
        i = np.floor((sheet.y_max - on_ray[:, 1]) / sheet.cell_m).astype(int)
        j = np.floor((on_ray[:, 0] - sheet.x_min) / sheet.cell_m).astype(int)
        inside = (i >= 0) & (j >= 0) & (i < sheet.rows) & (j < sheet.cols)
        above = height_m[i.clip(0, sheet.rows - 1), j.clip(0, sheet.cols - 1)]
        blocked[going] = inside & (above > on_ray[:, 2] + clear)
    return ~blocked


def _nearest(values: Float, known: NDArray[np.bool_]) -> Float:
    """Give the cells that are not known the value of the nearest one that is."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8),
        cv2.DIST_L2,
        cv2.DIST_MASK_PRECISE,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    of_label = np.zeros(math.prod(values.shape) + 1)
    of_label[labels[known]] = values[known]
    return np.asarray(of_label[labels])
