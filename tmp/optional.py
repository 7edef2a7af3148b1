"""Parts that not every machine has, imported only where they are used."""

from __future__ import annotations

import ctypes
from importlib import import_module
from types import ModuleType

from tmp.errors import DeviceError

OPEN3D_REMEDY = "pip install open3d libusb-package"


def import_open3d() -> ModuleType:
    """Return the module open3d, with the system library it misses put in its place.

    Raises
    ------
    DeviceError
        If it is not installed or does not load.

    Notes
    -----
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
