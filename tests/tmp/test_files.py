import errno

import pytest

from tmp.errors import InputError, SpaceError
from tmp.files import replacing


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
        (errno.EACCES, InputError, "permissions"),
    ],
)
def test_a_full_or_forbidden_disk_is_said_plainly(tmp_path, number, error, words):
    with pytest.raises(error, match=words), replacing(tmp_path / "a.txt"):
        raise OSError(number, "refused")
