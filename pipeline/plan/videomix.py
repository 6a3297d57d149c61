"""The decisions of VideoMix: which second clip of the source a clip gets, and the cuboid that shows it.

Second clips, their base transform and λ are drawn as mixup and CutMix draw them. A clip that shows no
second one has its own there, with label_weight 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.augmentation_sections import VideoMixConfig
from pipeline.pictures.arithmetic import power
from pipeline.plan.base import ClipBasePlan, draw_starts
from pipeline.plan.pairs import (
    F32,
    I32,
    I64,
    Bool,
    Firsts,
    Span,
    draw_boxes,
    draw_seconds,
    draw_shares,
)
from pipeline.plan.rng import F64, Purpose, integers, uniform_rows
from pipeline.recipe import TransformConfig
from pipeline.render.jit import kernel, read_only


class VideoMixPlan(NamedTuple):
    """The decisions for n clips of T frames, by the names of their manifest columns.

    Attributes:
        second_source_index: int64 [n].
        second_crop_y, second_crop_x, second_crop_h, second_crop_w: int32 [n], as in a `BasePlan`.
        second_flip: bool [n].
        second_start_frame: int32 [n], first frame of the second clip in its video.
        label_weight: float32 [n], the share of the voxels outside of the cuboid.
        box_t, box_y, box_x, box_len, box_h, box_w: int32 [n], the cuboid, perhaps empty: frames box_t to
            below box_t + box_len, rows and columns likewise.
    """

    second_source_index: I64
    second_crop_y: I32
    second_crop_x: I32
    second_crop_h: I32
    second_crop_w: I32
    second_flip: Bool
    second_start_frame: I32
    label_weight: F32
    box_t: I32
    box_y: I32
    box_x: I32
    box_len: I32
    box_h: I32
    box_w: I32


class FirstClips(NamedTuple):
    """The n clips of one epoch that get a second one, and the source it is drawn from.

    Attributes:
        firsts: the clips and the source's frames, as of pictures.
        start_frame: int32 [n], each clip's own first frame.
        starts, num_starts: int32 [N], of every clip of the source, as `draw_starts` takes them.
    """

    firsts: Firsts
    start_frame: I32
    starts: I32
    num_starts: I32


def second_clip_base(plan: VideoMixPlan) -> ClipBasePlan:
    """Return the base transform of the second clips."""
    return ClipBasePlan(*plan[1:7])


def draw_videomix(
    config: VideoMixConfig,
    transform: TransformConfig,
    clips: FirstClips,
    *,
    frames: int,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> VideoMixPlan:
    """Draw the decisions for positions [start, stop) of an epoch of clips of so many frames.

    Of the cuboid, 1 − λ of a clip, a box is drawn as CutMix draws it, of √(1 − λ) of the side or, where it
    is one of some frames, of ∛(1 − λ) of it. Those frames are 1 − λ or ∛(1 − λ) of them, rounded, and start
    anywhere.

    Raises:
        DreamshardsError: as `draw_base`.
    """
    place = Span(seed, epoch, start, stop)
    u, share = draw_shares(config, place)
    size, rest = transform.size, 1.0 - share
    num, length_share = len(u), rest
    if config.cuboid == "both":
        length_share = _cube_roots(rest)
    if config.cuboid == "spatial":
        length = np.full(num, frames, np.int32)
    else:
        length = (frames * length_share + 0.5).astype(np.int32)
    if config.cuboid == "temporal":
        nought, side = np.zeros(num, np.int32), np.full(num, size, np.int32)
        box = nought, nought, side, side
    else:
        box = draw_boxes(
            np.sqrt(rest) if config.cuboid == "spatial" else length_share, u[:, 3:], size
        )
    drawn = uniform_rows(purpose=Purpose.CUBOID, **place._asdict(), width=1)[:, 0]
    first = integers(drawn, frames - length + 1)

    mixed = (length > 0) & (box[2] > 0)
    cuboid = first, box[0], box[1], length, box[2], box[3]
    corner = [np.where(mixed, column, np.int32(0)) for column in cuboid]
    voxels = corner[3].astype(np.float64) * corner[4] * corner[5]
    weight = (1.0 - voxels / (frames * size**2)).astype(np.float32)
    second, base = draw_seconds(mixed, u[:, 1], transform, clips.firsts, place)
    theirs = draw_starts(
        clips.starts[second],
        clips.num_starts[second],
        **place._asdict(),
        purpose=Purpose.SECOND_START,
    )
    start_frame = np.where(mixed, theirs, clips.start_frame)
    return VideoMixPlan(second, *base, start_frame, weight, *corner)


@kernel
def _fill_cube_roots(shares: F64, roots: F64) -> None:
    for i in range(len(shares)):
        roots[i] = power(shares[i], 1.0 / 3.0)


def _cube_roots(shares: F64) -> F64:
    """Return the cube root of each share, the same bits on every host."""
    roots = np.empty(len(shares))
    _fill_cube_roots(read_only(shares), roots)
    return np.minimum(roots, 1.0)
