"""A Slurm of one controller and three named nodes on this host, without systemd.

``python tests/flows/execution/slurm_cluster.py`` gets Debian's packages, where it may.  All that
runs is stopped by its own process number; all files are below one folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_bytes

NODES = ("n1", "n2", "n3")
PACKAGES = ("slurm-wlm", "munge")
PORT = 17817
START_S = 30.0
CONF = """
ClusterName=tmp-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
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
SlurmdTimeout=15
KillWait=3
MinJobAge=300
JobRequeue=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
GresTypes=gpu
DefMemPerCPU=512
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=4000 Gres=gpu:1
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.1 Port={n3} CPUs=2 RealMemory=16000
PartitionName=cpu Nodes=n1 MaxTime=01:00:00 State=UP
PartitionName=gpu Nodes=n2 MaxTime=01:00:00 State=UP
PartitionName=himem Nodes=n3 MaxTime=01:00:00 State=UP
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=01:00:00 State=UP
"""


def why_not() -> str:
    """Return why no cluster can be started here; empty if one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a cluster is started by root on Linux only"
    missing = [name for name in ("munged", "slurmctld", "slurmd") if shutil.which(name) is None]
    return f"no {', '.join(missing)}: apt-get install {' '.join(PACKAGES)}" if missing else ""


@contextmanager
def cluster(root: Path) -> Iterator[Path]:
    """Run a cluster while the block runs; yields its ``slurm.conf``."""
    conf = _write_files(root)
    munge = root / "munge"
    commands = [
        [
            *("munged", "-F", "--force", f"--key-file={root}/etc/munge.key"),
            *(f"--socket={munge}/munge.sock", f"--pid-file={munge}/munged.pid"),
            *(f"--seed-file={munge}/seed", f"--log-file={root}/log/munged.log"),
        ],
        ["slurmctld", "-D", "-i", "-f", str(conf)],
        *(["slurmd", "-D", "-N", node, "-f", str(conf)] for node in NODES),
    ]
    started: list[subprocess.Popen[bytes]] = []
    said_to = os.environ | {"SLURM_CONF": str(conf)}
    try:
        for index, command in enumerate(commands):
            with (root / "log" / f"{index}-{command[0]}.out").open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
            started.append(process)
        _await_nodes(said_to)
        yield conf
        subprocess.run(["scancel", "-u", "root"], env=said_to, check=False)
        time.sleep(1)
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write_files(root: Path) -> Path:
    for name in ("etc", "log", "pids", "state", "munge", *(f"spool/{node}" for node in NODES)):
        (root / name).mkdir(parents=True)
    (root / "munge").chmod(0o711)
    key = root / "etc" / "munge.key"
    key.write_bytes(token_bytes(1024))
    key.chmod(0o600)
    conf = root / "etc" / "slurm.conf"
    ports = {node: PORT + 1 + index for index, node in enumerate(NODES)}
    host = os.uname().nodename.split(".")[0]
    conf.write_text(CONF.format(root=root, host=host, port=PORT, **ports))
    (root / "etc" / "gres.conf").write_text("AutoDetect=off\nNodeName=n2 Name=gpu File=/dev/zero\n")
    return conf


def _await_nodes(environment: dict[str, str]) -> None:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        command = ["sinfo", "-h", "-N", "-p", "all", "-t", "idle", "-o", "%N"]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if len(said.stdout.split()) == len(NODES):
            return
        time.sleep(0.2)
    raise TimeoutError("the cluster's nodes did not come up; see its log folder")


if __name__ == "__main__":
    get = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    sys.exit(subprocess.run(get, check=False).returncode)
