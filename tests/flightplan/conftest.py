"""Pieces of ground for the rehearsal's tests."""

from collections.abc import Callable

import numpy as np
import pytest

from flightplan.rehearsal.farm import farm_frame
from flightplan.rehearsal.features import Farm, read_farm
from flightplan.rehearsal.lighting import sun_and_sky, upper_bounds
from flightplan.rehearsal.ray_tracing import BLOCK, FULL_SCALE, Ground
from flightplan.rehearsal.scene import Scene
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid

CELL_M = 0.05


@pytest.fixture(scope="session")
def farm() -> Farm:
    return read_farm()


@pytest.fixture(scope="session")
def frame(farm: Farm) -> LocalFrame:
    return farm_frame(farm)


@pytest.fixture(scope="session")
def house_scene(farm: Farm) -> Scene:
    """Thirty metres around the house, walls of the ruin included."""
    x, y = farm.corner
    return Scene.build(farm, (x + 52, y + 58, x + 82, y + 88))


SpotScene = Callable[[np.ndarray, tuple[float, float]], Scene]


@pytest.fixture(scope="session")
def spot_scene(farm: Farm, frame: LocalFrame) -> SpotScene:
    """Return a function that makes ground of given heights with one soft bright spot.

    The ground (rows, cols at 5 cm) lies about the frame's origin; the spot is given in metres
    east and north of it, in the map's axes, and is 0.2 m wide.
    """

    def make(height: np.ndarray, spot: tuple[float, float]) -> Scene:
        rows, cols = height.shape
        middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
        x_min, y_max = middle[0] - cols * CELL_M / 2, middle[1] + rows * CELL_M / 2
        grid = Grid(crs=frame.crs, x_min=x_min, y_max=y_max, cell_m=CELL_M, rows=rows, cols=cols)
        x, y = grid.cell_centres()
        away2 = (x[None, :] - middle[0] - spot[0]) ** 2 + (y[:, None] - middle[1] - spot[1]) ** 2
        layers = np.zeros((rows, cols, 5), np.uint16)
        layers[..., :4] = (FULL_SCALE * np.exp(-away2 / (2 * 0.2**2))).astype(np.uint16)[..., None]
        heights = (height + middle[2]).astype(np.float32)
        ground = Ground(
            height=heights,
            upper=upper_bounds(heights),
            upper_far=upper_bounds(heights, BLOCK * BLOCK),
            layers=layers,
            houses=np.empty((0, 9)),
            light=sun_and_sky(farm),
            cell_m=CELL_M,
        )
        nothing = np.zeros((rows, cols), np.float32)
        return Scene(
            grid=grid,
            ground=ground,
            houses=(),
            wall=nothing,
            stone=nothing.astype(np.uint8),
            water=nothing > 0,
        )

    return make
