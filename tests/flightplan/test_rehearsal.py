from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flightplan.rehearsal.features import Farm
from flightplan.rehearsal.photographs import (
    CONSUMER,
    RTK,
    Flight,
    Station,
    record,
    render,
    take_photographs,
)
from flightplan.rehearsal.scene import Scene
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame

SpotScene = Callable[[np.ndarray, tuple[float, float]], Scene]

CAMERA = Camera(
    camera_id="small",
    width_px=640,
    height_px=480,
    fx_px=560.0,
    fy_px=556.0,
    cx_px=323.4,
    cy_px=238.2,
    k1=-0.03,
    k2=0.015,
    p1=0.0008,
    p2=-0.0005,
    k3=-0.004,
)


def centroid(picture: np.ndarray) -> np.ndarray:
    """Return the centre of light, corner origin."""
    light = picture[..., 1]
    rows, cols = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(light * (cols + 0.5)).sum(), (light * (rows + 0.5)).sum()]) / light.sum()


def projected_centroid(
    frame: LocalFrame, station: Station, spot: tuple[float, float], base_m: float, slope: float
) -> np.ndarray:
    """Return where the camera model puts the centre of light of a spot 0.2 m wide.

    The spot lies on a plane that rises eastward; its points count by brightness and by the area
    that they take in the picture.
    """
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    offset = np.arange(-0.9, 0.9001, 0.02)
    east, north = np.meshgrid(spot[0] + offset, spot[1] + offset)
    points = np.stack([east, north, base_m + slope * east], axis=-1) + middle
    world = frame.world_from_map(points.reshape(-1, 3))
    pixels = CAMERA.pixel_from_cam(station.pose.cam_from_world(world)).reshape(*east.shape, 2)
    across, down = np.gradient(pixels, axis=1), np.gradient(pixels, axis=0)
    area = abs(across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0])
    light = area * np.exp(-((east - spot[0]) ** 2 + (north - spot[1]) ** 2) / (2 * 0.2**2))
    return np.asarray((pixels * light[..., None]).sum(axis=(0, 1)) / light.sum())


@pytest.mark.parametrize(
    ("gimbal", "spot"),
    [
        ((20.0, -90.0, 0.0), (1.0, -2.0)),
        ((20.0, -90.0, 0.0), (8.5, -3.0)),
        ((20.0, -90.0, 0.0), (-8.0, 1.0)),
        ((200.0, -74.0, 3.0), (1.0, -2.0)),
        ((200.0, -74.0, 3.0), (-6.0, -9.0)),
    ],
)
def test_a_spot_lands_where_the_camera_model_projects_it(
    spot_scene: SpotScene,
    frame: LocalFrame,
    gimbal: tuple[float, float, float],
    spot: tuple[float, float],
) -> None:
    scene = spot_scene(np.full((1000, 1000), 1.5), spot)
    yaw, pitch, roll = gimbal
    station = Station(position=(0.8, -0.4, 21.5), yaw_deg=yaw, pitch_deg=pitch, roll_deg=roll)
    expected = projected_centroid(frame, station, spot, 1.5, 0.0)
    assert (expected > 25).all()
    assert (expected < [615, 455]).all()
    found = centroid(render(scene, frame, CAMERA, station))
    # Quantised radiance cuts the spot's tails off at 3 σ.
    assert found == pytest.approx(expected, abs=0.01)


def test_relief_displaces_a_spot_as_the_camera_model_says(
    spot_scene: SpotScene, frame: LocalFrame
) -> None:
    cols = np.broadcast_to(np.arange(1000), (1000, 1000))
    # Node columns have their centre half a cell east of the corner.
    scene = spot_scene(0.3 * 0.05 * (cols + 0.5 - 500), (6.0, 3.0))
    station = Station(position=(0.0, 0.0, 22.0), yaw_deg=-35.0)
    expected = projected_centroid(frame, station, (6.0, 3.0), 0.0, 0.3)
    found = centroid(render(scene, frame, CAMERA, station))
    assert found == pytest.approx(expected, abs=0.02)


def test_a_rolling_shutter_sees_each_row_from_where_the_camera_is_then(
    spot_scene: SpotScene, frame: LocalFrame
) -> None:
    scene, sweep_m = spot_scene(np.zeros((1000, 1000)), (2.0, 6.5)), 0.24
    station = Station(position=(0.0, 0.0, 22.0), yaw_deg=0.0)
    still = expected = projected_centroid(frame, station, (2.0, 6.5), 0.0, 0.0)
    for _ in range(5):
        ahead_m = (expected[1] / CAMERA.height_px - 0.5) * sweep_m
        there = replace(station, position=(0.0, ahead_m, 22.0))
        expected = projected_centroid(frame, there, (2.0, 6.5), 0.0, 0.0)
    found = centroid(render(scene, frame, CAMERA, station, sweep_m=sweep_m))
    # Eight rows are read at a time: a hundredth of a pixel of movement from strip to strip.
    assert found == pytest.approx(expected, abs=0.05)
    assert abs(found[1] - still[1]) > 1.5


def test_a_negative_readout_is_refused(farm: Farm) -> None:
    with pytest.raises(InputError, match=r"readout of -0\.01 s is negative"):
        Flight(camera=CAMERA, start=farm.captured, readout_s=-0.01)


def test_a_photograph_that_sees_beyond_the_scene_is_refused(
    spot_scene: SpotScene, frame: LocalFrame
) -> None:
    scene = spot_scene(np.zeros((400, 400)), (0.0, 0.0))
    station = Station(position=(0.0, 0.0, 40.0), yaw_deg=0.0)
    with pytest.raises(InputError, match="sees beyond the scene"):
        render(scene, frame, CAMERA, station)


def test_recorded_positions_err_as_stated(farm: Farm, frame: LocalFrame) -> None:
    station = Station(position=(3.0, -4.0, 27.0), yaw_deg=10.0)
    for gnss in (CONSUMER, RTK):
        flight = Flight(camera=CAMERA, gnss=gnss, start=farm.captured)
        rng = np.random.default_rng(3)
        tags = [record(0, station, frame, flight, rng).tags for _ in range(600)]
        recorded = frame.world_from_geodetic(
            [(t.longitude_deg, t.latitude_deg, t.height_ellipsoid_m) for t in tags]
        )
        errors = (recorded - station.position) / gnss.sigma_m
        # Five standard errors of mean and of standard deviation for 600 draws.
        assert abs(errors.mean(axis=0)).max() < 5 / np.sqrt(600)
        assert errors.std(axis=0) == pytest.approx([1, 1, 1], abs=5 / np.sqrt(1200))
        assert (tags[0].rtk_sigma_m is not None) == gnss.rtk


def test_the_recorded_focal_length_is_off_by_the_stated_error(
    farm: Farm, frame: LocalFrame
) -> None:
    flight = Flight(camera=CAMERA, start=farm.captured, focal_error=-0.01)
    station = Station(position=(0.0, 0.0, 27.0), yaw_deg=0.0)
    tags = record(0, station, frame, flight, np.random.default_rng(0)).tags
    assert tags.focal_mm * tags.pixels_per_mm == pytest.approx(0.99 * CAMERA.fx_px)


def test_the_same_seed_gives_the_same_files_whatever_the_workers(
    house_scene: Scene, farm: Farm, frame: LocalFrame, tmp_path: Path
) -> None:
    middle = house_scene.grid.bounds
    centre = [(middle[0] + middle[2]) / 2, (middle[1] + middle[3]) / 2, farm.terrain[140, 160]]
    east, north, up = frame.world_from_map([centre])[0]
    camera = CAMERA.scaled(160, 120)
    stations = [Station(position=(east + d, north, up + 15.0), yaw_deg=90.0) for d in (0, 1, 2)]
    flight = Flight(camera=camera, start=farm.captured)

    def files(folder: str, seed: int, workers: int, band: str = "rgb") -> list[bytes]:
        taken = replace(flight, band=band)
        shots = take_photographs(
            house_scene, frame, stations, taken, tmp_path / folder, seed=seed, workers=workers
        )
        return [(tmp_path / folder / shot.name).read_bytes() for shot in shots]

    first = files("a", 5, 1)
    assert first == files("b", 5, 3)
    assert first != files("c", 6, 1)
    files("a", 5, 1, band="nir")
    with Image.open(tmp_path / "a" / "REH_0002_NIR.TIF") as picture:
        assert picture.mode == "I;16"
        assert picture.size == (160, 120)


def test_an_unknown_band_is_refused(farm: Farm) -> None:
    with pytest.raises(InputError, match="'thermal' is unknown"):
        Flight(camera=CAMERA, start=farm.captured, band="thermal")
