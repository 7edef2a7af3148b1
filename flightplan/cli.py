"""``tmp plan``: from a polygon to a mission that covers, with the proof."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmp.errors import InputError

if TYPE_CHECKING:
    from flightplan.equipment.flight_model import Wind
    from flightplan.outputs.plan_folder import PlanFiles
    from flightplan.plan.planning import FlightPlan
    from flightplan.plan.request import PlanOptions

FILE = click.Path(path_type=Path)


@click.command(short_help="Plan a survey of a polygon, and prove that it covers.")
@click.argument("area")
@click.option("-o", "--to", "survey", required=True, type=FILE, help="Folder of the survey.")
@click.option("--drone", required=True, help="As 'tmp cameras' lists them.")
@click.option("--camera", "cameras", multiple=True, help="Flown instead of the drone's own.")
@click.option("--gsd", help="Ground sampling distance, nowhere coarser, such as 2.5cm.")
@click.option("--height", help="Height above ground instead, such as 60m.")
@click.option("--frontlap", default="80", show_default=True, help="Per cent.")
@click.option("--sidelap", default="70", show_default=True, help="Per cent.")
@click.option(
    "--views",
    type=click.IntRange(min=1),
    help="Photographs that shall see every place.  [default: what the overlaps give, up to 9]",
)
@click.option("--dem", type=FILE, help="Elevation model of the ground, to follow it.")
@click.option("--dem-datum", help="What its heights are measured from, if it does not say.")
@click.option("--exclude", "exclusions", multiple=True, help="Polygons not to be flown over.")
@click.option("--takeoff", "takeoffs", multiple=True, metavar="LON,LAT", help="Several may do.")
@click.option("--wind", metavar="SPEED@FROM", help="Such as 6m/s@240: from the south-west.")
@click.option("--heading", type=click.FloatRange(0, 360), help="Course of the lines.")
@click.option("--double-grid", is_flag=True, help="Fly a second set of lines across the first.")
@click.option(
    "--oblique",
    type=float,
    metavar="DEGREES",
    help="Add lines across that look so far from the vertical: they fix the heights.",
)
@click.option("--inside", is_flag=True, help="Stay over the area; its edges are seen less often.")
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="Of the flight.  [default: today]")
@click.option(
    "--reserve",
    type=click.FloatRange(5, 80),
    default=25.0,
    show_default=True,
    help="Per cent of the battery kept for landing.",
)
@click.option("--height-limit", type=click.FloatRange(min=10), help="Metres.  [default: 120]")
@click.option("--sight", type=click.FloatRange(min=10), help="Metres from the pilot.")
@click.option("--allow", "allowed", multiple=True, metavar="RULE", help="Override a rule.")
@click.option("--layer", help="Of the area's file, if it holds several.")
@click.option("--crs", help="Of the area's file, if it does not say.")
@click.option("--equipment", type=FILE, help="Own cameras and drones.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: one per core]")
def plan(survey: Path, equipment: Path | None, workers: int | None, **options: Any) -> None:
    """Plan a survey of AREA (GeoJSON, KML, KMZ, GeoPackage, shapefile or WKT) into a survey.

    Writes the missions for your drone's app, a map to look at before take-off, a page to print,
    and the proof that every place is photographed as often and as sharply as asked.
    """
    from flightplan.equipment.catalogue import user_files
    from flightplan.outputs.plan_folder import write_plan
    from flightplan.plan.planning import plan_survey
    from tmp.geo.areas import read_area
    from tmp.progress import bar

    with bar() as track:
        made = plan_survey(
            read_area(options["area"], layer=options["layer"], crs=options["crs"]),
            drone=options["drone"],
            cameras=options["cameras"],
            exclusions=options["exclusions"],
            equipment=[*user_files(survey), *([equipment] if equipment else [])],
            workers=workers,
            track=track,
            **plan_options(**options),
        )
        files = write_plan(made, survey)
    _say(made, files)
    if not made.certificate.passed:
        raise InputError(
            "the plan does not reach what was asked; it is written all the same, see "
            f"{files.folder / 'map.html'}"
        )


def plan_options(**chosen: Any) -> PlanOptions:
    """Return what the options say, as `flightplan.plan_survey` takes it.

    Raises
    ------
    InputError
        If a text cannot be understood.
    """
    from flightplan.coverage.spacing import Overlap, length_from_text, overlap_from_text
    from flightplan.equipment.flight_model import Battery
    from flightplan.proof.rules import Bounds

    gsd, height, wind, day = (chosen[name] for name in ("gsd", "height", "wind", "day"))
    if gsd and height:
        raise InputError("--gsd and --height each fix the height; give one of them")
    bounds = {"height_agl_m": chosen["height_limit"], "sight_m": chosen["sight"]}
    return {
        "gsd_m": length_from_text(gsd, "--gsd") if gsd else None,
        "height_agl_m": length_from_text(height, "--height") if height else None,
        "overlap": Overlap(
            front=overlap_from_text(chosen["frontlap"], "--frontlap"),
            side=overlap_from_text(chosen["sidelap"], "--sidelap"),
        ),
        "views": chosen["views"],
        "dem": chosen["dem"],
        "dem_datum": chosen["dem_datum"],
        "takeoffs": tuple(_place(text) for text in chosen["takeoffs"]),
        "wind": _wind(wind) if wind else None,
        "heading_deg": chosen["heading"],
        "double_grid": chosen["double_grid"],
        "oblique_deg": chosen["oblique"],
        "keep_inside": chosen["inside"],
        "day": day.date() if day else date.today(),
        "battery": Battery(reserve=chosen["reserve"] / 100),
        "bounds": Bounds(**{name: said for name, said in bounds.items() if said is not None}),
        "allowed": frozenset(chosen["allowed"]),
    }


def _place(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*", text)
    if not found or not (abs(float(found[1])) <= 360 and abs(float(found[2])) <= 90):
        raise InputError(
            f"--takeoff {text!r} is no place; give longitude, then latitude in degrees, "
            "such as -21.9405,64.1466"
        )
    return float(found[1]), float(found[2])


def _wind(text: str) -> Wind:
    from flightplan.equipment.flight_model import Wind

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m/s|km/h|kn)?\s*@\s*(\d+(?:\.\d+)?)\s*°?\s*", text)
    if not found or not 0 <= float(found[3]) <= 360:
        raise InputError(f"--wind {text!r}: give speed and where it comes from, such as 6m/s@240")
    factor = {"m/s": 1.0, "km/h": 1 / 3.6, "kn": 0.514444, None: 1.0}[found[2]]
    return Wind(speed_m_s=float(found[1]) * factor, from_deg=float(found[3]) % 360.0)


def _say(plan: FlightPlan, files: PlanFiles) -> None:
    """Print what a person wants to know before they look at the map."""
    from flightplan.outputs.plan_folder import BRIEFING, MAP, NOTES, facts_of, minutes

    for name, value in facts_of(plan):
        click.echo(f"{name:26s} {value}")
    for number, flight in enumerate(plan.sorties.flights, start=1):
        click.echo(
            f"sortie {number:<19d} {len(flight.lines)} lines, {flight.photos} photographs, "
            f"{minutes(flight.time_s)}, {100 * flight.energy_share:.0f} % of a battery, "
            f"{flight.farthest_m:.0f} m away at the most"
        )
    for check in plan.certificate.checks:
        click.echo(f"{'proved' if check.passed else 'FAILS ':8s} {check.sentence}")
    for words in plan.certificate.repairs:
        click.echo(f"repaired {words}")
    for finding in plan.findings:
        click.echo(finding.line)
    for warning in plan.warnings:
        click.echo(f"warning: {warning}")
    for note in files.notes:
        click.echo(f"note: {note}")
    click.echo(f"notes on the other files are in {files.folder / NOTES}")
    click.echo(f"look at {files.folder / MAP}, print {files.folder / BRIEFING}")
