"""Kernels of the statistical pictures: imposing a power spectrum, wavelet marginals and a histogram.

Steerable pyramid (Simoncelli & Freeman, ICIP 1995) of four orientations in the Fourier domain: raised
cosines in log₂ radius, cos³ in angle, so that squared gains sum to one. Only + − × ÷, square
roots and the functions of `pipeline.pictures.arithmetic`: the same bytes on every x86-64 host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import cos, exp, log2, power, sin
from pipeline.pictures.fields import transform
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import kernel

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
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


@kernel
def fill_magnitudes(across: float, down: float, magnitudes: F64) -> None:
    """Fill 1/(|x|^across + |y|^down) for frequencies x, y in waves per 128th of the side; 0 at 0.

    Args:
        across: exponent of the horizontal frequency.
        down: exponent of the vertical one.
        magnitudes: float64 [side, side], written.
    """
    side = magnitudes.shape[0]
    half = side // 2
    horizontal, vertical = np.empty(half + 1), np.empty(half + 1)
    for k in range(half + 1):
        horizontal[k], vertical[k] = power(k / 128.0, across), power(k / 128.0, down)
    for i in range(side):
        for j in range(side):
            total = vertical[min(i, side - i)] + horizontal[min(j, side - j)]
            magnitudes[i, j] = 1.0 / total if total > 0.0 else 0.0


@kernel
def impose_magnitudes(magnitudes: F64, re: F64, im: F64) -> None:
    """Give a spectrum the shape of `magnitudes`; phases, the mean and the total power stay.

    Args:
        magnitudes: float64 [side, side], symmetric, 0 at [0, 0].
        re: float64 [side, side], updated.
        im: float64 [side, side], updated.
    """
    old = new = 0.0
    for i in range(re.shape[0]):
        for j in range(re.shape[1]):
            old += re[i, j] * re[i, j] + im[i, j] * im[i, j]
            new += magnitudes[i, j] * magnitudes[i, j]
    old -= re[0, 0] * re[0, 0] + im[0, 0] * im[0, 0]
    mean = re[0, 0]
    scale = np.sqrt(max(old, 0.0) / new)
    for i in range(re.shape[0]):
        for j in range(re.shape[1]):
            size = np.sqrt(re[i, j] * re[i, j] + im[i, j] * im[i, j])
            factor = scale * magnitudes[i, j] / size if size > 0.0 else 0.0
            re[i, j] *= factor
            im[i, j] *= factor
    re[0, 0] = mean


@kernel
def fill_marginal(width: float, shape: float, marginal: F64) -> None:
    """Fill `marginal`, float64 [801], with exp(−|x/width|^shape) for x = −200, −199.5 … 200."""
    for k in range(NUM_VALUES):
        x = abs(k * STEP - SUPPORT)
        marginal[k] = exp(-power(x / width, shape))


@kernel
def argsort(values: F64, order: I32, spare: I32) -> None:
    """Sort by 22 bits of each value's place between the least and the greatest.

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
    scale = (_RADIX * _RADIX - 1) / (greatest - least) if greatest > least else 0.0
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
def match_marginal(marginal: F64, field: F64, order: I32, spare: I32) -> None:
    """Replace each value by the quantile of its rank in the density `marginal`.

    Args:
        marginal: float64 [801], of any sum; a density that is constant ±0.25 around each value.
        field: float64 [n, n], updated.
        order: int32 [n²], scratch.
        spare: int32 [2, n²], scratch.
    """
    flat = field.ravel()
    argsort(flat, order, spare)
    total = 0.0
    for k in range(NUM_VALUES):
        total += marginal[k]
    place, below = 0, 0.0
    for rank in range(flat.size):
        target = total * ((rank + 0.5) / flat.size)
        while place < NUM_VALUES - 1 and below + marginal[place] < target:
            below += marginal[place]
            place += 1
        within = (target - below) / marginal[place] - 0.5
        flat[order[rank]] = (place + within) * STEP - SUPPORT


@kernel
def match_sorted(targets: F64, field: F64, order: I32, spare: I32) -> None:
    """Replace each value by the one of its rank among `targets`, float64 [m], ascending.

    `field` is float64 [n, n], n² a multiple of m; the others are as in `match_marginal`.
    """
    flat = field.ravel()
    argsort(flat, order, spare)
    repeat = flat.size // targets.size
    for rank in range(flat.size):
        flat[order[rank]] = targets[rank // repeat]


@kernel
def _add_pair(masks: F64, re: F64, im: F64, out_re: F64, out_im: F64) -> None:
    """Add the spectrum of two bands, packed as real and imaginary part of one field, to a spectrum.

    Args:
        masks: float64 [2, n, n], the bands' gains.
        re: float64 [n, n], of the packed field's transform.
        im: float64 [n, n], likewise.
        out_re: float64 [side, side], side ≥ n; added to.
        out_im: float64 [side, side], likewise.
    """
    n, side = re.shape[0], out_re.shape[0]
    for i in range(n):
        row = i if i < n // 2 else i + side - n
        for j in range(n):
            column = j if j < n // 2 else j + side - n
            p, q = re[i, j], im[i, j]
            r, s = re[(n - i) % n, (n - j) % n], im[(n - i) % n, (n - j) % n]
            first, second = masks[0, i, j], masks[1, i, j]
            # Times −i, the conjugate of the gain by which the bands were cut out.
            out_re[row, column] += 0.5 * (first * (q - s) - second * (p - r))
            out_im[row, column] -= 0.5 * (first * (p + r) + second * (q + s))


@kernel
def match_level(
    bands: F64, marginals: F64, table: F64, re: F64, im: F64, out_re: F64, out_im: F64
) -> None:
    """Cut one level's oriented bands out of a spectrum, match them, add them to another spectrum.

    Args:
        bands: float64 [4, n, n], gains from `fill_band_masks`.
        marginals: float64 [4, 801].
        table: float64 [2, n/2], twiddle factors.
        re: float64 [side, side], side ≥ n.
        im: float64 [side, side].
        out_re: float64 [side, side], added to.
        out_im: float64 [side, side], added to.

    Bands are sampled n × n times: their values grow by (side/n)² over those at full resolution.
    """
    n, side = bands.shape[1], re.shape[0]
    u, v = np.empty((n, n)), np.empty((n, n))
    order, spare = np.empty(n * n, np.int32), np.empty((2, n * n), np.int32)
    for pair in range(0, ORIENTATIONS, 2):
        for i in range(n):
            row = i if i < n // 2 else i + side - n
            for j in range(n):
                column = j if j < n // 2 else j + side - n
                first, second = bands[pair, i, j], bands[pair + 1, i, j]
                x, y = re[row, column], im[row, column]
                u[i, j] = -second * x - first * y  # times −second + i·first
                v[i, j] = first * x - second * y
        transform(u, v, table, True)
        match_marginal(marginals[pair], u, order, spare)
        match_marginal(marginals[pair + 1], v, order, spare)
        transform(u, v, table, False)
        _add_pair(bands[pair : pair + 2], u, v, out_re, out_im)


@kernel
def match_high(
    high: F64, marginal: F64, table: F64, re: F64, im: F64, out_re: F64, out_im: F64
) -> None:
    """Do for the high-pass residual what `match_level` does for a level; `high` is its gain."""
    side = re.shape[0]
    u, v = np.empty((side, side)), np.empty((side, side))
    for i in range(side):
        for j in range(side):
            u[i, j], v[i, j] = high[i, j] * re[i, j], high[i, j] * im[i, j]
    order, spare = np.empty(side * side, np.int32), np.empty((2, side * side), np.int32)
    transform(u, v, table, True)
    match_marginal(marginal, u, order, spare)
    v = np.zeros((side, side))
    transform(u, v, table, False)
    for i in range(side):
        for j in range(side):
            out_re[i, j] += high[i, j] * u[i, j]
            out_im[i, j] += high[i, j] * v[i, j]


@kernel
def fill_stripes(bounds: F64, colours: F64, blur: int, pixels: F64) -> None:
    """Fill the picture whose colours are the model's: stripes, blurred by a square box.

    Args:
        bounds: float64 [M], ascending, the last 1: cumulated shares of the colours.
        colours: float64 [M, 3].
        blur: side of the box, from 1 on; the borders are mirrored.
        pixels: float64 [side, side, 3], written. A sorted picture, column by column.
    """
    side = pixels.shape[0]
    sharp, half_blurred = np.empty((side, side, 3)), np.empty((side, side, 3))
    place = 0
    for column in range(side):
        for row in range(side):
            while place < bounds.size - 1 and bounds[place] * side * side <= column * side + row:
                place += 1
            for channel in range(3):
                sharp[row, column, channel] = colours[place, channel]
    for axis in range(2):
        source, target = (sharp, half_blurred) if axis == 0 else (half_blurred, pixels)
        for row in range(side):
            for column in range(side):
                for channel in range(3):
                    target[row, column, channel] = 0.0
                for shift in range(-(blur // 2), blur - blur // 2):
                    i, j = (row + shift, column) if axis == 0 else (row, column + shift)
                    i, j = max(i, -1 - i), max(j, -1 - j)
                    i, j = min(i, 2 * side - 1 - i), min(j, 2 * side - 1 - j)
                    for channel in range(3):
                        target[row, column, channel] += source[i, j, channel] / blur


@kernel
def add_noise(amplitude: float, state: U64, pixels: F64) -> None:
    """Add numbers of [0, amplitude) to all of `pixels`, float64 [side, side, 3]."""
    flat = pixels.ravel()
    for k in range(flat.size):
        flat[k] += amplitude * next_unit(state)


@kernel
def fill_moments(pixels: F64, moments: F64) -> None:
    """Fill `moments`, float64 [4, 3], with means and covariances of `pixels`, float64 [n, 3]."""
    n = pixels.shape[0]
    for a in range(3):
        total = 0.0
        for k in range(n):
            total += pixels[k, a]
        moments[0, a] = total / n
    for a in range(3):
        for b in range(3):
            total = 0.0
            for k in range(n):
                total += (pixels[k, a] - moments[0, a]) * (pixels[k, b] - moments[0, b])
            moments[1 + a, b] = total / n


@kernel
def fill_axes(covariances: F64, axes: F64) -> None:
    """Fill `axes`, float64 [3, 3], with eigenvectors, one a row, by Jacobi's rotations.

    `covariances`, float64 [3, 3] and symmetric, is diagonal afterwards: the eigenvalues.
    """
    axes[:] = 0.0
    for a in range(3):
        axes[a, a] = 1.0
    for _ in range(12):
        for p, q in ((0, 1), (0, 2), (1, 2)):
            if covariances[p, q] == 0.0:
                continue
            theta = (covariances[q, q] - covariances[p, p]) / (2.0 * covariances[p, q])
            t = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
            t = t if theta >= 0.0 else -t
            c = 1.0 / np.sqrt(t * t + 1.0)
            s = t * c
            for k in range(3):
                x, y = covariances[k, p], covariances[k, q]
                covariances[k, p], covariances[k, q] = c * x - s * y, s * x + c * y
            for k in range(3):
                x, y = covariances[p, k], covariances[q, k]
                covariances[p, k], covariances[q, k] = c * x - s * y, s * x + c * y
                x, y = axes[p, k], axes[q, k]
                axes[p, k], axes[q, k] = c * x - s * y, s * x + c * y


@kernel
def project(pixels: F64, mean: F64, axis: F64, out: F64) -> None:
    """Write (pixel − mean) · axis of each row of `pixels`, float64 [n, 3], to `out`, float64 [n]."""
    for k in range(out.size):
        out[k] = (
            (pixels[k, 0] - mean[0]) * axis[0]
            + (pixels[k, 1] - mean[1]) * axis[1]
            + (pixels[k, 2] - mean[2]) * axis[2]
        )


@kernel
def compose(fields: F64, axes: F64, colours: F64) -> None:
    """Turn coordinates in a colour basis into colours.

    Args:
        fields: float64 [3, side, side], coordinates.
        axes: float64 [3, 3], the basis, one vector a row.
        colours: float64 [3, side, side], written; without the mean.
    """
    for channel in range(3):
        for i in range(fields.shape[1]):
            for j in range(fields.shape[2]):
                value = 0.0
                for k in range(3):
                    value += fields[k, i, j] * axes[k, channel]
                colours[channel, i, j] = value


@kernel
def stretch(colours: F64, out: U8) -> None:
    """Round colours to bytes, the least of all channels to 0 and the greatest to 255.

    Args:
        colours: float64 [3, size, size].
        out: uint8 [size, size, 3], written.
    """
    low = high = colours[0, 0, 0]
    for value in colours.ravel():
        low, high = min(low, value), max(high, value)
    scale = 255.0 / (high - low) if high > low else 0.0
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for channel in range(3):
                out[i, j, channel] = np.uint8((colours[channel, i, j] - low) * scale + 0.5)
