"""What is asked of a survey, how it is run, and what a run leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from flows.engine.store import Result
from flows.execution.cluster_profile import WITHOUT_SHARES, Profile
from flows.report.verdict import Verdict
from flows.run.indices import IndexOptions, IndicesResult
from flows.run.plan import MapOptions
from tmp.survey import Survey


class Part(StrEnum):
    """A part of a run; each can be run without those after it."""

    INGEST = "ingest"
    ORIENT = "orient"
    PRODUCTS = "products"
    INDICES = "indices"


class Where(StrEnum):
    """Where the stages run."""

    THREADS = "threads"
    """On threads of this process."""
    LOCAL = "local"
    """In processes of this machine."""
    SLURM = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a survey is run; none of it changes a result."""

    on: Where = Where.LOCAL
    profile: Profile | None = None
    """Of the cluster; None for its defaults."""
    strict: bool = False
    """Whether a tile that cannot be made stops the run, rather than leaving a named hole."""
    retry_holes: bool = False
    """Whether the holes of earlier runs are tried again."""

    @property
    def used_profile(self) -> Profile:
        """The profile, or what serves where none was given."""
        if self.profile is not None:
            return self.profile
        return Profile() if self.on is Where.SLURM else WITHOUT_SHARES

    @property
    def tries_holes(self) -> bool:
        """Whether a result with holes counts as not there."""
        return self.strict or self.retry_holes

    @property
    def command(self) -> str:
        """What a person would call the run."""
        return "'tmp map'" if self.on is Where.THREADS else "'tmp run'"


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyRequest:
    """What is asked of a survey."""

    map: MapOptions = field(default_factory=MapOptions)
    cards: tuple[Path, ...] = ()
    """Folders of photographs to take in first."""
    link: bool = False
    """Whether photographs are linked rather than copied."""
    crs: str | None = None
    """Of the products; None for the survey's own."""
    indices: IndexOptions | None = None
    """None: the one that the bands are first looked at by, if there is any."""
    until: Part = Part.INDICES
    """The last part that is run."""

    def reaches(self, part: Part) -> bool:
        """Tell whether a part is asked for."""
        order = list(Part)
        return order.index(part) <= order.index(self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyResult:
    """What a run left behind."""

    survey: Survey
    results: tuple[Result, ...] = ()
    """Of the stages, in their order."""
    report_path: Path | None = None
    """None where the run ended before the products."""
    indices: IndicesResult | None = None
    verdict: Verdict | None = None
    """How the map came out; None where the run ended before the products."""

    def folder_of(self, stage: str) -> Path:
        """Return the folder of a stage's results."""
        return next(result.folder for result in self.results if result.stage == stage)

    @property
    def holes(self) -> dict[str, Mapping[str, str]]:
        """The tiles of each stage that could not be made, and why."""
        return {result.stage: result.holes for result in self.results if result.holes}
