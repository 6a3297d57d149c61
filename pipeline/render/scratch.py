"""Working memory of the pixel kernels, made once a batch rather than at every call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel


class Scratch(NamedTuple):
    """Buffers for pictures of one size [H, W, 3]; what they hold between calls means nothing.

    Attributes:
        counts: int32 [4, 3, 256], histograms, four that take turns.
        table: uint8 [3, 256], a look-up table for each channel.
        low, high: uint8 [3·W], extremes of each column.
        sums: int32 [3·H·W], sums of three rows.
        grey: int32 [H·W].
        packed: uint32 [(H + 4)·(W + 2)], a pixel a word, the edge repeated; then two black rows.
        words: uint32 [H·W], a pixel a word.
        places: int32 [W], index in `packed` of a pixel's upper left neighbour.
        across, down: float64 [W], how far to go from there to the right and down.
        upper, lower: uint32 [2·W], a pixel's neighbours, two side by side.
        scales, offsets: float64 [3·W], of a row's values, channel by channel.
    """

    counts: npt.NDArray[np.int32]
    table: npt.NDArray[np.uint8]
    low: npt.NDArray[np.uint8]
    high: npt.NDArray[np.uint8]
    sums: npt.NDArray[np.int32]
    grey: npt.NDArray[np.int32]
    packed: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int32]
    across: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]
    upper: npt.NDArray[np.uint32]
    lower: npt.NDArray[np.uint32]
    scales: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.float64]


@kernel
def new_scratch(height: int, width: int) -> Scratch:
    """Return buffers for pictures of one size."""
    return Scratch(
        np.empty((4, 3, 256), np.int32),
        np.empty((3, 256), np.uint8),
        np.empty(3 * width, np.uint8),
        np.empty(3 * width, np.uint8),
        np.empty(3 * height * width, np.int32),
        np.empty(height * width, np.int32),
        np.zeros((height + 4) * (width + 2), np.uint32),
        np.empty(height * width, np.uint32),
        np.empty(width, np.int32),
        np.empty(width, np.float64),
        np.empty(width, np.float64),
        np.empty(2 * width, np.uint32),
        np.empty(2 * width, np.uint32),
        np.empty(3 * width, np.float64),
        np.empty(3 * width, np.float64),
    )
