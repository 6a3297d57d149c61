"""Oriented textures in the likeness of feature visualisations, without a network.

What excites units of a network's first layers are gratings, grids and labyrinths of one scale, in a few
opponent colours (Olah et al., "Zoom In", Distill 2020). Sums of plane waves whose directions and
frequencies lie close together look like that (Lagae et al., "Procedural Noise using Sparse Gabor
Convolution", SIGGRAPH 2009). Layers of them, each with its own place in the picture, are bent by a
slow warp.

They stand in the default library for `fvis`, which needs torch and is no function of its seed alone.
A picture is a pure function of (seed, index, attempt, size), the same bytes on every host.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from pipeline.pictures import gabor_kernels as kernels
from pipeline.pictures.draws import Draws

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x4741424F52  # "GABOR"
_NUM_WAVES = 10  # of a layer
_NUM_SLOW = 3  # of a mask, and of a warp in each direction
_FINEST, _COARSEST = 16.0, 4.0  # cycles a side: periods of 4 and 16 pixels at 64
_MOST = 5  # layers

# Principal colours of photographs: light, orange-blue, green-magenta.
_COLOURS = ((0.56, 0.69, 0.35), (0.59, 0.0, -0.86), (0.58, -0.72, 0.37))
_STRENGTHS = (1.1, 0.8, 0.7)


def render_gabor(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write texture `index` of the family `seed` into `out`, uint8 [size, size, 3], size ≥ 8.

    `attempt` ≥ 0 is another independent draw of the same picture.
    """
    draws = Draws(seed, _PURPOSE, index, attempt)
    num_layers = 2 + draws.choice(_MOST - 1)
    scale = _log_uniform(draws, _COARSEST, _FINEST)
    layers = np.empty((num_layers, _NUM_WAVES, 4))
    shapes = np.empty((num_layers, 2))
    masks = np.empty((num_layers, _NUM_SLOW, 4))
    colours = np.empty((num_layers + 1, 3))
    for layer in range(num_layers):
        crossed = draws.uniform(0, 1) < 0.4
        shapes[layer] = kernels.CROSSED if crossed else kernels.PLAIN, draws.uniform(0.15, 0.8)
        # Layers share a scale within an octave, as the units of one layer of a network do.
        frequency = min(scale * _log_uniform(draws, 0.7, 1.4), _FINEST)
        _fill_layer(layers[layer], frequency, crossed, draws)
        _fill_slow(masks[layer], draws.uniform(0.6, 1.2), draws)
        if layer == 0:
            masks[layer, :, 3] *= 0.3
            masks[layer, 0] = (
                0.0,
                0.0,
                0.0,
                0.4,
            )  # shown nearly everywhere, so that no place is empty
        colours[layer] = _draw_colour(draws, 1.0)
    colours[num_layers] = _draw_colour(draws, 0.5)
    warps = np.empty((2, _NUM_SLOW, 4))
    strength = _log_uniform(draws, 0.1, 1.6) / scale
    for direction in range(2):
        _fill_slow(warps[direction], strength, draws)
    kernels.paint(layers, shapes, masks, warps, colours, _cosines(), out)


def _fill_layer(waves: F64, frequency: float, crossed: bool, draws: Draws) -> None:
    """Draw a layer's waves: around one direction, or two at an angle, or (a fifth) around all."""
    spread = draws.uniform(0.05, 0.35) if draws.uniform(0, 1) < 0.8 else 4.0
    octaves = draws.uniform(1.0, 1.5) if spread < 1 else 0.5
    axis = draws.direction()
    other = draws.direction()
    amplitude = math.sqrt(2.0 / (_NUM_WAVES // 2 if crossed else _NUM_WAVES))
    for place in range(_NUM_WAVES):
        along = other if crossed and place >= _NUM_WAVES // 2 else axis
        x, y = along[0] + spread * draws.normal(), along[1] + spread * draws.normal()
        length = math.sqrt(x * x + y * y) + 1e-9
        here = frequency * _log_uniform(draws, 1 / (1 + octaves / 2), 1 + octaves / 2)
        waves[place] = here * x / length, here * y / length, draws.uniform(0, 1), amplitude


def _fill_slow(waves: F64, strength: float, draws: Draws) -> None:
    """Draw slow waves whose sum has the standard deviation `strength`."""
    for place in range(len(waves)):
        x, y = draws.direction()
        frequency = draws.uniform(0.5, 2.0)
        amplitude = strength * math.sqrt(2.0 / len(waves))
        waves[place] = frequency * x, frequency * y, draws.uniform(0, 1), amplitude


def _draw_colour(draws: Draws, strength: float) -> list[float]:
    parts = [draws.normal() * strength * share for share in _STRENGTHS]
    return [
        parts[0] * _COLOURS[0][k] + parts[1] * _COLOURS[1][k] + parts[2] * _COLOURS[2][k]
        for k in range(3)
    ]


def _log_uniform(draws: Draws, low: float, high: float) -> float:
    """Return a number of [low, high), near to uniform in its logarithm: the square of a uniform root."""
    root = draws.uniform(math.sqrt(low), math.sqrt(high))
    return root * root


@functools.lru_cache(maxsize=1)
def _cosines() -> F64:
    table = np.empty(kernels.COSINES + 1)
    kernels.fill_cosines(table)
    return table
