"""A block that ground control holds, against exact truth."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from photogrammetry.orientation.adjust import AdjustOptions
from photogrammetry.orientation.control import GroundControl, hold, intersect
from photogrammetry.orientation.precision import assess_precision
from photogrammetry.orientation.refine import RefineOptions, Solution, refine, weigh
from tmp.errors import OrientationError
from tmp.geo.control import Control, ControlPoint, Mark, Role

GSD_M = 40 / 700
PLACES = np.array(
    [
        [-5.0, -5.0, 0.4],
        [40.0, -4.0, -0.8],
        [39.0, 28.0, 0.9],
        [-4.0, 27.0, -0.3],
        [18.0, 12.0, 1.4],
        [8.0, 20.0, 0.0],
        [28.0, 6.0, -1.0],
    ]
)
CHECK = ("g5", "g6")
OFFSET_M = np.array([2.5, -1.8, 4.0])


def control_of(flown: ModuleType, places: np.ndarray = PLACES, **moved: np.ndarray) -> Control:
    """Return points at true places, marked to half a pixel; some given elsewhere than they are."""
    random = np.random.default_rng(11)
    _, poses = flown.flown_block()
    names = [f"g{i}" for i in range(len(places))]
    given = np.array([moved.get(name, place) for name, place in zip(names, places, strict=True)])
    points = [
        ControlPoint(
            name=name,
            x=float(x),
            y=float(y),
            height_m=float(height),
            crs=flown.FRAME.crs,
            sigma_m=0.01,
            height_sigma_m=0.01,
            role=Role.CHECK if name in CHECK else Role.CONTROL,
        )
        for name, (x, y, height) in zip(names, flown.FRAME.map_from_world(given), strict=True)
    ]
    marks = []
    for number, pose in enumerate(poses):
        for name, place in zip(names, places, strict=True):
            x_px, y_px = flown.CAMERA.pixel_from_cam(pose.cam_from_world(place[None]))[0]
            if 0 < x_px < flown.CAMERA.width_px and 0 < y_px < flown.CAMERA.height_px:
                x_px, y_px = np.add((x_px, y_px), random.normal(scale=0.5, size=2))
                marks.append(Mark(point=name, photograph=f"{number:03d}.jpg", x_px=x_px, y_px=y_px))
    return Control().joined(Control(points=tuple(points), marks=tuple(marks)))


def refined(flown: ModuleType, control: Control, *, assess_scale: bool = False) -> Solution:
    """Return the block adjusted, its positions off by metres in common."""
    block, poses = flown.flown_block()
    off = [replace(pose, translation=pose.translation - pose.rotation @ OFFSET_M) for pose in poses]
    wrong_lens = replace(flown.CAMERA, fx_px=706.0, fy_px=706.0, k1=0.0, k2=0.0, p1=0.0, p2=0.0)
    return refine(
        [block.transformed(0.1, np.eye(3), np.ones(3))],
        flown.captures_of(off, sigma_m=1.5),
        {flown.CAMERA.camera_id: wrong_lens},
        flown.FRAME,
        options=RefineOptions(control=control, assess_scale=assess_scale),
        threads=1,
    )


def test_check_points_lie_where_they_are_and_positions_are_told_to_be_off(
    flown: ModuleType,
) -> None:
    solution = refined(flown, control_of(flown), assess_scale=True)
    said = solution.control.document()
    level_m, up_m = said["rmse_check_m"]
    assert level_m < 0.5 * GSD_M
    assert up_m < GSD_M
    assert said["rmse_left_out_m"][0] < 0.75 * GSD_M
    assert said["blunders"] == said["wrong_marks"] == []
    off = intersect(solution.block, GroundControl.of(control_of(flown), flown.FRAME)) - PLACES
    by_name = {point["name"]: point["off_m"] for point in said["points"]}
    assert by_name["g5"] == pytest.approx(off[5], abs=1e-3)
    (told,) = said["positions_off_m"].values()
    assert told == pytest.approx(OFFSET_M, abs=1.5)
    # Without control the positions' own offset is the map's.
    alone = refined(flown, Control(), assess_scale=True)
    assert alone.control is None
    there = intersect(alone.block, GroundControl.of(control_of(flown), flown.FRAME))
    assert np.linalg.norm(there - PLACES, axis=1).min() > 2
    assert solution.firmness.scale_sigma < 0.1 * alone.firmness.scale_sigma
    assert solution.scale.sigma_scale <= alone.scale.sigma_scale


def test_point_given_wrongly_is_named_and_does_no_harm(flown: ModuleType) -> None:
    swapped = PLACES[1] + (0.0, 3.0, 0.0)
    solution = refined(flown, control_of(flown, g1=swapped))
    said = solution.control.document()
    assert said["blunders"] == ["g1"]
    assert said["rmse_check_m"][0] < 0.5 * GSD_M
    (point,) = (point for point in said["points"] if point["name"] == "g1")
    assert not point["used"]
    assert np.linalg.norm(point["off_m"]) == pytest.approx(3.0, abs=0.2)


def test_point_far_away_is_named_though_three_are_left_to_tell(flown: ModuleType) -> None:
    few = np.delete(PLACES, (4,), axis=0)
    control = control_of(flown, few, g0=few[0] + (0.0, 60.0, 0.0))
    assert refined(flown, control).control.document()["blunders"] == ["g0"]


def test_mark_at_another_place_is_named_and_left_out(flown: ModuleType) -> None:
    control = control_of(flown)
    first = control.marks[0]
    moved = replace(first, x_px=first.x_px + 40)
    said = refined(flown, control.joined(Control(marks=(moved,)))).control.document()
    ((point, photograph, off_px),) = said["wrong_marks"]
    assert (point, photograph) == (first.point, first.photograph)
    assert off_px == pytest.approx(40, abs=8)
    assert said["rmse_check_m"][0] < 0.5 * GSD_M


def test_too_few_points_are_refused_and_named(flown: ModuleType) -> None:
    control = control_of(flown)
    few = replace(
        control, marks=tuple(m for m in control.marks if m.point not in ("g0", "g1", "g2"))
    )
    block, _ = flown.flown_block()
    with pytest.raises(OrientationError, match="2 of 5 control points are marked in two or more"):
        hold(block, GroundControl.of(few, flown.FRAME))


def test_control_makes_poses_known_better(flown: ModuleType) -> None:
    block, _ = flown.flown_block()
    options, control = RefineOptions(), GroundControl.of(control_of(flown), flown.FRAME)
    loose = flown.known_of(block, sigma_m=2.0)
    weight = weigh(block, options)
    without, held = (
        assess_precision(block, known, weight, AdjustOptions())
        for known in (loose, replace(loose, control=control))
    )
    better = held.centre_sigmas / without.centre_sigmas
    assert better[:, :2].max() < 0.3
    assert np.median(better[:, 2]) < 0.5  # focal length and flying height stay nearly one
