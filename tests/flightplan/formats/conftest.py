"""Missions to write and read, and files to read them from."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from flightplan.formats.mission import Mission


@pytest.fixture(scope="session")
def flown() -> ModuleType:
    """The module ``flown_missions`` beside this file; test folders are not packages."""
    name = "flown_missions"
    if name not in sys.modules:
        path = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def mission(flown: ModuleType) -> Mission:
    return flown.lawnmower()


@pytest.fixture
def mini(mission: Mission) -> Mission:
    """The mission for a consumer drone, at speeds it takes."""
    return replace(mission, drone="DJI Mini 4 Pro", transit_speed_m_s=10.0)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file to be read back."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
