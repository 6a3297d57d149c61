"""Oriented textures: the same bytes everywhere, one formula, one scale, and busy."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from pipeline.pictures import gabor, gabor_kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.gabor import U8, render_gabor
from pipeline.pictures.quality import TEXTURE_GATE, Cells
from tests.elsewhere import without_avx

# A change of these means that every mixing set and dataset made with them changes. They hold on any
# x86-64 processor.
GOLDEN = {
    36: "f07f5ba7ed7c5ce8130a98a07a0956fdd005b9aa71c1995454cde6e7b48683c1",
    96: "c3d31a7cce08d02b69c70997e1de26d6380f5ffd843fc706626b4b2c3f26b391",
}


def _render(seed: int, index: int, size: int, attempt: int = 0) -> U8:
    picture = np.empty((size, size, 3), np.uint8)
    render_gabor(seed, index, attempt, picture)
    return picture


def _golden(size: int) -> str:
    return hashlib.sha256(
        np.stack([_render(7, index, size) for index in range(8)]).data
    ).hexdigest()


@pytest.mark.parametrize("size", list(GOLDEN))
def test_golden_pictures(size: int) -> None:
    assert _golden(size) == GOLDEN[size]


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_gabor import _golden; print(_golden(36), _golden(96))"
    assert without_avx(script) == [GOLDEN[36], GOLDEN[96]]


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**64 - 1, 0, 0)]
    assert len({_render(seed, index, 16, attempt).tobytes() for seed, index, attempt in keys}) == 5


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size(size: int) -> None:
    picture = _render(0, 0, size)
    assert picture.shape == (size, size, 3)
    assert picture.std() > 8


def test_a_picture_looks_the_same_at_every_size() -> None:
    for index in range(4):
        small, large = (Cells(_render(5, index, size)).light.ravel() for size in (64, 192))
        assert np.corrcoef(small, large)[0, 1] > 0.97


def test_the_kernel_follows_its_formula() -> None:
    """Against a twin in NumPy, with the library's cosine."""
    generator = np.random.Generator(np.random.PCG64(3))
    layers, masks = generator.normal(0, 2, (2, 4, 4)), generator.normal(0, 0.5, (2, 3, 4))
    warps = generator.normal(0, 0.1, (2, 3, 4))
    colours = generator.normal(0, 1, (3, 3))
    shapes = np.array([[gabor_kernels.PLAIN, 0.3], [gabor_kernels.CROSSED, 0.7]])
    out = np.empty((12, 12, 3), np.uint8)
    gabor_kernels.paint(layers, shapes, masks, warps, colours, gabor._cosines(), out)

    y, x = (np.mgrid[:24, :24] + 0.5) / 24

    def total(waves: gabor.F64, x: gabor.F64, y: gabor.F64) -> gabor.F64:
        terms = (a * np.cos(2 * np.pi * (f * x + g * y + p)) for f, g, p, a in waves)
        return np.sum(list(terms), axis=0)

    u, v = x + total(warps[0], x, y), y + total(warps[1], x, y)
    value = np.broadcast_to(colours[2], (24, 24, 3)).copy()
    first, second = (total(half, u, v) for half in (layers[1, :2], layers[1, 2:]))
    for layer, tone in enumerate((total(layers[0], u, v), 2 * first * second)):
        mask = np.clip(total(masks[layer], x, y) + 0.5, 0, 1)
        edge = tone * mask / np.sqrt(shapes[layer, 1] ** 2 + tone**2)
        value += edge[..., None] * colours[layer]
    shade = 0.5 + 0.5 * value / np.sqrt(1 + value**2)
    means = shade.reshape(12, 2, 12, 2, 3).mean(axis=(1, 3)) * 255
    assert np.abs(out - means).max() < 0.6


def test_a_layer_keeps_its_scale_and_strength() -> None:
    waves = np.empty((10, 4))
    for index in range(50):
        draws = Draws(0, 1, index, 0)
        gabor._fill_layer(waves, 8.0, False, draws)
        lengths = np.hypot(waves[:, 0], waves[:, 1])
        assert lengths.min() > 8 / 1.76
        assert lengths.max() < 8 * 1.76
        assert (waves[:, 3] ** 2 / 2).sum() == pytest.approx(1)


def test_slow_waves_have_the_strength_asked_for() -> None:
    waves = np.empty((3, 4))
    gabor._fill_slow(waves, 0.7, Draws(0, 2, 0, 0))
    assert math.sqrt((waves[:, 3] ** 2 / 2).sum()) == pytest.approx(0.7)


def test_most_pictures_pass_their_gate() -> None:
    passed = [TEXTURE_GATE.shortfall(Cells(_render(0, index, 36))) == 0 for index in range(200)]
    assert np.mean(passed) > 0.7
