"""Who keeps a record of a run: Prefect where there is a server to keep it, else nobody.

Prefect is on the controller only.  The record never decides over the work: when a server goes
away, the run goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from flows.run.prefect.server import Server, find_server, using

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from flows.engine.store import Result

log = logging.getLogger(__name__)

T = TypeVar("T")

FLOW = "survey"
"""Name of the flow from card to report; a run of it has the survey's name."""
CACHED = "Cached"
"""Name of the state of a stage whose result was there already."""


class Recorder(Protocol):
    """Keeps a record of flows and tasks."""

    @property
    def flow_run_id(self) -> str:
        """Id of the run under way in Prefect; empty where there is none."""
        ...

    def flow(self, name: str, work: Callable[[], T]) -> T:
        """Call a function as a flow, or as a sub-flow inside one."""
        ...

    def task(self, name: str, work: Callable[[], Result]) -> Result:
        """Call a function as a task."""
        ...

    def note_report(self, path: Path) -> None:
        """Take note of the report, which the record then names."""
        ...


class _Plain:
    """Merely calls."""

    flow_run_id = ""

    def flow(self, name: str, work: Callable[[], T]) -> T:
        del name
        return work()

    def task(self, name: str, work: Callable[[], Result]) -> Result:
        del name
        return work()

    def note_report(self, path: Path) -> None:
        del path


PLAIN: Recorder = _Plain()


def choose_recorder(asked: bool | None) -> Recorder:
    """Return what keeps the record of a run.

    Parameters
    ----------
    asked : bool, optional
        None: Prefect where a server is configured or answers at the usual address; True: Prefect,
        with a server for the time of the run if there is no other; False: nobody.
    """
    if asked is False:
        return PLAIN
    server = find_server()
    if server is None and not asked:
        return PLAIN
    if server is not None and not server.answers:
        log.warning(
            "Prefect's server at %s does not answer; the run goes on without its record", server.url
        )
        return PLAIN
    return PrefectRecorder(server=server)


@dataclass(slots=True)
class _Call(Generic[T]):
    """Work that is done once, whatever becomes of the record of it."""

    work: Callable[[], T]
    begun: bool = False
    values: list[T] = field(default_factory=list)
    """The value once there is one."""
    error: BaseException | None = None

    def do(self) -> None:
        """Do the work and keep what came of it."""
        self.begun = True
        try:
            self.values.append(self.work())
        except BaseException as error:
            self.error = error

    def outcome(self) -> T:
        """Return the value of the work, or raise its error."""
        if not self.begun:
            self.do()
        if self.error is not None:
            raise self.error
        return self.values[0]

    def state(self) -> State[Any]:
        """Return how the work ended, as Prefect shows it."""
        from prefect.states import Cancelled, Completed, Failed

        if self.error is None:
            reused = getattr(self.values[0], "reused", False)
            return Completed(name=CACHED, message="nothing has changed") if reused else Completed()
        if isinstance(self.error, Exception):
            return Failed(message=str(self.error) or type(self.error).__name__)
        return Cancelled(message="stopped; run again to go on")


@dataclass(slots=True)
class PrefectRecorder:
    """Keeps the record with Prefect: a flow of sub-flows and thin tasks."""

    server: Server | None
    """None: one that Prefect starts for the time of the run."""
    flow_run_id: str = ""
    _open: list[str] = field(default_factory=list)
    """Names of the flows under way, the outermost first."""
    _results: list[Result] = field(default_factory=list)
    _report: Path | None = None
    _lost: bool = False
    """Whether the server has gone away."""
    _settings: ExitStack = field(default_factory=ExitStack)
    """Prefect's settings for the time of the run."""

    def flow(self, name: str, work: Callable[[], T]) -> T:
        """Call a function as a flow, or as a sub-flow inside one."""
        call = _Call(work)
        if self._open:
            self._recorded(call, lambda: self._call_flow(name, self._open[0], call))
            return call.outcome()
        self._results, self._report = [], None
        with using(self.server):
            self._recorded(call, lambda: self._call_outermost(name, call))
        if call.error is not None:
            raise _as_interrupt(call.error)
        return call.outcome()

    def task(self, name: str, work: Callable[[], Result]) -> Result:
        """Call a function as a task, with what it made as artifacts."""
        call = _Call(work)
        self._recorded(call, lambda: self._call_task(name, call))
        return call.outcome()

    def note_report(self, path: Path) -> None:
        """Take note of the report, which the record then names."""
        self._report = path

    def _recorded(self, call: _Call[T], record: Callable[[], None]) -> None:
        """Do a piece of work with its record, or without where no record can be kept."""
        if self._lost:
            return
        from prefect.exceptions import PrefectSignal

        try:
            record()
        except (Exception, PrefectSignal) as error:
            self._lose(error)

    def _lose(self, error: BaseException) -> None:
        """Go on without a record; Prefect, which still has flows to end, shall not insist."""
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        if self._lost:
            return
        self._lost = True
        self._settings.enter_context(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}))
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("Prefect's record of the run ends here, the run does not: %s", said)

    def _call_outermost(self, name: str, call: _Call[T]) -> None:
        from prefect.context import FlowRunContext
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.run.prefect.janitor import mark_dead_runs

        # Each flow would wait a second for its heartbeat's thread; the janitor finds the dead.
        with self._settings as settings:
            settings.enter_context(temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}))
            mark_dead_runs()
            if FlowRunContext.get() is None:
                self._call_flow(FLOW, name, call)
            else:  # the flow of a deployment is the run's already
                self._do_in_flow(name, call)

    def _call_flow(self, name: str, run_name: str, call: _Call[T]) -> None:
        from prefect import flow

        def body() -> State[Any]:
            self._do_in_flow(run_name, call)
            return call.state()

        flow(
            name=name,
            flow_run_name=lambda: run_name,
            persist_result=False,
            validate_parameters=False,
        )(body)(return_state=True)

    def _do_in_flow(self, run_name: str, call: _Call[T]) -> None:
        """Do the work of a flow that Prefect has started."""
        from flows.run.prefect.janitor import sign_run

        outermost = not self._open
        self._open.append(run_name)
        try:
            if outermost:
                self.flow_run_id = sign_run()
            call.do()
            if outermost:
                self._noted(self._note_end)
        finally:
            self._open.pop()

    def _call_task(self, name: str, call: _Call[Result]) -> None:
        from prefect import task
        from prefect.cache_policies import NO_CACHE

        from flows.run.prefect.artifacts import note_stage

        def body() -> State[Any]:
            call.do()
            for result in call.values:
                self._results.append(result)
                self._noted(partial(note_stage, result))
            return call.state()

        # Results are in the stage store, which knows them by their content: nothing is kept here.
        task(name=name, task_run_name=lambda: name, cache_policy=NO_CACHE, persist_result=False)(
            body
        )(return_state=True)

    def _note_end(self) -> None:
        from flows.run.prefect.artifacts import note_run

        note_run(self._results, self._report)

    def _noted(self, note: Callable[[], None]) -> None:
        """Add to the record; what cannot be added is left out."""
        if self._lost:
            return
        try:
            note()
        except Exception as error:
            self._lose(error)


def _as_interrupt(error: BaseException) -> BaseException:
    """Return what stopped a run as Python's own handling of the signal would have raised it."""
    from prefect.exceptions import TerminationSignal

    return KeyboardInterrupt() if isinstance(error, TerminationSignal) else error
