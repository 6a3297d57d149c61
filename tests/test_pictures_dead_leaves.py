"""Dead leaves: the same leaves at every size, the sizes of the paper, ground covered exactly once."""

from __future__ import annotations

import hashlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pictures import dead_leaves_kernels as kernels
from pipeline.pictures.dead_leaves import Shapes, _radius_law, render_dead_leaves
from tests.elsewhere import without_avx

NAMES: tuple[Shapes, ...] = get_args(Shapes)

# A change of these means that every mixing set and dataset made with them changes: say so in the
# change log of the same commit. They hold on any x86-64 processor.
GOLDEN = {
    "squares": "5a725fa595badbcc1accc55b12d19b3f4f43ce57b2b5a325bcf13d686454b06b",
    "mixed": "3ceb092548d2918af7ffb8593358860823383147a23a901c3dd944b5173444b8",
}


def _render(
    seed: int, index: int, size: int, attempt: int = 0, shapes: Shapes = "squares"
) -> kernels.U8:
    picture = np.empty((size, size, 3), np.uint8)
    render_dead_leaves(seed, index, attempt, picture, shapes=shapes)
    return picture


def _golden(shapes: Shapes) -> str:
    pictures = [_render(7, index, 36, shapes=shapes) for index in range(8)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


@pytest.mark.parametrize("shapes", list(GOLDEN))
def test_golden_pictures(shapes: Shapes) -> None:
    assert _golden(shapes) == GOLDEN[shapes]


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = (
        "from tests.test_pictures_dead_leaves import _golden; "
        "print(_golden('squares'), _golden('mixed'))"
    )
    assert without_avx(script) == [GOLDEN["squares"], GOLDEN["mixed"]]


def test_order_changes_nothing() -> None:
    forwards = [_render(1, index, 24) for index in range(5)]
    backwards = [_render(1, index, 24) for index in reversed(range(5))]
    assert np.array_equal(forwards, backwards[::-1])


def test_seeds_indices_attempts_and_shapes_give_different_pictures() -> None:
    pictures = [
        _render(seed, index, 16, attempt, shapes)
        for seed in (0, 1, 2**64 - 1)
        for index in range(3)
        for attempt in range(2)
        for shapes in NAMES
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("shapes", NAMES)
def test_every_size_shows_the_same_leaves(shapes: Shapes) -> None:
    for index in range(4):
        large = _render(0, index, 128, shapes=shapes)
        small = _render(0, index, 32, shapes=shapes)
        shrunk = large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size(size: int) -> None:
    picture = _render(3, 1, size)
    assert picture.std() > 20


def test_unknown_shapes_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"shapes 'stars': choose one of squares, rotated-squares"):
        _render(0, 0, 8, shapes="stars")  # type: ignore[arg-type]


def test_radii_follow_the_inverse_cube() -> None:
    bounds, radii = _radius_law()
    weights = np.maximum(np.linspace(0.03, 1, 200) ** -3 - 1, 0)
    assert np.allclose(radii, np.linspace(0.03, 1, 200))
    assert np.allclose(bounds, weights.cumsum() / weights.sum())
    assert bounds[-1] == 1
    # The mean, the median and the 95th percentile of a re-implementation of the paper's release.
    drawn = radii[np.searchsorted(bounds, (np.arange(10_000) + 0.5) / 10_000, side="right")]
    assert abs(drawn.mean() - 0.053) < 0.001
    assert abs(np.median(drawn) - 0.040) < 0.001
    assert abs(np.percentile(drawn, 95) - 0.12) < 0.005


def _corners(shape: int, seed: int) -> kernels.F64:
    corners = np.full((4, 2), np.nan)
    state = np.array([seed], np.uint64)
    return corners[: kernels.fill_corners(shape, 2.0, state, corners)]


@given(seed=st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_corners_lie_on_the_circle(seed: int) -> None:
    for shape in (kernels.SQUARE, kernels.ROTATED_SQUARE, kernels.RECTANGLE, kernels.QUADRILATERAL):
        corners = _corners(shape, seed)
        assert corners.shape == (4, 2)
        assert np.allclose((corners**2).sum(axis=1), 4)
        if shape != kernels.QUADRILATERAL:
            assert np.allclose(corners.sum(axis=0), 0)
        if shape in (kernels.SQUARE, kernels.ROTATED_SQUARE):
            distances = np.linalg.norm(corners[:, None] - corners, axis=-1)
            assert np.allclose(
                np.sort(distances, axis=1), [0, 2 * np.sqrt(2), 2 * np.sqrt(2), 4], atol=1e-9
            )
    assert _corners(kernels.TRIANGLE, seed).shape == (3, 2)
    assert _corners(kernels.CIRCLE, seed).shape == (0, 2)


@given(seed=st.integers(0, 2**64 - 1), y=st.floats(-2.2, 2.2))
@settings(max_examples=100, deadline=None)
def test_sections_are_those_of_the_convex_hull(seed: int, y: float) -> None:
    """Against half-planes: points a little inside either end lie in the hull, a little outside not."""
    for shape in (kernels.TRIANGLE, kernels.QUADRILATERAL, kernels.RECTANGLE):
        corners = np.full((4, 2), np.nan)
        num = kernels.fill_corners(shape, 2.0, np.array([seed], np.uint64), corners)
        left, right = kernels.section(corners, num, 2.0, y)
        if left > right:
            heights = corners[:num, 1]
            assert y < heights.min() + 1e-9 or y >= heights.max() - 1e-9
            continue
        around = corners[:num][np.argsort(np.arctan2(corners[:num, 1], corners[:num, 0]))]
        ahead = np.roll(around, -1, axis=0) - around
        for x, inside in ((left + 1e-6, True), (right - 1e-6, True), (left - 1e-3, False)):
            if right - left < 1e-5:
                continue
            turn = ahead[:, 0] * (y - around[:, 1]) - ahead[:, 1] * (x - around[:, 0])
            assert (turn > -1e-5).all() == inside or not inside
            assert inside or turn.min() < 1e-9
    half = np.sqrt(max(4 - y * y, 0))
    left, right = kernels.section(corners, 0, 2.0, y)
    assert (left, right) == ((1, -1) if abs(y) > 2 else (-half, half))


def test_a_row_is_filled_where_it_is_free() -> None:
    free = np.arange(17, dtype=np.int32)
    sums = np.zeros((4, 3), np.int32)
    red, blue = np.array([9, 0, 0], np.int32), np.array([0, 0, 5], np.int32)
    assert kernels.fill_row(free, 3, 9, red, sums) == 6
    assert sums[:, 0].tolist() == [9, 36, 9, 0]
    assert kernels.fill_row(free, 0, 16, blue, sums) == 10
    assert sums[:, 2].tolist() == [15, 0, 15, 20]
    assert kernels.fill_row(free, 0, 16, red, sums) == 0


def test_front_to_back_equals_a_painter_who_lays_the_same_leaves_from_the_last_on() -> None:
    """The painter's cells are averaged; his loop needs as many leaves as the fill took."""
    bounds, radii = _radius_law()
    picture = np.empty((12, 12, 3), np.uint8)
    num_leaves = kernels.cover(kernels.SQUARE, bounds, radii, np.array([5], np.uint64), picture)
    side = 12 * kernels.SUPERSAMPLING
    words = _splitmix(5, 4 * num_leaves)
    canvas = np.full((side, side, 3), np.nan)
    for leaf in reversed(range(num_leaves)):
        word, *rest = words[4 * leaf : 4 * leaf + 4]
        u, x, y = ((w >> 11) * 2.0**-53 for w in rest)
        half = radii[np.searchsorted(bounds, u, side="right")] * side * np.sqrt(0.5)
        cells = np.arange(side) + 0.5
        rows, columns = np.abs(cells - y * side) <= half, np.abs(cells - x * side) <= half
        canvas[np.ix_(rows, columns)] = [word & 255, word >> 8 & 255, word >> 16 & 255]
    mean = canvas.reshape(12, 4, 12, 4, 3).mean(axis=(1, 3))
    assert np.array_equal(picture, np.floor(mean + 0.5))


def _splitmix(state: int, num: int) -> list[int]:
    words = []
    for _ in range(num):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) % 2**64
        words.append(z ^ z >> 31)
    return words


def test_pictures_are_busy() -> None:
    """A re-implementation of the release gave 4.9 bits (median) and mean differences of 13 levels."""
    bits, steps = [], []
    for index in range(100):
        grey = np.asarray(Image.fromarray(_render(0, index, 64)).convert("L")).astype(float)
        shares = np.bincount((grey // 4).astype(int).ravel(), minlength=64) / 64**2
        shares = shares[shares > 0]
        bits.append(-(shares * np.log2(shares)).sum())
        steps.append(np.abs(np.diff(grey, axis=0)).mean())
    assert abs(np.median(bits) - 4.9) < 0.2
    assert abs(np.median(steps) - 13) < 2.5
