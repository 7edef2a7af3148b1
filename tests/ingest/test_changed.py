"""Photographs that are no longer what was taken in are found, and put back from their card."""

import shutil
from pathlib import Path

import pytest

from ingest.card import digest
from ingest.changed import KEPT, find_spoilt, photograph_stamps
from ingest.photographs import ingest_photographs
from ingest.summary import summarise
from tmp.files import ABSENT
from tmp.survey import Survey


@pytest.fixture
def survey(tmp_path) -> Survey:
    return Survey(folder=tmp_path / "survey")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_changed_or_was_lost_is_put_back_and_what_lay_there_kept(card, survey):
    place = card()
    ingest_photographs([place], survey)
    (survey.photos_dir / "DJI_0001.JPG").write_bytes(b"edited by somebody")
    (survey.photos_dir / "DJI_0002.JPG").unlink()
    result = ingest_photographs([place], survey)
    assert result.put_back == ("DJI_0001.JPG", "DJI_0002.JPG")
    assert result.added == ()
    assert contents(survey.photos_dir) == contents(place)
    (kept,) = (survey.folder / KEPT).rglob("*.JPG")
    assert (kept.name, kept.read_bytes()) == ("DJI_0001.JPG", b"edited by somebody")
    assert "put back     2 photographs" in "\n".join(summarise(result))
    again = ingest_photographs([place], survey)
    assert again.put_back == ()
    assert find_spoilt(survey, again.captures) == {}


def test_a_changed_photograph_whose_card_is_not_given_stays(card, survey):
    ingest_photographs([card("one")], survey)
    path = survey.photos_dir / "DJI_0001.JPG"
    path.write_bytes(b"edited by somebody")
    result = ingest_photographs([card("two", first_seed=50)], survey)
    assert result.put_back == ()
    assert path.read_bytes() == b"edited by somebody"
    assert find_spoilt(survey, result.captures) == {"DJI_0001.JPG": digest(path)}


def test_what_lay_there_comes_back_if_the_copy_fails(card, survey, monkeypatch):
    place = card()
    ingest_photographs([place], survey)
    path = survey.photos_dir / "DJI_0001.JPG"
    path.write_bytes(b"edited by somebody")

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr("ingest.changed.copy_verified", full)
    with pytest.raises(OSError, match="no space"):
        ingest_photographs([place], survey)
    assert path.read_bytes() == b"edited by somebody"


def test_photographs_just_taken_in_are_not_read_again(card, survey, monkeypatch):
    result = ingest_photographs([card()], survey)
    assert set(photograph_stamps(survey).remembered()) == {c.name for c in result.captures}
    read = []
    monkeypatch.setattr("ingest.changed.digest", lambda path: read.append(path) or digest(path))
    find_spoilt(survey, result.captures)
    assert len(read) < 10, "but for the last, taken in as the list was written"


@pytest.mark.parametrize("link", [True, False])
def test_linked_photographs_that_changed_where_they_lie_are_taken_in_anew(card, survey, link):
    place = card()
    first = ingest_photographs([place], survey, link=True)
    rewritten = place / "DJI_0001.JPG"  # as a program that writes better positions does
    rewritten.write_bytes(rewritten.read_bytes() + b"\0")
    assert set(find_spoilt(survey, first.captures)) == {"DJI_0001.JPG"}
    result = ingest_photographs([place], survey, link=link)
    assert result.added == ("DJI_0001.JPG",)
    assert {c.name: c.sha256 for c in result.captures} == {
        path.name: digest(path) for path in place.iterdir()
    }
    (former,) = (c.sha256 for c in first.captures if c.name == "DJI_0001.JPG")
    remembered, _ = photograph_stamps(survey).remembered()["DJI_0001.JPG"]
    assert remembered == former, "so that work on the former photograph is found and forgotten"
    assert find_spoilt(survey, result.captures) == {}


def test_a_link_that_leads_nowhere_is_absent_and_renewed(card, survey, tmp_path):
    place = card()
    result = ingest_photographs([place], survey, link=True)
    moved = shutil.move(place, tmp_path / "moved")
    assert set(find_spoilt(survey, result.captures).values()) == {ABSENT}
    again = ingest_photographs([Path(moved)], survey, link=True)
    assert len(again.put_back) == 10
    assert find_spoilt(survey, again.captures) == {}
