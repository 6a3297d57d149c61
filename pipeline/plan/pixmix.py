"""Every random decision of PixMix, in the reference code's terms (Hendrycks et al., 2022).

A sample starts from its base picture or, one time in two, from an augmented copy of it; then 0..k rounds
each mix in a fresh augmented copy or the sample's one mixing picture, by add or multiply with weights (a, b).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.augmentation_sections import PixMixConfig
from pipeline.plan.rng import F64, Purpose, integers, uniform_rows
from pipeline.render.ops import LEVEL_OPS, NUM_STANDARD_OPS, OPS, SIGNED_OPS

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

_AUGMENTED_SHARE = {"both": 0.5, "mix-input": 1.0, "mix-aug": 0.0}
"""How often a round mixes in an augmented copy of the input rather than the mixing picture (Table 5)."""

_NUM_PICTURE_DRAWS, _NUM_HEAD_DRAWS, NUM_ROUND_DRAWS = 3, 5, 6
"""Uniforms for the mixing picture, for the start and number of rounds, and for a round but its weights."""

NO_CROP = np.int32(-1), np.int32(0), np.int32(0)
"""Picture and corner where no mixing picture is met."""

_MIN_LEVEL = 0.1
_HAS_LEVEL, _HAS_SIGN = (np.isin(np.arange(len(OPS)), ops) for ops in (LEVEL_OPS, SIGNED_OPS))


class PixMixPlan(NamedTuple):
    """The decisions for n samples of at most k rounds. What a sample does not use is 0, or −1 for an index.

    Attributes:
        start_op: int8 [n], op that makes the starting picture, −1 for the base picture itself.
        start_level: float32 [n], its level L in [0.1, severity], 0 for an op without one.
        start_negative: bool [n], its sign.
        num_rounds: int8 [n], 0..k.
        picture: int32 [n], index in the mixing set, −1 where no round uses it.
        picture_y, picture_x: int32 [n], top-left corner of its crop.
        operand_op: int8 [n, k], op on the base picture that makes the operand, −1 for the mixing picture.
        operand_level, operand_negative: float32, bool [n, k], as above.
        mode: int8 [n, k], 0 add, 1 multiply.
        a, b: float32 [n, k], weights of the picture so far and of the operand.
    """

    start_op: I8
    start_level: F32
    start_negative: Bool
    num_rounds: I8
    picture: I32
    picture_y: I32
    picture_x: I32
    operand_op: I8
    operand_level: F32
    operand_negative: Bool
    mode: I8
    a: F32
    b: F32


def draw_pixmix(
    config: PixMixConfig,
    picture_heights: I32,
    picture_widths: I32,
    *,
    size: int,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> PixMixPlan:
    """Draw the decisions for positions [start, stop) of an epoch of size×size samples."""
    width = _NUM_PICTURE_DRAWS + num_draws(config)
    u = uniform_rows(seed, Purpose.PIXMIX, epoch=epoch, start=start, stop=stop, width=width)
    decisions = decide(config, u[:, _NUM_PICTURE_DRAWS:])
    met = decisions.picture >= 0
    crop = draw_crops(u[:, :_NUM_PICTURE_DRAWS].T, picture_heights, picture_widths, size)
    picture, picture_y, picture_x = (
        np.where(met, column, unused) for column, unused in zip(crop, NO_CROP, strict=True)
    )
    return decisions._replace(picture=picture, picture_y=picture_y, picture_x=picture_x)


def num_draws(config: PixMixConfig) -> int:
    """Return how many uniforms decide a sample, its mixing picture aside."""
    return _NUM_HEAD_DRAWS + config.k * (NUM_ROUND_DRAWS + 2 * config.beta)


def decide(config: PixMixConfig, u: F64) -> PixMixPlan:
    """Decide n samples by uniforms, [n, num_draws(config)], but for which mixing pictures they meet.

    `picture` is 0 where a round uses one, else −1.
    """
    head, rounds = u.T[:_NUM_HEAD_DRAWS], round_draws(u, config)
    num_rounds = integers(head[4], config.k + 1).astype(np.int8)
    used = np.arange(config.k)[:, None] < num_rounds
    augmented = head[0] < 0.5
    start_op, start_level, start_negative = _draw_op(config, augmented, head[1:4])
    share = _AUGMENTED_SHARE[config.strategy]
    from_input = rounds[0] < share
    op, level, negative = _draw_op(config, used & from_input, rounds[1:4])
    mode = (used & (rounds[4] >= 0.5)).astype(np.int8)
    a, b = draw_weights(rounds[5], rounds[NUM_ROUND_DRAWS:])

    meets_picture = (used & ~from_input).any(axis=0)
    nought = np.zeros(len(u), np.int32)
    return PixMixPlan(
        start_op,
        start_level,
        start_negative,
        num_rounds,
        np.where(meets_picture, np.int32(0), np.int32(-1)),
        nought,
        nought,
        by_sample(op),
        by_sample(level),
        by_sample(negative),
        by_sample(mode),
        by_sample(np.where(used, a, np.float32(0))),
        by_sample(np.where(used, b, np.float32(0))),
    )


def round_draws(u: F64, config: PixMixConfig) -> F64:
    """Return the uniforms of the rounds, [draws of a round, k, n], of those that `decide` takes.

    Of a round: source, op, level, sign, mode, branch of the weights; then what `draw_weights` takes.
    """
    each = NUM_ROUND_DRAWS + 2 * config.beta
    return u.T[_NUM_HEAD_DRAWS:].reshape(config.k, each, len(u)).swapaxes(0, 1)


def draw_crops(u: F64, heights: I32, widths: I32, size: int) -> tuple[I32, I32, I32]:
    """Draw a picture of these sizes and a size×size crop of it from three uniforms [3, …]."""
    picture = integers(u[0], len(heights))
    top = integers(u[1], heights[picture] - size + 1)
    left = integers(u[2], widths[picture] - size + 1)
    return picture, top, left


def by_sample(column: npt.NDArray[T]) -> npt.NDArray[T]:
    """Turn [k, n] into [n, k]."""
    return np.ascontiguousarray(column.T)


def _draw_op(config: PixMixConfig, wanted: Bool, u: F64) -> tuple[I8, F32, Bool]:
    """Draw op, level and sign from three uniforms [3, …] where `wanted` […]."""
    num_ops = NUM_STANDARD_OPS if config.ops == "standard" else len(OPS)
    op = integers(u[0], num_ops).astype(np.int8)
    level = (_MIN_LEVEL + (config.severity - _MIN_LEVEL) * u[1]).astype(np.float32)
    negative = u[2] >= 0.5
    return (
        np.where(wanted, op, np.int8(-1)),
        np.where(wanted & _HAS_LEVEL[op], level, np.float32(0)),
        wanted & _HAS_SIGN[op] & negative,
    )


def draw_weights(branch: F64, u: F64) -> tuple[F32, F32]:
    """Draw (a, b): one time in two a ~ Beta(β, 1), b ~ Beta(1, β), else a ~ 1 + Beta(1, β), b ~ −Beta(1, β).

    For whole β these are the largest and the smallest of β uniforms, the first and second half of `u`,
    [2β, …]: exact, with no power function. `branch` is a uniform too.
    """
    inner = branch < 0.5
    first, second = u[: len(u) // 2], u[len(u) // 2 :]
    least = second.min(axis=0)
    a = np.where(inner, first.max(axis=0), 1 + first.min(axis=0))
    b = np.where(inner, least, -least)
    return a.astype(np.float32), b.astype(np.float32)
