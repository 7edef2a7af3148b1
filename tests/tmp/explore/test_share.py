"""What a group's Jupyter is given, and that its own configuration stays."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.explore import explore, share
from tmp.errors import InputError
from tmp.explore.share import install_share
from tmp.survey import Survey


def test_kernel_configuration_and_notebooks_are_installed(tmp_path: Path) -> None:
    done = CliRunner().invoke(share, ["install", "--prefix", str(tmp_path)])
    assert done.exit_code == 0
    kernel = json.loads((tmp_path / "share/jupyter/kernels/tmp/kernel.json").read_text())
    assert kernel["argv"][1:3] == ["-m", "ipykernel_launcher"]
    assert len(list((tmp_path / "share/terrestrial-mapping-platform/notebooks").iterdir())) == 6
    assert str(tmp_path / "etc/jupyter/jupyter_lab_config.json") in done.output


def test_what_others_have_configured_stays(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "jupyter" / "labconfig" / "page_config.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"disabledExtensions": {"theirs": true}, "appName": "Dig"}')
    install_share(tmp_path)
    found = json.loads(path.read_text())
    assert found["appName"] == "Dig"
    assert found["disabledExtensions"]["theirs"]
    assert found["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"]
    path.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        install_share(tmp_path)


def test_a_prefix_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        install_share(tmp_path / "file")


def test_notebooks_apart_from_their_survey_know_where_it_is(walled: Survey, tmp_path: Path) -> None:
    own = tmp_path / "own 'dig' \"x\"" if os.name == "posix" else tmp_path / "own"
    words = [str(walled.folder), "--to", str(own), "--copy-only"]
    assert CliRunner().invoke(explore, words).exit_code == 0
    document = json.loads((own / "02_first_look.ipynb").read_text(encoding="utf-8"))
    code = "".join(next(one for one in document["cells"] if one["cell_type"] == "code")["source"])
    assert f'os.environ.get("TMP_SURVEY", {json.dumps(str(walled.folder))})' in code
    compile(code, "cell", "exec")
