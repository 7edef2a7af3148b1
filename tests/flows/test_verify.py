"""A survey is read whole and compared with its digests."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from flows.engine.result import MANIFEST, result_digests
from flows.engine.stage import Stage
from flows.engine.store import StageStore
from flows.run.publish import publish
from flows.run.verify import find_changed, verify_survey
from ingest.changed import photograph_stamps
from photogrammetry.orientation.features import features_path
from photogrammetry.pictures import PictureStore
from tmp.captures import Capture, Flag, write_captures
from tmp.cli import main
from tmp.survey import Survey


class Surface(Stage):
    """Writes a product, and something else."""

    name = "surface"
    version = "1"

    def finish(self) -> None:
        (self.space.out / "dsm.tif").write_text("heights")
        (self.space.out / "ground").mkdir()
        (self.space.out / "ground" / "r0c0").write_text("tile")


@pytest.fixture
def photographs(survey: Survey, captures: Sequence[Capture]) -> list[Capture]:
    """The photographs of a survey, one of them flagged and left out."""
    survey.photos_dir.mkdir()
    found = []
    for capture in captures[:4]:
        path = survey.photos_dir / capture.name
        path.write_text(f"picture {capture.name}")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        found.append(replace(capture, sha256=sha256, flags=()))
    found[3] = replace(found[3], flags=(Flag.DUPLICATE,), reason="the same as another")
    write_captures(survey.gpkg_path, found)
    return found


@pytest.fixture
def mapped(survey: Survey, photographs: list[Capture]) -> Survey:
    """A survey with one result and one product."""
    store = StageStore(root=survey.work_dir / "stages")
    publish([store.make(store.recipe(Surface, {}, {}))], survey.products_dir)
    return survey


def overwrite(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"x" * path.stat().st_size)


def test_a_survey_that_is_as_it_was_has_no_damage(mapped: Survey) -> None:
    found = verify_survey(mapped, workers=2)
    assert found.damaged == ()
    assert (found.photographs, found.results, found.products) == (4, 2, 1)
    files = [p for p in mapped.folder.rglob("*") if p.match("photos/*") or p.name == "r0c0"]
    files += mapped.folder.rglob("dsm.tif")
    assert found.size_bytes == sum(path.stat().st_size for path in files)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("photos/DJI_0001.JPG", "is not the photograph that was taken in; 'tmp ingest CARD --to"),
        ("photos/DJI_0003.JPG", "is not the photograph that was taken in; 'tmp ingest CARD --to"),
        ("work/stages/surface/*/ground/r0c0", "is not as it was made; 'tmp map"),
        (f"work/stages/surface/*/{MANIFEST}", "is not as it was made; 'tmp map"),
        ("products/dsm.tif", "is not as it was made; 'tmp map"),
    ],
)
def test_damage_is_named_with_its_remedy_each_time(pattern: str, said: str, mapped: Survey) -> None:
    (path,) = mapped.folder.glob(pattern)
    overwrite(path)
    for _ in range(2):
        (line,) = verify_survey(mapped).damaged
        assert line.startswith(f"{path}: {said}")


def test_damage_that_left_no_trace_is_looked_at_by_the_next_run(mapped: Survey) -> None:
    store = StageStore(root=mapped.work_dir / "stages")
    recipe = store.recipe(Surface, {}, {})
    tile = recipe.folder / "ground" / "r0c0"
    stamps = recipe.folder / "stamps.json"
    overwrite(tile)
    stat = tile.stat()
    entry = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    digest = result_digests(recipe.folder)["ground/r0c0"]
    stamps.write_text(f'{{"ground/r0c0": ["{digest}", {", ".join(map(str, entry))}]}}')
    os.utime(stamps, (stamps.stat().st_mtime + 60,) * 2)
    assert store.find(recipe) is not None, "a rotten bit changes neither size nor times"
    assert len(verify_survey(mapped).damaged) == 1
    assert store.find(recipe) is None


def test_a_photograph_that_is_gone_is_damage_and_a_product_is_not(mapped: Survey) -> None:
    (mapped.photos_dir / "DJI_0000.JPG").unlink()
    (mapped.products_dir / "dsm.tif").unlink()
    (line,) = verify_survey(mapped).damaged
    assert "DJI_0000.JPG: is not there" in line


def test_what_another_command_replaces_meanwhile_is_not_damage(
    mapped: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_all(function, files, *, workers):  # type: ignore[no-untyped-def]
        del workers
        shutil.rmtree(mapped.work_dir / "stages")
        for file in files:
            yield file, function(file)

    monkeypatch.setattr("flows.run.verify.map_threads", read_all)
    assert verify_survey(mapped).damaged == ()


def test_verify_takes_no_lock_and_tells_its_verdict_by_its_status(mapped: Survey) -> None:
    (mapped.work_dir / "lock").write_text("{}")
    runner = CliRunner()
    good = runner.invoke(main, ["verify", str(mapped.folder)])
    assert good.exit_code == 0
    assert "4 photographs, 2 files of results and 1 products read, 0.00 GB" in good.output
    assert good.output.strip().endswith("all as they were")
    overwrite(mapped.products_dir / "dsm.tif")
    bad = runner.invoke(main, ["verify", str(mapped.folder)])
    assert bad.exit_code == 1
    assert bad.output.strip().endswith("1 damaged")


def test_changed_photographs_are_found_with_and_without_work(
    mapped: Survey, photographs: list[Capture]
) -> None:
    assert find_changed(mapped, photographs) == []
    overwrite(mapped.photos_dir / "DJI_0001.JPG")
    overwrite(mapped.photos_dir / "DJI_0003.JPG")  # left out of the map
    (mapped.photos_dir / "DJI_0002.JPG").unlink()  # told by the orientation
    assert find_changed(mapped, photographs) == ["DJI_0001.JPG"]
    shutil.rmtree(mapped.work_dir)
    assert find_changed(mapped, photographs) == ["DJI_0001.JPG"]


def test_unchanged_photographs_are_not_read(
    mapped: Survey, photographs: list[Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_changed(mapped, photographs)
    stamps = photograph_stamps(mapped).path
    os.utime(stamps, (stamps.stat().st_mtime + 60,) * 2)
    read: list[Path] = []
    monkeypatch.setattr("ingest.changed.digest", read.append)
    assert find_changed(mapped, photographs) == []
    assert read == []


def test_work_on_a_photograph_that_is_another_one_now_is_forgotten(
    mapped: Survey, photographs: list[Capture]
) -> None:
    find_changed(mapped, photographs)
    store = PictureStore(folder=mapped.work_dir / "pictures" / "normal")
    kept = mapped.work_dir / "block" / "keypoints-1"
    kept.mkdir(parents=True)
    for name in ("DJI_0000.JPG", "DJI_0001.JPG"):
        store.save(name, np.zeros((64, 64, 3), np.uint8), halvings=0)
        features_path(kept, name).touch()
    path = mapped.photos_dir / "DJI_0001.JPG"
    path.write_text("another picture")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    photographs[1] = replace(photographs[1], sha256=sha256)
    assert find_changed(mapped, photographs) == []
    assert store.lacking(["DJI_0000.JPG", "DJI_0001.JPG"]) == ["DJI_0001.JPG"]
    assert [path.name for path in kept.iterdir()] == ["DJI_0000.JPG.npz"]
    store.save("DJI_0001.JPG", np.zeros((64, 64, 3), np.uint8), halvings=0)
    assert find_changed(mapped, photographs) == []
    assert store.lacking(["DJI_0001.JPG"]) == [], "once"
