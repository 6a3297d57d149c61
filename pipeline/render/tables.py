"""The point operations: autocontrast, equalize, posterize, solarize.

Equalize fills `table`, uint8 [3, 256], and is then `table[channel, value]`; the others are arithmetic.
The definitions are Pillow's, so that results are bit-identical to `PIL.ImageOps`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import inlined, kernel
from pipeline.render.scratch import Scratch

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]


@kernel
def histograms(image: U8, counts: I32) -> None:
    """Count the values of each channel of `image` [H, W, 3] into counts[0] of int32 [4, 3, 256].

    Four histograms take turns, since counting one value twice in a row has to wait for the first.
    """
    flat = image.reshape(-1)
    counts[:] = 0
    num_whole = flat.size // 12
    for group in range(num_whole):
        first = np.uint64(12 * group)
        for turn in range(4):
            for channel in range(3):
                value = flat[first + np.uint64(3 * turn + channel)]
                counts[turn, channel, value] += 1
    for i in range(12 * num_whole, flat.size):
        counts[0, i % 3, flat[i]] += 1
    for channel in range(3):
        total, second = counts[0, channel], counts[1, channel]
        third, fourth = counts[2, channel], counts[3, channel]
        for value in range(256):
            total[value] += second[value] + third[value] + fourth[value]


@kernel
def extremes(image: U8, low: U8, high: U8) -> None:
    """Fill `low` and `high`, uint8 [3·W], with the least and greatest value of each column and channel."""
    stride = low.size
    flat = image.reshape(-1)
    low[:] = flat[:stride]
    high[:] = flat[:stride]
    for row in range(1, image.shape[0]):
        start = row * stride
        for i in range(stride):
            value = flat[np.uint64(start + i)]
            low[i] = value if value < low[i] else low[i]
            high[i] = value if value > high[i] else high[i]


@inlined
def _stretch(least: int, greatest: int) -> tuple[float, float]:
    """Return the scale and offset that take `least` to 0 and `greatest` to 255; equal ones stay."""
    scale, offset = 1.0, 0.0
    if greatest > least:
        scale = 255.0 / (greatest - least)
        offset = -least * scale
    return scale, offset


@inlined
def _stretched(value: float, scale: float, offset: float) -> np.uint8:
    """Truncate toward zero, as Pillow does; within the occupied range nothing leaves 0..255 by more."""
    return np.uint8(np.int32(value * scale + offset))


@kernel
def autocontrast(image: U8, scratch: Scratch, out: U8) -> None:
    """Stretch each channel's occupied range linearly to 0..255; a constant channel is kept."""
    low, high, scales, offsets = scratch.low, scratch.high, scratch.scales, scratch.offsets
    extremes(image, low, high)
    stride = low.size
    for channel in range(3):
        least, greatest = 255, 0
        for i in range(channel, stride, 3):
            least, greatest = min(least, low[i]), max(greatest, high[i])
        scale, offset = _stretch(least, greatest)
        for i in range(channel, stride, 3):
            scales[i], offsets[i] = scale, offset
    flat, mapped = image.reshape(-1), out.reshape(-1)
    for row in range(image.shape[0]):
        start = row * stride
        for i in range(stride):
            value = float(np.int32(flat[np.uint64(start + i)]))
            mapped[np.uint64(start + i)] = _stretched(value, scales[i], offsets[i])


@kernel
def fill_autocontrast(counts: I32, table: U8) -> None:
    """Do by table what `autocontrast` does to a picture with these `histograms`; fill what occurs in it."""
    for channel in range(3):
        met = counts[0, channel]
        least, greatest = 0, 255
        while least < 255 and met[least] == 0:
            least += 1
        while greatest > least and met[greatest] == 0:
            greatest -= 1
        scale, offset = _stretch(least, greatest)
        for value in range(least, greatest + 1):
            table[channel, value] = _stretched(float(value), scale, offset)


@kernel
def fill_equalize(counts: I32, table: U8) -> None:
    """Map each channel to an even histogram; the step leaves out the highest occupied value."""
    below = np.empty(256, np.int32)
    for channel in range(3):
        met = counts[0, channel]
        total, occupied, highest = np.int32(0), 0, 255
        for value in range(256):
            below[value] = total
            total += met[value]
        for value in range(256):
            occupied += int(met[value] > 0)
        while highest > 0 and met[highest] == 0:
            highest -= 1
        step = (total - met[highest]) // 255
        if occupied <= 1 or step == 0:
            for value in range(256):
                table[channel, value] = value
            continue
        # Whole numbers below 2^53: the quotient's whole part is that of integer division, and vectorises.
        half, divisor = float(step // 2), float(step)
        for value in range(256):
            equal = (float(below[value]) + half) / divisor
            table[channel, value] = np.int32(equal if equal < 255.0 else 255.0)


@kernel
def apply_table(image: U8, table: U8, out: U8) -> None:
    """Write table[channel, value] for every value of `image` [H, W, 3] to `out`, which may be `image`."""
    flat, mapped = image.reshape(-1), out.reshape(-1)
    red, green, blue = table[0], table[1], table[2]
    second, third = np.uint64(1), np.uint64(2)
    for pixel in range(flat.size // 3):
        i = np.uint64(3 * pixel)
        mapped[i] = red[flat[i]]
        mapped[i + second] = green[flat[i + second]]
        mapped[i + third] = blue[flat[i + third]]


@kernel
def posterize(image: U8, bits: int, out: U8) -> None:
    """Keep the `bits` highest bits, 0..8."""
    flat, mapped = image.reshape(-1), out.reshape(-1)
    mask = np.uint8(255 & ~((1 << (8 - bits)) - 1))
    for i in range(flat.size):
        mapped[i] = flat[i] & mask


@kernel
def solarize(image: U8, threshold: int, out: U8) -> None:
    """Invert values at or above `threshold`, 0..256."""
    flat, mapped = image.reshape(-1), out.reshape(-1)
    for i in range(flat.size):
        value = np.int32(flat[i])
        mapped[i] = np.uint8(value if value < np.int32(threshold) else np.int32(255) - value)
