"""Kernels of the untrained StyleGAN with oriented filters: channels that differ by sign and bias.

Only + − × ÷, square roots and the functions of `pipeline.pictures.arithmetic`: the same bytes on every
x86-64 host. A layer's parameters are drawn from a SplitMix64 state, coarse layers first, so
networks of different depth begin alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import log, power, sin, sin_cos
from pipeline.pictures.splitmix import next_signed, next_unit, next_word
from pipeline.render.jit import kernel

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

NUM_FILTERS = 20
_ORIENTATIONS = 8
_PI = 3.141592653589793
_SQRT_2 = 1.4142135623730951

# LeakyReLU₀.₂ of a normal number has the mean square (1 + 0.2²)/2 = 0.52, and so has a row of normal
# numbers times 512 of these over √512: the styles, less the 1 that is added.
_STYLE_DEVIATION = 0.7211102550927978


@kernel
def next_normal(state: U64) -> float:
    """Advance `state` and return a standard normal number (Marsaglia's polar method)."""
    x = square = 0.0
    while square < 1e-6 or square > 1.0:
        x, y = next_signed(state), next_signed(state)
        square = x * x + y * y
    return float(x * np.sqrt(-2.0 * log(square) / square))


@kernel
def fill_filters(filters: F64) -> None:
    """Fill the dictionary, float64 [20, 3, 3]; each filter stands for its negative too.

    Edges and lines in eight orientations, without a mean; a point; a point against its surround; a
    cross of ones; a cross of ones on minus ones.
    """
    for k in range(_ORIENTATIONS):
        sine, cosine = sin_cos(_PI * k / _ORIENTATIONS)
        for i in range(3):
            for j in range(3):
                distance = (j - 1) * cosine + (i - 1) * sine
                filters[k, i, j] = min(max(distance, -1.0), 1.0)
                filters[_ORIENTATIONS + k, i, j] = max(1.0 - abs(distance), 0.0)
        for row in (k, _ORIENTATIONS + k):
            mean = 0.0
            for i in range(3):
                for j in range(3):
                    mean += filters[row, i, j] / 9.0
            filters[row] -= mean
    for i in range(3):
        for j in range(3):
            centre, cross = i == 1 and j == 1, i == 1 or j == 1
            filters[16, i, j] = 1.0 if centre else 0.0
            filters[17, i, j] = 1.0 if centre else -1.0
            filters[18, i, j] = 1.0 if cross else 0.0
            filters[19, i, j] = 1.0 if cross else -1.0


@kernel
def draw_filters(state: U64, filters: F64, slots: I64, weights: F64) -> float:
    """Draw the filter and the style of each input channel of a layer.

    Args:
        state: uint64 [1].
        filters: float64 [20, 3, 3].
        slots: int64 [C], gets each channel's filter: of a random subset of 5 to 40 of the
            dictionary and its negatives.
        weights: float64 [C], gets its style, with the sign of its filter.

    Returns the factor that demodulates: one over the norm of all weights of an output channel.
    """
    deck = np.arange(2 * NUM_FILTERS)
    num_kept = 5 + int(next_word(state) % np.uint64(2 * NUM_FILTERS - 4))
    for k in range(num_kept):
        other = k + int(next_word(state) % np.uint64(2 * NUM_FILTERS - k))
        deck[k], deck[other] = deck[other], deck[k]
    total = 0.0
    for channel in range(slots.size):
        card = deck[int(next_word(state) % np.uint64(num_kept))]
        slot = card % NUM_FILTERS
        style = 1.0 + _STYLE_DEVIATION * next_normal(state)
        slots[channel] = slot
        weights[channel] = style if card < NUM_FILTERS else -style
        for i in range(3):
            for j in range(3):
                total += style * style * filters[slot, i, j] * filters[slot, i, j]
    return float(1.0 / np.sqrt(total + 1e-8))


@kernel
def draw_channels(state: U64, bias_range: float, channels: F64) -> None:
    """Draw the sign and the bias of each output channel into `channels`, float64 [2, C].

    Demodulation leaves nothing of an output channel's random gain but its sign.
    """
    for channel in range(channels.shape[1]):
        channels[0, channel] = 1.0 if next_word(state) & np.uint64(1) else -1.0
        channels[1, channel] = bias_range * next_signed(state)


@kernel
def add_channels(base: F64, noise: F64, channels: F64, slots: I64, weights: F64, maps: F64) -> None:
    """Activate all channels and add each, times its weight, to the map of its filter.

    Args:
        base: float64 [side, side], the one map y that all channels share.
        noise: float64 [side, side].
        channels: float64 [2, C], signs s and biases b: a channel is √2 · max(s·y + noise + b, 0).
        slots: int64 [C], the map that each is added to.
        weights: float64 [C].
        maps: float64 [N, side, side], added to.
    """
    shared, grain = base.ravel(), noise.ravel()
    for channel in range(slots.size):
        sign, bias = channels[0, channel], channels[1, channel]
        weight = _SQRT_2 * weights[channel]
        target = maps[slots[channel]].ravel()
        for k in range(shared.size):
            target[k] += weight * max(sign * shared[k] + grain[k] + bias, 0.0)


@kernel
def convolve(maps: F64, filters: F64, scale: float, out: F64) -> None:
    """Write the sum of all maps, each filtered by its filter, times `scale`; zeros lie outside.

    Args:
        maps: float64 [N, side, side].
        filters: float64 [N, 3, 3].
        scale: of the sum.
        out: float64 [side, side], written.
    """
    side = out.shape[0]
    out[:] = 0.0
    for k in range(maps.shape[0]):
        for i in range(3):
            for j in range(3):
                weight = scale * filters[k, i, j]
                first, last = max(0, 1 - j), min(side, side + 1 - j)
                for row in range(max(0, 1 - i), min(side, side + 1 - i)):
                    source, target = maps[k, row + i - 1], out[row]
                    for column in range(first, last):
                        target[column] += weight * source[column + j - 1]


@kernel
def upsample(field: F64, out: F64) -> None:
    """Write `field`, float64 [side, side], at twice the side: zeros put between, filtered by 1-3-3-1."""
    side = field.shape[0]
    tall = np.empty((2 * side, side))
    for row in range(side):
        for column in range(side):
            here = 0.75 * field[row, column]
            above = field[row - 1, column] if row > 0 else 0.0
            below = field[row + 1, column] if row < side - 1 else 0.0
            tall[2 * row, column] = here + 0.25 * above
            tall[2 * row + 1, column] = here + 0.25 * below
    for row in range(2 * side):
        for column in range(side):
            here = 0.75 * tall[row, column]
            left = tall[row, column - 1] if column > 0 else 0.0
            right = tall[row, column + 1] if column < side - 1 else 0.0
            out[row, 2 * column] = here + 0.25 * left
            out[row, 2 * column + 1] = here + 0.25 * right


@kernel
def draw_first_maps(state: U64, slots: I64, weights: F64, maps: F64) -> None:
    """Fill the maps of the first layer from its constant input, N(0, 1) in each channel.

    Args:
        state: uint64 [1].
        slots: int64 [C].
        weights: float64 [C].
        maps: float64 [N, 4, 4], written.
    """
    maps[:] = 0.0
    for channel in range(slots.size):
        for i in range(4):
            for j in range(4):
                maps[slots[channel], i, j] += weights[channel] * next_normal(state)


@kernel
def draw_colours(state: U64, colours: F64) -> None:
    """Draw the weights of a layer's channels in red, green and blue, float64 [3, C]."""
    scale = 1.0 / np.sqrt(float(colours.shape[1]))
    for channel in range(colours.shape[1]):
        style = 1.0 + _STYLE_DEVIATION * next_normal(state)
        for k in range(3):
            colours[k, channel] = scale * style * next_normal(state)


@kernel
def shape_noise(exponent: float, re: F64, im: F64) -> None:
    """Multiply a spectrum, float64 [side, side] each, by r^−exponent, r in waves per side."""
    side = re.shape[0]
    half = side // 2
    for i in range(side):
        for j in range(side):
            y, x = (i + half) % side - half, (j + half) % side - half
            square = float(x * x + y * y)
            factor = power(square, -0.5 * exponent) if square > 0.0 else 0.0
            re[i, j] *= factor
            im[i, j] *= factor


@kernel
def _lanczos(x: float) -> float:
    """Return Lanczos' window of three lobes at x: sinc(x) · sinc(x/3)."""
    if abs(x) < 1e-9:
        return 1.0
    if abs(x) >= 3.0:
        return 0.0
    return 3.0 * sin(_PI * x) * sin(_PI * x / 3.0) / (_PI * _PI * x * x)


@kernel
def modulate(state: U64, field: F64) -> None:
    """Multiply `field`, float64 [side, side], by an enlarged 4×4 grid of Laplace(0, 1); deviation 1."""
    side = field.shape[0]
    weights = np.zeros((side, 4))
    for k in range(side):
        place = (k + 0.5) * 4.0 / side - 0.5
        total = 0.0
        for node in range(4):
            weights[k, node] = _lanczos(place - node)
            total += weights[k, node]
        weights[k] /= total
    grid = np.empty((4, 4))
    for i in range(4):
        for j in range(4):
            size = -log(1.0 - next_unit(state))
            grid[i, j] = size if next_word(state) & np.uint64(1) else -size
    for i in range(side):
        for j in range(side):
            factor = 0.0
            for a in range(4):
                for b in range(4):
                    factor += weights[i, a] * weights[j, b] * grid[a, b]
            field[i, j] *= factor
    standardise(field, 0.0, 1.0)


@kernel
def standardise(field: F64, mean: float, deviation: float) -> None:
    """Give `field`, float64 [side, side], this mean and standard deviation."""
    total = square = 0.0
    flat = field.ravel()
    for value in flat:
        total += value
    total /= flat.size
    for value in flat:
        square += (value - total) * (value - total)
    scale = deviation / np.sqrt(square / flat.size + 1e-20)
    for k in range(flat.size):
        flat[k] = (flat[k] - total) * scale + mean


@kernel
def to_bytes(field: F64, out: U8) -> None:
    """Write 255 · field, float64 [size, size], clipped and rounded to `out`, uint8 [size, size]."""
    for i in range(field.shape[0]):
        for j in range(field.shape[1]):
            out[i, j] = np.uint8(min(max(field[i, j], 0.0), 1.0) * 255.0 + 0.5)
