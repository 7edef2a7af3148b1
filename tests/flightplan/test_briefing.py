"""The page to take along says what is flown, and stands on its own."""

import importlib.util
import math
import re
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import defusedxml.ElementTree as ElementTree
import numpy as np
import pytest

from flightplan.formats.mission_files import Format
from flightplan.outputs.briefing import (
    CHECKLISTS,
    Briefing,
    LightWindow,
    draw_briefing_map,
    write_briefing,
)
from tmp.errors import InputError

SVG = "{http://www.w3.org/2000/svg}"


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
        batteries=((1, 0.61), (2, 0.58)),
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
    text = page(briefing, tmp_path).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in text
    assert "src=" not in text
    assert all(link.startswith("#") for link in re.findall(r'(?:href="|url\()([^")]*)', text))


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


def parts_of(svg):
    """Return the points of each part of a map by its class, pixels with y down, and its texts."""
    root = ElementTree.fromstring(svg)
    found = {}
    for group in root.iter(f"{SVG}g"):
        paths = [path.attrib["d"] for path in group.iter(f"{SVG}path")]
        points = [pair.split() for path in paths for pair in re.split("[MLz]", path) if pair]
        if "class" in group.attrib:
            found.setdefault(group.attrib["class"], []).extend(points)
    texts = {text.text: text.attrib for text in root.iter(f"{SVG}text")}
    return {name: np.array(points, float) for name, points in found.items()}, texts


def test_the_map_is_true_to_scale_and_north_up(mission):
    parts, texts = parts_of(draw_briefing_map([mission]))
    width, height = np.ptp(parts["area"], axis=0)
    # The field is 100 m by 140 m.
    assert width / height == pytest.approx(100 / 140, rel=5e-3)
    said = next(text for text in texts if text.endswith(" m"))
    bar_m = float(said.removesuffix(" m"))
    assert np.ptp(parts["scale-bar"][:, 0]) / bar_m == pytest.approx(width / 100, rel=5e-3)
    assert float(texts["A"]["y"]) > parts["area"][:, 1].max()
    tip = parts["north"][parts["north"][:, 1].argmin()]
    assert tip[0] == pytest.approx(parts["north"][:, 0].min() + np.ptp(parts["north"][:, 0]) / 2)
    assert float(texts["N"]["y"]) > parts["north"][:, 1].max()


def test_sorties_and_take_offs_have_numbers_and_letters_that_do_not_overlap(mission):
    moved = replace(
        mission, takeoff=replace(mission.takeoff, lon_deg=mission.takeoff.lon_deg + 1e-3)
    )
    parts, texts = parts_of(draw_briefing_map([mission, mission, moved]))
    assert {"1", "2", "3", "A", "B", "N"} <= set(texts)
    places = [(float(texts[t]["x"]), float(texts[t]["y"])) for t in ("1", "2", "3", "A", "B")]
    assert min(math.dist(a, b) for a, b in combinations(places, 2)) > 20
    assert len(parts["lines"])
    assert len(parts["ways"])


def test_the_page_is_well_formed_svg(briefing, tmp_path):
    text = page(briefing, tmp_path)
    svg = text[text.index("<svg") : text.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).tag == f"{SVG}svg"


def test_a_briefing_without_missions_or_with_files_missing_is_refused(briefing):
    with pytest.raises(InputError, match="has no mission"):
        replace(briefing, missions=(), files=(), batteries=())
    with pytest.raises(InputError, match="1 files for 2 missions"):
        replace(briefing, files=("a",))
