"""The pixel kernels of `pipeline.render.planes`.

Thirty-two rows of the result go together: they are filtered down, turned into columns, filtered across and
converted, always with many values side by side in the same instructions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]

_ROWS = 32
_0, _255 = np.float32(0), np.float32(255)


class Planes(NamedTuple):
    """A frame of H×W pixels.

    Attributes:
        luma: uint8 [H, stride], stride ≥ W: what lies beyond the width means nothing.
        cb, cr: uint8 [h, stride], colours.
    """

    luma: U8
    cb: U8
    cr: U8


class Axis(NamedTuple):
    """Filters of the S outputs of one axis: `starts`, `counts` int32 [S], `weights` float32 [S, taps]."""

    starts: I32
    counts: I32
    weights: F32


class Cutter(NamedTuple):
    """All that is the same for the frames of a clip: where a box goes, and its filters.

    Attributes:
        top, left, height, width: the part of the result that is filled; the rest is black.
        luma_y, luma_x, chroma_y, chroma_x: filters.
        matrix: of `rgb_matrix`.
    """

    top: int
    left: int
    height: int
    width: int
    luma_y: Axis
    luma_x: Axis
    chroma_y: Axis
    chroma_x: Axis
    matrix: F32


@kernel
def _down(
    plane: U8, axis: Axis, first: int, num_rows: int, left: int, width: int, sums: F32, strip: F32
) -> None:
    """Filter `num_rows` outputs from `first` on down a plane's columns [left, left + width).

    Args:
        plane: uint8 [H, stride].
        axis: the filters of rows.
        first, num_rows: the outputs wanted, at most 32.
        left, width: the columns wanted.
        sums: float32 [≥ width], overwritten.
        strip: float32 [≥ 32·width], filled with output row i of column x at 32·x + i.
    """
    flat, stride = plane.reshape(-1), plane.shape[1]
    for lane in range(num_rows):
        row = first + lane
        begin = axis.starts[row] * stride + left
        weight = axis.weights[row, 0]
        for i in range(width):
            sums[i] = weight * np.float32(flat[np.uint64(begin + i)])
        for tap in range(1, axis.counts[row]):
            weight = axis.weights[row, tap]
            begin += stride
            for i in range(width):
                sums[i] += weight * np.float32(flat[np.uint64(begin + i)])
        for i in range(width):
            strip[np.uint64(i * _ROWS + lane)] = sums[i]


@kernel
def _across(strip: F32, axis: Axis, left: int, num_rows: int, out: F32) -> None:
    """Filter the rows of a strip that begins at column `left`: output x of row i to 32·x + i of `out`."""
    for x in range(len(axis.starts)):
        begin, place = (axis.starts[x] - left) * _ROWS, x * _ROWS
        weight = axis.weights[x, 0]
        for i in range(num_rows):
            out[np.uint64(place + i)] = weight * strip[np.uint64(begin + i)]
        for tap in range(1, axis.counts[x]):
            weight = axis.weights[x, tap]
            begin += _ROWS
            for i in range(num_rows):
                out[np.uint64(place + i)] += weight * strip[np.uint64(begin + i)]


@kernel
def _mix(y: F32, cb: F32, cr: F32, row: F32, out: U8) -> None:
    """Fill one channel, uint8 [n], by its row of the matrix, float32 [4], from Y, Cb and Cr, float32 [n]."""
    of_y, of_cb, of_cr, one = row[0], row[1], row[2], row[3]
    for i in range(len(out)):
        value = of_y * y[i] + of_cb * cb[i] + of_cr * cr[i] + one
        out[i] = np.uint8(np.int32(min(max(value, _0), _255)))


@kernel
def _span(axis: Axis) -> tuple[int, int]:
    """Return the first input that any filter takes, and how many there are to the last."""
    first = axis.starts.min()
    return first, (axis.starts + axis.counts).max() - first


@kernel
def cut(planes: Planes, cutter: Cutter, out: U8) -> None:
    """Fill the part of `out`, uint8 [H, W, 3], that `cutter` says; at least one pixel."""
    left, width = _span(cutter.luma_x)
    chroma_left, chroma_width = _span(cutter.chroma_x)
    widest = max(width, chroma_width)
    sums, strip = np.empty(widest, np.float32), np.zeros(widest * _ROWS, np.float32)
    num_values = (
        cutter.width * _ROWS
    )  # views of one array would be slower: their layout is not known
    y, cb, cr = (
        np.zeros(num_values, np.float32),
        np.zeros(num_values, np.float32),
        np.zeros(num_values, np.float32),
    )
    red, green, blue = (
        np.empty(num_values, np.uint8),
        np.empty(num_values, np.uint8),
        np.empty(num_values, np.uint8),
    )
    m = cutter.matrix
    flat, stride = out.reshape(-1), 3 * out.shape[1]
    for first in range(0, cutter.height, _ROWS):
        num = min(_ROWS, cutter.height - first)
        _down(planes.luma, cutter.luma_y, first, num, left, width, sums, strip)
        _across(strip, cutter.luma_x, left, num, y)
        for plane, into in ((planes.cb, cb), (planes.cr, cr)):
            _down(plane, cutter.chroma_y, first, num, chroma_left, chroma_width, sums, strip)
            _across(strip, cutter.chroma_x, chroma_left, num, into)
        _mix(y, cb, cr, m[0], red)
        _mix(y, cb, cr, m[1], green)
        _mix(y, cb, cr, m[2], blue)
        for x in range(cutter.width):
            begin = (cutter.top + first) * stride + 3 * (cutter.left + x)
            for lane in range(num):
                place, value = np.uint64(begin + lane * stride), np.uint64(x * _ROWS + lane)
                flat[place] = red[value]
                flat[place + np.uint64(1)] = green[value]
                flat[place + np.uint64(2)] = blue[value]
