"""Before the flight: from a polygon to a mission, and its rehearsal.

>>> import flightplan
>>> plan = flightplan.plan_survey("field.geojson", drone="DJI Mini 4 Pro", gsd_m=0.03)
>>> plan.certificate.passed, len(plan.sorties.flights)
(True, 1)
>>> files = flightplan.write_plan(plan, to="survey")
>>> sorted(path.name for path in files.folder.glob("*.html"))
['briefing.html', 'map.html']
"""

from typing import TYPE_CHECKING

from tmp import load_on_use

__all__ = [
    "Battery",
    "FlightPlan",
    "Overlap",
    "PlanFiles",
    "PlanOptions",
    "PlanRequest",
    "RuleLimits",
    "Wind",
    "plan_rest",
    "plan_survey",
    "read_catalogue",
    "write_plan",
]

if TYPE_CHECKING:
    from flightplan.coverage.spacing import Overlap
    from flightplan.equipment.catalogue import read_catalogue
    from flightplan.equipment.flight_model import Battery, Wind
    from flightplan.outputs.plan_folder import PlanFiles, write_plan
    from flightplan.plan.planning import FlightPlan, plan_rest, plan_survey
    from flightplan.plan.request import PlanOptions, PlanRequest
    from flightplan.proof.rules import RuleLimits
else:
    __getattr__ = load_on_use(
        __name__,
        {
            "Battery": "flightplan.equipment.flight_model",
            "RuleLimits": "flightplan.proof.rules",
            "FlightPlan": "flightplan.plan.planning",
            "Overlap": "flightplan.coverage.spacing",
            "PlanFiles": "flightplan.outputs.plan_folder",
            "PlanOptions": "flightplan.plan.request",
            "PlanRequest": "flightplan.plan.request",
            "Wind": "flightplan.equipment.flight_model",
            "plan_rest": "flightplan.plan.planning",
            "plan_survey": "flightplan.plan.planning",
            "read_catalogue": "flightplan.equipment.catalogue",
            "write_plan": "flightplan.outputs.plan_folder",
        },
    )
