"""Map surveys that something is wrong with, and judge map, exit status and words against truth.

    python benchmarks/robustness.py FOLDER [--only NAME]... [--workers N] [--judge] [--list]

Each case is a small rehearsed survey of about 30 photographs of a megapixel (7 cm a pixel, 54 m
above the ground) with one disturbance.  It is taken in and mapped by ``tmp ingest`` and ``tmp map
--quality fast``, as a user does, and compared with the exact truth; what the columns mean is said
in `mapquality`.  A row is good when

- the exit status is 0 if at least half of the photographs that can be oriented are, and at least
  half of the ground that three of them see is measured, and 3 (or 1, without a map) if not;
- the words that a user sees (what the commands print, the warnings, the reasons why photographs
  were left out) tell what has to be told: one of the case's ``must_say``, and none of its
  ``must_not_say``;
- tilt and relief keep within three of the standard deviations that the map states, or, where it
  states none, within `UNSTATED_TILT_DEG`; the scale, within `UNSTATED_SCALE`; and no more than
  `MOST_FALSE` of the ground is false.

Surveys are rendered once; run again after a change of the mapping code, the cases are mapped
anew.  With --judge the maps that are there are only judged again.  The table is written to
FOLDER as ``robustness.md`` and ``robustness.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import cv2  # noqa: F401  # before pycolmap, whose zlib breaks PNG writing in it
import disturbances as disturb
from disturbances import SHOTS, Card, read_card
from mapquality import Figures, figures_of
from measure import TMP
from rehearsals import read_truth, rehearsed

from tmp.progress import Track, bar
from tmp.survey import Survey

PATIENCE_S = 900.0
GOOD_SHARE = 0.5
PARTIAL, ERROR = 3, 1
SIGMAS = 3.0
UNSTATED_TILT_DEG = 3.0
UNSTATED_SCALE = 0.03
"""Positions of a few metres fix the tilt of these surveys to 1° and their scale to 1 %."""
MOST_FALSE = 0.05
RUN = "run.json"
ALARMS = ("drift", "blurred", "straggler", "arbitrary", "time slip", "partial")
"""Words that a survey without fault gives no reason for."""

Prepare = Callable[[Card, Path], Card]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A survey with something wrong."""

    name: str
    about: str
    plan: str = "plain"
    """Which photographs, see `rehearsals.PLANS`."""
    prepare: Prepare = disturb.copied
    """Writes the photographs of the case into a folder."""
    also: str | None = None
    """A second plan whose photographs are added."""
    must_say: tuple[str, ...] = ()
    """Lower case; one of them has to be said."""
    must_not_say: tuple[str, ...] = ()
    only_its_own: bool = False
    """Whether pictures that are none of the survey's must stay out of the block."""
    arbitrary: bool = False
    """Whether scale and place are lost, so that they are not judged."""


def _weak_join(number: int) -> bool:
    """Keep the outer two of four lines of eight, and one photograph of each between them."""
    line, place = divmod(number, 8)
    return line in (0, 3) or place == (7 if line == 1 else 0)


CASES = (
    Case(name="sound", about="nothing wrong", must_not_say=ALARMS),
    Case(
        name="gnss-drift",
        about="recorded heights drift by 100 m over the flight",
        prepare=disturb.drifting_heights,
        must_say=("drift", "recorded heights", "gnss heights", "heights disagree", "tilt"),
    ),
    Case(
        name="two-flights",
        about="second half 45 min later and 7 m beside, 18 m above",
        prepare=disturb.two_flights,
        must_say=("offset", "disagree", "do not agree", "beyond its stated accuracy"),
    ),
    Case(
        name="third-unplaced",
        about="a third of the photographs without position",
        prepare=lambda card, folder: disturb.untold(card, folder, positions=lambda n: n % 3 != 1),
        must_say=("no position", "without position", "without a position"),
    ),
    Case(
        name="unplaced",
        about="no photograph has a position",
        prepare=lambda card, folder: disturb.untold(card, folder, positions=lambda n: False),
        must_say=("arbitrary", "scale is unknown", "no place"),
        arbitrary=True,
    ),
    Case(
        name="time-slip",
        about="each photograph carries the next one's position",
        prepare=disturb.shifted_by_one,
        must_say=("time slip", "clock", "next photograph", "disagree", "beyond its stated"),
    ),
    Case(
        name="no-angles",
        about="no gimbal angles in the metadata",
        prepare=lambda card, folder: disturb.untold(card, folder, gimbal=False),
        must_not_say=ALARMS,
    ),
    Case(
        name="wrong-focal",
        about="focal length 15 % too long in the metadata",
        prepare=disturb.wrong_focal,
        must_say=("focal length in the metadata", "focal length dis", "focal length does not"),
    ),
    Case(
        name="rolling-shutter",
        about="rows read in 30 ms at 8 m/s: 24 cm",
        plan="readout",
    ),
    Case(name="tilt-15", about="camera tilted 15° ahead", plan="tilt-15"),
    Case(name="tilt-30", about="camera tilted 30° ahead", plan="tilt-30"),
    Case(name="tilt-45", about="camera tilted 45° ahead", plan="tilt-45"),
    Case(name="cross-lines", about="lines across, a third higher", plan="cross"),
    Case(
        name="weak-join",
        about="two strips joined by two photographs at one end",
        prepare=lambda card, folder: disturb.only(card, folder, _weak_join),
    ),
    Case(
        name="every-third-missing",
        about="every third photograph missing",
        prepare=lambda card, folder: disturb.only(card, folder, lambda n: n % 3 != 1),
    ),
    Case(
        name="thin-overlap",
        about="60 % overlap along the lines, 30 % across",
        plan="thin",
    ),
    Case(name="cloud", about="a cloud from the middle of the flight on", plan="cloud"),
    Case(name="moving-shadow", about="a low sun that turns 66° during the flight", plan="shadow"),
    Case(
        name="blur",
        about="a tenth of the photographs smeared",
        prepare=disturb.blurred,
        must_say=("blur",),
    ),
    Case(name="snow", about="snow, 5 % contrast", plan="snow"),
    Case(name="wood", about="trees of 8 to 15 m over half the area", plan="wood"),
    Case(name="lake", about="water over a third of the area", plan="lake"),
    Case(name="rows", about="crop rows 75 cm apart everywhere", plan="rows"),
    Case(name="cliff", about="a cliff of 40 m below the take-off", plan="cliff"),
    Case(
        name="half-megapixel",
        about="photographs reduced to 0.5 MP",
        prepare=lambda card, folder: disturb.shrunk(card, folder, width_px=816, height_px=612),
    ),
    Case(name="two-bodies", about="two cameras, the second with a wider lens", plan="bodies"),
    Case(
        name="stragglers",
        about="four photographs of another season",
        also="autumn",
        prepare=disturb.copied,
    ),
    Case(
        name="strays",
        about="six thumbnails and two screenshots among the photographs",
        prepare=disturb.with_strays,
        must_say=("thumb_", "screenshot"),
        only_its_own=True,
    ),
    Case(name="slope", about="a hillside of 35°, lines along it", plan="slope"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case."""

    name: str
    about: str
    figures: Figures
    status: int
    expected: tuple[int, ...]
    """Exit statuses that would be right."""
    cpu_s: float
    wall_s: float
    told: str
    """``yes``, or what is wrong with what was said."""
    last_lines: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether exit status and words tell the truth."""
        return self.told == "yes" and self.status in self.expected


def main() -> None:
    """Run the cases and print their table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", action="append", choices=[case.name for case in CASES])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--judge", action="store_true", help="do not map again")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    asked = parser.parse_args()
    if asked.list or asked.folder is None:
        for case in CASES:
            print(f"{case.name:20} {case.about}")
        return
    outcomes = []
    print(HEADER)
    for case in CASES:
        if asked.only is None or case.name in asked.only:
            with bar() as track:
                outcome = run_case(
                    case, asked.folder, workers=asked.workers, judge=asked.judge, track=track
                )
            outcomes.append(outcome)
            print(row(outcome), flush=True)
            write_table(outcomes, asked.folder)
    good = sum(outcome.good for outcome in outcomes)
    cpu_s = sum(outcome.cpu_s for outcome in outcomes)
    print(f"{good} of {len(outcomes)} told the truth; {cpu_s:.0f} CPU-seconds of mapping")


def run_case(case: Case, folder: Path, *, workers: int, judge: bool, track: Track) -> Outcome:
    """Rehearse (once), prepare (once) and map one case, and compare it with the truth."""
    home = folder / "cases" / case.name
    card = _card(case, folder, home / "card", workers=workers, track=track)
    survey = Survey(folder=home / "survey")
    if judge and (home / RUN).is_file():
        took = _Run(**json.loads((home / RUN).read_text(encoding="utf-8")))
    else:
        took = _ingest_and_map(card, survey, workers=workers)
        (home / RUN).write_text(json.dumps(asdict(took), ensure_ascii=False), encoding="utf-8")
    figures = figures_of(survey, card, read_truth(folder / "sets" / case.plan))
    good = figures.oriented >= GOOD_SHARE * figures.possible and figures.complete >= GOOD_SHARE
    # The folders' names would tell what is wrong.
    said = took.said.replace(str(home), "")
    heard = "\n".join([said, *figures.warnings, *_reasons(figures)])
    wrong = [*judge_words(case, heard), *judge_figures(case, figures)]
    return Outcome(
        name=case.name,
        about=case.about,
        figures=figures,
        status=took.status,
        expected=(0,) if good else (PARTIAL, ERROR),
        cpu_s=took.cpu_s,
        wall_s=took.wall_s,
        told="; ".join(wrong) or "yes",
        last_lines=tuple(said.strip().splitlines()[-8:]),
    )


def _ingest_and_map(card: Card, survey: Survey, *, workers: int) -> _Run:
    """Take in and map photographs as a user does."""
    shutil.rmtree(survey.folder, ignore_errors=True)
    threads = ["--workers", str(workers)]
    took = _run([TMP, "ingest", str(card.photos), "--to", str(survey.folder), "--link", *threads])
    if took.status == 0:
        took = took.then(_run([TMP, "map", str(survey.folder), "--quality", "fast", *threads]))
    return took


def judge_words(case: Case, said: str) -> list[str]:
    """Return what is wrong with what a user is told."""
    heard = said.casefold()
    wrong = [f"says {word!r}" for word in case.must_not_say if word in heard]
    if case.must_say and not any(word in heard for word in case.must_say):
        wrong.append(f"silent on {case.must_say[0]!r}")
    return wrong


def judge_figures(case: Case, figures: Figures) -> list[str]:
    """Return what is wrong with the map and not stated: strangers, tilt, scale, relief."""
    wrong = []
    if figures.false > MOST_FALSE:
        wrong.append(f"{100 * figures.false:.0f} % false ground")
    if case.only_its_own and figures.others:
        wrong.append(f"uses {figures.others} that are no photographs of the survey")
    if case.arbitrary or not figures.oriented:
        return wrong
    allowed_deg = SIGMAS * (figures.tilt_sigma_deg or UNSTATED_TILT_DEG / SIGMAS)
    if figures.tilt_deg > allowed_deg:
        wrong.append(f"tilted {figures.tilt_deg:.1f}°")
    if abs(figures.scale_error) > UNSTATED_SCALE:
        wrong.append(f"scale off by {100 * abs(figures.scale_error):.0f} %")
    sigma, error = figures.relief_sigma, abs(figures.relief_error)
    if sigma is not None and error > SIGMAS * sigma:
        wrong.append(f"relief off by {error / sigma:.0f} σ")
    return wrong


def _reasons(figures: Figures) -> list[str]:
    return [f"{name}: {reason}" for name, reason in (figures.left_out or {}).items()]


def _card(case: Case, folder: Path, home: Path, *, workers: int, track: Track) -> Card:
    """Return the photographs of a case, made unless they are there."""
    sets = folder / "sets"
    base = rehearsed(sets, case.plan, workers=workers, track=track)
    other = None if case.also is None else rehearsed(sets, case.also, workers=workers, track=track)
    if (home / SHOTS).is_file():
        return read_card(home)
    beside = home.with_name("card.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    if other is None:
        case.prepare(base, beside)
    else:
        disturb.joined(base, beside, other, hopeless=True, later=timedelta(days=90))
    beside.rename(home)
    return read_card(home)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A command that has ended."""

    status: int
    said: str
    cpu_s: float
    wall_s: float

    def then(self, other: _Run) -> _Run:
        return _Run(
            status=other.status,
            said=f"{self.said}\n{other.said}",
            cpu_s=self.cpu_s + other.cpu_s,
            wall_s=self.wall_s + other.wall_s,
        )


def _run(command: Sequence[str]) -> _Run:
    """Run a command to its end, whatever that is, and keep what it said."""
    began_s, before = time.perf_counter(), os.times()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        status, said = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        status, said = 124, f"no end within {PATIENCE_S:.0f} s"
    after = os.times()
    return _Run(
        status=status,
        said=said,
        cpu_s=after.children_user + after.children_system
        - before.children_user - before.children_system,
        wall_s=time.perf_counter() - began_s,
    )  # fmt: skip


COLUMNS = (
    "case", "oriented", "tilt °", "σ", "scale %", "relief %", "σ", "bend m",
    "complete %", "false %", "ortho %", "exit", "CPU s", "told",
)  # fmt: skip
HEADER = f"| {COLUMNS[0]:20} | {' | '.join(COLUMNS[1:])} |\n|{'|'.join(['---'] * len(COLUMNS))}|"


def row(outcome: Outcome) -> str:
    """Return a case's row of the table."""
    figures = outcome.figures
    right = "" if outcome.status in outcome.expected else f" (not {outcome.expected[0]})"
    others = f" +{figures.others}" if figures.others else ""
    scale = f"{100 * figures.scale_error:+.2f}" if figures.referenced else "–"
    cells = (
        f"{outcome.name:20}",
        f"{figures.oriented}/{figures.possible}{others}",
        f"{figures.tilt_deg:.2f}",
        _or_dash(figures.tilt_sigma_deg, 1, 2),
        scale,
        f"{100 * figures.relief_error:+.2f}",
        _or_dash(figures.relief_sigma, 100, 2),
        f"{figures.bend_m:.2f}",
        f"{100 * figures.complete:.1f}",
        f"{100 * figures.false:.2f}",
        f"{100 * figures.ortho:.1f}",
        f"{outcome.status}{right}",
        f"{outcome.cpu_s:.0f}",
        outcome.told,
    )
    return f"| {' | '.join(cells)} |".replace("+nan", "–").replace("nan", "–")


def _or_dash(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"


def write_table(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Write the outcomes so far as Markdown and as JSON, over those of earlier runs."""
    path = folder / "robustness.json"
    rows = {}
    if path.is_file():
        rows = json.loads(path.read_text(encoding="utf-8"))
    for outcome in outcomes:
        rows[outcome.name] = asdict(outcome) | {"good": outcome.good, "row": row(outcome)}
    kept = [rows[case.name] for case in CASES if case.name in rows]
    path.write_text(
        json.dumps({entry["name"]: entry for entry in kept}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    table = [HEADER, *(entry["row"] for entry in kept)]
    (folder / "robustness.md").write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
