"""A steerable pyramid whose bands are given the marginal distributions asked for.

Simoncelli & Freeman, "The Steerable Pyramid" (ICIP 1995): a high-pass residual, levels of four
oriented bands, each level sampled half as densely as the one above, and a low-pass residual, which
stays. Values are matched by rank: sorted, then replaced by quantiles.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import pyramid_kernels as kernels
from pipeline.pictures.fields import transform, twiddles

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

NUM_VALUES = kernels.NUM_VALUES
_COARSEST = 32  # side of the coarsest bands: three levels at 128, as the statistical pictures have


class Pyramid(NamedTuple):
    """The gains of a pyramid in the Fourier domain; their squares sum to 1 at each frequency."""

    high: F64  # [side, side], of the high-pass residual
    levels: tuple[F64, ...]  # each [4, n, n], of oriented bands, odd in frequency; finest first
    low: F64  # [n, n], of what the levels leave over

    def num_bands(self) -> int:
        """Return the number of bands that are matched: the high-pass residual's and the levels'."""
        return 1 + kernels.ORIENTATIONS * len(self.levels)


@functools.lru_cache(maxsize=4)
def pyramid(side: int) -> Pyramid:
    """Return the pyramid of fields of side × side; `side` a power of two from 32 on."""
    low, high = np.empty((side, side)), np.empty((side, side))
    kernels.fill_masks(low, high)
    levels = []
    while low.shape[0] >= _COARSEST:
        bands = np.empty((kernels.ORIENTATIONS, *low.shape))
        kernels.fill_band_masks(low, bands)
        levels.append(bands)
        quarter = low.shape[0] // 4
        kept = np.r_[0:quarter, low.shape[0] - quarter : low.shape[0]]
        low = np.ascontiguousarray(low[np.ix_(kept, kept)])
    return Pyramid(high, tuple(levels), low)


def sigmas(gains: Pyramid) -> list[int]:
    """Return for each band that is matched the field's side over the band's: 1, 1, 1, 1, 1, 2, …"""
    side = gains.high.shape[0]
    coarseness = [side // bands.shape[1] for bands in gains.levels]
    return [1] + [sigma for sigma in coarseness for _ in range(kernels.ORIENTATIONS)]


def match_bands(gains: Pyramid, marginals: F64, re: F64, im: F64) -> tuple[F64, F64]:
    """Return the spectrum of a field after each of its bands took its marginal.

    Args:
        gains: of the field's side.
        marginals: float64 [bands, 801], densities, of any sum, of values −200, −199.5 … 200: of the
            high-pass residual, then level by level. Coarse bands are large: the coefficients of
            a level are the (side/n)²-fold of those at full resolution.
        re: float64 [side, side], real part of the spectrum of a real field.
        im: float64 [side, side], imaginary part.
    """
    new_re, new_im = _low_residual(gains.low, re), _low_residual(gains.low, im)
    u, v = gains.high * re, gains.high * im
    table = twiddles(u.shape[0])
    transform(u, v, table, True)
    _match(marginals[0], u)
    v[:] = 0
    transform(u, v, table, False)
    new_re += gains.high * u
    new_im += gains.high * v
    band = 1
    for bands in gains.levels:
        u, v = np.empty_like(bands[0]), np.empty_like(bands[0])
        table = twiddles(u.shape[0])
        # Two bands at a time: both are real, so one complex transform serves both.
        for pair in (bands[:2], bands[2:]):
            kernels.cut_pair(pair, re, im, u, v)
            transform(u, v, table, True)
            _match(marginals[band], u)
            _match(marginals[band + 1], v)
            transform(u, v, table, False)
            kernels.add_pair(pair, u, v, new_re, new_im)
            band += 2
    return new_re, new_im


def match_sorted(targets: F64, field: F64) -> None:
    """Replace each value of `field` by the one of its rank in `targets`.

    Args:
        targets: float64 [m], ascending; each is used n²/m times.
        field: float64 [n, n], updated; n² is a multiple of m.
    """
    flat = field.reshape(-1)
    flat[ranks(flat)] = np.repeat(targets, flat.size // targets.size)


def ranks(values: F64) -> I32:
    """Return positions in ascending order of their values, int32 [n], see `pyramid_kernels.argsort`."""
    order, spare = np.empty(values.size, np.int32), np.empty((2, values.size), np.int32)
    kernels.argsort(values, order, spare)
    return order


def _match(marginal: F64, field: F64) -> None:
    flat = field.reshape(-1)
    kernels.fill_quantiles(marginal, ranks(flat), flat)


def _low_residual(low: F64, spectrum: F64) -> F64:
    """Return what the low-pass residual alone gives back: gained by `low` twice, zero beyond."""
    kept = np.zeros_like(spectrum)
    half = low.shape[0] // 2
    for rows in (slice(0, half), slice(-half, None)):
        for columns in (slice(0, half), slice(-half, None)):
            kept[rows, columns] = low[rows, columns] * low[rows, columns] * spectrum[rows, columns]
    return kept
