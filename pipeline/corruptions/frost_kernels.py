"""Kernels of frosty panes: ice ferns, noise with a power law, ridges.

Canvases are float64 [M, M] on a torus, M a power of two.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, finish_bytes
from pipeline.pictures.arithmetic import power, sin_cos
from pipeline.pictures.splitmix import next_signed, next_unit
from pipeline.render.jit import kernel

_SIXTY_DEGREES = 1.0471975511965976
_TWO_PI = 6.283185307179586


@kernel
def _draw_needle(
    canvas: F64,
    x: float,
    y: float,
    angle: float,
    bend: float,
    length: float,
    width: float,
    height: float,
) -> None:
    """Draw a needle that tapers to a point, its edges anti-aliased, where it is higher than the canvas.

    Args:
        canvas: float64 [M, M], updated.
        x, y: where it begins, in pixels.
        angle: of its beginning, radians.
        bend: radians that it turns by per pixel.
        length, width: in pixels.
        height: at its beginning; it falls to half.
    """
    wrap = canvas.shape[0] - 1
    for k in range(int(length) + 1):
        part = k / length
        half = 0.5 * width * (1.0 - 0.8 * part)
        level = height * (1.0 - 0.5 * part)
        sine, cosine = sin_cos(angle + bend * k)
        reach = int(half + 1.5)
        left, top = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        for row in range(top - reach, top + reach + 1):
            for column in range(left - reach, left + reach + 1):
                square = (column - x) * (column - x) + (row - y) * (row - y)
                cover = min(max(half + 0.5 - np.sqrt(square), 0.0), 1.0)
                place = canvas[row & wrap]
                place[column & wrap] = max(place[column & wrap], cover * level)
        x, y = x + cosine, y + sine


@kernel
def grow_ferns(state: U64, num: int, longest: float, width: float, canvas: F64) -> None:
    """Grow ice ferns: a bent stem, needles at ±60° along it, and smaller ones at ±60° along these.

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        num: of ferns.
        longest: length of the longest stem, in pixels.
        width: of a stem, in pixels; each generation is two thirds as wide.
        canvas: float64 [M, M], updated; heights up to 1.
    """
    size = canvas.shape[0]
    for _ in range(num):
        x, y = size * next_unit(state), size * next_unit(state)
        angle, bend = _TWO_PI * next_unit(state), 0.004 * next_signed(state)
        length = longest * (0.25 + 0.75 * next_unit(state))
        height = 0.5 + 0.5 * next_unit(state)
        spacing = 4.0 + 5.0 * next_unit(state)
        spread = length * (0.15 + 0.25 * next_unit(state))
        _draw_needle(canvas, x, y, angle, bend, length, width, height)
        place, due = 0.0, 0.0
        while place < length:
            sine, cosine = sin_cos(angle + bend * place)
            if place >= due:
                part = place / length
                full = spread * (0.2 + 0.8 * min(4.0 * part, 1.0)) * (1.0 - part)
                for side in range(2):
                    turn = _SIXTY_DEGREES if side == 0 else -_SIXTY_DEGREES
                    branch = full * (0.6 + 0.4 * next_unit(state))
                    if branch >= 2.0:
                        heading = angle + bend * place + turn + 0.08 * next_signed(state)
                        _grow_branch(
                            state, x, y, heading, branch, width / 1.5, 0.85 * height, canvas
                        )
                due += spacing * (0.7 + 0.6 * next_unit(state))
            x, y, place = x + cosine, y + sine, place + 1.0


@kernel
def _grow_branch(
    state: U64,
    x: float,
    y: float,
    angle: float,
    length: float,
    width: float,
    height: float,
    canvas: F64,
) -> None:
    """Draw a straight needle and its own at ±60°, which shorten towards its tip."""
    _draw_needle(canvas, x, y, angle, 0.0, length, width, height)
    sine, cosine = sin_cos(angle)
    place = 3.0
    while place < length - 2.0:
        twig = 0.35 * (length - place) * (0.5 + 0.5 * next_unit(state))
        if twig >= 2.0:
            for side in range(2):
                turn = _SIXTY_DEGREES if side == 0 else -_SIXTY_DEGREES
                _draw_needle(
                    canvas,
                    x + place * cosine,
                    y + place * sine,
                    angle + turn,
                    0.0,
                    twig,
                    width / 1.5,
                    0.8 * height,
                )
        place += 4.0 + 2.0 * next_unit(state)


@kernel
def tilt(exponent: float, re: F64, im: F64) -> None:
    """Multiply the power of a spectrum, float64 [M, M] each, by r^exponent, r in waves per side; no mean."""
    size = len(re)
    half = size // 2
    for i in range(size):
        for j in range(size):
            y, x = (i + half) % size - half, (j + half) % size - half
            square = float(x * x + y * y)
            factor = power(square, 0.25 * exponent) if square > 0.0 else 0.0
            re[i, j] *= factor
            im[i, j] *= factor


@kernel
def add_standardised(field: F64, weight: float, total: F64) -> None:
    """Add `field`, brought to mean 0 and deviation 1, times `weight` to `total`; float64 [H, W] both."""
    mean = square = 0.0
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            mean += field[y, x]
    mean /= field.size
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            square += (field[y, x] - mean) * (field[y, x] - mean)
    scale = weight / np.sqrt(square / field.size)
    for y in range(field.shape[0]):
        for x in range(field.shape[1]):
            total[y, x] += scale * (field[y, x] - mean)


@kernel
def tint(grey: F64, means: F64, deviations: F64, out: U8) -> None:
    """Write a field of mean 0 and deviation 1, float64 [H, W], as colours, uint8 [H, W, 3], rounded."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for channel in range(3):
                value = means[channel] + deviations[channel] * grey[y, x]
                out[y, x, channel] = finish_bytes(value + 0.5)
