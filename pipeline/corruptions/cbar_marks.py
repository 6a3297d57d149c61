"""Sparkles and lines of C-bar (Mintun, Kirillov & Xie, NeurIPS 2021).

Points are (row y, column x) in pixels, the first pixel at 0.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, Constants, fill_normals, finish_bytes
from pipeline.corruptions.cbar_patterns import below
from pipeline.corruptions.cbar_warps import load
from pipeline.pictures.arithmetic import atan2, power, sin_cos
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import inlined, kernel, read_only

_PI = 3.141592653589793
_TWO_PI = 6.283185307179586
_NUM_SPARKLES = 5
_MOST_RAYS = 199
_GREY = 128.0


@inlined
def _fill_rays(state: U64, radius: float, rays: F64) -> int:
    """Draw 50 to 199 lengths of rays, mean `radius`, deviation a quarter of it; return their number.

    `rays`, float64 [199], has them first; the rest is undefined.
    """
    num = 50 + below(state, _MOST_RAYS - 49)
    fill_normals(state, rays[:num])
    for k in range(num):
        rays[k] = radius * (1.0 + 0.25 * rays[k])
    return num


@inlined
def _ray(rays: F64, num: int, y: float, x: float) -> tuple[float, float]:
    """Return what the light of a sparkle at a distance (y, x) from its centre is made of.

    Returns:
        The square of the rays' length in that direction over that of the distance, and 1 − (f − ½)² for
        a place f between two rays: their light is brightest half way.
    """
    place = (atan2(x, y) + _PI) / _TWO_PI * num
    below_place = np.floor(place)
    between = place - below_place
    first = int(below_place) % num
    length = rays[first] + between * (rays[(first + 1) % num] - rays[first])
    shape = 1.0 - (between - 0.5) * (between - 0.5)
    return length * length / (x * x + y * y + 1e-4), shape


@kernel
def _sparkles(images: U8, radius: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state, rays = np.empty(1, np.uint64), np.empty(_MOST_RAYS)
    light = np.empty((side, side))
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        light[:] = 1.0  # the share of the distance from white that is left
        for _ in range(_NUM_SPARKLES):
            middle_y, middle_x = side * next_unit(state), side * next_unit(state)
            num = _fill_rays(state, radius, rays)
            for k in range(num):
                rays[k] = max(rays[k], 1.0)
            for row in range(side):
                for column in range(side):
                    glow, shape = _ray(rays, num, row - middle_y, column - middle_x)
                    light[row, column] *= 1.0 - min(shape * glow, 1.0)
        for row in range(side):
            for column in range(side):
                for channel in range(3):
                    value = images[sample, row, column, channel]
                    value = 255.0 - (255.0 - value) * light[row, column]
                    out[sample, row, column, channel] = finish_bytes(value)


@kernel
def _inverse_sparkles(images: U8, exponent: float, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state, rays = np.empty(1, np.uint64), np.empty(_MOST_RAYS)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        middle_y = (0.25 + 0.5 * next_unit(state)) * side
        middle_x = (0.25 + 0.5 * next_unit(state)) * side
        num = _fill_rays(state, 0.25 * side, rays)
        for row in range(side):
            for column in range(side):
                glow, shape = _ray(rays, num, row - middle_y, column - middle_x)
                weight = min(shape * power(glow, exponent), 1.0)
                for channel in range(3):
                    value = 255.0 + weight * (images[sample, row, column, channel] - 255.0)
                    out[sample, row, column, channel] = finish_bytes(value)


@inlined
def _cover(picture: F64, row: int, column: int, coverage: float) -> None:
    """Blend grey into a pixel of `picture`, float64 [side, side, 3], if it has that pixel."""
    if 0 <= row < picture.shape[0] and 0 <= column < picture.shape[1]:
        for channel in range(3):
            value = picture[row, column, channel]
            picture[row, column, channel] = (1.0 - coverage) * value + coverage * _GREY


@kernel
def draw_line(picture: F64, row: int, column: int, last_row: int, last_column: int) -> None:
    """Draw a grey line one pixel wide with smooth edges (Zingl, "A rasterizing algorithm", 2012).

    Bresenham's walk keeps an error, which is the distance from the line times its length: both the pixel
    of a step and its neighbour towards the line are covered by 1 − distance.

    Args:
        picture: float64 [side, side, 3], updated; what lies outside is left out.
        row: of the first pixel.
        column: of the first pixel.
        last_row: of the last pixel.
        last_column: of the last pixel.
    """
    across, down = abs(last_column - column), abs(last_row - row)
    to_right, to_bottom = (1 if last_column > column else -1), (1 if last_row > row else -1)
    length = np.sqrt(float(across * across + down * down)) if across + down > 0 else 1.0
    error = across - down
    while True:
        _cover(picture, row, column, 1.0 - abs(error - across + down) / length)
        before, column_before = error, column
        if 2 * before >= -across:
            if column == last_column:
                return
            if before + down < length:
                _cover(picture, row + to_bottom, column, 1.0 - abs(before + down) / length)
            error -= down
            column += to_right
        if 2 * before <= down:
            if row == last_row:
                return
            if across - before < length:
                coverage = 1.0 - abs(across - before) / length
                _cover(picture, row, column_before + to_right, coverage)
            error += across
            row += to_bottom


@kernel
def _lines(images: U8, num_lines: int, seeds: U64, out: U8) -> None:
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    picture = np.empty((side, side, 3))
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        load(images[sample], picture)
        base = _TWO_PI * next_unit(state)
        spread = 0.1 + 0.9 * next_unit(state)
        for _ in range(num_lines):
            middle_y, middle_x = side * next_unit(state), side * next_unit(state)
            sine, cosine = sin_cos(base + _TWO_PI * spread * (next_unit(state) - 0.5))
            first_row, first_column = int(middle_y - side * cosine), int(middle_x - side * sine)
            last_row, last_column = int(middle_y + side * cosine), int(middle_x + side * sine)
            draw_line(picture, first_row, first_column, last_row, last_column)
        for row in range(side):
            for column in range(side):
                for channel in range(3):
                    value = picture[row, column, channel]
                    out[sample, row, column, channel] = finish_bytes(value)


def sparkles(images: U8, constants: Constants, seeds: U64) -> U8:
    """Lay five white stars of radius s % of the side over a picture; their light falls off as distance⁻²."""
    out = np.empty_like(images)
    _sparkles(read_only(images), 0.01 * constants[0] * images.shape[1], read_only(seeds), out)
    return out


def inverse_sparkles(images: U8, constants: Constants, seeds: U64) -> U8:
    """Leave a picture inside one star of a quarter of the side; outside it fades to white, faster with s."""
    out = np.empty_like(images)
    _inverse_sparkles(read_only(images), 0.13 * constants[0], read_only(seeds), out)
    return out


def lines(images: U8, constants: Constants, seeds: U64) -> U8:
    """Draw ⌊s · side / 10⌋ grey lines of similar directions, each twice as long as the side."""
    out = np.empty_like(images)
    _lines(read_only(images), int(constants[0] / 10 * images.shape[1]), read_only(seeds), out)
    return out
