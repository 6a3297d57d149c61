"""Decoded frames to RGB: a box of each, or whole ones.

Planes of 8 bits take the short way of `pipeline.render.planes`; any other pixel format, and frames that are
turned before they are shown, become RGB as a whole first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.pyav import pyav
from pipeline.render.frames import Box, cut_rgb
from pipeline.render.plane_kernels import Cutter, Planes
from pipeline.render.planes import Layout, cut_planes, make_cutter, rgb_matrix
from pipeline.sources.video_files import Frame, upright

U8 = npt.NDArray[np.uint8]

# Luma pixels from one colour sample to the next, down and across. Those with a j are of full range.
_STEPS = {
    "yuv420p": (2, 2),
    "yuv422p": (1, 2),
    "yuv444p": (1, 1),
    "yuv440p": (2, 1),
    "yuv411p": (1, 4),
    "yuv410p": (4, 4),
    "yuvj420p": (2, 2),
    "yuvj422p": (1, 2),
    "yuvj444p": (1, 1),
    "yuvj440p": (2, 1),
    "yuvj411p": (1, 4),
}
_GREY = "gray"

# The shares of red and blue in brightness, by what ITU-T H.273 calls matrix coefficients; BT.601 by default.
_SHARES = {1: (0.2126, 0.0722), 4: (0.3, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
_GBR = 0
_LIMITED, _FULL = 1, 2

_NO_COLOUR = np.full((1, 1), 128, np.uint8)
_NO_COLOUR.flags.writeable = False


class Look(NamedTuple):
    """What the frames of a video have in common.

    Attributes:
        turn: how they are turned before they are shown; a code of `video_files.orientation`.
        centred: whether colour samples lie in the middle of the pixels that they are for, also across.
    """

    turn: int
    centred: bool


class BoxWriter:
    """Writes one box of the frames of a clip."""

    def __init__(self, box: Box, mirrored: bool, look: Look) -> None:
        """Remember what to write.

        Args:
            box: in frames as shown; as in `cut_rgb`.
            mirrored: left to right, afterwards.
            look: of the frames.
        """
        self._box, self._mirrored, self._look = box, mirrored, look
        self._cutter: tuple[Layout, Cutter] | None = None

    def write(self, frame: Frame, out: U8) -> None:
        """Write the box of a decoded frame to `out`, uint8 [S, S, 3].

        Raises:
            ValueError: a box that is to be resized leaves the frame.
        """
        layout = None if self._look.turn else _layout(frame, self._look.centred)
        if layout is None:
            cut_rgb(whole_frame(frame, self._look), self._box, self._mirrored, out)
            return
        if self._cutter is None or self._cutter[0] is not layout:
            self._cutter = layout, make_cutter(layout, self._box, out.shape[:2], self._mirrored)
        cut_planes(_planes(frame), self._cutter[1], out)


def whole_frame(frame: Frame, look: Look) -> U8:
    """Return a decoded frame as it is shown, uint8 [H, W, 3], C-contiguous."""
    layout = _layout(frame, look.centred)
    if layout is None:
        pixels = _converted(frame)
    else:
        pixels = np.empty((layout.height, layout.width, 3), np.uint8)
        box = 0.0, 0.0, float(layout.height), float(layout.width)
        cut_planes(_planes(frame), make_cutter(layout, box, pixels.shape[:2], False), pixels)
    return upright(pixels, look.turn)


def _layout(frame: Frame, centred: bool) -> Layout | None:
    """Return how the planes of a frame lie; the same object for frames alike; None for other formats."""
    looks = frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range
    return _layout_of(*looks, centred)


@lru_cache(maxsize=64)
def _layout_of(
    name: str, width: int, height: int, colorspace: int, color_range: int, centred: bool
) -> Layout | None:
    if name == _GREY:
        matrix = rgb_matrix(*_BT601, full=color_range != _LIMITED)
        return Layout(height, width, 1, 1, 1, 1, 0.0, 0.0, matrix)
    if name not in _STEPS or colorspace == _GBR:
        return None
    down, right = _STEPS[name]
    full = name.startswith("yuvj") or color_range == _FULL
    matrix = rgb_matrix(*_SHARES.get(colorspace, _BT601), full=full)
    shift = 0.0 if centred else (right - 1) / 2
    chroma = -(-height // down), -(-width // right)
    return Layout(height, width, *chroma, down, right, 0.0, shift, matrix)


def _planes(frame: Frame) -> Planes:
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    return Planes(*planes) if len(planes) == 3 else Planes(planes[0], _NO_COLOUR, _NO_COLOUR)


def _converted(frame: Frame) -> U8:
    """Return a frame as RGB by FFmpeg's own conversion, with the flags that make it the same everywhere."""
    av: Any = pyav()
    how = av.video.reformatter.Interpolation
    flags = how.BILINEAR | how.FULL_CHR_H_INT | how.ACCURATE_RND | how.BITEXACT
    pixels: U8 = frame.reformat(format="rgb24", interpolation=flags, threads=1).to_ndarray()
    return np.ascontiguousarray(pixels)
