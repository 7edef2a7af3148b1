from pathlib import Path

import numpy as np
import pytest
import shapely

from flows.stages.inputs import refuse_distant_area
from tmp.errors import InputError


def test_area_of_another_survey_is_refused() -> None:
    area = shapely.box(0, 0, 100, 100)
    near = Path("area.geojson")
    refuse_distant_area(near, area, np.array([[150.0, 50.0], [9e9, 9e9]]))
    with pytest.raises(InputError, match=r"12\.0 km from the nearest photograph"):
        refuse_distant_area(near, area, np.array([[12_100.0, 50.0]]))
