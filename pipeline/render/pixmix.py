"""Rendering PixMix plans: uint8 base pictures and mixing pictures in, uint8 samples out.

The state stays float32 between rounds; only augmented copies are 8-bit; the result is rounded to 8 bits once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.render import mixing
from pipeline.render.jit import kernel, read_only
from pipeline.render.ops import OPS, render_op
from pipeline.render.scratch import new_scratch

if TYPE_CHECKING:
    from pipeline.pictures.picture_set import PictureSet
    from pipeline.plan.pixmix import PixMixPlan

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_PICTURE_FAULT, _CROP_FAULT, _OP_FAULT, _ROUNDS_FAULT = 1, 2, 3, 4


@kernel
def _copy_crop(pixels: U8, offset: int, width: int, top: int, left: int, out: U8) -> None:
    """Copy a crop of the picture that begins at `offset` of the flat `pixels` to `out` [S, S, 3]."""
    stride = 3 * out.shape[1]
    flat = out.reshape(-1)
    for row in range(out.shape[0]):
        source, target = offset + 3 * ((top + row) * width + left), row * stride
        for i in range(stride):
            flat[np.uint64(target + i)] = pixels[np.uint64(source + i)]


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
    scratch = new_scratch(bases.shape[1], bases.shape[2])
    x_terms, y_terms = np.empty(256, np.float32), np.empty(256, np.float32)
    start, augmented = np.empty_like(out[0]), np.empty_like(out[0])
    crop = np.empty_like(out[0])
    state, powers = np.empty(start.size, np.float32), np.empty(start.size, np.float32)
    for i in range(len(bases)):
        base, sample = bases[i], out[i].reshape(-1)
        if start_op[i] >= 0:
            level = float(start_level[i])
            render_op(start_op[i], base, level, start_negative[i], scratch, start)
            x = start.reshape(-1)
        else:
            x = base.reshape(-1)
        if num_rounds[i] == 0:
            for j in range(sample.size):
                sample[j] = x[j]
            continue
        if picture[i] >= 0:
            index, top, left = picture[i], picture_y[i], picture_x[i]
            _copy_crop(pixels, offsets[index], widths[index], top, left, crop)
        for r in range(num_rounds[i]):
            y = crop.reshape(-1)
            if operand_op[i, r] >= 0:
                level = float(operand_level[i, r])
                negative = operand_negative[i, r]
                render_op(operand_op[i, r], base, level, negative, scratch, augmented)
                y = augmented.reshape(-1)
            if r == 0:
                mixing.mix_first(mode[i, r], x, y, a[i, r], b[i, r], x_terms, y_terms, state)
            else:
                mixing.mix_next(mode[i, r], state, y, a[i, r], b[i, r], y_terms, powers)
        mixing.quantise(state, sample)


@kernel
def _fault(
    start_op: I8,
    num_rounds: I8,
    picture: I32,
    picture_y: I32,
    picture_x: I32,
    operand_op: I8,
    heights: I32,
    widths: I32,
    size: int,
) -> int:
    """Return the number of the first thing in a plan that the kernel would read outside of an array, or 0."""
    num_ops, k = len(OPS), operand_op.shape[1]
    for i in range(len(start_op)):
        if not 0 <= num_rounds[i] <= k:
            return _ROUNDS_FAULT
        if start_op[i] >= num_ops:
            return _OP_FAULT
        meets_picture = picture[i] >= 0
        for r in range(num_rounds[i]):
            if operand_op[i, r] >= num_ops:
                return _OP_FAULT
            meets_picture |= operand_op[i, r] < 0
        if meets_picture:
            if not 0 <= picture[i] < len(heights):
                return _PICTURE_FAULT
            room_y, room_x = heights[picture[i]] - size, widths[picture[i]] - size
            if not (0 <= picture_y[i] <= room_y and 0 <= picture_x[i] <= room_x):
                return _CROP_FAULT
    return 0


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
        mixing_set = pictures.pixels, pictures.offsets, pictures.widths
        arguments = [*map(read_only, (*plan, bases, *mixing_set)), out]
        _render_batch(*arguments)
    return out


def _check_plan(plan: PixMixPlan, size: int, pictures: PictureSet) -> None:
    """Refuse a plan that does not fit: it may come from an altered manifest."""
    crops = plan.picture, plan.picture_y, plan.picture_x
    sides = pictures.heights, pictures.widths
    arrays = plan.start_op, plan.num_rounds, *crops, plan.operand_op, *sides
    arguments = [*map(read_only, arrays), size]
    fault = _fault(*arguments)
    if fault == _PICTURE_FAULT:
        raise ValueError(f"plan: mixing picture out of range; allowed: 0 to {len(pictures) - 1}")
    if fault == _CROP_FAULT:
        raise ValueError("plan: a crop leaves its mixing picture")
    if fault == _OP_FAULT:
        raise ValueError(f"plan: op out of range; allowed: 0 to {len(OPS) - 1}")
    if fault == _ROUNDS_FAULT:
        raise ValueError(f"plan: rounds out of range; allowed: 0 to {plan.mode.shape[1]}")
