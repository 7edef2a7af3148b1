from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cv2
import pytest

from ingest.photographs import ingest_photographs
from ingest.radiometry.panels import find_panels, likely_releases, mark_panel
from tmp.captures import Capture, CaptureKind, Flag
from tmp.survey import Survey

START = datetime(2024, 6, 1, 10, 0, tzinfo=UTC)


def capture(number, *, height_m=100.0, band="red", **more):
    return Capture(
        name=f"{number:03d}_{band}.tif",
        source="",
        sha256=f"{number}{band}",
        size_bytes=1,
        width_px=480,
        height_px=360,
        camera_id=band,
        body="RedEdge",
        flight="1",
        band=band,
        rig_id=f"r{number}",
        time_utc=START + timedelta(seconds=2 * number),
        height_m=height_m,
        **more,
    )


def numbers(releases):
    return [int(release[0].name[:3]) for release in releases]


def test_the_ends_of_a_flight_are_likely():
    captures = [capture(k, band=band) for k in range(40) for band in ("red", "nir")]
    releases = likely_releases(captures)
    assert numbers(releases) == [0, 1, 2, 3, 4, 35, 36, 37, 38, 39]
    assert all(len(release) == 2 for release in releases)


def test_low_releases_are_likely_wherever_they_are():
    captures = [capture(k, height_m=20.0 if k == 17 else 100.0) for k in range(40)]
    assert 17 in numbers(likely_releases(captures))


def test_a_flight_down_a_slope_is_not_searched_whole():
    captures = [capture(k, height_m=400.0 - 3 * k) for k in range(120)]
    assert len(likely_releases(captures)) == 10


def test_colour_damaged_and_known_photographs_are_passed_over():
    captures = [
        capture(0, band=""),
        capture(1, flags=(Flag.UNREADABLE,)),
        capture(2, kind=CaptureKind.PANEL),
    ]
    assert likely_releases(captures) == []


def test_all_bands_of_a_release_follow_the_one_that_was_searched(panel_scene, tmp_path):
    flight = panel_scene.Flight()
    for panel in (True, False):
        for name in flight.release(at_s=0, panel=panel):
            cv2.imwrite(str(tmp_path / name), flight.load(name))
    captures = [capture(k, band=band) for k, band in enumerate(("red", "nir", "red", "nir"))]
    paired = [
        Capture(**{f: getattr(c, f) for f in c.__dataclass_fields__} | {"rig_id": f"r{k // 2}"})
        for k, c in enumerate(captures)
    ]
    panels = find_panels(paired, tmp_path)
    assert panels == dict.fromkeys(("000_red.tif", "001_nir.tif"), panel_scene.SERIAL)
    kinds = [mark_panel(c, panels).kind for c in paired]
    assert kinds == [CaptureKind.PANEL] * 2 + [CaptureKind.SURVEY] * 2


@pytest.mark.real
def test_taking_in_the_rededge_card_marks_its_panel_without_being_told(real_data, tmp_path):
    result = ingest_photographs(
        [real_data / "rededge_panel"], Survey(folder=tmp_path / "survey"), link=True
    )
    panels = {c.name for c in result.captures if c.kind is CaptureKind.PANEL}
    assert panels == {f"IMG_0000_{k}.tif" for k in range(1, 6)}
    assert {c.flight for c in result.captures} == {"1"}
