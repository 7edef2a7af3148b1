import hashlib
import os
import subprocess
import unicodedata
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.card import (
    LONGEST_NAME_BYTES,
    Shelf,
    Source,
    check_space,
    copy_verified,
    find_photographs,
    link_photograph,
    printable,
    propose_names,
    read_source,
    refuse_overlap,
    write_manifest,
)
from tmp.captures import Capture
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.survey import Survey


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
    copy_verified(read_source(source), hashlib.sha256(b"card/a.jpg").hexdigest(), target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == 10**18


def test_a_copy_that_reads_back_differently_is_refused_and_removed(tmp_path):
    with pytest.raises(PhotographError, match="differs"):
        copy_verified(Source(data=b"spoilt", modified_ns=0), "0" * 64, tmp_path / "photos/a.jpg")
    assert not list((tmp_path / "photos").iterdir())


def test_a_disk_that_does_not_take_a_copy_is_one_line_for_that_photograph(tmp_path):
    touch(tmp_path, "photos/a.jpg")
    with pytest.raises(PhotographError, match=r"b\.jpg: cannot be written \(.*\); check the disk"):
        copy_verified(Source(data=b"", modified_ns=0), "", tmp_path / "photos/a.jpg/b.jpg")


def test_too_little_space_is_said_with_both_figures(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 0, 4 * 10**9))
    check_space(tmp_path, 4 * 10**9)
    words = r"need 12\.30 GB and 4\.00 GB are free, 8\.30 GB too little"
    with pytest.raises(SpaceError, match=words):
        check_space(tmp_path, 12_300_000_000)
    # Figures that are alike to the eye differ all the same.
    with pytest.raises(SpaceError, match=r"need 4\.00 GB and 4\.00 GB are free, 500\.00 kB too"):
        check_space(tmp_path, 4 * 10**9 + 500_000)


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


def test_a_file_too_large_for_a_photograph_is_refused_unread(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(PhotographError, match=r"a\.jpg: 5\.00 GB is too much for a photograph"):
        read_source(tmp_path / "a.jpg")


def test_a_link_put_in_a_files_place_after_it_was_found_is_not_read(tmp_path):
    touch(tmp_path, "private/secret.jpg", "card/a.jpg")
    (found,) = find_photographs([tmp_path / "card"]).photographs
    found.unlink()
    found.symlink_to(tmp_path / "private/secret.jpg")
    with pytest.raises(PhotographError, match="cannot be read"):
        read_source(found)


def test_links_in_a_card_are_not_followed_and_loops_end(tmp_path):
    touch(tmp_path, "card/DCIM/a.jpg", "private/secret.jpg")
    card = tmp_path / "card"
    for name in ("one", "two"):
        (card / name).symlink_to(".")
        (card / f"DCIM/{name}").symlink_to("..")
    (card / "self").symlink_to("self")
    (card / "DCIM/again.jpg").symlink_to("a.jpg")
    (card / "DCIM/more").symlink_to(tmp_path / "private")
    (card / "DCIM/b.jpg").symlink_to(tmp_path / "private/secret.jpg")
    found = find_photographs([card])
    assert found.photographs == (card / "DCIM/a.jpg",)
    # What links to something that is found where it is is not worth a word.
    left_out = {Path(path).name: reason for path, reason in found.left_out.items()}
    assert left_out.keys() == {"more", "b.jpg", "self"}
    assert f"a link to {tmp_path}/private, and links are not followed" in left_out["more"]


def test_places_that_are_links_themselves_are_looked_into(tmp_path):
    touch(tmp_path, "card/DCIM/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "sd").symlink_to("card")
    (tmp_path / "c.jpg").symlink_to("elsewhere/b.jpg")
    found = find_photographs([tmp_path / "sd", tmp_path / "c.jpg"])
    assert found.photographs == (tmp_path / "card/DCIM/a.jpg", tmp_path / "elsewhere/b.jpg")
    assert not found.left_out


def test_the_links_of_a_linked_survey_are_followed_but_not_anothers(tmp_path, monkeypatch):
    touch(tmp_path, "archive/a.jpg", "old/survey.toml")
    (tmp_path / "old/photos").mkdir()
    (tmp_path / "old/photos/a.jpg").symlink_to(tmp_path / "archive/a.jpg")
    found = find_photographs([tmp_path / "old/photos"])
    assert found.photographs == (tmp_path / "archive/a.jpg",)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(InputError, match="no photographs"):
        find_photographs([tmp_path / "old/photos"])


def test_a_pipe_named_like_a_photograph_is_not_waited_for(tmp_path):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    found = find_photographs([tmp_path])
    assert [p.name for p in found.photographs] == ["a.jpg"]
    assert found.left_out == {str(tmp_path / "b.jpg"): "not a file but a pipe or device"}
    with pytest.raises(PhotographError, match="is not a file"):
        read_source(tmp_path / "b.jpg")


def test_folders_as_deep_as_a_path_may_be_are_searched(tmp_path):
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # deeper than functions may call each other
        os.mkdir("d", dir_fd=place)
        place, above = os.open("d", os.O_RDONLY, dir_fd=place), place
        os.close(above)
    os.close(os.open("a.jpg", os.O_CREAT, dir_fd=place))
    os.close(place)
    try:
        assert len(find_photographs([tmp_path]).photographs) == 1
    finally:  # deeper than pytest can remove
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_names_in_one_folder_that_differ_only_in_case_or_accents_get_numbers():
    paths = [Path("/home/me/card") / name for name in ("IMG.jpg", "img.JPG", "other.JPG")]
    assert propose_names(paths) == ["IMG.jpg", "img-2.JPG", "other.JPG"]
    composed, apart = unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg")
    assert propose_names([Path("/c", composed), Path("/c", apart)]) == [
        composed,
        f"{apart[:2]}-2.jpg",
    ]


def test_names_of_bytes_that_are_no_text_and_long_ones_are_made_safe():
    latin = Path(os.fsdecode(b"/card/latin\xe9.JPG"))
    assert propose_names([latin, Path("/card/a\nb\x1b[31m.jpg"), Path("/card/what?.jpg")]) == [
        "latin%E9.JPG",
        "a%0Ab%1B[31m.jpg",
        "what%3F.jpg",
    ]
    assert printable(latin) == "/card/latin%E9.JPG"
    long, other = propose_names([Path("/c", "é" * 120 + f"{end}.jpeg") for end in "ab"])
    assert long != other
    assert len(long.encode()) <= LONGEST_NAME_BYTES
    assert long.endswith(".jpeg")


@given(
    st.lists(
        st.lists(
            st.binary(min_size=1, max_size=255)
            .filter(lambda part: not {0, 47}.intersection(part) and part not in (b".", b".."))
            .map(os.fsdecode),
            min_size=1,
            max_size=3,
        ).map(lambda parts: Path("/", *parts)),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_proposed_names_are_unique_text_that_stays_below_the_folder(paths):
    names = propose_names(paths)
    keys = {unicodedata.normalize("NFC", name).casefold() for name in names}
    assert len(keys) == len(names) == len(paths)
    for name in names:
        name.encode()
        assert not Path(name).is_absolute()
        assert name.isprintable() or not any(ord(c) < 32 for c in name)
        assert all(len(part.encode()) <= LONGEST_NAME_BYTES + 4 for part in name.split("/"))


def test_sha256sum_reads_the_digests_of_any_name(tmp_path):
    survey = Survey(folder=tmp_path)
    names = ["plain.jpg", "two\nlines.jpg", "back\\slash.jpg", " blank é.jpg"]
    touch(survey.photos_dir, *names)
    one = Capture(
        name="", source="", sha256="", size_bytes=0, width_px=0, height_px=0, camera_id=""
    )
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    write_manifest(survey, [replace(one, name=n, sha256=digests[n]) for n in names])
    check = ["sha256sum", "--check", "--strict", survey.manifest_path.name]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(names)
