"""Models as binary glTF: one file that viewers, Blender and browsers open.

References
----------
Khronos Group (2021). glTF 2.0 specification; extension KHR_materials_unlit: photographs are lit
    already.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.pictures import Picture
from tmp.files import replacing

Float32 = NDArray[np.float32]

UNLIT = "KHR_materials_unlit"
_FLOAT, _UNSIGNED_INT = 5126, 5125
_VERTICES, _INDICES = 34962, 34963
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_LINEAR, _TRILINEAR, _CLAMP = 9729, 9987, 33071
JPEG_QUALITY = 85
GENERATOR = "Terrestrial Mapping Platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Triangles that share a picture."""

    name: str
    points: Float32
    """Corners (N, 3): metres east, north and up of the model's origin."""
    normals: Float32
    """Unit normals (N, 3), same axes."""
    uv: Float32
    """Places in the picture (N, 2): shares of its width and height, from its upper left."""
    faces: NDArray[np.uint32]
    """(F, 3), anticlockwise seen from outside."""
    picture: int
    """Which of the model's pictures."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What the picture's red, green and blue are multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A textured mesh."""

    parts: Sequence[Part]
    pictures: Sequence[bytes]
    """JPEG files."""

    @property
    def corners(self) -> int:
        """Corners of all parts."""
        return sum(len(part.points) for part in self.parts)

    @property
    def faces(self) -> int:
        """Triangles of all parts."""
        return sum(len(part.faces) for part in self.parts)


def as_jpeg(picture: Picture) -> bytes:
    """Compress blue, green and red (rows, cols, 3)."""
    done, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    assert done
    return bytes(data)


def glb_bytes(model: Model) -> int:
    """Return about how large the file of a model will be."""
    return 32 * model.corners + 12 * model.faces + sum(map(len, model.pictures))


def write_glb(
    target: Path,
    model: Model,
    *,
    about: Mapping[str, Any],
    at: tuple[float, float, float] | None = None,
) -> None:
    """Write a model as GLB; the file appears only when complete.

    Axes become those of glTF: x east, y up, z south.  What is said `about` it, JSON-able, such as
    CRS and origin, stands in the extras of the asset and of the one node.  If the model's origin
    lies elsewhere than the file's, `at` says where: metres east, north and up.
    """
    binary = _Binary()
    primitives: list[dict[str, Any]] = []
    materials: list[dict[str, Any]] = []
    for part in model.parts:
        attributes = {
            "POSITION": binary.add(_y_up(part.points), "VEC3", ends=True),
            "NORMAL": binary.add(_y_up(part.normals), "VEC3"),
            "TEXCOORD_0": binary.add(part.uv, "VEC2"),
        }
        indices = binary.add(part.faces.reshape(-1, 1), "SCALAR")
        primitives.append(
            {"attributes": attributes, "indices": indices, "material": len(materials)}
        )
        materials.append(_material(part))
    images = [
        {"bufferView": binary.append(picture), "mimeType": "image/jpeg"}
        for picture in model.pictures
    ]
    document = {
        "asset": {"version": "2.0", "generator": GENERATOR, "extras": dict(about)},
        "extensionsUsed": [UNLIT],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "survey", "extras": dict(about), **_moved(at)}],
        "meshes": [{"name": "survey", "primitives": primitives}],
        "materials": materials,
        "textures": [{"source": n, "sampler": 0} for n in range(len(images))],
        "images": images,
        "samplers": [
            {"magFilter": _LINEAR, "minFilter": _TRILINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ],
        "accessors": binary.accessors,
        "bufferViews": binary.views,
        "buffers": [{"byteLength": binary.length}],
    }
    said = json.dumps(document, separators=(",", ":")).encode()
    said += b" " * (-len(said) % 4)
    total = 12 + 8 + len(said) + 8 + binary.length
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, partial.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, total))
        file.write(struct.pack("<II", len(said), _JSON) + said)
        file.write(struct.pack("<II", binary.length, _BINARY))
        file.writelines(binary.chunks)


def read_glb(source: Path) -> tuple[Model, dict[str, Any]]:
    """Read a model that `write_glb` wrote, and what it says of itself."""
    data = source.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    document = json.loads(data[20 : 20 + length])
    binary = memoryview(data)[28 + length :]

    def view(number: int) -> memoryview:
        said = document["bufferViews"][number]
        return binary[said["byteOffset"] : said["byteOffset"] + said["byteLength"]]

    def values(number: int) -> NDArray[Any]:
        said = document["accessors"][number]
        kind = "<u4" if said["componentType"] == _UNSIGNED_INT else "<f4"
        return np.frombuffer(view(said["bufferView"]), kind).reshape(said["count"], -1)

    parts = []
    for one in document["meshes"][0]["primitives"]:
        attributes, material = one["attributes"], document["materials"][one["material"]]
        painted = material["pbrMetallicRoughness"]
        points, normals = (values(attributes[name]) for name in ("POSITION", "NORMAL"))
        parts.append(
            Part(
                name=material["name"],
                points=_z_up(points),
                normals=_z_up(normals),
                uv=values(attributes["TEXCOORD_0"]),
                faces=values(one["indices"]).reshape(-1, 3),
                picture=painted["baseColorTexture"]["index"],
                tint=tuple(painted["baseColorFactor"][:3]),
            )
        )
    pictures = [bytes(view(image["bufferView"])) for image in document["images"]]
    return Model(parts=parts, pictures=pictures), document["asset"]["extras"]


def _moved(at: tuple[float, float, float] | None) -> dict[str, list[float]]:
    if at is None:
        return {}
    east, north, up = at
    return {"translation": [east, up, -north]}


def _z_up(vectors: Float32) -> Float32:
    x, y, z = vectors.T
    return np.column_stack([x, -z, y])


def _y_up(vectors: Float32) -> Float32:
    east, north, up = vectors.T
    return np.column_stack([east, up, -north]).astype(np.float32)


def _material(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": part.picture},
            "baseColorFactor": [*part.tint, 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 1.0,
        },
        "extensions": {UNLIT: {}},
    }


class _Binary:
    """The binary chunk of a GLB, and what glTF says of its parts."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.length = 0
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def append(self, data: bytes, **more: int) -> int:
        """Add bytes; returns the number of their view."""
        self.views.append({"buffer": 0, "byteOffset": self.length, "byteLength": len(data), **more})
        padded = data + bytes(-len(data) % 4)
        self.chunks.append(padded)
        self.length += len(padded)
        return len(self.views) - 1

    def add(self, values: NDArray[Any], kind: str, *, ends: bool = False) -> int:
        """Add an array (N, components), with its least and greatest values; returns its number."""
        whole = values.dtype.kind == "u"
        target = _INDICES if whole else _VERTICES
        data = np.ascontiguousarray(values, "<u4" if whole else "<f4")
        accessor = {
            "bufferView": self.append(data.tobytes(), target=target),
            "componentType": _UNSIGNED_INT if whole else _FLOAT,
            "count": len(data),
            "type": kind,
        }
        if ends:
            accessor |= {"min": data.min(axis=0).tolist(), "max": data.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1
