"""Resizing a box of a picture as Pillow's `Image.resize(size, BILINEAR, box=…)` does, bit for bit.

For each output pixel a triangle filter, as wide as the scale, is sampled at the input pixels; weights are
normalised in float64 and rounded to fixed point with 22 bits. One axis is filtered and rounded to 8 bits,
then the other; rows come first unless a picture is so tall that columns first is less work, by Pillow 13's
measure. Pillow goes pixel by pixel; here 16 rows, or a whole row of columns, go side by side.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import inlined, kernel, read_only

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]

_PRECISION_BITS = 22
"""Pillow's: 32 bits less 8 for the value and 2 to spare."""
_ROWS = 16
"""Rows filtered together: four channels of them fill vector registers, and a strip stays in the cache."""

_ONE, _ROUND = float(1 << _PRECISION_BITS), np.int32(1 << (_PRECISION_BITS - 1))
_SHIFT, _8, _16 = np.int32(_PRECISION_BITS), np.uint32(8), np.uint32(16)
_1, _2 = np.uint64(1), np.uint64(2)


@inlined
def num_taps(first: float, last: float, size: int) -> int:
    """Return the most input pixels that one output pixel takes from."""
    return math.ceil(max((last - first) / size, 1.0)) * 2 + 1


@kernel
def fill_weights(
    first: float, last: float, length: int, mirrored: bool, starts: I32, counts: I32, weights: I32
) -> None:
    """Fill the filter of each output pixel of one axis, in the order of Pillow's floating-point operations.

    Args:
        first, last: the box on an axis of `length` pixels.
        mirrored: whether the outputs stand in reverse order.
        starts, counts: int32 [S], the input pixels of each output.
        weights: int32 [S, taps], in units of 2⁻²².
    """
    size = len(starts)
    scale = (last - first) / size
    support = max(scale, 1.0)
    step = 1.0 / support
    exact = np.empty(weights.shape[1], np.float64)
    for i in range(size):
        center = first + (i + 0.5) * scale
        start = max(int(center - support + 0.5), 0)
        count = min(int(center + support + 0.5), length) - start
        total = 0.0
        for tap in range(count):
            exact[tap] = max(1.0 - abs((tap + start - center + 0.5) * step), 0.0)
            total += exact[tap]
        place = size - 1 - i if mirrored else i
        starts[place], counts[place] = start, count
        for tap in range(count):
            share = exact[tap] / total if total != 0.0 else exact[tap]
            weights[place, tap] = np.int32(0.5 + share * _ONE)


@kernel
def _filter_rows(
    source: U8, top: int, left: int, width: int, starts: I32, counts: I32, weights: I32, out: U8
) -> None:
    """Filter rows of `source` along x: uint8 [H, 3·W] from (top, left) on, to `out`, uint8 [h, 3·S].

    Sixteen rows at a time are turned into columns of a strip, each pixel's bytes in one word, so that what
    is done to one row is done to all in the same instructions.
    """
    strip, filtered = np.zeros(width * _ROWS, np.uint32), np.empty(_ROWS, np.uint32)
    lanes, values = strip.view(np.uint8), filtered.view(np.uint8)
    sums = np.empty(4 * _ROWS, np.int32)
    flat, result = source.reshape(-1), out.reshape(-1)
    for first in range(0, len(out), _ROWS):
        num_rows = min(_ROWS, len(out) - first)
        for lane in range(num_rows):
            begin = (top + first + lane) * source.shape[1] + 3 * left
            for x in range(width):
                place = np.uint64(begin + 3 * x)
                low = np.uint32(flat[place]) | np.uint32(np.uint32(flat[place + _1]) << _8)
                word = low | np.uint32(np.uint32(flat[place + _2]) << _16)
                strip[np.uint64(x * _ROWS + lane)] = word
        for x in range(len(starts)):
            for i in range(4 * _ROWS):
                sums[i] = _ROUND
            for tap in range(counts[x]):
                weight, begin = weights[x, tap], (starts[x] + tap) * 4 * _ROWS
                for i in range(4 * _ROWS):
                    value = np.int32(lanes[np.uint64(begin + i)])
                    sums[i] = np.int32(sums[i] + np.int32(weight * value))
            for i in range(4 * _ROWS):
                values[i] = np.uint8(np.int32(sums[i] >> _SHIFT))
            for lane in range(num_rows):
                word = filtered[lane]
                place = np.uint64((first + lane) * out.shape[1] + 3 * x)
                result[place] = np.uint8(word)
                result[place + _1] = np.uint8(word >> _8)
                result[place + _2] = np.uint8(word >> _16)


@kernel
def _filter_columns(
    source: U8, top: int, left: int, starts: I32, counts: I32, weights: I32, out: U8
) -> None:
    """Filter columns of `source`, uint8 [H, 3·W], from (top, left) on to `out`, uint8 [S, 3·w]."""
    num = out.shape[1]
    sums, flat = np.empty(num, np.int32), source.reshape(-1)
    for y in range(len(starts)):
        for i in range(num):
            sums[i] = _ROUND
        for tap in range(counts[y]):
            weight = weights[y, tap]
            begin = (top + starts[y] + tap) * source.shape[1] + 3 * left
            for i in range(num):
                value = np.int32(flat[np.uint64(begin + i)])
                sums[i] = np.int32(sums[i] + np.int32(weight * value))
        row = out[y]
        for i in range(num):
            row[i] = np.uint8(np.int32(sums[i] >> _SHIFT))


@kernel
def _resize(
    picture: U8,
    top: int,
    left: int,
    height: int,
    width: int,
    box: tuple[float, float, float, float],
    mirrored: bool,
    out: U8,
) -> None:
    """Resize `box` (top, left, bottom, right) of the height×width cut of `picture` at (top, left)."""
    size = len(out)
    starts, counts = np.empty((2, size), np.int32), np.empty((2, size), np.int32)
    y_weights = np.empty((size, num_taps(box[0], box[2], size)), np.int32)
    x_weights = np.empty((size, num_taps(box[1], box[3], size)), np.int32)
    fill_weights(box[0], box[2], height, False, starts[0], counts[0], y_weights)
    fill_weights(box[1], box[3], width, mirrored, starts[1], counts[1], x_weights)
    source = picture.reshape(picture.shape[0], 3 * picture.shape[1])
    result = out.reshape(size, 3 * size)
    if height - size > 2 * max(width - size, 0):
        between = np.empty((size, 3 * width), np.uint8)
        _filter_columns(source, top, left, starts[0], counts[0], y_weights, between)
        _filter_rows(between, 0, 0, width, starts[1], counts[1], x_weights, result)
    else:
        between = np.empty((height, 3 * size), np.uint8)
        _filter_rows(source, top, left, width, starts[1], counts[1], x_weights, between)
        _filter_columns(between, 0, 0, starts[0], counts[0], y_weights, result)


def resize_box(
    picture: U8, box: tuple[float, float, float, float], mirrored: bool, out: U8
) -> None:
    """Resize a box of `picture` to `out`, mirrored left to right if asked for.

    No pixel beyond the whole ones that the box touches is looked at, as if these had been cut out first.

    Args:
        picture: uint8 [H, W, 3], C-contiguous.
        box: top, left, bottom, right in pixels, each exact in float32, which Pillow computes with.
        out: uint8 [S, S, 3], C-contiguous.

    Raises:
        ValueError: the box is empty or leaves the picture.
    """
    top, left, bottom, right = box
    height, width = picture.shape[:2]
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(
            f"box {box} (top, left, bottom, right) does not lie in a picture of {height}×{width} px (H×W)"
        )
    y, x = math.floor(top), math.floor(left)
    cut = math.ceil(bottom) - y, math.ceil(right) - x
    inner = float(top - y), float(left - x), float(bottom - y), float(right - x)
    _resize(read_only(picture), y, x, *cut, inner, mirrored, out)
