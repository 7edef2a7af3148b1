import io

import pytest

from tmp import progress
from tmp.progress import say_left, silent, tell


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_one_closing_line():
    log = io.StringIO()
    with progress.bar(log) as track:
        assert list(track(range(4), "matching pairs", 4)) == [0, 1, 2, 3]
    assert log.getvalue().startswith("matching pairs: 4 of 4 in ")
    assert log.getvalue().count("\n") == 1


def test_slow_work_says_now_and_then_how_long_is_left(monkeypatch):
    monkeypatch.setattr(progress, "LINES_EVERY_S", 0.0)
    log = io.StringIO()
    with progress.bar(log) as track:
        list(track(range(3), "surface", 3))
    lines = log.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["surface: 1 of 3", "surface: 2 of 3"]
    assert lines[0].endswith("left")


def test_a_terminal_gets_a_bar():
    screen = Terminal()
    with progress.bar(screen) as track:
        assert sum(track(range(4), "matching pairs", 4)) == 6
    assert "matching pairs" in screen.getvalue()
    assert "4/4" in screen.getvalue()


def test_work_that_fails_says_nothing_of_success():
    log = io.StringIO()

    def failing():
        yield 1
        raise ValueError

    try:
        with progress.bar(log) as track:
            list(track(failing(), "surface", 2))
    except ValueError:
        pass
    assert log.getvalue() == ""


def test_a_note_stands_below_the_bars_and_goes_with_its_stage():
    screen = Terminal()
    with progress.bar(screen) as track:
        for _ in track(range(2), "surface in 2 jobs", 2):
            tell(track, "surface: 1 at work, 1 waiting: Priority", 0.5)
    assert "1 waiting: Priority" not in screen.getvalue().splitlines()[-1]
    assert "2/2" in screen.getvalue()


def test_a_log_file_says_what_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(progress, "LINES_EVERY_S", 0.0)
    log = io.StringIO()
    with progress.bar(log) as track:
        for _ in range(3):
            tell(track, "surface waits: Priority")
        tell(track, "")
    assert log.getvalue() == "surface waits: Priority\n"


def test_part_of_an_item_in_hand_moves_the_bar():
    drawn = progress._Bars(100)
    steps = iter(drawn(range(4), "surface in 4 jobs", 4))
    next(steps)
    next(steps)
    tell(drawn, "", 0.5)
    assert drawn._progress.tasks[0].completed == 1.5


def test_silent_track_passes_items_through() -> None:
    assert list(silent(range(3), "tiles", 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "in some seconds"),
        (9.99, "in some seconds"),
        (10.0, "in about 10 s"),
        (14.9, "in about 10 s"),
        (55.1, "in about 60 s"),
        (60.0, "in about 1 min"),
    ],
)
def test_the_time_left_is_told_in_tens_of_seconds_and_then_in_minutes(seconds, said):
    assert say_left(seconds) == f"all done {said}"
