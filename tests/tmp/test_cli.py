import errno
import logging
import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tmp import cli
from tmp.errors import InputError


@pytest.fixture
def group() -> cli.PluginGroup:
    @click.command()
    def fail() -> None:
        raise InputError("farm: no photographs; add some")

    return cli.PluginGroup("tmp", commands={"fail": fail})


def test_platform_error_becomes_one_line_and_status_one(group: cli.PluginGroup) -> None:
    result = CliRunner().invoke(group, ["fail"])
    assert result.exit_code == 1
    assert result.output == "Error: farm: no photographs; add some\n"


@pytest.mark.parametrize("point", entry_points(group=cli.GROUP), ids=lambda point: point.name)
def test_every_command_loads_and_explains_itself(point: EntryPoint) -> None:
    result = CliRunner().invoke(point.load(), ["--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("point", entry_points(group=cli.GROUP), ids=lambda point: point.name)
def test_help_ends_with_an_example_that_the_command_takes(point: EntryPoint) -> None:
    help_ = CliRunner().invoke(cli.main, [point.name, "--help"]).output
    example = " ".join(help_.partition("Example: ")[2].split())
    program, name, *words = shlex.split(example)
    assert (program, name) == ("tmp", point.name)
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    with command.make_context(name, words, resilient_parsing=True) as context:
        assert context.params is not None


@pytest.mark.parametrize(
    ("words", "level"),
    [
        (["look"], logging.WARNING),
        (["-v", "look"], logging.INFO),
        (["look", "-v"], logging.INFO),
        (["-v", "look", "-v"], logging.DEBUG),
        (["look", "-q"], logging.ERROR),
        (["-v", "look", "-q"], logging.WARNING),
    ],
)
def test_more_or_less_is_logged_wherever_it_is_asked(
    monkeypatch: pytest.MonkeyPatch, words: list[str], level: int
) -> None:
    found = []

    @click.command()
    def look() -> None:
        found.append(logging.getLogger().level)

    class Point:
        name = "look"

        def load(self) -> click.Command:
            return look

    monkeypatch.setattr(cli, "entry_points", lambda **_: [Point()])
    monkeypatch.setattr(cli.PluginGroup, "list_commands", lambda *_: ["look"])
    before = logging.getLogger().level
    try:
        assert CliRunner().invoke(cli.main, words).exit_code == 0
    finally:
        cli._set_level((logging.WARNING - before) // 10)
    assert found == [level]


def test_a_misspelt_command_or_option_is_met_with_what_was_meant() -> None:
    command = CliRunner().invoke(cli.main, ["mapp", "farm"])
    assert command.exit_code == 2
    assert "No such command 'mapp'; did you mean 'map'" in command.output
    option = CliRunner().invoke(cli.main, ["map", "farm", "--qualty", "fast"])
    assert option.exit_code == 2
    assert "--quality" in option.output


def test_broken_plugin_is_listed_with_its_reason_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = entry_points

    def with_broken(*, group: str, name: str | None = None) -> object:
        if name == "broken":
            return [EntryPoint("broken", "no_such_module:command", group)]
        return real(group=group) if name is None else real(group=group, name=name)

    monkeypatch.setattr(cli, "entry_points", with_broken)
    result = CliRunner().invoke(cli.main, ["broken"])
    assert result.exit_code == 1
    assert "'broken' is not available" in result.output
    assert "no_such_module" in result.output


def test_a_library_that_does_not_load_is_said_with_the_line_that_mends_it() -> None:
    @click.command()
    def look() -> None:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    result = CliRunner().invoke(cli.PluginGroup("tmp", commands={"look": look}), ["look"])
    assert result.exit_code == 1
    assert result.output == (
        "Error: No module named 'cv2'; pip install --force-reinstall opencv-python-headless\n"
    )


def test_a_mistake_in_the_platform_itself_is_not_taken_for_a_missing_library() -> None:
    @click.command()
    def look() -> None:
        raise ImportError("cannot import name 'mapp' from 'flows.run'", name="flows.run")

    with pytest.raises(ImportError, match="mapp"):
        CliRunner().invoke(
            cli.PluginGroup("tmp", commands={"look": look}), ["look"], catch_exceptions=False
        )


def failing(error: Exception) -> cli.PluginGroup:
    @click.command()
    @click.argument("folder", required=False)
    def fail(folder: str | None) -> None:
        raise error

    return cli.PluginGroup("tmp", commands={"fail": fail})


def test_a_newline_or_an_escape_in_a_message_does_not_break_its_line() -> None:
    result = CliRunner().invoke(failing(InputError("a\nb: no\x1b[31m such thing")), ["fail"])
    assert result.output == "Error: a b: no�[31m such thing\n"


def test_the_shell_gets_a_line_and_a_crash_file_for_what_nobody_foresaw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "survey.toml").touch()
    monkeypatch.setattr("sys.argv", ["tmp", "fail", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        failing(KeyError("dsm"))()
    said = capsys.readouterr().err
    (crash,) = (tmp_path / "work" / "logs").iterdir()
    assert ended.value.code == 1
    assert said == (
        f"Error: a mistake in the platform (KeyError: 'dsm'); please send {crash} to those who "
        "look after the platform\n"
    )
    assert "Traceback" in crash.read_text()
    assert "terrestrial-mapping-platform" in crash.read_text()


def test_verbose_shows_the_traceback_of_what_nobody_foresaw(tmp_path: Path) -> None:
    code = (
        "import sys, click; from tmp.cli import main; sys.argv = ['tmp', '-v', 'fail']\n"
        "@main.command()\ndef fail(): {}['dsm']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "Error: a mistake in the platform (KeyError: 'dsm'); please send" in done.stderr
    assert [file.suffix for file in tmp_path.iterdir()] == [".txt"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory (MemoryError); close other programs"),
        (RuntimeError("std::bad_alloc"), "not enough memory (std::bad_alloc)"),
        (OSError(errno.EROFS, "Read-only file system", "s/x"), "s/x: Read-only file system; make"),
    ],
)
def test_want_of_memory_and_failing_disks_are_the_machines_and_leave_no_crash_file(
    error: Exception, said: str
) -> None:
    assert cli.say_unforeseen(error).startswith(said)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"])
def test_whatever_ends_a_command_does_so_in_one_line_once_it_is_in_order(name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"this system has no {name}")
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    before = signal.signal(number, usual)  # whoever started the tests may have had it ignored
    said: list[str] = []

    @click.command()
    def work() -> None:
        try:
            signal.raise_signal(number)
            said.append("went on")
        finally:
            said.append("lock released")

    try:
        result = CliRunner().invoke(cli.PluginGroup("tmp", commands={"work": work}), ["work"])
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
    assert (result.exit_code, said) == (130, ["lock released"])
    assert result.output == "interrupted; run the same command again to go on\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows hangs nothing up")
def test_command_started_by_nohup_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def work() -> None:
        signal.raise_signal(signal.SIGHUP)
        click.echo("done")

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        result = CliRunner().invoke(cli.PluginGroup("tmp", commands={"work": work}), ["work"])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.exit_code, result.output) == (0, "done\n")


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(cli.main, ["fly-to-the-moon"])
    assert result.exit_code == 2
    assert "No such command" in result.output
