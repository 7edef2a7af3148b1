from datetime import UTC, datetime, timedelta

import pytest

from ingest.checks import find_disagreements
from tmp.captures import Capture, Flag

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def flight(band, *, body, number, days=0.0, east_m=0.0, lon=7.6, count=12, **more):
    """Photographs on a line, 10 m apart."""
    return [
        Capture(
            name=f"{body}_{number}_{i}.tif",
            source="",
            sha256=f"{body}{number}{i}",
            size_bytes=1,
            width_px=1,
            height_px=1,
            camera_id=body,
            band=band,
            body=body,
            flight=number,
            time_utc=NOON + timedelta(days=days, seconds=2 * i),
            longitude_deg=lon + (east_m + 10 * i) / 78_700,
            latitude_deg=45.0,
            height_m=100.0,
            **more,
        )
        for i in range(count)
    ]


RGB = flight("", body="DJI M3E / 7", number="1")


def test_a_nir_flight_of_the_same_hour_over_the_same_place_is_well():
    nir = flight("nir", body="MAPIR Survey3", number="2", east_m=30, days=0.05)
    assert find_disagreements([*RGB, *nir]) == []


def test_a_nir_flight_of_another_day_is_named_with_the_rgb():
    nir = flight("nir", body="MAPIR Survey3", number="2", days=2)
    (said,) = find_disagreements([*RGB, *nir])
    assert said.startswith("nir of 2024-06-03 (MAPIR Survey3, 12 photographs, MAPIR Survey3_2_0")
    assert "another day than RGB of 2024-06-01 (DJI M3E, 12 photographs" in said


def test_a_nir_flight_over_another_place_is_named_with_the_rgb():
    nir = flight("nir", body="MAPIR Survey3", number="2", east_m=1100)
    (said,) = find_disagreements([*RGB, *nir])
    assert "1044 m away from RGB of 2024-06-01" in said
    assert "another place" in said


def test_a_nir_flight_far_around_the_rgb_is_no_other_place():
    nir = flight("nir", body="senseFly", number="2", east_m=-2000, count=400)
    assert find_disagreements([*RGB, *nir]) == []


def test_midnight_in_greenwich_does_not_part_an_afternoon_in_oregon():
    rgb = flight("", body="a", number="1", lon=-120.0, days=0.49)
    nir = flight("nir", body="b", number="2", lon=-120.0, days=0.51)
    assert rgb[0].time_utc.date() != nir[0].time_utc.date()
    assert find_disagreements([*rgb, *nir]) == []


def test_bands_and_colour_of_one_drone_are_not_compared():
    colour = flight("", body="DJI M3M", number="1")
    bands = flight("nir", body="DJI M3M", number="1")
    assert find_disagreements([*colour, *bands]) == []


@pytest.mark.parametrize("alone", ["", "nir"])
def test_a_survey_with_one_kind_of_photograph_has_nothing_to_compare(alone):
    assert find_disagreements(flight(alone, body="a", number="1")) == []


def test_mixed_firmware_is_named_with_both_and_their_numbers():
    old = flight("nir", body="Parrot Sequoia / 1", number="1", firmware="v1.2.0")
    new = flight("nir", body="Parrot Sequoia / 2", number="1", firmware="v1.4.1", count=3)
    (said,) = find_disagreements([*old, *new])
    assert said.startswith("Parrot Sequoia: mixed firmware, v1.2.0 (12) and v1.4.1 (3)")


def test_firmware_of_colour_cameras_and_of_photographs_left_out_is_nobodys_business():
    mixed = [*flight("", body="a", number="1", firmware="1", count=2)]
    mixed += flight("", body="a", number="1", firmware="2", count=2)
    mixed += flight("nir", body="b", number="1", firmware="3")
    mixed += flight("nir", body="b", number="1", firmware="4", flags=(Flag.STRAGGLER,))
    assert find_disagreements(mixed) == []
