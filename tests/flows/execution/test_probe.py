"""A cluster is looked at before the first job of a run."""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.execution import cluster_check as probe
from flows.execution.cluster_profile import Amounts, Place, Profile
from flows.execution.node_probe import main
from tmp.errors import ExecutionError, InputError

QUICK = Profile(poll_s=0.01, grace_s=0.2)
OTHER = """#!{python} -P
import sys
import flows.execution.node_probe
{change}
sys.exit(flows.execution.node_probe.main(sys.argv[4:]))
"""


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    folder = tmp_path / "survey %d"
    (folder / "work").mkdir(parents=True)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], str]:
    """Return a Python of the nodes that differs from this one."""

    def write(change: str) -> str:
        path = tmp_path / "node-python"
        path.write_text(OTHER.format(python=sys.executable, change=change))
        path.chmod(0o755)
        return str(path)

    return write


def plan(slurm: Path, *states: str) -> None:
    (slurm / "plan.json").write_text(json.dumps(states))


def commands(slurm: Path) -> list[str]:
    lines = (slurm / "calls.txt").read_text().splitlines()
    return [Path(line.split()[1]).name for line in lines]


def test_cluster_that_passed_is_not_asked_again_for_a_day(
    slurm: Path, survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe.prepare_cluster(QUICK, survey)
    asked = commands(slurm)
    assert asked[:2] == ["sinfo", "sbatch"]
    assert asked.count("sbatch") == 1
    probe.prepare_cluster(QUICK, survey)
    assert commands(slurm) == asked
    assert sorted(path.name for path in (survey / "work").iterdir()) == ["probe", "probe.json"]
    assert not list((survey / "work" / "probe").iterdir())
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + 86401)
    probe.prepare_cluster(QUICK, survey)
    assert commands(slurm).count("sbatch") == 2


def test_change_of_the_profile_is_looked_at_anew(slurm: Path, survey: Path) -> None:
    probe.prepare_cluster(QUICK, survey)
    probe.prepare_cluster(Profile(poll_s=0.01, place=Place(partition="cpu")), survey)
    assert commands(slurm).count("sbatch") == 2


def test_each_place_is_looked_at_once(slurm: Path, survey: Path) -> None:
    gpu = Place(partition="gpu", gres="gpu:a100")
    profile = Profile(
        poll_s=0.01,
        place=Place(partition="cpu"),
        stages={"surface": gpu, "orthomosaic": gpu, "model": Place(partition="cpu")},
    )
    probe.prepare_cluster(profile, survey)
    scripts = [(slurm / f"{number}.sh").read_text() for number in (100, 101)]
    assert ["--partition=gpu" in script for script in scripts] == [False, True]
    assert not any("gres" in script for script in scripts)
    assert commands(slurm).count("sbatch") == 2


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (
            Profile(place=Place(partition="cpus")),
            "partition = 'cpus'.*no such partition; it has cpu, gpu: mend",
        ),
        (
            Profile(stages={"surface": Place(partition="cpu", gres="gpu:a100")}),
            r"\[stage.surface\] gres = 'gpu:a100'.* in partition cpu; it has none",
        ),
        (
            Profile(
                stages={"surface": Place(gres="gpu:h100")}, amounts={"surface": Amounts(gpus=1)}
            ),
            "gres = 'gpu:h100'.*it has gpu, gpu:a100",
        ),
        (
            Profile(place=Place(constraint="avx2&rack9")),
            "constraint = 'rack9'.*it has avx2, rack1",
        ),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_with_what_it_has(
    slurm: Path, survey: Path, profile: Profile, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        probe.prepare_cluster(profile, survey)
    assert commands(slurm) == ["sinfo"]


def test_folder_that_the_nodes_do_not_see_is_refused(slurm: Path, survey: Path) -> None:
    plan(slurm, "HIDDEN@n3")
    with pytest.raises(InputError, match=r"survey %d: node n3 does not see this folder \(job 100"):
        probe.prepare_cluster(QUICK, survey)
    assert not list((survey / "work" / "probe").iterdir())
    plan(slurm, "COMPLETED")
    probe.prepare_cluster(QUICK, survey)  # the refusal is not remembered


def test_probe_that_ends_without_a_word_is_refused_after_the_shared_disks_time(
    slurm: Path, survey: Path
) -> None:
    plan(slurm, "TIMEOUT@n3")
    began_s = time.monotonic()
    with pytest.raises(InputError, match=r"node n3: job 100 ended as TIMEOUT, and said nothing$"):
        probe.prepare_cluster(QUICK, survey)
    assert time.monotonic() - began_s >= QUICK.grace_s


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "flows.execution.node_probe.version = lambda _: '0.0.9'",
            r"node \S+ has version 0.0.9 of the platform .*this machine has .*one release",
        ),
        (
            "flows.execution.node_probe.platform.python_version = lambda: '3.9.2'",
            r"runs Python 3.9 .*, this machine 3\.",
        ),
        ("sys.exit('No module named flows')", "does not have version .*install it there"),
        ("sys.exit('disk on fire')", "ended as FAILED: disk on fire"),
    ],
)
def test_other_installation_on_the_nodes_is_refused(
    slurm: Path, survey: Path, python: Callable[[str], str], change: str, said: str
) -> None:
    profile = Profile(python=python(change), poll_s=0.01)
    with pytest.raises(InputError, match=said):
        probe.prepare_cluster(profile, survey)


def test_python_that_the_nodes_do_not_have_is_refused(slurm: Path, survey: Path) -> None:
    with pytest.raises(InputError, match=r"cannot start /no/python .*as 'python' in the profile"):
        probe.prepare_cluster(Profile(python="/no/python", poll_s=0.01), survey)


def test_scratch_that_jobs_cannot_write_to_is_refused(
    slurm: Path, survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for scratch, said in ((f"{tmp_path}/file/x", "Not a directory"), ("$NO_SUCH/x", "no such var")):
        with pytest.raises(InputError, match=f"scratch = .*{said}.*; name a folder"):
            probe.prepare_cluster(Profile(scratch=scratch, poll_s=0.01), survey)
    monkeypatch.setenv("NODE_DISK", str(tmp_path))
    probe.prepare_cluster(Profile(scratch="$NODE_DISK/jobs", poll_s=0.01), survey)
    assert (tmp_path / "jobs").is_dir()


def test_probe_that_waits_says_why_and_is_cancelled_with_the_run(
    slurm: Path,
    survey: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plan(slurm, "PENDING:Resources")
    monkeypatch.setattr(probe, "WAIT_TOLD_S", 0.05)

    told: list[str] = []

    def sleep(seconds: float) -> None:
        if caplog.messages and not told:
            told.extend(caplog.messages)
            raise KeyboardInterrupt
        threading.Event().wait(seconds)

    monkeypatch.setattr(probe.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        probe.prepare_cluster(QUICK, survey)
    assert "waits for a node with room (Resources)" in caplog.text
    assert json.loads((slurm / "jobs.json").read_text())["100"][0] == "CANCELLED"


def test_probe_that_can_never_start_is_refused(slurm: Path, survey: Path) -> None:
    plan(slurm, "PENDING:PartitionTimeLimit")
    with pytest.raises(InputError, match="can never start: PartitionTimeLimit"):
        probe.prepare_cluster(QUICK, survey)


def test_slurm_that_does_not_answer_is_said(slurm: Path, survey: Path) -> None:
    (slurm / "sinfo").write_text("#!/bin/sh\necho slurm_load_partitions: down >&2; exit 1\n")
    with pytest.raises(ExecutionError, match="sinfo: slurm_load_partitions: down"):
        probe.prepare_cluster(QUICK, survey)


def test_node_answers_only_who_asked(tmp_path: Path) -> None:
    (tmp_path / "question.txt").write_text("who?")
    assert main([str(tmp_path), ""]) == 0
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["question"] == "who?"
    assert answer["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]
    assert not list(tmp_path.glob("*.part"))
