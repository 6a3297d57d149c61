"""The default network of feature visualisations: random weights in the likeness of early vision.

Trained networks agree on their first layers (Olah et al., "An Overview of Early Vision in InceptionV1",
Distill 2020): oriented bands, colour opponents and centre-surround spots, then units that see them
arranged in lines, arcs, circles, rays, spirals and crosses, with one colour inside and another outside,
then units that see several of those side by side. Here each is drawn at random, so that no weights
need to be shipped or downloaded. Every network number is another draw of all sizes and filters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.draws import Draws

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

CYCLE = (1, 2, 0, 1, 2)
"""Layers in the order that groups of pictures look at them: few of the first, whose bands are alike."""

_SIZES = ((5, 1, True), (7, 1, True), (7, 2, False), (9, 2, False), (11, 2, True))
# The first layer: side of its filters, stride, whether it is pooled.

_PURPOSE = 0x464E4554  # "FNET"
_OPPONENTS = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])


class Layer(NamedTuple):
    """One convolution with zero padding of (k − 1)/2, before its ReLU.

    Attributes:
        weight: float32 [out, in / groups, k, k].
        bias: float32 [out].
        stride: pixels.
        pooled: whether 2×2 average pooling stands between this layer's ReLU and the next layer.
    """

    weight: F32
    bias: F32
    stride: int = 1
    pooled: bool = False


class _Filters(NamedTuple):
    """First-layer filters and what each of them sees."""

    weight: F64  # [out, 3, k, k]
    angles: F64  # [out], of the normal to the bands, radians
    waves: F64  # [out], log2 of the wavelength in pixels
    colours: F64  # [out, 3], unit vectors


def draw_layers(seed: int, number: int) -> tuple[Layer, ...]:
    """Return the three layers of network `number` of the family `seed`."""
    draws = Draws(seed, _PURPOSE, number, 0)
    side, stride, pooled = _SIZES[draws.choice(len(_SIZES))]
    filters = _draw_filters(draws, (24, 32)[draws.choice(2)], side, 3.2 if stride == 1 else 4.5)
    second = _draw_arrangements(draws, 32, (5, 5, 7)[draws.choice(3)], filters)
    third = _draw_assemblies(draws, 32, second.shape[0])
    return (
        _layer(filters.weight, stride, pooled),
        _layer(second, 1, True),
        _layer(third),
    )


def _layer(weight: F64, stride: int = 1, pooled: bool = False) -> Layer:
    bias = np.zeros(len(weight), np.float32)
    return Layer(np.ascontiguousarray(weight, np.float32), bias, stride, pooled)


def _of_length_one(weight: F64) -> F64:
    scaled: F64 = weight / np.sqrt((weight * weight).sum((1, 2, 3), keepdims=True))
    return scaled


def _draw_filters(draws: Draws, count: int, side: int, finest: float) -> _Filters:
    """Draw Gabor filters, a fifth of them round instead, each along one direction of colour."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    weight = np.empty((count, 3, side, side))
    angles, waves, colours = np.empty(count), np.empty(count), np.empty((count, 3))
    turn = draws.uniform(0, 1)
    for k in range(count):
        angles[k] = math.pi * ((0.618034 * k + turn) % 1 + draws.uniform(-0.03, 0.03))
        wave = finest * (1.2 * side / finest) ** draws.uniform(0, 1)
        waves[k] = math.log2(wave)
        colours[k] = _draw_colour(draws)
        across = x * math.cos(angles[k]) + y * math.sin(angles[k])
        along = y * math.cos(angles[k]) - x * math.sin(angles[k])
        width = wave * draws.uniform(0.35, 0.5)
        if draws.uniform(0, 1) < 0.2:
            spot = np.exp(-(x * x + y * y) / (2 * (0.6 * width) ** 2))
            ring = np.exp(-(x * x + y * y) / (2 * (1.2 * width) ** 2))
            band = spot / spot.sum() - ring / ring.sum()
        else:
            phase = draws.uniform(0, 2 * math.pi)
            envelope = np.exp(-(across**2 + 0.5 * along**2) / (2 * width**2))
            band = envelope * np.cos(2 * math.pi * across / wave + phase)
            band -= envelope * (band.sum() / envelope.sum())
        weight[k] = colours[k][:, None, None] * (band / np.sqrt((band * band).sum()))
    return _Filters(weight, angles, waves, colours)


def _draw_colour(draws: Draws) -> F64:
    """Draw a direction of colour: light, red-green, yellow-blue, or any."""
    which = draws.uniform(0, 1)
    if which < 0.3:
        colour = _OPPONENTS[0]
    elif which < 0.5:
        colour = _OPPONENTS[1]
    elif which < 0.65:
        colour = _OPPONENTS[2]
    else:
        mix = np.array([draws.uniform(-1, 1) for _ in range(3)])
        colour = mix / math.sqrt(max(float((mix * mix).sum()), 1e-6))
    signed: F64 = colour if draws.word() & 1 else -colour
    return signed


def _draw_arrangements(draws: Draws, count: int, side: int, filters: _Filters) -> F64:
    """Draw units that see the first layer's filters arranged along a field of directions."""
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / ((side - 1) / 2)
    radius = np.sqrt(x * x + y * y)
    weight = np.empty((count, len(filters.angles), side, side))
    for k in range(count):
        angle = _draw_field(draws, x, y)[None]
        wave = draws.uniform(float(filters.waves.min()), float(filters.waves.max()))
        inner, outer = _draw_colour(draws), _draw_colour(draws)
        share = np.clip(1.5 * radius - draws.uniform(0, 0.8), 0, 1)[..., None]
        colour = inner * (1 - share) + outer * share
        likes = np.exp(5 * np.cos(2 * (filters.angles[:, None, None] - angle)) - 5)
        likes *= np.exp(-((filters.waves - wave) ** 2) / (2 * 0.5**2))[:, None, None]
        likes *= np.maximum(0.15 + np.einsum("yxc,kc->kyx", colour, filters.colours), 0.01)
        likes *= np.exp(-(radius**2) / draws.uniform(0.8, 2.5))
        keep = np.array([draws.uniform(0, 1) for _ in filters.angles]) < draws.uniform(0.4, 1)
        likes *= np.where(keep, 1.0, 0.1)[:, None, None]
        weight[k] = likes - draws.uniform(0.7, 1.2) * likes.mean()
    return _of_length_one(weight)


def _draw_field(draws: Draws, x: F64, y: F64) -> F64:
    """Draw the direction that a unit prefers at each offset: lines, circles, rays, arcs, crosses …"""
    bearing, tilt = np.arctan2(y, x), draws.uniform(0, math.pi)
    kind = draws.choice(8)
    if kind == 0:  # a straight grating
        return np.full_like(x, tilt)
    if kind == 1:  # circles: bands whose normal points outwards
        return bearing
    if kind == 2:  # rays
        return bearing + math.pi / 2
    if kind == 3:  # spirals
        return bearing + tilt
    if kind == 4:  # saddles
        return tilt - bearing
    if kind == 5:  # two directions, side by side
        return np.where(x * math.cos(tilt) + y * math.sin(tilt) > 0, tilt, tilt + math.pi / 2)
    bend = draws.uniform(0.5, 1.6)  # arcs and waves
    along = y * math.cos(tilt) - x * math.sin(tilt)
    return tilt + bend * (along if kind == 6 else np.abs(along))


def _draw_assemblies(draws: Draws, count: int, below: int) -> F64:
    """Draw units that see a few units of the layer below side by side, and shun a few others."""
    weight = np.zeros((count, below, 3, 3))
    for k in range(count):
        for _ in range(2 + draws.choice(3)):
            unit = draws.choice(below)
            for _ in range(1 + draws.choice(4)):
                weight[k, unit, draws.choice(3), draws.choice(3)] += draws.uniform(0.5, 1)
        liked = weight[k].sum()
        shunned = [draws.choice(below) for _ in range(6)]
        for unit in shunned:
            weight[k, unit] -= 0.8 * liked / (9 * len(shunned))
    return _of_length_one(weight)
