import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmp.errors import InputError, SpaceError
from tmp.files import read_json, replacing, shared_with_group, write_json


def test_the_new_file_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, SpaceError, "disk is full"),
        (errno.EDQUOT, SpaceError, "disk is full"),
        (errno.EACCES, InputError, "is your own, of mode"),
    ],
)
def test_a_full_or_forbidden_disk_is_said_plainly(tmp_path, number, error, words):
    with pytest.raises(error, match=words), replacing(tmp_path / "a.txt"):
        raise OSError(number, "refused")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_written_as_json_is_read_again(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_for_programs_is_ascii_and_for_people_as_they_write(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"name": "Hólar"}, indent=1)
    assert path.read_bytes() == b'{\n "name": "H\\u00f3lar"\n}'
    write_json(path, {"name": "Hólar"}, for_people=True)
    assert path.read_text(encoding="utf-8") == '{"name": "Hólar"}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, float("nan"), for_people=True)


def test_json_that_is_not_there_or_damaged_is_one_line_with_what_to_do(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match=r"a\.json: cannot be read \(No such .*\); plan again"):
        read_json(path, remedy="plan again")
    for content in (b'{"a": ', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json: damaged \(.*\); delete it") as refusal:
            read_json(path)
        assert "\n" not in str(refusal.value)


@pytest.fixture
def of_a_group(tmp_path: Path) -> Iterator[Path]:
    """A folder whose set-group-id bit is set, and a umask that keeps the group out."""
    folder = tmp_path / "surveys"
    folder.mkdir()
    folder.chmod(0o2775)
    before = os.umask(0o077)
    yield folder
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups of this kind")
def test_what_is_made_in_a_groups_folder_is_the_groups_to_write(of_a_group: Path) -> None:
    with shared_with_group(of_a_group / "farm" / "work"):
        (of_a_group / "farm" / "work").mkdir(parents=True)
        (of_a_group / "farm" / "survey.toml").touch()
        with replacing(of_a_group / "farm" / "survey.gpkg") as temporary:
            temporary.touch(mode=0o600)
    modes = [
        oct(of_a_group.joinpath(name).stat().st_mode & 0o7777)
        for name in ("farm/work", "farm/survey.toml", "farm/survey.gpkg")
    ]
    assert modes == ["0o2770", "0o660", "0o660"]
    assert os.umask(0o077) == 0o077


def test_what_is_made_in_a_folder_of_ones_own_is_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with shared_with_group(tmp_path), replacing(tmp_path / "survey.toml") as temporary:
            temporary.touch()
    finally:
        os.umask(before)
    assert (tmp_path / "survey.toml").stat().st_mode & 0o022 == 0
