"""Rendering mixup and CutMix: two uint8 pictures and a share or a box in, one uint8 sample out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.render.jit import kernel, read_only
from pipeline.render.slots import Slots

if TYPE_CHECKING:
    from pipeline.plan.pairs import CutMixPlan, MixupPlan

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]


@kernel
def _blend_batch(
    weights: F32, rows: I64, bases: U8, seconds: U8, out: U8, first: int, stride: int
) -> None:
    """Write bases[r] mixed with seconds[j] to the slot of sample r, for each r = rows[j]."""
    num_bytes = bases[0].size
    for j in range(len(rows)):
        row = rows[j]
        weight = float(weights[row])
        x, y = bases[row].reshape(-1), seconds[j].reshape(-1)
        sample = out[first + row * stride : first + row * stride + num_bytes]
        for i in range(num_bytes):
            own, other = np.int32(x[i]), np.int32(y[i])
            # never below 0, so that cutting off rounds to the nearest
            mixed = float(other) + weight * float(np.int32(own - other)) + 0.5
            sample[i] = np.uint8(np.int32(mixed))


@kernel
def _paste_batch(
    tops: I32,
    lefts: I32,
    heights: I32,
    widths: I32,
    rows: I64,
    seconds: U8,
    out: U8,
    first: int,
    stride: int,
) -> None:
    """Copy the box of row rows[j] from seconds[j], [S, S, 3], to its sample in `out`, flat."""
    size = seconds.shape[1]
    for j in range(len(rows)):
        row = rows[j]
        second, begin = seconds[j].reshape(-1), first + row * stride
        num_bytes = 3 * widths[row]
        for line in range(tops[row], tops[row] + heights[row]):
            start = 3 * (line * size + lefts[row])
            for i in range(start, start + num_bytes):
                out[np.uint64(begin + i)] = second[np.uint64(i)]


def mixed_rows(plan: MixupPlan | CutMixPlan) -> I64:
    """Return the rows whose second picture shows, int64 [m], in order."""
    rows: I64 = np.flatnonzero(plan.label_weight < 1)
    return rows


def render_mixup_into(plan: MixupPlan, bases: U8, seconds: U8, slots: Slots) -> None:
    """Render n samples, uint8: ⌊λ·x + (1 − λ)·y + ½⌋ of each value, x of the first picture, y of the second.

    Args:
        plan: n rows.
        bases: uint8 [n, S, S, 3], C-contiguous, the pictures after the base transform.
        seconds: uint8 [m, S, S, 3], C-contiguous, those of the plan's `mixed_rows`.
        slots: where the samples go.

    Raises:
        ValueError: a share of an altered manifest that is none; nothing is written.
    """
    weights = plan.label_weight
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("plan: label_weight out of range; allowed: 0 to 1")
    slots.put(bases)
    rows = mixed_rows(plan)
    arguments = [*map(read_only, (weights, rows, bases, seconds)), *slots]
    if len(bases):
        _blend_batch(*arguments)


def render_cutmix_into(plan: CutMixPlan, bases: U8, seconds: U8, slots: Slots) -> None:
    """Render n samples, uint8: the first picture, and within the plan's box the second.

    Arguments are those of `render_mixup_into`.

    Raises:
        ValueError: a box of an altered manifest that leaves the sample; nothing is written.
    """
    boxes, size = (plan.box_y, plan.box_x, plan.box_h, plan.box_w), bases.shape[1]
    if any((column < 0).any() or (column > size).any() for column in boxes) or any(
        (corner + length > size).any()
        for corner, length in ((plan.box_y, plan.box_h), (plan.box_x, plan.box_w))
    ):
        raise ValueError(f"plan: a box leaves the sample; allowed: within {size}×{size} px")
    slots.put(bases)
    arguments = [*map(read_only, (*boxes, mixed_rows(plan), seconds)), *slots]
    if len(bases):
        _paste_batch(*arguments)
