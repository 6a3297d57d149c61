"""Pixel kernels that read the frames of an endless zoom from its strip.

A frame is linear between the cells around each pixel and between the two levels, of those that
`pipeline.pictures.zoom_words` puts into words, whose cells are about as large as it.

Positions are whole numbers of 2⁻¹⁶ cells and weights of 2⁻⁸. A row of a frame is worked in passes over plain
arrays, so that they vectorise: where each pixel reads, the words there, and their weighted sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import atan2, log, log2
from pipeline.pictures.zoom_words import STRIP_LEVELS, level_starts, pack
from pipeline.render.jit import inlined, kernel
from pipeline.render.memory import load_pair, store_pair

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

_TWO_PI = 6.283185307179586
_ONE = 65536.0  # a cell, in units of positions
_HALF = np.int32(1 << 15)
_WHOLE, _SHARE = np.int32(16), np.int32(8)  # bits below whole cells, and below weights
_BYTE, _UNIT = np.int32(255), np.int32(256)
_ROUND = np.int32(1 << 15)
_RED, _GREEN, _BLUE = np.uint32(0), np.uint32(8), np.uint32(16)
_CHANNEL = np.uint32(255)

# Rows of `line`, what is the same in every frame of a clip for a row of pixels.
_V, _U, _LEVEL, _FINE_START, _FINE_STRIDE, _COARSE_START, _COARSE_STRIDE = range(7)


@kernel
def fill_map(columns: int, places: F32) -> None:
    """Write where each pixel of a frame lies in logarithmic polar coordinates.

    Args:
        columns: U of the strip.
        places: float32 [size, size, 3], written: ln |s| of the pixel's place s in the frame, whose
            half-width is 1; arg s in columns; level of the strip whose cells are as large as it.
    """
    size = places.shape[0]
    for row in range(size):
        for column in range(size):
            x, y = 2 * column + 1 - size, 2 * row + 1 - size
            if x == 0 and y == 0:
                x = 1  # the very centre, for odd sizes: half a pixel off
            square = float(x * x + y * y)
            places[row, column, 0] = 0.5 * log(square / (float(size) * size))
            places[row, column, 1] = atan2(float(y), float(x)) * columns / _TWO_PI
            places[row, column, 2] = log2(columns / (np.sqrt(square) * 0.5 * _TWO_PI))


@kernel
def read_clip(
    cells: U8,
    twist: int,
    growth: float,
    roll: float,
    position: float,
    step: float,
    places: F32,
    out: U8,
) -> None:
    """Draw the frames at `position`, `position` + `step`, … from a strip.

    Args:
        cells: uint8 [V, U, 3], the strip; V and U are multiples of 16 and at most 2¹³ and 2¹⁴.
        twist, growth, roll: see `Strip`.
        position, step: in loops, any number.
        places: float32 [size, size, 3], from `fill_map`.
        out: uint8 [T, size, size, 3], written.
    """
    rows, columns = cells.shape[0], cells.shape[1]
    size = out.shape[1]
    starts = level_starts(rows, columns)
    words = np.empty(starts[STRIP_LEVELS], np.uint32)
    pack(cells, twist, starts, words)
    line, finer = np.empty((7, size), np.int32), np.empty(size, np.int32)
    where, weights = np.empty((2, size), np.int32), np.empty((4, size), np.int32)
    upper, lower = np.empty((2, 2 * size), np.uint32), np.empty((2, 2 * size), np.uint32)
    blended = np.empty(size, np.uint32)
    for row in range(size):
        _start_line(places[row], (rows, columns, twist), growth, roll, starts, line, finer)
        for number in range(out.shape[0]):
            loops = position + number * step
            loops -= np.floor(loops)
            down = np.int32(loops * rows * _ONE)
            across = np.int32(_around(-twist * loops, columns) * _ONE)
            _locate(line, (rows, columns, twist), down, across, where, weights)
            _gather(words, line, where, upper, lower)
            _blend(upper, lower, weights, finer, blended)
            _unpack(blended, out[number, row].reshape(-1))


@inlined
def _around(u: float, columns: int) -> float:
    """Return a column coordinate brought into [0, U)."""
    turned: float = u - columns * np.floor(u / columns)
    return turned


@kernel
def _start_line(
    places: F32,
    shape: tuple[int, int, int],
    growth: float,
    roll: float,
    starts: I64,
    line: I32,
    finer: I32,
) -> None:
    """Write for a row of pixels what does not depend on the frame.

    At position p a pixel with ln |s| = −g·τ, at column coordinate u₀, reads the row coordinate
    V·(τ + p), of which W = ⌊τ + p⌋ loops are taken off, and the column coordinate
    u₀ − f·τ − twist·p + twist·W with f = twist − roll·U/2π.

    Args:
        places: float32 [size, 3], a row of `fill_map`.
        shape: rows, columns and twist of the strip.
        growth, roll: see `Strip`.
        starts: int64 [levels], of each level.
        line: int32 [7, size], written: both coordinates at p = 0; the finer level, and start and stride
            of that one and of the next.
        finer: int32 [size], written: weight of the next level.
    """
    rows, columns, twist = shape
    shear = twist - roll * columns / _TWO_PI
    for column in range(places.shape[0]):
        loops = -places[column, 0] / growth
        whole = np.floor(loops)
        line[_V, column] = int((loops - whole) * rows * _ONE)
        u = places[column, 1] - shear * loops + twist * whole
        line[_U, column] = int(_around(u, columns) * _ONE)
        fine = min(max(float(places[column, 2]), 0.0), STRIP_LEVELS - 1.0)
        level = min(int(fine), STRIP_LEVELS - 2)
        line[_LEVEL, column] = level
        line[_FINE_START, column] = starts[level]
        line[_FINE_STRIDE, column] = (columns >> level) + 2
        line[_COARSE_START, column] = starts[level + 1]
        line[_COARSE_STRIDE, column] = (columns >> (level + 1)) + 2
        finer[column] = int((fine - level) * 256.0 + 0.5)


@inlined
def _locate(
    line: I32,
    shape: tuple[int, int, int],
    down: np.int32,
    across: np.int32,
    where: I32,
    weights: I32,
) -> None:
    """Say which word each pixel reads first, on both levels, and how far beyond it: right and down."""
    rows, columns, twist = shape
    last_v, last_u = np.int32(rows << 16), np.int32(columns << 16)
    turn = np.int32((twist % columns) << 16)
    for i in range(line.shape[1]):
        v, u = line[_V, i] + down, line[_U, i] + across
        beyond = v >= last_v
        v -= last_v if beyond else np.int32(0)
        u += turn if beyond else np.int32(0)
        u -= last_u if u >= last_u else np.int32(0)
        u -= last_u if u >= last_u else np.int32(0)
        level = line[_LEVEL, i]
        # centres of cells lie half a cell in, and the first word is one of the surroundings
        y, x = (v >> level) + _HALF, (u >> level) + _HALF
        where[0, i] = line[_FINE_START, i] + (y >> _WHOLE) * line[_FINE_STRIDE, i] + (x >> _WHOLE)
        weights[0, i], weights[1, i] = (x >> _SHARE) & _BYTE, (y >> _SHARE) & _BYTE
        level += np.int32(1)
        y, x = (v >> level) + _HALF, (u >> level) + _HALF
        where[1, i] = (
            line[_COARSE_START, i] + (y >> _WHOLE) * line[_COARSE_STRIDE, i] + (x >> _WHOLE)
        )
        weights[2, i], weights[3, i] = (x >> _SHARE) & _BYTE, (y >> _SHARE) & _BYTE


@inlined
def _gather(words: U32, line: I32, where: I32, upper: U32, lower: U32) -> None:
    """Fetch the four words around each pixel, on both levels."""
    for i in range(line.shape[1]):
        place = np.int64(where[0, i])
        store_pair(upper[0], 2 * i, load_pair(words, place))
        store_pair(lower[0], 2 * i, load_pair(words, place + np.int64(line[_FINE_STRIDE, i])))
        place = np.int64(where[1, i])
        store_pair(upper[1], 2 * i, load_pair(words, place))
        store_pair(lower[1], 2 * i, load_pair(words, place + np.int64(line[_COARSE_STRIDE, i])))


@inlined
def _four(
    a: np.uint32,
    b: np.uint32,
    c: np.uint32,
    d: np.uint32,
    channel: np.uint32,
    right: np.int32,
    down: np.int32,
) -> np.int32:
    """Return a channel between four words, a b above c d, in 2⁻⁸ levels."""
    first, second = np.int32((a >> channel) & _CHANNEL), np.int32((b >> channel) & _CHANNEL)
    above = first * _UNIT + np.int32(second - first) * right
    first, second = np.int32((c >> channel) & _CHANNEL), np.int32((d >> channel) & _CHANNEL)
    below = first * _UNIT + np.int32(second - first) * right
    return np.int32((above * _UNIT + np.int32(below - above) * down) >> _SHARE)


@inlined
def _mixed(fine: np.int32, coarse: np.int32, weight: np.int32) -> np.uint32:
    """Return the level between two in 2⁻⁸ levels, rounded."""
    return np.uint32((fine * _UNIT + np.int32(coarse - fine) * weight + _ROUND) >> _WHOLE)


@inlined
def _blend(upper: U32, lower: U32, weights: I32, finer: I32, blended: U32) -> None:
    """Interpolate a row between the words that were fetched."""
    for i in range(blended.size):
        a, b, c, d = upper[0, 2 * i], upper[0, 2 * i + 1], lower[0, 2 * i], lower[0, 2 * i + 1]
        e, f, g, h = upper[1, 2 * i], upper[1, 2 * i + 1], lower[1, 2 * i], lower[1, 2 * i + 1]
        x0, y0, x1, y1 = weights[0, i], weights[1, i], weights[2, i], weights[3, i]
        weight = finer[i]
        fine, coarse = _four(a, b, c, d, _RED, x0, y0), _four(e, f, g, h, _RED, x1, y1)
        red = _mixed(fine, coarse, weight)
        fine, coarse = _four(a, b, c, d, _GREEN, x0, y0), _four(e, f, g, h, _GREEN, x1, y1)
        green = _mixed(fine, coarse, weight)
        fine, coarse = _four(a, b, c, d, _BLUE, x0, y0), _four(e, f, g, h, _BLUE, x1, y1)
        blue = _mixed(fine, coarse, weight)
        blended[i] = red | (green << _GREEN) | (blue << _BLUE)


@inlined
def _unpack(words: U32, flat: U8) -> None:
    for i in range(words.size):
        word = words[i]
        flat[3 * i] = np.uint8(word)
        flat[3 * i + 1] = np.uint8(word >> _GREEN)
        flat[3 * i + 2] = np.uint8(word >> _BLUE)
