"""Videos of which clips were classified: the mean over the clips of each, and changes between clips in turn.

A video's probabilities are the unweighted mean of those of its clips, as in the published V-PixMix
evaluation; its class is the likeliest of the mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.measures.arrays import F64, I64, floats, integers, same_length
from pipeline.errors import DreamshardsError

_ROUNDING = 1e-5
"""How far a row of float32 probabilities may add up to another sum than 1."""


class Changes(NamedTuple):
    """How much the answers change from one clip of a video to the next.

    Attributes:
        flip_probability: share of the pairs of clips in turn whose classes differ.
        divergence: mean Jensen-Shannon divergence of these pairs, in bits: 0 of equal probabilities, 1 of
            such as exclude each other.
        num_pairs: pairs that both are of.
        num_videos: videos that have a pair.
    """

    flip_probability: float
    divergence: float
    num_pairs: int
    num_videos: int


def video_means(probabilities: npt.ArrayLike, videos: npt.ArrayLike) -> F64:
    """Return the mean probabilities of each video, float64 [V, C], by rising number of the video.

    Args:
        probabilities: floats [n, C], of each clip those of the classes.
        videos: whole numbers [n], which video each clip is of.

    Raises:
        DreamshardsError: arrays of another form, or rows that are no probabilities.
    """
    values, numbers = _checked("video_means", probabilities, videos)
    _, video, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    order = np.argsort(video, kind="stable")
    sums: F64 = np.add.reduceat(values[order], np.cumsum(counts) - counts, axis=0)
    return sums / counts[:, None]


def changes_between_clips(
    probabilities: npt.ArrayLike, videos: npt.ArrayLike, starts: npt.ArrayLike
) -> Changes:
    """Return how much answers change from each clip of a video to the one that starts next.

    Args:
        probabilities: floats [n, C], of each clip those of the classes.
        videos: whole numbers [n], which video each clip is of.
        starts: whole numbers [n], where in its video each clip starts.

    Raises:
        DreamshardsError: arrays of another form, rows that are no probabilities, or no video of two clips.
    """
    values, numbers = _checked("changes_between_clips", probabilities, videos)
    begun = integers("changes_between_clips: starts", starts, "[n]")
    same_length("changes_between_clips: videos and starts", numbers, begun)
    order = np.lexsort((begun, numbers))
    values, numbers = values[order], numbers[order]
    same = numbers[1:] == numbers[:-1]
    if not same.any():
        raise DreamshardsError(
            "changes_between_clips: no video has two clips; allowed: two or more of one video at least"
        )
    one, other = values[:-1][same], values[1:][same]
    flips = one.argmax(axis=1) != other.argmax(axis=1)
    divergence = float(np.mean(js_divergence(one, other)))
    paired = len(np.unique(numbers[1:][same]))
    return Changes(float(np.mean(flips)), divergence, int(same.sum()), paired)


def js_divergence(one: F64, other: F64) -> F64:
    """Return the Jensen-Shannon divergence of each pair of rows in bits, float64 [n], 0 to 1.

    H((p + q) / 2) − (H(p) + H(q)) / 2 with H the entropy to base 2 (Lin, 1991).
    """
    gaps = _entropy((one + other) / 2) - (_entropy(one) + _entropy(other)) / 2
    bounded: F64 = np.clip(gaps, 0.0, 1.0)
    return bounded


def _entropy(rows: F64) -> F64:
    logs = np.log2(rows, out=np.zeros_like(rows), where=rows > 0)
    entropy: F64 = -(rows * logs).sum(axis=1)
    return entropy


def _checked(where: str, probabilities: npt.ArrayLike, videos: npt.ArrayLike) -> tuple[F64, I64]:
    values = floats(f"{where}: probabilities", probabilities, "[n, C]").astype(np.float64)
    numbers = integers(f"{where}: videos", videos, "[n]")
    same_length(f"{where}: probabilities and videos", values, numbers)
    gap = float(np.abs(values.sum(axis=1) - 1).max())
    if values.min() < 0 or gap > _ROUNDING:
        raise DreamshardsError(
            f"{where}: probabilities: a row adds up to 1 ± {gap:g}, the lowest is {values.min():g}; allowed: "
            "0 or more, each row 1 in all, and not logits"
        )
    return values, numbers
