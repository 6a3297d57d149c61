"""The untrained StyleGAN: the collapsed layer equals the full one, and pictures vary as they should."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import signal

from pipeline.pictures import stylegan
from pipeline.pictures import stylegan_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.stylegan import render_stylegan
from tests.elsewhere import without_avx

# A change of this means that every mixing set and dataset made with it changes: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "363222bd5db49141a6048fc51cb3432e2c7c3ebcc3e73a4e60bbcd5345393339"

F64 = kernels.F64


def _render(seed: int, index: int, size: int, attempt: int = 0) -> kernels.U8:
    picture = np.empty((size, size, 3), np.uint8)
    render_stylegan(seed, index, attempt, picture)
    return picture


def _golden() -> str:
    pictures = [_render(7, index, 36) for index in range(8)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


def _noise(*shape: int, seed: int = 0) -> F64:
    return np.random.Generator(np.random.PCG64(seed)).normal(size=shape)


def _state(seed: int) -> kernels.U64:
    return np.array([seed], np.uint64)


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_stylegan import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


def test_order_changes_nothing() -> None:
    forwards = [_render(1, index, 24) for index in range(4)]
    backwards = [_render(1, index, 24) for index in reversed(range(4))]
    assert np.array_equal(forwards, backwards[::-1])


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    pictures = [
        _render(seed, index, 16, attempt)
        for seed in (0, 1, 2**64 - 1)
        for index in range(3)
        for attempt in range(2)
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("size", [8, 33, 100])
def test_any_size(size: int) -> None:
    assert _render(3, 1, size).std() > 10


def test_other_sizes_share_what_is_coarse() -> None:
    """Two sizes of one network are all but the same; of two networks, the coarse layers are."""
    likeness = []
    for index in range(12):
        coarse = [
            _render(0, index, size).reshape(8, size // 8, 8, size // 8, 3).mean(axis=(1, 3))
            for size in (32, 64, 128)
        ]
        assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.98
        likeness.append(np.corrcoef(coarse[1].ravel(), coarse[2].ravel())[0, 1])
    assert np.median(likeness) > 0.7


def test_the_dictionary() -> None:
    filters = np.empty((20, 3, 3))
    kernels.fill_filters(filters)
    assert np.allclose(filters[:16].sum(axis=(1, 2)), 0)
    assert np.allclose(filters[0], [[-1, 0, 1]] * 3)
    assert np.allclose(filters[4], np.transpose(filters[0]))
    assert np.allclose(filters[8], [[-1 / 3, 2 / 3, -1 / 3]] * 3)
    assert np.allclose(filters[:8], -filters[:8, ::-1, ::-1])
    assert np.allclose(filters[8:16], filters[8:16, ::-1, ::-1])
    assert filters[16].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert filters[17].tolist() == [[-1, -1, -1], [-1, 1, -1], [-1, -1, -1]]
    assert filters[18].tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert filters[19].tolist() == [[-1, 1, -1], [1, 1, 1], [-1, 1, -1]]
    flat = np.concatenate([filters, -filters]).reshape(40, 9)
    assert len(np.unique(flat.round(9), axis=0)) == 40


def test_a_collapsed_layer_equals_the_full_one() -> None:
    """Each of the full layer's channels, with a random gain of its own, is ± the collapsed map."""
    filters, state = stylegan._filters(), _state(5)
    noise = _noise(16, 16)
    before = stylegan._Layer(
        _noise(8, 8, seed=1), 0.1 * _noise(8, 8, seed=2), 0.2 * _noise(2, 64, seed=3)
    )
    before.channels[0] = np.sign(before.channels[0])
    slots, weights = np.empty(64, np.int64), np.empty(64)
    kernels.draw_filters(state.copy(), filters, slots, weights)
    layer = stylegan._next_layer(state, noise, before, 16)
    shape = (64, 1, 1)
    inputs = np.sqrt(2) * np.maximum(
        before.channels[0].reshape(shape) * before.base
        + before.grain
        + before.channels[1].reshape(shape),
        0,
    )
    spread = np.zeros((64, 16, 16))
    spread[:, ::2, ::2] = inputs
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    for gain in _noise(4, seed=4):
        full = gain * weights[:, None, None] * filters[slots]
        full /= np.sqrt((full**2).sum() + 1e-8)
        output = np.zeros((16, 16))
        for channel in range(64):
            smooth = signal.convolve2d(spread[channel], blur)[1:-2, 1:-2]
            output += signal.correlate2d(smooth, full[channel], mode="same")
        assert np.allclose(np.sign(gain) * layer.base, output, atol=1e-6)
    means = noise.reshape(16, 1, 16, 1).mean(axis=(1, 3))
    strength = layer.grain / means
    assert np.allclose(strength, strength[0, 0])
    assert 0 <= strength[0, 0] < 0.3


def test_channels_have_fair_signs_and_small_biases() -> None:
    channels = np.empty((2, 4000))
    kernels.draw_channels(_state(1), 0.2, channels)
    assert set(channels[0]) == {-1, 1}
    assert abs(channels[0].mean()) < 0.05
    assert abs(channels[1]).max() <= 0.2
    assert abs(channels[1].std() - 0.2 / np.sqrt(3)) < 0.005


def test_layers_draw_a_few_filters_and_styles_around_one() -> None:
    filters = stylegan._filters()
    slots, weights = np.empty(64, np.int64), np.empty(64)
    kept, styles = [], []
    for seed in range(300):
        scale = kernels.draw_filters(_state(seed), filters, slots, weights)
        norm = (weights**2 * (filters[slots] ** 2).sum(axis=(1, 2))).sum()
        assert np.isclose(scale, 1 / np.sqrt(norm))
        kept.append(len(set(zip(slots.tolist(), (weights > 0).tolist(), strict=True))))
        styles.append(weights.copy())
    assert 4 <= min(kept) <= 8
    assert 25 < max(kept) <= 40
    # Styles are N(1, 0.52); the sign of a filter turns them round at random.
    assert abs(np.square(styles).mean() - 1.52) < 0.05
    assert abs(np.mean(styles)) < 0.05


def test_constant_inputs_are_summed_by_filter() -> None:
    slots, weights = np.zeros(64, np.int64), np.ones(64)
    maps = np.empty((20, 4, 4))
    kernels.draw_first_maps(_state(1), slots, weights, maps)
    assert (maps[1:] == 0).all()
    assert 4 < maps[0].std() < 12  # √64 of unit deviation


def test_normal_numbers() -> None:
    state = _state(3)
    drawn = np.array([kernels.next_normal(state) for _ in range(20_000)])
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.02
    assert abs(np.mean(np.abs(drawn) < 1) - 0.6827) < 0.01


def test_convolution_pads_with_zeros() -> None:
    maps, filters, out = _noise(5, 12, 12), _noise(5, 3, 3, seed=1), np.empty((12, 12))
    kernels.convolve(maps, filters, 0.5, out)
    pairs = zip(maps, filters, strict=True)
    expected = sum(signal.correlate2d(field, taps, mode="same") for field, taps in pairs)
    assert np.allclose(out, 0.5 * np.asarray(expected))


def test_upsampling_is_zeros_put_between_and_filtered() -> None:
    field, out = _noise(8, 8), np.empty((16, 16))
    kernels.upsample(field, out)
    spread = np.zeros((16, 16))
    spread[::2, ::2] = field
    blur = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
    assert np.allclose(out, signal.convolve2d(spread, blur)[1:-2, 1:-2])


def test_noise_is_pink_in_patches() -> None:
    slopes, peaks = [], []
    for index in range(40):
        field = stylegan._draw_noise(Draws(0, 1, index, 0), 64)
        assert abs(field.mean()) < 1e-12
        assert abs(field.std() - 1) < 1e-12
        power = np.abs(np.fft.fft2(field)) ** 2
        radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, 1 / 64)] * 2))
        near, far = ((radius > a) & (radius < b) for a, b in ((4, 6), (16, 24)))
        slopes.append(np.log(power[near].mean() / power[far].mean()) / np.log(4) / 2)
        patches = field.reshape(8, 8, 8, 8).std(axis=(1, 3))
        peaks.append(patches.max() / np.median(patches))
    assert 0.4 < min(slopes) < 0.8
    assert 1.2 < max(slopes) < 1.8
    assert np.median(peaks) > 2


def test_lanczos() -> None:
    x = np.linspace(-3.5, 3.5, 57)
    expected = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    assert np.allclose([kernels._lanczos(value) for value in x], expected, atol=1e-12)


def test_bytes_are_clipped_and_rounded() -> None:
    out = np.empty((2, 2), np.uint8)
    kernels.to_bytes(np.array([[-0.5, 1.5], [0.5, 0.2]]), out)
    assert out.tolist() == [[0, 255], [128, 51]]


def test_colours_vary_as_asked() -> None:
    """Means over 400 pictures; clipping pulls them and their deviations in a little."""
    pictures = np.stack([_render(0, index, 32) for index in range(400)]) / 255
    means, deviations = pictures.mean(axis=(1, 2)), pictures.std(axis=(1, 2))
    assert np.allclose(means.mean(axis=0), [0.483, 0.455, 0.401], atol=0.04)
    assert np.allclose(means.std(axis=0), [0.145, 0.142, 0.161], atol=0.03)
    assert np.allclose(deviations.mean(axis=0), [0.21, 0.205, 0.2], atol=0.03)
    assert deviations.min() > 0.04
