"""Endless zooms as video files: H.264 in MP4, written by PyAV.

Saturated fractals lose much in 4:2:0: 20 to 28 dB are left whatever the bit rate, 37 dB in 4:4:4,
which fewer players know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.pictures.zoom import Zoom, check_depth, frame
from pipeline.publish import publish
from pipeline.pyav import pyav_with_h264

U8 = npt.NDArray[np.uint8]

CHROMAS = ("444", "420")

_RATE_FACTOR = "14"  # of x264: differences are hard to see from 18 downwards
_SMPTE_170M = 6  # the matrix that RGB is converted with; players guess another for large frames
_KEPT_BYTES = 256 << 20


def write_zoom_video(
    path: Path,
    zoom: Zoom,
    *,
    size: int,
    num_frames: int,
    direction: int = 1,
    frames_per_s: int = 25,
    chroma: str = "444",
) -> None:
    """Write frames 0, direction, 2·direction, … of `zoom` to `path`, all or nothing.

    Same arguments and versions, same bytes. Played in a loop, a multiple of `zoom.num_frames` frames
    has no seam.

    Args:
        path: of the MP4 file; replaced if there.
        zoom: from `make_zoom`.
        size: pixels a side; even for chroma "420".
        num_frames: at least 1.
        direction: 1 inwards, −1 outwards.
        frames_per_s: at least 1.
        chroma: "444", or "420" for players that know no other.

    Raises:
        ValueError: an argument outside its range.
        DreamshardsError: PyAV is not installed or lacks the encoder, or the file cannot be written.
    """
    if chroma not in CHROMAS:
        raise ValueError(f"chroma {chroma!r}: choose one of {', '.join(CHROMAS)}")
    if direction not in (1, -1):
        raise ValueError(f"direction {direction}: choose 1 (inwards) or -1 (outwards)")
    if num_frames < 1 or frames_per_s < 1:
        raise ValueError(f"{num_frames} frames at {frames_per_s} per second: both are at least 1")
    if chroma == "420" and size % 2:
        raise ValueError(f"frames of {size} pixels: chroma 420 needs an even number")
    check_depth(zoom, size)
    av = pyav_with_h264("writing a video")
    numbers = range(0, direction * num_frames, direction)
    with publish(path) as file:
        _encode(av, file, _frames(zoom, numbers, size), size, frames_per_s, f"yuv{chroma}p")


def _frames(zoom: Zoom, numbers: Iterable[int], size: int) -> Iterator[U8]:
    """Yield frames by number; those of one loop are drawn once, if they fit into memory."""
    kept: dict[int, U8] = {}
    keep = zoom.num_frames * 3 * size * size <= _KEPT_BYTES
    for number in numbers:
        place = number % zoom.num_frames
        if place in kept:
            yield kept[place]
            continue
        picture = frame(zoom, place, size)
        if keep:
            kept[place] = picture
        yield picture


def _encode(
    av: Any, file: Any, frames: Iterable[U8], size: int, frames_per_s: int, layout: str
) -> None:
    with av.open(file, "w", format="mp4") as container:
        # What x264 writes depends on the number of threads, and with mbtree on memory never written.
        options = {"crf": _RATE_FACTOR, "preset": "medium", "threads": "1", "mbtree": "0"}
        stream = container.add_stream("libx264", rate=frames_per_s, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = layout
        stream.codec_context.colorspace = _SMPTE_170M
        for picture in frames:
            shown = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
