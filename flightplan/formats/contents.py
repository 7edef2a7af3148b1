"""What a mission says beyond places and heights, and which format can carry it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from flightplan.missions import Mission


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A mission in some format, and what a person must know about it."""

    content: bytes
    notes: tuple[str, ...] = ()
    """One sentence for each thing the format changed, or could not carry."""


class Content(StrEnum):
    """Something a mission may say that not every format can."""

    TAKEOFF = "take-off place"
    TAKEOFF_HEIGHT = "height climbed to before anything else"
    LANDING = "landing place away from the take-off"
    RETURN_HEIGHT = "height at which the drone comes home"
    AT_END = "what the drone does at the end"
    SPEED = "speed"
    HEADING = "heading"
    GIMBAL = "gimbal pitch"
    STOPS = "halts at waypoints"
    PHOTOS = "where photographs are taken"
    FENCE = "fence"
    EXCLUSIONS = "exclusions"
    FENCE_HEIGHT = "greatest height of the fence"


EVERYTHING = frozenset(Content)

_REMEDIES = {
    Content.TAKEOFF: "start from the place on the briefing",
    Content.TAKEOFF_HEIGHT: "climb by hand first",
    Content.LANDING: "fly there by hand after the last waypoint",
    Content.RETURN_HEIGHT: "set it in the app or as the autopilot's parameter",
    Content.AT_END: "set it in the app",
    Content.SPEED: "set it in the app",
    Content.HEADING: "let the drone face the way it flies",
    Content.GIMBAL: "tilt the camera by hand before the first line",
    Content.STOPS: "the drone flies through",
    Content.PHOTOS: "run the camera's own timer",
    Content.FENCE: "set it in the app or on the autopilot",
    Content.EXCLUSIONS: "keep clear of them by eye; the waypoints already do",
    Content.FENCE_HEIGHT: "set it in the app or as the autopilot's parameter",
}


def said_by(mission: Mission) -> frozenset[Content]:
    """Return what a mission says."""
    waypoints = mission.waypoints
    speeds = [mission.speed_m_s, mission.transit_speed_m_s, *(w.speed_m_s for w in waypoints)]
    says = {
        Content.TAKEOFF: mission.takeoff is not None,
        Content.TAKEOFF_HEIGHT: math.isfinite(mission.takeoff_height_m),
        Content.LANDING: mission.landing is not None,
        Content.RETURN_HEIGHT: math.isfinite(mission.return_height_m),
        Content.AT_END: True,
        Content.SPEED: any(map(math.isfinite, speeds)),
        Content.HEADING: any(math.isfinite(w.heading_deg) for w in waypoints),
        Content.GIMBAL: True,
        Content.STOPS: any(w.stop for w in waypoints),
        Content.PHOTOS: bool(mission.photos) or any(w.photo_spacing_m > 0 for w in waypoints),
        Content.FENCE: mission.fence is not None,
        Content.EXCLUSIONS: bool(mission.exclusions),
        Content.FENCE_HEIGHT: math.isfinite(mission.fence_height_m),
    }
    return frozenset(content for content, said in says.items() if said)


def losses(mission: Mission, carries: Collection[Content]) -> tuple[str, ...]:
    """Return a sentence for each thing a mission says and a format cannot carry.

    Parameters
    ----------
    carries : collection of Content
        What the format can carry.
    """
    return tuple(
        f"not in the file: {content.value}; {_REMEDIES[content]}"
        for content in Content
        if content in said_by(mission) and content not in carries
    )
