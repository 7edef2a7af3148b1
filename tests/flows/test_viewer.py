"""The viewer's folder: tiles, heights as scripts, who is let in by its server."""

from __future__ import annotations

import ast
import base64
import http.client
import json
import threading
import zlib
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer

from flows.cli.relief import view as command
from flows.products.band_stack import INDEX_TAG
from flows.products.cameras import write_cameras
from flows.report.quality import MapRecord
from flows.run.viewer import _Handler, make_viewer, serve_viewer
from flows.viewer.folder import LIBRARIES
from flows.viewer.heights import SIGMA_LEAST, SIGMA_RATIO, pack
from flows.viewer.layers import find_layers
from flows.viewer.tiles import TILE_PX, Scheme, places, scheme_of
from tmp.captures import write_captures
from tmp.errors import InputError
from tmp.geo.rasters import create_tiled, finish_cog, read_grid
from tmp.survey import create_survey

MOST_STATIC_BYTES = 3_000_000


@pytest.fixture
def mapped(record: MapRecord) -> MapRecord:
    """A survey with picture, surface and cameras."""
    write_captures(record.survey.gpkg_path, record.captures)
    write_cameras(record.reconstruction, record.captures, record.survey.products_dir)
    for photo in record.reconstruction.photos[:3]:
        path = record.survey.photos_dir / photo.name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (800, 600), (90, 120, 60)).save(path)
    return record


def data_of(folder: Path) -> dict:
    text = (folder / "data.js").read_text()
    return json.loads(text.removeprefix("window.TMP_DATA=").rstrip(";\n"))


def unpacked(text: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read what `pack` wrote, as the page does: surface, sigma and ground."""
    base, step, packed = ast.literal_eval(f"({text})")
    layers = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    low, high, doubt, below_low, below_high = layers.reshape(5, -1).astype(int)
    code = np.cumsum(low + 256 * high) % 65536
    ground = (code - below_low - 256 * below_high) % 65536
    known = [np.where(part > 0, base + (part - 1) * step, np.nan) for part in (code, ground)]
    sigma = np.where(doubt > 0, SIGMA_LEAST * SIGMA_RATIO ** (doubt - 1.0), np.nan)
    return known[0].reshape(shape), sigma.reshape(shape), known[1].reshape(shape)


@given(st.floats(-400, 8800), st.floats(0.01, 3000), st.integers(0, 999))
def test_heights_come_back_to_half_a_step_and_their_doubt_to_two_percent(
    low_m: float, span_m: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    surface, ground = low_m + span_m * rng.random((2, 7, 9))
    sigma = 10 ** rng.uniform(-3, 0.9, (7, 9))
    surface[2, 3:], sigma[2, 3:], ground[4, :2] = np.nan, np.nan, np.nan
    found = unpacked(pack(surface, sigma, ground), (7, 9))
    for part, true in zip(found, (surface, sigma, ground), strict=True):
        assert np.array_equal(np.isnan(part), np.isnan(true))
    step = 0.001 if span_m < 64 else 0.1
    assert np.nanmax(np.abs(found[0] - surface)) <= step / 2 + 1e-9
    assert np.nanmax(np.abs(found[2] - ground)) <= step / 2 + 1e-9
    assert np.nanmax(np.abs(found[1] / sigma - 1)) < 0.0201


@given(st.floats(1, 50_000), st.floats(1, 50_000), st.floats(0.002, 1))
def test_the_whole_map_is_one_tile_at_the_coarsest_level(
    width_m: float, height_m: float, cell_m: float
) -> None:
    scheme = Scheme(x_min=0, y_max=0, width_m=width_m, height_m=height_m, finest_m=cell_m)
    assert scheme.shape(0) == (1, 1)
    assert scheme.pixel_m(scheme.levels) == cell_m
    rows, cols = scheme.shape(scheme.levels)
    assert rows * TILE_PX * cell_m >= height_m * (1 - 1e-6)
    assert cols * TILE_PX * cell_m >= width_m * (1 - 1e-6)
    assert scheme.level_of(cell_m * 3.75) == max(scheme.levels - 2, 0)


def test_a_tile_shows_its_place_whatever_its_level(mapped: MapRecord) -> None:
    """Squares of 4 m in two greens: each level has them where the orthomosaic has."""
    picture = next(one for one in find_layers(mapped.survey.products_dir) if one.group == "Picture")
    scheme = scheme_of([picture])
    for level, row, col in places(scheme, picture):
        grid = scheme.tile(level, row, col, picture.grid.crs)
        drawn = picture.draw(grid)
        assert drawn is not None
        x, y = np.meshgrid(*grid.cell_centres())
        x0, y0, x1, y1 = picture.grid.bounds
        dark = (np.floor((x - (x0 + x1) / 2) / 4) + np.floor((y - (y0 + y1) / 2) / 4)) % 2 == 0
        seen = (drawn[..., 3] == 255) & (np.abs(x % 4 - 2) < 1) & (np.abs(y % 4 - 2) < 1)
        if grid.cell_m < 0.6:
            agree = (drawn[..., 0] < 110) == dark
            assert agree[seen].mean() > 0.98


def test_a_viewer_holds_all_that_is_shown_and_says_what_it_holds(mapped: MapRecord) -> None:
    made = make_viewer(mapped.survey)
    data = data_of(made.path.parent)
    assert data["title"] == "Test farm"
    names = [layer["id"] for layer in data["layers"]]
    assert names[:3] == ["orthomosaic", "relief_vat", "relief_hillshade"]
    assert {"dsm", "dsm_sigma", "relief_local_relief"} < set(names)
    for layer in data["layers"]:
        for level, tiles in layer["tiles"].items():
            for number, kind in enumerate(tiles["kinds"]):
                row, col = divmod(number, tiles["cols"])
                stem = made.path.parent / layer["folder"] / level / f"{row}-{col}"
                there = stem.with_suffix(".jpg").exists() + 2 * stem.with_suffix(".webp").exists()
                assert there == int(kind)
    for name in data["heights"]["tiles"]:
        assert (made.path.parent / "heights" / f"{name}.js").exists()
    assert len(data["cameras"]) == 16
    assert [bool(camera["picture"]) for camera in data["cameras"]] == [True] * 3 + [False] * 13
    assert data["model"] is None


def test_an_index_is_shown_in_its_own_colours(mapped: MapRecord) -> None:
    products_dir = mapped.survey.products_dir
    grid = read_grid(products_dir / "dsm.tif")
    raster = create_tiled(mapped.survey.work_dir / "ndvi", grid, nodata=-9999.0)
    for tile in raster.tiles():
        raster.write(tile, np.full((1, tile.rows, tile.cols), 1.0, np.float32))
    tags = {INDEX_TAG: "NDVI", "SHOWN": "-0.2 1", "RAMP": "plants", "RESTS_ON": "a panel"}
    finish_cog(raster, products_dir / "ndvi.tif", descriptions=("NDVI",), tags=tags)
    layer = next(one for one in find_layers(products_dir) if one.group == "Indices")
    assert layer.legend()[0] == ("#7d5a50", "-0.2")
    assert layer.legend()[-1] == ("#00441b", "1")
    drawn = layer.draw(layer.grid)
    assert drawn is not None
    assert (drawn == [0x00, 0x44, 0x1B, 255]).all()


def test_longitude_and_latitude_are_those_of_the_crs(mapped: MapRecord) -> None:
    data = data_of(make_viewer(mapped.survey, relief=False).path.parent)
    rng = np.random.default_rng(1)
    u, v = rng.random((2, 50))
    x, y = data["x"] + u * data["width"], data["y"] - v * data["height"]
    true = Transformer.from_crs(data["crs"], "EPSG:4326", always_xy=True).transform(x, y)
    for name, degrees in zip(("lon", "lat"), true, strict=True):
        terms = zip(data["lonlat"]["powers"], data["lonlat"][name], strict=True)
        found = sum(term * u**i * v**j for (i, j), term in terms)
        assert np.abs(found - degrees).max() < 1e-9  # a tenth of a millimetre


def test_a_viewer_is_made_anew_only_when_a_product_has_changed(mapped: MapRecord) -> None:
    first = make_viewer(mapped.survey)
    again = make_viewer(mapped.survey)
    assert (first.reused, again.reused) == (False, True)
    assert not list(first.path.parent.parent.glob(".viewer*"))
    (mapped.survey.products_dir / "dsm_sigma.tif").unlink()
    third = make_viewer(mapped.survey)
    assert not third.reused
    assert "dsm_sigma" not in [layer["id"] for layer in data_of(third.path.parent)["layers"]]


def test_a_name_cannot_write_into_the_page(mapped: MapRecord) -> None:
    text = mapped.survey.toml_path.read_text().replace("Test farm", "</script><b>dig")
    mapped.survey.toml_path.write_text(text)
    folder = make_viewer(mapped.survey, relief=False).path.parent
    assert "<b>dig" not in (folder / "index.html").read_text()
    assert data_of(folder)["title"] == "</script><b>dig"


def test_a_map_without_a_place_has_a_viewer_without_metres(unscaled: MapRecord) -> None:
    write_captures(unscaled.survey.gpkg_path, unscaled.captures)
    data = data_of(make_viewer(unscaled.survey).path.parent)
    assert (data["unit"], data["crs"], data["lonlat"]) == ("units", "", None)


def test_a_survey_without_a_map_is_refused(tmp_path: Path) -> None:
    survey = create_survey(tmp_path / "dig")
    with pytest.raises(InputError, match=r"dig: has no map to show; make one with 'tmp map"):
        make_viewer(survey)


def test_what_comes_with_the_page_is_small_and_has_its_licences() -> None:
    folder = files("flows.viewer").joinpath("static")
    static = {path.name: path.read_bytes() for path in folder.iterdir()}
    shared = files("tmp.explore").joinpath("static")
    libraries = {name: (shared / name).read_bytes() for name in LIBRARIES}
    assert sum(map(len, (*static.values(), *libraries.values()))) < MOST_STATIC_BYTES
    assert b"BSD 2-Clause License" in libraries["LICENSE-leaflet.txt"]
    assert b"The MIT License" in libraries["LICENSE-three.txt"]
    for name in ("index.html", "viewer.js", "measure.js", "model.js", "viewer.css"):
        assert b"http:" not in static[name].replace(b"http://www.w3.org/2000/svg", b"")
        assert b"https:" not in static[name]


def test_the_server_answers_its_own_machine_by_its_own_names_alone(mapped: MapRecord) -> None:
    folder = make_viewer(mapped.survey, relief=False).path.parent
    handler = partial(_Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_address[1]
            assert _status(port, "/") == 200
            assert _status(port, "/data.js", f"localhost:{port}") == 200
            assert _status(port, "/", "evil.example") == 403
            assert _status(port, "/t0/") == 404  # folders are not listed
            assert _status(port, "/../../dsm.tif") == 404
            assert _status(port, "/%2e%2e/%2e%2e/dsm.tif") == 404
        finally:
            server.shutdown()
            thread.join()


def _status(port: int, path: str, host: str | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_port_in_use_is_refused_in_a_line(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as taken:
        port = taken.server_address[1]
        with pytest.raises(InputError, match=rf"--port {port}: cannot be used \(Address already"):
            serve_viewer(tmp_path, port, print, browse=False)


def test_the_command_writes_and_the_report_leads_to_it(mapped: MapRecord) -> None:
    done = CliRunner().invoke(
        command, [str(mapped.survey.folder), "--write-only"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("products/viewer/index.html")
    assert " MB" in done.stderr


def test_the_report_leads_to_a_viewer_that_is_there(mapped: MapRecord) -> None:
    from flows.report.quality import assess_map
    from flows.report.report import render_report

    mapped = replace(mapped, settings=replace(mapped.settings, name="dig"))
    assert "products/viewer/index.html" not in render_report(mapped, assess_map(mapped))
    make_viewer(mapped.survey, relief=False)
    page = render_report(mapped, assess_map(mapped))
    assert '<a href="products/viewer/index.html">Open this map</a>' in page
