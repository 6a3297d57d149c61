"""Consistency over the frames of a sequence: flips of the prediction and the distance of the top five.

After Hendrycks & Dietterich (ICLR 2019). A frame is held to the frame before it; where every frame has noise
of its own, to the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.benchmarks import ALEXNET_FLIPS, SEQUENCES, check_names
from evaluation.measures.arrays import I64, floats, fraction, integers
from evaluation.measures.classification import Normalise
from pipeline.errors import DreamshardsError

TOP = 5
MAX_T5D = 18.0
"""The best three fall out of the top five, and the next two become second and first: 5 + 4 + 3 + 2 + 4."""
_ROWS = 65_536
"""Rows sorted or compared at a time, so that memory stays small whatever the number of sequences."""


def flip_probability(
    predictions: npt.ArrayLike, *, noise: bool = False, difficulty: int = 1
) -> float:
    """Return how often the prediction changes: the mean over pairs of frames, then over sequences.

    Args:
        predictions: whole numbers [n, F], the class predicted of each frame of n sequences.
        noise: hold each frame to the first, not to the one before.
        difficulty: hold each frame to that so many before; only without `noise`, whose harder sequences are
            files of their own.

    Raises:
        DreamshardsError: an array of another form, fewer than two frames, a difficulty out of range.
    """
    frames = integers("flip_probability: predictions", predictions, "[n, F]")
    reference, other = _pairs("flip_probability", frames, noise=noise, difficulty=difficulty)
    return float(np.mean(reference != other))


def top5(logits: npt.ArrayLike) -> I64:
    """Return the five classes of the highest logits, best first, int64 [..., 5]; ties by class.

    Of equal logits the lower class is the better.

    Args:
        logits: floats [n, C] or [n, F, C], five classes or more.

    Raises:
        DreamshardsError: an array of another form or with fewer classes.
    """
    axes = "[n, F, C]" if np.ndim(logits) == 3 else "[n, C]"
    values = floats("top5: logits", logits, axes)
    num_classes = values.shape[-1]
    if num_classes < TOP:
        raise DreamshardsError(
            f"top5: logits: got {num_classes} classes; allowed: {TOP} or more. With fewer there is no top-5 "
            "distance, only flips"
        )
    rows = values.reshape(-1, num_classes)
    best = np.empty((len(rows), TOP), np.int64)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        best[start : start + _ROWS] = np.argsort(-part, axis=1, kind="stable")[:, :TOP]
    return best.reshape(*values.shape[:-1], TOP)


def t5d(best: npt.ArrayLike, *, noise: bool = False, difficulty: int = 1) -> float:
    """Return the top-5 distance, 0 to 18: the mean over pairs of frames, then over sequences.

    Of a pair it is the sum over the five best classes of the reference frame of how many ranks they move in
    the other, where every rank after the fifth counts as the sixth. It is not symmetric.

    Args:
        best: whole numbers [n, F, 5], what `top5` makes of each frame.
        noise: as in `flip_probability`.
        difficulty: as in `flip_probability`.

    Raises:
        DreamshardsError: an array of another form, a class twice among the five of a frame, fewer than two
            frames, a difficulty out of range.
    """
    frames = integers("t5d: best", best, "[n, F, 5]")
    if frames.shape[2] != TOP:
        raise DreamshardsError(
            f"t5d: best: got shape {list(frames.shape)}; allowed: [n, F, {TOP}], as top5 makes it of logits"
        )
    ordered = np.sort(frames, axis=2)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise DreamshardsError(
            "t5d: best: a class comes twice in a frame; allowed: five different ones"
        )
    reference, other = _pairs("t5d", frames, noise=noise, difficulty=difficulty)
    total, step = 0, max(_ROWS // reference.shape[1], 1)
    for start in range(0, len(reference), step):
        part = slice(start, start + step)
        same = (
            reference[part, :, :, None] == other[part, :, None, :]
        )  # [n, pairs, rank, other rank]
        rank = np.where(same.any(axis=3), same.argmax(axis=3), TOP)
        total += int(np.abs(rank - np.arange(TOP)).sum())
    return total / int(np.prod(reference.shape[:2]))


def mfr(
    flips: Mapping[str, float],
    *,
    normalise: Normalise = "none",
    names: Sequence[str] = SEQUENCES,
) -> float:
    """Return the mean flip rate: the mean over kinds of sequences of the flip probability.

    With `normalise="none"`, that of CIFAR-P, they are taken as they are; with `"alexnet"`, that of
    ImageNet-P, each is divided by AlexNet's first.

    Args:
        flips: of each kind the flip probability, 0 to 1.
        normalise: what to divide by.
        names: the kinds to take the mean of, all of which have to be there and no other.

    Raises:
        DreamshardsError: a kind too few or too many, a probability out of range, or a kind of which AlexNet's
            is not known.
    """
    if normalise not in ("none", "alexnet"):
        raise DreamshardsError(f"mfr: normalise = {normalise!r}; allowed: 'none' or 'alexnet'")
    return _mean("mfr", flips, ALEXNET_FLIPS if normalise == "alexnet" else None, names, 1.0)


def mt5d(
    distances: Mapping[str, float],
    *,
    reference: Mapping[str, float] | None = None,
    names: Sequence[str] = SEQUENCES,
) -> float:
    """Return the mean top-5 distance over kinds of sequences, raw or divided by those of a reference.

    ImageNet-P divides by AlexNet's, which were never published in numbers: measure AlexNet on the same
    sequences and give its distances here. For CIFAR-P the raw mean is reported.

    Args:
        distances: of each kind the top-5 distance.
        reference: those of the network to divide by; None divides by nothing.
        names: as in `mfr`.

    Raises:
        DreamshardsError: a kind too few or too many, a distance out of range, or a reference without a kind.
    """
    return _mean("mt5d", distances, reference, names, MAX_T5D)


def _mean(
    where: str,
    values: Mapping[str, float],
    reference: Mapping[str, float] | None,
    names: Sequence[str],
    high: float,
) -> float:
    check_names(where, values, names)
    ratios = []
    for name in names:
        value = fraction(f"{where}: {name}", values[name], high)
        if reference is None:
            ratios.append(value)
            continue
        divisor = fraction(f"{where}: {name} of the reference", reference.get(name, 0.0), high)
        if divisor == 0:
            raise DreamshardsError(
                f"{where}: {name}: the reference has no value, or 0; allowed: above 0 for each of "
                f"{', '.join(names)}"
            )
        ratios.append(value / divisor)
    return float(np.mean(ratios))


def _pairs(
    where: str, frames: npt.NDArray[Any], *, noise: bool, difficulty: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the reference frames and those held to them, both [n, pairs, …]."""
    num_frames = frames.shape[1]
    if num_frames < 2:
        raise DreamshardsError(f"{where}: got sequences of {num_frames} frame; allowed: 2 or more")
    if noise:
        if difficulty != 1:
            raise DreamshardsError(
                f"{where}: difficulty = {difficulty} with noise; allowed: 1, for harder noise is a "
                "sequence of its own"
            )
        return np.broadcast_to(frames[:, :1], frames[:, 1:].shape), frames[:, 1:]
    if not 1 <= difficulty < num_frames:
        raise DreamshardsError(
            f"{where}: difficulty = {difficulty}; allowed: 1 to {num_frames - 1}, for {num_frames} frames"
        )
    return frames[:, :-difficulty], frames[:, difficulty:]
