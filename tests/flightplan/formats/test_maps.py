"""KML, GPX and GeoJSON: what other programs see, and routes that others drew."""

import json
import math
from dataclasses import replace

import defusedxml.ElementTree as ElementTree
import pytest

from flightplan.formats.mission import HeightReference
from flightplan.formats.mission_files import Format, decode_mission, encode_mission
from tmp.errors import InputError

KML = "{http://www.opengis.net/kml/2.2}"
GPX = "{http://www.topografix.com/GPX/1/1}"


def kml(mission):
    return ElementTree.fromstring(encode_mission(mission, Format.KML).content)


def test_kml_draws_the_path_at_its_height_above_ground(mission):
    line = kml(mission).find(f".//{KML}LineString")
    assert line.find(f"{KML}altitudeMode").text == "relativeToGround"
    heights = [float(p.split(",")[2]) for p in line.find(f"{KML}coordinates").text.split()]
    # Ground at 1200 m + y/50 under a path at 60 m + y/50 above a take-off at 1200 m.
    assert heights == pytest.approx([60.0] * len(mission.waypoints), abs=0.001)


def test_kml_draws_heights_above_sea_level_as_absolute(mission):
    line = kml(replace(mission, height_reference=HeightReference.AMSL)).find(f".//{KML}LineString")
    assert line.find(f"{KML}altitudeMode").text == "absolute"


def test_gpx_elevations_are_above_sea_level(mission):
    root = ElementTree.fromstring(encode_mission(mission, Format.GPX).content)
    first = root.find(f"{GPX}rte/{GPX}rtept")
    expected = 1200.0 + mission.waypoints[0].height_m
    assert float(first.find(f"{GPX}ele").text) == pytest.approx(expected, abs=0.001)


def test_gpx_says_when_elevations_are_not_known(mission):
    content = encode_mission(replace(mission, vertical_datum="WGS 84 ellipsoid"), Format.GPX)
    route = ElementTree.fromstring(content.content).find(f"{GPX}rte")
    assert route.find(f"{GPX}rtept/{GPX}ele") is None
    assert any("no elevations" in note for note in content.notes)


def test_geojson_has_a_feature_for_each_thing(mission):
    collection = json.loads(encode_mission(mission, Format.GEOJSON).content)
    kinds = [feature["properties"]["kind"] for feature in collection["features"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "path": 1,
        "waypoint": 16,
        "photo": 36,
        "area": 1,
        "fence": 1,
        "exclusion": 1,
    }
    assert collection["mission"]["height_reference"] == "takeoff"


LINE = "<coordinates>\n10.0,47.0,500 10.001 , 47.0 , 510\n</coordinates>"


def drawn(inner):
    return (
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{inner}</Document></kml>'.encode()
    )


def test_a_line_drawn_in_google_earth_reads_as_a_path():
    mode = "<altitudeMode>absolute</altitudeMode>"
    mission = decode_mission(
        drawn(f"<Placemark><LineString>{mode}{LINE}</LineString></Placemark>"), "a"
    )
    assert [w.height_m for w in mission.waypoints] == [500.0, 510.0]
    assert mission.height_reference is HeightReference.AMSL
    flat = decode_mission(drawn(f"<Placemark><LineString>{LINE}</LineString></Placemark>"), "a")
    assert all(math.isnan(w.height_m) for w in flat.waypoints)
    assert any("heights are measured from" in note for note in flat.notes)
    assert mission.notes == ()


def test_lines_of_one_file_are_joined_and_their_number_said():
    line = f"<Placemark><LineString>{LINE}</LineString></Placemark>"
    mission = decode_mission(drawn(line + line.replace("47.0", "47.1")), "a")
    assert [w.lat_deg for w in mission.waypoints] == [47.0, 47.0, 47.1, 47.1]
    assert "2 lines in one file, joined in their order" in mission.notes


def test_a_gx_track_reads_as_a_path():
    track = (
        '<gx:Track xmlns:gx="http://www.google.com/kml/ext/2.2">'
        "<gx:coord>10 47 1</gx:coord><gx:coord>10.1 47 2</gx:coord></gx:Track>"
    )
    assert len(decode_mission(drawn(track), "a").waypoints) == 2


@pytest.mark.parametrize(
    ("format_", "mark", "what"),
    [
        (Format.GEOJSON, '"kind": "waypoint"', "waypoint"),
        (Format.GEOJSON, '"kind": "photo"', "photograph"),
        (Format.KML, "<name>Waypoints</name>", "waypoint"),
        (Format.KML, "<name>Photographs</name>", "photograph"),
        (Format.GPX, "<rtept", "waypoint"),
    ],
)
def test_a_mission_that_lost_a_height_is_refused(mission, format_, mark, what):
    head, mark, rest = encode_mission(mission, format_).content.decode().partition(mark)
    spoilt = head + mark + rest.replace('"height_m"', '"height_ft"', 1)
    with pytest.raises(InputError, match=f"a {what} has no height_m; write"):
        decode_mission(spoilt.encode(), "x")


def test_lines_and_points_of_other_geojson_read_as_a_path():
    line = {"type": "LineString", "coordinates": [[10, 47, 500], [10.001, 47, 510]]}
    feature = {"type": "Feature", "properties": None, "geometry": line}
    collection = {"type": "FeatureCollection", "features": [feature]}
    mission = decode_mission(json.dumps(collection).encode(), "a")
    assert mission.height_reference is HeightReference.ELLIPSOID
    assert [w.height_m for w in mission.waypoints] == [500.0, 510.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            drawn("<Placemark><LineString><coordinates>x,1</coordinates></LineString></Placemark>"),
            "coordinates 'x,1' is 'x'",
        ),
        (
            drawn("<Placemark><Point><coordinates>1,200</coordinates></Point></Placemark>"),
            "not on Earth",
        ),
        (b'<gpx><rte><rtept lat="1"/></rte></gpx>', "a point's lon is None"),
        (b"<gpx/>", "no route, track or waypoint"),
        (b'{"type": "LineString", "coordinates": [[1, "a"]]}', "a latitude is 'a'"),
        (b'{"type": "LineString", "coordinates": 5}', "not a list"),
        (b'{"type": "FeatureCollection", "features": [5]}', "not an object"),
    ],
)
def test_malformed_maps_are_refused(content, words):
    with pytest.raises(InputError, match=words):
        decode_mission(content, "a")
