"""Look at a node, as a job before all others.

It is started as ``python -m flows.execution.node_probe FOLDER SCRATCH``.

It reads what the controller wrote in FOLDER and answers there, so that a folder which the node
does not see, or another installation, shows before any work is lost.  It imports nothing of the
platform: an installation that cannot work must still be able to say so.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

QUESTION = "question.txt"
ANSWER = "answer.json"
DISTRIBUTION = "terrestrial-mapping-platform"


def main(arguments: list[str]) -> int:
    """Answer in the folder that the arguments name; returns the exit status."""
    folder, scratch = Path(arguments[0]), arguments[1]
    answer = {
        "question": (folder / QUESTION).read_text(encoding="utf-8"),
        "node": os.environ.get("SLURMD_NODENAME", platform.node()),
        "version": version(DISTRIBUTION),
        "python": platform.python_version(),
        "scratch": _fault_of(scratch) if scratch else "",
    }
    written = folder / f"{ANSWER}.part"
    written.write_text(json.dumps(answer), encoding="utf-8")
    written.replace(folder / ANSWER)
    return 0


def _fault_of(scratch: str) -> str:
    """Return why temporary files cannot be in a folder; empty if they can."""
    folder = Path(os.path.expandvars(scratch))
    if "$" in str(folder):
        return f"{folder}: jobs have no such variable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder}: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
