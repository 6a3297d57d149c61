"""Rendering VideoMix: two uint8 clips and a cuboid in, one uint8 clip out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.render.slots import Slots

if TYPE_CHECKING:
    from pipeline.plan.videomix import VideoMixPlan

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


def mixed_clips(plan: VideoMixPlan) -> I64:
    """Return the rows whose second clip shows, int64 [m], in order."""
    shows = (plan.box_len > 0) & (plan.box_h > 0) & (plan.box_w > 0)
    rows: I64 = np.flatnonzero(shows)
    return rows


def render_videomix_into(plan: VideoMixPlan, bases: U8, seconds: U8, slots: Slots) -> None:
    """Render n clips, uint8: the first clip, and within the plan's cuboid the second.

    Args:
        plan: n rows.
        bases: uint8 [n, T, S, S, 3], C-contiguous, the clips after the base transform.
        seconds: uint8 [m, T, S, S, 3], those of the plan's `mixed_clips`.
        slots: where the clips go.

    Raises:
        ValueError: a cuboid of an altered manifest that leaves the clip; nothing is written.
    """
    num_frames, size = bases.shape[1:3]
    starts = plan.box_t, plan.box_y, plan.box_x
    lengths = plan.box_len, plan.box_h, plan.box_w
    for begin, length, limit in zip(starts, lengths, (num_frames, size, size), strict=True):
        inside = (begin >= 0) & (length >= 0) & (begin <= limit) & (length <= limit - begin)
        if not inside.all():
            raise ValueError(
                f"plan: a cuboid leaves the clip; allowed: within {num_frames} frames of {size}×{size} px"
            )
    slots.put(bases)
    for row, second in zip(mixed_clips(plan).tolist(), seconds, strict=True):
        begin = slots.first + row * slots.stride
        clip = slots.flat[begin : begin + second.size].reshape(second.shape)
        place = tuple(
            slice(int(first[row]), int(first[row] + length[row]))
            for first, length in zip(starts, lengths, strict=True)
        )
        clip[place] = second[place]
