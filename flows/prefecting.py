"""Prefect, on the controller only: a flow of thin tasks, offline, telling nobody.

Settings that a person has made, such as ``PREFECT_API_URL`` of their server, are kept.  Without a
server Prefect starts one of its own for the time of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from flows.store import Result

T = TypeVar("T")

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
"""What keeps Prefect from sending anything anywhere."""
DEFAULTS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
TaskCaller = Callable[[str, Callable[[], None]], None]
"""Calls a function as the task of a name."""


def cache_dir() -> Path:
    """Return the folder in which Prefect keeps its own files."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "terrestrial-mapping-platform" / "prefect"


def configure() -> None:
    """Set Prefect up, before it is imported."""
    os.environ.update(QUIET)
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    if "PREFECT_HOME" not in os.environ:
        cache_dir().mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(cache_dir())


def as_flow(name: str, work: Callable[[TaskCaller], T]) -> T:
    """Run a function as a Prefect flow.

    Parameters
    ----------
    name : str
        Of the run, such as the survey's.
    work : callable
        Gets a `TaskCaller` for its stages.
    """
    configure()
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE

    def call(stage: str, function: Callable[[], None]) -> None:
        # Results are in the stage store, which knows them by their content: nothing is kept here.
        task(name=stage, cache_policy=NO_CACHE, persist_result=False)(function)()

    found: list[T] = []

    @flow(name="survey", flow_run_name=name, persist_result=False, validate_parameters=False)
    def survey() -> None:
        found.append(work(call))

    survey()
    return found[0]


class Recorder(Protocol):
    """Keeps a record of flows and tasks."""

    def flow(self, name: str, work: Callable[[], T]) -> T:
        """Call a function as a flow, or as a sub-flow inside one."""
        ...

    def task(self, name: str, work: Callable[[], Result]) -> Result:
        """Call a function as a task."""
        ...


class _Plain:
    def flow(self, name: str, work: Callable[[], T]) -> T:
        del name
        return work()

    def task(self, name: str, work: Callable[[], Result]) -> Result:
        del name
        return work()


PLAIN: Recorder = _Plain()


def choose_recorder(asked: bool | None) -> Recorder:
    """Return what keeps the record of a run."""
    del asked
    return PLAIN
