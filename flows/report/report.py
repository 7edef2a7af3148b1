"""The report: one page, complete in itself, on what was made, how good it is, what to doubt."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from flows.engine.result import installed_version, summed
from flows.engine.store import Result
from flows.products.band_stack import read_index_products
from flows.products.table import DSM, DSM_SIGMA, ORTHOMOSAIC, PRODUCTS
from flows.report import figures, findings
from flows.report.findings import far_positions, gnss_residuals, say_firmness
from flows.report.ground import Ground, survey_ground
from flows.report.provenance import (
    Hole,
    hole_warnings,
    installed_packages,
    list_holes,
    stage_rows,
)
from flows.report.verdict import Verdict, judge_map, say_ha, write_quality
from tmp.captures import Capture
from tmp.files import replacing
from tmp.geo.rasters import read_grid, read_reduced
from tmp.reconstruction import Reconstruction
from tmp.survey import Settings, Survey

SOFTWARE = (
    "terrestrial-mapping-platform",
    "pycolmap",
    "pyceres",
    "opencv-python-headless",
    "numba",
    "numpy",
    "rasterio",
    "pyproj",
    "laspy",
)

SAMPLE_CELLS = 2000
"""Longest side at which the doubt of a surface is looked at for its median."""
HOLES_NAMED = 60
"""Holes up to which each has a line."""

_UNITS = {"m": ("m", "units"), "m2": ("m²", "square units"), "px": ("px", "px"), "s": ("s", "s")}
"""Unit of a figure by the last part of its key: with a scale, and without one."""


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
    verdict = judge_map(
        record.reconstruction,
        record.captures,
        ground.coverage(),
        record.settings.vertical_datum,
        hole_warnings=hole_warnings(holes),
        sigma_m=_median_sigma(record.survey.products_dir),
    )
    return Assessment(ground=ground, holes=holes, verdict=verdict)


def write_report(record: MapRecord, assessed: Assessment | None = None) -> Path:
    """Write ``report.html`` and ``quality.json``; returns the path of the report."""
    assessed = assessed or assess_map(record)
    write_quality(assessed.verdict, record.survey.quality_path)
    # Where earlier versions wrote it: two that differ would mislead.
    (record.survey.folder / record.survey.quality_path.name).unlink(missing_ok=True)
    path = record.survey.report_path
    with replacing(path) as temporary:
        temporary.write_text(render_report(record, assessed), encoding="utf-8")
    return path


def render_report(record: MapRecord, assessed: Assessment | None = None) -> str:
    """Return the report as one HTML page that needs nothing else."""
    assessed = assessed or assess_map(record)
    environment = Environment(
        loader=PackageLoader("flows"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    reconstruction, captures = record.reconstruction, record.captures
    scale = reconstruction.vertical_scale
    ground, verdict, holes = assessed.ground, assessed.verdict, assessed.holes
    return environment.get_template("report.html.j2").render(
        title=record.settings.name,
        head=_head(record, verdict),
        asked=_asked(record),
        verdict=verdict,
        verdict_rows=_verdict_rows(verdict),
        ground_figure=figures.draw_ground(
            reconstruction, ground, _present(record, ORTHOMOSAIC.file)
        ),
        unit="m" if record.scaled else "units",
        maps=_maps(record),
        cameras_figure=figures.draw_cameras(reconstruction, ground.overlap, ground.sheet, holes),
        coverage_rows=_coverage_rows(verdict),
        residuals=gnss_residuals(reconstruction, captures),
        firmness=say_firmness(reconstruction.figures),
        mean_residual_px=findings.mean_residual_px(reconstruction),
        histogram=_residual_histogram(reconstruction),
        tie_points=len(reconstruction.points),
        calibrations=_calibrations(reconstruction),
        vertical_scale=findings.say_vertical_scale(scale),
        trials=[]
        if scale is None
        else zip(scale.focal_factors, scale.mean_residual_px, scale.height_agl_m, strict=True),
        resolutions=_resolutions(record),
        left_out=sorted(verdict.left_out.items()),
        far=far_positions(reconstruction, captures) if record.scaled else [],
        flagged=[capture for capture in record.captures if capture.flags],
        stages=stage_rows(record.results),
        total=summed([result.usage for result in record.results]),
        holes=holes,
        holes_named=HOLES_NAMED,
        figures=_further_figures(record),
        files=_files(record),
        software=[(name, installed_version(name)) for name in SOFTWARE]
        + [("Python", platform.python_version()), ("system", platform.platform(terse=True))],
        packages=installed_packages(),
    )


def _head(record: MapRecord, verdict: Verdict) -> list[tuple[str, str]]:
    captures, reconstruction = record.captures, record.reconstruction
    rows = []
    times = sorted(capture.time_utc for capture in captures if capture.time_utc is not None)
    if times:
        first, last = times[0], times[-1]
        until = f"{last:%H:%M}" if last.date() == first.date() else f"{last:%Y-%m-%d %H:%M}"
        rows.append(("Taken", f"{first:%Y-%m-%d %H:%M} to {until} UTC"))
    origin = reconstruction.frame.origin
    if origin is not None:
        places = ((origin[1], "NS"), (origin[0], "EW"))
        said = [f"{abs(value):.5f}° {letters[value < 0]}" for value, letters in places]
        rows.append(("Place", " ".join(said)))
        shift_m = verdict.figures.get("crs_accuracy_m")
        good = f", reached from WGS 84 to {shift_m:g} m" if shift_m else ""
        rows.append(("Map coordinates", f"{reconstruction.frame.crs}{good}"))
        rows.append(("Heights from", str(record.settings.vertical_datum)))
    else:
        rows.append(("Place", "unknown: no positions"))
    oriented = len(reconstruction.photos)
    rows.append(("Photographs", f"{oriented} oriented of {len(captures)} in the survey"))
    cameras = sorted({photo.camera_id for photo in reconstruction.photos})
    rows.append(("Cameras", ", ".join(cameras)))
    height = findings.camera_height_m(reconstruction)
    unit = "m" if record.scaled else "units of arbitrary length"
    rows.append(("Flying height", f"{height:.1f} {unit} above the ground (median)"))
    return rows


def _asked(record: MapRecord) -> dict[str, str]:
    """Return the options in words; what is given in metres is in units without a scale."""
    if record.scaled:
        return record.asked
    return {
        name: re.sub(r"([\d.]+) cm\b", lambda found: f"{float(found[1]) / 100:g} units", value)
        for name, value in record.asked.items()
    }


def _verdict_rows(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the figures of the first box; areas only where there is a scale."""
    covered = verdict.covered
    oriented, total = verdict.photographs_oriented, verdict.photographs_total
    rows = [("Photographs oriented", f"{oriented} of {total} ({100 * oriented / total:.0f} %)")]
    if verdict.scaled:
        rows.append(("Ground flown", say_ha(covered.flown_ha)))
    else:
        rows.append(("Scale", "none: lengths, heights and areas are in units, not in metres"))
    rows.append(_of_flown("Mapped, with heights", covered.mapped_ha, verdict))
    rows.append(_of_flown("Drawn on the orthomosaic", covered.drawn_ha, verdict))
    return rows


def _of_flown(what: str, hectares: float, verdict: Verdict) -> tuple[str, str]:
    flown_ha = verdict.covered.flown_ha
    share = f"{100 * hectares / flown_ha if flown_ha else 0.0:.0f} % of the ground flown"
    return what, f"{say_ha(hectares)}, {share}" if verdict.scaled else share


def _coverage_rows(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return each kind of ground, its area, and the share of it that has a height."""
    covered = verdict.covered
    return [
        (what, say_ha(hectares) if verdict.scaled else "", f"{100 * share:.0f} %")
        for what, hectares, share in (
            ("photographs to be mapped look at", covered.flown_ha, covered.mapped_of_flown),
            ("two or more photographs see", covered.seen_by_two_ha, covered.measured_of_two),
            ("three or more photographs see", covered.seen_by_three_ha, covered.measured_of_three),
        )
    ]


def _median_sigma(products_dir: Path) -> float | None:
    """Return the median standard deviation of the heights; None where there are none."""
    path = products_dir / DSM_SIGMA.file
    if not path.exists():
        return None
    known = read_reduced(path, SAMPLE_CELLS)[0].compressed()
    return float(np.median(known)) if len(known) else None


def _present(record: MapRecord, file: str) -> Path | None:
    path = record.survey.products_dir / file
    return path if path.exists() else None


def _maps(record: MapRecord) -> list[tuple[str, str, figures.Drawn]]:
    """Return title, caption and drawing of each map that can be drawn."""
    drawn = []
    for product, draw in (
        (ORTHOMOSAIC, figures.draw_orthomosaic),
        (DSM, figures.draw_surface),
        (DSM_SIGMA, figures.draw_sigma),
    ):
        if (path := _present(record, product.file)) is not None:
            drawn.append((product.title, product.purpose, draw(path)))
    for product in read_index_products(record.survey.products_dir):
        path = record.survey.products_dir / product.file
        drawn.append((product.title, product.purpose, figures.draw_index(path, product)))
    return drawn


def _residual_histogram(reconstruction: Reconstruction) -> figures.Drawn | None:
    residuals = reconstruction.point_residuals_px
    if len(residuals) == 0:
        return None
    edges = np.linspace(0, max(0.5, float(np.percentile(residuals, 99.5))), 31)
    return figures.draw_histogram(
        residuals, edges, "residual, px (last column: and more)", "tie points, %"
    )


def _calibrations(reconstruction: Reconstruction) -> list[dict[str, Any]]:
    return [
        {
            "camera_id": camera_id,
            "source": prior.source,
            "parameters": findings.interior_changes(prior, reconstruction.cameras[camera_id]),
            "figure": figures.draw_distortion(prior, reconstruction.cameras[camera_id]),
        }
        for camera_id, prior in sorted(reconstruction.priors.items())
        if camera_id in reconstruction.cameras
    ]


def _resolutions(record: MapRecord) -> list[tuple[str, str]]:
    gsd = findings.photograph_gsd_m(record.reconstruction)

    def size(length: float) -> str:
        return f"{100 * length:.2f} cm" if record.scaled else f"{length:.3g} units"

    rows = [("pixel of a photograph on the ground", size(gsd))]
    for product in (ORTHOMOSAIC, DSM):
        if (path := _present(record, product.file)) is not None:
            cell = read_grid(path).cell_m
            rows.append((f"cell of {product.file}", f"{size(cell)} ({cell / gsd:.1f} pixels)"))
    return rows


def _further_figures(record: MapRecord) -> list[tuple[str, str]]:
    """Return the plain numbers that stages and orientation gave, as rows."""
    given: list[tuple[str, Mapping[str, Any]]] = [("orientation", record.reconstruction.figures)]
    given += [(result.stage, result.figures) for result in record.results]
    return [
        (
            f"{stage}: {_worded(key, record.scaled)}",
            f"{value:.4g}" if isinstance(value, float) else str(value),
        )
        for stage, numbers in given
        for key, value in numbers.items()
        if isinstance(value, int | float | str)
    ]


def _worded(key: str, scaled: bool) -> str:
    """Return a figure's key as words with its unit.

    Examples
    --------
    >>> _worded("height_agl_m", True), _worded("seen_twice_m2", False)
    ('height agl, m', 'seen twice, square units')
    """
    name, _, suffix = key.rpartition("_")
    if not name or suffix not in _UNITS:
        return key.replace("_", " ")
    return f"{name.replace('_', ' ')}, {_UNITS[suffix][0 if scaled else 1]}"


def _files(record: MapRecord) -> list[tuple[str, str, str]]:
    rows = []
    for product in (*PRODUCTS, *read_index_products(record.survey.products_dir)):
        if (path := _present(record, product.file)) is not None:
            rows.append((f"products/{product.file}", _size(path), product.purpose))
    survey = record.survey
    others = (
        (survey.gpkg_path, "One row per photograph: position, sigma, time, verdicts."),
        (survey.toml_path, "What was asked; edit it and run again."),
        (survey.quality_path, "How the map came out, in figures that programs read."),
        (survey.catalog_path, "Static STAC catalogue of the products."),
    )
    for path, purpose in others:
        if path.exists():
            rows.append((path.name, _size(path), purpose))
    return rows


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
