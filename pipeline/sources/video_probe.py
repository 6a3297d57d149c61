"""Decoding one video whole: how long and large it is, whether it is damaged, where decoding may begin.

A key frame counts where a search for it, then decoding up to the next that counts, gave the very frames that
decoding from the start had given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from isal.isal_zlib import crc32

from pipeline.pyav import pyav
from pipeline.sources.video_bytes import declared_bytes
from pipeline.sources.video_files import Frame, OpenVideo, UnreadableVideo, orientation

_KEY_GAP = 8
"""Frames from one key frame that is kept to the next: decoding fewer costs less than a search."""


class Found(NamedTuple):
    """What decoding one video gave; as in `VideoScan`, `keys` being pairs of number and pts."""

    height: int
    width: int
    turn: int
    num_frames: int
    rate: tuple[int, int]
    keys: list[tuple[int, int]]


class _Seen(NamedTuple):
    """A frame that was decoded: when it is shown, whether decoding may begin there, its content."""

    pts: int | None
    is_key: bool
    crc: int


def probe(file: BinaryIO | Path, size_bytes: int) -> Found:
    """Decode a video.

    Args:
        file: its bytes, or where they lie.
        size_bytes: its length.

    Raises:
        UnreadableVideo: with the reason.
    """
    if not size_bytes:
        raise UnreadableVideo("the file is empty")
    with _bytes_of(file) as content:
        declared = declared_bytes(content, size_bytes)
    cut_short = UnreadableVideo(f"cut short: {size_bytes:,} of {declared:,} bytes are there")
    try:
        opened = OpenVideo(_rewound(file), strict=True)
    except UnreadableVideo as error:
        raise (cut_short if declared > size_bytes else error) from error
    with opened as video:
        first, seen = _decode(video)
        # Elsewhere a list of edits may leave out some of the frames promised.
        if video.container == "avi" and video.num_promised:
            if video.num_packets < video.num_promised:
                raise UnreadableVideo(
                    f"cut short: {video.num_packets:,} of {video.num_promised:,} frames are there"
                )
        elif declared > size_bytes:
            raise cut_short
        if first is None:
            raise UnreadableVideo("no frames in its video stream")
        if video.rate <= 0:
            raise UnreadableVideo("a frame rate of 0")
        turn = orientation(first)
        turned = turn // 2 % 2 == 1
        height, width = (first.width, first.height) if turned else (first.height, first.width)
        rate = video.rate.numerator, video.rate.denominator
    return Found(height, width, turn, len(seen), rate, _proven(file, seen))


@contextmanager
def _bytes_of(file: BinaryIO | Path) -> Iterator[BinaryIO]:
    if isinstance(file, Path):
        with file.open("rb") as opened:
            yield opened
    else:
        yield file


def _rewound(file: BinaryIO | Path) -> BinaryIO | Path:
    if not isinstance(file, Path):
        file.seek(0)
    return file


def _decode(video: OpenVideo) -> tuple[Frame, list[_Seen]]:
    """Return the first frame, None if there is none, and what all are like."""
    first: Frame | None = None
    seen: list[_Seen] = []
    for frame in video.frames():
        first = first or frame
        if (frame.height, frame.width) != (first.height, first.width):
            raise UnreadableVideo(
                f"its size changes in frame {len(seen)}: {first.width}×{first.height} to "
                f"{frame.width}×{frame.height} pixels"
            )
        seen.append(_Seen(frame.pts, bool(frame.key_frame), _crc(frame)))
    return first, seen


def _crc(frame: Frame) -> int:
    """Return a checksum of a frame's planes, less what lies beyond their widths."""
    value = 0
    widths = _row_bytes(frame.format.name, frame.width, frame.height)
    for plane, used in zip(frame.planes, widths, strict=False):
        pixels = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))
        value = crc32(np.ascontiguousarray(pixels[:, :used]), value)
    return value


@lru_cache(maxsize=16)
def _row_bytes(name: str, width: int, height: int) -> list[int]:
    """Return how many bytes of a row mean something, of each plane that holds components."""
    found: dict[int, int] = {}
    for part in pyav().VideoFormat(name, width, height).components:
        found[part.plane] = found.get(part.plane, 0) + part.width * (-(-part.bits // 8))
    return [found[plane] for plane in sorted(found)]


def _proven(file: BinaryIO | Path, seen: Sequence[_Seen]) -> list[tuple[int, int]]:
    """Return number and pts of the key frames to which a search was seen to lead, every few frames one."""
    candidates: list[int] = []
    latest = seen[0].pts
    for number, frame in enumerate(seen[1:], 1):
        if frame.pts is None or (latest is not None and frame.pts <= latest):
            continue
        latest = frame.pts
        if frame.is_key and number - (candidates[-1] if candidates else 0) >= _KEY_GAP:
            candidates.append(number)
    proven: list[tuple[int, int]] = []
    if not candidates:
        return proven
    end = len(seen)
    with OpenVideo(_rewound(file)) as video:
        for number in reversed(candidates):
            pts = seen[number].pts
            assert pts is not None
            if _same(video, pts, seen[number:end]):
                proven.append((number, pts))
                end = number
    return proven[::-1]


def _same(video: OpenVideo, pts: int, wanted: Sequence[_Seen]) -> bool:
    """Tell whether a search for `pts` yields just the frames wanted."""
    frames = video.frames_from(pts)
    try:
        return all(_crc(next(frames)) == seen.crc for seen in wanted)
    except (UnreadableVideo, StopIteration):
        return False
    finally:
        frames.close()
