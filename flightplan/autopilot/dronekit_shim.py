"""Import dronekit 2.9.2 on a Python that it was not written for."""

from __future__ import annotations

import collections
import collections.abc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


def import_dronekit() -> ModuleType:
    """Return the module dronekit, speaking MAVLink 2.

    Notes
    -----
    Two things in it no longer import: ``collections.MutableMapping``, which moved to
    ``collections.abc`` in Python 3.10, and ``past.builtins.basestring`` from the package future,
    which dronekit does not declare.  Both are lent to it while it is imported and taken back.

    pymavlink chooses the protocol's version by an environment variable at import, and without it
    changes over in the middle of the first message from the vehicle, behind dronekit's back.
    Fences need version 2.
    """
    os.environ["MAVLINK20"] = "1"
    os.environ.setdefault("MAVLINK_DIALECT", "ardupilotmega")
    # It logs a trace of every heartbeat whose flight mode it does not know, and flies on.
    logging.getLogger("dronekit").setLevel(logging.CRITICAL)
    with _old_names():
        dronekit = import_module("dronekit")
    # Whoever imported pymavlink first may have left it at version 1.
    import_module("pymavlink.mavutil").set_dialect("ardupilotmega")
    return dronekit


@contextmanager
def _old_names() -> Iterator[None]:
    """Lend dronekit the names it looks for, and keep its deprecation warnings to itself."""
    past, builtins = ModuleType("past"), ModuleType("past.builtins")
    vars(builtins)["basestring"] = str
    lent = {"past": past, "past.builtins": builtins}
    had = {name: sys.modules.get(name) for name in lent}
    has_mapping = hasattr(collections, "MutableMapping")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.modules.update(lent)
        if not has_mapping:
            vars(collections)["MutableMapping"] = collections.abc.MutableMapping
        try:
            yield
        finally:
            if not has_mapping:
                del vars(collections)["MutableMapping"]
            for name, module in had.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
