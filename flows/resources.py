"""What a stage asks of the machine that runs it, as a function of the survey's size."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a unit of work asks of the machine that runs it."""

    cpus: int = 1
    memory_gb: float = 1.0
    gpus: int = 0
    minutes: float = 10.0


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


Needs = Callable[[SurveySize], Resources]
"""What a stage asks for, of a survey of a size."""


def survey_size(captures: Sequence[Capture]) -> SurveySize:
    """Return the size of a survey: of the photographs that are used."""
    pixels = [capture.width_px * capture.height_px for capture in captures if capture.used]
    return SurveySize(photographs=len(pixels), megapixels=sum(pixels) / max(len(pixels), 1) / 1e6)


def modest(size: SurveySize) -> Resources:
    """Ask for one core and little time."""
    del size
    return Resources()


def of_photographs(
    *, cpus: int, base_gb: float, gb_per_thousand: float, cpu_s_per_megapixel: float
) -> Needs:
    """Return the needs of a stage whose work grows with the photographs.

    Parameters
    ----------
    cpus : int
    base_gb, gb_per_thousand : float
        Memory, and what a thousand photographs of 12 megapixels add.
    cpu_s_per_megapixel : float
        Processor time; the time asked for is three times what it would take, and 10 minutes.
    """

    def needs(size: SurveySize) -> Resources:
        cpu_s = size.pixels / 1e6 * cpu_s_per_megapixel
        return Resources(
            cpus=cpus,
            memory_gb=round(base_gb + gb_per_thousand * size.pixels / 12e9, 1),
            minutes=math.ceil(10 + 3 * cpu_s / cpus / 60),
        )

    return needs


def of_tiles(*, cpus: int, base_gb: float, gb_per_megapixel: float, cpu_s_per_tile: float) -> Needs:
    """Return the needs of a stage that works tile by tile.

    Parameters
    ----------
    cpus : int
    base_gb, gb_per_megapixel : float
        Memory, and what each megapixel of one photograph adds: decoded photographs are kept.
    cpu_s_per_tile : float
        Processor time; the time asked for is three times what all tiles would take, and
        10 minutes.
    """

    def needs(size: SurveySize) -> Resources:
        return Resources(
            cpus=cpus,
            memory_gb=round(base_gb + gb_per_megapixel * size.megapixels, 1),
            minutes=math.ceil(10 + 3 * size.tiles * cpu_s_per_tile / cpus / 60),
        )

    return needs
