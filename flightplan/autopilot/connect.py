"""Open the link to an autopilot by cable, radio or network."""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from flightplan.autopilot.dronekit_shim import import_dronekit
from flightplan.autopilot.link import Link, LinkError, Patience
from tmp.errors import InputError

USUAL_BAUD = 57600
"""Rate of telemetry radios as they come."""

_NETWORK = re.compile(r"(udp|udpin|udpout|tcp|tcpin):[^:\s]+:\d{1,5}")


@contextmanager
def open_link(address: str, *, patience: Patience | None = None) -> Iterator[Link]:
    """Yield the link to the autopilot at an address, and close it.

    Parameters
    ----------
    address : str
        ``udp:HOST:PORT`` to listen on a port, ``udpout:HOST:PORT`` to speak first,
        ``tcp:HOST:PORT``, or a serial device with its rate, such as ``/dev/ttyUSB0,57600`` or
        ``COM5,57600``.

    Raises
    ------
    InputError
        If that is no address.
    LinkError
        If it cannot be opened, or nothing answers.
    RefusedError
        If what answers is neither ArduPilot nor PX4.
    """
    patience = patience or Patience()
    device, baud = _checked(address)
    dronekit = import_dronekit()
    link = Link(_connected(dronekit, device, baud, patience.hello_s), address)
    try:
        link.meet(patience.hello_s)
        yield link
    finally:
        link.close()


def _checked(address: str) -> tuple[str, int]:
    """Return the device and baud rate of an address."""
    if _NETWORK.fullmatch(address):
        return address, USUAL_BAUD
    device, _, rate = address.partition(",")
    known = re.fullmatch(r"COM\d+", device) or Path(device).exists()
    if not known or not re.fullmatch(r"\d*", rate):
        raise InputError(
            f"{address!r} is no address of an autopilot; give udp:127.0.0.1:14550, "
            "tcp:HOST:PORT or a serial device such as /dev/ttyUSB0,57600"
        )
    return device, int(rate or USUAL_BAUD)


def _connected(dronekit: Any, address: str, baud: int, timeout_s: float) -> Any:
    before_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        # pymavlink prints its attempts.
        with redirect_stdout(io.StringIO()):
            return dronekit.connect(address, _initialize=False, baud=baud)
    except OSError as error:
        raise LinkError(
            f"{address}: cannot be opened ({error.strerror or error}); is the autopilot on, and "
            "the address right?"
        ) from error
    finally:
        socket.setdefaulttimeout(before_s)
