"""Corruptions of C-bar (Mintun, Kirillov & Xie, NeurIPS 2021) that read pictures through cubic B-splines.

Results are those of `scipy.ndimage` of order 3 with the border 'constant': a place outside the picture is 0;
near the edge, coefficients are mirrored without repeating the edge.
"""

from __future__ import annotations

import functools

import numpy as np

from pipeline.corruptions.base import (
    F64,
    I64,
    U8,
    U64,
    Constants,
    finish_bytes,
    mirrored_inside,
)
from pipeline.pictures.arithmetic import exp, sin_cos
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import inlined, kernel, read_only

_POLE = (
    np.sqrt(3.0) - 2.0
)  # of the recursive filter that inverts a cubic B-spline's samples 1/6, 2/3, 1/6
_DEGREE = 3.141592653589793 / 180.0
_NUM_TURNS = 21
_TOGETHER = 64  # pictures: their coefficients at 32 px fill 1.5 MiB


@inlined
def _fill_weights(between: float, weights: F64) -> None:
    """Fill `weights`, float64 [4], with a cubic B-spline's, for samples 1 before to 2 after a floor."""
    rest = 1.0 - between
    weights[0] = rest * rest * rest / 6.0
    weights[1] = (between * between * (between - 2.0) * 3.0 + 4.0) / 6.0
    weights[2] = (rest * rest * (rest - 2.0) * 3.0 + 4.0) / 6.0
    weights[3] = between * between * between / 6.0


@kernel
def spline_coefficients(lines: F64) -> None:
    """Replace samples along the first axis by the coefficients of the cubic spline through them.

    Args:
        lines: float64 [S, m], S ≥ 2; each column is a line of its own, updated.
    """
    size = lines.shape[0]
    far = 1.0
    for _ in range(size - 1):
        far *= _POLE
    gain = (1.0 - _POLE) * (1.0 - 1.0 / _POLE)
    for column in range(lines.shape[1]):
        total, power = lines[0, column] + far * lines[size - 1, column], _POLE
        for k in range(1, size - 1):
            total += power * (lines[k, column] + far * lines[size - 1 - k, column])
            power *= _POLE
        lines[0, column] = gain * total / (1.0 - far * far)
    for k in range(1, size):
        for column in range(lines.shape[1]):
            lines[k, column] = gain * lines[k, column] + _POLE * lines[k - 1, column]
    for column in range(lines.shape[1]):
        last = lines[size - 1, column] + _POLE * lines[size - 2, column]
        lines[size - 1, column] = last * _POLE / (_POLE * _POLE - 1.0)
    for k in range(size - 2, -1, -1):
        for column in range(lines.shape[1]):
            lines[k, column] = _POLE * (lines[k + 1, column] - lines[k, column])


@kernel
def _gather_taps(
    row: int, column: int, turns: F64, window: F64, met: U8, places: I64, scratch: F64
) -> int:
    """Find which coefficients make one pixel of the weighted mean of turned pictures.

    Args:
        row: of the pixel.
        column: of the pixel.
        turns: float64 [n, 3], each turn's cosine, sine and weight.
        window: float64 [S · S], written where a coefficient counts.
        met: uint8 [S · S], 0; set to 1 there.
        places: int64 [S · S], the first ones written: where.
        scratch: float64 [2, 4].

    Returns:
        How many coefficients count.
    """
    side = int(np.sqrt(float(window.size)))
    middle = 0.5 * (side - 1)
    count = 0
    for k in range(turns.shape[0]):
        cosine, sine, share = turns[k, 0], turns[k, 1], turns[k, 2]
        y = cosine * (row - middle) + sine * (column - middle) + middle
        x = -sine * (row - middle) + cosine * (column - middle) + middle
        if y < 0.0 or x < 0.0 or y > side - 1.0 or x > side - 1.0:
            continue
        top, left = int(np.floor(y)), int(np.floor(x))
        _fill_weights(y - top, scratch[0])
        _fill_weights(x - left, scratch[1])
        for i in range(4):
            start = mirrored_inside(top - 1 + i, side) * side
            for j in range(4):
                place = start + mirrored_inside(left - 1 + j, side)
                if met[place] == 0:
                    met[place] = 1
                    places[count] = place
                    window[place] = 0.0
                    count += 1
                window[place] += share * scratch[0, i] * scratch[1, j]
    return count


@kernel
def _turn(images: U8, turns: F64, out: U8) -> None:
    """Write weighted means of turned pictures.

    The pixels of many pictures lie side by side, [S, S, n · 3], so that what is found out about a place
    serves all of them, and their sums go through the same instructions.
    """
    side = images.shape[1]
    window, met = np.empty(side * side), np.zeros(side * side, np.uint8)
    places, scratch = np.empty(side * side, np.int64), np.empty((2, 4))
    for start in range(0, images.shape[0], _TOGETHER):
        num = min(_TOGETHER, images.shape[0] - start)
        lines = np.empty((side, side, num * 3))
        for k in range(num):
            for row in range(side):
                for column in range(side):
                    for channel in range(3):
                        value = images[start + k, row, column, channel]
                        lines[row, column, 3 * k + channel] = value
        spline_coefficients(lines.reshape(side, side * num * 3))
        for row in range(side):
            spline_coefficients(lines[row])
        coefficients = lines.reshape(side * side, num * 3)
        totals = np.empty(num * 3)
        for row in range(side):
            for column in range(side):
                totals[:] = 0.0
                for tap in range(_gather_taps(row, column, turns, window, met, places, scratch)):
                    place = places[tap]
                    weight = window[place]
                    met[place] = 0
                    line = coefficients[place]
                    for k in range(num * 3):
                        totals[k] += weight * line[k]
                for k in range(num):
                    for channel in range(3):
                        value = finish_bytes(totals[3 * k + channel])
                        out[start + k, row, column, channel] = value


@functools.lru_cache(maxsize=16)
def _turns(degrees: float) -> F64:
    """Return cosine, sine and weight of turns by u · degrees, weights e^(−2u²), u = −1, −0.9 … 1."""
    turns = np.empty((_NUM_TURNS, 3))
    for k in range(_NUM_TURNS):
        u = (k - _NUM_TURNS // 2) / (_NUM_TURNS // 2)
        sine, cosine = sin_cos(u * degrees * _DEGREE)
        turns[k] = cosine, sine, exp(-2.0 * u * u)
    total = 0.0
    for weight in turns[:, 2].tolist():
        total += weight
    turns[:, 2] /= total
    return read_only(turns)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=32)
def _zoom_taps(side: int, factor: float) -> tuple[I64, F64]:
    """Return which four samples make each pixel of an axis zoomed about its middle, and their weights.

    The whole axis becomes round(side · factor) pixels, the ends staying ends; the middle ones are kept. The
    samples themselves serve as coefficients, which softens even a factor of 1.

    Returns:
        int64 [side, 4] and float64 [side, 4].
    """
    size = round(side * factor)
    step = (side - 1) / (size - 1)
    places, weights = np.empty((side, 4), np.int64), np.empty((side, 4))
    for k in range(side):
        place = (k + (size - side) // 2) * step
        first = int(np.floor(place))
        _fill_weights(place - first, weights[k])
        for j in range(4):
            places[k, j] = mirrored_inside(first - 1 + j, side)
    return read_only(places), read_only(weights)


@kernel
def _zoom_channels(images: U8, seeds: U64, places: I64, weights: F64, out: U8) -> None:
    """Zoom each channel by another of three factors.

    Args:
        images: uint8 [n, S, S, 3].
        seeds: uint64 [n].
        places: int64 [3, S, 4], of `_zoom_taps`.
        weights: float64 [3, S, 4], likewise.
        out: uint8 [n, S, S, 3], written.
    """
    side = images.shape[1]
    state = np.empty(1, np.uint64)
    factors = np.empty(3, np.int64)
    rows = np.empty((side, side))
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        for k in range(3):
            factors[k] = k
        for k in range(2, 0, -1):
            other = int(next_unit(state) * (k + 1))
            factors[k], factors[other] = factors[other], factors[k]
        for channel in range(3):
            factor = factors[channel]
            for row in range(side):
                for column in range(side):
                    total = 0.0
                    for tap in range(4):
                        source = places[factor, row, tap]
                        weight = weights[factor, row, tap]
                        total += weight * images[sample, source, column, channel]
                    rows[row, column] = total
            for row in range(side):
                for column in range(side):
                    total = 0.0
                    for tap in range(4):
                        weight = weights[factor, column, tap]
                        total += weight * rows[row, places[factor, column, tap]]
                    out[sample, row, column, channel] = finish_bytes(total)


def circular_motion_blur(images: U8, constants: Constants, seeds: U64) -> U8:
    """Average a picture turned about its middle by −1.5 s to 1.5 s degrees; draws nothing from the seeds."""
    out = np.empty_like(images)
    _turn(read_only(images), _turns(1.5 * constants[0]), out)
    return out


def transverse_chromatic_abberation(images: U8, constants: Constants, seeds: U64) -> U8:
    """Zoom the channels by 1, 1 + 0.025 s and 1 + 0.05 s, in random order, after softening."""
    out = np.empty_like(images)
    s = constants[0]
    tables = [_zoom_taps(images.shape[1], factor) for factor in (1.0, 1 + 0.025 * s, 1 + 0.05 * s)]
    places = np.stack([table[0] for table in tables])
    _zoom_channels(
        read_only(images), read_only(seeds), places, np.stack([table[1] for table in tables]), out
    )
    return out
