"""A sample's clip, what it met and the result beside each other, as a video that every player shows.

H.264 in MP4 with colour at half resolution (4:2:0), the only kind that browsers and most players know. It
softens saturated fractals: the page has the exact pixels.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import DreamshardsError
from pipeline.preview.content import Take
from pipeline.publish import publish
from pipeline.pyav import pyav_with_h264

U8 = npt.NDArray[np.uint8]

PATTERN = "strip-[0-9][0-9][0-9][0-9]-*.mp4"
"""What the names of all these videos match."""

_HEIGHT, _GAP = 256, 8
"""Pixels that frames are enlarged to at the most, and grey ones between them."""

_GREY = 128
_OPTIONS = {"crf": "18", "preset": "veryfast", "threads": "1", "mbtree": "0"}
"""Of x264, whose bytes depend on the number of threads; its tree of macroblocks reads unwritten memory."""
_SMPTE_170M = 6
"""The matrix that RGB is converted with."""

_MIN_S = 3.0
"""Seconds that a video lasts at least: short clips are played several times."""


def video_name(key: str) -> str:
    """Return the name of the video of a sample."""
    return f"strip-{key}.mp4"


def why_no_videos() -> str | None:
    """Return why videos cannot be written, None where they can."""
    try:
        pyav_with_h264("a video of each sample")
    except DreamshardsError as error:
        return f"none: {error}"
    return None


def write_video(folder: Path, take: Take, partner: str | None, frames_per_s: float) -> Path:
    """Write the video of a sample into `folder`, over and over where the clip is short; return its path.

    Raises:
        DreamshardsError: it cannot be written.
    """
    import av

    frames = side_by_side(take, partner)
    num_laps = max(1, round(_MIN_S * frames_per_s / len(frames)))
    path = folder / video_name(take.key)
    with (
        publish(path) as file,
        av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container,
    ):
        rate = Fraction(frames_per_s).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = _SMPTE_170M
        for _ in range(num_laps):
            for frame in frames:
                shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
                container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def side_by_side(take: Take, partner: str | None) -> U8:
    """Return clean clip, what it met if there is a `partner`, and result: uint8 [T, H, W, 3], sides even.

    Small frames are enlarged by a whole factor; what is not there is grey.
    """
    clips = [take.clean, take.mixing, take.stored] if partner else [take.clean, take.stored]
    num_frames, size = take.stored.shape[:2]
    factor = max(1, _HEIGHT // size)
    side = factor * size + factor * size % 2
    width = len(clips) * side + (len(clips) - 1) * _GAP
    frames = np.full((num_frames, side, width, 3), _GREY, np.uint8)
    for place, clip in enumerate(clips):
        if clip is not None:
            left = place * (side + _GAP)
            box = frames[:, : factor * size, left : left + factor * size]
            box[:] = clip.repeat(factor, axis=1).repeat(factor, axis=2)
    return frames
