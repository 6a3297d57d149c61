"""Rendering PixMix plans: uint8 base pictures and mixing pictures in, uint8 samples out.

The state stays float32 between rounds; only augmented copies are 8-bit; the result is rounded to 8 bits once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.render import mixing
from pipeline.render.jit import kernel, read_only
from pipeline.render.memory import fetch_ahead
from pipeline.render.ops import MAX_LEVEL, OPS, is_pooled, render_op
from pipeline.render.scratch import new_scratch
from pipeline.render.slots import Slots
from pipeline.render.tables import apply_table

if TYPE_CHECKING:
    from pipeline.pictures.picture_set import PictureSet
    from pipeline.plan.pixmix import PixMixPlan

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

_PICTURE_FAULT, _CROP_FAULT, _OP_FAULT, _ROUNDS_FAULT, _LEVEL_FAULT = 1, 2, 3, 4, 5


class MixingPictures(NamedTuple):
    """Mixing pictures by number, as those of a `PictureSet`."""

    pixels: U8
    offsets: I64
    heights: I32
    widths: I32


@kernel
def _copy_crop(pixels: U8, begin: int, width: int, out: U8) -> None:
    """Copy a crop that begins at `begin` of the flat `pixels`, of a picture this wide, to `out` [S, S, 3]."""
    stride = 3 * out.shape[1]
    flat = out.reshape(-1)
    for row in range(out.shape[0]):
        source, target = begin + 3 * row * width, row * stride
        for i in range(stride):
            flat[np.uint64(target + i)] = pixels[np.uint64(source + i)]


@kernel
def _fault(
    start_op: I8,
    start_level: F32,
    num_rounds: I8,
    picture: I32,
    picture_y: I32,
    picture_x: I32,
    operand_op: I8,
    operand_level: F32,
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
        if start_op[i] >= 0 and not 0 <= start_level[i] <= MAX_LEVEL:
            return _LEVEL_FAULT
        meets_picture = picture[i] >= 0
        for r in range(num_rounds[i]):
            if operand_op[i, r] >= num_ops:
                return _OP_FAULT
            if operand_op[i, r] >= 0 and not 0 <= operand_level[i, r] <= MAX_LEVEL:
                return _LEVEL_FAULT
            meets_picture |= operand_op[i, r] < 0
        if meets_picture:
            if not 0 <= picture[i] < len(heights):
                return _PICTURE_FAULT
            room_y, room_x = heights[picture[i]] - size, widths[picture[i]] - size
            if not (0 <= picture_y[i] <= room_y and 0 <= picture_x[i] <= room_x):
                return _CROP_FAULT
    return 0


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
    heights: I32,
    widths: I32,
    tables: U8,
    frames: int,
    out: U8,
    first: int,
    stride: int,
) -> int:
    """Write sample i to the bytes of `out`, flat, from first + i · stride on; or none, and return a fault.

    With `frames` so many bases after each other make a sample; where there are `tables`, a clip's are
    tables[i, 0] of its start and tables[i, 1 + r] of round r, for those ops that pool.
    """
    size = bases.shape[1]
    crops, operands = (picture, picture_y, picture_x), (operand_op, operand_level)
    fault = _fault(start_op, start_level, num_rounds, *crops, *operands, heights, widths, size)
    if fault:
        return fault
    scratch = new_scratch(size, size)
    x_terms, y_terms = np.empty(256, np.float32), np.empty(256, np.float32)
    start, augmented = np.empty_like(bases[0]), np.empty_like(bases[0])
    crop = np.empty_like(bases[0])
    state, powers = np.empty(start.size, np.float32), np.empty(start.size, np.float32)
    copied = -1
    for i in range(len(bases)):
        if i + 1 < len(bases) and picture[i + 1] >= 0:  # while this one is made
            index, top = picture[i + 1], picture_y[i + 1]
            place, row_bytes = offsets[index], 3 * widths[index]
            fetch_ahead(pixels, place + top * row_bytes, place + (top + size) * row_bytes)
        clip, frame = i // frames, i % frames
        place = first + clip * stride + frame * start.size
        base, sample = bases[i], out[place : place + start.size]
        x = base.reshape(-1)
        if start_op[i] >= 0:
            level = float(start_level[i])
            if is_pooled(start_op[i], tables):
                apply_table(base, tables[clip, 0], start)
            else:
                render_op(start_op[i], base, level, start_negative[i], scratch, start)
            x = start.reshape(-1)
        if num_rounds[i] == 0:
            for j in range(sample.size):
                sample[j] = x[j]
            continue
        if picture[i] >= 0:
            index, top, left = picture[i], picture_y[i], picture_x[i]
            begin = offsets[index] + 3 * (top * widths[index] + left)
            if begin != copied:  # frames of a clip may share one
                _copy_crop(pixels, begin, widths[index], crop)
                copied = begin
        for r in range(num_rounds[i]):
            y = crop.reshape(-1)
            if operand_op[i, r] >= 0:
                if is_pooled(operand_op[i, r], tables):
                    apply_table(base, tables[clip, 1 + r], augmented)
                else:
                    level, negative = float(operand_level[i, r]), operand_negative[i, r]
                    render_op(operand_op[i, r], base, level, negative, scratch, augmented)
                y = augmented.reshape(-1)
            if r == 0:
                mixing.mix_first(mode[i, r], x, y, a[i, r], b[i, r], x_terms, y_terms, state)
            else:
                mixing.mix_next(mode[i, r], state, y, a[i, r], b[i, r], y_terms, powers)
        mixing.quantise(state, sample)
    return 0


def render_pixmix(plan: PixMixPlan, bases: U8, pictures: PictureSet) -> U8:
    """Render n samples into a fresh array; otherwise as `render_pixmix_into`.

    Returns:
        uint8 [n, S, S, 3].
    """
    out = np.empty_like(bases)
    render_pixmix_into(plan, bases, pictures, Slots.of(out))
    return out


def render_pixmix_into(plan: PixMixPlan, bases: U8, pictures: PictureSet, slots: Slots) -> None:
    """Render n samples, uint8, within one level of the float32 arithmetic.

    Args:
        plan: n rows; every crop must lie within its mixing picture.
        bases: uint8 [n, S, S, 3], C-contiguous, the pictures after the base transform.
        pictures: the mixing set that the plan indexes.
        slots: where the samples go.

    Raises:
        ValueError: a row, perhaps of an altered manifest, names what does not exist; nothing is written.
    """
    mixing_set = MixingPictures(
        pictures.pixels, pictures.offsets, pictures.heights, pictures.widths
    )
    mix_into(plan, bases, mixing_set, slots)


def mix_into(
    plan: PixMixPlan,
    bases: U8,
    mixing: MixingPictures,
    slots: Slots,
    *,
    frames: int = 1,
    tables: U8 | None = None,
) -> None:
    """Render as `render_pixmix_into`; with `frames`, so many rows after each other are a sample, a clip.

    Args:
        plan: m rows.
        bases: uint8 [m, S, S, 3], C-contiguous.
        mixing: what the plan indexes.
        slots: of the m / frames samples.
        frames: of a sample.
        tables: uint8 [m / frames, 1 + k, 3, 256], a clip's for its start and each round, used where an op is
            one of `POOLED_OPS`; None where each picture has its own.

    Raises:
        ValueError: as `render_pixmix_into`.
    """
    if not len(bases):
        return
    if tables is None:
        tables = np.empty((0, 1, 3, 256), np.uint8)
    fault = _render_batch(*map(read_only, (*plan, bases, *mixing, tables)), frames, *slots)  # type: ignore[call-arg]
    if fault:
        reasons = {
            _PICTURE_FAULT: f"mixing picture out of range; allowed: 0 to {len(mixing.offsets) - 1}",
            _CROP_FAULT: "a crop leaves its mixing picture",
            _OP_FAULT: f"op out of range; allowed: 0 to {len(OPS) - 1}",
            _ROUNDS_FAULT: f"rounds out of range; allowed: 0 to {plan.mode.shape[1]}",
            _LEVEL_FAULT: f"level out of range; allowed: 0 to {MAX_LEVEL}",
        }
        raise ValueError(f"plan: {reasons[fault]}")
