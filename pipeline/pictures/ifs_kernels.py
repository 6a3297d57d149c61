"""Pixel kernels of the affine IFS fractals: orbit, density, plasma, colour.

Only + − × ÷, comparisons and integer arithmetic: libm and NumPy's vectorised logarithms and sines
differ in the last bit between processors, these do not. The state of SplitMix64
(`pipeline.pictures.splitmix`) is passed as uint64 [1] and advanced in place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.splitmix import next_signed, next_word
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

SUPERSAMPLING = 2  # cells per pixel and axis
LOG_ENTRIES = 1 << 16  # counts above share the last logarithm

PICK_SLOTS = 1024
PICKS_PER_WORD = 6  # of 10 bits each
_PICK_BITS = np.uint64(10)
_PICK_MASK = np.uint64(PICK_SLOTS - 1)

# A cell: number of points in the high half, sum of their 8-bit colours in the low half. With a
# million points in one cell the sum overflows: that cell's hue is then wrong, nothing else.
_COUNT_SHIFT = np.uint64(32)
_COLOUR_MASK = np.uint64(0xFFFFFFFF)


@kernel
def fill_logarithms(table: F64) -> None:
    """Fill `table`, float64 [n], with log2(1 + i).

    1 + i = 2^e · m with m in [1, 2), and ln m = 2 (s + s³/3 + s⁵/5 + …) with s = (m − 1)/(m + 1),
    below 1/3; twelve terms leave an error below 1e-12.
    """
    for i in range(table.size):
        mantissa, exponent = 1.0 + i, 0.0
        while mantissa >= 2.0:
            mantissa *= 0.5
            exponent += 1.0
        s = (mantissa - 1.0) / (mantissa + 1.0)
        total = 0.0
        for k in range(23, 0, -2):
            total = total * s * s + 1.0 / k
        table[i] = exponent + 2.0 * total * s * 1.4426950408889634  # 1 / ln 2


@kernel
def trace_box(maps: F64, pick: U8, state: U64, num_points: int, box: F64) -> None:
    """Follow the orbit and write its bounding box and last point.

    Args:
        maps: float64 [N, 6], rows (a, b, c, d, e, f): x ← a·x + b·y + e, y ← c·x + d·y + f.
        pick: uint8 [PICK_SLOTS], a map's number as often as it is probable.
        state: uint64 [1].
        num_points: points after the 64 that let the orbit reach the attractor.
        box: float64 [6], gets min x, min y, max x, max y, x, y.
    """
    x = y = 0.0
    for step in range(num_points + 64):
        k = pick[next_word(state) & _PICK_MASK]
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 4],
            maps[k, 2] * x + maps[k, 3] * y + maps[k, 5],
        )
        if step <= 64:
            box[0] = box[2] = x
            box[1] = box[3] = y
        box[0], box[2] = min(box[0], x), max(box[2], x)
        box[1], box[3] = min(box[1], y), max(box[3], y)
    box[4], box[5] = x, y


@kernel
def splat(
    maps: F64, pick: U8, colours: U64, start: F64, state: U64, num_words: int, cells: U64
) -> None:
    """Follow the orbit for 6 · `num_words` points and count them in `cells`.

    Args:
        maps: float64 [N, 6], as in `trace_box`, in units of cells: the view is [1, side − 1).
        pick: uint8 [PICK_SLOTS].
        colours: uint64 [N], 0..65535. A coordinate c ← (c + colour of the map)/2 rides along the
            orbit, as in flame fractals, so that parts made by different maps differ.
        start: float64 [2], a point of the attractor.
        state: uint64 [1].
        num_words: random words to spend.
        cells: uint64 [side, side], added to: points · 2³² + sum of their colours (0..255 each).
            The outermost ring collects what lies outside the view, so the loop needs no branch.
    """
    side = cells.shape[0]
    flat = cells.ravel()  # contiguous: a view
    last = side - 1.0
    x, y, colour = start[0], start[1], np.uint64(1 << 15)
    for _ in range(num_words):
        word = next_word(state)
        for _ in range(PICKS_PER_WORD):
            k = pick[word & _PICK_MASK]
            word >>= _PICK_BITS
            x, y = (
                maps[k, 0] * x + maps[k, 1] * y + maps[k, 4],
                maps[k, 2] * x + maps[k, 3] * y + maps[k, 5],
            )
            colour = (colour + colours[k]) >> np.uint64(1)
            column = x if x > 0.0 else 0.0
            column = column if column < last else last
            row = y if y > 0.0 else 0.0
            row = row if row < last else last
            cell = np.uint64(np.int64(row) * side + np.int64(column))
            flat[cell] += (np.uint64(1) << _COUNT_SHIFT) + (colour >> np.uint64(8))


@kernel
def measure(cells: U64) -> tuple[int, int]:
    """Return (cells hit, points) of `cells`, uint64 [side, side], without its ring."""
    hit = points = 0
    for row in range(1, cells.shape[0] - 1):
        for column in range(1, cells.shape[1] - 1):
            count = np.int64(cells[row, column] >> _COUNT_SHIFT)
            hit += int(count > 0)
            points += int(count)
    return hit, points


@kernel
def soften(cells: U64, out: U64) -> int:
    """Smooth `cells` by 1-2-1 in both directions and return the greatest count, in quarter points.

    Args:
        cells: uint64 [side + 2, side + 2], from `splat`; its ring is set to zero.
        out: uint64 [side, side], written: counts and colours of the inner cells, times 16.

    Smoothing over half a pixel takes the grain out of sparsely hit parts.
    """
    cells[0] = cells[-1] = 0
    cells[:, 0] = cells[:, -1] = 0
    side = out.shape[0]
    column_sums = np.empty(side + 2, np.uint64)
    most = np.uint64(0)
    twice = np.uint64(1)
    for row in range(side):
        for column in range(side + 2):
            column_sums[column] = (
                cells[row, column] + (cells[row + 1, column] << twice) + cells[row + 2, column]
            )
        for column in range(side):
            total = (
                column_sums[column] + (column_sums[column + 1] << twice) + column_sums[column + 2]
            )
            out[row, column] = total
            most = max(most, total)
    return int(np.int64(most >> _COUNT_SHIFT) >> 2)


@kernel
def fill_plasma(grid: F64, ratio: float, state: U64) -> None:
    """Fill `grid`, float64 [P, P] with P a power of two, with a plasma stretched to 0..1.

    Diamond-square with wrap-around; the displacement shrinks by `ratio` from one level to the next.
    """
    side = grid.shape[0]
    mask = side - 1
    grid[0, 0] = 0.0
    amplitude = 1.0
    step = side
    while step > 1:
        half = step // 2
        for row in range(0, side, step):
            for column in range(0, side, step):
                below, right = (row + step) & mask, (column + step) & mask
                total = (
                    grid[row, column] + grid[below, column] + grid[row, right] + grid[below, right]
                )
                grid[row + half, column + half] = 0.25 * total + amplitude * next_signed(state)
        for row in range(0, side, half):
            for column in range(half - row % step, side, step):
                total = grid[(row - half) & mask, column] + grid[(row + half) & mask, column]
                total += grid[row, (column - half) & mask] + grid[row, (column + half) & mask]
                grid[row, column] = 0.25 * total + amplitude * next_signed(state)
        amplitude *= ratio
        step = half
    low = high = grid[0, 0]
    for value in grid.ravel():
        low, high = min(low, value), max(high, value)
    scale = 1.0 / (high - low) if high > low else 0.0
    for row in range(side):
        for column in range(side):
            grid[row, column] = (grid[row, column] - low) * scale


@kernel
def fill_levels(cells: U64, logs: F64, most: int, levels: U8, counts: I64) -> None:
    """Turn counts into density levels ⌊255 · log(1 + n)/log(1 + most)⌋.

    Args:
        cells: uint64 [side, side], from `soften`; n counts quarter points.
        logs: from `fill_logarithms`.
        most: the greatest n.
        levels: uint8 [side, side], written; 0 exactly where n = 0.
        counts: int64 [256], written: cells of each level.
    """
    counts[:] = 0
    top = logs[min(max(most, 1), LOG_ENTRIES - 1)]
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            count = np.int64(cells[row, column] >> _COUNT_SHIFT) >> 2
            level = int(255.0 * logs[min(int(count), LOG_ENTRIES - 1)] / top)
            levels[row, column] = level
            counts[level] += 1


@kernel
def fill_tones(counts: I64, tones: F64) -> None:
    """Fill `tones`, float64 [256], with the rank 0..1 of each density level among the cells hit.

    Histogram equalisation: log density alone leaves many pictures with one flat tone.
    """
    total = max(counts[1:].sum(), 1)
    below = 0.0
    tones[0] = 0.0
    for level in range(1, 256):
        tones[level] = (below + 0.5 * counts[level]) / total
        below += counts[level]


@kernel
def hsv_to_rgb(hue: float, saturation: float, value: float, rgb: F64) -> None:
    """Write red, green, blue of 0..1 into `rgb`, float64 [3]; `hue` in turns, of any size."""
    sextant = (hue - np.floor(hue)) * 6.0
    for channel in range(3):
        place = sextant + (5.0 - 2.0 * channel)
        if place >= 6.0:
            place -= 6.0
        distance = min(max(min(place, 4.0 - place), 0.0), 1.0)
        rgb[channel] = value * (1.0 - saturation * distance)


@kernel
def shade(cells: U64, levels: U8, tones: F64, ink: F64, grid: F64, ground: F64, out: U8) -> None:
    """Colour the densities over the plasma and average each 2×2 block of cells into one pixel.

    Args:
        cells: uint64 [2·size, 2·size], from `soften`.
        levels: uint8 [2·size, 2·size], from `fill_levels`.
        tones: float64 [256], from `fill_tones`.
        ink: float64 [7]: hue, hue turns over the tone, hue turns over the orbit's colour,
            saturation, share of it lost at tone 1, value at tone 1, opacity per level / 255.
        grid: float64 [≥ size, ≥ size], plasma of 0..1.
        ground: float64 [6]: hue, saturation, value where the plasma is 0, then their growth to 1.
        out: uint8 [size, size, 3], written.
    """
    rgb, back, total = np.zeros(3), np.empty(3), np.empty(3)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            depth = grid[row, column]
            value = min(ground[2] + depth * ground[5], 1.0)
            hsv_to_rgb(ground[0] + depth * ground[3], ground[1] + depth * ground[4], value, back)
            total[:] = 0.0
            for part in range(SUPERSAMPLING * SUPERSAMPLING):
                y = row * SUPERSAMPLING + part // SUPERSAMPLING
                x = column * SUPERSAMPLING + part % SUPERSAMPLING
                level = levels[y, x]
                opacity = 0.0
                if level > 0:
                    cell = cells[y, x]
                    opacity = min(1.0, ink[6] * level / 255.0)
                    tone = tones[level]
                    address = float(cell & _COLOUR_MASK) / (255.0 * float(cell >> _COUNT_SHIFT))
                    hue = ink[0] + ink[1] * tone + ink[2] * address
                    value = ink[5] * (0.1 + 0.9 * tone)
                    hsv_to_rgb(hue, ink[3] * (1.0 - ink[4] * tone), value, rgb)
                for channel in range(3):
                    total[channel] += back[channel] + opacity * (rgb[channel] - back[channel])
            for channel in range(3):
                mean = total[channel] / (SUPERSAMPLING * SUPERSAMPLING)
                out[row, column, channel] = int(mean * 255.0 + 0.5)
