"""scikit-learn's handwritten digits: real pictures that need no download."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.executor import Executor
from pipeline.source_sections import DigitsSource
from pipeline.sources.source import ArraySource, evenly

SIZE = 32
NUM_TEST = 360
"""The test split is this many of the last rows."""


def open_digits(config: DigitsSource, executor: Executor) -> ArraySource:
    """Return 1,437 (train) or 360 (test) digits as 32×32 RGB, or `config.count` of them, evenly spread.

    Values 0..16 become round(v · 255 / 16), then Pillow's bicubic filter enlarges 8×8 to 32×32 and
    the grey is replicated. Ids are the original rows, digit-0000 to digit-1796.

    Raises:
        UsageError: more are asked for than there are.
    """
    from sklearn.datasets import load_digits  # slow to import; workers get the pixels, not this

    digits = load_digits()
    small = np.rint(digits.images * 255 / 16).astype(np.uint8)
    num_train = len(small) - NUM_TEST
    split = range(num_train) if config.split == "train" else range(num_train, len(small))
    where = f"source: the {config.split} split of digits"
    rows = [split[place] for place in evenly(len(split), config.count, where, "take the other")]
    pixels = np.empty((len(rows), SIZE, SIZE, 3), np.uint8)
    for place, row in enumerate(rows):
        large = Image.fromarray(small[row]).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels[place] = np.asarray(large)[:, :, None]
    return ArraySource.of(
        class_names=[str(digit) for digit in range(10)],
        labels=digits.target[rows].astype(np.int32),
        ids=pa.array([f"digit-{row:04d}" for row in rows], pa.string()),
        pixels=pixels,
    )
