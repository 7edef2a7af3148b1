"""Two people and one survey: as root only, who can be both."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two users"
)
ALICE, BOB, GROUP = 54321, 54322, 54300
TAKE_IN = """
import os, sys
from pathlib import Path
from tmp.errors import TmpError
from tmp.lock import locked_survey
from tmp.survey import Survey, create_survey
user = int(sys.argv[3])  # only now: others need not be able to start this Python
os.setgroups([int(sys.argv[4])])
os.setgid(user)
os.setuid(user)
os.umask(0o022)
survey = Survey(folder=Path(sys.argv[1]))
try:
    with locked_survey(survey, "'tmp ingest'"):
        create_survey(survey.folder)
        (survey.work_dir / sys.argv[2]).mkdir(parents=True)
        survey.photos_dir.mkdir(exist_ok=True)
        (survey.photos_dir / sys.argv[2]).write_text("a photograph")
except TmpError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that people reach who are not root, unlike pytest's own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def take_in(user: int, survey: Path, name: str) -> str:
    """Take a photograph in as somebody; returns what went wrong."""
    words = [str(survey), name, str(user), str(GROUP)]
    done = subprocess.run(
        [sys.executable, "-c", TAKE_IN, *words], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_members_of_a_group_go_on_with_each_others_surveys(shared: Path) -> None:
    surveys = shared / "surveys"
    surveys.mkdir()
    os.chown(surveys, 0, GROUP)
    surveys.chmod(0o2775)
    assert take_in(ALICE, surveys / "farm", "1.JPG") == ""
    assert take_in(BOB, surveys / "farm", "2.JPG") == ""
    made = surveys / "farm" / "photos" / "1.JPG"
    assert (made.stat().st_uid, made.stat().st_gid) == (ALICE, GROUP)
    assert made.stat().st_mode & 0o777 == 0o664
    assert made.parent.stat().st_mode & 0o7777 == 0o2775


def test_who_may_not_write_is_told_in_a_line_whose_it_is_and_what_to_do(shared: Path) -> None:
    survey = shared / "alice" / "farm"
    survey.parent.mkdir()
    os.chown(survey.parent, ALICE, ALICE)
    assert take_in(ALICE, survey, "1.JPG") == ""
    said = take_in(BOB, survey, "2.JPG")
    assert said.count("\n") == 1
    assert f"is user {ALICE}'s, of mode drwxr-xr-x; have user {ALICE} let your group write" in said
