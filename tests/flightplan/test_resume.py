"""What is flown, remembered from one day to the next."""

import json
from pathlib import Path

import numpy as np
import pytest

from flightplan.coverage.routes import Line
from flightplan.equipment.flight_model import Motion
from flightplan.outputs.sortie_missions import Resume, read_resume, write_resume
from tmp.errors import InputError, VersionError
from tmp.geo.frames import PlanFrame

FRAME = PlanFrame(lon_deg=-21.9, lat_deg=64.1)
LINES = tuple(
    Line(start=(0.0, 25.0 * i), end=(400.0, 25.0 * i), photos=20 + i, run_in_m=16.25)
    for i in range(4)
)


def test_lines_come_back_to_a_millimetre_with_what_is_flown(tmp_path: Path) -> None:
    path = tmp_path / "flown.json"
    write_resume(path, LINES, FRAME, flown={0, 2})
    got = read_resume(path, FRAME)
    assert got.flown == {0, 2}
    assert [line.photos for line in got.left] == [21, 23]
    for line, back in zip(LINES, got.lines, strict=True):
        assert np.allclose([line.start, line.end], [back.start, back.end], atol=1e-3)
        assert (line.run_in_m, line.run_out_m) == (back.run_in_m, back.run_out_m)


def test_a_person_can_read_and_mend_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flown.json"
    write_resume(path, LINES, FRAME)
    text = path.read_text()
    assert len(text.splitlines()) == 4 + len(LINES) + 2
    path.write_text(text.replace('"line": 2, "flown": false', '"line": 2, "flown": true'))
    assert read_resume(path, FRAME).flown == {1}


def test_the_rest_is_a_route_in_the_same_order() -> None:
    route = Resume(lines=LINES, flown=frozenset({1})).route(Motion())
    assert route.lines == (LINES[0], LINES[2], LINES[3])
    assert route.transits[0].tolist() == [[400.0, 0.0], [-16.25, 50.0]]
    assert route.time_s > 3 * 400 / 8


def test_nothing_left_is_refused() -> None:
    with pytest.raises(InputError, match="every line is flown"):
        Resume(lines=LINES, flown=frozenset(range(4))).route(Motion())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "does not list flown lines"),
        ('{"kind": "tmp flown lines", "version": 1, "lines": []}', "lists no lines"),
        ('{"kind": "tmp flown lines", "version": 1, "lines": [3]}', "line 1 is damaged"),
        (
            '{"kind": "tmp flown lines", "version": 1, "lines": '
            '[{"start": [0, 0], "end": [0, 1], "photos": 0, "flown": false}]}',
            "line 1 is damaged",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "flown.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_resume(path, FRAME)


def test_files_of_a_newer_platform_and_missing_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flown.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_resume(path, FRAME)
    path.write_text(json.dumps({"kind": "tmp flown lines", "version": 2, "lines": []}))
    with pytest.raises(VersionError, match="version 2"):
        read_resume(path, FRAME)
