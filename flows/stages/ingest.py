"""The stage that takes photographs in: from cards to a survey."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flows.engine.cost import OfPhotographs, SurveySize
from flows.engine.result import digest_of
from flows.engine.stage import Figures, Recipe, Stage
from flows.engine.store import Known, StageStore
from flows.stages.inputs import SURVEY
from ingest.card import find_photographs, refuse_overlap
from ingest.metadata.bands import FILE as CAMERAS_FILE
from ingest.places import check_crs
from tmp.errors import PhotographError
from tmp.survey import Survey

TYPICAL_MEGAPIXELS = 12.0
"""Of a photograph whose header does not say."""
SAMPLED = 5
"""Photographs, about, whose headers are looked at before they are taken in."""


class Ingest(Stage):
    """Take the photographs of cards into the survey, as `tmp ingest` does."""

    name = "ingest"
    version = "1"
    needs = OfPhotographs(
        cpus=4, base_gb=0.6, gb_per_thousand=0.1, gb_per_cpu=0.1, cpu_s_per_megapixel=0.02
    )

    def finish(self) -> Figures:
        """Copy, verify and judge the photographs."""
        from ingest.photographs import take_in

        options = self.space.options
        result = take_in(
            [Path(card) for card in options["cards"]],
            Survey(folder=self.space.inputs[SURVEY]),
            link=options["link"],
            crs=options["crs"],
            workers=self.space.workers,
            track=self.space.track,
        )
        if result.failed:
            reason = next(iter(result.failed.values()))
            raise PhotographError(
                f"{len(result.failed)} files could not be taken in, such as {reason}; what could "
                "is in the survey: run again, or go on without the card"
            )
        return {
            "photographs": len(result.captures),
            "added": len(result.added),
            "flagged": len(result.flagged),
        }


def ingest_recipe(
    survey: Survey, cards: Sequence[Path], *, link: bool, crs: str | None
) -> tuple[Recipe, SurveySize]:
    """Return the recipe that takes cards in, and the size of what lies on them.

    The result is known by the list of files with their sizes and times: an unchanged card is not
    read again.

    Raises
    ------
    InputError
        If there is nothing to take, or a card and the survey lie in each other.
    """
    check_crs(crs)
    refuse_overlap(cards, survey.folder)
    files = find_photographs(cards).photographs
    listed = []
    for path in files:
        seen = [-1, -1]  # of a card that does not give it up, as the stage will tell
        with suppress(OSError):
            stat = path.stat()
            seen = [stat.st_size, stat.st_mtime_ns]
        listed.append([str(path), *seen])
    declared = survey.folder / CAMERAS_FILE
    store = StageStore(root=survey.work_dir / "stages")
    recipe = store.recipe(
        Ingest,
        {SURVEY: Known(path=survey.folder, digest="")},
        {
            "cards": [str(card.resolve()) for card in cards],
            "listed": digest_of(listed),
            "declared": declared.read_bytes().hex() if declared.is_file() else "",
            "link": link,
            "crs": crs,
        },
    )
    return recipe, SurveySize(photographs=len(files), megapixels=_megapixels(files))


def _megapixels(files: Sequence[Path]) -> float:
    """Return the size of the photographs, as the headers of a few of them say it."""
    from PIL import Image

    found = []
    for path in files[:: max(1, len(files) // SAMPLED)]:
        # What is no picture ends in errors of all kinds.
        with suppress(Exception), Image.open(path) as picture:
            found.append(picture.width * picture.height / 1e6)
    return statistics.median(found) if found else TYPICAL_MEGAPIXELS


def forget_absent(survey: Survey) -> None:
    """Forget what was taken into a survey whose list of photographs is no longer there."""
    if not survey.gpkg_path.exists():
        shutil.rmtree(survey.work_dir / "stages" / Ingest.name, ignore_errors=True)
