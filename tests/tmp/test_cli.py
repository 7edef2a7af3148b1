from importlib.metadata import EntryPoint, entry_points

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


def test_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(cli.main, ["fly-to-the-moon"])
    assert result.exit_code == 2
    assert "No such command" in result.output
