"""An inbox of cards: when a copy is finished, what is run, and what is never done to a card."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from flows.cli.run import watch
from flows.run.request import RunOptions, SurveyRequest, SurveyResult, Where
from flows.run.watch import WATCHED, Inbox, Watch, list_card, refuse_nested, watch_inbox
from ingest.card import find_photographs
from tmp.errors import InputError, SpaceError
from tmp.survey import Survey

QUIET_S = 60.0
LOOK_S = 10.0


class Clock:
    """Time that passes only when someone waits, and what happens meanwhile."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self.now_s = 1000.0
        self.happenings = list(happenings)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if not self.happenings:
            raise KeyboardInterrupt
        self.happenings.pop(0)()


class Runs:
    """Runs that only note which files they were given; those of some cards fail."""

    def __init__(self, errors: dict[str, BaseException] | None = None) -> None:
        self.began: list[tuple[str, int]] = []
        self.errors = errors or {}

    def __call__(self, card: Path, survey: Path) -> str:
        survey.mkdir(parents=True, exist_ok=True)
        self.began.append((card.name, len(list(card.rglob("*.JPG")))))
        if error := self.errors.get(card.name):
            raise error
        return "report.html"


def nothing() -> None:
    pass


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def put(path: Path, size: int = 10) -> Callable[[], None]:
    """Return what writes a file of a size, with the time of change that a camera gave it."""

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (946684800, 946684800))  # the camera's clock stands at 2000-01-01

    return write


def watched(
    inbox: Path, clock: Clock, runs: Runs, *, told: list[str] | None = None, once: bool = False
) -> None:
    lines: list[str] = [] if told is None else told
    attending = Watch(
        surveys=inbox.parent / "surveys", run_card=runs, tell=lines.append, now_s=clock
    )
    try:
        watch_inbox(
            Inbox(folder=inbox, quiet_s=QUIET_S, now_s=clock),
            attending,
            once=once,
            sleep=clock.sleep,
        )
    except KeyboardInterrupt:
        pass


def test_card_that_is_copied_slowly_is_run_once_and_whole(inbox: Path) -> None:
    """Files grow, are hidden until whole as with rsync, and lie in folders of the camera."""
    media = inbox / "flight7" / "DCIM"
    hidden, whole = media / "101MEDIA" / ".DJI_0003.JPG.Xy12", media / "101MEDIA" / "DJI_0003.JPG"
    copying = [
        put(media / "100MEDIA" / "DJI_0001.JPG", 10),
        *(put(media / "100MEDIA" / "DJI_0002.JPG", size) for size in range(100, 900, 100)),
        *(put(hidden, size) for size in range(100, 900, 100)),
        lambda: hidden.rename(whole),
    ]
    clock, runs = Clock(*copying, *[nothing] * 20), Runs()
    told: list[str] = []
    watched(inbox, clock, runs, told=told)
    assert runs.began == [("flight7", 3)]
    assert sum("being copied" in line for line in told) == 1
    assert told[0] == "flight7: being copied, 1 files so far"  # said as it begins
    assert told[-1] == "flight7: done in 0.0 min: report.html"


def test_time_of_change_by_another_clock_is_not_believed(inbox: Path) -> None:
    put(inbox / "old" / "DJI_0001.JPG")()
    future = inbox / "ahead" / "DJI_0001.JPG"
    put(future)()
    os.utime(future, (4e9, 4e9))
    runs = Runs()
    watched(inbox, Clock(*[nothing] * 5), runs)
    assert runs.began == []  # fifty seconds by our clock, decades by the files'
    watched(inbox, Clock(*[nothing] * 6), runs)
    assert runs.began == [("ahead", 1), ("old", 1)]


def test_signed_card_is_run_as_soon_as_it_looks_the_same_twice(inbox: Path) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    clock, runs = Clock(put(inbox / "card" / ".complete"), nothing, nothing), Runs()
    watched(inbox, clock, runs)
    assert runs.began == [("card", 1)]
    assert clock.now_s < 1000 + QUIET_S


def test_what_is_copied_after_the_sign_needs_its_own_time_of_rest(inbox: Path) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    put(inbox / "card" / "flight.json")()
    more = [nothing, put(inbox / "card" / "DJI_0002.JPG"), nothing, nothing]
    clock, runs = Clock(*more, put(inbox / "card" / "DJI_0003.JPG"), *[nothing] * 9), Runs()
    watched(inbox, clock, runs)
    assert runs.began == [("card", 1), ("card", 3)]


def test_card_that_grew_while_another_was_run_is_not_run_half(inbox: Path) -> None:
    for name in ("a", "b"):
        put(inbox / name / "DJI_0001.JPG")()

    class Growing(Runs):
        def __call__(self, card: Path, survey: Path) -> str:
            if card.name == "a":
                put(inbox / "b" / "DJI_0002.JPG")()
            return super().__call__(card, survey)

    runs = Growing()
    watched(inbox, Clock(*[nothing] * 7), runs)
    assert runs.began == [("a", 1)]
    watched(inbox, Clock(*[nothing] * 7), runs)
    assert runs.began == [("a", 1), ("b", 2)]


def test_failed_card_is_told_in_a_line_and_tried_again_only_when_it_changes(inbox: Path) -> None:
    put(inbox / "bad" / "DJI_0001.JPG")()
    put(inbox / "good" / "DJI_0001.JPG")()
    runs = Runs({"bad": InputError("no photographs; copy it again")})
    told: list[str] = []
    later = [put(inbox / "bad" / "DJI_0002.JPG"), *[nothing] * 20]
    watched(inbox, Clock(*[nothing] * 30, *later), runs, told=told)
    assert runs.began == [("bad", 1), ("good", 1), ("bad", 2)]
    failed = [line for line in told if "failed" in line]
    assert failed[0] == (
        "bad: failed: no photographs; copy it again; tried again when the card changes, or at a "
        "new start"
    )
    watched(inbox, Clock(*[nothing] * 30), runs)
    assert runs.began[3:] == [("bad", 2)]


def test_error_nobody_foresaw_leaves_the_watch_over_other_cards(inbox: Path) -> None:
    for name in ("bad", "good"):
        put(inbox / name / "DJI_0001.JPG")()
    runs = Runs({"bad": ZeroDivisionError("no photographs")})
    watched(inbox, Clock(*[nothing] * 7), runs)
    assert runs.began == [("bad", 1), ("good", 1)]


def test_card_that_found_too_little_disk_is_tried_when_there_is_more(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    free = [100]
    monkeypatch.setattr(
        "flows.run.watch.shutil.disk_usage", lambda _: SimpleNamespace(free=free[0])
    )
    runs = Runs({"card": SpaceError("the photographs need 9 GB")})
    room = [*[nothing] * 10, lambda: free.insert(0, 200), *[nothing] * 5]
    told: list[str] = []
    watched(inbox, Clock(*room), runs, told=told)
    assert len(runs.began) == 2
    (first, *_) = [line for line in told if "failed" in line]
    assert "9 GB; tried again when there is more room, or at a new start" in first


def test_survey_that_is_done_is_not_run_at_a_new_start_until_its_card_changes(
    inbox: Path,
) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    runs = Runs()
    for _ in range(2):
        watched(inbox, Clock(*[nothing] * 9), runs)
    assert runs.began == [("card", 1)]
    put(inbox / "card" / "DJI_0002.JPG")()
    watched(inbox, Clock(*[nothing] * 9), runs)
    assert runs.began == [("card", 1), ("card", 2)]


def test_interrupted_run_is_taken_up_at_a_new_start(inbox: Path) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    runs = Runs({"card": KeyboardInterrupt()})
    watched(inbox, Clock(*[nothing] * 9), runs)
    assert not (inbox.parent / "surveys" / "card" / "work" / WATCHED).exists()
    runs.errors = {}
    watched(inbox, Clock(*[nothing] * 9), runs)
    assert len(runs.began) == 2


def test_one_look_runs_what_rests_and_ends(inbox: Path) -> None:
    put(inbox / "a" / "DJI_0001.JPG")()
    put(inbox / "b" / "DJI_0001.JPG")()
    runs, clock = Runs(), Clock(put(inbox / "b" / "DJI_0002.JPG"))
    watched(inbox, clock, runs, once=True)
    assert runs.began == [("a", 1)]
    assert clock.now_s == 1000 + QUIET_S


def test_folders_without_files_and_hidden_ones_are_no_cards(inbox: Path) -> None:
    (inbox / "empty" / "DCIM").mkdir(parents=True)
    put(inbox / ".Trash-1000" / "DJI_0001.JPG")()
    put(inbox / "loose.JPG")()
    told: list[str] = []
    runs = Runs()
    watched(inbox, Clock(*[nothing] * 9), runs, told=told)
    assert (runs.began, told) == ([], [])


def test_inbox_that_is_away_for_a_while_is_looked_at_again(inbox: Path) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    away = inbox.with_name("away")
    there = [lambda: inbox.rename(away), nothing, lambda: away.rename(inbox), *[nothing] * 9]
    runs = Runs()
    watched(inbox, Clock(*there), runs)
    assert runs.began == [("card", 1)]


@pytest.mark.parametrize(("looking_s", "pause_s"), [(0.5, 10.0), (5.0, 50.0)])
def test_an_inbox_that_is_slow_to_list_is_listed_a_tenth_of_the_time(
    inbox: Path, looking_s: float, pause_s: float
) -> None:
    times = iter((1000.0, 1000.0 + looking_s))
    looked_into = Inbox(folder=inbox, quiet_s=QUIET_S, now_s=lambda: next(times))
    looked_into.look()
    assert looked_into.pause_s == pytest.approx(pause_s)


def test_nothing_is_written_into_a_card(inbox: Path) -> None:
    put(inbox / "card" / "DJI_0001.JPG")()
    before = list_card(inbox / "card")
    watched(inbox, Clock(*[nothing] * 9), Runs())
    assert list_card(inbox / "card") == before
    assert list(inbox.iterdir()) == [inbox / "card"]


def test_surveys_inside_the_inbox_are_refused(inbox: Path) -> None:
    with pytest.raises(InputError, match="each folder counts as a card"):
        refuse_nested(inbox, inbox / "surveys")
    refuse_nested(inbox, inbox.parent / "surveys")


def test_command_runs_each_card_into_a_survey_of_its_name(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(inbox / "flight7" / "DJI_0001.JPG")()
    asked: list[tuple[Path, tuple[Path, ...], Where]] = []

    def run_survey(
        root: Path, request: SurveyRequest, run: RunOptions, **_: object
    ) -> SurveyResult:
        asked.append((root, request.cards, run.on))
        return SurveyResult(survey=Survey(folder=root), report_path=root / "report.html")

    monkeypatch.setattr("flows.pipeline.run_survey", run_survey)
    said = CliRunner().invoke(watch, [str(inbox), "--once", "--quiet-s", "0"])
    assert said.exit_code == 0, said.output
    survey = inbox.parent / "surveys" / "flight7"
    assert asked == [(survey, (inbox / "flight7",), Where.LOCAL)]
    assert said.output.splitlines()[-1].endswith(f"done in 0.0 min: {survey}/report.html")


def test_watch_over_a_cluster_that_is_not_there_is_refused_at_once(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = CliRunner().invoke(watch, [str(inbox), "--once", "--on", "slurm"])
    assert isinstance(said.exception, InputError)


def test_links_in_an_inbox_and_its_cards_are_not_followed_and_loops_end(
    inbox: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "private" / "secret.JPG")()
    (inbox / "stolen").symlink_to(tmp_path / "private")
    put(inbox / "flight7" / "DCIM" / "DJI_0001.JPG")()
    for name in ("one", "two"):
        (inbox / "flight7" / name).symlink_to(".")
    (inbox / "flight7" / "gone.JPG").symlink_to("nowhere.JPG")
    (inbox / "flight7" / "more").symlink_to(tmp_path / "private")
    taken: list[tuple[str, ...]] = []

    def ingest(card: Path, survey: Path) -> str:
        taken.append(tuple(path.name for path in find_photographs([card]).photographs))
        return str(survey)

    clock = Clock(*[nothing] * 10)
    attending = Watch(surveys=tmp_path / "surveys", run_card=ingest, now_s=clock)
    with pytest.raises(KeyboardInterrupt):
        watch_inbox(Inbox(folder=inbox, quiet_s=QUIET_S, now_s=clock), attending, sleep=clock.sleep)
    assert taken == [("DJI_0001.JPG",)]
    told = [record.message for record in caplog.records if "stolen" in record.message]
    assert told == [f"{inbox}/stolen: a link, and links are not followed; copy the card"]
