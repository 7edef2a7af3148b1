"""A Slurm of one controller and three named nodes on this host, without systemd.

``python tests/flows/execution/slurm_cluster.py`` gets Debian's packages, where it may.  All that
runs is stopped by its own process number, all files are below one folder, and the ports are free
ones, so that several clusters can run at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes

NODES = ("n1", "n2", "n3")
PACKAGES = ("slurm-wlm", "munge")
START_S = 30.0
CONF = """
ClusterName=tmp-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={root}/munge/munge.sock
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/pids/slurmctld.pid
SlurmdPidFile={root}/pids/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
ReturnToService=2
SlurmdTimeout=20
KillWait=3
MinJobAge=300
MaxArraySize=10001
MaxJobCount=20000
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
GresTypes=gpu
DefMemPerCPU=512
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs={cpus} RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs={cpus} RealMemory=4000 Gres=gpu:1
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.1 Port={n3} CPUs={cpus} RealMemory=16000
PartitionName=DEFAULT MaxTime=01:00:00 State=UP PriorityTier=1
PartitionName=cpu Nodes=n1
PartitionName=gpu Nodes=n2
PartitionName=himem Nodes=n3
PartitionName=all Nodes=n1,n2,n3 Default=YES
PartitionName=urgent Nodes=n1 PriorityTier=9
"""
IS_CLUSTER = "TMP_TEST_NODE"
"""Environment variable of a node's daemons."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that runs."""

    root: Path
    ports: Mapping[str, int]
    """Of the controller and of each node."""
    nodes: tuple[str, ...] = NODES
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def conf(self) -> Path:
        """Its ``slurm.conf``; commands find it by the environment variable SLURM_CONF."""
        return self.root / "etc" / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of commands that speak to it."""
        return os.environ | {"SLURM_CONF": str(self.conf)}

    def start_controller(self) -> None:
        """Start the controller; the queue is as it was."""
        self.start("slurmctld", ["slurmctld", "-D", "-i", "-f", str(self.conf)])

    def kill_controller(self) -> None:
        """Kill the controller; jobs go on."""
        process = self._daemons.pop("slurmctld")
        process.kill()
        process.wait()

    def start_node(self, name: str, *, hiding: Path | None = None) -> None:
        """Start a node, in which a folder is empty if one is to be hidden; wait until it is up."""
        command = ["slurmd", "-D", "-N", name, "-f", str(self.conf)]
        if hiding is not None:
            hide = 'mount -t tmpfs none "$1" && shift && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", hide, "hide", str(hiding), *command]
        self.start(name, command, os.environ | {IS_CLUSTER: str(self.root / name)})
        _wait_for(lambda: self._listens(name) and name in self.up(), f"node {name}")

    def kill_node(self, name: str) -> None:
        """Kill a node and all that runs on it, as a power cut does."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none sees another die, and tells
            for process in self._processes_of(name):
                with suppress(ProcessLookupError):
                    os.kill(process, number)
        self._daemons.pop(name).wait()

    def stop_node(self, name: str) -> None:
        """End a node whose jobs have ended."""
        _end(self._daemons.pop(name))

    def up(self) -> list[str]:
        """Return the nodes that answer and take jobs."""
        command = ["sinfo", "-h", "-N", "-p", "all", "-t", "idle,alloc,mix,comp", "-o", "%N %T"]
        said = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        # A star marks a node that does not answer.
        return [line.split()[0] for line in said.stdout.splitlines() if not line.endswith("*")]

    def start(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        """Start a daemon."""
        with (self.root / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, env=environment
            )

    def stop(self) -> None:
        """End all that runs."""
        for name in reversed(list(self._daemons)):
            _end(self._daemons.pop(name))
        for process in [each for name in self.nodes for each in self._processes_of(name)]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _listens(self, node: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports[node])) == 0

    def _processes_of(self, node: str) -> list[int]:
        """Return the daemons of a node, and its jobs."""
        daemon = {f"{IS_CLUSTER}={self.root / node}"}
        job = {f"SLURM_CONF={self.conf}", f"SLURMD_NODENAME={node}"}
        found = set()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                said = set(path.read_bytes().decode(errors="replace").split("\0"))
                if daemon <= said or job <= said:
                    found.add(int(path.parent.name))
        # A job's own daemon has written its title over its environment.
        parents = {_parent(process) for process in found}
        return sorted(found | {each for each in parents if _command(each) == "slurmstepd"})


def _parent(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def why_not() -> str:
    """Return why no cluster can be started here; empty if one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a cluster is started by root on Linux only"
    missing = [name for name in ("munged", "slurmctld", "slurmd") if shutil.which(name) is None]
    return f"no {', '.join(missing)}: apt-get install {' '.join(PACKAGES)}" if missing else ""


@contextmanager
def cluster(root: Path, *, cpus: int = 2) -> Iterator[Cluster]:
    """Run a cluster while the block runs.

    Parameters
    ----------
    root : Path
        New folder for all its files.
    cpus : int
        Of each node; more than the host has are believed.
    """
    names = ("controller", *NODES)
    running = Cluster(root=root, ports=dict(zip(names, _free_ports(len(names)), strict=True)))
    _write_files(running, cpus)
    munge = root / "munge"
    try:
        running.start(
            "munged",
            [
                *("munged", "-F", "--force", f"--key-file={root}/etc/munge.key"),
                *(f"--socket={munge}/munge.sock", f"--pid-file={munge}/munged.pid"),
                *(f"--seed-file={munge}/seed", f"--log-file={root}/log/munged.log"),
            ],
        )
        running.start_controller()
        for node in NODES:
            running.start_node(node)
        yield running
        subprocess.run(["scancel", "-u", "root"], env=running.environment, check=False)
        time.sleep(1)
    finally:
        running.stop()


def _write_files(made: Cluster, cpus: int) -> None:
    root = made.root
    for name in ("etc", "log", "pids", "state", "munge", *(f"spool/{node}" for node in NODES)):
        (root / name).mkdir(parents=True)
    (root / "munge").chmod(0o711)
    key = root / "etc" / "munge.key"
    key.write_bytes(token_bytes(1024))
    key.chmod(0o600)
    host = os.uname().nodename.split(".")[0]
    made.conf.write_text(CONF.format(root=root, host=host, cpus=cpus, **made.ports))
    (root / "etc" / "gres.conf").write_text("AutoDetect=off\nNodeName=n2 Name=gpu File=/dev/zero\n")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_for(ready: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what} did not come up; see the cluster's log folder")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    get = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    sys.exit(subprocess.run(get, check=False).returncode)
