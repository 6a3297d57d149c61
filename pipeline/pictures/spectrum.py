"""Statistical pictures: noise given a natural power spectrum, sparse wavelets and a few colours.

"Spectrum + Color + WMM" of Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021), a
set of PixMix's ablation (Hendrycks et al., CVPR 2022, Table 4). Three channels of noise go through
rounds of: impose 1/(|x|^a + |y|^b) on the spectrum; give each band of a steerable pyramid a
heavy-tailed marginal; give each channel the histogram of a random colour model, in whose principal
axes the channels are.

Of the original, this leaves out what cannot be told by eye or changes nothing:

* Four rounds in place of ten.
* Values are matched by rank, which is what interpolating cumulated histograms approximates; matching
  mean and variance before and after is then void.
* Noise starts as random phases: the first step would replace its magnitudes.
* Colour counts are proportions, without the sampling noise of 16,384 pixels.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import spectrum_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.fields import average_areas, fill_phases, transform, twiddles
from pipeline.pictures.pyramid import (
    NUM_VALUES,
    Pyramid,
    match_bands,
    match_sorted,
    pyramid,
    sigmas,
)

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x53504543  # "SPEC"
_ROUNDS = 4
_LEAST_SIDE = 64
_MODEL_SIDE = 64  # of the picture whose colours are the model's
_START_DEVIATION = 73.9  # of U(0, 256)


class _Colours(NamedTuple):
    axes: F64  # [3, 3], the principal axes, one a row
    targets: F64  # [3, 64²], ascending coordinates along each


def render_spectrum(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write picture `index` of the family `seed` into `out`.

    Args:
        seed: 0 to 2⁶⁴ − 1.
        index: 0 to 2⁶⁴ − 1.
        attempt: another draw of the picture.
        out: uint8 [size, size, 3], written. Pictures are made on the next power of two, at least
            64, and averaged down. Those of two powers share colours and coarse structure.
    """
    draws = Draws(seed, _PURPOSE, index, attempt)
    size = out.shape[0]
    side = max(_LEAST_SIDE, 1 << (size - 1).bit_length())
    colours = _draw_colours(draws)
    slope, slant = draws.uniform(0.5, 3.5), 0.05 * draws.normal()
    magnitudes = np.empty((side, side))
    kernels.fill_magnitudes(slope + slant, slope - slant, magnitudes)
    seeds = [np.uint64(draws.word()) for _ in range(3)]
    marginals = _draw_marginals(draws, pyramid(side))
    fields = np.empty((3, side, side))
    for channel in range(3):
        _shape_channel(
            seeds[channel],
            magnitudes,
            marginals[channel],
            colours.targets[channel],
            fields[channel],
        )
    large, small = np.empty_like(fields), np.empty((3, size, size))
    kernels.compose(fields, colours.axes, large)
    for channel in range(3):
        average_areas(large[channel], small[channel])
    kernels.stretch(small, out)


def _shape_channel(
    seed: np.uint64, magnitudes: F64, marginals: F64, targets: F64, field: F64
) -> None:
    """Fill one channel, float64 [side, side]; `marginals` is [bands, 801], `targets` [n]."""
    side = field.shape[0]
    re, im = np.empty((side, side)), np.empty((side, side))
    fill_phases(seed, re, im)
    re *= _START_DEVIATION * side
    im *= _START_DEVIATION * side
    for number in range(_ROUNDS):
        if number > 0:
            re[:], im[:] = field, 0
            transform(re, im, twiddles(side), False)
        kernels.impose_magnitudes(magnitudes, re, im)
        re, im = match_bands(pyramid(side), marginals, re, im)
        transform(re, im, twiddles(side), True)
        field[:] = re
        match_sorted(targets, field)


def _draw_marginals(draws: Draws, gains: Pyramid) -> F64:
    """Return densities of each channel's bands, finest first, float64 [3, bands, 801].

    exp(−|x/4^σ|^ρ), ρ ~ U(0.4, 0.8), with σ the picture's side over the band's.
    """
    marginals = np.empty((3, gains.num_bands(), NUM_VALUES))
    for channel in range(3):
        for band, sigma in enumerate(sigmas(gains)):
            shape = draws.uniform(0.4, 0.8)
            kernels.fill_marginal(4.0**sigma, shape, marginals[channel, band])
    return marginals


def _draw_colours(draws: Draws) -> _Colours:
    """Draw the colour model: 3 to 22 colours as blurred stripes with a little noise, stretched."""
    num_colours = 3 + draws.choice(20)
    colours = np.array([[draws.uniform(0, 255) for _ in range(3)] for _ in range(num_colours)])
    # Not sum(): from Python 3.12 on it compensates rounding, and the bytes would differ.
    bounds = list(itertools.accumulate(0.001 + draws.uniform(0, 1) for _ in range(num_colours)))
    shares = np.array([bound / bounds[-1] for bound in bounds])
    pixels = np.empty((_MODEL_SIDE, _MODEL_SIDE, 3))
    kernels.fill_stripes(shares, colours, 1 + draws.choice(10), pixels)
    kernels.add_noise(10.0, np.array([draws.word()], np.uint64), pixels)
    least = pixels.min()
    pixels = ((pixels - least) * (255 / (pixels.max() - least))).reshape(-1, 3)
    moments, axes = np.empty((4, 3)), np.empty((3, 3))
    kernels.fill_moments(pixels, moments)
    kernels.fill_axes(moments[1:], axes)
    targets = np.empty((3, len(pixels)))
    for channel in range(3):
        kernels.project(pixels, moments[0], axes[channel], targets[channel])
    targets.sort(axis=1)
    return _Colours(axes, targets)
