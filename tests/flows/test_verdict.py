from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.report.findings import Coverage
from flows.report.verdict import End, Group, Verdict, judge_map, say_cm
from tmp.captures import Capture, Flag, HeightDatum
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import Reconstruction

Captures = tuple[Capture, ...]


def covered(
    mapped: float = 0.8, flown: float = 1.0, *, drawn: float = 0.9, of_three: float = 0.95
) -> Coverage:
    return Coverage(
        flown_ha=flown,
        mapped_ha=mapped,
        drawn_ha=drawn * flown,
        seen_by_two_ha=0.9 * flown,
        seen_by_three_ha=0.6 * flown,
        measured_of_two=0.85,
        measured_of_three=of_three,
    )


def verdict(oriented: int = 18, total: int = 18, **changes: object) -> Verdict:
    known: dict[str, object] = {"covered": covered(), "scaled": True} | changes
    return Verdict(photographs_total=total, photographs_oriented=oriented, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("oriented", "drawn", "of_three", "end"),
    [
        (18, 0.9, 0.95, End.COMPLETE),
        (9, 0.5, 0.5, End.COMPLETE),
        (8, 0.9, 0.95, End.PARTIAL),
        (18, 0.49, 0.95, End.PARTIAL),
        (18, 0.9, 0.49, End.PARTIAL),
        (0, 0.0, 0.0, End.PARTIAL),
    ],
)
def test_a_map_is_complete_from_half_the_photographs_half_the_ground_and_half_the_heights(
    oriented: int, drawn: float, of_three: float, end: End
) -> None:
    assert verdict(oriented, covered=covered(drawn=drawn, of_three=of_three)).end is end


def test_a_wide_rim_that_one_photograph_sees_makes_no_map_partial() -> None:
    assert verdict(covered=covered(0.3, 1.0, drawn=0.9)).end is End.COMPLETE


def test_of_two_photographs_the_heights_of_what_both_see_count() -> None:
    of_two = replace(covered(of_three=0.0), seen_by_three_ha=0.0)
    assert verdict(2, 2, covered=of_two).end is End.COMPLETE
    assert verdict(2, 2, covered=replace(of_two, measured_of_two=0.3)).end is End.PARTIAL


def test_a_partial_map_says_what_it_lacks() -> None:
    headline = verdict(8, covered=covered(drawn=0.3)).headline
    assert "less than half of the photographs and less than half of the ground flown" in headline


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_more_is_never_worse(oriented: int, more: int, drawn: float, other: float) -> None:
    low, high = sorted((drawn, other))
    before = verdict(oriented, 100, covered=covered(drawn=low, of_three=low))
    after = verdict(oriented + more, 100, covered=covered(drawn=high, of_three=high))
    assert before.end is End.PARTIAL or after.end is End.COMPLETE


def test_last_lines_give_counts_areas_and_what_to_do() -> None:
    found = verdict(covered=covered(0.75, 1.25))
    assert found.in_words(Path("r.html")) == [found.paragraph(Path("r.html"))]


def test_a_preview_says_first_what_it_is_not_good_for() -> None:
    said = verdict(figures={"preview": True}).paragraph(Path("r.html"))
    assert "It is a preview" in said
    assert said.index("preview") < said.index("Open r.html")
    assert "preview" not in verdict().paragraph(Path("r.html"))


def test_last_lines_of_a_partial_map_say_what_was_left_out() -> None:
    few = "{} matches with 3 photographs were too few"
    left_out = {f"{i}.jpg": few.format(10 + i) for i in range(7)} | {"z.jpg": "matches no other"}
    warnings = ("a long warning of great weight", "short", "middling one", "of no weight")
    lines = verdict(
        10, 18 + 4, left_out=left_out, warnings=warnings, not_used={"b.jpg": "blurred"}
    ).in_words(Path("r.html"))
    assert "a long warning of great weight" in lines[0]
    assert lines[1:] == [
        "left out: 7 (0.jpg, 1.jpg, …): 10 matches with 3 photographs were too few",
        "left out: 1 (z.jpg): matches no other",
        "not used: 1 (b.jpg): not used for their flags; see the report",
        "next: fly what was left out again with more overlap (80 % along, 70 % across) and take "
        "both flights in with 'tmp ingest'",
    ]


def test_without_a_scale_nothing_is_in_metres() -> None:
    found = verdict(scaled=False)
    text = " ".join(found.in_words(Path("r.html")))
    assert "not in metres" in text
    assert "measure a known length" in text
    assert " ha " not in text
    document = found.document()
    assert all(document[key] is None for key in document if key.endswith("_ha"))
    assert document["mapped_of_flown"] == 0.8


def test_quality_lists_the_largest_gaps_with_their_places() -> None:
    torn = replace(covered(), gaps=7, gaps_ha=0.2, largest_gaps=[(0.1, 576684.701, 5188209.7)])
    document = verdict(covered=torn).document()
    assert (document["gaps"], document["gaps_ha"]) == (7, 0.2)
    assert document["largest_gaps"] == [{"ha": 0.1, "place": [576684.7, 5188209.7]}]
    document = verdict(covered=torn, scaled=False).document()
    assert document["gaps_ha"] is None
    assert document["largest_gaps"][0]["ha"] is None


def test_photographs_are_grouped_by_reason_whatever_its_numbers() -> None:
    left_out = {"b.jpg": "b.jpg: cannot be read", "a.jpg": "a.jpg: cannot be read"}
    assert verdict(left_out=left_out).groups() == [
        Group(names=("a.jpg", "b.jpg"), reason="a.jpg: cannot be read")
    ]


def test_verdict_of_a_block(reconstruction: Reconstruction, captures: Captures) -> None:
    flagged = [
        replace(c, flags=(Flag.DUPLICATE,), reason="same as DJI_0001")
        if c.name == "DJI_0017.JPG"
        else c
        for c in captures
    ]
    found = judge_map(
        reconstruction, flagged, covered(), HeightDatum.ELLIPSOID, hole_warnings=["one hole"]
    )
    assert (found.photographs_oriented, found.photographs_total) == (16, 17)
    assert found.left_out == {"DJI_0016.JPG": "only 6 matches with its neighbours"}
    assert found.not_used == {"DJI_0017.JPG": "same as DJI_0001"}
    assert found.warnings[0] == "one hole"
    assert found.figures["gsd_m"] == pytest.approx(40 / 705, rel=1e-2)
    assert found.figures["crs"] == "EPSG:32627"
    assert len(found.figures["gnss_rms_m"]) == 3


def test_a_photograph_that_vanished_without_a_reason_counts_as_left_out(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    found = judge_map(reconstruction, captures, covered(), HeightDatum.ELLIPSOID)
    assert found.photographs_total == 18
    assert found.left_out["DJI_0017.JPG"] == "not oriented"


def test_without_scale_figures_in_metres_are_null(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    nowhere = replace(
        reconstruction,
        frame=LocalFrame(origin=None, crs=None),
        photos=tuple(replace(p, gnss_residual_m=None) for p in reconstruction.photos),
    )
    found = judge_map(nowhere, captures, covered(), HeightDatum.UNKNOWN, sigma_m=0.1).document()
    assert found["verdict"] == "complete"
    metric = [key for key in found if key.endswith(("_ha", "_m"))]
    assert {"flown_ha", "mapped_ha", "drawn_ha", "gsd_m", "dsm_sigma_m"} <= set(metric)
    assert all(found[key] is None for key in metric)
    assert found["crs_accuracy_m"] is None


def test_a_grid_file_that_is_missing_is_a_warning_with_its_name(
    reconstruction: Reconstruction, captures: Captures
) -> None:
    british = replace(reconstruction, frame=LocalFrame(origin=(-1.5, 53.4, 80.0), crs="EPSG:27700"))
    found = judge_map(british, captures, covered(), HeightDatum.ELLIPSOID)
    if found.figures["crs_accuracy_m"] != 2.0:
        pytest.skip("this machine has the grid file")
    assert found.figures["crs_better_grid"] == "uk_os_OSTN15_NTv2_OSGBtoETRS.tif"
    assert sum("uk_os_OSTN15" in warning for warning in found.warnings) == 1


def test_a_paragraph_says_what_was_measured_how_well_what_to_mind_and_what_to_open() -> None:
    figures = {"gsd_m": 0.0171, "dsm_sigma_m": 0.015, "place_sigma_m": 1.0}
    warnings = ("The vertical scale is weak. " + "It really is. " * 20, "short")
    found = replace(
        verdict(covered=covered(0.75, 1.25), warnings=warnings), figures=figures
    ).paragraph(Path("farm/report.html"))
    first, rest = found.split(" Mind first, of 2 warnings: ")
    assert first == (
        "The map is complete enough to use. 18 of 18 photographs give heights of 0.75 ha, 85 % of "
        "what two or more of them see and 95 % of what three see; a pixel of the "
        "photographs is 1.7 cm on the ground. "
        "Half of the heights are known to 1.5 cm or better in the map. All of it may lie 1 m or "
        "more from its true place."
    )
    assert rest.startswith("The vertical scale is weak.")
    assert rest.endswith("Open farm/report.html.")
    assert len(rest) < 260


def test_a_paragraph_without_scale_has_no_metre_in_it() -> None:
    said = verdict(scaled=False).paragraph(Path("r.html"))
    assert "in units of arbitrary length, not in metres" in said
    assert "Nothing gave cause for a warning." in said
    for unit in (" ha ", " m ", " cm", " mm"):
        assert unit not in said


@given(st.floats(1e-4, 1e3))
def test_a_length_is_said_with_two_digits_and_within_three_per_cent(metres: float) -> None:
    number, unit = say_cm(metres).split()
    in_m = float(number) * {"mm": 1e-3, "cm": 1e-2, "m": 1.0}[unit]
    assert abs(in_m - metres) <= 0.06 * metres
    assert unit == "m" or float(number) < 100
