"""A block of photographs as arrays: poses, cameras, tie points and what sees what.

A block is laid onto known points by a similarity, of which some may be wrong.

References
----------
Umeyama, S. (1991). Least-squares estimation of transformation parameters between two point
patterns. IEEE PAMI 13(4).
Rousseeuw, P. J. (1984). Least median of squares regression. JASA 79.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tmp.cameras import Camera, Pose

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Photographs joined by tie points; in any frame until it is georeferenced."""

    names: tuple[str, ...]
    """Photographs, N of them."""
    cameras: tuple[Camera, ...]
    """Interior orientations, distortion and all."""
    camera_of: Int
    """Index of each photograph's camera, (N,)."""
    poses: Float
    """cam_from_world as quaternion x, y, z, w and translation, (N, 7)."""
    points: Float
    """Tie points, world, (M, 3)."""
    photo: Int
    """Photograph of each observation, (K,)."""
    point: Int
    """Tie point of each observation, (K,)."""
    xy_px: Float
    """Image coordinates of each observation, full size, corner origin, (K, 2)."""
    track: Int = field(default_factory=lambda: np.zeros(0, np.int64))
    """Track that each tie point was made from, (M,), the same in all pieces of a block; empty
    where it is no longer known."""

    @property
    def rotations(self) -> Float:
        """cam_from_world rotations, (N, 3, 3)."""
        return np.asarray(Rotation.from_quat(self.poses[:, :4]).as_matrix())

    @property
    def centres(self) -> Float:
        """Projection centres, world, (N, 3)."""
        return np.asarray(-np.einsum("nji,nj->ni", self.rotations, self.poses[:, 4:]))

    @property
    def views(self) -> Int:
        """Number of photographs that see each tie point, (M,)."""
        return np.bincount(self.point, minlength=len(self.points))

    def pose(self, photo: int) -> Pose:
        """Return the exterior orientation of one photograph."""
        return Pose(rotation=self.rotations[photo], translation=self.poses[photo, 4:])

    def residuals(self) -> Float:
        """Return projected minus observed image coordinates, (K, 2); NaN behind the camera."""
        cam = np.einsum("kij,kj->ki", self.rotations[self.photo], self.points[self.point])
        cam += self.poses[self.photo, 4:]
        projected = np.empty_like(self.xy_px)
        for index, camera in enumerate(self.cameras):
            of_camera = self.camera_of[self.photo] == index
            projected[of_camera] = camera.pixel_from_cam(cam[of_camera])
        return projected - self.xy_px

    def ray_angles(self) -> Float:
        """Return the widest angle, in radians, between the rays to each tie point, (M,).

        The angle to the ray of the point's first observation, doubled where rays lie on both
        sides of it, would need all pairs; the angle to the mean ray, doubled, is close and cheap.
        """
        rays = self.points[self.point] - self.centres[self.photo]
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        mean = np.zeros_like(self.points)
        np.add.at(mean, self.point, rays)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        cosine = np.einsum("ki,ki->k", rays, mean[self.point])
        widest = np.zeros(len(self.points))
        np.maximum.at(widest, self.point, np.arccos(np.clip(cosine, -1, 1)))
        return 2 * widest

    def kept(self, observations: NDArray[np.bool_]) -> Block:
        """Return the block with some observations, without points that fewer than two then see."""
        views = np.bincount(self.point[observations], minlength=len(self.points))
        alive = views >= 2
        observations = observations & alive[self.point]
        index = np.cumsum(alive) - 1
        return replace(
            self,
            points=self.points[alive],
            track=self.track[alive] if len(self.track) else self.track,
            photo=self.photo[observations],
            point=index[self.point[observations]],
            xy_px=self.xy_px[observations],
        )

    def transformed(self, scale: float, rotation: Float, translation: Float) -> Block:
        """Return the block in a frame where ``x' = scale * rotation @ x + translation``."""
        turned = Rotation.from_matrix(self.rotations @ rotation.T)
        centres = scale * self.centres @ rotation.T + translation
        moved = -np.einsum("nij,nj->ni", turned.as_matrix(), centres)
        return replace(
            self,
            poses=np.column_stack([turned.as_quat(), moved]),
            points=scale * self.points @ rotation.T + translation,
        )


def pixel_by_cam(camera: Camera, cam: Float) -> Float:
    """Return the derivatives of image coordinates by camera coordinates (K, 3), (K, 2, 3)."""
    step = 1e-6 * cam[:, 2:]
    return np.stack(
        [
            (camera.pixel_from_cam(cam + step * axis) - camera.pixel_from_cam(cam - step * axis))
            / (2 * step)
            for axis in np.eye(3)
        ],
        axis=2,
    )


def merge(first: Block, second: Block) -> Block:
    """Return one block of two in the same frame.

    Photographs in both have the pose that the first gives them, and tie points of one track are
    one point, where the first has it; with `Block.track` unknown all points stay apart.
    """
    names = tuple(sorted(set(first.names).union(second.names)))
    place = {name: i for i, name in enumerate(names)}
    cameras = sorted({c.camera_id: c for c in (*second.cameras, *first.cameras)}.items())
    camera_place = {key: i for i, (key, _) in enumerate(cameras)}
    poses, camera_of = np.empty((len(names), 7)), np.empty(len(names), np.int64)
    for block in (second, first):  # the first has the last word
        at = [place[name] for name in block.names]
        poses[at] = block.poses
        ids = [block.cameras[i].camera_id for i in block.camera_of]
        camera_of[at] = [camera_place[key] for key in ids]
    number = np.full(len(second.points), -1)
    in_first, in_second = common_tracks(first.track, second.track)
    number[in_second] = in_first
    fresh = number < 0
    number[fresh] = len(first.points) + np.arange(fresh.sum())
    photo = np.concatenate(
        [np.array([place[name] for name in b.names])[b.photo] for b in (first, second)]
    )
    point = np.concatenate([first.point, number[second.point]])
    xy_px = np.vstack([first.xy_px, second.xy_px])
    order = np.sort(np.unique(np.column_stack([photo, point]), axis=0, return_index=True)[1])
    tracks = [first.track, second.track[fresh]] if len(first.track) and len(second.track) else []
    return Block(
        names=names,
        cameras=tuple(camera for _, camera in cameras),
        camera_of=camera_of,
        poses=poses,
        points=np.vstack([first.points, second.points[fresh]]),
        photo=photo[order],
        point=point[order],
        xy_px=xy_px[order],
        track=np.concatenate([np.zeros(0, np.int64), *tracks]),
    )


def common_tracks(first: Int, second: Int) -> tuple[Int, Int]:
    """Return the first places, in each of two lists, of the tracks in both."""
    known = [np.flatnonzero(tracks >= 0) for tracks in (first, second)]
    _, a, b = np.intersect1d(first[known[0]], second[known[1]], return_indices=True)
    return known[0][a], known[1][b]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """``target = scale * rotation @ source + translation``."""

    scale: float
    rotation: Float
    """(3, 3)."""
    translation: Float
    """(3,)."""

    def __call__(self, points: Float) -> Float:
        """Transform points (N, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)

    def inverse(self, points: Float) -> Float:
        """Return the points (N, 3) that are transformed to these."""
        return np.asarray((points - self.translation) @ self.rotation / self.scale)


def fit_similarity(source: Float, target: Float, weights: Float | None = None) -> Similarity:
    """Fit a similarity to corresponding points (N, 3) by weighted least squares.

    Umeyama (1991), equations 40 to 43.
    """
    share = np.ones(len(source)) if weights is None else np.asarray(weights, float)
    share = share / share.sum()
    source_mean, target_mean = share @ source, share @ target
    s, t = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((t * share[:, None]).T @ s)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float(singular @ sign / (share @ (s**2).sum(axis=1)))
    return Similarity(
        scale=scale, rotation=rotation, translation=target_mean - scale * rotation @ source_mean
    )


def fit_similarity_robustly(
    source: Float, target: Float, *, trials: int = 200, seed: int = 1
) -> Similarity:
    """Fit a similarity to points (N, 3) of which up to half may be wrong.

    The least median of squares over random triplets starts a reweighted fit (Cauchy's weights).
    """
    random = np.random.default_rng(seed)
    best, best_median = fit_similarity(source, target), np.inf
    for _ in range(trials):
        few = random.choice(len(source), size=3, replace=False)
        trial = fit_similarity(source[few], target[few])
        if not np.isfinite(trial.scale) or trial.scale <= 0:
            continue
        median = float(np.median(np.linalg.norm(trial(source) - target, axis=1)))
        if median < best_median:
            best, best_median = trial, median
    for _ in range(20):
        residual = np.linalg.norm(best(source) - target, axis=1)
        spread = max(1.4826 * float(np.median(residual)), 1e-9)
        best = fit_similarity(source, target, 1 / (1 + (residual / (2 * spread)) ** 2))
    return best


def fit_level_similarity(
    source: Float, target: Float, *, trials: int = 300, seed: int = 1
) -> tuple[float, float, Float]:
    """Fit scale, heading (radians) and shift to points (N, 2) of which up to half may be wrong.

    As complex numbers the points are related by ``t = a s + b``.
    """
    s, t = source @ [1, 1j], target @ [1, 1j]
    random = np.random.default_rng(seed)

    def fit(weights: Float) -> tuple[complex, complex]:
        s_mean, t_mean = weights @ s / weights.sum(), weights @ t / weights.sum()
        product = weights * np.conj(s - s_mean)
        a = complex(product @ (t - t_mean) / (product @ (s - s_mean)))
        return a, complex(t_mean - a * s_mean)

    best, best_median = fit(np.ones(len(s))), np.inf
    apart = np.abs(s - np.median(s))
    for _ in range(trials if len(s) > 2 else 0):
        i, j = random.choice(len(s), size=2, replace=False)
        if abs(s[i] - s[j]) < np.median(apart):  # two neighbours fix neither scale nor heading
            continue
        a = (t[i] - t[j]) / (s[i] - s[j])
        trial = complex(a), complex(t[i] - a * s[i])
        median = float(np.median(np.abs(trial[0] * s + trial[1] - t)))
        if median < best_median:
            best, best_median = trial, median
    for _ in range(20 if len(s) > 2 else 0):
        residual = np.abs(best[0] * s + best[1] - t)
        spread = max(1.4826 * float(np.median(residual)), 1e-9)
        best = fit(1 / (1 + (residual / (2 * spread)) ** 2))
    a, b = best
    return abs(a), float(np.angle(a)), np.array([b.real, b.imag])
