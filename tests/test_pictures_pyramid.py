"""The pyramid: gains that sum to one, bands and marginals against slow twins in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.pictures import pyramid_kernels as kernels
from pipeline.pictures.pyramid import match_bands, match_sorted, pyramid, ranks, sigmas

F64 = kernels.F64


def _noise(*shape: int, seed: int = 0) -> F64:
    return np.random.Generator(np.random.PCG64(seed)).normal(size=shape)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_the_squared_gains_sum_to_one(side: int) -> None:
    gains = pyramid(side)
    sides = [n for n in (256, 128, 64, 32) if n <= side]
    assert [bands.shape[1] for bands in gains.levels] == sides
    assert gains.num_bands() == 1 + 4 * len(sides)
    assert sigmas(gains) == [1, *np.repeat([side // n for n in sides], 4)]
    total = np.fft.fftshift(gains.high**2)
    for squares in [*(bands**2 for bands in gains.levels), gains.low[None] ** 2]:
        n = squares.shape[1]
        inner = slice((side - n) // 2, (side + n) // 2)
        total[inner, inner] += np.fft.fftshift(squares.sum(axis=0))
    assert np.allclose(total, 1, atol=1e-12)


def test_bands_are_octaves_of_four_orientations() -> None:
    frequency = np.fft.fftfreq(64, 1 / 64)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    octave = np.log2(np.maximum(np.hypot(x, y), 1e-9) / 32)
    angle = np.arctan2(y, x)
    low = np.sin(np.pi / 2 * np.clip(-octave, 0, 1))
    ring = low * np.cos(np.pi / 2 * np.clip(-octave - 1, 0, 1))
    for k in range(4):
        expected = ring * np.cos(angle - np.pi * k / 4) ** 3 * 48 / np.sqrt(2880)
        expected[0, 0] = 0
        assert np.allclose(pyramid(64).levels[0][k], expected, atol=1e-12)


def _quantiles(marginal: F64, num: int) -> F64:
    edges = np.arange(802) * 0.5 - 200.25
    cumulated = np.r_[0, np.cumsum(marginal)] / marginal.sum()
    quantiles: F64 = np.interp((np.arange(num) + 0.5) / num, cumulated, edges)
    return quantiles


def _matched(field: F64, marginal: F64) -> F64:
    out = np.empty(field.size)
    out[np.argsort(field.ravel(), kind="stable")] = _quantiles(marginal, field.size)
    return out.reshape(field.shape)


def _crop(field: np.ndarray, n: int) -> np.ndarray:
    side = field.shape[0]
    kept = np.r_[0 : n // 2, side - n // 2 : side]
    return np.ascontiguousarray(field[np.ix_(kept, kept)])


def _marginals(num: int) -> F64:
    x = np.abs(np.arange(801) * 0.5 - 200)
    return np.stack([np.exp(-((x / (10 + k)) ** (0.5 + 0.02 * k))) for k in range(num)])


def test_all_bands_take_their_marginals() -> None:
    """Against one complex transform for each band, in NumPy, on a field with a mean."""
    gains, side = pyramid(64), 64
    marginals = _marginals(gains.num_bands())
    source = np.fft.fft2(50 * _noise(side, side) + 9)
    expected = np.zeros((side, side), complex)
    kept = np.r_[0:8, 56:64]
    expected[np.ix_(kept, kept)] = gains.low**2 * _crop(source, 16)
    residual = np.fft.ifft2(source * gains.high).real
    expected += np.fft.fft2(_matched(residual, marginals[0])) * gains.high
    for level, bands in enumerate(gains.levels):
        n = bands.shape[1]
        kept = np.r_[0 : n // 2, side - n // 2 : side]
        for k in range(4):
            band = np.fft.ifft2(_crop(source, n) * 1j * bands[k])
            assert np.abs(band.imag).max() < 1e-9 * np.abs(band.real).max()
            matched = _matched(band.real, marginals[1 + 4 * level + k])
            expected[np.ix_(kept, kept)] += np.fft.fft2(matched) * -1j * bands[k]
    re, im = match_bands(gains, marginals, source.real.copy(), source.imag.copy())
    # A few pairs of values closer than 2⁻²² of the range may have changed places.
    assert np.abs(re + 1j * im - expected).max() < 1e-3 * np.abs(expected).max()
    field = np.fft.ifft2(re + 1j * im)
    assert np.allclose(field.imag, 0, atol=1e-9)
    assert np.isclose(field.real.mean(), np.fft.ifft2(source).real.mean())


def test_quantiles() -> None:
    marginal, out = _marginals(1)[0], np.empty(1024)
    order = np.random.Generator(np.random.PCG64(0)).permutation(1024).astype(np.int32)
    kernels.fill_quantiles(marginal, order, out)
    assert np.allclose(out[order], _quantiles(marginal, 1024), atol=1e-9)


def test_a_field_takes_its_histogram() -> None:
    targets = np.sort(_noise(256, seed=1))
    field = _noise(32, 32)
    places = np.argsort(np.argsort(field.ravel()))
    match_sorted(targets, field)
    assert np.array_equal(np.sort(field.ravel()), np.repeat(targets, 4))
    assert np.mean(field.ravel() == targets[places // 4]) > 0.99


@example(values=np.array([5e-324, 0.0]))
@given(values=hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-1e6, 1e6)))
@settings(max_examples=100, deadline=None)
def test_ranks(values: F64) -> None:
    order = ranks(values)
    spread = np.ptp(values)
    scale = (2**22 - 1) / spread if spread > 1e-300 else 0.0
    keys = ((values - values.min()) * scale).astype(np.int32)
    assert np.array_equal(order, np.argsort(keys, kind="stable"))
    assert (np.diff(values[order]) >= -max(spread / (2**22 - 2), 1e-300)).all()
