"""Shared by the tests of photogrammetry: worlds with exact truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _module_beside(name: str) -> ModuleType:
    """Import a module from this folder; test folders are not packages."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def flown() -> ModuleType:
    """The module ``flown_block``: a survey of points."""
    return _module_beside("flown_block")


@pytest.fixture(scope="session")
def small_world() -> ModuleType:
    """The module ``small_world``: textured ground with a box on it, and its photographs."""
    return _module_beside("small_world")
