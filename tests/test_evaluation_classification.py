"""Error, mean corruption error, confidences and classes kept, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.benchmarks import (
    ALEXNET_ERROR,
    ALEXNET_FLIPS,
    C_BAR_CIFAR,
    C_BAR_IMAGENET,
    COMMON_CORRUPTIONS,
    SEQUENCES,
)
from evaluation.measures import class_indices, confidence, error, keep_classes, mce
from pipeline.errors import DreamshardsError

# published beside the errors by severity, so a slip in either shows
ALEXNET_MEANS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


def test_names_of_the_benchmarks():
    assert len(set(COMMON_CORRUPTIONS)) == 15
    assert len(set(C_BAR_CIFAR)) == len(set(C_BAR_IMAGENET)) == len(set(SEQUENCES)) == 10
    assert len(set(C_BAR_CIFAR) & set(C_BAR_IMAGENET)) == 5
    assert not set(COMMON_CORRUPTIONS) & (set(C_BAR_CIFAR) | set(C_BAR_IMAGENET))
    assert set(SEQUENCES) < set(ALEXNET_FLIPS)


def test_error_by_hand():
    assert error([0, 1, 2, 2], [0, 1, 1, 0]) == 0.5
    assert error(np.array([3], np.uint8), np.array([3], np.int64)) == 0.0
    assert error([1], [0]) == 1.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1), st.randoms())
def test_error_is_a_share_whatever_the_order(pairs, random):
    predictions, labels = zip(*pairs, strict=True)
    found = error(predictions, labels)
    assert found == sum(p != y for p, y in pairs) / len(pairs)
    random.shuffle(pairs)
    assert error(*zip(*pairs, strict=True)) == found


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        ([], [], r"error: predictions: got shape \[0\], nothing; allowed: \[n\], not empty"),
        ([1.0], [1], r"error: predictions: got float64 \[1\]; allowed: whole numbers \[n\]"),
        ([[1, 2]], [1], r"error: predictions: got shape \[1, 2\]; allowed: \[n\]"),
        ([1, 2], [1], "got 2 and 1; allowed: the same number"),
        ([1], [-1], "error: labels: got -1; allowed: classes, 0 or more"),
        ([[1], [2, 3]], [1, 2], "rows differ in length"),
    ],
)
def test_error_refuses(predictions, labels, message):
    with pytest.raises(DreamshardsError, match=message):
        error(predictions, labels)


def test_means_of_alexnet_are_those_published():
    assert set(ALEXNET_ERROR) == set(COMMON_CORRUPTIONS)
    for name, mean in ALEXNET_MEANS.items():
        assert np.mean(ALEXNET_ERROR[name]) == pytest.approx(mean, abs=1e-9)


def test_mce_of_alexnet_is_one():
    assert mce(ALEXNET_ERROR, normalise="alexnet") == pytest.approx(1.0, abs=1e-12)
    doubled = {name: [value / 2 for value in row] for name, row in ALEXNET_ERROR.items()}
    assert mce(doubled, normalise="alexnet") == pytest.approx(0.5, abs=1e-12)


def test_mce_divides_sums_not_each_severity():
    errors = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5], "snow": [0.5, 0.5, 0.5, 0.5, 0.5]}
    names = ("fog", "snow")
    assert mce(errors, names=names) == pytest.approx((0.3 + 0.5) / 2)
    by_hand = (1.5 / (5 * ALEXNET_MEANS["fog"]) + 2.5 / (5 * ALEXNET_MEANS["snow"])) / 2
    assert mce(errors, names=names, normalise="alexnet") == pytest.approx(by_hand, abs=1e-9)


def test_mce_of_some_severities_divides_by_these():
    errors = {"brightness": [0.3, 0.1]}
    found = mce(errors, names=["brightness"], severities=(5, 1), normalise="alexnet")
    assert found == pytest.approx(0.4 / (0.72440 + 0.45140))
    assert mce(errors, names=["brightness"], severities=(5, 1)) == pytest.approx(0.2)


def test_mce_of_the_other_ten():
    errors = {name: [0.1 * place] * 5 for place, name in enumerate(C_BAR_CIFAR)}
    assert mce(errors, names=C_BAR_CIFAR) == pytest.approx(0.45)


@given(st.lists(st.floats(0, 1), min_size=75, max_size=75), st.permutations(COMMON_CORRUPTIONS))
def test_mce_is_a_mean_whatever_the_order_of_corruptions(values, order):
    rows = np.array(values).reshape(15, 5)
    errors = dict(zip(COMMON_CORRUPTIONS, rows.tolist(), strict=True))
    found = mce(errors)
    assert found == pytest.approx(rows.mean())
    assert mce({name: errors[name] for name in order}) == found
    assert rows.min() - 1e-12 <= found <= rows.max() + 1e-12


def _without(name: str) -> dict[str, list[float]]:
    return {key: [0.5] * 5 for key in COMMON_CORRUPTIONS if key != name}


@pytest.mark.parametrize(
    ("errors", "options", "message"),
    [
        (_without("snow"), {}, r"mce: missing: snow; allowed: exactly .*names="),
        (_without("") | {"sno": [0.5] * 5}, {}, r"not among them: 'sno' \(did you mean 'snow'\?\)"),
        (_without("") | {"fog": [0.5] * 4}, {}, "mce: fog: got 4 errors; allowed: one for each"),
        (
            _without("") | {"fog": [50.0] * 5},
            {},
            "mce: fog: got 50.0; allowed: 0 to 1, not percent",
        ),
        (_without("") | {"fog": [float("nan")] * 5}, {}, "mce: fog: got nan; allowed: 0 to 1"),
        (_without(""), {"normalise": "vgg"}, "normalise = 'vgg'; allowed: 'none' or 'alexnet'"),
        (_without(""), {"severities": (1, 1, 2, 3, 4)}, "of 1 to 5, each once"),
        (_without(""), {"severities": (0, 1, 2, 3, 4)}, "of 1 to 5, each once"),
        ({}, {"names": ()}, "names is empty"),
        (
            {"lines": [0.5] * 5},
            {"names": ["lines"], "normalise": "alexnet"},
            "lines: AlexNet's errors are not known",
        ),
    ],
)
def test_mce_refuses(errors, options, message):
    with pytest.raises(DreamshardsError, match=message):
        mce(errors, **options)


def test_confidence_is_the_highest_probability():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    assert confidence(logits) == pytest.approx([0.5, 0.8])
    assert confidence(np.zeros((1, 4), np.float32))[0] == 0.25
    assert confidence(np.array([[1e4, 0.0, -np.inf]]))[0] == 1.0  # neither overflow nor NaN


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([[0.0, float("nan")]], "NaN in 1 of 2 values"),
        ([[1, 2]], r"got int64 \[1, 2\]; allowed: floats \[n, C\]"),
        ([0.5], r"got shape \[1\]; allowed: \[n, C\]"),
        ([[float("inf"), 0.0]], "the highest of a row is infinite"),
    ],
)
def test_confidence_refuses(logits, message):
    with pytest.raises(DreamshardsError, match=message):
        confidence(logits)


def test_classes_kept_by_name():
    names = ["n01", "n02", "n03", "n04"]
    classes = class_indices(["n04", "n02"], names)
    assert classes.tolist() == [3, 1]
    logits = np.array([[9.0, 1.0, 9.0, 2.0], [9.0, 4.0, 9.0, 3.0]], np.float32)
    kept = keep_classes(logits, classes)
    assert kept.dtype == np.float32
    assert kept.tolist() == [[2.0, 1.0], [3.0, 4.0]]
    assert error(kept.argmax(axis=1), [0, 1]) == 0.0
    assert confidence(kept) == pytest.approx([1 / (1 + np.exp(-1))] * 2)


def test_classes_kept_refuse():
    with pytest.raises(DreamshardsError, match=r"the first 'n0x' \(did you mean 'n01'\?\)"):
        class_indices(["n0x"], ["n01", "m02"])
    with pytest.raises(DreamshardsError, match="a name comes twice"):
        class_indices(["n01", "n01"], ["n01", "n02"])
    with pytest.raises(DreamshardsError, match="got 2; allowed: 0 to 1"):
        keep_classes(np.zeros((1, 2)), [0, 2])
    with pytest.raises(DreamshardsError, match="one comes twice"):
        keep_classes(np.zeros((1, 2)), [1, 1])
    with pytest.raises(DreamshardsError, match="got -1"):
        keep_classes(np.zeros((1, 2)), [-1])
