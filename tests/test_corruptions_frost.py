from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.corruptions import FrostPictures, generated_frost, load_frost
from pipeline.errors import DreamshardsError, UsageError

# Measured on the published panes: size; mean and deviation of red, green, blue; percentiles 1, 50, 99 of
# grey, slope of the power spectrum, overall deviation at a fifth of the size.
PUBLISHED = [
    ((600, 900), (78, 149, 166), (27, 17, 15), (97, 129, 177), -1.3, 43),
    ((315, 560), (201, 205, 215), (21, 22, 23), (141, 210, 245), -1.7, 23),
    ((315, 560), (201, 205, 215), (21, 22, 23), (141, 210, 245), -1.7, 23),
    ((350, 527), (138, 153, 165), (29, 29, 30), (82, 152, 234), -1.1, 32),
    ((495, 660), (112, 123, 135), (44, 43, 42), (45, 119, 238), -1.8, 44),
]
SLOTS = range(5)


def grey(pane):
    return pane @ np.array([0.299, 0.587, 0.114])


def slope(field):
    """Return the slope of the radial power spectrum, both logarithmic, from 100 to 4 pixels a wave."""
    side = min(field.shape)
    part = field[:side, :side] - field[:side, :side].mean()
    window = np.hanning(side)
    power = np.abs(np.fft.fft2(part * window[:, None] * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    edges = np.geomspace(1 / 100, 1 / 4, 20)
    rings = np.digitize(frequency, edges)
    means = [power[rings == ring].mean() for ring in range(1, 20)]
    return np.polyfit(np.log(edges[1:] * edges[:-1]) / 2, np.log(means), 1)[0]


@pytest.mark.parametrize("slot", SLOTS)
def test_generated_panes_have_the_published_sizes_and_colours(slot):
    pane, (size, means, deviations, _, _, _) = generated_frost().whole[slot], PUBLISHED[slot]
    assert pane.shape[:2] == size
    np.testing.assert_allclose(pane.mean(axis=(0, 1)), means, atol=0.5)
    np.testing.assert_allclose(pane.std(axis=(0, 1)), deviations, atol=0.5)


@pytest.mark.parametrize("slot", SLOTS)
def test_generated_panes_have_about_the_published_histogram(slot):
    found = np.percentile(grey(generated_frost().whole[slot]), (1, 50, 99))
    # Moments are met exactly, and no two half normal distributions have these percentiles and moments.
    for value, published, tolerance in zip(found, PUBLISHED[slot][3], (9, 7, 14), strict=True):
        assert value == pytest.approx(published, abs=tolerance)


@pytest.mark.parametrize("slot", SLOTS)
def test_generated_panes_have_the_published_spectrum(slot):
    assert slope(grey(generated_frost().whole[slot])) == pytest.approx(PUBLISHED[slot][4], abs=0.15)


@pytest.mark.parametrize("slot", SLOTS)
def test_small_panes_keep_their_contrast(slot):
    small = generated_frost().small[slot]
    assert small.std() == pytest.approx(PUBLISHED[slot][5], abs=1)
    assert small.shape[:2] == tuple(round(0.2 * side) for side in PUBLISHED[slot][0])


def line_contrast(field):
    """Return how bright the brightest lines of 31 pixels are on average, in deviations of the field."""
    best = np.full(field.shape, -np.inf)
    for angle in np.arange(12) * np.pi / 12:
        k = np.arange(-15, 16)
        rows, columns = (
            np.rint(k * np.sin(angle)).astype(int),
            np.rint(k * np.cos(angle)).astype(int),
        )
        line = sum(np.roll(field, (y, x), (0, 1)) for y, x in zip(rows, columns, strict=True)) / 31
        best = np.maximum(best, line)
    return (np.quantile(best, 0.998) - field.mean()) / field.std()


@pytest.mark.parametrize("slot", SLOTS)
def test_ferns_stand_out_of_noise_with_the_same_spectrum_and_histogram(slot):
    field = grey(generated_frost().whole[slot])
    size = np.abs(np.fft.rfft2(field - field.mean()))
    noise = np.fft.irfft2(
        size * np.exp(2j * np.pi * np.random.default_rng(0).random(size.shape)), field.shape
    )
    matched = np.empty(field.size)
    matched[np.argsort(noise, axis=None)] = np.sort(field, axis=None)
    assert line_contrast(field) > 1.1 * line_contrast(matched.reshape(field.shape))


def test_the_second_pane_is_the_third():
    panes = generated_frost().whole
    np.testing.assert_array_equal(panes[1], panes[2])
    assert generated_frost() is generated_frost()
    assert not any(pane.flags.writeable for pane in (*panes, *generated_frost().small))


def test_a_fifth_takes_the_middle_of_five_pixels():
    for height, width in ((300, 301), (302, 303), (304, 527)):
        pane = np.arange(height * width * 3, dtype=np.int64).astype(np.uint8)
        pane = pane.reshape(height, width, 3)
        small = FrostPictures([pane]).at(0.2)[0]
        assert small.shape == (round(0.2 * height), round(0.2 * width), 3)
        for y, x in ((0, 0), (7, 31), (len(small) - 1, small.shape[1] - 1)):
            np.testing.assert_array_equal(small[y, x], pane[5 * y + 2, 5 * x + 2])


def save_published(folder, skip=()):
    rng = np.random.default_rng(0)
    panes = []
    for number in range(1, 6):
        pane = rng.integers(0, 256, (40, 50 + number, 3), dtype=np.uint8)
        if number == 1:  # one with transparency
            alpha = rng.integers(0, 256, (40, 51, 1), dtype=np.uint8)
            Image.fromarray(np.concatenate([pane, alpha], axis=2)).save(folder / "frost1.png")
        elif number not in skip:
            suffix = "png" if number < 4 else "jpg"
            Image.fromarray(pane).save(folder / f"frost{number}.{suffix}")
        panes.append(pane)
    return panes


def test_published_panes_are_read_by_name(tmp_path):
    panes = save_published(tmp_path)
    found = load_frost(tmp_path).whole
    for number in range(3):
        np.testing.assert_array_equal(found[number], panes[number])
    for number in (3, 4):  # JPEG
        decoded = np.asarray(Image.open(tmp_path / f"frost{number + 1}.jpg"))
        np.testing.assert_array_equal(found[number], decoded)
    assert len(found) == 5


def test_missing_and_broken_panes_are_named(tmp_path):
    save_published(tmp_path, skip=(4,))
    with pytest.raises(UsageError, match=r"no frost4 with \.png, \.jpg, \.jpeg"):
        load_frost(tmp_path)
    (tmp_path / "frost4.jpg").write_bytes(b"no picture")
    with pytest.raises(DreamshardsError, match=r"frost4\.jpg: not a picture"):
        load_frost(tmp_path)


def test_panes_are_checked():
    with pytest.raises(UsageError, match=r"pane 1 is uint8 \[300, 300\]"):
        FrostPictures([np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300), np.uint8)])
    with pytest.raises(UsageError, match="no panes"):
        FrostPictures([])
