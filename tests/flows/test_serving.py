"""Runs that Prefect's server asks for: what a service lets them do, and that they are started."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner

from flows import serve, survey_flow
from flows.execution.cluster_profile import read_profile
from flows.prefect.records import INGESTED, announce_ingest
from flows.prefect.server import Server
from flows.run.record import read_run
from flows.run.request import Part, Service, Where, service_of_process
from flows.serve import deployment, serve_runs
from flows.survey_flow import survey
from tmp.cli import main
from tmp.errors import InputError
from tmp.survey import Survey
from tmp.threads import SERVICE

ASKED = {
    "cards": ("farm/card",),
    "quality": "fast",
    "until": "orient",
    "area": "",
    "water": "farm/lake.kml",
    "ortho_gsd_m": 0.05,
    "indices": ("NDVI",),
}


def test_service_reads_what_it_wrote(tmp_path: Path) -> None:
    for cards in ((), (tmp_path / "media", tmp_path / "inbox")):
        where = {"cards": cards, "on": "slurm", "profile_path": tmp_path / "c.toml"}
        service = Service(surveys=tmp_path, workers=3, **where)
        assert Service.from_text(service.to_text()) == service


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "", "."])
def test_run_outside_the_folder_of_surveys_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="all this service runs"):
        Service(surveys=tmp_path).survey(name)


@pytest.mark.parametrize("name", ["/etc", "../private", "farm/link/DCIM"])
def test_run_reads_cards_and_areas_below_the_services_folders_only(
    tmp_path: Path, name: str
) -> None:
    surveys, private = tmp_path / "surveys", tmp_path / "private"
    (private / "DCIM").mkdir(parents=True)
    (surveys / "farm").mkdir(parents=True)
    (surveys / "farm" / "link").symlink_to(private)
    service = Service(surveys=surveys, cards=(tmp_path / "media",))
    with pytest.raises(InputError, match=r"surveys, .*media only; start it with --cards"):
        service.readable(name)


def test_run_reads_cards_where_the_service_says(tmp_path: Path) -> None:
    service = Service(surveys=tmp_path / "surveys", cards=(tmp_path / "media",))
    assert service.readable("farm/plots.gpkg") == tmp_path / "surveys" / "farm" / "plots.gpkg"
    assert service.readable(str(tmp_path / "media" / "card")) == tmp_path / "media" / "card"


def test_survey_is_given_by_name_or_path(tmp_path: Path) -> None:
    service = Service(surveys=tmp_path)
    assert service.survey("farm") == service.survey(str(tmp_path / "farm")) == tmp_path / "farm"


def test_what_is_asked_of_a_run_reaches_it_and_where_it_runs_is_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    @contextmanager
    def opened(*given: Any) -> Iterator[None]:
        seen.extend(given)
        raise InputError("seen")
        yield

    monkeypatch.setattr(survey_flow, "open_run", opened)
    profile = tmp_path / "cluster.toml"
    profile.write_text('partition = "cpu"\n')
    service = Service(surveys=tmp_path, on="slurm", profile_path=profile, workers=3)
    monkeypatch.setenv(SERVICE, service.to_text())
    assert service_of_process() == service
    parameters = survey_flow.survey.validate_parameters({"survey": "farm", **ASKED})
    with pytest.raises(InputError, match="seen"):
        survey_flow.survey.fn(**parameters)
    root, request, run = seen
    assert root == tmp_path / "farm"
    assert (request.map.quality, request.map.ortho_gsd_m, request.map.workers) == ("fast", 0.05, 3)
    assert (request.cards, request.until) == ((tmp_path / "farm" / "card",), Part.ORIENT)
    assert request.map.water_file == tmp_path / "farm" / "lake.kml"
    assert request.indices.indices == ("NDVI",)
    assert (run.on, run.profile) == (Where.SLURM, read_profile(profile))


def test_deployment_is_found_by_its_module_and_started_by_an_ingest() -> None:
    made = deployment(survey, 2)
    assert (made.flow_name, made.name, made.concurrency_limit) == ("survey", "after-flight", 2)
    assert made.entrypoint == "flows.survey_flow.survey"
    trigger = made.triggers[0]
    assert trigger.expect == {INGESTED}
    assert trigger.parameters == {"survey": "{{ event.payload.survey }}"}


def test_service_without_a_server_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "configured_server", lambda: None)
    with pytest.raises(InputError, match="none is configured; start one with"):
        serve_runs(survey, Service(surveys=tmp_path), 1)
    silent = Server(url="http://127.0.0.1:1/api")
    monkeypatch.setattr(serve, "configured_server", lambda: silent)
    with pytest.raises(InputError, match="1/api does not answer"):
        serve_runs(survey, Service(surveys=tmp_path), 1)


class OfAPassword(BaseHTTPRequestHandler):
    """A server that wants a name and a password."""

    def do_POST(self) -> None:
        said = self.headers.get("Authorization", "")
        self.send_response(200 if b64decode(said.removeprefix("Basic ")) == b"farm:pw" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with HTTPServer(("127.0.0.1", 0), OfAPassword) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        server = Server(url=f"http://127.0.0.1:{http.server_port}/api")
        monkeypatch.setattr(serve, "configured_server", lambda: server)
        yield server
        http.shutdown()


def test_server_is_guarded_if_it_lets_nobody_in_without_the_password(
    guarded: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not guarded.answers()
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "farm:pw")
    assert guarded.answers()
    assert not guarded.answers_anyone()


def test_server_that_lets_anyone_in_is_refused_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Server, "_lets_in", lambda server, said: True)
    monkeypatch.setattr(serve, "configured_server", lambda: Server(url="http://login1/api"))
    monkeypatch.setattr(serve, "_bind_to", lambda flow: asked.append("bound") or sys.exit(0))
    monkeypatch.setenv(SERVICE, "")
    words = ["serve", str(tmp_path)]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "http://login1/api lets in whoever reaches it" in refused.output
    assert "pass --without-password" in refused.output
    assert asked == []
    assert CliRunner().invoke(main, [*words, "--without-password"]).exit_code == 0
    assert asked == ["bound"]


def test_runs_and_their_hooks_take_the_flow_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.flow_engine import load_flow
    from prefect.runner import runner

    monkeypatch.setenv(serve.ENTRYPOINT, "")
    monkeypatch.setattr(runner, "load_flow_from_flow_run", None)
    serve._bind_to(survey_flow.survey)
    nobodys: Any = object()  # nothing is read of a run to find its flow
    assert load_flow(nobodys) is survey_flow.survey
    assert asyncio.run(runner.load_flow_from_flow_run(nobodys)) is survey_flow.survey
    hooks = [one for one in runner.Runner.__aenter__.__code__.co_consts if hasattr(one, "co_names")]
    assert any("load_flow_from_flow_run" in one.co_names for one in hooks)


def test_nothing_is_announced_where_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.prefect.records.configured_server", lambda: None)
    assert not announce_ingest(tmp_path)


@contextmanager
def serving(url: str, surveys: Path, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Have ``tmp serve`` run what a server asks for; stops it in good order."""
    tmp = str(Path(sys.executable).with_name("tmp"))
    command = [tmp, "serve", str(surveys), "--without-password"]
    environment = environment_of(url, home)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as service:
        try:
            wait_for(url, "deployments", 1)
            yield service
        finally:
            service.send_signal(signal.SIGTERM)
        said = service.communicate(timeout=60)[1]
    assert said == "interrupted; run the same command again to go on\n"


def environment_of(url: str, home: Path) -> dict[str, str]:
    own = {"PREFECT_API_URL": url, "PREFECT_HOME": str(home), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    return os.environ | own


@pytest.mark.slow
def test_announced_survey_is_run_once_and_the_service_stops_in_good_order(
    prefect_server: str, tmp_path: Path
) -> None:
    farm = tmp_path / "surveys" / "farm"
    farm.mkdir(parents=True)
    code = (
        "from pathlib import Path; from flows.prefect.records import announce_ingest\n"
        f"announce_ingest(Path({str(farm)!r}))"
    )
    environment = environment_of(prefect_server, tmp_path)
    with serving(prefect_server, farm.parent, tmp_path):
        planted = plant_shell(prefect_server, tmp_path)
        for _ in range(2):
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        asked = {"state": {"type": {"any_": ["FAILED"]}}, "name": {"any_": ["farm"]}}
        ended = wait_for(prefect_server, "flow_runs", 1, flow_runs=asked)
    assert len(ended) == 1
    assert f"{farm}: is not a survey (no survey.toml)" in ended[0]["state"]["message"]
    assert not planted.exists()


@pytest.mark.slow
def test_run_is_started_cancelled_and_retried_through_the_api(
    prefect_server: str, flight: Survey, tmp_path: Path
) -> None:
    surveys = tmp_path / "surveys"
    folder = shutil.copytree(flight.folder, surveys / "flight")

    def state_is(*kinds: str) -> None:
        asked = {"id": {"any_": [run]}, "state": {"type": {"any_": list(kinds)}}}
        wait_for(prefect_server, "flow_runs", 1, flow_runs=asked)

    def set_state(**state: str) -> None:
        url = f"{prefect_server}/flow_runs/{run}/set_state"
        httpx.post(url, json={"state": state, "force": True}).raise_for_status()

    with serving(prefect_server, surveys, tmp_path):
        (deployed,) = wait_for(prefect_server, "deployments", 1)
        planted = plant_shell(prefect_server, tmp_path)
        url = f"{prefect_server}/deployments/{deployed['id']}/create_flow_run"
        asked = {"parameters": {"survey": "flight", "quality": "fast", "until": "orient"}}
        for _ in range(60):
            made = httpx.post(url, json=asked, timeout=20.0)
            if made.status_code != httpx.codes.SERVICE_UNAVAILABLE:  # its database was busy
                break
            time.sleep(0.5)
        run = made.json()["id"]
        parts = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
        under_way = {"state": {"type": {"any_": ["RUNNING"]}}}
        wait_for(prefect_server, "task_runs", 1, **parts, task_runs=under_way)
        set_state(type="CANCELLING", name="Cancelling")
        state_is("CANCELLED")
        deadline_s = time.monotonic() + 30
        while processes_of(run, folder):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert read_run(Survey(folder=folder)).state == "stopped"
        time.sleep(3)  # its runner notes the end of the process, and has the last word
        set_state(type="SCHEDULED", name="AwaitingRetry")
        state_is("COMPLETED")
    assert not planted.exists()
    stages = wait_for(prefect_server, "task_runs", 3, **parts)
    assert {"features", "matches", "orientation"} <= {stage["name"] for stage in stages}
    pages = wait_for(prefect_server, "artifacts", 1, **parts)
    assert "orientation" in {page["key"] for page in pages}
    ids = [part["id"] for part in wait_for(prefect_server, "flow_runs", 1, **parts)]
    lines = wait_for(prefect_server, "logs", 1, logs={"flow_run_id": {"any_": ids}})
    # Of whichever stage was made: the cancelled run may have got further than it was let.
    assert any(": made by 1 unit" in line["message"] for line in lines)


def plant_shell(url: str, folder: Path) -> Path:
    """Do what whoever reaches a server can: have its deployment run a shell, and other code."""
    planted = folder / "planted"
    script = {"script": f"touch {planted}"}
    (deployed,) = wait_for(url, "deployments", 1)
    change = {
        "pull_steps": [{"prefect.deployments.steps.run_shell_script": script}],
        "entrypoint": "antigravity.geohash",
        "job_variables": {"env": {SERVICE: "{}"}},
    }
    httpx.patch(f"{url}/deployments/{deployed['id']}", json=change).raise_for_status()
    return planted


def processes_of(run: str, survey: Path) -> list[psutil.Process]:
    """Return the processes of a flow run, and those at work on its survey."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.environ().get("PREFECT__FLOW_RUN_ID") == run
            if ours or ("-m" in process.cmdline() and str(survey) in " ".join(process.cmdline())):
                found.append(process)
    return found


def wait_for(url: str, kind: str, count: int, **asked: Any) -> list[Any]:
    for _ in range(900):  # a machine that is busy with other things
        found = httpx.post(f"{url}/{kind}/filter", json=asked, timeout=20.0).json()
        if len(found) >= count:
            return list(found)
        time.sleep(0.2)
    raise AssertionError(json.dumps(found))
