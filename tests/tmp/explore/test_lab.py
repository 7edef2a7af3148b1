"""``tmp explore`` and the server behind it: what it copies, refuses, and asks nobody for."""

import json
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from flows.cli.explore import explore
from tmp.cli import main
from tmp.errors import ExecutionError, InputError, TmpError
from tmp.explore import lab
from tmp.survey import Survey

PAGE_CONFIG = lab.CONFIG / "labconfig" / "page_config.json"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What servers are started with, without one."""
    calls: list[dict[str, object]] = []

    @contextmanager
    def serve(survey: Path, notebooks: Path, *, first: str, port: int) -> Iterator[object]:
        calls.append({"survey": survey, "notebooks": notebooks, "first": first, "port": port})
        yield SimpleNamespace(
            process=SimpleNamespace(wait=lambda: None), address=f"http://127.0.0.1:{port}/lab"
        )

    monkeypatch.setattr(lab, "serve_lab", serve)
    return calls


def said(*words: str) -> str:
    done = CliRunner().invoke(explore, list(words), catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, TmpError), done.exception
        return str(done.exception)
    return done.output


def test_a_mapped_survey_opens_at_its_first_look(
    walled: Survey, started: list[dict[str, object]]
) -> None:
    text = said(str(walled.folder), "--no-browser")
    assert f"6 notebooks copied to {walled.folder.resolve() / 'notebooks'}" in text
    assert f"JupyterLab is at http://127.0.0.1:{started[0]['port']}/lab" in text
    assert started[0]["first"] == "02_first_look.ipynb"
    assert "copied" not in said(str(walled.folder), "--no-browser")


def test_a_survey_without_a_map_opens_at_the_plan_and_says_what_to_run(
    walled: Survey, started: list[dict[str, object]]
) -> None:
    for path in walled.products_dir.glob("*.tif"):
        path.unlink()
    assert "no map yet: 'tmp map" in said(str(walled.folder), "--no-browser")
    assert started[0]["first"] == "01_plan_a_flight.ipynb"


def test_where_there_is_no_browser_the_address_is_to_be_opened_by_hand(
    walled: Survey, started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert "no browser here; open the address above" in said(str(walled.folder))

    def none(address: str) -> bool:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(webbrowser, "open", none)
    assert "no browser here; open the address above" in said(str(walled.folder))


def test_a_folder_that_is_no_survey_is_refused(tmp_path: Path) -> None:
    assert "is not a survey (no survey.toml)" in said(str(tmp_path))
    assert not (tmp_path / "notebooks").exists()


def test_without_the_extra_it_is_said_how_to_get_it(
    walled: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "find_spec", lambda name: None if name == "jupyterlab" else object())
    assert said(str(walled.folder)) == (
        "jupyterlab not installed, which Jupyter needs; "
        "pip install 'terrestrial-mapping-platform[jupyter]'"
    )
    assert not (walled.folder / "notebooks").exists()


def test_a_port_in_use_is_refused_and_another_found(walled: Survey) -> None:
    with socket.socket() as taken:
        taken.bind((lab.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert said(str(walled.folder), "--port", str(port)) == (
            f"port {port} is in use; give another with --port, or leave it away"
        )
        assert lab.choose_port(None) in range(lab.FIRST_PORT, lab.LAST_PORT + 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lab, "FIRST_PORT", port)
            patch.setattr(lab, "LAST_PORT", port)
            with pytest.raises(InputError, match=f"no port from {port} to {port} is free"):
                lab.choose_port(None)


def test_a_survey_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notebooks").write_text("a file")
    with pytest.raises(InputError, match="notebooks cannot be copied there"):
        lab.copy_notebooks(tmp_path / "notebooks")


def test_the_command_is_one_of_tmps() -> None:
    main.add_command(explore)
    try:
        text = CliRunner().invoke(main, ["explore", "--help"]).output
    finally:
        del main.commands["explore"]
    assert "--no-browser" in text


def test_the_configuration_asks_for_no_news_and_no_shop() -> None:
    config = json.loads((lab.CONFIG / "jupyter_lab_config.json").read_text())["LabApp"]
    assert config["news_url"] is None
    assert config["check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"
    disabled = json.loads(PAGE_CONFIG.read_text())["disabledExtensions"]
    assert disabled["@jupyterlab/apputils-extension:announcements"]


@pytest.mark.slow
def test_the_server_listens_here_alone_and_asks_for_its_token(walled: Survey) -> None:
    notebooks = walled.folder / "notebooks"
    lab.copy_notebooks(notebooks)
    port = lab.choose_port(None)
    with lab.serve_lab(walled.folder, notebooks, first="02_first_look.ipynb", port=port) as running:
        address, _, token = running.address.partition("?token=")
        assert address == f"http://127.0.0.1:{port}/lab/tree/notebooks/02_first_look.ipynb"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents")
        with urllib.request.urlopen(running.address) as page:
            text = page.read().decode()
        assert "@jupyterlab/apputils-extension:announcements" in text
        assert '"buildCheck": false' in text
        process = running.process
        assert token not in " ".join(map(str, process.args))  # type: ignore[union-attr,arg-type]
    assert process.poll() is not None


@pytest.mark.slow
def test_the_server_and_its_kernel_call_no_other_machine(
    walled: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace, command = tmp_path / "trace.txt", lab._command
    watched = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", str(trace)]
    monkeypatch.setattr(lab, "_command", lambda *words: [*watched, *command(*words)])
    port = lab.choose_port(None)
    try:
        with lab.serve_lab(walled.folder, walled.folder, first="a.ipynb", port=port) as running:
            token = running.address.partition("token=")[2]
            kernel = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/kernels",
                data=b'{"name": "python3"}',
                headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
            )
            urllib.request.urlopen(kernel).close()
            time.sleep(5)
    except ExecutionError as error:
        pytest.skip(f"strace may not trace here: {error}")
    called = [line for line in trace.read_text(errors="replace").splitlines() if "connect(" in line]
    assert any("127.0.0.1" in line for line in called)
    assert [one for one in called if not re.search(r"AF_UNIX|127\.0\.0\.1|::1", one)] == []


def test_a_server_that_ends_at_once_is_said_with_its_last_words(
    walled: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        lab, "_command", lambda *_: [lab.sys.executable, "-c", "raise SystemExit('no such thing')"]
    )
    with (
        pytest.raises(ExecutionError, match="JupyterLab ended as it began: no such thing"),
        lab.serve_lab(walled.folder, walled.folder, first="a.ipynb", port=1),
    ):
        pass
