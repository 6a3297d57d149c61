"""Kernels of oriented band-pass textures: sums of plane waves, warped, masked, squashed and coloured.

Lengths are in sides of the picture, frequencies in cycles a side, phases in turns. A wave is a row
(frequency across, frequency down, phase, amplitude).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos
from pipeline.render.jit import inlined, kernel

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

COSINES = 1024
SUPERSAMPLING = 2
PLAIN, CROSSED = (
    0,
    1,
)  # what a layer does with its waves: add all, or multiply one half's sum by the other's


@kernel
def fill_cosines(table: F64) -> None:
    """Fill `table`, float64 [COSINES + 1], with one turn of the cosine."""
    for place in range(COSINES + 1):
        table[place] = cos(6.283185307179586 * place / COSINES)


@inlined
def _wave(row: F64, x: float, y: float, table: F64) -> float:
    turns = row[0] * x + row[1] * y + row[2]
    place = (turns - math.floor(turns)) * COSINES
    whole = min(int(place), COSINES - 1)
    low = table[whole]
    value: float = row[3] * (low + (place - whole) * (table[whole + 1] - low))
    return value


@kernel
def _sum(waves: F64, first: int, last: int, x: float, y: float, table: F64) -> float:
    total = 0.0
    for place in range(first, last):
        total += _wave(waves[place], x, y, table)
    return total


@kernel
def paint(
    layers: F64, shapes: F64, masks: F64, warps: F64, colours: F64, table: F64, out: U8
) -> None:
    """Draw layers of waves over a ground.

    Args:
        layers: float64 [L, K, 4], the waves of each layer, of variance about 1 in all.
        shapes: float64 [L, 2]: PLAIN or CROSSED, and how soft its edges are: tone t becomes
            t / √(softness² + t²).
        masks: float64 [L, M, 4], slow waves; a layer shows where their sum is above −0.5, in full above 0.5.
        warps: float64 [2, W, 4], slow waves that shift what is seen at a point, across and down.
        colours: float64 [L + 1, 3]: what tone 1 of each layer adds to red, green and blue; then the ground.
            The sum v becomes (1 + v / √(1 + v²)) / 2.
        table: float64 [COSINES + 1], from `fill_cosines`.
        out: uint8 [size, size, 3], written; each pixel averages 2×2 points.
    """
    size = out.shape[0]
    num_layers, num_waves = layers.shape[0], layers.shape[1]
    half = num_waves // 2
    step = 1.0 / (size * SUPERSAMPLING)
    value, total = np.empty(3), np.empty(3)
    for row in range(size):
        for column in range(size):
            total[:] = 0.0
            for part in range(SUPERSAMPLING * SUPERSAMPLING):
                y = (row * SUPERSAMPLING + part // SUPERSAMPLING + 0.5) * step
                x = (column * SUPERSAMPLING + part % SUPERSAMPLING + 0.5) * step
                u = x + _sum(warps[0], 0, warps.shape[1], x, y, table)
                v = y + _sum(warps[1], 0, warps.shape[1], x, y, table)
                for channel in range(3):
                    value[channel] = colours[num_layers, channel]
                for layer in range(num_layers):
                    mask = _sum(masks[layer], 0, masks.shape[1], x, y, table)
                    mask = min(max(mask + 0.5, 0.0), 1.0)
                    if mask == 0.0:
                        continue
                    waves = layers[layer]
                    tone = _sum(waves, 0, half, u, v, table)
                    if shapes[layer, 0] == CROSSED:
                        tone *= 2.0 * _sum(waves, half, num_waves, u, v, table)
                    else:
                        tone += _sum(waves, half, num_waves, u, v, table)
                    softness = shapes[layer, 1]
                    tone *= mask / math.sqrt(softness * softness + tone * tone)
                    for channel in range(3):
                        value[channel] += tone * colours[layer, channel]
                for channel in range(3):
                    one = value[channel]
                    total[channel] += 0.5 + 0.5 * one / math.sqrt(1.0 + one * one)
            for channel in range(3):
                mean = total[channel] / (SUPERSAMPLING * SUPERSAMPLING)
                out[row, column, channel] = int(mean * 255.0 + 0.5)
