"""A model as it looks from its four sides, for pages that cannot turn it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.drawing import draw_triangles
from photogrammetry.model.glb import Model
from photogrammetry.pictures import Picture

Float = NDArray[np.float64]

SIDES = {"the south": 0.0, "the west": 90.0, "the north": 180.0, "the east": 270.0}
"""Where one stands, and turns in degrees: what comes to the front."""
ELEVATION_DEG = 30.0
FINER = 2
"""Times as many pixels that are drawn and averaged, so that edges are smooth."""
PAPER = 255
QUANTILES = (0.001, 0.999)
"""Of the corners' places, within which the picture is framed: single false heights lie outside."""


def portray(model: Model, width: int) -> list[Picture]:
    """Return the model from each of `SIDES`: blue, green, red (rows, cols, 3), as wide as asked.

    Parallel rays from 30° above the horizon.
    """
    textures = [
        np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2))
        for data in model.pictures
    ]
    points = np.concatenate([part.points for part in model.parts]).astype(float)
    views = [_turned(points, turn_deg) for turn_deg in SIDES.values()]
    low, high = (np.array([np.quantile(view, q, axis=0) for view in views]) for q in QUANTILES)
    span = (high - low).max(axis=0)
    scale = FINER * width / span[0]
    shape = (int(np.ceil(span[1] * scale / FINER)) * FINER, FINER * width)
    return [
        _drawn(model, textures, view, (low[n] + high[n]) / 2, scale, shape)
        for n, view in enumerate(views)
    ]


def _turned(points: Float, turn_deg: float) -> Float:
    """Return how far to the right, how far down and how near points (N, 3) lie."""
    turn, tilt = np.radians(turn_deg), np.radians(ELEVATION_DEG)
    east, north, up = points.T
    right = east * np.cos(turn) - north * np.sin(turn)
    away = east * np.sin(turn) + north * np.cos(turn)
    down = -away * np.sin(tilt) - up * np.cos(tilt)
    return np.column_stack([right, down, up * np.sin(tilt) - away * np.cos(tilt)])


def _drawn(
    model: Model,
    textures: list[Picture],
    view: Float,
    middle: Float,
    scale: float,
    shape: tuple[int, int],
) -> Picture:
    picture = np.full((*shape, 3), PAPER, np.uint8)
    depth = np.full(shape, -np.inf, np.float32)
    first = 0
    for part in model.parts:
        places = view[first : first + len(part.points)] - middle
        first += len(part.points)
        places[:, :2] = places[:, :2] * scale + (shape[1] / 2, shape[0] / 2)
        draw_triangles(
            places.astype(np.float32),
            part.uv,
            part.faces.astype(np.int64),
            textures[part.picture],
            np.array(part.tint[::-1], np.float32),
            depth,
            picture,
        )
    size = (shape[1] // FINER, shape[0] // FINER)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
