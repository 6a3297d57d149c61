from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.corruptions.blur import disk, glass_blur, zoom_factors
from pipeline.corruptions.filters import gaussian_weights, motion_weights, zoom_table
from tests.corruption_twins import Words, assert_close, finished, flat, pictures, seeds

SCALES = ("cifar", "imagenet")


def motion_twin(image, radius, sigma, degrees):
    """Blur uint8 [S, S, C] along one ray, a shifted copy at a time."""
    length = 2 * math.ceil(radius) + 1
    weights = np.exp(-(np.arange(length) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    size = len(image)
    total = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        down = math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
        right = math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
        ys = np.clip(np.arange(size) + down, 0, size - 1)
        xs = np.clip(np.arange(size) + right, 0, size - 1)
        total += weight * image[ys][:, xs]
    return np.floor(total + 0.5).astype(np.uint8)


def zoom_twin(image, zoom):
    """Zoom with SciPy: float [S, S] or [S, S, C], of the type of `image`."""
    size = len(image)
    inner = math.ceil(size / zoom)
    top = (size - inner) // 2
    factors = (zoom, zoom) + (1,) * (image.ndim - 2)
    out = ndimage.zoom(image[top : top + inner, top : top + inner], factors, order=1)
    trim = (len(out) - size) // 2
    return out[trim : trim + size, trim : trim + size]


def glass_twin(image, sigma, delta, rounds, seed, swap):
    words, size = Words(seed), len(image)
    sigmas = (sigma, sigma, 0)
    pixels = ndimage.gaussian_filter(image / 255, sigmas, mode="nearest", truncate=4) * 255
    pixels = pixels.astype(np.uint8)
    for _ in range(rounds):
        for y in range(size - delta, delta, -1):
            for x in range(size - delta, delta, -1):
                word = words.word()
                right = ((word >> 32) * 2 * delta >> 32) - delta
                down = ((word & 0xFFFFFFFF) * 2 * delta >> 32) - delta
                kept = pixels[y, x].copy()
                pixels[y, x] = pixels[y + down, x + right]
                if swap:
                    pixels[y + down, x + right] = kept
    return finished(ndimage.gaussian_filter(pixels / 255, sigmas, mode="nearest", truncate=4))


@pytest.mark.parametrize(
    ("radius", "sigma", "centre", "edge", "corner"),
    [
        (0.3, 0.4, 0.84497, 0.03713, 0.00163),
        (0.4, 0.5, 0.61935, 0.08382, 0.01134),
        (0.5, 0.6, 0.44521, 0.11101, 0.02768),
        (1.0, 0.2, 0.2, 0.2, 0.0),
        (1.5, 0.1, 1 / 9, 1 / 9, 1 / 9),
    ],
)
def test_disks_have_the_published_weights(radius, sigma, centre, edge, corner):
    weights = disk(radius, sigma)
    middle = len(weights) // 2
    found = [
        weights[middle, middle + 1],
        weights[middle + 1, middle],
        weights[middle + 1, middle + 1],
    ]
    assert weights[middle, middle] == pytest.approx(centre, abs=6e-6)
    assert found == pytest.approx([edge, edge, corner], abs=6e-6)
    assert weights.sum() == pytest.approx(1, abs=1e-6)


def test_a_reflected_border_makes_wide_disks_brighten():
    assert disk(8, 0.5).sum() == pytest.approx(1.013, abs=5e-4)
    assert disk(10, 0.5).sum() == pytest.approx(1.011, abs=5e-4)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_defocus_blur_correlates_with_the_disk(scale, severity):
    images = pictures(2, 30)
    weights = disk(*getattr(CORRUPTIONS["defocus_blur"], scale)[severity - 1])
    twin = np.stack(
        [ndimage.correlate(image / 255, weights[:, :, None], mode="mirror") for image in images]
    )
    ours = corrupt("defocus_blur", images, severity, seeds(2), scale=scale)
    assert_close(ours, finished(twin), 0.002)


@pytest.mark.parametrize("sigma", [0.25, 0.4, 0.7, 0.9, 1.0, 1.1, 1.5])
def test_gaussian_weights_are_scipys(sigma):
    weights = gaussian_weights(sigma)
    impulse = np.zeros(41)
    impulse[20] = 1
    response = ndimage.gaussian_filter1d(impulse, sigma, truncate=4)
    radius = len(weights) // 2
    np.testing.assert_allclose(weights, response[20 - radius : 21 + radius], rtol=1e-15)
    assert np.count_nonzero(response) == len(weights)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_glass_blur_follows_its_definition(scale, severity, swap):
    images = pictures(2, 24)
    constants = getattr(CORRUPTIONS["glass_blur"], scale)[severity - 1]
    twin = [
        glass_twin(image, *constants, seed, swap)
        for image, seed in zip(images, seeds(2), strict=True)
    ]
    assert_close(glass_blur(images, constants, seeds(2), swap=swap), np.stack(twin), 0.0005)


def test_glass_blur_copies_as_published():
    images = pictures(2, 32)
    constants = CORRUPTIONS["glass_blur"].cifar[0]  # too narrow a Gaussian to blur
    copied, swapped = (glass_blur(images, constants, seeds(2), swap=swap) for swap in (False, True))
    np.testing.assert_array_equal(corrupt("glass_blur", images, 1, seeds(2)), copied)
    palette = [np.unique(array[0].reshape(-1, 3), axis=0) for array in (images, copied, swapped)]
    assert len(palette[1]) < len(palette[0])  # colours are lost
    np.testing.assert_array_equal(palette[2], palette[0])  # none is by swapping


def test_motion_kernels_have_the_published_weights():
    assert motion_weights(6, 1)[:4] == pytest.approx([0.5703, 0.3459, 0.0772, 0.0063], abs=6e-5)
    assert motion_weights(10, 3)[:4] == pytest.approx([0.2347, 0.2221, 0.1880, 0.1424], abs=6e-5)
    assert len(motion_weights(6, 1)) == 13
    assert motion_weights(20, 15).sum() == pytest.approx(1)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 5])
def test_motion_blur_follows_its_definition(scale, severity):
    images = pictures(4, 28)
    radius, sigma = getattr(CORRUPTIONS["motion_blur"], scale)[severity - 1]
    ours = corrupt("motion_blur", images, severity, seeds(4), scale=scale)
    for image, seed, out in zip(images, seeds(4), ours, strict=True):
        assert_close(out, motion_twin(image, radius, sigma, 45 * Words(seed).signed()), 0.0005)


@pytest.mark.parametrize(
    ("stop", "step", "num", "last"),
    [
        (1.06, 0.01, 7, 1.06),
        (1.11, 0.01, 12, 1.11),
        (1.16, 0.01, 16, 1.15),
        (1.21, 0.01, 21, 1.20),
        (1.26, 0.01, 26, 1.25),
        (1.21, 0.02, 11, 1.20),
        (1.26, 0.02, 13, 1.24),
        (1.31, 0.03, 11, 1.30),
    ],
)
def test_zoom_factors_are_numpys_range_to_the_last_bit(stop, step, num, last):
    factors = zoom_factors(stop, step)
    np.testing.assert_array_equal(factors, np.arange(1, stop, step))
    assert len(factors) == num
    assert factors[-1] == pytest.approx(last, abs=1e-12)


def test_the_last_bit_of_a_zoom_factor_moves_the_window():
    exact, published = zoom_table(32, 1.25), zoom_table(32, zoom_factors(1.26, 0.01)[-1])
    assert (exact.first[0], exact.second[-1]) == (3, 28)
    assert np.abs(exact.first - published.first).max() == 1


@pytest.mark.parametrize(
    ("size", "scale", "severity"),
    [(32, "cifar", s) for s in range(1, 6)] + [(224, "imagenet", s) for s in (1, 3, 5)],
)
def test_zoom_blur_follows_its_definition(size, scale, severity):
    image = pictures(1, size)
    factors = np.arange(1, *getattr(CORRUPTIONS["zoom_blur"], scale)[severity - 1])
    x = (image[0] / 255).astype(np.float32)
    total = np.zeros_like(x)
    for factor in factors:
        total += zoom_twin(x, factor)
    twin = finished((x + total) / (len(factors) + 1))
    ours = corrupt("zoom_blur", image, severity, seeds(1), scale=scale)[0]
    assert_close(ours, twin, 0.0001)


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("value", [0, 128, 255])
def test_blurs_keep_plain_pictures(name, scale, value):
    wide = name == "defocus_blur" and scale == "imagenet"
    for severity in range(1, 4 if wide else 6):
        out = corrupt(name, flat(value, 32), severity, seeds(2), scale=scale)
        assert np.abs(out.astype(int) - value).max() <= 1


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "zoom_blur"])
def test_blurs_lose_detail_with_severity(name):
    images = pictures(4, 96)
    details = [
        np.abs(np.diff(corrupt(name, images, s, seeds(4)).astype(int), axis=2)).mean()
        for s in range(1, 6)
    ]
    assert details[4] < details[2] < details[0] < np.abs(np.diff(images.astype(int), axis=2)).mean()
