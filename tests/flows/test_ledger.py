"""Items in hand and items that failed, as files beside a result that is made."""

import os
import time
from pathlib import Path

import pytest

from flows.engine.result import AT_WORK, DEAD_S, Ledger


def test_items_in_hand_are_known_after_a_process_died_and_forgotten_when_it_starts_again(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=tmp_path)

    def die() -> None:
        with ledger.at_work("1-of-2"):
            ledger.mark("1-of-2", "r0c0").unlink()
            ledger.mark("1-of-2", "DCIM/10 m.JPG")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die()
    assert ledger.in_hand("1-of-2") == ["DCIM/10 m.JPG"]
    assert ledger.in_hand("2-of-2") == []
    with ledger.at_work("1-of-2"):
        assert ledger.in_hand("1-of-2") == []


def test_item_that_failed_is_known_until_all_are_to_be_tried_again(tmp_path: Path) -> None:
    ledger = Ledger(partial=tmp_path)
    ledger.forget_failed()
    assert ledger.failed() == {}
    ledger.add_failed("a", "out of memory")
    ledger.add_failed("b", "its process died 3 times")
    assert ledger.failed() == {"a": "out of memory", "b": "its process died 3 times"}
    ledger.forget_failed()
    assert ledger.failed() == {}


def test_stage_is_alive_while_a_process_shows_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.engine.result.HEARTBEAT_S", 0.01)
    ledger = Ledger(partial=tmp_path)
    assert not ledger.alive
    with ledger.at_work("whole"):
        folder = ledger.folder / AT_WORK / "whole"
        long_ago_s = time.time() - 2 * DEAD_S
        os.utime(folder, (long_ago_s, long_ago_s))
        deadline_s = time.monotonic() + 60
        while not ledger.alive:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    assert not ledger.alive
