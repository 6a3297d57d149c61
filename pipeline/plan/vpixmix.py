"""Every random decision of V-PixMix: PixMix's, drawn once for a clip or for each of its frames.

Which mixing pictures a clip meets and what is done with them come from streams of their own: with one seed,
recipes that differ in one of the two alone draw the other alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.augmentation_sections import PixMixConfig, VPixMixConfig
from pipeline.plan.pixmix import (
    F32,
    I8,
    I32,
    NO_CROP,
    NUM_ROUND_DRAWS,
    Bool,
    PixMixPlan,
    by_sample,
    decide,
    draw_crops,
    draw_weights,
    num_draws,
    round_draws,
)
from pipeline.plan.rng import F64, Purpose, uniform_rows

INWARDS, OUTWARDS = 1, -1
"""Directions of a zoom."""

_CLIP_PICTURE_DRAWS, _FRAME_PICTURE_DRAWS = 6, 3


class VPixMixPlan(NamedTuple):
    """The decisions for n clips of T frames. What a clip does not use is 0, or −1 for an index.

    Decisions are drawn F times a clip, once or for each frame. So are mixing pictures, P times, and weights,
    W times: once, for each frame, or twice, for the first and the last, between which they run straight.

    Attributes:
        start_op, start_level, start_negative, num_rounds: [n, F], as in a `PixMixPlan`.
        picture: int32 [n, P], index in the mixing set, −1 where no round uses it.
        picture_y, picture_x: int32 [n, P], top-left corner of its crop; 0 of zooms.
        operand_op, operand_level, operand_negative, mode: [n, F, k], as in a `PixMixPlan`.
        a, b: float32 [n, W, k].
        zoom_phase: float64 [n], where in its zoom a clip starts, in [0, 1).
        zoom_factor: float64 [n], how much larger each frame shows it than the one before, inwards.
        zoom_direction: int8 [n], `INWARDS` or `OUTWARDS`.
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
    zoom_phase: F64
    zoom_factor: F64
    zoom_direction: I8


def pixmix_constants(config: VPixMixConfig) -> PixMixConfig:
    """Return PixMix's constants of a resolved section; by `mix` there is one round, with a mixing picture."""
    if config.method == "mix":
        return PixMixConfig(family="pixmix", k=1, beta=config.beta, strategy="mix-aug")
    names = "k", "beta", "severity", "ops", "strategy"
    return PixMixConfig(family="pixmix", **{name: getattr(config, name) for name in names})


def draw_vpixmix(
    config: VPixMixConfig,
    picture_heights: I32,
    picture_widths: I32,
    *,
    frames: int,
    size: int,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> VPixMixPlan:
    """Draw the decisions for positions [start, stop) of an epoch of clips, `frames` pictures of size×size.

    The heights and widths are those of the mixing set; of zooms, the size of a clip.
    """
    num = stop - start
    clips = {"seed": seed, "epoch": epoch, "start": start, "stop": stop}
    every_frame = {**clips, "start": start * frames, "stop": stop * frames}

    by_frame = config.draws == "frame"
    drawn, ends = _draw_decisions(config, every_frame if by_frame else clips)
    decisions = PixMixPlan(*(_by_clip(column, num, frames if by_frame else 1) for column in drawn))
    a, b = decisions.a, decisions.b
    if config.draws == "smooth":
        a, b = np.stack([drawn.a, ends[0]], axis=1), np.stack([drawn.b, ends[1]], axis=1)

    by_frame, meets = config.picture == "frame", decisions.picture >= 0
    met: Bool = np.logical_or.reduce(meets, axis=1, keepdims=True)
    if by_frame:
        met = np.broadcast_to(meets, (num, frames))
    width = _FRAME_PICTURE_DRAWS if by_frame else _CLIP_PICTURE_DRAWS
    place = every_frame if by_frame else clips
    u = uniform_rows(purpose=Purpose.VPIXMIX_PICTURE, width=width, **place).T
    crop = draw_crops(u[:3], picture_heights, picture_widths, size)
    picture, picture_y, picture_x = (
        np.where(met, column.reshape(met.shape), unused)
        for column, unused in zip(crop, NO_CROP, strict=True)
    )
    return VPixMixPlan(
        *decisions[:4],
        picture,
        picture_y,
        picture_x,
        *decisions[7:11],
        a,
        b,
        *_draw_zooms(config, picture[:, 0] >= 0, u[3:]),
    )


def _by_clip(column: npt.NDArray[Any], num: int, each: int) -> npt.NDArray[Any]:
    """Turn [n·each, …] into [n, each, …]."""
    return column.reshape(num, each, *column.shape[1:])


def _draw_decisions(
    config: VPixMixConfig, place: dict[str, int]
) -> tuple[PixMixPlan, tuple[F32, F32]]:
    """Draw decisions, one a row of the stream, and the weights (a, b) that would follow them at the end."""
    pixmix = pixmix_constants(config)
    k, num_weights = pixmix.k, 2 * config.beta
    width = num_draws(pixmix)
    u = uniform_rows(purpose=Purpose.VPIXMIX, width=width + k * num_weights, **place)
    rounds = round_draws(u[:, :width], pixmix)
    decisions = decide(pixmix, u[:, :width]) if config.method == "pipeline" else _mix_once(rounds)
    later = u.T[width:].reshape(k, num_weights, len(u)).swapaxes(0, 1)
    used = np.arange(k) < decisions.num_rounds[:, None]
    a, b = (
        np.where(used, by_sample(column), np.float32(0))
        for column in draw_weights(rounds[5], later)
    )
    return decisions, (a, b)


def _mix_once(rounds: F64) -> PixMixPlan:
    """Decide one round with the mixing picture, the start being the frame itself."""
    num = rounds.shape[2]
    nought, no_op = np.zeros(num, np.int32), np.full(num, -1, np.int8)
    level, negative = np.zeros(num, np.float32), np.zeros(num, np.bool_)
    mode = (rounds[4] >= 0.5).astype(np.int8)
    a, b = draw_weights(rounds[5], rounds[NUM_ROUND_DRAWS:])
    return PixMixPlan(
        no_op,
        level,
        negative,
        np.ones(num, np.int8),
        nought,
        nought,
        nought,
        no_op[:, None],
        level[:, None],
        negative[:, None],
        *(by_sample(column) for column in (mode, a, b)),
    )


def _draw_zooms(config: VPixMixConfig, met: Bool, u: F64) -> tuple[F64, F64, I8]:
    """Draw phase, factor and direction from three uniforms [3, n]; 0 where no zoom is met."""
    if config.picture != "zoom":
        return np.zeros(len(met)), np.zeros(len(met)), np.zeros(len(met), np.int8)
    assert config.zoom_factor is not None, "a resolved recipe has the factors of its zooms"
    least, most = config.zoom_factor
    direction = np.where(u[2] < 0.5, np.int8(INWARDS), np.int8(OUTWARDS))
    return (
        np.where(met, u[0], 0.0),
        np.where(met, least + (most - least) * u[1], 0.0),
        np.where(met, direction, np.int8(0)),
    )
