"""DJI's numbers for drones and cameras, and what its apps can take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flightplan.missions import Mission
from tmp.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class DroneNumbers:
    """How a WPML file names a drone and its camera."""

    drone: int
    """`droneEnumValue`."""
    variant: int = 0
    """`droneSubEnumValue`."""
    payload: int | None = None
    """`payloadEnumValue` of the built-in camera; None where it depends on what is mounted."""
    lens: str = ""
    """`imageFormat`: which of several lenses store a photograph; empty for a single one."""


ENTERPRISE = {
    "m350": DroneNumbers(drone=89),
    "m300": DroneNumbers(drone=60),
    "m30t": DroneNumbers(drone=67, variant=1, payload=53, lens="wide"),
    "m30": DroneNumbers(drone=67, payload=52, lens="wide"),
    "m3e": DroneNumbers(drone=77, payload=66, lens="wide"),
    "m3t": DroneNumbers(drone=77, variant=1, payload=67, lens="wide"),
    "m3m": DroneNumbers(drone=77, variant=2, payload=68, lens="visible,narrow_band"),
    "m3td": DroneNumbers(drone=91, variant=1, payload=81, lens="wide"),
    "m3d": DroneNumbers(drone=91, payload=80, lens="wide"),
}
"""DJI Cloud API, WPML common elements."""

PAYLOADS = {
    "h20t": 43,
    "h20n": 61,
    "h20": 42,
    "h30t": 83,
    "h30": 82,
}
"""Cameras carried by the M300 and M350."""

MINI_4_PRO = 68
MINI_3_PRO = 97

CONSUMER_DRONES = {
    "mini 4 pro": MINI_4_PRO,
    "mini 3 pro": MINI_3_PRO,
    "mini 5 pro": MINI_4_PRO,
    "air 3": MINI_4_PRO,
}
"""Not in DJI's specification.  68 was seen in missions saved by a Mini 4 Pro and is what others
write for its sisters; 97 is a community's finding for the Mini 3 Pro."""

SURE_OF = ("mini 4 pro",)


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", name.lower()).split())


def enterprise_numbers(mission: Mission) -> DroneNumbers:
    """Return how WPML names the mission's enterprise drone and its camera.

    Raises
    ------
    InputError
        If it is none of those in DJI's specification, or its camera is not known.
    """
    plain = _plain(mission.drone).replace("matrice", "m").replace("mavic", "m").replace("m ", "m")
    word = next((key for key in ENTERPRISE if re.search(rf"\b{key}(rtk)?\b", plain)), None)
    names = {"3 multispectral": "m3m", "3 enterprise": "m3e", "3 thermal": "m3t"}
    word = word or next((key for long, key in names.items() if long in plain), None)
    if word is None:
        known = ", ".join(key.upper() for key in ENTERPRISE)
        raise InputError(
            f"drone {mission.drone!r} has no number in DJI's enterprise missions ({known}); "
            "choose a consumer variant for drones flown with DJI Fly"
        )
    numbers = ENTERPRISE[word]
    if numbers.payload is not None:
        return numbers
    camera = next((key for key in PAYLOADS if key in _plain(mission.camera).split()), None)
    camera = camera or next((key for key in PAYLOADS if key in _plain(mission.camera)), None)
    if camera is None:
        raise InputError(
            f"camera {mission.camera!r} on drone {mission.drone!r} has no number in DJI's "
            f"enterprise missions; known are {', '.join(key.upper() for key in PAYLOADS)}"
        )
    return DroneNumbers(
        drone=numbers.drone, variant=numbers.variant, payload=PAYLOADS[camera], lens="wide"
    )


def consumer_numbers(mission: Mission) -> tuple[DroneNumbers, tuple[str, ...]]:
    """Return how DJI Fly names the mission's drone, and how sure that is."""
    plain = _plain(mission.drone)
    name = next((key for key in CONSUMER_DRONES if key in plain), None)
    number = CONSUMER_DRONES[name] if name else MINI_4_PRO
    if name in SURE_OF:
        return DroneNumbers(drone=number), ()
    return DroneNumbers(drone=number), (
        f"drone number {number} is a guess for {mission.drone or 'a drone not named'!r}: DJI "
        "publishes none for consumer drones; if DJI Fly refuses the file, copy the number from a "
        "mission saved on your controller",
    )
