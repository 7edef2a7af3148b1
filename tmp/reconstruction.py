"""Oriented photographs and tie points, as they pass from orientation to the products."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.cameras import Camera, Pose
from tmp.errors import InputError, VersionError
from tmp.files import read_json, replacing, write_json
from tmp.geo.frames import LocalFrame

FORMAT_VERSION = 2
"""Of the two files a reconstruction is stored in; raised when older readers would go wrong."""

JSON_NAME = "reconstruction.json"
POINTS_NAME = "tie_points.npz"
OBSERVED = "observed_"
"""Begins the names of `Observations` in that file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientedPhoto:
    """One photograph with its exterior orientation."""

    name: str
    """As in `tmp.captures.Capture.name`."""
    camera_id: str
    pose: Pose
    gnss_residual_m: tuple[float, float, float] | None = None
    """Adjusted minus recorded projection centre, east, north, up; None without a position."""
    observations: int = 0
    """Tie point observations in this photograph."""
    mean_residual_px: float = float("nan")
    """Mean reprojection residual of those observations."""
    sigma_m: tuple[float, float, float] | None = None
    """Standard deviation of the adjusted projection centre, east, north, up; None where the block
    has no scale or is too large to tell."""
    sigma_deg: tuple[float, float, float] | None = None
    """Standard deviation of the rotation about the camera's x, y and z axes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalScale:
    """How firmly the block itself fixes its vertical scale.

    The block is solved again with the focal length held at 0.95 and 1.05 of its value; where the
    residual hardly moves but the height above ground does, the scale rests on the metadata.
    """

    focal_factors: tuple[float, ...]
    mean_residual_px: tuple[float, ...]
    """Mean reprojection residual at each factor."""
    height_agl_m: tuple[float, ...]
    """Median height of the cameras above the tie points at each factor."""
    sigma_scale: float
    """Standard deviation of the vertical scale as a fraction, from residuals and priors."""
    weak: bool
    """Whether the block alone leaves the scale looser than 0.4 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Where photographs see tie points, K times."""

    photo: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Index of the photograph in `Reconstruction.photos`, (K,)."""
    point: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Index of the tie point in `Reconstruction.points`, (K,)."""
    xy_px: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """Image coordinates, full size, corner origin, (K, 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InteriorPrecision:
    """How precisely self-calibration knows a camera, and what it cannot tell apart."""

    names: tuple[str, ...]
    """Attributes of `tmp.cameras.Camera`, P of them."""
    sigmas: tuple[float, ...]
    """Standard deviations after the adjustment, in each attribute's unit, (P,)."""
    correlation: tuple[tuple[float, ...], ...]
    """(P, P), -1 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """The result of orientation; world coordinates are those of ``frame``."""

    frame: LocalFrame
    cameras: dict[str, Camera]
    """Adjusted interior orientation by camera id."""
    priors: dict[str, Camera]
    """Interior orientation as it came from the metadata."""
    photos: tuple[OrientedPhoto, ...]
    left_out: dict[str, str]
    """Photographs that could not be oriented, with the reason in words."""
    points: NDArray[np.float64]
    """Tie points, world, (N, 3)."""
    point_views: NDArray[np.int32]
    """Number of photographs that see each tie point, (N,)."""
    point_residuals_px: NDArray[np.float32]
    """Mean reprojection residual of each tie point, (N,)."""
    observations: Observations = field(default_factory=Observations)
    """What sees what; empty in results of versions that did not keep it."""
    interior: dict[str, InteriorPrecision] = field(default_factory=dict)
    """How well each camera is known, by camera id; empty where the block is too large to tell."""
    vertical_scale: VerticalScale | None = None
    warnings: tuple[str, ...] = ()
    """In plain words, for the report."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Further numbers for the report, JSON-able: pairs matched, verified, inliers, ..."""


def write_reconstruction(reconstruction: Reconstruction, folder: Path) -> None:
    """Write a reconstruction as ``reconstruction.json`` and ``tie_points.npz``.

    Each file is complete or not there; the JSON, written last, names what belongs together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen = reconstruction.observations
    with replacing(folder / POINTS_NAME) as partial:
        np.savez_compressed(
            partial,
            points=reconstruction.points,
            point_views=reconstruction.point_views,
            point_residuals_px=reconstruction.point_residuals_px,
            **{f"{OBSERVED}{name}": value for name, value in asdict(seen).items()},
        )
    scale = reconstruction.vertical_scale
    document = {
        "format_version": FORMAT_VERSION,
        "points": len(reconstruction.points),
        "frame": {"origin": reconstruction.frame.origin, "crs": reconstruction.frame.crs},
        "cameras": {key: asdict(camera) for key, camera in reconstruction.cameras.items()},
        "priors": {key: asdict(camera) for key, camera in reconstruction.priors.items()},
        "photos": [_photo_to_json(photo) for photo in reconstruction.photos],
        "left_out": reconstruction.left_out,
        "interior": {key: asdict(known) for key, known in reconstruction.interior.items()},
        "vertical_scale": None if scale is None else asdict(scale),
        "warnings": reconstruction.warnings,
        "figures": reconstruction.figures,
    }
    write_json(folder / JSON_NAME, document, indent=1, for_people=True)


def read_reconstruction(folder: Path) -> Reconstruction:
    """Read what `write_reconstruction` wrote.

    Raises `InputError` if the folder holds no complete reconstruction; `VersionError` if a newer
    version of the platform wrote it.
    """
    path = folder / JSON_NAME
    try:
        document = read_json(path)
        version = document["format_version"]
        if version > FORMAT_VERSION:
            raise VersionError(
                f"{path}: format {version} is newer than this program's {FORMAT_VERSION}; upgrade"
            )
        with np.load(folder / POINTS_NAME) as stored:
            points = {key: stored[key] for key in stored.files}
        if len(points["points"]) != document["points"]:
            raise ValueError(f"{POINTS_NAME} belongs to another run")
        return _from_json(document, points)
    except VersionError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a complete reconstruction ({error}); run again") from error


def _from_json(document: dict[str, Any], points: dict[str, Any]) -> Reconstruction:
    scale = document["vertical_scale"]
    observed = [name for name in points if name.startswith(OBSERVED)]
    seen = {name.removeprefix(OBSERVED): points.pop(name) for name in observed}
    return Reconstruction(
        frame=LocalFrame(**_with_tuples(document["frame"])),
        cameras={key: Camera(**camera) for key, camera in document["cameras"].items()},
        priors={key: Camera(**camera) for key, camera in document["priors"].items()},
        photos=tuple(_photo_from_json(photo) for photo in document["photos"]),
        left_out=document["left_out"],
        **points,
        observations=Observations(**seen),
        interior={
            key: InteriorPrecision(
                names=tuple(known["names"]),
                sigmas=tuple(known["sigmas"]),
                correlation=tuple(map(tuple, known["correlation"])),
            )
            for key, known in document.get("interior", {}).items()
        },
        vertical_scale=None if scale is None else VerticalScale(**_with_tuples(scale)),
        warnings=tuple(document["warnings"]),
        figures=document["figures"],
    )


def _with_tuples(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with JSON's lists as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _photo_to_json(photo: OrientedPhoto) -> dict[str, Any]:
    residual = photo.mean_residual_px
    return {
        "name": photo.name,
        "camera_id": photo.camera_id,
        "rotation": photo.pose.rotation.tolist(),
        "translation": photo.pose.translation.tolist(),
        "gnss_residual_m": photo.gnss_residual_m,
        "observations": photo.observations,
        "mean_residual_px": residual if np.isfinite(residual) else None,
        "sigma_m": photo.sigma_m,
        "sigma_deg": photo.sigma_deg,
    }


def _photo_from_json(photo: dict[str, Any]) -> OrientedPhoto:
    rotation, translation = (np.array(photo.pop(key)) for key in ("rotation", "translation"))
    residual = photo.pop("mean_residual_px")
    return OrientedPhoto(
        **_with_tuples(photo),
        pose=Pose(rotation=rotation, translation=translation),
        mean_residual_px=float("nan") if residual is None else residual,
    )
