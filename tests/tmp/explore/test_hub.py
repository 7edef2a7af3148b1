"""A real JupyterHub with the configuration of ``docs/cluster.md``: log in, run, see a tile."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.tmp.explore.conftest import DRAWN, WAIT_MS
from tmp.explore.lab import CONFIG, copy_notebooks
from tmp.survey import Survey

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"
PROXY = os.environ.get("TMP_HUB_PROXY") or shutil.which("configurable-http-proxy")
"""``npm install configurable-http-proxy`` has it; the variable says where."""
INSTEAD = """
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.SimpleLocalProcessSpawner.home_dir_template = "{home}"
c.Spawner.args = ["--allow-root"]
c.Spawner.environment |= {environment!r}
"""


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def configuration(folder: Path, home: Path) -> tuple[str, int]:
    """Return the page's first configuration, with what a test cannot have replaced."""
    (code,) = re.findall(
        r"```python\n(# /opt/hub/jupyterhub_config\.py.*?)```",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    port, hub, api = free_ports(3)
    environment = {"JUPYTER_CONFIG_PATH": str(CONFIG), "PYTHONPATH": str(PAGE.parents[1])}
    replaced = INSTEAD.format(
        proxy=PROXY, api=api, port=port, hub=hub, folder=folder, home=home, environment=environment
    )
    return code + replaced, port


@contextmanager
def running_hub(folder: Path, home: Path) -> Iterator[str]:
    text, port = configuration(folder, home)
    (folder / "config.py").write_text(text)
    said = folder / "log.txt"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", "config.py"],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env=os.environ | {"CONFIGPROXY_AUTH_TOKEN": "0" * 64},
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{address}/hub/login", timeout=5).close()
                yield address
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        pytest.fail(said.read_text(errors="replace")[-2000:])
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(find_spec("jupyterhub") is None, reason="JupyterHub is not installed")
@pytest.mark.skipif(find_spec("jupyterhub_idle_culler") is None, reason="nor its idle culler")
@pytest.mark.skipif(PROXY is None, reason="configurable-http-proxy is not installed")
def test_a_person_logs_in_and_sees_the_tiles_of_a_survey_in_the_store(
    browser: Any, walled: Survey, tmp_path: Path
) -> None:
    home = tmp_path / "alice"
    copy_notebooks(home / "dig", walled.folder)
    with running_hub(tmp_path, home) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 2400})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/hub/login")
        page.fill("#username_input", "alice")
        page.fill("#password_input", "any")
        page.click("#login_submit")
        page.wait_for_url("**/user/alice/lab**", timeout=WAIT_MS)
        page.goto(f"{address}/user/alice/lab/tree/dig/02_first_look.ipynb?reset")
        page.wait_for_selector("text=| Idle", timeout=WAIT_MS)
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        page.wait_for_function(f"{DRAWN} >= 5", timeout=WAIT_MS)
        hosts = {re.split("[/:]+", one)[1] for one in asked if one.startswith(("http", "ws"))}
        assert hosts == {"127.0.0.1"}
        page.close()
