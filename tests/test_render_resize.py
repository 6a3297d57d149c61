"""Resizing a box: Pillow's own bytes, whatever the sizes, the box and the flip."""

from __future__ import annotations

import math

import numpy as np
import PIL
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.render.resize import resize_box

Box = tuple[float, float, float, float]


def by_pillow(picture: np.ndarray, box: Box, size: int, mirrored: bool) -> np.ndarray:
    """Cut out the pixels that the box touches, then have Pillow resize the box in them."""
    y, x = math.floor(box[0]), math.floor(box[1])
    cut = Image.fromarray(picture[y : math.ceil(box[2]), x : math.ceil(box[3])])
    inner = (box[1] - x, box[0] - y, box[3] - x, box[2] - y)
    resized = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR, box=inner))
    return resized[:, ::-1] if mirrored else resized


def ours(picture: np.ndarray, box: Box, size: int, mirrored: bool) -> np.ndarray:
    out = np.full((size, size, 3), 77, np.uint8)
    resize_box(picture, box, mirrored, out)
    return out


def same_order(height: int, width: int, size: int) -> bool:
    """Tell whether this Pillow filters the axes in the kernel's order: before 13, rows came first always."""
    tall = height - size > 2 * max(width - size, 0)
    return not tall or int(PIL.__version__.split(".")[0]) >= 13


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(
        0, 256, (height, width, 3), np.uint8
    )


@st.composite
def side_and_edges(draw: st.DrawFn) -> tuple[int, float, float]:
    """Return the length of an axis, and a box's two edges on it in eighths of a pixel."""
    length = draw(st.integers(1, 150))
    first = draw(st.integers(0, 8 * length - 1))
    last = draw(st.integers(first + 1, 8 * length))
    return length, first / 8, last / 8


@settings(deadline=None, max_examples=400)
@given(side_and_edges(), side_and_edges(), st.integers(1, 80), st.booleans())
@example((150, 0.0, 150.0), (10, 0.0, 10.0), 8, True)  # so tall that columns go first
@example((10, 0.0, 10.0), (150, 0.0, 150.0), 8, False)
@example((64, 0.0, 64.0), (64, 0.0, 64.0), 64, False)  # nothing to do
@example((1, 0.0, 1.0), (1, 0.0, 1.0), 40, True)
@example((9, 0.125, 0.25), (9, 8.875, 9.0), 40, True)  # a part of one pixel
def test_any_box_comes_out_as_from_pillow(y, x, size, mirrored):
    picture, box = noise(y[0], x[0]), (y[1], x[1], y[2], x[2])
    height, width = (math.ceil(axis[2]) - math.floor(axis[1]) for axis in (y, x))
    assume(same_order(height, width, size))
    np.testing.assert_array_equal(
        ours(picture, box, size, mirrored), by_pillow(picture, box, size, mirrored)
    )


@pytest.mark.parametrize(
    ("height", "width"), [(375, 500), (500, 375), (224, 300), (300, 224), (50, 700), (700, 50)]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_photographs_at_224_px_do(height, width, mirrored):
    if not same_order(height, width, 224):
        pytest.skip("this Pillow filters rows first however tall a picture is")
    picture, box = noise(height, width), (0, 0, height, width)
    np.testing.assert_array_equal(
        ours(picture, box, 224, mirrored), by_pillow(picture, box, 224, mirrored)
    )


def test_heights_where_pillow_changes_the_order_of_its_passes():
    for width, size in ((40, 32), (61, 32), (20, 32)):
        turn = size + 2 * max(width - size, 0)
        for height in range(turn - 2, turn + 4):
            if not same_order(height, width, size):
                continue
            picture, box = noise(height, width), (0, 0, height, width)
            np.testing.assert_array_equal(
                ours(picture, box, size, False), by_pillow(picture, box, size, False)
            )


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
@pytest.mark.parametrize(("height", "width"), [(999, 30), (30, 999), (700, 700)])
def test_a_flat_picture_stays_flat(value, height, width):
    picture = np.full((height, width, 3), value, np.uint8)
    assert (ours(picture, (0, 0, height, width), 16, False) == value).all()


def test_what_lies_beside_the_box_is_not_looked_at():
    picture = noise(40, 40)
    changed = picture.copy()
    changed[:5], changed[36:], changed[:, :7], changed[:, 30:] = 0, 0, 255, 255
    box = (5.5, 7.0, 35.25, 30.0)
    np.testing.assert_array_equal(ours(picture, box, 24, False), ours(changed, box, 24, False))


def test_read_only_pictures_are_taken():
    picture = noise(30, 30)
    expected = ours(picture, (1, 2, 29, 28), 16, False)
    picture.flags.writeable = False
    np.testing.assert_array_equal(ours(picture, (1, 2, 29, 28), 16, False), expected)


@pytest.mark.parametrize(
    "box",
    [(-1, 0, 5, 5), (0, -0.5, 5, 5), (0, 0, 11, 5), (0, 0, 5, 21), (5, 0, 5, 5), (0, 6, 5, 5)],
)
def test_a_box_that_leaves_the_picture_is_refused(box):
    with pytest.raises(ValueError, match=r"does not lie in a picture of 10×20 px \(H×W\)"):
        ours(noise(10, 20), box, 8, False)
