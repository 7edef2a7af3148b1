"""WPML by its rules: namespaces, order of elements, indexes, enumerations, ranges."""

import io
import math
import zipfile
from dataclasses import replace

import defusedxml.ElementTree as ElementTree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.equipment.catalogue import Catalogue, read_catalogue
from flightplan.formats.geometry import leg
from flightplan.formats.mission import HeightReference, ReleasedBy
from flightplan.formats.mission_files import Format, decode_mission, encode_mission
from flightplan.formats.wpml import to_consumer, to_enterprise
from tmp.errors import InputError

KML = "{http://www.opengis.net/kml/2.2}"
WPML = "{http://www.dji.com/wpmz/1.0.2}"
VARIANTS = [f for f in Format if f.value.startswith("dji-")]
CATALOGUE = read_catalogue()

CONFIG_ORDER = [
    *("flyToWaylineMode", "finishAction", "exitOnRCLost", "executeRCLostAction"),
    *("takeOffSecurityHeight", "takeOffRefPoint", "globalTransitionalSpeed", "globalRTHHeight"),
    *("droneInfo", "payloadInfo"),
]
POINT_ORDER = [
    *("Point", "index", "executeHeight", "waypointSpeed", "waypointHeadingParam"),
    *("waypointTurnParam", "useStraightLine", "actionGroup"),
]
GROUP_ORDER = [
    *("actionGroupId", "actionGroupStartIndex", "actionGroupEndIndex", "actionGroupMode"),
    *("actionTrigger", "action"),
]
ENUMERATIONS = {
    "flyToWaylineMode": {"safely", "pointToPoint"},
    "finishAction": {"goHome", "noAction", "autoLand", "gotoFirstWaypoint"},
    "exitOnRCLost": {"goContinue", "executeLostAction"},
    "executeRCLostAction": {"goBack", "landing", "hover"},
    "executeHeightMode": {"WGS84", "relativeToStartPoint", "realTimeFollowSurface"},
    "waypointHeadingMode": {"followWayline", "manually", "fixed", "smoothTransition", "towardPOI"},
    "waypointTurnMode": {
        "coordinateTurn",
        "toPointAndStopWithDiscontinuityCurvature",
        "toPointAndStopWithContinuityCurvature",
        "toPointAndPassWithContinuityCurvature",
    },
    "actionGroupMode": {"sequence", "parallel"},
    "actionTriggerType": {
        *("reachPoint", "betweenAdjacentPoints", "multipleTiming", "multipleDistance"),
    },
    "actionActuatorFunc": {"takePhoto", "gimbalRotate"},
    "useStraightLine": {"0", "1"},
}


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["wpmz/template.kml", "wpmz/waylines.wpml"]
        return [ElementTree.fromstring(archive.read(name)) for name in archive.namelist()]


def texts(root, name):
    return [element.text for element in root.iter(WPML + name)]


def names(element):
    return [child.tag.rpartition("}")[2] for child in element]


def in_order(found, order):
    positions = [order.index(name) for name in found]
    return positions == sorted(positions)


def hold_to_the_rules(content, *, fastest):
    """Check a file against DJI's specification, element by element."""
    template, waylines = members(content)
    for root in (template, waylines):
        assert root.tag == f"{KML}kml"
        tags = {e.tag.partition("}")[0] + "}" for e in root.iter()}
        assert tags == {KML, WPML}
        config = root.find(f"{KML}Document/{WPML}missionConfig")
        assert in_order(names(config), CONFIG_ORDER)
        for name, allowed in ENUMERATIONS.items():
            assert set(texts(root, name)) <= allowed, name
        for height in texts(root, "takeOffSecurityHeight"):
            assert 1.2 <= float(height) <= 1500
        for transit in texts(root, "globalTransitionalSpeed"):
            assert 0 < float(transit) <= fastest
    (folder,) = waylines.findall(f"{KML}Document/{KML}Folder")
    placemarks = folder.findall(f"{KML}Placemark")
    assert names(folder)[:4] == ["templateId", "executeHeightMode", "waylineId", "autoFlightSpeed"]
    assert texts(folder, "index") == [str(i) for i in range(len(placemarks))]
    groups = texts(folder, "actionGroupId")
    assert len(groups) == len(set(groups))
    for index, placemark in enumerate(placemarks):
        hold_point_to_the_rules(placemark, index, len(placemarks), fastest)
    return folder


def hold_point_to_the_rules(placemark, index, count, fastest):
    assert in_order(names(placemark), POINT_ORDER)
    lon, lat = map(float, placemark.find(f"{KML}Point/{KML}coordinates").text.split(","))
    assert -180 <= lon < 180
    assert -90 <= lat <= 90
    assert 0 < float(placemark.find(f"{WPML}waypointSpeed").text) <= fastest
    angle = float(placemark.find(f"{WPML}waypointHeadingParam/{WPML}waypointHeadingAngle").text)
    assert -180 <= angle <= 180
    assert float(texts(placemark, "waypointTurnDampingDist")[0]) >= 0
    for group in placemark.findall(f"{WPML}actionGroup"):
        assert in_order(names(group), GROUP_ORDER)
        start, end = (
            int(group.find(f"{WPML}actionGroup{edge}Index").text) for edge in ("Start", "End")
        )
        assert index == start <= end < count
        kind = texts(group, "actionTriggerType")[0]
        every = texts(group, "actionTriggerParam")
        assert bool(every) == kind.startswith("multiple")
        assert all(float(value) > 0 for value in every)


@pytest.mark.parametrize("format_", VARIANTS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_mission_keeps_to_the_rules(flown, format_, data):
    mission = data.draw(flown.missions())
    fastest = 15.0 if format_ is Format.DJI_ENTERPRISE else 11.5
    hold_to_the_rules(encode_mission(mission, format_).content, fastest=fastest)


def test_dampings_of_neighbours_are_shorter_than_the_way_between(mission):
    folder = hold_to_the_rules(to_enterprise(mission, catalogue=CATALOGUE).content, fastest=15.0)
    dampings = [float(value) for value in texts(folder, "waypointTurnDampingDist")]
    for index in range(len(dampings) - 1):
        length = leg(mission.waypoints[index], mission.waypoints[index + 1])[1]
        assert dampings[index] + dampings[index + 1] < length
    modes, straights = texts(folder, "waypointTurnMode"), texts(folder, "useStraightLine")
    for mode, straight, damping in zip(modes, straights, dampings, strict=True):
        # DJI wants a damping distance where a drone passes on straight lines.
        assert damping > 0 or straight == "0" or "Stop" in mode


@pytest.mark.parametrize(
    ("drone", "numbers"),
    [
        ("dji-mavic-3m", ("77", "2", "68")),
        ("Mavic 3E", ("77", "0", "66")),
        ("M30T", ("67", "1", "53")),
        ("Mavic 3T", ("77", "1", "67")),
        ("M4T", ("99", "1", "89")),
        ("M300", ("60", "0", "43")),
        ("M350", ("89", "0", "50")),
        ("Matrice 30", ("67", "0", "52")),
    ],
)
def test_enterprise_drones_have_the_numbers_of_the_specification(mission, drone, numbers):
    written = to_enterprise(replace(mission, drone=drone), catalogue=CATALOGUE)
    _, waylines = members(written.content)
    found = ("droneEnumValue", "droneSubEnumValue", "payloadEnumValue")
    assert tuple(texts(waylines, name)[0] for name in found) == numbers


def test_the_multispectral_drone_stores_all_its_bands(mission):
    template, waylines = members(to_enterprise(mission, catalogue=CATALOGUE).content)
    assert texts(template, "imageFormat") == ["visible,narrow_band"]
    assert set(texts(waylines, "payloadLensIndex")) == {"visible,narrow_band"}


def test_a_drone_whose_camera_has_no_number_is_refused_for_pilot_2(mission):
    drone = CATALOGUE.drone("M350")
    bare = replace(drone, wpml=replace(drone.wpml, payload=None))
    catalogue = Catalogue(cameras={}, drones={drone.key: bare})
    with pytest.raises(InputError, match=r"add payload to its \[drone.KEY.wpml\]"):
        to_enterprise(replace(mission, drone="M350"), catalogue=catalogue)


@pytest.mark.parametrize("drone", ["Mini 4 Pro", "Phantom 9", ""])
def test_drones_without_a_number_are_refused_for_pilot_2(mission, drone):
    with pytest.raises(InputError, match="has no number for DJI Pilot 2"):
        to_enterprise(replace(mission, drone=drone), catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("drone", "number", "guessed"),
    [("dji-mini-4-pro", "68", False), ("Air 3", "68", True)],
)
def test_consumer_numbers_say_when_they_are_a_guess(mission, drone, number, guessed):
    written = to_consumer(replace(mission, drone=drone), ReleasedBy.POINT, catalogue=CATALOGUE)
    assert texts(members(written.content)[1], "droneEnumValue") == [number]
    assert any("guess" in note for note in written.notes) == guessed


def test_dji_fly_is_refused_for_drones_without_waypoints(mission):
    with pytest.raises(InputError, match="DJI Fly flies no waypoints with a DJI Mini 3 Pro"):
        to_consumer(replace(mission, drone="mini 3 pro"), ReleasedBy.POINT, catalogue=CATALOGUE)


def shoots(content):
    """Return (trigger, parameter, start, end) of each group that takes photographs."""
    return [
        (
            texts(group, "actionTriggerType")[0],
            float((texts(group, "actionTriggerParam") or ["nan"])[0]),
            int(texts(group, "actionGroupStartIndex")[0]),
            int(texts(group, "actionGroupEndIndex")[0]),
        )
        for group in members(content)[1].iter(WPML + "actionGroup")
        if "takePhoto" in texts(group, "actionActuatorFunc")
    ]


@pytest.mark.parametrize(("heading", "written"), [(12.3, "12.3"), (270.0, "-90"), (180.04, "-180")])
def test_headings_are_between_half_turns_and_to_a_tenth_of_a_degree(mini, heading, written):
    waypoints = tuple(replace(one, heading_deg=heading) for one in mini.waypoints)
    turned = replace(mini, waypoints=waypoints)
    way = members(to_consumer(turned, ReleasedBy.POINT, catalogue=CATALOGUE).content)[1]
    assert set(texts(way, "waypointHeadingAngle")) == {written}


def test_a_photograph_at_each_point(mini):
    found = shoots(to_consumer(mini, ReleasedBy.POINT, catalogue=CATALOGUE).content)
    assert len(found) == len(mini.photos)
    assert all(kind == "reachPoint" and start == end for kind, _, start, end in found)


def test_photographs_by_distance_run_from_line_start_to_the_end_of_the_run_out(mini):
    found = shoots(to_consumer(mini, ReleasedBy.DISTANCE, catalogue=CATALOGUE).content)
    assert found == [("multipleDistance", 15.0, i, i + 2) for i in (1, 5, 9, 13)]


def test_photographs_by_time_and_the_speed_that_fits(mini):
    content = to_consumer(mini, ReleasedBy.INTERVAL, catalogue=CATALOGUE).content
    found = [shoot for shoot in shoots(content) if shoot[0] == "multipleTiming"]
    assert found == [("multipleTiming", 2.5, i, i + 2) for i in (1, 5, 9, 13)]
    # One more where each line ends, however long ago the last one by time was.
    ends = [first for kind, _, first, _ in shoots(content) if kind == "reachPoint"]
    assert ends == [3, 7, 11, 15]
    speeds = [float(speed) for speed in texts(members(content)[1], "waypointSpeed")]
    asked = mini.waypoints[1].speed_m_s
    assert speeds[:3] == [min(6.0, asked)] * 3


def test_the_timer_variant_takes_none_and_flies_spacing_over_interval(mini):
    slow = replace(mini, photo_interval_s=5.0)
    written = to_consumer(slow, ReleasedBy.TIMER, catalogue=CATALOGUE)
    assert shoots(written.content) == []
    back = decode_mission(written.content, "")
    # 15 m in 5 s, from the run-in to the end of the run-out.
    assert [w.speed_m_s for w in back.waypoints[:3]] == [3.0, 3.0, 3.0]
    assert any("timer to 5 s" in note for note in written.notes)


@pytest.mark.parametrize("trigger", [ReleasedBy.TIMER, ReleasedBy.INTERVAL])
def test_timers_need_an_interval(mini, trigger):
    with pytest.raises(InputError, match="no time between photographs"):
        to_consumer(replace(mini, photo_interval_s=math.nan), trigger, catalogue=CATALOGUE)


def test_dji_fly_is_never_asked_for_more_than_it_honours(mini):
    fast = replace(mini, waypoints=tuple(replace(w, speed_m_s=14.0) for w in mini.waypoints))
    written = to_consumer(fast, ReleasedBy.DISTANCE, catalogue=CATALOGUE)
    assert set(texts(members(written.content)[1], "waypointSpeed")) == {"11.5"}
    assert any("11.5 m/s" in note for note in written.notes)


def test_missions_that_choke_controllers_are_warned_of(flown):
    mission = flown.lawnmower()
    dense = tuple(replace(w, photo_spacing_m=w.photo_spacing_m / 5) for w in mission.waypoints)
    written = to_consumer(replace(mission, waypoints=dense), ReleasedBy.POINT, catalogue=CATALOGUE)
    assert any("waypoints: controllers" in note for note in written.notes)


def test_heights_above_the_ellipsoid_are_wgs84_and_terrain_is_refused(mini):
    above = replace(mini, height_reference=HeightReference.ELLIPSOID)
    content = to_consumer(above, ReleasedBy.POINT, catalogue=CATALOGUE).content
    assert texts(members(content)[1], "executeHeightMode") == ["WGS84"]
    assert decode_mission(content, "").height_reference is HeightReference.ELLIPSOID
    with pytest.raises(InputError, match="heights above terrain"):
        to_consumer(
            replace(mini, height_reference=HeightReference.TERRAIN),
            ReleasedBy.POINT,
            catalogue=CATALOGUE,
        )


@pytest.mark.real
def test_a_route_of_pilot_2_reads_as_it_says(real_data):
    content = (real_data / "formats" / "dji_waypoint_v3_test_file.kmz").read_bytes()
    mission = decode_mission(content, "test")
    first = mission.waypoints[0]
    assert (first.lon_deg, first.lat_deg) == (113.943123779504, 22.57749398646)
    assert (first.height_m, first.speed_m_s) == (100.0, 5.0)
    assert mission.height_reference is HeightReference.TAKEOFF
    assert any("startRecord" in note for note in mission.notes)


@pytest.mark.real
def test_a_flown_route_has_a_photograph_at_each_point(real_data):
    content = (real_data / "formats" / "wpmz_alps" / "waylines.wpml").read_bytes()
    mission = decode_mission(content, "alps")
    assert len(mission.photos) == len(mission.waypoints) == 58
    assert mission.waypoints[0].height_m == 3587.49
    assert {photo.gimbal_pitch_deg for photo in mission.photos} == {-90.0}


def route(folder):
    return (
        '<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:wpml="http://www.dji.com/wpmz/1.0.2">'
        "<Document><wpml:missionConfig/><Folder>"
        f"<wpml:executeHeightMode>WGS84</wpml:executeHeightMode>{folder}"
        "</Folder></Document></kml>"
    ).encode()


def point(index, coordinates="10,47", height="<wpml:executeHeight>50</wpml:executeHeight>"):
    return (
        f"<Placemark><Point><coordinates>{coordinates}</coordinates></Point>"
        f"<wpml:index>{index}</wpml:index>{height}</Placemark>"
    )


def test_gaps_between_indexes_are_noted():
    assert any("gaps" in note for note in decode_mission(route(point(0) + point(2)), "").notes)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("", "no waypoints in it"),
        ("<wpml:templateType>mapping2d</wpml:templateType>", "a mapping2d template"),
        (point(0, "10"), "not longitude,latitude"),
        (point(0, "10,470"), "not on Earth"),
        (point(0, height=""), "waypoint 0 has no height"),
        (point("x"), "index is 'x'"),
    ],
)
def test_malformed_routes_are_refused(folder, words):
    with pytest.raises(InputError, match=words):
        decode_mission(route(folder), "")
