"""How products were made: units, machines and cost of each stage, why it was made, what is missing.

Of a stage of thousands of units only those that tell something are named. Tiles that could not be
made are listed with their place and the reason.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_string
from importlib.metadata import Distribution, distributions
from pathlib import Path
from statistics import median
from typing import Any

from flows.engine.result import DISTRIBUTION, MANIFEST, UnitRecord, installed_version, read_json
from flows.engine.store import Result
from flows.execution.slurm_commands import Accounted, read_accounting
from flows.products.band_stack import REFLECTANCE_FILE
from flows.products.ground import GROUND
from flows.products.table import MOSAIC_TILE, ORTHOMOSAIC, REFLECTANCE_TILE
from tmp.errors import InputError
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_tiled, read_grid

SOFTWARE = (
    "terrestrial-mapping-platform",
    "pycolmap",
    "pyceres",
    "opencv-python-headless",
    "numba",
    "numpy",
    "rasterio",
    "pyproj",
    "laspy",
)
ALL_NAMED = 24
"""Units up to which each is named."""
EXTREMES = 6
"""Of more units: so many of the slowest, of the largest, and of those started more than once."""
HOSTS_NAMED = 3

TILE_NAME = re.compile(r"r(\d+)c(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRow:
    """A unit of a stage, and why it is named."""

    unit: UnitRecord
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """How a stage was made."""

    result: Result
    why: str
    """Why it was made, or not made again."""
    software: str
    """Version of the platform that made it, if it is another than this one."""
    accounts: Mapping[str, Accounted]
    """What its jobs have taken by the cluster's account, where it keeps one."""

    @property
    def units(self) -> int:
        """Units of work it was shared among."""
        return len(self.result.units) or 1

    @property
    def attempts(self) -> int:
        """Times that units were started."""
        return sum(unit.attempts for unit in self.result.units) or 1

    @property
    def hosts(self) -> str:
        """Machines that did it, by name if they are few."""
        hosts = Counter(unit.host for unit in self.result.units if unit.host)
        if len(hosts) > HOSTS_NAMED:
            return f"{len(hosts)}\N{NO-BREAK SPACE}machines"
        return ", ".join(host for host, _ in hosts.most_common())

    @property
    def spread(self) -> str:
        """How evenly the work was shared; empty for one unit."""
        times_s = [unit.usage.wall_s for unit in self.result.units]
        if len(times_s) < 2:
            return ""
        return f"a unit took {median(times_s):.1f} s in the middle, {max(times_s):.1f} s at most"

    @property
    def accounted(self) -> str:
        """What its jobs have taken by the cluster's account; empty where it keeps none."""
        jobs = {unit.job for unit in self.result.units}
        found = [account for job, account in self.accounts.items() if job in jobs]
        if not found:
            return ""
        cpu_s = sum(account.cpu_s for account in found)
        largest_gb = max(account.max_rss_gb for account in found)
        return (
            f"by the cluster's account {len(found)} jobs took {cpu_s:.0f} s of processor time "
            f"and {largest_gb:.2f} GB at most"
        )

    @property
    def named(self) -> list[UnitRow]:
        """The units worth naming: all of few; of many, those that stand out."""
        return notable_units(self.result.units)


def stage_rows(results: Sequence[Result]) -> list[StageRow]:
    """Return how each stage of a map was made.

    A cluster's accounting is asked for the jobs of stages that were not reused: of old ones the
    numbers may have been given out again.
    """
    jobs = {unit.job for result in results if not result.reused for unit in result.units}
    accounts = read_accounting(jobs - {""}) if jobs - {""} else {}
    this = installed_version(DISTRIBUTION)
    rows = []
    for result in results:
        software = str((read_json(result.folder / MANIFEST) or {}).get("software", ""))
        rows.append(
            StageRow(
                result=result,
                why=explain(result),
                accounts={} if result.reused else accounts,
                software="" if software == this else software,
            )
        )
    return rows


def notable_units(units: Sequence[UnitRecord]) -> list[UnitRow]:
    """Return units and why they are named: all of few; of many, those that stand out."""
    slowest = sorted(units, key=lambda unit: -unit.usage.wall_s)[:EXTREMES]
    largest = sorted(units, key=lambda unit: -unit.usage.peak_gb)[:EXTREMES]
    repeated = sorted(
        (unit for unit in units if unit.attempts > 1), key=lambda unit: -unit.attempts
    )
    few = len(units) <= ALL_NAMED
    rows = []
    for unit in units:
        remarks = []
        if not few:
            remarks += ["among the slowest"] if unit in slowest else []
            remarks += ["among the largest"] if unit in largest else []
        if unit in (repeated if few else repeated[:EXTREMES]):
            remarks.append(f"started {unit.attempts} times")
        if few or remarks:
            rows.append(UnitRow(unit=unit, remark=", ".join(remarks)))
    return rows


def explain(result: Result) -> str:
    """Say why a stage was made, or was not made again."""
    if result.reused:
        return "reused: nothing has changed"
    manifest = read_json(result.folder / MANIFEST) or {}
    earlier = _manifest_before(result.folder, manifest)
    if not earlier:
        return "made for the first time"
    changes = _changes(earlier, manifest)
    return "; ".join(changes) if changes else "made again: its result was not there"


def software() -> dict[str, str]:
    """Return versions of the software that matters, and of the system."""
    known = {name: installed_version(name) for name in SOFTWARE}
    return known | {"Python": platform.python_version(), "system": platform.platform(terse=True)}


def installed_packages() -> list[str]:
    """Return all packages of this Python, as pip is told to install them again."""
    found = {_name_and_version(dist) for dist in distributions()}
    return sorted((f"{name}=={number}" for name, number in found if name), key=str.lower)


def _name_and_version(dist: Distribution) -> tuple[str, str]:
    """Return what the head of a package's metadata says; its long description is not parsed."""
    head = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or "").partition("\n\n")[0]
    said = message_from_string(head)
    return said.get("Name", ""), said.get("Version", "")


def _manifest_before(folder: Path, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the manifest of the result that a stage had before, empty if there is none."""
    others = [
        read_json(path) or {}
        for path in folder.parent.glob(f"*/{MANIFEST}")
        if path.parent != folder
    ]
    finished = manifest.get("finished_utc", "")
    earlier = [other for other in others if other.get("finished_utc", "") <= finished]
    return max(earlier, key=lambda other: str(other.get("finished_utc", "")), default={})


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return in words what a result is made of that the one before was not."""
    changes = []
    if before.get("version") != after.get("version"):
        changes.append("the platform makes it in another way now")
    for name in _differing(before.get("inputs", {}), after.get("inputs", {})):
        changes.append(f"{name} has changed")
    for name in _differing(before.get("options", {}), after.get("options", {})):
        old, new = (manifest.get("options", {}).get(name) for manifest in (before, after))
        short = None not in (old, new) and max(len(str(old)), len(str(new))) <= 20
        said = name.replace("_", " ")
        changes.append(f"{said}: {new}, was {old}" if short else f"{said} has changed")
    return changes


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*before, *after])
    return [name for name in names if before.get(name) != after.get(name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """What a stage could not make."""

    stage: str
    name: str
    """Of the tile, or of whatever else the stage shares its work by."""
    reason: str
    bounds: tuple[float, float, float, float] | None
    """West, south, east, north in map coordinates; None if it is no piece of the map."""


def list_holes(results: Sequence[Result]) -> list[Hole]:
    """Return what the stages of a map could not make."""
    holes = []
    for result in results:
        placed = _tiling(result) if result.holes else None
        for name, reason in sorted(result.holes.items()):
            bounds = None if placed is None else _bounds(*placed, name)
            holes.append(Hole(stage=result.stage, name=name, reason=reason, bounds=bounds))
    return holes


def hole_warnings(holes: Sequence[Hole]) -> list[str]:
    """Return what a reader of the map has to know of its holes, a sentence for each stage."""
    counts = Counter(hole.stage for hole in holes)
    return [
        f"{count} {'piece' if count == 1 else 'pieces'} of the {stage} could not be made, and what "
        "builds on them is missing too; each is named below with the reason."
        for stage, count in counts.items()
    ]


def _tiling(result: Result) -> tuple[Grid, int] | None:
    """Return the grid of a stage's raster and the cells along a side of its tiles."""
    try:
        if result.stage == "surface":
            ground = open_tiled(result.folder / GROUND)
            return ground.grid, ground.tile_cells
        if result.stage == "orthomosaic":
            return read_grid(result.folder / ORTHOMOSAIC.file), MOSAIC_TILE
        if result.stage == "reflectance":
            return read_grid(result.folder / REFLECTANCE_FILE), REFLECTANCE_TILE
    except (OSError, InputError):  # a report is written even of what has been deleted since
        return None
    return None


def _bounds(grid: Grid, size: int, name: str) -> tuple[float, float, float, float] | None:
    """Return where a tile lies.

    Examples
    --------
    >>> grid = Grid.from_bounds((0, 0, 10, 10), 0.5, None)
    >>> _bounds(grid, 8, "r1c2"), _bounds(grid, 8, "r2c1")
    ((8.0, 2.0, 10.0, 6.0), (4.0, 0.0, 8.0, 2.0))
    """
    found = TILE_NAME.fullmatch(name)
    if found is None:
        return None
    row, col = (int(number) * size for number in found.groups())
    west, north = grid.x_min + col * grid.cell_m, grid.y_max - row * grid.cell_m
    return (
        west,
        max(north - size * grid.cell_m, grid.bounds[1]),
        min(west + size * grid.cell_m, grid.bounds[2]),
        north,
    )
