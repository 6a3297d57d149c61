"""What a mixing set is to the rest of the pipeline: flat pixels that every worker of a node shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class PictureSet:
    """N mixing pictures of any sizes, end to end in one array.

    Attributes:
        pixels: uint8 [total], picture i is pixels[offsets[i] : offsets[i] + 3·h·w] as [h, w, 3], RGB.
        offsets: int64 [N].
        heights, widths: int32 [N], pixels.
        ids: string [N], file names below the folder, or the generator's names.
        digest: hex SHA-256 over sizes, ids and pixels: the identity of the set.
    """

    pixels: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    heights: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int32]
    ids: pa.StringArray
    digest: str

    def __len__(self) -> int:
        return len(self.offsets)

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """Return picture `index` as uint8 [h, w, 3]."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        return self.pixels[start : start + 3 * height * width].reshape(height, width, 3)
