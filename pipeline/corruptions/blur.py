"""Defocus, glass, motion and zoom blur (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from pipeline.corruptions.base import (
    F32,
    F64,
    I64,
    U8,
    U64,
    Constants,
    Corruption,
    finish,
    mirrored_inside,
    planes,
)
from pipeline.corruptions.filters import (
    clipped_zoom,
    exponential,
    gauss,
    gaussian_weights,
    motion,
    motion_weights,
    zoom_table,
)
from pipeline.pictures.splitmix import next_signed, next_word
from pipeline.render.jit import kernel, read_only

_LEAST_WEIGHT = 1e-9  # those below change no byte


def disk(radius: float, sigma: float) -> F64:
    """Return a circle of confusion with a softened rim, float64 [2r + 1, 2r + 1] of float32 values.

    A disk of unit sum is blurred by a Gaussian over 3 (radius ≤ 8) or 5 pixels. Where the disk meets the
    border, whose reflection comes in, the sum becomes a little more than 1, as in the published pictures.
    """
    reach = max(8, math.ceil(radius))
    squares = np.arange(-reach, reach + 1) ** 2
    inside = (squares[:, None] + squares[None, :] <= radius * radius).astype(np.float32)
    blurred = inside / np.float32(inside.sum())
    side = 1 if radius <= 8 else 2
    window = np.array([exponential(-0.5 / (sigma * sigma) * k * k) for k in range(side + 1)])
    window = (window / (window[0] + 2.0 * window[1:].sum())).astype(np.float32)
    for _ in range(2):  # along rows, then along columns
        padded = np.pad(blurred.T, ((side, side), (0, 0)), mode="reflect")
        blurred = window[0] * padded[side:-side]
        for k in range(1, side + 1):
            before, after = padded[side - k : -side - k], padded[side + k :][: len(inside)]
            blurred = blurred + window[k] * (before + after)
    return blurred.astype(np.float64)


@lru_cache(maxsize=16)
def _quadrant(radius: float, sigma: float) -> F64:
    """Return a disk's weights from its centre to the right and down, without rows of nothing."""
    whole = disk(radius, sigma)
    weights = whole[len(whole) // 2 :, len(whole) // 2 :]
    extent = int(np.max(np.nonzero(weights[0] > _LEAST_WEIGHT))) + 1
    quadrant: F64 = read_only(weights[:extent, :extent])
    return quadrant


@kernel
def _defocus(images: U8, quadrant: F64, out: U8) -> None:
    """Correlate `images`, uint8 [n, S, S·3], with a symmetric kernel given by `quadrant`, [R + 1, R + 1]."""
    size, width = images.shape[1:]
    reach = len(quadrant) - 1
    margin = 3 * reach
    padded, pair = np.empty((size + 2 * reach, width + 2 * margin)), np.empty(width + 2 * margin)
    line = np.empty(width)
    for i in range(len(images)):
        for y in range(size + 2 * reach):
            source = images[i, mirrored_inside(y - reach, size)]
            for x in range(size + 2 * reach):
                column = 3 * mirrored_inside(x - reach, size)
                for channel in range(3):
                    padded[y, 3 * x + channel] = source[column + channel] / 255.0
        for y in range(size):
            line[:] = 0.0
            for down in range(reach + 1):
                above, below = padded[y + reach - down], padded[y + reach + down]
                for x in range(pair.size):
                    pair[x] = above[x] + below[x] if down > 0 else above[x]
                middle = pair[margin:]
                for x in range(width):
                    line[x] += quadrant[down, 0] * middle[x]
                for across in range(1, reach + 1):
                    weight = quadrant[down, across]
                    if weight > 0.0:
                        left, right = pair[margin - 3 * across :], pair[margin + 3 * across :]
                        for x in range(width):
                            line[x] += weight * (left[x] + right[x])
            result = out[i, y]
            for x in range(width):
                result[x] = finish(line[x])


def defocus_blur(images: U8, constants: Constants, seeds: U64) -> U8:
    """Blur by a disk with a softened rim; constants: (radius, σ of the rim). Draws nothing."""
    out = np.empty(images.shape, np.uint8)
    _defocus(planes(images), _quadrant(*constants), out.reshape(*out.shape[:2], -1))
    return out


@kernel
def _shuffle(pixels: U8, delta: int, rounds: int, swap: bool, state: U64) -> None:
    """Move pixels of uint8 [S, S·3] about by up to `delta`, from the last to the first."""
    size = len(pixels)
    span = np.uint64(2 * delta)
    for _ in range(rounds):
        for y in range(size - delta, delta, -1):
            for x in range(size - delta, delta, -1):
                word = next_word(state)
                across = np.int64(((word >> np.uint64(32)) * span) >> np.uint64(32)) - delta
                down = np.int64(((word & np.uint64(0xFFFFFFFF)) * span) >> np.uint64(32)) - delta
                here, there = 3 * x, 3 * (x + across)
                for channel in range(3):
                    value = pixels[y, here + channel]
                    pixels[y, here + channel] = pixels[y + down, there + channel]
                    if swap:
                        pixels[y + down, there + channel] = value


@kernel
def _glass(
    images: U8, weights: F64, delta: int, rounds: int, swap: bool, seeds: U64, out: U8
) -> None:
    """Blur, shuffle and blur again: `images` and `out` uint8 [n, S, S·3]."""
    size, width = images.shape[1:]
    plane, scratch = np.empty((size, width)), np.empty((size, width))
    line, state = np.empty(width + 3 * weights.size), np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        _to_units(images[i], plane)
        gauss(plane, 3, weights, scratch, line)
        _to_bytes(plane, out[i])
        _shuffle(out[i], delta, rounds, swap, state)
        _to_units(out[i], plane)
        gauss(plane, 3, weights, scratch, line)
        _to_bytes(plane, out[i])


@kernel
def _to_units(source: U8, plane: F64) -> None:
    for y in range(len(source)):
        row, result = source[y], plane[y]
        for x in range(row.size):
            result[x] = row[x] / 255.0


@kernel
def _to_bytes(plane: F64, out: U8) -> None:
    for y in range(len(plane)):
        row, result = plane[y], out[y]
        for x in range(row.size):
            result[x] = finish(row[x])


def glass_blur(images: U8, constants: Constants, seeds: U64, *, swap: bool = False) -> U8:
    """Blur, put pixels where near ones were, blur again; constants: (σ, reach in pixels, rounds).

    The published generator means to swap two pixels, but writes through a view: the second keeps its
    value, and so it does here. `swap` does what was meant.
    """
    sigma, delta, rounds = constants
    out = np.empty(images.shape, np.uint8)
    lines = out.reshape(*out.shape[:2], -1)
    weights = gaussian_weights(sigma)
    _glass(planes(images), weights, int(delta), int(rounds), swap, read_only(seeds), lines)
    return out


@kernel
def _motion(images: U8, weights: F64, seeds: U64, out: U8) -> None:
    """Blur `images`, uint8 [n, S, S·3], along a ray within 45° of the x axis, each its own."""
    size, width = images.shape[1:]
    padded, line = np.empty((size, width + 6 * weights.size)), np.empty(width)
    state = np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        motion(images[i], 3, weights, 45.0 * next_signed(state), padded, line, out[i])


def motion_blur(images: U8, constants: Constants, seeds: U64) -> U8:
    """Blur along a line, at an angle of U(−45°, 45°); constants: (radius, σ), in pixels."""
    out = np.empty(images.shape, np.uint8)
    weights = motion_weights(*constants)
    _motion(planes(images), weights, read_only(seeds), out.reshape(*out.shape[:2], -1))
    return out


def zoom_factors(stop: float, step: float) -> tuple[float, ...]:
    """Return 1, 1 + step, … as NumPy's `arange(1, stop, step)` rounds them, which may reach `stop`.

    The last bit matters: a factor just above 1.25 cuts another window out of 32 pixels than 1.25 does.
    """
    difference = (1.0 + step) - 1.0
    return tuple(1.0 + k * difference for k in range(math.ceil((stop - 1.0) / step)))


@kernel
def _zoom(images: U8, first: I64, second: I64, share: F64, out: U8) -> None:
    """Average `images`, uint8 [n, S, S·3], with their zooms; tables are [zooms, S]. In float32."""
    size, width = images.shape[1:]
    plane, zoomed, line = np.empty((size, width)), np.empty((size, width)), np.empty(width)
    total = np.empty((size, width), np.float32)
    num = np.float32(len(first) + 1)
    for i in range(len(images)):
        for y in range(size):
            for x in range(width):
                plane[y, x] = np.float32(images[i, y, x] / 255.0)
        total[:] = np.float32(0.0)
        for k in range(len(first)):
            clipped_zoom(plane, 3, first[k], second[k], share[k], line, zoomed)
            _accumulate(zoomed, total)
        for y in range(size):
            row, sums, result = plane[y], total[y], out[i, y]
            for x in range(width):
                mean = (np.float32(row[x]) + sums[x]) / num
                mean = min(max(mean, np.float32(0.0)), np.float32(1.0))
                result[x] = np.uint8(mean * np.float32(255.0))


@kernel
def _accumulate(plane: F64, total: F32) -> None:
    for y in range(len(plane)):
        row, sums = plane[y], total[y]
        for x in range(row.size):
            sums[x] += np.float32(row[x])


@lru_cache(maxsize=32)
def _zoom_tables(size: int, stop: float, step: float) -> tuple[I64, I64, F64]:
    tables = [zoom_table(size, factor) for factor in zoom_factors(stop, step)]
    first, second, share = (np.stack(arrays) for arrays in zip(*tables, strict=True))
    return read_only(first), read_only(second), read_only(share)


def zoom_blur(images: U8, constants: Constants, seeds: U64) -> U8:
    """Average a picture with zooms into it by 1, 1 + step, …; constants: (stop, step). Draws nothing."""
    out = np.empty(images.shape, np.uint8)
    tables = _zoom_tables(images.shape[1], *constants)
    _zoom(planes(images), *tables, out.reshape(*out.shape[:2], -1))
    return out


BLUR = (
    Corruption(
        "defocus_blur",
        "blur",
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
        defocus_blur,
    ),
    Corruption(
        "glass_blur",
        "blur",
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        glass_blur,
    ),
    Corruption(
        "motion_blur",
        "blur",
        ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
        ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
        motion_blur,
    ),
    Corruption(
        "zoom_blur",
        "blur",
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        zoom_blur,
    ),
)
