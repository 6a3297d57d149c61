"""An untrained StyleGAN2 whose filters are edges and lines: smooth, folded, oriented shapes.

"StyleGAN (oriented)" of Baradad et al., "Learning to See by Looking at Noise" (NeurIPS 2021), a set
of PixMix's ablation (Hendrycks et al., CVPR 2022, Table 4). Each input channel of a layer has one
filter of a small dictionary, each output channel a random gain, of which demodulation leaves the
sign: all channels of a layer are then one map y, as √2 · max(±y + noise + bias, 0). So a layer costs
a convolution for each of the 20 filters, not for each pair of channels.

Departures: 64 channels in all layers, in place of up to 512; the constant input and the style
matrices, which the original draws anew every 400 pictures, are each picture's own.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pictures import stylegan_kernels as kernels
from pipeline.pictures.draws import Draws
from pipeline.pictures.fields import average_areas, fill_phases, transform, twiddles
from pipeline.pictures.splitmix import next_unit

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

_PURPOSE = 0x5347414E  # "SGAN"
_LEAST_SIDE = 64
_CHANNELS = 64
_BIAS_RANGE = 0.2
_NOISE_RANGE = 0.3
# Of the pictures' red, green and blue, as shares of 255: mean and deviation of the means, then of
# the deviations.
_STATISTICS = (
    (0.483, 0.145, 0.219, 0.063),
    (0.455, 0.142, 0.213, 0.062),
    (0.401, 0.161, 0.213, 0.069),
)
_LEAST_DEVIATION = 0.08  # the normal law has 2 % below it, as good as one colour


def render_stylegan(seed: int, index: int, attempt: int, out: U8) -> None:
    """Write picture `index` of the family `seed` into `out`.

    Args:
        seed: 0 to 2⁶⁴ − 1.
        index: 0 to 2⁶⁴ − 1.
        attempt: another draw of the picture.
        out: uint8 [size, size, 3], written. Pictures are made on the next power of two, at least
            64, and averaged down. A larger network has the layers of a smaller one and finer ones.
    """
    draws = Draws(seed, _PURPOSE, index, attempt)
    statistics = [
        (draws.normal() * a + mean, draws.normal() * b + deviation)
        for mean, a, deviation, b in _STATISTICS
    ]
    size = out.shape[0]
    side = max(_LEAST_SIDE, 1 << (size - 1).bit_length())
    colours = _synthesise(np.array([draws.word()], np.uint64), _draw_noise(draws, side))
    small, plane = np.empty((size, size)), np.empty((size, size), np.uint8)
    for channel, (mean, deviation) in enumerate(statistics):
        average_areas(colours[channel], small)
        kernels.standardise(small, mean, max(deviation, _LEAST_DEVIATION))
        kernels.to_bytes(small, plane)
        out[..., channel] = plane


class _Layer(NamedTuple):
    """What a layer puts out: channel c is √2 · max(sign_c · base + grain + bias_c, 0)."""

    base: F64  # [side, side]
    grain: F64  # [side, side], noise times its strength
    channels: F64  # [2, C], signs and biases

    def add_to(self, maps: F64, slots: I64, weights: F64) -> None:
        """Add each channel times its weight to the map of its slot, float64 [N, side, side]."""
        kernels.add_channels(self.base, self.grain, self.channels, slots, weights, maps)


def _synthesise(state: U64, noise: F64) -> F64:
    """Run the network; `noise` is float64 [side, side], the result float64 [3, side, side]."""
    side = 4
    layer = _next_layer(state, noise, None, side)
    colours = np.zeros((3, side, side))
    _add_colours(state, layer, colours)
    while side < noise.shape[0]:
        side *= 2
        layer = _next_layer(state, noise, layer, side)
        layer = _next_layer(state, noise, layer, side)
        colours = _upsampled(colours)
        _add_colours(state, layer, colours)
    return colours


def _next_layer(state: U64, noise: F64, before: _Layer | None, side: int) -> _Layer:
    """Draw and apply a convolution to the layer before, or else to the constant input."""
    slots, weights = np.empty(_CHANNELS, np.int64), np.empty(_CHANNELS)
    demodulation = kernels.draw_filters(state, _filters(), slots, weights)
    before_side = side if before is None else before.base.shape[0]
    maps = np.zeros((kernels.NUM_FILTERS, before_side, before_side))
    if before is None:
        kernels.draw_first_maps(state, slots, weights, maps)
    else:
        before.add_to(maps, slots, weights)
    if before_side < side:
        maps = _upsampled(maps)
    base, grain = np.empty((side, side)), np.empty((side, side))
    kernels.convolve(maps, _filters(), demodulation, base)
    average_areas(noise, grain)
    grain *= _NOISE_RANGE * next_unit(state)
    channels = np.empty((2, _CHANNELS))
    kernels.draw_channels(state, _BIAS_RANGE, channels)
    return _Layer(base, grain, channels)


def _add_colours(state: U64, layer: _Layer, colours: F64) -> None:
    """Add the red, green and blue of a layer, each its own mixture of channels, to `colours`."""
    slots, weights = np.zeros(_CHANNELS, np.int64), np.empty((3, _CHANNELS))
    kernels.draw_colours(state, weights)
    for channel in range(3):
        layer.add_to(colours[channel : channel + 1], slots, weights[channel])


def _upsampled(fields: F64) -> F64:
    number, side, _ = fields.shape
    large = np.empty((number, 2 * side, 2 * side))
    for field, out in zip(fields, large, strict=True):
        kernels.upsample(field, out)
    return large


def _draw_noise(draws: Draws, side: int) -> F64:
    """Draw the noise of all layers, float64 [side, side]: pink, in patches, of deviation 1.

    Amplitudes are r^−α in frequency, α ~ U(0.5, 1.5); a 4×4 grid of Laplace numbers, enlarged,
    makes it strong here and weak there.
    """
    re, im = np.empty((side, side)), np.empty((side, side))
    fill_phases(np.uint64(draws.word()), re, im)
    kernels.shape_noise(draws.uniform(0.5, 1.5), re, im)
    transform(re, im, twiddles(side), True)
    kernels.modulate(np.array([draws.word()], np.uint64), re)
    return re


@functools.lru_cache(maxsize=1)
def _filters() -> F64:
    filters = np.empty((kernels.NUM_FILTERS, 3, 3))
    kernels.fill_filters(filters)
    return filters
