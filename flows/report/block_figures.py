"""Drawings of the block: who is tied to whom, and what is left over where in the frame."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.report.figures import Drawn, camera_positions
from tmp import plotting
from tmp.cameras import Camera
from tmp.plotting import INK, key
from tmp.reconstruction import Reconstruction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.report.photographs import Ties

Float = NDArray[np.float64]

WIDTH, TALLEST, NARROWEST = 860.0, 560.0, 440.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 6.0, 6.0, 52.0
MARGIN = 0.06
"""Room about the outermost photographs, as a share of the longer side."""
TIE_CLASSES = (1, 20, 60, 200, 600)
"""Least number of shared tie points of each width of line."""
TIE_WIDTHS = (0.7, 1.4, 2.6, 4.2, 6.5)
TIE_COLOURS = ("#e08a1e", "#d9b13b", "#7fb8a8", "#3f8f7c", "#1f6f5c")
"""From few to many: amber where a block hangs by a thread."""
MOST_LINES = 6000
"""Ties drawn; of more, the strongest of each photograph."""
STRONGEST = 6
FRAME_CELLS = 16
"""Cells along the longer side of a frame, in which residuals are averaged."""
LEAST_IN_CELL = 8
"""Observations below which the mean of a cell is chance."""
FRAME_WIDTH = 420.0


def draw_ties(reconstruction: Reconstruction, ties: Ties) -> Drawn:
    """Draw which photographs share tie points, as lines between where they were taken."""
    places = camera_positions(reconstruction)[:, :2]
    kept, note = _drawn_ties(ties, len(places))
    classes = np.searchsorted(TIE_CLASSES, ties.points, side="right") - 1
    with plotting.house_style():
        low, high = places.min(axis=0), places.max(axis=0)
        room = MARGIN * max(*(high - low), 1e-6)
        (west, south), (east, north) = low - room, high + room
        scale = min((WIDTH - LEFT - RIGHT) / (east - west), TALLEST / (north - south))
        width = max(LEFT + (east - west) * scale + RIGHT, NARROWEST)
        foot = TOP + (north - south) * scale + BOTTOM
        figure = plotting.new_figure(width, foot + 44)
        axes = plotting.map_axes(figure, (west, south, east, north), LEFT, TOP, scale)
        crs = reconstruction.frame.crs
        plotting.metre_ticks(axes, crs=crs)
        for number, (css, lw) in enumerate(zip(TIE_COLOURS, TIE_WIDTHS, strict=True)):
            lines = [places[pair] for pair in ties.pairs[kept & (classes == number)]]
            plotting.draw_lines(axes, lines, color=css, lw=lw, alpha=0.75, zorder=2 + number)
        plotting.draw_dots(axes, places, 7, INK, zorder=9, gid="camera")
        plotting.scale_bar(axes, "m" if crs else "units")
        if crs:
            plotting.north_arrow(axes)
        keys = [
            key(said, css, "line") for said, css in zip(_class_names(), TIE_COLOURS, strict=True)
        ]
        plotting.draw_keys(
            figure, LEFT, foot, keys, ncols=len(keys), title="tie points that two photographs share"
        )
        hints = plotting.hints_over(axes, places, _ties_in_words(reconstruction, ties))
    return Drawn(figure=figure, title="photographs tied to one another", note=note, hints=hints)


def _class_names() -> list[str]:
    ends = [f"{low}–{high - 1}" for low, high in pairwise(TIE_CLASSES)]
    return [*ends, f"{TIE_CLASSES[-1]} or more"]


def _drawn_ties(ties: Ties, photographs: int) -> tuple[NDArray[np.bool_], str]:
    """Return which ties are drawn, and what is to be said of the others."""
    kept = np.ones(len(ties.points), bool)
    if len(kept) <= MOST_LINES:
        return kept, ""
    kept[:] = False
    for photo in range(photographs):
        mine = np.flatnonzero((ties.pairs == photo).any(axis=1))
        kept[mine[np.argsort(-ties.points[mine])[:STRONGEST]]] = True
    return kept, f"Of each photograph the {STRONGEST} strongest ties are drawn."


def _ties_in_words(reconstruction: Reconstruction, ties: Ties) -> list[str]:
    count = np.bincount(ties.pairs.ravel(), minlength=len(reconstruction.photos))
    return [
        f"{photo.name}: tied to {number} photographs"
        for photo, number in zip(reconstruction.photos, count.tolist(), strict=True)
    ]


def draw_frame_residuals(reconstruction: Reconstruction, camera_id: str) -> Drawn | None:
    """Draw the mean residual at each place of a camera's frame; None without observations."""
    camera = reconstruction.cameras[camera_id]
    xy_px, residual_px = frame_residuals(reconstruction, camera_id)
    if len(xy_px) == 0:
        return None
    places, means = _mean_by_cell(camera, xy_px, residual_px)
    if len(places) == 0:
        return None
    cell_px = max(camera.width_px, camera.height_px) / FRAME_CELLS
    longest = float(np.percentile(np.linalg.norm(means, axis=1), 95))
    factor = plotting.round_step(0.9 * cell_px / max(longest, 1e-9))
    with plotting.house_style():
        scale = FRAME_WIDTH / camera.width_px
        figure = plotting.new_figure(FRAME_WIDTH + 20, camera.height_px * scale + 62)
        axes = plotting.axes_at(figure, 10, 6, FRAME_WIDTH, camera.height_px * scale)
        axes.set(xlim=(0, camera.width_px), ylim=(camera.height_px, 0), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set(visible=True)
        _draw_arrows(axes, places, factor * means, cell_px)
        axes.plot(camera.cx_px, camera.cy_px, "+", color=plotting.BAD, ms=12, mew=2)
        shown_px = plotting.round_step(1.5 * cell_px / factor)
        _draw_scale(axes, camera, factor * shown_px, f"{shown_px:g} px")
    note = (
        f"Mean of projected minus observed places over {len(xy_px):,} observations, drawn "
        f"{factor:g} times too long; the cross is the principal point."
    )
    return Drawn(
        figure=figure, title=f"residuals in the frame of {camera_id}", note=note, css="chart"
    )


def frame_residuals(reconstruction: Reconstruction, camera_id: str) -> tuple[Float, Float]:
    """Return where a camera saw tie points, (K, 2), and projected minus observed places, (K, 2)."""
    seen, camera = reconstruction.observations, reconstruction.cameras[camera_id]
    xy_px, residual_px = [np.zeros((0, 2))], [np.zeros((0, 2))]
    order = np.argsort(seen.photo, kind="stable")
    starts = np.searchsorted(seen.photo[order], np.arange(len(reconstruction.photos) + 1))
    for i, photo in enumerate(reconstruction.photos):
        if photo.camera_id != camera_id:
            continue
        mine = order[starts[i] : starts[i + 1]]
        in_cam = photo.pose.cam_from_world(reconstruction.points[seen.point[mine]])
        xy_px.append(seen.xy_px[mine].astype(float))
        residual_px.append(camera.pixel_from_cam(in_cam) - xy_px[-1])
    xy, residual = np.vstack(xy_px), np.vstack(residual_px)
    sound = np.isfinite(residual).all(axis=1)
    return xy[sound], residual[sound]


def _mean_by_cell(camera: Camera, xy_px: Float, residual_px: Float) -> tuple[Float, Float]:
    """Return the middles (C, 2) of cells with enough observations, and their means (C, 2)."""
    cell_px = max(camera.width_px, camera.height_px) / FRAME_CELLS
    col, row = np.floor(xy_px / cell_px).astype(int).clip(0, FRAME_CELLS - 1).T
    cell = row * FRAME_CELLS + col
    count = np.bincount(cell, minlength=FRAME_CELLS**2)
    sums = [np.bincount(cell, part, minlength=FRAME_CELLS**2) for part in residual_px.T]
    enough = np.flatnonzero(count >= LEAST_IN_CELL)
    middles = (np.column_stack([enough % FRAME_CELLS, enough // FRAME_CELLS]) + 0.5) * cell_px
    means: Float = np.column_stack(sums)[enough] / count[enough, None]
    return np.asarray(middles, float), means


def _draw_arrows(axes: Axes, places: Float, arrows: Float, cell_px: float) -> None:
    """Draw arrows that begin at places (C, 2), their heads as lines of the same layer."""
    heads = []
    for place, arrow in zip(places, arrows, strict=True):
        tip, length = place + arrow, float(np.hypot(*arrow))
        back = arrow * min(1.0, 0.3 * cell_px / max(length, 1e-9)) * 0.6
        side = 0.5 * np.array([-back[1], back[0]])
        heads.append([tip - back + side, tip, tip - back - side])
    shafts = [[place, place + arrow] for place, arrow in zip(places, arrows, strict=True)]
    plotting.draw_lines(axes, shafts + heads, color=plotting.ACCENT, lw=1.5, gid="residuals")
    plotting.draw_dots(axes, places, 2.6, plotting.SOFT)


def _draw_scale(axes: Axes, camera: Camera, length: float, said: str) -> None:
    """Draw a line of a known residual's length below the frame."""
    y = camera.height_px * 1.07
    axes.plot([0, length], [y, y], color=INK, lw=2.4, clip_on=False)
    axes.text(length + camera.width_px * 0.015, y, said, va="center", weight="bold")
