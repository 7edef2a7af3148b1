"""Repair adds what is missing, no more than that, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from flightplan.coverage.routes import Line
from flightplan.proof.footprints import GroundCells, Photos
from flightplan.proof.prove import prove
from flightplan.proof.repair import AdditionPattern, Repaired, repair
from flightplan.terrain.terrain import Terrain, read_terrain
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip
WIDE = (-300.0, -300.0, 500.0, 500.0)
AREA = shapely.box(0, 0, 200, 160)


def pattern(ground: Terrain, forbidden: shapely.Polygon | None = None) -> AdditionPattern:
    """75 % by 70 % at 60 m: footprint 80 × 60 m."""
    return AdditionPattern(photo_spacing_m=15, line_spacing_m=24, reach_m=50,
                   height_at=lambda xy: ground.at(xy) + 60, forbidden=forbidden)  # fmt: skip


def rows(first: float, last: float, beyond: int) -> list[Line]:
    """Lines along x every 24 m, with `beyond` photographs past the area at both ends."""
    return [
        Line(start=(-15.0 * beyond, float(y)), end=(210 + 15.0 * beyond, float(y)),
             photos=15 + 2 * beyond)
        for y in np.arange(first, last, 24)
    ]  # fmt: skip


def mend(
    lines: list[Line], ground: Terrain, count: int, forbidden: shapely.Polygon | None = None
) -> Repaired:
    sheet = GroundCells.over(AREA, ground, 2.0)
    form = pattern(ground, forbidden)
    before = prove(Photos.on_lines(lines, form.height_at), CAMERA, sheet)
    assert before.count.min() < count
    return repair(lines, before, sheet, CAMERA, photographs=count, pattern=form)


def test_lines_that_end_short_of_the_border_are_made_longer() -> None:
    lines = rows(-24, 190, -1)
    mended = mend(lines, Terrain.flat(WIDE), 9)
    assert mended.remaining_m2 == 0
    assert mended.added == sum(line.photos for line in mended.lines) - sum(
        line.photos for line in lines
    )
    assert 0 < mended.added <= 4 * len(lines)
    longer = [new.photos > old.photos for old, new in zip(lines, mended.lines, strict=False)]
    assert sum(longer) >= 6
    assert len(mended.lines) <= len(lines) + 2
    for old, new in zip(lines, mended.lines, strict=False):
        assert new.length_m / (new.photos - 1) == pytest.approx(old.length_m / (old.photos - 1))


def test_a_missing_strip_gets_new_lines() -> None:
    """Without the two northernmost lines, lines parallel to the others are added beyond."""
    lines = rows(-24, 140, 2)
    mended = mend(lines, Terrain.flat(WIDE), 9)
    assert mended.remaining_m2 == 0
    new = mended.lines[len(lines) :]
    assert new
    assert all(line.start[1] > 100 for line in new)
    assert all(line.heading_deg == pytest.approx(90, abs=1e-6) for line in new)
    assert any("north" in sentence and "new line" in sentence for sentence in mended.words)


def test_a_side_that_no_photograph_shows_is_mended_whole_and_named() -> None:
    """Without the three southernmost lines, of places that none sees all get their nine."""
    lines = rows(44, 190, 2)
    mended = mend(lines, Terrain.flat(WIDE), 9)
    assert mended.remaining_m2 == 0
    assert mended.coverage.count[mended.coverage.inside].min() >= 9
    assert all(line.start[1] < 44 for line in mended.lines[len(lines) :])
    (said,) = [sentence for sentence in mended.words if "new line" in sentence]
    assert "at the south side" in said
    assert "seen by as few as 0 instead of 9" in said


def test_the_coverage_returned_is_that_of_the_lines_returned() -> None:
    x = -300 + np.arange(200) * 4 + 2.0
    ground = Terrain(
        heights=np.broadcast_to(15 * np.sin(x / 30), (200, 200)).astype(np.float32),
        x_min=-300, y_max=500, cell_m=4, datum="test",
    )  # fmt: skip
    mended = mend(rows(-24, 190, 0), ground, 9)
    sheet = GroundCells.over(AREA, ground, 2.0)
    photos = Photos.on_lines(mended.lines, pattern(ground).height_at)
    again = prove(photos, CAMERA, sheet)
    np.testing.assert_array_equal(again.count, mended.coverage.count)
    assert again.count[again.inside].min() >= 9
    assert "slopes of up to" in " ".join(mended.words)


def test_no_photograph_is_added_where_it_is_forbidden() -> None:
    closed = shapely.box(150, 150, 400, 400)
    mended = mend(rows(-24, 140, 2), Terrain.flat(WIDE), 7, closed)
    for line in mended.lines:
        kept = [place for place in line.stations if shapely.intersects_xy(closed, *place)]
        assert not kept
        if line.photos > 1:
            assert not shapely.LineString([line.start, line.end]).crosses(closed)


def test_an_edge_that_no_row_along_the_lines_comes_near_gets_a_row_across() -> None:
    """Rows along x have photographs every 15 m; the hole keeps those off whose picture ends at it.

    The nearest that is allowed stands at 165, 34 m from the edge at 131, and sees 30 m.
    """
    hole = shapely.box(60, -300, 131, 500)
    ground, area = Terrain.flat(WIDE), shapely.box(131, 0, 220, 160)
    sheet = GroundCells.over(area, ground, 2.0)
    closed = hole.buffer(12)
    form = pattern(ground, closed)
    lines = [Line(start=(165.0, float(y)), end=(270.0, float(y)), photos=8)
             for y in np.arange(-24, 190, 24)]  # fmt: skip
    before = prove(Photos.on_lines(lines, form.height_at), CAMERA, sheet)
    mended = repair(lines, before, sheet, CAMERA, photographs=9, pattern=form)
    assert mended.remaining_m2 == 0
    across = [line for line in mended.lines[len(lines) :] if abs(line.course[1]) > 0.9]
    assert across
    assert all(line.start[0] > 143 for line in across)


def test_what_no_photograph_can_mend_is_said() -> None:
    """A pit 40 m deep and 3 m wide: only pictures straight above see its floor."""
    x = -300 + np.arange(800) + 0.5
    pit = np.where(np.abs(x - 100) < 2, -40.0, 0.0)
    deep = np.where(np.abs(x[::-1, None] - 80) < 2, pit[None, :], 0.0).astype(np.float32)
    ground = Terrain(heights=deep, x_min=-300, y_max=500, cell_m=1, datum="test")
    lines = rows(-48, 220, 4)
    sheet = GroundCells.over(AREA, ground, 1.0)
    form = AdditionPattern(photo_spacing_m=15, line_spacing_m=24, reach_m=50,
                   height_at=lambda xy: np.full(len(xy), 60.0))  # fmt: skip
    before = prove(Photos.on_lines(lines, form.height_at), CAMERA, sheet)
    mended = repair(lines, before, sheet, CAMERA, photographs=9, pattern=form)
    assert 0 < mended.remaining_m2 < 50
    assert "still seen by fewer than 9" in mended.words[-1]


def test_a_plan_that_passes_is_left_alone() -> None:
    ground = Terrain.flat(WIDE)
    sheet = GroundCells.over(AREA, ground, 4.0)
    lines = rows(-48, 220, 2)
    before = prove(Photos.on_lines(lines, pattern(ground).height_at), CAMERA, sheet)
    mended = repair(lines, before, sheet, CAMERA, photographs=9, pattern=pattern(ground))
    assert mended.lines == tuple(lines)
    assert mended.words == ()
    assert mended.coverage is before


def test_nothing_to_repair_is_refused() -> None:
    ground = Terrain.flat(WIDE)
    sheet = GroundCells.over(AREA, ground, 4.0)
    empty = prove(Photos.on_lines([], pattern(ground).height_at), CAMERA, sheet)
    with pytest.raises(InputError, match="no line to repair"):
        repair([], empty, sheet, CAMERA, photographs=9, pattern=pattern(ground))


def test_a_spacing_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="photo_spacing_m"):
        AdditionPattern(
            photo_spacing_m=0, line_spacing_m=24, reach_m=50, height_at=lambda xy: xy[:, 0]
        )


@pytest.mark.real
def test_a_real_hillside_is_mended_to_nine_photographs_everywhere(real_data: Path) -> None:
    """40 ha of hills by Marburg: flown 90 m above the ground, lines that end at the border."""
    model = real_data / "formats" / "marburg" / "mrbiko.tif"
    frame = PlanFrame(lon_deg=8.6795, lat_deg=50.857)
    ground = read_terrain(model, frame, (-700, -600, 700, 600), datum="EGM96")
    area = shapely.Polygon([(-350, -250), (300, -300), (420, 150), (50, 280), (0, 60), (-300, 200)])
    form = AdditionPattern(photo_spacing_m=22.5, line_spacing_m=36, reach_m=75,
                   height_at=lambda xy: ground.at(xy) + 90)  # fmt: skip
    lines = []
    for y in np.arange(-280, 280, 36.0):
        row = shapely.intersection(area, shapely.LineString([(-900, y), (900, y)]))
        for part in shapely.get_parts(row):
            start, end = shapely.get_coordinates(part)
            photos = max(2, round(part.length / 22.5) + 1)
            lines.append(Line(start=tuple(start), end=tuple(end), photos=photos))
    sheet = GroundCells.over(area, ground, 3.0, crs=frame.crs)
    before = prove(Photos.on_lines(lines, form.height_at), CAMERA, sheet)
    mended = repair(lines, before, sheet, CAMERA, photographs=9, pattern=form)
    assert before.share_below(9) > 0.05
    assert mended.remaining_m2 == 0
    assert mended.added < 0.35 * len(Photos.on_lines(lines, form.height_at))
