"""Sequences that leave the camera where it is: noise, blur, snow and brightness.

Of CIFAR-P and ImageNet-P (Hendrycks & Dietterich, ICLR 2019). Each takes uint8 [n, S, S, 3] and returns
uint8 [n, F, S, S, 3]. Noises have a clean first frame, and a seed of its own for each other one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.corruptions.base import (
    F64,
    U8,
    U64,
    Constants,
    fill_normals,
    finish,
    planes,
    rows,
)
from pipeline.corruptions.filters import (
    Zoom,
    gauss,
    gaussian_weights,
    motion,
    motion_weights,
    zoom_table,
)
from pipeline.corruptions.noise import gaussian_noise, shot_noise
from pipeline.corruptions.snow import draw_flakes, lay_snow
from pipeline.corruptions.weather import brightness
from pipeline.pictures.splitmix import next_word
from pipeline.render.jit import kernel, read_only


@kernel
def _fill_seeds(seeds: U64, out: U64) -> None:
    """Fill `out`, uint64 [n, F], with words of a SplitMix64 from each of `seeds`, uint64 [n]."""
    state = np.empty(1, np.uint64)
    for sample in range(out.shape[0]):
        state[0] = seeds[sample]
        for k in range(out.shape[1]):
            out[sample, k] = next_word(state)


def _noisy(
    apply: Callable[[U8, Constants, U64], U8],
    images: U8,
    num: int,
    constants: Constants,
    seeds: U64,
) -> U8:
    """Put noise of its own on each frame but the first."""
    frame_seeds = np.empty((len(images), num - 1), np.uint64)
    _fill_seeds(read_only(seeds), frame_seeds)
    out = np.empty((len(images), num, *images.shape[1:]), np.uint8)
    out[:, 0] = images
    for k in range(1, num):
        out[:, k] = apply(images, constants, frame_seeds[:, k - 1])
    return out


def gaussian_noises(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Add normal noise; constants: (deviation,)."""
    return _noisy(gaussian_noise, images, num, constants, seeds)


def shot_noises(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Count photons; constants: (photons of white,)."""
    return _noisy(shot_noise, images, num, constants, seeds)


@kernel
def _speckle(images: U8, deviation: float, seeds: U64, out: U8) -> None:
    """Multiply each value by 1 + N(0, deviation): `images` and `out` uint8 [n, N], `seeds` uint64 [n]."""
    normals, state = np.empty(images.shape[1]), np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        fill_normals(state, normals)
        for k in range(normals.size):
            value = images[sample, k] / 255.0
            out[sample, k] = finish(value + value * (deviation * normals[k]))


def _speckled(images: U8, constants: Constants, seeds: U64) -> U8:
    out = np.empty(images.shape, np.uint8)
    _speckle(rows(images), constants[0], read_only(seeds), out.reshape(len(out), -1))
    return out


def speckle_noises(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Multiply by normal noise about 1; constants: (deviation,)."""
    return _noisy(_speckled, images, num, constants, seeds)


@kernel
def _motion_blurs(images: U8, weights: F64, start: float, step: float, out: U8) -> None:
    """Blur `images`, uint8 [n, S, S·3], along start, start + step, … degrees: `out`, uint8 [n, F, S, S·3]."""
    size, width = images.shape[1:]
    padded, line = np.empty((size, width + 6 * weights.size)), np.empty(width)
    for sample in range(images.shape[0]):
        for k in range(out.shape[1]):
            motion(images[sample], 3, weights, start + step * k, padded, line, out[sample, k])


def motion_blurs(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Blur along a turning ray; constants: (radius, σ, degrees of the first frame, degrees a frame)."""
    radius, sigma, start, step = constants
    out = np.empty((len(images), num, size, size * 3), np.uint8)
    _motion_blurs(planes(images), motion_weights(radius, sigma), start, step, out)
    return out.reshape(len(images), num, size, size, 3)


@kernel
def _snows(
    images: U8,
    law: tuple[float, float, float],
    zoom: Zoom,
    weights: F64,
    mix: float,
    seeds: U64,
    out: U8,
) -> None:
    """Let the same flakes fall ever more steeply: `images` uint8 [n, S, S·3], `out` uint8 [n, F, S, S·3]."""
    size = images.shape[1]
    scratch, padded = np.empty((2, size, size)), np.empty((size, size + 2 * weights.size))
    still, falling = np.empty((size, size), np.uint8), np.empty((size, size), np.uint8)
    line, state = np.empty(size), np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        draw_flakes(state, law, zoom, scratch, still)
        for k in range(out.shape[1]):
            motion(still, 1, weights, 4.0 * k - 150.0, padded, line, falling)
            lay_snow(images[sample], falling, mix, out[sample, k])


def snows(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Let it snow in a direction that turns from −150° by 4° a frame; constants: as of `snow.snow`."""
    mean, deviation, zoom, threshold, radius, sigma, mix = constants
    law, table = (mean, deviation, threshold), zoom_table(size, zoom)
    out = np.empty((len(images), num, size, size * 3), np.uint8)
    weights = motion_weights(radius, sigma)
    _snows(planes(images), law, table, weights, mix, read_only(seeds), out)
    return out.reshape(len(images), num, size, size, 3)


def brightnesses(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Add step · (k − 15) to the value of HSV colours; constants: (step,)."""
    out = np.empty((len(images), num, size, size, 3), np.uint8)
    for k in range(num):
        out[:, k] = brightness(images, (constants[0] * (k - 15),), seeds)
    return out


@kernel
def _gaussian_blur(images: U8, weights: F64, out: U8) -> None:
    """Blur `images` to `out`, both uint8 [n, S, S·3]."""
    size, width = images.shape[1:]
    plane, scratch = np.empty((size, width)), np.empty((size, width))
    line = np.empty(width + 3 * weights.size)
    for sample in range(images.shape[0]):
        for y in range(size):
            for x in range(width):
                plane[y, x] = images[sample, y, x] / 255.0
        gauss(plane, 3, weights, scratch, line)
        for y in range(size):
            for x in range(width):
                out[sample, y, x] = finish(plane[y, x])


def gaussian_blurs(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Blur by a growing Gaussian; constants: (σ of the first frame, growth a frame, radius in σ)."""
    start, step, truncate = constants
    out = np.empty((num, len(images), size, size * 3), np.uint8)
    for k in range(num):
        weights = gaussian_weights(start + step * k, truncate)
        _gaussian_blur(planes(images), weights, out[k])
    return np.ascontiguousarray(out.reshape(num, len(images), size, size, 3).swapaxes(0, 1))
