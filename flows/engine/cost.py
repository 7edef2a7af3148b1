"""What a stage costs, as a function of the survey's size, and what its units ask of a machine.

The figures that stages give were measured with ``benchmarks/costs.py``, which also judges how far
what is asked for lies above what is used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar

from tmp.progress import Track, tell

if TYPE_CHECKING:
    from tmp.cameras import Camera
    from tmp.captures import Capture

T = TypeVar("T")

NEW_SHARE = 0.1
"""Share of a photograph that no photograph before it showed, at a survey's usual overlaps."""
TILE_CELLS = 1024**2
PICTURE_BYTES_PER_PIXEL = 1.3
SURFACE_BYTES_PER_CELL = 75.0
ORTHO_BYTES_PER_CELL = 14.0
"""Disk for what is kept of each photograph while a survey is worked on, for tiles and products.

A product is there twice: with the result that it is a copy of, and where people look for it.
"""


class Quality(StrEnum):
    """How much work is spent on detail."""

    FAST = "fast"
    NORMAL = "normal"
    HIGH = "high"


SURFACE_CELLS = {Quality.FAST: 4.0, Quality.NORMAL: 3.75, Quality.HIGH: 1.5}
"""Cell of the surface in ground sample distances of the pictures that are drawn."""
PREVIEW_SIDE_PX = 800
"""Longer side that a photograph keeps when it is halved for a preview, as often as that allows."""
USUAL_ASPECT = 4 / 3
"""Of a photograph, width over height."""
MOST_HALVINGS = 3
"""That a decoder of JPEG files knows."""
BLOCK_WORK = {Quality.FAST: 0.35}
"""Work on a photograph when the block is solved; goes with its tie points."""
FEATURE_WORK = {Quality.FAST: 0.25, Quality.NORMAL: 1.0, Quality.HIGH: 2.3}
"""Work on a photograph for its keypoints; goes with the area that is searched."""
NO_CAMERAS: Mapping[str, Camera] = MappingProxyType({})
START_MINUTES = 10.0
"""Asked for beyond what the work should take: to start, to load, and for a slow disk."""
MODEL_SHARE = 0.02
"""Weight of the cost model beside what stages have taken, as a share of a whole run."""
LEAST_REST = 0.1
"""Share of the time a stage has taken that it is expected to go on for, at least."""
CAUTION = 3.0
"""Times the expected time that is asked for: nodes differ, and so does the ground."""


class Forecast:
    """The time that is left of a whole run: by the cost model, and by what stages have taken.

    How much slower or faster this machine is than the model shows in the stages that are done, and
    in what is done of the one at work; the model is believed the less the more there is of this.
    """

    def __init__(
        self, expected_s: Mapping[str, float], *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the time on the clock that each stage should need, in their order."""
        self._left = dict(expected_s)
        self._trust_s = MODEL_SHARE * sum(expected_s.values())
        self._expected_s = self._took_s = 0.0
        self._now_s = now_s
        self._at_work: str | None = None
        self._began_s = self._share = 0.0

    def begin(self, stage: str) -> None:
        """Note that a stage begins."""
        self._at_work, self._began_s, self._share = stage, self._now_s(), 0.0

    def reach(self, share: float) -> None:
        """Note how much of the stage at work is done, 0 to 1."""
        self._share = share

    def end(self, stage: str) -> None:
        """Note that a stage is done; one that never began had nothing to do."""
        expected_s = self._left.pop(stage, 0.0)
        if stage == self._at_work:
            self._expected_s += expected_s
            self._took_s += self._now_s() - self._began_s
            self._at_work = None

    def left_s(self) -> float:
        """Return the time on the clock that the rest should need, in seconds."""
        factor = self._factor()
        if self._at_work is None:
            return factor * sum(self._left.values())
        here_s, share = self._left.get(self._at_work, 0.0), self._share
        elapsed_s = self._now_s() - self._began_s
        if share > 0:
            factor = self._factor(elapsed_s, share * here_s)
            seen_s = elapsed_s * (1 - share) / share
            rest_s = share * seen_s + (1 - share) * factor * here_s * (1 - share)
        else:
            if elapsed_s > factor * here_s:  # to run longer than it should tells something, too
                factor = self._factor(elapsed_s, here_s)
            rest_s = max(factor * here_s - elapsed_s, LEAST_REST * elapsed_s)
        others_s = sum(s for stage, s in self._left.items() if stage != self._at_work)
        return rest_s + factor * others_s

    def _factor(self, more_s: float = 0.0, expected_s: float = 0.0) -> float:
        """Return what stages take here over what they should, those done and more."""
        took_s = self._trust_s + self._took_s + more_s
        return took_s / max(self._trust_s + self._expected_s + expected_s, 1e-9)

    def watch(self, track: Track, label: str) -> Track:
        """Return a track that also notes how far the loop of a label is: that of a whole stage."""
        return _Noting(track, label, self.reach)


class _Noting:
    """A track that also notes how far the loop of a label is."""

    def __init__(self, track: Track, label: str, reach: Callable[[float], None]) -> None:
        self._track, self._label, self._reach = track, label, reach

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        for done, item in enumerate(self._track(items, label, total), start=1):
            yield item
            if label == self._label and total > 0:
                self._reach(done / total)

    def tell(self, note: str, part: float) -> None:
        """Pass on what is told between two items."""
        tell(self._track, note, part)


class Raster(StrEnum):
    """What a map's rasters are made at: the surface's cell, or the orthomosaic's."""

    SURFACE = "surface"
    ORTHO = "ortho"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a unit of work asks of the machine that runs it."""

    cpus: int = 1
    memory_gb: float = 1.0
    gpus: int = 0
    minutes: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a stage is expected to cost."""

    cpus: int = 1
    """Cores that one unit of it uses well."""
    memory_gb: float = 1.0
    """Of one unit, however many cores it has."""
    gb_per_cpu: float = 0.0
    """What each of its cores adds."""
    gpus: int = 0
    """Of one unit."""
    cpu_s: float = 1.0
    """Processor time of the whole stage."""
    end_s: float = 0.0
    """Part of it that one unit does when all shares are done."""
    end_cpus: int = 1
    """Cores that this unit uses well."""
    parts: int = 1
    """Into how many units it can be shared at most, such as its tiles or photographs."""

    def minutes(self, units: int = 1) -> float:
        """Return the time one of so many units should take."""
        return self.cpu_s / self.cpus / units / 60

    def asked(self, units: int = 1, cpus: int | None = None) -> Resources:
        """Return what each of so many units asks for, on no more than so many cores."""
        cpus = self.cpus if cpus is None else cpus
        return self._asked(self.cpu_s / cpus / units, cpus)

    def asked_at_end(self, cpus: int | None = None) -> Resources:
        """Return what the unit asks for that ends a stage whose shares are done."""
        cpus = max(self.cpus, self.end_cpus) if cpus is None else cpus
        return self._asked(self.end_s, cpus)

    def _asked(self, expected_s: float, cpus: int) -> Resources:
        return Resources(
            cpus=cpus,
            memory_gb=round(self.memory_gb + self.gb_per_cpu * cpus, 1),
            gpus=self.gpus,
            minutes=math.ceil(START_MINUTES + CAUTION * expected_s / 60),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySize:
    """What the cost of a survey depends on."""

    photographs: int
    megapixels: float
    """Of one photograph, on average."""
    quality: Quality = Quality.NORMAL
    ortho_cell: float = 1.0
    """Cell of the orthomosaic, in ground sample distances of the photographs."""

    @property
    def pixels(self) -> float:
        """Pixels of all photographs."""
        return self.photographs * self.megapixels * 1e6

    @property
    def cells(self) -> float:
        """Expected cells of the ground, each as large as a pixel shows.

        Of a square block: its rim is seen as well, which counts where photographs are few.
        """
        along = 1 + math.sqrt(NEW_SHARE) * (math.sqrt(max(self.photographs, 1)) - 1)
        return self.megapixels * 1e6 * along**2

    @property
    def drawn_pixel(self) -> float:
        """Side of a pixel that is drawn, in pixels of the photographs: more than 1 in a preview."""
        if self.quality != Quality.FAST:
            return 1.0
        long_side_px = math.sqrt(self.megapixels * 1e6 * USUAL_ASPECT)
        halvings = int(math.log2(max(long_side_px / PREVIEW_SIDE_PX, 1.0)))
        return float(2 ** min(halvings, MOST_HALVINGS))

    @property
    def tiles(self) -> int:
        """Expected tiles of an orthomosaic at the photographs' own cell."""
        return max(1, math.ceil(self.cells / TILE_CELLS))

    def tiles_of(self, raster: Raster, tile_cells: int = TILE_CELLS) -> int:
        """Return the expected tiles of a raster of the map, of 1024 x 1024 cells or as given."""
        if raster is Raster.SURFACE:
            cell = SURFACE_CELLS[self.quality] * self.drawn_pixel
        else:
            cell = self.drawn_pixel if self.ortho_cell == 1.0 else self.ortho_cell
        return max(1, math.ceil(self.cells / cell**2 / tile_cells))

    @property
    def disk_gb(self) -> float:
        """Expected disk below ``work/`` and ``products/``, in units of 1e9 bytes."""
        tiles = (
            self.tiles_of(Raster.SURFACE) * SURFACE_BYTES_PER_CELL
            + self.tiles_of(Raster.ORTHO) * ORTHO_BYTES_PER_CELL
        )
        return (self.pixels * PICTURE_BYTES_PER_PIXEL + tiles * TILE_CELLS) / 1e9


class Needs(Protocol):
    """What a stage costs for a survey of a size."""

    def __call__(self, size: SurveySize) -> Cost: ...  # noqa: D102


def survey_size(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera] = NO_CAMERAS,
    *,
    quality: Quality = Quality.NORMAL,
    ortho_gsd_m: float | None = None,
) -> SurveySize:
    """Return the size of a survey: of the photographs that are used, and of what is asked.

    The cameras, by their id, tell how large a pixel's ground is where flying heights are recorded;
    without a cell that is asked for the orthomosaic has the photographs' own.
    """
    used = [capture for capture in captures if capture.used]
    pixels = [capture.width_px * capture.height_px for capture in used]
    own_m = [
        capture.height_takeoff_m / cameras[capture.camera_id].fx_px
        for capture in used
        if capture.height_takeoff_m and capture.height_takeoff_m > 0
        if capture.camera_id in cameras
    ]
    return SurveySize(
        photographs=len(pixels),
        megapixels=sum(pixels) / max(len(pixels), 1) / 1e6,
        quality=quality,
        ortho_cell=ortho_gsd_m / median(own_m) if ortho_gsd_m and own_m else 1.0,
    )


def modest(size: SurveySize) -> Cost:
    """Ask for one core and little time."""
    del size
    return Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class OfPhotographs:
    """The needs of a stage whose work grows with the photographs."""

    cpus: int
    base_gb: float
    gb_per_thousand: float = 0.0
    gb_per_cpu: float = 0.0
    """Memory that a thousand photographs and each core add."""
    cpu_s_per_photograph: float = 0.0
    cpu_s_per_megapixel: float = 0.0
    """Processor time of each photograph, and of each megapixel of it."""
    work: Mapping[Quality, float] = field(default_factory=dict)
    """Times the processor time, and memory of a core, at normal quality."""
    shared: bool = False
    """Whether several units can share the photographs."""

    def __call__(self, size: SurveySize) -> Cost:
        """Return what the stage costs for a survey of a size."""
        each_s = self.cpu_s_per_photograph + self.cpu_s_per_megapixel * size.megapixels
        times = self.work.get(size.quality, 1.0)
        return Cost(
            cpus=self.cpus,
            memory_gb=self.base_gb + self.gb_per_thousand * size.photographs / 1000,
            gb_per_cpu=self.gb_per_cpu * times,
            cpu_s=size.photographs * each_s * times,
            parts=size.photographs if self.shared else 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTiles:
    """The needs of a stage that works tile by tile."""

    cpus: int
    raster: Raster = Raster.ORTHO
    """Whose tiles of 1024 x 1024 cells count."""
    base_gb: float
    gb_per_cpu: float = 0.0
    gb_per_megapixel: float = 0.0
    """What each megapixel of a photograph adds for each core, and once more: decoded photographs
    are kept."""
    cpu_s_per_tile: float
    end_s_per_tile: float = 0.0
    """Part of it that is left when all tiles are made, such as writing the product."""
    end_cpus: int = 1
    """Cores that this part uses well."""
    shared_side: int | None = None
    """Side in cells of the tiles that several units can share; None where they cannot."""

    def __call__(self, size: SurveySize) -> Cost:
        """Return what the stage costs for a survey of a size."""
        tiles = size.tiles_of(self.raster)
        kept_gb = self.gb_per_megapixel * size.megapixels
        return Cost(
            cpus=self.cpus,
            memory_gb=self.base_gb + kept_gb,
            gb_per_cpu=self.gb_per_cpu + kept_gb,
            cpu_s=tiles * self.cpu_s_per_tile,
            end_s=tiles * self.end_s_per_tile,
            end_cpus=self.end_cpus,
            parts=size.tiles_of(self.raster, self.shared_side**2) if self.shared_side else 1,
        )
