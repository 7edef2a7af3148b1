"""``tmp verify``: whether a survey is still what it was, to the last bit."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tmp.threads import available_cores

DAMAGED = 1
"""Exit status of a survey with damage."""


@click.command(
    epilog="Exit status: 0 if all is as it was taken in or made; 1 if something is damaged.\n\n"
    "Example: tmp verify dig"
)
@click.argument("survey", type=click.Path(path_type=Path, file_okay=False))
@click.option("--workers", type=click.IntRange(min=1), help="Threads.  [default: all cores]")
def verify(survey: Path, workers: int | None) -> None:
    """Read all of SURVEY and compare it with its digests.

    Photographs must be what was taken in, results and products what was made.  Nothing is
    repaired, and the survey may be on a disk that cannot be written to.
    """
    from flows.run.verify import verify_survey
    from tmp.progress import bar, say_duration
    from tmp.survey import open_survey

    began_s = time.monotonic()
    with bar() as track:
        found = verify_survey(
            open_survey(survey), workers=workers or available_cores(), track=track
        )
    for line in found.damaged:
        click.echo(line)
    click.echo(
        f"{found.photographs} photographs, {found.results} files of results and {found.products} "
        f"products read, {found.size_bytes / 1e9:.2f} GB in "
        f"{say_duration(time.monotonic() - began_s)}: "
        + (f"{len(found.damaged)} damaged" if found.damaged else "all as they were")
    )
    if found.damaged:
        sys.exit(DAMAGED)
