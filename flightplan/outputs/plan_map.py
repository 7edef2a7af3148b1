"""The map of a plan: ground, area, what the photographs see of it, and the way flown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.outputs.basemap import read_basemap
from flightplan.proof.certificate import Asked, Certificate, Spot
from flightplan.proof.footprints import height_below
from flightplan.proof.prove import Coverage
from flightplan.terrain.profiles import Profile
from flightplan.terrain.terrain import Terrain
from tmp import plotting
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame
from tmp.plotting import BAD, INK, SORTIES, WHITE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Float = NDArray[np.float64]

MAP_WIDTH, TALLEST = 860.0, 800.0
"""Pixels of the map."""
MARGIN = 0.07
"""Ground shown beyond all that is drawn, as a fraction of its extent."""
ARROW_EVERY, SHORTEST_WITH_ARROW = 170.0, 26.0
"""Pixels between arrows on a line, and of the shortest line that has one."""
MANY_PHOTOGRAPHS = 400
"""Up to so many are shown at first."""
BELOW = ("#8c0d25", "#e0603f", "#f9c58d")
"""Seen by none; by less than half of what was asked; by less than asked."""
REACHED = ("#e3f1e6", "#b5dcc4", "#7fbfa6")
"""As asked; from one and a half, from two and a half times as often."""
SHARPNESS = ((0.0, "#b5dcc4"), (0.8, "#e3f1e6"), (1.01, "#f9c58d"), (1.2, "#e0603f"),
             (1.6, "#8c0d25"))  # fmt: skip
"""Fraction of the ground sampling distance asked from which each colour holds."""
UNSEEN = "#4a4a4a"
BEFORE = "#5c6670"
"""Of photographs taken before."""
OPACITY = 205
MOST_CELLS = 1400
"""Longest side of a raster on the map."""
BASEMAP_PX = 0.8
"""Pixels of the map for one of a base map."""
WASH = 0.3
"""Share of white in a base map as it is drawn."""
SEEN_THROUGH = 130
"""Opacity of classes over a base map."""
GROUND_PX = 2.0
"""Pixels of the map between the places where its ground is looked up."""
CONTOURS = 9
"""About how many contour lines cross the relief shown."""
CONTOUR, CONTOUR_ON_MAP = "#8a7d62", "#4a3b1e"
"""On the shaded ground, and on a base map."""
LEVEL_M = 0.5
"""Relief up to which ground is level and has no contour lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSortie:
    """One flight, as the map shows it."""

    name: str
    way: Float
    """Waypoints (N, 2), plan metres, from take-off to landing."""
    surveying: NDArray[np.bool_]
    """Whether photographs are taken from each waypoint to the next, (N - 1,)."""
    photos: Float
    """Where photographs are taken, (M, 2)."""
    profile: Profile
    takeoff: tuple[float, float] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the table of sorties says: column to value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPicture:
    """Everything a person looks at before take-off."""

    title: str
    frame: PlanFrame
    area: BaseGeometry
    """Plan metres, like all that follows."""
    coverage: Coverage
    asked: Asked
    certificate: Certificate
    sorties: Sequence[DrawnSortie]
    terrain: Terrain
    exclusions: Sequence[BaseGeometry] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the head of the page says: name to value."""
    warnings: Sequence[str] = ()
    before: Float = field(default_factory=lambda: np.empty((0, 2)))
    """Where photographs were taken before, (K, 2)."""
    basemap: FilePath | None = None
    """A map or orthophoto drawn below."""
    files: Sequence[tuple[str, str]] = ()
    """Which files go where: path in the plan's folder, and device and program."""

    def __post_init__(self) -> None:
        if not self.sorties:
            raise InputError(f"plan {self.title!r} has no sortie to draw")

    @property
    def box(self) -> plotting.Box:
        """The ground shown: the area and the ways flown, with a margin."""
        ways = [sortie.way for sortie in self.sorties]
        places = np.vstack([shapely.get_coordinates(self.area), *ways])
        low, high = places.min(axis=0), places.max(axis=0)
        margin = MARGIN * float((high - low).max()) + 5.0
        (west, south), (east, north) = (low - margin).tolist(), (high + margin).tolist()
        return west, south, east, north

    @property
    def contour(self) -> str:
        """Colour of the contour lines."""
        return CONTOUR if self.basemap is None else CONTOUR_ON_MAP

    @property
    def scale(self) -> float:
        """Pixels of the map per metre."""
        west, south, east, north = self.box
        return min(MAP_WIDTH / (east - west), TALLEST / (north - south))

    @property
    def corners(self) -> Float:
        """Longitude and latitude of the map's north-west, north-east, south-east, south-west."""
        west, south, east, north = self.box
        corners = [(west, north), (east, north), (east, south), (west, south)]
        return self.frame.geodetic_from_plan(np.array(corners))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What is shown and hidden together; its parts have the class ``layer-NAME``."""

    name: str
    label: str
    """What a reader switches."""
    shown: bool = True
    """Whether the page shows it at first; the picture holds just such layers."""


def plan_layers(plan: PlanPicture) -> list[Layer]:
    """Return the layers that a reader can switch."""
    photographs = sum(len(sortie.photos) for sortie in plan.sorties)
    before = [Layer(name="before", label="Photographs taken before")]
    sharp = [Layer(name="gsd", label="Ground sampling distance", shown=False)]
    return [
        Layer(name="count", label="Photographs of each place"),
        *(sharp if plan.asked.gsd_m is not None else []),
        Layer(name="exclusions", label="Exclusions"),
        Layer(name="area", label="Area"),
        Layer(name="ways", label="Ways between lines"),
        Layer(name="lines", label="Flight lines"),
        Layer(name="photos", label="Photographs", shown=photographs <= MANY_PHOTOGRAPHS),
        *(before if len(plan.before) else []),
        Layer(name="failing", label="Worst places"),
    ]


def draw_plan_map(figure: Figure, plan: PlanPicture, left: float, top: float) -> tuple[Axes, float]:
    """Draw the map of a plan into a figure, with its upper left corner at a place in pixels.

    Returns its axes, in plan metres, and the interval of contour lines; 0 where there are none.
    """
    axes = plotting.map_axes(figure, plan.box, left, top, plan.scale)
    contours_m = _draw_ground(axes, plan)
    coverage = plan.coverage
    opacity = OPACITY if plan.basemap is None else SEEN_THROUGH
    counts = count_classes(plan.asked.photographs)
    _draw_classes(axes, "count", coverage, coverage.count, counts, opacity)
    if plan.asked.gsd_m is not None:
        _draw_classes(axes, "gsd", coverage, coverage.gsd_m, gsd_classes(plan.asked.gsd_m), opacity)
    for zone in plan.exclusions:
        plotting.draw_closed(axes, zone, gid="layer-exclusions")
    for css, width in ((WHITE, 4.8), ("#000000", 2.4)):
        plotting.draw_area(
            axes, plan.area, fc="none", ec=css, lw=width, zorder=2.1, gid="layer-area"
        )  # fmt: skip
    if len(plan.before):
        plotting.draw_dots(axes, plan.before, 3, BEFORE, zorder=2.5, gid="layer-before")
    for number, sortie in enumerate(plan.sorties):
        _draw_sortie(axes, sortie, SORTIES[number % len(SORTIES)])
    _draw_badges(axes, plan)
    plotting.scale_bar(axes)
    plotting.north_arrow(axes)
    _, north_east, _, south_west = plan.corners
    plotting.degree_ticks(axes, south_west, north_east)
    return axes, contours_m


def _draw_ground(axes: Axes, plan: PlanPicture) -> float:
    """Draw the ground shaded from the north-west with contour lines; returns their interval.

    A base map is drawn over the shades, paler than it is, so that all else stays readable.
    """
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    terrain, paler = plan.terrain, plan.basemap is not None
    step = (BASEMAP_PX if paler else GROUND_PX) * plotting.pixel_of(axes)
    x, y = np.arange(west + step / 2, east, step), np.arange(north - step / 2, south, -step)
    ground = height_below(terrain, np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    # Level ground is 0.71; the shades are spread about it and kept pale.
    shade = np.clip(0.97 + 0.5 * (plotting.hillshade(ground, step) - np.sqrt(0.5)), 0.45, 1.0)
    tinted = (shade[..., None] * (250, 248, 243)).astype(np.uint8)
    box = (west, north - len(y) * step, west + len(x) * step, north)
    if plan.basemap is not None:
        below = read_basemap(plan.basemap, plan.frame.crs, box, (len(y), len(x)))
        pale = WASH * 255 + (1 - WASH) * below[..., :3]
        tinted = np.where(below[..., 3:] > 0, pale, tinted).astype(np.uint8)
    plotting.picture(axes, tinted, box)
    relief = float(np.ptp(ground))
    if relief <= LEVEL_M:
        return 0.0
    interval = plotting.round_step(2 * relief / CONTOURS)
    first, last = np.ceil(ground.min() / interval), ground.max() / interval
    levels = np.arange(first, last) * interval + 0.0
    lines = axes.contour(x, y, ground, levels, colors=plan.contour, linewidths=0.8, zorder=1)
    plates = axes.clabel(lines, fontsize=11, fmt="%g", zorder=1)
    if paler:
        plotting.halo(plates)
    return interval


Classes = Sequence[tuple[float, str]]
"""Least value and colour of each class, from low to high."""


def count_classes(asked: int) -> Classes:
    """Return classes of photographs about what was asked."""
    half = max((asked + 1) // 2, 1)
    starts = [0, 1, half, asked, int(1.5 * asked + 0.5), int(2.5 * asked + 0.5)]
    # Where few photographs are asked, classes fall together: the better colour is meant.
    return sorted(dict(zip(starts, (*BELOW, *REACHED), strict=True)).items())


def gsd_classes(asked_m: float) -> Classes:
    """Return classes of ground sampling distance about what was asked."""
    return [*((share * asked_m, colour) for share, colour in SHARPNESS), (np.inf, UNSEEN)]


def count_keys(coverage: Coverage, asked: int) -> list[tuple[str, str]]:
    """Return label and colour of each class of photographs that occurs, with its share."""
    classes = count_classes(asked)
    names = []
    for (start, _), (end, _) in pairwise([*classes, (np.inf, "")]):
        name = f"{start:g} or more" if np.isinf(end) else f"{start:g} to {end - 1:g}"
        names.append(name if end != start + 1 else f"{start:g}")
    return _keys(coverage.count[coverage.inside], classes, names)


def gsd_keys(coverage: Coverage, asked_m: float) -> list[tuple[str, str]]:
    """Return label and colour of each class of sharpness that occurs, with its share."""
    classes = gsd_classes(asked_m)
    cm = [f"{start * 100:.2f}" for start, _ in classes]
    between = [f"{low} to {high} cm" for low, high in pairwise(cm[1:-1])]
    names = [f"up to {cm[1]} cm", *between, f"above {cm[-2]} cm", "not seen"]
    return _keys(coverage.gsd_m[coverage.inside], classes, names)


def _keys(
    values: NDArray[np.generic], classes: Classes, names: Sequence[str]
) -> list[tuple[str, str]]:
    found = np.bincount(_class_of(values, classes), minlength=len(classes)) / max(values.size, 1)
    said = [f"{share:.0%}" if share >= 0.01 else "under 1%" for share in found]
    return [
        (f"{name} ({percent})", colour)
        for (_, colour), name, percent, share in zip(classes, names, said, found, strict=True)
        if share
    ]


def _class_of(values: NDArray[np.generic], classes: Classes) -> NDArray[np.intp]:
    return np.searchsorted([start for start, _ in classes], values, side="right") - 1


def _draw_classes(
    axes: Axes,
    layer: str,
    coverage: Coverage,
    values: NDArray[np.generic],
    classes: Classes,
    opacity: int,
) -> None:
    """Colour the cells of the area by class."""
    grid = coverage.grid
    each = -(-max(grid.shape) // MOST_CELLS)
    table = np.array([plotting.css_rgb(colour) for _, colour in classes])
    colours = table[_class_of(values[::each, ::each], classes)]
    shown = coverage.inside[::each, ::each, None] * np.uint8(opacity)
    pixels = np.concatenate([colours, shown], axis=-1).astype(np.uint8)
    tall, wide = np.array(pixels.shape[:2]) * each * grid.cell_m
    box = (grid.x_min, grid.y_max - tall, grid.x_min + wide, grid.y_max)
    plotting.picture(axes, pixels, box, cells=True, layer=f"layer-{layer}")


def cursor_pixels(coverage: Coverage, longest: int = 420) -> tuple[plotting.Pixels, list[float]]:
    """Pack the proof for the page's cursor: an opaque image, and the plan bounds of its cells.

    The upper half holds photographs (red; 255 beyond the area) and the ground sampling distance
    in tenths of a millimetre (green and blue, high byte first); the lower half the height above
    the ground in decimetres in the same two channels.
    """
    each = max(1, -(-max(coverage.grid.shape) // longest))
    inside = coverage.inside[::each, ::each]
    count = np.where(inside, np.minimum(coverage.count[::each, ::each], 254), 255)
    upper = _two_bytes(coverage.gsd_m[::each, ::each] * 1e4)
    lower = _two_bytes(coverage.height_agl_m[::each, ::each] * 10)
    top = np.dstack([count, upper])
    pixels = np.vstack([top, np.dstack([count, lower])]).astype(np.uint8)
    grid, (rows, cols) = coverage.grid, inside.shape
    cell_m, shift_m = each * grid.cell_m, (each - 1) / 2 * grid.cell_m
    west, north = grid.x_min - shift_m, grid.y_max + shift_m
    return pixels, [west, north - rows * cell_m, west + cols * cell_m, north]


def _two_bytes(values: NDArray[np.float32]) -> Float:
    whole = np.nan_to_num(values.astype(float), nan=65535, posinf=65535).round().clip(0, 65535)
    return np.stack([whole // 256, whole % 256], axis=-1)


def _draw_sortie(axes: Axes, sortie: DrawnSortie, colour: str) -> None:
    from matplotlib.collections import PolyCollection

    flown, between = _stretches(sortie)
    style = {"color": colour, "zorder": 3}
    plotting.draw_lines(axes, between, halo=0.5, lw=1.1, ls=(0, (4, 4)), gid="layer-ways", **style)
    plotting.draw_lines(axes, flown, halo=0.9, lw=1.9, gid="layer-lines", **style)
    arrows = PolyCollection(_arrows(flown, plotting.pixel_of(axes)), fc=colour, ec=WHITE, lw=0.8)
    arrows.set(gid="layer-lines", zorder=3)
    axes.add_collection(arrows, autolim=False)
    plotting.draw_dots(axes, sortie.photos, 3, colour, zorder=4, gid="layer-photos")


def _stretches(sortie: DrawnSortie) -> tuple[list[Float], list[Float]]:
    """Cut a way into the stretches on which photographs are taken and those between."""
    taking = np.asarray(sortie.surveying, bool)
    edges = np.flatnonzero(np.diff(taking)) + 1
    stretches = list(pairwise([0, *edges, taking.size]))
    flown = [sortie.way[start : end + 1] for start, end in stretches if taking[start]]
    return flown, [sortie.way[start : end + 1] for start, end in stretches if not taking[start]]


def _arrows(stretches: Sequence[Float], pixel_m: float) -> list[Float]:
    """Return arrow heads along flight lines, at least one each where there is room."""
    heads = []
    for line in stretches:
        at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        if at[-1] < SHORTEST_WITH_ARROW * pixel_m:
            continue
        number = max(1, round(float(at[-1]) / (ARROW_EVERY * pixel_m)))
        for where in at[-1] * (np.arange(number) + 0.5) / number:
            leg = min(int(np.searchsorted(at, where, side="right")), len(line) - 1)
            ahead = (line[leg] - line[leg - 1]) / (at[leg] - at[leg - 1])
            side = np.array([-ahead[1], ahead[0]])
            tip = line[leg - 1] + (where - at[leg - 1]) * ahead + 5.5 * pixel_m * ahead
            shape = ((0, 0), (-11, 4.6), (-8, 0), (-11, -4.6))
            heads.append(np.array([tip + pixel_m * (a * ahead + s * side) for a, s in shape]))
    return heads


def worst_places(certificate: Certificate) -> list[Spot]:
    """Return the places that the map numbers, in the order of its numbers."""
    return [spot for check in certificate.checks for spot in check.places]


def _draw_badges(axes: Axes, plan: PlanPicture) -> None:
    """Letter take-offs as the briefing does, and number the rest.

    Worst places have numbers and, where there are several, sorties.
    """
    takeoffs = [one.takeoff for one in plan.sorties if one.takeoff is not None]
    homes = {place: plotting.place_letter(at) for at, place in enumerate(dict.fromkeys(takeoffs))}
    for number, spot in enumerate(worst_places(plan.certificate), start=1):
        plotting.draw_badge(
            axes, (spot.x_m, spot.y_m), str(number), BAD, square=True, zorder=5, gid="layer-failing"
        )
    taken = list(homes)
    for number, sortie in enumerate(plan.sorties if len(plan.sorties) > 1 else ()):
        flown, _ = _stretches(sortie)
        if flown:
            taken.append(plotting.free_place(axes, flown[0], taken))
            colour = SORTIES[number % len(SORTIES)]
            plotting.draw_badge(
                axes, taken[-1], str(number + 1), colour, zorder=5, gid="layer-lines"
            )  # fmt: skip
    for place, letter in homes.items():
        plotting.draw_badge(axes, place, letter, INK, square=True, zorder=6)
