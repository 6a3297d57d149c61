"""Where rendered samples go: an array of their own, or places in a larger one, such as a tar's records."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

U8 = npt.NDArray[np.uint8]


class Slots(NamedTuple):
    """Equal pieces of an array, one a sample.

    Attributes:
        flat: uint8 [total], writable.
        first: where the first sample's bytes begin.
        stride: from the beginning of one to that of the next, in bytes.
    """

    flat: U8
    first: int
    stride: int

    @classmethod
    def of(cls, samples: U8) -> Self:
        """Return the slots that fill `samples`, uint8 [n, …], C-contiguous."""
        return cls(samples.reshape(-1), 0, samples[0].size if len(samples) else 0)

    def put(self, samples: U8) -> None:
        """Copy `samples`, uint8 [n, …], to the first n slots."""
        rows = samples.reshape(len(samples), math.prod(samples.shape[1:]))
        places = self.flat[self.first :]
        np.lib.stride_tricks.as_strided(places, rows.shape, (self.stride, 1))[:] = rows
