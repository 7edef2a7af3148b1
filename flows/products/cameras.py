"""Where the photographs were taken, as other programs read it: GeoJSON, CSV, and COLMAP's text.

``cameras.geojson`` has each photograph as a point, ``cameras.csv`` its exterior orientation in the
map's grid with omega, phi and kappa, and ``colmap/`` poses, lenses and tie points in the survey's
local frame.  ``docs/camera-poses.md`` has the conventions.

Omega, phi and kappa turn image axes, x right, y up, z away from the ground, to easting, northing
and height: ``map_from_image = Rx(omega) Ry(phi) Rz(kappa)``, as PATB, Pix4D and Metashape have it.

References
----------
Kraus, K. (2007). Photogrammetry: Geometry from Images and Laser Scans, 2nd edition, appendix 2.1-1
(primary rotation omega, secondary phi, tertiary kappa).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.captures import Capture
from tmp.files import replacing, write_json
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import OrientedPhoto, Reconstruction

Float = NDArray[np.float64]

GEOJSON, CSV, COLMAP = "cameras.geojson", "cameras.csv", "colmap"
COLMAP_FILES = ("cameras.txt", "images.txt", "points3D.txt")
POSE_FILES = (GEOJSON, CSV, *(f"{COLMAP}/{name}" for name in COLMAP_FILES))
"""All that `write_cameras` writes, below ``products/``."""
STEP_M = 1.0
"""Way along each axis of the world by which the map's axes are found."""
IMAGE_FROM_CAM = np.diag([1.0, -1.0, -1.0])
"""From x right, y down, z forward to x right, y up, z backward."""
GREY = "128 128 128"
"""Colour of tie points, which have none of their own."""


def write_cameras(
    reconstruction: Reconstruction, captures: Sequence[Capture], products_dir: Path
) -> list[Path]:
    """Write adjusted poses in all three forms; returns the files' paths."""
    products_dir.mkdir(parents=True, exist_ok=True)
    rows = list(pose_rows(reconstruction, captures))
    write_json(products_dir / GEOJSON, _geojson(reconstruction, rows), indent=1, for_people=True)
    with replacing(products_dir / CSV) as temporary:
        temporary.write_text(_csv(rows), encoding="utf-8", newline="\n")
    write_colmap(reconstruction, products_dir / COLMAP)
    return [products_dir / name for name in POSE_FILES]


def pose_rows(
    reconstruction: Reconstruction, captures: Sequence[Capture]
) -> Iterator[dict[str, Any]]:
    """Yield the orientation of each photograph, lengths in units where a block has no scale."""
    frame = reconstruction.frame
    unit = "m" if frame.referenced else "units"
    x, y, z = ("easting_m", "northing_m", "height_m") if unit == "m" else ("x", "y", "z")
    times = {capture.name: capture.time_utc for capture in captures}
    centres = np.array([photo.pose.centre for photo in reconstruction.photos]).reshape(-1, 3)
    places = frame.map_from_world(centres)
    geodetic = frame.geodetic_from_world(centres) if frame.referenced else None
    for i, photo in enumerate(reconstruction.photos):
        angles_deg = omega_phi_kappa_deg(frame, photo)
        time = times.get(photo.name)
        row: dict[str, Any] = {
            "photograph": photo.name,
            "camera": photo.camera_id,
            "time_utc": "" if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}",
        }
        row |= _named((x, y, z), places[i], 4)
        if geodetic is not None:
            row |= _named(("longitude_deg", "latitude_deg"), geodetic[i, :2], 9)
        row |= _named(("omega_deg", "phi_deg", "kappa_deg"), angles_deg, 6)
        if unit == "m":
            row |= _named(("sigma_east_m", "sigma_north_m", "sigma_up_m"), photo.sigma_m, 4)
            row |= _named(("sigma_x_deg", "sigma_y_deg", "sigma_z_deg"), photo.sigma_deg, 5)
            off = ("gnss_residual_east_m", "gnss_residual_north_m", "gnss_residual_up_m")
            row |= _named(off, photo.gnss_residual_m, 4)
        row |= {"tie_points": photo.observations}
        row |= _named(("mean_residual_px",), (photo.mean_residual_px,), 3)
        yield row


def _named(
    names: Sequence[str], values: Sequence[float] | Float | None, digits: int
) -> dict[str, float | None]:
    """Return rounded numbers by name; None for what is not known."""
    if values is None:
        return dict.fromkeys(names)
    return {
        name: round(float(value), digits) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }


def omega_phi_kappa_deg(frame: LocalFrame, photo: OrientedPhoto) -> Float:
    """Return a photograph's rotation in the map's grid as omega, phi, kappa, degrees, (3,).

    The grid's axes at the camera are the nearest rotation to the world's as the map shows them:
    they differ by the convergence of meridians and by the way the Earth's surface bends.
    """
    map_from_world = _map_axes(frame, photo.pose.centre)
    map_from_image = map_from_world @ photo.pose.rotation.T @ IMAGE_FROM_CAM
    from scipy.spatial.transform import Rotation  # not for a run with nothing to do

    return np.asarray(Rotation.from_matrix(map_from_image).as_euler("XYZ", degrees=True))


def _map_axes(frame: LocalFrame, centre: Float) -> Float:
    """Return the rotation (3, 3) from world axes to those of the map at a world point (3,)."""
    steps = STEP_M * np.eye(3)
    ends = frame.map_from_world(np.vstack([centre + steps, centre - steps]))
    u, _, vt = np.linalg.svd((ends[:3] - ends[3:]).T)
    return np.asarray(u @ vt)


def _geojson(reconstruction: Reconstruction, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the photographs as features; without a place they have no geometry."""
    features = []
    for row in rows:
        geometry = None
        if reconstruction.frame.referenced:
            place = [row["longitude_deg"], row["latitude_deg"], row["height_m"]]
            geometry = {"type": "Point", "coordinates": place}
        features.append({"type": "Feature", "geometry": geometry, "properties": row})
    return {"type": "FeatureCollection", "features": features}


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


class _Seen:
    """Observations by photograph and by tie point."""

    def __init__(self, reconstruction: Reconstruction) -> None:
        seen = reconstruction.observations
        self._by_photo, self._photo_starts = _sorted(seen.photo, len(reconstruction.photos))
        self._by_point, self._point_starts = _sorted(seen.point, len(reconstruction.points))
        self.place = np.empty(len(seen.photo), np.int64)
        """Place of each observation among those of its photograph, (K,)."""
        within = np.arange(len(seen.photo)) - self._photo_starts[seen.photo[self._by_photo]]
        self.place[self._by_photo] = within

    def of_photo(self, photo: int) -> NDArray[np.int64]:
        """Return the observations of a photograph."""
        return self._by_photo[self._photo_starts[photo] : self._photo_starts[photo + 1]]

    def of_point(self, point: int) -> NDArray[np.int64]:
        """Return the observations of a tie point."""
        return self._by_point[self._point_starts[point] : self._point_starts[point + 1]]


def _sorted(index: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order that groups observations by an index, and where each group begins."""
    order = np.argsort(index, kind="stable")
    return order, np.searchsorted(index[order], np.arange(count + 1))


def write_colmap(reconstruction: Reconstruction, folder: Path) -> None:
    """Write a reconstruction as COLMAP's text model.

    COLMAP ends a photograph's name at the first blank: blanks become ``%20``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number = {key: i for i, key in enumerate(sorted(reconstruction.cameras), 1)}
    head = _colmap_head(reconstruction)
    seen = _Seen(reconstruction)
    parts = (
        _colmap_cameras(reconstruction, number),
        _colmap_images(reconstruction, number, seen),
        _colmap_points(reconstruction, seen),
    )
    for name, lines in zip(COLMAP_FILES, parts, strict=True):
        with (
            replacing(folder / name) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(f"{line}\n" for line in (*head, *lines))


def _colmap_head(reconstruction: Reconstruction) -> tuple[str, ...]:
    origin = reconstruction.frame.origin
    if origin is None:
        return ("# World: no place, no north, no scale; lengths are in units of its own.",)
    longitude, latitude, height_m = origin
    return (
        "# World: metres east, north and up from longitude "
        f"{longitude:.9f}, latitude {latitude:.9f}, height {height_m:.4f} m (WGS 84).",
        "# Image coordinates: the corner of the first pixel is (0, 0).",
    )


def _colmap_cameras(reconstruction: Reconstruction, number: dict[str, int]) -> Iterator[str]:
    yield "# CAMERA_ID, MODEL, WIDTH, HEIGHT, fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, k5, k6"
    for key, index in number.items():
        c = reconstruction.cameras[key]
        lens = (c.fx_px, c.fy_px, c.cx_px, c.cy_px, c.k1, c.k2, c.p1, c.p2, c.k3, 0, 0, 0)
        yield f"# {index}: {key}"
        said = " ".join(f"{value:.12g}" for value in lens)
        yield f"{index} FULL_OPENCV {c.width_px} {c.height_px} {said}"


def _colmap_images(
    reconstruction: Reconstruction, number: dict[str, int], seen: _Seen
) -> Iterator[str]:
    from scipy.spatial.transform import Rotation

    yield "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME"
    yield "# POINTS2D[] as (X, Y, POINT3D_ID)"
    xy, point = reconstruction.observations.xy_px, reconstruction.observations.point
    for i, photo in enumerate(reconstruction.photos):
        x, y, z, w = Rotation.from_matrix(photo.pose.rotation).as_quat(canonical=True)
        pose = " ".join(f"{value:.12g}" for value in (w, x, y, z, *photo.pose.translation))
        name = "%20".join(photo.name.split())
        yield f"{i + 1} {pose} {number[photo.camera_id]} {name}"
        mine = seen.of_photo(i)
        yield " ".join(
            f"{u:.3f} {v:.3f} {j + 1}" for (u, v), j in zip(xy[mine], point[mine], strict=True)
        )


def _colmap_points(reconstruction: Reconstruction, seen: _Seen) -> Iterator[str]:
    yield "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"
    photo = reconstruction.observations.photo
    if not len(photo):
        return
    for j, (xyz, error) in enumerate(
        zip(reconstruction.points, reconstruction.point_residuals_px, strict=True)
    ):
        mine = seen.of_point(j)
        track = " ".join(f"{photo[k] + 1} {seen.place[k]}" for k in mine)
        x, y, z = xyz
        yield f"{j + 1} {x:.5f} {y:.5f} {z:.5f} {GREY} {error:.3f} {track}"
