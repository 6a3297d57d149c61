"""Statistical pictures: each imposed statistic against a slow twin, and what a picture keeps of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from pipeline.pictures import spectrum
from pipeline.pictures import spectrum_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.spectrum import render_spectrum
from tests.elsewhere import without_avx

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


def test_golden_pictures() -> None:
    assert _golden() == GOLDEN


@pytest.mark.slow
def test_a_processor_without_avx_makes_the_same_bytes() -> None:
    script = "from tests.test_pictures_spectrum import _golden; print(_golden())"
    assert without_avx(script) == [GOLDEN]


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


def test_marginals_are_generalised_laplacians() -> None:
    marginal = np.empty(801)
    kernels.fill_marginal(16.0, 0.6, marginal)
    x = np.arange(801) * 0.5 - 200
    assert np.allclose(marginal, np.exp(-(np.abs(x / 16) ** 0.6)), rtol=1e-12)


def test_every_band_has_a_marginal_of_its_own() -> None:
    marginals = spectrum._draw_marginals(Draws(0, 1, 2, 0), spectrum.pyramid(64))
    assert marginals.shape == (3, 9, 801)
    assert len(np.unique(marginals.reshape(27, 801), axis=0)) == 27
    assert (marginals[..., 400] == 1).all()
    # At ±width a density is 1/e whatever its shape: width 4 up to the first level, 16 below.
    assert np.allclose(marginals[:, :5, 400 + 8], np.exp(-1))
    assert np.allclose(marginals[:, 5:, 400 + 32], np.exp(-1))


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
    marginals = spectrum._draw_marginals(Draws(0, 1, 2, 0), spectrum.pyramid(64))
    spectrum._shape_channel(np.uint64(1), magnitudes, marginals[0], targets, field)
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
