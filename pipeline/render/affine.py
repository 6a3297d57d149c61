"""Rotation, shear and translation: affine resampling, bilinear, black outside, bit-identical to Pillow's.

Output pixel (row, column) reads the input at `x = a·(column + ½) + b·(row + ½) + c`, likewise y; a position
outside the picture is black; at the border the missing neighbour repeats the edge. The weighted sums are in
float64 and truncated to 8 bits.

A row is worked in passes, each over plain arrays so that it vectorises: where every pixel reads, the
neighbours there, and their weighted sums. The passes are compiled into their caller, for arrays as arguments
cost more than a pass over 32 pixels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import inlined, kernel
from pipeline.render.memory import load_pair, store_pair
from pipeline.render.scratch import Scratch

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]

_RED, _GREEN, _BLUE = np.uint32(0), np.uint32(8), np.uint32(16)
"""Where the channels lie in a pixel's word, in bits."""
_CHANNEL = np.uint32(255)

MAX_DEGREES = 30
"""Rotation at level 10, the largest."""


def _rotation_table() -> npt.NDArray[np.float64]:
    """Return (cos, sin) for −30..30 whole degrees, rounded to 15 digits as Pillow rounds them."""
    table = np.empty((2 * MAX_DEGREES + 1, 2))
    for row, degrees in enumerate(range(-MAX_DEGREES, MAX_DEGREES + 1)):
        radians = -math.radians(degrees % 360.0)
        table[row] = round(math.cos(radians), 15), round(math.sin(radians), 15)
    return table


_ROTATIONS = _rotation_table()


@kernel
def rotate(image: U8, degrees: int, scratch: Scratch, out: U8) -> None:
    """Rotate `image` [H, W, 3] about its centre by −30..30 whole degrees, counter-clockwise when positive."""
    cosine, sine = _ROTATIONS[degrees + MAX_DEGREES]
    centre_x, centre_y = image.shape[1] / 2.0, image.shape[0] / 2.0
    # `x·a + y·b + c` with c = 0 first, as Pillow evaluates it
    shift_x = cosine * -centre_x + sine * -centre_y + 0.0 + centre_x
    shift_y = -sine * -centre_x + cosine * -centre_y + 0.0 + centre_y
    resample(image, cosine, sine, shift_x, -sine, cosine, shift_y, scratch, out)


@kernel
def resample(
    image: U8,
    a: float,
    b: float,
    c: float,
    d: float,
    e: float,
    f: float,
    scratch: Scratch,
    out: U8,
) -> None:
    """Resample `image` [H, W, 3] to `out` of the same shape through the affine map above."""
    height, width = image.shape[0], image.shape[1]
    packed, places, across, down = scratch.packed, scratch.places, scratch.across, scratch.down
    upper, lower, words = scratch.upper, scratch.lower, scratch.words
    limit_x, limit_y, stride = float(width), float(height), width + 2
    black = stride * (height + 2)
    along_rows = d == 0.0 and e == 1.0 and f == 0.0
    along_columns = a == 1.0 and b == 0.0 and c == 0.0
    _pack(image, packed)
    for row in range(height):
        x0, y0, start = b * (row + 0.5), e * (row + 0.5), width * row
        if along_rows:  # a shear moves along one axis; the weights of the other are 0
            _locate_along(a, x0, c, limit_x, 1, 0, stride * (row + 1) + 1, black, places, across)
            _gather_across(packed, places, upper)
            _blend_two(upper, across, start, words)
        elif along_columns:
            _locate_along(d, y0, f, limit_y, stride, 1, stride + 1, black, places, down)
            _gather_down(packed, stride, places, upper)
            _blend_two(upper, down, start, words)
        else:
            _locate(a, x0, c, d, y0, f, limit_x, limit_y, places, across, down)
            _gather(packed, stride, places, upper, lower)
            _blend_four(upper, lower, across, down, start, words)
    _unpack(words, out)


@kernel
def _pack(image: U8, packed: U32) -> None:
    """Put a pixel in a word of `packed` [(H + 4)·(W + 2)], and repeat the edge once on every side."""
    height, width = image.shape[0], image.shape[1]
    stride = width + 2
    flat = image.reshape(-1)
    for row in range(height):
        first = stride * (row + 1) + 1
        values, line = flat[3 * width * row : 3 * width * (row + 1)], packed[first : first + width]
        for i in range(width):
            red, green, blue = values[3 * i], values[3 * i + 1], values[3 * i + 2]
            line[i] = np.uint32(red) | (np.uint32(green) << _GREEN) | (np.uint32(blue) << _BLUE)
        packed[first - 1], packed[first + width] = line[0], line[width - 1]
    for i in range(stride):
        packed[i] = packed[np.uint64(stride + i)]
        packed[np.uint64(stride * (height + 1) + i)] = packed[np.uint64(stride * height + i)]


@kernel
def _unpack(words: U32, out: U8) -> None:
    flat = out.reshape(-1)
    for i in range(words.size):
        word = words[i]
        flat[3 * i] = np.uint8(word)
        flat[3 * i + 1] = np.uint8(word >> _GREEN)
        flat[3 * i + 2] = np.uint8(word >> _BLUE)


@inlined
def _locate(
    a: float,
    x0: float,
    c: float,
    d: float,
    y0: float,
    f: float,
    limit_x: float,
    limit_y: float,
    places: I32,
    across: F64,
    down: F64,
) -> None:
    """Say where each pixel of a row reads; outside of the picture that is the black rows."""
    stride = limit_x + 2.0
    black = stride * (limit_y + 2.0)
    for column in range(places.size):
        x = a * (column + 0.5) + x0 + c
        y = d * (column + 0.5) + y0 + f
        inside = (x >= 0.0) & (x < limit_x) & (y >= 0.0) & (y < limit_y)
        x -= 0.5
        y -= 0.5
        left, top = np.floor(x), np.floor(y)
        across[column], down[column] = x - left, y - top
        place = (top + 1.0) * stride + (left + 1.0)
        places[column] = np.int32(place if inside else black)


@inlined
def _locate_along(
    slope: float,
    start: float,
    shift: float,
    limit: float,
    step: int,
    column_step: int,
    origin: int,
    black: int,
    places: I32,
    weights: F64,
) -> None:
    """Do the same where a row reads along one axis: at origin + ⌊position⌋ · step + column · column_step."""
    for column in range(places.size):
        position = slope * (column + 0.5) + start + shift
        inside = (position >= 0.0) & (position < limit)
        position -= 0.5
        before = np.floor(position)
        weights[column] = position - before
        place = np.int32(before) * np.int32(step) + np.int32(column * column_step + origin)
        places[column] = place if inside else np.int32(black)


@inlined
def _gather(packed: U32, stride: int, places: I32, upper: U32, lower: U32) -> None:
    """Fetch each pixel's left and right neighbour of both rows, side by side."""
    for column in range(places.size):
        place = np.int64(places[column])
        store_pair(upper, 2 * column, load_pair(packed, place))
        store_pair(lower, 2 * column, load_pair(packed, place + stride))


@inlined
def _gather_across(packed: U32, places: I32, pairs: U32) -> None:
    for column in range(places.size):
        store_pair(pairs, 2 * column, load_pair(packed, np.int64(places[column])))


@inlined
def _gather_down(packed: U32, stride: int, places: I32, pairs: U32) -> None:
    for column in range(places.size):
        place = np.int64(places[column])
        pairs[2 * column] = packed[np.uint64(place)]
        pairs[2 * column + 1] = packed[np.uint64(place + stride)]


@inlined
def _between(first: np.uint32, second: np.uint32, channel: np.uint32, weight: float) -> float:
    value0 = np.int32((first >> channel) & _CHANNEL)
    value1 = np.int32((second >> channel) & _CHANNEL)
    return float(value0) + float(np.int32(value1 - value0)) * weight


@inlined
def _blend_two(pairs: U32, weights: F64, start: int, words: U32) -> None:
    """Interpolate a row between two neighbours."""
    for column in range(weights.size):
        first, second, weight = pairs[2 * column], pairs[2 * column + 1], weights[column]
        red = np.uint32(np.int32(_between(first, second, _RED, weight)))
        green = np.uint32(np.int32(_between(first, second, _GREEN, weight)))
        blue = np.uint32(np.int32(_between(first, second, _BLUE, weight)))
        words[np.uint64(start + column)] = red | (green << _GREEN) | (blue << _BLUE)


@inlined
def _blend_four(upper: U32, lower: U32, across: F64, down: F64, start: int, words: U32) -> None:
    """Interpolate a row between four neighbours."""
    for column in range(across.size):
        upper0, upper1 = upper[2 * column], upper[2 * column + 1]
        lower0, lower1 = lower[2 * column], lower[2 * column + 1]
        to_right, to_below = across[column], down[column]
        above = _between(upper0, upper1, _RED, to_right)
        below = _between(lower0, lower1, _RED, to_right)
        red = np.uint32(np.int32(above + (below - above) * to_below))
        above = _between(upper0, upper1, _GREEN, to_right)
        below = _between(lower0, lower1, _GREEN, to_right)
        green = np.uint32(np.int32(above + (below - above) * to_below))
        above = _between(upper0, upper1, _BLUE, to_right)
        below = _between(lower0, lower1, _BLUE, to_right)
        blue = np.uint32(np.int32(above + (below - above) * to_below))
        words[np.uint64(start + column)] = red | (green << _GREEN) | (blue << _BLUE)


@kernel
def translate(image: U8, right: int, down: int, out: U8) -> None:
    """Read `image` [H, W, 3] `right` columns and `down` rows further on; black where there is nothing."""
    height, width = image.shape[0], image.shape[1]
    flat, moved = image.reshape(-1), out.reshape(-1)
    first, last = max(0, -right), min(width, width - right)
    moved[:] = 0
    for row in range(max(0, -down), min(height, height - down)):
        source, target = 3 * (width * (row + down) + right), 3 * width * row
        for i in range(3 * first, 3 * last):
            moved[np.uint64(target + i)] = flat[np.uint64(source + i)]
