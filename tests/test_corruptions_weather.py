from __future__ import annotations

import colorsys

import numpy as np
import pytest

from pipeline.corruptions import CORRUPTIONS, FrostPictures, corrupt
from pipeline.corruptions.plasma import fill_plasma
from pipeline.corruptions.weather import frost
from pipeline.errors import UsageError
from tests.corruption_twins import Words, assert_close, finished, flat, pictures, seeds
from tests.test_corruptions_blur import motion_twin, zoom_twin

SCALES = ("cifar", "imagenet")


def plasma_twin(words, size, decay):
    """Diamonds and squares, a whole step at a time."""
    field, step, wobble = np.zeros((size, size)), size, 100.0
    while step >= 2:
        half, num = step // 2, size // step
        corners = field[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        total = total + np.roll(total, -1, 1)
        centres = total / 4 + wobble**2 * words.signed_array(num, num)
        field[half::step, half::step] = centres
        for axis in (1, 0):
            total = centres + np.roll(centres, 1, 1 - axis) + corners + np.roll(corners, -1, axis)
            middles = total / 4 + wobble**2 * words.signed_array(num, num)
            field[(0 if axis else half) :: step, (half if axis else 0) :: step] = middles
        step, wobble = half, wobble / decay
    field -= field.min()
    return field / field.max()


def snow_twin(image, constants, seed):
    mean, deviation, zoom, threshold, radius, sigma, mix = constants
    words, size = Words(seed), len(image)
    layer = mean + deviation * words.normals(size * size).reshape(size, size)
    layer = zoom_twin(layer, zoom)
    layer[layer < threshold] = 0
    flakes = motion_twin(finished(layer)[:, :, None], radius, sigma, -90 + 45 * words.signed())
    flakes = flakes / 255
    x = image.astype(np.float32) / 255
    grey = (x @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
    x = np.float32(mix) * x + np.float32(1 - mix) * np.maximum(x, grey * 1.5 + 0.5)
    return finished(x + flakes + flakes[::-1, ::-1])


@pytest.mark.parametrize("decay", [3.0, 1.4])
@pytest.mark.parametrize("size", [2, 16, 64])
def test_plasma_follows_its_definition(size, decay):
    field = np.full((size, size), np.nan)
    fill_plasma(np.array([7], np.uint64), decay, field)
    np.testing.assert_allclose(field, plasma_twin(Words(7), size, decay), atol=1e-12)
    assert (field.min(), field.max()) == (0, 1)


@pytest.mark.parametrize(
    ("size", "decay", "low", "high"), [(32, 3.0, 0.12, 0.19), (256, 1.4, 0.14, 0.22)]
)
def test_plasma_has_the_moments_of_the_published_one(size, decay, low, high):
    fields = np.empty((24, size, size))
    for k, field in enumerate(fields):
        fill_plasma(np.array([k], np.uint64), decay, field)
    assert fields.mean() == pytest.approx(0.5, abs=0.05)
    assert low < fields.std(axis=(1, 2)).mean() < high
    assert np.abs(np.diff(fields, axis=1)).mean() == pytest.approx(
        np.abs(np.diff(fields, axis=2)).mean(), rel=0.1
    )


@pytest.mark.parametrize("size", [32, 40])
@pytest.mark.parametrize("scale", SCALES)
def test_fog_follows_its_definition(size, scale):
    images = pictures(3, size) // 2 + 30
    thickness, decay = getattr(CORRUPTIONS["fog"], scale)[2]
    ours = corrupt("fog", images, 3, seeds(3), scale=scale)
    for image, seed, out in zip(images, seeds(3), ours, strict=True):
        side = 32 if size == 32 else 64
        clouds = plasma_twin(Words(seed), side, decay)[:size, :size, None]
        most = image.max() / 255
        twin = (image / 255 + thickness * clouds) * most / (most + thickness)
        assert_close(out, finished(twin), 0.0005)
        assert out.max() <= image.max()


@pytest.mark.parametrize("scale", SCALES)
def test_fog_thickens_with_severity(scale):
    images = pictures(12, 32)
    means = [
        np.abs(corrupt("fog", images, s, seeds(12), scale=scale).astype(int) - images).mean()
        for s in range(1, 6)
    ]
    assert means == sorted(means)
    assert corrupt("fog", flat(0, 32), 5, seeds(2)).max() == 0


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_snow_follows_its_definition(size, scale, severity):
    images = pictures(2, size)
    constants = getattr(CORRUPTIONS["snow"], scale)[severity - 1]
    twin = [snow_twin(x, constants, seed) for x, seed in zip(images, seeds(2), strict=True)]
    ours = corrupt("snow", images, severity, seeds(2), scale=scale)
    assert_close(ours, np.stack(twin), 0.002)


def test_snow_whitens_what_no_flake_meets():
    images = flat(100, 32, 8)
    out = corrupt("snow", images, 2, seeds(8))
    x = 100 / 255
    assert out.min() == int(255 * (0.9 * x + 0.1 * (1.5 * x + 0.5)))
    assert (out > 150).any()
    assert corrupt("snow", flat(100, 32), 5, seeds(2)).mean() > out.mean()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_brightness_adds_to_the_value_of_hsv(scale, severity):
    images = pictures(1, 24)
    colours = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [9, 200, 200], [7, 7, 3]], np.uint8
    )
    images[0, 0, :5] = colours
    (added,) = getattr(CORRUPTIONS["brightness"], scale)[severity - 1]
    twin = np.empty(images.shape)
    for place in np.ndindex(*images.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(images[place] / 255))
        twin[place] = colorsys.hsv_to_rgb(hue, saturation, min(value + added, 1.0))
    # colorsys rounds otherwise in the last bit, which tells where a result is a whole number.
    assert_close(
        corrupt("brightness", images, severity, seeds(1), scale=scale), finished(twin), 0.05
    )


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_brightness_of_grey_rises_by_the_constant(severity):
    (added,) = CORRUPTIONS["brightness"].cifar[severity - 1]
    out = corrupt("brightness", flat(100, 32), severity, seeds(2))
    assert np.abs(out - (100 + 255 * added)).max() <= 1


def panes():
    rng = np.random.default_rng(3)
    shapes = ((231, 301), (226, 240), (226, 240), (400, 250), (300, 226))
    return FrostPictures([rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in shapes])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_frost_adds_a_crop_of_a_pane(scale, severity):
    size = 32 if scale == "cifar" else 70
    images = pictures(6, size)
    kept, added, share = getattr(CORRUPTIONS["frost"], scale)[severity - 1]
    assert share == (0.2 if scale == "cifar" else 1)
    ours = corrupt("frost", images, severity, seeds(6), frost=panes())
    for image, seed, out in zip(images, seeds(6), ours, strict=True):
        words = Words(seed)
        pane = panes().at(share)[words.word() % 5]
        top, left = words.word() % (len(pane) - size), words.word() % (pane.shape[1] - size)
        ice = pane[top : top + size, left : left + size]
        twin = np.clip(kept * image.astype(float) + added * ice, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(out, twin)


def test_frost_refuses_panes_that_are_too_small():
    small = FrostPictures([np.zeros((64, 300, 3), np.uint8)])
    with pytest.raises(UsageError, match=r"side of 64 px, pictures have 64 px.*larger"):
        corrupt("frost", flat(0, 64), 1, seeds(2), scale="imagenet", frost=small)
    frost(flat(0, 63), (1.0, 0.4, 1.0), seeds(2), pictures=small)
    with pytest.raises(UsageError, match=r"no panes at scale 0\.5; there are 1 and 0.2"):
        frost(flat(0, 32), (1.0, 0.4, 0.5), seeds(2), pictures=small)
