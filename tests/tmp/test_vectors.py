"""Files of shapes are what they are meant to be, and lead nowhere else."""

import json
import struct
from pathlib import Path

import pytest

from tmp.errors import InputError
from tmp.geo.areas import read_area
from tmp.geo.rasters import open_elevation
from tmp.geo.vectors import list_layers, parse_xml, read_layer

RING = "8,47 8.01,47 8.01,47.01 8,47"
KML = (
    '<?xml version="1.0" encoding="{}"?><kml><Document><name>畑</name><Placemark><Polygon>'
    "<outerBoundaryIs><LinearRing><coordinates>" + RING + "</coordinates></LinearRing>"
    "</outerBoundaryIs></Polygon></Placemark></Document></kml>"
)


@pytest.mark.parametrize("encoding", ["Shift_JIS", "EUC-JP", "GB18030", "utf-8", "utf-16"])
def test_kml_is_read_in_the_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "field.kml"
    path.write_bytes(KML.format(encoding).encode(encoding))
    assert read_area(path).area_m2 > 1000


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.geojson", '<OGRVRTDataSource><OGRVRTLayer name="a"/></OGRVRTDataSource>', "save it as"),
        ("a.geojson", '{"type": "gdal_streamed_alg", "command_line": "x"}', "not GeoJSON"),
        ("a.geojson", '{"\\u0063rs": {"type": "link"}}', "not GeoJSON"),
        ("a.geojson", "x,y\n1,2\n", "cannot be read as a vector file"),
        ("a.kml", "<kml>" + "<Folder>" * 5000, "in each other"),
        ("a.wkt", "SRID=4326;" + "GEOMETRYCOLLECTION(" * 100_000, "nested too deep"),
        ("a.kml", KML.format("no-such-encoding"), "unknown encoding"),
        ("a.kmz", "PK\x03\x04 cut short", "broken or encrypted zip archive"),
    ],
)
def test_what_is_no_drawing_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=said) as refusal:
        read_area(path)
    assert "\n" not in str(refusal.value)


def test_a_crs_by_address_is_refused_before_gdal_asks_for_it(tmp_path: Path) -> None:
    crs = {"type": "link", "properties": {"href": "http://127.0.0.1:9/crs"}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs}))
    with pytest.raises(InputError, match="refers to its CRS elsewhere"):
        list_layers(tmp_path / "a.geojson")


def test_a_deep_document_is_refused_and_a_shallow_one_is_not() -> None:
    assert parse_xml(b"<a>" * 100 + b"</a>" * 100).tag == "a"
    with pytest.raises(InputError, match="in each other"):
        parse_xml(b"<a>" * 101 + b"</a>" * 101)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<VRTDataset rasterXSize='1' rasterYSize='1'/>", "no GeoTIFF"),
        (b"ncols 9\nnrows 9\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3\n", "cut short"),
        (
            b"ncols 2\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 " + b"9" * 500,
            "holds what is no figure",
        ),
        (b"ncols 2\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\0\0", "holds what is no"),
        (b"II*\0" + struct.pack("<I", 8), "cannot be read as a raster"),
    ],
)
def test_a_raster_in_disguise_or_cut_short_is_no_elevation_model(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "dem.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        open_elevation(path)


def test_a_kml_without_names_is_listed_and_read_alike(tmp_path: Path) -> None:
    file = tmp_path / "plots.kml"
    file.write_text(
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>'
        "<Polygon><outerBoundaryIs><LinearRing><coordinates>8,47 8.1,47 8.1,47.1 8,47"
        "</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )
    assert list(list_layers(file)) == list(list_layers(file)) == ["layer 1"]
    shapes, crs, _ = read_layer(file, "layer 1")
    assert (len(shapes), crs) == (1, "EPSG:4326")
