"""Results on disk: published once and whole, deleted at once."""

import shutil
from pathlib import Path

import pytest

from flows.engine.result import (
    MANIFEST,
    SCRATCH,
    STAMPS,
    _listed,
    damage,
    delete,
    publish,
    read_manifest,
    reopen,
)


def make(partial: Path, text: str = "turf") -> None:
    (partial / SCRATCH).mkdir(parents=True)
    (partial / SCRATCH / "r0c0").write_text("tile")
    (partial / "ground").mkdir()
    (partial / "ground" / "r0c0").write_text(text)
    (partial / "ground" / ".r0c1.n1.4711.part.tif").write_text("half")


def test_what_killed_processes_left_is_no_part_of_a_result(tmp_path: Path) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    manifest = read_manifest(tmp_path / "key")
    assert manifest is not None
    assert list(manifest["files"]) == ["ground/r0c0"]
    names = {path.name for path in (tmp_path / "key").rglob("*")}
    assert names == {"ground", "r0c0", MANIFEST, STAMPS}


def test_result_that_keeps_its_scratch_folder_is_opened_again_with_it(tmp_path: Path) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=True)
    manifest = read_manifest(tmp_path / "key")
    assert manifest is not None
    assert list(manifest["files"]) == ["ground/r0c0"]
    reopen(tmp_path / "key", tmp_path / "key.part")
    assert read_manifest(tmp_path / "key") is None
    assert read_manifest(tmp_path / "key.part") is None
    assert (tmp_path / "key.part" / SCRATCH / "r0c0").exists()


def test_result_that_lost_its_stamps_is_opened_again_all_the_same(tmp_path: Path) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=True)
    (tmp_path / "key" / STAMPS).unlink()
    reopen(tmp_path / "key", tmp_path / "key.part")
    names = {path.name for path in (tmp_path / "key.part").iterdir()}
    assert names == {"ground", SCRATCH}


def test_result_that_lost_a_file_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        make(tmp_path / "key.part")
        publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
        (tmp_path / "key" / "ground" / "r0c0").unlink()
        assert read_manifest(tmp_path / "key") is None
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_result_with_a_file_of_another_size_does_not_count(tmp_path: Path) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    with (tmp_path / "key" / "ground" / "r0c0").open("ab") as file:
        file.write(b"s")
    assert read_manifest(tmp_path / "key") is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("other bytes", {"ground/r0c0": "changed since it was made"}),
        ("no file", {"ground/r0c0": "not there"}),
        ("no manifest", {MANIFEST: "cannot be read"}),
        ("a manifest of something else", {MANIFEST: "cannot be read"}),
        ("nothing", {}),
    ],
)
def test_damage_of_a_result_is_named(what: str, said: dict[str, str], tmp_path: Path) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    tile = tmp_path / "key" / "ground" / "r0c0"
    match what:
        case "other bytes":
            tile.chmod(0o644)
            tile.write_text("sods")
        case "no file":
            tile.unlink()
        case "no manifest":
            (tmp_path / "key" / MANIFEST).write_text("half of")
        case "a manifest of something else":
            (tmp_path / "key" / MANIFEST).write_text('{"files": ["ground/r0c0"]}')
    assert damage(tmp_path / "key") == said


def test_only_results_that_nobody_goes_on_with_are_protected(tmp_path: Path) -> None:
    for keep in (False, True):
        make(tmp_path / "key.part")
        publish(tmp_path / "key.part", tmp_path / str(keep), {}, keep_scratch=keep)
        writable = (tmp_path / str(keep) / "ground" / "r0c0").stat().st_mode & 0o222
        assert bool(writable) is keep
    delete(tmp_path / "False")
    assert not (tmp_path / "False").exists()


def test_second_publisher_leaves_the_first_ones_result_alone(tmp_path: Path) -> None:
    make(tmp_path / "key.part", "first")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    make(tmp_path / "key.part", "second")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    assert (tmp_path / "key" / "ground" / "r0c0").read_text() == "first"
    assert not (tmp_path / "key.part").exists()


@pytest.mark.parametrize("lost", ["the folder", "a file"])
def test_publisher_whose_folder_another_has_taken_is_content(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "key.part", "mine")
    make(tmp_path / "other.part", "another's")

    def overtaken(folder: Path) -> dict[str, object]:
        publish(tmp_path / "other.part", tmp_path / "key", {}, keep_scratch=False)
        if lost == "the folder":
            shutil.rmtree(folder)
        raise FileNotFoundError(folder)

    calls = [overtaken, _listed]
    monkeypatch.setattr("flows.engine.result._listed", lambda folder: calls.pop(0)(folder))
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    assert (tmp_path / "key" / "ground" / "r0c0").read_text() == "another's"
    assert not (tmp_path / "key.part").exists()


def test_publisher_that_fails_with_no_result_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)


def test_half_deleted_result_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "key.part")
    publish(tmp_path / "key.part", tmp_path / "key", {}, keep_scratch=False)
    monkeypatch.setattr(
        "flows.engine.result.shutil.rmtree", lambda *_, **__: None
    )  # killed right there
    delete(tmp_path / "key")
    assert read_manifest(tmp_path / "key") is None
    assert not (tmp_path / "key").exists()
