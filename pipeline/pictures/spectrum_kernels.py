"""Kernels of the statistical pictures: a power spectrum, a model of colours, its principal axes.

Only + − × ÷, square roots and the functions of `pipeline.pictures.arithmetic`: the same bytes on
every x86-64 host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.pictures.arithmetic import exp, power
from pipeline.pictures.splitmix import next_unit
from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]


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
    for k in range(marginal.size):
        x = abs(0.5 * k - 200.0)
        marginal[k] = exp(-power(x / width, shape))


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
