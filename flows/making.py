"""How the stages of a flow get made: where they run, who is told, and who keeps a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flows.orders import Order, RunOrder
from flows.prefecting import PLAIN, Recorder
from flows.runs import RunBook
from flows.store import Result, StageStore
from tmp.progress import Track, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes the results of stages."""

    run_order: RunOrder
    """How a stage whose result is not there is run."""
    recorder: Recorder = PLAIN
    book: RunBook | None = None
    track: Track = silent
    side_by_side: bool = False
    """Whether several stages may be made at the same time."""
    stop: Callable[[], None] = lambda: None
    """Has all stages at work stop, which then raise."""

    def announce(self, stages: Iterable[str]) -> None:
        """Note the stages that are to come."""
        for name in stages:
            self._note(name, "to do")

    def __call__(self, store: StageStore, order: Order) -> Result:
        """Return the result of an order, running it only if it is not there."""
        name = order.stage.name
        return self.recorder.task(name, lambda: self._made(store, order))

    def _made(self, store: StageStore, order: Order) -> Result:
        name = order.stage.name

        def run_order(order: Order, track: Track) -> None:
            self._note(name, "running")
            try:
                self.run_order(order, track)
            except BaseException:
                self._note(name, "not done")
                raise

        result = store.make(order, run_order=run_order, track=self.track)
        self._note(name, "nothing has changed" if result.reused else "done", result)
        return result

    def _note(self, stage: str, state: str, result: Result | None = None) -> None:
        if self.book is not None:
            self.book.note(stage, state, result)
