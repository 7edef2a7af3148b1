import collections
import subprocess
import sys

from flightplan.autopilot.link import import_dronekit


def test_dronekit_imports_and_nothing_lent_to_it_stays_behind() -> None:
    assert import_dronekit().__name__ == "dronekit"
    assert not hasattr(collections, "MutableMapping")
    assert "past.builtins" not in sys.modules


def test_the_protocol_is_version_2_even_if_pymavlink_was_imported_before() -> None:
    code = (
        "from pymavlink import mavutil\n"
        "from flightplan.autopilot.link import import_dronekit\n"
        "import_dronekit()\n"
        "raise SystemExit(mavutil.mavlink.WIRE_PROTOCOL_VERSION != '2.0')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False)
    assert done.returncode == 0
