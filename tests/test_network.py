"""No command asks the network, whatever the files it is given refer to."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from PIL import Image

ROOT = Path(__file__).parent.parent
TMP = (sys.executable, "-c", "from tmp.cli import main; main()")
ADDRESS = "http://127.0.0.1:9"
"""Where nobody listens; that somebody asks is what counts."""
PLAN = ("--drone", "DJI Mini 4 Pro", "--gsd", "2.5cm", "--dem-datum", "ellipsoid")


def asked(folder: Path, *command: str) -> tuple[list[str], str]:
    """Return the connections that a command and its children open, and what it says."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = folder / "trace.txt"
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", str(trace), *command],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    if not trace.exists() or "PTRACE_TRACEME" in done.stderr:
        pytest.skip("strace may not trace here")
    lines = trace.read_text(errors="replace").splitlines()
    return [line for line in lines if "connect(" in line and "AF_UNIX" not in line], done.stderr


def test_the_guard_sees_a_connection(tmp_path: Path) -> None:
    code = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    seen, _ = asked(tmp_path, sys.executable, "-c", code)
    assert len(seen) == 1


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A folder of drawings and elevation models that lead out of themselves."""
    area = json.loads((ROOT / "sample_data" / "farm_area.geojson").read_text())
    crs = {"type": "link", "properties": {"href": f"{ADDRESS}/crs", "type": "proj4"}}
    (tmp_path / "link.geojson").write_text(json.dumps(area | {"crs": crs}))
    (tmp_path / "plots.geojson").write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/vsicurl/{ADDRESS}/a.geojson'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    (tmp_path / "virtual.tif").write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Float32" band="1">'
        f"<SimpleSource><SourceFilename>/vsicurl/{ADDRESS}/a.tif</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    shutil.copy(ROOT / "sample_data" / "farm_dem.tif", tmp_path / "dem.tif")
    with rasterio.open(tmp_path / "dem.tif", "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"{ADDRESS}/a.tif")
    return tmp_path


@pytest.mark.parametrize(
    ("area", "dem", "said"),
    [
        ("link.geojson", "dem.tif", "refers to its CRS elsewhere"),
        ("plots.geojson", "dem.tif", "cannot be read as a vector file"),
        ("farm", "virtual.tif", "cannot be read as a raster"),
        pytest.param("farm", "dem.tif", "", marks=pytest.mark.slow),
    ],
)
def test_a_plan_asks_nobody_whatever_its_files_refer_to(
    traps: Path, area: str, dem: str, said: str
) -> None:
    farm = str(ROOT / "sample_data" / "farm_area.geojson")
    drawn = farm if area == "farm" else area
    seen, printed = asked(traps, *TMP, "plan", drawn, "-o", "survey", *PLAN, "--dem", dem)
    assert seen == []
    assert said in printed
    assert (traps / "survey" / "plan").is_dir() == (not said)


@pytest.mark.slow
def test_ingest_and_map_ask_nobody(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    for number in range(3):
        noise = Image.effect_noise((320, 240), 80)
        noise.save(tmp_path / "card" / f"DJI_000{number}.JPG")
    seen, _ = asked(tmp_path, *TMP, "ingest", "card", "--to", "survey")
    assert seen == []
    assert (tmp_path / "survey" / "survey.gpkg").exists()
    seen, printed = asked(tmp_path, *TMP, "map", "survey", "--quality", "fast")
    assert seen == []
    assert "Traceback" not in printed
