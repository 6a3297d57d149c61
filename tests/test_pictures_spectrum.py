"""Statistical pictures: each imposed statistic against a slow twin, and what a picture keeps of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.pictures import spectrum
from pipeline.pictures import spectrum_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.fields import twiddles
from pipeline.pictures.spectrum import render_spectrum

# A change of this means that every mixing set and dataset made with it changes: say so in the
# change log of the same commit. It holds on any x86-64 processor.
GOLDEN = "0f8f5a513249c34874193209f651349941c01e680de0b938728f4ea03a4b4b50"

F64 = kernels.F64


def _render(seed: int, index: int, size: int, attempt: int = 0) -> spectrum.U8:
    picture = np.empty((size, size, 3), np.uint8)
    render_spectrum(seed, index, attempt, picture)
    return picture


def _golden() -> str:
    pictures = [_render(7, index, 36) for index in range(4)]
    return hashlib.sha256(np.stack(pictures).data).hexdigest()


def _noise(*shape: int, seed: int = 0) -> F64:
    return np.random.Generator(np.random.PCG64(seed)).normal(size=shape)


def _scratch(num: int) -> tuple[kernels.I32, kernels.I32]:
    return np.empty(num, np.int32), np.empty((2, num), np.int32)


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


def test_a_processor_without_avx_makes_the_same_bytes(tmp_path: Path) -> None:
    script = "from tests.test_pictures_spectrum import _golden; print(_golden())"
    env = {
        **os.environ,
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path / "kernels"),
    }
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=root, capture_output=True, text=True
    )
    assert done.stdout.split() == [GOLDEN], done.stderr


def test_order_changes_nothing() -> None:
    forwards = [_render(1, index, 24) for index in range(3)]
    backwards = [_render(1, index, 24) for index in reversed(range(3))]
    assert np.array_equal(forwards, backwards[::-1])


def test_seeds_indices_and_attempts_give_different_pictures() -> None:
    pictures = [
        _render(seed, index, 16, attempt)
        for seed in (0, 1, 2**64 - 1)
        for index in range(2)
        for attempt in range(2)
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


@pytest.mark.parametrize("size", [8, 33, 64, 100])
def test_any_size_fills_the_range(size: int) -> None:
    picture = _render(3, 1, size)
    assert (picture.min(), picture.max()) == (0, 255)
    assert picture.std() > 15


def test_sizes_of_one_power_of_two_show_the_same_picture() -> None:
    for index in range(4):
        large, small = _render(0, index, 64), _render(0, index, 32)
        shrunk = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.999


def test_other_sizes_share_what_is_coarse() -> None:
    likeness = []
    for index in range(12):
        large, small = (
            _render(0, index, size).reshape(4, size // 4, 4, size // 4, 3).mean(axis=(1, 3))
            for size in (128, 64)
        )
        likeness.append(np.corrcoef(large.ravel(), small.ravel())[0, 1])
    assert np.median(likeness) > 0.8


@pytest.mark.parametrize("side", [64, 128, 256])
def test_the_squared_gains_of_the_pyramid_sum_to_one(side: int) -> None:
    pyramid = spectrum._pyramid(side)
    assert [bands.shape[1] for bands in pyramid.levels] == [
        n for n in (256, 128, 64, 32) if n <= side
    ]
    total = np.fft.fftshift(pyramid.high**2)
    for gains in [*(bands**2 for bands in pyramid.levels), pyramid.low[None] ** 2]:
        n = gains.shape[1]
        inner = slice((side - n) // 2, (side + n) // 2)
        total[inner, inner] += np.fft.fftshift(gains.sum(axis=0))
    assert np.allclose(total, 1, atol=1e-12)


def test_bands_are_octaves_of_four_orientations() -> None:
    bands = spectrum._pyramid(64).levels[0]
    frequency = np.fft.fftfreq(64, 1 / 64)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    octave = np.log2(np.maximum(np.hypot(x, y), 1e-9) / 32)
    angle = np.arctan2(y, x)
    low = np.sin(np.pi / 2 * np.clip(-octave, 0, 1))
    ring = low * np.cos(np.pi / 2 * np.clip(-octave - 1, 0, 1))
    for k in range(4):
        expected = ring * np.cos(angle - np.pi * k / 4) ** 3 * 48 / np.sqrt(2880)
        expected[0, 0] = 0
        assert np.allclose(bands[k], expected, atol=1e-12)


def _quantiles(marginal: F64, num: int) -> F64:
    edges = np.arange(802) * 0.5 - 200.25
    cumulated = np.r_[0, np.cumsum(marginal)] / marginal.sum()
    ranks: F64 = np.interp((np.arange(num) + 0.5) / num, cumulated, edges)
    return ranks


def _matched(field: F64, marginal: F64) -> F64:
    out = np.empty(field.size)
    out[np.argsort(field.ravel(), kind="stable")] = _quantiles(marginal, field.size)
    return out.reshape(field.shape)


def _crop(field: np.ndarray, n: int) -> np.ndarray:
    side = field.shape[0]
    kept = np.r_[0 : n // 2, side - n // 2 : side]
    return np.ascontiguousarray(field[np.ix_(kept, kept)])


def _marginals(num: int) -> F64:
    marginals = np.empty((num, 801))
    for k in range(num):
        kernels.fill_marginal(16.0, 0.5 + 0.05 * k, marginals[k])
    return marginals


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_cut_out_matched_and_put_back(level: int) -> None:
    side = 64
    bands = spectrum._pyramid(side).levels[level]
    n = bands.shape[1]
    marginals = _marginals(4)
    source = np.fft.fft2(50 * _noise(side, side))
    out_re, out_im = np.zeros((side, side)), np.zeros((side, side))
    re, im = source.real.copy(), source.imag.copy()
    kernels.match_level(bands, marginals, twiddles(n), re, im, out_re, out_im)
    expected = np.zeros((n, n), complex)
    for k in range(4):
        band = np.fft.ifft2(_crop(source, n) * 1j * bands[k])
        assert np.abs(band.imag).max() < 1e-9 * np.abs(band.real).max()
        expected += np.fft.fft2(_matched(band.real, marginals[k])) * -1j * bands[k]
    # A few pairs of values closer than 2⁻²² of the range may have changed places.
    assert np.abs(_crop(out_re + 1j * out_im, n) - expected).max() < 1e-3 * np.abs(expected).max()
    assert np.allclose(np.fft.ifft2(out_re + 1j * out_im).imag, 0, atol=1e-9)


def test_the_high_residual_is_matched() -> None:
    high, marginals = spectrum._pyramid(64).high, _marginals(1)
    source = np.fft.fft2(_noise(64, 64))
    out_re, out_im = np.ones((64, 64)), np.zeros((64, 64))
    re, im = source.real.copy(), source.imag.copy()
    kernels.match_high(high, marginals[0], twiddles(64), re, im, out_re, out_im)
    residual = np.fft.ifft2(source * high).real
    expected = np.fft.fft2(_matched(residual, marginals[0])) * high
    assert np.abs(out_re - 1 + 1j * out_im - expected).max() < 1e-3 * np.abs(expected).max()


def test_marginals_are_generalised_laplacians() -> None:
    marginal = np.empty(801)
    kernels.fill_marginal(16.0, 0.6, marginal)
    x = np.arange(801) * 0.5 - 200
    assert np.allclose(marginal, np.exp(-(np.abs(x / 16) ** 0.6)), rtol=1e-12)


def test_a_field_takes_its_marginal() -> None:
    marginal = _marginals(1)[0]
    field = _noise(32, 32)
    expected = _matched(field, marginal)
    kernels.match_marginal(marginal, field, *_scratch(1024))
    assert np.allclose(np.sort(field.ravel()), np.sort(expected.ravel()), atol=1e-9)
    assert np.mean(np.abs(field - expected) < 1e-9) > 0.99


def test_a_field_takes_its_histogram() -> None:
    targets = np.sort(_noise(256, seed=1))
    field = _noise(32, 32)
    ranks = np.argsort(np.argsort(field.ravel()))
    kernels.match_sorted(targets, field, *_scratch(1024))
    assert np.array_equal(np.sort(field.ravel()), np.repeat(targets, 4))
    assert np.mean(field.ravel() == targets[ranks // 4]) > 0.99


@given(values=hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6)))
@settings(max_examples=100, deadline=None)
def test_sorting(values: F64) -> None:
    order, spare = _scratch(values.size)
    kernels.argsort(values, order, spare)
    assert sorted(order.tolist()) == list(range(values.size))
    steps = np.diff(values[order])
    assert (steps >= -np.ptp(values) / (2**22 - 2)).all()
    spread = np.ptp(values)
    keys = ((values - values.min()) * ((2**22 - 1) / spread) if spread > 0 else values * 0).astype(
        np.int32
    )
    assert np.array_equal(order, np.argsort(keys, kind="stable"))


def test_magnitudes() -> None:
    magnitudes = np.empty((64, 64))
    kernels.fill_magnitudes(1.7, 2.1, magnitudes)
    frequency = np.abs(np.fft.fftfreq(64, 1 / 64)) / 128
    with np.errstate(divide="ignore"):
        expected = 1 / (frequency**1.7 + frequency[:, None] ** 2.1)
    expected[0, 0] = 0
    assert np.allclose(magnitudes, expected, rtol=1e-12)


def test_imposing_a_spectrum_keeps_phases_mean_and_power() -> None:
    field = _noise(64, 64) + 3
    before = np.fft.fft2(field)
    magnitudes = np.empty((64, 64))
    kernels.fill_magnitudes(2.0, 2.0, magnitudes)
    re, im = before.real.copy(), before.imag.copy()
    kernels.impose_magnitudes(magnitudes, re, im)
    after = re + 1j * im
    turned = after * before.conj()
    assert (turned.real.ravel() > 0).all()
    assert np.allclose(turned.imag / turned.real, 0, atol=1e-12)
    ratio = np.abs(after).ravel()[1:] / magnitudes.ravel()[1:]
    assert np.allclose(ratio, ratio[0])
    shaped = np.fft.ifft2(after).real
    assert np.isclose(shaped.mean(), field.mean())
    assert np.isclose(shaped.std(), field.std())


@pytest.mark.parametrize("blur", [1, 2, 5, 10])
def test_stripes_are_sorted_and_blurred(blur: int) -> None:
    bounds, colours = np.array([0.25, 0.3, 1.0]), 100 * _noise(3, 3)
    pixels = np.empty((32, 32, 3))
    kernels.fill_stripes(bounds, colours, blur, pixels)
    places = np.searchsorted(bounds, np.arange(1024) / 1024, side="right")
    sharp = colours[places].reshape(32, 32, 3).swapaxes(0, 1)
    padded = np.pad(sharp, ((16, 16), (16, 16), (0, 0)), mode="symmetric")
    expected = np.zeros((32, 32, 3))
    for i in range(-(blur // 2), blur - blur // 2):
        for j in range(-(blur // 2), blur - blur // 2):
            expected += padded[16 + i : 48 + i, 16 + j : 48 + j] / blur**2
    assert np.allclose(pixels, expected)


def test_moments_and_principal_axes() -> None:
    pixels = _noise(500, 3) @ _noise(3, 3, seed=1) + 7
    moments, axes = np.empty((4, 3)), np.empty((3, 3))
    kernels.fill_moments(pixels, moments)
    covariances = np.cov(pixels.T, bias=True)
    assert np.allclose(moments[0], pixels.mean(axis=0))
    assert np.allclose(moments[1:], covariances)
    kernels.fill_axes(moments[1:], axes)
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.allclose(axes @ covariances @ axes.T, moments[1:], atol=1e-10)
    assert np.allclose(np.sort(np.diag(moments[1:])), np.linalg.eigvalsh(covariances))
    assert np.allclose(moments[1:] - np.diag(np.diag(moments[1:])), 0, atol=1e-12)


def test_colours_are_few_stretched_and_uncorrelated_along_their_axes() -> None:
    for index in range(20):
        colours = spectrum._draw_colours(Draws(5, 1, index, 0))
        assert colours.targets.shape == (3, 4096)
        assert (np.diff(colours.targets, axis=1) >= 0).all()
        assert np.allclose(colours.targets.mean(axis=1), 0, atol=1e-9)
        assert np.allclose(colours.axes @ colours.axes.T, np.eye(3), atol=1e-12)
        assert 100 < np.ptp(colours.targets, axis=1).max() <= 255 * np.sqrt(3)


def test_a_channel_has_exactly_the_colours_asked_for() -> None:
    targets = np.sort(_noise(4096))
    magnitudes, field = np.empty((64, 64)), np.empty((64, 64))
    kernels.fill_magnitudes(2.0, 2.0, magnitudes)
    spectrum._shape_channel(np.uint64(1), magnitudes, _marginals(9), targets, field)
    assert np.array_equal(np.sort(field.ravel()), targets)


def test_statistics_are_those_of_the_family() -> None:
    """A re-implementation of the release gave 4.7 bits, steps of 17 levels, neighbours at 0.67."""
    bits, steps, likeness = [], [], []
    for index in range(60):
        grey = np.asarray(Image.fromarray(_render(0, index, 64)).convert("L")).astype(float)
        shares = np.bincount((grey // 4).astype(int).ravel(), minlength=64) / 64**2
        shares = shares[shares > 0]
        bits.append(-(shares * np.log2(shares)).sum())
        steps.append(np.abs(np.diff(grey, axis=0)).mean())
        likeness.append(np.corrcoef(grey[1:].ravel(), grey[:-1].ravel())[0, 1])
    assert abs(np.median(bits) - 4.7) < 0.25
    assert abs(np.median(steps) - 16) < 4
    assert abs(np.median(likeness) - 0.68) < 0.12
