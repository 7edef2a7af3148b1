import io

from tmp import bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_one_closing_line():
    log = io.StringIO()
    with bars.bar(log) as track:
        assert list(track(range(4), "matching pairs", 4)) == [0, 1, 2, 3]
    assert log.getvalue().startswith("matching pairs: 4 of 4 in ")
    assert log.getvalue().count("\n") == 1


def test_slow_work_says_now_and_then_how_long_is_left(monkeypatch):
    monkeypatch.setattr(bars, "LINES_EVERY_S", 0.0)
    log = io.StringIO()
    with bars.bar(log) as track:
        list(track(range(3), "surface", 3))
    lines = log.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["surface: 1 of 3", "surface: 2 of 3"]
    assert lines[0].endswith("left")


def test_a_terminal_gets_a_bar():
    screen = Terminal()
    with bars.bar(screen) as track:
        assert sum(track(range(4), "matching pairs", 4)) == 6
    assert "matching pairs" in screen.getvalue()
    assert "4/4" in screen.getvalue()


def test_work_that_fails_says_nothing_of_success():
    log = io.StringIO()

    def failing():
        yield 1
        raise ValueError

    try:
        with bars.bar(log) as track:
            list(track(failing(), "surface", 2))
    except ValueError:
        pass
    assert log.getvalue() == ""
