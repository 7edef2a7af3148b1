"""Disturb a small survey on one machine as people and disks do, and count what is lost.

python benchmarks/local_faults.py [--seed N] [--kills N] [--only NAME]... [--keep FOLDER]

A card of a few small photographs is rendered, taken in and mapped undisturbed.  Then commands are
killed at random moments, cards pulled, disks filled up, products edited, results and photographs
overwritten, and the clock set back.  After each fault the same command is given once more, as a
user does.  Nothing may be lost, nothing finished made twice, every damage said, and the products
must be those of the undisturbed run, bit for bit.  Small disks can only be made by root; what
needs them or ``libfaketime`` is skipped with a word where they are not there.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2  # noqa: F401  # before pycolmap, whose zlib breaks PNG writing in it
import rasterio
import rehearsals
from click.testing import CliRunner
from measure import TMP, add_run_options, kernels, workplace
from runs import digests
from tampering import Finished

from tmp.captures import read_captures
from tmp.cli import main as tmp_command
from tmp.survey import Survey

PLAN = "handful"
rehearsals.PLANS[PLAN] = rehearsals.Plan(stations=rehearsals.lines(size_m=(60, 40)))
QUALITY = ("--quality", "fast", "--workers", "2")
TIMES = 10
"""How often a card is pulled, a product edited, a result overwritten, a photograph changed."""
PATIENCE_S = 1800.0
STAGES = ("features", "matches", "orientation", "exposure", "surface", "elevation", "orthomosaic")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
A_DAY_S = 86_400
FULL_BYTES = 4096
CRASH = re.compile(r"Traceback \(most recent call last\)|a mistake in the platform")


@dataclass(slots=True, kw_only=True)
class Row:
    """What became of one kind of fault."""

    name: str
    tries: int = 0
    ended_well: int = 0
    """Tries after which the same command, given again, did what was asked."""
    noticed: int = 0
    """Tries of which the user was told, where there is something to tell."""
    lost: int = 0
    """Photographs, records or products that are not there or not as of an undisturbed run."""
    twice: int = 0
    """Finished pieces made once more."""
    tracebacks: int = 0
    note: str = ""
    must_notice: bool = True

    @property
    def kept(self) -> bool:
        """Whether all is as it must be."""
        noticed = self.noticed == self.tries or not self.must_notice
        clean = not (self.lost or self.twice or self.tracebacks)
        return noticed and clean and self.ended_well == self.tries


@dataclass(slots=True, kw_only=True)
class Bench:
    """A card, its undisturbed survey, and where copies of it are disturbed."""

    folder: Path
    card: Path
    calm: Path
    environment: dict[str, str]
    chance: random.Random
    kills: int
    expected: dict[str, str] = field(default_factory=dict)
    """Digests of the products of the undisturbed run."""

    def copy(self, name: str, *, mapped: bool) -> Path:
        """Return a copy of the undisturbed survey, with or without what was made of it."""
        copy = self.folder / name
        shutil.rmtree(copy, ignore_errors=True)
        ignore = None if mapped else shutil.ignore_patterns("work", "products", "report.html")
        shutil.copytree(self.calm, copy, ignore=ignore)
        return copy

    def start(self, *words: str | Path, **more: str) -> subprocess.Popen[str]:
        """Start a command of the platform in a group of its own."""
        return subprocess.Popen(
            [TMP, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | self.environment | more,
            start_new_session=True,
        )

    def run(self, *words: str | Path, **more: str) -> tuple[int, str]:
        """Run a command to its end; returns its status and all it said."""
        process = self.start(*words, **more)
        try:
            said, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        return process.returncode, said

    def here(self, *words: str | Path) -> tuple[int, str]:
        """Run a command to its end in this process, which has loaded everything; as `run`."""
        logging.getLogger().handlers.clear()  # so that it sets up its own
        result = CliRunner().invoke(tmp_command, [str(word) for word in words])
        raised = result.exception
        if raised is not None and not isinstance(raised, SystemExit):
            return 1, f"{result.output}a mistake in the platform: {raised!r}"
        return result.exit_code, result.output

    def map(self, survey: Path) -> tuple[int, str]:
        """Map a survey in this process."""
        return self.here("map", survey, *QUALITY)

    def misses(self, survey: Path) -> int:
        """Return how many products are not those of the undisturbed run."""
        found = digests(survey)
        return sum(found.get(name) != digest for name, digest in self.expected.items())

    def lacking(self, survey: Path, card: Path) -> int:
        """Return how many photographs of a card are not whole in a survey, with their record."""
        taken = Survey(folder=survey)
        rows = {c.sha256: c.name for c in read_captures(taken.gpkg_path)}
        listed = {line.split()[0] for line in taken.manifest_path.read_text().splitlines()}
        lost = 0
        for path in card.rglob("*.JPG"):
            sha256 = sha256_of(path)
            name = rows.get(sha256)
            whole = name is not None and sha256_of(taken.photos_dir / name) == sha256
            lost += not (whole and sha256 in listed)
        return lost


def crashed(said: str) -> bool:
    """Tell whether a command ended in a way that nobody foresaw."""
    return CRASH.search(said) is not None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judge_end(row: Row, bench: Bench, survey: Path, ended: tuple[int, str]) -> None:
    """Count how a survey came out of a fault."""
    status, said = ended
    row.tracebacks += crashed(said)
    lost = bench.misses(survey)
    row.lost += lost
    row.ended_well += status == 0 and not lost
    if status != 0:
        row.note = said.strip().splitlines()[-1][:160] if said.strip() else f"status {status}"


def killed(bench: Bench, command: str, tries: int) -> Row:
    """Kill a command and all its processes at random moments, until it has ended by itself."""
    row = Row(name=f"SIGKILL during tmp {command}", must_notice=False)
    began_s = time.monotonic()
    survey = bench.copy("killed", mapped=False)
    words = (command, survey, *QUALITY, *(("--no-prefect",) if command == "run" else ()))
    ended = bench.run(*words)
    whole_s = time.monotonic() - began_s
    while row.tries < tries:
        survey = bench.copy("killed", mapped=False)
        with Finished(survey / "work") as finished:
            while row.tries < tries:
                process = bench.start(*words)
                try:
                    process.communicate(timeout=bench.chance.uniform(0.1, 0.5 * whole_s))
                    break
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    said, _ = process.communicate()
                    row.tries += 1
                    row.tracebacks += crashed(said)
            ended = bench.run(*words)
        row.twice += len(finished.made_again())
        lost = bench.misses(survey)
        row.lost += lost
        if ended[0] != 0 or lost:
            row.note = ended[1].strip().splitlines()[-1][:160]
        else:
            row.ended_well = row.tries
    row.note = row.note or f"an undisturbed one takes {whole_s:.0f} s"
    return row


def killed_ingest(bench: Bench, tries: int) -> Row:
    """Kill first ingests at random moments; one more brings the rest."""
    row = Row(name="SIGKILL during tmp ingest", must_notice=False)
    began_s = time.monotonic()
    bench.run("ingest", bench.card, "--to", bench.folder / "whole")
    whole_s = time.monotonic() - began_s
    while row.tries < tries:
        survey = bench.folder / f"ingested-{row.tries}"
        process = bench.start("ingest", bench.card, "--to", survey)
        try:
            process.communicate(timeout=bench.chance.uniform(0.2 * whole_s, 1.1 * whole_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        row.tries += 1
        before = {p: p.stat().st_ino for p in survey.glob("photos/[!.]*")}
        status, said = bench.run("ingest", bench.card, "--to", survey)
        after = {p: p.stat().st_ino for p in survey.glob("photos/[!.]*")}
        row.tracebacks += crashed(said)
        lost = bench.lacking(survey, bench.card)
        row.lost += lost + len(list(survey.glob("photos/.*part*")))
        row.twice += sum(after.get(path) != inode for path, inode in before.items())
        row.ended_well += status == 0 and not lost
        shutil.rmtree(survey)
    row.note = f"an undisturbed one takes {whole_s:.1f} s"
    return row


def first_ingests(bench: Bench) -> Row:
    """Take two cards into one new survey at the same time; whoever is refused tries again."""
    row = Row(name="two first ingests at once")
    names = sorted(bench.card.glob("*.JPG"))
    for number in range(TIMES // 2):
        cards = [bench.folder / f"card-{number}-{part}" for part in "ab"]
        for part, card in enumerate(cards):
            card.mkdir()
            for path in names[part::2]:
                shutil.copy2(path, card)
        survey = bench.folder / f"both-{number}"
        at_once = [bench.start("ingest", card, "--to", survey) for card in cards]
        ends = [(p.communicate(timeout=PATIENCE_S)[0], p.returncode) for p in at_once]
        row.tries += 1
        row.tracebacks += sum(crashed(said) for said, _ in ends)
        told = [status == 0 or "is already at work on it" in said for said, status in ends]
        row.noticed += all(told)
        for card, (_, status) in zip(cards, ends, strict=True):
            if status != 0:
                bench.run("ingest", card, "--to", survey)
        lost = sum(bench.lacking(survey, card) for card in cards)
        row.lost += lost
        row.ended_well += not lost
    return row


def pulled_cards(bench: Bench) -> Row:
    """Move a card away while it is taken in, and put it in again."""
    row = Row(name="card pulled")
    for number in range(TIMES):
        card = bench.folder / f"pulled-{number}"
        shutil.copytree(bench.card, card)
        for copy in range(3):  # more photographs, so that there is time to pull it
            for path in sorted(bench.card.glob("*.JPG")):
                (card / f"{copy}-{path.name}").write_bytes(path.read_bytes() + bytes([copy]))
        survey, away = bench.folder / f"from-{number}", bench.folder / f"away-{number}"
        process = bench.start("ingest", card, "--to", survey, "--workers", "1")
        wanted = bench.chance.randint(1, 24)
        while len(list(survey.glob("photos/[!.]*"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        card.rename(away)
        said, _ = process.communicate(timeout=PATIENCE_S)
        row.tries += 1
        row.tracebacks += crashed(said)
        row.noticed += (process.returncode == 1 and "NOT TAKEN IN" in said) or (
            process.returncode == 0 and not bench.lacking(survey, away)
        )
        away.rename(card)
        status, said = bench.run("ingest", card, "--to", survey)
        row.tracebacks += crashed(said)
        lost = bench.lacking(survey, card)
        row.lost += lost
        row.ended_well += status == 0 and not lost
        for folder in (card, survey):
            shutil.rmtree(folder)
    return row


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """Mount a disk in memory while the block runs."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        folder.rmdir()


def fill(disk: Path) -> Path:
    """Fill a disk up; returns the file that does."""
    filling = disk / "filling"
    with filling.open("wb") as file:
        while (free := shutil.disk_usage(disk).free) > FULL_BYTES:
            with suppress(OSError):  # who else writes there was faster
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)
    return filling


def full_disks(bench: Bench) -> Row:
    """Fill the survey's disk up as each stage begins to write; then make room."""
    row = Row(name="disk full in a stage")
    with small_disk(bench.folder / "disk", 3000) as disk:
        for stage in STAGES:
            survey = Path(shutil.move(bench.copy("full", mapped=False), disk / "full"))
            with Finished(survey / "work") as finished:
                process = bench.start("map", survey, *QUALITY)
                while process.poll() is None and not any(survey.glob(f"work/stages/{stage}/*")):
                    time.sleep(0.01)
                filling = fill(disk)
                said, _ = process.communicate(timeout=PATIENCE_S)
                row.tries += 1
                row.tracebacks += crashed(said)
                told = "is full" in said or "is free; make room" in said
                row.noticed += process.returncode == 1 and told
                if not told:
                    row.note = f"{stage}: {said.strip().splitlines()[-1][:120]}"
                filling.unlink()
                judge_end(row, bench, survey, bench.map(survey))
            row.twice += len(finished.made_again())
            shutil.rmtree(survey)
    return row


def full_temporary(bench: Bench) -> Row:
    """Map with ``TMPDIR`` on a disk that is full."""
    row = Row(name="TMPDIR full", must_notice=False)
    with small_disk(bench.folder / "tmpdir", 1) as disk:
        fill(disk)
        survey = bench.copy("temporary", mapped=False)
        status, said = bench.run("map", survey, *QUALITY, TMPDIR=str(disk))
        row.tries += 1
        row.tracebacks += crashed(said)
        row.note = "went on without" if status == 0 else said.strip().splitlines()[-1][:120]
        judge_end(row, bench, survey, bench.map(survey))
    return row


def overwrite(path: Path, chance: random.Random) -> None:
    """Overwrite some bytes in the middle of a file, whose size stays."""
    path.chmod(0o644)
    size = path.stat().st_size
    length = min(2000, max(1, size // 4))
    with path.open("r+b") as file:
        start = chance.randrange(size - length + 1)
        file.seek(start)
        old = file.read(length)
        file.seek(start)
        file.write(bytes(byte ^ 0x5A for byte in old))


def edited_products(bench: Bench) -> Row:
    """Edit products in place; the next map says so, keeps them, and puts the true ones back."""
    row = Row(name="product edited")
    survey = bench.copy("edited", mapped=True)
    products = [name for name in bench.expected if name.endswith((".tif", ".laz"))]
    for _ in range(TIMES):
        name = bench.chance.choice(products)
        path = survey / "products" / name
        overwrite(path, bench.chance)
        mine = sha256_of(path)
        found = bench.here("verify", survey)[0] == 1
        if bench.chance.random() < 0.3:
            shutil.rmtree(survey / "work")
        ended = bench.map(survey)
        row.tries += 1
        row.noticed += found and f"{name}: is not as it was made" in ended[1]
        kept = [sha256_of(one) for one in survey.glob("products/edited/*")]
        row.lost += mine not in kept
        judge_end(row, bench, survey, ended)
    return row


def rotten_results(bench: Bench) -> Row:
    """Overwrite bytes of results; the next map says so and makes them again, and no others."""
    row = Row(name="result rotten")
    survey = bench.copy("rotten", mapped=True)
    for _ in range(TIMES):
        files = sorted(
            path
            for path in survey.glob("work/stages/*/*/**/*")
            if path.is_file()
            and path.name not in ("manifest.json", "stamps.json")
            and path.stat().st_size
        )
        path = bench.chance.choice(files)
        folder = next(p for p in path.parents if (p / "manifest.json").exists())
        others = {p: p.stat().st_ino for p in files if folder not in p.parents}
        overwrite(path, bench.chance)
        if bench.chance.random() < 0.3:  # what a later stage is made of
            shutil.rmtree(survey / "products")
        ended = bench.map(survey)
        row.tries += 1
        row.noticed += f"{folder}: " in ended[1] and "changed since it was made" in ended[1]
        row.twice += sum(not p.exists() or p.stat().st_ino != ino for p, ino in others.items())
        judge_end(row, bench, survey, ended)
    return row


def changed_photographs(bench: Bench) -> Row:
    """Overwrite photographs; the next map refuses them, an ingest of the card puts them back."""
    row = Row(name="photograph changed")
    survey = bench.copy("changed", mapped=True)
    for _ in range(TIMES):
        path = bench.chance.choice(sorted(survey.glob("photos/*.JPG")))
        overwrite(path, bench.chance)
        if bench.chance.random() < 0.3:
            shutil.rmtree(survey / "work")
        status, said = bench.map(survey)
        row.tries += 1
        row.tracebacks += crashed(said)
        row.noticed += status == 1 and f"{path.name} has changed since" in said
        bench.here("ingest", bench.card, "--to", survey)
        row.lost += bench.lacking(survey, bench.card)
        judge_end(row, bench, survey, bench.map(survey))
    return row


def clock_set_back(bench: Bench) -> Row:
    """Kill a map, and go on with a clock that is a day behind; then with files of tomorrow."""
    row = Row(name="clock set back", must_notice=False)
    late = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": "-1d",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    survey = bench.copy("clock", mapped=False)
    with Finished(survey / "work") as finished:
        process = bench.start("map", survey, *QUALITY)
        while process.poll() is None and not any(survey.glob("work/stages/orientation/*/m*.json")):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if FAKETIME.exists():
            row.tries += 1
            judge_end(row, bench, survey, bench.run("map", survey, *QUALITY, **late))
        else:
            row.note = "libfaketime is not installed: only files of tomorrow"
    row.twice += len(finished.made_again())
    tomorrow_s = time.time() + A_DAY_S
    for path in survey.rglob("*"):
        if path.is_file():
            os.utime(path, (tomorrow_s, tomorrow_s))
    made = {p: p.stat().st_ino for p in survey.glob("work/stages/*/*/manifest.json")}
    row.tries += 1
    judge_end(row, bench, survey, bench.map(survey))
    if FAKETIME.exists():  # else the map of tomorrow's files is the rest of the killed one
        row.twice += sum(not p.exists() or p.stat().st_ino != ino for p, ino in made.items())
    path = min(survey.glob("photos/*.JPG"))
    overwrite(path, bench.chance)
    row.tries += 1
    refused = bench.map(survey)
    row.ended_well += refused[0] == 1 and "has changed since" in refused[1]
    return row


def reader_at_work(bench: Bench) -> Row:
    """Read a product again and again while it is rewritten: all of it is the old or the new one."""
    row = Row(name="reader open while a product is rewritten", must_notice=False)
    survey = bench.copy("read", mapped=True)
    path = survey / "products" / "dsm.tif"
    seen: Counter[str] = Counter()
    stopped = threading.Event()

    def read() -> None:
        while not stopped.is_set():
            try:
                with rasterio.open(path) as file:
                    seen[hashlib.sha256(file.read().tobytes()).hexdigest()] += 1
            except Exception as error:  # what a reader must never meet
                seen[f"failed: {error}"] += 1

    with rasterio.open(path) as held:
        before = held.read()
        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(3):
            row.tries += 1
            status, said = bench.here("map", survey, *QUALITY, "--fill")
            row.tracebacks += crashed(said)
            row.ended_well += status == 0 and (held.read() == before).all()
            bench.map(survey)
        stopped.set()
        reader.join()
    failed = [what for what in seen if what.startswith("failed")]
    row.lost += len(failed) + max(0, len(seen) - len(failed) - 2) + bench.misses(survey)
    row.note = failed[0][:120] if failed else f"{sum(seen.values())} readings"
    return row


HEAD = ("fault", "tries", "ended well", "noticed", "lost", "made twice", "tracebacks", "", "")


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines of Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for row in rows:
        noticed = row.noticed if row.must_notice else ""
        cells = (row.name, row.tries, row.ended_well, noticed, row.lost, row.twice, row.tracebacks)
        verdict = "kept" if row.kept else "MISSED"
        lines.append("| " + " | ".join(map(str, (*cells, verdict, row.note))) + " |")
    return lines


def faults(bench: Bench) -> dict[str, Callable[[], Row]]:
    """Return what is tried, by the name it is chosen by."""
    third = bench.kills // 3
    chosen: dict[str, Callable[[], Row]] = {
        "kill-ingest": lambda: killed_ingest(bench, bench.kills - 2 * third),
        "kill-map": lambda: killed(bench, "map", third),
        "kill-run": lambda: killed(bench, "run", third),
        "first-ingests": lambda: first_ingests(bench),
        "pulled-card": lambda: pulled_cards(bench),
        "edited-product": lambda: edited_products(bench),
        "rotten-result": lambda: rotten_results(bench),
        "changed-photograph": lambda: changed_photographs(bench),
        "clock": lambda: clock_set_back(bench),
        "reader": lambda: reader_at_work(bench),
    }
    if os.geteuid() == 0 and shutil.which("mount"):
        chosen |= {
            "full-disk": lambda: full_disks(bench),
            "full-tmpdir": lambda: full_temporary(bench),
        }
    else:
        print("skipped: full disks (only root can make small ones)", flush=True)
    return chosen


def prepared(folder: Path, environment: dict[str, str], *, seed: int, kills: int) -> Bench:
    """Return a bench with an undisturbed survey; ends the benchmark if that fails."""
    card = rehearsals.rehearsed(folder / "cards", PLAN, workers=2).photos
    bench = Bench(
        folder=folder,
        card=card,
        calm=folder / "calm",
        environment=environment,
        chance=random.Random(seed),
        kills=kills,
    )
    for words in (("ingest", card, "--to", bench.calm), ("map", bench.calm, *QUALITY)):
        status, said = bench.run(*words)
        if status != 0:
            sys.exit(f"the undisturbed survey failed: {said}")
    bench.expected |= digests(bench.calm)
    return bench


def main() -> None:
    """Try all faults and print what became of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses moments, files and bytes")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--only", action="append", metavar="NAME", help="(repeatable)")
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        environment = kernels(folder, warm=asked.warm)
        sys.exit(not try_all(folder, environment, asked.seed, asked.kills, asked.only))


def try_all(
    folder: Path,
    environment: dict[str, str],
    seed: int = 1,
    kills: int = 50,
    only: Sequence[str] | None = None,
) -> bool:
    """Try faults in a folder and print their table; returns whether all is as it must be."""
    began_s = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    bench = prepared(folder, environment, seed=seed, kills=kills)
    rows = []
    for name, attempt in faults(bench).items():
        if only and name not in only:
            continue
        row_s = time.monotonic()
        rows.append(attempt())
        print(f"{table(rows)[-1]} {time.monotonic() - row_s:.0f} s", flush=True)
    print("\n".join(("", *table(rows), "", f"{time.monotonic() - began_s:.0f} s, seed {seed}")))
    return all(row.kept for row in rows)


if __name__ == "__main__":
    main()
