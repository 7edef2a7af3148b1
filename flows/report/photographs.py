"""What became of each photograph, the worst first, and which photographs hold together.

A row of the report's table names a photograph, shows it small, and says what is to be known of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, triu

from flows.report.findings import far_positions
from tmp import plotting
from tmp.captures import Capture
from tmp.reconstruction import Reconstruction

if TYPE_CHECKING:
    from flows.report.verdict import Verdict

THUMBNAIL_PX = 112
"""Longest side of a photograph in the table."""
THUMBNAIL_QUALITY = 55
FEW_NEIGHBOURS = 2
"""Photographs to which one must be tied, or it may turn about the line between it and the other."""


class State(StrEnum):
    """What became of a photograph."""

    LEFT_OUT = "left out"
    NOT_USED = "not used"
    ORIENTED = "oriented"


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRow:
    """A photograph, and what is to be known of it."""

    name: str
    state: State
    remark: str = ""
    """Why it was left out, or what to mind; empty for one that gives no cause."""
    tie_points: int = 0
    neighbours: int = 0
    """Photographs it shares tie points with."""
    mean_residual_px: float | None = None
    off_m: float | None = None
    """Distance of the adjusted from the recorded position."""
    sigma_m: float | None = None
    """Standard deviation of the adjusted position, its longest axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """Pairs of photographs that share tie points, P of them."""

    pairs: NDArray[np.int_]
    """Indices of photographs, (P, 2)."""
    points: NDArray[np.int_]
    """Tie points that both see, (P,)."""


def count_ties(reconstruction: Reconstruction) -> Ties:
    """Count the tie points that each two photographs share; none where nothing was kept of them."""
    seen = reconstruction.observations
    shape = len(reconstruction.photos), len(reconstruction.points)
    ones = np.ones(len(seen.photo), np.int64)
    sees = coo_array((ones, (seen.photo, seen.point)), shape=shape).tocsr()
    shared = triu(sees @ sees.T, k=1).tocoo()
    return Ties(pairs=np.column_stack(shared.coords), points=shared.data)


def photo_rows(
    reconstruction: Reconstruction, captures: Sequence[Capture], verdict: Verdict, ties: Ties
) -> list[PhotoRow]:
    """Return a row for each photograph of the survey, those that went wrong first."""
    remarks = _remarks(reconstruction, captures)
    lost = [
        PhotoRow(name=name, state=state, remark=_joined(reason, remarks.get(name, "")))
        for state, group in (
            (State.LEFT_OUT, verdict.left_out),
            (State.NOT_USED, verdict.not_used),
        )
        for name, reason in sorted(group.items())
    ]
    neighbours = np.bincount(ties.pairs.ravel(), minlength=len(reconstruction.photos))
    known = len(ties.points) > 0
    scaled = reconstruction.frame.referenced
    rows = []
    for i, photo in enumerate(reconstruction.photos):
        said = remarks.get(photo.name, "")
        if known and neighbours[i] < FEW_NEIGHBOURS:
            said = _joined(said, "tied to one other photograph only")
        residual = photo.mean_residual_px
        off = photo.gnss_residual_m if scaled else None
        rows.append(
            PhotoRow(
                name=photo.name,
                state=State.ORIENTED,
                remark=said,
                tie_points=photo.observations,
                neighbours=int(neighbours[i]),
                mean_residual_px=residual if math.isfinite(residual) else None,
                off_m=None if off is None else float(np.linalg.norm(off)),
                sigma_m=None if photo.sigma_m is None else max(photo.sigma_m),
            )
        )
    return lost + _worst_first(rows)


def _remarks(reconstruction: Reconstruction, captures: Sequence[Capture]) -> Mapping[str, str]:
    """Return what is to be minded of photographs, by name."""
    said: dict[str, list[str]] = {}
    if reconstruction.frame.referenced:
        for name, off_m in far_positions(reconstruction, captures):
            said[name] = [f"recorded {off_m:.1f} m from where the tie points put it"]
    for capture in captures:
        if capture.flags:
            why = capture.reason or ", ".join(capture.flags)
            said.setdefault(capture.name, []).append(why)
    return {name: "; ".join(reasons) for name, reasons in said.items()}


def _joined(first: str, second: str) -> str:
    return first if second in first else "; ".join(filter(None, [first, second]))


def _worst_first(rows: Sequence[PhotoRow]) -> list[PhotoRow]:
    """Sort rows by what is said of them, then by how few ties or how large residuals they have."""
    points = float(np.median([row.tie_points for row in rows])) if rows else 0.0
    residuals = [row.mean_residual_px for row in rows if row.mean_residual_px is not None]
    usual_px = float(np.median(residuals)) if residuals else 1.0

    def badness(row: PhotoRow) -> float:
        residual = (row.mean_residual_px or 0.0) / max(usual_px, 1e-9)
        return max(residual, points / max(row.tie_points, 1))

    return sorted(rows, key=lambda row: (not row.remark, -badness(row), row.tie_points, row.name))


def picture_address(path: Path) -> str:
    """Return a photograph, small, as a ``data:`` address; empty for one that cannot be read."""
    pixels = read_small(path, THUMBNAIL_PX)
    return "" if pixels is None else plotting.data_uri(pixels, quality=THUMBNAIL_QUALITY)


def read_small(path: Path, longest_px: int) -> NDArray[np.uint8] | None:
    """Return a photograph (rows, cols, 3) at reduced size; None for one that cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.draft("RGB", (longest_px, longest_px))  # a JPEG is decoded small at once
            if file.mode.startswith("I"):  # 16 bits, of which a camera may use 10
                values = np.asarray(file, np.float32)
                low, high = np.percentile(values, (1, 99))
                grey = np.clip((values - low) / max(high - low, 1) * 255, 0, 255)
                picture = Image.fromarray(grey.astype(np.uint8))
            else:
                picture = file.convert("RGB")
            picture.thumbnail((longest_px, longest_px))
            return np.asarray(picture.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises of damaged files
        return None
