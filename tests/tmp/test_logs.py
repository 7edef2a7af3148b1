from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tmp.cli import KEPT_LOGS, LOGS, command_logs, command_of, logged

ours = logging.getLogger("flows.anything")
theirs = logging.getLogger("a_library")


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    (tmp_path / "survey.toml").write_text("")
    return tmp_path


def test_a_log_holds_the_versions_what_was_said_and_how_it_ended(survey: Path) -> None:
    before = logging.getLogger().level
    with logged(survey, "map"):
        ours.info("what only the log says")
        theirs.info("chatter")
    (path,) = command_logs(survey)
    text = path.read_text()
    assert "terrestrial-mapping-platform" in text
    assert "Python" in text
    assert "INFO flows.anything: what only the log says" in text
    assert "chatter" not in text
    assert text.splitlines()[-1].startswith("done, after")
    assert command_of(path) == "map"
    assert logging.getLogger().level == before


def test_the_traceback_of_what_ended_a_command_is_kept(survey: Path) -> None:
    with pytest.raises(ValueError, match="odd"), logged(survey, "map"):
        raise ValueError("odd")
    text = command_logs(survey)[-1].read_text()
    assert "Traceback" in text
    assert "test_logs.py" in text
    assert "ValueError: odd, after" in text


def test_an_exit_status_is_told(survey: Path) -> None:
    with pytest.raises(SystemExit), logged(survey, "map"):
        raise SystemExit(3)
    assert "exit status 3, after" in command_logs(survey)[-1].read_text()


def test_only_the_latest_logs_are_kept(survey: Path) -> None:
    for number in range(KEPT_LOGS + 3):
        with logged(survey, f"command{number}"):
            pass
    kept = [command_of(path) for path in command_logs(survey)]
    assert kept == [f"command{number}" for number in range(3, KEPT_LOGS + 3)]


def test_a_survey_that_is_made_meanwhile_gets_its_log_at_the_end(tmp_path: Path) -> None:
    with logged(tmp_path, "ingest"):
        ours.info("copied")
        (tmp_path / "survey.toml").write_text("")
    assert "copied" in command_logs(tmp_path)[-1].read_text()


def test_a_folder_that_is_no_survey_stays_as_it_is(tmp_path: Path) -> None:
    with logged(tmp_path, "map"):
        ours.info("lost")
    assert list(tmp_path.iterdir()) == []


def test_a_survey_that_cannot_be_written_is_worked_on_without_a_log(survey: Path) -> None:
    (survey / LOGS).parent.write_text("a file where the folder should be")
    with logged(survey, "map"):
        ours.info("said")
    assert command_logs(survey) == []
