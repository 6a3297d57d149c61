"""Rotation, shear and translation: affine resampling, bilinear, black outside, bit-identical to Pillow's.

Output pixel (row, column) reads the input at `x = a·(column + ½) + b·(row + ½) + c`, likewise y; a position
outside the picture is black; at the border the missing neighbour repeats the edge. The weighted sums are in
float64 and truncated to 8 bits.

A row is worked in passes, each over plain arrays so that it vectorises: where every pixel reads, the four
neighbours there, and their weighted sums channel by channel.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel
from pipeline.render.scratch import Scratch

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]

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
    upper0, upper1 = scratch.taps[0], scratch.taps[1]
    lower0, lower1 = scratch.taps[2], scratch.taps[3]
    red, green, blue = scratch.blended[0], scratch.blended[1], scratch.blended[2]
    flat = out.reshape(-1)
    stride = width + 2
    _pack(image, packed)
    along_rows, along_columns = (
        d == 0.0 and e == 1.0 and f == 0.0,
        a == 1.0 and b == 0.0 and c == 0.0,
    )
    for row in range(height):
        x0, y0 = b * (row + 0.5), e * (row + 0.5)
        _locate(a, x0, c, d, y0, f, height, places, across, down)
        _gather(packed, 0, places, upper0)
        if along_rows:  # a shear moves along one axis; the weights of the other are 0
            _gather(packed, 1, places, upper1)
            _blend_two(upper0, upper1, across, red, green, blue)
        elif along_columns:
            _gather(packed, stride, places, lower0)
            _blend_two(upper0, lower0, down, red, green, blue)
        else:
            _gather(packed, 1, places, upper1)
            _gather(packed, stride, places, lower0)
            _gather(packed, stride + 1, places, lower1)
            _blend(upper0, upper1, lower0, lower1, np.uint32(0), across, down, red)
            _blend(upper0, upper1, lower0, lower1, np.uint32(8), across, down, green)
            _blend(upper0, upper1, lower0, lower1, np.uint32(16), across, down, blue)
        start = 3 * width * row
        for column in range(width):
            flat[np.uint64(start + 3 * column)] = red[column]
            flat[np.uint64(start + 3 * column + 1)] = green[column]
            flat[np.uint64(start + 3 * column + 2)] = blue[column]


@kernel
def _pack(image: U8, packed: U32) -> None:
    """Put a pixel in a word, and repeat the edge once on every side."""
    height, width = image.shape[0], image.shape[1]
    stride = width + 2
    flat = image.reshape(-1)
    for row in range(height):
        source, target = 3 * width * row, stride * (row + 1) + 1
        for column in range(width):
            red = np.uint32(flat[np.uint64(source + 3 * column)])
            green = np.uint32(flat[np.uint64(source + 3 * column + 1)])
            blue = np.uint32(flat[np.uint64(source + 3 * column + 2)])
            pixel = red | (green << np.uint32(8)) | (blue << np.uint32(16))
            packed[np.uint64(target + column)] = pixel
        packed[target - 1], packed[target + width] = packed[target], packed[target + width - 1]
    for i in range(stride):
        packed[i] = packed[stride + i]
        packed[stride * (height + 1) + i] = packed[stride * height + i]


@kernel
def _locate(
    a: float,
    x0: float,
    c: float,
    d: float,
    y0: float,
    f: float,
    height: int,
    places: I32,
    across: F64,
    down: F64,
) -> None:
    """Say where each pixel of a row reads; outside of the picture that is the black rows."""
    width = places.size
    limit_x, limit_y, stride = float(width), float(height), float(width + 2)
    black = stride * (limit_y + 2.0)
    for column in range(width):
        x = a * (column + 0.5) + x0 + c
        y = d * (column + 0.5) + y0 + f
        inside = (x >= 0.0) & (x < limit_x) & (y >= 0.0) & (y < limit_y)
        x -= 0.5
        y -= 0.5
        left, top = np.floor(x), np.floor(y)
        across[column], down[column] = x - left, y - top
        place = (top + 1.0) * stride + (left + 1.0)
        places[column] = np.int32(place if inside else black)


@kernel
def _gather(packed: U32, offset: int, places: I32, tap: U32) -> None:
    for column in range(places.size):
        tap[column] = packed[np.uint64(places[column] + offset)]


@kernel
def _blend(
    upper0: U32,
    upper1: U32,
    lower0: U32,
    lower1: U32,
    shift: np.uint32,
    across: F64,
    down: F64,
    out: I32,
) -> None:
    """Interpolate one channel of a row."""
    mask = np.uint32(255)
    for column in range(out.size):
        value0 = np.int32((upper0[column] >> shift) & mask)
        value1 = np.int32((upper1[column] >> shift) & mask)
        upper = float(value0) + float(np.int32(value1 - value0)) * across[column]
        value0 = np.int32((lower0[column] >> shift) & mask)
        value1 = np.int32((lower1[column] >> shift) & mask)
        lower = float(value0) + float(np.int32(value1 - value0)) * across[column]
        out[column] = np.int32(upper + (lower - upper) * down[column])


@kernel
def _blend_two(first: U32, second: U32, weights: F64, red: I32, green: I32, blue: I32) -> None:
    """Interpolate a row between two neighbours."""
    mask = np.uint32(255)
    for column in range(red.size):
        weight = weights[column]
        pixel0, pixel1 = first[column], second[column]
        value0, value1 = np.int32(pixel0 & mask), np.int32(pixel1 & mask)
        red[column] = np.int32(float(value0) + float(np.int32(value1 - value0)) * weight)
        value0 = np.int32((pixel0 >> np.uint32(8)) & mask)
        value1 = np.int32((pixel1 >> np.uint32(8)) & mask)
        green[column] = np.int32(float(value0) + float(np.int32(value1 - value0)) * weight)
        value0 = np.int32((pixel0 >> np.uint32(16)) & mask)
        value1 = np.int32((pixel1 >> np.uint32(16)) & mask)
        blue[column] = np.int32(float(value0) + float(np.int32(value1 - value0)) * weight)


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
