"""Calibration: how far confidence is from accuracy, in bins of equally many samples.

RMS calibration error after Hendrycks, Mazeika & Dietterich (ICLR 2019, appendix G) with adaptive bins (Nguyen
& O'Connor, 2015). Confidence is the highest probability of the softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.measures.arrays import F64, I64, Bool, floats, same_length, truths
from pipeline.errors import DreamshardsError

BIN_SIZE = 100
_ROUNDING = 1e-6  # a softmax in float32 may pass 1 by a few parts in ten million


class Bins(NamedTuple):
    """Samples sorted by confidence and cut into bins: a reliability diagram.

    Attributes:
        counts: int64 [K], samples in each bin.
        confidence: float64 [K], their mean confidence, rising.
        accuracy: float64 [K], the share of them that is right.
    """

    counts: I64
    confidence: F64
    accuracy: F64


def adaptive_bins(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, *, bin_size: int = BIN_SIZE
) -> Bins:
    """Return bins of `bin_size` samples of rising confidence; the last takes what remains too.

    It has up to 2·`bin_size` − 1, and fewer samples than `bin_size` are one bin. Samples of equal confidence
    keep their order, so with such ties the bins, and every error computed from them, depend on the order of
    the samples.

    Args:
        confidences: floats [n], 0 to 1.
        correct: booleans [n], or 0 and 1: whether the prediction was right.
        bin_size: samples in a bin, 1 or more.

    Raises:
        DreamshardsError: arrays of another form, a confidence out of range, a size below 1.
    """
    values, right = _checked("adaptive_bins", confidences, correct)
    if bin_size < 1:
        raise DreamshardsError(f"adaptive_bins: bin_size = {bin_size}; allowed: 1 or more")
    order = np.argsort(values, kind="stable")
    starts = np.arange(max(len(values) // bin_size, 1)) * bin_size
    counts = np.diff(starts, append=len(values)).astype(np.int64)
    confidence = np.add.reduceat(values[order], starts) / counts
    accuracy = np.add.reduceat(right[order].astype(np.float64), starts) / counts
    return Bins(counts, confidence, accuracy)


def rms_calibration_error(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, *, published: bool = False
) -> float:
    """Return the root of the mean over samples of the squared gap of a bin's confidence and accuracy.

    The bins are those of `adaptive_bins`, with 100 samples each.

    Args:
        confidences: floats [n], 0 to 1.
        correct: booleans [n], or 0 and 1.
        published: compute it as the code behind the published numbers does, which leaves out the bin of the
            highest confidence but still divides by n, and so comes out lower.

    Raises:
        DreamshardsError: arrays of another form, a confidence out of range, or fewer than 200 samples with
            `published`, which leaves nothing to measure.
    """
    bins = adaptive_bins(confidences, correct)
    num_samples = int(bins.counts.sum())
    squares = bins.counts * (bins.confidence - bins.accuracy) ** 2
    if published:
        if len(squares) < 2:
            raise DreamshardsError(
                f"rms_calibration_error: published leaves out the last bin, and {num_samples} samples "
                f"make only one; allowed: {2 * BIN_SIZE} samples or more, or published=False"
            )
        squares = squares[:-1]
    return float(np.sqrt(squares.sum() / num_samples))


def mean_calibration_error(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return the mean over samples of the absolute gap of a bin's confidence and accuracy (MAD).

    Bins, arguments and errors are those of `rms_calibration_error`, which is never lower.
    """
    bins = adaptive_bins(confidences, correct)
    gaps = np.abs(bins.confidence - bins.accuracy)
    return float((bins.counts * gaps).sum() / bins.counts.sum())


def aurra(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return the area under the curve of accuracy by response rate: its mean over the k surest, k = 1…n.

    Samples of equal confidence count by the share of them that is right, the mean over all their orders.

    Args:
        confidences: floats [n], 0 to 1.
        correct: booleans [n], or 0 and 1.

    Raises:
        DreamshardsError: arrays of another form, a confidence out of range.
    """
    values, right = _checked("aurra", confidences, correct)
    _, group, sizes = np.unique(-values, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=right) / sizes
    hits = np.cumsum(np.repeat(share, sizes))
    return float(np.mean(hits / np.arange(1, len(hits) + 1)))


def soft_f1(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Return how well doubt, 1 − confidence, finds the samples that are wrong: a soft F1 of them.

    2·Σ d·w / Σ (d + w) with doubt d, and w = 1 where the prediction is wrong. Where all are right and none is
    doubted it is 0, as it is for any doubt where all are right.

    Args:
        confidences: floats [n], 0 to 1.
        correct: booleans [n], or 0 and 1.

    Raises:
        DreamshardsError: arrays of another form, a confidence out of range.
    """
    values, right = _checked("soft_f1", confidences, correct)
    doubt, wrong = 1.0 - values, (~right).astype(np.float64)
    total = float((doubt + wrong).sum())
    return 2.0 * float((doubt * wrong).sum()) / total if total > 0 else 0.0


def _checked(where: str, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[F64, Bool]:
    values = floats(f"{where}: confidences", confidences, "[n]").astype(np.float64)
    right = truths(f"{where}: correct", correct, "[n]")
    same_length(f"{where}: confidences and correct", values, right)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1 + _ROUNDING:
        raise DreamshardsError(
            f"{where}: confidences: got {low:g} to {high:g}; allowed: 0 to 1, probabilities and not logits"
        )
    return np.minimum(values, 1.0), right
