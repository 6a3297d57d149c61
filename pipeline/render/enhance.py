"""Color, contrast, brightness and sharpness: blends of a picture with a degenerate of itself, as in Pillow.

`out = degenerate + factor · (image − degenerate)` in float32, clipped and truncated. Pillow clips beyond
factor 1 only; below it no result leaves the range.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import inlined, kernel
from pipeline.render.scratch import Scratch

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]

_0, _255 = np.float32(0), np.float32(255)
_2, _4, _13 = np.int32(2), np.int32(4), np.int32(13)


@inlined
def _blend(degenerate: np.int32, value: np.int32, factor: np.float32) -> np.uint8:
    mixed = np.float32(degenerate) + factor * np.float32(np.int32(value - degenerate))
    mixed = mixed if mixed > _0 else _0
    mixed = mixed if mixed < _255 else _255
    return np.uint8(np.int32(mixed))


@kernel
def _fill_luma(flat: U8, grey: I32) -> None:
    """Fill with ITU-R 601 luma in 16-bit fixed point, rounded."""
    for i in range(grey.size):
        red, green, blue = (
            np.int32(flat[3 * i]),
            np.int32(flat[3 * i + 1]),
            np.int32(flat[3 * i + 2]),
        )
        grey[i] = np.int32((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16)


@kernel
def color(image: U8, factor: np.float32, scratch: Scratch, out: U8) -> None:
    """Blend with the grey version."""
    flat, mixed, grey = image.reshape(-1), out.reshape(-1), scratch.grey
    _fill_luma(flat, grey)
    for i in range(grey.size):
        for channel in range(3):
            value = np.int32(flat[3 * i + channel])
            mixed[3 * i + channel] = _blend(grey[i], value, factor)


@kernel
def mean_luma(image: U8, scratch: Scratch) -> int:
    """Return the mean luma rounded half up."""
    return rounded_mean(total_luma(image, scratch), scratch.grey.size)


@kernel
def total_luma(image: U8, scratch: Scratch) -> int:
    """Return the sum of the luma of all pixels."""
    grey = scratch.grey
    _fill_luma(image.reshape(-1), grey)
    total = 0
    for i in range(grey.size):
        total += int(grey[i])
    return total


@inlined
def rounded_mean(total: int, num: int) -> int:
    """Return total / num rounded half up."""
    return int(total / num + 0.5)


@kernel
def blend_constant(image: U8, degenerate: int, factor: np.float32, out: U8) -> None:
    """Blend with one constant: contrast (the mean luma), brightness (0)."""
    flat, mixed = image.reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        mixed[i] = _blend(np.int32(degenerate), np.int32(flat[i]), factor)


@kernel
def fill_constant(degenerate: int, factor: np.float32, table: U8) -> None:
    """Do by table, uint8 [3, 256], what `blend_constant` does."""
    for channel in range(3):
        for value in range(256):
            table[channel, value] = _blend(np.int32(degenerate), np.int32(value), factor)


@kernel
def sharpness(image: U8, factor: np.float32, scratch: Scratch, out: U8) -> None:
    """Blend with the picture smoothed by the 3×3 kernel (1 1 1, 1 5 1, 1 1 1) / 13; the border is kept.

    Pillow sums in float32 and rounds; the sum over 13 is never half-way, so whole numbers give the same. The
    picture is worked as one row of values, which blends borders too; they are put back after.
    """
    height, stride = image.shape[0], 3 * image.shape[1]
    flat, mixed, sums = image.reshape(-1), out.reshape(-1), scratch.sums
    num_inner, first = flat.size - 2 * stride, stride + 3
    for i in range(num_inner):
        above, below = flat[i], flat[np.uint64(i + 2 * stride)]
        sums[i] = np.int32(above) + np.int32(flat[np.uint64(i + stride)]) + np.int32(below)
    for i in range(num_inner - 6):
        value = np.int32(flat[np.uint64(i + first)])
        around = np.int32(sums[i] + sums[np.uint64(i + 3)] + sums[np.uint64(i + 6)])
        total = np.int32(around + _4 * value)
        # ⌊n / 26⌋ as a product and a shift, exact for every sum there is
        smooth = np.int32(np.int32((_2 * total + _13) * np.int32(20165)) >> np.int32(19))
        mixed[np.uint64(i + first)] = _blend(smooth, value, factor)
    last = flat.size - stride
    for i in range(stride):
        mixed[i] = flat[i]
        mixed[np.uint64(last + i)] = flat[np.uint64(last + i)]
    for row in range(1, height - 1):
        for i in range(3):
            left, right = np.uint64(row * stride + i), np.uint64((row + 1) * stride - 3 + i)
            mixed[left], mixed[right] = flat[left], flat[right]
