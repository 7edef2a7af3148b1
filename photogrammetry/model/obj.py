"""Models as Wavefront OBJ: for programs that edit meshes and have no use for glTF.

References
----------
Wavefront Technologies (1995). Object files (.obj), appendix B1 of the Advanced Visualizer manual,
    and its material library (.mtl).
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from photogrammetry.model.glb import Model, Part
from tmp.files import replacing

OBJ, MTL, PRJ, OFFSET = "model.obj", "model.mtl", "model.prj", "offset.txt"
BYTES_PER_CORNER, BYTES_PER_FACE = 80, 70
"""What they take as text, at most about so much."""


def obj_bytes(model: Model) -> int:
    """Return about how large the files of a model will be at most."""
    text = BYTES_PER_CORNER * model.corners + BYTES_PER_FACE * model.faces
    return text + sum(map(len, model.pictures))


def write_obj(
    folder: Path, model: Model, *, offset: tuple[float, float, float], crs: str | None
) -> None:
    """Write a model, its materials and pictures into a folder; x is east, y north and z up.

    Corners are map coordinates less the offset, which ``offset.txt`` says in CloudCompare's words:
    the single precision of most programs has no room for whole coordinates.  Where the map has a
    CRS, ``model.prj`` has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(model.pictures):
        with replacing(folder / _picture(number)) as partial:
            partial.write_bytes(picture)
    with replacing(folder / MTL) as partial, partial.open("w", encoding="ascii") as file:
        for number, part in enumerate(model.parts):
            tint = " ".join(f"{share:g}" for share in part.tint)
            file.write(f"newmtl {_material(number, part)}\nKa {tint}\nKd {tint}\nKs 0 0 0\n")
            file.write(f"illum 1\nmap_Kd {_picture(part.picture)}\n\n")
    with replacing(folder / OBJ) as partial, partial.open("w", encoding="ascii") as file:
        east_m, north_m, up_m = offset
        file.write(f"# metres east, north and up of {east_m:.0f} {north_m:.0f} {up_m:.0f}\n")
        file.write(f"mtllib {MTL}\n")
        first = 1
        for number, part in enumerate(model.parts):
            file.write(f"usemtl {_material(number, part)}\n")
            _write_rows(file, "v %.4f %.4f %.4f\n", part.points)
            # Places in pictures count from the lower left.
            _write_rows(file, "vt %.6f %.6f\n", np.column_stack([part.uv[:, 0], 1 - part.uv[:, 1]]))
            _write_rows(file, "vn %.3f %.3f %.3f\n", part.normals)
            corners = np.repeat(part.faces.astype(np.int64) + first, 3, axis=1)
            _write_rows(file, "f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners)
            first += len(part.points)
    with replacing(folder / OFFSET) as partial:
        partial.write_text(_about_offset(offset, crs), encoding="utf-8")
    if crs is not None:
        with replacing(folder / PRJ) as partial:
            partial.write_text(CRS.from_user_input(crs).to_wkt("WKT1_ESRI"), encoding="utf-8")


def _write_rows(file: TextIO, pattern: str, rows: NDArray[np.generic]) -> None:
    file.writelines(pattern % tuple(row) for row in rows.tolist())


def _picture(number: int) -> str:
    return f"picture_{number + 1}.jpg"


def _material(number: int, part: Part) -> str:
    """Return a name without blanks, each part its own."""
    return f"{number + 1}_{part.name.replace(',', '').replace(' ', '_')}"


def _about_offset(offset: tuple[float, float, float], crs: str | None) -> str:
    east_m, north_m, up_m = offset
    shift = " ".join(f"{0 - value:.0f}" for value in offset)
    return (
        f"What is to be added to {OBJ}:\n"
        f"  x  {east_m:.3f}  easting\n  y  {north_m:.3f}  northing\n  z  {up_m:.3f}  height\n"
        f"CRS: {crs or 'none: the photographs have no positions'}\n"
        f"CloudCompare: as global shift enter {shift}; it adds the offset when it saves.\n"
        "MeshLab: opens the file as it is.\n"
        "Blender: import with forward axis Y and up axis Z.\n"
    )
