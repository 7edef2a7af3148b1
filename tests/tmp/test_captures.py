import errno
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyogrio import raw
from pyogrio.errors import FeatureError

from tmp.captures import (
    Capture,
    CaptureKind,
    Flag,
    HeightDatum,
    choose_captures,
    read_captures,
    write_captures,
)
from tmp.errors import InputError, SpaceError

TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"

BARE = Capture(
    name="DJI_0002.JPG",
    source="/card/DJI_0002.JPG",
    sha256="cd" * 32,
    size_bytes=5_000_000_000,
    width_px=4000,
    height_px=2250,
    camera_id="",
)
FULL = replace(
    BARE,
    name="100MEDIA/Ólafsdalur 1.JPG",
    camera_id="c",
    time_utc=datetime(2024, 6, 1, 12, 0, 0, 250_000, UTC),
    time_evidence="GPS date and time",
    longitude_deg=-21.123456789,
    latitude_deg=64.987654321,
    height_m=123.456,
    height_datum=HeightDatum.EGM96,
    sigma_horizontal_m=0.012,
    sigma_vertical_m=0.02,
    position_source="XMP RTK fixed",
    height_takeoff_m=40.1,
    gimbal_yaw_deg=-170.0,
    gimbal_pitch_deg=-90.0,
    gimbal_roll_deg=0.0,
    sharpness=812.5,
    flags=(Flag.STRAGGLER, Flag.BLURRED),
    reason="far; soft",
)


def test_captures_come_back_as_they_were_written(tmp_path):
    write_captures(tmp_path / "survey.gpkg", [FULL, BARE])
    assert read_captures(tmp_path / "survey.gpkg") == [FULL, BARE]


def test_times_written_before_they_said_their_zone_are_in_utc(tmp_path):
    path = tmp_path / "survey.gpkg"
    write_captures(path, [FULL, BARE])
    with sqlite3.connect(path) as database:
        for (name,) in database.execute(TRIGGERS).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        said = "SELECT time_utc FROM photographs WHERE time_utc IS NOT NULL"
        assert database.execute(said).fetchall() == [("2024-06-01T12:00:00.250Z",)]
        database.execute("UPDATE photographs SET time_utc = replace(time_utc, 'Z', '')")
    database.close()
    assert read_captures(path) == [FULL, BARE]


def test_no_captures_come_back_as_none(tmp_path):
    write_captures(tmp_path / "survey.gpkg", [])
    assert read_captures(tmp_path / "survey.gpkg") == []


def test_a_gis_sees_points_with_height_and_a_column_to_filter_by(tmp_path):
    write_captures(tmp_path / "survey.gpkg", [FULL, BARE])
    meta, _, points, columns = raw.read(tmp_path / "survey.gpkg", layer="photographs")
    assert meta["crs"] == "EPSG:4326"
    assert meta["geometry_type"] == "Point Z"
    point = shapely.from_wkb(points[0])
    assert (point.x, point.y, point.z) == (-21.123456789, 64.987654321, 123.456)
    assert points[1] is None
    assert list(columns[list(meta["fields"]).index("used")]) == [False, True]


def test_writing_leaves_other_layers_alone(tmp_path):
    path = tmp_path / "survey.gpkg"
    write_captures(path, [BARE])
    notes = np.array([shapely.Point(1, 2).wkb], object)
    raw.write(
        path, notes, [np.array(["wall"], object)], ["note"],
        layer="my notes", geometry_type="Point", crs="EPSG:4326", append=True,
    )  # fmt: skip
    write_captures(path, [FULL])
    assert raw.read(path, layer="my notes")[3][0].tolist() == ["wall"]
    assert read_captures(path) == [FULL]


def test_nothing_but_the_file_is_left_behind(tmp_path):
    write_captures(tmp_path / "survey.gpkg", [FULL])
    write_captures(tmp_path / "survey.gpkg", [BARE])
    assert [p.name for p in tmp_path.iterdir()] == ["survey.gpkg"]


@pytest.mark.parametrize(
    ("full", "error", "words"),
    [
        (True, SpaceError, r"survey\.gpkg: the disk is full"),
        (False, InputError, r"survey\.gpkg: cannot be added to; is it damaged, or open"),
    ],
)
def test_a_table_that_cannot_be_written_is_one_line_without_sql(
    tmp_path, monkeypatch, full, error, words
):
    def fail(*_: object, **__: object) -> None:
        raise FeatureError("sqlite3_exec(INSERT INTO gpkg_contents (table_name) VALUES ('x'))")

    def flush(_: object) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "survey.gpkg"
    write_captures(path, [FULL])
    monkeypatch.setattr(raw, "write", fail)
    monkeypatch.setattr("tmp.captures.flush_to_disk", flush)
    with pytest.raises(error, match=words) as refusal:
        write_captures(path, [FULL, BARE])
    assert "sqlite" not in str(refusal.value)
    assert read_captures(path) == [FULL]
    assert [p.name for p in tmp_path.iterdir()] == ["survey.gpkg"]


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="tmp ingest"):
        read_captures(tmp_path / "survey.gpkg")
    (tmp_path / "survey.gpkg").write_text("hello")
    with pytest.raises(InputError, match="photographs"):
        read_captures(tmp_path / "survey.gpkg")


def edit(path: Path, assignment: str) -> None:
    """Change the rows as somebody does in QGIS."""
    with sqlite3.connect(path) as database:
        # The triggers of its spatial index call functions that only GIS libraries bring.
        for (name,) in database.execute(TRIGGERS).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute(f"UPDATE photographs SET {assignment}")
    database.close()


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("flags = 'ugly'", "row 1: 'ugly' is not a valid Flag"),
        ("latitude_deg = 9e999", "row 1: latitude_deg = inf; give a number from -90 to 90"),
        ("height_m = 1e308", "height_m = 1e.308; give a number from -12000 to 100000"),
        ("width_px = 0", "width_px = 0; give a number from 1 to"),
        ("sigma_vertical_m = -1", "sigma_vertical_m = -1.0; give a number above 0"),
        ("sha256 = 'x'", "sha256 = 'x' is no SHA-256"),
        ("name = '../../etc/passwd'", "name = .* is no path below photos/"),
        ("name = '/etc/passwd'", "name = .* is no path below photos/"),
        ("name = 'twice.jpg'", "'twice.jpg' more than once"),
        ("name = CAST(x'ff41' AS TEXT)", "no readable layer|no path"),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_value(
    tmp_path: Path, assignment: str, said: str
) -> None:
    path = tmp_path / "survey.gpkg"
    write_captures(path, [FULL, BARE])
    edit(path, assignment)
    with pytest.raises(InputError, match=said) as refusal:
        read_captures(path)
    assert "\n" not in str(refusal.value)


def test_a_tag_gone_wild_is_unknown_and_leaves_the_survey_readable(tmp_path: Path) -> None:
    path = tmp_path / "survey.gpkg"
    write_captures(path, [replace(FULL, gimbal_yaw_deg=1e308, exposure_s=float("inf"))])
    (read,) = read_captures(path)
    assert (read.gimbal_yaw_deg, read.exposure_s) == (None, None)
    assert read == replace(FULL, gimbal_yaw_deg=None, exposure_s=None)


def test_only_what_could_spoil_the_map_is_left_out_and_doubts_are_not():
    left_out = {flag for flag in Flag if not replace(BARE, flags=(flag,)).used}
    assert left_out == {
        Flag.UNREADABLE,
        Flag.DUPLICATE,
        Flag.STRAGGLER,
        Flag.EMPTY,
        Flag.ELSEWHERE,
        Flag.DROPPED,
    }


def test_a_panel_frame_is_kept_but_takes_no_part_in_the_map():
    assert not replace(BARE, kind=CaptureKind.PANEL).used


def test_keep_brings_back_all_but_the_unreadable():
    stray = replace(BARE, flags=(Flag.STRAGGLER, Flag.BLURRED), reason="2 m up")
    broken = replace(BARE, flags=(Flag.UNREADABLE,), reason="cut short")
    kept = choose_captures([stray, broken], keep=["DJI_*"], drop=[])
    assert kept[0].flags == (Flag.BLURRED,)
    assert kept[0].reason == "kept by hand in survey.toml although: 2 m up"
    assert kept[1] == broken


def test_drop_wins_over_keep():
    (dropped,) = choose_captures([BARE], keep=["*"], drop=["DJI_0002.JPG"])
    assert dropped.flags == (Flag.DROPPED,)
    assert not dropped.used


@given(st.lists(st.sampled_from(list(Flag)), unique=True))
def test_choosing_nothing_changes_nothing(flags):
    capture = replace(BARE, flags=tuple(flags))
    assert choose_captures([capture], keep=[], drop=[]) == [capture]
