"""With which software a result was made: Python and the packages that the platform builds on."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from flows.results import digest_of

DISTRIBUTION = "terrestrial-mapping-platform"


@cache
def environment() -> dict[str, str]:
    """Return the versions of Python, the platform and what it requires, by name."""
    found = {"python": platform.python_version(), DISTRIBUTION: version(DISTRIBUTION)}
    for line in requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", line)
        if name is None or "extra ==" in line:
            continue
        try:
            found[name.group()] = version(name.group())
        except PackageNotFoundError:
            found[name.group()] = "not installed"
    return found


def environment_in_short() -> str:
    """Return what tells two environments apart, for a product's tags.

    The versions themselves are in the manifest of the stage that made the product.
    """
    return f"Python {platform.python_version()}, packages {digest_of(environment())[:12]}"
