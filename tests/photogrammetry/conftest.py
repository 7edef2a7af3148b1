"""Shared by the tests of orientation: a survey with exact truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def flown() -> ModuleType:
    """The module ``flown_block`` beside this file; test folders are not packages."""
    path = Path(__file__).with_name("flown_block.py")
    spec = importlib.util.spec_from_file_location("flown_block", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["flown_block"] = module
    spec.loader.exec_module(module)
    return module
