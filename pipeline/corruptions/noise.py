"""Gaussian, shot and impulse noise (Hendrycks & Dietterich, ICLR 2019)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.corruptions.base import (
    F64,
    U8,
    U64,
    Constants,
    Corruption,
    fill_normals,
    finish,
    rows,
)
from pipeline.pictures.splitmix import next_unit, next_word
from pipeline.render.jit import kernel, read_only

_GUIDES = 64
_NEGLIGIBLE = 1e-19  # of the largest probability: no draw of 53 bits ever meets the rest


@kernel
def _add_normals(images: U8, deviation: float, seeds: U64, out: U8) -> None:
    """Add N(0, deviation) to each value: `images` and `out` uint8 [n, N], `seeds` uint64 [n]."""
    num = images.shape[1]
    normals, state = np.empty(num), np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        fill_normals(state, normals)
        source, result = images[i], out[i]
        for k in range(num):
            result[k] = finish(source[k] / 255.0 + deviation * normals[k])


def gaussian_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Add to each value of 0…1 its own normal number; constants: (standard deviation,)."""
    out = np.empty(images.shape, np.uint8)
    _add_normals(rows(images), constants[0], read_only(seeds), out.reshape(len(out), -1))
    return out


@kernel
def _fill_poisson(scale: float, cumulated: F64, guide: U8) -> None:
    """Fill the distribution of the byte that each byte becomes under shot noise.

    Poisson probabilities follow from their ratios, from the most probable number outwards.

    Args:
        scale: photons that white stands for.
        cumulated: float64 [256, 256], gets P(result ≤ column) for each value, a row.
        guide: uint8 [256, 64], gets the least result r with P(≤ r) > column/64.
    """
    cumulated[:] = 0.0
    for value in range(256):
        mean, row = value / 255.0 * scale, cumulated[value]
        mode = int(mean)
        share, number = 1.0, mode
        while share > _NEGLIGIBLE:
            row[finish(number / scale)] += share
            number += 1
            share *= mean / number
        share, number = mode / mean if mean > 0.0 else 0.0, mode - 1
        while share > _NEGLIGIBLE and number >= 0:
            row[finish(number / scale)] += share
            share *= number / mean
            number -= 1
        for k in range(1, 256):
            row[k] += row[k - 1]
        total = row[255]
        for k in range(256):
            row[k] = row[k] / total if row[k] < total else 1.0
        place = 0
        for k in range(guide.shape[1]):
            while row[place] <= k / guide.shape[1]:
                place += 1
            guide[value, k] = place


@lru_cache(maxsize=16)
def _poisson_table(scale: float) -> tuple[F64, U8]:
    cumulated, guide = np.empty((256, 256)), np.empty((256, _GUIDES), np.uint8)
    _fill_poisson(scale, cumulated, guide)
    return read_only(cumulated), read_only(guide)


@kernel
def _shoot(images: U8, cumulated: F64, guide: U8, seeds: U64, out: U8) -> None:
    """Replace each value by one drawn from its row of `cumulated`: uint8 [n, N] both."""
    state = np.empty(1, np.uint64)
    num_guides = guide.shape[1]
    for i in range(len(images)):
        state[0] = seeds[i]
        source, result = images[i], out[i]
        for k in range(source.size):
            unit, value = next_unit(state), source[k]
            row = cumulated[value]
            place = np.int64(guide[value, np.int64(unit * num_guides)])
            while row[place] <= unit:
                place += 1
            result[k] = place


def shot_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Count photons: Poisson(x·c)/c for each value x of 0…1; constants: (c,), c > 0.

    Exact: every value's distribution of resulting bytes is tabulated and inverted.
    """
    out = np.empty(images.shape, np.uint8)
    cumulated, guide = _poisson_table(constants[0])
    _shoot(rows(images), cumulated, guide, read_only(seeds), out.reshape(len(out), -1))
    return out


@kernel
def _salt_and_pepper(images: U8, probability: float, seeds: U64, out: U8) -> None:
    """Make values 0 or 255 with this probability: `images` and `out` uint8 [n, N]."""
    state = np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        source, result = images[i], out[i]
        for k in range(source.size):
            word = next_word(state)
            replaced = float(word >> np.uint64(11)) * 2.0**-53 < probability
            extreme = np.uint8(255) if word & np.uint64(1) else np.uint8(0)
            result[k] = extreme if replaced else source[k]


def impulse_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Make each value 0 or 255, equally likely, with some probability; constants: (probability,)."""
    out = np.empty(images.shape, np.uint8)
    _salt_and_pepper(rows(images), constants[0], read_only(seeds), out.reshape(len(out), -1))
    return out


NOISE = (
    Corruption(
        "gaussian_noise",
        "noise",
        ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
        gaussian_noise,
    ),
    Corruption(
        "shot_noise",
        "noise",
        ((500.0,), (250.0,), (100.0,), (75.0,), (50.0,)),
        ((60.0,), (25.0,), (12.0,), (5.0,), (3.0,)),
        shot_noise,
    ),
    Corruption(
        "impulse_noise",
        "noise",
        ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
        impulse_noise,
    ),
)
