"""Patterns of C-bar (Mintun, Kirillov & Xie, NeurIPS 2021) that are laid over a picture, given by a formula.

Points are (row y, column x) in pixels, the first pixel at 0.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, I64, U8, U64, Constants, finish_bytes
from pipeline.pictures.arithmetic import atan2, cos, sin, sin_cos
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import inlined, kernel, read_only

_PI = 3.141592653589793
_TWO_PI = 6.283185307179586
_OCTAVES = 5
_LATTICE = 256  # places after which Perlin's gradients repeat


@inlined
def below(state: U64, num: int) -> int:
    """Advance `state` and return a whole number of 0…num − 1."""
    return int(next_unit(state) * num)


@inlined
def floor_remainder(value: float, period: float) -> float:
    """Return value − period · ⌊value / period⌋."""
    return float(value - period * np.floor(value / period))


@kernel
def _single_frequency(images: U8, amplitude: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        first = _PI * (2.0 * next_unit(state) - 1.0)
        second = abs(first) * (2.0 * next_unit(state) - 1.0)
        across, down = (first, second) if next_unit(state) < 0.5 else (second, first)
        phase = _TWO_PI * next_unit(state)
        for row in range(side):
            for column in range(side):
                wave = amplitude * sin(across * column + down * row + phase)
                for channel in range(3):
                    value = images[sample, row, column, channel] + wave
                    out[sample, row, column, channel] = finish_bytes(value)


@kernel
def _cocentric_waves(images: U8, amplitude: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        middle_x, middle_y = side * next_unit(state), side * next_unit(state)
        frequency = 10.0 * next_unit(state)
        bend = 0.1 * side * next_unit(state)
        ring = 0.1 * side * (1.0 - next_unit(state))  # not 0, which divides
        for row in range(side):
            for column in range(side):
                x, y = column - middle_x, row - middle_y
                radius = np.sqrt(x * x + y * y) + bend * sin(frequency * atan2(x, y))
                wave = amplitude * (floor_remainder(radius, ring) / ring - 0.5)
                for channel in range(3):
                    value = images[sample, row, column, channel] + wave
                    out[sample, row, column, channel] = finish_bytes(value)


@kernel
def _plasma(images: U8, amplitude: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    factors, phases, divisors = np.empty(6), np.empty(6), np.empty(6)
    kept = 1.0 - amplitude / 255.0
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        time = 6.0 * _PI * next_unit(state)
        num_steps = 4 + below(state, 3)
        sharp = 0.5 + 0.5 * next_unit(state)
        scale = (0.075 + 0.125 * next_unit(state)) * side
        green_phase = sin(time)
        a = b = c = 1.0
        for k in range(num_steps):
            factors[k], phases[k], divisors[k] = a, time / b, c
            a, b, c = a * 1.93, b * 1.15, c * (2.25 - sharp)
        for row in range(side):
            for column in range(side):
                x, y = column / scale, row / scale
                for k in range(num_steps):
                    step_x = cos(factors[k] * y + phases[k]) / divisors[k]
                    step_y = sin(factors[k] * x + phases[k]) / divisors[k]
                    x, y = x + (step_x - 0.3 * step_y), y + (step_y + 0.3 * step_x)
                red, blue = sin(x - time), sin(y + time)
                green = sin(0.5 * (x + y + green_phase))
                for channel, colour in enumerate((red, green, blue)):
                    value = kept * images[sample, row, column, channel] + amplitude * colour
                    out[sample, row, column, channel] = finish_bytes(value)


@kernel
def fill_gradients(state: U64, gradients: F64, places: I64) -> None:
    """Draw the tables of one Perlin noise.

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        gradients: float64 [256, 2], written: vectors of length 1, all directions equally probable.
        places: int64 [256], written: a permutation.
    """
    for k in range(_LATTICE):
        gradients[k, 1], gradients[k, 0] = sin_cos(_TWO_PI * next_unit(state))
        places[k] = k
    for k in range(_LATTICE - 1, 0, -1):
        other = below(state, k + 1)
        places[k], places[other] = places[other], places[k]


@inlined
def _slope(gradients: F64, places: I64, column: int, row: int, x: float, y: float) -> float:
    """Return the gradient of a lattice point times the vector (x, y) from it."""
    k = places[(places[column % _LATTICE] + row) % _LATTICE]
    return float(gradients[k, 0] * x + gradients[k, 1] * y)


@kernel
def perlin(gradients: F64, places: I64, x: float, y: float) -> float:
    """Return 1.5 times Perlin's gradient noise at (x, y), x and y ≥ 0; tables from `fill_gradients`."""
    left, top = int(np.floor(x)), int(np.floor(y))
    u, v = x - left, y - top
    smooth_u, smooth_v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    a = _slope(gradients, places, left, top, u, v)
    b = _slope(gradients, places, left + 1, top, u - 1.0, v)
    c = _slope(gradients, places, left, top + 1, u, v - 1.0)
    d = _slope(gradients, places, left + 1, top + 1, u - 1.0, v - 1.0)
    upper, lower = a + smooth_u * (b - a), c + smooth_u * (d - c)
    return 1.5 * (upper + smooth_v * (lower - upper))


@kernel
def _turbulence(images: U8, alpha: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    gradients, places = np.empty((_LATTICE, 2)), np.empty(_LATTICE, np.int64)
    step = 7.0 / side  # a picture spans seven cells of the first octave
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        fill_gradients(state, gradients, places)
        for row in range(side):
            for column in range(side):
                total, frequency = 0.0, 1.0
                for _ in range(_OCTAVES):
                    x, y = column * step * frequency, row * step * frequency
                    total += abs(perlin(gradients, places, x, y)) / frequency
                    frequency *= 2.0
                light = 255.0 * alpha * min(max(0.5 * total + 0.5, 0.0), 1.0)
                for channel in range(3):
                    value = (1.0 - alpha) * images[sample, row, column, channel] + light
                    out[sample, row, column, channel] = finish_bytes(value)


@kernel
def _checkerboard(images: U8, share: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        sine, cosine = sin_cos(_TWO_PI * next_unit(state))
        cell = max(1.0, (0.1 + 0.15 * next_unit(state)) * side)
        num = int(4 * side // cell)
        marked = np.empty((num, num), np.bool_)
        for i in range(num):
            for j in range(num):
                marked[i, j] = next_unit(state) < share
        for row in range(side):
            for column in range(side):
                u = (cosine * row + sine * column) / cell
                v = (-sine * row + cosine * column) / cell
                # of the two colours of the board one is left alone
                same = int(floor_remainder(u, 2.0)) == int(floor_remainder(v, 2.0))
                erased = same and marked[int(u) % num, int(v) % num]
                for channel in range(3):
                    value = images[sample, row, column, channel]
                    out[sample, row, column, channel] = np.uint8(128) if erased else value


def single_frequency_greyscale(images: U8, constants: Constants, seeds: U64) -> U8:
    """Add a plane wave of amplitude 19.6 s, one frequency U(−π, π) per pixel, the other not above it."""
    out = np.empty_like(images)
    _single_frequency(read_only(images), 19.6 * constants[0], read_only(seeds), out)
    return out


def cocentric_sine_waves(images: U8, constants: Constants, seeds: U64) -> U8:
    """Add saw-toothed rings of height 12.8 s around a point, bent by a sine of the angle."""
    out = np.empty_like(images)
    _cocentric_waves(read_only(images), 12.8 * constants[0], read_only(seeds), out)
    return out


def plasma_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Blend in coloured plasma, 6.4 s of 255: places displaced four to six times by waves of each other."""
    out = np.empty_like(images)
    _plasma(read_only(images), 6.4 * constants[0], read_only(seeds), out)
    return out


def perlin_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Blend in, by 0.05 s, grey turbulence: five octaves of absolute Perlin noise."""
    out = np.empty_like(images)
    _turbulence(read_only(images), 0.05 * constants[0], read_only(seeds), out)
    return out


def checkerboard_cutout(images: U8, constants: Constants, seeds: U64) -> U8:
    """Turn s/10 of the fields of one colour of a slanted checkerboard grey; they have 0.1 to 0.25 sides."""
    out = np.empty_like(images)
    _checkerboard(read_only(images), 0.1 * constants[0], read_only(seeds), out)
    return out
