"""FractalDB: the search accepts what the paper accepts, instances belong together, grey on black."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.pictures import fractaldb_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.fractaldb import _varied, find_category, render_fractaldb
from tests.elsewhere import without_avx

# A change of this means that every mixing set and dataset made with it changes: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "399d469c9545cfbfa0218239c659144860f87ad5140ae04006e97bcecc4026fc"


def _render(seed: int, index: int, size: int, attempt: int = 0, instances: int = 10) -> kernels.U8:
    picture = np.empty((size, size, 3), np.uint8)
    render_fractaldb(seed, index, attempt, picture, instances=instances)
    return picture


def _golden() -> str:
    pictures = [_render(7, index, 36, instances=2) for index in range(8)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


def _system(maps: list[list[float]]) -> tuple[kernels.F64, kernels.U8]:
    array, pick = np.array(maps, np.float64), np.empty(1024, np.uint8)
    kernels.fill_pick(array, pick)
    return array, pick


# Four quarters of the unit square: an orbit fills it evenly.
SQUARE = [[0.5, 0, 0, 0.5, x, y] for x in (0, 0.5) for y in (0, 0.5)]


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_fractaldb import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


def test_order_and_the_memory_of_categories_change_nothing() -> None:
    forwards = [_render(1, index, 24, instances=2) for index in range(6)]
    find_category.cache_clear()
    backwards = [_render(1, index, 24, instances=2) for index in reversed(range(6))]
    assert np.array_equal(forwards, backwards[::-1])


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    pictures = [
        _render(seed, index, 24, attempt)
        for seed in (0, 2**64 - 1)
        for index in (0, 1, 10)
        for attempt in range(2)
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_categories_are_those_that_fill_a_fifth() -> None:
    """One system in 46 is accepted; a slow search without preview finds the same ones."""
    categories = [find_category(11, number) for number in range(60)]
    assert 30 < np.mean([category.num_draws for category in categories]) < 65
    assert {2, 3, 4, 5} < {len(category.maps) for category in categories} <= {2, 3, 4, 5, 6, 7}
    canvas = np.empty((512, 512), np.uint8)
    for category in categories:
        assert np.abs(category.maps).max() <= 1
        maps, pick = _system(category.maps.tolist())
        orbit_seed = np.uint64(category.orbit_seed)
        assert kernels.fill_rate(maps, pick, orbit_seed, 100_000, canvas) >= 0.2
        assert (canvas > 0).mean() >= 0.2


def test_the_preview_hardly_loses_a_system() -> None:
    """Of systems that the paper would accept, drawn without any preview, it passes 99 %."""
    generator = np.random.Generator(np.random.PCG64(0))
    canvas, preview = np.empty((512, 512), np.uint8), np.empty((128, 128), np.uint8)
    accepted = lost = 0
    for _ in range(2000):
        maps, pick = _system(generator.uniform(-1, 1, (generator.integers(2, 8), 6)).tolist())
        if kernels.fill_rate(maps, pick, np.uint64(3), 100_000, canvas) >= 0.2:
            accepted += 1
            rate = kernels.fill_rate(maps, pick, np.uint64(3), kernels.PREVIEW_POINTS, preview)
            lost += rate < kernels.LEAST_PREVIEW_RATE
    assert 20 < accepted < 80
    assert lost == 0


def test_categories_cannot_be_altered() -> None:
    with pytest.raises(ValueError, match="read-only"):
        find_category(0, 0).maps[0, 0] = 1


def test_instances_of_a_category_multiply_one_parameter_of_all_maps() -> None:
    category = find_category(0, 3)
    kinds = set()
    for index in range(100):
        maps, _ = _varied(category, Draws(0, 1, index, 0))
        ratio = maps / category.maps
        columns = [k for k in range(6) if not np.allclose(ratio[:, k], 1)]
        assert len(columns) <= 1
        factor = round(float(ratio[0, columns[0]]), 6) if columns else 1.0
        if columns:
            assert np.allclose(ratio[:, columns[0]], factor)
        kinds.add((*columns, factor))
    assert {factor for *_, factor in kinds} == {0.2, 0.6, 1, 1.4, 1.8}
    assert 15 < len(kinds) <= 25


def test_maps_are_chosen_by_their_areas() -> None:
    _, pick = _system([[1, 0, 0, 0.5, 0, 0], [0, -1, 0.25, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    assert np.bincount(pick, minlength=3).tolist() == [683, 341, 0]


def test_the_box_holds_the_orbit_and_its_start() -> None:
    maps, pick = _system([[0.5, 0, 0, 0.5, 1, -2], [0.5, 0, 0, 0.5, 2, -1]])
    box = np.empty(4)
    assert kernels.trace_box(maps, pick, np.uint64(1), 5000, box)
    assert np.allclose(box, [0, -4, 4, 4], atol=1e-2)


@pytest.mark.parametrize("maps", [[[1.5, 0, 0, 1.5, 1, 1]], [[0.5, 0, 0, 0.5, 0, 1]]])
def test_an_orbit_that_escapes_or_has_no_width_fills_nothing(maps: list[list[float]]) -> None:
    array, pick = _system(maps)
    assert kernels.fill_rate(array, pick, np.uint64(1), 1000, np.empty((32, 32), np.uint8)) == 0


def test_stamps_are_grey_and_black_and_half_on() -> None:
    """With far more points than cells, each cell shows the last stamp on it: on with 256/511."""
    maps, pick = _system(SQUARE)
    canvas = np.empty((362, 362), np.uint8)
    stamps = np.array([1], np.uint64)
    assert kernels.stamp_orbit(maps, pick, np.uint64(2), stamps, 600_000, canvas)
    assert np.unique(canvas).tolist() == [0, 127]
    inside = canvas[8:-8, 8:-8] > 0
    assert abs(inside.mean() - 256 / 511) < 0.01
    assert canvas[:5].max() == canvas[:, -4:].max() == 0


def test_a_point_pastes_at_most_nine_cells() -> None:
    maps, pick = _system(SQUARE)
    canvas = np.empty((32, 32), np.uint8)
    kernels.stamp_orbit(maps, pick, np.uint64(2), np.array([1], np.uint64), 9, canvas)
    assert 9 < np.count_nonzero(canvas) <= 81
    kernels.stamp_orbit(maps, pick, np.uint64(2), np.empty(0, np.uint64), 500, canvas)
    assert 200 < np.count_nonzero(canvas) <= 500


def test_shrink_averages_blocks_and_mirrors() -> None:
    canvas = np.random.Generator(np.random.PCG64(0)).integers(0, 128, (36, 36), np.uint8)
    means = np.floor(canvas.reshape(12, 3, 12, 3).mean(axis=(1, 3)) + 0.5)
    out = np.empty((12, 12, 3), np.uint8)
    for flip_x in (False, True):
        for flip_y in (False, True):
            kernels.shrink(canvas, flip_x, flip_y, out)
            expected = means[:, ::-1] if flip_x else means
            expected = expected[::-1] if flip_y else expected
            assert all(np.array_equal(out[..., channel], expected) for channel in range(3))


@pytest.mark.parametrize("size", [8, 33, 200])
def test_pictures_are_grey_and_not_empty_at_any_size(size: int) -> None:
    for index in range(0, 40, 10):
        picture = _render(5, index, size)
        assert (picture == picture[..., :1]).all()
        assert picture.max() <= 127
        # At least a tenth of the preview is hit, at 1.5 points to a cell with half a stamp each.
        assert picture.mean() > 7


def test_every_size_shows_the_same_fractal() -> None:
    """Compared in blocks of a ninth of the side, over which the stamps average out."""
    for index in range(0, 40, 10):
        large, small = (
            _render(0, index, size)[..., 0].reshape(9, size // 9, 9, size // 9).mean(axis=(1, 3))
            for size in (144, 36)
        )
        assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.9


def test_no_instances_are_refused() -> None:
    with pytest.raises(ValueError, match="0 instances of a category: at least 1 is needed"):
        _render(0, 0, 8, instances=0)
