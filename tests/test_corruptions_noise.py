from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.corruptions.base import fill_normals
from pipeline.corruptions.noise import _poisson_table
from tests.corruption_twins import Words, assert_close, finished, flat, pictures, seeds

NOISES = ("gaussian_noise", "shot_noise", "impulse_noise")


def test_published_constants():
    assert [c for (c,) in CORRUPTIONS["gaussian_noise"].cifar] == [0.04, 0.06, 0.08, 0.09, 0.10]
    assert [c for (c,) in CORRUPTIONS["gaussian_noise"].imagenet] == [0.08, 0.12, 0.18, 0.26, 0.38]
    assert [c for (c,) in CORRUPTIONS["shot_noise"].cifar] == [500, 250, 100, 75, 50]
    assert [c for (c,) in CORRUPTIONS["shot_noise"].imagenet] == [60, 25, 12, 5, 3]
    assert [c for (c,) in CORRUPTIONS["impulse_noise"].cifar] == [0.01, 0.02, 0.03, 0.05, 0.07]
    assert [c for (c,) in CORRUPTIONS["impulse_noise"].imagenet] == [0.03, 0.06, 0.09, 0.17, 0.27]


def test_normal_numbers_are_those_of_the_polar_method():
    for num in (7, 500):
        ours = np.empty(num)
        fill_normals(np.array([99], np.uint64), ours)
        np.testing.assert_allclose(ours, Words(99).normals(num), rtol=1e-13)


def test_normal_numbers_are_normal():
    values = np.empty(200_000)
    fill_normals(np.array([5], np.uint64), values)
    assert stats.kstest(values, "norm").pvalue > 0.001
    assert abs(np.corrcoef(values[::2], values[1::2])[0, 1]) < 0.01


@pytest.mark.parametrize("severity", [1, 5])
def test_gaussian_noise_follows_its_definition(severity):
    images = pictures(3, 24)
    (deviation,) = CORRUPTIONS["gaussian_noise"].cifar[severity - 1]
    ours = corrupt("gaussian_noise", images, severity, seeds(3))
    for image, seed, out in zip(images, seeds(3), ours, strict=True):
        normals = Words(seed).normals(image.size).reshape(image.shape)
        assert_close(out, finished(image / 255 + deviation * normals), 0.001)


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_gaussian_noise_has_the_published_deviation(scale, severity):
    out = corrupt("gaussian_noise", flat(128, 40, 8), severity, seeds(8), scale=scale)
    (c,) = getattr(CORRUPTIONS["gaussian_noise"], scale)[severity - 1]
    x = 128 / 255
    low, high = stats.norm.cdf([-x / c, (1 - x) / c])
    inside = (out > 0) & (out < 255)
    assert np.mean(inside) == pytest.approx(high - low, abs=0.006)
    expected = stats.truncnorm(-x / c, (1 - x) / c, x, c)
    assert out[inside].std() == pytest.approx(255 * expected.std(), rel=0.02)
    assert out[inside].mean() + 0.5 == pytest.approx(255 * expected.mean(), abs=1.5 * c * 4)


@pytest.mark.parametrize("scale", [500.0, 60.0, 3.0])
def test_shot_noise_tabulates_poissons_distribution(scale):
    cumulated, guide = _poisson_table(scale)
    # A count k becomes the byte ⌊255 · k/c⌋, so P(byte ≤ b) sums all k below (b + 1) · c/255.
    counts = np.arange(int(scale) + 1)
    levels = finished(counts / scale).astype(int)
    for value in (0, 1, 17, 128, 254, 255):
        ours = cumulated[value, levels[:-1]]
        last = np.searchsorted(levels, levels[:-1], side="right") - 1
        np.testing.assert_allclose(
            ours, stats.poisson.cdf(last, value / 255 * scale), rtol=1e-9, atol=1e-15
        )
        assert cumulated[value, 255] == 1.0
        for k in (0, 5, 63):
            below = np.searchsorted(cumulated[value], k / 64, side="right")
            assert guide[value, k] == below


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_shot_noise_has_the_published_deviation(severity):
    out = corrupt("shot_noise", flat(128, 40, 8), severity, seeds(8))
    (c,) = CORRUPTIONS["shot_noise"].cifar[severity - 1]
    assert out.std() == pytest.approx(255 * np.sqrt(128 / 255 / c), rel=0.03)
    # Truncation takes half a level on average where counts fall between levels.
    assert out.mean() == pytest.approx(128, abs=1.0)


def test_shot_noise_draws_by_inversion():
    images = pictures(2, 16)
    cumulated, _ = _poisson_table(5.0)
    ours = corrupt("shot_noise", images, 4, seeds(2), scale="imagenet")
    for image, seed, out in zip(images, seeds(2), ours, strict=True):
        words = Words(seed)
        twin = [np.searchsorted(cumulated[v], words.unit(), side="right") for v in image.ravel()]
        np.testing.assert_array_equal(out.ravel(), twin)


def test_shot_noise_leaves_black_black():
    np.testing.assert_array_equal(corrupt("shot_noise", flat(0, 32), 5, seeds(2)), flat(0, 32))


@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_impulse_noise_replaces_the_published_share(scale, severity):
    out = corrupt("impulse_noise", flat(128, 64, 8), severity, seeds(8), scale=scale)
    (c,) = getattr(CORRUPTIONS["impulse_noise"], scale)[severity - 1]
    changed = out[out != 128]
    assert changed.size / out.size == pytest.approx(c, rel=0.1)
    assert np.mean(changed == 0) == pytest.approx(0.5, abs=0.04)
    assert set(np.unique(changed)) == {0, 255}
    pixels = (out != 128).reshape(-1, 3)  # channels are drawn one by one
    assert np.mean(pixels.all(axis=1)) == pytest.approx(c**3, abs=0.003)


def test_impulse_noise_follows_its_definition():
    images = pictures(2, 16)
    ours = corrupt("impulse_noise", images, 5, seeds(2))
    for image, seed, out in zip(images, seeds(2), ours, strict=True):
        words, twin = Words(seed), image.ravel().copy()
        for k in range(twin.size):
            word = words.word()
            if (word >> 11) * 2.0**-53 < 0.07:
                twin[k] = 255 * (word & 1)
        np.testing.assert_array_equal(out.ravel(), twin)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("scale", ["cifar", "imagenet"])
def test_noise_grows_with_severity(name, scale):
    images = pictures(6, 32)
    means = [
        np.abs(corrupt(name, images, s, seeds(6), scale=scale).astype(int) - images).mean()
        for s in range(1, 6)
    ]
    assert means == sorted(means)
    assert means[0] > 0.5
