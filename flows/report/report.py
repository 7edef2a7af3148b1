"""The report: one page, complete in itself, on what was made, how good it is, what to doubt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flows.engine.result import summed
from flows.products.band_stack import read_index_products
from flows.products.cameras import COLMAP, CSV, GEOJSON
from flows.products.sidecars import PROJECT, listed_products
from flows.products.table import (
    CONTOURS,
    DSM,
    DSM_SIGMA,
    DTM,
    HEIGHT_ABOVE_GROUND,
    MODEL_SIDES,
    ORTHOMOSAIC,
    SLOPE,
    VIEWER,
    VIEWER_PAGE,
)
from flows.products.volumes import CSV as VOLUMES_CSV
from flows.report import block_figures, figures, findings
from flows.report.control import control_rows, say_control
from flows.report.findings import gnss_residuals, say_firmness
from flows.report.photographs import PhotoRow, picture_address
from flows.report.provenance import installed_packages, software, stage_rows
from flows.report.verdict import Verdict, say_cm, say_ha
from tmp.files import replacing
from tmp.geo.frames import position_in_words
from tmp.geo.rasters import read_grid
from tmp.plotting import data_uri
from tmp.reconstruction import Reconstruction

if TYPE_CHECKING:
    from flows.report.quality import Assessment, MapRecord

HOLES_NAMED = 60
"""Holes up to which each has a line."""
PICTURED, LISTED = 60, 1000
"""Photographs that have a row with a picture, and rows at all; the worst come first."""
CORRELATED = 0.9
"""Correlation from which two parameters of a lens are said to go together."""


def write_report(record: MapRecord, assessed: Assessment) -> Path:
    """Write ``report.html``; returns its path."""
    path = record.survey.report_path
    with replacing(path) as temporary:
        temporary.write_text(render_report(record, assessed), encoding="utf-8")
    return path


def render_report(record: MapRecord, assessed: Assessment) -> str:
    """Return the report as one HTML page that needs nothing else."""
    environment = Environment(
        loader=PackageLoader("flows"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["css"] = css_string
    return environment.get_template("report.html.j2").render(
        title=record.settings.name,
        verdict=assessed.verdict,
        head=_head(record, assessed.verdict),
        unit="m" if record.scaled else "units",
        **_pictures(record, assessed),
        **_block(record, assessed),
        **_photographs(record, assessed),
        coverage_rows=_coverage_rows(assessed.verdict),
        resolutions=_resolutions(record),
        holes=assessed.holes,
        holes_named=HOLES_NAMED,
        files=_files(record),
        viewer=_viewer(record),
        asked=_asked(record),
        stages=stage_rows(record.results),
        total=summed([result.usage for result in record.results]),
        figures=_figures_in_words(record),
        software=software().items(),
        packages=installed_packages(),
    )


def css_string(text: str) -> Markup:
    r"""Return text as a string of a style sheet, which HTML does not escape.

    Examples
    --------
    >>> print(css_string('Dig "A" </style>'))
    "Dig \22 A\22  \3c /style>"
    """
    return Markup('"{}"').format(
        Markup(re.sub(r'[\\"<&\x00-\x1f]', lambda found: f"\\{ord(found[0]):x} ", text))
    )


def _head(record: MapRecord, verdict: Verdict) -> list[tuple[str, str]]:
    """Return the facts of the card."""
    block = record.reconstruction
    rows = [("Taken", _say_taken(record)), ("Place", _say_place(record, verdict))]
    oriented, total = verdict.photographs_oriented, verdict.photographs_total
    rows.append(("Photographs", f"{oriented} of {total} oriented"))
    gsd, height = findings.photograph_gsd_m(block), findings.camera_height_m(block)
    if record.scaled:
        rows.append(
            ("Pixel of the photographs", f"{say_cm(gsd)}, from {height:.0f} m above ground")
        )
    else:
        rows.append(("Scale", "none: lengths, heights and areas are in units, not in metres"))
        rows.append(("Flying height", f"{height:.3g} units of arbitrary length"))
    covered = verdict.covered
    rows.append(("Ground with heights", _of_flown(covered.mapped_ha, verdict)))
    rows.append(("On the orthomosaic", _of_flown(covered.drawn_ha, verdict)))
    if covered.water_ha:
        area = f"{say_ha(covered.water_ha)}, " if verdict.scaled else ""
        rows.append(("Water", f"{area}without heights, left out of these shares"))
    sigma_m, place_m = (verdict.figures.get(key) for key in ("dsm_sigma_m", "place_sigma_m"))
    if sigma_m is not None:
        rows.append(("Heights", f"half are known to {say_cm(sigma_m)} or better in the map"))
    if place_m is not None:
        rows.append(("Place of the whole", f"known to about {say_cm(place_m)} at best"))
    if record.scaled:
        rows.append(("Heights count from", str(record.settings.vertical_datum)))
    return rows


def _say_taken(record: MapRecord) -> str:
    times = findings.taken(record.captures)
    if times is None:
        return "at a time that is not recorded"
    (day, first), (last_day, last) = ((time[:10], time[11:16]) for time in times)
    return f"{day}, {first} to {'' if last_day == day else f'{last_day}, '}{last} UTC"


def _say_place(record: MapRecord, verdict: Verdict) -> str:
    frame = record.reconstruction.frame
    if frame.origin is None:
        return "unknown: no positions"
    said = position_in_words(*frame.origin[:2], decimals=5)
    shift_m = verdict.figures.get("crs_accuracy_m")
    good = f", reached from WGS 84 to {shift_m:g} m" if shift_m else ""
    return f"{said} ({frame.crs}{good})"


def _of_flown(hectares: float, verdict: Verdict) -> str:
    flown_ha = verdict.covered.flown_ha
    share = f"{100 * hectares / flown_ha if flown_ha else 0.0:.0f} %"
    if not verdict.scaled:
        return f"{share} of the ground flown"
    return f"{say_ha(hectares)}, {share} of the {say_ha(flown_ha)} flown"


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


def _pictures(record: MapRecord, assessed: Assessment) -> dict[str, Any]:
    """Return the drawings of the ground."""
    block, ground = record.reconstruction, assessed.ground
    picture = _present(record, ORTHOMOSAIC.file)
    return {
        "main_figure": None if picture is None else figures.draw_orthomosaic(picture),
        "ground_figure": figures.draw_ground(
            block, ground, picture, [lack.on_map for lack in assessed.lacks]
        ),
        "cameras_figure": figures.draw_cameras(block, ground.overlap, ground.sheet, assessed.holes),
        "maps": _maps(record),
        "sides": _model_sides(record),
        "why_flat": findings.why_flat(
            {result.stage: result.figures for result in record.results}, record.reconstruction
        ),
    }


def _present(record: MapRecord, file: str) -> Path | None:
    path = record.survey.products_dir / file
    return path if path.exists() else None


def _maps(record: MapRecord) -> list[tuple[str, str, figures.Drawn]]:
    """Return title, caption and drawing of each map beside the orthomosaic."""
    drawn = []
    lines = _present(record, CONTOURS.file)
    for product, draw in (
        (DSM, figures.draw_surface),
        (DSM_SIGMA, figures.draw_sigma),
        (DTM, partial(figures.draw_surface, contours=lines)),
        (HEIGHT_ABOVE_GROUND, partial(figures.draw_fixed, product=HEIGHT_ABOVE_GROUND)),
        (SLOPE, partial(figures.draw_fixed, product=SLOPE)),
    ):
        if (path := _present(record, product.file)) is not None:
            drawn.append((product.title, product.purpose, draw(path)))
    for product in read_index_products(record.survey.products_dir):
        path = record.survey.products_dir / product.file
        drawn.append((product.title, product.purpose, figures.draw_index(path, product)))
    return drawn


def _model_sides(record: MapRecord) -> list[tuple[str, str]]:
    """Return where one stands before the 3D model, and the address of the picture from there."""
    from photogrammetry.model.portrait import SIDES
    from photogrammetry.pictures import read_photograph

    folders = [result.folder for result in record.results if MODEL_SIDES in result.files]
    if not folders:
        return []
    pictures = np.split(read_photograph(folders[0] / MODEL_SIDES)[..., ::-1], len(SIDES))
    return [(side, data_uri(one)) for side, one in zip(SIDES, pictures, strict=True)]


def _block(record: MapRecord, assessed: Assessment) -> dict[str, Any]:
    """Return what is said of how the photographs fit each other."""
    block = record.reconstruction
    scale, ties = block.vertical_scale, assessed.ties
    return {
        "residuals": gnss_residuals(block, record.captures),
        "firmness": say_firmness(block.figures),
        "control_rows": control_rows(block.figures),
        "control_said": say_control(block.figures),
        "tie_points": len(block.points),
        "mean_residual_px": findings.mean_residual_px(block),
        "histogram": _residual_histogram(block),
        "ties_figure": block_figures.draw_ties(block, ties) if len(ties.points) else None,
        "vertical_scale": findings.say_vertical_scale(scale),
        "trials": []
        if scale is None
        else list(
            zip(scale.focal_factors, scale.mean_residual_px, scale.height_agl_m, strict=True)
        ),
        "calibrations": _calibrations(block),
    }


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
            "parameters": findings.interior_changes(
                prior, reconstruction.cameras[camera_id], reconstruction.interior.get(camera_id)
            ),
            "distortion": figures.draw_distortion(prior, reconstruction.cameras[camera_id]),
            "frame": block_figures.draw_frame_residuals(reconstruction, camera_id),
            **_correlations(reconstruction, camera_id),
        }
        for camera_id, prior in sorted(reconstruction.priors.items())
        if camera_id in reconstruction.cameras
    ]


def _correlations(reconstruction: Reconstruction, camera_id: str) -> dict[str, Any]:
    """Return which parameters of a lens the photographs cannot tell apart, and all of them."""
    known = reconstruction.interior.get(camera_id)
    if known is None:
        return {"together": [], "symbols": [], "matrix": []}
    symbols = [findings.SYMBOLS[name] for name in known.names]
    matrix = np.array(known.correlation)
    return {
        "together": [
            one
            for one in findings.strong_correlations(symbols, matrix, CORRELATED)
            if one[:2] != ("fx", "fy")  # held together: pixels are square
        ],
        "symbols": symbols,
        "matrix": [
            (symbol, [(value, _shade(value)) for value in row])
            for symbol, row in zip(symbols, matrix.tolist(), strict=True)
        ],
    }


def _shade(correlation: float) -> str:
    """Return the colour behind a correlation: red below zero, green above."""
    red, green, blue = (179, 38, 30) if correlation < 0 else (31, 111, 92)
    return f"rgba({red},{green},{blue},{0.6 * abs(correlation):.2f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A photograph's row on the page."""

    row: PhotoRow
    link: str
    picture: str
    """Address of the small picture; empty for none."""


def _photographs(record: MapRecord, assessed: Assessment) -> dict[str, Any]:
    """Return the table of photographs: pictured ones, those in a line each, and how many more."""
    rows, folder = assessed.photographs, record.survey.photos_dir
    shown = [
        _Shown(
            row=row,
            link=quote(f"{folder.name}/{row.name}"),
            picture=picture_address(folder / row.name) if number < PICTURED else "",
        )
        for number, row in enumerate(rows[:LISTED])
    ]
    return {
        "pictured": shown[:PICTURED],
        "listed": shown[PICTURED:],
        "unlisted": max(0, len(rows) - LISTED),
        "count": len(rows),
        "ties_known": len(assessed.ties.points) > 0,
        "scaled": record.scaled,
    }


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


def _asked(record: MapRecord) -> dict[str, str]:
    """Return the options in words; what is given in metres is in units without a scale."""
    if record.scaled:
        return record.asked
    return {
        name: re.sub(r"([\d.]+) cm\b", lambda found: f"{float(found[1]) / 100:g} units", value)
        for name, value in record.asked.items()
    }


_IN_WORDS = {
    "pairs_verified": "pairs of photographs whose matches hold",
    "matches_verified": "matches that hold",
    "observations": "sightings of tie points",
    "observations_dropped": "sightings dropped as outliers",
    "median_residual_px": "median residual, px",
    "rms_residual_px": "root mean square residual, px",
    "pieces": "pieces of the block",
    "points": "points of the cloud",
    "least_gain": "least factor by which a photograph's brightness was evened",
    "greatest_gain": "greatest factor",
}
"""Figures of orientation and stages that the report has no other place for."""


def _figures_in_words(record: MapRecord) -> list[tuple[str, str]]:
    given: list[Mapping[str, Any]] = [record.reconstruction.figures]
    given += [result.figures for result in record.results]
    numbers = {key: value for figures in given for key, value in figures.items()}
    return [
        (said, f"{numbers[key]:,.2f}" if isinstance(numbers[key], float) else f"{numbers[key]:,}")
        for key, said in _IN_WORDS.items()
        if isinstance(numbers.get(key), int | float)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file of the survey as the report lists it."""

    link: str
    size: str
    purpose: str


def _viewer(record: MapRecord) -> str:
    """Return where the map can be seen in a browser, from the report; empty where it cannot."""
    survey = record.survey
    path = survey.products_dir / VIEWER / VIEWER_PAGE
    return path.relative_to(survey.folder).as_posix() if path.exists() else ""


def _files(record: MapRecord) -> list[_File]:
    survey = record.survey
    products = survey.products_dir
    listed: list[tuple[Path, str]] = [
        (products / product.file, product.purpose) for product in listed_products(products)
    ]
    listed += [
        (products / GEOJSON, "Where each photograph was taken, for a GIS."),
        (products / CSV, "Position and omega, phi, kappa of each photograph, with accuracy."),
        (products / VOLUMES_CSV, "Volumes in polygons, cut and fill, with their doubt."),
        (products / COLMAP / "images.txt", "Poses, lenses and tie points for COLMAP."),
        (survey.quality_path, "Every figure of this report, for programs."),
        (survey.gpkg_path, "One row per photograph: position, sigma, time, verdicts."),
        (survey.toml_path, "What was asked; edit it and run again."),
        (survey.catalog_path, "Static STAC catalogue of the products."),
        (survey.folder / PROJECT, "QGIS project: all rasters, styled and in groups."),
    ]
    return [
        _File(link=path.relative_to(survey.folder).as_posix(), size=_size(path), purpose=purpose)
        for path, purpose in listed
        if path.exists()
    ]


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
