import re
import socket
import threading
from types import ModuleType

import pytest

from flightplan.autopilot.link import LinkError, Patience, open_link
from tmp.errors import InputError


@pytest.fixture
def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_vehicle_that_speaks_first_is_met_on_the_port_it_speaks_to(
    vehicles: ModuleType, patience: Patience, free_port: int
) -> None:
    to = ("127.0.0.1", free_port)
    with (
        vehicles.Vehicle(vehicles.Habits(), to=to) as vehicle,
        open_link(vehicle.address, patience=patience) as link,
    ):
        assert vehicle.address == f"udp:127.0.0.1:{free_port}"
        assert link.target == (7, 1)


def test_closing_leaves_no_thread_and_no_socket(vehicles: ModuleType, patience: Patience) -> None:
    before = threading.active_count()
    with (
        vehicles.Vehicle(vehicles.Habits(), tcp=True) as vehicle,
        open_link(vehicle.address, patience=patience),
    ):
        assert threading.active_count() == before + 3
    assert threading.active_count() == before


def test_nobody_there_is_one_clear_line(free_port: int) -> None:
    quick = Patience(hello_s=0.3)
    before = threading.active_count()
    with (
        pytest.raises(LinkError, match=r"no autopilot heard in 0\.3 s; look at the cable"),
        open_link(f"udp:127.0.0.1:{free_port}", patience=quick),
    ):
        pass
    assert threading.active_count() == before


def test_a_refused_connection_is_one_clear_line(
    free_port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymavlink.mavutil.time.sleep", lambda _: None)
    with (
        pytest.raises(LinkError, match=r"cannot be opened .*; is the autopilot on"),
        open_link(f"tcp:127.0.0.1:{free_port}"),
    ):
        pass
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("address", ["127.0.0.1", "udp:14550", "udpin:host", "/dev/no-such,57600"])
def test_what_is_no_address_is_refused_with_examples(address: str) -> None:
    with (
        pytest.raises(InputError, match=f"{re.escape(repr(address))} is no address"),
        open_link(address),
    ):
        pass
