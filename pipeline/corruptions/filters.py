"""Filters that several corruptions use: Gaussian and motion blur, and zooming into the middle.

Planes have their channels side by side: [H, W·C], so that a whole row goes through the same instructions.
Each filter gives what the library of its definition gives: SciPy's `gaussian_filter` with the nearest
border and `zoom` of order 1, ImageMagick's motion blur.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.corruptions.base import F64, I64, U8
from pipeline.pictures.arithmetic import sin_cos
from pipeline.render.jit import kernel

_DEGREE = 3.141592653589793 / 180.0


def exponential(x: float) -> float:
    """Return e^x, rounded correctly: NumPy's differs in the last bit between processors."""
    return float(Decimal(x).exp())


@lru_cache(maxsize=64)
def gaussian_weights(sigma: float, truncate: float = 4.0) -> F64:
    """Return a Gaussian's weights, float64 [2r + 1], r = ⌊truncate · σ + ½⌋, which sum to 1."""
    radius = int(truncate * sigma + 0.5)
    exponents = [-0.5 / (sigma * sigma) * float(k * k) for k in range(-radius, radius + 1)]
    weights = np.array([exponential(exponent) for exponent in exponents])
    weights /= weights.sum()
    weights.flags.writeable = False
    return weights


@kernel
def gauss(plane: F64, channels: int, weights: F64, scratch: F64, line: F64) -> None:
    """Blur `plane` along both axes, in place; beyond its border, the nearest pixel is repeated.

    Sums are taken in SciPy's order: down columns first, the middle, then pairs from the outermost inwards.

    Args:
        plane: float64 [H, W·C], updated.
        channels: C.
        weights: float64 [2r + 1], symmetric.
        scratch: float64 [H, W·C], overwritten.
        line: float64 [(W + 2r)·C], overwritten.
    """
    radius = weights.size // 2
    if radius == 0:
        return
    height, width = plane.shape
    for y in range(height):
        row, out = plane[y], scratch[y]
        for x in range(width):
            out[x] = row[x] * weights[radius]
        for reach in range(radius, 0, -1):
            weight = weights[radius - reach]
            above, below = plane[max(y - reach, 0)], plane[min(y + reach, height - 1)]
            for x in range(width):
                out[x] += (above[x] + below[x]) * weight
    margin = radius * channels
    for y in range(height):
        row, out = scratch[y], plane[y]
        for x in range(width):
            line[margin + x] = row[x]
        for x in range(margin):
            line[x] = row[x % channels]
            line[margin + width + x] = row[width - channels + x % channels]
        for x in range(width):
            out[x] = row[x] * weights[radius]
        for reach in range(radius, 0, -1):
            weight, offset = weights[radius - reach], reach * channels
            left, right = line[margin - offset :], line[margin + offset :]
            for x in range(width):
                out[x] += (left[x] + right[x]) * weight


@lru_cache(maxsize=64)
def motion_weights(radius: float, sigma: float) -> F64:
    """Return the weights of a one-sided motion blur, float64 [2⌈radius⌉ + 1], which sum to 1."""
    length = 2 * math.ceil(radius) + 1
    exponents = [-float(k * k) / (2.0 * sigma * sigma) for k in range(length)]
    weights = np.array([exponential(exponent) for exponent in exponents])
    weights /= weights.sum()
    weights.flags.writeable = False
    return weights


@kernel
def motion(
    source: U8, channels: int, weights: F64, degrees: float, padded: F64, line: F64, out: U8
) -> None:
    """Blur `source` along a ray at an angle, rounded to bytes; the nearest pixel is repeated outside.

    Args:
        source: uint8 [H, W·C].
        channels: C.
        weights: float64 [L], those of the pixels ⌈i·cos − ½⌉ to the right and ⌈i·sin − ½⌉ down, i < L.
        degrees: from the positive x axis towards the positive y axis, downwards.
        padded: float64 [H, (W + 2L)·C], overwritten.
        line: float64 [W·C], overwritten.
        out: uint8 [H, W·C], written.
    """
    height, width = source.shape
    length = weights.size
    margin = length * channels
    for y in range(height):
        row, wide = source[y], padded[y]
        for x in range(width):
            wide[margin + x] = float(row[x])
        for x in range(margin):
            wide[x] = float(row[x % channels])
            wide[margin + width + x] = float(row[width - channels + x % channels])
    sine, cosine = sin_cos(degrees * _DEGREE)
    for y in range(height):
        line[:] = 0.0
        for i in range(length):
            down, right = int(np.ceil(i * sine - 0.5)), int(np.ceil(i * cosine - 0.5))
            weight = weights[i]
            row = padded[min(max(y + down, 0), height - 1)][margin + right * channels :]
            for x in range(width):
                line[x] += weight * row[x]
        result = out[y]
        for x in range(width):
            result[x] = np.uint8(line[x] + 0.5)


class Zoom(NamedTuple):
    """Where the pixels of one axis of a zoomed picture lie in the whole picture."""

    first: I64  # int64 [S], the pixel at or before the place
    second: I64  # int64 [S], the one after it
    share: F64  # float64 [S], what the second gets


@lru_cache(maxsize=128)
def zoom_table(size: int, zoom: float) -> Zoom:
    """Return the table of `clipped_zoom` for a side of `size` pixels and a factor `zoom` ≥ 1.

    The middle ⌈S/z⌉ pixels become round(⌈S/z⌉ · z), of which the middle S are kept.
    """
    inner = math.ceil(size / zoom)
    top = (size - inner) // 2
    outer = round(inner * zoom)
    step = (inner - 1) / (outer - 1) if outer > 1 else 0.0
    places = (np.arange(size) + (outer - size) // 2) * step
    floors = np.minimum(np.floor(places).astype(np.int64), inner - 1)
    table = Zoom(top + floors, top + np.minimum(floors + 1, inner - 1), places - floors)
    for array in table:
        array.flags.writeable = False
    return table


@kernel
def clipped_zoom(
    plane: F64, channels: int, first: I64, second: I64, share: F64, line: F64, out: F64
) -> None:
    """Zoom into the middle of a square picture, linear along both axes, as SciPy's `zoom` does.

    Args:
        plane: float64 [S, S·C].
        channels: C.
        first, second, share: of `zoom_table`, [S] each.
        line: float64 [S·C], overwritten.
        out: float64 [S, S·C], written.
    """
    size, width = plane.shape
    for y in range(size):
        above, below, down = plane[first[y]], plane[second[y]], share[y]
        for x in range(width):
            line[x] = (1.0 - down) * above[x] + down * below[x]
        row = out[y]
        for x in range(size):
            left, right, across = first[x] * channels, second[x] * channels, share[x]
            for channel in range(channels):
                a, b = line[np.uint64(left + channel)], line[np.uint64(right + channel)]
                row[np.uint64(x * channels + channel)] = (1.0 - across) * a + across * b
