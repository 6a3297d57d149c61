"""Detection of anomalies against scikit-learn, brute force and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.benchmarks import ANOMALY_SETS
from evaluation.measures import (
    Detection,
    anomaly_mean,
    aupr,
    auroc,
    choose_anomalies,
    detection,
    fpr95,
)
from pipeline.errors import DreamshardsError

NORMAL = -np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.99, 0.5, 0.85, 0.65, 0.97])
ANOMALIES = -np.array([0.55, 0.75])


def test_two_anomalies_by_hand():
    assert auroc(NORMAL, ANOMALIES) == pytest.approx(0.75)
    assert aupr(NORMAL, ANOMALIES) == pytest.approx(0.41667, abs=5e-6)
    assert fpr95(NORMAL, ANOMALIES) == 0.4  # 0.75 and what is less sure: 0.7, 0.6, 0.5, 0.65
    found = detection(NORMAL, ANOMALIES)
    assert found == Detection(auroc(NORMAL, ANOMALIES), aupr(NORMAL, ANOMALIES), 0.4, 10, 2)


def test_apart_the_wrong_way_and_all_equal():
    low, high = np.zeros(5), np.ones(3)
    assert detection(low, high)[:3] == (1.0, 1.0, 0.0)
    worst = detection(high, low)
    assert worst.auroc == 0.0
    assert worst.fpr95 == 1.0
    equal = detection(np.zeros(10), np.zeros(2))
    assert equal[:3] == (0.5, pytest.approx(1 / 6), 1.0)  # chance, at one anomaly for five


def test_fpr_at_a_recall_of_95_percent():
    anomalies = np.arange(20.0)  # a recall of 19 in 20 is at the score 1
    assert (
        fpr95([0.0, 0.5, 1.0, 5.0], anomalies) == 0.75
    )  # the lowest threshold of that recall: above 0
    assert fpr95([0.0], anomalies) == 0.0
    # of ten, 9 and 10 are as near: the higher recall, at the score 0
    assert fpr95([-1.0, 0.0, 0.5, 20.0], np.arange(10.0)) == 0.75


def _slow_auroc(normal, anomalies):
    wins = [(a > n) + 0.5 * (a == n) for a in anomalies for n in normal]
    return sum(wins) / len(wins)


def _slow_aupr(normal, anomalies):
    total, before = 0.0, 0.0
    for threshold in sorted({*normal, *anomalies}, reverse=True):
        hits, alarms = (sum(score >= threshold for score in part) for part in (anomalies, normal))
        recall = hits / len(anomalies)
        total += (recall - before) * hits / (hits + alarms)
        before = recall
    return total


def _slow_fpr95(normal, anomalies):
    rows = []
    for threshold in sorted({*normal, *anomalies}):
        hits, alarms = (sum(score >= threshold for score in part) for part in (anomalies, normal))
        rows.append((abs(20 * hits - 19 * len(anomalies)), -hits, threshold, alarms / len(normal)))
    best = min(rows)
    same = [row for row in rows if row[:2] == best[:2]]
    return (same[-1] if -best[1] == len(anomalies) else same[0])[3]


scores = st.lists(st.integers(0, 12).map(lambda level: level / 4), min_size=1, max_size=30)


@given(scores, scores, st.randoms())
def test_measures_are_those_of_brute_force_whatever_the_order(normal, anomalies, random):
    found = detection(normal, anomalies)
    positive = [0] * len(normal) + [1] * len(anomalies)
    assert found.auroc == pytest.approx(_slow_auroc(normal, anomalies))
    assert found.auroc == pytest.approx(roc_auc_score(positive, normal + anomalies))
    assert found.aupr == pytest.approx(_slow_aupr(normal, anomalies))
    assert found.aupr == pytest.approx(average_precision_score(positive, normal + anomalies))
    assert found.fpr95 == _slow_fpr95(normal, anomalies)
    assert (found.num_normal, found.num_anomalies) == (len(normal), len(anomalies))
    assert all(0 <= value <= 1 for value in found[:3])
    random.shuffle(normal)
    random.shuffle(anomalies)
    assert detection(normal, anomalies) == pytest.approx(found)


@given(scores, scores)
def test_auroc_turns_around_and_ignores_scale(normal, anomalies):
    found = auroc(normal, anomalies)
    assert auroc(anomalies, normal) == pytest.approx(1 - found)
    assert auroc(np.exp(normal), np.exp(anomalies)) == pytest.approx(found)


def test_choice_of_anomalies():
    chosen = choose_anomalies(10_000, 26_032, seed=0)
    assert chosen.dtype == np.int64
    assert len(chosen) == 2000
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < 26_032
    assert np.array_equal(choose_anomalies(10_000, 26_032, seed=0), chosen)
    assert not np.array_equal(choose_anomalies(10_000, 26_032, seed=1), chosen)


def test_first_choices_are_pinned():
    # they may change only with the choice itself, which changes published results
    assert choose_anomalies(25, 20, seed=0).tolist() == [0, 2, 9, 11, 17]
    assert choose_anomalies(25, 20, seed=1).tolist() == [2, 3, 5, 7, 9]


def test_a_small_set_is_used_whole():
    assert choose_anomalies(50_000, 5640, seed=3).tolist() == list(range(5640))
    assert len(choose_anomalies(50_000, 10_000, seed=3)) == 10_000
    assert len(choose_anomalies(9, 100, seed=3)) == 1


def test_every_anomaly_is_as_likely():
    counts = np.zeros(40)
    for seed in range(2000):
        counts[choose_anomalies(50, 40, seed=seed)] += 1
    assert counts.sum() == 2000 * 10
    # 500 ± 19.4 expected of each: five deviations
    assert np.abs(counts - 500).max() < 97


def _detections(*names: str) -> dict[str, Detection]:
    return {
        name: Detection(0.1 * place, 0.05 * place, 0.02 * place, 50, 10)
        for place, name in enumerate(names, 1)
    }


def test_mean_over_all_sets():
    found = anomaly_mean(_detections(*ANOMALY_SETS))
    assert found[:3] == pytest.approx((0.4, 0.2, 0.08))
    assert found.covered == ANOMALY_SETS
    assert found.missing == ()


def test_mean_over_some_sets_says_which():
    found = anomaly_mean(_detections("svhn", "gaussian", "blobs"))
    assert found[:3] == pytest.approx((0.2, 0.1, 0.04))
    assert found.covered == ("gaussian", "blobs", "svhn")
    assert found.missing == ("rademacher", "textures", "lsun", "places69")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anomaly_mean({}), "no set; allowed: one or more of gaussian"),
        (lambda: anomaly_mean(_detections("shvn")), r"'shvn' is not .*\(did you mean 'svhn'\?\)"),
        (lambda: auroc([], [0.5]), r"auroc: normal: got shape \[0\], nothing"),
        (lambda: aupr([0.5], []), r"aupr: anomalies: got shape \[0\], nothing"),
        (lambda: fpr95([0.5], [float("nan")]), "fpr95: anomalies: NaN in 1 of 1 values"),
        (lambda: detection([float("inf")], [0.5]), "normal: an infinite score"),
        (lambda: detection([[0.5]], [0.5]), r"got shape \[1, 1\]; allowed: \[n\]"),
        (lambda: choose_anomalies(4, 10, seed=0), "5 normal samples or more"),
        (lambda: choose_anomalies(10, 0, seed=0), "1 anomaly or more"),
        (lambda: choose_anomalies(10, 10, seed=-1), "a seed of 0 or more"),
    ],
)
def test_refused(call, message):
    with pytest.raises(DreamshardsError, match=message):
        call()
