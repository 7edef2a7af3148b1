"""What a cluster's profile may say."""

from pathlib import Path

import pytest

from flows.engine.cost import Cost, Resources
from flows.execution.cluster_profile import Profile, doubled, read_profile
from flows.pipeline import STAGE_NAMES
from tmp.errors import InputError


def test_stage_takes_what_it_does_not_say_from_the_cluster(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(
        'partition = "cpu"\naccount = "geo"\nat_once = 20\nprologue = ["module load gcc"]\n'
        '[stage.orientation]\npartition = "himem"\n'
    )
    profile = read_profile(path)
    assert profile.place_of("orientation").partition == "himem"
    assert profile.place_of("orientation").account == "geo"
    assert profile.place_of("surface").partition == "cpu"
    assert profile.at_once == 20
    assert profile.prologue == ("module load gcc",)


def test_stage_asks_for_what_the_site_says_and_for_its_own_where_it_says_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[stage.surface]\ngpus = 1\nmemory_gb = 24.5\nqos = "long"\n')
    profile = read_profile(path)
    asked = Resources(cpus=4, memory_gb=8.0, minutes=30)
    got = profile.adjusted("surface", asked)
    assert got == Resources(cpus=4, memory_gb=24.5, minutes=30, gpus=1)
    assert profile.adjusted("orthomosaic", asked) == asked
    assert doubled(got, memory=True) == Resources(cpus=4, memory_gb=49.0, minutes=30, gpus=1)


def test_stage_of_a_gpu_can_be_kept_off_it(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("[stage.surface]\ngpus = 0\n")
    assert read_profile(path).adjusted("surface", Resources(gpus=1)).gpus == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('partitoin = "cpu"', "'partitoin' is not known; did you mean 'partition'"),
        ("qqq = 1", "'qqq' is not known; known are .*partition"),
        (
            "[stage.surface]\ncpu = 1",
            r"\[stage.surface\]: .*'cpu' is not known; did you mean 'cpus'",
        ),
        ("cpus = 1", "'cpus' is not known"),
        ('partition = "cpu; rm"', "is no word for sbatch"),
        ('partition = "cpu\\n#SBATCH"', "is no word for sbatch"),
        ("partition = 3", 'partition = 3; give text in "quotes"'),
        ("poll_s = 0", "give a number above 0"),
        ("most_units = 2.5", "most_units = 2.5; give a whole number"),
        ("[stage.surface]\ngpus = -1", "gpus = -1; give a number from 0 to"),
        ("[stage.surface]\nminutes = nan", "minutes = nan"),
        ("[stage.surface]\nmemory_gb = inf", "memory_gb = inf"),
        ("poll_s = nan", "poll_s = nan"),
        ("unit_minutes = inf", "unit_minutes = inf"),
        ("unit_minutes = 0", "unit_minutes = 0.0; give a number above 0"),
        ("grace_s = 1e9", "grace_s = 1.*; give a number above 0 and at most 86400"),
        ('prologue = "module load gcc"', "prologue = 'module load gcc'; give a list, each text"),
        ('scratch = "scratch"', "give a path from / or from a"),
        ('python = "a\\nb"', "is no path"),
        ('stage = "surface"', "write it as a table"),
        ("stage.surface = 1", "write it as a table"),
        ("[", "not valid TOML"),
    ],
)
def test_profile_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_profile(path)


def test_stage_that_the_platform_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("[stage.orientaton]\nmemory_gb = 200\n")
    profile = read_profile(path)
    with pytest.raises(InputError, match=r"orientaton.*is not known; did you mean 'orientation'"):
        profile.require_stages(STAGE_NAMES)
    path.write_text("[stage.orientation]\nmemory_gb = 200\n")
    read_profile(path).require_stages(STAGE_NAMES)


def test_absent_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(tmp_path / "no.toml")


def test_units_grow_with_the_work_up_to_the_most_and_to_its_parts() -> None:
    profile = Profile(unit_minutes=8, most_units=10)
    costs = [Cost(cpu_s=60 * minutes, parts=50) for minutes in (1, 8, 9, 1000)]
    assert [profile.units(cost) for cost in costs] == [1, 1, 2, 10]
    assert profile.units(Cost(cpu_s=60000, parts=3)) == 3
