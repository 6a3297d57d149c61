"""Clips of video files that were all decoded once: reading them, each frame decoded at most once."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import DreamshardsError
from pipeline.render.frames import is_plain
from pipeline.sources.ahead import Reader
from pipeline.sources.clips import ClipSource, Cut
from pipeline.sources.local_copy import local_copy
from pipeline.sources.unchanged import read_unchanged
from pipeline.sources.video_files import Frame, OpenVideo, UnreadableVideo
from pipeline.sources.video_pixels import BoxWriter, Look, whole_frame
from pipeline.sources.video_scan import WHOLE_BYTES, Keys
from pipeline.store import LocalStore

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class _Wanted(NamedTuple):
    """A frame that is wanted: its number in the video, for which cut, and its place there."""

    number: int
    cut: int
    place: int


@dataclass(frozen=True, eq=False)
class VideoSource(ClipSource):
    """Clips of V video files that were all decoded once.

    Attributes beyond those of `ClipSource`:
        files: what names are paths below: an absolute folder, the same on every node, or an object store.
        names: string [V], the videos.
        size_bytes: int64 [V], of each file.
        digests: uint8 [V, 32], SHA-256 of each file's bytes.
        turns: int8 [V], how frames are turned before they are shown.
        offsets: int32 [V, T], places of a clip's frames after its first, the first being 0.
        keys: where decoding may begin.
    """

    files: Reader
    names: pa.StringArray
    size_bytes: I64
    digests: U8
    turns: npt.NDArray[np.int8]
    offsets: I32
    keys: Keys

    @property
    def root(self) -> Path:
        """The folder of a local dataset."""
        assert isinstance(self.files.store, LocalStore)
        return self.files.store.folder

    def expect(self, indices: I64) -> int:
        """Begin to read the videos of samples that are needed next; return how many bytes."""
        if isinstance(self.files.store, LocalStore):
            return 0
        videos = [
            video
            for video in dict.fromkeys(self.videos[indices].tolist())
            if not self._is_large(video)
        ]
        sizes = self.size_bytes[videos].tolist()
        return self.files.expect([self.names[video].as_py() for video in videos], sizes)

    def cut(self, index: int, cuts: Sequence[Cut], out: Sequence[U8]) -> None:
        """Cut clips out of the video of sample `index`; as `ClipSource.cut`."""
        video = int(self.videos[index])
        for wanted, clip in zip(cuts, out, strict=True):
            self._check(index, wanted, clip.shape[1])
        numbers = [wanted.start + self.offsets[video] for wanted in cuts]
        with self._opened(video) as (opened, look):
            writers = [BoxWriter(wanted[1:5], wanted.flip, look) for wanted in cuts]
            for frame, targets in self._frames(opened, video, numbers):
                for target in targets:
                    writers[target.cut].write(frame, out[target.cut][target.place])

    def read_clip(self, index: int, start: int) -> U8:
        """Return the clip of sample `index` that starts at frame `start`; as `ClipSource.read_clip`."""
        video = int(self.videos[index])
        self._check_start(index, start)
        size = int(self.heights[index]), int(self.widths[index])
        clip = np.empty((self.frames, *size, 3), np.uint8)
        with self._opened(video) as (opened, look):
            for frame, targets in self._frames(opened, video, [start + self.offsets[video]]):
                pixels = whole_frame(frame, look)
                for target in targets:
                    clip[target.place] = pixels
        return clip

    def _check(self, index: int, wanted: Cut, size: int) -> None:
        self._check_start(index, wanted.start)
        box = top, left, bottom, right = wanted[1:5]
        height, width = int(self.heights[index]), int(self.widths[index])
        inside = 0 <= top < bottom <= height and 0 <= left < right <= width
        if not inside and not is_plain(box, size):
            raise ValueError(
                f"plan: box {box} (top, left, bottom, right) leaves the frames of "
                f"{self.ids[index].as_py()}, {height}×{width} px (H×W)"
            )

    def _check_start(self, index: int, start: int) -> None:
        last = int(self.num_frames[index] - self.spans[index])
        if not 0 <= start <= last:
            raise ValueError(
                f"plan: start_frame {start} of a clip of {self.ids[index].as_py()}; allowed: 0 to {last}"
            )

    # ── decoding ──

    @contextmanager
    def _opened(self, video: int) -> Iterator[tuple[OpenVideo, Look]]:
        """Open a video and yield it with what its frames have in common."""
        name = self.names[video].as_py()
        try:
            with OpenVideo(self._content(video, name)) as opened:
                yield opened, Look(int(self.turns[video]), opened.centred)
        except UnreadableVideo as error:
            raise DreamshardsError(
                f"{self.files.store.address(name)} could be decoded when the dataset was scanned, and now: "
                f"{error.reason}; install the same PyAV on every "
                "machine, or start the build again in a new root"
            ) from error

    def _frames(
        self, opened: OpenVideo, video: int, numbers: Sequence[I32]
    ) -> Iterator[tuple[Frame, list[_Wanted]]]:
        """Yield each frame that some cut wants, once, in order, with the places it is for.

        Frames come from a run from the start of the file, or from the last key frame before them: no other
        runs were compared with a full decode.
        """
        wanted = sorted(
            _Wanted(number, cut, place)
            for cut, of_cut in enumerate(numbers)
            for place, number in enumerate(of_cut.tolist())
        )
        bounds = slice(*self.keys.bounds[video : video + 2].tolist())
        keys, pts = self.keys.frames[bounds], self.keys.pts[bounds]
        frames, begun, following = opened.frames(), 0, 0
        done = 0
        while done < len(wanted):
            number = wanted[done].number
            key = int(np.searchsorted(keys, number, "right")) - 1
            nearest = int(keys[key]) if key >= 0 else 0
            if nearest > begun and (begun or nearest > following):
                frames.close()
                frames, begun, following = opened.frames_from(int(pts[key])), nearest, nearest
            frame = None
            while following <= number:
                frame = next(frames, None)
                following += 1
                if frame is None:
                    raise UnreadableVideo(f"it ends before frame {number}")
            assert frame is not None
            first = done
            while done < len(wanted) and wanted[done].number == number:
                done += 1
            yield frame, wanted[first:done]

    def _content(self, video: int, name: str) -> io.BytesIO | Path:
        """Return a video's bytes, or where they lie if there are many; refuse a file that changed."""
        size_bytes, digest = int(self.size_bytes[video]), self.digests[video]
        if not self._is_large(video):
            return io.BytesIO(read_unchanged(self.files, name, size_bytes, digest))
        store = self.files.store
        if isinstance(store, LocalStore):
            read_unchanged(self.files, name, size_bytes, digest, whole=False)
            return store.folder / name
        return local_copy(store, name, digest.tobytes().hex())

    def _is_large(self, video: int) -> bool:
        return bool(self.size_bytes[video] > WHOLE_BYTES)
