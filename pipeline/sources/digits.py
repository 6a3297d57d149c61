"""scikit-learn's handwritten digits: real pictures that need no download."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.executor import Executor
from pipeline.source_sections import DigitsSource
from pipeline.sources.source import ArraySource, evenly

SIZE = 32
NUM_TRAIN, NUM_TEST = 1437, 360
"""The train split is the first rows, the test split the last."""


def open_digits(config: DigitsSource, executor: Executor) -> ArraySource:
    """Return 1,437 (train) or 360 (test) digits as 32×32 RGB, or `config.count` of them, evenly spread.

    Values 0..16 become round(v · 255 / 16), then Pillow's bicubic filter enlarges 8×8 to 32×32 and
    the grey is replicated. Ids are the original rows, digit-0000 to digit-1796.

    Raises:
        UsageError: more are asked for than there are.
    """
    split = range(NUM_TRAIN) if config.split == "train" else range(NUM_TRAIN, NUM_TRAIN + NUM_TEST)
    where = f"source: the {config.split} split of digits"
    rows = [split[place] for place in evenly(len(split), config.count, where, "take the other")]
    grey, labels = load_rows(rows)
    return ArraySource.of(
        class_names=[str(digit) for digit in range(10)],
        labels=labels,
        ids=pa.array([digit_id(row) for row in rows], pa.string()),
        pixels=np.repeat(grey[..., None], 3, axis=3),
    )


def load_rows(rows: Sequence[int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Return digits in grey, uint8 [N, 32, 32], white on black, and what they are, int32 [N]."""
    from sklearn.datasets import load_digits  # slow to import; workers get the pixels, not this

    digits = load_digits()
    grey = np.empty((len(rows), SIZE, SIZE), np.uint8)
    for place, row in enumerate(rows):
        small = Image.fromarray(np.rint(digits.images[row] * 255 / 16).astype(np.uint8))
        grey[place] = np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return grey, digits.target[list(rows)].astype(np.int32)


def digit_id(row: int) -> str:
    """Return the name of a row of the original set, digit-0000 to digit-1796."""
    return f"digit-{row:04d}"
