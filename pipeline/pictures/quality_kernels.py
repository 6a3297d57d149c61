"""Kernels that measure one picture on 64×64 cells: sums of integers, then a few divisions.

Decisions rest on them, so they are exact: equal on every host.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import log2, power
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

CELLS = 64
"""Pictures are measured at CELLS × CELLS pixels, whatever their size."""

LIGHT_STEP = 16  # luminance is kept in sixteenths of an 8-bit level
_BLOCK = 8  # cells along a block
_FLAT = 4 * LIGHT_STEP  # standard deviation below which a block is flat
_EDGE = 24 * LIGHT_STEP  # change from one cell to the next from which on it is an edge
_BLACK = 8 * LIGHT_STEP  # luminance below which a cell is black
CUBE_ROOTS = 4096


@kernel
def shrink(picture: U8, out: I64) -> None:
    """Resize by area: each cell is the mean of what it covers, in units of 1/(height · width).

    Args:
        picture: uint8 [h, w, 3], larger or smaller than the cells.
        out: int64 [CELLS, CELLS, 3], written: 0 … 255 · h · w.
    """
    height, width = picture.shape[0], picture.shape[1]
    row_sums = np.empty((CELLS, 3), np.int64)
    out[:] = 0
    for y in range(height):
        for cell in range(CELLS):
            # A cell covers [cell · w, (cell + 1) · w) where a pixel covers [64 · x, 64 · (x + 1)).
            left, right = cell * width, (cell + 1) * width
            red = green = blue = 0
            for x in range(left // CELLS, (right + CELLS - 1) // CELLS):
                share = min(right, (x + 1) * CELLS) - max(left, x * CELLS)
                red += share * picture[y, x, 0]
                green += share * picture[y, x, 1]
                blue += share * picture[y, x, 2]
            row_sums[cell, 0], row_sums[cell, 1], row_sums[cell, 2] = red, green, blue
        top, bottom = y * CELLS, (y + 1) * CELLS
        for row in range(top // height, (bottom + height - 1) // height):
            share = min(bottom, (row + 1) * height) - max(top, row * height)
            for cell in range(CELLS):
                for channel in range(3):
                    out[row, cell, channel] += share * row_sums[cell, channel]


@kernel
def luminance(sums: I64, area: int, out: I64) -> None:
    """Write the luminance (Rec. 601) of `shrink`'s cells, in sixteenths of a level, rounded.

    Args:
        sums: int64 [CELLS, CELLS, 3], from `shrink`.
        area: height · width of the picture.
        out: int64 [CELLS, CELLS], written: 0 … 4080.
    """
    whole = 1000 * area
    for row in range(CELLS):
        for column in range(CELLS):
            cell = sums[row, column]
            weighted = 299 * cell[0] + 587 * cell[1] + 114 * cell[2]
            out[row, column] = (weighted * LIGHT_STEP + whole // 2) // whole


@kernel
def to_bytes(sums: I64, area: int, out: U8) -> None:
    """Write `shrink`'s cells as a picture, uint8 [CELLS, CELLS, 3], rounded."""
    for row in range(CELLS):
        for column in range(CELLS):
            for channel in range(3):
                out[row, column, channel] = (sums[row, column, channel] + area // 2) // area


@kernel
def entropy(light: I64) -> float:
    """Return the entropy in bits of 64 bins of `light`, int64 [CELLS, CELLS] of 0 … 4080."""
    counts = np.zeros(64, np.int64)
    for row in range(CELLS):
        for column in range(CELLS):
            counts[light[row, column] // (4 * LIGHT_STEP)] += 1
    total = 0.0
    for count in counts:
        if count > 0:
            total += count * log2(float(count))
    return log2(float(CELLS * CELLS)) - total / (CELLS * CELLS)


@kernel
def flat_share(light: I64) -> float:
    """Return the share of 8×8 blocks whose standard deviation is below 4 levels."""
    num_flat = 0
    area = _BLOCK * _BLOCK
    for top in range(0, CELLS, _BLOCK):
        for left in range(0, CELLS, _BLOCK):
            total = squares = 0
            for row in range(top, top + _BLOCK):
                for column in range(left, left + _BLOCK):
                    value = light[row, column]
                    total += value
                    squares += value * value
            num_flat += int(area * squares - total * total < area * area * _FLAT * _FLAT)
    return num_flat / float((CELLS // _BLOCK) ** 2)


@kernel
def variation(light: I64) -> float:
    """Return the mean difference of neighbours along rows and columns, in 8-bit levels."""
    total = 0
    for row in range(CELLS):
        for column in range(CELLS - 1):
            total += abs(light[row, column + 1] - light[row, column])
            total += abs(light[column + 1, row] - light[column, row])
    return total / (2.0 * CELLS * (CELLS - 1) * LIGHT_STEP)


@kernel
def _correlation(light: I64, down: int, across: int) -> float:
    """Return Pearson's correlation of each cell with its neighbour; 1 where nothing varies."""
    num = first = second = firsts = seconds = products = 0
    for row in range(CELLS - down):
        for column in range(CELLS - across):
            a, b = light[row, column], light[row + down, column + across]
            num += 1
            first += a
            second += b
            firsts += a * a
            seconds += b * b
            products += a * b
    spread = float(num * firsts - first * first) * float(num * seconds - second * second)
    if spread <= 0.0:
        return 1.0
    return float(num * products - first * second) / math.sqrt(spread)


@kernel
def correlation(light: I64) -> float:
    """Return the lag-1 autocorrelation of `light`, the mean of rows and columns."""
    return 0.5 * (_correlation(light, 0, 1) + _correlation(light, 1, 0))


@kernel
def fill_linear(table: F64) -> None:
    """Fill `table`, float64 [256], with the linear light of 8-bit sRGB levels (IEC 61966-2-1)."""
    for level in range(256):
        value = level / 255.0
        if value <= 0.04045:
            table[level] = value / 12.92
        else:
            table[level] = power((value + 0.055) / 1.055, 2.4)


@kernel
def fill_cube_roots(table: F64) -> None:
    """Fill `table`, float64 [CUBE_ROOTS], with CIE Lab's f of 0 … 1."""
    for place in range(CUBE_ROOTS):
        t = place / (CUBE_ROOTS - 1.0)
        if t > (6.0 / 29.0) ** 3:
            table[place] = power(t, 1.0 / 3.0)
        else:
            table[place] = t * (29.0 / 6.0) ** 2 / 3.0 + 4.0 / 29.0


@kernel
def to_lab(cells: U8, linear: F64, cube_roots: F64, out: F64) -> None:
    """Write CIE Lab (D65) of sRGB cells.

    Args:
        cells: uint8 [CELLS, CELLS, 3].
        linear: float64 [256], from `fill_linear`.
        cube_roots: float64 [CUBE_ROOTS], from `fill_cube_roots`.
        out: float64 [CELLS, CELLS, 3], written: L* 0 … 100, a* and b* about −110 … 110.
    """
    top = CUBE_ROOTS - 1.0
    for row in range(CELLS):
        for column in range(CELLS):
            red = linear[cells[row, column, 0]]
            green = linear[cells[row, column, 1]]
            blue = linear[cells[row, column, 2]]
            x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
            y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
            z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
            f_x = cube_roots[int(min(x, 1.0) * top + 0.5)]
            f_y = cube_roots[int(min(y, 1.0) * top + 0.5)]
            f_z = cube_roots[int(min(z, 1.0) * top + 0.5)]
            out[row, column, 0] = 116.0 * f_y - 16.0
            out[row, column, 1] = 500.0 * (f_x - f_y)
            out[row, column, 2] = 200.0 * (f_y - f_z)


@kernel
def describe(light: I64, lab: F64, out: F64) -> None:
    """Write what two pictures are compared by.

    Args:
        light: int64 [CELLS, CELLS], from `luminance`.
        lab: float64 [CELLS, CELLS, 3], from `to_lab`.
        out: float64 [128], written. 64 means of 8×8 blocks, over 8 · 255 levels, so that the distance of
            two is the root mean square of their difference; then the share of cells in each of
            4×4×4 boxes of Lab, with bounds L* 25, 50, 75 and a*, b* −20, 0, 20.
    """
    out[:] = 0.0
    blocks = CELLS // _BLOCK
    for row in range(CELLS):
        for column in range(CELLS):
            out[(row // _BLOCK) * blocks + column // _BLOCK] += light[row, column]
            box = 16 * min(3, max(0, int(lab[row, column, 0] / 25.0)))
            box += 4 * min(3, max(0, int((lab[row, column, 1] + 40.0) / 20.0)))
            box += min(3, max(0, int((lab[row, column, 2] + 40.0) / 20.0)))
            out[64 + box] += 1.0
    for place in range(64):
        out[place] /= 8.0 * 255.0 * LIGHT_STEP * _BLOCK * _BLOCK
        out[64 + place] /= float(CELLS * CELLS)


@kernel
def least_distance(kept: F64, num_kept: int, one: F64) -> float:
    """Return the least Euclidean distance of `one`, float64 [128], to the first rows of `kept`."""
    least = np.inf
    for row in range(num_kept):
        total = 0.0
        for place in range(one.size):
            step = kept[row, place] - one[place]
            total += step * step
        least = min(least, total)
    return math.sqrt(least)


@kernel
def mark_edges(light: I64, out: U8) -> int:
    """Set `out`, uint8 [CELLS, CELLS], to 1 where luminance changes by 24 levels or more; count."""
    count = 0
    for row in range(CELLS):
        for column in range(CELLS):
            down = abs(light[min(row + 1, CELLS - 1), column] - light[row, column])
            across = abs(light[row, min(column + 1, CELLS - 1)] - light[row, column])
            edge = max(down, across) >= _EDGE
            out[row, column] = edge
            count += int(edge)
    return count


@kernel
def black_share(light: I64) -> float:
    """Return the share of cells darker than 8 levels."""
    count = 0
    for row in range(CELLS):
        for column in range(CELLS):
            count += int(light[row, column] < _BLACK)
    return count / float(CELLS * CELLS)


@kernel
def count_boxes(marks: U8, side: int) -> int:
    """Return how many of the boxes of side × side cells hold a mark; `side` divides CELLS."""
    count = 0
    for top in range(0, CELLS, side):
        for left in range(0, CELLS, side):
            found = False
            for row in range(top, top + side):
                for column in range(left, left + side):
                    found |= marks[row, column] > 0
            count += int(found)
    return count
