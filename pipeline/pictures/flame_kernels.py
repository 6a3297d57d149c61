"""Kernels of the flame fractals up to their points on cells: variations, orbit, density.

Draves & Reckase, "The Fractal Flame Algorithm" (2003). Elementary functions come from
`pipeline.pictures.arithmetic`, so that every host computes the same bytes. The state of SplitMix64
(`pipeline.pictures.splitmix`) is passed as uint64 [1] and advanced in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import atan2, sin, sin_cos
from pipeline.pictures.splitmix import next_signed, next_word
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

SUPERSAMPLING = 2  # cells per pixel and axis
PICK_SLOTS = 256

SINUSOIDAL, SWIRL, HORSESHOE, POLAR, HANDKERCHIEF, HEART, DISC, JULIA = range(8)
SPIRAL, DIAMOND, EX, BUBBLE, EYEFISH, CYLINDER, SPHERICAL = range(8, 15)

_PI = 3.141592653589793
_ESCAPED = 1e6
_SKIPPED = 20
_TINY = 1e-12  # keeps divisions by the radius finite

_PICK_MASK = np.uint64(PICK_SLOTS - 1)
_HALF_BIT = np.uint64(8)  # bit of the word that chooses between the two square roots
_COPY_BITS = np.uint64(48)  # the word's upper bits choose the copy

# A cell: number of points in the high half, sum of their 8-bit colours in the low half.
COUNT_SHIFT = np.uint64(32)


class System(NamedTuple):
    """The maps of one flame.

    Attributes:
        maps: float64 [N, 9], rows (a, b, c, d, e, f, w, variation, colour): p = (a·x + b·y + e,
            c·x + d·y + f), then (1 − w)·p + w·variation(p); the colour is a whole number below 2¹⁶.
        pick: uint8 [PICK_SLOTS], a map's number as often as it is probable.
        copies: float64 [K, 4], the plane's symmetries as matrices; one, at random, follows each map.
    """

    maps: F64
    pick: U8
    copies: F64


@kernel
def vary(variation: int, x: float, y: float, half: int) -> tuple[float, float]:
    """Return variation number `variation` of (x, y); `half`, 0 or 1, chooses julia's root.

    Draves & Reckase's appendix, with r² = x² + y² and t = atan2(x, y), so sin t = x/r, cos t = y/r.
    """
    square = x * x + y * y
    r = np.sqrt(square) + _TINY
    if variation == SINUSOIDAL:
        return sin(x), sin(y)
    if variation == SWIRL:
        s, c = sin_cos(square)
        return x * s - y * c, x * c + y * s
    if variation == HORSESHOE:
        return (x - y) * (x + y) / r, 2.0 * x * y / r
    if variation == POLAR:
        return atan2(x, y) / _PI, r - 1.0
    if variation == HANDKERCHIEF:
        s, c = sin_cos(r)
        return x * c + y * s, y * c + x * s
    if variation == HEART:
        s, c = sin_cos(atan2(x, y) * r)
        return r * s, -r * c
    if variation == DISC:
        s, c = sin_cos(_PI * r)
        turn = atan2(x, y) / _PI
        return turn * s, turn * c
    if variation == JULIA:
        # cos(t/2) = √((1 + cos t)/2), sin(t/2) has the sign of sin t; √r goes under the root
        u = np.sqrt(max(0.5 * (r + y), 0.0))
        v = np.sqrt(max(0.5 * (r - y), 0.0))
        v = v if x >= 0.0 else -v
        return (u, v) if half == 0 else (-u, -v)
    return _vary_more(variation, x, y, r)


@kernel
def _vary_more(variation: int, x: float, y: float, r: float) -> tuple[float, float]:
    if variation == SPIRAL:
        s, c = sin_cos(r)
        return (y / r + s) / r, (x / r - c) / r
    if variation == DIAMOND:
        s, c = sin_cos(r)
        return x / r * c, y / r * s
    if variation == EX:
        s, c = sin_cos(r)
        p, q = (x * c + y * s) / r, (y * c + x * s) / r
        p, q = p * p * p, q * q * q
        return r * (p + q), r * (p - q)
    if variation == BUBBLE:
        scale = 4.0 / (r * r + 4.0)
        return scale * x, scale * y
    if variation == EYEFISH:
        scale = 2.0 / (r + 1.0)
        return scale * x, scale * y
    if variation == CYLINDER:
        return sin(x), y
    scale = 1.0 / (r * r + 1e-6)
    return scale * x, scale * y


@kernel
def step(system: System, k: int, word: np.uint64, x: float, y: float) -> tuple[float, float]:
    """Return the image of (x, y) under map `k` and the copy that the bits of `word` choose."""
    maps, copies = system.maps, system.copies
    u = maps[k, 0] * x + maps[k, 1] * y + maps[k, 4]
    v = maps[k, 2] * x + maps[k, 3] * y + maps[k, 5]
    weight = maps[k, 6]
    p, q = vary(int(maps[k, 7]), u, v, int((word >> _HALF_BIT) & np.uint64(1)))
    u += weight * (p - u)
    v += weight * (q - v)
    j = (np.int64(word >> _COPY_BITS) * copies.shape[0]) >> 16
    return copies[j, 0] * u + copies[j, 1] * v, copies[j, 2] * u + copies[j, 3] * v


@kernel
def trace(system: System, state: U64, points: F64) -> None:
    """Fill `points`, float64 [n, 2], with the orbit; where it escapes it begins anew."""
    x = y = 0.1
    for i in range(-_SKIPPED, points.shape[0]):
        word = next_word(state)
        x, y = step(system, system.pick[word & _PICK_MASK], word, x, y)
        if not (abs(x) < _ESCAPED and abs(y) < _ESCAPED):
            x, y = next_signed(state), next_signed(state)
        if i >= 0:
            points[i, 0], points[i, 1] = x, y


@kernel
def splat(system: System, places: F64, state: U64, num_steps: int, cells: U64) -> None:
    """Follow the orbit for `num_steps` and count every point, in all its copies, in `cells`.

    Args:
        system: the maps.
        places: float64 [K, 6], one row (a, b, c, d, e, f) for each copy: column a·x + b·y + e and
            row c·x + d·y + f of the cell; the view is [1, side − 1).
        state: uint64 [1].
        num_steps: after the first 20, which let the orbit reach the attractor.
        cells: uint64 [side, side], added to: points · 2³² + sum of their colours (0..255 each).
            A coordinate c ← (c + colour of the map)/2 rides along the orbit. The outermost ring
            collects what lies outside the view, so the loop needs no branch.
    """
    side = cells.shape[0]
    flat = cells.ravel()  # contiguous: a view
    last = side - 1.0
    x = y = 0.1
    colour = 32768.0
    one = np.uint64(1) << COUNT_SHIFT
    for i in range(-_SKIPPED, num_steps):
        word = next_word(state)
        k = system.pick[word & _PICK_MASK]
        x, y = step(system, k, word, x, y)
        if not (abs(x) < _ESCAPED and abs(y) < _ESCAPED):
            x, y = next_signed(state), next_signed(state)
        colour = 0.5 * (colour + system.maps[k, 8])
        if i < 0:
            continue
        point = one + (np.uint64(colour) >> np.uint64(8))
        for j in range(places.shape[0]):
            column = places[j, 0] * x + places[j, 1] * y + places[j, 4]
            row = places[j, 2] * x + places[j, 3] * y + places[j, 5]
            column = column if column > 0.0 else 0.0
            column = column if column < last else last
            row = row if row > 0.0 else 0.0
            row = row if row < last else last
            cell = np.uint64(np.int64(row) * side + np.int64(column))
            flat[cell] += point
