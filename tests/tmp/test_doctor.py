import pytest
from click.testing import CliRunner

from tmp import doctor
from tmp.doctor import (
    Finding,
    Verdict,
    core_requirements,
    cuda_devices,
    describe,
    examine_package,
    import_open3d,
)
from tmp.errors import DeviceError


def test_doctor_finds_every_core_part_working() -> None:
    result = CliRunner().invoke(doctor.doctor)
    assert result.exit_code == 0, result.output
    assert "Everything that a map needs works." in result.output
    assert "pycolmap" in result.output


def test_core_requirements_are_names_without_extras_or_versions() -> None:
    names = core_requirements()
    assert {"numpy", "laspy", "lazrs", "opencv-python-headless"} <= set(names)
    assert not {"pytest", "open3d"} & set(names)


def test_missing_part_is_broken_and_comes_with_a_remedy() -> None:
    finding = examine_package("no-such-distribution")
    assert finding.verdict is Verdict.BROKEN
    assert "pip install" in finding.remedy


def test_broken_core_part_makes_the_exit_status_one(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Finding("numpy", "gone", Verdict.BROKEN, "bring it back")
    monkeypatch.setattr(doctor, "examine", lambda: iter([broken]))
    result = CliRunner().invoke(doctor.doctor)
    assert result.exit_code == 1
    assert "broken: numpy" in result.output


def test_remedy_stands_below_what_it_mends() -> None:
    lines = describe(
        [
            Finding("memory", "1 GB", Verdict.ADVICE, "close programs"),
            Finding("GPU", "none"),
        ]
    )
    assert lines[1].strip() == "→ close programs"
    assert len(lines) == 3


def test_absent_open3d_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("tmp.doctor.import_module", refuse)
    with pytest.raises(DeviceError, match="pip install open3d libusb-package"):
        import_open3d()


def test_machine_without_cuda_driver_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmp.doctor._cuda_driver", lambda: None)
    assert cuda_devices() == []
