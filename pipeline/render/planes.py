"""A box of a video's frame, straight from its planes of brightness and colour to RGB at the size wanted.

Decoders yield planes Y, Cb, Cr of 8 bits, the colours mostly at half the size each way. Each plane of the box
is resized first, with the triangle filter of `pipeline.render.resize` in float32, colours by as much less as
their planes are smaller; the result becomes RGB once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import read_only
from pipeline.render.plane_kernels import F32, Axis, Cutter, Planes, cut
from pipeline.render.resize import fill_weights, num_taps

U8 = npt.NDArray[np.uint8]

_UNIT = np.float32(2.0**-22)
"""Of the weights of `fill_weights`; they are whole, so float32 holds them exactly."""


class Layout(NamedTuple):
    """How the planes of frames lie on each other, and what their values mean.

    Attributes:
        height, width: of the frame and of its luma.
        chroma_height, chroma_width: of its colours; 1 and 1 for a frame without, whose planes hold 128.
        step_y, step_x: luma pixels from one colour sample to the next.
        shift_y, shift_x: by how many luma pixels colour samples lie nearer to the start of the axis than the
            middle of the luma pixels that they are for.
        matrix: of `rgb_matrix`.
    """

    height: int
    width: int
    chroma_height: int
    chroma_width: int
    step_y: int
    step_x: int
    shift_y: float
    shift_x: float
    matrix: F32


def rgb_matrix(red: float, blue: float, *, full: bool) -> F32:
    """Return what turns Y, Cb, Cr of 8 bits into RGB, float32 [3, 4]: R, G, B from Y, Cb, Cr and 1.

    One half is added, so that cutting off rounds.

    Args:
        red, blue: the shares of red and blue in brightness: 0.299 and 0.114 of ITU-R BT.601, 0.2126 and
            0.0722 of BT.709.
        full: whether values take all of 0 to 255, rather than Y 16 to 235 and the others 16 to 240.
    """
    green = 1 - red - blue
    y, c, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    from_cr, from_cb = 2 * (1 - red) * c, 2 * (1 - blue) * c
    rows = np.array(
        [
            [y, 0, from_cr],
            [y, -from_cb * blue / green, -from_cr * red / green],
            [y, from_cb, 0],
        ]
    )
    return np.column_stack([rows, 0.5 - rows @ [black, 128, 128]]).astype(np.float32)


def make_cutter(
    layout: Layout, box: tuple[float, float, float, float], shape: tuple[int, int], mirrored: bool
) -> Cutter:
    """Return the cutter of a box to a result of `shape`, height and width.

    Args:
        layout: of the frames.
        box: top, left, bottom, right in pixels. One of the size of the result at whole places is copied, with
            black where it leaves the frame; any other is resized.
        shape: of the result.
        mirrored: left to right.

    Raises:
        ValueError: a box that is to be resized is empty or leaves the frame.
    """
    top, left, bottom, right = box
    height, width = layout.height, layout.width
    place = 0, 0, *shape
    if (bottom - top, right - left) == shape and top == int(top) and left == int(left):
        place = _overlap(box, (height, width), mirrored)
        top, left = max(0.0, top), max(0.0, left)
        bottom, right = top + place[2], left + place[3]
    elif not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(
            f"box {box} (top, left, bottom, right) does not lie in a frame of {height}×{width} px (H×W)"
        )
    rows, columns = place[2:]
    y = layout.step_y, layout.shift_y, layout.chroma_height
    x = layout.step_x, layout.shift_x, layout.chroma_width
    return Cutter(
        *place,
        luma_y=_luma(top, bottom, rows, mirrored=False),
        luma_x=_luma(left, right, columns, mirrored=mirrored),
        chroma_y=_chroma(top, bottom, rows, *y, mirrored=False),
        chroma_x=_chroma(left, right, columns, *x, mirrored=mirrored),
        matrix=layout.matrix,
    )


def _overlap(
    box: tuple[float, float, float, float], frame: tuple[int, int], mirrored: bool
) -> tuple[int, int, int, int]:
    """Return top, left, height and width, in the box, of what it shares with a frame."""
    top, left, bottom, right = (int(side) for side in box)
    rows = max(0, min(bottom, frame[0]) - max(top, 0))
    columns = max(0, min(right, frame[1]) - max(left, 0))
    before = max(right - frame[1], 0) if mirrored else max(-left, 0)
    return (max(-top, 0), before, rows, columns) if rows and columns else (0, 0, 0, 0)


def _luma(first: float, last: float, size: int, *, mirrored: bool) -> Axis:
    origin = math.floor(first)
    length = math.ceil(last) - origin  # as if the whole pixels touched had been cut out first
    axis = _axis(first - origin, last - origin, length, size, mirrored)
    return axis._replace(starts=axis.starts + np.int32(origin))


def _chroma(
    first: float,
    last: float,
    size: int,
    step: int,
    shift: float,
    length: int,
    *,
    mirrored: bool,
) -> Axis:
    if length == 1:
        one = np.ones(size, np.int32)
        return Axis(one - np.int32(1), one, np.ones((size, 1), np.float32))
    return _axis((first + shift) / step, (last + shift) / step, length, size, mirrored)


def _axis(first: float, last: float, length: int, size: int, mirrored: bool) -> Axis:
    starts, counts = np.empty((2, size), np.int32)
    taps = num_taps(first, last, size) if size else 1
    weights = np.zeros((size, taps), np.int32)
    if size:
        fill_weights(first, last, length, mirrored, starts, counts, weights)
    return Axis(starts, counts, weights.astype(np.float32) * _UNIT)


def cut_planes(planes: Planes, cutter: Cutter, out: U8) -> None:
    """Cut a box out of a frame's planes.

    Args:
        planes: of a frame of the layout that `cutter` was made for.
        cutter: of `make_cutter`.
        out: uint8 [H', W', 3] of the shape that `cutter` was made for, C-contiguous.
    """
    if (cutter.height, cutter.width) != out.shape[:2]:
        out[:] = 0
    if cutter.height:
        cut(Planes(*map(read_only, planes)), cutter, out)
