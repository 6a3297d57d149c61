"""What a clean dataset is to the rest of the pipeline."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError


class Skipped(NamedTuple):
    """A sample left out, and why."""

    id: str
    reason: str


class Source(Protocol):
    """A listed and checked clean dataset.

    Attributes:
        class_names: label → name.
        labels: int32 [N], the class of each sample.
        ids: string [N], unique names that a person recognises (file name, row name).
        heights, widths: int32 [N], pixels, as `read` returns them.
        fingerprint: hex SHA-256 over ids, labels and content; no path, clock or host in it.
        skipped: what was left out under `on_unreadable: skip`.
    """

    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32]
    ids: pa.StringArray
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    fingerprint: str
    skipped: tuple[Skipped, ...]

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Return sample `index` as uint8 [H, W, 3], RGB."""
        ...
