"""A small world with a reflectance panel in it, pictured by a RedEdge whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.radiometry.radiance import to_radiance
from ingest.radiometry.sun_sensor import Shot
from tmp.radiometry import Band, BandTags, Family, RadialVignetting, SunReading

SERIAL = "RP06-2051037-OB04004900800530"
"""Its code says 0.490 at 400 nm and 0.530 at 800 nm."""
SHAPE = (360, 480)
PX_PER_MM = 1.2
START = datetime(2024, 6, 1, 10, 0, tzinfo=UTC)
CENTRES_NM = {"red": 668.0, "nir": 840.0}
LIGHT = {"red": 1.3, "nir": 0.9}
"""Irradiance on level ground, W/m²/nm."""
SENSOR_BIAS = {"red": 1.2, "nir": 0.85}
"""What the sun sensor reads, as a factor of the truth."""


def panel_reflectance(band: str) -> float:
    """Return what the code says of the panel in a band."""
    return 0.49 + 0.04 * (CENTRES_NM[band] - 400) / 400


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of one band, with the reflectance that it shows."""

    shot: Shot
    stored: NDArray[np.uint16]
    truth: NDArray[np.float64]


@dataclass(kw_only=True)
class Flight:
    """Frames by name, made one after the other."""

    frames: dict[str, Frame] = field(default_factory=dict)

    def release(
        self,
        *,
        at_s: float,
        light: float = 1.0,
        panel: bool = False,
        sun: bool = True,
        exposure_s: float = 0.0003,
        shade: NDArray[Any] | float = 1.0,
    ) -> list[str]:
        """Picture all bands; `light` scales the sun, `shade` what falls on the scene alone."""
        names = []
        for band in CENTRES_NM:
            name = f"{len(self.frames):03d}_{band}.tif"
            truth = _panel_scene(band) if panel else _field_scene(band, seed=int(at_s))
            tags = _tags(band, exposure_s, LIGHT[band] * light * SENSOR_BIAS[band] if sun else None)
            radiance = truth * LIGHT[band] * light * shade / np.pi
            self.frames[name] = Frame(
                shot=Shot(
                    name=name,
                    flight="1",
                    camera_id=f"rededge-{band}",
                    body="MicaSense RedEdge / 1",
                    release=f"at {at_s:g}",
                    time_utc=START + timedelta(seconds=at_s),
                    tags=tags,
                ),
                stored=_expose(radiance, tags),
                truth=truth,
            )
            names.append(name)
        return names

    @property
    def shots(self) -> list[Shot]:
        return [frame.shot for frame in self.frames.values()]

    def load(self, name: str) -> NDArray[np.uint16]:
        return self.frames[name].stored


def _tags(band: str, exposure_s: float, sun: float | None) -> BandTags:
    return BandTags(
        family=Family.MICASENSE,
        bands=(Band(name=band, centre_nm=CENTRES_NM[band], width_nm=20.0),),
        exposure_s=exposure_s,
        gain=1.0,
        black_level=4800.0,
        bits=16,
        saturation_dn=65_520.0,
        linear=True,
        vignetting=RadialVignetting(
            centre_px=(250.0, 170.0), coefficients=(1e-4, 2e-6), multiplies=False
        ),
        radiometric=(2.0e-4 if band == "red" else 3.0e-4, 1e-7, 1e-6),
        sun=() if sun is None else (SunReading(horizontal=sun),),
    )


def _expose(radiance: NDArray[Any], tags: BandTags) -> NDArray[np.uint16]:
    """Return the pixel values that a radiance makes: the maker's formula run backwards."""
    plain = replace(tags, black_level=1e-9)
    per_dn = to_radiance(np.full(radiance.shape, 1000, np.uint16), plain).astype(float) / 1000
    noise = np.random.default_rng(3).normal(0, 40, radiance.shape)
    return np.clip(radiance / per_dn + 4800 + noise, 0, 65_520).round().astype(np.uint16)


def _field_scene(band: str, seed: int) -> NDArray[np.float64]:
    """Return the reflectance of grass, soil and snow in patches."""
    colours = {"red": (0.05, 0.25, 0.95), "nir": (0.45, 0.32, 0.90)}[band]
    patches = np.random.default_rng(seed).integers(0, 3, (6, 8))
    return np.kron(np.array(colours)[patches], np.ones((60, 60)))


def _panel_scene(band: str) -> NDArray[np.float64]:
    """Return the reflectance of a panel with its code on soil, seen a little from the side."""
    ground = 0.2 + 0.03 * np.random.default_rng(5).standard_normal(SHAPE)
    size = (SHAPE[1], SHAPE[0])
    code = cv2.QRCodeEncoder.create().encode(SERIAL)
    modules = code[2:-2, 2:-2]  # the encoder's rim of two modules left away
    side = len(modules)
    x0, y0 = 130 * 1.0, 180 * 1.0
    half = 41 * PX_PER_MM
    turn = np.deg2rad(12)
    axis = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])

    def place(corners_mm: NDArray[Any]) -> NDArray[np.float32]:
        return (corners_mm * PX_PER_MM @ axis.T + (x0, y0)).astype(np.float32)

    scene = ground.astype(np.float32)
    for centre_mm, half_mm, value in (((0, 0), 55, 0.85), ((130.84, 0), 50, None)):
        square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half_mm + np.array(centre_mm)
        level = panel_reflectance(band) if value is None else value
        cv2.fillConvexPoly(scene, np.rint(place(square)).astype(np.int32), float(level))
    source = np.array([(0, 0), (side, 0), (side, side), (0, side)], np.float32) - 0.5
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half / PX_PER_MM
    warp = cv2.getPerspectiveTransform(source, place(square))
    inside = cv2.warpPerspective(np.ones((side, side), np.float32), warp, size, flags=0)
    drawn = cv2.warpPerspective(modules, warp, size, flags=0)
    scene[inside > 0] = np.where(drawn > 127, 0.85, 0.06)[inside > 0]
    return cv2.GaussianBlur(scene, (0, 0), 0.6).astype(float)
