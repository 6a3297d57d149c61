"""Elastic transform: a slight affine map, then every pixel moved by a smooth random field.

After Simard, Steinkraus & Platt (ICDAR 2003), with the settings of Hendrycks & Dietterich (ICLR 2019).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.corruptions.base import (
    F32,
    F64,
    U8,
    U64,
    Constants,
    mirrored,
    mirrored_inside,
    planes,
)
from pipeline.corruptions.filters import gaussian_weights
from pipeline.pictures.splitmix import next_signed
from pipeline.render.jit import kernel, read_only

_TRUNCATE = 3.0
_FIXED, _SUBPIXELS = 1024.0, 32
"""OpenCV's warp adds up coordinates in 1024ths of a pixel and rounds the place to 32nds."""


@lru_cache(maxsize=16)
def smoothing(size: int, sigma: float) -> tuple[F64, int]:
    """Return a Gaussian blur of `size` values with mirrored borders, as a matrix [S, S], and its reach.

    Folding what lies outside back in bounds the work by S a value, however wide the Gaussian.
    """
    weights = gaussian_weights(sigma, _TRUNCATE)
    reach = len(weights) // 2
    matrix = np.zeros((size, size))
    for offset, weight in enumerate(weights.tolist(), start=-reach):
        for row in range(size):
            matrix[row, mirrored(row + offset, size)] += weight
    return read_only(matrix), min(reach, size)


@kernel
def _smooth(field: F64, matrix: F64, reach: int, scale: float, scratch: F64) -> None:
    """Replace `field` by scale · matrix · field · matrixᵀ, each float64 [S, S]; the matrix is symmetric."""
    size = len(field)
    for y in range(size):
        out = scratch[y]
        out[:] = 0.0
        for k in range(max(0, y - reach), min(size, y + reach + 1)):
            weight, row = matrix[y, k], field[k]
            for x in range(size):
                out[x] += weight * row[x]
    for y in range(size):
        row, out = scratch[y], field[y]
        out[:] = 0.0
        for k in range(size):
            value, weights = row[k], matrix[k]
            for x in range(max(0, k - reach), min(size, k + reach + 1)):
                out[x] += value * weights[x]
        for x in range(size):
            out[x] *= scale


@kernel
def _draw_affine(state: U64, size: int, jitter: float, inverse: F64) -> None:
    """Fill `inverse`, float64 [2, 3]: where a pixel (x, y, 1) of the warped picture comes from.

    The forward map moves three points about the middle by U(−jitter, jitter) along each axis.
    """
    middle, third = float(size // 2), float(size // 3)
    points = np.empty((3, 2))
    for k in range(3):
        points[k, 0] = middle + third if k < 2 else middle - third
        points[k, 1] = middle + third if k < 1 else middle - third
        for axis in range(2):
            points[k, axis] = np.float32(
                np.float32(points[k, axis]) + np.float32(jitter * next_signed(state))
            )
    a, b = (points[1, 0] - points[2, 0]) / (2 * third), (points[0, 0] - points[1, 0]) / (2 * third)
    c, d = (points[1, 1] - points[2, 1]) / (2 * third), (points[0, 1] - points[1, 1]) / (2 * third)
    corner = middle - third
    e = points[2, 0] - (a + b) * corner
    f = points[2, 1] - (c + d) * corner
    scale = 1.0 / (a * d - b * c)
    inverse[0, 0], inverse[0, 1] = d * scale, -b * scale
    inverse[1, 0], inverse[1, 1] = -c * scale, a * scale
    inverse[0, 2] = -inverse[0, 0] * e - inverse[0, 1] * f
    inverse[1, 2] = -inverse[1, 0] * e - inverse[1, 1] * f


@kernel
def _warp(source: U8, inverse: F64, out: F32) -> None:
    """Sample `source`, uint8 [S, S·3], at affine places, linear in float32; the border is mirrored inside.

    Args:
        source: uint8 [S, S·3].
        inverse: float64 [2, 3].
        out: float32 [S, S·3], written, 0 to 1.
    """
    size = len(source)
    one = np.float32(1.0)
    for y in range(size):
        across = np.floor((inverse[0, 1] * y + inverse[0, 2]) * _FIXED + 0.5)
        along = np.floor((inverse[1, 1] * y + inverse[1, 2]) * _FIXED + 0.5)
        for x in range(size):
            column = int(across + np.floor(inverse[0, 0] * x * _FIXED + 0.5)) + 16 >> 5
            line = int(along + np.floor(inverse[1, 0] * x * _FIXED + 0.5)) + 16 >> 5
            right = np.float32(column & 31) / np.float32(_SUBPIXELS)
            down = np.float32(line & 31) / np.float32(_SUBPIXELS)
            above, below = (
                source[mirrored_inside(line >> 5, size)],
                source[mirrored_inside((line >> 5) + 1, size)],
            )
            first, second = (
                3 * mirrored_inside(column >> 5, size),
                3 * mirrored_inside((column >> 5) + 1, size),
            )
            for channel in range(3):
                value = (
                    np.float32(above[first + channel])
                    / np.float32(255.0)
                    * ((one - down) * (one - right))
                )
                value += (
                    np.float32(above[second + channel]) / np.float32(255.0) * ((one - down) * right)
                )
                value += (
                    np.float32(below[first + channel]) / np.float32(255.0) * (down * (one - right))
                )
                value += np.float32(below[second + channel]) / np.float32(255.0) * (down * right)
                out[y, 3 * x + channel] = value


@kernel
def _displace(picture: F32, across: F64, down: F64, out: U8) -> None:
    """Sample `picture`, float32 [S, S·3], linearly at each pixel's place plus (down, across), [S, S] both."""
    size = len(picture)
    for y in range(size):
        for x in range(size):
            row = y + np.float64(np.float32(down[y, x]))
            column = x + np.float64(np.float32(across[y, x]))
            top, left = np.floor(row), np.floor(column)
            lower, right = row - top, column - left
            above = picture[mirrored(int(top), size)]
            below = picture[mirrored(int(top) + 1, size)]
            first = 3 * mirrored(int(left), size)
            second = 3 * mirrored(int(left) + 1, size)
            for channel in range(3):
                value = (1.0 - lower) * (1.0 - right) * above[first + channel]
                value += (1.0 - lower) * right * above[second + channel]
                value += lower * (1.0 - right) * below[first + channel]
                value += lower * right * below[second + channel]
                level = min(max(np.float32(value), np.float32(0.0)), np.float32(1.0))
                out[y, 3 * x + channel] = np.uint8(level * np.float32(255.0))


@kernel
def _deform(
    images: U8, alpha: float, jitter: float, matrix: F64, reach: int, seeds: U64, out: U8
) -> None:
    """Deform `images`, uint8 [n, S, S·3]; the displacements are `alpha` times a smoothed U(−1, 1)."""
    size = images.shape[1]
    fields, scratch = np.zeros((2, size, size)), np.empty((size, size))
    warped, inverse = np.empty((size, 3 * size), np.float32), np.empty((2, 3))
    state = np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        _draw_affine(state, size, jitter, inverse)
        _warp(images[i], inverse, warped)
        if alpha != 0.0:
            for axis in range(2):
                for y in range(size):
                    for x in range(size):
                        fields[axis, y, x] = next_signed(state)
                _smooth(fields[axis], matrix, reach, alpha, scratch)
        _displace(warped, fields[0], fields[1], out[i])


def elastic_transform(images: U8, constants: Constants, seeds: U64) -> U8:
    """Deform pictures; constants: (displacement α, its smoothing σ, jitter of the affine map), pixels.

    α multiplies noise after its blur: real displacements are much smaller. With α = 0 there is none.
    """
    alpha, sigma, jitter = constants
    size = images.shape[1]
    matrix, reach = smoothing(size, sigma) if alpha != 0.0 else (read_only(np.zeros((1, 1))), 0)
    out = np.empty(images.shape, np.uint8)
    results = out.reshape(*out.shape[:2], -1)
    _deform(planes(images), alpha, jitter, matrix, reach, read_only(seeds), results)
    return out
