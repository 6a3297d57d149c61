"""The embedded videos as pixels: a coloured digit moves over a soft background that drifts, with noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.draws import Draws
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import kernel
from pipeline.sources.digit_motions import SIZE

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]

CELLS = 8
"""A layer of the background repeats after so many cells."""

_LAYERS = ((14.0, 24.0), (5.0, 12.0))
"""Of the background: pixels a cell, and how far from the mean colour its corners go."""
_MAX_DRIFT = 0.4
_CONTRAST = 80.0
"""By how much at least a digit's luma is above that of the mean colour behind it."""
_NOISE = 6.0
"""The reach of each of the two uniforms whose sum is the noise; its deviation is 4.9 levels."""


class Scene(NamedTuple):
    """What a video shows beside the motion.

    Attributes:
        ground: float64 [3], the background's mean colour.
        ink: float64 [3], the digit's.
        corners: float64 [L, CELLS, CELLS, 3], what is added to the mean at the corners of each layer's cells.
        layers: float64 [L, 5]: pixels a cell; the first corner's place, y and x; its drift a frame, y and x.
        noise: uint64 [1], the state that the noise is drawn from.
    """

    ground: F64
    ink: F64
    corners: F64
    layers: F64
    noise: U64


def draw_scene(draws: Draws) -> Scene:
    """Draw colours, background and the noise's state."""
    ground = [draws.uniform(30, 130) for _ in range(3)]
    ink = ground
    while _luma(ink) < _luma(ground) + _CONTRAST:
        ink = [draws.uniform(0, 255) for _ in range(3)]
    corners = np.empty((len(_LAYERS), CELLS, CELLS, 3))
    layers = np.empty((len(_LAYERS), 5))
    for layer, (cell, reach) in enumerate(_LAYERS):
        flat = corners[layer].reshape(-1)
        flat[:] = [draws.uniform(-reach, reach) for _ in range(len(flat))]
        first = [draws.uniform(0, cell * CELLS) for _ in range(2)]
        layers[layer] = cell, *first, *(draws.uniform(-_MAX_DRIFT, _MAX_DRIFT) for _ in range(2))
    noise = np.array([draws.word()], np.uint64)
    return Scene(np.array(ground), np.array(ink), corners, layers, noise)


def render_scene(scene: Scene, places: F64, digit: U8) -> U8:
    """Return the frames of a video, uint8 [T, SIZE, SIZE, 3].

    Args:
        scene: as drawn; its noise's state stays as it is.
        places: float64 [T, 4], as of `draw_places`.
        digit: uint8 [D, D], the handwriting: 255 where there is ink.
    """
    out = np.empty((len(places), SIZE, SIZE, 3), np.uint8)
    ink = digit.astype(np.float64) / 255
    ground, colour, corners, layers, noise = scene
    _render(ground, colour, corners, layers, noise.copy(), places, ink, out)
    return out


def to_yuv420(frames: U8) -> U8:
    """Return frames [T, H, W, 3] of even sides as planes, uint8 [T, H·3/2, W]: Y, then U and V in halves.

    By ITU-R BT.601 in its limited range; a colour difference is that of the mean of 2×2 pixels.
    """
    num, height, width, _ = frames.shape
    out = np.empty((num, height * 3 // 2, width), np.uint8)
    _convert(frames, out.reshape(num, -1))
    return out


def _luma(colour: list[float]) -> float:
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


# ── kernels ──


@kernel
def _render(
    ground: F64,
    colour: F64,
    corners: F64,
    layers: F64,
    noise: U64,
    places: F64,
    ink: F64,
    out: U8,
) -> None:
    """Draw frames as in `render_scene`; of each pixel the digit's share is the mean of 2×2 points."""
    value = np.empty(3)
    for t in range(out.shape[0]):
        x0, y0, c, s = places[t, 0], places[t, 1], places[t, 2], places[t, 3]
        square = c * c + s * s
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                dy, dx = i + 0.5 - y0, j + 0.5 - x0
                share = 0.0
                if dy * dy + dx * dx < 2.5 * square + 4:  # else it is outside of the digit's square
                    for part in range(4):
                        v, u = dy - 0.25 + 0.5 * (part // 2), dx - 0.25 + 0.5 * (part % 2)
                        # the inverse of turning by the angle and scaling to half a side
                        v, u = (c * v - s * u) / square, (c * u + s * v) / square
                        share += 0.25 * _sample(ink, v, u)
                value[:] = ground
                for layer in range(layers.shape[0]):
                    _add_layer(corners[layer], layers[layer], t, i, j, value)
                for channel in range(3):
                    level = value[channel] + share * (colour[channel] - value[channel])
                    level += _NOISE * (2 * (next_unit(noise) + next_unit(noise)) - 2)
                    out[t, i, j, channel] = min(max(int(level + 0.5), 0), 255)


@kernel
def _sample(ink: F64, v: float, u: float) -> float:
    """Return the ink at (v, u) of [−1, 1]², bilinear; none outside."""
    side = ink.shape[0]
    y, x = (v + 1) * 0.5 * side - 0.5, (u + 1) * 0.5 * side - 0.5
    if not (-1 < y < side and -1 < x < side):
        return 0.0
    top, left = int(np.floor(y)), int(np.floor(x))
    fy, fx = y - top, x - left
    total = 0.0
    for a in range(2):
        for b in range(2):
            if 0 <= top + a < side and 0 <= left + b < side:
                weight = (fy if a else 1 - fy) * (fx if b else 1 - fx)
                total += weight * ink[top + a, left + b]
    return total


@kernel
def _add_layer(corners: F64, layer: F64, t: int, i: int, j: int, value: F64) -> None:
    """Add a layer's share of a pixel: its four corners, weighted by 3f² − 2f³ of the distances f."""
    cell = layer[0]
    y = (layer[1] + layer[3] * t + i) / cell + CELLS  # positive, however it drifts
    x = (layer[2] + layer[4] * t + j) / cell + CELLS
    top, left = int(y), int(x)
    fy, fx = y - top, x - left
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    top, left = top % CELLS, left % CELLS
    down, right = (top + 1) % CELLS, (left + 1) % CELLS
    for channel in range(3):
        above = corners[top, left, channel] * (1 - fx) + corners[top, right, channel] * fx
        below = corners[down, left, channel] * (1 - fx) + corners[down, right, channel] * fx
        value[channel] += above * (1 - fy) + below * fy


@kernel
def _convert(frames: U8, out: U8) -> None:
    """Convert as in `to_yuv420`, into planes end to end, uint8 [T, H·W·3/2]."""
    height, width = frames.shape[1], frames.shape[2]
    half = width // 2
    first_u = height * width
    first_v = first_u + height * width // 4
    for t in range(frames.shape[0]):
        for i in range(height):
            for j in range(width):
                red, green, blue = frames[t, i, j, 0], frames[t, i, j, 1], frames[t, i, j, 2]
                luma = 65.481 * red + 128.553 * green + 24.966 * blue
                out[t, i * width + j] = int(luma / 255 + 16.5)
        for i in range(height // 2):
            for j in range(half):
                red, green, blue = 0.0, 0.0, 0.0
                for a in range(2):
                    for b in range(2):
                        red += frames[t, 2 * i + a, 2 * j + b, 0]
                        green += frames[t, 2 * i + a, 2 * j + b, 1]
                        blue += frames[t, 2 * i + a, 2 * j + b, 2]
                u = (-37.797 * red - 74.203 * green + 112.0 * blue) / 1020
                v = (112.0 * red - 93.786 * green - 18.214 * blue) / 1020
                out[t, first_u + i * half + j] = int(u + 128.5)
                out[t, first_v + i * half + j] = int(v + 128.5)
