"""Start a run for each card of photographs that has been copied completely."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from flows.execution.units import read_json
from flows.flow import RunOptions, run_survey
from flows.map import MapOptions
from flows.runs import RUN
from ingest.ingest import ingest_photographs
from tmp.errors import TmpError
from tmp.survey import Survey

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
REFUSED = "watch.txt"
"""File below a survey's ``work/``: the card's stamp when its run failed, so it is tried once."""


def watch_inbox(
    inbox: Path,
    surveys: Path,
    options: MapOptions,
    run: RunOptions,
    *,
    quiet_s: float,
    once: bool = False,
) -> None:
    """Ingest and run each folder of an inbox when its copy is finished.

    Parameters
    ----------
    inbox : Path
        Each folder in it is a card; hidden ones are left alone.
    surveys : Path
        Gets a survey of each card, by its name.
    options : MapOptions
    run : RunOptions
    quiet_s : float
        A copy counts as finished when nothing in it has changed for so long.
    once : bool
        Whether to end after one look.
    """
    while True:
        for card in ready_cards(inbox, quiet_s):
            _run_card(card, Survey(root=surveys / card.name), options, run)
        if once:
            return
        time.sleep(LOOK_EVERY_S)


def ready_cards(inbox: Path, quiet_s: float) -> list[Path]:
    """Return the folders of an inbox that have files and have not changed for a time."""
    found = []
    for card in sorted(inbox.iterdir()):
        if card.is_dir() and not card.name.startswith("."):
            changed = _changed_s(card)
            if changed is not None and time.time() - changed >= quiet_s:
                found.append(card)
    return found


def _changed_s(card: Path) -> float | None:
    """Return when a file of a card last changed; None if it has none."""
    times = []
    for path in card.rglob("*"):
        try:
            stat = path.stat()
        except FileNotFoundError:  # a copy renames its files when they are whole
            return time.time()
        if path.is_file():
            # A copy may keep the times of the card; the change of the entry is the copy's own.
            times.append(max(stat.st_mtime, stat.st_ctime))
    return max(times, default=None)


def _run_card(card: Path, survey: Survey, options: MapOptions, run: RunOptions) -> None:
    stamp = str(_changed_s(card))
    seen = survey.work_dir / REFUSED
    done = (read_json(survey.work_dir / RUN) or {}).get("state") == "done"
    if seen.is_file() and seen.read_text(encoding="utf-8") == stamp:
        return
    log.info("%s: %s", card.name, "changed after its run" if done else "copied; its run starts")
    try:
        survey.root.parent.mkdir(parents=True, exist_ok=True)
        ingest_photographs([card], survey, workers=options.workers)
        run_survey(survey.root, options, run)
    except TmpError as error:
        log.warning("%s: %s", card.name, error)
    survey.work_dir.mkdir(parents=True, exist_ok=True)
    seen.write_text(stamp, encoding="utf-8")
