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
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

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
LEAST_LIMIT_S, SLOWER = 30.0, 4.0
"""A mutant is stopped, and counts as killed, after so much longer than the tests take."""
MOST_TESTS_S = 60.0
"""Test files of a module are taken until they take so long."""
NOT_COPIED = shutil.ignore_patterns(
    "*.pyc", ".git", ".venv", ".hypothesis", ".mypy_cache", ".ruff_cache", "shared"
)
PYTEST = (
    *(
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:dash",
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
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__init__.py"
        and path.parent.name != "cli"
        and not imports_of(path) & NOT_PURE
    ]


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
        self._kept_times = folder / "times.json"
        self._times: dict[str, float] = {}
        if self._kept_times.is_file():
            self._times = json.loads(self._kept_times.read_text("utf-8"))
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
        self._times.clear()
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
        tests, alone_s = self.tests(mutant.module)
        path = self.copy / mutant.module
        before, stat = path.read_text("utf-8"), path.stat()
        changed = mutate_code(before, get_operator(mutant.operator)(), mutant.occurrence)
        began = time.monotonic()
        try:
            path.write_text(changed, "utf-8")
            status = self.run(tests, limit_s=max(LEAST_LIMIT_S, SLOWER * alone_s)) if tests else 0
        finally:
            path.write_text(before, "utf-8")
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        outcome = {0: "lives", None: "too slow"}.get(status, "killed")
        self.verdicts[mutant.name] = {
            **asdict(mutant),
            "name": mutant.name,
            "outcome": outcome,
            "seconds": round(time.monotonic() - began, 1),
        }
        with self._verdicts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.verdicts[mutant.name]) + "\n")
        return outcome

    def tests(self, module: str) -> tuple[list[str], float]:
        """Return the tests of a module, the nearest first, and how long they take as it is."""
        name = module.removesuffix(".py").replace("/", ".")
        files = sorted(
            (path for path in (self.copy / "tests").rglob("test_*.py") if name in imports_of(path)),
            key=lambda path: (f"test_{Path(module).stem}" != path.stem, path),
        )
        wanted, total_s = [], 0.0
        for file in [module, *(path.relative_to(self.copy).as_posix() for path in files)]:
            alone_s = self.time_of(file)
            if total_s + alone_s > MOST_TESTS_S and (wanted or math.isinf(alone_s)):
                continue
            wanted.append(file)
            total_s += alone_s
        return wanted, total_s

    def time_of(self, file: str) -> float:
        """Return how long the tests of a file take; for ever if they do not even pass as it is."""
        if file not in self._times:
            began = time.monotonic()
            status = self.run([file], limit_s=4 * MOST_TESTS_S)
            self._times[file] = time.monotonic() - began
            if status not in (0, 5):  # 5: no tests
                print(f"{file} fails, or takes too long, as it is: not used", flush=True)
                self._times[file] = math.inf
            self._kept_times.write_text(json.dumps(self._times, indent=1), "utf-8")
        return self._times[file]

    def run(self, tests: list[str], *, limit_s: float) -> int | None:
        """Return the exit status of the tests; None if they take too long."""
        environment = os.environ | {
            "PYTHONPATH": str(self.copy),
            "PYTHONDONTWRITEBYTECODE": "1",  # a stale one would hide the next mutant
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *PYTEST, *tests],
            cwd=self.copy,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


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
