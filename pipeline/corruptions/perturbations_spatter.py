"""Drops of water that run down a picture, of CIFAR-P and ImageNet-P (Hendrycks & Dietterich, ICLR 2019).

A drop is lit as a relief that rises with the distance from edges, which come from
`pipeline.corruptions.perturbations_edges`. The steps after that are those of OpenCV's `equalizeHist`,
`filter2D` and `blur`.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import (
    F32,
    F64,
    U8,
    U64,
    Constants,
    fill_normals,
    finish,
)
from pipeline.corruptions.filters import gauss, gaussian_weights
from pipeline.corruptions.perturbations_edges import fill_distances, find_edges
from pipeline.render.jit import kernel, read_only

_STRENGTH = np.float32(0.6)
_TOGETHER = 32
"""Pictures worked on side by side."""

_WATER = (175.0 / 255.0, 238.0 / 255.0, 238.0 / 255.0)


@kernel
def equalise(values: U8) -> None:
    """Spread bytes so that their cumulated histogram is straight, the least becoming 0; uint8 [S, S]."""
    counts = np.zeros(256, np.int64)
    for value in values.ravel():
        counts[value] += 1
    least = 0
    while counts[least] == 0:
        least += 1
    if counts[least] == values.size:
        return
    scale = np.float32(255.0) / np.float32(values.size - counts[least])
    table, total = np.zeros(256, np.uint8), 0
    for k in range(least + 1, 256):
        total += counts[k]
        table[k] = np.uint8(np.rint(np.float32(total) * scale))
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            values[row, column] = table[values[row, column]]


@kernel
def _fill_box_sums(field: F64, out: F64) -> None:
    """Fill sums over 3 × 3; borders are mirrored without repeating the edge. float64 [S, S] both, S ≥ 2."""
    last = field.shape[0] - 1
    for row in range(last + 1):
        above = field[row - 1] if row > 0 else field[1]
        below = field[row + 1] if row < last else field[last - 1]
        here = field[row]
        for column in range(last + 1):
            left = column - 1 if column > 0 else 1
            right = column + 1 if column < last else last - 1
            total = above[left] + above[column] + above[right]
            total += here[left] + here[column] + here[right]
            out[row, column] = total + (below[left] + below[column] + below[right])


@kernel
def _light(relief: U8, out: F64) -> None:
    """Light a relief from the upper left: differences across the falling diagonal, clipped to bytes."""
    last = relief.shape[0] - 1
    for row in range(last + 1):
        above = relief[row - 1] if row > 0 else relief[1]
        below = relief[row + 1] if row < last else relief[last - 1]
        here = relief[row]
        for column in range(last + 1):
            left = column - 1 if column > 0 else 1
            right = column + 1 if column < last else last - 1
            total = 1.0 * here[column] + here[right] + below[column] + 2.0 * below[right]
            total -= 2.0 * above[left] + above[column] + here[left]
            out[row, column] = min(max(total, 0.0), 255.0)


@kernel
def shade(layer: U8, distances: F64, out: F32) -> None:
    """Write how much water is seen where, 0 to 0.6.

    Args:
        layer: uint8 [S, S], the water's thickness.
        distances: float64 [S, S], from edges of the water; overwritten.
        out: float32 [S, S], written; all 0 where there is no water.
    """
    side = layer.shape[0]
    sums, relief = np.empty((side, side)), np.empty((side, side), np.uint8)
    _fill_box_sums(distances, sums)
    for row in range(side):
        for column in range(side):
            relief[row, column] = np.uint8(sums[row, column] / 9.0)
    equalise(relief)
    _light(relief, distances)
    _fill_box_sums(distances, sums)
    most = np.float32(0.0)
    for row in range(side):
        for column in range(side):
            lit = np.float32(np.rint(sums[row, column] / 9.0))
            out[row, column] = np.float32(layer[row, column]) * lit
            most = max(most, out[row, column])
    for row in range(side):
        for column in range(side):
            share = out[row, column] / most if most > np.float32(0.0) else np.float32(0.0)
            out[row, column] = share * _STRENGTH


# What follows is compiled step by step, for a kernel that calls all of the others takes long to compile.


@kernel
def _pour(
    mean: float, deviation: float, weights: F64, threshold: float, seeds: U64, water: F64
) -> None:
    """Fill `water`, float64 [n, S, S]: blurred normal numbers, 0 below the threshold."""
    size = water.shape[1]
    scratch, line = np.empty((size, size)), np.empty(size + weights.size)
    state = np.empty(1, np.uint64)
    for sample in range(water.shape[0]):
        state[0] = seeds[sample]
        drops = water[sample]
        fill_normals(state, drops.reshape(-1))
        for y in range(size):
            for x in range(size):
                drops[y, x] = mean + deviation * drops[y, x]
        gauss(drops, 1, weights, scratch, line)
        for y in range(size):
            for x in range(size):
                drops[y, x] = drops[y, x] if drops[y, x] >= threshold else 0.0


@kernel
def _find_all_edges(layers: U8, edges: U8) -> None:
    for sample in range(layers.shape[0]):
        find_edges(layers[sample], edges[sample])


@kernel
def _fill_all_distances(edges: U8, distances: F64) -> None:
    for sample in range(edges.shape[0]):
        fill_distances(edges[sample], distances[sample])


@kernel
def _shade_all(layers: U8, distances: F64, seen: F32) -> None:
    for sample in range(layers.shape[0]):
        shade(layers[sample], distances[sample], seen[sample])


@kernel
def _wet(images: U8, seen: F32, out: U8) -> None:
    """Add water to `images`: `images` and `out` uint8 [n, N, 3], `seen` float32 [n, N]."""
    for sample in range(images.shape[0]):
        for k in range(images.shape[1]):
            for channel in range(3):
                value = images[sample, k, channel] / 255.0
                value += seen[sample, k] * _WATER[channel]
                out[sample, k, channel] = finish(value)


@kernel
def _run_down(water: F64, run: F64) -> None:
    """Convolve the columns of `water`, float64 [n, S, S], with `run`, its middle at (length − 1) // 2."""
    size, middle = water.shape[1], (run.size - 1) // 2
    moved = np.empty((size, size))
    for sample in range(water.shape[0]):
        for y in range(size):
            for x in range(size):
                moved[y, x] = 0.0
            for k in range(run.size):
                source = y + middle - k
                if 0 <= source < size:
                    for x in range(size):
                        moved[y, x] += run[k] * water[sample, source, x]
        for y in range(size):
            for x in range(size):
                water[sample, y, x] = moved[y, x]


def spatters(images: U8, size: int, num: int, constants: Constants, seeds: U64) -> U8:
    """Spatter with water that runs down.

    Constants: (mean and deviation of normal numbers, σ of their blur, least thickness of a drop, then the
    weights by which each frame's drops become the next one's).
    """
    mean, deviation, sigma, threshold, *run = constants
    out = np.empty((num, len(images), size * size, 3), np.uint8)
    for start in range(0, len(images), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        pictures = read_only(images[some].reshape(-1, size * size, 3))
        water = np.empty((len(pictures), size, size))
        distances, edges = np.empty_like(water), np.empty(water.shape, np.uint8)
        seen = np.empty(water.shape, np.float32)
        _pour(mean, deviation, gaussian_weights(sigma), threshold, read_only(seeds[some]), water)
        for k in range(num):
            layers = (np.clip(water, 0.0, 1.0) * 255.0).astype(np.uint8)
            _find_all_edges(layers, edges)
            _fill_all_distances(edges, distances)
            _shade_all(layers, distances, seen)
            _wet(pictures, seen.reshape(len(pictures), -1), out[k, some])
            _run_down(water, np.array(run))
    return np.ascontiguousarray(out.swapaxes(0, 1).reshape(len(images), num, size, size, 3))
