from pathlib import Path

import pytest

from flows.stages.inputs import require_space
from tmp.errors import SpaceError


def test_enough_space_passes(tmp_path: Path) -> None:
    require_space(tmp_path, 1000, "a small thing")


def test_lack_of_space_says_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"the surface needs 1000000\.2 GB .* GB is free"):
        require_space(tmp_path, 1e15, "the surface")
