"""Rendering PixMix plans: uint8 base pictures and mixing pictures in, uint8 samples out.

The state stays float32 between rounds; only augmented copies are 8-bit; the result is rounded to 8 bits once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.render import mixing
from pipeline.render.jit import kernel
from pipeline.render.ops import OPS, render_op

if TYPE_CHECKING:
    from pipeline.pictures.picture_set import PictureSet
    from pipeline.plan.pixmix import PixMixPlan

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@kernel
def _copy_crop(pixels: U8, offset: int, width: int, top: int, left: int, out: U8) -> None:
    """Copy a crop of the picture that begins at `offset` of the flat `pixels` to `out` [S, S, 3]."""
    stride = 3 * out.shape[1]
    flat = out.reshape(-1)
    for row in range(out.shape[0]):
        source = offset + 3 * ((top + row) * width + left)
        for i in range(stride):
            flat[row * stride + i] = pixels[source + i]


@kernel
def _render_batch(
    start_op: I8,
    start_level: F32,
    start_negative: Bool,
    num_rounds: I8,
    picture: I32,
    picture_y: I32,
    picture_x: I32,
    operand_op: I8,
    operand_level: F32,
    operand_negative: Bool,
    mode: I8,
    a: F32,
    b: F32,
    bases: U8,
    pixels: U8,
    offsets: I64,
    widths: I32,
    out: U8,
) -> None:
    counts, table = np.empty((3, 256), np.int32), np.empty((3, 256), np.uint8)
    x_terms, y_terms = np.empty(256, np.float32), np.empty(256, np.float32)
    start, operand = np.empty_like(bases[0]), np.empty_like(bases[0])
    state = np.empty(bases[0].size, np.float32)
    for i in range(len(bases)):
        base = bases[i]
        if start_op[i] >= 0:
            level = float(start_level[i])
            render_op(start_op[i], base, level, start_negative[i], counts, table, start)
        else:
            start[:] = base
        if num_rounds[i] == 0:
            out[i] = start
            continue
        for r in range(num_rounds[i]):
            if operand_op[i, r] >= 0:
                level = float(operand_level[i, r])
                negative = operand_negative[i, r]
                render_op(operand_op[i, r], base, level, negative, counts, table, operand)
            else:
                index = picture[i]
                top, left = picture_y[i], picture_x[i]
                _copy_crop(pixels, offsets[index], widths[index], top, left, operand)
            y = operand.reshape(-1)
            mixing.fill_terms(mode[i, r], False, b[i, r], y_terms)
            if r == 0:
                mixing.fill_terms(mode[i, r], True, a[i, r], x_terms)
                mixing.mix_first(mode[i, r], start.reshape(-1), y, x_terms, y_terms, state)
            else:
                mixing.mix_next(mode[i, r], state, y, a[i, r], y_terms)
        mixing.quantise(state, out[i].reshape(-1))


def render_pixmix(plan: PixMixPlan, bases: U8, pictures: PictureSet) -> U8:
    """Render n samples.

    Args:
        plan: n rows; every crop must lie within its mixing picture.
        bases: uint8 [n, S, S, 3], C-contiguous, the pictures after the base transform.
        pictures: the mixing set that the plan indexes.

    Returns:
        uint8 [n, S, S, 3], within one level of the float32 arithmetic.

    Raises:
        ValueError: a row names an op, a picture or a crop that does not exist.
    """
    out = np.empty_like(bases)
    if len(bases):
        _check_plan(plan, bases.shape[1], pictures)
        _render_batch(*plan, bases, pictures.pixels, pictures.offsets, pictures.widths, out)
    return out


def _check_plan(plan: PixMixPlan, size: int, pictures: PictureSet) -> None:
    """Refuse what the kernel would read outside of an array: a plan may come from an altered manifest."""
    needs = (np.arange(plan.mode.shape[1]) < plan.num_rounds[:, None]) & (plan.operand_op < 0)
    rows = needs.any(axis=1)
    picture, y, x = plan.picture[rows], plan.picture_y[rows], plan.picture_x[rows]
    if not ((picture >= 0) & (picture < len(pictures))).all():
        raise ValueError(f"plan: mixing picture out of range; allowed: 0 to {len(pictures) - 1}")
    room_y, room_x = pictures.heights[picture] - size, pictures.widths[picture] - size
    if not ((y >= 0) & (y <= room_y) & (x >= 0) & (x <= room_x)).all():
        raise ValueError("plan: a crop leaves its mixing picture")
    if max(plan.start_op.max(), plan.operand_op.max(initial=-1)) >= len(OPS):
        raise ValueError(f"plan: op out of range; allowed: 0 to {len(OPS) - 1}")
    if plan.num_rounds.min() < 0 or plan.num_rounds.max() > plan.mode.shape[1]:
        raise ValueError(f"plan: rounds out of range; allowed: 0 to {plan.mode.shape[1]}")
