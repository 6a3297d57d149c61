"""Snow (Hendrycks & Dietterich, ICLR 2019): flakes from noise, blurred as they fall, on a whiter picture."""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, Constants, fill_normals, finish, planes
from pipeline.corruptions.filters import Zoom, clipped_zoom, motion, motion_weights, zoom_table
from pipeline.pictures.splitmix import next_signed
from pipeline.render.jit import inlined, kernel, read_only

_RED, _GREEN, _BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)


@kernel
def draw_flakes(
    state: U64, law: tuple[float, float, float], zoom: Zoom, scratch: F64, out: U8
) -> None:
    """Draw flakes that do not fall yet: normal numbers zoomed into, without those below a threshold.

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        law: mean and deviation of the numbers, and the threshold.
        zoom: of `zoom_table`.
        scratch: float64 [2, S, S], overwritten.
        out: uint8 [S, S], written.
    """
    mean, deviation, threshold = law
    size = len(out)
    normals, zoomed = scratch[0], scratch[1]
    fill_normals(state, normals.reshape(-1))
    for y in range(size):
        for x in range(size):
            normals[y, x] = mean + deviation * normals[y, x]
    clipped_zoom(normals, 1, zoom.first, zoom.second, zoom.share, np.empty(size), zoomed)
    for y in range(size):
        for x in range(size):
            value = zoomed[y, x]
            out[y, x] = finish(value) if value >= threshold else np.uint8(0)


@inlined
def _whiten(value: np.float32, white: np.float32, kept: np.float32, rest: np.float32) -> float:
    return float(kept * value + rest * max(value, white))


@kernel
def lay_snow(picture: U8, flakes: U8, mix: float, out: U8) -> None:
    """Whiten a picture towards its brightness and add flakes, and the same flakes turned by 180°.

    Args:
        picture: uint8 [S, S·3].
        flakes: uint8 [S, S].
        mix: the share of the picture that is kept as it is.
        out: uint8 [S, S·3], written.
    """
    size, full = len(flakes), np.float32(255.0)
    kept, rest = np.float32(mix), np.float32(1.0 - mix)
    for y in range(size):
        source, result = picture[y], out[y]
        layer, turned = flakes[y], flakes[size - 1 - y]
        for x in range(size):
            red, green = np.float32(source[3 * x]) / full, np.float32(source[3 * x + 1]) / full
            blue = np.float32(source[3 * x + 2]) / full
            grey = _RED * red + _GREEN * green + _BLUE * blue
            white = grey * np.float32(1.5) + np.float32(0.5)
            snow, other = layer[x] / 255.0, turned[size - 1 - x] / 255.0
            result[3 * x] = finish(_whiten(red, white, kept, rest) + snow + other)
            result[3 * x + 1] = finish(_whiten(green, white, kept, rest) + snow + other)
            result[3 * x + 2] = finish(_whiten(blue, white, kept, rest) + snow + other)


@kernel
def _snow(
    images: U8,
    law: tuple[float, float, float],
    zoom: Zoom,
    weights: F64,
    mix: float,
    seeds: U64,
    out: U8,
) -> None:
    """Let it snow on `images`, uint8 [n, S, S·3], from a direction of U(−135°, −45°)."""
    size = images.shape[1]
    scratch, padded = np.empty((2, size, size)), np.empty((size, size + 2 * weights.size))
    still, falling = np.empty((size, size), np.uint8), np.empty((size, size), np.uint8)
    line, state = np.empty(size), np.empty(1, np.uint64)
    for i in range(len(images)):
        state[0] = seeds[i]
        draw_flakes(state, law, zoom, scratch, still)
        motion(still, 1, weights, -90.0 + 45.0 * next_signed(state), padded, line, falling)
        lay_snow(images[i], falling, mix, out[i])


def snow(images: U8, constants: Constants, seeds: U64) -> U8:
    """Let it snow; constants: (mean, deviation, zoom, threshold, radius and σ of the blur, mix)."""
    mean, deviation, zoom, threshold, radius, sigma, mix = constants
    law = mean, deviation, threshold
    table, weights = zoom_table(images.shape[1], zoom), motion_weights(radius, sigma)
    out = np.empty(images.shape, np.uint8)
    results = out.reshape(*out.shape[:2], -1)
    _snow(planes(images), law, table, weights, mix, read_only(seeds), results)
    return out
