"""The tables of a survey's ground control."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmp.errors import InputError
from tmp.geo.control import (
    FOLDER,
    MARKS,
    POINTS,
    Control,
    ControlPoint,
    Mark,
    Role,
    control_from_text,
    control_text,
    read_control,
    remove_control,
    write_control,
)


def point(name: str, **said: object) -> ControlPoint:
    given = {"x": 500123.456789, "y": 7112345.5, "height_m": 12.25, "crs": "EPSG:32627"}
    return ControlPoint(**{"name": name, "sigma_m": 0.02, "height_sigma_m": 0.03} | given | said)


CONTROL = Control(
    points=(point("a"), point("b, of iron", role=Role.CHECK, crs="+proj=utm +zone=27")),
    marks=(
        Mark(point="a", photograph="1.JPG", x_px=0.25, y_px=99.5),
        Mark(point="b, of iron", photograph="1.JPG", x_px=1 / 3, y_px=7.0),
    ),
)


def test_tables_hold_what_was_written_to_the_last_digit(tmp_path: Path) -> None:
    assert read_control(tmp_path) == Control()
    write_control(tmp_path, CONTROL)
    assert read_control(tmp_path) == CONTROL
    assert control_from_text(control_text(CONTROL)) == CONTROL
    assert control_from_text(control_text(Control())) == Control()
    assert remove_control(tmp_path)
    assert not remove_control(tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_points_added_again_take_the_place_of_the_former() -> None:
    moved = Control(points=(point("a", x=1.0), point("c")))
    joined = CONTROL.joined(moved)
    assert [p.name for p in joined.points] == ["a", "b, of iron", "c"]
    assert joined.points[0].x == 1.0
    assert joined.marks == CONTROL.marks


def test_points_come_onto_the_map_with_their_heights() -> None:
    on_meridian = point("lon", x=-21.0, y=0.0, crs="EPSG:4326")  # where the zone begins to count
    (there,) = Control(points=(on_meridian,)).on_map("EPSG:32627")
    assert there == pytest.approx([500000.0, 0.0, 12.25], abs=1e-6)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"crs": "EPSG:99999"}, r"point a: CRS 'EPSG:99999' is not known"),
        ({"x": 1e9, "crs": "EPSG:4326"}, r"point a: .* outside EPSG:4326 .* axes swapped"),
    ],
)
def test_point_that_lies_nowhere_is_refused(said: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Control(points=(point("a", **said),)).on_map("EPSG:32627")


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), 1e6])
def test_sigma_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(InputError, match=r"point a: sigma_m is .* lies between"):
        point("a", sigma_m=sigma)


@pytest.mark.parametrize(
    ("file", "before", "after", "match"),
    [
        (POINTS, "12.25", "high", r"points.csv, line 2: height_m is 'high', which is no number"),
        (POINTS, "control\n", "boss\n", r"points.csv, line 2: role is 'boss'; one of control, che"),
        (POINTS, "sigma_m", "doubt", r"points.csv: has no column"),
        (MARKS, "a,1.JPG", "z,1.JPG", r"marks.csv: 'z' is no point of points.csv"),
        (MARKS, ",99.5", "", r"marks.csv, line 2: has not as many columns as the heading"),
    ],
)
def test_table_edited_wrongly_is_refused_with_its_line(
    tmp_path: Path, file: str, before: str, after: str, match: str
) -> None:
    write_control(tmp_path, CONTROL)
    path = tmp_path / FOLDER / file
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(InputError, match=match):
        read_control(tmp_path)
