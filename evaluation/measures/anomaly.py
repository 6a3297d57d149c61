"""Detection of anomalies: scores of a normal test set against those of a set of another distribution.

Protocol of Hendrycks, Mazeika & Dietterich (ICLR 2019): anomalies are the positive class, scored by minus the
highest probability of the softmax, and one is drawn for every five normal samples, so that chance has an AUPR
of 1/6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.benchmarks import ANOMALY_SETS
from evaluation.measures.arrays import F64, I64, floats
from pipeline.errors import DreamshardsError, nearest

NORMAL_TO_ANOMALIES = 5
_RECALL_20THS = 19  # a recall of 0.95, in whole numbers so that no rounding decides a tie


class Detection(NamedTuple):
    """How well one set of anomalies is told from the normal samples.

    Attributes:
        auroc: probability that an anomaly scores higher than a normal sample, ties half.
        aupr: average precision, anomalies positive.
        fpr95: share of normal samples flagged where 95% of the anomalies are.
        num_normal: samples of the normal set.
        num_anomalies: samples of the other.
    """

    auroc: float
    aupr: float
    fpr95: float
    num_normal: int
    num_anomalies: int


class AnomalyMean(NamedTuple):
    """The unweighted mean over sets of anomalies, with what it covers.

    Attributes:
        auroc: mean.
        aupr: mean.
        fpr95: mean.
        covered: the sets that it is the mean of.
        missing: those of the benchmark that it lacks; where there are any, it is not the published measure.
    """

    auroc: float
    aupr: float
    fpr95: float
    covered: tuple[str, ...]
    missing: tuple[str, ...]


def choose_anomalies(num_normal: int, num_available: int, *, seed: int) -> I64:
    """Return which anomalies to use, int64 [k], rising: k is a fifth of the normal samples, or all there are.

    The choice is a function of the arguments alone, without replacement. A set smaller than a fifth is used
    whole, as in the published protocol; then AUPR is lower than that of a full set would be.

    Args:
        num_normal: samples of the normal test set, 5 or more.
        num_available: samples of the set of anomalies, 1 or more.
        seed: 0 or more; another seed is another draw.

    Raises:
        DreamshardsError: a number out of range.
    """
    if num_normal < NORMAL_TO_ANOMALIES or num_available < 1 or seed < 0:
        raise DreamshardsError(
            f"choose_anomalies: got {num_normal} normal samples, {num_available} anomalies, seed {seed}; "
            f"allowed: {NORMAL_TO_ANOMALIES} normal samples or more, 1 anomaly or more, a seed of 0 or more"
        )
    wanted = min(num_normal // NORMAL_TO_ANOMALIES, num_available)
    # raw words stay the same between NumPy's versions, which its shuffles need not
    keys = np.random.Philox(key=seed).random_raw(num_available)
    chosen = np.sort(np.argsort(keys, kind="stable")[:wanted])
    return chosen.astype(np.int64)


def detection(normal: npt.ArrayLike, anomalies: npt.ArrayLike) -> Detection:
    """Return all measures of one set of anomalies.

    Args:
        normal: floats [n], the anomaly score of each normal sample, such as minus its confidence.
        anomalies: floats [k], those of the anomalies.

    Raises:
        DreamshardsError: scores of another form, infinite, or none on one side.
    """
    inside, outside = _checked("detection", normal, anomalies)
    return Detection(
        auroc(inside, outside),
        aupr(inside, outside),
        fpr95(inside, outside),
        len(inside),
        len(outside),
    )


def auroc(normal: npt.ArrayLike, anomalies: npt.ArrayLike) -> float:
    """Return the area under the ROC curve; takes and refuses what `detection` does."""
    inside, outside = _checked("auroc", normal, anomalies)
    return float(roc_auc_score(*_labelled(inside, outside)))


def aupr(normal: npt.ArrayLike, anomalies: npt.ArrayLike) -> float:
    """Return the average precision, Σ (R_k − R_{k−1})·P_k; takes and refuses what `detection` does."""
    inside, outside = _checked("aupr", normal, anomalies)
    return float(average_precision_score(*_labelled(inside, outside)))


def fpr95(normal: npt.ArrayLike, anomalies: npt.ArrayLike) -> float:
    """Return the share of normal samples flagged at the recall nearest to 0.95, of two as near the higher.

    Among thresholds of one recall it is the lowest, below a recall of 1, as in the published protocol; at a
    recall of 1 it is the score of the lowest anomaly. Takes and refuses what `detection` does.
    """
    inside, outside = _checked("fpr95", normal, anomalies)
    levels, counts = np.unique(outside, return_counts=True)
    found = np.cumsum(counts[::-1])[::-1]  # anomalies at or above each level, falling
    nearest_level = int(np.argmin(np.abs(20 * found - _RECALL_20THS * len(outside))))
    flagged = inside > levels[nearest_level - 1] if nearest_level else inside >= levels[0]
    return float(np.mean(flagged))


def anomaly_mean(
    detections: Mapping[str, Detection], *, names: Sequence[str] = ANOMALY_SETS
) -> AnomalyMean:
    """Return the unweighted mean over sets, with the names of those it covers and of those it lacks.

    Args:
        detections: of each set its measures; not all of `names` need be there.
        names: the sets of the benchmark.

    Raises:
        DreamshardsError: a set that is not of the benchmark, or none at all.
    """
    for name in detections:
        if name not in names:
            raise DreamshardsError(
                f"anomaly_mean: {name!r} is not a set of the benchmark{nearest(name, names)}; allowed: "
                f"{', '.join(names)}. For a mean over other sets say which, with names=…"
            )
    if not detections:
        raise DreamshardsError(f"anomaly_mean: no set; allowed: one or more of {', '.join(names)}")
    covered = tuple(name for name in names if name in detections)
    return AnomalyMean(
        float(np.mean([detections[name].auroc for name in covered])),
        float(np.mean([detections[name].aupr for name in covered])),
        float(np.mean([detections[name].fpr95 for name in covered])),
        covered,
        tuple(name for name in names if name not in detections),
    )


def _checked(where: str, normal: npt.ArrayLike, anomalies: npt.ArrayLike) -> tuple[F64, F64]:
    scores = []
    for name, values in (("normal", normal), ("anomalies", anomalies)):
        found = floats(f"{where}: {name}", values, "[n]").astype(np.float64)
        if not np.isfinite(found).all():
            raise DreamshardsError(f"{where}: {name}: an infinite score; allowed: finite")
        scores.append(found)
    return scores[0], scores[1]


def _labelled(normal: F64, anomalies: F64) -> tuple[npt.NDArray[np.bool_], F64]:
    positive = np.arange(len(normal) + len(anomalies)) >= len(normal)
    return positive, np.concatenate([normal, anomalies])
