"""The numbers by which DJI's mission files call a drone and its camera."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flightplan.catalogue import Catalogue, Wpml
from flightplan.missions import Mission
from tmp.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class DroneNumbers:
    """How a WPML file calls a drone and its camera."""

    drone: int
    """`droneEnumValue`."""
    variant: int = 0
    """`droneSubEnumValue`."""
    payload: int | None = None
    """`payloadEnumValue` of the camera; None on consumer drones, whose files have none."""

    @property
    def lens(self) -> str:
        """Return which of several cameras store a photograph; empty where there is one."""
        return "visible,narrow_band" if self.payload == MAVIC_3M_CAMERA else ""


MAVIC_3M_CAMERA = 68

MINI_4_PRO = 68
"""`droneEnumValue` in missions that a Mini 4 Pro's controller saved.  Others write it for all of
DJI Fly's drones; DJI publishes no numbers for them."""

_SURE_OF = ("mini 4 pro", "mini-4-pro")

_OTHERS = {
    "m30t": DroneNumbers(drone=67, variant=1, payload=53),
    "m30": DroneNumbers(drone=67, payload=52),
    "m3t": DroneNumbers(drone=77, variant=1, payload=67),
    "m3td": DroneNumbers(drone=91, variant=1, payload=81),
    "m3d": DroneNumbers(drone=91, payload=80),
}
"""Of DJI's specification (Cloud API, WPML common elements), beyond the catalogue's."""


def enterprise_numbers(mission: Mission, catalogue: Catalogue) -> DroneNumbers:
    """Return how WPML calls the mission's enterprise drone and its camera.

    Raises
    ------
    InputError
        If DJI has no numbers for the drone, or it flies with DJI Fly.
    """
    found = _listed(mission, catalogue)
    if found is not None and not found.consumer and found.payload is not None:
        return DroneNumbers(drone=found.drone, variant=found.drone_sub, payload=found.payload)
    word = re.sub(r"[^a-z0-9]", "", mission.drone.lower())
    word = word.removeprefix("dji").replace("matrice", "m").replace("mavic", "m")
    if word in _OTHERS:
        return _OTHERS[word]
    if found is not None and found.consumer:
        remedy = "choose a format for DJI Fly"
    elif found is not None:
        remedy = "its camera is not known; add payload to its [drone.KEY.wpml] in your drones file"
    else:
        remedy = "add its [drone.KEY.wpml] to your drones file, or choose another format"
    raise InputError(f"drone {mission.drone!r} has no number for DJI Pilot 2; {remedy}")


def consumer_numbers(
    mission: Mission, catalogue: Catalogue
) -> tuple[DroneNumbers, tuple[str, ...]]:
    """Return how DJI Fly calls the mission's drone, and a warning where that is a guess."""
    found = _listed(mission, catalogue)
    number = found.drone if found is not None and found.consumer else MINI_4_PRO
    numbers = DroneNumbers(drone=number)
    if any(name in mission.drone.lower() for name in _SURE_OF):
        return numbers, ()
    return numbers, (
        f"drone number {number} is a guess for {mission.drone or 'an unnamed drone'}: DJI "
        "publishes none for consumer drones; if DJI Fly refuses the file, copy the number from a "
        "mission saved on your controller",
    )


def _listed(mission: Mission, catalogue: Catalogue) -> Wpml | None:
    """Return the catalogue's numbers of the mission's drone; None for one it does not know."""
    if not mission.drone:
        return None
    try:
        return catalogue.drone(mission.drone).wpml
    except InputError:
        return None
