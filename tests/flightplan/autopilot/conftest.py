"""A vehicle to talk to, and a mission for it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from shapely import Polygon, box

from flightplan.autopilot.link import Link, Patience, open_link
from flightplan.formats.mission import Mission, Place, Role, Waypoint

LON, LAT = -21.9876543, 64.1234567


@pytest.fixture(scope="session")
def vehicles() -> ModuleType:
    """The module ``vehicle``: a MAVLink vehicle on a loopback socket."""
    name = "vehicle"
    if name not in sys.modules:
        place = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, place)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def patience() -> Patience:
    """Short waits, for a link without distance."""
    return Patience(hello_s=60.0, reply_s=0.1, again_s=0.05, silence_s=0.3)


Meet = Callable[..., tuple[Any, Link]]


@pytest.fixture
def meet(vehicles: ModuleType, patience: Patience) -> Iterator[Meet]:
    """Return a function that makes a vehicle of some habits and a link to it."""
    with ExitStack() as stack:

        def make(
            *,
            tcp: bool = False,
            cable: bool = False,
            say: Callable[[str], None] = lambda _: None,
            **habits: Any,
        ) -> tuple[Any, Link]:
            vehicle = vehicles.Vehicle(vehicles.Habits(**habits), tcp=tcp, cable=cable)
            stack.enter_context(vehicle)
            link = stack.enter_context(open_link(vehicle.address, patience=patience, say=say))
            link.patience = Patience()  # a test that wants less says so
            return vehicle, link

        yield make


@pytest.fixture
def mission() -> Mission:
    """Three lines of 150 m with run-in and run-out, a fence and one exclusion."""
    waypoints: list[Waypoint] = []
    south, north = LAT + 0.0005, LAT + 0.00185
    for line in range(3):
        lon = LON + 0.0004 * line
        start, end = (north, south) if line % 2 else (south, north)
        run = 0.1 * (end - start)
        for lat, role, spacing_m in (
            (start - run, Role.RUN_IN, float("nan")),
            (start, Role.LINE, 15.0),
            (end, Role.RUN_OUT, float("nan")),
            (end + run, Role.TRANSIT, float("nan")),
        ):
            waypoints.append(
                Waypoint(
                    lon_deg=lon,
                    lat_deg=lat,
                    height_m=60.25 + line,
                    role=role,
                    photo_spacing_m=spacing_m,
                )
            )
    return Mission(
        name="sortie-1",
        waypoints=tuple(waypoints),
        takeoff=Place(lon_deg=LON, lat_deg=LAT, ground_m=31.0),
        takeoff_height_m=30.0,
        speed_m_s=6.0,
        transit_speed_m_s=9.0,
        fence=box(LON - 0.002, LAT - 0.001, LON + 0.003, LAT + 0.004),
        exclusions=(
            Polygon(
                [
                    (LON + 0.001, LAT + 0.0001),
                    (LON + 0.002, LAT + 0.0001),
                    (LON + 0.002, LAT + 0.0002),
                ]
            ),
        ),
    )
