"""The report: one page, complete in itself, on what was made, how good it is, what to doubt."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from flows import figures, findings
from flows.charts import histogram
from flows.holes import hole_warnings, list_holes
from flows.indexproducts import read_index_products
from flows.overlap import count_overlap, heights_of
from flows.products import DSM, DSM_SIGMA, ORTHOMOSAIC, PRODUCTS
from flows.provenance import installed_packages, installed_version, stage_rows
from flows.store import Result
from flows.surfaces import GROUND
from flows.usage import Usage
from tmp.captures import Capture
from tmp.files import replacing
from tmp.grids import Grid
from tmp.rasters import open_tiled, read_grid
from tmp.reconstruction import Reconstruction, VerticalScale
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

HOLES_NAMED = 60
"""Holes up to which each has a line."""


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


def write_report(record: MapRecord) -> Path:
    """Write ``report.html`` and return its path."""
    path = record.survey.report_path
    with replacing(path) as temporary:
        temporary.write_text(render_report(record), encoding="utf-8")
    return path


def render_report(record: MapRecord) -> str:
    """Return the report as one HTML page that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("flows"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    reconstruction = record.reconstruction
    sheet = figures.overlap_sheet(reconstruction, _bounds(record))
    overlap = count_overlap(reconstruction, sheet, _heights(record, sheet))
    covered = _coverage(record, overlap, sheet)
    holes = list_holes(record.results)
    return environment.get_template("report.html.j2").render(
        title=record.settings.name,
        head=_head(record),
        asked=record.asked,
        warnings=[
            *hole_warnings(holes),
            *findings.list_warnings(
                reconstruction, record.captures, covered, record.settings.vertical_datum
            ),
        ],
        maps=_maps(record),
        cameras_figure=figures.draw_cameras(reconstruction, overlap, sheet, holes),
        covered=covered,
        least_covered=findings.LEAST_COVERED,
        residuals=findings.gnss_residuals(reconstruction, record.captures),
        mean_residual_px=findings.mean_residual_px(reconstruction),
        histogram=_residual_histogram(reconstruction),
        tie_points=len(reconstruction.points),
        calibrations=_calibrations(reconstruction),
        vertical_scale=findings.say_vertical_scale(reconstruction.vertical_scale),
        trials=_trials(reconstruction.vertical_scale),
        resolutions=_resolutions(record),
        left_out=findings.not_oriented(reconstruction, record.captures),
        flagged=[capture for capture in record.captures if capture.flags],
        stages=stage_rows(record.results),
        total=_total(record.results),
        holes=holes,
        holes_named=HOLES_NAMED,
        figures=_further_figures(record),
        files=_files(record),
        software=[(name, installed_version(name)) for name in SOFTWARE]
        + [("Python", platform.python_version()), ("system", platform.platform(terse=True))],
        packages=installed_packages(),
    )


def _head(record: MapRecord) -> list[tuple[str, str]]:
    captures, reconstruction = record.captures, record.reconstruction
    rows = []
    times = sorted(capture.time_utc for capture in captures if capture.time_utc is not None)
    if times:
        first, last = times[0], times[-1]
        until = f"{last:%H:%M}" if last.date() == first.date() else f"{last:%Y-%m-%d %H:%M}"
        rows.append(("Taken", f"{first:%Y-%m-%d %H:%M} to {until} UTC"))
    origin = reconstruction.frame.origin
    if origin is not None:
        rows.append(("Place", f"{_degrees(origin[1], 'NS')} {_degrees(origin[0], 'EW')}"))
        rows.append(("Map coordinates", f"{reconstruction.frame.crs}"))
        rows.append(("Heights from", str(record.settings.vertical_datum)))
    else:
        rows.append(("Place", "unknown: no positions"))
    oriented = len(reconstruction.photos)
    rows.append(("Photographs", f"{oriented} oriented of {len(captures)} in the survey"))
    cameras = sorted({photo.camera_id for photo in reconstruction.photos})
    rows.append(("Cameras", ", ".join(cameras)))
    height_m = findings.camera_height_m(reconstruction)
    rows.append(("Flying height", f"{height_m:.1f} m above the ground (median)"))
    return rows


def _degrees(value: float, letters: str) -> str:
    return f"{abs(value):.5f}° {letters[value < 0]}"


def _present(record: MapRecord, file: str) -> Path | None:
    path = record.survey.products_dir / file
    return path if path.exists() else None


def _bounds(record: MapRecord) -> tuple[float, float, float, float]:
    """Return the products' bounds, or those of the tie points where there are no products."""
    for product in (DSM, ORTHOMOSAIC):
        if (path := _present(record, product.file)) is not None:
            return read_grid(path).bounds
    points = record.reconstruction.frame.map_from_world(record.reconstruction.points)
    low, high = np.percentile(points[:, :2], [1, 99], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _heights(record: MapRecord, sheet: Grid) -> NDArray[np.float64]:
    """Return the map height of the ground in each cell of a sheet."""
    for result in record.results:
        if result.stage == "surface":
            return heights_of(open_tiled(result.folder / GROUND), sheet)
    points = record.reconstruction.frame.map_from_world(record.reconstruction.points)
    return np.full(sheet.shape, float(np.median(points[:, 2])))


def _coverage(
    record: MapRecord, overlap: NDArray[np.int_], sheet: Grid
) -> findings.Coverage | None:
    path = _present(record, DSM.file)
    if path is None:
        return None
    share = findings.measured_share(path, sheet)
    grid = read_grid(path)
    # With --area the sheet reaches farther than the map: judge only what was asked for.
    x, y = sheet.cell_centres()
    west, south, east, north = grid.bounds
    asked = ((y > south) & (y < north))[:, None] & ((x > west) & (x < east))[None]
    return findings.coverage(np.where(asked, overlap, 0), share, sheet.cell_m)


def _maps(record: MapRecord) -> list[tuple[str, str, figures.Figure]]:
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


def _residual_histogram(reconstruction: Reconstruction) -> str:
    residuals = reconstruction.point_residuals_px
    if len(residuals) == 0:
        return ""
    edges = np.linspace(0, max(0.5, float(np.percentile(residuals, 99.5))), 31)
    return histogram(residuals, edges, "residual, px (last column: and more)", "tie points, %")


def _trials(scale: VerticalScale | None) -> list[tuple[float, float, float]]:
    """Return focal factor, residual and flying height of each trial of the vertical scale."""
    if scale is None:
        return []
    columns = (scale.focal_factors, scale.mean_residual_px, scale.height_agl_m)
    return list(zip(*columns, strict=True))


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
    gsd_m = findings.photograph_gsd_m(record.reconstruction)
    rows = [("pixel of a photograph on the ground", f"{100 * gsd_m:.2f} cm")]
    for product in (ORTHOMOSAIC, DSM):
        if (path := _present(record, product.file)) is not None:
            cell_m = read_grid(path).cell_m
            rows.append(
                (
                    f"cell of {product.file}",
                    f"{100 * cell_m:.2f} cm ({cell_m / gsd_m:.1f} pixels)",
                )
            )
    return rows


def _further_figures(record: MapRecord) -> list[tuple[str, str]]:
    """Return the plain numbers that stages and orientation gave, as rows."""
    given: list[tuple[str, Mapping[str, Any]]] = [("orientation", record.reconstruction.figures)]
    given += [(result.stage, result.figures) for result in record.results]
    return [
        (
            f"{stage}: {key.replace('_', ' ')}",
            f"{value:.4g}" if isinstance(value, float) else str(value),
        )
        for stage, numbers in given
        for key, value in numbers.items()
        if isinstance(value, int | float | str)
    ]


def _total(results: Sequence[Result]) -> Usage:
    """Return what all stages cost together, whenever they were made."""
    return Usage(
        wall_s=sum(result.usage.wall_s for result in results),
        cpu_s=sum(result.usage.cpu_s for result in results),
        peak_gb=max((result.usage.peak_gb for result in results), default=0.0),
    )


def _files(record: MapRecord) -> list[tuple[str, str, str]]:
    rows = []
    for product in (*PRODUCTS, *read_index_products(record.survey.products_dir)):
        if (path := _present(record, product.file)) is not None:
            rows.append((f"products/{product.file}", _size(path), product.purpose))
    survey = record.survey
    others = (
        (survey.gpkg_path, "One row per photograph: position, sigma, time, verdicts."),
        (survey.toml_path, "What was asked; edit it and run again."),
        (survey.catalog_path, "Static STAC catalogue of the products."),
    )
    for path, purpose in others:
        if path.exists():
            rows.append((path.name, _size(path), purpose))
    return rows


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
