"""Per-channel look-up tables of the point operations: autocontrast, equalize, posterize, solarize.

Each kernel fills `table`, uint8 [3, 256], so that the operation is `table[channel, value]`. The definitions
are Pillow's, so that results are bit-identical to `PIL.ImageOps`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]


@kernel
def histograms(image: U8, counts: I32) -> None:
    """Count the values of each channel of `image` [H, W, 3] into `counts`, int32 [3, 256]."""
    counts[:] = 0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for channel in range(3):
                counts[channel, image[row, column, channel]] += 1


@kernel
def fill_autocontrast(counts: I32, table: U8) -> None:
    """Stretch each channel's occupied range linearly to 0..255; a constant channel is kept."""
    for channel in range(3):
        low = 0
        while low < 255 and counts[channel, low] == 0:
            low += 1
        high = 255
        while high > 0 and counts[channel, high] == 0:
            high -= 1
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
    for channel in range(3):
        total = 0
        occupied = 0
        last = 0
        for value in range(256):
            count = counts[channel, value]
            if count:
                occupied += 1
                last = count
            total += count
        step = (total - last) // 255
        if occupied <= 1 or step == 0:
            for value in range(256):
                table[channel, value] = value
            continue
        running = step // 2
        for value in range(256):
            table[channel, value] = min(running // step, 255)
            running += counts[channel, value]


@kernel
def fill_posterize(bits: int, table: U8) -> None:
    """Keep the `bits` highest bits, 0..8."""
    mask = 255 & ~((1 << (8 - bits)) - 1)
    for channel in range(3):
        for value in range(256):
            table[channel, value] = value & mask


@kernel
def fill_solarize(threshold: int, table: U8) -> None:
    """Invert values at or above `threshold`, 0..256."""
    for channel in range(3):
        for value in range(256):
            table[channel, value] = value if value < threshold else 255 - value


@kernel
def apply_table(image: U8, table: U8, out: U8) -> None:
    """Write table[channel, value] for every value of `image` [H, W, 3] to `out`, which may be `image`."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            for channel in range(3):
                out[row, column, channel] = table[channel, image[row, column, channel]]
