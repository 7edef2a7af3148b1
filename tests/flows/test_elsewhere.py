"""What Windows lacks is hidden here: everything still loads, and a flight is planned.

This shows that nothing in the code stands in the way, not that a library does not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution import worker
from flows.execution.local import LocalExecutor
from tmp.files import move

HIDDEN = """
import importlib, os, pkgutil, signal, sys

def load():
    for package in ("tmp", "flightplan", "ingest", "photogrammetry", "flows"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            importlib.import_module(module.name)

def ours():
    packages = ("tmp", "flightplan", "ingest", "photogrammetry", "flows")
    return [name for name in sys.modules if name.partition(".")[0] in packages]

load()  # other people's code knows where it is, and is loaded as it is here
for name in ours():
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix"):
    sys.modules[name] = None
for name in (
    *("fork", "forkpty", "killpg", "getpgid", "setpgid", "getsid", "setsid", "getuid", "geteuid"),
    *("getgid", "setuid", "sched_getaffinity", "posix_fadvise", "statvfs", "getloadavg", "uname"),
    *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "chown", "mkfifo", "nice", "wait4"),
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM", "SIGPIPE"):
    delattr(signal, name)
del signal.pthread_kill, signal.pthread_sigmask
load()

class Windows:  # the module sys of another system, for our modules alone
    platform = "win32"
    def __getattr__(self, name):
        return getattr(sys, name)

for name in ours():
    if vars(sys.modules[name]).get("sys") is sys:
        sys.modules[name].sys = Windows()
from tmp.cli import main
"""


def without_posix(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HIDDEN + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_everything_loads_and_a_flight_is_planned_without_what_windows_lacks(
    tmp_path: Path,
) -> None:
    area = "POLYGON ((8 47, 8.001 47, 8.001 47.0005, 8 47.0005, 8 47))"
    plan = ["plan", area, "--crs", "EPSG:4326", "-o", "site", "--drone", "mini 4 pro"]
    done = without_posix(f"main({plan!r}, standalone_mode=False)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "plan" / "certificate.json").is_file()
    assert not (tmp_path / "site" / "work" / "lock").exists()


def test_processes_are_ended_with_what_they_started_where_there_are_no_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.killpg")
    executor = LocalExecutor(cpus=1)
    executor.get_ready("flows.stages.ingest")
    (started,) = executor._idle
    assert started.process.poll() is None
    executor.cancel()
    assert started.process.poll() is not None


def test_worker_ends_with_its_controller_where_the_kernel_does_not_see_to_it(
    tmp_path: Path,
) -> None:
    controller = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    code = "from flows.execution.worker import *\nsys.platform = 'darwin'\n"
    code += "die_with_parent(); print('ready', flush=True); time.sleep(600)"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {worker.PARENT: str(controller.pid)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    controller.communicate(b"\n")
    assert child.wait(60) != 0
    child.stdout.close()


@pytest.mark.parametrize("busy", [3, 1000])
def test_file_that_another_program_has_open_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int
) -> None:
    tries: list[Path] = []
    replace = Path.replace

    def refuse(source: Path, target: Path) -> Path:
        tries.append(source)
        if len(tries) <= busy:
            raise PermissionError(13, "used by another process")
        return replace(source, target)

    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("tmp.files.BUSY_S", 0.3)
    monkeypatch.setattr(Path, "replace", refuse)
    (tmp_path / "new").write_text("new")
    if busy == 3:
        move(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "new"
        return
    with pytest.raises(PermissionError):
        move(tmp_path / "new", tmp_path / "old")
    assert len(tries) > 1
