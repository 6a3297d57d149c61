"""Color, contrast, brightness and sharpness: blends of a picture with a degenerate of itself, as in Pillow.

`out = degenerate + factor · (image − degenerate)` in float32, truncated; beyond factor 1 also clipped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]


@kernel
def _blend(degenerate: np.int32, value: np.int32, factor: np.float32) -> np.uint8:
    mixed = np.float32(degenerate) + factor * np.float32(value - degenerate)
    if factor > np.float32(1.0):
        if mixed <= np.float32(0.0):
            return np.uint8(0)
        if mixed >= np.float32(255.0):
            return np.uint8(255)
    return np.uint8(np.int32(mixed))


@kernel
def _luma(red: np.int32, green: np.int32, blue: np.int32) -> np.int32:
    """ITU-R 601 luma in 16-bit fixed point, rounded."""
    return np.int32((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)


@kernel
def color(image: U8, factor: np.float32, out: U8) -> None:
    """Blend with the grey version."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            red = np.int32(image[row, column, 0])
            green = np.int32(image[row, column, 1])
            blue = np.int32(image[row, column, 2])
            grey = _luma(red, green, blue)
            out[row, column, 0] = _blend(grey, red, factor)
            out[row, column, 1] = _blend(grey, green, factor)
            out[row, column, 2] = _blend(grey, blue, factor)


@kernel
def mean_luma(image: U8) -> int:
    """Return the mean luma rounded half up."""
    total = np.int64(0)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            total += _luma(
                np.int32(image[row, column, 0]),
                np.int32(image[row, column, 1]),
                np.int32(image[row, column, 2]),
            )
    return int(total / (image.shape[0] * image.shape[1]) + 0.5)


@kernel
def fill_blend(degenerate: int, factor: np.float32, table: U8) -> None:
    """Fill the table, uint8 [3, 256], of a blend with one constant: contrast (mean luma), brightness (0)."""
    for value in range(256):
        mixed = _blend(np.int32(degenerate), np.int32(value), factor)
        for channel in range(3):
            table[channel, value] = mixed


@kernel
def sharpness(image: U8, factor: np.float32, out: U8) -> None:
    """Blend with the picture smoothed by the 3×3 kernel (1 1 1, 1 5 1, 1 1 1) / 13; the border is kept.

    Pillow sums in float32 and rounds; the sum over 13 is never half-way, so whole numbers give the same.
    """
    height, width = image.shape[0], image.shape[1]
    for row in range(height):
        for column in range(width):
            inner = 0 < row < height - 1 and 0 < column < width - 1
            for channel in range(3):
                value = np.int32(image[row, column, channel])
                smooth = value
                if inner:
                    total = 4 * value
                    for down in range(-1, 2):
                        for right in range(-1, 2):
                            total += image[row + down, column + right, channel]
                    smooth = np.int32((2 * total + 13) // 26)
                out[row, column, channel] = _blend(smooth, value, factor)
