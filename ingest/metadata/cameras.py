"""The interior orientation prior of a photograph's camera, from the best evidence in its tags.

In falling order: the maker's calibration of this very lens, the designed focal length in pixels, a
known sensor, the focal plane resolution, the 35 mm equivalent, and a guess.

A fisheye calibration is put in the terms of Brown's model, as near as it comes inside the picture.

The table of sensor sizes turns millimetres of focal length into pixels.  Its figures are the
light-sensitive area that a full-size photograph covers, from makers' data sheets or as pixel pitch
times pixels; where the maker records a designed focal length in pixels (DJI's
CalibratedFocalLength), the pitch follows from it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ingest.metadata.exif import Tags, numbers_in
from tmp.cameras import Camera
from tmp.errors import InputError

FOCAL_TOLERANCE = 0.1
"""How far a lens may differ from a row's, as a fraction, and still be that row's lens."""

Float = NDArray[np.float64]
SAMPLES = 400
DIAGONAL_35MM = math.hypot(36.0, 24.0)
SIGMA = {
    "calibrated": 0.005,
    "designed": 0.02,
    "sensor": 0.02,
    "focal plane": 0.02,
    "35 mm": 0.04,
    "guess": 0.15,
}
"""Standard deviation of the focal length as a fraction, by evidence.

A designed focal length is no better than a sensor table: on a Phantom 4 Multispectral it differs
from the calibrated one by 2 to 3 %.
"""
MOST_FIT_ERROR_PX = 0.5
"""Difference in the corner beyond which Brown's model cannot stand for a fisheye."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FisheyeLens:
    """Pix4D's fisheye model without shear, as Parrot's Sequoia writes it.

    References
    ----------
    Pix4D, "How are the internal and external camera parameters defined?": for a point at the
    angle t from the axis ``θ = 2 t / π``, ``ρ = p0 + p1 θ + p2 θ² + p3 θ³``, and the distance
    from the principal point is ``C ρ``.
    """

    polynomial: tuple[float, ...]
    """p0, p1, p2, p3."""
    scale_px: float
    """C, the mean of the affine matrix's diagonal."""

    def radius_px(self, tangent: Float) -> Float:
        """Return the distance from the principal point of rays by the tangent of their angle."""
        theta = 2 / np.pi * np.arctan(tangent)
        powers = theta[..., None] ** np.arange(len(self.polynomial))
        return np.asarray(self.scale_px * (powers @ np.array(self.polynomial)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownFit:
    """A lens of Brown's model, and how far it is from what it stands for."""

    focal_px: float
    k1: float
    k2: float
    k3: float
    rms_px: float
    """Root mean square over the picture, each ring counted by its area."""
    max_px: float
    """Largest difference, in the picture's farthest corner."""


@lru_cache(maxsize=64)  # a survey's photographs come from a few lenses
def fit_brown(lens: FisheyeLens, farthest_px: float) -> BrownFit:
    """Fit Brown's radial model to a fisheye's out to the farthest corner of the picture.

    Raises `InputError` if the fisheye does not reach that far, or does so at an angle beyond 70°
    where no polynomial of Brown's holds.

    Least squares on the distance, with weights in proportion to a ring's area.  At the 45° of a
    Sequoia's corners the fit is within 0.2 px, and 0.06 px over the picture; at 60° it is not.
    """
    tangents = np.linspace(0.0, np.tan(np.radians(70.0)), 50 * SAMPLES)
    radius = lens.radius_px(tangents)
    if not (np.diff(radius) > 0).all() or radius[-1] < farthest_px:
        raise InputError(
            f"fisheye polynomial {lens.polynomial!r} does not reach the picture's corner, "
            f"{farthest_px:.0f} px from the middle, within 70°"
        )
    wanted_px = np.linspace(0.0, farthest_px, SAMPLES + 1)[1:]
    tangent = np.interp(wanted_px, radius, tangents)
    design = tangent[:, None] ** np.array([1, 3, 5, 7])
    weight = np.sqrt(wanted_px)[:, None]
    found, *_ = np.linalg.lstsq(design * weight, wanted_px * weight[:, 0], rcond=None)
    error = design @ found - wanted_px
    focal_px = float(found[0])
    k1, k2, k3 = (float(value) / focal_px for value in found[1:])
    return BrownFit(
        focal_px=focal_px,
        k1=k1,
        k2=k2,
        k3=k3,
        rms_px=float(np.sqrt((error**2 * wanted_px).sum() / wanted_px.sum())),
        max_px=float(np.abs(error).max()),
    )


def propose_camera(tags: Tags) -> Camera:
    """Return the camera of a photograph of known size, with its prior and where it comes from."""
    ordinary_px = round(0.85 * max(tags.width_px, tags.height_px), 3)
    return (
        _from_dewarp_data(tags)
        or _from_perspective_model(tags)
        or _from_fisheye_model(tags)
        or _from_designed_focal(tags)
        or _from_sensor(tags)
        or _from_focal_plane(tags)
        or _from_35mm(tags)
        or _camera(tags, ordinary_px, "guess", "guess: no focal length")
    )


def camera_id(tags: Tags) -> str:
    """Return make, model, band, size, lens, zoom and the end of the serial number in one word.

    Two drones of one model are two cameras, each with its own interior orientation.

    Examples
    --------
    >>> camera_id(Tags(kind="jpeg", width_px=4000, height_px=3000))
    'camera-4000x3000'
    """
    make, model = tags.text("Image Make"), tags.text("Image Model")
    if model.casefold().startswith(make.casefold()):
        make = ""
    focal_mm, zoom = tags.number("EXIF FocalLength"), _zoom(tags)
    serial = tags.xmp_text("CameraSerialNumber") or tags.text("EXIF BodySerialNumber")
    parts = (
        make,
        model if make or model else "camera",
        tags.xmp_text("BandName").split(",")[0],
        f"{tags.width_px}x{tags.height_px}",
        f"{focal_mm:.2f}mm" if focal_mm else "",
        f"zoom{zoom:g}" if zoom > 1 else "",
        serial[-4:],
    )
    words = (re.sub(r"[^a-z0-9.]+", "-", part.casefold()).strip("-.") for part in parts)
    return "-".join(word for word in words if word)


def _zoom(tags: Tags) -> float:
    """Return the digital zoom; 1 without, and where a camera writes zero for none."""
    return max(1.0, tags.number("EXIF DigitalZoomRatio") or 1.0)


def _camera(tags: Tags, fx_px: float, evidence: str, source: str, **known: float) -> Camera:
    """Return a camera: a pinhole, principal point in the middle, but for what is known better."""
    usual = {"fy_px": fx_px, "cx_px": tags.width_px / 2, "cy_px": tags.height_px / 2}
    return Camera(
        camera_id=camera_id(tags),
        width_px=tags.width_px,
        height_px=tags.height_px,
        fx_px=fx_px,
        **(usual | known),
        focal_sigma=SIGMA[evidence],
        distortion_known=evidence == "calibrated",
        source=source,
    )


def _pinhole(tags: Tags, focal: float, evidence: str, source: str) -> Camera | None:
    """Return a pinhole, unless its focal length cannot be."""
    return _camera(tags, round(focal, 3), evidence, source) if _plausible(tags, focal) else None


def _calibrated_scale(tags: Tags) -> float:
    """Return stored over original width, for photographs resampled after the flight."""
    original = tags.number("EXIF ExifImageWidth")
    if tags.kind == "jpeg" and original and original > tags.width_px:
        return tags.width_px / original
    return 1.0


def _plausible(tags: Tags, focal: float) -> bool:
    return 0.2 < focal / max(tags.width_px, tags.height_px) < 20


def _from_dewarp_data(tags: Tags) -> Camera | None:
    """DJI's calibration: ``date;fx,fy,cx,cy,k1,k2,p1,p2,k3``, cx and cy from the centre.

    References
    ----------
    DJI Mavic 3M user manual, XMP field list.  With DewarpFlag 1 the picture in the file is
    already free of distortion.
    """
    date, _, listed = tags.xmp_text("DewarpData").rpartition(";")
    values = numbers_in(listed)
    if len(values) != 9:
        return None
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = values
    scale = _calibrated_scale(tags)
    offset = max(abs(cx), abs(cy)) * scale / max(tags.width_px, tags.height_px)
    if not _plausible(tags, fx * scale) or not 0.9 < fy / fx < 1.1 or offset > 0.1:
        return None
    known = {
        "fy_px": fy * scale,
        "cx_px": tags.width_px / 2 + cx * scale,
        "cy_px": tags.height_px / 2 + cy * scale,
    }
    if tags.xmp_number("DewarpFlag") == 1:
        state = "already dewarped"
    else:
        state = f"calibrated {date or 'without date'}"
        known |= {"k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3}
    return _camera(tags, fx * scale, "calibrated", f"DJI dewarp data ({state})", **known)


def _from_perspective_model(tags: Tags) -> Camera | None:
    """Pix4D's perspective model as MicaSense writes it: k1, k2, k3, p1, p2; centre in mm."""
    focal = tags.xmp_number("PerspectiveFocalLength")
    distortion = tags.xmp_numbers("PerspectiveDistortion")
    resolution = _pixels_per_mm(tags)
    if not focal or len(distortion) != 5:
        return None
    if tags.xmp_text("PerspectiveFocalLengthUnits") == "mm":
        focal = focal * resolution if resolution else 0.0
    if not _plausible(tags, focal):
        return None
    known = dict(zip(("k1", "k2", "k3", "p1", "p2"), distortion, strict=True))
    centre = tags.xmp_numbers("PrincipalPoint")
    if len(centre) == 2 and resolution:
        known |= {"cx_px": centre[0] * resolution, "cy_px": centre[1] * resolution}
    return _camera(tags, focal, "calibrated", "maker's perspective calibration", **known)


def _from_fisheye_model(tags: Tags) -> Camera | None:
    """Pix4D's fisheye model as Parrot writes it, as the Brown model nearest to it."""
    polynomial = tags.xmp_numbers("FisheyePolynomial")
    affine = tags.xmp_numbers("FisheyeAffineMatrix")
    centre, resolution = tags.xmp_numbers("PrincipalPoint"), _pixels_per_mm(tags)
    if len(polynomial) != 4 or len(affine) != 4 or len(centre) != 2 or not resolution:
        return None
    cx, cy = centre[0] * resolution, centre[1] * resolution
    farthest_px = math.hypot(max(cx, tags.width_px - cx), max(cy, tags.height_px - cy))
    lens = FisheyeLens(polynomial=tuple(polynomial), scale_px=(affine[0] + affine[3]) / 2)
    try:
        brown = fit_brown(lens, farthest_px)
    except InputError:
        return None
    if brown.max_px > MOST_FIT_ERROR_PX or not _plausible(tags, brown.focal_px):
        return None
    source = f"maker's fisheye calibration (as Brown's model: {brown.rms_px:.2f} px)"
    known = {"cx_px": cx, "cy_px": cy, "k1": brown.k1, "k2": brown.k2, "k3": brown.k3}
    return _camera(tags, brown.focal_px, "calibrated", source, **known)


def _from_designed_focal(tags: Tags) -> Camera | None:
    focal = (tags.xmp_number("CalibratedFocalLength") or 0.0) * _calibrated_scale(tags)
    return _pinhole(tags, focal, "designed", "designed focal length (CalibratedFocalLength)")


def _from_sensor(tags: Tags) -> Camera | None:
    focal_mm = tags.number("EXIF FocalLength")
    sensor = find_sensor(tags.text("Image Model"), focal_mm) if focal_mm else None
    if not focal_mm or sensor is None:
        return None
    focal = _zoom(tags) * focal_px(sensor, focal_mm, tags.width_px, tags.height_px)
    source = f"sensor table ({focal_mm:.2f} mm on {sensor.width_mm:g} × {sensor.height_mm:g} mm)"
    return _pinhole(tags, focal, "sensor", source)


def _pixels_per_mm(tags: Tags) -> float | None:
    """Return the focal plane resolution; EXIF units 2 inch, 3 cm, and 4 mm, 5 µm by custom."""
    resolution = tags.number("EXIF FocalPlaneXResolution")
    mm = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}.get(
        int(tags.number("EXIF FocalPlaneResolutionUnit") or 2)
    )
    return resolution / mm if resolution and mm else None


def _from_focal_plane(tags: Tags) -> Camera | None:
    focal_mm, resolution = tags.number("EXIF FocalLength"), _pixels_per_mm(tags)
    if not focal_mm or not resolution:
        return None
    focal = focal_mm * resolution * _calibrated_scale(tags) * _zoom(tags)
    return _pinhole(tags, focal, "focal plane", f"EXIF focal plane ({resolution:.1f} px/mm)")


def _from_35mm(tags: Tags) -> Camera | None:
    """Use the 35 mm equivalent, by the rule of equal diagonals (CIPA DCG-001, 2018).

    Makers state it for the full sensor; a 16:9 picture cut from 4:3 has a shorter diagonal, so
    that of the 4:3 picture of the same width is used.
    """
    equivalent_mm = tags.number("EXIF FocalLengthIn35mmFilm")
    if not equivalent_mm:
        return None
    short_px, long_px = sorted((tags.width_px, tags.height_px))
    if long_px / short_px > 1.7:
        short_px = round(long_px * 3 / 4)
    focal = equivalent_mm / DIAGONAL_35MM * math.hypot(long_px, short_px)
    return _pinhole(tags, focal, "35 mm", f"35 mm equivalent ({equivalent_mm:g} mm)")
