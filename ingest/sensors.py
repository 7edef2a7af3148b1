"""Sizes of the sensors in common survey cameras, to turn millimetres of focal length into pixels.

The figures are the light-sensitive area that a full-size photograph covers, from makers' data
sheets or as pixel pitch times pixels; where the maker records a designed focal length in pixels
(DJI's CalibratedFocalLength), the pitch follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

FOCAL_TOLERANCE = 0.1
"""How far a lens may differ from a row's, as a fraction, and still be that row's lens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """One sensor and the models, as written in EXIF, that carry it."""

    models: tuple[str, ...]
    """Lower case; the part after the maker's name."""
    width_mm: float
    height_mm: float
    focal_mm: float | None = None
    """Lens of this sensor, where one model carries several; None when any lens fits."""


SENSORS = (
    # 1/2.3", 4000 × 3000 at 1.54 µm: Phantom 3, Phantom 4, Inspire 1 (X3), Mavic Pro, Mavic Air.
    Sensor(
        models=("fc300s", "fc300x", "fc300c", "fc330", "fc350", "fc220", "fc2103"),
        width_mm=6.16,
        height_mm=4.62,
    ),
    # 1/2.3", 4000 × 3000 at 1.55 µm: Mavic Mini, Mini SE, Mini 2.
    Sensor(models=("fc7203", "fc7303"), width_mm=6.2, height_mm=4.65),
    # 1/2", 8000 × 6000 at 0.8 µm: Mavic Air 2.
    Sensor(models=("fc3170",), width_mm=6.4, height_mm=4.8),
    # 1", 5472 × 3648 at 2.4 µm (8.8 mm = 3666.67 px): Phantom 4 Pro and RTK, X4S, Air 2S,
    # Mavic 2 Pro, Zenmuse L1.
    Sensor(
        models=(
            *("fc6310", "fc6310s", "fc6310r", "fc6510", "fc3411", "l1d-20c", "zenmusel1"),
            *("xt705", "rx100", "dsc-rx100"),
        ),
        width_mm=13.13,
        height_mm=8.76,
    ),
    # 1600 × 1300 at 3 µm (5.74 mm = 1913.33 px): Phantom 4 Multispectral, all six cameras.
    Sensor(models=("fc6360",), width_mm=4.8, height_mm=3.9),
    # 1/1.3", 8064 × 6048 at 1.2 µm: Mini 3 Pro, Mini 4 Pro, Air 3 (wide).
    Sensor(models=("fc3582", "fc8482", "fc8282"), width_mm=9.68, height_mm=7.26),
    # 4/3", 5280 × 3956 at 3.3 µm (12.29 mm = 3725 px): Mavic 3, Mavic 3 Enterprise and
    # Multispectral (RGB), Matrice 4E.
    Sensor(
        models=("l2d-20c", "m3e", "m3m", "m4e"), width_mm=17.42, height_mm=13.05, focal_mm=12.29
    ),
    # 2592 × 1944 at 2 µm: Mavic 3 Multispectral, the four bands.
    Sensor(models=("m3m",), width_mm=5.18, height_mm=3.89, focal_mm=4.34),
    # 1/2", 8000 × 6000 at 0.8 µm: Mavic 3 Thermal, wide camera.
    Sensor(models=("m3t",), width_mm=6.4, height_mm=4.8, focal_mm=4.4),
    # 4/3": Zenmuse X5 (4608 × 3456) and X5S (5280 × 3956).
    Sensor(models=("fc550", "fc6520"), width_mm=17.3, height_mm=13.0),
    # APS-C, 6016 × 4008: Zenmuse X7.
    Sensor(models=("fc6540",), width_mm=23.5, height_mm=15.7),
    # Full frame, 8192 × 5460: Zenmuse P1.
    Sensor(models=("zenmusep1",), width_mm=35.9, height_mm=24.0),
    # 1/2.4", 5344 × 4016 at 1.12 µm: Parrot Anafi.
    Sensor(models=("anafi",), width_mm=5.99, height_mm=4.50),
    # 1280 × 960 at 3.75 µm: Parrot Sequoia, the four bands.
    Sensor(models=("sequoia",), width_mm=4.8, height_mm=3.6, focal_mm=3.98),
    # 1/2", 8000 × 6000 at 0.8 µm: Autel EVO II.
    Sensor(models=("xt701",), width_mm=6.4, height_mm=4.8),
    # 1", 5472 × 3648 at 2.33 µm: senseFly S.O.D.A.
    Sensor(models=("s.o.d.a.",), width_mm=12.75, height_mm=8.5),
    # Cameras that people hang under fixed wings and kites.
    Sensor(models=("ilce-6000", "ilce-6100", "ilce-6300"), width_mm=23.5, height_mm=15.6),
    Sensor(models=("ilce-7rm2", "ilce-7rm3", "dsc-rx1rm2"), width_mm=35.9, height_mm=24.0),
    Sensor(models=("ilce-qx1",), width_mm=23.2, height_mm=15.4),
    Sensor(models=("dsc-wx220",), width_mm=6.17, height_mm=4.63),
    Sensor(models=("canon powershot s110",), width_mm=7.44, height_mm=5.58),
)


def find_sensor(model: str, focal_mm: float) -> Sensor | None:
    """Return the sensor of a camera model with a lens of a focal length, if it is known.

    Examples
    --------
    >>> find_sensor("FC300S", 3.61).width_mm
    6.16
    """
    name = model.strip().casefold()
    for sensor in SENSORS:
        fits = sensor.focal_mm is None or (abs(focal_mm / sensor.focal_mm - 1) < FOCAL_TOLERANCE)
        if name in sensor.models and fits:
            return sensor
    return None


def focal_px(sensor: Sensor, focal_mm: float, width_px: int, height_px: int) -> float:
    """Return the focal length in pixels of a picture from a sensor, cropped or resampled.

    Notes
    -----
    A picture wider than the sensor is taken to span its full width (16:9 from a 4:3 sensor
    loses rows), a narrower one its full height (4:3 from a 3:2 sensor loses columns).  Digital
    zoom comes on top of it.

    Examples
    --------
    >>> round(focal_px(find_sensor("FC300S", 3.61), 3.61, 4000, 2250))
    2344
    """
    # Half a percent keeps pictures that miss a few rows of the sensor on the first branch.
    if width_px / height_px > 0.995 * sensor.width_mm / sensor.height_mm:
        return focal_mm / sensor.width_mm * width_px
    return focal_mm / sensor.height_mm * height_px
