import warnings

import pytest
from pyproj import Transformer

from tmp.geo.datums import DatumShift, describe_datum_shift

OSTN15 = "uk_os_OSTN15_NTv2_OSGBtoETRS.tif"


def test_a_utm_zone_has_no_shift_and_nothing_to_say() -> None:
    found = describe_datum_shift("EPSG:32627", -21.9, 64.1)
    assert found == DatumShift(crs="EPSG:32627", accuracy_m=0.0)
    assert found.in_words() == ""


def test_the_british_grid_without_its_grid_file_is_good_to_two_metres_and_says_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = describe_datum_shift("EPSG:27700", -1.5, 53.4)
    if found.accuracy_m != 2.0:
        pytest.skip("this machine has the grid file")
    assert (found.better_accuracy_m, found.better_grid) == (1.0, OSTN15)
    said = found.in_words()
    assert said.startswith("Map coordinates in EPSG:27700 are good to 2 m only")
    assert f"pyproj sync --file {OSTN15}" in said
    # What is described is what coordinates are computed by.
    transformer = Transformer.from_crs("EPSG:4326", "EPSG:27700", always_xy=True)
    transformer.transform(-1.5, 53.4)
    assert transformer.get_last_used_operation().accuracy == found.accuracy_m


def test_a_crs_of_another_part_of_the_world_has_no_known_place() -> None:
    found = describe_datum_shift("EPSG:27700", -92.0, 46.8)
    assert found.accuracy_m is None
    assert "not known here" in found.in_words()


def test_a_loose_shift_without_a_better_one_is_told_too() -> None:
    assert "good to 3 m only" in DatumShift(crs="EPSG:28355", accuracy_m=3.0).in_words()
    assert DatumShift(crs="EPSG:25832", accuracy_m=1.0).in_words() == ""
