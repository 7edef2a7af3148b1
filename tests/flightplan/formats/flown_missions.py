"""Missions to write and read, and a machine to make more of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, box

from flightplan.formats.mission import AtEnd, Mission, Photo, Place, Role, Waypoint
from tmp.geo.frames import PlanFrame

LINES = 4
LENGTH_M, SPACING_M, BESIDE_M, RUN_M = 120.0, 15.0, 26.0, 20.0


def lawnmower(lon_deg: float = 10.8, lat_deg: float = 46.86, *, run_ins: bool = True) -> Mission:
    """Four lines of 120 m to and fro, 60 m above the take-off, a photograph every 15 m."""
    frame = PlanFrame(lon_deg=lon_deg, lat_deg=lat_deg)
    waypoints: list[Waypoint] = []
    photos: list[Photo] = []

    def add(x: float, y: float, role: Role, spacing: float = math.nan) -> None:
        ((lon, lat),) = frame.geodetic_from_plan([(x, y)])
        speed = 12.0 if role is Role.TRANSIT else 6.0
        waypoints.append(
            Waypoint(
                lon_deg=lon,
                lat_deg=lat,
                height_m=60.0 + y / 50,
                ground_m=1200.0 + y / 50,
                speed_m_s=speed,
                role=role,
                photo_spacing_m=spacing,
            )
        )

    for line in range(LINES):
        x, way = line * BESIDE_M, 1 if line % 2 == 0 else -1
        ends = np.array([-0.5, 0.5]) * LENGTH_M * way
        if run_ins:
            add(x, ends[0] - RUN_M * way, Role.RUN_IN)
        add(x, ends[0], Role.LINE, SPACING_M)
        add(x, ends[1], Role.RUN_OUT if run_ins else Role.TRANSIT)
        if run_ins:
            add(x, ends[1] + RUN_M * way, Role.TRANSIT)
        for y in np.linspace(*ends, 9):
            ((lon, lat),) = frame.geodetic_from_plan([(x, y)])
            photos.append(
                Photo(
                    lon_deg=lon,
                    lat_deg=lat,
                    height_m=60.0 + y / 50,
                    heading_deg=0.0 if way > 0 else 180.0,
                    line=line,
                )
            )
    square = frame.to_geodetic(box(-10, -70, 90, 70))
    fence = frame.to_geodetic(box(-150, -150, 200, 150))
    pond = frame.to_geodetic(box(120, 0, 150, 40))
    assert isinstance(square, Polygon)
    assert isinstance(fence, Polygon)
    assert isinstance(pond, Polygon)
    ((lon, lat),) = frame.geodetic_from_plan([(-30, -100)])
    return Mission(
        name="Dorf, sortie 1",
        waypoints=tuple(waypoints),
        photos=tuple(photos),
        takeoff=Place(lon_deg=lon, lat_deg=lat, ground_m=1200.0),
        takeoff_height_m=30.0,
        return_height_m=80.0,
        speed_m_s=6.0,
        transit_speed_m_s=12.0,
        drone="Mavic 3M",
        camera="m3m-rgb",
        photo_interval_s=2.5,
        area=MultiPolygon([square]),
        fence=fence,
        exclusions=(pond,),
        fence_height_m=120.0,
        duration_s=400.0,
        vertical_datum="EGM2008",
        notes=("Cows in the west field.",),
    )


@st.composite
def missions(draw: st.DrawFn, *, fewest: int = 1, anywhere: bool = True) -> Mission:
    """Return missions of any shape, at any longitude and up to 85 degrees north and south."""
    lon = draw(st.floats(-180, 180)) if anywhere else 10.8
    lat = draw(st.floats(-85, 85)) if anywhere else 46.8
    offsets = st.floats(-0.02, 0.02)
    count = draw(st.integers(fewest, 8))
    waypoints = tuple(
        Waypoint(
            lon_deg=lon + draw(offsets),
            lat_deg=lat + draw(offsets),
            height_m=draw(st.floats(2, 300)),
            speed_m_s=draw(st.sampled_from([math.nan, 3.5, 8.0])),
            heading_deg=draw(st.sampled_from([math.nan, 0.0, 77.5, 300.0])),
            gimbal_pitch_deg=draw(st.sampled_from([-90.0, -60.0])),
            role=(role := draw(st.sampled_from(Role))),
            photo_spacing_m=draw(st.floats(2, 60)) if role is Role.LINE else math.nan,
            stop=draw(st.booleans()),
        )
        for _ in range(count)
    )
    return Mission(
        name=draw(st.text(max_size=12)),
        waypoints=waypoints,
        takeoff=Place(lon_deg=lon, lat_deg=lat, ground_m=draw(st.floats(-50, 4000))),
        takeoff_height_m=draw(st.floats(2, 60)),
        speed_m_s=6.0,
        transit_speed_m_s=9.0,
        at_end=draw(st.sampled_from(AtEnd)),
        photo_interval_s=2.0,
        drone="Mavic 3E",
    )


@dataclass(frozen=True)
class Gap:
    """Greatest differences between two missions' waypoints."""

    degrees: float
    metres: float


def gap(one: Mission, two: Mission) -> Gap:
    assert len(one.waypoints) == len(two.waypoints)
    ours, theirs = (
        np.array([(w.lon_deg, w.lat_deg, w.height_m) for w in m.waypoints]) for m in (one, two)
    )
    differences = ours - theirs
    differences[:, 0] = (differences[:, 0] + 180) % 360 - 180
    return Gap(float(np.abs(differences[:, :2]).max()), float(np.abs(differences[:, 2]).max()))


def assert_same_way(one: Mission, two: Mission) -> None:
    """Hold two missions' waypoints equal to 1e-7 degrees and 1 cm."""
    between = gap(one, two)
    assert between.degrees <= 1.0001e-7
    assert between.metres <= 0.01
