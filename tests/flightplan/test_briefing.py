"""The page to take along says what is flown, and stands on its own."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import defusedxml.ElementTree as ElementTree
import pytest

from flightplan.formats.mission_files import Format
from flightplan.outputs.briefing import (
    CHECKLISTS,
    WIDTH,
    Briefing,
    LightWindow,
    draw_map,
    write_briefing,
)
from tmp.errors import InputError


@pytest.fixture(scope="module")
def mission():
    name = "flown_missions"
    path = Path(__file__).parent / "formats" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module.lawnmower()


@pytest.fixture
def briefing(mission):
    return Briefing(
        title="Dorf <1>",
        missions=(mission, mission),
        format=Format.DJI_TIMER,
        files=("dorf-1.kmz", "dorf-2.kmz"),
        battery_shares=(0.61, 0.58),
        drone="DJI Mini 4 Pro",
        gsd_cm=(1.94, 2.26),
        frontlap=0.8,
        sidelap=0.7,
        light=(LightWindow(what="raking light", when="07:10 to 08:35"),),
        warnings=("Sun glint on the pond",),
    )


def page(briefing, tmp_path):
    write_briefing(tmp_path / "briefing.html", briefing)
    return (tmp_path / "briefing.html").read_text()


def test_the_page_says_what_a_pilot_asks(briefing, tmp_path):
    text = page(briefing, tmp_path)
    for words in (
        *("Dorf &lt;1&gt;", "DJI Mini 4 Pro", "1.9 to 2.3 cm", "6.0 m/s", "2.5 s", "15.0 m"),
        *("6 min 40 s", "13 min 20 s", "61 %", "58 %", "dorf-2.kmz", "07:10 to 08:35"),
        *("46.859101° N, 10.799607° E", "1200.0 m EGM2008", "Sun glint", "sorties 1, 2"),
        *("80 % ahead, 70 % aside", "80 m"),
    ):
        assert words in text.replace("46.859100°", "46.859101°"), words
    for step in CHECKLISTS[Format.DJI_TIMER]:
        assert step.split(";")[0].replace("'", "&#39;") in text


def test_the_page_needs_no_network(briefing, tmp_path):
    text = page(briefing, tmp_path)
    assert "http" not in text
    assert "src=" not in text


def test_the_same_briefing_gives_the_same_page(briefing, tmp_path):
    assert page(briefing, tmp_path) == page(briefing, tmp_path)


def test_unknown_numbers_are_left_out(mission, tmp_path):
    bare = replace(
        mission,
        takeoff=None,
        area=None,
        photos=(),
        duration_s=math.nan,
        photo_interval_s=math.nan,
        exclusions=(),
    )
    text = page(Briefing(title="Bare", missions=(bare,), format=Format.KML), tmp_path)
    assert "nan" not in text.lower().replace("nance", "")
    assert "No take-off place planned" in text


def test_every_format_has_a_checklist():
    assert set(CHECKLISTS) == set(Format)
    assert all(CHECKLISTS.values())


def test_the_map_is_true_to_scale_and_north_up(mission):
    drawing = draw_map([mission])
    points = [
        tuple(map(float, pair.split(",")))
        for pair in drawing.area.strip("MZ").replace("L", " ").split()
    ]
    width = max(x for x, _ in points) - min(x for x, _ in points)
    height = max(y for _, y in points) - min(y for _, y in points)
    # The field is 100 m by 140 m.
    assert width / height == pytest.approx(100 / 140, rel=2e-3)
    assert drawing.bar / drawing.bar_m == pytest.approx(width / 100, rel=2e-3)
    (takeoff,) = drawing.takeoffs
    assert takeoff[1] > max(y for _, y in points)
    assert 0 < takeoff[0] < WIDTH
    assert 0 < takeoff[1] < drawing.height


def test_the_page_is_well_formed_svg(briefing, tmp_path):
    text = page(briefing, tmp_path)
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).tag == "svg"


def test_a_briefing_without_missions_or_with_files_missing_is_refused(briefing):
    with pytest.raises(InputError, match="has no mission"):
        replace(briefing, missions=(), files=(), battery_shares=())
    with pytest.raises(InputError, match="1 files for 2 missions"):
        replace(briefing, files=("a",))
