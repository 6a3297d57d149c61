"""Rotation, shear and translation: affine resampling, bilinear, black outside, bit-identical to Pillow's.

Output pixel (row, column) reads the input at `x = a·(column + ½) + b·(row + ½) + c`, likewise y; a position
outside the picture is black; at the border the missing neighbour repeats the edge. The weighted sums are in
float64 and truncated to 8 bits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]

MAX_DEGREES = 30
"""Rotation at level 10, the largest."""


def _rotation_table() -> npt.NDArray[np.float64]:
    """Return (cos, sin) for −30..30 whole degrees, rounded to 15 digits as Pillow rounds them."""
    table = np.empty((2 * MAX_DEGREES + 1, 2))
    for row, degrees in enumerate(range(-MAX_DEGREES, MAX_DEGREES + 1)):
        radians = -math.radians(degrees % 360.0)
        table[row] = round(math.cos(radians), 15), round(math.sin(radians), 15)
    return table


_ROTATIONS = _rotation_table()


@kernel
def rotate(image: U8, degrees: int, out: U8) -> None:
    """Rotate `image` [H, W, 3] about its centre by −30..30 whole degrees, counter-clockwise when positive."""
    if degrees == 0:
        out[:] = image
        return
    cosine, sine = _ROTATIONS[degrees + MAX_DEGREES]
    centre_x, centre_y = image.shape[1] / 2.0, image.shape[0] / 2.0
    # `x·a + y·b + c` with c = 0 first, as Pillow evaluates it
    shift_x = cosine * -centre_x + sine * -centre_y + 0.0 + centre_x
    shift_y = -sine * -centre_x + cosine * -centre_y + 0.0 + centre_y
    resample(image, cosine, sine, shift_x, -sine, cosine, shift_y, out)


@kernel
def resample(
    image: U8, a: float, b: float, c: float, d: float, e: float, f: float, out: U8
) -> None:
    """Resample `image` [H, W, 3] to `out` of the same shape through the affine map above."""
    height, width = image.shape[0], image.shape[1]
    for row in range(height):
        for column in range(width):
            source_x = a * (column + 0.5) + b * (row + 0.5) + c
            source_y = d * (column + 0.5) + e * (row + 0.5) + f
            if source_x < 0.0 or source_x >= width or source_y < 0.0 or source_y >= height:
                for channel in range(3):
                    out[row, column, channel] = 0
                continue
            source_x -= 0.5
            source_y -= 0.5
            left = int(math.floor(source_x))
            top = int(math.floor(source_y))
            weight_x = source_x - left
            weight_y = source_y - top
            column0, column1 = max(left, 0), min(left + 1, width - 1)
            row0, row1 = max(top, 0), min(top + 1, height - 1)
            for channel in range(3):
                upper0 = float(image[row0, column0, channel])
                upper = upper0 + (float(image[row0, column1, channel]) - upper0) * weight_x
                lower0 = float(image[row1, column0, channel])
                lower = lower0 + (float(image[row1, column1, channel]) - lower0) * weight_x
                out[row, column, channel] = np.uint8(int(upper + (lower - upper) * weight_y))


@kernel
def translate(image: U8, right: int, down: int, out: U8) -> None:
    """Read `image` [H, W, 3] `right` columns and `down` rows further on; black where there is nothing."""
    height, width = image.shape[0], image.shape[1]
    for row in range(height):
        source_row = row + down
        for column in range(width):
            source_column = column + right
            inside = 0 <= source_row < height and 0 <= source_column < width
            for channel in range(3):
                value = image[source_row, source_column, channel] if inside else np.uint8(0)
                out[row, column, channel] = value
