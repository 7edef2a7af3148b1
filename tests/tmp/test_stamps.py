"""Content of files is known without reading it, until they look different."""

import hashlib
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmp.files import ABSENT, UNREAD, Stamps

LATER_S = 60


class Digester:
    """Digests files and counts how often each is read."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()

    def __call__(self, path: Path) -> str:
        self.read[path.name] += 1
        return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def digester() -> Digester:
    return Digester()


@pytest.fixture
def stamps(tmp_path: Path, digester: Digester) -> Stamps:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(f"turf {name}")
    return Stamps(path=tmp_path / "stamps.json", folder=folder, digest=digester)


def expected(stamps: Stamps) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in stamps.folder.iterdir()
    }


def age(stamps: Stamps) -> None:
    """Let time go by since the files were remembered."""
    later_s = stamps.path.stat().st_mtime + LATER_S
    os.utime(stamps.path, (later_s, later_s))


def test_what_is_remembered_is_not_read_again(stamps: Stamps, digester: Digester) -> None:
    right = expected(stamps)
    stamps.remember(right)
    age(stamps)
    assert stamps.differing(right) == {}
    assert digester.read == {}


def test_unknown_files_are_read_once(stamps: Stamps, digester: Digester) -> None:
    right = expected(stamps)
    for _ in range(2):
        assert stamps.differing(right) == {}
        age(stamps)
    assert digester.read == {"a": 1, "b": 1}


def test_a_file_as_young_as_what_is_remembered_of_it_is_read(
    stamps: Stamps, digester: Digester
) -> None:
    right = expected(stamps)
    stamps.remember(right)
    stat = (stamps.folder / "a").stat()
    os.utime(stamps.path, ns=(stat.st_ctime_ns, stat.st_ctime_ns + 3_000_000))
    stamps.differing({"a": right["a"]})
    assert digester.read == {"a": 1}


def test_a_note_on_one_file_lends_no_trust_to_a_young_one(
    stamps: Stamps, digester: Digester
) -> None:
    right = expected(stamps)
    stamps.remember(right)
    stat = (stamps.folder / "a").stat()
    os.utime(stamps.path, ns=(stat.st_ctime_ns, stat.st_ctime_ns))
    stamps.remember({"b": right["b"]})
    age(stamps)
    assert stamps.differing(right) == {}
    assert digester.read == {"a": 1}


@pytest.mark.parametrize("change", ["content", "time kept", "another file", "size"])
def test_changed_content_is_found_each_time(change: str, stamps: Stamps) -> None:
    right = expected(stamps)
    stamps.remember(right)
    age(stamps)
    path = stamps.folder / "a"
    stat = path.stat()
    if change == "another file":
        path.unlink()
    path.write_text("turf" if change == "size" else "sods a")
    if change == "time kept":
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for _ in range(2):
        assert stamps.differing(right) == {"a": hashlib.sha256(path.read_bytes()).hexdigest()}
        age(stamps)


def test_a_file_that_only_looks_changed_is_as_expected(stamps: Stamps, digester: Digester) -> None:
    right = expected(stamps)
    stamps.remember(right)
    os.utime(stamps.folder / "a", (1, 1))
    age(stamps)
    for _ in range(2):
        assert stamps.differing(right) == {}
        age(stamps)
    assert digester.read == {"a": 1}


def test_doubted_files_are_read_until_they_are_as_expected(
    stamps: Stamps, digester: Digester
) -> None:
    right = expected(stamps)
    stamps.remember(right)
    age(stamps)
    stamps.doubt(["a"])
    for _ in range(2):
        age(stamps)
        assert stamps.differing(right) == {}
    assert digester.read == {"a": 1}
    assert {name: digest for name, (digest, _) in stamps.remembered().items()} == right


def test_missing_and_unreadable_files_are_told_apart(stamps: Stamps) -> None:
    right = expected(stamps)
    (stamps.folder / "a").unlink()
    (stamps.folder / "b").unlink()
    (stamps.folder / "b").mkdir()
    assert stamps.differing(right) == {"a": ABSENT, "b": UNREAD}


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x", "y"]}', "\x00"])
def test_a_damaged_memory_remembers_nothing(text: str, stamps: Stamps, digester: Digester) -> None:
    stamps.path.write_text(text)
    assert stamps.differing(expected(stamps)) == {}
    assert digester.read == {"a": 1, "b": 1}


def test_a_disk_that_cannot_be_written_to_is_no_obstacle(stamps: Stamps) -> None:
    stamps.path.mkdir()
    right = expected(stamps)
    assert stamps.differing(right) == {}
    (stamps.folder / "a").write_text("sods a")
    assert set(stamps.differing(right)) == {"a"}


def test_of_a_moved_folder_content_counts(stamps: Stamps, tmp_path: Path) -> None:
    right = expected(stamps)
    stamps.remember(right)
    copy = Stamps(path=stamps.path, folder=tmp_path / "copy", digest=stamps.digest)
    shutil.copytree(stamps.folder, copy.folder)
    assert copy.differing(right) == {}
    (copy.folder / "b").write_text("sods b")
    assert set(copy.differing(right)) == {"b"}


CHANGES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["edit", "touch", "put back", "replace"])),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(changes=CHANGES)
def test_whatever_happens_to_files_what_differs_is_what_is_found(
    changes: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    stamps = Stamps(path=folder / "stamps.json", folder=folder, digest=Digester())
    contents = {"a": "turf", "b": "sand"}
    for name, text in contents.items():
        (folder / name).write_text(text)
    right = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}
    stamps.remember(right)
    for name, change in changes:
        path = folder / name
        if change == "touch":
            path.touch()
        elif change == "replace":
            path.with_name("new").write_text("clay")
            path.with_name("new").replace(path)
        else:
            path.write_text("sods" if change == "edit" else contents[name])
        differs = {one for one, text in contents.items() if (folder / one).read_text() != text}
        assert set(stamps.differing(right)) == differs
