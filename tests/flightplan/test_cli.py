from pathlib import Path

from click.testing import CliRunner

from tmp.cli import main


def test_a_folder_with_photographs_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    mine = tmp_path / "photos" / "mine.JPG"
    mine.write_bytes(b"mine")
    result = CliRunner().invoke(main, ["rehearse", str(tmp_path)])
    assert result.exit_code == 1
    assert "already holds files" in result.output
    assert mine.read_bytes() == b"mine"


def test_help_names_the_options() -> None:
    result = CliRunner().invoke(main, ["rehearse", "--help"])
    for option in ("--gnss", "--second-height", "--oblique", "--nir", "--scale", "--seed"):
        assert option in result.output
