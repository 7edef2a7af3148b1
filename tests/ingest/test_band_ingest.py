"""Cards with bands, from end to end: several cards, panels, spoilt files, declarations, notes."""

import hashlib
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ingest import photographs
from ingest.photographs import ingest_photographs
from ingest.summary import tell_bands
from tmp.captures import Capture, CaptureKind, Flag, read_captures, write_captures
from tmp.cli import main
from tmp.errors import PhotographError
from tmp.survey import Survey


@pytest.fixture
def survey(tmp_path) -> Survey:
    return Survey(folder=tmp_path / "survey")


def say(*arguments) -> str:
    result = CliRunner().invoke(main, ["ingest", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def sizes(captures) -> list[int]:
    """Return the sizes of all rigs, largest first."""
    rigs = Counter(c.rig_id for c in captures if c.rig_id)
    return sorted(rigs.values(), reverse=True)


@pytest.mark.parametrize("ids", [True, False])
def test_a_card_with_bands_becomes_rigs_with_and_without_ids(band_card, survey, ids):
    result = ingest_photographs([band_card(count=3, ids=ids)], survey)
    assert not result.flagged
    assert sizes(result.captures) == [5, 5, 5]
    bands = {c.band for c in result.captures}
    assert bands == {"", "green", "red", "rededge", "nir"}
    assert {c.flight for c in result.captures} == {"1"}
    assert read_captures(survey.gpkg_path)[0].rig_id


def test_bands_on_different_cards_find_each_other_at_a_later_ingest(band_card, survey, tmp_path):
    card = band_card(count=3)
    second = tmp_path / "second"
    second.mkdir()
    for path in card.glob("*_MS_NIR.TIF"):
        path.rename(second / path.name)
    first = ingest_photographs([card], survey)
    assert sizes(first.captures) == [4, 4, 4]
    both = ingest_photographs([second], survey)
    assert sizes(both.captures) == [5, 5, 5]
    assert not both.flagged


def test_a_pulled_card_goes_on_where_it_stopped_with_all_cards(band_card, survey, monkeypatch):
    one = band_card("one", count=2)
    two = band_card("two", count=2, first_seed=500, day="2024:06:02")
    read, seen = photographs.read_source, []

    def pull(path: Path) -> object:
        seen.append(path)
        if len(seen) > 7:
            raise PhotographError(f"{path}: cannot be read (No such device)")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(photographs, "read_source", pull)
        broken = ingest_photographs([one, two], survey, workers=1)
    assert (len(broken.added), len(broken.failed)) == (7, 13)
    kept = {p: p.stat().st_ino for p in survey.photos_dir.rglob("*.*")}
    whole = ingest_photographs([one, two], survey)
    assert (len(whole.added), whole.already, len(whole.failed)) == (13, 7, 0)
    assert sizes(whole.captures) == [5, 5, 5, 5]
    assert {p: p.stat().st_ino for p in kept} == kept
    digests = {hashlib.sha256(p.read_bytes()).hexdigest() for p in (*one.iterdir(), *two.iterdir())}
    assert {line.split()[0] for line in survey.manifest_path.read_text().splitlines()} == digests


def test_the_manifest_is_checked_by_sha256sum_and_finds_a_changed_bit(band_card, survey):
    ingest_photographs([band_card(count=1)], survey)
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    check = ["sha256sum", "--check", "--quiet", survey.manifest_path.name]
    assert subprocess.run(check, cwd=survey.folder, check=False).returncode == 0
    victim = next(survey.photos_dir.rglob("*.TIF"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    done = subprocess.run(check, cwd=survey.folder, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert victim.name in done.stdout


def test_a_panel_frame_is_kept_as_one_and_not_mapped(make_tiff, band_card, survey):
    card = band_card(count=3)
    names = ("Blue", "Green", "Red", "NIR", "RedEdge")
    for k, name in enumerate(names, start=1):
        xmp = {
            "xmlns:MicaSense": "http://micasense.com/MicaSense/1.0/",
            "MicaSense:CaptureId": "panel",
            "Camera:BandName": name,
            "Camera:CalibrationPicture": 2 if k < 5 else 0,
            "Camera:Albedo": "0.5",
        }
        said = {"make": "MicaSense", "model": "RedEdge-P", "software": "v1.3", "xmp": xmp}
        data = make_tiff(seed=90 + k, time="2024:06:01 11:50:00", height_m=300, **said)
        (card / f"IMG_0000_{k}.tif").write_bytes(data)
    result = ingest_photographs([card], survey)
    panels = [c for c in result.captures if c.kind is CaptureKind.PANEL]
    assert len(panels) == 5
    assert {c.flight for c in panels} == {"1"}
    assert not any(c.used or c.flags for c in panels)


def test_a_sentera_panel_is_known_by_its_name(make_tiff, survey, tmp_path):
    (tmp_path / "card").mkdir()
    for k, name in enumerate(("CAL_00001", "IMG_00002")):
        xmp = {"Camera:BandName": "NIR", "Camera:ImageUniqueID": name}
        data = make_tiff(seed=k, make="Sentera", model="21214-04", xmp=xmp)
        (tmp_path / "card" / f"{name}.tif").write_bytes(data)
    kinds = {c.name: c.kind for c in ingest_photographs([tmp_path / "card"], survey).captures}
    assert kinds == {"CAL_00001.tif": "panel", "IMG_00002.tif": "survey"}


def test_an_all_zero_tiff_is_left_out_and_its_capture_lacks_a_band(
    band_card, survey, make_tiff, m3m_xmp
):
    card = band_card(count=3)
    spoilt = next(card.glob("*_0002_MS_NIR.TIF"))
    spoilt.write_bytes(
        make_tiff(
            picture=np.zeros((60, 80), np.uint16),
            xmp=m3m_xmp("NIR", "uuid-2024:06:01-1"),
            lon_lat=(7.60025, 45.0),
            time="2024:06:01 12:00:02",
        )
    )
    result = ingest_photographs([card], survey)
    flags = {c.name: c.flags for c in result.flagged}
    assert flags.pop(spoilt.name) == (Flag.EMPTY,)
    assert list(flags.values()) == [(Flag.MISSING_BAND,)] * 4
    assert sum(not c.used for c in result.captures) == 1


def test_a_missing_band_is_told_in_the_summary(band_card, survey):
    card = band_card(count=4)
    next(card.glob("*_0003_MS_RE.TIF")).unlink()
    said = say(card, "--to", survey.folder)
    assert "missing band: 4 photographs, still used" in said
    assert "lacks rededge, which 3 of 4 captures of this camera have" in said
    assert "3 × RGB/green/red/rededge/nir, 1 × RGB/green/red/nir" in said


def test_the_three_commonest_sets_of_bands_are_told_with_their_numbers():
    def capture(number: int, bands: str) -> list[Capture]:
        return [
            Capture(
                name="", source="", sha256=f"{number}{band}", size_bytes=1, width_px=1,
                height_px=1, camera_id="c", body="DJI M3M / 1234567", rig_id=str(number), band=band,
            )
            for band in bands.split("/")
        ]  # fmt: skip

    sets = 4 * ["green/red/nir"] + 3 * ["green/red"] + 2 * ["nir"] + ["red"]
    captures = [one for number, bands in enumerate(sets) for one in capture(number, bands)]
    said = "DJI M3M …4567: 10 captures, 4 × green/red/nir, 3 × green/red, 2 × nir"
    assert list(tell_bands(captures)) == [("bands", said)]


def test_the_summary_tells_bands_flights_and_that_no_panel_is_marked(band_card, survey):
    card = band_card(count=3)
    again = band_card("later", count=2, first_seed=700, day="2024:06:02")
    said = say(card, again, "--to", survey.folder)
    assert "bands        DJI M3M …5FJC: 5 captures, 5 × RGB/green/red/rededge/nir" in said
    assert "exposed 1/1000 s" in said
    assert "flights      1: 2024-06-01 11:00 to 11:00, 15 photographs" in said
    assert "2: 2024-06-02 11:00 to 11:00, 10 photographs" in said
    assert "panels       none seen or marked" in said


def test_rgb_and_nir_of_different_days_are_one_survey_with_a_warning(
    card, band_card, survey, tmp_path
):
    rgb = card("rgb")
    nir = band_card("nir", count=4, rgb=False, day="2024:06:03")
    said = say(rgb, nir, "--to", survey.folder)
    assert "26 photographs added" in said
    assert said.count("MIND:") == 1
    assert "was flown on another day than RGB of 2024-06-01 (DJI FC300S, 10" in said


def test_an_unknown_camera_is_one_line_and_a_declaration_heals_it(survey, make_tiff, tmp_path):
    (tmp_path / "card").mkdir()
    for k in range(4):
        data = make_tiff(seed=k, make="Tetracam", model="ADC", lon_lat=(7.6 + k / 4000, 45.0))
        (tmp_path / "card" / f"{k}.tif").write_bytes(data)
    said = say(tmp_path / "card", "--to", survey.folder)
    assert said.count("cameras.toml") == 1
    assert "0.tif and 3 more: the file does not say which bands it holds" in said
    (survey.folder / "cameras.toml").write_text('[cameras."tetracam-*"]\nchannels = ["nir"]')
    result = ingest_photographs([tmp_path / "card"], survey)
    assert {c.band for c in result.captures} == {"nir"}
    assert not result.flagged


def test_a_converted_camera_is_declared_before_the_first_ingest(card, survey, tmp_path):
    place = card()
    said = '[cameras."dji-fc300s-*"]\nchannels = ["nir", "green", "blue"]'
    (tmp_path / "cameras.toml").write_text(said)
    result = ingest_photographs([place], survey)
    assert {c.band for c in result.captures} == {"nir+green+blue"}
    assert {p for c in result.captures for p in c.problems.split("; ")} == {"no exposure time"}


def test_absurd_time_and_height_are_told_and_the_photograph_is_kept(card, survey, make_jpeg):
    place = card()
    (place / "ODD.JPG").write_bytes(
        make_jpeg(seed=70, height_m=99_999.0, time="2099:01:01 00:00:00")
    )
    result = ingest_photographs([place], survey)
    (odd,) = (c for c in result.captures if c.name == "ODD.JPG")
    assert odd.flags == (Flag.IMPLAUSIBLE,)
    assert odd.reason == "height 99999 m; taken on 2098-12-31, which is still to come"


def test_a_survey_made_before_bands_were_read_gains_them_at_the_next_ingest(band_card, survey):
    card = band_card(count=3)
    whole = ingest_photographs([card], survey)
    old = {"band": "", "body": "", "capture_id": "", "rig_id": "", "flight": "", "brightness": None}
    write_captures(survey.gpkg_path, [replace(c, **old) for c in whole.captures])
    again = ingest_photographs([card], survey)
    assert not again.added
    assert again.captures == whole.captures


@pytest.mark.real
def test_real_multispectral_cards_become_rigs(real_data, tmp_path):
    expected = {"garfield_sequoia": (11, 2), "rededge_panel": (2, 5), "sequoia_indoor": (1, 4)}
    for name, (rigs, bands) in expected.items():
        result = ingest_photographs([real_data / name], Survey(folder=tmp_path / name), link=True)
        assert sizes(result.captures) == [bands] * rigs
        assert len({c.band for c in result.captures}) == bands
        panels = {c.rig_id for c in result.captures if c.kind is CaptureKind.PANEL}
        assert len(panels) == (1 if name == "rededge_panel" else 0)
        assert {c.flight for c in result.captures} == {"1"}
        lost = [c for c in result.captures if Flag.NO_POSITION in c.flags]
        assert len(lost) == (4 if name == "sequoia_indoor" else 0)
        assert result.settings.frame.referenced == (not lost)
