"""Core of the Terrestrial Mapping Platform: survey folders, and the types that packages share.

>>> import tmp
>>> survey = tmp.open_survey("farm")
>>> ndvi = survey.read("ndvi")
>>> float(ndvi.values.mean()), ndvi.grid.crs
(0.5, 'EPSG:32627')
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tmp.cameras import Camera, Pose
    from tmp.captures import Capture
    from tmp.errors import TmpError
    from tmp.geo.grids import Grid, Tile
    from tmp.geo.rasters import Raster
    from tmp.progress import bar
    from tmp.reconstruction import Reconstruction
    from tmp.survey import Survey, create_survey, open_survey

__all__ = [
    "Camera",
    "Capture",
    "Grid",
    "Pose",
    "Raster",
    "Reconstruction",
    "Survey",
    "Tile",
    "TmpError",
    "bar",
    "create_survey",
    "open_survey",
]


def load_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__`` (PEP 562): names come from their homes when first used."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return load


if not TYPE_CHECKING:
    __getattr__ = load_on_use(
        __name__,
        {
            "Camera": "tmp.cameras",
            "Capture": "tmp.captures",
            "Grid": "tmp.geo.grids",
            "Pose": "tmp.cameras",
            "Raster": "tmp.geo.rasters",
            "Reconstruction": "tmp.reconstruction",
            "Survey": "tmp.survey",
            "Tile": "tmp.geo.grids",
            "TmpError": "tmp.errors",
            "bar": "tmp.progress",
            "create_survey": "tmp.survey",
            "open_survey": "tmp.survey",
        },
    )
