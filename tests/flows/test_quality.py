import json
import math
from dataclasses import replace

import numpy as np

from flows.report.quality import MapRecord, assess_map, quality_document, write_quality
from tmp.reconstruction import InteriorPrecision, Observations, Reconstruction


def strict(text: str) -> dict:
    """Read JSON that has neither NaN nor infinity, which JSON does not know."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found: dict = json.loads(text, parse_constant=refuse)
    return found


def with_observations(block: Reconstruction) -> Reconstruction:
    """Return the block with what its photographs see of the first 300 tie points."""
    photo, point, xy = [], [], []
    for i, one in enumerate(block.photos):
        camera = block.cameras[one.camera_id]
        seen = camera.pixel_from_cam(one.pose.cam_from_world(block.points[:300]))
        inside = np.flatnonzero(
            ((seen > 0) & (seen < (camera.width_px, camera.height_px))).all(axis=1)
        )
        photo += [i] * len(inside)
        point += inside.tolist()
        xy += seen[inside].tolist()
    return replace(
        block,
        observations=Observations(
            photo=np.array(photo, np.int32),
            point=np.array(point, np.int32),
            xy_px=np.array(xy, np.float32),
        ),
    )


def test_quality_holds_every_figure_of_the_report(record: MapRecord) -> None:
    known = InteriorPrecision(names=("fx_px",), sigmas=(1.5,), correlation=((1.0,),))
    block = replace(
        with_observations(record.reconstruction),
        interior=dict.fromkeys(record.reconstruction.cameras, known),
    )
    full = replace(record, reconstruction=block)
    path = write_quality(full, assess_map(full))
    found = strict(path.read_text(encoding="utf-8"))
    assert path == record.survey.folder / "products" / "quality.json"
    assert found["survey"]["name"] == "Test farm"
    assert found["survey"]["first_photograph_utc"] == "2026-07-03T09:12:00Z"
    assert found["products"]["dsm"]["cell_m"] == 0.25
    assert [axis["axis"] for axis in found["gnss"]] == ["east", "north", "up"]
    assert math.isclose(found["gnss"][0]["rms_m"], found["gnss_rms_m"][0], rel_tol=1e-4)
    camera = found["cameras"]["Testcam_800x600"]
    assert (camera["prior"]["fx_px"], camera["adjusted"]["fx_px"]) == (700, 705)
    assert (camera["sigma"], camera["correlation"]) == ({"fx_px": 1.5}, [[1.0]])
    states = [row["state"] for row in found["photographs"]]
    assert states == ["left out", "left out", *["oriented"] * 16]
    assert all(one != other and count > 0 for one, other, count in found["ties"])
    assert found["vertical_scale"]["height_agl_m"] == [38.0, 40.0, 42.0]
    assert found["stages"][0]["stage"] == "orientation"
    assert found["software"]["Python"]
    # The raster's is 2 cm and 1 mm more for each metre from the middle of its 80.
    assert math.isclose(found["dsm_sigma_m"], 0.04, abs_tol=0.001)


def test_without_scale_no_key_of_quality_is_in_metres_but_null(unscaled: MapRecord) -> None:
    block = replace(unscaled.reconstruction, figures={"height_agl_m": 40.0, "sigma_px": math.nan})
    found = quality_document(bare := replace(unscaled, reconstruction=block), assess_map(bare))
    assert found["length_unit"] == "unit of its own"
    assert found["orientation"] == {"height_agl_units": 40.0, "sigma_px": None}
    assert found["vertical_scale"]["height_agl_units"] == [38.0, 40.0, 42.0]

    def metric(value: object) -> list[str]:
        if isinstance(value, dict):
            mine = [key for key, one in value.items() if key.endswith(("_m", "_m2")) and one]
            return mine + [key for one in value.values() for key in metric(one)]
        return [key for one in value for key in metric(one)] if isinstance(value, list) else []

    assert metric(found) == []


def test_quality_of_an_earlier_version_beside_it_is_removed(record: MapRecord) -> None:
    older = record.survey.folder / "quality.json"
    older.write_text("{}")
    write_quality(record, assess_map(record))
    assert not older.exists()
