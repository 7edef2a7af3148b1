"""QGroundControl plans: what its source requires, and our items inside its survey."""

import json
import math
from dataclasses import replace

import pytest
import shapely
from shapely import MultiPolygon, Point, Polygon, box

from flightplan.formats.mavlink_items import Autopilot, mission_items
from flightplan.formats.qgroundcontrol import from_plan, to_plan
from tmp.errors import InputError


def written(mission, autopilot=Autopilot.PX4):
    return json.loads(to_plan(mission, autopilot).content)


def flat_items(plan):
    items = []
    for item in plan["mission"]["items"]:
        inner = item.get("TransectStyleComplexItem", {}).get("Items")
        items += inner or [item]
    return items


def test_what_qgroundcontrol_requires_is_there(mission):
    plan = written(mission)
    assert (plan["fileType"], plan["version"], plan["mission"]["version"]) == ("Plan", 1, 2)
    assert (plan["geoFence"]["version"], plan["rallyPoints"]["version"]) == (2, 2)
    survey = plan["mission"]["items"][2]
    assert (survey["complexItemType"], survey["version"]) == ("survey", 5)
    assert {"angle", "entryLocation", "polygon", "splitConcavePolygons"} <= set(survey)
    transects = survey["TransectStyleComplexItem"]
    assert transects["version"] == 2
    assert {
        *("TurnAroundDistance", "CameraTriggerInTurnAround", "HoverAndCapture"),
        *("Refly90Degrees", "CameraCalc", "VisualTransectPoints", "Items", "CameraShots"),
    } <= set(transects)
    camera = transects["CameraCalc"]
    assert camera["CameraName"] == "Manual (no camera specs)"
    assert (camera["version"], camera["DistanceMode"]) == (2, 1)


def test_the_survey_shows_our_spacing_and_heading(mission):
    survey = written(mission)["mission"]["items"][2]
    camera = survey["TransectStyleComplexItem"]["CameraCalc"]
    assert camera["AdjustedFootprintFrontal"] == 15.0
    assert camera["AdjustedFootprintSide"] == pytest.approx(26.0, abs=0.05)
    assert min(survey["angle"] % 180, 180 - survey["angle"] % 180) < 0.1


@pytest.mark.parametrize(("autopilot", "number"), [(Autopilot.PX4, 12), (Autopilot.ARDUPILOT, 3)])
def test_the_items_are_those_the_autopilot_is_told(mission, autopilot, number):
    plan = written(mission, autopilot)
    assert plan["mission"]["firmwareType"] == number
    items = flat_items(plan)
    told = mission_items(mission, autopilot)
    assert [i["command"] for i in items] == [int(i.command) for i in told]
    assert [i["doJumpId"] for i in items] == list(range(1, len(told) + 1))
    for item, ours in zip(items, told, strict=True):
        for shown, value in zip(item["params"], ours.params, strict=True):
            assert (shown is None) == math.isnan(value)
            assert shown is None or shown == pytest.approx(value, abs=1e-3)


def test_fence_and_exclusions_come_back(mission):
    back = from_plan(written(mission), "again")
    assert back.fence.equals_exact(mission.fence, 1e-8, normalize=True)
    assert back.exclusions[0].equals_exact(mission.exclusions[0], 1e-8, normalize=True)
    assert back.area.equals_exact(mission.area, 1e-8, normalize=True)


def test_a_mission_without_area_is_simple_items_alone(mission):
    kinds = {i["type"] for i in written(replace(mission, area=None))["mission"]["items"]}
    assert kinds == {"SimpleItem"}


def test_several_fields_are_shown_as_their_hull_and_said_so(mission):
    one, two = box(10.8, 46.86, 10.801, 46.861), box(10.802, 46.86, 10.803, 46.861)
    result = to_plan(replace(mission, area=MultiPolygon([one, two])), Autopilot.PX4)
    survey = json.loads(result.content)["mission"]["items"][2]
    hull = Polygon([(lon, lat) for lat, lon in survey["polygon"]])
    assert hull.buffer(1e-9).covers(MultiPolygon([one, two]))
    assert any("hull of the area" in note for note in result.notes)


def test_circular_fences_become_polygons_on_their_safe_side(mission):
    plan = written(replace(mission, fence=None, exclusions=()))
    circle = {"center": [46.86, 10.8], "radius": 100.0}
    plan["geoFence"]["circles"] = [
        {"circle": circle, "inclusion": True, "version": 1},
        {"circle": circle, "inclusion": False, "version": 1},
    ]
    back = from_plan(plan, "again")
    assert back.exclusions[0].covers(back.fence)
    width_deg = shapely.bounds(back.fence)[2] - 10.8
    assert width_deg == pytest.approx(100 / (111_320 * math.cos(math.radians(46.86))), rel=4e-3)
    assert back.fence.contains(Point(10.8, 46.86))


@pytest.mark.real
def test_an_amsl_plan_keeps_its_heights(real_data):
    path = real_data / "formats" / "marburg" / "tutdata_qgc_survey30m.plan"
    mission = from_plan(json.loads(path.read_text()), "30 m")
    assert mission.height_reference.value == "amsl"
    assert len(mission.waypoints) == 443
    assert any(w.photo_spacing_m == pytest.approx(9.4349, abs=1e-4) for w in mission.waypoints)


def broken(plan, *path, value):
    """Return a plan with one value replaced."""
    plan = json.loads(json.dumps(plan))
    holder = plan
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return plan


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("version",), 2, "plan version 2 is not known"),
        (("mission",), None, "no 'mission'"),
        (("mission", "items", 0, "type"), "Blob", "item type 'Blob'"),
        (("mission", "items", 0, "params"), [1], "item 1 has not seven parameters"),
        (("mission", "items", 0, "command"), "up", "command of item 1 is 'up'"),
        (("mission", "items", 2, "complexItemType"), "StructureScan", ""),
        (("mission", "items", 2, "TransectStyleComplexItem"), {}, "does not hold the waypoints"),
        (("mission", "items", 2, "polygon"), [[1, 2]], "no polygon with an area"),
        (("geoFence", "polygons", 0, "polygon"), "x", "not a list of"),
        (("geoFence", "circles"), 5, "'circles' are not a list"),
    ],
)
def test_malformed_plans_are_refused_with_their_place(mission, path, value, words):
    plan = broken(written(mission), *path, value=value)
    if not words:
        assert from_plan(plan, "").area is None
        return
    with pytest.raises(InputError, match=words):
        from_plan(plan, "")
