"""Records of runs: kept by Prefect where there is a server, and never in the way of the work."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import pytest
from flows.run.prefect import server as prefectserver
from flows.run.prefect.announcing import INGESTED, announce_ingest
from flows.run.prefect.artifacts import stage_page, stage_row
from flows.run.prefect.janitor import mark_dead_runs
from flows.run.prefect.recorder import PLAIN, Recorder, choose_recorder

from flows.engine.result import UnitUsage, Usage
from flows.engine.store import Result
from flows.report.figures import thumbnail
from flows.report.report import MapRecord
from tmp.errors import InputError

USAGE = Usage(wall_s=12.0, cpu_s=20.0, peak_gb=0.9)


def made(stage: str, folder: Path = Path("/nowhere"), **said: Any) -> Result:
    given: dict[str, Any] = {"figures": {"tiles": 12}, "reused": False} | said
    return Result(stage=stage, folder=folder, files={}, usage=USAGE, **given)


def raising(error: BaseException) -> Callable[[], Result]:
    def work() -> Result:
        raise error

    return work


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: int) -> None:
    """Nobody has configured Prefect, and nothing answers at its usual address."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(prefectserver, "USUAL_URL", f"http://127.0.0.1:{free_port}/api")
    monkeypatch.setattr(prefectserver, "PATIENCE_S", 1.0)


@pytest.mark.usefixtures("nothing_set")
def test_nobody_keeps_a_record_where_there_is_no_server() -> None:
    assert choose_recorder(None) is PLAIN
    assert choose_recorder(False) is PLAIN


def test_without_a_record_work_is_merely_called() -> None:
    assert PLAIN.flow("Test farm", lambda: PLAIN.task("surface", lambda: made("surface"))) == made(
        "surface"
    )
    with pytest.raises(InputError, match="no area"):
        PLAIN.task("surface", raising(InputError("no area")))
    assert PLAIN.flow_run_id == ""


@pytest.mark.usefixtures("nothing_set")
def test_configured_server_that_is_silent_costs_a_line_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    url = f"http://127.0.0.1:{free_port}/api"
    monkeypatch.setattr(prefectserver, "configured_url", lambda: url)
    assert choose_recorder(None) is PLAIN
    assert [record.message for record in caplog.records] == [
        f"Prefect's server at {url} does not answer; the run goes on without its record"
    ]
    assert choose_recorder(True) is PLAIN


@pytest.mark.usefixtures("nothing_set")
def test_other_programs_at_the_usual_address_are_not_taken_for_prefect(
    tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "health").write_text("<html>")
    command = [sys.executable, "-m", "http.server", str(free_port), "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(tmp_path)], stderr=subprocess.DEVNULL
    ) as other:
        while not accepts(free_port):
            time.sleep(0.05)
        assert choose_recorder(None) is PLAIN
        (tmp_path / "api" / "health").write_text("true")
        url = f"http://127.0.0.1:{free_port}/api"
        assert prefectserver.find_server() == prefectserver.Server(url=url, answers=True)
        other.terminate()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_page_of_a_stage_tells_figures_cost_holes_and_units() -> None:
    unit = UnitUsage(part="1-of-2", usage=USAGE, host="node7", job="31_0", attempts=2)
    page = stage_page(
        made(
            "surface",
            figures={"tiles": 4, "sigma|m": 0.02345, "holes": ["r0c1"]},
            units=(unit,) * 2,
        )
    )
    for said in ("| tiles | 4 |", r"| sigma\|m | 0.02345 |", "tiles r0c1", "12.0 s", "node7 31_0"):
        assert said in page
    row = stage_row(made("surface", figures={"holes": ["r0c1"]}, reused=True))
    assert (row["state"], row["holes"], row["units"]) == ("nothing has changed", 1, 1)


def test_page_shows_the_picture_of_the_product_in_little_room(record: MapRecord) -> None:
    page = stage_page(made("orthomosaic", folder=record.survey.products_dir))
    assert "![orthomosaic.tif](data:image/jpeg;base64," in page
    assert 2_000 < len(page) < 80_000


def test_folder_without_rasters_has_no_picture(tmp_path: Path) -> None:
    assert thumbnail(tmp_path) == ("", "")


@pytest.fixture
def recorder(prefect_server: str, tmp_path: Path) -> Iterator[Recorder]:
    """What keeps records with the private server."""
    prefectserver.configure()
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_HOME: tmp_path}):
        yield choose_recorder(None)


def post(url: str, path: str, **asked: Any) -> Any:
    return httpx.post(f"{url}/{path}", json=asked, timeout=20.0).json()


def runs(url: str, kind: str, count: int, **asked: Any) -> dict[str, tuple[str, str]]:
    """Return state and message of runs by name, once so many have ended."""
    for _ in range(100):
        found = post(url, f"{kind}/filter", **asked)
        ended = {
            run["name"]: (run["state"]["name"], run["state"]["message"] or "")
            for run in found
            if run["state"] and run["state"]["type"] not in ("RUNNING", "PENDING")
        }
        if len(ended) >= count:
            return ended
        time.sleep(0.1)
    raise AssertionError(found)


def of_flow_run(flow_run_id: str) -> dict[str, Any]:
    return {"flow_runs": {"id": {"any_": [flow_run_id]}}}


@pytest.mark.slow
def test_run_is_a_flow_of_sub_flows_with_the_surveys_name_and_its_stages_have_pages(
    recorder: Recorder, prefect_server: str, tmp_path: Path
) -> None:
    ids = []

    def products() -> Result:
        both = Barrier(2, timeout=30)

        def task(name: str, *, reused: bool) -> Result:
            def work() -> Result:
                both.wait()  # stages of a cluster are made side by side
                return made(name, reused=reused)

            return recorder.task(name, work)

        with ThreadPoolExecutor() as pool:
            pool.submit(copy_context().run, partial(task, "surface", reused=True))
            last = pool.submit(copy_context().run, partial(task, "orthomosaic", reused=False))
        return last.result()

    def work() -> Result:
        ids.append(recorder.flow_run_id)
        result = recorder.flow("products", products)
        recorder.note_report(tmp_path / "report.html")
        return result

    assert recorder.flow("Test {farm} / 50 %", work).stage == "orthomosaic"
    assert runs(prefect_server, "flow_runs", 1, **of_flow_run(ids[0])) == {
        "Test {farm} / 50 %": ("Completed", "")
    }
    parent = {"flow_runs": {"parent_flow_run_id": {"any_": ids}}}
    stages = runs(prefect_server, "task_runs", 2, **parent)
    assert stages == {
        "surface": ("Cached", "nothing has changed"),
        "orthomosaic": ("Completed", ""),
    }
    artifacts = post(prefect_server, "artifacts/filter", **of_flow_run(ids[0]))
    assert sorted(artifact["key"] for artifact in artifacts) == ["report", "stages"]
    pages = post(prefect_server, "artifacts/filter", **parent)
    assert sorted(page["key"] for page in pages) == ["orthomosaic", "surface"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InputError("survey: no area; give another"), ("Failed", "survey: no area; give another")),
        (KeyboardInterrupt(), ("Cancelled", "stopped; run again to go on")),
    ],
)
def test_error_of_a_stage_comes_back_as_itself_and_is_the_runs_state(
    recorder: Recorder, prefect_server: str, error: BaseException, state: tuple[str, str]
) -> None:
    ids = []

    def work() -> Result:
        ids.append(recorder.flow_run_id)
        return recorder.task("surface", raising(error))

    with pytest.raises(type(error)) as caught:
        recorder.flow("Test farm", work)
    assert caught.value is error
    assert runs(prefect_server, "flow_runs", 1, **of_flow_run(ids[0])) == {"Test farm": state}


@pytest.mark.slow
def test_server_that_goes_away_takes_no_run_with_it(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done = []

    def broken(*args: object, **kwargs: object) -> None:
        del args, kwargs
        raise httpx.ConnectError("connection refused")

    def work() -> Result:
        monkeypatch.setattr("prefect.client.base.PrefectHttpxSyncClient.send", broken)
        for name in ("surface", "orthomosaic"):
            recorder.task(name, lambda: done.append(1) or made("surface"))  # type: ignore[func-returns-value]
        return made("cloud")

    assert recorder.flow("Test farm", work).stage == "cloud"
    assert len(done) == 2
    said = [r.message for r in caplog.records if r.name == "flows.run.prefect.recorder"]
    assert said == ["Prefect's record of the run ends here, the run does not: connection refused"]


@pytest.mark.slow
def test_sigterm_ends_a_run_as_ctrl_c_does(prefect_server: str, tmp_path: Path) -> None:
    said = run_that_gets("SIGTERM", prefect_server, tmp_path)
    assert said.returncode == -signal.SIGINT
    assert said.stderr.splitlines()[-1] == "KeyboardInterrupt"
    found = runs(prefect_server, "flow_runs", 1, **of_flow_run(said.stdout.strip()))
    assert found == {"Test farm": ("Cancelled", "stopped; run again to go on")}


def run_that_gets(name: str, url: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a flow that sends itself a signal; it prints its id."""
    code = (
        "import os, signal\n"
        "from flows.run.prefect.recorder import choose_recorder\n"
        "recorder = choose_recorder(None)\n"
        "def work():\n"
        "    print(recorder.flow_run_id, flush=True)\n"
        f"    os.kill(os.getpid(), signal.{name})\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "recorder.flow('Test farm', work)\n"
    )
    environment = os.environ | {"PREFECT_API_URL": url, "PREFECT_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.usefixtures("recorder")
def test_run_that_was_killed_is_marked_by_the_next(prefect_server: str, tmp_path: Path) -> None:
    said = run_that_gets("SIGKILL", prefect_server, tmp_path)
    assert said.returncode == -signal.SIGKILL, said.stderr
    flow_run_id = said.stdout.strip()
    found = post(prefect_server, "flow_runs/filter", **of_flow_run(flow_run_id))
    assert found[0]["state_name"] == "Running"
    assert mark_dead_runs() == 1
    assert runs(prefect_server, "flow_runs", 1, **of_flow_run(flow_run_id)) == {
        "Test farm": ("Crashed", "the process was killed; run again to go on")
    }
    assert mark_dead_runs() == 0


@pytest.mark.slow
@pytest.mark.usefixtures("recorder")
def test_ingest_is_announced_once_for_the_same_photographs(
    prefect_server: str, tmp_path: Path, recorder: Recorder
) -> None:
    (tmp_path / "photos.sha256").write_text("00  DJI_0001.JPG\n")
    assert announce_ingest(tmp_path)
    assert announce_ingest(tmp_path)
    assert not recorder.flow("Test farm", lambda: announce_ingest(tmp_path))
    asked = {"event": {"name": [INGESTED]}, "occurred": {"since": "2020-01-01T00:00:00Z"}}
    for _ in range(100):
        events = post(prefect_server, "events/filter", filter=asked)["events"]
        if events:
            break
        time.sleep(0.1)
    assert [event["payload"] for event in events] == [{"survey": str(tmp_path)}]


@pytest.mark.slow
def test_prefect_asked_for_needs_no_server_and_keeps_its_files_in_our_cache(tmp_path: Path) -> None:
    code = (
        "from flows.run.prefect.recorder import choose_recorder\n"
        "print(choose_recorder(True).flow('Test farm', lambda: 1))\n"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment = kept | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "1\n", "")
    assert (tmp_path / "cache" / "terrestrial-mapping-platform" / "prefect").is_dir()
    assert not (tmp_path / "home" / ".prefect").exists()
