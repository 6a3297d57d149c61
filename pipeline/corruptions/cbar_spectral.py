"""Blue and brownish noise of C-bar (Mintun, Kirillov & Xie, NeurIPS 2021): random phases, given sizes.

The published spectrum is not exactly Hermitian: half of its columns have phases of their own, the others
repeat them turned by 180 degrees with the same sign, and the real part of the inverse transform is kept.
So here.

Sides need not be powers of two: a field of side m · 2^k is split into m² fields of side 2^k, which
`pipeline.pictures.fields` transforms, and put together by sums of m waves along each axis.
"""

from __future__ import annotations

import functools

import numpy as np

from pipeline.corruptions.base import F64, U8, U64, Constants, finish_bytes
from pipeline.pictures.arithmetic import cos, sin, sin_cos
from pipeline.pictures.fields import transform, twiddles
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import kernel, read_only

_TWO_PI = 6.283185307179586
_LEAST_SIDE = 16  # of a field that pipeline.pictures.fields transforms


@functools.lru_cache(maxsize=8)
def waves(side: int) -> F64:
    """Return cos and sin of 2π k/side for k < side, float64 [2, side]."""
    angles = [_TWO_PI * k / side for k in range(side)]
    return read_only(np.array([[cos(a) for a in angles], [sin(a) for a in angles]]))  # type: ignore[no-any-return]


def inner_side(side: int) -> int:
    """Return the power of two that `side` is split by, or 1 where that is too small to pay."""
    power = side & -side
    return power if power >= _LEAST_SIDE else 1


@kernel
def real_inverse(re: F64, im: F64, inner: int, table: F64, whole: F64, out: F64) -> None:
    """Write the real part of the inverse Fourier transform of a square spectrum.

    Args:
        re: float64 [side, side]; used as scratch.
        im: float64 [side, side]; likewise.
        inner: a power of two that divides `side`, see `inner_side`.
        table: float64 [2, inner/2], `fields.twiddles` of `inner`; unused where that is 1.
        whole: float64 [2, side], see `waves`.
        out: float64 [side, side], written.
    """
    side = re.shape[0]
    num = side // inner
    # [row offset, row of the part, column offset · inner + column of the part]
    parts_re, parts_im = np.empty((num, inner, side)), np.empty((num, inner, side))
    part_re, part_im = np.empty((inner, inner)), np.empty((inner, inner))
    for down in range(num):
        for across in range(num):
            for row in range(inner):
                for column in range(inner):
                    part_re[row, column] = re[down + num * row, across + num * column]
                    part_im[row, column] = im[down + num * row, across + num * column]
            if inner > 1:
                transform(part_re, part_im, table, True)
            for row in range(inner):
                for column in range(inner):
                    parts_re[down, row, across * inner + column] = part_re[row, column]
                    parts_im[down, row, across * inner + column] = part_im[row, column]
    re[:] = 0.0
    im[:] = 0.0
    for row in range(side):
        for down in range(num):
            c, s = whole[0, (down * row) % side], whole[1, (down * row) % side]
            for column in range(side):
                x, y = parts_re[down, row % inner, column], parts_im[down, row % inner, column]
                re[row, column] += x * c - y * s
                im[row, column] += x * s + y * c
    scale = 1.0 / (num * num)
    for row in range(side):
        for column in range(side):
            total = 0.0
            for across in range(num):
                c, s = whole[0, (across * column) % side], whole[1, (across * column) % side]
                place = across * inner + column % inner
                total += re[row, place] * c - im[row, place] * s
            out[row, column] = total * scale


@kernel
def fill_spectrum(state: U64, sizes: F64, re: F64, im: F64) -> None:
    """Draw phases and write the spectrum, the mean at [0, 0].

    Args:
        state: uint64 [1], of a SplitMix64, advanced.
        sizes: float64 [side, side], with the mean at [side // 2, side // 2].
        re: float64 [side, side], written.
        im: float64 [side, side], written.
    """
    side = sizes.shape[0]
    middle = side // 2
    for row in range(side):
        for column in range((side + 1) // 2):
            sine, cosine = sin_cos(_TWO_PI * next_unit(state))
            i, j = (row + side - middle) % side, (column + side - middle) % side
            re[i, j], im[i, j] = sizes[row, column] * cosine, sizes[row, column] * sine
            row_back, column_back = side - 1 - row, side - 1 - column
            i, j = (row_back + side - middle) % side, (column_back + side - middle) % side
            size = sizes[row_back, column_back]
            re[i, j], im[i, j] = size * cosine, size * sine


@kernel
def deviation(field: F64) -> float:
    """Return the standard deviation of `field`, float64 [side, side]."""
    total = square = 0.0
    for value in field.ravel():
        total += value
    mean = total / field.size
    for value in field.ravel():
        square += (value - mean) * (value - mean)
    return float(np.sqrt(square / field.size))


@kernel
def _blue_noise(
    images: U8,
    threshold: float,
    seeds: U64,
    sizes: F64,
    inner: int,
    table: F64,
    whole: F64,
    out: U8,
) -> None:
    side = images.shape[1]
    re, im, field = np.empty((side, side)), np.empty((side, side)), np.empty((side, side))
    state = np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        fill_spectrum(state, sizes, re, im)
        real_inverse(re, im, inner, table, whole, field)
        least = threshold * deviation(field)
        for row in range(side):
            for column in range(side):
                kept = field[row, column] > least
                for channel in range(3):
                    value = images[sample, row, column, channel]
                    out[sample, row, column, channel] = value if kept else np.uint8(0)


@kernel
def _brownish_noise(
    images: U8,
    amplitude: float,
    seeds: U64,
    sizes: F64,
    inner: int,
    table: F64,
    whole: F64,
    out: U8,
) -> None:
    side = images.shape[1]
    re, im, field = np.empty((side, side)), np.empty((side, side)), np.empty((side, side))
    state = np.empty(1, np.uint64)
    for sample in range(images.shape[0]):
        state[0] = seeds[sample]
        for channel in range(3):
            fill_spectrum(state, sizes, re, im)
            real_inverse(re, im, inner, table, whole, field)
            scale = amplitude / deviation(field)
            for row in range(side):
                for column in range(side):
                    value = images[sample, row, column, channel] + scale * field[row, column]
                    out[sample, row, column, channel] = finish_bytes(value)


def _square_frequencies(side: int) -> F64:
    """Return squared distances from the grid's middle, float64 [side, side]."""
    places = np.arange(side, dtype=np.float64) - side // 2
    return places[:, None] ** 2 + places**2


def blue_noise_sample(images: U8, constants: Constants, seeds: U64) -> U8:
    """Set to black where blue noise of deviation 1, sizes ∝ |f|, is not above 0.3 s − 2.5."""
    side, out = images.shape[1], np.empty_like(images)
    inner = inner_side(side)
    sizes = np.sqrt(_square_frequencies(side))
    _blue_noise(
        read_only(images),
        0.3 * constants[0] - 2.5,
        read_only(seeds),
        sizes,
        inner,
        twiddles(inner),
        waves(side),
        out,
    )
    return out


def brownish_noise(images: U8, constants: Constants, seeds: U64) -> U8:
    """Add 6.4 s times noise of deviation 1 and sizes 1/(|f|² + 1), another for each channel."""
    side, out = images.shape[1], np.empty_like(images)
    inner = inner_side(side)
    sizes = 1.0 / (_square_frequencies(side) + 1.0)
    _brownish_noise(
        read_only(images),
        6.4 * constants[0],
        read_only(seeds),
        sizes,
        inner,
        twiddles(inner),
        waves(side),
        out,
    )
    return out
