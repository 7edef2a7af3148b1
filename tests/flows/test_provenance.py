"""What the report tells of how a map was made, and of what is missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.engine.result import UnitRecord, Usage
from flows.engine.stage import Figures, Stage
from flows.engine.store import Result, StageStore
from flows.execution.slurm_commands import Accounted
from flows.report import report
from flows.report.provenance import (
    ALL_NAMED,
    explain,
    installed_packages,
    installed_version,
    list_holes,
    notable_units,
    stage_rows,
)
from flows.report.quality import MapRecord, assess_map
from tmp.geo.rasters import read_grid


class Surface(Stage):
    """Paint a tile."""

    name = "surface"
    version = "1"

    def finish(self) -> Figures:
        (self.space.out / "tile.txt").write_text("x")
        return {"tiles": 1}


class NewerSurface(Surface):
    """Paint it in another way."""

    version = "2"


def render_report(record: MapRecord) -> str:
    """Return the page of a map."""
    return report.render_report(record, assess_map(record))


def make(store: StageStore, stage: type[Stage], **options: Any) -> Result:
    return store.make(store.recipe(stage, {}, options))


def _units(count: int) -> tuple[UnitRecord, ...]:
    """Return units of which number 7 is slow, 9 large, and 11 was started three times."""
    return tuple(
        UnitRecord(
            part=f"{i}-of-{count}",
            usage=Usage(
                wall_s=900.0 if i == 7 else 10.0 + i / count,
                cpu_s=20.0,
                peak_gb=30.0 if i == 9 else 1.0 + i / count,
            ),
            host=f"n{i % 4}",
            job=f"17_{i}",
            attempts=3 if i == 11 else 1,
        )
        for i in range(1, count + 1)
    )


def _result(folder: Path, **changes: object) -> Result:
    result = Result(
        stage="surface",
        folder=folder,
        files={},
        figures={},
        usage=Usage(wall_s=100, cpu_s=200, peak_gb=2),
        reused=False,
    )
    return replace(result, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _ask_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a cluster that this machine may belong to be."""
    monkeypatch.setattr("flows.report.provenance.read_accounting", lambda jobs: {})


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(root=tmp_path / "stages")


def test_few_units_are_all_named() -> None:
    assert len(notable_units(_units(ALL_NAMED))) == ALL_NAMED


def test_of_two_thousand_units_those_that_stand_out_are_named() -> None:
    rows = notable_units(_units(2000))
    assert len(rows) < 20
    remarks = {row.unit.part: row.remark for row in rows}
    assert remarks["7-of-2000"] == "among the slowest"
    assert remarks["9-of-2000"] == "among the largest"
    assert remarks["11-of-2000"] == "started 3 times"


def test_stage_says_how_often_its_units_were_started_and_where(tmp_path: Path) -> None:
    (row,) = stage_rows([_result(tmp_path, units=_units(12))])
    assert (row.units, row.attempts, row.hosts) == (12, 14, "4\N{NO-BREAK SPACE}machines")
    assert row.spread == "a unit took 10.6 s in the middle, 900.0 s at most"
    (alone,) = stage_rows([_result(tmp_path, units=_units(1))])
    assert (alone.hosts, alone.spread) == ("n1", "")


def test_stage_says_what_the_cluster_accounted_for_jobs_of_this_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Accounted(state="COMPLETED", node="n1", elapsed_s=5, cpu_s=4, max_rss_gb=1.5)
    monkeypatch.setattr(
        "flows.report.provenance.read_accounting", lambda jobs: dict.fromkeys(jobs, account)
    )
    made = _result(tmp_path, units=_units(12))
    fresh, reused = stage_rows([made, replace(made, reused=True)])
    assert fresh.accounted == (
        "by the cluster's account 12 jobs took 48 s of processor time and 1.50 GB at most"
    )
    assert reused.accounted == ""


def test_result_of_an_earlier_version_counts_as_one_unit(tmp_path: Path) -> None:
    (row,) = stage_rows([_result(tmp_path)])
    assert (row.units, row.attempts, row.hosts) == (1, 1, "")


def test_reason_for_making_a_stage_is_what_changed(store: StageStore) -> None:
    first = make(store, Surface, quality="fast", area_wkt=None)
    assert explain(first) == "made for the first time"
    assert explain(replace(first, reused=True)) == "reused: nothing has changed"
    again = make(store, Surface, quality="high", area_wkt="POLYGON " * 9)
    assert explain(again) == "quality: high, was fast; area wkt has changed"
    newer = make(store, NewerSurface, quality="high", area_wkt=None)
    assert "the platform makes it in another way now" in explain(newer)


def test_reason_names_the_stage_whose_result_changed(store: StageStore, tmp_path: Path) -> None:
    source = tmp_path / "orientation.txt"
    for content in ("a", "bb"):
        source.write_text(content)
        made = store.make(store.recipe(Surface, {"orientation": source}, {}))
    assert explain(made) == "orientation has changed"


def test_stage_made_by_another_version_of_the_platform_says_so(store: StageStore) -> None:
    made = make(store, Surface)
    assert stage_rows([made])[0].software == ""
    path = made.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"software": "0.0.1"}))
    assert stage_rows([made])[0].software == "0.0.1"


def test_packages_are_listed_as_pip_takes_them() -> None:
    packages = installed_packages()
    assert f"numpy=={installed_version('numpy')}" in packages
    assert installed_version("no-such-package") == "not installed"


def _with_holes(record: MapRecord, units: int = 0) -> MapRecord:
    """Return a record whose surface misses a tile and has so many units."""
    orientation, surface = record.results
    figures = {"holes": ["r0c0"], "hole_reasons": {"r0c0": "ValueError: no <light>"}}
    surface = replace(surface, figures=figures, units=_units(units))
    return replace(record, results=(orientation, surface))


def test_hole_is_placed_on_the_map(record: MapRecord) -> None:
    (hole,) = list_holes(_with_holes(record).results)
    assert (hole.stage, hole.name, hole.reason) == ("surface", "r0c0", "ValueError: no <light>")
    # The only tile is cut at the map's edge.
    assert hole.bounds == read_grid(record.survey.products_dir / "dsm.tif").bounds


def test_hole_that_is_no_tile_has_no_place(record: MapRecord) -> None:
    _, surface = record.results
    features = replace(
        surface, stage="features", figures={"holes": [], "hole_reasons": {"DJI_0001.JPG": "torn"}}
    )
    assert list_holes([features])[0].bounds is None
    gone = replace(surface, folder=Path("/nowhere"), figures={"hole_reasons": {"r0c0": "torn"}})
    assert list_holes([gone])[0].bounds is None


def test_report_names_what_is_missing_and_draws_it(record: MapRecord) -> None:
    page = render_report(_with_holes(record))
    warned = page.index("Before you use this map")
    warnings = page[warned : page.index("</section>", warned)]
    assert "1 piece of the surface could not be made" in warnings
    assert "What could not be made" in page
    assert "ValueError: no &lt;light&gt;" in page
    assert 'class="hole"' in page
    assert "Dashed squares are tiles that could not be made" in page
    assert "What could not be made" not in render_report(record)
    assert 'class="hole"' not in render_report(record)


def test_report_of_two_thousand_units_stays_small(record: MapRecord) -> None:
    few = render_report(_with_holes(record, units=1))
    many = render_report(_with_holes(record, units=2000))
    assert "<summary>surface: 2000 units" in many
    assert "7-of-2000" in many
    assert len(many) - len(few) < 10_000


def test_report_carries_the_environment_it_was_made_in(record: MapRecord) -> None:
    page = render_report(record)
    assert f"numpy=={installed_version('numpy')}" in page
