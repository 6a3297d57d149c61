from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from scipy import ndimage

from pipeline.corruptions import CORRUPTIONS, corrupt
from pipeline.corruptions.elastic import smoothing
from tests.corruption_twins import Words, assert_close, finished, flat, pictures, seeds

SCALES = ("cifar", "imagenet")


def warp_twin(x, words, jitter):
    """Move three points, solve for the map, go back from each pixel to a 32nd of a pixel, interpolate."""
    size = len(x)
    c, q = size // 2, size // 3
    before = np.array([(c + q, c + q), (c + q, c - q), (c - q, c - q)], np.float32)
    after = before + (jitter * words.signed_array(3, 2)).astype(np.float32)
    ones = np.ones((3, 1))
    inverse = np.linalg.solve(np.hstack([after, ones]), np.hstack([before, ones]))[:, :2]
    grid = np.arange(size)
    fixed = np.rint(grid[:, None] * inverse[0] * 1024)[None, :, :]
    fixed = fixed + np.rint((grid[:, None] * inverse[1] + inverse[2]) * 1024)[:, None, :]
    places = (fixed.astype(int) + 16) // 32
    whole, share = places // 32, (places % 32 / 32).astype(np.float32)
    padded = np.pad(x, ((2 * size,) * 2, (2 * size,) * 2, (0, 0)), mode="reflect")
    out = np.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            rows, columns = whole[..., 1] + down + 2 * size, whole[..., 0] + right + 2 * size
            vertical = share[..., 1] if down else 1 - share[..., 1]
            horizontal = share[..., 0] if right else 1 - share[..., 0]
            out += padded[rows, columns] * (vertical * horizontal)[:, :, None]
    return out


def elastic_twin(image, constants, seed):
    alpha, sigma, jitter = constants
    words, size = Words(seed), len(image)
    x = warp_twin(image.astype(np.float32) / np.float32(255), words, jitter)
    across, down = (
        alpha
        * ndimage.gaussian_filter(words.signed_array(size, size), sigma, mode="reflect", truncate=3)
        if alpha
        else np.zeros((size, size))
        for _ in range(2)
    )
    rows, columns = np.mgrid[:size, :size]
    places = [rows + down.astype(np.float32), columns + across.astype(np.float32)]
    channels = [
        ndimage.map_coordinates(x[:, :, c], places, order=1, mode="reflect") for c in range(3)
    ]
    return finished(np.stack(channels, axis=2))


def box_twin(image, size):
    """Average over the boxes of `size` pixels, along rows and then columns, rounded in between."""
    side = len(image)
    scale = side / size
    matrix = np.zeros((size, side))
    for k in range(size):
        centre, reach = (k + 0.5) * scale, max(scale, 1) * 0.5
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), side)
        inside = [j for j in range(first, last) if -0.5 < (j - centre + 0.5) / max(scale, 1) <= 0.5]
        matrix[k, inside] = 1 / len(inside)
    wide = np.floor(np.einsum("kx,yxc->ykc", matrix, image) + 0.5)
    return np.floor(np.einsum("ky,yxc->kxc", matrix, wide) + 0.5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_contrast_draws_channels_to_their_mean(scale, severity):
    images = pictures(3, 32)
    (share,) = getattr(CORRUPTIONS["contrast"], scale)[severity - 1]
    x = images / 255
    mean = x.mean(axis=(1, 2), keepdims=True)
    ours = corrupt("contrast", images, severity, seeds(3), scale=scale)
    assert_close(ours, finished((x - mean) * share + mean), 0.0005)
    np.testing.assert_allclose(ours.std(axis=(1, 2)), share * images.std(axis=(1, 2)), atol=0.35)


@pytest.mark.parametrize("scale", SCALES)
def test_contrast_falls_with_severity(scale):
    images = pictures(3, 32)
    means = [
        np.abs(corrupt("contrast", images, s, seeds(3), scale=scale).astype(int) - images).mean()
        for s in range(1, 6)
    ]
    assert means == sorted(means)
    assert np.abs(corrupt("contrast", flat(77, 32), 3, seeds(2)).astype(int) - 77).max() <= 1


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_elastic_transform_follows_its_definition(scale, severity):
    images = pictures(2, 32)
    constants = getattr(CORRUPTIONS["elastic_transform"], scale)[severity - 1]
    if scale == "imagenet":  # a jitter made for 224 pixels
        constants = (constants[0], constants[1], constants[2] / 7)
    twin = [elastic_twin(x, constants, seed) for x, seed in zip(images, seeds(2), strict=True)]
    ours = CORRUPTIONS["elastic_transform"].apply(images, constants, seeds(2))
    assert_close(ours, np.stack(twin), 0.002)


@pytest.mark.parametrize("sigma", [0.96, 6.4, 19.52, 170.8])
def test_smoothing_is_scipys_gaussian_filter(sigma):
    matrix, reach = smoothing(40, sigma)
    field = np.random.default_rng(0).uniform(-1, 1, (40, 40))
    twin = ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3)
    np.testing.assert_allclose(matrix @ field @ matrix.T, twin, atol=1e-14)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-17)
    rows, columns = np.nonzero(matrix)
    assert np.abs(rows - columns).max() <= reach


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 5])
def test_elastic_transform_keeps_plain_pictures(scale, severity):
    out = corrupt("elastic_transform", flat(128, 32), severity, seeds(2), scale=scale)
    assert np.abs(out.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("size", "sides"), [(32, (30, 28, 27, 24, 20)), (224, (134, 112, 89, 67, 56))]
)
def test_pixelate_averages_boxes(size, sides):
    images = pictures(1, size)
    for severity, side in enumerate(sides, start=1):
        ours = corrupt("pixelate", images, severity, seeds(1))
        twin = box_twin(box_twin(images[0], side), size)
        # Pillow keeps 22 bits of its weights: a mean that lies halfway may round down.
        assert_close(ours[0], twin.astype(np.uint8), 0.05)


@pytest.mark.parametrize("value", [0, 130, 255])
def test_pixelate_keeps_plain_pictures(value):
    for severity in range(1, 6):
        images = flat(value, 32)
        np.testing.assert_array_equal(corrupt("pixelate", images, severity, seeds(2)), images)


@pytest.mark.parametrize("size", [32, 96])
def test_jpeg_has_the_published_quality_and_half_colours(size):
    """Another encoder, whose cosine transform rounds otherwise, comes nearest with these settings."""
    images = np.ascontiguousarray(pictures(4, size))
    published = (80, 65, 58, 50, 40) if size == 32 else (25, 18, 15, 10, 7)
    for severity, quality in enumerate(published, start=1):
        ours = corrupt("jpeg_compression", images, severity, seeds(4)).astype(int)
        errors = {}
        for candidate in (quality - 2, quality - 1, quality, quality + 1, quality + 2):
            for colours in ("420", "422", "444"):
                files = [
                    simplejpeg.encode_jpeg(x, candidate, "RGB", colours, False) for x in images
                ]
                decoded = [simplejpeg.decode_jpeg(file, "RGB", False, False) for file in files]
                errors[candidate, colours] = np.abs(ours - np.stack(decoded)).mean()
        assert min(errors, key=errors.__getitem__) == (quality, "420")
        assert errors[quality, "420"] < 2


@pytest.mark.parametrize("name", ["pixelate", "jpeg_compression"])
@pytest.mark.parametrize("size", [32, 96])
def test_coarser_pictures_differ_more(name, size):
    images = pictures(6, size)
    means = [
        np.abs(corrupt(name, images, s, seeds(6)).astype(int) - images).mean() for s in range(1, 6)
    ]
    assert means == sorted(means)
