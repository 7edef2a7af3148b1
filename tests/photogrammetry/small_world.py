"""A tiny exact world for tests: textured sloping ground with one flat-roofed box, seen from above.

Rendered with NumPy from the definition, independently of the platform's kernels.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from photogrammetry.pictures import PictureStore
from photogrammetry.views import View
from tmp.cameras import Camera, Pose
from tmp.geo.frames import LocalFrame

FRAME = LocalFrame(origin=(-21.0, 64.5, 100.0), crs="EPSG:32627")
HEIGHT_M = 30.0
SLOPE = 0.1
BOX = (-2.0, 2.0, -1.5, 1.5)
BOX_TOP_M = 2.0
CAMERA = Camera(
    camera_id="small", width_px=640, height_px=480, fx_px=600.0, fy_px=600.0,
    cx_px=322.0, cy_px=238.5, k1=-0.05, k2=0.02, p1=0.001, p2=-0.0005, k3=0.0,
)  # fmt: skip


def ground_height(x, y):
    """World height of the sloping ground."""
    return SLOPE * x + 0.0 * y


def surface_height(x, y):
    """World height of the surface, box included."""
    inside = (x > BOX[0]) & (x < BOX[1]) & (y > BOX[2]) & (y < BOX[3])
    return np.where(inside, BOX_TOP_M, ground_height(x, y))


@lru_cache(maxsize=2)
def camera_rays(oversample):
    """Rays (N, 3) through the parts of the camera's pixels, row by row; the same for all views."""
    camera = CAMERA.scaled(CAMERA.width_px * oversample, CAMERA.height_px * oversample)
    u, v = np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5)
    return camera.ray_from_pixel(np.column_stack([u.ravel(), v.ravel()]))


class SmallWorld:
    """Texture, stations and photographs."""

    def __init__(self, seed: int = 1, texel_m: float = 0.02) -> None:
        rng = np.random.default_rng(seed)
        size = int(40 / texel_m)
        texture = np.zeros((size, size), np.float32)
        for blur, weight in ((1, 1.0), (4, 1.5), (16, 2.0), (64, 2.0)):
            layer = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), blur)
            texture += weight * layer / layer.std()
        self.texture = 120 + 28 * texture / texture.std()
        self.texel_m = texel_m
        self.views = [
            View(
                name=f"{i}.jpg",
                camera=CAMERA,
                pose=Pose.from_gimbal(
                    rng.uniform(0, 360), -90 + rng.normal() * 2, rng.normal() * 2, (x, y, HEIGHT_M)
                ),
            )
            for i, (x, y) in enumerate((x, y) for x in (-7.0, 0.0, 7.0) for y in (-6.0, 0.0, 6.0))
        ]

    def colour(self, x, y):
        """Grey value of the surface at world coordinates, wherever it lies in height."""
        half = self.texture.shape[0] / 2
        return cv2.remap(
            self.texture,
            (x / self.texel_m + half - 0.5).astype(np.float32),
            (y / self.texel_m + half - 0.5).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )

    def render(self, view: View, oversample: int = 2) -> np.ndarray:
        """Return the photograph (rows, cols, 3), uint8."""
        rays = camera_rays(oversample) @ view.pose.rotation
        centre = view.pose.centre
        top = centre + rays * ((BOX_TOP_M - centre[2]) / rays[:, 2])[:, None]
        on_top = (
            (top[:, 0] > BOX[0])
            & (top[:, 0] < BOX[1])
            & (top[:, 1] > BOX[2])
            & (top[:, 1] < BOX[3])
        )
        # z = SLOPE x along the ray
        t = (SLOPE * centre[0] - centre[2]) / (rays[:, 2] - SLOPE * rays[:, 0])
        ground = centre + rays * t[:, None]
        in_box = (
            (ground[:, 0] > BOX[0])
            & (ground[:, 0] < BOX[1])
            & (ground[:, 1] > BOX[2])
            & (ground[:, 1] < BOX[3])
        )
        hit = np.where(on_top[:, None], top, ground)
        shape = (CAMERA.height_px * oversample, CAMERA.width_px * oversample)
        grey = self.colour(hit[:, 0].reshape(shape), hit[:, 1].reshape(shape))
        grey = np.where((~on_top & in_box).reshape(shape), 60.0, grey)  # a wall
        size = (view.camera.width_px, view.camera.height_px)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    def store(self, folder: Path) -> PictureStore:
        """Render every photograph into a picture store."""
        store = PictureStore(folder=folder)
        for view in self.views:
            store.save(view.name, self.render(view), halvings=0)
        return store
