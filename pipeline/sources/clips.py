"""What a clean dataset of clips is to the rest of the pipeline, and its form in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.render.frames import cut_rgb
from pipeline.sources.source import Skipped

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

DRAWN = -1
"""In place of a clip's first frame: it is drawn."""


class Cut(NamedTuple):
    """A clip that is wanted of a video: where it starts, and what becomes of each of its frames.

    Attributes:
        start: number of its first frame in the video.
        top, left, bottom, right: a box in the video's own pixels. One of the size of the result at whole
            places is copied, with zeros where it leaves the frame; any other lies within and is resized.
        flip: mirrored left to right afterwards.
    """

    start: int
    top: float
    left: float
    bottom: float
    right: float
    flip: bool


@dataclass(frozen=True, eq=False)
class ClipSource(ABC):
    """A listed and checked dataset of N clips, several perhaps of one video.

    Attributes:
        class_names: label → name.
        labels: int32 [N].
        ids: string [N], the name of each clip's video.
        heights, widths: int32 [N], of its frames as they are shown, in pixels.
        fingerprint: hex SHA-256 over class names, ids, labels and content; no path, clock or host in it.
        skipped: the videos left out under `on_unreadable: skip`, sorted by id.
        frames: of every clip.
        videos: int64 [N], number of its video, the same for clips that one decode can serve.
        num_frames: int32 [N], of its video.
        spans: int32 [N], frames of the video from a clip's first to its last, both included.
        starts: int32 [N], its first frame, or `DRAWN`.
    """

    class_names: tuple[str, ...]
    labels: I32
    ids: pa.StringArray
    heights: I32
    widths: I32
    fingerprint: str
    skipped: tuple[Skipped, ...]
    frames: int
    videos: I64
    num_frames: I32
    spans: I32
    starts: I32

    @abstractmethod
    def cut(self, index: int, cuts: Sequence[Cut], out: Sequence[U8]) -> None:
        """Cut clips out of the video of sample `index`, decoding each of its frames at most once.

        Args:
            index: of the sample.
            cuts: what is wanted, in any order.
            out: for each cut uint8 [T, S, S, 3] to fill.

        Raises:
            DreamshardsError: the video is gone, or not the one that was scanned.
            ValueError: a cut, perhaps of an altered manifest, leaves the video or a frame of it.
        """

    @abstractmethod
    def read_clip(self, index: int, start: int) -> U8:
        """Return the clip of sample `index` that starts at frame `start`, uint8 [T, H, W, 3].

        Raises:
            DreamshardsError: as `cut`.
            ValueError: the clip leaves the video.
        """


@dataclass(frozen=True, eq=False)
class ArrayClips(ClipSource):
    """Clips that are whole videos of equal size, held in memory or mapped.

    Attributes beyond those of `ClipSource`:
        pixels: uint8 [N, T, H, W, 3], C-contiguous.
    """

    pixels: U8

    @classmethod
    def of(
        cls,
        *,
        class_names: Sequence[str],
        labels: I32,
        ids: pa.StringArray,
        fingerprint: str,
        pixels: U8,
    ) -> ArrayClips:
        """Make a source of pixels [N, T, H, W, 3]."""
        num, frames, height, width, _ = pixels.shape
        assert num == len(labels) == len(ids)
        same = {
            name: np.full(num, value, np.int32)
            for name, value in (
                ("heights", height),
                ("widths", width),
                ("num_frames", frames),
                ("spans", frames),
                ("starts", 0),
            )
        }
        return cls(
            class_names=tuple(class_names),
            labels=labels,
            ids=ids,
            fingerprint=fingerprint,
            skipped=(),
            frames=frames,
            videos=np.arange(num),
            pixels=pixels,
            **same,
        )

    def cut(self, index: int, cuts: Sequence[Cut], out: Sequence[U8]) -> None:
        """Cut clips out of sample `index`; as `ClipSource.cut`."""
        for wanted, clip in zip(cuts, out, strict=True):
            frames = self.read_clip(index, wanted.start)
            for frame, picture in zip(frames, clip, strict=True):
                cut_rgb(frame, wanted[1:5], wanted.flip, picture)

    def read_clip(self, index: int, start: int) -> U8:
        """Return sample `index` as a view, uint8 [T, H, W, 3]."""
        if start != 0:
            raise ValueError(f"plan: start_frame {start} of a video of one clip; allowed: 0")
        clip: U8 = self.pixels[index]
        return clip
