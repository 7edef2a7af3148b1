"""Oriented photographs over a tile of the ground: which see it, and their numbers for kernels."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from photogrammetry.kernels.projection import FARTHEST_SLANT, GEOMETRY_WIDTH
from photogrammetry.pictures import PictureStore
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One oriented photograph."""

    name: str
    camera: Camera
    pose: Pose


def views_of(reconstruction: Reconstruction) -> list[View]:
    """Return all oriented photographs of a reconstruction, in its order."""
    return [
        View(name=photo.name, camera=reconstruction.cameras[photo.camera_id], pose=photo.pose)
        for photo in reconstruction.photos
    ]


def surface_part(reconstruction: Reconstruction, captures: Sequence[Capture]) -> Reconstruction:
    """Return the reconstruction with only the photographs that measure the surface.

    Those are the colour photographs if there are any, else those of the band in which the most
    tie points were found: photographs of different bands do not correlate well.
    """
    band_of = {capture.name: capture.band for capture in captures}
    found: defaultdict[str, list[int]] = defaultdict(list)
    for photo in reconstruction.photos:
        found[band_of[photo.name]].append(photo.observations)
    if len(found) <= 1:
        return reconstruction
    chosen = "" if "" in found else max(found, key=lambda band: (np.median(found[band]), band))
    log.info("the surface is measured in %s", chosen or "the colour photographs")
    photos = tuple(photo for photo in reconstruction.photos if band_of[photo.name] == chosen)
    return replace(reconstruction, photos=photos)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileViews:
    """The views of one ground tile in the tile's own coordinates (metres about its centre)."""

    views: tuple[View, ...]
    cam_from_tile: Float
    """(V, 3, 4)"""
    centres: Float
    """Projection centres in tile coordinates, (V, 3)."""

    def __len__(self) -> int:
        return len(self.views)

    def pixel_from_tile(self, view: int, points: ArrayLike) -> Float:
        """Project tile points (N, 3) into one view: full-size image coordinates (N, 2)."""
        matrix = self.cam_from_tile[view]
        cam = np.atleast_2d(np.asarray(points, float)) @ matrix[:, :3].T + matrix[:, 3]
        camera = self.views[view].camera
        pixels = camera.pixel_from_cam(cam)
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = (cam[:, 0] ** 2 + cam[:, 1] ** 2) / cam[:, 2] ** 2
        pixels[(cam[:, 2] <= 0) | (r2 > trusted_radius2(camera))] = np.nan
        return pixels

    def subset(self, keep: Sequence[int]) -> TileViews:
        """Return only the views at the given positions."""
        index = list(keep)
        return TileViews(
            views=tuple(self.views[i] for i in index),
            cam_from_tile=self.cam_from_tile[index],
            centres=self.centres[index],
        )


@lru_cache(maxsize=64)
def trusted_radius2(camera: Camera) -> float:
    """Return the squared normalised radius up to which a lens model may be used.

    Beyond the picture's corners a polynomial of Brown's folds back and would map far points into
    the picture; the corner's own ray, with a small margin, bounds the use.
    """
    width, height = camera.width_px, camera.height_px
    rays = camera.ray_from_pixel([(0, 0), (width, 0), (0, height), (width, height)])
    return float(1.02 * np.max(rays[:, 0] ** 2 + rays[:, 1] ** 2))


def views_in_tile(views: Sequence[View], frame: LocalFrame, centre: Float) -> TileViews:
    """Express views in tile coordinates, in their order, whatever they see.

    The centre (3,) has the map coordinates of the tile's centre and its reference height.
    """
    matrix, offset = frame.world_from_map_affine(centre)
    inverse = np.linalg.inv(matrix)
    transforms = [
        np.column_stack(
            [view.pose.rotation @ matrix, view.pose.rotation @ offset + view.pose.translation]
        )
        for view in views
    ]
    centres = [inverse @ (view.pose.centre - offset) for view in views]
    return TileViews(
        views=tuple(views),
        cam_from_tile=np.array(transforms).reshape(-1, 3, 4),
        centres=np.array(centres).reshape(-1, 3),
    )


def place_views(
    views: Sequence[View],
    frame: LocalFrame,
    centre: Float,
    half_size_m: tuple[float, float],
    z_range_m: tuple[float, float],
) -> TileViews:
    """Express views in tile coordinates and keep those that see any of the tile, or nearly do.

    The tile reaches `half_size_m` east and north of its centre (3,), see `views_in_tile`, and from
    the lowest to the highest of the map heights `z_range_m`.
    """
    _, offset = frame.world_from_map_affine(centre)
    views = _within_reach(views, offset, half_size_m, z_range_m)
    placed = views_in_tile(views, frame, centre)

    steps = np.linspace(-1, 1, 7)
    x, y, z = np.meshgrid(
        half_size_m[0] * steps, half_size_m[1] * steps, np.asarray(z_range_m) - centre[2]
    )
    lattice = np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    keep = []
    for i, view in enumerate(views):
        pixels = placed.pixel_from_tile(i, lattice)
        # A picture may show a corner of the tile between the lattice's points.
        away = np.abs(placed.centres[i, 2] - lattice[:, 2]).max()
        margin_px = max(half_size_m) / 3 * view.camera.fx_px / max(away, 1e-6)
        size = np.array([view.camera.width_px, view.camera.height_px])
        with np.errstate(invalid="ignore"):
            near = ((pixels >= -margin_px) & (pixels <= size + margin_px)).all(axis=1)
        if near.any():
            keep.append(i)
    return placed.subset(keep)


def _within_reach(
    views: Sequence[View],
    middle: Float,
    half_size_m: tuple[float, float],
    z_range_m: tuple[float, float],
) -> list[View]:
    """Leave out, at little cost, the views too far away to see a tile about `middle` (world)."""
    offsets = np.array([view.pose.centre for view in views]).reshape(-1, 3) - middle
    rise = np.abs(offsets[:, 2]) + (z_range_m[1] - z_range_m[0])
    near = np.hypot(offsets[:, 0], offsets[:, 1]) < np.hypot(*half_size_m) + FARTHEST_SLANT * rise
    return [view for view, kept in zip(views, near, strict=True) if kept]


class KernelViews(NamedTuple):
    """Views packed for kernels; see `photogrammetry.kernels.projection` for the layout."""

    pixels: NDArray[np.uint8]
    geometry: NDArray[np.float32]
    layout: NDArray[np.int64]


def pack_grey(
    tile_views: TileViews,
    store: PictureStore,
    pixel_size_m: float,
    lattice: Float,
    *,
    smooth: bool = False,
) -> KernelViews:
    """Gather the crops of the grey pyramids that a tile needs at one level of detail.

    Each view gives the level whose pixels on the ground are nearest to the size wanted. The
    projections of the lattice, tile points (N, 3), bound the crop; for `smooth` see
    `photogrammetry.pictures.PictureStore.grey`.
    """
    geometry = np.zeros((len(tile_views), GEOMETRY_WIDTH), np.float32)
    layout = np.zeros((len(tile_views), 3), np.int64)
    crops, offset = [], 0
    for i, view in enumerate(tile_views.views):
        pixels = tile_views.pixel_from_tile(i, lattice)
        gsd = _distance_along_axis(tile_views, i, lattice, pixels) / view.camera.fx_px
        wanted = int(np.floor(np.log2(max(pixel_size_m / gsd, 1e-6)) + 0.5))
        picture, level = store.grey(view.name, wanted, smooth=smooth)
        pixels = pixels / 2.0**level
        # Where part of the lattice leaves the lens model, the rest must stand in for it.
        spacing_px = float(np.ptp(lattice[:, 0])) / 6 / (gsd * 2.0**level)
        margin = 3 if np.isfinite(pixels).all() else 3 + int(1.5 * spacing_px)
        crop, x0, y0 = _crop(picture, pixels, margin)
        geometry[i] = geometry_row(tile_views, i, 2.0**-level, x0, y0)
        layout[i] = offset, crop.shape[0], crop.shape[1]
        crops.append(crop.ravel())
        offset += crop.size
    return KernelViews(
        geometry=geometry,
        layout=layout,
        pixels=np.concatenate(crops) if crops else np.zeros(0, np.uint8),
    )


def _distance_along_axis(tile_views: TileViews, i: int, lattice: Float, pixels: Float) -> float:
    """Return the mean distance of a lattice (N, 3) from a view along its optical axis, in metres.

    Of the points within the picture (N, 2), or of all where there is none.
    """
    camera = tile_views.views[i].camera
    matrix = tile_views.cam_from_tile[i]
    depth = lattice @ matrix[2, :3] + matrix[2, 3]
    with np.errstate(invalid="ignore"):
        inside = ((pixels > 0) & (pixels < (camera.width_px, camera.height_px))).all(axis=1)
    chosen = depth[inside] if inside.any() else np.abs(depth)
    return max(float(np.mean(chosen)), 1e-6)


def _crop(
    picture: NDArray[np.uint8], pixels: Float, margin: int
) -> tuple[NDArray[np.uint8], int, int]:
    """Cut the bounding box of projected points, with a margin; a 1 × 1 crop if it is empty."""
    rows, cols = picture.shape[:2]
    finite = pixels[np.isfinite(pixels[:, 0])]
    if len(finite):
        low = np.floor(finite.min(axis=0)).astype(int) - margin
        high = np.ceil(finite.max(axis=0)).astype(int) + margin
        x0, y0 = max(low[0], 0), max(low[1], 0)
        x1, y1 = min(high[0], cols), min(high[1], rows)
        if x1 > x0 and y1 > y0:
            return np.ascontiguousarray(picture[y0:y1, x0:x1]), x0, y0
    return np.ascontiguousarray(picture[:1, :1]), 0, 0


def geometry_row(
    tile_views: TileViews, i: int, scale: float, x0: int = 0, y0: int = 0
) -> NDArray[np.float64]:
    """Return the 22 numbers by which kernels know a view; see `photogrammetry.kernels.projection`.

    The scale is the size of the picture sampled, against the photograph's; its crop begins at
    column x0 and row y0.
    """
    camera = tile_views.views[i].camera
    focal_px = (camera.fx_px * scale, camera.fy_px * scale)
    middle_px = (camera.cx_px * scale - x0, camera.cy_px * scale - y0)
    lens = (camera.distortion, [trusted_radius2(camera)])  # k1 k2 p1 p2 k3, as projection.py has it
    return np.concatenate([tile_views.cam_from_tile[i].ravel(), focal_px, middle_px, *lens])
