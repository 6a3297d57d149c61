"""Kernels of the steerable pyramid: gains, bands out of a spectrum and back, ranks and quantiles.

Simoncelli & Freeman (ICIP 1995) in the Fourier domain, with four orientations: raised cosines in
log₂ radius, cos³ in angle, so that squared gains sum to one. Values are matched by rank. Only + − ×
÷, square roots and the functions of `pipeline.pictures.arithmetic`: the same bytes on every x86-64
host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos, log2, sin
from pipeline.render.jit import kernel

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

ORIENTATIONS = 4
SUPPORT, STEP = 200.0, 0.5  # the marginals' values: −200, −199.5 … 200
NUM_VALUES = 801

_HALF_PI = 1.5707963267948966
_DIAGONAL = 0.7071067811865476
_GAIN = 0.8944271909999159  # 2³ · 3!/√(4 · 6!): Σ gain² cos⁶ over the four orientations is 1
_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@kernel
def _low_high(octaves: float) -> tuple[float, float]:
    """Return the low-pass and high-pass gain at `octaves` (≤ 0 here) above the band's upper end."""
    place = min(max(-octaves, 0.0), 1.0)
    return sin(_HALF_PI * place), cos(_HALF_PI * place)


@kernel
def fill_masks(low: F64, high: F64) -> None:
    """Fill the residuals' gains: `high` alone beyond half the sampling rate, none below a quarter.

    Args:
        low: float64 [side, side], gets the gain of all that is not in the high-pass residual.
        high: float64 [side, side], gets the gain of the high-pass residual.
    """
    side = low.shape[0]
    half = side // 2
    for i in range(side):
        for j in range(side):
            y, x = (i + half) % side - half, (j + half) % side - half
            if x == 0 and y == 0:
                low[i, j], high[i, j] = 1.0, 0.0
            else:
                octaves = 0.5 * log2(float(x * x + y * y) / (half * half))
                low[i, j], high[i, j] = _low_high(octaves)


@kernel
def fill_band_masks(low: F64, bands: F64) -> None:
    """Fill the gains of one level's oriented bands and take the level out of the low-pass gain.

    Args:
        low: float64 [n, n], gain of what levels above this one left over. It is cut off at half this
            level's sampling rate; in its place comes what this level leaves over.
        bands: float64 [4, n, n], written; odd in frequency.
    """
    n = low.shape[0]
    half = n // 2
    for i in range(n):
        for j in range(n):
            y, x = (i + half) % n - half, (j + half) % n - half
            bands[:, i, j] = 0.0
            if x == 0 and y == 0:
                continue
            square = float(x * x + y * y)
            rest, own = _low_high(0.5 * log2(square / (half * half)) + 1.0)
            gain = _GAIN * low[i, j] * own / (square * np.sqrt(square))
            for k, along in enumerate(
                (float(x), _DIAGONAL * (x + y), float(y), _DIAGONAL * (y - x))
            ):
                bands[k, i, j] = gain * along * along * along
            low[i, j] *= rest


_LEAST_SPREAD = 1e-300
"""Values that lie closer are taken for equal: the scale of their places would be infinite."""


@kernel
def argsort(values: F64, order: I32, spare: I32) -> None:
    """Sort, by 22 bits of each value's place between the least and the greatest.

    Args:
        values: float64 [n].
        order: int32 [n], gets positions in ascending order of their values; where those agree to a
            four-millionth of the range, in ascending order.
        spare: int32 [2, n], scratch.
    """
    n = values.size
    least = greatest = values[0]
    for value in values:
        least, greatest = min(least, value), max(greatest, value)
    spread = greatest - least
    scale = (_RADIX * _RADIX - 1) / spread if spread > _LEAST_SPREAD else 0.0
    low_counts, high_counts = np.zeros(_RADIX, np.int32), np.zeros(_RADIX, np.int32)
    keys, half_sorted = spare[0], spare[1]
    for k in range(n):
        key = np.int32((values[k] - least) * scale)
        keys[k] = key
        low_counts[key & (_RADIX - 1)] += 1
        high_counts[key >> _RADIX_BITS] += 1
    low_start = high_start = 0
    for k in range(_RADIX):
        low_counts[k], low_start = low_start, low_start + low_counts[k]
        high_counts[k], high_start = high_start, high_start + high_counts[k]
    for k in range(n):
        digit = keys[k] & (_RADIX - 1)
        half_sorted[low_counts[digit]] = k
        low_counts[digit] += 1
    for k in half_sorted:
        digit = keys[k] >> _RADIX_BITS
        order[high_counts[digit]] = k
        high_counts[digit] += 1


@kernel
def fill_quantiles(marginal: F64, order: I32, out: F64) -> None:
    """Write the quantiles of a density in the order of ranks.

    Args:
        marginal: float64 [801], of any sum; a density that is constant ±0.25 around each value.
        order: int32 [n], where the least value goes, the second least, …
        out: float64 [n], written.
    """
    total = 0.0
    for k in range(NUM_VALUES):
        total += marginal[k]
    place, below = 0, 0.0
    for rank in range(order.size):
        target = total * ((rank + 0.5) / order.size)
        while place < NUM_VALUES - 1 and below + marginal[place] < target:
            below += marginal[place]
            place += 1
        within = (target - below) / marginal[place] - 0.5
        out[order[rank]] = (place + within) * STEP - SUPPORT


@kernel
def cut_pair(masks: F64, re: F64, im: F64, u: F64, v: F64) -> None:
    """Cut the spectra of two bands out of a spectrum, as that of one complex field.

    Args:
        masks: float64 [2, n, n], the bands' gains, to be multiplied by i.
        re: float64 [side, side], side ≥ n.
        im: float64 [side, side].
        u: float64 [n, n], written: the real part of (first + i·second) times the spectrum times i.
        v: float64 [n, n], written: the imaginary part.
    """
    n, side = u.shape[0], re.shape[0]
    for i in range(n):
        row = i if i < n // 2 else i + side - n
        for j in range(n):
            column = j if j < n // 2 else j + side - n
            first, second = masks[0, i, j], masks[1, i, j]
            x, y = re[row, column], im[row, column]
            u[i, j] = -second * x - first * y
            v[i, j] = first * x - second * y


@kernel
def add_pair(masks: F64, u: F64, v: F64, re: F64, im: F64) -> None:
    """Add the spectra of two bands, the real and the imaginary part of one field, to a spectrum.

    Args:
        masks: float64 [2, n, n], the bands' gains, to be multiplied by −i.
        u: float64 [n, n], real part of the field's transform.
        v: float64 [n, n], imaginary part.
        re: float64 [side, side], side ≥ n; added to.
        im: float64 [side, side], added to.
    """
    n, side = u.shape[0], re.shape[0]
    for i in range(n):
        row = i if i < n // 2 else i + side - n
        for j in range(n):
            column = j if j < n // 2 else j + side - n
            p, q = u[i, j], v[i, j]
            r, s = u[(n - i) % n, (n - j) % n], v[(n - i) % n, (n - j) % n]
            first, second = masks[0, i, j], masks[1, i, j]
            re[row, column] += 0.5 * (first * (q - s) - second * (p - r))
            im[row, column] -= 0.5 * (first * (p + r) + second * (q + s))
