"""The decisions of mixup and CutMix: which second picture of the source a sample gets, and how much of it.

Both draw the second picture, its base transform and λ from the same streams: with one seed, α and probability
they pair the same pictures in the same shares. A sample that shows no second picture has its own there, with
label_weight 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.augmentation_sections import CutMixConfig, MixupConfig, VideoMixConfig
from pipeline.plan.base import BasePlan, draw_base
from pipeline.plan.beta import betas
from pipeline.plan.rng import F64, Purpose, integers, uniform_rows
from pipeline.recipe import TransformConfig

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


class MixupPlan(NamedTuple):
    """The decisions for n samples, by the names of their manifest columns.

    Attributes:
        second_source_index: int64 [n].
        second_crop_y, second_crop_x, second_crop_h, second_crop_w: int32 [n], as in a `BasePlan`.
        second_flip: bool [n].
        label_weight: float32 [n], λ, the share of the first picture and of its label.
    """

    second_source_index: I64
    second_crop_y: I32
    second_crop_x: I32
    second_crop_h: I32
    second_crop_w: I32
    second_flip: Bool
    label_weight: F32


class CutMixPlan(NamedTuple):
    """As a `MixupPlan`, with the box of the sample that shows the second picture, perhaps empty.

    Attributes:
        label_weight: float32 [n], the share of the pixels outside of the box.
        box_y, box_x, box_h, box_w: int32 [n], within the sample.
    """

    second_source_index: I64
    second_crop_y: I32
    second_crop_x: I32
    second_crop_h: I32
    second_crop_w: I32
    second_flip: Bool
    label_weight: F32
    box_y: I32
    box_x: I32
    box_h: I32
    box_w: I32


PairPlan = MixupPlan | CutMixPlan


class Firsts(NamedTuple):
    """The n samples of one epoch that get a second picture, and the source it is drawn from.

    Attributes:
        sources: int64 [n], index of each sample's own picture.
        base: its base transform.
        heights, widths: int32 [N], of every picture of the source.
    """

    sources: I64
    base: BasePlan
    heights: I32
    widths: I32


class Span(NamedTuple):
    """Positions [start, stop) of an epoch, with the seed of their draws."""

    seed: int
    epoch: int
    start: int
    stop: int


def second_base(plan: PairPlan) -> BasePlan:
    """Return the base transform of the second pictures."""
    return BasePlan(*plan[1:6])


def draw_mixup(
    config: MixupConfig,
    transform: TransformConfig,
    firsts: Firsts,
    *,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> MixupPlan:
    """Draw the decisions for positions [start, stop) of an epoch.

    Raises:
        DreamshardsError: as `draw_base`.
    """
    place = Span(seed, epoch, start, stop)
    u, share = draw_shares(config, place)
    weight = share.astype(np.float32)
    second, base = draw_seconds(weight < 1, u[:, 1], transform, firsts, place)
    return MixupPlan(second, *base, weight)


def draw_cutmix(
    config: CutMixConfig,
    transform: TransformConfig,
    firsts: Firsts,
    *,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> CutMixPlan:
    """Draw the decisions for positions [start, stop) of an epoch.

    A box of √(1 − λ) of the sample's side lies about a uniform pixel, and is cut off at the edges; sides are
    whole and even, as in the authors' code.

    Raises:
        DreamshardsError: as `draw_base`.
    """
    place = Span(seed, epoch, start, stop)
    u, share = draw_shares(config, place)
    size = transform.size
    top, left, height, width = draw_boxes(np.sqrt(1.0 - share), u[:, 3:], size)
    weight = (1.0 - height.astype(np.float64) * width / size**2).astype(np.float32)
    second, base = draw_seconds(height > 0, u[:, 1], transform, firsts, place)
    return CutMixPlan(second, *base, weight, top, left, height, width)


def draw_boxes(side: F64, u: F64, size: int) -> tuple[I32, I32, I32, I32]:
    """Draw boxes, [n] top, left, height and width, about a pixel from two uniforms [n, 2], within size×size.

    `side` is that of a box before it is cut off at the edges, as a share of the size; they are made whole and
    even. An empty box has all 0.
    """
    half = (size * side).astype(np.int32) // 2
    y, x = integers(u[:, 0], size), integers(u[:, 1], size)
    top, left = np.maximum(y - half, 0), np.maximum(x - half, 0)
    height, width = np.minimum(y + half, size) - top, np.minimum(x + half, size) - left
    top, left = np.where(half > 0, top, 0), np.where(half > 0, left, 0)
    top, left, height, width = (side.astype(np.int32) for side in (top, left, height, width))
    return top, left, height, width


def draw_shares(
    config: MixupConfig | CutMixConfig | VideoMixConfig, place: Span
) -> tuple[F64, F64]:
    """Return the uniforms of the pairs, [n, 5], and λ from the first and third, 1 where nothing is mixed."""
    span = {"epoch": place.epoch, "start": place.start, "stop": place.stop}
    u = uniform_rows(place.seed, Purpose.PAIR, **span, width=5)
    return u, np.where(u[:, 0] < config.probability, betas(u[:, 2], config.alpha), 1.0)


def draw_seconds(
    mixed: Bool, u: F64, transform: TransformConfig, firsts: Firsts, place: Span
) -> tuple[I64, BasePlan]:
    """Return the second pictures and their base transform: the sample's own where it is not mixed."""
    second = np.where(mixed, integers(u, len(firsts.heights)), firsts.sources)
    theirs = draw_base(
        transform,
        firsts.heights[second],
        firsts.widths[second],
        **place._asdict(),
        purpose=Purpose.SECOND_BASE,
    )
    pairs = zip(theirs, firsts.base, strict=True)
    return second, BasePlan(*(np.where(mixed, other, own) for other, own in pairs))
