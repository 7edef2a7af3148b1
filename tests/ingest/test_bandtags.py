import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.metadata.bands import Declaration, band_tags, read_band_tags
from ingest.metadata.exif import Tags, read_tags
from tmp.radiometry import Band, Family, PanelMark, PlaneVignetting, RadialVignetting


@pytest.fixture
def tags_of(make_tiff):
    """Return the band tags of a TIFF made with the given tags."""
    return lambda **options: band_tags(read_tags(make_tiff(**options)))


def test_djis_band_cameras_are_told_by_the_name_of_their_band_whatever_the_file(make_jpeg, m3m_xmp):
    assert band_tags(read_tags(make_jpeg(xmp=m3m_xmp("NIR", "a1")))).family is Family.DJI
    assert band_tags(read_tags(make_jpeg())).family is Family.RGB


def test_a_mavic_3m_band_says_all_that_djis_formula_needs(tags_of, m3m_xmp):
    found = tags_of(xmp=m3m_xmp("NIR", "a1"))
    assert found.family is Family.DJI
    assert found.bands == (Band(name="nir", centre_nm=860.0, width_nm=52.0),)
    assert (found.exposure_s, found.gain, found.gain_adjustment) == (0.001, 1.0, 1.5)
    assert (found.black_level, found.bits, found.capture_id) == (3200.0, 16, "a1")
    assert found.sun[0].irradiance == 10038.8
    assert found.vignetting == RadialVignetting(
        centre_px=(1296.5, 972.5),
        coefficients=(1e-05, 2e-08, 3e-11, 4e-14, 5e-17, 6e-20),
        multiplies=True,
    )
    assert not found.problems


def test_a_phantom_4_multispectral_has_its_black_level_in_exif(tags_of):
    xmp = {
        "drone-dji:BandName": "RedEdge",
        "Camera:CentralWavelength": "730",
        "Camera:WavelengthFWHM": "32",
        "drone-dji:SensorGain": "2.5",
        "drone-dji:ExposureTime": "1003",
    }
    found = tags_of(model="FC6360", tiff={0xC61A: 4096}, xmp=xmp)
    assert found.bands == (Band(name="rededge", centre_nm=730.0, width_nm=32.0),)
    assert (found.black_level, found.gain) == (4096.0, 2.5)
    assert found.exposure_s == pytest.approx(0.001003)


def test_the_colour_camera_of_a_multispectral_drone_is_rgb(make_jpeg):
    data = make_jpeg(model="M3M", xmp={"drone-dji:CaptureUUID": "a1"})
    found = band_tags(read_tags(data))
    assert (found.family, found.bands, found.band) == (Family.RGB, (), "")
    assert found.capture_id == "a1"


@pytest.mark.parametrize(
    ("named", "bands"),
    [
        ("Red,Green,Blue", []),
        ("RGB", []),
        ("Red,Green", ["red", "green"]),
        ("Red,Green,NIR", ["red", "green", "nir"]),
        ("Blue", ["blue"]),
    ],
)
def test_a_file_that_names_red_green_and_blue_is_a_colour_photograph(make_jpeg, named, bands):
    found = band_tags(read_tags(make_jpeg(make="Sentera", xmp={"Camera:BandName": named})))
    assert [band.name for band in found.bands] == bands
    assert (found.family is Family.RGB) == (not bands)


def test_a_sequoia_gives_its_sun_sensor_in_seconds_and_radians(tags_of):
    record = struct.pack("<QHHHHfff", 148_190_753, 34, 2, 1, 100, -90.0, 0.0, 45.0)
    xmp = {
        "Camera:BandName": "Red",
        "Camera:CentralWavelength": "660",
        "Camera:RigCameraIndex": "1",
        "Camera:SensorModel": "310316.1,3067.5,4773.6",
        "Camera:IrradianceList": base64.b64encode(record + record[:7]).decode(),
        "Camera:IrradianceCalibrationMeasurement": "0,600,35,17,1,600,857,437",
        "Camera:VignettingPolynomial2DName": "0,0,1,0,0,1",
        "Camera:VignettingPolynomial2D": "0.7,0.1,0.2",
    }
    exif = {0x9004: "1970:01:01 00:02:30", 0x9292: "128607"}
    found = tags_of(make="Parrot", model="Sequoia", software="v1.4.1", xmp=xmp, exif=exif)
    assert found.family is Family.SEQUOIA
    assert found.sensor_model == (310316.1, 3067.5, 4773.6)
    assert found.vignetting == PlaneVignetting(
        powers=((0, 0), (1, 0), (0, 1)), coefficients=(0.7, 0.1, 0.2)
    )
    (sun,) = found.sun
    assert (sun.boot_time_s, sun.counts, sun.gain_index) == (148.190753, (34, 2), 1)
    assert (sun.yaw_rad, sun.roll_rad) == pytest.approx((-math.pi / 2, math.pi / 4))
    assert found.sun_gains == ((0, 600, 35, 17), (1, 600, 857, 437))
    assert found.panel is None


MICASENSE = {
    "Camera:BandName": "Red edge-740",
    "Camera:CentralWavelength": "740",
    "Camera:VignettingCenter": "600,400",
    "Camera:VignettingPolynomial": "1,2,3,4,5,6",
    "MicaSense:RadiometricCalibration": "0.0001,1e-7,1e-5",
}


def micasense(**more):
    names = "MicaSense", "DLS"
    spaces = {f"xmlns:{n}": f"http://micasense.com/{n}/1.0/" for n in names}
    return {**spaces, **MICASENSE, **more}


def test_a_micasense_band_has_its_calibration_and_its_wrong_exposure_mended(tags_of):
    exif = {0x829A: 1 / 6329, 0x8833: 200}
    found = tags_of(make="MicaSense", model="RedEdge-P", xmp=micasense(), exif=exif)
    assert found.bands[0].name == "rededge-740"
    assert found.radiometric == (0.0001, 1e-7, 1e-5)
    assert found.vignetting == RadialVignetting(
        centre_px=(600, 400), coefficients=(1, 2, 3, 4, 5, 6), multiplies=False
    )
    assert found.exposure_s == 0.000274
    assert found.gain == 2.0
    assert not found.problems


@pytest.mark.parametrize(
    ("model", "software", "horizontal"),
    [("Altum", "v1.2.2", None), ("Altum", "v1.2.3", 1.2), ("RedEdge-P", "v1.0.0", 1.2)],
)
def test_micasenses_second_sun_sensor_counts_in_hundredths(tags_of, model, software, horizontal):
    xmp = micasense(
        **{
            "DLS:SpectralIrradiance": "110",
            "DLS:HorizontalIrradiance": "120",
            "DLS:DirectIrradiance": "90",
            "DLS:Yaw": "1.5",
            "DLS:Pitch": "0.1",
            "DLS:Roll": "0.2",
        }
    )
    (sun,) = tags_of(make="MicaSense", model=model, software=software, xmp=xmp).sun
    assert sun.irradiance == pytest.approx(1.1)
    assert sun.direct == pytest.approx(0.9)
    assert sun.horizontal == (pytest.approx(horizontal) if horizontal else None)
    assert sun.yaw_rad == 1.5


def test_a_micasense_picture_marked_as_a_panel_tells_where_and_how_bright_it_is(tags_of):
    mark = {
        "Camera:CalibrationPicture": "2",
        "Camera:Albedo": "0.49",
        "Camera:ReflectArea": "10,20,30,20,30,40,10,40",
        "Camera:PanelSerial": "RP06-2051111-OB",
    }
    found = tags_of(make="MicaSense", model="Altum", xmp=micasense(**mark))
    assert found.panel == PanelMark(
        albedo=0.49, corners_px=((10, 20), (30, 20), (30, 40), (10, 40)), serial="RP06-2051111-OB"
    )


def test_an_early_micasense_has_no_panel_mark_and_attitude_in_degrees(tags_of):
    xmp = micasense(**{"Camera:Irradiance": "1.08", "Camera:IrradianceYaw": "180"})
    xmp |= {"Camera:IrradiancePitch": "0", "Camera:IrradianceRoll": "0"}
    found = tags_of(make="MicaSense", model="RedEdge", xmp=xmp)
    assert found.panel is None
    assert (found.sun[0].irradiance, found.sun[0].yaw_rad) == (1.08, pytest.approx(math.pi))


@pytest.mark.parametrize(
    ("model", "band"),
    [
        ("Survey3W_RGN", "red+green+nir"),
        ("Survey3N_OCN", "orange+cyan+nir"),
        ("Survey3W_NGB", "nir+green+blue"),
        ("Survey3W_NIR", "nir"),
        ("Survey3W_RE", "rededge"),
        ("Survey3W_RGB", ""),
        ("Survey3W", "unknown"),
    ],
)
def test_a_mapirs_channels_follow_from_the_filter_in_its_model(make_jpeg, model, band):
    found = band_tags(read_tags(make_jpeg(make="MAPIR", model=model, exif={0x829A: 0.001})))
    assert found.band == band
    assert found.family is {"": Family.RGB, "unknown": Family.UNKNOWN}.get(band, Family.MAPIR)
    assert [b.channel for b in found.bands] == list(range(len(found.bands)))


@pytest.mark.parametrize(
    ("model", "peaks_nm"),
    [
        ("Survey3W_RGN", [660, 550, 850]),
        ("Survey3N_OCN", [615, 490, 808]),
        ("Survey3W_NGB", [850, 550, 475]),
        ("Survey3W_RE", [725]),
        ("Survey3W_NIR", [850]),
    ],
)
def test_a_mapirs_filters_let_through_what_its_data_sheet_says(make_jpeg, model, peaks_nm):
    """MAPIR, Survey3 data sheets, transmission peaks in the order of the channels."""
    found = band_tags(read_tags(make_jpeg(make="MAPIR", model=model)))
    assert [b.centre_nm for b in found.bands] == peaks_nm


def test_senteras_6x_lists_its_vignetting_from_the_highest_power(tags_of):
    xmp = {
        "Camera:BandName": "NIR",
        "Camera:CentralWavelength": "840",
        "Camera:WavelengthFWHM": "20",
        "Camera:ImageUniqueID": "77",
        "Camera:SunSensor": "123.5",
        "Camera:VignettingCenter": "1000,700",
        "Camera:VignettingPolynomial": "6,5,4,3,2,1",
    }
    found = tags_of(make="Sentera", model="21214-00_12MP-GS-0001", xmp=xmp)
    assert found.family is Family.SENTERA
    assert found.capture_id == "77"
    assert found.vignetting.coefficients == (1, 2, 3, 4, 5, 6)
    assert found.sun[0].irradiance == 123.5


def test_senteras_double_4k_mixes_red_and_nir_by_the_weights_of_its_lens(make_jpeg):
    exif = {0xA434: "5.4mm-0001_0015", 0x829A: 0.001}
    found = band_tags(read_tags(make_jpeg(make="Sentera", model="2102", exif=exif)))
    assert found.band == "red+nir"
    assert [b.channel for b in found.bands] == [0, 2]
    assert found.mixing == ((1.0, 0.0, -0.966), (-0.286, 0.0, 4.350))
    assert not found.linear


def test_a_band_of_a_maker_without_formula_is_declared_by_its_file(tags_of):
    xmp = {"Camera:BandName": "Green", "Camera:CentralWavelength": "555"}
    found = tags_of(make="Agrowing", model="X", xmp=xmp)
    assert (found.family, found.band) == (Family.DECLARED, "green")


def test_a_picture_of_one_band_that_nobody_names_is_unknown_until_declared(make_tiff):
    tags = read_tags(make_tiff(make="Tetracam", model="ADC", xmp=None))
    assert band_tags(tags).band == "unknown"
    declaration = Declaration(pattern="tetracam-adc-*", bands=(Band(name="nir"),), black_level=64)
    found = band_tags(tags, [declaration])
    assert (found.family, found.band, found.black_level) == (Family.DECLARED, "nir", 64)
    colour = Declaration(pattern="*", bands=())
    assert band_tags(tags, [colour]).family is Family.RGB


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"drone-dji:ExposureTime": "0"}, "exposure time 0 s"),
        ({"drone-dji:ExposureTime": "50000000"}, "exposure time 50 s"),
        ({"drone-dji:SensorGain": "-1"}, "gain -1"),
        ({"drone-dji:BlackLevel": "70000"}, "black level 70000 where 65472 is saturated"),
        ({"drone-dji:BandFreq": "560(+/-16)nm"}, "band 'nir' centred at 560 nm"),
        ({"Camera:CentralWavelength": "0.86"}, "band 'NIR' centred at 0.86 nm"),
        ({"drone-dji:ExposureTime": "4000"}, "exposure time 0.004 s in XMP, 0.001 s in EXIF"),
    ],
)
def test_absurd_tags_are_named_and_do_not_stop_the_reading(tags_of, m3m_xmp, more, problem):
    assert problem in tags_of(xmp=m3m_xmp("NIR", "a1", **more)).problems


def test_a_band_without_exposure_is_told_and_a_colour_photograph_is_not(tags_of, make_jpeg):
    xmp = {"Camera:BandName": "Green"}
    found = tags_of(make="MicaSense", model="RedEdge", xmp=xmp, exif={0x829A: 0})
    assert found.problems == ("exposure time 0 s",)
    assert not band_tags(read_tags(make_jpeg())).problems


def test_a_damaged_sun_record_is_no_record(tags_of):
    for listed in ("", "****", "QUJD"):
        xmp = {"Camera:BandName": "Red", "Camera:IrradianceList": listed}
        assert tags_of(make="Parrot", model="Sequoia", xmp=xmp).sun == ()


NAMES = (
    *("BandName", "BandFreq", "CentralWavelength", "WavelengthFWHM", "CaptureUUID", "SensorIndex"),
    *("VignettingData", "VignettingCenter", "VignettingPolynomial", "VignettingPolynomial2D"),
    *("VignettingPolynomial2DName", "RigRelatives", "RigCameraIndex", "CalibratedHMatrix"),
    *("IrradianceList", "IrradianceCalibrationMeasurement", "SensorModel", "CalibrationPicture"),
    *("ReflectArea", "Albedo", "ExposureTime", "SensorGain", "BlackLevel", "SunSensor", "Yaw"),
    *("Irradiance", "HorizontalIrradiance", "IrradianceScaleToSIUnits", "ImageSource"),
)
VALUES = st.one_of(
    st.text("0123456789.,-+e nmNIRedMS_/()=", max_size=30),
    st.lists(st.floats(-1e9, 1e9), max_size=10).map(lambda v: ",".join(map(str, v))),
    st.sampled_from(["-", ",", "nan", "inf", "1e400", "NIR,,Red", "RGB", "Red,Green,Blue"]),
)


@given(
    st.sampled_from([("DJI", "M3M"), ("Parrot", "Sequoia"), ("MicaSense", "Altum"), ("", "")]),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
    st.sampled_from(["jpeg", "tiff"]),
)
def test_no_nonsense_in_the_tags_makes_reading_fail(camera, said, kind):
    exif = dict(zip(("Image Make", "Image Model"), camera, strict=True))
    xmp = {name: (("http://pix4d.com/camera/1.0/", text),) for name, text in said.items()}
    found = band_tags(Tags(kind=kind, width_px=80, height_px=60, exif=exif, xmp=xmp))
    assert found.saturation_dn > 0
    assert bool(found.bands) == (found.family not in (Family.RGB, Family.UNKNOWN))


@pytest.mark.real
def test_real_files_say_what_is_known_of_them(real_data):
    nir = read_band_tags(real_data / "garfield_sequoia" / "IMG_161122_163239_0001_NIR.TIF")
    assert nir.bands == (Band(name="nir", centre_nm=790.0, width_nm=40.0),)
    assert nir.sensor_model is None  # firmware 1.2.0
    assert nir.black_level == 5170.5
    assert min(abs(s.boot_time_s - nir.boot_time_s) for s in nir.sun) < 0.3
    reference = read_band_tags(real_data / "sequoia_indoor" / "IMG_180413_080658_0000_GRE.TIF")
    assert reference.sensor_model == (310316.1, 3067.5, 4773.6)
    bands = [
        read_band_tags(real_data / "rededge_panel" / f"IMG_0000_{k}.tif").bands[0]
        for k in range(1, 6)
    ]
    assert [b.name for b in bands] == ["blue", "green", "red", "nir", "rededge"]
    assert [b.centre_nm for b in bands] == [475, 560, 668, 840, 717]
