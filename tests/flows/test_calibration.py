"""Catalogue entries from photographs, and the command around them."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.ExifTags import IFD, Base

from flightplan.equipment.catalogue import read_catalogue
from flows.cli.cameras import calibrate_photo, cameras
from ingest.metadata.cameras import find_sensor, focal_px
from tmp.cli import main
from tmp.errors import PhotographError

CATALOGUE = read_catalogue()


def photograph(folder: Path, model: str, size: tuple[int, int], **tags: float) -> Path:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Acme", model
    exif.get_ifd(IFD.Exif).update({getattr(Base, name): value for name, value in tags.items()})
    path = folder / "photo.jpg"
    Image.new("RGB", size).save(path, exif=exif)
    return path


def entry(lines: list[str]) -> dict[str, dict[str, object]]:
    cut = lines.index("")
    table: dict[str, dict[str, object]] = tomllib.loads("\n".join(lines[cut:]))["camera"]
    return table


def test_a_new_camera_gets_an_entry_that_the_catalogue_takes(tmp_path: Path) -> None:
    photo = photograph(tmp_path, 'Odd "X"', (400, 300), FocalLengthIn35mmFilm=24, FocalLength=6.7)
    lines = list(calibrate_photo(photo, CATALOGUE))
    (key, values), *_ = entry(lines).items()
    # 24 mm on the diagonal of 43.27 mm, for a diagonal of 500 px.
    assert values["f_px"] == pytest.approx(24 / 43.267 * 500, abs=0.1)
    assert values["confidence"] == "C"
    # Some makers mean 24 / 36 of the width.
    assert "would be 266.7 px" in "\n".join(lines)
    own = tmp_path / "equipment.toml"
    own.write_text("\n".join(lines[lines.index("") :]), encoding="utf-8")
    assert read_catalogue([own]).cameras[key].width_px == 400


def test_a_known_camera_gets_just_its_focal_length(tmp_path: Path) -> None:
    photo = photograph(tmp_path, "FC6310", (5472, 3648), FocalLength=8.8)
    lines = list(calibrate_photo(photo, CATALOGUE))
    values = entry(lines)["dji-phantom-4-pro"]
    assert set(values) == {"f_px", "derivation", "source", "confidence"}
    assert values["f_px"] == pytest.approx(3667, abs=1)
    assert "the catalogue's dji-phantom-4-pro has 3666.7 px" in "\n".join(lines)


def test_a_photograph_without_focal_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotographError, match="neither focal length nor calibration"):
        list(calibrate_photo(photograph(tmp_path, "X", (400, 300)), CATALOGUE))


def test_what_is_no_photograph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    with pytest.raises(PhotographError, match="cannot be read"):
        list(calibrate_photo(path, CATALOGUE))
    path.write_text("notes")
    with pytest.raises(PhotographError, match="is not a photograph"):
        list(calibrate_photo(path, CATALOGUE))


@pytest.mark.real
@pytest.mark.parametrize(
    ("photo", "key", "f_px"),
    [
        # Mean of 1973.1 and 1955.7 in the file's DewarpData.
        ("mirafiori/photos/DJI_0010.JPG", "dji-p4-multispectral", 1964.4),
        ("rededge_panel/IMG_0000_1.tif", "micasense-rededge", 1449.4),
        # Of the fisheye calibration in the file; 3.98 mm at 3.75 µm would be 1061.3.
        ("garfield_sequoia/IMG_161122_163239_0001_NIR.TIF", "parrot-sequoia", 1063.9),
        ("brighton/photos/DJI_0018.JPG", "dji-fc300s-4000x2250", 2344.2),
    ],
)
def test_real_photographs_give_their_cameras(
    real_data: Path, photo: str, key: str, f_px: float
) -> None:
    path = real_data / photo
    if not path.is_file():
        pytest.skip(f"no {photo} in ../shared/data")
    values = entry(list(calibrate_photo(path, CATALOGUE)))[key]
    assert values["f_px"] == pytest.approx(f_px, abs=0.1)


def test_the_catalogue_agrees_with_the_sensors_that_ingest_knows() -> None:
    """Two tables for two ends: millimetres of a photograph's EXIF, pixels of a plan."""
    focal_mm = {
        "dji-phantom-3": 3.61,
        "dji-mini-2": 4.49,
        "dji-mini-4-pro": 6.72,
        "dji-air-2s": 8.38,
        "dji-mavic-2-pro": 10.26,
        "dji-mavic-3": 12.29,
        "dji-mavic-3m-ms": 4.34,
        "dji-phantom-4-pro": 8.8,
        "dji-p4-multispectral": 5.74,
        "dji-zenmuse-p1-35mm": 35.0,
        "parrot-sequoia": 3.98,
    }
    for key, millimetres in focal_mm.items():
        camera = CATALOGUE.cameras[key]
        sensor = find_sensor(camera.also[0], millimetres)
        assert sensor is not None, key
        there = focal_px(sensor, millimetres, camera.width_px, camera.height_px)
        # The P4 Multispectral's entry is 2.4 % longer on purpose.
        assert camera.f_px == pytest.approx(there, rel=0.03), key


def test_the_command_lists_what_is_known_and_the_users_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text("[camera.dji-mini-2]\nf_px = 2500.0\n", encoding="utf-8")
    done = CliRunner().invoke(cameras, ["--equipment", str(own)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    mini = next(line for line in lines if line.startswith("dji-mini-2 "))
    # 4000 × 3000 px at 2500 px from 50 m: 2 cm, 80 × 60 m, 77 × 62°.
    assert mini.split() == "dji-mini-2 4000 × 3000 2500 2.00 80 × 60 77 × 62 2 B".split()
    assert any(line.startswith("dji-mavic-3m ") and "m-ms + dji-mav" in line for line in lines)
    tables = lines[: lines.index("Not planned")]
    assert max(map(len, tables)) < 110


def test_the_command_prints_an_entry_and_refuses_in_one_line(tmp_path: Path) -> None:
    photo = photograph(tmp_path, "FC6310", (5472, 3648), FocalLength=8.8)
    done = CliRunner().invoke(main, ["cameras", "calibrate", str(photo)])
    assert done.exit_code == 0, done.output
    assert "[camera.dji-phantom-4-pro]" in done.output
    done = CliRunner().invoke(main, ["cameras", "calibrate", str(tmp_path / "none.jpg")])
    assert done.exit_code == 1
    assert "none.jpg: cannot be read" in done.output
