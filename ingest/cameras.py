"""The interior orientation prior of a photograph's camera, from the best evidence in its tags.

In falling order: the maker's calibration of this very lens, the designed focal length in pixels,
a known sensor, the focal plane resolution, the 35 mm equivalent, and a guess.
"""

from __future__ import annotations

import math
import re

from ingest.fisheye import FisheyeLens, fit_brown
from ingest.sensors import find_sensor, focal_px
from ingest.tags import Tags, numbers_in
from tmp.cameras import Camera
from tmp.errors import InputError

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


def propose_camera(tags: Tags) -> Camera:
    """Return the camera of a readable photograph with its prior and where it comes from.

    Parameters
    ----------
    tags : Tags
        With ``width_px`` and ``height_px`` known.
    """
    return (
        _from_dewarp_data(tags)
        or _from_perspective_model(tags)
        or _from_fisheye_model(tags)
        or _from_designed_focal(tags)
        or _from_sensor(tags)
        or _from_focal_plane(tags)
        or _from_35mm(tags)
        or _pinhole(
            tags, 0.85 * max(tags.width_px, tags.height_px), "guess", "guess: no focal length"
        )
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


def _pinhole(tags: Tags, focal: float, evidence: str, source: str) -> Camera:
    return Camera(
        camera_id=camera_id(tags),
        width_px=tags.width_px,
        height_px=tags.height_px,
        fx_px=round(focal, 3),
        fy_px=round(focal, 3),
        cx_px=tags.width_px / 2,
        cy_px=tags.height_px / 2,
        focal_sigma=SIGMA[evidence],
        source=source,
    )


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
    dewarped = tags.xmp_number("DewarpFlag") == 1
    distortion = dict.fromkeys(("k1", "k2", "p1", "p2", "k3"), 0.0)
    if not dewarped:
        distortion = {"k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3}
    state = "already dewarped" if dewarped else f"calibrated {date or 'without date'}"
    return Camera(
        camera_id=camera_id(tags),
        width_px=tags.width_px,
        height_px=tags.height_px,
        fx_px=fx * scale,
        fy_px=fy * scale,
        cx_px=tags.width_px / 2 + cx * scale,
        cy_px=tags.height_px / 2 + cy * scale,
        **distortion,
        focal_sigma=SIGMA["calibrated"],
        distortion_known=True,
        source=f"DJI dewarp data ({state})",
    )


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
    centre = tags.xmp_numbers("PrincipalPoint")
    if len(centre) == 2 and resolution:
        cx, cy = centre[0] * resolution, centre[1] * resolution
    else:
        cx, cy = tags.width_px / 2, tags.height_px / 2
    k1, k2, k3, p1, p2 = distortion
    return Camera(
        camera_id=camera_id(tags),
        width_px=tags.width_px,
        height_px=tags.height_px,
        fx_px=focal,
        fy_px=focal,
        cx_px=cx,
        cy_px=cy,
        k1=k1,
        k2=k2,
        p1=p1,
        p2=p2,
        k3=k3,
        focal_sigma=SIGMA["calibrated"],
        distortion_known=True,
        source="maker's perspective calibration",
    )


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
    return Camera(
        camera_id=camera_id(tags),
        width_px=tags.width_px,
        height_px=tags.height_px,
        fx_px=brown.focal_px,
        fy_px=brown.focal_px,
        cx_px=cx,
        cy_px=cy,
        k1=brown.k1,
        k2=brown.k2,
        k3=brown.k3,
        focal_sigma=SIGMA["calibrated"],
        distortion_known=True,
        source=f"maker's fisheye calibration (as Brown's model: {brown.rms_px:.2f} px)",
    )


def _from_designed_focal(tags: Tags) -> Camera | None:
    focal = (tags.xmp_number("CalibratedFocalLength") or 0.0) * _calibrated_scale(tags)
    if not _plausible(tags, focal):
        return None
    return _pinhole(tags, focal, "designed", "designed focal length (CalibratedFocalLength)")


def _from_sensor(tags: Tags) -> Camera | None:
    focal_mm = tags.number("EXIF FocalLength")
    sensor = find_sensor(tags.text("Image Model"), focal_mm) if focal_mm else None
    if not focal_mm or sensor is None:
        return None
    focal = _zoom(tags) * focal_px(sensor, focal_mm, tags.width_px, tags.height_px)
    source = f"sensor table ({focal_mm:.2f} mm on {sensor.width_mm:g} × {sensor.height_mm:g} mm)"
    return _pinhole(tags, focal, "sensor", source) if _plausible(tags, focal) else None


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
    if not _plausible(tags, focal):
        return None
    return _pinhole(tags, focal, "focal plane", f"EXIF focal plane ({resolution:.1f} px/mm)")


def _from_35mm(tags: Tags) -> Camera | None:
    """Use the 35 mm equivalent, by the rule of equal diagonals (CIPA DCG-001, 2018).

    Notes
    -----
    Makers state it for the full sensor; a 16:9 picture cut from 4:3 has a shorter diagonal, so
    that of the 4:3 picture of the same width is used.
    """
    equivalent_mm = tags.number("EXIF FocalLengthIn35mmFilm")
    if not equivalent_mm:
        return None
    long_px, short_px = (
        max(tags.width_px, tags.height_px),
        min(tags.width_px, tags.height_px),
    )
    if long_px / short_px > 1.7:
        short_px = round(long_px * 3 / 4)
    focal = equivalent_mm / DIAGONAL_35MM * math.hypot(long_px, short_px)
    if not _plausible(tags, focal):
        return None
    return _pinhole(tags, focal, "35 mm", f"35 mm equivalent ({equivalent_mm:g} mm)")
