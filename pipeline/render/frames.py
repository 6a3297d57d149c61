"""A box out of a video's frame, padded with zeros or resized, mirrored: what base transforms do to clips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render.resize import resize_box

U8 = npt.NDArray[np.uint8]

Box = tuple[float, float, float, float]
"""Top, left, bottom, right, in pixels."""


def cut_rgb(frame: U8, box: Box, mirrored: bool, out: U8) -> None:
    """Cut a box out of an RGB frame.

    Args:
        frame: uint8 [H, W, 3], C-contiguous.
        box: of the size of `out` and at whole places it is copied, with zeros where it leaves the frame; any
            other lies within and is resized with Pillow's antialiased bilinear filter.
        mirrored: left to right, afterwards.
        out: uint8 [S, S, 3], C-contiguous.

    Raises:
        ValueError: a box that is to be resized leaves the frame.
    """
    if not is_plain(box, len(out)):
        resize_box(frame, box, mirrored, out)
        return
    top, left, bottom, right = (int(side) for side in box)
    inner = frame[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    y, x = max(0, -top), max(0, -left)
    if inner.shape != out.shape:
        out[:] = 0
    out[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    if mirrored:
        out[:] = out[:, ::-1].copy()


def is_plain(box: Box, size: int) -> bool:
    """Tell whether a box is size×size at whole places, so that nothing is resized."""
    top, left, bottom, right = box
    return bottom - top == right - left == size and top == int(top) and left == int(left)
