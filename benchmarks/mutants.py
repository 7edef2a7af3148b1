"""Change the code at random, one place at a time, and see whether the tests notice.

A *mutant* is a module with one operator, number or condition changed; a test that fails kills it.
What lives is a line that no test looks at. Mutants are made by Cosmic Ray (``pip install
cosmic-ray``), drawn with a seed over the pure modules of all packages, and judged in a copy of the
checkout by the tests that import the module, those named after it first. A run ends after
``--minutes`` and goes on where it was; ``--again`` judges the living once more, by the tests as
they are now. Another folder begins anew, with the code as it is now.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
NOT_PURE = {
    *("click", "subprocess", "prefect", "dronekit", "pymavlink", "pycolmap", "pyceres"),
    *("numba", "matplotlib", "tmp.plotting", "tmp.progress", "jinja2"),
}
"""A module that imports one of these talks to a person, a process or a library of machine code,
draws, or takes a compilation for each mutant; it is judged by tests of another kind."""
SWAPS = {
    "ReplaceBinaryOperator": ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul",
                              "Mod_Mul", "Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr"),
    "ReplaceComparisonOperator": ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt",
                                  "Lt_Gt", "Gt_Lt", "LtE_GtE", "GtE_LtE", "Is_IsNot", "IsNot_Is"),
    "ReplaceUnaryOperator": ("Delete_USub", "Delete_Not", "Delete_Invert"),
}  # fmt: skip
OPERATORS = [
    *(f"core/{kind}_{swap}" for kind, swaps in SWAPS.items() for swap in swaps),
    *("core/AddNot", "core/ReplaceTrueWithFalse", "core/ReplaceFalseWithTrue"),
    *("core/ReplaceAndWithOr", "core/ReplaceOrWithAnd", "core/ReplaceBreakWithContinue"),
    *("core/ReplaceContinueWithBreak", "core/NumberReplacer", "core/ZeroIterationForLoop"),
]
LIMIT_S, CROWDED = 40, 15
"""Processor time after which tests are stopped and a mutant counts as killed, and how many times
that on the clock, for the machine may be busy."""
MOST_TESTS_S = 15.0
"""Files with tests of a module are tried, the nearest first, until they have taken so long."""
SHAPE = "tests/test_architecture.py::test_values_cannot_be_changed_nor_their_fields_mistaken"
"""A test of all modules, which imports none."""
PASSED = (0, 5)
"""What pytest returns where all tests pass, and where there are none."""
NOT_COPIED = shutil.ignore_patterns(
    "*.pyc", ".git", ".venv", ".hypothesis", ".mypy_cache", ".ruff_cache", "shared"
)
PRELOADED = (
    *("cv2", "hypothesis.strategies", "jinja2", "laspy", "matplotlib.figure", "numba", "pyogrio"),
    *("pyproj", "rasterio", "scipy.interpolate", "scipy.ndimage", "scipy.optimize"),
    *("scipy.sparse.linalg", "scipy.spatial", "shapely", "tomlkit"),
)
"""What tests import and mutants do not change."""
PYTEST = (
    *(
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:dash",
        "--assert=plain",
        "--tb=no",
        "--no-header",
        "--hypothesis-seed=0",
    ),
    *("-m", "not slow and not real and not slurm"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module."""

    module: str
    """Path below the checkout."""
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        """Return what tells it from all others."""
        return f"{self.module}:{self.line}:{self.column} {self.operator[5:]} {self.occurrence}"


def main() -> None:
    """Draw mutants, judge some, and tell how many are killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the copy and the results; made if need be")
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--again", action="store_true", help="judge the living once more")
    parser.add_argument("--only", default="", help="mutants whose name has this in it")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    for name in PRELOADED:
        importlib.import_module(name)
    bench = Bench(given.folder)
    if given.again:
        bench.take_tests()
    drawn = bench.drawn(given.seed, given.mutants)
    chosen = [one for one in drawn if given.only in one.name]
    end = time.monotonic() + 60 * given.minutes
    for mutant in chosen:
        verdict = bench.verdicts.get(mutant.name)
        if verdict and not (given.again and verdict["outcome"] == "lives"):
            continue
        if time.monotonic() > end:
            break
        outcome = bench.judge(mutant)
        print(f"{outcome:8s} {mutant.name}", flush=True)
    report(drawn, bench.verdicts)


def sample(seed: int, number: int) -> list[Mutant]:
    """Return mutants drawn at random: a place first, then one of the changes possible there."""
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for module in pure_modules():
        for mutant in mutants_of(module):
            places.setdefault((module, mutant.line, mutant.column), []).append(mutant)
    dice = random.Random(seed)
    chosen = dice.sample(sorted(places), min(number, len(places)))
    return [dice.choice(places[place]) for place in chosen]


def pure_modules() -> list[str]:
    """Return the modules that compute what they are asked and do nothing else."""
    return [
        module
        for module in modules(ROOT)
        if Path(module).parent.name != "cli" and not imports_of(ROOT / module) & NOT_PURE
    ]


def modules(root: Path) -> list[str]:
    """Return all modules of a checkout by their paths."""
    paths = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return [path.relative_to(root).as_posix() for path in paths if path.name != "__init__.py"]


def dotted(module: str) -> str:
    """Return a module's name."""
    return module.removesuffix(".py").replace("/", ".")


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Return what a file imports, within functions too: modules, their packages, and names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names | {name.partition(".")[0] for name in names})


def mutants_of(module: str) -> Iterator[Mutant]:
    """Yield all mutants of a module; what annotations say is not changed, since nothing runs it."""
    source = (ROOT / module).read_text("utf-8")
    said = annotations(ast.parse(source))
    nodes = list(ast_nodes(get_ast(source)))
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [at for node in nodes for at in operator.mutation_positions(node)]
        for occurrence, ((line, column), *_) in enumerate(places):
            if not any(start <= (line, column) < end for start, end in said):
                yield Mutant(
                    module=module, operator=name, occurrence=occurrence, line=line, column=column
                )


def annotations(tree: ast.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations begin and end: lines from 1, columns from 0."""
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.FunctionDef):
            found.append(node.returns)
    return [
        ((one.lineno, one.col_offset), (one.end_lineno or 0, one.end_col_offset or 0))
        for one in found
        if one is not None
    ]


class Bench:
    """A copy of the checkout in which mutants are tested, and what came of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.copy = folder.resolve() / "copy"
        self._verdicts = folder / "verdicts.jsonl"
        self._kept_passes = folder / "passes.json"
        self._passes: dict[str, bool] = {}
        if self._kept_passes.is_file():
            self._passes = json.loads(self._kept_passes.read_text("utf-8"))
        self.verdicts: dict[str, dict[str, str | float]] = {}
        if self._verdicts.is_file():
            lines = self._verdicts.read_text("utf-8").splitlines()
            self.verdicts = {one["name"]: one for one in map(json.loads, lines)}
        self._sample = folder / "sample.json"
        if not self.copy.is_dir():
            partial = self.copy.with_suffix(".part")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(ROOT, partial, ignore=NOT_COPIED, symlinks=True)
            partial.rename(self.copy)
            compileall.compile_dir(self.copy, quiet=1)

    def take_tests(self) -> None:
        """Replace the tests of the copy by those of the checkout."""
        self._passes.clear()
        shutil.rmtree(self.copy / "tests")
        shutil.copytree(ROOT / "tests", self.copy / "tests", ignore=NOT_COPIED)

    def drawn(self, seed: int, number: int) -> list[Mutant]:
        """Return the mutants of this folder, drawn when it was begun."""
        if not self._sample.is_file():
            chosen = [asdict(one) for one in sample(seed, number)]
            self._sample.write_text(json.dumps(chosen, indent=1), "utf-8")
        return [Mutant(**one) for one in json.loads(self._sample.read_text("utf-8"))]

    def judge(self, mutant: Mutant) -> str:
        """Test a mutant, and keep what came of it."""
        path = self.copy / mutant.module
        before, stat = path.read_text("utf-8"), path.stat()
        changed = mutate_code(before, get_operator(mutant.operator)(), mutant.occurrence)
        began, outcome, killer = os.times(), "lives", ""
        for file in self.tests(mutant.module):
            try:
                path.write_text(changed, "utf-8")
                status = self.run(file)
            finally:
                path.write_text(before, "utf-8")
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            if status not in PASSED and self.passes(file):
                outcome, killer = "too slow" if status is None else "killed", file
                break
            if os.times().children_user - began.children_user > MOST_TESTS_S:
                break
        self.verdicts[mutant.name] = {
            **asdict(mutant),
            "name": mutant.name,
            "outcome": outcome,
            "by": killer,
            "seconds": round(os.times().children_user - began.children_user, 1),
        }
        with self._verdicts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.verdicts[mutant.name]) + "\n")
        return outcome

    def tests(self, module: str) -> list[str]:
        """Return the files with tests of a module, the nearest first.

        Itself, the test of all classes of values, the tests named after it, those that import it,
        and those that import what imports it.
        """
        name = dotted(module)
        above = {dotted(one) for one in modules(self.copy) if name in imports_of(self.copy / one)}

        def away(path: Path) -> tuple[bool, bool, Path]:
            return path.stem != f"test_{Path(module).stem}", name not in imports_of(path), path

        files = sorted((self.copy / "tests").rglob("test_*.py"), key=away)
        near = [path for path in files if {name, *above} & imports_of(path)]
        return [module, SHAPE, *(path.relative_to(self.copy).as_posix() for path in near)]

    def passes(self, file: str) -> bool:
        """Tell whether the tests of a file pass as the code is."""
        if file not in self._passes:
            self._passes[file] = self.run(file) in PASSED
            self._kept_passes.write_text(json.dumps(self._passes, indent=1), "utf-8")
        return self._passes[file]

    def run(self, file: str) -> int | None:
        """Return the exit status of a file's tests; None if they take too long.

        They run in a fork of this process, which has loaded what takes long to load.
        """
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 5))
            self._run_here(file)
        end = time.monotonic() + CROWDED * LIMIT_S
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.02)

    def _run_here(self, file: str) -> NoReturn:
        """Run tests of the copy in this process, with what it prints left out, and end it."""
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        os.chdir(self.copy)
        sys.path.insert(0, str(self.copy))
        sys.dont_write_bytecode = True  # a stale one would hide the next mutant
        os.environ |= {"PYTHONPATH": str(self.copy), "PYTHONDONTWRITEBYTECODE": "1"}
        status = 1
        try:
            status = int(pytest.main([*PYTEST, file]))
        finally:
            os._exit(status)


def report(drawn: list[Mutant], verdicts: dict[str, dict[str, str | float]]) -> None:
    """Print how many are killed, by package, and which live."""
    judged = [one for one in drawn if one.name in verdicts]
    outcome = {one.name: verdicts[one.name]["outcome"] for one in judged}
    living = [one for one in judged if outcome[one.name] == "lives"]
    for package in PACKAGES:
        mine = [one for one in judged if one.module.startswith(f"{package}/")]
        dead = len(mine) - sum(one in living for one in mine)
        print(f"{package:15s} {dead:4d} of {len(mine):4d} killed")
    print("outcomes:", dict(Counter(outcome.values())))
    share = 1 - len(living) / max(len(judged), 1)
    print(f"{len(judged)} of {len(drawn)} judged, {share:.1%} killed; the living:")
    for one in sorted(living, key=lambda one: (one.module, one.line)):
        print(f"  {one.name}")


if __name__ == "__main__":
    main()
