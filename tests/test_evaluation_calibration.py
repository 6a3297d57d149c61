"""Calibration against published-code values, values worked out by hand, and slow twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from evaluation.measures import (
    adaptive_bins,
    aurra,
    mean_calibration_error,
    rms_calibration_error,
    soft_f1,
)
from pipeline.errors import DreamshardsError

MEASURES = (rms_calibration_error, mean_calibration_error, aurra, soft_f1)


def _ramp(num: int) -> np.ndarray:
    return (np.arange(num) + 0.5) / num


@pytest.mark.parametrize(
    ("correct", "published", "expected"),
    [
        (np.ones(1000), True, 0.5764113115),
        (np.ones(1000), False, 0.5766281297),
        (np.zeros(1000), True, 0.4921889881),
        (np.zeros(1000), False, 0.5766281297),
        (np.arange(1050) % 2 == 0, True, 0.2370726339),
        (np.arange(1050) % 2 == 0, False, 0.2871280216),
    ],
)
def test_rms_of_a_ramp(correct, published, expected):
    found = rms_calibration_error(_ramp(len(correct)), correct, published=published)
    assert found == pytest.approx(expected, abs=5e-11)


@pytest.mark.parametrize(
    ("num", "counts"),
    [
        (1, [1]),
        (99, [99]),
        (100, [100]),
        (199, [199]),
        (200, [100, 100]),
        (299, [100, 199]),
        (300, [100, 100, 100]),
    ],
)
def test_where_bins_end(num, counts):
    bins = adaptive_bins(_ramp(num), np.ones(num))
    assert bins.counts.tolist() == counts
    starts = np.cumsum([0, *counts[:-1]])
    expected = [_ramp(num)[s : s + c].mean() for s, c in zip(starts, counts, strict=True)]
    assert bins.confidence == pytest.approx(expected)
    assert bins.accuracy.tolist() == [1.0] * len(counts)


def test_bins_of_another_size_are_sorted_by_confidence():
    bins = adaptive_bins([0.9, 0.1, 0.8, 0.2, 0.7], [1, 0, 1, 1, 0], bin_size=2)
    assert bins.counts.tolist() == [2, 3]
    assert bins.confidence == pytest.approx([0.15, 0.8])
    assert bins.accuracy == pytest.approx([0.5, 2 / 3])


def test_a_tie_across_a_bin_boundary_goes_by_the_order_of_the_samples():
    bins = adaptive_bins(np.full(200, 0.5), np.arange(200) < 100)
    assert bins.accuracy.tolist() == [1.0, 0.0]
    assert rms_calibration_error(np.full(200, 0.5), np.arange(200) < 100) == pytest.approx(0.5)
    assert rms_calibration_error(np.full(200, 0.5), np.arange(200) % 2) == 0.0


def test_constant_confidences():
    confidences, correct = np.full(1000, 0.75), np.arange(1000) % 2  # half right in every bin
    assert rms_calibration_error(confidences, correct) == pytest.approx(0.25)
    assert mean_calibration_error(confidences, correct) == pytest.approx(0.25)
    assert aurra(confidences, correct) == pytest.approx(0.5)
    assert soft_f1(confidences, correct) == pytest.approx(2 * 500 * 0.25 / (250 + 500))


def test_two_bins_by_hand():
    confidences = np.repeat([0.2, 0.6], 100)
    correct = np.concatenate([np.arange(100) < 50, np.arange(100) < 50])  # gaps 0.3 and 0.1
    assert rms_calibration_error(confidences, correct) == pytest.approx(np.sqrt(0.05))
    assert mean_calibration_error(confidences, correct) == pytest.approx(0.2)
    # the published code leaves out the second but divides by both
    assert rms_calibration_error(confidences, correct, published=True) == pytest.approx(
        np.sqrt(0.045)
    )


def test_certain_and_right_or_wrong():
    sure = np.ones(250)
    for measure in (rms_calibration_error, mean_calibration_error):
        assert measure(sure, np.ones(250)) == 0.0
        assert measure(sure, np.zeros(250)) == 1.0
    assert aurra(sure, np.ones(250)) == 1.0
    assert aurra(sure, np.zeros(250)) == 0.0
    assert soft_f1(sure, np.ones(250)) == 0.0
    assert soft_f1(np.zeros(250), np.zeros(250)) == 1.0


def test_aurra_by_hand():
    # surest first: right, wrong, right, wrong
    assert aurra([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx(
        (1 + 1 / 2 + 2 / 3 + 2 / 4) / 4
    )
    assert aurra([0.6, 0.7, 0.8, 0.9], [0, 1, 0, 1]) == pytest.approx(
        (1 + 1 / 2 + 2 / 3 + 2 / 4) / 4
    )


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=5))
def test_aurra_with_ties_is_the_mean_over_their_orders(samples):
    confidences, correct = zip(*samples, strict=True)
    areas = []
    for order in itertools.permutations(range(len(samples))):
        surest = sorted(order, key=lambda i: -confidences[i])  # stable: ties as permuted
        hits = np.cumsum([correct[i] for i in surest])
        areas.append(np.mean(hits / np.arange(1, len(hits) + 1)))
    assert aurra(confidences, correct) == pytest.approx(np.mean(areas))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_soft_f1_of_hard_decisions_is_f1(samples):
    doubted, wrong = (np.array(column) for column in zip(*samples, strict=True))
    found = soft_f1(1.0 - doubted, ~wrong)
    assert found == pytest.approx(f1_score(wrong, doubted, zero_division=0.0))


def _slow_bins(confidences, correct):
    rows = sorted(zip(confidences, correct, strict=True), key=lambda row: row[0])
    num_bins = max(len(rows) // 100, 1)
    parts = [rows[100 * i : 100 * (i + 1)] for i in range(num_bins - 1)] + [
        rows[100 * (num_bins - 1) :]
    ]
    return [
        (len(part), np.mean([c for c, _ in part]) - np.mean([r for _, r in part])) for part in parts
    ]


def test_ties_among_others_keep_their_order():
    random = np.random.default_rng(0)
    confidences = random.integers(0, 7, 1234) / 7
    correct = random.random(1234) < 0.5
    slow = _slow_bins(confidences, correct)
    bins = adaptive_bins(confidences, correct)
    assert bins.counts.tolist() == [num for num, _ in slow]
    assert bins.confidence - bins.accuracy == pytest.approx([gap for _, gap in slow])


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 450))
def test_errors_are_those_of_slow_bins_whatever_the_order(seed, num):
    random = np.random.default_rng(seed)
    confidences = random.permutation(_ramp(num)) ** 2  # no ties
    correct = random.random(num) < random.random()
    slow = _slow_bins(confidences, correct)
    rms = rms_calibration_error(confidences, correct)
    mean = mean_calibration_error(confidences, correct)
    assert rms == pytest.approx(np.sqrt(sum(n * gap**2 for n, gap in slow) / num))
    assert mean == pytest.approx(sum(n * abs(gap) for n, gap in slow) / num)
    assert 0 <= mean <= rms + 1e-12 <= 1 + 1e-12
    order = random.permutation(num)
    for measure in MEASURES:
        found = measure(confidences, correct)
        assert 0 <= found <= 1
        assert measure(confidences[order], correct[order]) == pytest.approx(found, abs=1e-12)
    if num >= 200:
        lower = rms_calibration_error(confidences, correct, published=True)
        last, gap = slow[-1]
        assert lower**2 == pytest.approx(rms**2 - last * gap**2 / num, abs=1e-12)


def test_float32_that_rounds_past_one_is_taken():
    confidences = np.full(100, 1.0000001, np.float32)
    assert confidences[0] > 1
    assert rms_calibration_error(confidences, np.ones(100)) == 0.0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([], [], "nothing; allowed"),
        ([0.5, float("nan")], [1, 0], "NaN in 1 of 2 values"),
        ([0.5, 1.5], [1, 0], "got 0.5 to 1.5; allowed: 0 to 1, probabilities and not logits"),
        ([-0.1, 0.5], [1, 0], "got -0.1 to 0.5"),
        ([0.5, 0.5], [1], "got 2 and 1"),
        ([0.5, 0.5], [2, 1], "values other than 0 and 1"),
        ([[0.5]], [[1]], r"got shape \[1, 1\]; allowed: \[n\]"),
        ([1, 0], [1, 0], r"allowed: floats \[n\]"),
    ],
)
def test_refused(measure, confidences, correct, message):
    with pytest.raises(DreamshardsError, match=message):
        measure(confidences, correct)


def test_refused_where_nothing_would_be_left():
    with pytest.raises(DreamshardsError, match="199 samples make only one; allowed: 200 samples"):
        rms_calibration_error(_ramp(199), np.ones(199), published=True)
    with pytest.raises(DreamshardsError, match="bin_size = 0; allowed: 1 or more"):
        adaptive_bins([0.5], [1], bin_size=0)
