"""The widgets from the kernel's side: what the page asks, and what it is answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from tests.tmp.explore.conftest import COARSE, CRS, EAST, NORTH
from tmp.errors import InputError
from tmp.explore.annotations import read_annotations, write_annotations
from tmp.explore.lab import notebooks_folder
from tmp.explore.map_widget import STATIC, SurveyMap, blank_map, file_map
from tmp.explore.model_widget import ModelView, read_about
from tmp.survey import Survey

MOST_STATIC_BYTES = 1_500_000


def asked(widget: Any, **content: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Return what the page is answered."""
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    widget.send = lambda answer, buffers=(): sent.append((answer, list(buffers)))
    widget._handle_custom_msg(content, [])
    (answer,) = sent
    return answer


def test_a_tile_is_asked_and_answered(walled: Survey) -> None:
    answer, files = asked(walled.map("dsm"), id=7, kind="tile", key="dsm", level=0, col=0, row=0)
    assert answer == {"id": 7, "type": "image/webp"}
    assert files[0].startswith(b"RIFF")


def test_a_question_that_cannot_be_answered_is_answered_all_the_same(walled: Survey) -> None:
    answer, _ = asked(walled.map(), id=8, kind="tile", key="secret", level=0, col=0, row=0)
    assert answer["id"] == 8
    assert "secret" in answer["error"]
    answer, _ = asked(walled.map(), id=9, kind="tile", key="dsm", level=99, col=0, row=0)
    assert "level 99 of a map" in answer["error"]


def test_values_under_the_pointer_have_their_doubt(walled: Survey) -> None:
    x, y = EAST + 20.05, NORTH + 20.05
    keys = ["orthomosaic", "dsm", "hillshade", "ndvi"]
    answer, _ = asked(walled.map(), id=1, kind="values", x=x, y=y, keys=keys)
    assert answer["said"] == ["Surface (DSM): 101.404 ± 0.020 m", "NDVI: 0.60"]
    answer, _ = asked(walled.map(), id=1, kind="values", x=EAST - 9, y=y, keys=keys)
    assert answer["said"] == []


def test_what_the_page_draws_is_measured(walled: Survey) -> None:
    line = {"type": "LineString", "coordinates": [[EAST + 10, NORTH + 9], [EAST + 20, NORTH + 9]]}
    answer, _ = asked(walled.map(), id=1, kind="measure", geometry=line)
    assert answer["said"] == "length 10.00 ± 0.07 m, rise 0.500 ± 0.028 m"


def test_views_and_layers_are_those_asked_for(walled: Survey) -> None:
    shown = walled.map(["orthomosaic", "hillshade"], "dsm", swipe=True)
    assert shown.views == [["orthomosaic", "hillshade"], ["dsm"]]
    assert shown.swipe
    with pytest.raises(InputError, match="no layer 'slope'"):
        walled.map("slope")
    with pytest.raises(InputError, match="5 views beside each other; give at most 4"):
        walled.map(*["dsm"] * 5)


def test_a_result_of_ones_own_is_laid_over_all_views(walled: Survey) -> None:
    shown = walled.map("orthomosaic", "dsm")
    dtm = walled.array("dtm")
    shown.add("rise", dtm - dtm.mean(), title="Rise", unit="m")
    assert shown.views == [["orthomosaic", "rise"], ["dsm", "rise"]]
    shown.add("rise", walled.read("dtm"))
    (told,) = (one for one in shown._layers if one["key"] == "rise")
    assert told["version"] == 2
    assert shown.views == [["orthomosaic", "rise"], ["dsm", "rise"]]
    shown.add("plain", np.ones(COARSE.shape), grid=COARSE)
    with pytest.raises(InputError, match=r"values of shape \(3, 3\) have no grid"):
        shown.add("odd", np.ones((3, 3)), grid=COARSE)


def test_what_is_drawn_is_saved_and_comes_back(walled: Survey, tmp_path: Path) -> None:
    shown = walled.map()
    seen: list[int] = []
    shown.on_drawn(lambda: seen.append(len(shown.drawn)))
    shown.draw(shapely.Point(EAST + 20, NORTH + 20), "hearth")
    shown.draw(shapely.box(EAST + 20, NORTH + 20, EAST + 24, NORTH + 25), "byre")
    assert seen == [1, 2]
    assert [shape.area for shape in shown.polygons()] == [20.0]
    path = tmp_path / "annotations.gpkg"
    shown.save(path)
    again = walled.map()
    again.load(path)
    assert [one["name"] for one in again.drawn] == ["hearth", "byre"]
    assert again.drawn[1]["said"] == shown.drawn[1]["said"]
    assert json.dumps(again.drawn)
    again.save(path)
    assert [one["geometry"]["type"] for one in read_annotations(path)] == ["Point", "Polygon"]


def test_a_file_of_others_is_not_written_over(walled: Survey, tmp_path: Path) -> None:
    shown = walled.map()
    with pytest.raises(InputError, match="nothing has been drawn yet"):
        shown.save(tmp_path / "a.gpkg")
    shown.draw(shapely.Point(EAST + 20, NORTH + 20))
    with pytest.raises(InputError, match="and not what was drawn on a map; give another file"):
        shown.save(walled.gpkg_path)
    (tmp_path / "b.gpkg").write_text("no")
    with pytest.raises(InputError, match="cannot be read as a GeoPackage"):
        write_annotations(tmp_path / "b.gpkg", shown.drawn, CRS)


def test_a_kept_notebook_has_a_still_picture(walled: Survey) -> None:
    shown = walled.map("orthomosaic", "dsm")
    data, _ = shown._repr_mimebundle_()
    assert {"image/webp", "application/vnd.jupyter.widget-view+json"} <= data.keys()
    assert len(shown._stills) == 2
    picture = shown.picture(0, 100)
    assert picture.shape == (80, 100, 4)


def test_where_nothing_is_mapped_there_is_a_net_or_ones_own_picture(walled: Survey) -> None:
    net = blank_map(CRS, EAST, NORTH, width_m=200.0)
    assert net.bounds == (EAST - 100, NORTH - 100, EAST + 100, NORTH + 100)
    net.draw(shapely.box(EAST, NORTH, EAST + 10, NORTH + 10))
    assert net.drawn[0]["said"] == ""
    own = file_map(walled.products["orthomosaic"])
    assert own.crs == CRS
    assert isinstance(own, SurveyMap)


def test_the_model_comes_in_pieces(walled: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    view = walled.view_model()
    file = (walled.products_dir / "model.glb").read_bytes()
    assert view._about == {
        "crs": CRS, "unit": "m", "origin": [EAST, NORTH, 100.0], "bytes": len(file)
    }  # fmt: skip
    monkeypatch.setattr("tmp.explore.model_widget.PIECE_BYTES", 100)
    answer, pieces = asked(view, id=0, offset=100)
    assert answer == {"id": 0}
    assert pieces == [file[100:200]]
    (walled.products_dir / "model.glb").unlink()
    answer, _ = asked(view, id=0, offset=100)
    assert "No such file" in answer["error"]
    with pytest.raises(InputError, match="no 3D model; make it with 'tmp map --model normal'"):
        walled.view_model()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.glb"
    for content in (b"", b"glTX" + bytes(16), b"glTF" + bytes(3)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no GLB"):
            read_about(path)


def test_pages_of_widgets_fetch_nothing() -> None:
    """Beyond what a library's licence or name-space names, no address is in them."""
    for code in (SurveyMap._esm, ModelView._esm):
        text = str(code)
        assert "import(" not in text
        assert "XMLHttpRequest" not in text
        assert not any(host in text for host in ("unpkg", "jsdelivr", "cdnjs", "openstreetmap"))
    own = "".join((STATIC / name).read_text() for name in ("map.js", "model.js", "map.css"))
    assert "http" not in own
    assert "fetch(" not in own


def test_what_is_vendored_is_small_and_has_its_licences() -> None:
    folder = Path(str(STATIC))
    assert sum(path.stat().st_size for path in folder.rglob("*")) < MOST_STATIC_BYTES
    assert "BSD 2-Clause" in (folder / "LICENSE-leaflet.txt").read_text()
    assert "MIT License" in (folder / "LICENSE-three.txt").read_text()
    assert notebooks_folder().is_dir()
