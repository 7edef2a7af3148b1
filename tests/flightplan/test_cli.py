from pathlib import Path

from click.testing import CliRunner

from tmp.cli import main


def test_a_folder_with_photographs_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    mine = tmp_path / "photos" / "mine.JPG"
    mine.write_bytes(b"mine")
    result = CliRunner().invoke(main, ["rehearse", str(tmp_path), "--farm"])
    assert result.exit_code == 1
    assert "already holds files" in result.output
    assert mine.read_bytes() == b"mine"


def test_a_misspelt_survey_is_asked_about_and_no_farm_is_invented(tmp_path: Path) -> None:
    (tmp_path / "Dig 2026" / "plan").mkdir(parents=True)
    result = CliRunner().invoke(main, ["rehearse", str(tmp_path / "Dig 2025")])
    assert result.exit_code == 1
    assert "has no plan to rehearse; did you mean 'Dig 2026'" in result.output
    assert "--farm" in result.output
    assert f"'{tmp_path / 'Dig 2025'}'" in result.output  # as a shell takes it
    assert not (tmp_path / "Dig 2025").exists()


def test_no_farm_is_invented_in_a_survey(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    result = CliRunner().invoke(main, ["rehearse", str(tmp_path), "--farm"])
    assert result.exit_code == 1
    assert "is a survey already" in result.output


def test_help_names_the_options() -> None:
    result = CliRunner().invoke(main, ["rehearse", "--help"])
    for option in ("--gnss", "--second-height", "--oblique", "--nir", "--scale", "--seed"):
        assert option in result.output


def test_the_hamlet_takes_no_options_of_the_farm(tmp_path: Path) -> None:
    for words in (["--farm"], ["--nir"], ["--scale", "4"]):
        result = CliRunner().invoke(main, ["rehearse", str(tmp_path / "new"), "--hamlet", *words])
        assert result.exit_code == 1
        assert "--hamlet has lines of its own" in result.output
        assert not (tmp_path / "new").exists()
