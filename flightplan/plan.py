"""A survey's plan, worked out and proved."""

from __future__ import annotations

from dataclasses import dataclass

from flightplan.bands import HeightBand
from flightplan.catalogue import CameraModel
from flightplan.certificate import Asked, Certificate
from flightplan.findings import Finding
from flightplan.flightways import FlightWay
from flightplan.laidout import proving_camera
from flightplan.motion import Motion
from flightplan.profile import Profile
from flightplan.proof import Coverage
from flightplan.request import PlanRequest
from flightplan.setting import Setting
from flightplan.sorties import Sorties
from flightplan.spacing import Spacing


@dataclass(frozen=True, kw_only=True)
class FlightPlan:
    """Everything about a plan; files are written from it, see `flightplan.planfolder`."""

    request: PlanRequest
    setting: Setting
    spacing: Spacing
    motion: Motion
    band: HeightBand
    sorties: Sorties
    ways: tuple[FlightWay, ...]
    """One for each sortie."""
    coverage: Coverage
    asked: Asked
    certificate: Certificate
    profiles: tuple[Profile, ...]
    """The whole way of each sortie over the ground."""
    findings: tuple[Finding, ...]
    """Rules the plan breaks; none that refuses."""
    warnings: tuple[str, ...]

    @property
    def camera(self) -> CameraModel:
        """The camera that the plan is proved with."""
        return proving_camera(self.request)
