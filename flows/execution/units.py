"""A unit of work on disk: order, log and outcome, so that any machine can take it up.

``work/units/<stage>/<key>/<part>/`` holds ``unit.json`` (what to do), ``log.txt`` (what was said),
``exit.json`` (how it ended; written last, whole or not at all) and, on a cluster, ``job.json``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows.execution.executor import Unit
from flows.orders import Order, Share, Stage
from flows.resources import Resources
from flows.usage import Usage
from tmp.errors import InputError
from tmp.files import replacing

UNIT = "unit.json"
EXIT = "exit.json"
JOB = "job.json"
LOG = "log.txt"
WHOLE = "whole"
LOG_LINES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a unit ended."""

    done: bool
    error: str = ""
    kind: str = ""
    """Class of the error."""
    usage: Usage


def part_of(share: Share | None) -> str:
    """Name a share.

    Examples
    --------
    >>> part_of(Share(index=2, count=12)), part_of(None)
    ('3-of-12', 'whole')
    """
    return WHOLE if share is None else f"{share.index + 1}-of-{share.count}"


def write_unit(
    root: Path, order: Order, resources: Resources, *, share: Share | None, lenient: bool
) -> Unit:
    """Write down a unit of work below ``work/units``; returns it."""
    function = order.stage.function
    name = getattr(function, "__qualname__", "?")
    if not name.isidentifier():
        raise InputError(
            f"stage {order.stage.name!r}: {name} is no function of a module, so that no other "
            "process can find it; write it as one"
        )
    unit = Unit(
        folder=root / order.stage.name / order.key / part_of(share),
        stage=order.stage.name,
        key=order.key,
        part=part_of(share),
        resources=resources,
    )
    unit.folder.mkdir(parents=True, exist_ok=True)
    document = {
        "function": f"{function.__module__}:{name}",
        "stage": order.stage.name,
        "version": order.stage.version,
        "inputs": {key: str(path.resolve()) for key, path in order.inputs.items()},
        "digests": dict(order.digests),
        "options": dict(order.options),
        "folder": str(order.folder.resolve()),
        "share": None if share is None else [share.index, share.count],
        "lenient": lenient,
        "resources": asdict(resources),
    }
    _write(unit.folder / UNIT, document)
    return unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a unit is to do."""

    order: Order
    share: Share | None
    lenient: bool
    cpus: int


def read_work(folder: Path) -> Work:
    """Return what the unit in a folder is to do.

    Raises
    ------
    InputError
        If there is no unit, or this installation does not have its stage.
    """
    try:
        said = json.loads((folder / UNIT).read_text(encoding="utf-8"))
        module, _, name = said["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: no unit of work here; start it with 'tmp run'") from error
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{folder}: this installation has no {said['function']}; use the version of the "
            "platform that started the run"
        ) from error
    order = Order(
        stage=Stage(name=said["stage"], version=said["version"], function=function),
        inputs={key: Path(path) for key, path in said["inputs"].items()},
        digests=said["digests"],
        options=said["options"],
        folder=Path(said["folder"]),
    )
    share = said["share"]
    return Work(
        order=order,
        share=None if share is None else Share(index=share[0], count=share[1]),
        lenient=said["lenient"],
        cpus=said["resources"]["cpus"],
    )


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write down how a unit ended."""
    _write(folder / EXIT, asdict(outcome))


def read_outcome(folder: Path) -> Outcome | None:
    """Return how a unit ended; None if it has not."""
    said = read_json(folder / EXIT)
    if said is None:
        return None
    return Outcome(
        done=said["done"], error=said["error"], kind=said["kind"], usage=Usage(**said["usage"])
    )


def usage_before(folder: Path) -> list[Usage]:
    """Return what the other units of a unit's stage have cost."""
    found = [read_outcome(other) for other in sorted(folder.parent.glob("*-of-*"))]
    return [outcome.usage for outcome in found if outcome is not None]


def last_lines(path: Path) -> str:
    """Return the end of a log in one line; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-LOG_LINES:])


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; None if there is none, or none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def write_job(folder: Path, job: Mapping[str, str]) -> None:
    """Write down which job of a cluster does a unit."""
    _write(folder / JOB, job)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
