import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from flows.area import read_area, refuse_distant_area
from tmp.errors import InputError

UTM = "EPSG:32627"
SQUARE = [[-21.0, 64.0], [-20.998, 64.0], [-20.998, 64.001], [-21.0, 64.001], [-21.0, 64.0]]
BOW_TIE = [[-21.0, 64.0], [-20.998, 64.001], [-20.998, 64.0], [-21.0, 64.001], [-21.0, 64.0]]


def write_geojson(path: Path, ring: list[list[float]], kind: str = "Polygon") -> Path:
    coordinates = [ring] if kind == "Polygon" else ring
    feature = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": kind, "coordinates": coordinates},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def test_geojson_without_crs_is_wgs84(tmp_path: Path) -> None:
    area = read_area(write_geojson(tmp_path / "a.geojson", SQUARE), UTM)
    # One thousandth of a degree of latitude is 111.5 m at 64° N; two of longitude are 97.9 m.
    assert area.area == pytest.approx(111.5 * 97.9, rel=2e-3)
    assert area.bounds[0] == pytest.approx(500_000, abs=1)


def test_kml_is_read(tmp_path: Path) -> None:
    ring = " ".join(f"{x},{y},12" for x, y in SQUARE)
    path = tmp_path / "a.kml"
    path.write_text(
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>'
        f"<Polygon><outerBoundaryIs><LinearRing><coordinates>{ring}</coordinates></LinearRing>"
        "</outerBoundaryIs></Polygon></Placemark></Document></kml>"
    )
    area = read_area(path, UTM)
    assert not area.has_z
    assert area.area == pytest.approx(111.5 * 97.9, rel=2e-3)


@pytest.mark.parametrize(("driver", "name"), [("ESRI Shapefile", "a.shp"), ("GPKG", "a.gpkg")])
@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_polygon_without_crs_is_refused(driver: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array([shapely.box(0, 0, 10, 10)])),
        field_data=[np.array([1])],
        fields=["id"],
        geometry_type="Polygon",
        crs=None,
        driver=driver,
    )
    with pytest.raises(InputError, match="does not say its CRS"):
        read_area(path, UTM)


def test_polygon_that_crosses_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crosses itself"):
        read_area(write_geojson(tmp_path / "x.geojson", BOW_TIE), UTM)


def test_line_is_refused(tmp_path: Path) -> None:
    path = write_geojson(tmp_path / "l.geojson", SQUARE, kind="LineString")
    with pytest.raises(InputError, match="LineString, not a polygon"):
        read_area(path, UTM)


def test_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a polygon")
    with pytest.raises(InputError, match="cannot be read"):
        read_area(path, UTM)
    with pytest.raises(InputError, match="no such file"):
        read_area(tmp_path / "missing.geojson", UTM)


def test_area_of_another_survey_is_refused() -> None:
    area = shapely.box(0, 0, 100, 100)
    near = Path("area.geojson")
    refuse_distant_area(near, area, np.array([[150.0, 50.0], [9e9, 9e9]]))
    with pytest.raises(InputError, match=r"12\.0 km from the nearest photograph"):
        refuse_distant_area(near, area, np.array([[12_100.0, 50.0]]))
