"""Rendering V-PixMix plans: clips and mixing pictures, or frames of zooms, in, uint8 clips out.

A frame is made as PixMix makes a picture of the same decisions, but for ops whose statistics are those of the
whole clip where a decision is one of the whole clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.plan.pixmix import PixMixPlan
from pipeline.plan.vpixmix import INWARDS, OUTWARDS, VPixMixPlan
from pipeline.render.jit import read_only
from pipeline.render.pixmix import MixingPictures, mix_into
from pipeline.render.pooled import fill_pooled
from pipeline.render.slots import Slots

if TYPE_CHECKING:
    from pipeline.pictures.picture_set import PictureSet

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Column = npt.NDArray[Any]


class Zooms(Protocol):
    """A mixing set of zooms."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def fill(self, index: int, phase: float, factor: float, direction: int, out: U8) -> None:
        """Fill `out`, uint8 [T, S, S, 3], with frames of zoom `index` that follow each other.

        Args:
            index: of the zoom.
            phase: where it starts, in [0, 1).
            factor: of magnification from one frame to the next.
            direction: 1 inwards, −1 outwards.
            out: written.
        """
        ...


def render_vpixmix_into(plan: VPixMixPlan, bases: U8, pictures: PictureSet, slots: Slots) -> None:
    """Render n clips, uint8, within one level of the float32 arithmetic.

    Args:
        plan: n rows; every crop must lie within its mixing picture.
        bases: uint8 [n, T, S, S, 3], C-contiguous, the clips after the base transform.
        pictures: the mixing set that the plan indexes.
        slots: where the clips go.

    Raises:
        ValueError: a row, perhaps of an altered manifest, names what does not exist; nothing is written.
    """
    mixing = MixingPictures(pictures.pixels, pictures.offsets, pictures.heights, pictures.widths)
    _mix(plan, bases, mixing, slots)


def render_zooming_into(plan: VPixMixPlan, bases: U8, zooms: Zooms, slots: Slots) -> None:
    """Render n clips, each of whose frames meets the next of a zoom; as `render_vpixmix_into`."""
    num, num_frames, size = bases.shape[:3]
    met = plan.picture[:, 0] >= 0
    frames = zoom_frames(plan, zooms, num_frames, size)
    number = np.cumsum(met).astype(np.int32)[:, None] * num_frames - np.int32(num_frames)
    picture = np.where(met[:, None], number + np.arange(num_frames, dtype=np.int32), np.int32(-1))
    nought = np.zeros((num, num_frames), np.int32)
    side = np.full(frames.shape[0] * num_frames, size, np.int32)
    offsets = np.arange(len(side)) * (3 * size * size)
    mixing = MixingPictures(frames.reshape(-1), offsets, side, side)
    _mix(plan._replace(picture=picture, picture_y=nought, picture_x=nought), bases, mixing, slots)


def zoom_frames(plan: VPixMixPlan, zooms: Zooms, num_frames: int, size: int) -> U8:
    """Return the frames that each of the m clips that meet a zoom meet, uint8 [m, T, S, S, 3].

    Raises:
        ValueError: a row, perhaps of an altered manifest, that names no zoom, or a part of one that is none.
    """
    rows = np.flatnonzero(plan.picture[:, 0] >= 0)
    columns = plan.picture[:, 0], plan.zoom_phase, plan.zoom_factor, plan.zoom_direction
    index, phase, factor, direction = (column[rows] for column in columns)
    if not (index < len(zooms)).all():
        raise ValueError(f"plan: mixing picture out of range; allowed: 0 to {len(zooms) - 1}")
    right = {
        "zoom_phase out of range; allowed: from 0 to below 1": (phase >= 0) & (phase < 1),
        "zoom_factor out of range; allowed: above 1, to 2": (factor > 1) & (factor <= 2),
        "zoom_direction unknown; allowed: in, out": np.isin(direction, (INWARDS, OUTWARDS)),
    }
    for what, allowed in right.items():
        if not allowed.all():
            raise ValueError(f"plan: {what}")
    frames = np.empty((len(rows), num_frames, size, size, 3), np.uint8)
    steps = zip(index.tolist(), phase.tolist(), factor.tolist(), direction.tolist(), strict=True)
    for clip, step in zip(frames, steps, strict=True):
        zooms.fill(*step, clip)
    return frames


def _mix(plan: VPixMixPlan, bases: U8, mixing: MixingPictures, slots: Slots) -> None:
    """Render n clips of T frames as n·T pictures."""
    num, num_frames = bases.shape[:2]
    if not num:
        return

    def every_frame(column: Column) -> Column:
        """Turn [n, 1 or T, …] into [n·T, …]."""
        whole = np.broadcast_to(column, (num, num_frames, *column.shape[2:]))
        return np.ascontiguousarray(whole).reshape(num * num_frames, *column.shape[2:])

    decisions = plan._replace(a=weights(plan.a, num_frames), b=weights(plan.b, num_frames))
    of_frames = PixMixPlan(*(every_frame(column) for column in decisions[:13]))
    tables = None
    if plan.start_op.shape[1] == 1 and plan.mode.shape[2]:
        tables = _tables(plan, bases)
    pictures = bases.reshape(num * num_frames, *bases.shape[2:])
    mix_into(of_frames, pictures, mixing, slots, frames=num_frames, tables=tables)


def weights(drawn: F32, num_frames: int) -> F32:
    """Return the weights of every frame, float32 [n, 1 or T, k], of those that were drawn, [n, W, k].

    Two drawn once a clip are those of its first and last frame; the others lie between at equal steps.
    """
    if drawn.shape[1] in (1, num_frames):
        return drawn
    share = (np.arange(num_frames) / max(1, num_frames - 1))[:, None]
    first, last = drawn[:, :1].astype(np.float64), drawn[:, 1:].astype(np.float64)
    return (first + (last - first) * share).astype(np.float32)


def _tables(plan: VPixMixPlan, bases: U8) -> U8:
    """Return the tables of each clip's start and rounds, uint8 [n, 1 + k, 3, 256]."""
    ops = np.concatenate([plan.start_op, plan.operand_op[:, 0]], axis=1)
    levels = np.concatenate([plan.start_level, plan.operand_level[:, 0]], axis=1)
    tables = np.empty((*ops.shape, 3, 256), np.uint8)
    fill_pooled(read_only(ops), read_only(levels), read_only(bases), tables)
    return tables
