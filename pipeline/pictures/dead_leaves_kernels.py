"""Pixel kernels of the dead leaves: random convex shapes, filled front to back.

Only + − × ÷, square roots, floor and comparisons: the same bytes on every x86-64 host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.splitmix import next_signed, next_unit, next_word
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

SUPERSAMPLING = 4  # cells per pixel and axis
MAX_LEAVES = 50_000  # 2,000 cover a picture of 256 pixels; the last of them has no bounds

SQUARE, ROTATED_SQUARE, CIRCLE, RECTANGLE, TRIANGLE, QUADRILATERAL, MIXED = range(7)


@kernel
def fill_corners(shape: int, radius: float, state: U64, corners: F64) -> int:
    """Draw the corners of one leaf around (0, 0) and return how many it has; 0 for a circle.

    Args:
        shape: SQUARE … QUADRILATERAL. All are inscribed in the circle of `radius`: rectangles by two
            diameters, triangles and quadrilaterals by points anywhere on it.
        radius: of the circle, in any unit.
        state: uint64 [1].
        corners: float64 [4, 2], gets (x, y) of each corner, in no order.
    """
    if shape == CIRCLE:
        return 0
    if shape == SQUARE:
        half = radius * 0.7071067811865476  # a side of r √2
        corners[0, 0] = corners[0, 1] = corners[1, 0] = corners[2, 1] = half
        corners[1, 1] = corners[2, 0] = corners[3, 0] = corners[3, 1] = -half
        return 4
    num_corners = 3 if shape == TRIANGLE else 4
    num_drawn = 1 if shape == ROTATED_SQUARE else 2 if shape == RECTANGLE else num_corners
    for corner in range(num_drawn):
        x = y = square = 0.0
        while square < 1e-6 or square > 1.0:
            x, y = next_signed(state), next_signed(state)
            square = x * x + y * y
        scale = radius / np.sqrt(square)
        corners[corner, 0], corners[corner, 1] = x * scale, y * scale
    if shape == ROTATED_SQUARE:
        corners[1, 0], corners[1, 1] = -corners[0, 1], corners[0, 0]
    if num_drawn < 3:
        corners[2, 0], corners[2, 1] = -corners[0, 0], -corners[0, 1]
        corners[3, 0], corners[3, 1] = -corners[1, 0], -corners[1, 1]
    return num_corners


@kernel
def section(corners: F64, num_corners: int, radius: float, y: float) -> tuple[float, float]:
    """Return the left and right end of the leaf's section at height `y`; left > right outside it.

    Args:
        corners: float64 [4, 2], the first `num_corners` are in use.
        num_corners: 3 or 4, or 0 for the circle of `radius`.
        radius: of the circle.
        y: from the leaf's centre.

    The section of the convex hull is spanned by those of the lines between all pairs of corners.
    """
    if num_corners == 0:
        square = radius * radius - y * y
        if square < 0.0:
            return 1.0, -1.0
        half = np.sqrt(square)
        return -half, half
    left, right = np.inf, -np.inf
    for i in range(1, num_corners):
        for j in range(i):
            above, below = corners[i, 1] - y, corners[j, 1] - y
            if (above <= 0.0) != (below <= 0.0):
                t = above / (above - below)
                x = corners[i, 0] + t * (corners[j, 0] - corners[i, 0])
                left, right = min(left, x), max(right, x)
    return left, right


@kernel
def fill_row(free: I32, first: int, stop: int, colour: I32, sums: I32) -> int:
    """Colour what is free of the cells first … stop − 1 of one row and return their number.

    Args:
        free: int32 [side + 1], updated: where a search for a free cell at or after each cell goes
            on; a free cell, and the end `side`, name themselves.
        first: of 0 … side.
        stop: of 0 … side.
        colour: int32 [3].
        sums: int32 [size, 3], the row's pixels: gets `colour` added for each cell.
    """
    filled = 0
    cell = first
    while True:
        while free[cell] != cell:  # halve the path for those who come after
            free[cell] = free[free[cell]]
            cell = free[cell]
        if cell >= stop:
            return filled
        pixel = cell // SUPERSAMPLING
        sums[pixel, 0] += colour[0]
        sums[pixel, 1] += colour[1]
        sums[pixel, 2] += colour[2]
        free[cell] = cell + 1
        cell += 1
        filled += 1


@kernel
def cover(shape: int, bounds: F64, radii: F64, state: U64, out: U8) -> int:
    """Lay leaves on free ground, the topmost first, until none is left; return their number.

    Args:
        shape: SQUARE … QUADRILATERAL, or MIXED for one of them at random, leaf by leaf.
        bounds: float64 [n], ascending, the last 1: the cumulated probabilities of `radii`.
        radii: float64 [n], shares of the picture's side.
        state: uint64 [1].
        out: uint8 [size, size, 3], written: means over 4×4 cells.

    A leaf's centre, radius and colour do not depend on the size of `out`.
    """
    size = out.shape[0]
    side = size * SUPERSAMPLING
    free = np.empty((side, side + 1), np.int32)
    for row in range(side):
        for cell in range(side + 1):
            free[row, cell] = cell
    sums = np.zeros((size, size, 3), np.int32)
    colour = np.empty(3, np.int32)
    corners = np.empty((4, 2))
    missing = side * side
    num_leaves = 0
    while missing > 0:
        num_leaves += 1
        word = next_word(state)
        for channel in range(3):
            colour[channel] = np.int32((word >> np.uint64(8 * channel)) & np.uint64(255))
        place = int(np.searchsorted(bounds, next_unit(state), side="right"))
        radius = radii[min(place, radii.size - 1)] * side
        x, y = next_unit(state) * side, next_unit(state) * side
        kind = int((word >> np.uint64(32)) % np.uint64(MIXED)) if shape == MIXED else shape
        if num_leaves >= MAX_LEAVES:
            kind, radius = CIRCLE, 2.0 * side
        num_corners = fill_corners(kind, radius, state, corners)
        for row in range(max(0, int(y - radius)), min(side, int(y + radius) + 1)):
            left, right = section(corners, num_corners, radius, row + 0.5 - y)
            if left > right:
                continue
            first = int(np.ceil(max(x + left - 0.5, 0.0)))
            stop = int(np.ceil(min(x + right - 0.5, float(side))))
            if first < stop:
                missing -= fill_row(free[row], first, stop, colour, sums[row // SUPERSAMPLING])
    cells = SUPERSAMPLING * SUPERSAMPLING
    for row in range(size):
        for column in range(size):
            for channel in range(3):
                out[row, column, channel] = (sums[row, column, channel] + cells // 2) // cells
    return num_leaves
