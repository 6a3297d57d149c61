"""Square fields of float64: the Fourier transform, random phases, averages over areas.

NumPy's transforms are compiled C++ and may round otherwise from one processor to the next. These are
the plain radix-2 algorithm in a fixed order of + − ×, with twiddle factors of our own: the same
bytes on every x86-64 host.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos, sin, sin_cos
from pipeline.pictures.splitmix import next_word
from pipeline.render.jit import kernel

F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_COLUMNS = 16  # transformed side by side: with 256 rows they fill 64 KiB, and registers fill up
_TWO_PI = 6.283185307179586


@functools.lru_cache(maxsize=8)
def twiddles(side: int) -> F64:
    """Return cos and sin of 2π k/side for k < side/2, float64 [2, side/2]; `side` a power of two."""
    table = np.empty((2, side // 2))
    for k in range(side // 2):
        table[0, k], table[1, k] = cos(_TWO_PI * k / side), sin(_TWO_PI * k / side)
    return table


@kernel
def _transform_columns(
    re: F64, im: F64, table: F64, sign: float, scale: float, out_re: F64, out_im: F64
) -> None:
    """Transform every column of a square field and write the results transposed, times `scale`."""
    side = re.shape[0]
    work_re = np.empty((side, _COLUMNS))
    work_im = np.empty((side, _COLUMNS))
    for left in range(0, side, _COLUMNS):
        place = 0
        for row in range(side):
            for column in range(_COLUMNS):
                work_re[place, column] = re[row, left + column]
                work_im[place, column] = im[row, left + column]
            bit = side >> 1  # add one to `place` with its bits in reverse order
            while place & bit:
                place ^= bit
                bit >>= 1
            place |= bit
        half = 1
        while half < side:
            stride = side // (2 * half)
            for k in range(half):
                c, s = table[0, k * stride], sign * table[1, k * stride]
                for low in range(k, side, 2 * half):
                    high = low + half
                    for column in range(_COLUMNS):
                        x, y = work_re[high, column], work_im[high, column]
                        u, v = x * c - y * s, x * s + y * c
                        x, y = work_re[low, column], work_im[low, column]
                        work_re[low, column], work_im[low, column] = x + u, y + v
                        work_re[high, column], work_im[high, column] = x - u, y - v
            half *= 2
        for column in range(_COLUMNS):
            for row in range(side):
                out_re[left + column, row] = work_re[row, column] * scale
                out_im[left + column, row] = work_im[row, column] * scale


@kernel
def transform(re: F64, im: F64, table: F64, inverse: bool) -> None:
    """Replace a complex field by its two-dimensional Fourier transform.

    Args:
        re: float64 [side, side], `side` a power of two from 16 on; C-contiguous, updated.
        im: float64 [side, side], likewise.
        table: float64 [2, side/2], see `twiddles`.
        inverse: X(k) = Σ x(n) e^{−2πi k·n/side} if False; its inverse, with 1/side², if True.
    """
    side = re.shape[0]
    other_re, other_im = np.empty_like(re), np.empty_like(im)
    sign = 1.0 if inverse else -1.0
    _transform_columns(re, im, table, sign, 1.0, other_re, other_im)
    scale = 1.0 / (side * side) if inverse else 1.0
    _transform_columns(other_re, other_im, table, sign, scale, re, im)


@kernel
def fill_phases(seed: np.uint64, re: F64, im: F64) -> None:
    """Fill a half-random spectrum: size 1 and random phases, of a real field without a mean.

    Args:
        seed: uint64. The phase of a frequency depends on it and the frequency alone, so fields of
            different sides agree in their lower frequencies.
        re: float64 [side, side], written.
        im: float64 [side, side], written.
    """
    side = re.shape[0]
    half = side // 2
    state = np.empty(1, np.uint64)
    for i in range(half + 1):
        for j in range(side):
            i_back, j_back = (side - i) % side, (side - j) % side
            if i == i_back and j >= j_back:
                if j == j_back:  # the mean, and the fastest waves, which have no phase
                    re[i, j] = im[i, j] = 0.0
                continue
            across = j if j <= half else j - side
            state[0] = seed + np.uint64(i * 65536 + across + 32768) * np.uint64(0xD1342543DE82EF95)
            angle = float(next_word(state) >> np.uint64(11)) * 2.0**-53 * _TWO_PI
            sine, cosine = sin_cos(angle)
            re[i, j] = re[i_back, j_back] = cosine
            im[i, j], im[i_back, j_back] = sine, -sine


@kernel
def average_areas(field: F64, out: F64) -> None:
    """Write means of `field` over the areas of larger pixels, weighted by overlap.

    Args:
        field: float64 [side, side].
        out: float64 [size, size], size ≤ side; written.
    """
    side, size = field.shape[0], out.shape[0]
    narrow = np.zeros((side, size))
    step = side / size
    for column in range(size):
        left, right = column * step, (column + 1) * step
        for j in range(int(left), min(side, int(np.ceil(right)))):
            weight = (min(right, j + 1.0) - max(left, float(j))) / step
            for row in range(side):
                narrow[row, column] += weight * field[row, j]
    out[:] = 0.0
    for row in range(size):
        top, bottom = row * step, (row + 1) * step
        for i in range(int(top), min(side, int(np.ceil(bottom)))):
            weight = (min(bottom, i + 1.0) - max(top, float(i))) / step
            for column in range(size):
                out[row, column] += weight * narrow[i, column]
