"""Pixel kernels that put a strip into words, one a cell, as the reading of frames wants it.

A strip lives on a torus: its last column meets its first, and its last row the first one, `twist` columns
further on. To be read without looking out for edges, its cells and four halvings are laid out each with its
surroundings repeated once on every side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]

STRIP_LEVELS = 5  # a strip and its halvings; sides are multiples of 2^(STRIP_LEVELS − 1)

_GREEN, _BLUE = np.uint32(8), np.uint32(16)


@kernel
def level_starts(rows: int, columns: int) -> I64:
    """Return where each level begins among the words, and where the last one ends."""
    starts = np.zeros(STRIP_LEVELS + 1, np.int64)
    for level in range(STRIP_LEVELS):
        starts[level + 1] = starts[level] + ((rows >> level) + 2) * ((columns >> level) + 2)
    return starts


@kernel
def pack(cells: U8, twist: int, starts: I64, words: U32) -> None:
    """Put a strip and its halvings into words.

    Args:
        cells: uint8 [V, U, 3], the strip.
        twist: columns, see `Strip`.
        starts: int64 [levels + 1], from `level_starts`.
        words: uint32 [n], written: level L is [(V >> L) + 2, (U >> L) + 2] from starts[L].
    """
    rows, columns = cells.shape[0], cells.shape[1]
    stride = columns + 2
    flat = cells.reshape(-1)
    for row in range(rows):
        first = stride * (row + 1) + 1
        values, line = flat[3 * columns * row : 3 * columns * (row + 1)], words[first:]
        for i in range(columns):
            red, green, blue = values[3 * i], values[3 * i + 1], values[3 * i + 2]
            line[i] = np.uint32(red) | (np.uint32(green) << _GREEN) | (np.uint32(blue) << _BLUE)
    for level in range(STRIP_LEVELS):
        coarse = words[starts[level] : starts[level + 1]]
        if level > 0:
            _halve(words[starts[level - 1] : starts[level]], 2 * columns + 2, rows, columns, coarse)
        _surround(coarse, rows, columns, twist)
        rows, columns, twist = rows >> 1, columns >> 1, twist >> 1


@kernel
def _halve(fine: U32, fine_stride: int, rows: int, columns: int, coarse: U32) -> None:
    """Average 2×2 cells of a level into one of the next, which has `rows` and `columns`."""
    even, half = np.uint32(0x00FF00FF), np.uint32(0x00020002)
    for row in range(rows):
        above = fine[fine_stride * (2 * row + 1) + 1 :]
        below = fine[fine_stride * (2 * row + 2) + 1 :]
        line = coarse[(columns + 2) * (row + 1) + 1 :]
        for i in range(columns):
            a, b, c, d = above[2 * i], above[2 * i + 1], below[2 * i], below[2 * i + 1]
            outer = (a & even) + (b & even) + (c & even) + (d & even) + half
            green = ((a >> _GREEN) & even) + ((b >> _GREEN) & even)
            green += ((c >> _GREEN) & even) + ((d >> _GREEN) & even) + half
            line[i] = ((outer >> np.uint32(2)) & even) | (
                ((green >> np.uint32(2)) & even) << _GREEN
            )


@kernel
def _surround(level: U32, rows: int, columns: int, twist: int) -> None:
    """Repeat around a level what lies on its other sides."""
    stride = columns + 2
    for j in range(columns):
        level[j + 1] = level[stride * rows + 1 + (j - twist) % columns]
        level[stride * (rows + 1) + 1 + j] = level[stride + 1 + (j + twist) % columns]
    for row in range(rows + 2):
        first = stride * row
        level[first], level[first + columns + 1] = level[first + columns], level[first + 1]
