"""All that is known of a map, and the same as figures for programs: ``products/quality.json``.

Every number of the report is in it, under a key that names its unit.  Lengths of a block without
scale are in units of its own: their keys end in ``_units``, and those in metres are null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.engine.store import Result
from flows.products.band_stack import read_index_products
from flows.products.table import DSM_SIGMA, PRODUCTS
from flows.report.findings import gnss_residuals, taken
from flows.report.fly_again import Lack, find_lacks, say_lacks
from flows.report.ground import Ground, survey_ground
from flows.report.photographs import PhotoRow, Ties, count_ties, photo_rows
from flows.report.provenance import Hole, hole_warnings, list_holes, software
from flows.report.verdict import Verdict, judge_map
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.files import write_json
from tmp.geo.rasters import read_grid, read_reduced
from tmp.reconstruction import Reconstruction
from tmp.survey import Settings, Survey

SAMPLE_CELLS = 2000
"""Longest side at which the doubt of a surface is looked at for its median."""
DIGITS = 6
"""Significant digits of the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRecord:
    """Everything the report is written from."""

    survey: Survey
    settings: Settings
    captures: Sequence[Capture]
    reconstruction: Reconstruction
    results: Sequence[Result]
    """Stages in the order they ran."""
    asked: dict[str, str]
    """Options of the command, in words."""
    area_wkt: str | None = None
    """Polygon that the map was asked of, map coordinates; None for all there is."""

    @property
    def scaled(self) -> bool:
        """Whether metres mean anything in the map."""
        return self.reconstruction.frame.referenced


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How a map came out, and where on the ground."""

    ground: Ground
    holes: Sequence[Hole]
    verdict: Verdict
    ties: Ties
    photographs: Sequence[PhotoRow]
    """All of the survey, those that went wrong first."""
    lacks: Sequence[Lack] = ()
    """What to fly again."""


def assess_map(record: MapRecord) -> Assessment:
    """Find out how a map came out; command, report and ``quality.json`` all say this."""
    ground = survey_ground(
        record.reconstruction,
        record.captures,
        record.settings.cameras,
        record.results,
        record.survey.products_dir,
        area_wkt=record.area_wkt,
    )
    holes = list_holes(record.results)
    lacks = find_lacks(ground, record.reconstruction, record.survey, whole=record.area_wkt is None)
    verdict = judge_map(
        record.reconstruction,
        record.captures,
        ground.coverage(),
        record.settings.vertical_datum,
        hole_warnings=hole_warnings(holes),
        sigma_m=_median_sigma(record.survey.products_dir),
        fly_again=say_lacks(lacks),
    )
    ties = count_ties(record.reconstruction)
    return Assessment(
        ground=ground,
        holes=holes,
        verdict=verdict,
        ties=ties,
        photographs=photo_rows(record.reconstruction, record.captures, verdict, ties),
        lacks=lacks,
    )


def _median_sigma(products_dir: Path) -> float | None:
    """Return the median standard deviation of the heights; None where there are none."""
    path = products_dir / DSM_SIGMA.file
    if not path.exists():
        return None
    known = read_reduced(path, SAMPLE_CELLS)[0].compressed()
    return float(np.median(known)) if len(known) else None


def write_quality(record: MapRecord, assessed: Assessment) -> Path:
    """Write ``quality.json``; returns its path."""
    path = record.survey.quality_path
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, quality_document(record, assessed), indent=1, for_people=True)
    # Where earlier versions wrote it: two that differ would mislead.
    (record.survey.folder / path.name).unlink(missing_ok=True)
    return path


def quality_document(record: MapRecord, assessed: Assessment) -> dict[str, Any]:
    """Return every figure of a map's report, JSON-able."""
    block, scaled = record.reconstruction, record.scaled
    document = assessed.verdict.document() | {
        "headline": assessed.verdict.headline,
        "length_unit": "m" if scaled else "unit of its own",
        "survey": _survey(record),
        "products": _cells(record),
        "orientation": block.figures,
        "gnss": [asdict(axis) for axis in gnss_residuals(block, record.captures)],
        "vertical_scale": None if block.vertical_scale is None else asdict(block.vertical_scale),
        "cameras": {key: _camera(block, key) for key in sorted(block.cameras)},
        "photographs": [asdict(row) for row in assessed.photographs],
        "ties": _ties(block, assessed.ties),
        "holes": [asdict(hole) for hole in assessed.holes],
        "stages": [_stage(result) for result in record.results],
        "asked": record.asked,
        "software": software(),
    }
    flat = assessed.verdict.document()
    named = {key: value for key, value in document.items() if key not in flat}
    return flat | dict(_as_json(named, scaled=scaled))


def _survey(record: MapRecord) -> dict[str, Any]:
    first, last = taken(record.captures) or (None, None)
    origin = record.reconstruction.frame.origin
    return {
        "name": record.settings.name,
        "first_photograph_utc": first,
        "last_photograph_utc": last,
        "longitude_deg": None if origin is None else origin[0],
        "latitude_deg": None if origin is None else origin[1],
        "vertical_datum": str(record.settings.vertical_datum),
    }


def _cells(record: MapRecord) -> dict[str, Any]:
    """Return the cell of each raster that is there."""
    folder = record.survey.products_dir
    files = [product.file for product in (*PRODUCTS, *read_index_products(folder))]
    rasters = [folder / file for file in files if file.endswith(".tif")]
    return {
        path.stem: {"cell_m": read_grid(path).cell_m, "size_bytes": path.stat().st_size}
        for path in rasters
        if path.exists()
    }


def _camera(block: Reconstruction, camera_id: str) -> dict[str, Any]:
    adjusted, prior = block.cameras[camera_id], block.priors.get(camera_id)
    known = block.interior.get(camera_id)
    return {
        "width_px": adjusted.width_px,
        "height_px": adjusted.height_px,
        "source": prior.source if prior else None,
        "prior_focal_sigma": prior.focal_sigma if prior else None,
        "prior": _lens(prior) if prior else None,
        "adjusted": _lens(adjusted),
        "sigma": dict(zip(known.names, known.sigmas, strict=True)) if known else None,
        "correlation": known.correlation if known else None,
    }


def _lens(camera: Camera) -> dict[str, float]:
    names = ("fx_px", "fy_px", "cx_px", "cy_px", "k1", "k2", "p1", "p2", "k3")
    return {name: getattr(camera, name) for name in names}


def _ties(block: Reconstruction, ties: Ties) -> list[list[Any]]:
    """Return first and second photograph and the tie points they share."""
    names = [photo.name for photo in block.photos]
    return [
        [names[a], names[b], points]
        for (a, b), points in zip(ties.pairs.tolist(), ties.points.tolist(), strict=True)
    ]


def _stage(result: Result) -> dict[str, Any]:
    return {
        "stage": result.stage,
        "reused": result.reused,
        "units": len(result.units) or 1,
        "starts": sum(unit.attempts for unit in result.units) or 1,
        **asdict(result.usage),
        "figures": result.figures,
    }


def _as_json(value: Any, *, scaled: bool) -> Any:
    """Return a value as JSON holds it: lists, short numbers, null for what is not finite.

    Without a scale, keys that end in a unit of length end in ``_units``.
    """
    if isinstance(value, Mapping):
        return {
            _unscaled(str(key)) if not scaled else str(key): _as_json(one, scaled=scaled)
            for key, one in value.items()
        }
    if isinstance(value, str | int | None):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return _short(value)
    if isinstance(value, np.generic):
        return _as_json(value.item(), scaled=scaled)
    return [_as_json(one, scaled=scaled) for one in value]


def _short(value: float) -> float | None:
    """Return a number with few digits; None for what JSON cannot hold.

    Degrees and map coordinates keep what a millimetre needs.
    """
    if not math.isfinite(value):
        return None
    return round(value, 8) if abs(value) >= 1 else float(f"{value:.{DIGITS}g}")


def _unscaled(key: str) -> str:
    """Return the name of a figure whose lengths are in units.

    Examples
    --------
    >>> _unscaled("height_agl_m"), _unscaled("seen_twice_m2"), _unscaled("rms_px")
    ('height_agl_units', 'seen_twice_units2', 'rms_px')
    """
    for metric, unit in (("_m", "_units"), ("_m2", "_units2")):
        if key.endswith(metric):
            return key.removesuffix(metric) + unit
    return key
