"""Mixing sets of zooms: pictures that follow each other in time, generated or from videos.

A set is stored as a set of pictures is, see `pipeline.pictures.cache`: of a generated zoom its strip, of a
video its frames, one below the other; and a few numbers beside each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.pictures.picture_set import PictureSet, Tally
from pipeline.pictures.zoom_strip import Strip, fill_frames
from pipeline.sources.source import Skipped

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ZoomSet:
    """N zooms, endless or of a number of frames.

    Attributes:
        stored: a strip's cells, or a video's frames one below the other; and numbers beside them: of strips
            `size`, `twist`, `growth`, `roll`, of videos `num_frames`.
        heights, widths: int32 [N], of frames: the size that a strip was made for, or those of the video.
        num_frames: int32 [N], of a video; 0 for endless ones.
    """

    stored: PictureSet
    heights: I32
    widths: I32
    num_frames: I32

    @classmethod
    def of(cls, stored: PictureSet) -> ZoomSet:
        """Return the zooms that were stored as pictures."""
        details = stored.details
        if "num_frames" in details:
            num_frames = details["num_frames"].astype(np.int32)
            return cls(stored, stored.heights // num_frames, stored.widths, num_frames)
        sizes = details["size"].astype(np.int32)
        return cls(stored, sizes, sizes, np.zeros_like(sizes))

    @property
    def ids(self) -> pa.StringArray:
        """Return string [N]: zoom-000000, …, or paths below the folder of videos."""
        return self.stored.ids

    @property
    def digest(self) -> str:
        """Return the identity of the set, hex SHA-256."""
        return self.stored.digest

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Return the videos left out under `on_unreadable: skip`."""
        return self.stored.skipped

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """Return how often generated zooms were drawn."""
        return self.stored.tallies

    def __len__(self) -> int:
        return len(self.stored)

    def verify(self) -> None:
        """Recompute the digest.

        Raises:
            DreamshardsError: it differs: what is stored was altered.
        """
        self.stored.verify()

    def fill(self, index: int, phase: float, factor: float, direction: int, out: U8) -> None:
        """Write consecutive frames of zoom `index`.

        An endless zoom begins at `phase` of its loop and magnifies by `factor` a frame. A video begins
        at frame ⌊phase · n⌋ and turns round at its ends, so that no cut shows; its own pace counts,
        and of larger frames the middle is taken.

        Args:
            index: of the zoom.
            phase: where to begin, [0, 1).
            factor: magnification per frame, above 1.
            direction: 1 inwards, or as a video plays; −1 outwards, or backwards.
            out: uint8 [T, S, S, 3], written, C-contiguous.

        Raises:
            ValueError: an argument, perhaps of an altered manifest, is outside its range.
        """
        frames, side = out.shape[:2]
        if out.dtype != np.uint8 or out.shape != (frames, side, side, 3) or not out.size:
            raise ValueError(
                f"zoom frames into {out.dtype} {out.shape}: allowed: uint8 [T, S, S, 3]"
            )
        if not 0 <= index < len(self):
            raise ValueError(f"plan: zoom {index} is out of range; allowed: 0 to {len(self) - 1}")
        if self.num_frames[index]:
            self._play(index, phase, direction, out)
        else:
            fill_frames(self._strip(index), phase, factor, direction, out)

    def stills(self) -> PictureSet:
        """Return the first frame of each zoom, to look at."""
        stored, sides = self.stored, np.minimum(self.heights, self.widths)
        sizes = 3 * sides.astype(np.int64) ** 2
        pixels, offsets = np.empty(sizes.sum(), np.uint8), np.cumsum(sizes) - sizes
        for index, side in enumerate(sides.tolist()):
            place = pixels[offsets[index] : offsets[index] + sizes[index]]
            self.fill(index, 0.0, 1.02, 1, place.reshape(1, side, side, 3))
        return PictureSet(pixels, offsets, sides, sides, stored.ids, stored.digest, stored.skipped)

    def _strip(self, index: int) -> Strip:
        details, cells = self.stored.details, self.stored.picture(index)
        twist, growth, roll = (float(details[name][index]) for name in ("twist", "growth", "roll"))
        return Strip(cells, int(twist), growth, roll)

    def _play(self, index: int, phase: float, direction: int, out: U8) -> None:
        """Copy frames of a video, from frame to frame and back again."""
        last = int(self.num_frames[index]) - 1
        height, width, side = int(self.heights[index]), int(self.widths[index]), out.shape[1]
        for name, value, fits in (
            ("phase", phase, 0.0 <= phase < 1.0),
            ("direction", direction, direction in (1, -1)),
            ("size", side, side <= min(height, width)),
        ):
            if not fits:
                raise ValueError(
                    f"a clip of {self.ids[index].as_py()}, {width}×{height}, with {name} {value}: "
                    "see ZoomSet.fill for its range"
                )
        frames = self.stored.picture(index).reshape(last + 1, height, width, 3)
        top, left = (height - side) // 2, (width - side) // 2
        start = math.floor(phase * (last + 1))
        for number, picture in enumerate(out):
            place = (start + number * direction) % (2 * last)
            shown = frames[min(place, 2 * last - place)]
            picture[:] = shown[top : top + side, left : left + side]
