"""Look-up tables that serve every frame of a clip: an op's statistics are those of all its frames together.

A frame changed by such a table is that frame of the op on the clip as one tall picture [T·S, S, 3].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.render import enhance, tables
from pipeline.render.jit import kernel
from pipeline.render.ops import AUTOCONTRAST, CONTRAST, EQUALIZE, factor_of
from pipeline.render.scratch import Scratch, new_scratch

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
F32 = npt.NDArray[np.float32]


@kernel
def fill_pooled(ops: I8, levels: F32, clips: U8, out: U8) -> None:
    """Fill the tables of those ops of each clip that pool their statistics; others are left as they are.

    Args:
        ops: int8 [n, m], −1 for none.
        levels: float32 [n, m].
        clips: uint8 [n, T, S, S, 3].
        out: uint8 [n, m, 3, 256], written.
    """
    num_frames, height, width = clips.shape[1], clips.shape[2], clips.shape[3]
    scratch = new_scratch(height, width)
    for i in range(len(clips)):
        counted, mean = False, -1
        for j in range(ops.shape[1]):
            op, table = ops[i, j], out[i, j]
            if op in (AUTOCONTRAST, EQUALIZE) and not counted:
                tall = clips[i].reshape(num_frames * height, width, 3)
                tables.histograms(tall, scratch.counts)
                counted = True
            if op == CONTRAST and mean < 0:
                mean = _mean_luma(clips[i], scratch)
            if op == AUTOCONTRAST:
                tables.fill_autocontrast(scratch.counts, table)
            elif op == EQUALIZE:
                tables.fill_equalize(scratch.counts, table)
            elif op == CONTRAST:
                enhance.fill_constant(mean, factor_of(float(levels[i, j])), table)


@kernel
def _mean_luma(clip: U8, scratch: Scratch) -> int:
    total = 0
    for t in range(len(clip)):
        total += enhance.total_luma(clip[t], scratch)
    return enhance.rounded_mean(total, len(clip) * scratch.grey.size)
