import pytest

from ingest.metadata.bands import find_declaration, how_to_declare, read_declarations
from tmp.errors import InputError
from tmp.radiometry import Band

S110 = """
[cameras."Canon-PowerShot-S110-*"]
channels = ["NIR", "green", ""]
centre_nm = [850, 550, 0]
width_nm = [100, 80, 1]
black_level = 12
linear = true
"""


@pytest.fixture
def declare(tmp_path):
    """Write cameras.toml in a survey and read the declarations."""

    def write(text, place="survey"):
        (tmp_path / "survey").mkdir(exist_ok=True)
        (tmp_path / place / "cameras.toml").write_text(text)
        return read_declarations(tmp_path / "survey")

    return write


def test_a_converted_cameras_channels_are_what_the_person_says(declare):
    (declaration,) = declare(S110)
    assert declaration.bands == (
        Band(name="nir", centre_nm=850.0, width_nm=100.0, channel=0),
        Band(name="green", centre_nm=550.0, width_nm=80.0, channel=1),
    )
    assert declaration.overrides()["black_level"] == 12
    assert find_declaration("canon-powershot-s110-4000x3000-5.20mm", [declaration])
    assert find_declaration("canon-eos-5d", [declaration]) is None


def test_a_filters_letters_stand_for_its_channels(declare):
    (declaration,) = declare('[cameras."*"]\nfilter = "ocn"')
    assert declaration.band == "orange+cyan+nir"


@pytest.mark.parametrize("said", ['filter = "RGB"', 'channels = ["red", "green", "blue"]'])
def test_an_ordinary_camera_can_be_declared_as_one(declare, said):
    (declaration,) = declare(f'[cameras."*"]\n{said}')
    assert (declaration.bands, declaration.band) == ((), "")


def test_the_survey_s_own_file_comes_before_the_one_beside_it(declare):
    declare('[cameras."a*"]\nfilter = "RGN"\n[cameras."b"]\nfilter = "NGB"', place=".")
    found = declare('[cameras."a*"]\nfilter = "OCN"')
    assert find_declaration("abc", found).band == "orange+cyan+nir"
    assert find_declaration("B", found).band == "nir+green+blue"


def test_without_a_file_nothing_is_declared(tmp_path):
    assert read_declarations(tmp_path / "survey") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cameras", "not valid TOML"),
        ("x = 1", r"no \[cameras"),
        ('cameras = {a = "nir"}', "write it as a table"),
        ('[cameras."a"]\nlinear = true', "give channels"),
        ('[cameras."a"]\nchannels = "nir"', "channels = 'nir'; give a list"),
        ('[cameras."a"]\nchannels = ["nir", "nir"]', "must differ"),
        ('[cameras."a"]\nchannels = ["", ""]', "must differ"),
        ('[cameras."a"]\nfilter = "XYZ"', "filter 'XYZ' is not known"),
        ('[cameras."a"]\nchannels = ["nir"]\ncentre_nm = [0.85]', "in nanometres"),
        ('[cameras."a"]\nchannels = ["nir"]\ncentre_nm = [850, 550]', "must list 1 numbers"),
        (
            '[cameras."a"]\nchannels = ["nir"]\nblack_level = "x"',
            "black_level = 'x'; give a number",
        ),
        ('[cameras."a"]\nchannels = ["nir"]\nblack_level = nan', "black_level = nan; give"),
        ('[cameras."a"]\nchannels = ["nir"]\nblack_level = -1', "black_level = -1.0; give"),
        ('[cameras."a"]\nchannels = ["nir"]\nwidth_nm = [0]', "width 0.0 nm"),
        ('[cameras."a"]\nchannels = ["nir"]\nlinear = 1', "linear = 1; give true or false"),
        ('[cameras."a"]\nchanels = ["nir"]', "'chanels' is not known; did you mean 'channels'"),
    ],
)
def test_a_declaration_that_cannot_be_understood_is_refused(declare, text, words):
    with pytest.raises(InputError, match=words) as caught:
        declare(text)
    assert "\n" not in str(caught.value)


def test_what_to_write_for_an_unknown_camera_is_one_line_that_reads_back(declare):
    said = how_to_declare("tetracam-adc-80x60")
    assert "\n" not in said
    key, channels = '[cameras."tetracam-adc-80x60"]', 'channels = ["nir"]'
    assert key in said
    assert channels in said
    assert declare(f"{key}\n{channels}")[0].band == "nir"
