"""What a stage costs, as a function of the survey's size, and what its units ask of a machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tmp.captures import Capture

NEW_SHARE = 0.1
"""Share of a photograph that no photograph before it showed, at a survey's usual overlaps."""
TILE_CELLS = 1024**2
DISK_BYTES_PER_PIXEL = 3.5
"""Of all photographs' pixels: pyramids, tiles, products; measured on the demonstration."""
START_MINUTES = 10.0
"""Asked for beyond what the work should take: to start, to load, and for a slow disk."""
CAUTION = 3.0
"""Times the expected time that is asked for: nodes differ, and so does the ground."""


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
    """Of one unit."""
    gpus: int = 0
    """Of one unit."""
    cpu_s: float = 1.0
    """Processor time of the whole stage."""
    parts: int = 1
    """Into how many units it can be shared at most, such as its tiles or photographs."""

    def minutes(self, units: int = 1) -> float:
        """Return the time one of so many units should take."""
        return self.cpu_s / self.cpus / units / 60

    def asked(self, units: int = 1, cpus: int | None = None) -> Resources:
        """Return what each of so many units asks for, on no more than so many cores."""
        cpus = self.cpus if cpus is None else cpus
        expected = self.cpu_s / cpus / units / 60
        return Resources(
            cpus=cpus,
            memory_gb=self.memory_gb,
            gpus=self.gpus,
            minutes=math.ceil(START_MINUTES + CAUTION * expected),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveySize:
    """What the cost of a survey depends on."""

    photographs: int
    megapixels: float
    """Of one photograph, on average."""

    @property
    def pixels(self) -> float:
        """Pixels of all photographs."""
        return self.photographs * self.megapixels * 1e6

    @property
    def tiles(self) -> int:
        """Expected tiles of the orthomosaic at the photographs' own cell."""
        return max(1, math.ceil(self.pixels * NEW_SHARE / TILE_CELLS))

    @property
    def disk_gb(self) -> float:
        """Expected disk below ``work/`` and ``products/``, in units of 1e9 bytes."""
        return self.pixels * DISK_BYTES_PER_PIXEL / 1e9


Needs = Callable[[SurveySize], Cost]
"""What a stage costs for a survey of a size."""


def survey_size(captures: Sequence[Capture]) -> SurveySize:
    """Return the size of a survey: of the photographs that are used."""
    pixels = [capture.width_px * capture.height_px for capture in captures if capture.used]
    return SurveySize(photographs=len(pixels), megapixels=sum(pixels) / max(len(pixels), 1) / 1e6)


def modest(size: SurveySize) -> Cost:
    """Ask for one core and little time."""
    del size
    return Cost()


def of_photographs(
    *,
    cpus: int,
    base_gb: float,
    gb_per_thousand: float,
    cpu_s_per_megapixel: float,
    shared: bool = False,
) -> Needs:
    """Return the needs of a stage whose work grows with the photographs.

    Parameters
    ----------
    cpus : int
    base_gb, gb_per_thousand : float
        Memory, and what a thousand photographs of 12 megapixels add.
    cpu_s_per_megapixel : float
        Processor time, of all photographs' pixels.
    shared : bool
        Whether several units can share the photographs.
    """

    def needs(size: SurveySize) -> Cost:
        return Cost(
            cpus=cpus,
            memory_gb=round(base_gb + gb_per_thousand * size.pixels / 12e9, 1),
            cpu_s=size.pixels / 1e6 * cpu_s_per_megapixel,
            parts=size.photographs if shared else 1,
        )

    return needs


def of_tiles(
    *,
    cpus: int,
    base_gb: float,
    gb_per_megapixel: float,
    cpu_s_per_tile: float,
    shared: bool = False,
) -> Needs:
    """Return the needs of a stage that works tile by tile.

    Parameters
    ----------
    cpus : int
    base_gb, gb_per_megapixel : float
        Memory, and what each megapixel of one photograph adds: decoded photographs are kept.
    cpu_s_per_tile : float
        Processor time of a tile of the orthomosaic.
    shared : bool
        Whether several units can share the tiles.
    """

    def needs(size: SurveySize) -> Cost:
        return Cost(
            cpus=cpus,
            memory_gb=round(base_gb + gb_per_megapixel * size.megapixels, 1),
            cpu_s=size.tiles * cpu_s_per_tile,
            parts=size.tiles if shared else 1,
        )

    return needs
