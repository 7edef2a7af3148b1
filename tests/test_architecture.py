"""The shape of the project: rooms, their borders, and how the command is found."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
PACKAGES = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
MOST_MODULES, MOST_ENTRIES, MOST_DEPTH = 267, 16, 14
"""Modules with content, entries of a folder, imports one upon another, those within functions too.
Lower these when there are fewer, and raise none without need."""
LEAST_LINES = 7
"""A module with fewer says what a room is for, and has no content."""
CHANGING = {
    *("Commands", "Inbox", "LocalExecutor", "RetryPolicy", "RunBook", "SlurmExecutor", "Usage"),
    *("Watch", "_ItemState", "_Probe", "_Search", "_Sight", "_Watch"),
}
"""Dataclasses whose fields change while they work; all others are values."""
IN_ORDER = {
    *("Candidate", "Finding", "FormatKind", "_ItemState", "_Name", "_Operation", "_Rule"),
    *("_Search", "_Sight", "_Straight", "_Window"),
}
"""Dataclasses of few fields, which may be given by their order; all others take them by name."""
HEAVY = (
    *("cv2", "laspy", "matplotlib", "numba", "numpy", "pyceres", "pycolmap", "pyogrio", "rasterio"),
    *("scipy", "shapely"),
)


def python(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_children_s() -> float:
    """Return the processor time of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("cwd", ["/", "/tmp"])
def test_tmp_is_the_package_and_not_the_folder_of_that_name(cwd: str) -> None:
    """The machine's own ``/tmp`` is an importable namespace when the working directory is ``/``."""
    folder = Path(cwd)
    if not folder.is_dir():
        pytest.skip(f"no folder {cwd} on this machine")
    code = "import tmp, tmp.errors, flows; print(tmp.__file__)"
    assert Path(python(code, folder).strip()).name == "__init__.py"


def test_help_is_fast_and_lists_the_commands() -> None:
    code = "from tmp.cli import main; main(['--help'])"
    python(code, ROOT)  # writes byte code
    began_s = of_children_s()
    said = python(code, ROOT)
    # Processor time: other work on the machine adds little to it.  Twice the half second wanted.
    assert of_children_s() - began_s < 1.0
    for command in ("demo", "doctor", "ingest", "map"):
        assert f"\n  {command} " in said
    assert "not available" not in said


def test_commands_are_listed_without_importing_anything_heavy() -> None:
    code = (
        "import sys\nfrom tmp.cli import main\nmain(['--help'], standalone_mode=False)\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert "heavy: []" in python(code, ROOT)


def test_every_entry_point_loads() -> None:
    points = entry_points(group="tmp.commands")
    assert {point.name for point in points} >= {"demo", "doctor", "ingest", "map"}
    for point in points:
        assert point.load().name


UNUSED = ("prefect", "dronekit", "pymavlink", "open3d", "fastapi", "spyndex")
"""What neither a plan nor a map needs, and takes seconds or a server to load."""


def loaded_by(code: str, folder: Path) -> str:
    """Return which of `UNUSED` a program loads."""
    told = f"\nimport sys\nprint('loaded:', [name for name in {UNUSED!r} if name in sys.modules])"
    return python(code + told, folder).rpartition("loaded: ")[2].strip()


def test_a_plan_loads_nothing_that_only_other_commands_use(tmp_path: Path) -> None:
    area = "POLYGON ((8 47, 8.001 47, 8.001 47.0005, 8 47.0005, 8 47))"
    words = ["plan", area, "--crs", "EPSG:4326", "-o", "survey", "--drone", "mini 4 pro"]
    code = f"from tmp.cli import main; main({words!r}, standalone_mode=False)"
    assert loaded_by(code, tmp_path) == "[]"
    assert (tmp_path / "survey" / "plan" / "certificate.json").is_file()


def test_a_map_loads_nothing_that_only_other_commands_use(tmp_path: Path) -> None:
    """It is refused before its first stage; the stages are loaded all the same, as threads do."""
    code = (
        "import pkgutil, flows.stages\nfrom importlib import import_module\n"
        "for one in pkgutil.iter_modules(flows.stages.__path__, 'flows.stages.'):\n"
        "    import_module(one.name)\n"
        "from tmp.cli import main\n"
        "try:\n    main(['map', 'nowhere'], standalone_mode=False)\n"
        "except Exception as error:\n    print(error)"
    )
    assert loaded_by(code, tmp_path) == "[]"


def test_no_ignore_file_lists_the_package() -> None:
    """A line ``tmp/`` is in many ignore files, and would leave the core out of a commit."""
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "tmp/cli.py", "tmp/new_module.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout == ""


def test_imports_run_from_flows_over_the_domains_to_tmp() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> dict[str, Path]:
    """Return the project's modules with content, by name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if len(path.read_text(encoding="utf-8").splitlines()) >= LEAST_LINES:
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules that one needs, within its functions too."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            waiting += ast.iter_child_nodes(node)
    return found & known.keys()


def test_rooms_are_few_and_small_and_imports_go_one_way() -> None:
    known = modules()
    assert len(known) <= MOST_MODULES
    for package in PACKAGES:
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
            if folder.name != "__pycache__":
                unread = ("__pycache__", "py.typed")
                entries = [one for one in folder.iterdir() if one.name not in unread]
                assert len(entries) <= MOST_ENTRIES, folder
    needs = {name: imports_of(path, known) - {name} for name, path in known.items()}
    depth: dict[str, int] = {}
    while len(depth) < len(needs):
        ready = [name for name in needs.keys() - depth.keys() if needs[name] <= depth.keys()]
        assert ready, f"these import each other: {sorted(needs.keys() - depth.keys())}"
        depth |= {name: 1 + max((depth[one] for one in needs[name]), default=0) for name in ready}
    assert max(depth.values()) <= MOST_DEPTH


def test_every_module_says_what_it_is_for() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert path.read_text(encoding="utf-8").lstrip().startswith(('"""', 'r"""')), path


def dataclasses_of(path: Path) -> Iterator[tuple[ast.ClassDef, dict[str, bool]]]:
    """Yield the dataclasses of a module, and what their decorators ask for."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for mark in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            call = mark if isinstance(mark, ast.Call) else ast.Call(mark, [], [])
            if ast.unparse(call.func) == "dataclass":
                yield node, {one.arg or "": ast.literal_eval(one.value) for one in call.keywords}


def test_values_cannot_be_changed_nor_their_fields_mistaken() -> None:
    """Without slots are those alone that keep what they worked out, as cached properties."""
    changing = set()
    for path in modules().values():
        for node, asked in dataclasses_of(path):
            place = f"{path.relative_to(ROOT)}, {node.name}"
            if not asked.get("frozen"):
                changing.add(node.name)
            assert asked.get("frozen") or node.name in CHANGING, place
            assert asked.get("kw_only") or node.name in IN_ORDER, place
            assert asked.get("slots") or "@cached_property" in ast.unparse(node), place
    assert changing == CHANGING


def test_a_propertys_own_settings_take_the_rest_from_the_profile() -> None:
    own = settings(max_examples=3)
    assert own.derandomize is (os.environ.get("HYPOTHESIS_PROFILE", "day") == "day")
    assert own.deadline is None
