import re
from dataclasses import replace

from flows.report import MapRecord, render_report, write_report
from tmp.frames import LocalFrame
from tmp.survey import Settings


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
    assert path == record.survey.root / "report.html"
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_report_without_products_or_positions_says_so(record: MapRecord) -> None:
    for product in record.survey.products_dir.iterdir():
        product.unlink()
    bare = replace(
        record,
        settings=Settings(name="nowhere", cameras={}),
        captures=tuple(
            replace(capture, longitude_deg=None, latitude_deg=None, height_m=None)
            for capture in record.captures
        ),
        reconstruction=replace(
            record.reconstruction,
            frame=LocalFrame(origin=None, crs=None),
            photos=tuple(
                replace(photo, gnss_residual_m=None) for photo in record.reconstruction.photos
            ),
            vertical_scale=None,
        ),
        results=(),
    )
    page = render_report(bare)
    assert "no true scale" in page
    assert "nothing to compare with" in page
