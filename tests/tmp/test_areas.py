import json
import math
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from tmp.errors import InputError
from tmp.geo.areas import BEND_M, read_area, read_corridor

UTM = "EPSG:32627"
SQUARE = [[-21.0, 64.0], [-20.998, 64.0], [-20.998, 64.001], [-21.0, 64.001], [-21.0, 64.0]]
BOW_TIE = [[-21.0, 64.0], [-20.998, 64.001], [-20.998, 64.0], [-21.0, 64.001], [-21.0, 64.0]]
SQUARE_M2 = 111.5 * 97.9
"""A thousandth of a degree of latitude is 111.5 m at 64° N; two of longitude are 97.9 m."""


def write_geojson(path: Path, coordinates: list[Any], kind: str = "Polygon") -> Path:
    feature = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": kind, "coordinates": coordinates},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def write_layer(path: Path, shapes: list[shapely.Geometry], **options: Any) -> Path:
    options = {"crs": "EPSG:4326", "driver": "GPKG", "geometry_type": "Polygon"} | options
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(shapes)),
        field_data=[np.arange(len(shapes))],
        fields=["id"],
        **options,
    )
    return path


def kml(*placemarks: str) -> str:
    return (
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
        f"{''.join(placemarks)}</Document></kml>"
    )


def kml_polygon(ring: list[list[float]], hole: list[list[float]] | None = None) -> str:
    def boundary(kind: str, places: list[list[float]]) -> str:
        text = " ".join(f"{x},{y},12" for x, y in places)
        return f"<{kind}><LinearRing><coordinates>{text}</coordinates></LinearRing></{kind}>"

    inner = boundary("innerBoundaryIs", hole) if hole else ""
    return f"<Placemark><Polygon>{boundary('outerBoundaryIs', ring)}{inner}</Polygon></Placemark>"


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def test_geojson_without_crs_is_wgs84(tmp_path: Path) -> None:
    area = read_area(write_geojson(tmp_path / "a.geojson", [SQUARE]))
    assert area.area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)
    projected = area.projected(UTM)
    assert projected.area == pytest.approx(SQUARE_M2, rel=2e-3)
    assert projected.bounds[0] == pytest.approx(500_000, abs=1)


def test_kml_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    path.write_text(kml(kml_polygon(SQUARE)))
    area = read_area(path)
    assert not area.polygons.has_z
    assert area.area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)


def test_hole_of_a_kml_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    path.write_text(kml(kml_polygon(SQUARE, box(-20.9995, 64.00025, -20.9985, 64.00075))))
    assert read_area(path).area_m2 == pytest.approx(0.75 * SQUARE_M2, rel=2e-3)


def test_kml_with_blanks_after_commas_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    path.write_text(kml(kml_polygon(SQUARE)).replace(",", ", "))
    assert read_area(path).area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)


def test_kmz_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.kmz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("files/other.kml", kml())
        archive.writestr("doc.kml", kml(kml_polygon(SQUARE)))
    assert read_area(path).area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)


def test_kmz_that_swells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmp.geo.vectors.MOST_BYTES", 2**20)
    path = tmp_path / "a.kmz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("doc.kml", " " * 2**21)
    with pytest.raises(InputError, match="unpacks to more than 1 MB"):
        read_area(path)


def test_entities_in_a_kml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    path.write_text('<!DOCTYPE kml [<!ENTITY a "b">]><kml>&a;</kml>')
    with pytest.raises(InputError, match="cannot be read as KML"):
        read_area(path)


@pytest.mark.parametrize("corner", [0, 2])
@pytest.mark.parametrize("word", ["nan", "inf"])
def test_ring_of_a_kml_with_a_word_for_a_number_is_refused(
    tmp_path: Path, corner: int, word: str
) -> None:
    """At the first corner the ring would not even close: NaN is not itself."""
    ring: list[list[Any]] = [list(place) for place in SQUARE]
    ring[corner][0] = word
    path = tmp_path / "a.kml"
    path.write_text(kml(kml_polygon(ring)), encoding="utf-8")
    with pytest.raises(InputError, match=r"a ring cannot be read .* that is no number"):
        read_area(path)


@pytest.mark.parametrize(
    ("driver", "name"), [("ESRI Shapefile", "a.shp"), ("GPKG", "a.gpkg"), ("FlatGeobuf", "a.fgb")]
)
def test_projected_file_is_brought_to_wgs84(driver: str, name: str, tmp_path: Path) -> None:
    ring = shapely.box(500_000, 7_100_000, 500_300, 7_100_200)
    area = read_area(write_layer(tmp_path / name, [ring], crs=UTM, driver=driver))
    # The scale of UTM is 0.9996 on its meridian.
    assert area.area_m2 == pytest.approx(60_000 / 0.9996**2, rel=1e-5)
    assert shapely.hausdorff_distance(area.projected(UTM), ring) < 1e-6


def test_zipped_shapefile_is_read(tmp_path: Path) -> None:
    write_layer(tmp_path / "a.shp", [shapely.Polygon(SQUARE)], driver="ESRI Shapefile")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in tmp_path.glob("a.[sdpc]*"):
            archive.write(part, part.name)
    assert read_area(path).area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)


@pytest.mark.parametrize("prefix", ["SRID=4326;", " srid=4326; \n"])
def test_wkt_says_its_crs_before_it(prefix: str) -> None:
    text = prefix + shapely.Polygon(SQUARE).wkt
    assert read_area(text).area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)


def test_wkt_file_takes_the_crs_given(tmp_path: Path) -> None:
    path = tmp_path / "a.wkt"
    path.write_text(shapely.box(500_000, 7_100_000, 500_300, 7_100_200).wkt + "\n")
    assert read_area(path, crs=UTM).area_m2 == pytest.approx(60_000 / 0.9996**2, rel=1e-5)
    with pytest.raises(InputError, match="does not say its CRS"):
        read_area(path)
    with pytest.raises(InputError, match="'nonsense' is not a CRS"):
        read_area(path, crs="nonsense")


def test_layers_are_told_apart_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    field, wood = shapely.Polygon(SQUARE), shapely.box(8.0, 47.0, 8.001, 47.001)
    write_layer(path, [field], layer="field")
    write_layer(path, [shapely.Point(8, 47)], layer="pins", geometry_type="Point")
    assert read_area(path).centre == pytest.approx((-20.999, 64.0005), abs=1e-6)
    write_layer(path, [wood], layer="wood")
    with pytest.raises(InputError, match="layers 'field', 'wood' hold polygons; name one"):
        read_area(path)
    assert read_area(path, layer="wood").centre == pytest.approx((8.0005, 47.0005), abs=1e-6)
    with pytest.raises(InputError, match="no layer 'heath'; it has 'field', 'pins', 'wood'"):
        read_area(path, layer="heath")
    with pytest.raises(InputError, match="layer 'pins': holds no polygon, only 1 Point"):
        read_area(path, layer="pins")


def test_pins_beside_a_polygon_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.kml"
    pin = "<Placemark><Point><coordinates>8,47</coordinates></Point></Placemark>"
    path.write_text(kml(pin, kml_polygon(SQUARE)))
    assert read_area(path).area_m2 == pytest.approx(SQUARE_M2, rel=2e-3)
    assert "left out what is not a polygon: 1 Point" in caplog.text


def test_polygons_that_touch_become_one() -> None:
    two = shapely.GeometryCollection(
        [shapely.box(8, 47, 8.01, 47.01), shapely.box(8.01, 47, 8.02, 47.01)]
    )
    area = read_area(f"SRID=4326;{two.wkt}")
    assert len(area.polygons.geoms) == 1
    assert area.polygons.bounds == pytest.approx((8, 47, 8.02, 47.01), abs=1e-9)


def test_polygon_drawn_twice_counts_once() -> None:
    square = shapely.box(8, 47, 8.01, 47.01)
    again = shapely.Polygon(np.roll(square.exterior.coords[:-1], 1, axis=0))
    apart = shapely.box(8.02, 47, 8.03, 47.01)
    area = read_area(f"SRID=4326;{shapely.GeometryCollection([square, apart, again, square]).wkt}")
    assert area.polygons.is_valid
    once = read_area(f"SRID=4326;{shapely.MultiPolygon([square, apart]).wkt}")
    assert area.area_m2 == pytest.approx(once.area_m2, rel=1e-6)


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 4)] * 2), min_size=1))
def test_polygons_in_any_place_to_each_other_become_their_union(
    boxes: list[tuple[int, int, int, int]],
) -> None:
    """Apart, edge to edge, corner to corner, across, within, and twice."""
    shapes = [
        shapely.box(8 + x / 1e3, 47 + y / 1e3, 8 + (x + w) / 1e3, 47 + (y + h) / 1e3)
        for x, y, w, h in boxes
    ]
    area = read_area(f"SRID=4326;{shapely.GeometryCollection(shapes).wkt}")
    assert area.polygons.is_valid
    assert area.polygons.area == pytest.approx(shapely.union_all(shapes).area, rel=1e-6)


def test_memory_does_not_grow_with_the_pairs_of_polygons_upon_each_other() -> None:
    """800 make 640 000 pairs of 16 bytes and more; 10 000 would make 1.6 GB."""
    corners = 8 + np.arange(800) * 1e-7
    heap = shapely.GeometryCollection(list(shapely.box(corners, 47, corners + 0.01, 47.01)))
    tracemalloc.start()
    try:
        area = read_area(f"SRID=4326;{heap.wkt}")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(area.polygons.geoms) == 1
    assert peak_bytes < 5e6


def test_parts_cut_at_the_antimeridian_are_joined(tmp_path: Path) -> None:
    """As RFC 7946, section 3.1.9, has them cut."""
    parts = [[box(179.99, 70, 180, 70.01)], [box(-180, 70, -179.99, 70.01)]]
    area = read_area(write_geojson(tmp_path / "a.geojson", parts, "MultiPolygon"))
    assert len(area.polygons.geoms) == 1
    whole = read_area(f"SRID=4326;{shapely.box(10, 70, 10.02, 70.01).wkt}")
    assert area.area_m2 == pytest.approx(whole.area_m2, rel=1e-7)
    assert abs(area.centre[0]) == pytest.approx(180)
    assert area.centre[1] == pytest.approx(70.005, abs=1e-4)


def test_ring_that_jumps_at_the_antimeridian_goes_the_short_way(tmp_path: Path) -> None:
    ring = box(179.99, 70, 180.01, 70.01)
    hole = box(-179.998, 70.002, -179.994, 70.004)
    jumping = [[x - 360 if x > 180 else x, y] for x, y in ring]
    area = read_area(write_geojson(tmp_path / "a.geojson", [jumping, hole]))
    straight = read_area(
        f"SRID=4326;{shapely.Polygon(ring, [box(*(180.002, 70.002, 180.006, 70.004))]).wkt}"
    )
    assert area.area_m2 == pytest.approx(straight.area_m2, rel=1e-7)
    assert np.ptp(area.polygons.bounds[::2]) == pytest.approx(0.02)


def test_projected_area_across_the_antimeridian_is_in_one_piece() -> None:
    area = read_area(f"SRID=3832;{shapely.box(3_338_000, 4e6, 3_340_000, 4.001e6).wkt}")
    assert np.ptp(area.polygons.bounds[::2]) < 0.1


@given(lat=st.floats(-85, 85), lon=st.floats(-180, 180))
def test_a_square_kilometre_is_one_anywhere(lat: float, lon: float) -> None:
    plane = f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84"
    back = Transformer.from_crs(plane, "EPSG:4326", always_xy=True)
    ring = np.column_stack(back.transform(*np.array(box(-500, -500, 500, 500)).T))
    area = read_area(f"SRID=4326;{shapely.Polygon(ring).wkt}")
    assert area.area_m2 == pytest.approx(1e6, rel=1e-3)
    away_deg = (area.centre[0] - lon + 180) % 360 - 180
    assert abs(away_deg) * math.cos(math.radians(lat)) < 1e-4
    assert area.centre[1] == pytest.approx(lat, abs=1e-4)


def test_long_edge_stays_where_it_was_drawn() -> None:
    """A parallel of 10 km at 78° N bends 9 m beside the straight way between its ends."""
    text = "SRID=4326;POLYGON ((15 78, 15.43 78, 15.43 78.02, 15 78.02, 15 78))"
    plane = "+proj=tmerc +lat_0=78 +lon_0=15.215 +datum=WGS84"
    area = read_area(text).projected(plane)
    forward = Transformer.from_crs("EPSG:4326", plane, always_xy=True)
    drawn = np.column_stack(forward.transform(np.linspace(15, 15.43, 101), np.full(101, 78.0)))
    assert shapely.distance(area.boundary, shapely.points(drawn)).max() < BEND_M
    ends = shapely.LineString(drawn[[0, -1]])
    assert shapely.distance(ends, shapely.points(drawn[50])) > 8


def test_short_edges_get_no_points() -> None:
    area = read_area(f"SRID=4326;{shapely.Polygon(SQUARE).wkt}")
    assert shapely.get_num_coordinates(area.polygons) == 5


def test_area_is_that_of_the_ellipsoid() -> None:
    """Against Karney's algorithm on vertices every metre of a parallel."""
    lon = np.linspace(15, 15.43, 10_001)
    ring = np.vstack([np.column_stack([lon, np.full(10_001, 78.0)]), [[15.43, 78.02], [15, 78.02]]])
    exact = Geod(ellps="WGS84").polygon_area_perimeter(*ring.T)[0]
    area = read_area("SRID=4326;POLYGON ((15 78, 15.43 78, 15.43 78.02, 15 78.02, 15 78))")
    assert area.area_m2 < exact
    assert area.area_m2 == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("POLYGON EMPTY", "holds no polygon"),
        ("POINT (8 47)", "only 1 Point"),
        ("LINESTRING (8 47, 9 47)", "only 1 LineString"),
        ("POLYGON ((8 47, 8.1 47.1, 8.2 47.2, 8 47))", "has no area"),
        ("POLYGON ((8 47, 8.0000001 47, 8.0000001 47.0000001, 8 47))", "too small an area"),
        (shapely.Polygon(BOW_TIE).wkt, "crosses itself"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))", "12,308 km², too large"),
        ("POLYGON ((64 -121, 65 -121, 65 -120, 64 -121))", "seem to be swapped"),
        ("POLYGON ((5e5 5e6, 6e5 5e6, 6e5 6e6, 5e5 5e6))", "are no degrees"),
        ("POLYGON ((0 89.9, 120 89.9, -120 89.9, 0 89.9))", "goes round a pole"),
        ("POLYGON ((8 47, 9", "cannot be read as WKT"),
    ],
)
def test_what_is_no_area_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_area(f"SRID=4326;{text}")


def test_exclusions_may_be_as_large_as_a_country() -> None:
    text = "SRID=4326;POLYGON ((6 46, 10 46, 10 48, 6 48, 6 46))"
    assert read_area(text, most_m2=math.inf).area_m2 == pytest.approx(6.75e10, rel=0.02)


def test_one_bad_polygon_of_several_is_named(tmp_path: Path) -> None:
    path = write_layer(tmp_path / "a.gpkg", [shapely.Polygon(SQUARE), shapely.Polygon(BOW_TIE)])
    with pytest.raises(InputError, match=r"a\.gpkg, polygon 2: the polygon crosses itself"):
        read_area(path)


@pytest.mark.parametrize(("driver", "name"), [("ESRI Shapefile", "a.shp"), ("GPKG", "a.gpkg")])
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_polygon_without_crs_is_refused(driver: str, name: str, tmp_path: Path) -> None:
    path = write_layer(tmp_path / name, [shapely.box(0, 0, 10, 10)], crs=None, driver=driver)
    with pytest.raises(InputError, match="does not say its CRS"):
        read_area(path)


def test_line_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "l.geojson", SQUARE, kind="LineString")
    with pytest.raises(InputError, match=r"holds no polygon, only 1 LineString; .* --width"):
        read_area(path)


ROAD = [[-21.0, 64.0], [-20.998, 64.0], [-20.998, 64.001]]
ROAD_M2 = (97.9 + 111.5) * 20.0
"""Of a corridor 20 m wide: at the right angle it counts a square twice and has its corner."""
KML_LINE = (
    "<LineString><coordinates>-21,64,5 -20.998, 64,5 -20.998,64.001</coordinates></LineString>"
)
GPX_POINTS = "".join(f'<{{0}} lat="{lat}" lon="{lon}"><ele>3</ele></{{0}}>' for lon, lat in ROAD)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.kml", f"<kml><Placemark>{KML_LINE}</Placemark></kml>"),
        ("a.gpx", f"<gpx><trk><trkseg>{GPX_POINTS.format('trkpt')}</trkseg></trk></gpx>"),
        ("a.gpx", f"<gpx><rte><name>road</name>{GPX_POINTS.format('rtept')}</rte></gpx>"),
        ("a.wkt", "SRID=4326;LINESTRING Z (-21 64 9, -20.998 64 9, -20.998 64.001 9)"),
        ("a.wkt", "SRID=4326;MULTILINESTRING ((-21 64, -20.998 64), (-20.998 64, -20.998 64.001))"),
    ],
)
def test_corridor_along_a_line_that_is_written(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    corridor = read_corridor(tmp_path / name, width_m=20)
    # Two lines that meet have no outer corner: 100 m² less.
    assert corridor.area_m2 == pytest.approx(ROAD_M2, abs=110)
    assert corridor.middle is not None
    assert shapely.get_coordinates(corridor.middle)[[0, -1]] == pytest.approx(
        np.array([ROAD[0], ROAD[-1]])
    )


@pytest.mark.parametrize(
    ("driver", "name"), [("ESRI Shapefile", "a.shp"), ("GPKG", "a.gpkg"), ("GeoJSON", "a.geojson")]
)
def test_corridor_along_a_line_in_a_layer(driver: str, name: str, tmp_path: Path) -> None:
    line = shapely.LineString(ROAD)
    path = write_layer(tmp_path / name, [line], geometry_type="LineString", driver=driver)
    assert read_corridor(path, width_m=20).area_m2 == pytest.approx(ROAD_M2, abs=10)


def test_corridor_in_a_projected_crs_has_its_width_on_the_ground() -> None:
    line = "LINESTRING (300000 7100000, 300000 7101000)"
    # UTM is 0.04 % short at its meridian, and as much too long 250 km beside it.
    area = read_corridor(line, width_m=50, crs=UTM)
    assert area.area_m2 == pytest.approx(50_000, rel=6e-4)


def test_corridor_of_a_loop_leaves_its_middle_out_and_open() -> None:
    ring = shapely.Point(0, 0).buffer(0.002).exterior
    corridor = read_corridor(f"SRID=4326;{shapely.LineString(ring.coords).wkt}", width_m=20)
    assert not any(part.interiors for part in corridor.polygons.geoms)
    length_m = Geod(ellps="WGS84").geometry_length(ring)
    assert corridor.area_m2 == pytest.approx(20 * length_m, rel=2e-3)


def test_corridor_across_the_antimeridian_is_in_one_piece() -> None:
    corridor = read_corridor("SRID=4326;LINESTRING (179.999 10, -179.999 10)", width_m=30)
    assert corridor.polygons.bounds[2] - corridor.polygons.bounds[0] < 0.003
    assert -180 <= corridor.centre[0] < 180


@pytest.mark.parametrize(
    ("text", "width_m", "reason"),
    [
        ("POLYGON ((8 47, 9 47, 9 48, 8 47))", 60.0, "holds no line, only 1 Polygon; a width is"),
        ("LINESTRING (8 47, 8 47)", 60.0, "the line has no length"),
        ("LINESTRING (47 8, 8 147)", 60.0, "seem to be swapped"),
        ("LINESTRING (8 47, 8.1 47)", math.nan, "a corridor nan m wide is none"),
    ],
)
def test_what_is_no_corridor_is_refused(text: str, width_m: float, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_corridor(text, width_m=width_m, crs="EPSG:4326")


def test_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a polygon")
    with pytest.raises(InputError, match="cannot be read"):
        read_area(path)
    for name in ("a.kml", "a.kmz", "a.wkt"):
        (tmp_path / name).write_bytes(b"\xff\xfenot a polygon")
        with pytest.raises(InputError, match=r"cannot be read|does not begin"):
            read_area(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_area(tmp_path / "missing.geojson")


def test_area_without_a_place_in_a_crs_is_refused() -> None:
    area = read_area("SRID=4326;POLYGON ((8 89, 9 89, 9 90, 8 89))")
    with pytest.raises(InputError, match=r"no place in \+proj=gnom"):
        area.projected("+proj=gnom +lat_0=-90 +lon_0=0 +datum=WGS84")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "hectares"),
    [
        ("agung/aoi.geojson", 140.7),
        ("freetown_aoi.geojson", 114.2),
        ("qgc/PolygonAreaTest.kml", 0.463),
    ],
)
def test_areas_that_others_drew_are_read(real_data: Path, name: str, hectares: float) -> None:
    assert read_area(real_data / "formats" / name).area_m2 / 1e4 == pytest.approx(
        hectares, rel=0.01
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "hectares"), [("rect", 6.0), ("L", 7.0), ("hole", 10.8), ("U", 7.6)]
)
def test_fields_have_the_area_they_were_made_with(
    real_data: Path, name: str, hectares: float
) -> None:
    area = read_area(real_data / "fields" / f"{name}.geojson")
    assert area.area_m2 / 1e4 == pytest.approx(hectares, rel=1e-3)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("marburg/flightarea.kml", "only 1 LineString"),
        ("dji_waypoint_v3_test_file.kmz", "only 14 Point"),
        ("wpmz_alps/template.kml", "holds no polygon"),
    ],
)
def test_files_without_an_area_are_refused(real_data: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_area(real_data / "formats" / name)
