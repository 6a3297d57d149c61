"""The point operations: autocontrast, equalize, posterize, solarize.

The first two fill `table`, uint8 [3, 256], and are then `table[channel, value]`; the others are arithmetic.
The definitions are Pillow's, so that results are bit-identical to `PIL.ImageOps`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]


@kernel
def histograms(image: U8, counts: I32) -> None:
    """Count the values of each channel of `image` [H, W, 3] into counts[0] of int32 [4, 3, 256].

    Four histograms take turns, since counting one value twice in a row has to wait for the first.
    """
    flat = image.reshape(-1)
    counts[:] = 0
    num_whole = flat.size // 12 * 12
    for i in range(0, num_whole, 12):
        for turn in range(4):
            for channel in range(3):
                counts[turn, channel, flat[i + 3 * turn + channel]] += 1
    for i in range(num_whole, flat.size):
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


@kernel
def fill_autocontrast(lows: U8, highs: U8, table: U8) -> None:
    """Stretch each channel's occupied range linearly to 0..255; a constant channel is kept."""
    for channel in range(3):
        low, high = 255, 0
        for i in range(channel, lows.size, 3):
            low, high = min(low, lows[i]), max(high, highs[i])
        if high <= low:
            for value in range(256):
                table[channel, value] = value
            continue
        scale = 255.0 / (high - low)
        offset = -low * scale
        for value in range(256):
            stretched = int(value * scale + offset)  # truncates toward zero, as Pillow does
            table[channel, value] = min(max(stretched, 0), 255)


@kernel
def fill_equalize(counts: I32, table: U8) -> None:
    """Map each channel to an even histogram; the step leaves out the highest occupied value."""
    below = np.empty(256, np.float64)
    for channel in range(3):
        total = 0
        occupied = 0
        last = 0
        for value in range(256):
            count = counts[0, channel, value]
            if count:
                occupied += 1
                last = count
            below[value] = total
            total += count
        step = (total - last) // 255
        if occupied <= 1 or step == 0:
            for value in range(256):
                table[channel, value] = value
            continue
        # Whole numbers below 2^53: the quotient's whole part is that of integer division, and vectorises.
        half, divisor = float(step // 2), float(step)
        for value in range(256):
            equal = (below[value] + half) / divisor
            table[channel, value] = np.int32(equal if equal < 255.0 else 255.0)


@kernel
def apply_table(image: U8, table: U8, out: U8) -> None:
    """Write table[channel, value] for every value of `image` [H, W, 3] to `out`, which may be `image`."""
    flat, mapped = image.reshape(-1), out.reshape(-1)
    red, green, blue = table[0], table[1], table[2]
    for i in range(0, flat.size, 3):
        mapped[i] = red[flat[i]]
        mapped[i + 1] = green[flat[i + 1]]
        mapped[i + 2] = blue[flat[i + 2]]


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
