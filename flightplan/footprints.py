"""Photographs of a plan, and the ground that each of them shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.routes import Line
from flightplan.terrain import Terrain
from tmp.cameras import Camera
from tmp.errors import InputError

Float = NDArray[np.float64]

FLATTEST_DEG = 10.0
"""Elevation of the flattest ray that counts as a view of the ground: beyond it a pixel is drawn
out to more than five times its width."""
DEPTHS = 48
"""Steps in which a ray is followed to the ground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """Photographs in plan coordinates, in the order taken."""

    position: Float
    """Projection centres (N, 3): plan x and y, and the height in the terrain's datum."""
    heading_deg: Float
    """Of the picture's top, clockwise from the plan's north (N,)."""
    pitch_deg: Float
    """Gimbal pitch (N,); -90 looks straight down."""
    line: NDArray[np.int_]
    """Number of the flight line each belongs to (N,)."""

    def __post_init__(self) -> None:
        number = len(self.position)
        shapes = self.heading_deg.shape, self.pitch_deg.shape, self.line.shape
        if self.position.shape != (number, 3) or set(shapes) != {(number,)}:
            raise InputError(
                f"photographs need (N, 3) positions and as many headings, pitches and lines, "
                f"not {self.position.shape} and {shapes}"
            )
        if not np.isfinite(self.position).all():
            place = int(np.flatnonzero(~np.isfinite(self.position).all(axis=1))[0])
            raise InputError(f"photograph {place} has no finite position; check the height data")

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def on_lines(
        cls,
        lines: Sequence[Line],
        height_at: Callable[[Float], Float],
        *,
        pitch_deg: float = -90.0,
        first_line: int = 0,
    ) -> Photos:
        """Return the photographs of flight lines.

        Parameters
        ----------
        lines : sequence of Line
        height_at : callable
            From plan points (N, 2) the flying height there (N,), in the terrain's datum.
        pitch_deg : float
            The gimbal looks ahead along each line where this is above -90.
        first_line : int
            Number of the first line.
        """
        if not lines:
            nothing = np.empty(0)
            return cls(
                position=np.empty((0, 3)), heading_deg=nothing, pitch_deg=nothing,
                line=np.empty(0, int),
            )  # fmt: skip
        places = np.vstack([line.stations for line in lines])
        each = [line.photos for line in lines]
        return cls(
            position=np.column_stack([places, height_at(places)]),
            heading_deg=np.repeat([line.heading_deg for line in lines], each),
            pitch_deg=np.full(len(places), float(pitch_deg)),
            line=np.repeat(np.arange(first_line, first_line + len(lines)), each),
        )

    def some(self, which: NDArray[np.bool_]) -> Photos:
        """Return those photographs for which `which` (N,) is true."""
        return Photos(
            position=self.position[which],
            heading_deg=self.heading_deg[which],
            pitch_deg=self.pitch_deg[which],
            line=self.line[which],
        )

    @property
    def cam_from_plan(self) -> Float:
        """Rotations (N, 3, 3) as `tmp.cameras.Pose.from_gimbal` has them, without roll."""
        yaw, pitch = np.radians(self.heading_deg), np.radians(self.pitch_deg)
        # Exactly level at -90, so that on level ground the GSD is height over focal length.
        flat = np.where(self.pitch_deg == -90.0, 0.0, np.cos(pitch))
        forward = np.stack([np.sin(yaw) * flat, np.cos(yaw) * flat, np.sin(pitch)], axis=-1)
        right = np.stack([np.cos(yaw), -np.sin(yaw), np.zeros_like(yaw)], axis=-1)
        return np.stack([right, np.cross(forward, right), forward], axis=-2)


def border_rays(camera: Camera, points_per_side: int = 2) -> Float:
    """Return rays (M, 3) with z = 1 through a picture's border, clockwise from its top left.

    Each side gives its first corner and evenly spaced points towards the next.
    """
    along = np.arange(points_per_side) / points_per_side
    start = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    border = start[:, None] + along[:, None] * (np.roll(start, -1, axis=0) - start)[:, None]
    size = np.array([camera.width_px, camera.height_px])
    return camera.ray_from_pixel(border.reshape(-1, 2) * size)


def cast(photos: Photos, camera_rays: ArrayLike, terrain: Terrain) -> Float:
    """Follow rays of every photograph to the ground.

    Parameters
    ----------
    photos : Photos
        Of N.
    camera_rays : array-like of shape (M, 3)
        Camera coordinates.
    terrain : Terrain
        Taken to go on level beyond its edges.

    Returns
    -------
    ndarray of shape (N, M, 3)
        Where each ray first meets the ground.  Rays flatter than `FLATTEST_DEG` are bent down to
        that elevation.

    Notes
    -----
    A ray is looked at in `DEPTHS` steps between the terrain's highest and lowest place, so it can
    pass through a spike that is thinner than a step.  `flightplan.proof` has no such limit.
    """
    rays = np.asarray(camera_rays, float) @ photos.cam_from_plan
    level = np.hypot(rays[..., 0], rays[..., 1])
    drop = np.maximum(-rays[..., 2], level * np.tan(np.radians(FLATTEST_DEG)))
    across = rays[..., :2] / drop[..., None]  # metres sideways for each metre of drop
    start = photos.position[:, None, :]
    low, high = float(terrain.heights.min()), float(terrain.heights.max())
    # A hair below the ground, so that the last step is in it for certain.
    last = np.maximum(start[..., 2] - low, 0.0) + 0.01
    first = np.clip(start[..., 2] - high, 0.0, last)

    def above(depth: Float) -> Float:
        places = start[..., :2] + across * depth[..., None]
        return np.asarray(start[..., 2] - depth - height_below(terrain, places))

    upper, lower = np.broadcast_arrays(first, last + 0 * drop)
    inside, over = upper.copy(), above(upper)
    outside, under = lower.copy(), above(lower)
    found = np.zeros(drop.shape, bool)
    for share in np.linspace(0, 1, DEPTHS + 1)[1:] if high > low else ():
        depth = upper + share * (lower - upper)
        gap = above(depth)
        meets, passes = ~found & (gap <= 0), ~found & (gap > 0)
        outside, under = np.where(meets, depth, outside), np.where(meets, gap, under)
        inside, over = np.where(passes, depth, inside), np.where(passes, gap, over)
        found |= meets
    depth = inside + (outside - inside) * np.clip(over / np.maximum(over - under, 1e-9), 0, 1)
    return np.concatenate(
        [start[..., :2] + across * depth[..., None], (start[..., 2] - depth)[..., None]], axis=-1
    )


def height_below(terrain: Terrain, places: Float) -> Float:
    """Return the ground's height at plan points (..., 2), those off the grid moved to its edge."""
    x_min, y_min, x_max, y_max = terrain.bounds
    inside = np.clip(places, (x_min, y_min), (x_max, y_max))
    return terrain.at(inside.reshape(-1, 2)).reshape(places.shape[:-1])
