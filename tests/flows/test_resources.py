from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.cost import (
    CAUTION,
    START_MINUTES,
    Cost,
    OfPhotographs,
    OfTiles,
    Raster,
    SurveySize,
    survey_size,
)
from flows.engine.stage import Stage
from flows.run.plan import BAND_STAGES, STAGES
from tmp.cameras import Camera
from tmp.captures import Capture, Flag

CAMERA = Camera(
    camera_id="c",
    width_px=4000,
    height_px=3000,
    fx_px=3000.0,
    fy_px=3000.0,
    cx_px=2000.0,
    cy_px=1500.0,
    source="test",
)


def capture(number: int, *, flags: tuple[Flag, ...] = (), height_m: float | None = 60.0) -> Capture:
    return Capture(
        name=f"{number}.jpg",
        source="",
        sha256="",
        size_bytes=1,
        width_px=4000,
        height_px=3000,
        camera_id="c",
        height_takeoff_m=height_m,
        flags=flags,
    )


def test_one_photograph_shows_as_many_cells_as_it_has_pixels() -> None:
    assert SurveySize(photographs=1, megapixels=12).cells == pytest.approx(12e6)


def test_ten_by_ten_photographs_show_the_ground_of_a_square_block() -> None:
    # Nine steps of the root of a tenth of a photograph, and one photograph: 3.846 along each side.
    size = SurveySize(photographs=100, megapixels=12)
    assert size.cells == pytest.approx(12e6 * 3.846**2, rel=1e-3)
    assert size.tiles == 170


def test_large_surveys_show_a_tenth_of_a_photograph_anew() -> None:
    size = SurveySize(photographs=1_000_000, megapixels=12)
    assert size.cells == pytest.approx(0.1 * size.pixels, rel=0.01)


def test_finer_surface_has_more_tiles_and_coarser_picture_fewer() -> None:
    def tiles(raster: Raster, quality: str = "normal", ortho_cell: float = 1.0) -> int:
        return SurveySize(
            photographs=10_000, megapixels=20, quality=quality, ortho_cell=ortho_cell
        ).tiles_of(raster)

    normal, high = tiles(Raster.SURFACE), tiles(Raster.SURFACE, "high")
    assert high / normal == pytest.approx((3.75 / 1.5) ** 2, rel=0.01)
    whole, quarter = tiles(Raster.ORTHO), tiles(Raster.ORTHO, ortho_cell=2.0)
    assert whole / quarter == pytest.approx(4, rel=0.01)


def test_asked_cell_is_compared_with_what_a_pixel_shows_from_the_flying_height() -> None:
    captures = [capture(i) for i in range(3)]  # 60 m / 3000 px: 2 cm
    size = survey_size(captures, {"c": CAMERA}, quality="fast", ortho_gsd_m=0.08)
    assert size == SurveySize(photographs=3, megapixels=12, quality="fast", ortho_cell=4.0)


def test_without_flying_heights_the_asked_cell_is_taken_for_the_photographs_own() -> None:
    captures = [capture(i, height_m=None) for i in range(3)]
    assert survey_size(captures, {"c": CAMERA}, ortho_gsd_m=0.08).ortho_cell == 1.0


def test_photographs_left_out_cost_nothing() -> None:
    captures = [capture(0), capture(1, flags=(Flag.UNREADABLE,))]
    assert survey_size(captures).photographs == sum(c.used for c in captures) == 1


def test_each_core_asks_for_its_own_memory() -> None:
    cost = Cost(memory_gb=1.0, gb_per_cpu=0.5)
    assert cost.asked(cpus=2).memory_gb == 2.0
    assert cost.asked(cpus=16).memory_gb == 9.0


def test_units_ask_for_their_share_of_the_time_and_the_last_for_what_is_left() -> None:
    cost = Cost(cpus=2, cpu_s=7200.0, end_s=600.0)  # one hour on its two cores
    assert cost.asked().minutes == START_MINUTES + CAUTION * 60
    assert cost.asked(6).minutes == START_MINUTES + CAUTION * 10
    assert cost.asked_at_end().minutes == START_MINUTES + CAUTION * 5 * 2  # perhaps on one core


def test_photographs_kept_in_memory_count_once_for_each_core_and_once_more() -> None:
    needs = OfTiles(
        cpus=3, raster=Raster.ORTHO, base_gb=1.0, gb_per_megapixel=0.1, cpu_s_per_tile=1.0
    )
    asked = needs(SurveySize(photographs=5, megapixels=10)).asked()
    assert asked.memory_gb == pytest.approx(1.0 + 0.1 * 10 * (3 + 1))


def test_unit_that_ends_a_stage_may_use_more_cores_than_its_shares() -> None:
    needs = OfTiles(
        cpus=2, base_gb=1.0, gb_per_cpu=0.5, cpu_s_per_tile=9.0, end_s_per_tile=1.0, end_cpus=4
    )
    cost = needs(SurveySize(photographs=500, megapixels=20))
    assert (cost.asked(7).cpus, cost.asked_at_end().cpus, cost.asked_at_end(3).cpus) == (2, 4, 3)
    assert cost.asked_at_end().memory_gb == 3.0


def test_more_detail_takes_more_time_and_memory_of_each_core() -> None:
    needs = OfPhotographs(
        cpus=1, base_gb=1.0, gb_per_cpu=0.5, cpu_s_per_photograph=2.0, work={"high": 3.0}
    )
    normal = needs(SurveySize(photographs=5, megapixels=10))
    high = needs(SurveySize(photographs=5, megapixels=10, quality="high"))
    assert (normal.cpu_s, high.cpu_s) == (10.0, 30.0)
    assert (normal.asked().memory_gb, high.asked().memory_gb) == (1.5, 2.5)


@pytest.mark.parametrize("stage", [*STAGES, *BAND_STAGES], ids=lambda stage: str(stage.name))
@given(
    few=st.integers(2, 10_000),
    more=st.integers(1, 10_000),
    megapixels=st.floats(1, 100),
    quality=st.sampled_from(["fast", "normal", "high"]),
)
def test_larger_surveys_never_ask_for_less(
    stage: type[Stage], few: int, more: int, megapixels: float, quality: str
) -> None:
    small, large = (
        stage.needs(SurveySize(photographs=count, megapixels=megapixels, quality=quality))
        for count in (few, few + more)
    )
    assert large.cpu_s >= small.cpu_s > 0
    assert large.asked().memory_gb >= small.asked().memory_gb >= 0.5
    assert large.parts >= small.parts >= 1
    assert small.end_s < small.cpu_s
