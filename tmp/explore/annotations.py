"""What was drawn on a map as a GeoPackage: points, lines and areas with names and measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataSourceError

from tmp.errors import InputError
from tmp.files import replacing

LAYERS = {"Point": "points", "LineString": "lines", "Polygon": "areas"}
COLUMNS = ("name", "measured")


def write_annotations(path: Path, drawn: Sequence[Mapping[str, Any]], crs: str | None) -> None:
    """Write what was drawn, a layer for each kind; whole, or not at all.

    Parameters
    ----------
    path : Path
        A GeoPackage that is new, or that this function wrote: it is replaced.
    drawn : sequence of mapping
        Each with ``geometry`` (GeoJSON, in `crs`), ``name`` and ``said``.
    crs : str or None

    Raises
    ------
    InputError
        If nothing was drawn, or the file holds other layers.
    """
    if not drawn:
        raise InputError("nothing has been drawn yet; draw a point, a line or an area on the map")
    _refuse_other(path)
    with replacing(path) as temporary:
        for number, (kind, layer) in enumerate(LAYERS.items()):
            rows = [one for one in drawn if one["geometry"]["type"] == kind]
            shapes = [shapely.geometry.shape(one["geometry"]) for one in rows]
            texts = [[str(one.get(key, "")) for one in rows] for key in ("name", "said")]
            pyogrio.raw.write(
                temporary,
                shapely.to_wkb(np.array(shapes, object)),
                [np.array(values, object) for values in texts],
                list(COLUMNS),
                layer=layer,
                driver="GPKG",
                geometry_type=kind,
                crs=crs,
                append=number > 0,
            )


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """Return what `write_annotations` wrote, each with ``geometry``, ``name`` and ``said``.

    Raises `InputError` if the file holds something else.
    """
    _refuse_other(path)
    found = []
    for layer in LAYERS.values():
        _, _, wkb, (names, said) = pyogrio.raw.read(path, layer=layer, columns=list(COLUMNS))
        for shape, name, measured in zip(shapely.from_wkb(wkb), names, said, strict=True):
            geometry = shapely.geometry.mapping(shape)
            found.append({"geometry": geometry, "name": name or "", "said": measured or ""})
    return found


def _refuse_other(path: Path) -> None:
    if not path.exists():
        return
    try:
        layers = {str(name) for name, _ in pyogrio.list_layers(path)}
    except DataSourceError as error:
        raise InputError(f"{path}: cannot be read as a GeoPackage; move it away") from error
    if layers != set(LAYERS.values()):
        raise InputError(
            f"{path}: holds {', '.join(sorted(layers))}, and not what was drawn on a map; "
            "give another file"
        )
