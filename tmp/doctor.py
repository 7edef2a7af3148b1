"""``tmp doctor``: what works on this machine, and how to get what is missing.

Parts that not every machine has are imported only where they are used.
"""

from __future__ import annotations

import ctypes
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import click

from tmp.errors import DeviceError
from tmp.threads import available_cores

DISTRIBUTION = "terrestrial-mapping-platform"
MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyserial": "serial",
    "scikit-image": "skimage",
}
"""Modules not called like their distribution, beyond changing ``-`` to ``_``."""
PATCHED = ("dronekit",)
"""Imported with patches by the part that uses them: here it is enough that they are there."""
FIRST = ("opencv-python-headless", "rasterio")
"""Imported before the rest: after pycolmap, PNG writing in these two would break."""
OWN = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
LEAST_MEMORY_GB = 4.0
LEAST_DISK_GB = 10.0

OPEN3D_REMEDY = "pip install open3d libusb-package"
JUPYTER_REMEDY = f"pip install '{DISTRIBUTION}[jupyter]'"


class Verdict(StrEnum):
    """How a part fares."""

    GOOD = "ok"
    ADVICE = "note"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    part: str
    said: str
    verdict: Verdict = Verdict.GOOD
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Yield what is found, part by part."""
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield from _machine()
    devices = ", ".join(cuda_devices())
    said = "none; everything runs on the processor"
    yield Finding("GPU", f"{devices}; not used by this version" if devices else said)
    slurm = shutil.which("sbatch")
    said = "none here; 'tmp run --on slurm' needs a login node"
    yield Finding("cluster", f"Slurm, {slurm}" if slurm else said)
    for name in sorted(core_requirements(), key=lambda name: (name not in FIRST, name)):
        yield examine_package(name)
    try:
        yield Finding("open3d (optional)", f"{import_open3d().__version__}")
    except DeviceError:
        said = "not there; models are made without it, it only shows and edits them"
        yield Finding("open3d (optional)", said, Verdict.ADVICE, OPEN3D_REMEDY)
    if all(find_spec(name) for name in ("jupyterlab", "anywidget", "rioxarray")):
        yield Finding("Jupyter (optional)", "there; 'tmp explore SURVEY' opens it")
    else:
        said = "not there; needed for 'tmp explore' only"
        yield Finding("Jupyter (optional)", said, Verdict.ADVICE, JUPYTER_REMEDY)


def core_requirements() -> list[str]:
    """Return the distributions that the platform cannot do without."""
    lines = [line for line in requires(DISTRIBUTION) or [] if "extra ==" not in line]
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return [name.group() for name in names if name] + ["lazrs"]  # laspy's hands for LAZ


def examine_package(name: str) -> Finding:
    """Tell whether a distribution is installed and can be imported."""
    remedy = f"pip install --force-reinstall {name}"
    try:
        number = version(name)
    except PackageNotFoundError:
        return Finding(name, "not installed", Verdict.BROKEN, remedy)
    try:
        if name in PATCHED:
            if find_spec(name) is None:
                raise ImportError(f"no module {name!r}")
        else:
            import_module(MODULES.get(name, name.replace("-", "_")))
    except Exception as error:  # a broken wheel may raise anything
        return Finding(name, f"{number} does not import: {error}", Verdict.BROKEN, remedy)
    return Finding(name, number)


def remedy_for(error: ImportError) -> str:
    """Return the line that mends a library which does not load; empty if it is not a library.

    Examples
    --------
    >>> remedy_for(ModuleNotFoundError("No module named 'cv2'", name="cv2"))
    'pip install --force-reinstall opencv-python-headless'
    >>> remedy_for(ImportError("cannot import name 'mapp'", name="flows.run"))
    ''
    """
    module = (error.name or "").partition(".")[0]
    if not module or module in OWN:
        return ""
    for name in core_requirements():
        if MODULES.get(name, name.replace("-", "_")) == module:
            return f"pip install --force-reinstall {name}"
    return "'tmp doctor' says what is missing"


def _machine() -> Iterator[Finding]:
    import psutil

    yield Finding("cores", f"{available_cores()}")
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    fewer = "close other programs, or use --quality fast and fewer --workers"
    larger = "keep surveys on a larger disk"
    for part, free, least_gb, where, remedy in (
        ("memory", memory.available, LEAST_MEMORY_GB, f"of {memory.total / 1e9:.1f} GB", fewer),
        ("disk here", disk.free, LEAST_DISK_GB, f"in {Path.cwd()}", larger),
    ):
        said = f"{free / 1e9:.1f} GB free {where}"
        enough = free / 1e9 >= least_gb
        yield Finding(part, said) if enough else Finding(part, said, Verdict.ADVICE, remedy)


def describe(findings: Sequence[Finding]) -> list[str]:
    """Return findings as aligned lines, remedies below what they mend."""
    width = max(len(finding.part) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:<7}{finding.part:<{width}}  {finding.said}")
        if finding.remedy:
            lines.append(f"{'':<7}{'':<{width}}  → {finding.remedy}")
    return lines


@click.command(epilog="Example: tmp doctor")
def doctor() -> None:
    """Say what works on this machine, and how to get what is missing.

    The exit status is 1 only if a part that the platform needs is broken.
    """
    findings = list(examine())
    for line in describe(findings):
        click.echo(line)
    broken = [finding.part for finding in findings if finding.verdict is Verdict.BROKEN]
    if broken:
        raise click.ClickException(f"broken: {', '.join(broken)}")
    click.echo("Everything that a map needs works.")


def import_open3d() -> ModuleType:
    """Return the module open3d, with the system library it misses put in its place.

    Raises `DeviceError` if it is not installed or does not load.

    The wheel of open3d is linked with ``libusb-1.0.so.0``, which a bare machine lacks.  The wheel
    ``libusb-package`` carries that library; loaded first and for all to see, it satisfies the
    linker.
    """
    try:
        import libusb_package

        library = libusb_package.get_library_path()
        if library is not None:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except (ImportError, OSError):
        pass  # the system may have the library itself
    try:
        return import_module("open3d")
    except (ImportError, OSError) as error:
        raise DeviceError(f"open3d does not load ({error}); install it: {OPEN3D_REMEDY}") from error


def cuda_devices() -> list[str]:
    """Return the names of the CUDA devices that the driver knows; none without a driver."""
    driver = _cuda_driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(0), ctypes.create_string_buffer(128)
        found = (
            driver.cuDeviceGet(ctypes.byref(device), index) == 0
            and driver.cuDeviceGetName(name, len(name), device) == 0
        )
        names.append(name.value.decode(errors="replace") if found else "unnamed device")
    return names


def _cuda_driver() -> ctypes.CDLL | None:
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
