"""Put the products of a map where people look for them, with catalogue and report.

What the last map was made of is kept, so that later commands can write its report anew, and so that
a run with nothing to do leaves the report as it is.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.cost import Quality
from flows.engine.result import DISTRIBUTION, content_digest, read_manifest, result_digests
from flows.engine.store import Result, read_true_result
from flows.products.cameras import POSE_FILES, write_cameras
from flows.products.qgis_project import write_project
from flows.products.sidecars import write_catalog, write_styles
from flows.products.table import (
    DTM,
    EDITED,
    ON_REQUEST,
    ORTHOMOSAIC,
    PRODUCTS,
    RELIEF_DIR,
    REQUESTED_MODEL,
    VIEWER,
    product_stamps,
)
from flows.report.figures import write_thumbnail
from flows.report.findings import Coverage
from flows.report.fly_again import write_lacks
from flows.report.quality import MapRecord, assess_map, write_quality
from flows.report.report import write_report
from flows.report.verdict import Verdict
from flows.run.request import ORIENTED
from flows.stages.inputs import require_space
from tmp.captures import Capture
from tmp.errors import InputError
from tmp.files import clone, replacing, write_json
from tmp.reconstruction import read_reconstruction
from tmp.survey import Settings, Survey, read_settings

if TYPE_CHECKING:
    from flows.run.plan import MapPlan

MAP_FILES = tuple(product.file for product in PRODUCTS)
REQUESTED_FILES = tuple(product.file for product in ON_REQUEST)
ON_TOP = ("indices", "contours", "slope", "relief")
"""Stages of what is made of a map on request: it goes without their results."""
log = logging.getLogger(__name__)


def publish_map(plan: MapPlan, results: Sequence[Result], asked: Mapping[str, str]) -> Verdict:
    """Write products, catalogue and report of a map, unless up to date; returns how it came out.

    The results are those of all stages; what was asked is for the report, in words.
    """
    survey = plan.survey
    publish(results, survey.products_dir)
    _retire(results, survey)
    if (verdict := _up_to_date(plan, results, asked)) is not None:
        return verdict
    # It shows a map that is no more; 'tmp view' makes it anew.
    shutil.rmtree(survey.products_dir / VIEWER, ignore_errors=True)
    (oriented,) = (result for result in results if result.stage == ORIENTED)
    reconstruction = read_reconstruction(oriented.folder)
    write_cameras(reconstruction, plan.captures, survey.products_dir)
    write_styles(survey.products_dir)
    write_project(survey)
    record = MapRecord(
        survey=survey,
        settings=plan.settings,
        captures=plan.captures,
        reconstruction=reconstruction,
        results=results,
        asked=dict(asked),
        area_wkt=plan.values.get("area_wkt"),
    )
    return report_map(record)


def report_map(record: MapRecord) -> Verdict:
    """Write report, quality, thumbnail and catalogue of a map; returns how it came out."""
    survey, assessed = record.survey, assess_map(record)
    write_quality(record, assessed)
    write_lacks(assessed.lacks, survey.products_dir)
    write_report(record, assessed)
    write_thumbnail(survey.products_dir)
    write_catalog(survey, record.settings, record.captures)
    remember_map(record, assessed.verdict)
    return assessed.verdict


def publish(
    results: Sequence[Result],
    products_dir: Path,
    files: Iterable[str] = MAP_FILES,
) -> list[Path]:
    """Put the stages' products where people look for them; returns their paths.

    Products are copies: who edits one changes nothing else.  One that is not as it was put there is
    moved to `EDITED`, said so, and the true one takes its place.

    Raises
    ------
    SpaceError
        If the disk has no room for them; those that were there stay.
    """
    known = set(files)
    made = {
        name: (result, name)
        for result in results
        for name in sorted(known.intersection(result.files))
    }
    return publish_as(made, products_dir)


def publish_as(made: Mapping[str, tuple[Result, str]], products_dir: Path) -> list[Path]:
    """Put files of results where people look for them, as `publish` does, by names of their own.

    Names are paths below the products' folder; each has its result, and the file's name there.
    """
    products_dir.mkdir(parents=True, exist_ok=True)
    stamps = product_stamps(products_dir)
    ours = {name: digest for name, (digest, _) in stamps.remembered().items()}
    there = {
        name: result.files[file]
        for name, (result, file) in made.items()
        if (products_dir / name).exists()
    }
    found = stamps.differing(there)
    put: dict[str, str] = {}
    try:
        for name, (result, file) in made.items():
            target, source = products_dir / name, result.folder / file
            if name in there and name not in found and not target.samefile(source):
                continue  # a link is of a version that linked them
            content = found.get(name, ours.get(name))
            keep = name in there and content != ours.get(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(source, target, keep=keep and not _made(content, result.folder, file))
            put[name] = result.files[file]
    finally:
        stamps.remember(put)
    return [products_dir / name for name in made]


def withdraw(names: Iterable[str], products_dir: Path) -> None:
    """Take away products that were put there; one that somebody has changed is kept."""
    stamps = product_stamps(products_dir)
    ours = {name: digest for name, (digest, _) in stamps.remembered().items()}
    stale = {name: ours.get(name, "") for name in names if (products_dir / name).exists()}
    changed = stamps.differing(stale)
    for name in stale:
        if name in changed:
            _set_aside(products_dir / name, "this map has none")
        else:
            (products_dir / name).unlink()
    for folder in {(products_dir / name).parent for name in stale} - {products_dir}:
        with suppress(OSError):  # something else lies in it
            folder.rmdir()


def _made(content: str | None, folder: Path, file: str) -> bool:
    """Tell whether a product is that of another result of the stage, by its digest.

    So it is where an earlier version put it, or one that was killed before it could remember it.
    """
    return any(result_digests(other).get(file) == content for other in folder.parent.iterdir())


def _put(source: Path, target: Path, *, keep: bool = False) -> None:
    """Copy a product to its place, and keep what lies there if asked."""
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as temporary:
        try:
            clone(source, temporary)
        except OSError:  # a disk whose files cannot share blocks
            require_space(target.parent, source.stat().st_size, f"putting {target.name} there")
            shutil.copyfile(source, temporary)
        if keep:
            _set_aside(target)


def _set_aside(product: Path, then: str = "what was made is put back") -> None:
    """Keep a product that somebody, or the disk, has changed."""
    now = datetime.now(UTC)
    kept = product.parent / EDITED / f"{product.stem}-{now:%Y%m%dT%H%M%S%f}Z{product.suffix}"
    kept.parent.mkdir(exist_ok=True)
    product.replace(kept)
    log.warning(
        "%s: is not as it was made; kept as %s, and %s",
        product,
        kept.relative_to(product.parent.parent),
        then,
    )


def _retire(results: Sequence[Result], survey: Survey) -> None:
    """Take away the products of an earlier map that this one has not: they would pass for its own.

    So would what was made on request of an earlier terrain.  They come back with a map that has
    them; what somebody has changed is kept.
    """
    made = {name for result in results for name in result.files}
    ours, last = product_stamps(survey.products_dir).remembered(), _last_folders(survey)

    def is_new(file: str) -> bool:
        folder = next((result.folder for result in results if file in result.files), None)
        return folder is None or folder.resolve() not in last

    names = list(MAP_FILES)
    if is_new(DTM.file):
        names += [name for name in REQUESTED_FILES if name in ours]
    if is_new(ORTHOMOSAIC.file):
        names += [name for name in ours if name.startswith(REQUESTED_MODEL)]
    withdraw([name for name in names if name not in made], survey.products_dir)


def _last_folders(survey: Survey) -> set[Path]:
    """Return the folders of the results that the last map was made of."""
    try:
        document = json.loads(survey.map_path.read_text(encoding="utf-8"))
        return {(survey.work_dir / Path(name)).resolve() for name in document["results"]}
    except (OSError, ValueError, KeyError):
        return set()


def remember_map(record: MapRecord, verdict: Verdict) -> None:
    """Write which results the map is made of, what was asked, and how it came out."""
    survey = record.survey
    document = _document(survey, record.results, record.asked, record.area_wkt)
    write_json(survey.map_path, {**document, "verdict": asdict(verdict)}, indent=1)


def _document(
    survey: Survey, results: Sequence[Result], asked: Mapping[str, str], area_wkt: str | None
) -> dict[str, Any]:
    """Return what a report is written from, JSON-able."""
    work = survey.work_dir.resolve()
    return {
        "asked": dict(asked),
        "area_wkt": area_wkt,
        "results": [result.folder.resolve().relative_to(work).as_posix() for result in results],
        "survey": [
            content_digest(path) for path in (survey.toml_path, survey.gpkg_path) if path.exists()
        ],
        "software": version(DISTRIBUTION),
    }


def is_reported(survey: Survey, result: Result) -> bool:
    """Tell whether the report is of the survey as it is now, and shows a result."""
    try:
        said = json.loads(survey.map_path.read_text(encoding="utf-8"))
        now = _document(survey, [result], said["asked"], said["area_wkt"])
        (shown,) = now["results"]
        same = all(said[name] == now[name] for name in ("survey", "software"))
        return same and shown in said["results"] and survey.report_path.exists()
    except (OSError, ValueError, KeyError):
        return False


def _up_to_date(
    plan: MapPlan, results: Sequence[Result], asked: Mapping[str, str]
) -> Verdict | None:
    """Return how the map came out if catalogue and report are of just this map; else None."""
    survey = plan.survey
    poses = [survey.products_dir / name for name in POSE_FILES]
    written = (survey.report_path, survey.quality_path, survey.catalog_path, *poses)
    if not all(path.exists() for path in written):
        return None
    try:
        said = json.loads((survey.map_path).read_text(encoding="utf-8"))
        found = said.pop("verdict")
        # Indices of the map, which its report goes on to show.
        said["results"] = said["results"][: len(results)]
        if said != _document(survey, results, asked, plan.values.get("area_wkt")):
            return None
        gaps = tuple(map(tuple, found["covered"]["largest_gaps"]))
        covered = Coverage(**found["covered"] | {"largest_gaps": gaps})
        lists = {name: tuple(found[name]) for name in ("warnings", "fly_again")}
        return Verdict(**{**found, "covered": covered, **lists})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def put_back_products(survey: Survey) -> None:
    """Put back what a map made and somebody changed since, before anything is computed of it.

    Raises
    ------
    InputError
        If a product is not as it was made, and ``work/`` has no result to put in its place.
    """
    folder = survey.products_dir
    stamps = product_stamps(folder)
    made = {
        name: digest
        for name, (digest, _) in stamps.remembered().items()
        if name in (*MAP_FILES, *REQUESTED_FILES) and (folder / name).exists()
        if not name.startswith(RELIEF_DIR)  # of which nothing is computed
    }
    if changed := stamps.differing(made):
        publish([result for result in _last_results(survey) if result], folder, changed)
        for name in stamps.differing({name: made[name] for name in changed}):
            raise InputError(f"{folder / name}: is not as it was made; 'tmp map' puts it right")


def _last_results(survey: Survey) -> list[Result | None]:
    """Return the results of a survey's last map, None for those that are gone or damaged."""
    try:
        document = json.loads(survey.map_path.read_text(encoding="utf-8"))
        return [read_true_result(survey.work_dir / Path(name)) for name in document["results"]]
    except (OSError, ValueError, KeyError):
        return []


def require_map(survey: Survey, lacking: str) -> MapRecord:
    """Return the record of a survey's map.

    Raises
    ------
    InputError
        If it has none, or a preview alone, which has no such thing as is wanted.
    """
    record = recall_map(survey, read_settings(survey), survey.captures)
    if record is None or not any(result.stage == "elevation" for result in record.results):
        raise InputError(
            f"{survey.folder}: has no map yet; make one with 'tmp map {survey.folder}'"
        )
    if record.asked.get("quality") == Quality.FAST:
        raise InputError(
            f"{survey.folder}: has a preview, which has no {lacking}; map it with "
            "'tmp map --quality normal'"
        )
    return record


def recall_map(survey: Survey, settings: Settings, captures: Sequence[Capture]) -> MapRecord | None:
    """Return the record of a survey's last map; None if it has none, or its results are gone."""
    try:
        document = json.loads((survey.map_path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    results = _last_results(survey)
    whole: list[Result] = [result for result in results if result is not None]
    oriented = next((result for result in whole if result.stage == ORIENTED), None)
    gone = [
        name
        for name, result in zip(document["results"], results, strict=False)
        if result is None and Path(name).parent.name not in ON_TOP
    ]
    if oriented is None or gone or not results:
        return None
    return MapRecord(
        survey=survey,
        settings=settings,
        captures=captures,
        reconstruction=read_reconstruction(oriented.folder),
        results=whole,
        asked=document["asked"],
        area_wkt=document.get("area_wkt"),
    )


def manifest_of(result: Result) -> Mapping[str, Any]:
    """Return what is known of a result; raises `InputError` if that has gone."""
    manifest = read_manifest(result.folder)
    if manifest is None:
        raise InputError(f"{result.folder}: the result has gone; map again")
    return manifest
