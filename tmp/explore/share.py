"""What a JupyterHub's users share: a kernel, quiet JupyterLab, and the notebooks to copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tmp.errors import InputError
from tmp.explore.lab import CONFIG, copy_notebooks
from tmp.files import replacing

KERNEL = "tmp"
"""Name of the kernel."""
NOTEBOOKS = Path("share", "terrestrial-mapping-platform", "notebooks")


def install_share(prefix: Path) -> list[Path]:
    """Install kernel, configuration and notebooks below a prefix that Jupyter looks into.

    What configuration says already stays; only the platform's own keys are set.

    Raises
    ------
    InputError
        If the prefix cannot be written to, or a file of configuration there is not JSON.
    """
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Terrestrial Mapping Platform",
        "language": "python",
        "metadata": {"debugger": True},
    }
    written = [prefix / "share" / "jupyter" / "kernels" / KERNEL / "kernel.json"]
    try:
        _write(written[0], kernel)
        for source in sorted(CONFIG.rglob("*.json")):
            target = prefix / "etc" / "jupyter" / source.relative_to(CONFIG)
            own = json.loads(source.read_text(encoding="utf-8"))
            _write(target, _joined(_read(target), own))
            written.append(target)
        copy_notebooks(prefix / NOTEBOOKS)
    except OSError as error:
        raise InputError(
            f"{prefix}: cannot be written to ({error.strerror}); do it as its owner, or give "
            "another --prefix"
        ) from error
    return [*written, prefix / NOTEBOOKS]


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); mend it or move it away") from error
    return found


def _joined(there: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is there with our own keys set.

    Examples
    --------
    >>> _joined({"A": {"x": 1}, "B": 2}, {"A": {"y": 3}})
    {'A': {'x': 1, 'y': 3}, 'B': 2}
    """
    both = dict(there)
    for key, value in own.items():
        former = both.get(key)
        nested = isinstance(former, Mapping) and isinstance(value, Mapping)
        both[key] = _joined(former, value) if nested else value  # type: ignore[arg-type]
    return both


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
