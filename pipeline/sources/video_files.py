"""Video files to frames, by PyAV: which files count, what is wrong with one, decoding from a key frame on.

Decoding runs in one thread, bit-exact. Frames are numbered as they are shown, from 0.
"""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from pipeline.errors import UnreadableFile
from pipeline.pyav import pyav
from pipeline.sources.folder_listing import FileKind

Frame = Any
"""PyAV's, which has no types of its own here."""

VIDEOS = FileKind(
    "video",
    frozenset((".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm")),
)
"""MPEG's program and transport streams are none: one that was cut short, even in a frame, may look whole."""

MAX_PIXELS = 1 << 26
"""Largest frame decoded, 8192×8192."""

# The content decides, not the name, and of FFmpeg's other formats some open further files.
_FORMATS = "avi,mov,matroska"
_DECODER = {"flags": "+bitexact", "max_pixels": str(MAX_PIXELS)}
_STRICT = {**_DECODER, "err_detect": "explode"}
_CENTRED = ("mjpeg", "mpeg1video")  # all others put them on the first pixel
_ATTACHED_PICTURE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC: the cover of an album


class UnreadableVideo(UnreadableFile):
    """A file that does not decode to a video."""


def video_versions() -> dict[str, str]:
    """Return the versions whose change may change frames: part of what names scans and datasets of videos."""
    av = pyav()
    from av import library_versions  # of FFmpeg's libraries

    codecs = library_versions["libavcodec"]
    return {"pyav": av.__version__, "libavcodec": ".".join(map(str, codecs))}


class OpenVideo:
    """A video file whose frames are decoded in order. Use it in a `with` block.

    Attributes:
        rate: frames a second on average, 0 where the file does not say.
        container: the names FFmpeg has for the file's format.
        centred: whether colour samples lie in the middle of the pixels that they are for, also across.
        num_promised: frames that the file says it has, 0 where it does not say.
        num_packets: read so far, since it was opened or the last `frames_from`.
    """

    def __init__(self, file: BinaryIO | Path, *, strict: bool = False) -> None:
        """Open a video.

        Args:
            file: its bytes, or where they lie.
            strict: stop at the first damage that the decoder notices, instead of painting over it. Decoders
                also take for damage what lies before a key frame that was searched for and is missed there.

        Raises:
            UnreadableVideo: it holds no video that can be decoded, or too large a one.
        """
        self._av = pyav()
        self._strict, self.num_packets = strict, 0
        source = str(file) if isinstance(file, Path) else file
        options = {"format_whitelist": _FORMATS}
        try:
            self._container = self._av.open(source, options=options, metadata_errors="ignore")
        except self._av.error.ArgumentError as error:  # a format that is not on the list
            raise UnreadableVideo("its content is not AVI, MP4 or Matroska") from error
        except self._av.error.FFmpegError as error:
            raise UnreadableVideo(
                f"cannot be opened as AVI, MP4 or Matroska ({_words(error)})"
            ) from error
        try:
            self._stream = self._video_stream()
        except BaseException:
            self._container.close()
            raise

    def _video_stream(self) -> Any:
        streams = [
            stream
            for stream in self._container.streams.video
            if not int(stream.disposition) & _ATTACHED_PICTURE
        ]
        if not streams:
            others = sorted({stream.type for stream in self._container.streams})
            raise UnreadableVideo(f"no video stream; found: {', '.join(others) or 'nothing'}")
        stream = streams[0]
        codec = stream.codec_context
        if codec is None:
            raise UnreadableVideo("FFmpeg has no decoder for its video stream")
        if codec.width * codec.height > MAX_PIXELS:
            raise UnreadableVideo(
                f"{codec.width}×{codec.height} pixels; allowed: {MAX_PIXELS:,} in all"
            )
        codec.thread_count = 1
        codec.options = _STRICT if self._strict else _DECODER
        rate = stream.average_rate or stream.guessed_rate
        self.rate = Fraction(rate) if rate else Fraction(0)
        self.centred: bool = codec.name in _CENTRED
        self.container: str = self._container.format.name
        self.num_promised: int = stream.frames
        return stream

    def frames(self) -> Generator[Frame, None, None]:
        """Yield the frames from where the file stands on.

        Raises:
            UnreadableVideo: damage, after the frames before it.
        """
        return self._decoded(None)

    def frames_from(self, pts: int) -> Generator[Frame, None, None]:
        """Yield the frames from the key frame that is shown at `pts` on, in the stream's own unit of time.

        Those that follow it in the file and are shown before it are left out: they need what lies before it.

        Raises:
            UnreadableVideo: damage, or there is no such key frame.
        """
        try:
            self._container.seek(pts, stream=self._stream)
        except self._av.error.FFmpegError as error:
            raise UnreadableVideo(f"cannot be searched ({_words(error)})") from error
        begun = False
        for frame in self._decoded(pts):
            if not begun and (frame.pts is None or frame.pts < pts):
                continue
            if not begun and frame.pts != pts:
                break
            begun = True
            yield frame
        if not begun:
            raise UnreadableVideo(f"no key frame at {pts}")

    def _decoded(self, after: int | None) -> Generator[Frame, None, None]:
        """Yield the frames of all packets, but of those that are shown before `after`."""
        self.num_packets = num_frames = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.dts is None and packet.pts is None and not packet.size:
                    yield from packet.decode()  # the last one, which empties the decoder
                    return
                self.num_packets += 1
                if not packet.size or (
                    after is not None and packet.pts is not None and packet.pts < after
                ):
                    continue
                if self._strict and packet.is_corrupt:
                    raise UnreadableVideo(f"cut short or damaged in frame {num_frames} or later")
                for frame in packet.decode():
                    if self._strict and frame.is_corrupt:
                        raise UnreadableVideo(f"damaged in frame {num_frames}")
                    num_frames += 1
                    yield frame
        except self._av.error.FFmpegError as error:
            raise UnreadableVideo(
                f"damaged in frame {num_frames} or later ({_words(error)})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self._container.close()


def orientation(frame: Frame) -> int:
    """Return how a frame is to be turned before it is shown: a code for `upright`.

    It is 2 times the quarter turns against the clock, plus 1 where it is mirrored left to right before.

    Raises:
        UnreadableVideo: by another angle, or sheared.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    signs = tuple((value > 0) - (value < 0) for value in (a, b, c, d))
    if signs not in _ORIENTATIONS:
        raise UnreadableVideo(
            f"to be shown turned by {frame.rotation} degrees; allowed: 0, 90, 180, 270"
        )
    return _ORIENTATIONS.index(signs)


# Signs of the matrix that takes a pixel's (x, y), as a row, to where it is shown; by code.
_ORIENTATIONS = (
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (0, -1, 1, 0),
    (0, 1, 1, 0),
    (-1, 0, 0, -1),
    (1, 0, 0, -1),
    (0, 1, -1, 0),
    (0, -1, -1, 0),
)


def upright(pixels: npt.NDArray[np.uint8], code: int) -> npt.NDArray[np.uint8]:
    """Turn pixels [H, W, …] as `orientation` says; the result is C-contiguous."""
    if code % 2:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, code // 2))


def _words(error: Exception) -> str:
    """Return what FFmpeg says, without the name of the file."""
    return str(getattr(error, "strerror", None) or error).rstrip(":")
