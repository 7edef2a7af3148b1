import hashlib
import json
from pathlib import Path

import pystac

from flows.products.sidecars import multihash, write_catalog
from flows.report.quality import MapRecord


def test_catalogue_opens_from_another_folder_and_finds_every_product(record: MapRecord) -> None:
    path = write_catalog(record.survey, record.settings, record.captures)
    catalog = pystac.Catalog.from_file(str(path))
    (item,) = catalog.get_items()
    assert item.bbox is not None
    assert -22.0 < item.bbox[0] < -21.8
    found = {Path(asset.get_absolute_href() or "").name for asset in item.assets.values()}
    assert found == {"orthomosaic.tif", "dsm.tif", "dsm_sigma.tif"}


def test_catalogue_holds_only_relative_links(record: MapRecord) -> None:
    path = write_catalog(record.survey, record.settings, record.captures)
    text = path.read_text() + (record.survey.products_dir / "item.json").read_text()
    assert str(record.survey.folder) not in text


def test_height_band_says_its_unit_nodata_and_type(record: MapRecord) -> None:
    write_catalog(record.survey, record.settings, record.captures)
    item = json.loads((record.survey.products_dir / "item.json").read_text())
    (band,) = item["assets"]["dsm"]["bands"]
    assert band == {"name": "height", "data_type": "float32", "nodata": -9999.0, "unit": "m"}
    assert item["assets"]["dsm"]["proj:code"] == "EPSG:32627"
    assert item["stac_version"] == "1.1.0"


def test_time_span_is_that_of_the_photographs(record: MapRecord) -> None:
    write_catalog(record.survey, record.settings, record.captures)
    properties = json.loads((record.survey.products_dir / "item.json").read_text())["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2026-07-03T09:12:00Z"


def test_checksum_is_sha256_behind_its_multihash_prefix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"turf")
    assert multihash(path) == "1220" + hashlib.sha256(b"turf").hexdigest()
