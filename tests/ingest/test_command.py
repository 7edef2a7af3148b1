import subprocess
import sys

import pytest
from click.testing import CliRunner

from tmp.cli import main


def run(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["ingest", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_summary_says_what_came_in_and_where_to_go_next(card, tmp_path):
    status, said = run(card(), "--to", tmp_path / "survey")
    assert status == 0
    assert "10 photographs added; 10 in" in said
    assert "79 m × 20 m between camera positions, 40 m above take-off; EPSG:32632" in said
    assert "focal length 47 px ± 2 % from sensor table" in said
    assert "flagged      none" in said
    assert said.rstrip().endswith(f"next: tmp map {tmp_path / 'survey'}")


def test_flags_are_told_with_reasons_and_how_to_overrule_them(card, tmp_path, make_jpeg):
    place = card()
    (place / "COPY.JPG").write_bytes((place / "DJI_0001.JPG").read_bytes())
    (place / "ZERO.JPG").write_bytes(make_jpeg(seed=77, lon_lat=(0.0, 0.0)))
    status, said = run(place, "--to", tmp_path / "survey")
    assert status == 0
    assert "duplicate: 1 photograph, left out" in said
    assert "same file as COPY.JPG" in said
    assert "no position: 1 photograph, still used" in said
    assert "keep = [...]" in said


def test_a_survey_without_positions_is_said_to_lack_them(tmp_path, make_jpeg):
    (tmp_path / "card").mkdir()
    (tmp_path / "card/a.jpg").write_bytes(make_jpeg(lon_lat=None, height_m=None))
    status, said = run(tmp_path / "card", "--to", tmp_path / "survey")
    assert status == 0
    assert "no photograph has a position" in said


@pytest.mark.parametrize(
    ("place", "words"), [("nowhere", "does not exist"), ("", "never written to")]
)
def test_a_refusal_is_one_line_and_status_one(card, tmp_path, place, words):
    card()
    status, said = run(tmp_path / place, "--to", tmp_path / "survey")
    assert status == 1
    assert said.startswith("Error: ")
    assert words in said
    assert said.count("\n") == 1


def test_the_command_imports_nothing_heavy():
    heavy = "{'cv2', 'numba', 'rasterio', 'pyogrio', 'scipy', 'numpy', 'rich'}"
    code = f"import sys, flows.cli.ingest; sys.exit(str({heavy} & set(sys.modules)) != 'set()')"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
