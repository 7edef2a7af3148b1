"""Runs as Prefect's flow: what its pages show, and that the work never depends on them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.engine.result import UnitRecord, Usage
from flows.engine.stage import Figures, Stage, Workspace
from flows.engine.store import Result
from flows.pipeline import SurveyRun, run_survey
from flows.prefect import server as prefect_server_module
from flows.prefect.records import INGESTED, announce_ingest, mark_dead_runs, stage_page, stage_row
from flows.prefect.server import Server, configured_server, server_of_run
from flows.products.ground import GROUND
from flows.report.figures import thumbnail
from flows.report.quality import MapRecord
from flows.run.request import MapOptions, Part, RunOptions, SurveyRequest, SurveyResult, Where
from tmp.captures import write_captures
from tmp.errors import InputError, StoppedError, TransientError
from tmp.reconstruction import write_reconstruction

USAGE = Usage(wall_s=12.0, cpu_s=20.0, peak_gb=0.9)
STOPPED = "stopped; run again to go on"


def made(stage: str, folder: Path = Path("/nowhere"), **said: Any) -> Result:
    given: dict[str, Any] = {"figures": {"tiles": 12}, "reused": False} | said
    return Result(stage=stage, folder=folder, files={}, usage=USAGE, **given)


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody has configured Prefect."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(prefect_server_module, "PATIENCE_S", 1.0)


@pytest.mark.usefixtures("nothing_set")
def test_server_is_configured_or_there_is_none_whatever_answers_at_the_usual_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "prefect", raising=False)
    assert configured_server() is None


@pytest.mark.usefixtures("nothing_set")
def test_configured_server_that_is_silent_costs_a_line_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    silent = Server(url=f"http://127.0.0.1:{free_port}/api")
    monkeypatch.setattr(prefect_server_module, "configured_server", lambda: silent)
    with server_of_run() as server:
        assert server is None
    assert [record.message for record in caplog.records] == [
        f"Prefect's server at {silent.url} does not answer; the run goes on without its record"
    ]


@pytest.mark.usefixtures("nothing_set")
def test_server_of_its_own_that_cannot_start_costs_a_line_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(prefect_server_module, "configured_server", lambda: None)
    monkeypatch.setattr(prefect_server_module, "_start", refuse)
    with server_of_run() as server:
        assert server is None
    assert [record.message for record in caplog.records] == [
        "Prefect's server cannot be started (no more processes); the run goes on without its record"
    ]


def test_page_of_a_stage_tells_figures_cost_holes_and_units() -> None:
    unit = UnitRecord(part="1-of-2", usage=USAGE, host="node7", job="31_0", attempts=2)
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
def server(prefect_server: str, tmp_path: Path) -> Iterator[Server]:
    """The private server of the tests, which this process uses."""
    prefect_server_module.configure()
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_HOME: tmp_path}):
        yield Server(url=prefect_server)


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


class Farm:
    """A survey whose stages are stand-ins, run through Prefect."""

    def __init__(self, record: MapRecord, server: Server) -> None:
        self.record, self.server = record, server
        self.survey = record.survey
        self.runs: list[str] = []
        self.flow_run = ""
        """Id of the sub-flow whose stage was made last."""
        self.ground = record.results[-1].folder / GROUND
        self.on_surface: Callable[[], object] = lambda: None
        self.beside: list[type[Stage]] = []
        self.under_way: SurveyRun | None = None
        write_captures(self.survey.gpkg_path, record.captures)

    def orient(self, space: Workspace) -> Figures:
        self.runs.append("orientation")
        self.flow_run = flow_run_id()
        write_reconstruction(self.record.reconstruction, space.out)
        return {"photographs": 16}

    def measure(self, space: Workspace) -> Figures:
        self.runs.append("surface")
        self.flow_run = flow_run_id()
        self.on_surface()
        shutil.copytree(self.ground, space.out / GROUND, dirs_exist_ok=True)
        return {"tiles": 4}

    def go(self, *, fill: bool = False) -> SurveyResult:
        from flows.survey_flow import run_flow

        def go(run: SurveyRun) -> SurveyResult:
            self.under_way = run
            return run_flow(run, self.server)

        stages = [
            stage_of("orientation", self.orient),
            stage_of("surface", self.measure, "orientation", options=("fill",)),
            *self.beside,
        ]
        request = SurveyRequest(map=MapOptions(fill=fill), until=Part.PRODUCTS)
        how = RunOptions(on=Where.THREADS)
        return run_survey(self.survey.folder, request, how, go=go, stages=stages)

    def ended(self) -> tuple[str, str]:
        """Return state and message of the last run of the flow from card to report."""
        outer = parent_of(self.server.url, self.flow_run)
        (state,) = runs(self.server.url, "flow_runs", 1, **of_flow_run(outer)).values()
        return state


def stage_of(
    name: str,
    finish: Callable[[Workspace], Figures | None],
    *after: str,
    options: tuple[str, ...] = (),
) -> type[Stage]:
    """Return a stage that consists of its end."""
    body = {"name": name, "version": "1", "after": after, "options": options}
    return type(name, (Stage,), {**body, "finish": lambda self: finish(self.space)})


def flow_run_id() -> str:
    """Return the id of the flow run, here a sub-flow, that this thread works in."""
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    assert context is not None
    return str(context.task_run.flow_run_id)


def parent_of(url: str, flow_run: str) -> str:
    """Return the flow run that a sub-flow was called in."""
    task = httpx.get(f"{url}/flow_runs/{flow_run}", timeout=20.0).json()["parent_task_run_id"]
    return str(httpx.get(f"{url}/task_runs/{task}", timeout=20.0).json()["flow_run_id"])


@pytest.fixture
def farm(record: MapRecord, server: Server) -> Farm:
    return Farm(record, server)


@pytest.mark.slow
def test_run_is_a_flow_of_parts_whose_stages_are_tasks_with_pages_and_logs(
    farm: Farm, prefect_server: str
) -> None:
    first = farm.go()
    assert first.verdict is not None
    state, message = farm.ended()
    assert (state, message) == (
        "Completed",
        f"{first.verdict.summary}; report: {first.report_path}",
    )
    outer = parent_of(prefect_server, farm.flow_run)
    parts = of_flow_run(outer)["flow_runs"]
    inside = post(prefect_server, "flow_runs/filter", flow_runs={"parent_flow_run_id": parts["id"]})
    assert {part["name"] for part in inside} == {farm.survey.folder.name}
    assert len(inside) == 2  # what is oriented, and its products
    said = logged(prefect_server, farm.flow_run, "surface: made by 1 unit")
    assert said == "flows.pipeline"
    pages = post(prefect_server, "artifacts/filter", **of_flow_run(farm.flow_run))
    assert sorted(page["key"] for page in pages) == ["report", "stages", "surface"]
    farm.go(fill=True)
    assert farm.runs == ["orientation", "surface", "surface"]
    outer = parent_of(prefect_server, farm.flow_run)
    inside = post(
        prefect_server,
        "flow_runs/filter",
        flow_runs={"parent_flow_run_id": of_flow_run(outer)["flow_runs"]["id"]},
    )
    again = {"flow_runs": {"id": {"any_": [part["id"] for part in inside]}}}
    stages = runs(prefect_server, "task_runs", 3, **again)
    assert {name: state for name, (state, _) in stages.items()} == {
        "orientation": "Cached",
        "surface": "Completed",
        "report": "Completed",
    }


def logged(url: str, flow_run: str, message: str) -> str:
    """Return who said something in a flow run, once it has arrived; empty if it never does."""
    for _ in range(100):
        for line in post(url, "logs/filter", logs={"flow_run_id": {"any_": [flow_run]}}):
            if line["message"].startswith(message):
                return str(line["name"])
        time.sleep(0.1)
    return ""


@pytest.mark.slow
def test_error_of_a_stage_comes_back_as_itself_and_is_the_runs_state(farm: Farm) -> None:
    error = InputError("survey: no area; give another")

    def refuse() -> None:
        raise error

    farm.on_surface = refuse
    with pytest.raises(InputError) as caught:
        farm.go()
    assert caught.value is error
    state, message = farm.ended()
    assert state == "Failed"
    assert "survey: no area; give another" in message
    assert farm.runs == ["orientation", "surface"]


@pytest.mark.slow
def test_stage_that_fails_for_a_passing_reason_is_tried_once_more(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import survey_flow

    def fail_once() -> None:
        if farm.runs.count("surface") == 1:
            raise TransientError("squeue: Slurm does not answer; see 'sinfo', and run again")

    farm.on_surface = fail_once
    quick = survey_flow.make_stage.with_options(retry_delay_seconds=0.1)
    monkeypatch.setattr(survey_flow, "make_stage", quick)
    assert farm.go().report_path is not None
    assert farm.runs == ["orientation", "surface", "surface"]
    assert farm.ended()[0] == "Completed"


@pytest.mark.slow
def test_run_that_is_cancelled_on_prefects_pages_stops_and_goes_on_when_run_again(
    farm: Farm, prefect_server: str
) -> None:
    def wait() -> None:
        outer = parent_of(prefect_server, farm.flow_run)
        cancelling = {"type": "CANCELLING", "name": "Cancelling"}
        httpx.post(
            f"{prefect_server}/flow_runs/{outer}/set_state", json={"state": cancelling}
        ).raise_for_status()
        assert farm.under_way is not None
        assert farm.under_way.stopping.wait(60)
        raise StoppedError(STOPPED)

    farm.on_surface = wait
    with pytest.raises(KeyboardInterrupt):
        farm.go()
    assert farm.ended() == ("Cancelled", STOPPED)
    farm.on_surface = lambda: None
    assert farm.go().report_path is not None
    assert farm.runs == ["orientation", "surface", "surface"]


@pytest.mark.slow
def test_ctrl_c_stops_the_stage_at_work_and_cancels_the_run(farm: Farm) -> None:
    def wait() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert farm.under_way is not None
        assert farm.under_way.stopping.wait(60)
        raise StoppedError(STOPPED)

    farm.on_surface = wait
    with pytest.raises(KeyboardInterrupt):
        farm.go()
    assert farm.ended() == ("Cancelled", STOPPED)


@pytest.mark.slow
def test_stages_of_a_cluster_are_made_side_by_side_and_one_that_fails_stops_the_others(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=60)

    def balance(space: Workspace) -> Figures:
        both.wait()
        assert farm.under_way is not None
        assert farm.under_way.stopping.wait(60)
        raise StoppedError(STOPPED)

    def fail() -> None:
        both.wait()
        raise InputError("no light")

    farm.on_surface = fail
    farm.beside = [stage_of("exposure", balance, "orientation")]
    monkeypatch.setattr(SurveyRun, "side_by_side", True)
    with pytest.raises(InputError, match="no light"):
        farm.go()
    state, message = farm.ended()
    assert (state, "no light" in message) == ("Failed", True)


@pytest.mark.slow
def test_server_that_goes_away_takes_no_run_with_it(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        del args, kwargs
        raise httpx.ConnectError("connection refused")

    def cut() -> None:
        for kind in ("PrefectHttpxSyncClient", "PrefectHttpxAsyncClient"):
            monkeypatch.setattr(f"prefect.client.base.{kind}.send", broken)

    farm.on_surface = cut
    assert farm.go().report_path is not None
    assert farm.runs == ["orientation", "surface"]
    said = [record.message for record in caplog.records if record.name == "flows.survey_flow"]
    assert len(said) == 1
    assert said[0].startswith("Prefect's record of the run ends here, the run does not: ")


KILLED = """
import os, sys
from pathlib import Path
from flows.prefect.records import sign_run
from flows.prefect.server import configure
configure()
from prefect import flow

@flow(name="survey", flow_run_name="Test farm", persist_result=False)
def survey():
    print(sign_run(), flush=True)
    os.kill(os.getpid(), 9)

survey()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_run_that_was_killed_is_marked_by_the_next(prefect_server: str, tmp_path: Path) -> None:
    environment = os.environ | {"PREFECT_API_URL": prefect_server, "PREFECT_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", KILLED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == -signal.SIGKILL, said.stderr
    killed = said.stdout.strip()
    found = post(prefect_server, "flow_runs/filter", **of_flow_run(killed))
    assert found[0]["state_name"] == "Running"
    assert mark_dead_runs() == 1
    assert runs(prefect_server, "flow_runs", 1, **of_flow_run(killed)) == {
        "Test farm": ("Crashed", "the process was killed; run again to go on")
    }
    assert mark_dead_runs() == 0


@pytest.mark.slow
def test_ingest_is_announced_once_for_the_same_photographs(
    prefect_server: str, tmp_path: Path, farm: Farm
) -> None:
    (tmp_path / "photos.sha256").write_text("00  DJI_0001.JPG\n")
    assert announce_ingest(tmp_path)
    assert announce_ingest(tmp_path)
    told: list[bool] = []
    farm.on_surface = lambda: told.append(announce_ingest(tmp_path))
    farm.go()
    assert told == [False]
    asked = {"event": {"name": [INGESTED]}, "occurred": {"since": "2020-01-01T00:00:00Z"}}
    ours: list[Any] = []
    for _ in range(100):
        events = post(prefect_server, "events/filter", filter=asked)["events"]
        ours = [event for event in events if event["payload"] == {"survey": str(tmp_path)}]
        if ours:
            break
        time.sleep(0.1)
    assert len(ours) == 1


@pytest.mark.slow
def test_server_of_the_runs_own_lets_nobody_else_in_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prefect_server_module, "configured_server", lambda: None)
    for _ in range(2):  # the second time on a copy of the database that the first one set up
        with server_of_run() as server:
            assert server is not None
            assert server.answers()
            answer = httpx.post(f"{server.url}/flows/count", json={})
            assert answer.status_code == 401
            (child,) = [
                each
                for each in psutil.Process().children()
                if "flows.prefect.server" in " ".join(each.cmdline())
            ]
        assert not child.is_running()
        kept = list((tmp_path / "cache" / "terrestrial-mapping-platform" / "prefect").iterdir())
        assert [path.suffix for path in kept] == [".db"]
