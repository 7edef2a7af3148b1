import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flows.engine.result import Usage
from flows.engine.store import Result
from flows.report import report
from flows.report.quality import MapRecord, assess_map, write_quality
from flows.report.report import write_report


def render_report(record: MapRecord) -> str:
    """Return the page of a map."""
    return report.render_report(record, assess_map(record))


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
    assert page.index("orthomosaic") < warning < page.index("<h2>Surface model")
    assert "second height" in page[warning : page.index("</section>", warning)]


def test_report_needs_no_other_file_and_no_network(record: MapRecord) -> None:
    page = render_report(record)
    opened = re.findall(r'<a href="([^"]*)"', page)
    assert "products/dsm.tif" in opened  # for who wants it; the page does without
    assert not [link for link in opened if ":" in link or link.startswith("/")]
    links = re.findall(r'(?<!<a )\b(?:src|href)\s*=\s*"([^"]*)"', page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page
    assert not re.search(r"url\([^#]", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link[0] == "#"} <= set(ids)


def test_report_escapes_what_people_typed(record: MapRecord) -> None:
    named = replace(record.settings, name="Farm <b>& Sons</b>")
    page = render_report(replace(record, settings=named))
    assert "Farm &lt;b&gt;&amp; Sons" in page
    assert "<b>& Sons" not in page


def test_report_is_written_where_people_look_for_it(record: MapRecord) -> None:
    path = write_report(record, assess_map(record))
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
    for wording in ("not in metres", "nothing in it can be measured in metres"):
        said = said.replace(wording, "")
    assert re.findall(r"\d\s?(?:m|cm|mm|km|ha|m²)\b", said) == []
    assert re.findall(r", m\b|, m²|\bin (?:metres|hectares)\b", said) == []
    for wording in ("units of arbitrary length", "cameras above ground, units", "height in units"):
        assert wording in said


def card_of(page: str) -> str:
    """Return the first box of a page."""
    return page[page.index('<section class="card') : page.index("</section>")]


def test_page_begins_with_a_card_of_verdict_place_date_accuracy_and_the_map(
    record: MapRecord,
) -> None:
    card = card_of(render_report(record))
    assert '"card complete"' in card
    assert 'aria-label="orthomosaic"' in card
    said = text_of(f"<body>{card}<h3>Software</h3>")
    assert "The map is complete enough to use." in said
    for fact in (
        "2026-07-03, 09:12 to 09:12 UTC",
        "64.10000° N, 21.90000° W (EPSG:32627)",
        "16 of 18 oriented",
        "Pixel of the photographs 5.7 cm, from 40 m above ground",
        "half are known to",
        "Heights count from ellipsoid",
    ):
        assert fact in said


def test_what_was_left_out_and_what_to_do_stand_among_the_warnings(record: MapRecord) -> None:
    few = replace(record.reconstruction, photos=record.reconstruction.photos[:6])
    page = render_report(replace(record, reconstruction=few))
    assert "This is a partial map: it holds less than half of the photographs" in card_of(page)
    assert '"card partial"' in card_of(page)
    box = page[page.index("Before you use this map") :]
    box = box[: box.index("</section>")]
    assert "1 (DJI_0016.JPG): only 6 matches with its neighbours" in box
    assert "To do: fly what was left out again" in box
    ground = page[page.index("ground flown and not mapped") :]
    assert 'class="lost"' in ground
    assert "photograph left out, where it was recorded" in ground


def test_command_report_and_file_say_the_same(record: MapRecord) -> None:
    assessed = assess_map(record)
    write_report(record, assessed)
    write_quality(record, assessed)
    quality = json.loads(record.survey.quality_path.read_text(encoding="utf-8"))
    covered = assessed.verdict.covered
    assert quality["mapped_ha"] == pytest.approx(covered.mapped_ha, abs=1e-4)
    mapped = f"{covered.mapped_ha:.2f} ha"
    assert mapped in text_of(record.survey.report_path.read_text(encoding="utf-8"))
    assert mapped in assessed.verdict.summary


def test_accuracy_of_the_way_to_another_datum_stands_in_the_report(record: MapRecord) -> None:
    assessed = assess_map(record)
    assert "reached from WGS 84" not in report.render_report(record, assessed)
    figures = {**assessed.verdict.figures, "crs_accuracy_m": 2.0}
    british = replace(assessed, verdict=replace(assessed.verdict, figures=figures))
    assert "EPSG:32627, reached from WGS 84 to 2 m" in report.render_report(record, british)


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
    table = said[said.index("Photographs, the doubtful first") :]
    assert "recorded 80.0 m from where the tie points put it" in table
    assert table.index(off.name) < table.index(rest[0].name)


def test_no_raw_key_and_no_power_of_ten_stands_on_the_page(record: MapRecord) -> None:
    figures = {"observations": 7711, "seen_twice_m2": 11150.0, "rms_residual_px": 0.91}
    block = replace(record.reconstruction, figures=record.reconstruction.figures | figures)
    said = text_of(render_report(replace(record, reconstruction=block)))
    assert re.findall(r"\d(?:\.\d+)?e[+-]\d+", said) == []
    assert re.findall(r"\b[a-z]+_[a-z_]+\b(?!\.(?:tif|json|toml))", said) == []
    assert "sightings of tie points 7,711" in said


def test_name_of_the_survey_stands_on_each_printed_page_and_closes_no_style(
    record: MapRecord,
) -> None:
    named = replace(record.settings, name='Dig "A" \\ </style><b>')
    page = render_report(replace(record, settings=named))
    style = page[page.index("<style>") : page.index("</style>")]
    assert r'content: "Dig \22 A\22  \5c  \3c /style>\3c b>"' in style
    assert 'counter(page) " of " counter(pages)' in style
    assert "<b>" not in page


def test_files_are_linked_by_addresses_that_hold_odd_names(record: MapRecord) -> None:
    odd = "day 1/þ #2.JPG"
    first, *rest = record.reconstruction.photos
    block = replace(record.reconstruction, photos=(replace(first, name=odd), *rest))
    page = render_report(replace(record, reconstruction=block))
    assert '<a href="photos/day%201/%C3%BE%20%232.JPG">day 1/þ #2.JPG</a>' in page


CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


@pytest.mark.parametrize("width_px", [390, 1000])
def test_nothing_is_wider_than_the_screen(record: MapRecord, tmp_path: Path, width_px: int) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    long = replace(record, settings=replace(record.settings, name="n" * 90))
    inner = html.escape(render_report(long))
    page = tmp_path / "page.html"
    page.write_text(
        f"""<iframe style="width: {width_px}px; height: 900px; border: 0" srcdoc="{inner}" onload="
        document.title = this.contentDocument.documentElement.scrollWidth"></iframe>""",
        encoding="utf-8",
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = re.search(r"<title>(\d+)</title>", done.stdout)
    if found is None:
        pytest.skip(f"Chromium does not run here: {done.stderr[-200:]}")
    assert width_px - 20 <= int(found[1]) <= width_px


def test_a_map_without_scale_is_never_green(unscaled: MapRecord) -> None:
    card = card_of(render_report(unscaled))
    assert '"card partial"' in card
    assert "has no scale: nothing in it can be measured in metres" in card
