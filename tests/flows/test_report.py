import json
import re
from dataclasses import replace

import pytest

from flows.engine.result import Usage
from flows.engine.store import Result
from flows.report.report import MapRecord, assess_map, render_report, write_report


def test_report_names_what_was_left_out_and_why(record: MapRecord) -> None:
    page = render_report(record)
    assert "DJI_0016.JPG" in page
    assert "only 6 matches with its neighbours" in page
    assert "sharpness 12 where the others have 80" in page


def test_report_warns_first_about_a_weak_vertical_scale_and_says_what_to_do(
    record: MapRecord,
) -> None:
    page = render_report(record)
    warning = page.index("Before you use this map")
    assert warning < page.index("<h2>Orthomosaic")
    assert "second height" in page[warning : page.index("</section>", warning)]


def test_report_needs_no_other_file_and_no_network(record: MapRecord) -> None:
    page = render_report(record)
    links = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert links
    assert all(link.startswith("data:") for link in links)
    assert "<script" not in page
    assert "url(" not in page


def test_report_escapes_what_people_typed(record: MapRecord) -> None:
    named = replace(record.settings, name="Farm <b>& Sons</b>")
    page = render_report(replace(record, settings=named))
    assert "Farm &lt;b&gt;&amp; Sons" in page
    assert "<b>& Sons" not in page


def test_report_is_written_where_people_look_for_it(record: MapRecord) -> None:
    path = write_report(record)
    assert path == record.survey.folder / "report.html"
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_report_without_products_or_positions_says_so(unscaled: MapRecord) -> None:
    for product in unscaled.survey.products_dir.iterdir():
        product.unlink()
    block = replace(unscaled.reconstruction, vertical_scale=None)
    page = render_report(replace(unscaled, reconstruction=block))
    assert "no true scale" in page
    assert "nothing to compare with" in page


def text_of(page: str) -> str:
    """Return what a reader sees: no styles, no pictures, no lists of software."""
    body = page[page.index("<body>") : page.index("<h3>Software</h3>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_without_a_scale_no_number_of_the_report_is_in_metres(unscaled: MapRecord) -> None:
    block = replace(
        unscaled.reconstruction,
        figures={"height_agl_m": 40.0, "gnss_rms_m": 1.0, "mean_residual_px": 0.6},
    )
    cloud = Result(
        stage="cloud",
        folder=unscaled.survey.work_dir,
        files={},
        figures={"measured_m2": 71.0},
        usage=Usage(),
        reused=False,
    )
    asked = {"cell of the orthomosaic": "5 cm"}
    said = text_of(
        render_report(replace(unscaled, reconstruction=block, results=(cloud,), asked=asked))
    )
    assert "cell of the orthomosaic 0.05 units" in said
    said = said.replace("not in metres", "")
    assert re.findall(r"\d\s?(?:m|cm|mm|km|ha|m²)\b", said) == []
    assert (
        re.findall(r", m\b|, m²|\bin (?:metres|hectares)\b", said.replace("not in metres", ""))
        == []
    )
    for wording in ("units of arbitrary length", "height agl, units", "height in units"):
        assert wording in said


def test_first_box_says_how_the_map_came_out_before_anything_else(record: MapRecord) -> None:
    page = render_report(record)
    box = page[page.index('<section class="verdict complete">') : page.index("</section>")]
    assert "16 of 18 (89 %)" in box
    assert "1 (DJI_0016.JPG): only 6 matches with its neighbours" in box
    assert "ground flown and not mapped" in box
    assert 'class="lost"' in box
    assert "photograph left out, where it was recorded (cross)" in box


def test_box_of_a_partial_map_is_amber_and_says_what_to_do(record: MapRecord) -> None:
    few = replace(record.reconstruction, photos=record.reconstruction.photos[:6])
    page = render_report(replace(record, reconstruction=few))
    box = page[page.index('<section class="verdict partial">') : page.index("</section>")]
    assert "This is a partial map: it holds less than half of the photographs" in box
    assert "To do: fly what was left out again" in box


def test_command_report_and_file_say_the_same(record: MapRecord) -> None:
    assessed = assess_map(record)
    write_report(record, assessed)
    quality = json.loads(record.survey.quality_path.read_text(encoding="utf-8"))
    covered = assessed.verdict.covered
    assert quality["mapped_ha"] == pytest.approx(covered.mapped_ha, abs=1e-4)
    mapped = f"{covered.mapped_ha:.2f} ha"
    assert mapped in text_of(record.survey.report_path.read_text(encoding="utf-8"))
    assert mapped in assessed.verdict.summary


def test_accuracy_of_the_way_to_another_datum_stands_in_the_report(record: MapRecord) -> None:
    assessed = assess_map(record)
    assert "reached from WGS 84" not in render_report(record, assessed)
    figures = {**assessed.verdict.figures, "crs_accuracy_m": 2.0}
    british = replace(assessed, verdict=replace(assessed.verdict, figures=figures))
    assert "EPSG:32627, reached from WGS 84 to 2 m" in render_report(record, british)


def test_coverage_is_given_of_two_and_of_three_photographs(record: MapRecord) -> None:
    said = text_of(render_report(record))
    rows = re.findall(r"photographs (?:to be mapped look at|see) ([\d.]+) ha (\d+) %", said)
    areas = [float(area) for area, _ in rows]
    assert len(rows) == 3
    assert areas == sorted(areas, reverse=True)
    assert all(int(share) <= 100 for _, share in rows)


def test_far_positions_stand_in_the_table_of_photographs(record: MapRecord) -> None:
    first, *rest = record.reconstruction.photos
    off = replace(first, gnss_residual_m=(80.0, 0.0, 0.0))
    block = replace(record.reconstruction, photos=(off, *rest))
    said = text_of(render_report(replace(record, reconstruction=block)))
    assert "position far off recorded 80.0 m from where the tie points put it" in said
