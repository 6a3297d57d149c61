"""Edges of a grey picture and distances from them, as of OpenCV's `Canny` and `distanceTransform`."""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, I64, U8
from pipeline.render.jit import inlined, kernel

_LEAST_SLOPE, _CLEAR_SLOPE = 50, 150
_TAN_22_5 = 13573
"""tan 22.5° times 2¹⁵."""
_AHEAD, _DIAGONAL, _KNIGHT = 1.0, 1.4, 2.1969
"""Lengths of a step along an axis, along a diagonal, and of a knight's move."""
_FARTHEST = 20.0


@inlined
def _clamped(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)


@kernel
def _fill_slopes(layer: U8, across: I64, down: I64, size_of: I64) -> None:
    """Fill Sobel's differences along x and y and the sum of their absolute values; edges repeat."""
    side = layer.shape[0]
    for row in range(side):
        above, below = layer[_clamped(row - 1, side)], layer[_clamped(row + 1, side)]
        here = layer[row]
        for column in range(side):
            left, right = _clamped(column - 1, side), _clamped(column + 1, side)
            x = np.int64(above[right]) + 2 * np.int64(here[right]) + np.int64(below[right])
            x -= np.int64(above[left]) + 2 * np.int64(here[left]) + np.int64(below[left])
            y = np.int64(below[left]) + 2 * np.int64(below[column]) + np.int64(below[right])
            y -= np.int64(above[left]) + 2 * np.int64(above[column]) + np.int64(above[right])
            across[row, column], down[row, column] = x, y
            size_of[row + 1, column + 1] = abs(x) + abs(y)


@kernel
def _is_ridge(size_of: I64, row: int, column: int, x: int, y: int) -> bool:
    """Tell whether a slope is not less than those before and behind it, in one of four directions.

    `size_of` has a border of one; `row` and `column` count without it.
    """
    here = size_of[row + 1, column + 1]
    flat = abs(x) * _TAN_22_5
    steep = flat + (abs(x) << 16)
    height = abs(y) << 15
    if height < flat:
        return bool(here > size_of[row + 1, column] and here >= size_of[row + 1, column + 2])
    if height > steep:
        return bool(here > size_of[row, column + 1] and here >= size_of[row + 2, column + 1])
    back = -1 if (x ^ y) < 0 else 1
    one, other = size_of[row, column + 1 - back], size_of[row + 2, column + 1 + back]
    return bool(here > one and here > other)


@kernel
def find_edges(layer: U8, edges: U8) -> None:
    """Find edges as Canny does, with thresholds of 50 and 150 for slopes.

    Args:
        layer: uint8 [S, S].
        edges: uint8 [S, S], written: 1 on an edge, else 0.
    """
    side = layer.shape[0]
    across, down = np.empty((side, side), np.int64), np.empty((side, side), np.int64)
    size_of = np.zeros((side + 2, side + 2), np.int64)
    _fill_slopes(layer, across, down, size_of)
    weak = np.zeros((side + 2, side + 2), np.uint8)
    stack, count = np.empty((side * side, 2), np.int64), 0
    edges[:] = 0
    for row in range(side):
        for column in range(side):
            size = size_of[row + 1, column + 1]
            x, y = across[row, column], down[row, column]
            if size <= _LEAST_SLOPE or not _is_ridge(size_of, row, column, x, y):
                continue
            if size > _CLEAR_SLOPE:
                edges[row, column] = 1
                stack[count, 0], stack[count, 1] = row, column
                count += 1
            else:
                weak[row + 1, column + 1] = 1
    while count > 0:  # weak edges that touch an edge are edges
        count -= 1
        row, column = stack[count]
        for i in range(row, row + 3):
            for j in range(column, column + 3):
                if weak[i, j]:
                    weak[i, j] = 0
                    edges[i - 1, j - 1] = 1
                    stack[count, 0], stack[count, 1] = i - 1, j - 1
                    count += 1


@kernel
def fill_distances(edges: U8, distances: F64) -> None:
    """Fill lengths of shortest paths to an edge, at most 20, by axis, diagonal and knight's moves.

    Args:
        edges: uint8 [S, S], 1 on an edge.
        distances: float64 [S, S], written.
    """
    side = edges.shape[0]
    work = np.full((side + 4, side + 4), 1e9)
    for row in range(side):
        for column in range(side):
            if edges[row, column]:
                work[row + 2, column + 2] = 0.0
    for step in (-1, 1):  # down the picture from what lies above and before, then back up
        for k in range(side):
            i = k + 2 if step < 0 else side + 1 - k
            for m in range(side):
                j = m + 2 if step < 0 else side + 1 - m
                best = min(work[i, j], work[i, j + step] + _AHEAD, work[i + step, j] + _AHEAD)
                diagonal = min(work[i + step, j - 1], work[i + step, j + 1])
                knight = min(work[i + 2 * step, j - 1], work[i + 2 * step, j + 1])
                knight = min(knight, work[i + step, j - 2], work[i + step, j + 2])
                work[i, j] = min(best, diagonal + _DIAGONAL, knight + _KNIGHT)
    for row in range(side):
        for column in range(side):
            distances[row, column] = min(work[row + 2, column + 2], _FARTHEST)
