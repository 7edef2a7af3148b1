"""The map for Google Earth: pictures where they lie on the Earth."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from pyproj import Transformer

from flows.cli.relief import view as command
from flows.products.cameras import write_cameras
from flows.products.google_earth import KMZ, write_kmz
from flows.report.quality import MapRecord
from tmp.captures import write_captures
from tmp.errors import InputError
from tmp.geo.rasters import read_grid

KML = "{http://www.opengis.net/kml/2.2}"


def test_pictures_lie_where_the_map_does(
    record: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Squares of 4 m in two greens, found again by their longitude and latitude."""
    monkeypatch.setattr("flows.products.google_earth.SQUARE_PX", 100)
    grid = read_grid(record.survey.products_dir / "orthomosaic.tif")
    x_min, y_min, x_max, y_max = grid.bounds
    to_map = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    found = holes = 0
    with zipfile.ZipFile(write_kmz(record.survey)) as archive:
        document = ET.fromstring(archive.read("doc.kml"))
        for overlay in document.iter(f"{KML}GroundOverlay"):
            href = overlay.findtext(f"{KML}Icon/{KML}href")
            north, south, east, west = (
                float(overlay.findtext(f"{KML}LatLonBox/{KML}{side}") or "nan")
                for side in ("north", "south", "east", "west")
            )
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(str(href)))).convert("RGBA"))
            rows, cols = pixels.shape[:2]
            for row, col in ((rows // 2, cols // 2), (rows // 5, cols // 4)):
                place = (
                    west + (col + 0.5) / cols * (east - west),
                    north - (row + 0.5) / rows * (north - south),
                )
                x, y = to_map.transform(*place)
                x, y = x - (x_min + x_max) / 2, y - (y_min + y_max) / 2
                if np.hypot(x + 20, y - 10) < 4:  # the hole
                    holes += pixels[row, col, 3] == 0
                elif abs(x % 4 - 2) < 1.5 and abs(y % 4 - 2) < 1.5 and pixels[row, col, 3] == 255:
                    dark = (x // 4 + y // 4) % 2 == 0
                    assert (pixels[row, col, 0] < 110) == dark
                    found += 1
    assert found > 8


def test_photographs_are_there_and_names_are_harmless(record: MapRecord) -> None:
    write_cameras(record.reconstruction, record.captures, record.survey.products_dir)
    text = record.survey.toml_path.read_text().replace("Test farm", "A <b> & dig")
    record.survey.toml_path.write_text(text)
    with zipfile.ZipFile(write_kmz(record.survey)) as archive:
        document = ET.fromstring(archive.read("doc.kml"))
    assert document.findtext(f"{KML}Document/{KML}name") == "A <b> & dig"
    places = [one.findtext(f"{KML}name") for one in document.iter(f"{KML}Placemark")]
    assert places == [photo.name for photo in record.reconstruction.photos]


def test_what_has_no_place_or_no_map_is_refused(record: MapRecord, unscaled: MapRecord) -> None:
    with pytest.raises(InputError, match=r"carry no positions, .* leave --kmz away"):
        write_kmz(unscaled.survey)
    (record.survey.products_dir / "orthomosaic.tif").unlink()
    with pytest.raises(InputError, match=r"has no map to show; make one with 'tmp map'"):
        write_kmz(record.survey)


def test_the_command_writes_it_beside_the_viewer(record: MapRecord) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    words = [str(record.survey.folder), "--write-only", "--kmz"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert re.findall(r"products/(\S+)", done.stdout) == [KMZ, "viewer/index.html"]
    with zipfile.ZipFile(record.survey.products_dir / KMZ) as archive:
        assert any(name.startswith("relief_vat/") for name in archive.namelist())
