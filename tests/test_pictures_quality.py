"""Measures of pictures against slow twins, gates, and the distance of two pictures."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.pictures import quality_kernels as kernels
from pipeline.pictures.quality import (
    FRACTAL_GATE,
    NO_GATE,
    TEXTURE_GATE,
    U8,
    VISUALISATION_GATE,
    Cells,
    Gate,
    Kept,
    Quality,
    box_dimension,
)

EXAMPLE = Path(__file__).parents[2] / "shared" / "data" / "fractal.jpg"


def _noise(height: int, width: int, seed: int = 0) -> U8:
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(0, 256, (height, width, 3)).astype(np.uint8)


def _smooth(seed: int = 0) -> U8:
    image = Image.fromarray(_noise(14, 14, seed)).resize((90, 80), Image.Resampling.BICUBIC)
    return np.asarray(image).copy()


def _areas(length: int) -> np.ndarray:  # type: ignore[type-arg]
    """Return the share of each pixel in each of 64 cells, float64 [64, length]."""
    edges = np.arange(65) * length / 64
    pixels = np.arange(length)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return np.maximum(high - low, 0) * 64 / length


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200))
def test_cells_are_means_by_area(height: int, width: int) -> None:
    picture = _noise(height, width, height * 211 + width)
    expected = np.einsum(
        "yh,hwc,xw->yxc", _areas(height), picture.astype(float), _areas(width), optimize=True
    )
    sums = np.empty((64, 64, 3), np.int64)
    kernels.shrink(picture, sums)
    assert np.allclose(sums / (height * width), expected, rtol=0, atol=1e-9)
    cells = Cells(picture)
    assert np.abs(cells.pixels - expected).max() <= 0.5 + 1e-9
    light = expected @ [0.299, 0.587, 0.114]
    assert np.abs(cells.light / 16 - light).max() <= 1 / 32 + 1e-9


def test_measures_follow_their_definitions() -> None:
    for picture in (_noise(64, 64), _smooth(), _smooth(1)):
        cells = Cells(picture)
        light = cells.light / 16
        shares = np.bincount((light // 4).astype(int).ravel(), minlength=64) / 4096
        shares = shares[shares > 0]
        blocks = light.reshape(8, 8, 8, 8).swapaxes(1, 2).reshape(64, 64)
        down, across = np.abs(np.diff(light, axis=0)), np.abs(np.diff(light, axis=1))
        correlation = [
            np.corrcoef(light[:-1].ravel(), light[1:].ravel())[0, 1],
            np.corrcoef(light[:, :-1].ravel(), light[:, 1:].ravel())[0, 1],
        ]
        quality = cells.quality()
        assert quality.entropy == pytest.approx(-(shares * np.log2(shares)).sum())
        assert quality.flat == (blocks.std(axis=1) < 4).mean()
        assert quality.variation == pytest.approx((down.mean() + across.mean()) / 2)
        assert quality.correlation == pytest.approx(np.mean(correlation))
        look = cells.look()
        right = np.abs(np.diff(light, axis=1, append=light[:, -1:]))
        below = np.abs(np.diff(light, axis=0, append=light[-1:]))
        assert look.edges == (np.maximum(right, below) >= 24).mean()
        assert look.black == (light < 8).mean()


def test_the_length_of_the_jpeg_is_pillows_to_a_few_bytes() -> None:
    for picture in (_noise(64, 64), _smooth(), np.zeros((64, 64, 3), np.uint8)):
        cells = Cells(picture)
        buffer = io.BytesIO()
        Image.fromarray(cells.pixels).save(buffer, "JPEG", quality=75)
        assert abs(cells.jpeg_bits() * 4096 / 8 - len(buffer.getvalue())) <= 4


@pytest.mark.skipif(not EXAMPLE.exists(), reason="needs the example beside the repository")
def test_the_published_example_measures_as_reported() -> None:
    """The figures reported for one picture of the published set: 4.7, 0, 10.8, .83 and 3.25."""
    cells = Cells(np.asarray(Image.open(EXAMPLE).convert("RGB")))
    quality = cells.quality()
    found = [round(quality.entropy, 1), quality.flat, round(quality.variation, 1)]
    assert found == [4.7, 0, 10.8]
    assert round(quality.correlation, 2) == 0.83
    assert round(cells.jpeg_bits(), 2) == 3.25
    assert FRACTAL_GATE.shortfall(cells) == 0


def test_lab_is_the_standard_one() -> None:
    """CIE Lab under D65 of sRGB's corners, as tables give it; the steps of the cube root allow 0.3."""
    known = {
        (255, 255, 255): (100, 0, 0),
        (0, 0, 0): (0, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 255, 0): (87.73, -86.18, 83.18),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0, 0),
    }
    for rgb, lab in known.items():
        cells = Cells(np.full((64, 64, 3), rgb, np.uint8))
        assert np.allclose(cells._lab[5, 7], lab, atol=0.3)


def test_colour_is_the_spread_of_a_and_b() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (255, 0, 0), (0, 0, 255)
    expected = math.hypot((80.09 - 79.19) / 2, (67.20 + 107.86) / 2)
    assert Cells(picture).look().colour == pytest.approx(expected, abs=0.3)
    assert Cells(np.full((64, 64, 3), 90, np.uint8)).look().colour == pytest.approx(0, abs=1e-9)


def test_box_counting_knows_points_lines_and_planes() -> None:
    marks = np.zeros((64, 64), np.uint8)
    assert box_dimension(marks) == 0
    marks[20, 30] = 1
    assert box_dimension(marks) == pytest.approx(0)
    assert box_dimension(np.eye(64, dtype=np.uint8)) == pytest.approx(1)
    assert box_dimension(np.ones((64, 64), np.uint8)) == pytest.approx(2)
    # Sierpinski's triangle, Pascal's modulo 2: log 3 / log 2
    row, column = np.mgrid[:64, :64]
    assert box_dimension(((row & column) == 0).astype(np.uint8)) == pytest.approx(math.log2(3))


# ── gates ──


def test_dull_and_noisy_pictures_fail_and_dense_ones_pass() -> None:
    for dull in (np.zeros((36, 36, 3), np.uint8), np.full((64, 64, 3), 128, np.uint8)):
        assert FRACTAL_GATE.shortfall(Cells(dull)) > 0
        assert VISUALISATION_GATE.shortfall(Cells(dull)) > 0
        assert TEXTURE_GATE.shortfall(Cells(dull)) > 0
        assert NO_GATE.shortfall(Cells(dull)) == 0
    assert FRACTAL_GATE.shortfall(Cells(_noise(64, 64))) > 0
    assert VISUALISATION_GATE.shortfall(Cells(_noise(64, 64))) > 0
    assert FRACTAL_GATE.shortfall(Cells(_smooth())) == 0


def test_a_shortfall_is_the_sum_of_shares_of_ranges() -> None:
    cells = Cells(_smooth())
    quality = cells.quality()
    gate = Gate(
        entropy=(quality.entropy + 0.5, quality.entropy + 2.5),  # 0.5 of 2 short
        variation=(0.0, quality.variation - 1),  # 1 above a range of that width
        correlation=(-1.0, 1.0),
        jpeg=(0.0, 1e-9),  # not looked at, the rest having failed
    )
    assert gate.shortfall(cells) == pytest.approx(0.25 + 1 / (quality.variation - 1))
    bits = cells.jpeg_bits()
    assert Gate(jpeg=(bits + 1, bits + 2)).shortfall(cells) == pytest.approx(1)


def test_bounds_are_inclusive() -> None:
    cells = Cells(_smooth())
    for name, value in cells.quality()._asdict().items():
        if name != "jpeg":
            assert Gate(**{name: (value, value + 1)}).shortfall(cells) == 0
            assert Gate(**{name: (value - 1, value)}).shortfall(cells) == 0
    assert set(Quality._fields) == set(Gate.__dataclass_fields__)


# ── alike ──


def test_a_descriptor_measures_luminance_and_colours() -> None:
    def grey(level: int) -> Cells:
        return Cells(np.full((40, 40, 3), level, np.uint8))

    kept = Kept(3)
    assert kept.distance(grey(100).descriptor) == math.inf
    kept.add(grey(100).descriptor)
    assert kept.distance(grey(100).descriptor) == 0
    assert kept.distance(grey(110).descriptor) == pytest.approx(10 / 255)  # of one box of Lab
    assert kept.distance(grey(255).descriptor) == pytest.approx(math.hypot(155 / 255, math.sqrt(2)))
    kept.add(grey(200).descriptor)
    assert kept.distance(grey(200).descriptor) == 0
    shares = _smooth()
    assert Cells(shares).descriptor[64:].sum() == pytest.approx(1)


def test_a_mirrored_or_recoloured_picture_is_another() -> None:
    picture = _smooth()
    picture[:, :45] //= 3
    kept = Kept(1)
    kept.add(Cells(picture).descriptor)
    noise = _noise(*picture.shape[:2]) // 16
    assert kept.distance(Cells(np.clip(picture, 0, 239) + noise).descriptor) < 0.2
    assert kept.distance(Cells(picture[:, ::-1].copy()).descriptor) > 0.2
    tinted = picture // np.array([1, 3, 4], np.uint8)
    assert kept.distance(Cells(tinted).descriptor) > 0.2
