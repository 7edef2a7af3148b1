import hashlib
import json
from pathlib import Path

import pystac

from flows.products.cameras import write_cameras
from flows.products.sidecars import multihash, write_catalog
from flows.report.figures import write_thumbnail
from flows.report.quality import MapRecord, assess_map, write_quality
from flows.report.report import write_report


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


def report_all(record: MapRecord) -> None:
    """Write all that a map has beside its rasters, and the catalogue of it."""
    assessed = assess_map(record)
    write_quality(record, assessed)
    write_report(record, assessed)
    write_thumbnail(record.survey.products_dir)
    write_catalog(record.survey, record.settings, record.captures)


def test_item_has_quality_as_properties_and_what_lies_beside_the_rasters_as_assets(
    record: MapRecord,
) -> None:
    report_all(record)
    item = pystac.Item.from_file(str(record.survey.products_dir / "item.json"))
    said = item.properties
    assert said["tmp:verdict"] == "complete"
    assert said["tmp:photographs_oriented"] == 16
    assert said["tmp:mapped_ha"] == record.survey.quality["mapped_ha"] > 0
    assert said["gsd"] == said["tmp:gsd_m"]
    assert not [key for key, value in said.items() if isinstance(value, dict | list)]
    for key, role, name in (
        ("thumbnail", "thumbnail", "thumbnail.jpg"),
        ("report", "overview", "report.html"),
        ("quality", "metadata", "quality.json"),
    ):
        asset = item.assets[key]
        path = Path(asset.get_absolute_href() or "")
        assert (path.name, path.exists(), asset.roles) == (name, True, [role])
        assert asset.extra_fields["file:checksum"] == multihash(path)
    thumbnail = (record.survey.products_dir / "thumbnail.jpg").read_bytes()
    assert thumbnail.startswith(b"\xff\xd8")
    assert len(thumbnail) < 80_000


def test_without_scale_the_item_has_no_figure_in_metres(unscaled: MapRecord) -> None:
    report_all(unscaled)
    item = json.loads((unscaled.survey.products_dir / "item.json").read_text())
    assert "gsd" not in item["properties"]
    assert not [key for key in item["properties"] if key.endswith(("_m", "_ha"))]
    assert item["properties"]["tmp:drawn_of_flown"] > 0


def test_poses_are_assets_where_they_were_written(record: MapRecord) -> None:
    write_cameras(record.reconstruction, record.captures, record.survey.products_dir)
    write_catalog(record.survey, record.settings, record.captures)
    item = json.loads((record.survey.products_dir / "item.json").read_text())
    found = {key: asset["href"] for key, asset in item["assets"].items()}
    assert found["cameras"] == "./cameras.geojson"
    assert found["cameras-opk"] == "./cameras.csv"
    assert found["colmap-images"] == "./colmap/images.txt"
    assert item["assets"]["cameras"]["type"] == "application/geo+json"
