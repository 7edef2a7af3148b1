"""What is settled for all runs that Prefect starts, by whoever starts the service.

Who may reach the server may ask for runs, so what could make a run do anything else is not theirs
to choose: the folder of surveys, the cluster and its profile.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.execution.cluster_profile import read_profile
from flows.run.request import RunOptions, Where
from tmp.errors import InputError

SERVICE = "TMP_SERVICE"
"""Environment variable that tells the processes of runs what service they belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is settled for all runs of a service."""

    surveys: Path
    """Folder of the surveys; no run works outside it."""
    on: Literal["local", "slurm"] = "local"
    profile_path: Path | None = None
    """The cluster's ``cluster.toml``."""
    workers: int = 1
    """Threads and cores of a run on this machine."""

    def to_text(self) -> str:
        """Return the service as JSON."""
        profile = None if self.profile_path is None else str(self.profile_path.resolve())
        said = {"surveys": str(self.surveys.resolve()), "on": self.on}
        return json.dumps(said | {"profile_path": profile, "workers": self.workers})

    @classmethod
    def from_text(cls, text: str) -> Service:
        """Return the service that `to_text` wrote."""
        said = json.loads(text)
        profile = said["profile_path"]
        return cls(
            surveys=Path(said["surveys"]),
            on=said["on"],
            profile_path=None if profile is None else Path(profile),
            workers=said["workers"],
        )

    def survey(self, name: str) -> Path:
        """Return the folder of a survey, given by its name or path.

        Raises
        ------
        InputError
            If it is not below the folder of surveys.
        """
        root = self.surveys.resolve()
        folder = (root / name).resolve()
        if folder == root or not folder.is_relative_to(root):
            raise InputError(f"{name}: not a survey below {root}, which is all this service runs")
        return folder

    def options(self) -> RunOptions:
        """Return how its runs are run."""
        path = self.profile_path
        profile = None if path is None else read_profile(path)
        return RunOptions(on=Where(self.on), profile=profile)


def service_of_process() -> Service:
    """Return the service that this process belongs to; without one, any survey may be run."""
    if SERVICE in os.environ:
        return Service.from_text(os.environ[SERVICE])
    return Service(surveys=Path("/"), workers=os.cpu_count() or 1)
