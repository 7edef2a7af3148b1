"""Pictures of relief of a small map without photographs: what is written, when, and what is not."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from flows.cli.relief import relief as command
from flows.products.table import RELIEF
from flows.products.volumes import Surface
from flows.report.quality import MapRecord
from flows.run.publish import put_back_products
from flows.run.relief import ReliefOptions, make_relief
from flows.stages.relief import TileRelief
from tmp.captures import write_captures
from tmp.errors import InputError
from tmp.geo.rasters import read_grid

FEW = ReliefOptions(layers=("vat", "hillshade"), radius_m=2.0, surface=Surface.DSM)


@pytest.fixture
def mapped(record: MapRecord) -> MapRecord:
    """A survey with a surface model: a mound, a wall of 1 m, a hole."""
    write_captures(record.survey.gpkg_path, record.captures)
    return record


def read(record: MapRecord, name: str) -> np.ma.MaskedArray:
    with rasterio.open(record.survey.products["relief/" + name]) as file:
        return file.read(masked=True)


def test_all_pictures_are_on_the_grid_of_the_heights_and_lose_no_border(mapped: MapRecord) -> None:
    made = make_relief(mapped.survey, ReliefOptions(radius_m=2.5, surface=Surface.DSM))
    assert made.radius_m == 2.5
    assert [path.stem for path in made.paths] == [one.name.split("/")[1] for one in RELIEF]
    dsm = mapped.survey.read("dsm")
    known = ~np.ma.getmaskarray(dsm.values[0])
    for product in RELIEF:
        found = mapped.survey.read(product.name)
        assert found.grid == dsm.grid
        assert found.bands == product.bands
        cells = (
            found.values[3] > 0 if len(found.bands) == 4 else ~np.ma.getmaskarray(found.values[0])
        )
        assert np.array_equal(np.ma.filled(cells, False), known), product.name
    for name in ("hillshade", "vat", "sky_view_factor"):
        assert 0 <= read(mapped, name).min() <= read(mapped, name).max() <= 1


def test_the_wall_stands_out(mapped: MapRecord) -> None:
    make_relief(mapped.survey, ReliefOptions(radius_m=2.5, surface=Surface.DSM))
    x, _ = read_grid(mapped.survey.products["dsm"]).cell_centres()
    off = np.abs(x - x.mean() - 15)  # the wall is 2 m wide
    on, beside, away = off < 0.7, (off > 1.1) & (off < 1.3), (off > 6) & (off < 8)
    sky, local = read(mapped, "sky_view_factor")[0], read(mapped, "local_relief")[0]
    assert sky[:, beside].mean() < 0.8 < sky[:, on].mean()
    assert sky[:, away].mean() > 0.97
    assert local[:, on].mean() > 0.4
    assert abs(local[:, away].mean()) < 0.05
    edge = (off > 0.7) & (off < 1)
    assert read(mapped, "positive_openness")[0][:, edge].mean() > 91
    assert read(mapped, "local_dominance")[0][:, on].mean() > 1.1


def test_nothing_is_made_twice_and_what_was_edited_is_put_back(mapped: MapRecord) -> None:
    made = make_relief(mapped.survey, FEW)
    times = [path.stat().st_mtime_ns for path in made.paths]
    again = make_relief(mapped.survey, FEW)
    assert [path.stat().st_mtime_ns for path in again.paths] == times
    content = made.paths[0].read_bytes()
    made.paths[0].write_bytes(b"drawn over")
    make_relief(mapped.survey, FEW)
    assert made.paths[0].read_bytes() == content
    (kept,) = (mapped.survey.products_dir / "relief" / "edited").iterdir()
    assert kept.read_bytes() == b"drawn over"
    made.paths[0].write_bytes(b"drawn over")
    put_back_products(mapped.survey)  # of what nothing is computed, it says nothing


def test_they_are_styled_and_can_be_made_without_what_the_map_was_made_of(
    mapped: MapRecord,
) -> None:
    shutil.rmtree(mapped.survey.work_dir)
    made = make_relief(mapped.survey, FEW)
    assert made.report_path is None
    style = ET.parse(made.paths[0].with_suffix(".qml"))
    items = style.findall(".//item")
    assert [item.get("value") for item in items] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert items[0].get("color") == "#000000"


def test_radii_are_metres_so_that_the_cell_does_not_matter(mapped: MapRecord) -> None:
    """The same ground in cells of 0.25 m and 0.5 m looks alike."""
    height = np.ma.filled(mapped.survey.read("dsm").values[0], np.nan)
    fine, coarse = height[:200, 180:300], height[:200:2, 180:300:2]
    seen = [
        TileRelief(np.pad(cells, 4 * radius // 2, constant_values=np.nan), cell_m, radius).layer(
            "relief/sky_view_factor"
        )
        for cells, cell_m, radius in ((fine, 0.25, 16), (coarse, 0.5, 8))
    ]
    assert np.abs(seen[0][::2, ::2] - seen[1]).mean() < 0.03


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": ("sky_veiw_factor",)}, r"did you mean 'sky_view_factor'; there are vat, hill"),
        ({"radius_m": 0.1}, r"--radius 0.1: 0 cells of 0.25 m; give 0.5 to 250"),
        ({"radius_m": 600}, r"--radius 600: 2400 cells of 0.25 m; give 0.5 to 250"),
        (
            {"surface": Surface.DTM},
            r"dtm.tif: not there, as a preview has no bare ground; map with",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    mapped: MapRecord, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make_relief(mapped.survey, ReliefOptions(**{"surface": Surface.DSM, **options}))


def test_a_survey_without_a_map_is_refused(mapped: MapRecord) -> None:
    mapped.survey.products["dsm"].unlink()
    with pytest.raises(InputError, match=r"dtm.tif: not there; make a map with 'tmp map"):
        make_relief(mapped.survey)


def test_a_map_without_a_scale_has_a_radius_of_cells(unscaled: MapRecord) -> None:
    write_captures(unscaled.survey.gpkg_path, unscaled.captures)
    made = make_relief(
        unscaled.survey, ReliefOptions(layers=("sky_view_factor",), surface=Surface.DSM)
    )
    assert made.radius_m == 50 * 0.25


def test_the_command_tells_what_it_wrote(mapped: MapRecord) -> None:
    words = [
        str(mapped.survey.folder),
        "--surface",
        "dsm",
        "--layer",
        "hillshade",
        "--radius",
        "2m",
    ]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].endswith("products/relief/hillshade.tif")
    assert "looked about over 2 m" in done.stderr
    assert json.loads((mapped.survey.products_dir / ".published.json").read_text())
