"""Plan a survey of a polygon, and write the missions: AREA SURVEY [DRONE]."""

import sys
from pathlib import Path

import flightplan


def main(area: str, survey: str, drone: str = "DJI Mini 4 Pro") -> Path:
    """Write a plan into a survey's folder, and return where it is."""
    plan = flightplan.plan_survey(
        area,
        drone=drone,
        gsd_m=0.025,
        overlap=flightplan.Overlap(front=0.8, side=0.7),
        wind=flightplan.Wind(speed_m_s=5.0, from_deg=240.0),
    )
    for check in plan.certificate.checks:
        print("proved" if check.passed else "FAILS ", check.sentence)
    for number, flight in enumerate(plan.sorties.flights, start=1):
        print(f"sortie {number}: {flight.photos} photographs, {flight.time_s / 60:.0f} min")
    files = flightplan.write_plan(plan, to=survey)
    print(f"look at {files.folder / 'map.html'} before you fly")
    return files.folder


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
