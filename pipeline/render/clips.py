"""Base transforms of clips as pixels: one box, the same in every frame, out of each source video."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.plan.base import ClipBasePlan
from pipeline.sources.clips import ClipSource, Cut

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


def render_clips(
    plan: ClipBasePlan, indices: I64, source: ClipSource, size: int, *, resize: int | None = None
) -> U8:
    """Return the n clips after the base transform, uint8 [n, T, size, size, 3].

    Rows that follow each other and are of one video share one decode of it. With `resize`, boxes are in
    the coordinates of frames whose shorter side was resized to it; frames are resized once all the same.

    Raises:
        DreamshardsError: a video is gone, or not the one that was scanned.
        ValueError: a clip or a box leaves its video.
    """
    out = np.empty((len(indices), source.frames, size, size, 3), np.uint8)
    rows = range(len(indices))
    for _, group in groupby(rows, key=lambda row: source.videos[indices[row]]):
        together = list(group)
        index = int(indices[together[0]])
        cuts = [_cut(plan, row, source, int(indices[row]), resize) for row in together]
        source.cut(index, cuts, [out[row] for row in together])
    return out


def _cut(plan: ClipBasePlan, row: int, source: ClipSource, index: int, resize: int | None) -> Cut:
    box = (
        float(plan.crop_y[row]),
        float(plan.crop_x[row]),
        float(plan.crop_y[row] + plan.crop_h[row]),
        float(plan.crop_x[row] + plan.crop_w[row]),
    )
    if resize is not None:
        height, width = int(source.heights[index]), int(source.widths[index])
        share = min(height, width) / resize
        limits = height, width, height, width
        box = tuple(  # type: ignore[assignment]
            min(
                round(side * share * 256) / 256, limit
            )  # as exact in float32 as the filter's arithmetic
            for side, limit in zip(box, limits, strict=True)
        )
    return Cut(int(plan.start_frame[row]), *box, bool(plan.flip[row]))
