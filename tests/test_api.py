"""The public names of the packages: what they are, and that they cost nothing until used."""

import ast
import subprocess
import sys
import typing
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import flightplan
from flightplan.plan.request import PlanOptions, PlanRequest
from tmp import load_on_use

ROOT = Path(__file__).parent.parent
OFFERING = ("tmp", "flightplan", "ingest", "flows")
"""Packages with public names; those of photogrammetry are taken from its modules."""


def typed_homes(package: str) -> dict[str, str]:
    """Return the module that type checkers find each public name in."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    (branch,) = (node for node in tree.body if isinstance(node, ast.If) and len(node.body) > 0
                 and isinstance(node.body[0], ast.ImportFrom))  # fmt: skip
    return {
        alias.name: str(node.module)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("package", OFFERING)
def test_public_names_are_at_run_time_what_type_checkers_see(package: str) -> None:
    offered = import_module(package)
    homes = typed_homes(package)
    assert sorted(homes) == sorted(offered.__all__) == offered.__all__
    for name, home in homes.items():
        found = getattr(offered, name)
        assert found is getattr(import_module(home), name)
        assert found.__doc__, f"{package}.{name} says nothing of itself"


def test_a_name_that_is_not_offered_is_said_as_python_says_it() -> None:
    with pytest.raises(AttributeError, match="module 'flightplan' has no attribute 'fly_home'"):
        flightplan.fly_home  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match="module 'p' has no attribute 'x'"):
        load_on_use("p", {})("x")


def test_importing_the_packages_loads_neither_numpy_nor_any_of_their_modules() -> None:
    code = (
        f"import sys, {', '.join(OFFERING)}\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] in "
        f"{OFFERING!r} and '.' in name]\n"
        "print(ours, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] False"


def test_what_may_be_said_of_a_plan_is_what_a_request_takes() -> None:
    """`plan_survey` takes area, drone, cameras and exclusions by name, and all else as options."""
    own = {"area", "drone", "cameras", "exclusions"}
    assert {field.name for field in fields(PlanRequest)} - own == PlanOptions.__annotations__.keys()
    taken, said = (typing.get_type_hints(of) for of in (PlanRequest, PlanOptions))
    assert {name: taken[name] for name in said} == said
