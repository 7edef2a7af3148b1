"""What Prefect shows of a run: a page for each stage, with its picture, and one for the whole."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.engine.store import Result

SHOWN_UNITS = 20
"""Most units of a stage that are listed; of more, the longest."""


def note_stage(result: Result) -> None:
    """Record a stage's page as an artifact of the Prefect task that this runs in."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        key=_key(result.stage), markdown=stage_page(result), description=f"{result.stage}: result"
    )


def note_run(results: Sequence[Result], report: Path | None) -> None:
    """Record the table of a run's stages, and where its report is, as artifacts of its flow."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    if results:
        create_table_artifact(
            key="stages", table=[stage_row(result) for result in results], description="Stages"
        )
    if report is not None:
        # A browser does not follow a link from a server's page to a file, so its path is text.
        create_markdown_artifact(
            key="report",
            markdown=f"On {platform.node()}: `{report.resolve()}`",
            description="The report of the survey",
        )


def stage_row(result: Result) -> dict[str, Any]:
    """Return a stage's row in the table of a run."""
    usage = result.usage
    return {
        "stage": result.stage,
        "state": "nothing has changed" if result.reused else "done",
        "wall s": round(usage.wall_s, 1),
        "cpu s": round(usage.cpu_s, 1),
        "peak GB": round(usage.peak_gb, 2),
        "units": max(len(result.units), 1),
        "holes": len(result.figures.get("holes", ())),
    }


def stage_page(result: Result) -> str:
    """Return a stage's page in Markdown: picture, cost, figures, holes, units, folder.

    A stage of which nothing was made anew says what it cost then.
    """
    usage = result.usage
    cost = {
        "wall time": f"{usage.wall_s:.1f} s",
        "processor time": f"{usage.cpu_s:.1f} s",
        "peak memory": f"{usage.peak_gb:.2f} GB",
        "units": str(max(len(result.units), 1)),
    }
    said = "Taken from an earlier run: nothing has changed." if result.reused else ""
    figures = {
        key.replace("_", " "): _said(value)
        for key, value in result.figures.items()
        if key != "holes" and isinstance(value, str | int | float)
    }
    holes = result.figures.get("holes", ())
    parts = [
        f"# {result.stage}",
        said,
        _picture(result),
        _table("cost", cost),
        _table("figure", figures),
        f"**Holes** at tiles {', '.join(holes)}." if holes else "",
        _units(result),
        f"Files: `{result.folder}`",
    ]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {title} | |", "| --- | --- |"]
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _units(result: Result) -> str:
    if len(result.units) < 2:
        return ""
    longest = sorted(result.units, key=lambda unit: unit.usage.wall_s, reverse=True)[:SHOWN_UNITS]
    lines = ["| unit | where | wall s | peak GB | tries |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {_cell(unit.part)} | {_cell(f'{unit.host} {unit.job}'.strip())} "
        f"| {unit.usage.wall_s:.1f} | {unit.usage.peak_gb:.2f} | {unit.attempts} |"
        for unit in longest
    ]
    left = len(result.units) - len(longest)
    return "\n".join(lines) + (f"\n\n{left} shorter ones are not listed." if left else "")


def _cell(text: str) -> str:
    """Write text so that it stays within its cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _said(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _key(stage: str) -> str:
    """Name an artifact as Prefect wants it: small letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", stage.lower()).strip("-") or "stage"


def _picture(result: Result) -> str:
    """Return the picture of a stage's product in Markdown; empty where it has none."""
    from flows.report.figures import thumbnail

    name, address = thumbnail(result.folder)
    return f"![{name}]({address})" if address else ""
