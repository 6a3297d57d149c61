"""Kernels of the flame fractals from points on cells to pixels: density, tones, colour.

Draves & Reckase, "The Fractal Flame Algorithm" (2003). Elementary functions come from
`pipeline.pictures.arithmetic`, so that every host computes the same bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos, power
from pipeline.pictures.flame_kernels import COUNT_SHIFT, SUPERSAMPLING
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

LEVELS = 256  # of density

_TURN = 2.0 * 3.141592653589793
_BINS = 4096  # of the logarithm of density, to find its percentile
_TINY = 1e-12  # keeps a mean over no points finite
_COLOUR_MASK = np.uint64(0xFFFFFFFF)


@kernel
def unpack(cells: U64, density: F64, colour: F64) -> None:
    """Split `cells`, uint64 [side + 2, side + 2] from `splat`, into points and sums of colours.

    Args:
        cells: the outermost ring is left out.
        density, colour: float64 [side, side], written; colours 0..1 times points.
    """
    for row in range(density.shape[0]):
        for column in range(density.shape[1]):
            cell = cells[row + 1, column + 1]
            density[row, column] = np.float64(np.int64(cell >> COUNT_SHIFT))
            colour[row, column] = np.float64(np.int64(cell & _COLOUR_MASK)) * (1.0 / 256.0)


@kernel
def smooth(source: F64, reach: int, out: F64) -> None:
    """Smooth `source`, float64 [side, side], by 1-2-1 in both directions, neighbours `reach` apart.

    Beyond the border the outermost values go on. `out` may not be `source`.
    """
    side = source.shape[0]
    sums = np.empty(side + 2 * reach)
    for row in range(side):
        above, below = max(row - reach, 0), min(row + reach, side - 1)
        for column in range(side):
            sums[column + reach] = (
                source[above, column] + 2.0 * source[row, column] + source[below, column]
            )
        for column in range(reach):
            sums[column] = sums[reach]
            sums[side + reach + column] = sums[side + reach - 1]
        for column in range(side):
            total = sums[column] + 2.0 * sums[column + reach] + sums[column + 2 * reach]
            out[row, column] = 0.0625 * total


@kernel
def _shares(fine: float, middle: float, coarse: float, enough: F64) -> tuple[float, float, float]:
    """Return how much each of three estimates of one density counts, the finest first.

    The coarse one may not exceed three times the middle one, or dense shapes would glow.
    """
    first = min(fine / enough[0], 1.0)
    second = (1.0 - first) * min(middle / enough[1], 1.0)
    third = 1.0 - first - second
    if coarse > 3.0 * middle:
        third *= 3.0 * middle / coarse
    return first, second, third


@kernel
def estimate(planes: F64, enough: F64, density: F64, colour: F64) -> None:
    """Where points are few, let smoother estimates take over from finer ones.

    Draves & Reckase's density estimation, with three widths instead of one for each count.

    Args:
        planes: float64 [2, 3, side, side], densities and sums of colours, smoothed ever more.
        enough: float64 [2, 2], for densities and for colours: the points a cell from which on the
            finest plane counts alone, and those from which on the middle one covers the rest.
        density: float64 [side, side], written.
        colour: float64 [side, side], written: mean colours, 0..1; 0 where there is no point.
    """
    for row in range(density.shape[0]):
        for column in range(density.shape[1]):
            a = planes[0, 0, row, column]
            b = planes[0, 1, row, column]
            c = planes[0, 2, row, column]
            first, second, third = _shares(a, b, c, enough[0])
            density[row, column] = first * a + second * b + third * c
            first, second, third = _shares(a, b, c, enough[1])
            points = first * a + second * b + third * c + _TINY
            total = first * planes[1, 0, row, column] + second * planes[1, 1, row, column]
            colour[row, column] = (total + third * planes[1, 2, row, column]) / points


@kernel
def fill_levels(density: F64, unit: float, logs: F64, levels: U8, counts: I64) -> None:
    """Turn densities into levels 255 · log(1 + n)/log(1 + P99.5), at most 255.

    Args:
        density: float64 [side, side], points a cell; n = unit · density.
        unit: about 4; the reciprocal of the density that counts as thin.
        logs: float64, logarithms of 1 + i from `ifs_kernels.fill_logarithms`, looked up in steps of
            n of 1/16.
        levels: uint8 [side, side], written.
        counts: int64 [LEVELS], written: cells of each level.
    """
    histogram = np.zeros(_BINS, np.int64)
    base, most = logs[15], logs.size - 16.0
    scale = _BINS / (logs[-1] - base + 1e-6)
    total = 0
    for row in range(density.shape[0]):
        for column in range(density.shape[1]):
            count = np.int64(min(16.0 * unit * density[row, column], most))
            if count > 0:
                histogram[int((logs[count + 15] - base) * scale)] += 1
                total += 1
    above, top = 0, _BINS - 1
    while top > 0 and above + histogram[top] <= 0.005 * total:
        above += histogram[top]
        top -= 1
    gain = LEVELS * scale / (top + 1.0)
    counts[:] = 0
    for row in range(density.shape[0]):
        for column in range(density.shape[1]):
            count = np.int64(min(16.0 * unit * density[row, column], most))
            level = min(int((logs[count + 15] - base) * gain), LEVELS - 1)
            levels[row, column] = level
            counts[level] += 1


@kernel
def fill_addresses(colour: F64, levels: U8, most: float, addresses: U8) -> None:
    """Turn mean colours into palette addresses, the middle 92 % of them stretched to 0..255.

    Args:
        colour: float64 [side, side], 0..1, from `estimate`.
        levels: uint8 [side, side]; cells of level 0 do not count.
        most: the stretch does not exceed this, or grain would show.
        addresses: uint8 [side, side], written.
    """
    histogram = np.zeros(256, np.int64)
    total = 0
    for row in range(levels.shape[0]):
        for column in range(levels.shape[1]):
            if levels[row, column] > 0:
                histogram[min(int(256.0 * colour[row, column]), 255)] += 1
                total += 1
    low, below = 0, histogram[0]
    while low < 255 and below < 0.04 * total:
        low += 1
        below += histogram[low]
    high, above = 255, histogram[255]
    while high > low and above < 0.04 * total:
        high -= 1
        above += histogram[high]
    scale = min(256.0 / (high + 1 - low), most)
    middle = 0.5 * (low + high + 1)
    for row in range(levels.shape[0]):
        for column in range(levels.shape[1]):
            address = int(128.0 + (256.0 * colour[row, column] - middle) * scale)
            addresses[row, column] = min(max(address, 0), 255)


@kernel
def fill_palette(waves: F64, pallor: float, palette: F64) -> None:
    """Fill `palette`, float64 [n, 3], with 0.5 + 0.5·cos(2π(frequency·i/256 + phase)).

    `waves`, float64 [3, 2], holds frequency and phase of each channel; the share `pallor` of a
    colour is replaced by the mean of its channels.
    """
    for i in range(palette.shape[0]):
        mean = 0.0
        for channel in range(3):
            turns = waves[channel, 0] * i / 256.0 + waves[channel, 1]
            palette[i, channel] = 0.5 + 0.5 * cos(_TURN * turns)
            mean += palette[i, channel] / 3.0
        for channel in range(3):
            palette[i, channel] += pallor * (mean - palette[i, channel])


@kernel
def fill_curve(counts: I64, gamma: float, equalised: float, curve: F64) -> None:
    """Fill `curve`, float64 [LEVELS], with the tone 0..1 of each density level.

    The level to the power 1/gamma, mixed with its rank among the cells hit, which takes the share
    `equalised`: log density alone leaves some pictures with one flat tone.
    """
    total = max(counts[1:].sum(), 1)
    below = 0.0
    curve[0] = 0.0
    for level in range(1, LEVELS):
        rank = (below + 0.5 * counts[level]) / total
        below += counts[level]
        plain = power(level / (LEVELS - 1.0), 1.0 / gamma)
        curve[level] = plain + equalised * (rank - plain)


@kernel
def shade(
    levels: U8, addresses: U8, curve: F64, inks: F64, palettes: F64, grid: F64, out: U8
) -> None:
    """Colour the densities over the ground and average each 2×2 block of cells into one pixel.

    Args:
        levels: uint8 [2·size, 2·size], from `fill_levels`.
        addresses: uint8 [2·size, 2·size], from `fill_addresses`.
        curve: float64 [LEVELS], from `fill_curve`.
        inks: float64 [5]: palette turns over the tone, brightness at tone 0, opacity gain, ground's
            brightness at plasma 0, and at plasma 1.
        palettes: float64 [2, ≥ 256, 3], 0..1: of the flame, of the ground.
        grid: float64 [P, P], plasma of 0..1, P ≥ size, enlarged or reduced to the picture.
        out: uint8 [size, size, 3], written.
    """
    size = out.shape[0]
    stretch = grid.shape[0] / size
    last = palettes.shape[1] - 1
    for row in range(size):
        for column in range(size):
            depth = grid[int(row * stretch), int(column * stretch)]
            value = inks[3] + (inks[4] - inks[3]) * depth
            index = min(int(depth * 256.0), 255)
            back_r = value * palettes[1, index, 0]
            back_g = value * palettes[1, index, 1]
            back_b = value * palettes[1, index, 2]
            r = g = b = 0.0
            for part in range(SUPERSAMPLING * SUPERSAMPLING):
                y = row * SUPERSAMPLING + part // SUPERSAMPLING
                x = column * SUPERSAMPLING + part % SUPERSAMPLING
                tone = curve[levels[y, x]]
                index = min(int(addresses[y, x] + 256.0 * inks[0] * tone), last)
                bright = inks[1] + (1.0 - inks[1]) * tone
                opacity = min(1.0, inks[2] * tone)
                r += back_r + opacity * (bright * palettes[0, index, 0] - back_r)
                g += back_g + opacity * (bright * palettes[0, index, 1] - back_g)
                b += back_b + opacity * (bright * palettes[0, index, 2] - back_b)
            share = 255.0 / (SUPERSAMPLING * SUPERSAMPLING)
            out[row, column, 0] = int(r * share + 0.5)
            out[row, column, 1] = int(g * share + 0.5)
            out[row, column, 2] = int(b * share + 0.5)
