"""Warps of C-bar (Mintun, Kirillov & Xie, NeurIPS 2021): ripple, pinch and twirl, refraction by water.

Points are (row y, column x) in pixels, the first pixel at 0. A picture is read between its pixels by bilinear
interpolation, in which what lies outside counts as 0.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import (
    CIFAR_SIDE,
    F64,
    U8,
    U64,
    Constants,
    finish_bytes,
    mirrored,
)
from pipeline.corruptions.filters import gaussian_weights
from pipeline.pictures.arithmetic import cos, power, sin, sin_cos
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import inlined, kernel, read_only

_TWO_PI = 6.283185307179586
_HALF_PI = 1.5707963267948966
_PINCH_CELLS = {False: 3, True: 5}  # cells an axis: of small pictures, of large ones
_WAVES = 5


@kernel
def load(image: U8, picture: F64) -> None:
    """Copy uint8 [side, side, 3] to float64; written out, for numba compiles a copy of arrays for long."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for channel in range(3):
                picture[row, column, channel] = image[row, column, channel]


@kernel
def read_between(picture: F64, y: float, x: float, values: F64) -> None:
    """Write the bilinear mix of the four pixels around (y, x).

    Args:
        picture: float64 [side, side, 3].
        y: row.
        x: column.
        values: float64 [3], written.
    """
    top, left = int(np.floor(y)), int(np.floor(x))
    down, across = y - top, x - left
    values[0] = values[1] = values[2] = 0.0
    for i in range(2):
        row = top + i
        if row < 0 or row >= picture.shape[0]:
            continue
        weight_y = down if i == 1 else 1.0 - down
        for j in range(2):
            column = left + j
            if column < 0 or column >= picture.shape[1]:
                continue
            weight = weight_y * (across if j == 1 else 1.0 - across)
            for channel in range(3):
                values[channel] += weight * picture[row, column, channel]


@kernel
def _ripple(images: U8, amplitude: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    picture, values, sources = np.empty((side, side, 3)), np.empty(3), np.empty((2, side))
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        load(images[sample], picture)
        for axis in range(2):
            length = (0.1 + 0.2 * next_unit(state)) * side
            phase = _TWO_PI * next_unit(state)
            for k in range(side):
                sources[axis, k] = k + amplitude * sin(_TWO_PI * k / length + phase)
        for row in range(side):
            for column in range(side):
                read_between(picture, sources[0, row], sources[1, column], values)
                for channel in range(3):
                    out[sample, row, column, channel] = finish_bytes(values[channel])


@kernel
def twirl_cell(picture: F64, top: int, left: int, cell: int, pinch: float, angle: float) -> None:
    """Pinch and turn the disc inside a square cell, pixel after pixel, each from what the last ones left.

    Args:
        picture: float64 [side, side, 3], updated.
        top: row of the cell's first pixel.
        left: column of the cell's first pixel.
        cell: side of the cell, pixels.
        pinch: a pixel at d radii from the middle reads from sin(πd/2)^−pinch times as far.
        angle: by which the middle is turned, radians; it falls to 0 at the rim as (1 − d)².
    """
    radius = cell / 2.0
    middle_y, middle_x = top + radius, left + radius
    values = np.empty(3)
    for row in range(top, top + cell):
        for column in range(left, left + cell):
            y, x = row - middle_y, column - middle_x
            distance = np.sqrt(y * y + x * x)
            if distance > radius or distance <= 0.5:
                continue
            d = distance / radius
            stretch = power(sin(_HALF_PI * d), -pinch)
            sine, cosine = sin_cos(angle * (1.0 - d) * (1.0 - d))
            y, x = y * stretch, x * stretch
            source_y, source_x = cosine * y - sine * x, sine * y + cosine * x
            read_between(picture, middle_y + source_y, middle_x + source_x, values)
            for channel in range(3):
                picture[row, column, channel] = values[channel]


@kernel
def _pinch_and_twirl(images: U8, num: int, pinch: float, angle: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    picture = np.empty((side, side, 3))
    cell = side // num
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        load(images[sample], picture)
        for i in range(num):
            for j in range(num):
                turned = angle if next_unit(state) < 0.5 else -angle
                twirl_cell(picture, i * cell, j * cell, cell, pinch, turned)
        for row in range(side):
            for column in range(side):
                for channel in range(3):
                    value = picture[row, column, channel]
                    out[sample, row, column, channel] = finish_bytes(value)


@inlined
def _wrapped(place: float, length: float) -> float:
    """Return 2π times the fraction of place/length, less 250."""
    share = place / length
    return float(_TWO_PI * (share - np.floor(share)) - 250.0)


@kernel
def caustic_light(y: float, x: float, time: float, length: float) -> float:
    """Return how bright the floor of a pool is at (y, x), 0 to 1.

    Args:
        y: row, pixels.
        x: column, pixels.
        time: of the waves.
        length: after which the pattern repeats, pixels.
    """
    place_0, place_1 = _wrapped(y, length), _wrapped(x, length)
    at_0, at_1 = place_0, place_1
    total = 1.0
    for k in range(1, _WAVES + 1):
        t = time * (1.0 - 3.5 / k)
        at_0, at_1 = (
            place_0 + (cos(t - at_0) + sin(t + at_1)),
            place_1 + (sin(t - at_1) + cos(t + at_0)),
        )
        along_0 = 0.005 * place_0 / sin(at_0 + t)
        along_1 = 0.005 * place_1 / cos(at_1 + t)
        total += 1.0 / np.sqrt(along_0 * along_0 + along_1 * along_1)
    return min(power(abs(1.17 - power(total / _WAVES, 1.4)), 8.0), 1.0)


@kernel
def smooth(field: F64, weights: F64) -> None:
    """Convolve both axes of `field` with `weights`, edges mirrored with the edge repeated.

    Args:
        field: float64 [side, side], updated.
        weights: float64 [2r + 1].
    """
    side, radius = field.shape[0], weights.size // 2
    half_done = np.zeros((side, side))
    for row in range(side):
        for shift in range(-radius, radius + 1):
            source, weight = mirrored(row + shift, side), weights[radius + shift]
            for column in range(side):
                half_done[row, column] += weight * field[source, column]
    field[:] = 0.0
    for shift in range(-radius, radius + 1):
        weight = weights[radius + shift]
        for column in range(side):
            source = mirrored(column + shift, side)
            for row in range(side):
                field[row, column] += weight * half_done[row, source]


@inlined
def _at(field: F64, row: int, column: int) -> float:
    """Return a number of `field`, float64 [side, side], or 0 outside."""
    inside = 0 <= row < field.shape[0] and 0 <= column < field.shape[1]
    return field[row, column] if inside else 0.0


@inlined
def _thousandths(value: float) -> float:
    """Return `value` rounded to three decimals."""
    return float(np.rint(value * 1000.0) / 1000.0)


@kernel
def refract(picture: F64, light: F64, depth: float, shine: float, out: U8) -> None:
    """Show a picture through the water whose surface is `light`, with light and shade on its slopes.

    The rays are those of a surface with normal (∂y, ∂x, 1), the index of refraction being 4.

    Args:
        picture: float64 [side, side, 3], on the scale 0…255.
        light: float64 [side, side].
        depth: pixels by which a slope displaces.
        shine: by which a slope brightens, on the scale 0…1.
        out: uint8 [side, side, 3], written.
    """
    side = picture.shape[0]
    values = np.empty(3)
    for row in range(side):
        for column in range(side):
            slope_y = _at(light, row + 1, column) - _at(light, row - 1, column)
            slope_x = _at(light, row, column + 1) - _at(light, row, column - 1)
            cosine = 1.0 / np.sqrt(slope_y * slope_y + slope_x * slope_x + 1.0)
            y, x = float(row), float(column)
            if cosine < 0.999:
                bent = np.sqrt(1.0 - (1.0 - cosine * cosine) / 16.0) - 0.25 * cosine
                y += _thousandths(depth * slope_y * cosine * bent)
                x += _thousandths(depth * slope_x * cosine * bent)
            read_between(picture, y, x, values)
            added = 255.0 * shine * (slope_y - slope_x)
            for channel in range(3):
                out[row, column, channel] = finish_bytes(values[channel] + added)


@kernel
def _caustic_refraction(images: U8, s: float, seeds: U64, weights: F64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    picture, light = np.empty((side, side, 3)), np.empty((side, side))
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        load(images[sample], picture)
        time = 0.5 + 1.5 * next_unit(state)
        length = (0.75 + 0.5 * next_unit(state)) * side
        for row in range(side):
            for column in range(side):
                light[row, column] = caustic_light(float(row), float(column), time, length)
        smooth(light, weights)
        refract(picture, light, 0.05 * s * side, 0.2 * s, out[sample])


def ripple(images: U8, constants: Constants, seeds: U64) -> U8:
    """Displace rows and columns by sines of 0.25 s % of the side, of a tenth to three tenths of it long."""
    out = np.empty_like(images)
    _ripple(read_only(images), 0.0025 * constants[0] * images.shape[1], read_only(seeds), out)
    return out


def pinch_and_twirl(images: U8, constants: Constants, seeds: U64) -> U8:
    """Pinch and turn a grid of discs by ±9 s degrees: 3 × 3 of them up to 64 px, 5 × 5 above."""
    out = np.empty_like(images)
    num = _PINCH_CELLS[images.shape[1] > CIFAR_SIDE]
    s = constants[0]
    _pinch_and_twirl(
        read_only(images), num, 0.04 * s + 0.1, s / 10 * _HALF_PI, read_only(seeds), out
    )
    return out


def caustic_refraction(images: U8, constants: Constants, seeds: U64) -> U8:
    """Show a picture through rippled water: displaced by up to s/20 of the side, slopes lit and shaded."""
    out = np.empty_like(images)
    _caustic_refraction(
        read_only(images), constants[0], read_only(seeds), gaussian_weights(1.0), out
    )
    return out
