"""What to fly again: ground asked for that too few photographs hold, and the lines over it.

What was asked for is the area of the map, else that of the survey's plan, else the ground between
the cameras.  A place counts as held by a photograph whose frame it lies in, whatever hides it
there: flying the same line again would not uncover it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape

from flows.report.findings import GOOD_VIEWS, photograph_gsd_m
from tmp.errors import TmpError
from tmp.files import replacing, write_json
from tmp.geo.frames import LocalFrame, position_in_words
from tmp.geo.grids import Grid
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey

if TYPE_CHECKING:
    from flows.report.ground import Ground

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

GEOJSON, KML = "fly_again.geojson", "fly_again.kml"
LEAST_CELLS = 16
"""Cells of the sheet from which a place is named."""
NAMED = 3
"""Places that a command names; the files hold all."""
MOST_CELLS = 2000
"""Longest side of ground looked at, in cells: a plan of another place reaches farther."""
TAKEN_SHARE = 0.7
"""Share of the spacing of photographs within which a planned one counts as taken."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A place that too few photographs hold."""

    area_m2: float
    fewest: int
    """Photographs that hold the worst of it."""
    wanted: int
    """Photographs that should."""
    outline: shapely.Geometry
    """Longitude and latitude."""
    on_map: shapely.Geometry
    """The same outline, map coordinates."""
    lines: tuple[tuple[int, int], ...] = ()
    """Sortie and line of the plan that pass over it, counted from 1."""

    def in_words(self) -> str:
        """Say where it is, how large, and what to fly."""
        place = self.outline.representative_point()
        held = f"only {self.fewest}" if self.fewest else "none"
        said = f"{self.area_m2:.3g} m² about {position_in_words(place.x, place.y)}"
        said += f", in {held} of the {self.wanted} photographs it needs"
        return f"{said}: {say_lines(self.lines)}" if self.lines else said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a survey's plan asked for, and where it takes photographs."""

    area: shapely.Geometry
    """Map coordinates."""
    places: Float
    """Of the planned photographs, map coordinates, (N, 2)."""
    lines: NDArray[np.int_]
    """Sortie and line of each, from 1, (N, 2)."""
    spacing_m: float


def find_lacks(
    ground: Ground, reconstruction: Reconstruction, survey: Survey, *, whole: bool
) -> tuple[Lack, ...]:
    """Return the places of the ground asked for that fewer than three photographs hold.

    The largest comes first.  `whole` says that no area was given for the map.  A block without a
    place has none.
    """
    frame = reconstruction.frame
    if not frame.referenced or not reconstruction.photos:
        return ()
    centres = np.array([photo.pose.centre for photo in reconstruction.photos])
    taken = frame.map_from_world(centres)[:, :2]
    plan = _read_plan(survey, frame)
    if not whole:
        sheet, framed, asked = ground.sheet, ground.framed, ground.asked
    else:
        area = plan.area if plan is not None else _between(taken)
        widened = _widened(ground, area)
        if widened is None:
            return ()
        sheet, framed = widened
        x, y = np.meshgrid(*sheet.cell_centres())
        asked = np.asarray(shapely.contains_xy(area, x, y), bool)
    camera = reconstruction.cameras[reconstruction.photos[0].camera_id]
    reach_m = photograph_gsd_m(reconstruction) * max(camera.width_px, camera.height_px) / 2
    lacks = []
    for patch, cells in _patches((framed < GOOD_VIEWS) & asked, sheet):
        lacks.append(
            Lack(
                area_m2=float(cells.sum() * sheet.cell_m**2),
                fewest=int(framed[cells].min()),
                wanted=GOOD_VIEWS,
                outline=_geodetic(patch, frame),
                on_map=patch,
                lines=() if plan is None else _lines_over(plan, patch, taken, reach_m),
            )
        )
    return tuple(sorted(lacks, key=lambda lack: -lack.area_m2))


def _read_plan(survey: Survey, frame: LocalFrame) -> _Plan | None:
    """Return the survey's plan; None where there is none that can be read."""
    if not survey.plan_dir.is_dir():
        return None
    from flightplan.formats.mission import photos_along
    from flightplan.formats.mission_files import PLAN_FILE, read_mission, sortie_plans

    path = survey.plan_dir / PLAN_FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        area = shape(said["area"])
        for each in said["exclusions"]:
            area = area.difference(shape(each))
        photos = [
            (one.lon_deg, one.lat_deg, sortie, one.line + 1)
            for sortie, file in sortie_plans(survey.plan_dir).items()
            for one in photos_along(read_mission(file))
        ]
        spacing_m = float(said["photo_spacing_m"])
    except (OSError, ValueError, KeyError, TypeError, TmpError, ShapelyError) as error:
        log.warning("%s: cannot be read (%s); what to fly again is told without it", path, error)
        return None
    rows = np.array(photos, float).reshape(-1, 4)
    return _Plan(
        area=shapely.transform(area, lambda lon_lat: _on_map(lon_lat, frame)),
        places=_on_map(rows[:, :2], frame),
        lines=rows[:, 2:].astype(int),
        spacing_m=spacing_m,
    )


def _on_map(lon_lat: Float, frame: LocalFrame) -> Float:
    """Return map coordinates (N, 2) of longitudes and latitudes."""
    flat = np.column_stack([lon_lat, np.zeros(len(lon_lat))])
    return np.asarray(frame.map_from_world(frame.world_from_geodetic(flat))[:, :2])


def _between(taken: Float) -> shapely.Geometry:
    """Return the ground between the cameras (N, 2), less a rim of their usual distance."""
    apart, _ = cKDTree(taken).query(taken, k=[2])
    return shapely.multipoints(taken).convex_hull.buffer(-float(np.median(apart)))


def _widened(ground: Ground, area: shapely.Geometry) -> tuple[Grid, NDArray[np.int_]] | None:
    """Return a sheet that holds all of an area, and the photographs that hold each cell.

    None for an area that is empty or reaches far beyond the survey.
    """
    if area.is_empty:
        return None
    sheet = ground.sheet
    low = np.minimum(sheet.bounds[:2], area.bounds[:2])
    high = np.maximum(sheet.bounds[2:], area.bounds[2:])
    if (high - low).max() > MOST_CELLS * sheet.cell_m:
        return None
    wide = Grid.from_bounds((*map(float, low), *map(float, high)), sheet.cell_m, sheet.crs)  # type: ignore[arg-type]
    framed = np.zeros(wide.shape, int)
    row = round((wide.y_max - sheet.y_max) / sheet.cell_m)
    col = round((sheet.x_min - wide.x_min) / sheet.cell_m)
    framed[row : row + sheet.rows, col : col + sheet.cols] = ground.framed
    return wide, framed


def _patches(cells: Mask, sheet: Grid) -> list[tuple[shapely.Geometry, Mask]]:
    """Return outline, map coordinates, and cells of each place worth a flight."""
    from rasterio.features import shapes

    solid = cv2.morphologyEx(cells.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(solid, connectivity=4)
    transform = Affine(sheet.cell_m, 0, sheet.x_min, 0, -sheet.cell_m, sheet.y_max)
    found = []
    for label in range(1, count):
        mine = labels == label
        if mine.sum() >= LEAST_CELLS:
            outlines = shapes(mine.astype(np.uint8), mask=mine, transform=transform)
            patch = shapely.union_all([shape(outline) for outline, _ in outlines])
            found.append((patch.simplify(sheet.cell_m), mine))
    return found


def _geodetic(patch: shapely.Geometry, frame: LocalFrame) -> shapely.Geometry:
    def lon_lat(points: Float) -> Float:
        flat = np.column_stack([points, np.zeros(len(points))])
        return np.asarray(frame.geodetic_from_world(frame.world_from_map(flat))[:, :2])

    return shapely.transform(patch, lon_lat)


def _lines_over(
    plan: _Plan, patch: shapely.Geometry, taken: Float, reach_m: float
) -> tuple[tuple[int, int], ...]:
    """Return the lines whose photographs hold a place; those not taken, if there are such."""
    near = shapely.distance(shapely.points(plan.places), patch) < reach_m
    away_m, _ = cKDTree(taken).query(plan.places)
    missed = near & (away_m > TAKEN_SHARE * plan.spacing_m)
    chosen = plan.lines[missed if missed.any() else near]
    return tuple((int(sortie), int(line)) for sortie, line in np.unique(chosen, axis=0))


def say_lines(lines: Sequence[tuple[int, int]]) -> str:
    """Return lines as people read them.

    Examples
    --------
    >>> say_lines([(1, 4), (1, 5), (2, 1)])
    'lines 4, 5 of sortie 1, line 1 of sortie 2'
    """
    return ", ".join(
        f"line{'s' * (len(of) > 1)} {', '.join(str(line) for _, line in of)} of sortie {sortie}"
        for sortie, group in groupby(lines, key=lambda one: one[0])
        for of in [list(group)]
    )


def say_lacks(lacks: Sequence[Lack]) -> list[str]:
    """Return what to fly again, a sentence for each of the largest places."""
    said = [lack.in_words() for lack in lacks[:NAMED]]
    if len(lacks) > NAMED:
        said.append(f"{len(lacks) - NAMED} smaller ones")
    return said


def write_lacks(lacks: Sequence[Lack], products_dir: Path) -> None:
    """Write what to fly again for maps and for phones; deletes what no longer holds."""
    paths = products_dir / GEOJSON, products_dir / KML
    if not lacks:
        for path in paths:
            path.unlink(missing_ok=True)
        return
    features: list[dict[str, Any]] = []
    marks = []
    for number, lack in enumerate(lacks, start=1):
        features.append(
            {
                "type": "Feature",
                "properties": {
                    "number": number,
                    "area_m2": round(lack.area_m2, 1),
                    "photographs": lack.fewest,
                    "wanted": lack.wanted,
                    "lines": say_lines(lack.lines),
                },
                "geometry": mapping(lack.outline),
            }
        )
        marks.append(_placemark(f"{number}: {say_lines(lack.lines) or 'fly again'}", lack))
    write_json(paths[0], {"type": "FeatureCollection", "features": features}, for_people=True)
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2">'
        f"<Document><name>Fly again</name>{''.join(marks)}</Document></kml>\n"
    )
    with replacing(paths[1]) as temporary:
        temporary.write_text(document, encoding="utf-8")


def _placemark(name: str, lack: Lack) -> str:
    polygons = "".join(
        "<Polygon><outerBoundaryIs><LinearRing><coordinates>"
        + " ".join(f"{lon:.8f},{lat:.8f}" for lon, lat in part.exterior.coords)
        + "</coordinates></LinearRing></outerBoundaryIs></Polygon>"
        for part in shapely.get_parts(lack.outline)
    )
    return (
        f"<Placemark><name>{escape(name)}</name><description>{escape(lack.in_words())}"
        f"</description><MultiGeometry>{polygons}</MultiGeometry></Placemark>"
    )
