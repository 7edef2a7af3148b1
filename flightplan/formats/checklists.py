"""What a person does by hand for each format, in order, because the file cannot."""

from __future__ import annotations

from flightplan.formats import Format

BEFORE_ANY = (
    "Airspace, permission and landowner asked; people and animals clear of the area",
    "Batteries full, propellers whole, memory card empty and in the drone",
    "Lens clean; focus at infinity; shutter 1/800 s or faster; exposure and white balance fixed",
    "Return height set in the app; home point recorded at the take-off place",
)

AFTER_ANY = (
    "Look at the last photographs: sharp, not blown out, about as many as in the table",
    "Note wind, cloud and any line that was broken off; keep the card apart",
)

_DJI_FLY = (
    "Make any two-point waypoint mission in DJI Fly, save it, close the app",
    "Put this file in that mission's place (Android/data/dji.go.v5/files/waypoint/ID/ID.kmz)",
    "Open the mission: its shape must be that of the map; if the app closes, split the mission",
    "Take off, climb to the height above take-off given here, camera straight down, then start",
)

CHECKLISTS: dict[Format, tuple[str, ...]] = {
    Format.PLAN_ARDUPILOT: (
        "Open the plan in QGroundControl and do not edit the survey: editing redraws its lines",
        "Set RTL_ALT to the return height; upload; read back; compare the number of items",
        "Enable the fence (FENCE_ENABLE) after uploading it; set FENCE_ALT_MAX",
        "Wait for GPS and home; arm; switch to Auto",
    ),
    Format.PLAN_PX4: (
        "Open the plan in QGroundControl and do not edit the survey: editing redraws its lines",
        "Set RTL_RETURN_ALT to the return height; upload mission and fence",
        "Set the fence's action (GF_ACTION); wait for GPS and home; start the mission",
    ),
    Format.WPL: (
        "Load the file in Mission Planner; home is the take-off place",
        "Set RTL_ALT to the return height; draw the fence by hand: the file has none",
        "Write to the autopilot, read back, compare; arm; switch to Auto",
    ),
    Format.DJI_ENTERPRISE: (
        "Copy the file to the controller's card and import it in DJI Pilot 2",
        "Heights are above the take-off place: take off there",
        "Check speed, return height and the number of waypoints; start",
    ),
    Format.DJI_PHOTO: (
        *_DJI_FLY,
        "Watch the first line: one photograph at each point (count them); else use the timer file",
    ),
    Format.DJI_DISTANCE: (
        *_DJI_FLY,
        "Watch the first line: some versions ignore distances; no photographs, use the timer file",
    ),
    Format.DJI_INTERVAL: (
        *_DJI_FLY,
        "Watch the first line: some versions ignore intervals; no photographs, use the timer file",
    ),
    Format.DJI_TIMER: (
        *_DJI_FLY,
        "Set timed shots to the interval given here; start them before the first line, stop them "
        "after the last; the file takes no photographs",
    ),
    Format.LITCHI: (
        "Import the CSV in Litchi's mission hub; path mode straight lines",
        "Heading mode custom, finish action return home, return height as above",
        "Heights are above the take-off place: take off there",
    ),
    Format.KML: ("To look at only: no drone flies it as it is",),
    Format.GPX: ("To look at only: no drone flies it as it is",),
    Format.GEOJSON: ("To look at only: no drone flies it as it is",),
}
"""In the order to be done."""
