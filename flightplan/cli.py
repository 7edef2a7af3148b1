"""``tmp plan``: from a polygon to a mission that covers, with the proof."""

from __future__ import annotations

import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tmp.errors import InputError

if TYPE_CHECKING:
    from flightplan.equipment.flight_model import Wind
    from flightplan.outputs.plan_folder import PlanFiles
    from flightplan.plan.planning import FlightPlan
    from flightplan.plan.rest import MarkedFlown
    from tmp.geo.areas import SurveyArea

DEFAULT_GSD_M = 0.025
OF_A_DAY = ("takeoffs", "wind", "day", "reserve", "dem", "dem_datum", "allowed")
"""What may change between the parts of a survey."""
GROUPS = {
    "What": ("survey", "drone", "cameras", "equipment"),
    "Ground": (
        *("width_m", "layer", "crs", "exclusions", "keep_inside", "dem", "dem_datum", "basemap"),
    ),
    "Detail and overlap": (
        *("gsd_m", "height_agl_m", "frontlap", "sidelap", "views", "speed_m_s", "exposure_s"),
    ),
    "Lines": ("heading_deg", "double_grid", "oblique_deg"),
    "Flight": ("takeoffs", "wind", "day", "reserve", "height_limit", "sight", "allowed"),
    "Rest of a survey": ("rest", "flown"),
}
"""Options by what they are about, as the help lists them."""
FILE = click.Path(path_type=Path)


def _length(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    from flightplan.coverage.spacing import length_from_text

    return length_from_text(text, option.opts[0]) if text else None


def _speed(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    from flightplan.coverage.spacing import speed_from_text

    return speed_from_text(text, option.opts[0]) if text else None


def _exposure(_: click.Context, option: click.Parameter, text: str) -> float:
    from flightplan.coverage.spacing import exposure_from_text

    return exposure_from_text(text, option.opts[0])


def _flown(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> tuple[MarkedFlown, ...]:
    from flightplan.plan.rest import marked_from_text

    return tuple(map(marked_from_text, texts))


def _overlap(_: click.Context, option: click.Parameter, text: str) -> float:
    from flightplan.coverage.spacing import overlap_from_text

    return overlap_from_text(text, option.opts[0])


def _areas(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[SurveyArea, ...]:
    from tmp.geo.areas import read_area

    return tuple(read_area(_source(text)) for text in texts)


def _source(text: str) -> Path | str:
    """Return well-known text as it is, and all else as a path."""
    return text if "(" in text and not Path(text).exists() else Path(text)


def _places(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[float, float], ...]:
    return tuple(_place(text) for text in texts)


def _place(text: str) -> tuple[float, float]:
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*", text)
    if not found or not (abs(float(found[1])) <= 360 and abs(float(found[2])) <= 90):
        raise InputError(
            f"--takeoff {text!r} is no place; give longitude, then latitude in degrees, "
            "such as -21.9405,64.1466"
        )
    return float(found[1]), float(found[2])


def _wind(_: click.Context, __: click.Parameter, text: str | None) -> Wind | None:
    from flightplan.equipment.flight_model import Wind

    if not text:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(m/s|km/h|kn)?\s*@\s*(\d+(?:\.\d+)?)\s*°?\s*", text)
    if not found or not 0 <= float(found[3]) <= 360:
        raise InputError(f"--wind {text!r}: give speed and where it comes from, such as 6m/s@240")
    factor = {"m/s": 1.0, "km/h": 1 / 3.6, "kn": 0.514444, None: 1.0}[found[2]]
    return Wind(speed_m_s=float(found[1]) * factor, from_deg=float(found[3]) % 360.0)


class _Grouped(click.Command):
    """A command whose help lists options by what they are about."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each of `GROUPS`, and then the others."""
        records = {
            option.name: record
            for option in self.get_params(ctx)
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx))
        }
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([records.pop(name) for name in names])
        with formatter.section("Other options"):
            formatter.write_dl(list(records.values()))


# Options that stand for a field of `PlanRequest` have its name.
@click.command(
    cls=_Grouped,
    short_help="Plan a survey of a polygon, and prove that it covers.",
    epilog="Example: tmp plan dig.kml -o dig --drone 'DJI Mini 4 Pro' --gsd 2.5cm",
)
@click.argument("area", required=False)
@click.option("-o", "--to", "survey", required=True, type=FILE, help="Folder of the survey.")
@click.option("--drone", help="As 'tmp cameras' lists them.")
@click.option("--camera", "cameras", multiple=True, help="Flown instead of the drone's own.")
@click.option(
    "--gsd",
    "gsd_m",
    callback=_length,
    help="Ground sampling distance, nowhere coarser, such as 2.5cm.",
)
@click.option(
    "--height", "height_agl_m", callback=_length, help="Height above ground instead, such as 60m."
)
@click.option(
    "--speed",
    "speed_m_s",
    callback=_speed,
    help="On lines not to be exceeded, such as 6m/s.  [default: the fastest that serves]",
)
@click.option(
    "--shutter",
    "exposure_s",
    default="1/800",
    show_default=True,
    callback=_exposure,
    help="Longest time of exposure: blur bounds the speed.",
)
@click.option(
    "--frontlap",
    default="80",
    show_default=True,
    callback=_overlap,
    help="Per cent, along lines.",
)
@click.option(
    "--sidelap",
    default="70",
    show_default=True,
    callback=_overlap,
    help="Per cent, between lines.",
)
@click.option(
    "--views",
    type=click.IntRange(min=1),
    help="Photographs that shall see every place.  [default: what the overlaps give, up to 9]",
)
@click.option("--dem", type=FILE, help="Elevation model of the ground, to follow it.")
@click.option("--dem-datum", help="What its heights are measured from, if it does not say.")
@click.option(
    "--exclude", "exclusions", multiple=True, callback=_areas, help="Polygons not to be flown over."
)
@click.option(
    "--overfly-holes",
    is_flag=True,
    help="Holes of the area are merely not wanted: fly over them, and leave them out of the fence.",
)
@click.option(
    "--takeoff",
    "takeoffs",
    multiple=True,
    metavar="LON,LAT",
    callback=_places,
    help="Where you take off; several may do.",
)
@click.option(
    "--wind",
    metavar="SPEED@FROM",
    callback=_wind,
    help="Of the day, such as 6m/s@240: from the south-west.",
)
@click.option(
    "--heading", "heading_deg", type=click.FloatRange(0, 360), help="Course of the lines."
)
@click.option("--double-grid", is_flag=True, help="Fly a second set of lines across the first.")
@click.option(
    "--oblique",
    "oblique_deg",
    type=float,
    metavar="DEGREES",
    help="Add lines across that look so far from the vertical: they fix the heights.",
)
@click.option(
    "--inside",
    "keep_inside",
    is_flag=True,
    help="Stay over the area; its edges are seen less often.",
)
@click.option(
    "--basemap", type=FILE, help="Your own GeoTIFF or MBTiles, drawn below the map of the plan."
)
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="Of the flight.  [default: today]",
)
@click.option(
    "--reserve",
    type=click.FloatRange(5, 80),
    default=25.0,
    show_default=True,
    help="Per cent of the battery kept for landing.",
)
@click.option(
    "--height-limit", type=click.FloatRange(min=10), help="Metres above the ground.  [default: 120]"
)
@click.option(
    "--sight", type=click.FloatRange(min=10), help="Metres from the pilot.  [default: 500]"
)
@click.option("--allow", "allowed", multiple=True, metavar="RULE", help="Override a rule.")
@click.option(
    "--width",
    "width_m",
    callback=_length,
    help="Whole width of the corridor to survey along a line, such as 60m.",
)
@click.option("--layer", help="Of the area's file, if it holds several.")
@click.option("--crs", help="Of the area's file, if it does not say.")
@click.option(
    "--rest",
    is_flag=True,
    help="Plan only what of the survey's plan was not flown: no AREA, as it was asked then.",
)
@click.option(
    "--flown",
    multiple=True,
    metavar="SORTIE[:LINES]",
    callback=_flown,
    help="With --rest: flown though no photograph says so, such as 1 or 2:1-5.",
)
@click.option("--equipment", type=FILE, help="Own cameras and drones.")
@click.option("--elsewhere", is_flag=True, help="Though photographs or former plan lie far away.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: one per core]")
def plan(
    survey: Path,
    equipment: Path | None,
    elsewhere: bool,
    basemap: Path | None,
    workers: int | None,
    rest: bool,
    flown: tuple[MarkedFlown, ...],
    **options: Any,
) -> None:
    """Plan a survey of AREA (GeoJSON, KML, KMZ, GeoPackage, shapefile or WKT) into a survey.

    AREA is a polygon, or with --width a line, such as a road or a GPX track.

    Writes the missions for your drone's app, a map to look at before take-off, a page to print,
    and the proof that every place is photographed as often and as sharply as asked.  A former plan
    is kept.
    """
    from flightplan.equipment.catalogue import user_files
    from flightplan.outputs.basemap import open_basemap
    from flightplan.outputs.plan_folder import write_plan
    from flightplan.plan.planning import plan_rest, plan_survey
    from tmp.progress import bar

    if flown and not rest:
        raise InputError("--flown says what was flown of a plan; give it with --rest")
    if basemap:
        open_basemap(basemap).close()
    asked = _given_of_rest(click.get_current_context()) if rest else _asked(options)
    catalogues = [*user_files(survey), *([equipment] if equipment else [])]
    with bar() as track:
        common: Any = {"equipment": catalogues, "workers": workers, "track": track}
        if rest:
            made = plan_rest(survey, flown=flown, **common, **asked)
        else:
            made = plan_survey(**common, **asked)
        files = write_plan(made, survey, elsewhere=elsewhere, basemap=basemap)
    _say(made, files)
    if not made.certificate.passed:
        raise InputError(
            "the plan does not reach what was asked; it is written all the same, see "
            f"{files.folder / 'map.html'}"
        )


def _given_of_rest(context: click.Context) -> dict[str, Any]:
    """Return what is to be otherwise in the rest of a plan than in the former one.

    Raises
    ------
    InputError
        If more is given than a new day can change.
    """
    said = {
        name: context.params[name]
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    for name in ("survey", "equipment", "elsewhere", "basemap", "workers", "rest", "flown"):
        said.pop(name, None)
    changed = {name: said.pop(name) for name in OF_A_DAY if name in said}
    if said:
        option = next(one for one in context.command.params if one.name in said)
        raise InputError(
            f"{option.opts[0] if option.param_type_name == 'option' else 'AREA'} is as it was "
            "asked: with --rest only take-off, wind, day, reserve, elevation model and --allow "
            "may change"
        )
    return _joined(changed)


def _joined(options: dict[str, Any]) -> dict[str, Any]:
    """Return options as fields of `PlanRequest`, of those that are given."""
    from flightplan.equipment.flight_model import Battery

    joined = dict(options)
    if "day" in joined:
        joined["day"] = joined["day"].date()
    if "allowed" in joined:
        joined["allowed"] = frozenset(joined["allowed"])
    if "reserve" in joined:
        joined["battery"] = Battery(reserve=joined.pop("reserve") / 100)
    return joined


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return what `plan_survey` takes, with the options put together that belong together."""
    from flightplan.coverage.spacing import Overlap
    from flightplan.equipment.flight_model import Battery
    from flightplan.proof.rules import RuleLimits
    from tmp.geo.areas import read_area, read_corridor

    for name, what in (("area", "AREA"), ("drone", "--drone")):
        if not options[name]:
            raise InputError(f"{what} is missing; or say --rest for the rest of the survey's plan")
    take = options.pop
    if options["gsd_m"] and options["height_agl_m"]:
        raise InputError("--gsd and --height each fix the height; give one of them")
    day, limits = take("day"), {"height_agl_m": take("height_limit"), "sight_m": take("sight")}
    width_m = take("width_m")
    read = partial(read_corridor, width_m=width_m) if width_m else read_area
    joined = {
        "area": read(_source(take("area")), layer=take("layer"), crs=take("crs")),
        "overlap": Overlap(front=take("frontlap"), side=take("sidelap")),
        "day": day.date() if day else date.today(),
        "battery": Battery(reserve=take("reserve") / 100),
        "bounds": RuleLimits(
            **{name: value for name, value in limits.items() if value is not None}
        ),
        "allowed": frozenset(take("allowed")),
    }
    return options | joined


def _say(plan: FlightPlan, files: PlanFiles) -> None:
    """Print what a person wants to know before they look at the map."""
    from flightplan.outputs.briefing import minutes
    from flightplan.outputs.plan_folder import BRIEFING, MAP, NOTES, facts_of

    for name, value in facts_of(plan):
        click.echo(f"{name:26s} {value}")
    flown = zip(plan.sorties.flights, plan.ways, strict=True)
    for number, (flight, way) in enumerate(flown, start=1):
        click.echo(
            f"sortie {number:<19d} {len(flight.lines)} lines, {len(way.photos)} photographs, "
            f"{minutes(flight.time_s)}, {100 * flight.energy_share:.0f} % of battery "
            f"{flight.battery}, {flight.farthest_m:.0f} m away at the most"
        )
    own = [f"of the files for {files.own}, which your drone flies:"] if files.notes else []
    for line in (
        *map(plan.certificate.line_of, plan.certificate.checks),
        *(f"repaired {words}" for words in plan.certificate.repairs),
        *(finding.line for finding in plan.findings),
        *(f"warning: {warning}" for warning in plan.warnings),
        *own,
        *(f"  {note}" for note in files.notes),
        *files.left_out,
    ):
        click.echo(line)
    click.echo(f"which file goes where, and notes on the other files: {files.folder / NOTES}")
    if files.kept:
        click.echo(files.kept)
    click.echo(f"look at {files.folder / MAP}, print {files.folder / BRIEFING}")
