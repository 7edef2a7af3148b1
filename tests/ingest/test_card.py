import hashlib
import os
from collections import namedtuple
from pathlib import Path

import pytest

from ingest.card import (
    Shelf,
    check_space,
    copy_verified,
    find_photographs,
    link_photograph,
    propose_names,
    read_source,
    refuse_overlap,
)
from tmp.errors import InputError, PhotographError, SpaceError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_photographs_are_found_to_any_depth_and_the_rest_counted(tmp_path):
    touch(tmp_path, "DCIM/1/a.JPG", "DCIM/2/b.tiff", "c.png", "log.txt", "d.DNG", "e.dng", "README")
    found = find_photographs([tmp_path])
    assert sorted(p.name for p in found.photographs) == ["a.JPG", "b.tiff", "c.png"]
    assert found.ignored == {".dng": 2, ".txt": 1, "without suffix": 1}


def test_hidden_files_shadows_and_thumbnails_are_passed_over(tmp_path):
    touch(tmp_path, "a.jpg", "._a.jpg", ".Trash/b.jpg", "THM/c.jpg", "@eaDir/d.jpg", "Thumbs.db")
    found = find_photographs([tmp_path])
    assert [p.name for p in found.photographs] == ["a.jpg"]
    assert not found.ignored


def test_a_photograph_given_twice_is_found_once(tmp_path):
    touch(tmp_path, "x/a.jpg")
    found = find_photographs([tmp_path, tmp_path / "x", tmp_path / "x/a.jpg"])
    assert len(found.photographs) == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [([], "nothing at all"), (["a.txt", "b.txt", "c.pdf"], "only 2 .txt, 1 .pdf")],
)
def test_a_folder_without_photographs_is_refused(tmp_path, names, words):
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=words):
        find_photographs([tmp_path])


def test_a_missing_place_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        find_photographs([tmp_path / "nowhere"])


@pytest.mark.parametrize("survey", ["card", "card/survey", "card/DCIM/x/y"])
def test_a_survey_on_the_card_is_refused(tmp_path, survey):
    touch(tmp_path, "card/DCIM/a.jpg")
    with pytest.raises(InputError, match="never written to"):
        refuse_overlap([tmp_path / "card"], tmp_path / survey)


def test_a_source_inside_the_survey_is_refused(tmp_path):
    touch(tmp_path, "survey/photos/a.jpg")
    with pytest.raises(InputError, match="inside the survey"):
        refuse_overlap([tmp_path / "survey/photos"], tmp_path / "survey")


def test_names_that_differ_only_in_case_get_folders():
    names = propose_names([Path("/c/1/DJI_1.JPG"), Path("/c/2/dji_1.jpg")])
    assert names == ["1/DJI_1.JPG", "2/dji_1.jpg"]


def test_equal_folders_on_two_cards_are_told_apart():
    names = propose_names([Path("/m/A/DCIM/1/x.jpg"), Path("/m/B/DCIM/1/x.jpg")])
    assert names == ["A/DCIM/1/x.jpg", "B/DCIM/1/x.jpg"]


def test_a_taken_name_moves_the_newcomer_to_a_folder(tmp_path):
    shelf = Shelf(tmp_path, ["a.jpg", "1/b.jpg"])
    assert shelf.reserve("A.JPG", "x") == "card-2/A.JPG"
    assert shelf.reserve("1/b.jpg", "x") == "1-2/b.jpg"
    assert shelf.reserve("1/b.jpg", "y") == "1-3/b.jpg"


def test_a_file_left_by_an_interrupted_run_is_adopted_only_if_equal(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"left")
    assert Shelf(tmp_path, []).reserve("a.jpg", hashlib.sha256(b"left").hexdigest()) == "a.jpg"
    assert Shelf(tmp_path, []).reserve("a.jpg", "other") == "card-2/a.jpg"


def test_a_copy_is_equal_and_keeps_its_time(tmp_path):
    touch(tmp_path, "card/a.jpg")
    source, target = tmp_path / "card/a.jpg", tmp_path / "photos/deep/a.jpg"
    os.utime(source, ns=(10**18, 10**18))
    copy_verified(b"card/a.jpg", hashlib.sha256(b"card/a.jpg").hexdigest(), source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 10**18


def test_a_copy_that_reads_back_differently_is_refused_and_removed(tmp_path):
    touch(tmp_path, "card/a.jpg")
    with pytest.raises(PhotographError, match="differs"):
        copy_verified(b"spoilt", "0" * 64, tmp_path / "card/a.jpg", tmp_path / "photos/a.jpg")
    assert not list((tmp_path / "photos").iterdir())


def test_too_little_space_is_said_with_both_figures(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 0, 4 * 10**9))
    check_space(tmp_path, 4 * 10**9)
    with pytest.raises(SpaceError, match=r"need 12\.30 GB and 4\.00 GB are free"):
        check_space(tmp_path, 12_300_000_000)


def test_a_source_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PhotographError, match=r"gone\.jpg: cannot be read"):
        read_source(tmp_path / "gone.jpg")


def test_a_link_points_to_the_source_and_a_dangling_one_is_renewed(tmp_path):
    touch(tmp_path, "card/a.jpg")
    target = tmp_path / "photos/a.jpg"
    target.parent.mkdir()
    target.symlink_to(tmp_path / "gone.jpg")
    link_photograph(tmp_path / "card/a.jpg", target)
    assert target.resolve() == tmp_path / "card/a.jpg"
