"""Pictures of nothing: three synthetic sets of anomalies (Hendrycks, Mazeika & Dietterich, ICLR 2019).

They are defined in the input space of a network, z of −1…1, where CIFAR's networks see pixels as
2 · byte/255 − 1. Here they are bytes, as other test sets are.
"""

from __future__ import annotations

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, fill_normals
from pipeline.corruptions.filters import gauss, gaussian_weights
from pipeline.errors import UsageError, nearest
from pipeline.pictures.draws import Draws
from pipeline.pictures.splitmix import next_unit, next_word
from pipeline.render.jit import inlined, kernel, read_only

ANOMALIES = ("gaussian", "rademacher", "blobs")

_DEVIATION = 0.5
_BLOB_SHARE = 0.7
_BLOB_LEAST = 0.75


@inlined
def _byte(share: float) -> np.uint8:
    """Return the byte nearest to 255 · `share`, of 0…1."""
    return np.uint8(min(max(share, 0.0), 1.0) * 255.0 + 0.5)


@kernel
def _gaussian(seeds: U64, out: U8) -> None:
    """Fill `out`, uint8 [n, N], with z ~ N(0, ½), clipped to −1…1."""
    state, normals = np.empty(1, np.uint64), np.empty(out.shape[1])
    for sample in range(out.shape[0]):
        state[0] = seeds[sample]
        fill_normals(state, normals)
        for k in range(normals.size):
            out[sample, k] = _byte(0.5 * (_DEVIATION * normals[k] + 1.0))


@kernel
def _rademacher(seeds: U64, out: U8) -> None:
    """Fill `out`, uint8 [n, N], with z = ±1: 0 and 255."""
    state = np.empty(1, np.uint64)
    for sample in range(out.shape[0]):
        state[0] = seeds[sample]
        word = np.uint64(0)
        for k in range(out.shape[1]):
            if k % 64 == 0:
                word = next_word(state)
            out[sample, k] = np.uint8(255) if word & np.uint64(1) else np.uint8(0)
            word >>= np.uint64(1)


@kernel
def smooth_coins(state: U64, weights: F64, plane: F64, scratch: F64, line: F64) -> None:
    """Fill `plane` with coins, 1 with probability 0.7, blurred along rows, columns and channels.

    Beyond all borders, that of the channels too, the nearest value is repeated.

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        weights: float64 [2r + 1], a Gaussian's.
        plane: float64 [S, S·3], written.
        scratch: float64 [S, S·3], overwritten.
        line: float64 [(S + 2r)·3], overwritten.
    """
    side, radius = plane.shape[0], weights.size // 2
    for row in range(side):
        for k in range(plane.shape[1]):
            plane[row, k] = 1.0 if next_unit(state) < _BLOB_SHARE else 0.0
    gauss(plane, 3, weights, scratch, line)
    across = np.zeros((3, 3))
    for channel in range(3):
        for shift in range(-radius, radius + 1):
            across[channel, min(max(channel + shift, 0), 2)] += weights[radius + shift]
    for row in range(side):
        for k in range(0, plane.shape[1], 3):
            red, green, blue = plane[row, k], plane[row, k + 1], plane[row, k + 2]
            for channel in range(3):
                mixed = across[channel, 0] * red + across[channel, 1] * green
                plane[row, k + channel] = mixed + across[channel, 2] * blue


@kernel
def _blobs(seeds: U64, weights: F64, out: U8) -> None:
    """Fill `out`, uint8 [n, S, S·3], with smooth coins b, 0 where b < 0.75: z = 2b − 1."""
    side, width = out.shape[1], out.shape[2]
    plane, scratch = np.empty((side, width)), np.empty((side, width))
    line = np.empty(width + 3 * weights.size)
    state = np.empty(1, np.uint64)
    for sample in range(out.shape[0]):
        state[0] = seeds[sample]
        smooth_coins(state, weights, plane, scratch, line)
        for row in range(side):
            for k in range(width):
                value = plane[row, k]
                out[sample, row, k] = _byte(value) if value >= _BLOB_LEAST else np.uint8(0)


def anomaly_pictures(kind: str, count: int, size: int, seed: int, first: int = 0) -> U8:
    """Make synthetic anomalies; a picture depends on kind, size, seed and its index alone.

    Bytes are 255 (z + 1)/2, rounded to the nearest: z comes back from them to within 1/255, except for
    rademacher's, which is exact.

    Args:
        kind: gaussian (z ~ N(0, ½) for each value, clipped), rademacher (z = ±1 for each value) or blobs
            (coins, 70% of them 1, blurred over rows, columns and channels, 0 below ¾; the blur has a
            deviation of 2 px at a size of 64, otherwise of 1.5).
        count: pictures to make.
        size: their side, pixels.
        seed: 0 to 2⁶⁴ − 1.
        first: index of the first picture.

    Returns uint8 [count, size, size, 3].

    Raises:
        UsageError: an unknown kind or an impossible number.
    """
    if kind not in ANOMALIES:
        raise UsageError(
            f"unknown kind of anomalies {kind!r}{nearest(kind, ANOMALIES)}; there are {', '.join(ANOMALIES)}"
        )
    if count < 0 or first < 0 or size < 1 or not 0 <= seed < 2**64:
        raise UsageError(
            f"{kind}: count {count}, size {size}, seed {seed}, first {first}; allowed are a count and a "
            "first index from 0 on, a size from 1 on and a seed of 0 to 2**64 - 1"
        )
    purpose = int.from_bytes(kind[:8].encode(), "big")
    words = [Draws(seed, purpose, index, 0).word() for index in range(first, first + count)]
    seeds = read_only(np.array(words, np.uint64))
    out = np.empty((count, size, size, 3), np.uint8)
    if kind == "gaussian":
        _gaussian(seeds, out.reshape(count, size * size * 3))
    elif kind == "rademacher":
        _rademacher(seeds, out.reshape(count, size * size * 3))
    else:
        weights = gaussian_weights(2.0 if size == 64 else 1.5)
        _blobs(seeds, weights, out.reshape(count, size, size * 3))
    return out
