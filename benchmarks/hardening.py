"""Give every reader thousands of files with something wrong in them, and count what comes of it.

    python benchmarks/hardening.py [--kind KIND …] [--count N] [--seed N] [--keep FOLDER]

Good files of eleven kinds are made, and mutated with fixed seeds (`mutations.py`).  Reading one of
these must end in a value, or in one line that says what is wrong: no traceback, no crash, not more
than 30 s or 1.5 GB, and a value that cannot be, such as a negative σ, in fewer than 2 of 1000.
Each file is read in a forked process with a limit on its memory.  Its time, of the processor and
on the clock, and its peak of memory, with all that is imported, are those of reading: not those of
making the file, which can have 300 MB.  Exit status 1 if a promise is broken; `--keep` leaves the
files that broke one.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from hardening_seeds import Seed, seeds_of
from mutations import mutated

from tmp.errors import TmpError

MOST_S, MOST_MB, MOST_NONSENSE = 30.0, 1500, 0.002
STUCK_S = 180.0
"""Time on the clock after which a reader is taken to hang, however busy the machine is."""
ROOM_BYTES = 4 * 2**30
"""Address space that a reader gets, so that the machine survives one that takes all it can."""
BATCH = 50
NO_ROOM = re.compile(
    r"out of memory(?! reading of)|enough memory|bad_alloc|allocat|MemoryError", re.IGNORECASE
)
"""How a library says that it wanted more than that.  ``Out of memory reading of`` a tag is what
libtiff says of one longer than the file, without asking for any."""

RANGES: tuple[tuple[str, float, float], ...] = (
    (r"lat(itude)?_deg$", -90, 90),
    (r"lon(gitude)?_deg$", -540, 540),
    (r"height.*_m$|ground_m$", -1e5, 1e5),
    (r"sigma", 1e-300, 1e7),
    (r"^(width|height)_px$", 1, 1e6),
    (r"^f[xy]?_px$", 1e-300, 1e7),
    (r"speed|_m_s$", 0, 1000),
    (r"_nm$", 1e-300, 20_000),
    (r"minutes|memory_gb|_units$|cpus$|_wh$|_min$|_mb$|mass_kg|rotor|poll_s|grace_s", 1e-300, 1e7),
    (r"black_level|gpus|interval_s", 0, 1e6),
    (r"", -1e12, 1e12),
)
"""What a figure can be by its field's name; the first that fits."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    how: str
    """``read``, ``refused``, ``flagged``, or what must not be."""
    said: str
    cpu_s: float = 0.0
    clock_s: float = 0.0
    memory_mb: float = 0.0
    """Most that the process held while it read, with what is imported."""

    def is_kept(self) -> bool:
        """Tell whether the file keeps every promise that is made of each one."""
        in_bounds = max(self.cpu_s, self.clock_s) <= MOST_S and self.memory_mb <= MOST_MB
        return self.how in ("read", "refused", "flagged", "nonsense") and in_bounds


def nonsense_in(value: Any, name: str = "", unknown: object = 0.0) -> Iterator[str]:
    """Yield the figures of what was read that cannot be; NaN may stand for an unknown one."""
    inner: list[tuple[Any, str, object]] = []
    if is_dataclass(value) and not isinstance(value, type):
        inner = [(getattr(value, f.name), f.name, f.default) for f in fields(value)]
    elif isinstance(value, dict):
        inner = [(entry, str(key), unknown) for key, entry in value.items()]
    elif isinstance(value, tuple | list):
        inner = [(entry, name, unknown) for entry in value]
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
        inner = [(float(value.min()), name, unknown), (float(value.max()), name, unknown)]
    elif isinstance(value, float | int) and not _can_be(value, name, unknown):
        yield f"{name} = {value!r}"
    for entry in inner:
        yield from nonsense_in(*entry)


def _can_be(value: float, name: str, unknown: object) -> bool:
    nan_says_unknown = name == "heading_deg" or (isinstance(unknown, float) and unknown != unknown)
    if nan_says_unknown and math.isnan(value):
        return True
    low, high = next((low, high) for like, low, high in RANGES if re.search(like, name))
    return low <= value <= high


def read_picture(path: Path) -> Any:
    """Read a photograph as ingest does, and what the survey would remember of it."""
    from ingest.photographs import read_photograph
    from tmp.captures import Capture, Flag, read_captures, write_captures

    data = path.read_bytes()
    bare = Capture(
        name=path.name, source="", sha256="0" * 64, size_bytes=len(data), width_px=0, height_px=0,
        camera_id="",
    )  # fmt: skip
    reading = read_photograph(data, bare)
    if Flag.UNREADABLE in reading.capture.flags:
        return None
    book = path.with_suffix(".gpkg")
    write_captures(book, [reading.capture])
    read_captures(book)
    told = {"gain": "gain", "exposure_s": "exposure time"}  # as the flag for odd tags names them
    unknown = {name: None for name, word in told.items() if word in reading.capture.problems}
    return replace(reading.capture, **unknown), reading.camera


def read_area(path: Path) -> Any:
    """Read the area of a plan."""
    from tmp.geo.areas import read_area as read

    area = read(path)
    low_lon, low_lat, high_lon, high_lat = area.polygons.bounds
    return {
        "lon_deg": [low_lon, high_lon], "lat_deg": [low_lat, high_lat], "area_m2": area.area_m2,
        "centre": list(area.centre),
    }  # fmt: skip


def read_zones(path: Path) -> Any:
    """Read the polygons that indices are summarised in."""
    import shapely
    from pyproj import Transformer

    from flows.products.zones import read_zones as read

    zones = read(path)
    to_wgs84 = Transformer.from_crs(zones.crs, "EPSG:4326", always_xy=True)
    lon, lat = to_wgs84.transform(*shapely.get_coordinates(zones.shapes).T)
    return {"lon_deg": np.asarray(lon), "lat_deg": np.asarray(lat)}


def read_mission(path: Path) -> Any:
    """Read a mission of any format."""
    from flightplan.formats.mission_files import read_mission as read

    mission = read(path)
    return mission.waypoints, mission.photos, mission.takeoff


def read_ground(path: Path) -> Any:
    """Read an elevation model over the farm."""
    from flightplan.terrain.terrain import read_terrain
    from tmp.geo.frames import PlanFrame

    frame = PlanFrame(lon_deg=-19.76, lat_deg=64.143)
    terrain = read_terrain(path, frame, (-80.0, -80.0, 80.0, 80.0), datum="ellipsoid")
    return {"height_m": terrain.heights, "cell_px": terrain.cell_m}


def read_survey(path: Path) -> Any:
    """Read a survey's settings, and its photographs if the file is their table."""
    from tmp.survey import open_survey, read_settings

    survey = open_survey(path.parent)
    if path.suffix == ".gpkg":
        return survey.captures
    settings = read_settings(survey)
    origin = dict(
        zip(("longitude_deg", "latitude_deg", "height_m"), settings.origin or (), strict=False)
    )
    return settings.cameras, origin


def read_cameras(path: Path) -> Any:
    """Read what is declared of cameras."""
    from ingest.metadata.bands import read_declarations

    return read_declarations(path.parent)


def read_cluster(path: Path) -> Any:
    """Read the profile of a cluster."""
    from flows.execution.cluster_profile import read_profile

    return read_profile(path)


def read_equipment(path: Path) -> Any:
    """Read a user's cameras and drones over the platform's."""
    from flightplan.equipment.catalogue import read_catalogue

    catalogue = read_catalogue([path])
    return catalogue.cameras, catalogue.drones


KINDS: dict[str, Callable[[Path], Any]] = {
    "JPEG": read_picture,
    "TIFF": read_picture,
    "missions": read_mission,
    "areas": read_area,
    "DEM": read_ground,
    "survey.toml": read_survey,
    "cameras.toml": read_cameras,
    "cluster.toml": read_cluster,
    "equipment.toml": read_equipment,
    "survey.gpkg": read_survey,
    "zones": read_zones,
}


@cache
def seeds(kind: str) -> tuple[Seed, ...]:
    """Return the good files of a kind."""
    return seeds_of(kind)


def write_input(kind: str, number: int, seed: int, folder: Path) -> Path:
    """Write the mutated file of a number, with what lies beside it."""
    chance = random.Random(f"{seed} {kind} {number}")
    good = chance.choice(seeds(kind))
    for name, content in good.beside.items():
        (folder / name).write_bytes(content)
    path = folder / good.name
    path.write_bytes(mutated(good.name, good.content, chance))
    return path


def judge_input(kind: str, number: int, seed: int) -> Outcome:
    """Read one mutated file; runs in a process that may die of it."""
    with tempfile.TemporaryDirectory() as name:
        path = write_input(kind, number, seed, Path(name))
        _forget_peak()
        cpu_s, clock_s = time.process_time(), time.monotonic()
        how, said = _read(KINDS[kind], path)
        cpu_s, clock_s = time.process_time() - cpu_s, time.monotonic() - clock_s
        memory_mb = _peak_mb()
    return Outcome(how, said.replace(name, "…"), cpu_s, clock_s, memory_mb)


def _forget_peak() -> None:
    """Let the kernel count this process's peak of memory from what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> float:
    """Return the most memory that this process has held since `_forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _read(read: Callable[[Path], Any], path: Path) -> tuple[str, str]:
    try:
        value = read(path)
    except TmpError as error:
        said = str(error)
        clear = "\n" not in said and said.isprintable() and len(said) < 1000
        if read is read_picture:  # ingest flags, and never refuses
            return "nonsense", said
        if NO_ROOM.search(said):
            return "memory", said[:300]
        return ("refused", said) if clear else ("unclear", said[:300])
    except MemoryError as error:
        return "memory", repr(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"[:300]
    if value is None:
        return "flagged", ""
    odd = ", ".join(nonsense_in(value))
    return ("nonsense", odd) if odd else ("read", "")


def work(pipe: Connection, kind: str, seed: int, numbers: range) -> None:
    """Judge some inputs, one after the other, telling which before each."""
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = held * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)  # what C libraries say
    for number in numbers:
        pipe.send((number, None))
        pipe.send((number, judge_input(kind, number, seed)))
    pipe.close()


def run_kind(kind: str, count: int, seed: int, workers: int) -> dict[int, Outcome]:
    """Judge all inputs of a kind in forked processes, a new one where one died."""
    context = multiprocessing.get_context("fork")
    waiting = [range(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
    running: dict[Connection, tuple[Any, range, int | None, float]] = {}
    found: dict[int, Outcome] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            numbers = waiting.pop()
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(there, kind, seed, numbers))
            process.start()
            there.close()
            running[here] = (process, numbers, None, time.monotonic())
        for pipe in [*wait(list(running), timeout=1.0)]:
            process, numbers, _, _ = running[pipe]  # type: ignore[index]
            try:
                number, outcome = pipe.recv()  # type: ignore[union-attr]
            except EOFError:
                _bury(running.pop(pipe), found, waiting)  # type: ignore[arg-type]
                continue
            if outcome is not None:
                found[number] = outcome
            running[pipe] = (process, numbers, number, time.monotonic())  # type: ignore[index]
        for process, _, _, since_s in running.values():
            if time.monotonic() - since_s > STUCK_S:
                process.kill()
    return found


def _bury(
    ended: tuple[Any, range, int | None, float], found: dict[int, Outcome], waiting: list[range]
) -> None:
    """Note what a process died of, and leave the rest of its inputs to another."""
    process, numbers, at, since_s = ended
    process.join()
    if at is None or at in found:
        at = -1 if at is None else at
    if process.exitcode and at >= 0 and at not in found:
        hung = time.monotonic() - since_s > STUCK_S
        died = signal.Signals(-process.exitcode).name if process.exitcode < 0 else "exit"
        found[at] = Outcome("hang" if hung else "crash", died, clock_s=STUCK_S if hung else 0.0)
    left = [number for number in numbers if number not in found]
    if left:
        waiting.append(range(left[0], numbers.stop))


def row_of(kind: str, found: dict[int, Outcome]) -> tuple[str, bool]:
    """Return a kind's line of the table, and whether it keeps all promises."""
    many = Counter(outcome.how for outcome in found.values())
    share = many["nonsense"] / len(found)
    kept = share < MOST_NONSENSE and all(outcome.is_kept() for outcome in found.values())
    refused = f"{many['refused']}" if many["refused"] else f"{many['flagged']} flagged"
    cells = (
        kind, len(found), many["read"], refused, many["traceback"], many["unclear"],
        many["nonsense"], many["crash"] + many["hang"] + many["memory"],
        f"{max(outcome.cpu_s for outcome in found.values()):.1f}",
        f"{max(outcome.clock_s for outcome in found.values()):.1f}",
        f"{max(outcome.memory_mb for outcome in found.values()):.0f}", "yes" if kept else "NO",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |", kept


def main() -> None:
    """Run the kinds asked for, print their table, and what broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", choices=KINDS, help="Repeatable.  [all]")
    parser.add_argument("--count", type=int, default=1500, help="Inputs of each kind.  [1500]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="Folder for the files that broke a promise.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| kind | inputs | read | refused in one line | traceback | unclear | nonsense |", end="")
    print(" crash, hang, memory | slowest CPU-s | on the clock | memory MB | kept |")
    print("|" + "---|" * 12)
    all_kept, broken = True, []
    for kind in options.kind or KINDS:
        for good in seeds(kind):  # what is imported, is so before the fork
            with tempfile.TemporaryDirectory() as name:
                for beside, content in {**good.beside, good.name: good.content}.items():
                    Path(name, beside).write_bytes(content)
                how, said = _read(KINDS[kind], Path(name, good.name))
                assert how == "read", (kind, good.name, how, said)
        found = run_kind(kind, options.count, options.seed, options.workers)
        row, kept = row_of(kind, found)
        print(row, flush=True)
        all_kept &= kept
        bad = {n: o for n, o in found.items() if o.how == "nonsense" or not o.is_kept()}
        broken += [(kind, n, o) for n, o in sorted(bad.items())]
    for kind, number, outcome in broken:
        said = f"{outcome.how} after {outcome.clock_s:.0f} s, {outcome.memory_mb:.0f} MB: "
        print(f"{kind} {number}: {said}{outcome.said[:200]!r}", file=sys.stderr, flush=True)
        if options.keep:
            folder = options.keep / f"{kind}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_input(kind, number, options.seed, folder)
    sys.exit(0 if all_kept else 1)


if __name__ == "__main__":
    main()
